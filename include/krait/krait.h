/* krait: selective state space models (Mamba) in C.
 *
 * Five objects:
 *
 *   krait_model      config and weights; immutable after load, shared by any number of threads
 *   krait_state      everything one sequence remembers; a plain value bound to a config, not to a session
 *   krait_session    a model + scratch memory + threads; one thread at a time
 *   krait_tokenizer  text <-> ids; immutable, shared by any number of threads
 *   krait_sampler    logits -> id, with its random generator and history; one thread at a time
 *
 * and one call that runs a model, whatever the work: krait_run(). The smallest program:
 *
 *   krait_model *model; krait_session *session; krait_state *state; krait_error error;
 *   if (krait_model_load(&model, "path/to/folder", NULL, &error)
 *       || krait_session_create(&session, model, NULL, &error)
 *       || krait_state_create(&state, model, &error)
 *       || krait_run(session, &(krait_sequence){ .state = state, .tokens = ids, .count = n, .want = KRAIT_WANT_LAST }, 1,
 *                    &(krait_outputs){ .logits = logits }, &error))
 *       fprintf(stderr, "%s\n", error.message);
 *
 * Conventions. Functions that can fail return a krait_status; results come through the first parameters and are NULL or
 * zero on failure. The last parameter, a krait_error that the caller owns, may be NULL. Options are structs in which zero
 * means the documented default, so `{0}` and NULL both mean "as usual". The library never prints, exits or aborts, and
 * a failed call leaves its objects as they were unless it says otherwise. Every krait_..._free() accepts NULL.
 * Strings are UTF-8; sizes are in elements unless a name says bytes. */
#ifndef KRAIT_KRAIT_H
#define KRAIT_KRAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(KRAIT_BUILDING)
#define KRAIT_API __attribute__((visibility("default")))
#else
#define KRAIT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KRAIT_VERSION_MAJOR 0
#define KRAIT_VERSION_MINOR 1
#define KRAIT_VERSION_PATCH 0

/* "0.1.0": of the library that runs, which may be newer than this header. */
KRAIT_API const char *krait_version(void);

/* What this build was made of, for bug reports, in a buffer of the calling thread: "avx512; gemm onednn 2.6.0; openmp; text pcre2 10.42 utf8proc 2.8.0". */
KRAIT_API const char *krait_build_info(void);

/* ---- errors ------------------------------------------------------------------------------------------------------ */

typedef enum krait_status {
    KRAIT_OK = 0,
    KRAIT_ERROR_ARGUMENT,    /* the caller's mistake: a null, a size out of range, an id outside the vocabulary */
    KRAIT_ERROR_IO,          /* the operating system refused; the message has its reason */
    KRAIT_ERROR_FORMAT,      /* the file is not what it says it is */
    KRAIT_ERROR_UNSUPPORTED, /* the file is fine, this build cannot run it: the message names what is missing */
    KRAIT_ERROR_MEMORY,      /* an allocation failed */
    KRAIT_ERROR_INTERRUPTED  /* a callback asked to stop */
} krait_status;

/* Where and why something failed, for a person: "model.safetensors: backbone.layers.3.mixer.A_log: expected [1536, 16]
 * float32, found [1536, 8] float32". Only written on failure. */
typedef struct krait_error {
    krait_status status;
    char message[512];
} krait_error;

/* "ok", "argument", "io", "format", "unsupported", "memory", "interrupted". */
KRAIT_API const char *krait_status_name(krait_status status);

/* Reports the progress of a long call; may be called from the thread that made the call only. Return false to stop: the
 * call then ends with KRAIT_ERROR_INTERRUPTED. `total` is 0 when it is not known. */
typedef struct krait_progress {
    bool (*report)(void *user, const char *what, uint64_t done, uint64_t total);
    void *user;
} krait_progress;

/* Frees what the library allocated for the caller where a function says so (ids, text). */
KRAIT_API void krait_free(void *memory);

/* ---- config ------------------------------------------------------------------------------------------------------ */

typedef enum krait_family {
    KRAIT_FAMILY_MAMBA = 0,   /* Gu & Dao 2023 */
    KRAIT_FAMILY_FALCON_MAMBA /* the same, with a weightless RMSNorm on dt, B and C */
} krait_family;

/* The dimensions of a model, under the names of the paper. */
typedef struct krait_config {
    krait_family family;
    int64_t vocab_size; /* rows of the embedding: includes padding rows */
    int64_t d_model;
    int64_t n_layer;
    int64_t d_inner; /* expand * d_model */
    int64_t d_state; /* N */
    int64_t d_conv;  /* width of the causal convolution, 2..4 in published models; 1..16 here */
    int64_t dt_rank;
    bool proj_bias; /* in_proj and out_proj have a bias */
    bool conv_bias;
    bool tied_head; /* lm_head is the embedding */
    float norm_eps;
    float mixer_norm_eps; /* Falcon-Mamba only */
    int32_t bos_id;       /* -1: none */
    int32_t eos_id;       /* -1: none */
} krait_config;

