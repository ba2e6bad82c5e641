/* krait: the data that models are trained on.
 *
 * Text becomes a token file once (krait_token_writer, or `krait data`); training maps the file and takes batches of it in an order
 * that a seed fixes:
 *
 *   krait_token_file *file; krait_dataset *dataset; krait_train_row rows[8]; size_t n; krait_error error;
 *   if (krait_token_file_open(&file, "novels.tokens", &error)
 *       || krait_dataset_create(&dataset, file, 8, 256, KRAIT_ORDER_SHUFFLED, seed, &error)
 *       || krait_dataset_batch(dataset, index, rows, NULL, &n, &error))
 *       fprintf(stderr, "%s\n", error.message);
 *
 * The conventions are those of krait.h. */
#ifndef KRAIT_DATA_H
#define KRAIT_DATA_H

#include "krait/krait.h"
#include "krait/train_row.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- token files ------------------------------------------------------------------------------------------------- */

/* A number that says what the ids mean: FNV-1a (64 bits) over the vocabulary's size, and id, length, bytes and specialness of every token. 0
 * in a build without text. */
KRAIT_API uint64_t krait_tokenizer_fingerprint(const krait_tokenizer *tokenizer);

/* Documents as token ids, one after another, mapped; src/train/token_file.h has the layout. With a separator (the end-of-document
 * token), each document begins with it, and one more ends the file: so the end of a document is something to be foreseen, and so
 * is its first token, from the separator alone. */
typedef struct krait_token_file krait_token_file;

typedef struct krait_token_file_info {
    uint64_t n_tokens; /* separators included */
    uint64_t n_documents;
    uint64_t n_bytes; /* of the text */
    int64_t vocab_size;
    int32_t separator;              /* -1: none */
    int width;                      /* bytes of a token: 2 or 4 */
    bool masked;                    /* some tokens are not to be learned (prompts, when fine-tuning) */
    uint64_t tokenizer_fingerprint; /* 0: not known */
    uint64_t checksum;              /* of all of it: two files with the same one hold the same */
} krait_token_file_info;

/* Everything but the tokens themselves is checked; the tokens are by krait_token_file_verify(), which reads them all. */
KRAIT_API krait_status krait_token_file_open(krait_token_file **file, const char *path, krait_error *error);
/* `name` is for messages; the bytes must outlive the file. */
KRAIT_API krait_status krait_token_file_open_memory(krait_token_file **file, const char *name, const void *data, size_t size,
                                                    krait_error *error);
KRAIT_API void krait_token_file_free(krait_token_file *file);
KRAIT_API const krait_token_file_info *krait_token_file_get_info(const krait_token_file *file);
/* The path given to open. */
KRAIT_API const char *krait_token_file_path(const krait_token_file *file);
/* Compares the checksum of every block of 1 MiB; the error says which bytes are not what was written. `progress` (bytes) may be NULL. */
KRAIT_API krait_status krait_token_file_verify(const krait_token_file *file, const krait_progress *progress, krait_error *error);
/* KRAIT_ERROR_ARGUMENT when the file's ids are those of another tokenizer; a file that does not know passes if its ids fit. */
KRAIT_API krait_status krait_token_file_check_tokenizer(const krait_token_file *file, const krait_tokenizer *tokenizer,
                                                        krait_error *error);
/* Copies tokens first .. first + n - 1. An id that is not below vocab_size is KRAIT_ERROR_FORMAT: the file is damaged. */
KRAIT_API krait_status krait_token_file_read(const krait_token_file *file, uint64_t first, size_t n, int32_t *out,
                                             krait_error *error);
/* Where document `index` begins, and its length with the separator in front. */
KRAIT_API krait_status krait_token_file_document(const krait_token_file *file, uint64_t index, uint64_t *first, uint64_t *count,
                                                 krait_error *error);
/* Whether a token is to be learned. */
KRAIT_API bool krait_token_file_is_target(const krait_token_file *file, uint64_t index);

typedef struct krait_token_writer krait_token_writer;

typedef struct krait_token_writer_options {
    int64_t vocab_size; /* every id is below it; up to 65536 a token takes 2 bytes, else 4 */
    bool no_separator;  /* documents follow each other with nothing between */
    int32_t separator;
    uint64_t tokenizer_fingerprint; /* 0: not known */
} krait_token_writer_options;

/* The file appears at `path`, a regular file, on commit, complete or not at all. Memory: 1 MiB, 8 bytes per document, and one bit per token if
 * there is a mask. */
