/* Writing token files: tokens as they come, everything that is known last (starts, mask, sums, the header) at the end. */
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "train/token_file.h"

/* u64 numbers, as the file has them. */
typedef struct numbers {
    unsigned char *bytes;
    size_t n, capacity;
} numbers;

struct krait_token_writer {
    kr_writer writer;
    krait_token_file_info info;
    unsigned char *block; /* [KR_TOKENS_BLOCK] what is not written yet */
    size_t used;
    numbers documents, sums;
    unsigned char *mask; /* NULL until something is not to be learned */
    size_t mask_capacity;
    bool open;   /* a document has begun */
    bool failed; /* an earlier call failed: nothing but free is of use */
};

static krait_status push(numbers *list, uint64_t value, krait_error *error)
{
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        unsigned char *bytes = kr_realloc(list->bytes, capacity, 8);
        if (!bytes) return kr_fail_memory(error, "documents", 8 * capacity);
        list->bytes = bytes;
        list->capacity = capacity;
    }
    kr_write_little(list->bytes + 8 * list->n++, 8, value);
    return KRAIT_OK;
}

static krait_status flush(krait_token_writer *w, krait_error *error)
{
    if (w->used == 0) return KRAIT_OK;
    krait_status status = push(&w->sums, kr_checksum(w->block, w->used), error);
    if (!status) status = kr_writer_write(&w->writer, w->block, w->used, error);
    w->used = 0;
    return status;
}

/* Bytes into the summed part of the file. */
static krait_status put(krait_token_writer *w, const void *data, size_t size, krait_error *error)
{
    const unsigned char *bytes = data;
    while (size > 0) {
        size_t room = KR_TOKENS_BLOCK - w->used, n = size < room ? size : room;
        memcpy(w->block + w->used, bytes, n);
        w->used += n;
        bytes += n;
        size -= n;
        krait_status status = w->used == KR_TOKENS_BLOCK ? flush(w, error) : KRAIT_OK;
        if (status) return status;
    }
    return KRAIT_OK;
}

static krait_status pad(krait_token_writer *w, uint64_t written, krait_error *error)
{
    static const unsigned char zeros[8];
    return put(w, zeros, (size_t)(-written % 8), error);
}

krait_status krait_token_writer_create(krait_token_writer **writer, const char *path, const krait_token_writer_options *options,
                                       krait_error *error)
{
    if (writer) *writer = NULL;
    if (!writer || !path || !options)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a pointer, a path and options, found NULL");
    if (options->vocab_size < 1 || options->vocab_size > INT32_MAX)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: vocab_size: expected 1 to %d, found %" PRId64, INT32_MAX,
                       options->vocab_size);
    if (!options->no_separator && (options->separator < 0 || options->separator >= options->vocab_size))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: separator: expected an id below %" PRId64 ", found %" PRId32,
                       options->vocab_size, options->separator);
    krait_token_writer *w = kr_alloc_zero(1, sizeof *w);
    if (!w) return kr_fail_memory(error, "a writer of tokens", sizeof *w);
    w->info = (krait_token_file_info){ .vocab_size = options->vocab_size,
                                       .separator = options->no_separator ? -1 : options->separator,
                                       .width = options->vocab_size <= 65536 ? 2 : 4,
                                       .tokenizer_fingerprint = options->tokenizer_fingerprint };
    w->writer.fd = -1;
    w->block = kr_alloc(KR_TOKENS_BLOCK, 1);
    krait_status status = w->block ? KRAIT_OK : kr_fail_memory(error, "a block of tokens", KR_TOKENS_BLOCK);
    if (!status) status = kr_writer_open(&w->writer, path, error);
    if (!status && !w->writer.temporary)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT,
                         "%s: expected a regular file: a token file is written back and forth, and mapped", path);
    static const unsigned char header[KR_TOKENS_HEADER];
    if (!status) status = kr_writer_write(&w->writer, header, sizeof header, error);
    if (status)
        krait_token_writer_free(w);
    else
        *writer = w;
    return status;
}

void krait_token_writer_free(krait_token_writer *writer)
{
    if (!writer) return;
    kr_writer_abandon(&writer->writer);
    kr_free(writer->block);
    kr_free(writer->documents.bytes);
    kr_free(writer->sums.bytes);
    kr_free(writer->mask);
    kr_free(writer);
}

const krait_token_file_info *krait_token_writer_get_info(const krait_token_writer *writer)
{
    return writer ? &writer->info : NULL;
}

/* ---- the mask ---------------------------------------------------------------------------------------------------- */

/* Makes room for n tokens behind those there are; all are to be learned at first. */
static krait_status grow_mask(krait_token_writer *w, size_t n, krait_error *error)
{
    size_t needed = (size_t)((w->info.n_tokens + n) / 8 + 1);
    if (w->mask && needed <= w->mask_capacity) return KRAIT_OK;
    size_t capacity = needed + needed / 2 + 64;
    unsigned char *mask = kr_realloc(w->mask, capacity, 1);
    if (!mask) return kr_fail_memory(error, "a mask", capacity);
    memset(mask + w->mask_capacity, 0xff, capacity - w->mask_capacity);
    w->mask = mask;
    w->mask_capacity = capacity;
    return KRAIT_OK;
}