/* "mamba", "falcon_mamba". */
KRAIT_API const char *krait_family_name(krait_family family);

/* The published shapes by name: "130m", "370m", "790m", "1.4b", "2.8b" (Gu & Dao 2023, table 12). KRAIT_ERROR_ARGUMENT
 * lists the names when `name` is none of them. */
KRAIT_API krait_status krait_config_named(krait_config *config, const char *name, krait_error *error);

/* Number of parameters; the tied head counts once. */
KRAIT_API uint64_t krait_config_parameters(const krait_config *config);

/* ---- checkpoints: what is in the files, runnable or not ---------------------------------------------------------- */

typedef enum krait_dtype {
    KRAIT_DTYPE_F32 = 0,
    KRAIT_DTYPE_F16,
    KRAIT_DTYPE_BF16,
    KRAIT_DTYPE_F64,
    KRAIT_DTYPE_I8,
    KRAIT_DTYPE_I16,
    KRAIT_DTYPE_I32,
    KRAIT_DTYPE_I64,
    KRAIT_DTYPE_U8,
    KRAIT_DTYPE_U16,
    KRAIT_DTYPE_U32,
    KRAIT_DTYPE_U64,
    KRAIT_DTYPE_BOOL,
    KRAIT_DTYPE_Q8_0, /* from here on in blocks of several elements, in GGUF files only */
    KRAIT_DTYPE_Q4_0,
    KRAIT_DTYPE_Q4_1,
    KRAIT_DTYPE_Q5_0,
    KRAIT_DTYPE_Q5_1,
    KRAIT_DTYPE_Q2_K,
    KRAIT_DTYPE_Q3_K,
    KRAIT_DTYPE_Q4_K,
    KRAIT_DTYPE_Q5_K,
    KRAIT_DTYPE_Q6_K,
    KRAIT_DTYPE_IQ4_NL,
    KRAIT_DTYPE_PACKED_Q8, /* matrices in krait's own types q8, q4 and q6 (krait_weight_type), in files that it quantised */
    KRAIT_DTYPE_PACKED_Q4,
    KRAIT_DTYPE_PACKED_Q6
} krait_dtype;

/* "F32", "BF16", ...: as safetensors spells them; "Q4_K", ...: as ggml does; "q8", "q4", "q6". */
KRAIT_API const char *krait_dtype_name(krait_dtype dtype);

#define KRAIT_MAX_DIMS 8

/* A named tensor as stored. Strings belong to the object that was asked. */
typedef struct krait_tensor_info {
    const char *name;
    const char *file; /* the file it is in, without its folder; NULL when it is in none */
    krait_dtype dtype;
    int n_dims;
    uint64_t shape[KRAIT_MAX_DIMS];
    uint64_t bytes;
} krait_tensor_info;

/* A file that is in memory already. `name` is what it would be called in a folder ("config.json"). */
typedef struct krait_blob {
    const char *name;
    const void *data;
    size_t size;
} krait_blob;

typedef struct krait_checkpoint krait_checkpoint;

/* Opens a checkpoint: a folder (Hugging Face or original layout, one file or shards, or one GGUF file), or one weights file. What a file is
 * is recognised by its content. Nothing is copied: the files stay mapped until the checkpoint, and every model made from it,
 * is freed. Succeeds whenever the tensors can be listed, also if no model can be made of them. */
KRAIT_API krait_status krait_checkpoint_open(krait_checkpoint **checkpoint, const char *path, krait_error *error);
/* The same from memory, which must outlive the checkpoint and every model made from it. */
KRAIT_API krait_status krait_checkpoint_open_memory(krait_checkpoint **checkpoint, const krait_blob *files, size_t n_files,
                                                    krait_error *error);
KRAIT_API void krait_checkpoint_free(krait_checkpoint *checkpoint);

KRAIT_API size_t krait_checkpoint_n_tensors(const krait_checkpoint *checkpoint);
KRAIT_API krait_status krait_checkpoint_tensor(const krait_checkpoint *checkpoint, size_t index, krait_tensor_info *info);
/* Counts the NaN and infinite elements of one tensor; reads all of it. */
KRAIT_API krait_status krait_checkpoint_count_nonfinite(const krait_checkpoint *checkpoint, size_t index, uint64_t *n_nan,
                                                        uint64_t *n_infinite);
/* "hf", "original", "gguf": whose tensor names these are. "unknown" if none fits. */
KRAIT_API const char *krait_checkpoint_layout(const krait_checkpoint *checkpoint);
/* The path given to open, or the first blob's name. */
KRAIT_API const char *krait_checkpoint_path(const krait_checkpoint *checkpoint);
/* The bytes of a text file of the checkpoint ("config.json", "tokenizer.json"): false if it has none. */
KRAIT_API bool krait_checkpoint_file(const krait_checkpoint *checkpoint, const char *name, const char **data, size_t *size);
/* Whether it has a tokenizer for krait_tokenizer_create(): tokenizer.json, or the one inside a GGUF file. */
KRAIT_API bool krait_checkpoint_has_tokenizer(const krait_checkpoint *checkpoint);
/* The config that the tensors' shapes, and config.json (or a GGUF file's metadata) where shapes say nothing, describe. The error says why no model can be
 * made of the checkpoint. */
