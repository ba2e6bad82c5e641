/* Tokenising a corpus. */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "train/corpus.h"

/* A text as tokens: those of the prompt, then its own. */
typedef struct encoded {
    int32_t *ids[2];
    size_t n[2];
    uint64_t n_bytes;
    bool begins;
} encoded;

typedef struct encoded_list {
    encoded *items;
    size_t n, capacity;
} encoded_list;

typedef struct job {
    const krait_data_options *options;
    const krait_tokenizer *tokenizer;
    krait_token_writer *training, *held_out, *current; /* current: of the document that was begun last */
    bool *pattern_used;                                /* [n_held_out] */
    bool pending;                                      /* the document that was begun has no token yet */
    uint64_t n_documents, n_empty;
    encoded_list slots[KR_CORPUS_SLOTS];
} job;

/* ---- on any thread ----------------------------------------------------------------------------------------------- */

static krait_status encode(const job *j, const char *text, size_t length, int32_t **ids, size_t *n, krait_error *error)
{
    krait_encode_options how = { .no_special = j->options->no_special };
    return krait_tokenizer_encode(j->tokenizer, text, length, &how, ids, n, error);
}

static krait_status encode_text(void *user, int thread, size_t slot, const kr_corpus_text *text, krait_error *error)
{
    job *j = user;
    (void)thread;
    encoded_list *list = &j->slots[slot];
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 4;
        encoded *items = kr_realloc(list->items, capacity, sizeof *items);
        if (!items) return kr_fail_memory(error, "texts", capacity * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    encoded *e = &list->items[list->n++];
    *e = (encoded){ .n_bytes = (uint64_t)text->length + text->prompt_length, .begins = text->begins };
    krait_status status = encode(j, text->prompt, text->prompt_length, &e->ids[0], &e->n[0], error);
    return status ? status : encode(j, text->text, text->length, &e->ids[1], &e->n[1], error);
}

/* Called in between on the caller's thread. */
static bool may_cut(void *user, const char *text, size_t length, size_t at)
{
    const job *j = user;
    int32_t *whole = NULL, *front = NULL, *back = NULL;
    size_t n = 0, n_front = 0, n_back = 0;
    bool same = encode(j, text, length, &whole, &n, NULL) == KRAIT_OK && encode(j, text, at, &front, &n_front, NULL) == KRAIT_OK
                && encode(j, text + at, length - at, &back, &n_back, NULL) == KRAIT_OK && n == n_front + n_back && n_front
                && n_back && memcmp(whole, front, n_front * sizeof *whole) == 0
                && memcmp(whole + n_front, back, n_back * sizeof *whole) == 0;
    krait_free(whole);
    krait_free(front);
    krait_free(back);
    return same;
}

/* ---- in order ---------------------------------------------------------------------------------------------------- */

static void begin_document(job *j, const char *name)
{
    const krait_data_options *o = j->options;
    j->n_empty += j->pending;
    j->pending = true;
    j->current = j->training;
    if (j->held_out && o->n_held_out == 0) {
        /* The first of 2^53 equal parts of 0 .. 1 that the document's number falls into. */
        uint64_t part = kr_mix(kr_mix(o->seed) + j->n_documents * UINT64_C(0x9e3779b97f4a7c15)) >> 11;
        if ((double)part < o->held_out_share * 0x1p53) j->current = j->held_out;
    }
    for (size_t i = 0; i < o->n_held_out; i++)
        if (kr_corpus_fits(o->held_out[i], name)) {
            j->pattern_used[i] = true;
            j->current = j->held_out;
        }
    j->n_documents++;
}

static krait_status put_prompt(krait_token_writer *writer, const encoded *e, krait_error *error)
{
    if (e->n[0] == 0) return KRAIT_OK;
    bool *learn = kr_alloc_zero(e->n[0], sizeof *learn);
    if (!learn) return kr_fail_memory(error, "a mask", e->n[0]);
    krait_status status = krait_token_writer_add(writer, e->ids[0], learn, e->n[0], 0, error);
    kr_free(learn);
    return status;
}

static krait_status write_texts(void *user, size_t slot, const char *name, krait_error *error)
{
    job *j = user;
    encoded_list *list = &j->slots[slot];
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < list->n; i++) {
        const encoded *e = &list->items[i];
        if (e->begins) begin_document(j, name);
        if (e->n[0] + e->n[1] == 0) continue;
        if (j->pending) status = krait_token_writer_begin(j->current, error);
        j->pending = false;
        if (!status) status = put_prompt(j->current, e, error);
        if (!status) status = krait_token_writer_add(j->current, e->ids[1], NULL, e->n[1], e->n_bytes, error);
    }
    for (size_t i = 0; i < list->n; i++) {
        krait_free(list->items[i].ids[0]);
        krait_free(list->items[i].ids[1]);
    }
    list->n = 0;
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static krait_status check_options(const krait_corpus *corpus, const krait_tokenizer *tokenizer, const char *path,
                                  const krait_data_options *o, krait_error *error)
{
    if (!corpus || !tokenizer || !path || (!corpus->paths && corpus->n_paths))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: expected a corpus, a tokenizer and a path, found NULL");
    if (corpus->separator && (corpus->json_field || !*corpus->separator))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: separator: expected a text, of documents that are no lines of JSON");
    if (corpus->prompt_field && !corpus->json_field)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: prompt_field: expected json_field beside it, found NULL");
    if ((unsigned)corpus->invalid > KRAIT_INVALID_SKIP)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: invalid: expected 0 .. %d, found %d", KRAIT_INVALID_SKIP,
                       (int)corpus->invalid);
    if (!(o->held_out_share >= 0 && o->held_out_share < 1))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: held_out_share: expected a share from 0 to below 1, found %g",
                       o->held_out_share);
    bool chosen = o->n_held_out > 0 || o->held_out_share > 0;
    if (chosen != (o->held_out_path != NULL) || (o->n_held_out > 0 && o->held_out_share > 0))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "data: held_out_path: expected it with patterns, or with a share, of what is held out");
    if (o->held_out_path && strcmp(o->held_out_path, path) == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "data: %s: expected two files, for training and for what is held out", path);
    return KRAIT_OK;
}

