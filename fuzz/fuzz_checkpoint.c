/* Opening a checkpoint of several files in memory, and its config. The input is a row of files: a byte for the name, three for the
 * size (little-endian), the bytes; the last file takes what is left if that is less. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "krait/krait.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = { "config.json",
                                         "model.safetensors",
                                         "model.safetensors.index.json",
                                         "pytorch_model.bin",
                                         "pytorch_model.bin.index.json",
                                         "1",
                                         "2",
                                         "tokenizer.json" };
    enum { FILES = 8 };
    krait_blob files[FILES] = { 0 };
    void *copies[FILES]; /* each a block of its own, so that a sanitizer sees a read beyond it */
    size_t n = 0;
    while (n < FILES && size >= 4) {
        size_t length = (size_t)data[1] | (size_t)data[2] << 8 | (size_t)data[3] << 16;
        const char *name = names[data[0] % FILES];
        data += 4, size -= 4;
        if (length > size) length = size;
        void *copy = malloc(length ? length : 1);
        if (!copy) break;
        if (length) memcpy(copy, data, length);
        data += length, size -= length;
        copies[n] = copy;
        files[n++] = (krait_blob){ .name = name, .data = copy, .size = length };
    }
    krait_checkpoint *checkpoint;
    krait_config config;
    krait_error error;
    if (krait_checkpoint_open_memory(&checkpoint, files, n, &error) == KRAIT_OK) {
        for (size_t i = 0; i < krait_checkpoint_n_tensors(checkpoint); i++) {
            krait_tensor_info info;
            uint64_t n_nan, n_infinite;
            if (krait_checkpoint_tensor(checkpoint, i, &info) || !info.name || strchr(info.file, '/')) abort();
            krait_checkpoint_count_nonfinite(checkpoint, i, &n_nan, &n_infinite);
        }
        krait_checkpoint_layout(checkpoint);
        krait_checkpoint_config(checkpoint, &config, &error);
        for (size_t i = 0; krait_checkpoint_note(checkpoint, i); i++)
            if (!*krait_checkpoint_note(checkpoint, i)) abort();
        krait_checkpoint_free(checkpoint);
    }
    for (size_t i = 0; i < n; i++) free(copies[i]);
    return 0;
}