KRAIT_API krait_status krait_checkpoint_config(krait_checkpoint *checkpoint, krait_config *config, krait_error *error);
/* What a person should know though it stops nothing: a field of config.json that disagrees with the shapes, a surplus tensor.
 * NULL past the last. Complete once krait_checkpoint_config() or krait_model_create() was called. */
KRAIT_API const char *krait_checkpoint_note(const krait_checkpoint *checkpoint, size_t index);

/* Writes n contiguous tensors to a safetensors file, complete or not at all. Of each info, name, dtype, n_dims and shape count;
 * data[i] are the elements. */
KRAIT_API krait_status krait_tensors_save(const char *path, const krait_tensor_info *infos, const void *const *data, size_t n,
                                          krait_error *error);

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct krait_model krait_model;

/* What the matrices of a model are held and multiplied in. What steers the recurrence (A, D, dt_bias, states) is float32 always. */
typedef enum krait_weight_type {
    KRAIT_WEIGHT_AUTO = 0, /* as stored where a matrix is quantised (Q8_0 is q8, Q4_0 q4, others of GGUF q8), else float32 */
    KRAIT_WEIGHT_F32,
    KRAIT_WEIGHT_F16,
    KRAIT_WEIGHT_BF16, /* activations are rounded to bfloat16, too, where the CPU multiplies it */
    KRAIT_WEIGHT_Q8,   /* 8.5 bits a weight, multiplied as integers; rows too short for it (dt_proj) in bfloat16 */
    KRAIT_WEIGHT_Q4,   /* 4.5 bits; q6 for what costs most in it: embedding, head, dt_proj, the first out_proj */
    KRAIT_WEIGHT_Q6    /* 6.5 bits */
} krait_weight_type;

/* "auto", "f32", "f16", "bf16", "q8", "q4", "q6". */
KRAIT_API const char *krait_weight_type_name(krait_weight_type type);
/* false if it is none of these. */
KRAIT_API bool krait_weight_type_find(krait_weight_type *type, const char *name);

typedef struct krait_load_options {
    int threads;            /* for converting weights; 0: as many as the process may use */
    krait_weight_type type; /* weights are converted to it while loading */
    krait_progress progress;
} krait_load_options;

/* krait_checkpoint_open() + krait_model_create(). */
KRAIT_API krait_status krait_model_load(krait_model **model, const char *path, const krait_load_options *options,
                                        krait_error *error);
/* Makes a model of a checkpoint, which the model keeps alive: the caller may free its own handle right after. float32 weights
 * are used where they are mapped; other types are converted to float32. */
KRAIT_API krait_status krait_model_create(krait_model **model, krait_checkpoint *checkpoint, const krait_load_options *options,
                                          krait_error *error);
/* A model with random weights, for measuring: matrices of the magnitude of trained ones, A_log and dt_bias as initialised. */
KRAIT_API krait_status krait_model_random(krait_model **model, const krait_config *config, uint64_t seed,
                                          const krait_load_options *options, krait_error *error);
KRAIT_API void krait_model_free(krait_model *model);

KRAIT_API const krait_config *krait_model_config(const krait_model *model);
/* NULL for a random model. */
KRAIT_API const krait_checkpoint *krait_model_checkpoint(const krait_model *model);
/* Bytes of weights that generating one token reads, and of all. */
KRAIT_API uint64_t krait_model_bytes_per_token(const krait_model *model);
KRAIT_API uint64_t krait_model_bytes(const krait_model *model);

/* ---- saving models ------------------------------------------------------------------------------------------------ */

/* Matrices whose name a pattern fits are stored in a type of their own. The name is that in the new file ("blk.3.ssm_in.weight") or that of
 * Hugging Face ("backbone.layers.3.mixer.in_proj.weight"); in the pattern * stands for any text and ? for any character. */
typedef struct krait_type_choice {
    const char *pattern;
    krait_weight_type type;
} krait_type_choice;

/* What became of a tensor. The strings live as long as the call that shows them. */
typedef struct krait_saved_tensor {
    const char *name, *source_name;
    krait_dtype from, to;
    uint64_t elements, bytes;
    double error;       /* sqrt(sum (new - old)^2 / sum old^2) */
    const char *reason; /* why it is of another type than the rest; NULL: it is not */
} krait_saved_tensor;

