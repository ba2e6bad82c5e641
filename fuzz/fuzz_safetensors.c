/* The safetensors reader: whatever the bytes, an error or tensors within them. */
#include <stdlib.h>

#include "formats/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 };
    kr_file file;
    kr_safetensors all;
    krait_error error;
    if (kr_file_borrow(&file, "fuzz.safetensors", data, size, &error)) return 0;
    if (kr_safetensors_read(&all, &arena, &file, &error) == KRAIT_OK)
        for (size_t i = 0; i < all.n_tensors; i++) {
            size_t bytes, count;
            if (!kr_tensor_bytes(&all.tensors[i], &bytes) || bytes > size || !kr_tensor_count(&all.tensors[i], &count)) abort();
            float *values = kr_alloc(count, sizeof *values);
            if (values) kr_tensor_to_float32(values, &all.tensors[i]);
            kr_free(values);
        }
    kr_file_close(&file);
    kr_arena_free(&arena);
    return 0;
}
