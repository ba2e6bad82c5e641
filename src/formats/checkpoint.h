/* A checkpoint as named tensors, hints and text files, whatever formats it is stored in. The public krait_checkpoint_...() list
 * what is here; src/model makes a model of it. */
#ifndef KR_FORMATS_CHECKPOINT_H
#define KR_FORMATS_CHECKPOINT_H

#include <stdatomic.h>

#include "base/file.h"
#include "base/memory.h"
#include "formats/config_json.h"
#include "formats/gguf.h"
#include "tensor/tensor.h"

struct krait_checkpoint {
    atomic_size_t references; /* the opener's, and one per model made of it */
    char *path;
    kr_arena arena; /* names, headers, notes */
    kr_file *files; /* all that were opened */
    size_t n_files;
    kr_tensor *tensors; /* names as stored, but for a leading "model." when every name has it */
    size_t n_tensors;
    size_t *by_name; /* [n_tensors] indices sorted by name */
    kr_config_hints hints;
    const kr_gguf *gguf; /* the metadata, when it is a GGUF file; else NULL */
    const char **notes;
    size_t n_notes, notes_capacity;
};

krait_checkpoint *kr_checkpoint_retain(const krait_checkpoint *checkpoint);
/* NULL if there is none of that name. */
const kr_tensor *kr_checkpoint_find(const krait_checkpoint *checkpoint, const char *name);
/* The opened file of that name (without folder), or NULL. */
const kr_file *kr_checkpoint_file(const krait_checkpoint *checkpoint, const char *name);
/* Lets go of the files' pages that are in memory: for those who read all of it once and want to hold a part at a time. */
void kr_checkpoint_forget(const krait_checkpoint *checkpoint);
/* Adds a note once (the same text is not added twice); an allocation failure loses the note. Safe on a checkpoint shared by
 * threads? No: call it from the thread that opens or makes the model. */
void kr_checkpoint_add_note(krait_checkpoint *checkpoint, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