typedef struct krait_save_options {
    krait_weight_type type; /* of the matrices; everything else is float32 */
    const krait_type_choice *choices;
    size_t n_choices; /* the first that fits counts; one that fits no matrix is an error */
    /* Token ids of a text like those that the model is to read, or NULL. The model reads them in float32, and q8 and q4 matrices that
     * multiply are chosen so that their products with what they multiplied there change least (error feedback with second moments of
     * inputs, GPTQ: Frantar et al. 2022). At least twice as many as the columns of the widest matrix (d_inner); some ten thousand are
     * enough. Memory: 4 * d_model bytes per token, and one layer. */
    const int32_t *calibration;
    size_t n_calibration;
    /* Steps of tuning after that, 0: none. The numbers stay; their scales, and what is float32 (norms, convolution, biases, D), move so that the
     * new model's probabilities come nearest to those of the float32 model on the same ids: each step reads four windows of 512, forward
     * and backward. Some hundred are enough. Memory: up to 13 bytes per parameter, and what a training step of 512 tokens
     * keeps. The file has the same bits again for the same number of threads. */
    size_t tune_steps;
    bool requantize; /* quantise what is quantised already, which is an error otherwise */
    int threads;     /* 0: as many as the process may use */
    void (*on_tensor)(void *user, const krait_saved_tensor *tensor); /* after each; NULL: none */
    void *user;
    krait_progress progress; /* elements */
} krait_save_options;

/* Writes a folder in the layout of Hugging Face that krait loads: model.safetensors, config.json, and tokenizer.json if the
 * checkpoint has one. Matrices in q8 and q4 are as they are multiplied, so that a model is mapped and ready; one that blocks would make
 * larger is bfloat16. A few MB of it are in memory at a time. The folder is new or empty; model.safetensors appears last, complete or not at
 * all. Values that a type cannot hold are KRAIT_ERROR_UNSUPPORTED. */
KRAIT_API krait_status krait_checkpoint_save(krait_checkpoint *checkpoint, const char *folder, const krait_save_options *options,
                                             krait_error *error);
/* Writes a GGUF file (version 3, architecture mamba) that llama.cpp loads, complete or not at all, with the checkpoint's tokenizer
 * where GGUF can describe it. F32, F16 and BF16 tensors saved as the same type keep their bits; q8 is Q8_0, q4 is Q4_0 but for x_proj and
 * dt_proj in Q8_0, both with the bytes of ggml's own quantiser unless they are calibrated, or of the same numbers where the checkpoint has krait's q8 and q4; rows
 * that are no whole blocks of 32 become F16 or stay BF16. Memory does not
 * depend on the size of the model. What a person should know becomes a note (krait_checkpoint_note()). Values that a type cannot hold are
 * KRAIT_ERROR_UNSUPPORTED. */
KRAIT_API krait_status krait_checkpoint_save_gguf(krait_checkpoint *checkpoint, const char *path,
                                                  const krait_save_options *options, krait_error *error);
/* The same with the weights that krait_model_random() would draw. */
KRAIT_API krait_status krait_random_save_gguf(const krait_config *config, uint64_t seed, const char *path,
                                              const krait_save_options *options, krait_error *error);

/* ---- states ------------------------------------------------------------------------------------------------------ */

/* Per layer i: conv_state.i [d_inner, d_conv-1], the last inputs of the convolution, oldest first, and ssm_state.i
 * [d_inner, d_state]; and last_hidden [d_model], the residual stream after the last layer at the last token, so that logits can
 * be had again without running a token twice. All float32. The size does not depend on the number of tokens seen. */
typedef struct krait_state krait_state;

KRAIT_API krait_status krait_state_create(krait_state **state, const krait_model *model, krait_error *error);
KRAIT_API void krait_state_free(krait_state *state);
/* Back to before the first token. */
KRAIT_API void krait_state_reset(krait_state *state);
KRAIT_API krait_status krait_state_clone(krait_state **clone, const krait_state *state, krait_error *error);
/* Rolls `state` back (or on) to what `from` holds, without allocating. Both must be of the same config. */
KRAIT_API krait_status krait_state_copy(krait_state *state, const krait_state *from, krait_error *error);
/* Tokens seen since the last reset. */
KRAIT_API uint64_t krait_state_tokens(const krait_state *state);
KRAIT_API uint64_t krait_state_bytes(const krait_state *state);
/* Writes a safetensors file, complete or not at all. It carries a fingerprint of the config, which load checks. */
KRAIT_API krait_status krait_state_save(const krait_state *state, const char *path, krait_error *error);
KRAIT_API krait_status krait_state_load(krait_state **state, const krait_model *model, const char *path, krait_error *error);
KRAIT_API krait_status krait_state_load_memory(krait_state **state, const krait_model *model, const void *data, size_t size,
                                               krait_error *error);
KRAIT_API size_t krait_state_n_tensors(const krait_state *state);
KRAIT_API krait_status krait_state_tensor(const krait_state *state, size_t index, krait_tensor_info *info);
/* Copies one tensor out, in the layout of the table above. */
KRAIT_API krait_status krait_state_read(const krait_state *state, size_t index, float *values);

/* ---- sessions: running a model ----------------------------------------------------------------------------------- */

