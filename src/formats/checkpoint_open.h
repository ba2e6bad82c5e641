/* Between checkpoint.c, which owns a checkpoint, and checkpoint_open.c, which finds its files. */
#ifndef KR_FORMATS_CHECKPOINT_OPEN_H
#define KR_FORMATS_CHECKPOINT_OPEN_H

#include "formats/checkpoint.h"

/* Where files come from: a folder ("" is the current one), or blobs. */
typedef struct kr_source {
    const char *folder; /* NULL: blobs */
    const krait_blob *blobs;
    size_t n_blobs;
} kr_source;

/* Opens the weights that a source has, and the text files beside them. `single`: the name of the one weights file to open, or NULL to
 * look for those that there are. Fills checkpoint->files, tensors, hints and notes; on failure what is there so far, to be freed. */
krait_status kr_checkpoint_gather(krait_checkpoint *checkpoint, const kr_source *source, const char *single, krait_error *error);

/* A name without the folders before it. */
const char *kr_base_name(const char *path);

#endif
