/* Reading the text that models and tokenizers are made from: files, folders and streams as documents, in stretches that are worked on in
 * parallel and put together in order, so that nothing depends on the number of threads.
 *
 *     paths ──sorted──> files ──cut──> stretches ──work, on any thread──> ──done, in order──> whoever asked
 *
 * A stretch is a part of one document of plain text, or whole lines of JSON, each a document. Memory does not grow with the input, but for
 * a line of JSON, and what is asked for. */
#ifndef KR_TRAIN_CORPUS_H
#define KR_TRAIN_CORPUS_H

#include "base/file.h"
#include "krait/data.h"

/* The files that a corpus' paths stand for: folders give their files, recursively, in the order of their bytes, without hidden ones.
 * Names are as given, or folder/name; "-" is stdin. */
typedef struct kr_corpus_files {
    char **names; /* [n] */
    size_t n, capacity;
    uint64_t n_bytes; /* of all, as far as sizes are known; 0 when one is a stream */
} kr_corpus_files;

/* An error: a path that is not there, no file at all, an `include` or `exclude` that fits none. */
krait_status kr_corpus_files_list(kr_corpus_files *files, const krait_corpus *corpus, krait_error *error);
void kr_corpus_files_free(kr_corpus_files *files);
/* Whether a pattern fits a name: all of it, or what is behind its last slash. */
bool kr_corpus_fits(const char *pattern, const char *name);

/* Text ready for use: line ends and invalid bytes are as the corpus asks. */
typedef struct kr_corpus_text {
    const char *text;
    size_t length;
    const char *prompt; /* in front of it, not to be learned; NULL: none */
    size_t prompt_length;
    bool begins; /* a document begins here; else it goes on */
} kr_corpus_text;

/* A file being read: mapped, or the part of a stream that is in memory. */
typedef struct kr_corpus_source {
    const char *name;
    kr_file file;
    int fd;       /* of a stream; -1 */
    char *buffer; /* of a stream: [capacity] */
    size_t capacity;
    const char *data;
    size_t size;
    uint64_t before;       /* bytes, */
    uint64_t lines_before; /* and lines, in front of data */
    bool at_end;           /* there is nothing behind data */
} kr_corpus_source;

typedef struct kr_corpus_stretch {
    const kr_corpus_source *source;
    const char *data;
    size_t length;
    bool begins; /* plain text: the document does */
} kr_corpus_stretch;

typedef struct kr_corpus_work {
    int threads;             /* 0: as many as the process may use */
    krait_progress progress; /* bytes */
    const char *what;        /* for progress */
    void *user;
    /* Called on any thread with the texts of stretch number `slot` of at most KR_CORPUS_SLOTS that are worked on at a time, in their order.
     * `thread` counts from 0. */
    krait_status (*text)(void *user, int thread, size_t slot, const kr_corpus_text *text, krait_error *error);
    /* Called on the caller's thread when that stretch is done, stretch by stretch in the order of the corpus. */
    krait_status (*done)(void *user, size_t slot, const char *name, krait_error *error);
    /* Whether text[0..length), a part of a document, gives the same in one piece as cut at `at`. NULL: it does, in front of a line feed
     * and a character that is no white space. */
    bool (*may_cut)(void *user, const char *text, size_t length, size_t at);
} kr_corpus_work;

enum { KR_CORPUS_SLOTS = 64 };

typedef struct kr_corpus_counts {
    uint64_t n_bytes;   /* read */
    uint64_t n_invalid; /* runs of bytes that were no UTF-8, replaced or left out */
} kr_corpus_counts;

krait_status kr_corpus_walk(const krait_corpus *corpus, const kr_corpus_files *files, const kr_corpus_work *work,
                            kr_corpus_counts *counts, krait_error *error);

/* What cleaning and parsing need, kept from stretch to stretch. A zeroed one is ready. */
typedef struct kr_corpus_scratch {
    char *buffer[3]; /* of text, of prompt, of a line */
    size_t capacity[3];
    uint64_t n_invalid;
} kr_corpus_scratch;

void kr_corpus_scratch_free(kr_corpus_scratch *scratch);
/* Writes text[0..length) without the CR of each CR LF to `out`, which may be `text`; returns the new length. */
size_t kr_corpus_drop_returns(char *out, const char *text, size_t length);
/* Gives the texts of a stretch to `text`. */
krait_status kr_corpus_parse(const krait_corpus *corpus, const kr_corpus_stretch *stretch, kr_corpus_scratch *scratch,
                             krait_status (*text)(void *user, const kr_corpus_text *text, krait_error *error), void *user,
                             krait_error *error);

#endif
