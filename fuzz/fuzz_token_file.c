/* Token files: whatever the bytes, an error, or a file whose every token, document and batch can be asked for. The sums are made good
 * first, or no change would get past them. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "fuzz.h"
#include "train/token_file.h"

static void make_sums_good(unsigned char *bytes, size_t size)
{
    krait_token_file_info info = { .n_tokens = kr_read_little(bytes + 16, 8),
                                   .n_documents = kr_read_little(bytes + 24, 8),
                                   .width = (int)kr_read_little(bytes + 12, 1),
                                   .masked = bytes[56] & 1 };
    kr_token_layout layout;
    if (kr_token_layout_of(&layout, &info) && layout.end == size)
        kr_write_little(bytes + 112, 8, kr_checksum(bytes + layout.sums, (size_t)(layout.end - layout.sums)));
    kr_write_little(bytes + 120, 8, kr_checksum(bytes, 120));
}

static void use(const krait_token_file *file, const krait_token_file_info *info)
{
    uint64_t next = 0;
    for (uint64_t i = 0; i < info->n_documents; i++) {
        uint64_t first, count;
        if (krait_token_file_document(file, i, &first, &count, NULL) || first != next || count == 0) abort();
        next = first + count;
    }
    if (next + (info->separator >= 0) < info->n_tokens || next > info->n_tokens) abort();
    krait_token_file_verify(file, NULL, NULL);
    for (int order = 0; order < 2; order++) {
        krait_dataset *set;
        krait_train_row rows[3];
        size_t n_rows;
        if (krait_dataset_create(&set, file, 3, 7, (krait_order)order, 1, NULL)) continue;
        for (uint64_t i = 0; i < 2 * krait_dataset_batches_per_epoch(set) && i < 100; i++)
            if (krait_dataset_batch(set, i, rows, NULL, &n_rows, NULL) == KRAIT_OK && n_rows == 0) abort();
        krait_dataset_free(set);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    krait_token_file *file;
    if (krait_token_file_open_memory(&file, "tokens", data, size, NULL) == KRAIT_OK) {
        use(file, krait_token_file_get_info(file));
        krait_token_file_free(file);
    }
    if (size < KR_TOKENS_HEADER) return 0;
    unsigned char *bytes = malloc(size);
    if (!bytes) return 0;
    memcpy(bytes, data, size);
    make_sums_good(bytes, size);
    if (krait_token_file_open_memory(&file, "tokens", bytes, size, NULL) == KRAIT_OK) {
        use(file, krait_token_file_get_info(file));
        krait_token_file_free(file);
    }
    free(bytes);
    return 0;
}
