/* The model that a subcommand works with: the one named by -m, or the one inside the program; and its tokenizer. */
#ifndef KR_CLI_MODEL_SOURCE_H
#define KR_CLI_MODEL_SOURCE_H

#include "cli/options.h"
#include "cli/progress.h"
#include "krait/krait.h"

typedef struct kr_model_source {
    const char *name; /* as given, or "the built-in model" */
    char *path;       /* where it is in the hub's cache; NULL when `name` was a path, or none was given */
    krait_checkpoint *checkpoint;
    krait_model *model;
    krait_session *session;
    krait_tokenizer *tokenizer; /* NULL: there is none, or this build or krait cannot use it: `no_tokenizer` says why */
    char no_tokenizer[640];     /* the message of someone who needed it */
    const krait_config *config; /* the model's */
} kr_model_source;

/* What the options of several subcommands say about it, zeroes being as usual. */
typedef struct kr_model_choice {
    const char *model, *tokenizer, *isa, *type;
    uint64_t threads, chunk;
} kr_model_choice;

/* The rows for it in a table of options; `type` is the struct that has a kr_model_choice called `choice`. */
#define KR_OPTION_MODEL(type)                                                                    \
    {                                                                                            \
        KR_OPTION_FILE, 'm', "model", "MODEL", offsetof(type, choice.model), 0, 0, NULL,         \
            "A folder, a weights file, or OWNER/NAME on the hub; without it, the built-in model" \
    }
#define KR_OPTION_TOKENIZER(type)                                                             \
    {                                                                                         \
        KR_OPTION_FILE, 0, "tokenizer", "FILE", offsetof(type, choice.tokenizer), 0, 0, NULL, \
            "tokenizer.json or GGUF file to use instead of the checkpoint's own"              \
    }
#define KR_OPTION_THREADS(type)                                                              \
    {                                                                                        \
        KR_OPTION_COUNT, 't', "threads", "N", offsetof(type, choice.threads), 1, 1024, NULL, \
            "Threads; without it, as many as the process may use"                            \
    }
#define KR_OPTION_ISA(type)                                                                                            \
    {                                                                                                                  \
        KR_OPTION_CHOICE, 0, "isa", "auto|plain|avx2|avx2-vnni|avx512|avx512-bf16|avx512-amx|neon|neon-dot|neon-bf16", \
            offsetof(type, choice.isa), 0, 0, "auto", "Instruction set to compute with"                                \
    }
#define KR_OPTION_TYPE(values)                                                                                  \
    {                                                                                                           \
        KR_OPTION_CHOICE, 0, "type", "auto|f32|f16|bf16|q8|q6|q4", offsetof(values, choice.type), 0, 0, "auto", \
            "Convert the weights to it while loading: smaller, faster, less exact"                              \
    }
#define KR_OPTION_CHUNK(type)                                                                   \
    {                                                                                           \
        KR_OPTION_COUNT, 0, "chunk", "N", offsetof(type, choice.chunk), 1, 1 << 20, "512",      \
            "Tokens of a long input that are processed at a time; scratch memory grows with it" \
    }

/* What `model`, as -m has it, stands for: NULL, when it is a path; or where the model of that name is in the hub's cache, once it is
 * downloaded there. Free with krait_free(). */
krait_status kr_model_find(char **path, const char *model, krait_error *error);
/* krait_hub_pull() with progress on the terminal. */
krait_status kr_model_pull(char **path, const char *name, krait_error *error);

/* Opens the checkpoint only: what `inspect` needs. On failure everything is closed. */
krait_status kr_model_source_open_checkpoint(kr_model_source *source, const kr_model_choice *choice, krait_error *error);
/* Finds the tokenizer: --tokenizer, or the checkpoint's own. One that is missing or unsupported is no error here;
 * one that is broken, or was named and cannot be read, is. */
krait_status kr_model_source_open_tokenizer(kr_model_source *source, const kr_model_choice *choice, krait_error *error);
/* How to load: threads and type; progress may be NULL. */
krait_load_options kr_load_options(const kr_model_choice *choice, kr_progress *progress);
/* Checkpoint, model and session. */
krait_status kr_model_source_open(kr_model_source *source, const kr_model_choice *choice, kr_progress *progress,
                                  krait_error *error);
void kr_model_source_close(kr_model_source *source);

/* KRAIT_ERROR_ARGUMENT with `no_tokenizer` when there is no tokenizer. */
krait_status kr_model_source_need_tokenizer(const kr_model_source *source, krait_error *error);
/* The token that begins a text: the model's bos, else <|endoftext|>, <s> or <cls> in the tokenizer. An error when there is none. */
krait_status kr_model_source_bos(const kr_model_source *source, int32_t *id, krait_error *error);

krait_session_options kr_session_options(const kr_model_choice *choice);

#endif