KRAIT_API krait_status krait_token_writer_create(krait_token_writer **writer, const char *path,
                                                 const krait_token_writer_options *options, krait_error *error);
/* Appends a document, in pieces if that suits: `begin` opens it (and writes the separator), `add` appends tokens. A document may be empty where
 * there is a separator. `learn` [n]: false for tokens that are not to be learned; NULL: all are. n_bytes: of the text they are made of. */
KRAIT_API krait_status krait_token_writer_begin(krait_token_writer *writer, krait_error *error);
KRAIT_API krait_status krait_token_writer_add(krait_token_writer *writer, const int32_t *ids, const bool *learn, size_t n,
                                              uint64_t n_bytes, krait_error *error);
/* What was written so far. */
KRAIT_API const krait_token_file_info *krait_token_writer_get_info(const krait_token_writer *writer);
/* Writes the rest and gives the file its name. Fewer than two tokens are an error. Only krait_token_writer_free() may follow. */
KRAIT_API krait_status krait_token_writer_commit(krait_token_writer *writer, krait_error *error);
/* Without commit nothing is left behind. */
KRAIT_API void krait_token_writer_free(krait_token_writer *writer);

/* ---- text into token files --------------------------------------------------------------------------------------- */

/* What to do about bytes that are no UTF-8. */
typedef enum krait_invalid {
    KRAIT_INVALID_ERROR = 0, /* KRAIT_ERROR_FORMAT, by file and byte */
    KRAIT_INVALID_REPLACE,   /* each run of them becomes U+FFFD */
    KRAIT_INVALID_SKIP       /* they are left out */
} krait_invalid;

/* Text, as files. A file is a document, unless `separator` cuts it into several; with `json_field` each line of it is one. A byte
 * order mark is no part of the text. */
typedef struct krait_corpus {
    const char *const
        *paths; /* [n_paths] files, folders (all files in them, recursively, in the order of their names' bytes, without hidden
                                 ones), and "-": stdin */
    size_t n_paths;
    const char *const
        *include; /* [n_include] of files in folders only those that one of these patterns fits (* and ?): the whole name, or
                                   what is behind its last slash */
    size_t n_include;
    const char *const *exclude; /* [n_exclude] none that one of these fits */
    size_t n_exclude;
    const char *json_field;   /* files are lines of JSON objects, and this string in them is the text; NULL: plain text */
    const char *prompt_field; /* a string in front of it, to be read but not to be learned; NULL: none */
    const char *separator;    /* plain text: what stands between documents, with the line ends around it; NULL: nothing */
    bool crlf;                /* CR LF is read as LF */
    krait_invalid invalid;
} krait_corpus;

typedef struct krait_data_options {
    const char *held_out_path;   /* a second token file, of what models are not trained on; NULL: none */
    const char *const *held_out; /* [n_held_out] patterns of the names of its files, as those of a corpus */
    size_t n_held_out;
    double held_out_share; /* or, when there are no patterns: the share of documents, each chosen by the seed and its number */
    uint64_t seed;
    bool no_special;         /* text that spells a special token is ordinary text */
    bool no_separator;       /* nothing between documents */
    int32_t separator;       /* the token between them otherwise */
    int threads;             /* 0: as many as the process may use */
    krait_progress progress; /* bytes of text */
} krait_data_options;

typedef struct krait_data_result {
    krait_token_file_info training, held_out; /* the latter zero when there is none */
    uint64_t n_files;
    uint64_t n_bytes;   /* read */
    uint64_t n_empty;   /* documents without text, left out */
    uint64_t n_invalid; /* runs of bytes replaced or left out */
} krait_data_result;

/* Tokenises a corpus into a token file at `path`, and one of what is held out. Files appear complete or not at all, the held-out
 * one first. The same bytes for any number of threads; a long document's tokens are those of krait_tokenizer_encode() on all of
 * it. Memory: 32 MiB of text at a time, and a document that can be cut nowhere. A pattern that fits nothing, and a corpus or part of less
 * than two tokens, are errors. `options` (NULL: all 0, so that the separator is token 0) and `result` may be NULL. */
KRAIT_API krait_status krait_data_write(const krait_corpus *corpus, const krait_tokenizer *tokenizer, const char *path,
                                        const krait_data_options *options, krait_data_result *result, krait_error *error);

/* ---- making tokenizers ------------------------------------------------------------------------------------------- */