static krait_status check_split(const job *j, krait_error *error)
{
    const krait_data_options *o = j->options;
    for (size_t i = 0; i < o->n_held_out; i++)
        if (!j->pattern_used[i])
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "held out %.200s: expected a pattern that fits some file, found none it fits", o->held_out[i]);
    if (!j->held_out) return KRAIT_OK;
    const krait_token_writer *const writers[] = { j->training, j->held_out };
    for (int i = 0; i < 2; i++)
        if (krait_token_writer_get_info(writers[i])->n_documents == 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "held out: expected some documents to be held out and others not, found %s of %" PRIu64,
                           i ? "none" : "all", j->n_documents - j->n_empty);
    return KRAIT_OK;
}

static krait_status write_all(job *j, const krait_corpus *corpus, const char *path, krait_data_result *result, krait_error *error)
{
    const krait_data_options *o = j->options;
    krait_token_writer_options how = { .vocab_size = (int64_t)krait_tokenizer_vocab_size(j->tokenizer),
                                       .no_separator = o->no_separator,
                                       .separator = o->separator,
                                       .tokenizer_fingerprint = krait_tokenizer_fingerprint(j->tokenizer) };
    kr_corpus_files files;
    krait_status status = kr_corpus_files_list(&files, corpus, error);
    if (status) return status;
    status = krait_token_writer_create(&j->training, path, &how, error);
    if (!status && o->held_out_path) status = krait_token_writer_create(&j->held_out, o->held_out_path, &how, error);
    kr_corpus_work work = { .threads = o->threads,
                            .progress = o->progress,
                            .what = "tokenising",
                            .user = j,
                            .text = encode_text,
                            .done = write_texts,
                            .may_cut = may_cut };
    kr_corpus_counts counts = { 0 };
    if (!status) status = kr_corpus_walk(corpus, &files, &work, &counts, error);
    j->n_empty += j->pending;
    if (!status && krait_token_writer_get_info(j->training)->n_documents == 0 && !j->held_out)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%.200s: expected text, found none in %zu file%s", corpus->paths[0],
                         files.n, files.n == 1 ? "" : "s");
    if (!status) status = check_split(j, error);
    if (!status && j->held_out) status = krait_token_writer_commit(j->held_out, error);
    if (!status) status = krait_token_writer_commit(j->training, error);
    if (!status && result) {
        *result = (krait_data_result){ .training = *krait_token_writer_get_info(j->training),
                                       .n_files = files.n,
                                       .n_bytes = counts.n_bytes,
                                       .n_empty = j->n_empty,
                                       .n_invalid = counts.n_invalid };
        if (j->held_out) result->held_out = *krait_token_writer_get_info(j->held_out);
    }
    kr_corpus_files_free(&files);
    return status;
}

krait_status krait_data_write(const krait_corpus *corpus, const krait_tokenizer *tokenizer, const char *path,
                              const krait_data_options *options, krait_data_result *result, krait_error *error)
{
    static const krait_data_options usual;
    if (result) *result = (krait_data_result){ 0 };
    if (!options) options = &usual;
    krait_status status = check_options(corpus, tokenizer, path, options, error);
    if (status) return status;
    job *j = kr_alloc_zero(1, sizeof *j);
    if (!j) return kr_fail_memory(error, "tokenising", sizeof *j);
    j->options = options;
    j->tokenizer = tokenizer;
    j->pattern_used = kr_alloc_zero(options->n_held_out, sizeof *j->pattern_used);
    status = j->pattern_used ? write_all(j, corpus, path, result, error) : kr_fail_memory(error, "patterns", options->n_held_out);
    krait_token_writer_free(j->training);
    krait_token_writer_free(j->held_out);
    for (size_t s = 0; s < KR_CORPUS_SLOTS; s++) {
        for (size_t i = 0; i < j->slots[s].n; i++) {
            krait_free(j->slots[s].items[i].ids[0]);
            krait_free(j->slots[s].items[i].ids[1]);
        }
        kr_free(j->slots[s].items);
    }
    kr_free(j->pattern_used);
    kr_free(j);
    return status;
}
