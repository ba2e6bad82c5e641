#include "train/token_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"

struct krait_token_file {
    kr_file file;
    krait_token_file_info info;
    kr_token_layout layout;
    const unsigned char *bytes, *tokens, *documents, *mask; /* mask: NULL when there is none */
};

/* ---- the layout -------------------------------------------------------------------------------------------------- */

/* Adds a section of n elements at *end, filled up to a multiple of 8. */
static bool add_section(uint64_t *end, uint64_t n, uint64_t size)
{
    uint64_t bytes;
    return !__builtin_mul_overflow(n, size, &bytes) && !__builtin_add_overflow(bytes, 7, &bytes)
           && !__builtin_add_overflow(*end, bytes / 8 * 8, end);
}

bool kr_token_layout_of(kr_token_layout *layout, const krait_token_file_info *info)
{
    uint64_t end = KR_TOKENS_HEADER;
    if (!add_section(&end, info->n_tokens, (uint64_t)info->width)) return false;
    layout->documents = end;
    if (!add_section(&end, info->n_documents, 8)) return false;
    layout->mask = end;
    if (info->masked && !add_section(&end, info->n_tokens / 8 + (info->n_tokens % 8 != 0), 1)) return false;
    layout->sums = end;
    uint64_t summed = end - KR_TOKENS_HEADER;
    layout->n_blocks = summed / KR_TOKENS_BLOCK + (summed % KR_TOKENS_BLOCK != 0);
    if (!add_section(&end, layout->n_blocks, 8)) return false;
    layout->end = end;
    return true;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static krait_status read_header(krait_token_file *f, krait_error *error)
{
    const char *name = f->file.name;
    const unsigned char *h = f->bytes;
    if (f->file.size < KR_TOKENS_HEADER || memcmp(h, KR_TOKENS_MAGIC, 8) != 0)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a token file, which begins with %s and has at least %d bytes",
                       name, KR_TOKENS_MAGIC, KR_TOKENS_HEADER);
    uint64_t version = kr_read_little(h + 8, 4), width = kr_read_little(h + 12, 4), vocab_size = kr_read_little(h + 48, 4),
             flags = kr_read_little(h + 56, 4);
    int32_t separator = (int32_t)kr_read_little(h + 52, 4);
    if (version != KR_TOKENS_VERSION)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: token file: version: expected %d, found %" PRIu64, name,
                       KR_TOKENS_VERSION, version);
    uint64_t sum = kr_checksum(h, 120), stored = kr_read_little(h + 120, 8);
    if (sum != stored)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: damaged: the checksum of its header is %016" PRIx64 ", expected %016" PRIx64, name, sum, stored);
    f->info = (krait_token_file_info){ .n_tokens = kr_read_little(h + 16, 8),
                                       .n_documents = kr_read_little(h + 24, 8),
                                       .n_bytes = kr_read_little(h + 32, 8),
                                       .vocab_size = (int64_t)vocab_size,
                                       .separator = separator,
                                       .width = (int)width,
                                       .masked = (flags & 1) != 0,
                                       .tokenizer_fingerprint = kr_read_little(h + 40, 8),
                                       .checksum = stored };
    if (width != 2 && width != 4)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: token file: width: expected 2 or 4, found %" PRIu64, name, width);
    if (vocab_size < 1 || vocab_size > INT32_MAX || (width == 2 && vocab_size > 65536))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: token file: vocab_size: expected 1 to %d, found %" PRIu64, name,
                       width == 2 ? 65536 : INT32_MAX, vocab_size);
    if (separator < -1 || separator >= (int64_t)vocab_size)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: token file: separator: expected -1 or an id below %" PRIu64 ", found %" PRId32, name, vocab_size,
                       separator);
    for (size_t i = 60; i < 112; i++)
        if (flags > 1 || h[i] != 0)
            return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                           "%s: token file: flags: expected 0 or 1 and zeros behind, found others", name);
    if (f->info.n_tokens < 2)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: token file: n_tokens: expected at least 2, found %" PRIu64, name,
                       f->info.n_tokens);
    if (f->info.n_documents < 1 || f->info.n_documents > f->info.n_tokens)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: token file: n_documents: expected 1 to %" PRIu64 ", found %" PRIu64, name,
                       f->info.n_tokens, f->info.n_documents);
    if (!kr_token_layout_of(&f->layout, &f->info))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: token file: n_tokens: %" PRIu64 " are more than a file can hold", name,
                       f->info.n_tokens);
    if (f->layout.end != f->file.size)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: token file: expected %" PRIu64 " bytes for %" PRIu64 " tokens and %" PRIu64 " documents, found %zu",
                       name, f->layout.end, f->info.n_tokens, f->info.n_documents, f->file.size);
    return KRAIT_OK;
}

