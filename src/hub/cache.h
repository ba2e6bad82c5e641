/* The cache on disk, laid out as Python's huggingface_hub lays it out:
 *
 *   ROOT/models--OWNER--NAME/
 *       blobs/HASH                    contents; HASH.incomplete while it comes
 *       refs/REVISION                 the commit that a branch or tag stood for when it was pulled
 *       snapshots/COMMIT/FILE         links to ../../blobs/HASH
 *   ROOT/.locks/models--OWNER--NAME/HASH.lock      held (flock) by whoever downloads HASH
 *
 * Links may be plain files, on systems without links. */
#ifndef KR_HUB_CACHE_H
#define KR_HUB_CACHE_H

#include "hub/name.h"

#define KR_HUB_PATH 4096

/* A formatted path; an error when it does not fit. */
krait_status kr_hub_path(char path[KR_HUB_PATH], krait_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The value of an environment variable; NULL also when it is empty. */
const char *kr_hub_variable(const char *name);
/* What Python makes of a path in a variable: ~ at its beginning and $NAME, ${NAME} in it stand for their values where these are set. */
krait_status kr_hub_expand(char path[KR_HUB_PATH], const char *text, krait_error *error);
/* $HF_HOME, or where it is by default. */
krait_status kr_hub_home(char path[KR_HUB_PATH], krait_error *error);
/* The folder of options->cache or of the environment. It need not exist. */
krait_status kr_hub_root(char path[KR_HUB_PATH], const krait_hub_options *options, krait_error *error);
/* The name of the variable that forbids to ask the hub, "" when the options do, NULL when nobody does. */
const char *kr_hub_offline(const krait_hub_options *options);

/* Makes the folder and those above it. */
krait_status kr_hub_make_folder(const char *path, krait_error *error);
/* Makes the folders above a file. */
krait_status kr_hub_make_parent(const char *path, krait_error *error);

/* The commit that the revision stands for in the cache; "" when that is not known. */
void kr_hub_commit(char commit[65], const char *root, const kr_hub_name *name);
/* Whether a snapshot has all that a model is loaded from: a config.json and weights with all their shards, or one GGUF file alone. */
krait_status kr_hub_is_complete(bool *complete, const char *snapshot, krait_error *error);

#endif
