/* From a corpus to a tokenizer.json. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/threads.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "train/corpus.h"
#include "train/tokenizer_describe.h"

/* ---- words of a corpus ------------------------------------------------------------------------------------------- */

/* What a thread counts. */
typedef struct counter {
    kr_words words;
    kr_cutting cutting;
    kr_buffer normalized;
} counter;

typedef struct counting {
    const krait_tokenizer_training *training;
    kr_pretokenizers pretokenizers;
    counter *counters; /* [threads] */
} counting;

static krait_status count_word(void *user, const char *bytes, size_t length)
{
    counter *c = user;
    return kr_words_add(&c->words, bytes, length, 1, c->cutting.error);
}

static krait_status count_part(const counting *all, counter *c, const char *text, size_t length, krait_error *error)
{
    static const kr_normalizer nfc = KR_NORMALIZER_NFC;
    krait_status status = kr_normalize(&text, &length, &c->normalized, &nfc, all->training->nfc, text, length, error);
    c->cutting.pretokenizers = &all->pretokenizers;
    c->cutting.on_piece = count_word;
    c->cutting.user = c;
    c->cutting.error = error;
    return status ? status : kr_cut(&c->cutting, text, length, false);
}

static krait_status count_text(void *user, int thread, size_t slot, const kr_corpus_text *text, krait_error *error)
{
    const counting *all = user;
    counter *c = &all->counters[thread];
    (void)slot;
    krait_status status = text->prompt ? count_part(all, c, text->prompt, text->prompt_length, error) : KRAIT_OK;
    return status ? status : count_part(all, c, text->text, text->length, error);
}

static krait_status nothing(void *user, size_t slot, const char *name, krait_error *error)
{
    (void)user, (void)slot, (void)name, (void)error;
    return KRAIT_OK;
}

/* The words of all threads into the first one's. */
static krait_status gather(counter *counters, int threads, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (int t = 1; t < threads; t++) {
        kr_words *from = &counters[t].words;
        for (size_t i = 0; !status && i < from->n; i++)
            status = kr_words_add(&counters[0].words, from->bytes.data + from->words[i].offset, from->words[i].length,
                                  from->words[i].count, error);
        kr_words_free(from);
    }
    return status;
}

static krait_status count_corpus(counting *all, const krait_corpus *corpus, int threads, uint64_t *n_bytes, krait_error *error)
{
    kr_tokenizer_json cut = { 0 };
    if (all->training->digits)
        cut.pretokenizers[cut.n_pretokenizers++] =
            (kr_pretokenizer){ .type = KR_PRETOKENIZER_DIGITS, .behavior = KR_SPLIT_ISOLATED };
    cut.pretokenizers[cut.n_pretokenizers++] = (kr_pretokenizer){ .type = KR_PRETOKENIZER_BYTE_LEVEL, .use_regex = true };
    kr_corpus_files files = { 0 };
    kr_corpus_counts counts = { 0 };
    kr_corpus_work work = { .threads = threads,
                            .progress = all->training->progress,
                            .what = "counting words",
                            .user = all,
                            .text = count_text,
                            .done = nothing };
    krait_status status = kr_pretokenizers_build(&all->pretokenizers, "tokenizer", &cut, error);
    if (!status) status = kr_corpus_files_list(&files, corpus, error);
    if (!status) status = kr_corpus_walk(corpus, &files, &work, &counts, error);
    if (!status) status = gather(all->counters, threads, error);
    if (!status && all->counters[0].words.n == 0)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%.200s: expected text, found none in %zu file%s", corpus->paths[0],
                         files.n, files.n == 1 ? "" : "s");
    *n_bytes = counts.n_bytes;
    kr_corpus_files_free(&files);
    kr_pretokenizers_free(&all->pretokenizers);
    return status;
}