static krait_status check_documents(const krait_token_file *f, krait_error *error)
{
    uint64_t before = 0;
    for (uint64_t i = 0; i < f->info.n_documents; i++) {
        uint64_t start = kr_token_file_start(f, i);
        if (i == 0 ? start != 0 : start <= before || start >= f->info.n_tokens)
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: token file: document %" PRIu64 ": expected to begin behind token %" PRIu64 " of %" PRIu64
                           ", found token %" PRIu64,
                           f->file.name, i, before, f->info.n_tokens, start);
        before = start;
    }
    return KRAIT_OK;
}

static krait_status check(krait_token_file *f, krait_error *error)
{
    f->bytes = (const unsigned char *)f->file.data;
    krait_status status = read_header(f, error);
    if (status) return status;
    f->tokens = f->bytes + KR_TOKENS_HEADER;
    f->documents = f->bytes + f->layout.documents;
    f->mask = f->info.masked ? f->bytes + f->layout.mask : NULL;
    uint64_t sum = kr_checksum(f->bytes + f->layout.sums, (size_t)(f->layout.end - f->layout.sums)),
             stored = kr_read_little(f->bytes + 112, 8);
    if (sum != stored)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: damaged: the checksum of bytes %" PRIu64 " to %" PRIu64 " is %016" PRIx64 ", expected %016" PRIx64,
                       f->file.name, f->layout.sums, f->layout.end - 1, sum, stored);
    return check_documents(f, error);
}

krait_status krait_token_file_open(krait_token_file **file, const char *path, krait_error *error)
{
    if (file) *file = NULL;
    if (!file || !path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a pointer and a path, found NULL");
    krait_token_file *result = kr_alloc_zero(1, sizeof *result);
    if (!result) return kr_fail_memory(error, "a token file", sizeof *result);
    krait_status status = kr_file_open(&result->file, path, error);
    if (!status) status = check(result, error);
    if (status)
        krait_token_file_free(result);
    else
        *file = result;
    return status;
}

krait_status krait_token_file_open_memory(krait_token_file **file, const char *name, const void *data, size_t size,
                                          krait_error *error)
{
    if (file) *file = NULL;
    if (!file || (!data && size))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a pointer and data, found NULL");
    krait_token_file *result = kr_alloc_zero(1, sizeof *result);
    if (!result) return kr_fail_memory(error, "a token file", sizeof *result);
    krait_status status = kr_file_borrow(&result->file, name ? name : "tokens", data, size, error);
    if (!status) status = check(result, error);
    if (status)
        krait_token_file_free(result);
    else
        *file = result;
    return status;
}

void krait_token_file_free(krait_token_file *file)
{
    if (!file) return;
    kr_file_close(&file->file);
    kr_free(file);
}

const krait_token_file_info *krait_token_file_get_info(const krait_token_file *file) { return file ? &file->info : NULL; }

const char *krait_token_file_path(const krait_token_file *file) { return file ? file->file.name : NULL; }

/* ---- checking ---------------------------------------------------------------------------------------------------- */

krait_status krait_token_file_verify(const krait_token_file *file, const krait_progress *progress, krait_error *error)
{
    if (!file) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected one, found NULL");
    uint64_t from = KR_TOKENS_HEADER;
    for (uint64_t block = 0; block < file->layout.n_blocks; block++) {
        uint64_t left = file->layout.sums - from, size = left < KR_TOKENS_BLOCK ? left : KR_TOKENS_BLOCK;
        uint64_t sum = kr_checksum(file->bytes + from, (size_t)size),
                 stored = kr_read_little(file->bytes + file->layout.sums + 8 * block, 8);
        if (sum != stored)
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: damaged: the checksum of bytes %" PRIu64 " to %" PRIu64 " is %016" PRIx64
                           ", expected %016" PRIx64,
                           file->file.name, from, from + size - 1, sum, stored);
        from += size;
        if (progress && progress->report && !progress->report(progress->user, "verify", from, file->layout.end))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: verification stopped", file->file.name);
    }
    enum { STRETCH = 4096 };
    int32_t ids[STRETCH];
    for (uint64_t i = 0; i < file->info.n_tokens; i += STRETCH) {
        uint64_t left = file->info.n_tokens - i;
        krait_status status = krait_token_file_read(file, i, left < STRETCH ? (size_t)left : STRETCH, ids, error);
        if (status) return status;
    }
    return KRAIT_OK;
}