typedef enum krait_tokenizer_kind {
    KRAIT_TOKENIZER_BPE = 0,   /* byte-level byte pair encoding, cut into words as GPT-2 does, learned from a corpus */
    KRAIT_TOKENIZER_BYTES,     /* a token for each byte, its id being the byte; special tokens follow */
    KRAIT_TOKENIZER_CHARACTERS /* a token for each character of an alphabet (DNA, proteins), behind the special ones */
} krait_tokenizer_kind;

typedef struct krait_tokenizer_training {
    krait_tokenizer_kind kind;
    size_t vocab_size; /* BPE: of all tokens, special ones included, at least 256 more than these */
    const char *const
        *special; /* [n_special] texts of special tokens; BPE and CHARACTERS give them the first ids. NULL: <|endoftext|> alone */
    size_t n_special;
    bool no_special;      /* not even that one */
    bool nfc;             /* BPE: texts are brought into Unicode's normal form C first */
    bool digits;          /* BPE: each digit is a word of its own */
    uint64_t min_count;   /* BPE: pairs that are met less often are not merged; 0: 2 */
    const char *alphabet; /* CHARACTERS: each of its characters, which are ASCII or not, becomes a token, in this order */
    const char *
        unknown; /* CHARACTERS: the special token that every other character becomes, added if it is not among them; NULL: "<unk>" */
    int threads;             /* 0: as many as the process may use */
    krait_progress progress; /* bytes of text, then tokens */
} krait_tokenizer_training;

typedef struct krait_tokenizer_trained {
    size_t vocab_size; /* less than was asked for when no pair is left to merge */
    size_t n_merges;
    uint64_t n_bytes; /* of text */
    uint64_t n_words; /* met, and how many of them differ */
    uint64_t n_distinct;
} krait_tokenizer_trained;

/* Writes a tokenizer.json, complete or not at all, that krait_tokenizer_load() and Hugging Face's tokenizers read and encode identically with.
 * `corpus` is NULL but for BPE; its prompts are learned from like its texts. Nothing depends on the number of threads: of equally
 * frequent pairs, that with the smaller left id is merged first, then that with the smaller right id. In a build without text
 * KRAIT_ERROR_UNSUPPORTED. `result` may be NULL. */
KRAIT_API krait_status krait_tokenizer_train(const char *path, const krait_corpus *corpus,
                                             const krait_tokenizer_training *training, krait_tokenizer_trained *result,
                                             krait_error *error);

/* ---- batches ----------------------------------------------------------------------------------------------------- */

typedef enum krait_order {
    KRAIT_ORDER_SHUFFLED = 0, /* windows from everywhere, each from a zero state */
    KRAIT_ORDER_STREAMS /* as many stretches as there are rows, read side by side from window to window, states carried on */
} krait_order;

/* The file's tokens cut into windows, in batches. An epoch has every token exactly once as a target, but for the file's first,
 * those that are masked, and, without a separator, the first of each document.
 *
 * With n tokens there are n - 1 positions to predict from, thought of as a ring whose ends meet as documents do. Each epoch turns
 * the ring by an offset of its own (streams: but the first) and cuts it into windows of equal length, the last possibly shorter.
 * KRAIT_ORDER_SHUFFLED deals the windows out in the order of a permutation; KRAIT_ORDER_STREAMS gives each row an equal share of the ring, whose
 * windows come in order. Offset and permutation depend on seed and epoch alone, and a batch on its number alone. */
typedef struct krait_dataset krait_dataset;

/* window: tokens of a row at most. The file, of at least two tokens, must outlive the dataset. */
KRAIT_API krait_status krait_dataset_create(krait_dataset **dataset, const krait_token_file *file, size_t rows, size_t window,
                                            krait_order order, uint64_t seed, krait_error *error);
KRAIT_API void krait_dataset_free(krait_dataset *dataset);
KRAIT_API uint64_t krait_dataset_batches_per_epoch(const krait_dataset *dataset);
/* Targets that are to be learned in an epoch. */
KRAIT_API uint64_t krait_dataset_targets_per_epoch(const krait_dataset *dataset);
/* Batch number `index` (from 0, through all epochs). Fills rows[0 .. *n_rows), whose pointers live until the next call; their states are
 * NULL. *n_rows is smaller than `rows` when an epoch's last batch, or a file too short for so many, has no more; streams that have
 * ended are always the last ones. reset [rows], NULL if not wanted: the row begins anew, and a state that is carried must be reset. */
KRAIT_API krait_status krait_dataset_batch(krait_dataset *dataset, uint64_t index, krait_train_row *rows, bool *reset,
                                           size_t *n_rows, krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