static krait_status train_bpe(kr_json_writer *json, const krait_corpus *corpus, const krait_tokenizer_training *training,
                              const kr_special_tokens *special, krait_tokenizer_trained *result, krait_error *error)
{
    if (!corpus || !corpus->paths || corpus->n_paths == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected texts to learn from, found none");
    if (training->vocab_size < 256 + special->n || training->vocab_size > KR_MAX_TOKEN_ID)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: vocab_size: expected %zu to %d, found %zu", 256 + special->n,
                       KR_MAX_TOKEN_ID, training->vocab_size);
    int threads = training->threads > 0 ? training->threads : kr_threads_available();
    counting all = { .training = training, .counters = kr_alloc_zero((size_t)threads, sizeof *all.counters) };
    if (!all.counters) return kr_fail_memory(error, "counts of words", (size_t)threads * sizeof *all.counters);
    krait_status status = count_corpus(&all, corpus, threads, &result->n_bytes, error);
    kr_bpe_trained trained = { 0 };
    const kr_words *words = &all.counters[0].words;
    if (!status)
        status = kr_bpe_train(&trained, words, training->vocab_size - special->n, training->min_count ? training->min_count : 2,
                              &training->progress, error);
    if (!status) {
        kr_describe_bpe(json, training, special, &trained);
        result->vocab_size = special->n + trained.tokens.n;
        result->n_merges = trained.n_merges;
        result->n_words = words->n_met;
        result->n_distinct = words->n;
    }
    kr_bpe_trained_free(&trained);
    for (int t = 0; t < threads; t++) {
        kr_words_free(&all.counters[t].words);
        kr_cutting_free(&all.counters[t].cutting);
        kr_free(all.counters[t].normalized.data);
    }
    kr_free(all.counters);
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static krait_status make(kr_json_writer *json, const krait_corpus *corpus, const krait_tokenizer_training *training,
                         const kr_special_tokens *special, krait_tokenizer_trained *result, krait_error *error)
{
    if (training->kind == KRAIT_TOKENIZER_BPE) return train_bpe(json, corpus, training, special, result, error);
    if (corpus)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected no texts, as there is nothing to learn from them");
    if (training->kind == KRAIT_TOKENIZER_BYTES) {
        kr_describe_bytes(json, special);
        result->vocab_size = 256 + special->n;
        return KRAIT_OK;
    }
    if (!training->alphabet || !*training->alphabet)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: alphabet: expected its characters, found none");
    return kr_describe_characters(json, training->alphabet, special, &result->vocab_size, error);
}

static krait_status save(const char *path, const kr_json_writer *json, krait_error *error)
{
    kr_writer writer;
    if (json->failed) return kr_fail_memory(error, "a tokenizer", json->length);
    krait_status status = kr_writer_open(&writer, path, error);
    if (status) return status;
    status = kr_writer_write(&writer, json->buffer, json->length, error);
    if (!status) status = kr_writer_write(&writer, "\n", 1, error);
    if (!status) return kr_writer_commit(&writer, error);
    kr_writer_abandon(&writer);
    return status;
}

krait_status krait_tokenizer_train(const char *path, const krait_corpus *corpus, const krait_tokenizer_training *training,
                                   krait_tokenizer_trained *result, krait_error *error)
{
    krait_tokenizer_trained unused;
    if (!result) result = &unused;
    *result = (krait_tokenizer_trained){ 0 };
    if (!path || !training)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a path and what to train, found NULL");
    if ((unsigned)training->kind > KRAIT_TOKENIZER_CHARACTERS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: kind: expected bpe, bytes or characters, found %d",
                       (int)training->kind);
    kr_special_tokens special;
    kr_json_writer json = { .indent = 2 };
    krait_status status = kr_special_tokens_make(&special, training, error);
    if (!status) status = make(&json, corpus, training, &special, result, error);
    if (!status) status = save(path, &json, error);
    if (status) *result = (krait_tokenizer_trained){ 0 };
    kr_free(json.buffer);
    kr_free(special.texts);
    return status;
}