typedef enum krait_isa {
    KRAIT_ISA_AUTO = 0, /* the best this CPU has, or what the environment variable KRAIT_ISA names */
    KRAIT_ISA_PLAIN,    /* plain C: the reference */
    KRAIT_ISA_AVX2,     /* AVX2 + FMA */
    KRAIT_ISA_AVX512,   /* AVX-512 F, BW, DQ, VL */
    KRAIT_ISA_NEON,
    KRAIT_ISA_AVX512_BF16, /* AVX-512 with VNNI and BF16 */
    KRAIT_ISA_AVX2_VNNI,   /* AVX2 with AVX-VNNI */
    KRAIT_ISA_NEON_DOT,    /* NEON with the dot product */
    KRAIT_ISA_NEON_BF16,   /* NEON with the dot product and BF16 */
    KRAIT_ISA_AVX512_AMX,  /* AVX-512 with VNNI, BF16 and AMX, for integers and bfloat16 */
    KRAIT_N_ISAS
} krait_isa;

/* "auto", "plain", "avx2", "avx512", "neon", "avx512-bf16", "avx2-vnni", "neon-dot", "neon-bf16", "avx512-amx". */
KRAIT_API const char *krait_isa_name(krait_isa isa);
/* Whether this CPU and build can run it. */
KRAIT_API bool krait_isa_available(krait_isa isa);

typedef struct krait_session krait_session;

typedef struct krait_session_options {
    int threads;         /* 0: as many as the process may use */
    krait_isa isa;       /* one that this machine lacks is an error that names those it has */
    size_t chunk_tokens; /* tokens a long input is processed by at a time; 0: 512. Results do not depend on it
                               beyond rounding; scratch memory is proportional to it */
    /* Asked before each layer of a step of 32 tokens or more ("layers", of the step), whatever call the session runs it for. false: that
     * call ends with KRAIT_ERROR_INTERRUPTED, and the states that it ran are good for krait_state_reset() and krait_state_copy() only. */
    krait_progress progress;
} krait_session_options;

KRAIT_API krait_status krait_session_create(krait_session **session, const krait_model *model,
                                            const krait_session_options *options, krait_error *error);
KRAIT_API void krait_session_free(krait_session *session);
KRAIT_API const krait_model *krait_session_model(const krait_session *session);
KRAIT_API krait_isa krait_session_isa(const krait_session *session);
KRAIT_API int krait_session_threads(const krait_session *session);
KRAIT_API uint64_t krait_session_bytes(const krait_session *session);

/* For which of a sequence's tokens outputs are wanted. */
typedef enum krait_want {
    KRAIT_WANT_NONE = 0,
    KRAIT_WANT_LAST,
    KRAIT_WANT_ALL,
    KRAIT_WANT_LISTED /* those in `rows` */
} krait_want;

/* One sequence's part of a batch. Runs `count` tokens on from `state`, which afterwards is as if they had come one by one.
 * With count 0 nothing runs, and KRAIT_WANT_LAST gives the outputs of the last token the state has seen. */
typedef struct krait_sequence {
    krait_state *state;    /* in/out; no state may appear twice in one batch */
    const int32_t *tokens; /* [count], each in [0, vocab_size) */
    size_t count;          /* 1 when decoding, any length when reading a prompt */
    krait_want want;
    const size_t *rows; /* KRAIT_WANT_LISTED: [n_rows] ascending positions in [0, count) */
    size_t n_rows;
} krait_sequence;

/* Where the outputs go. Wanted rows are numbered through the batch, sequence after sequence: n of them in all
 * (krait_outputs_rows). Every pointer may be NULL. */
typedef struct krait_outputs {
    float *logits;         /* [n, vocab_size] */
    float *hidden;         /* [n_layers, n, d_model]: the residual stream at the layers listed */
    const int64_t *layers; /* [n_layers]: 0 is the embedding, i the output of layer i, at most n_layer */
    size_t n_layers;
} krait_outputs;

/* Number of wanted rows of a batch. */
KRAIT_API size_t krait_outputs_rows(const krait_sequence *sequences, size_t n_sequences);

/* Runs a batch: prefill (count of thousands), decode (count 1), or a mix. KRAIT_ERROR_ARGUMENT leaves every state unchanged;
 * KRAIT_ERROR_INTERRUPTED is the session's progress callback's, and leaves them undefined.
 * A sequence's results do not depend on its neighbours' values. Memory does not depend on the counts.
 * With count 0, wanted hidden rows exist for the last layer only. */
KRAIT_API krait_status krait_run(krait_session *session, const krait_sequence *sequences, size_t n_sequences,
                                 const krait_outputs *outputs, krait_error *error);

/* ---- tokenizers -------------------------------------------------------------------------------------------------- */

/* BPE of bytes (byte-level), or of characters, as described by a Hugging Face tokenizer.json, or inside a GGUF file. Each run of invalid UTF-8 is encoded on its own, from its bytes, so
 * that decoding gives every input back (up to what the tokenizer itself asks for: normalisation, added tokens that take white
 * space along). In a build without text these functions return KRAIT_ERROR_UNSUPPORTED. */
typedef struct krait_tokenizer krait_tokenizer;

typedef struct krait_encode_options {
    bool no_special; /* text that spells a special token ("<|endoftext|>") is ordinary text */
} krait_encode_options;