krait_status krait_token_file_check_tokenizer(const krait_token_file *file, const krait_tokenizer *tokenizer, krait_error *error)
{
    if (!file || !tokenizer)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a file and a tokenizer, found NULL");
    uint64_t fingerprint = krait_tokenizer_fingerprint(tokenizer);
    size_t vocab_size = krait_tokenizer_vocab_size(tokenizer);
    if (file->info.tokenizer_fingerprint ? file->info.tokenizer_fingerprint != fingerprint
                                         : (uint64_t)file->info.vocab_size > vocab_size)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: its tokens are another tokenizer's: expected fingerprint %016" PRIx64
                       " and %zu tokens, found %016" PRIx64 " and %" PRId64,
                       file->file.name, fingerprint, vocab_size, file->info.tokenizer_fingerprint, file->info.vocab_size);
    return KRAIT_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Returns the largest id, so that it is compared with the size of the vocabulary once. */
static uint32_t read_narrow(const unsigned char *from, size_t n, int32_t *out)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)from[2 * i] | (uint32_t)from[2 * i + 1] << 8;
        if (id > largest) largest = id;
        out[i] = (int32_t)id;
    }
    return largest;
}

static uint32_t read_wide(const unsigned char *from, size_t n, int32_t *out)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)kr_read_little(from + 4 * i, 4);
        if (id > largest) largest = id;
        out[i] = (int32_t)id;
    }
    return largest;
}

krait_status krait_token_file_read(const krait_token_file *file, uint64_t first, size_t n, int32_t *out, krait_error *error)
{
    if (!file || (!out && n))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a file and room for ids, found NULL");
    if (first > file->info.n_tokens || n > file->info.n_tokens - first)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected tokens from 0 to %" PRIu64 ", found %" PRIu64 " + %zu",
                       file->file.name, file->info.n_tokens, first, n);
    const unsigned char *from = file->tokens + first * (uint64_t)file->info.width;
    uint32_t largest = file->info.width == 2 ? read_narrow(from, n, out) : read_wide(from, n, out);
    if (n == 0 || largest < (uint32_t)file->info.vocab_size) return KRAIT_OK;
    size_t i = 0;
    while ((uint32_t)out[i] < (uint32_t)file->info.vocab_size) i++;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: damaged: token %" PRIu64 ": expected an id below %" PRId64 ", found %" PRIu32,
                   file->file.name, first + i, file->info.vocab_size, (uint32_t)out[i]);
}

uint64_t kr_token_file_start(const krait_token_file *file, uint64_t document)
{
    return kr_read_little(file->documents + 8 * document, 8);
}

uint64_t kr_token_file_find(const krait_token_file *file, uint64_t position)
{
    uint64_t low = 0, high = file->info.n_documents;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (kr_token_file_start(file, middle) < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

krait_status krait_token_file_document(const krait_token_file *file, uint64_t index, uint64_t *first, uint64_t *count,
                                       krait_error *error)
{
    if (!file || !first || !count)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "token file: expected a file, first and count, found NULL");
    *first = *count = 0;
    if (index >= file->info.n_documents)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a document below %" PRIu64 ", found %" PRIu64, file->file.name,
                       file->info.n_documents, index);
    *first = kr_token_file_start(file, index);
    uint64_t end = index + 1 < file->info.n_documents
                       ? kr_token_file_start(file, index + 1)
                       : file->info.n_tokens - (file->info.separator >= 0 && file->info.n_tokens > *first + 1);
    *count = end - *first;
    return KRAIT_OK;
}

bool krait_token_file_is_target(const krait_token_file *file, uint64_t index)
{
    if (!file || index >= file->info.n_tokens) return false;
    return !file->mask || (file->mask[index / 8] >> index % 8 & 1);
}

uint64_t kr_token_file_count_targets(const krait_token_file *file, uint64_t first, uint64_t n)
{
    if (!file->mask) return n;
    uint64_t count = 0, i = first;
    for (; i < first + n && i % 8 != 0; i++) count += krait_token_file_is_target(file, i);
    for (; first + n - i >= 8; i += 8) count += (uint64_t)__builtin_popcount(file->mask[i / 8]);
    for (; i < first + n; i++) count += krait_token_file_is_target(file, i);
    return count;
}
