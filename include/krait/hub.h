/* krait: models by name, from the Hugging Face hub.
 *
 * A name is OWNER/NAME, OWNER/NAME@REVISION (a branch, a tag or a commit; without it, main), and behind either :FILE for one file
 * of it (a GGUF one, usually). What was downloaded is in the cache that Python's huggingface_hub uses, in its layout: each finds
 * the other's files.
 *
 *   char *path; krait_error error;
 *   if (krait_hub_find(&path, "state-spaces/mamba-130m-hf", NULL, &error) == KRAIT_OK && !path)
 *       krait_hub_pull(&path, "state-spaces/mamba-130m-hf", NULL, &error);
 *
 * The conventions are those of krait.h. Functions read the environment, write files in the cache only, and may be called from
 * any thread. */
#ifndef KRAIT_HUB_H
#define KRAIT_HUB_H

#include "krait/krait.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroes and NULLs are what the environment says, under the names that Python's huggingface_hub gave them. */
typedef struct krait_hub_options {
    const char *cache;    /* the folder; $HF_HUB_CACHE, else hub/ in $HF_HOME, else in ~/.cache/huggingface */
    const char *endpoint; /* $HF_ENDPOINT, else https://huggingface.co */
    const char *token;    /* $HF_TOKEN, else the file $HF_TOKEN_PATH, else token in $HF_HOME; "": none. Sent to the endpoint only,
                                never where it redirects to */
    bool offline;         /* never ask the hub; also when $HF_HUB_OFFLINE says so */
    krait_progress progress; /* in bytes */
} krait_hub_options;

/* Whether this build can download. Without it, krait_hub_pull() is KRAIT_ERROR_UNSUPPORTED, and the rest works. */
KRAIT_API bool krait_hub_can_pull(void);
/* Whether `text` has the form of a name. A path may have it, too: look for the file first. */
KRAIT_API bool krait_hub_is_name(const char *text);

/* The path of a model in the cache: a folder, or with :FILE the file. Asks nobody. NULL, and KRAIT_OK, when it is not there or not
 * complete. Free it with krait_free(). */
KRAIT_API krait_status krait_hub_find(char **path, const char *name, const krait_hub_options *options, krait_error *error);
/* Downloads what is missing of the files that a model is loaded from (config.json, tokenizer.json, safetensors or else
 * pytorch_model.bin), several at a time, checks size and hash of each, and gives the path as above. What a cut connection or a
 * full disk leaves is gone on with the next time; a file appears under its name only when it is complete and its hash is right.
 * Several processes may pull the same model: one downloads a file, the others wait for it. */
KRAIT_API krait_status krait_hub_pull(char **path, const char *name, const krait_hub_options *options, krait_error *error);

/* One revision of a model in the cache. */
typedef struct krait_hub_model {
    char name[200];     /* "OWNER/NAME" */
    char revision[256]; /* a name of the commit; "" when there is none in the cache */
    char commit[65];    /* "" when no file is complete */
    uint64_t bytes;     /* of its files; those that revisions share count in each */
    bool complete;      /* whether krait_hub_find() finds it */
} krait_hub_model;

/* All models in the cache, by name. Free the list with krait_free(). */
KRAIT_API krait_status krait_hub_list(krait_hub_model **models, size_t *n, const krait_hub_options *options, krait_error *error);
/* Removes OWNER/NAME with all revisions, or one of them with the files that no other uses, also what is half downloaded. `bytes`, what
 * that freed, may be NULL. An error when there is no such thing, or when it is being downloaded. */
KRAIT_API krait_status krait_hub_remove(const char *name, uint64_t *bytes, const krait_hub_options *options, krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