/* That of a checkpoint, which may be freed before the tokenizer: inside its GGUF file, or else its tokenizer.json. An error when it has
 * none. */
KRAIT_API krait_status krait_tokenizer_create(krait_tokenizer **tokenizer, const krait_checkpoint *checkpoint,
                                              krait_error *error);
/* A tokenizer.json, a folder that has one, or a GGUF file. */
KRAIT_API krait_status krait_tokenizer_load(krait_tokenizer **tokenizer, const char *path, krait_error *error);
/* `name` is for messages. The bytes may go away after the call. */
KRAIT_API krait_status krait_tokenizer_load_memory(krait_tokenizer **tokenizer, const char *name, const void *data, size_t size,
                                                   krait_error *error);
KRAIT_API void krait_tokenizer_free(krait_tokenizer *tokenizer);

/* One more than the largest id. */
KRAIT_API size_t krait_tokenizer_vocab_size(const krait_tokenizer *tokenizer);
/* Free `ids` with krait_free(). An empty text gives no ids and NULL. Special tokens that a post_processor would put around the
 * text are not added. A byte that the vocabulary has no token for (published ones may lack those that never occur in UTF-8) is
 * KRAIT_ERROR_ARGUMENT, unless the tokenizer names an unk_token. */
KRAIT_API krait_status krait_tokenizer_encode(const krait_tokenizer *tokenizer, const char *text, size_t length,
                                              const krait_encode_options *options, int32_t **ids, size_t *n_ids,
                                              krait_error *error);
/* Free `text` with krait_free(); it ends with a NUL that `length` does not count. The bytes are those of the tokens: a
 * character cut in half stays so. Special tokens are left out unless `keep_special`. */
KRAIT_API krait_status krait_tokenizer_decode(const krait_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                                              bool keep_special, char **text, size_t *length, krait_error *error);
/* The bytes of one token; NULL for an id that the tokenizer does not have. */
KRAIT_API const char *krait_tokenizer_token(const krait_tokenizer *tokenizer, int32_t id, size_t *length);
KRAIT_API bool krait_tokenizer_is_special(const krait_tokenizer *tokenizer, int32_t id);
/* The id of a token given by its bytes, special ones included; -1 if there is none. */
KRAIT_API int32_t krait_tokenizer_id(const krait_tokenizer *tokenizer, const char *token, size_t length);

/* Decodes token by token and gives out whole UTF-8 characters only; bytes that can no longer become a character come out as
 * U+FFFD, and so does an id that the tokenizer does not have (a padding row of the model's vocabulary). */
typedef struct krait_decoder krait_decoder;

KRAIT_API krait_status krait_decoder_create(krait_decoder **decoder, const krait_tokenizer *tokenizer, bool keep_special,
                                            krait_error *error);
KRAIT_API void krait_decoder_free(krait_decoder *decoder);
/* `text`, valid until the next call, is what can be shown after this token: often empty. */
KRAIT_API krait_status krait_decoder_push(krait_decoder *decoder, int32_t id, const char **text, size_t *length,
                                          krait_error *error);
/* What is left at the end; the decoder is then as new. */
KRAIT_API krait_status krait_decoder_flush(krait_decoder *decoder, const char **text, size_t *length, krait_error *error);

/* ---- sampling ---------------------------------------------------------------------------------------------------- */

typedef struct krait_logit_bias {
    int32_t id;
    float bias; /* added to the logit, finite; or -INFINITY, which forbids the token */
} krait_logit_bias;

/* The samplers, in the order in which they apply:
 *   1. logit bias; several for one token add up
 *   2. repetition penalty (Keskar et al. 2019): of each token in the history, a positive logit is divided by it, a negative
 *      one multiplied; then frequency * count + presence is subtracted
 *   3. temperature 0: the largest logit, the lowest id of equals; nothing below applies, and nothing is random
 *   4. division by the temperature, softmax
 *   5. top-k: the k most probable
 *   6. top-p: the fewest most probable whose probabilities (renormalised after 5) sum to at least p, at least one
 *   7. min-p: those at least min_p times as probable as the most probable
 *   8. one draw from what is left, renormalised
 * Tokens are ordered by (largest logit - logit) / temperature, equal ones by id. One whose probability is below exp(-87)
 * of the largest counts as impossible. A logit that is NaN or +infinity is an error; so is a distribution with nothing left
 * (all -infinity). Every draw above temperature 0 takes the same amount of randomness, so that the n-th draw of a seed does
 * not depend on what the draws before it chose from. */
typedef struct krait_sampling {
    float temperature;        /* finite, >= 0. 0: greedy */
    int32_t top_k;            /* >= 0. 0, or as many as there are tokens: off */
    float top_p;              /* 0..1. 0 or 1: off */
    float min_p;              /* 0..1. 0: off; 1 leaves the most probable and its equals */
    float repetition_penalty; /* finite, > 0. 0 or 1: off; below 1 favours repetition */
    float presence_penalty;   /* finite. 0: off; negative ones favour repetition */
    float frequency_penalty;  /* finite. 0: off */
    size_t penalty_window;    /* how many of the last tokens are the history; 0: all of them */
    uint64_t seed;            /* 0 is a seed like any other */
    const krait_logit_bias *logit_bias;
    size_t n_logit_bias;
} krait_sampling;