static krait_status mask_out(krait_token_writer *w, const bool *learn, size_t n, krait_error *error)
{
    size_t i = 0;
    while (i < n && learn[i]) i++;
    if (i == n && !w->mask) return KRAIT_OK;
    krait_status status = grow_mask(w, n, error);
    if (status) return status;
    for (; i < n; i++) {
        uint64_t at = w->info.n_tokens + i;
        if (!learn[i]) w->mask[at / 8] &= (unsigned char)~(1u << at % 8);
    }
    w->info.masked = true;
    return KRAIT_OK;
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

static krait_status put_tokens(krait_token_writer *w, const int32_t *ids, size_t n, krait_error *error)
{
    enum { STRETCH = 4096 };
    unsigned char bytes[4 * STRETCH];
    for (size_t i = 0; i < n;) {
        size_t m = n - i < STRETCH ? n - i : STRETCH;
        for (size_t j = 0; j < m; j++) kr_write_little(bytes + j * (size_t)w->info.width, w->info.width, (uint64_t)ids[i + j]);
        krait_status status = put(w, bytes, m * (size_t)w->info.width, error);
        if (status) return status;
        i += m;
    }
    w->info.n_tokens += n;
    return KRAIT_OK;
}

static krait_status add(krait_token_writer *w, const int32_t *ids, const bool *learn, size_t n, krait_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= w->info.vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected ids below %" PRId64 ", found %" PRId32, w->writer.path,
                           w->info.vocab_size, ids[i]);
    krait_status status = KRAIT_OK;
    if (learn)
        status = mask_out(w, learn, n, error);
    else if (w->mask)
        status = grow_mask(w, n, error);
    return status ? status : put_tokens(w, ids, n, error);
}

static krait_status usable(const krait_token_writer *w, krait_error *error)
{
    if (!w) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a writer, found NULL");
    if (w->failed || !w->writer.path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: this writer has ended");
    return KRAIT_OK;
}

/* A document of nothing, where there is no separator either, would begin where the next one does. */
static krait_status close_document(const krait_token_writer *w, krait_error *error)
{
    if (w->open && w->info.separator < 0 && kr_read_little(w->documents.bytes + 8 * (w->documents.n - 1), 8) == w->info.n_tokens)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: document %zu: expected at least one token, as there is no separator, found none", w->writer.path,
                       w->documents.n - 1);
    return KRAIT_OK;
}

krait_status krait_token_writer_begin(krait_token_writer *writer, krait_error *error)
{
    krait_status status = usable(writer, error);
    if (status) return status;
    status = close_document(writer, error);
    if (!status) status = push(&writer->documents, writer->info.n_tokens, error);
    if (!status && writer->info.separator >= 0) status = add(writer, &writer->info.separator, NULL, 1, error);
    writer->failed = status != KRAIT_OK;
    if (!status) writer->open = true;
    if (!status) writer->info.n_documents++;
    return status;
}

krait_status krait_token_writer_add(krait_token_writer *writer, const int32_t *ids, const bool *learn, size_t n, uint64_t n_bytes,
                                    krait_error *error)
{
    krait_status status = usable(writer, error);
    if (status) return status;
    if (!ids && n) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected ids, found NULL");
    if (!writer->open) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected krait_token_writer_begin() first");
    status = add(writer, ids, learn, n, error);
    writer->info.n_bytes += n_bytes;
    writer->failed = status != KRAIT_OK;
    return status;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static void make_header(krait_token_writer *w, unsigned char *header)
{
    memset(header, 0, KR_TOKENS_HEADER);
    memcpy(header, KR_TOKENS_MAGIC, 8);
    kr_write_little(header + 8, 4, KR_TOKENS_VERSION);
    kr_write_little(header + 12, 4, (uint64_t)w->info.width);
    kr_write_little(header + 16, 8, w->info.n_tokens);
    kr_write_little(header + 24, 8, w->info.n_documents);
    kr_write_little(header + 32, 8, w->info.n_bytes);
    kr_write_little(header + 40, 8, w->info.tokenizer_fingerprint);
    kr_write_little(header + 48, 4, (uint64_t)w->info.vocab_size);
    kr_write_little(header + 52, 4, (uint64_t)(int64_t)w->info.separator);
    kr_write_little(header + 56, 4, w->info.masked);
    kr_write_little(header + 112, 8, kr_checksum(w->sums.bytes, 8 * w->sums.n));
    w->info.checksum = kr_checksum(header, 120);
    kr_write_little(header + 120, 8, w->info.checksum);
}

static krait_status commit(krait_token_writer *w, krait_error *error)
{
    krait_status status = close_document(w, error);
    if (!status && w->open && w->info.separator >= 0) status = add(w, &w->info.separator, NULL, 1, error);
    if (status) return status;
    if (w->info.n_tokens < 2)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected at least 2 tokens, found %" PRIu64, w->writer.path,
                       w->info.n_tokens);
    unsigned char header[KR_TOKENS_HEADER];
    status = pad(w, w->info.n_tokens * (uint64_t)w->info.width, error);
    if (!status) status = put(w, w->documents.bytes, 8 * w->documents.n, error);
    if (!status && w->mask) {
        size_t n = (size_t)(w->info.n_tokens / 8 + (w->info.n_tokens % 8 != 0));
        if (w->info.n_tokens % 8) w->mask[n - 1] &= (unsigned char)((1u << w->info.n_tokens % 8) - 1);
        status = put(w, w->mask, n, error);
        if (!status) status = pad(w, n, error);
    }
    if (!status) status = flush(w, error);
    if (!status) status = kr_writer_write(&w->writer, w->sums.bytes, 8 * w->sums.n, error);
    if (status) return status;
    make_header(w, header);
    status = kr_writer_overwrite(&w->writer, 0, header, sizeof header, error);
    return status ? status : kr_writer_commit(&w->writer, error);
}

krait_status krait_token_writer_commit(krait_token_writer *writer, krait_error *error)
{
    krait_status status = usable(writer, error);
    if (status) return status;
    status = commit(writer, error);
    writer->failed = true;
    return status;
}