typedef struct krait_sampler krait_sampler;

typedef struct krait_candidate {
    int32_t id;
    float probability;
} krait_candidate;

/* Copies the options (NULL: all 0). An option out of its range is an error that names it. All memory is allocated here: 28
 * bytes per token of the vocabulary, with penalties 32 and 4 per token of the window. */
KRAIT_API krait_status krait_sampler_create(krait_sampler **sampler, size_t vocab_size, const krait_sampling *sampling,
                                            krait_error *error);
KRAIT_API void krait_sampler_free(krait_sampler *sampler);
/* Adds a token to the history (a prompt's, or the one just drawn: drawing does not add it). */
KRAIT_API krait_status krait_sampler_accept(krait_sampler *sampler, int32_t id, krait_error *error);
/* Forgets the history and starts the seed again. */
KRAIT_API void krait_sampler_reset(krait_sampler *sampler);
/* Draws one token. logits [vocab_size] is not changed. An error uses up no randomness. */
KRAIT_API krait_status krait_sampler_sample(krait_sampler *sampler, const float *logits, int32_t *id, krait_error *error);
/* The distribution that the next draw is from, most probable first; candidates [vocab_size], of which *n are written.
 * Draws nothing. */
KRAIT_API krait_status krait_sampler_distribution(krait_sampler *sampler, const float *logits, krait_candidate *candidates,
                                                  size_t *n, krait_error *error);

/* ---- generation -------------------------------------------------------------------------------------------------- */

typedef struct krait_piece {
    int32_t id;       /* the token; -1 at the end, for text that was held back */
    float logprob;    /* options.logprobs: natural log of its probability before any sampler; else 0 */
    const char *text; /* whole characters, possibly none; NULL without a tokenizer */
    size_t text_length;
} krait_piece;

typedef struct krait_generate_options {
    krait_sampling sampling;
    uint64_t max_tokens;     /* 0: no limit but the stops */
    const char *const *stop; /* valid UTF-8, not empty: the first to be complete ends the text, which then ends before it (of
                                those complete at the same byte, before the longest). They may cross tokens */
    size_t n_stop;
    const int32_t *stop_ids; /* tokens that end it, beside the model's eos; the token that does gives no text */
    size_t n_stop_ids;
    bool ignore_eos;   /* the model's eos is a token like any other */
    bool keep_special; /* special tokens appear in the text */
    bool logprobs;
    /* After every token drawn, the one that ended the text included, and at the end for text that was held back. What may
     * begin a stop string, or is half a character, comes with a later piece. false: stop here, nothing more is given. */
    bool (*on_piece)(void *user, const krait_piece *piece);
    void *user;
    krait_progress progress; /* of reading the prompt */
} krait_generate_options;

typedef enum krait_finish {
    KRAIT_FINISH_LENGTH = 0, /* max_tokens reached */
    KRAIT_FINISH_EOS,
    KRAIT_FINISH_STOP_ID,
    KRAIT_FINISH_STOP_STRING,
    KRAIT_FINISH_CALLBACK
} krait_finish;

/* "length", "eos", "stop_id", "stop_string", "callback". */
KRAIT_API const char *krait_finish_name(krait_finish finish);

typedef struct krait_generate_result {
    krait_finish finish;
    size_t stop_index; /* KRAIT_FINISH_STOP_STRING: which */
    uint64_t n_prompt;
    uint64_t n_generated;   /* tokens drawn, with the one that stopped it */
    double prefill_seconds; /* from the call to the first logits */
    double decode_seconds;  /* from there to the end, callbacks included */
} krait_generate_result;

/* Runs `prompt` on from `state`, then generates. Afterwards the state has seen the prompt and every token drawn, with the one that
 * ended it, so that a next call with an empty prompt goes on exactly there; on an error other than KRAIT_ERROR_ARGUMENT about
 * what was passed, it is somewhere between.
 * An empty prompt continues a state that has seen something. The history of the penalties starts with the prompt.
 * `tokenizer` may be NULL: pieces then have no text, and stop strings are an error. With one, ids that it does not have (rows that
 * pad the embedding) are never drawn, as if biased by -INFINITY. `options` and `result` may be NULL. */
KRAIT_API krait_status krait_generate(krait_session *session, krait_state *state, const krait_tokenizer *tokenizer,
                                      const int32_t *prompt, size_t n_prompt, const krait_generate_options *options,
                                      krait_generate_result *result, krait_error *error);

/* ---- many generations at once ------------------------------------------------------------------------------------ */

/* Rows that generate side by side and share each reading of the weights. A row whose text has ended is free for the next
 * request, whatever the others are at: their decoding and its reading of a prompt go on together.
 *
 * A request's tokens are those that krait_generate() with the same session would draw, bit for bit, whatever its neighbours and
 * however many rows there are. For that, pieces of a prompt that are longer than KRAIT_BATCH_MAX_ROWS tokens run by themselves, one per
 * step, cut where krait_generate() cuts; everything else runs in one krait_run() of at most so many tokens. */
typedef struct krait_batch krait_batch;

#define KRAIT_BATCH_MAX_ROWS 128

typedef struct krait_batch_request {
    const krait_tokenizer *tokenizer; /* as for krait_generate(); must outlive the row's work. NULL: ids alone */
    const krait_state *from;          /* what the text goes on from, copied; NULL: nothing */
    const int32_t *prompt;            /* [n_prompt], copied */
    size_t n_prompt;
    const krait_generate_options *options; /* copied, with what it points to; progress is not used */
    /* Once, when the row has ended and is free again; `user` is that of the options. `error` is NULL, or why this row alone failed: then
     * `result` is zeroes. Like on_piece, it may call krait_batch_add(), but neither step nor free. */
    void (*on_end)(void *user, const krait_generate_result *result, const krait_error *error);
} krait_batch_request;

/* rows: 1 .. KRAIT_BATCH_MAX_ROWS, each with a state and a row of logits of its own. The session must outlive the batch; between
 * steps it may do other work. */
KRAIT_API krait_status krait_batch_create(krait_batch **batch, krait_session *session, size_t rows, krait_error *error);
/* Rows that have not ended are dropped without on_end. */
KRAIT_API void krait_batch_free(krait_batch *batch);
KRAIT_API size_t krait_batch_rows(const krait_batch *batch);
KRAIT_API size_t krait_batch_free_rows(const krait_batch *batch);
/* Gives a request to a free row; without one, KRAIT_ERROR_ARGUMENT. The session runs nothing yet. */
KRAIT_API krait_status krait_batch_add(krait_batch *batch, const krait_batch_request *request, krait_error *error);
/* Moves every row on: by one token those that generate, by a piece those that read, in the order in which they were added. With all
 * rows free it does nothing. An error here is the whole batch's, which is then good for krait_batch_free() only. */
KRAIT_API krait_status krait_batch_step(krait_batch *batch, krait_error *error);

/* ---- evaluation -------------------------------------------------------------------------------------------------- */

typedef struct krait_perplexity_options {
    size_t window; /* 0: one stream through the state; else windows of so many tokens (at least 2), each from a fresh state */
    krait_progress progress;
} krait_perplexity_options;

typedef struct krait_perplexity_result {
    uint64_t n_scored; /* every token but the first of the stream or of each window */
    double nats;       /* sum of -log p */
    double nats_per_token;
    double standard_error; /* of nats_per_token, from the spread over tokens; 0 when only one is scored */
    double perplexity;     /* exp(nats_per_token) */
} krait_perplexity_result;

/* How well the model foresees tokens [n_tokens], at least 2. Memory does not depend on n_tokens. */
KRAIT_API krait_status krait_perplexity(krait_session *session, const int32_t *tokens, size_t n_tokens,
                                        const krait_perplexity_options *options, krait_perplexity_result *result,
                                        krait_error *error);

/* How far the predictions q of another model are from those p of a base. Standard errors are from the spread over tokens, as if
 * tokens were independent; 0 when only one is scored. */
typedef struct krait_comparison {
    krait_perplexity_result base, other;
    double kl_divergence; /* nats per token: mean of KL(p || q) = sum_i p[i] log(p[i] / q[i]); exactly 0 for equal logits */
    double kl_standard_error;
    double kl_p99; /* 99 % of the tokens have at most this, to 1 % of it (below 1e-12: 0) */
    double kl_max;
    double top1_agreement; /* share of the tokens at which both have the same most probable one, the lowest id of equals */
    double top1_standard_error;
    double nats_difference; /* other - base per token; its error is that of the paired differences, token by token */
    double nats_difference_standard_error;
    double perplexity_ratio; /* other / base = exp(nats_difference) */
    double perplexity_ratio_standard_error;
} krait_comparison;

/* Two models on the same tokens, in one pass over them. Their vocab_size must be the same, and so must be what their ids mean.
 * Memory does not depend on n_tokens. A token that is impossible to `other` but not to `base` is an error. */
KRAIT_API krait_status krait_compare(krait_session *base, krait_session *other, const int32_t *tokens, size_t n_tokens,
                                     const krait_perplexity_options *options, krait_comparison *result, krait_error *error);

/* ---- measuring the machine, for honest ratios -------------------------------------------------------------------- */

/* Bytes per second at which `threads` threads read a buffer of `bytes` from memory: the best of several passes. */
KRAIT_API krait_status krait_measure_read(int threads, size_t bytes, double *bytes_per_second, krait_error *error);
/* Seconds that the model's matrix products alone take for `n_tokens` tokens in one chunk, of which `n_logits` go through the
 * head: the same shapes, weights and GEMM as krait_run(), and nothing between them. */
KRAIT_API krait_status krait_measure_products(krait_session *session, size_t n_tokens, size_t n_logits, double *seconds,
                                              krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
