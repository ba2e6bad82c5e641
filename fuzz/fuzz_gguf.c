/* The GGUF reader: whatever the bytes, an error, or metadata and tensors within them; and what is made of them: a checkpoint's config,
 * a tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_tokenizer.h"
#include "fuzz.h"

static void use_values(const kr_gguf *gguf)
{
    for (size_t i = 0; i < gguf->n_values; i++) {
        const kr_gguf_value *value = &gguf->values[i];
        char text[64];
        double number;
        int64_t element;
        size_t length;
        const char *at = value->data;
        volatile char byte;
        if (kr_gguf_find(gguf, value->key) != value) abort();
        kr_gguf_describe(value, text, sizeof text);
        kr_gguf_number(value, &number);
        for (size_t e = 0; e < value->count; e++) {
            if (kr_gguf_element(value, e, &element) || value->type != KR_GGUF_STRING) continue;
            const char *string = kr_gguf_next_string(&at, &length);
            for (size_t b = 0; b < length; b++) byte = string[b];
        }
        (void)byte;
    }
}

static void use_checkpoint(const uint8_t *data, size_t size)
{
    krait_checkpoint *checkpoint;
    krait_tokenizer *tokenizer;
    krait_config config;
    krait_error error;
    if (krait_checkpoint_open_memory(&checkpoint, &(krait_blob){ "fuzz.gguf", data, size }, 1, &error)) return;
    krait_checkpoint_config(checkpoint, &config, &error);
    if (krait_checkpoint_has_tokenizer(checkpoint) && krait_tokenizer_create(&tokenizer, checkpoint, &error) == KRAIT_OK) {
        static const char text[] = "ab a<s>b  \xc3\xa9 12345 '``";
        int32_t *ids;
        size_t n;
        if (krait_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, &ids, &n, &error) == KRAIT_OK)
            for (size_t i = 0; i < n; i++)
                if (!krait_tokenizer_token(tokenizer, ids[i], NULL)) abort();
        krait_free(ids);
        krait_tokenizer_free(tokenizer);
    }
    krait_checkpoint_free(checkpoint);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 };
    kr_file file;
    kr_gguf gguf;
    kr_config_hints hints;
    kr_tokenizer_json tokenizer;
    krait_error error;
    if (kr_gguf_is((const char *)data, size)) use_checkpoint(data, size);
    if (kr_file_borrow(&file, "fuzz.gguf", data, size, &error)) return 0;
    if (kr_gguf_read(&gguf, &arena, &file, &error) == KRAIT_OK) {
        use_values(&gguf);
        for (size_t i = 0; i < gguf.n_tensors; i++) {
            size_t count, bytes;
            const kr_tensor *tensor = &gguf.tensors[i];
            if (!kr_tensor_count(tensor, &count) || !kr_tensor_bytes(tensor, &bytes) || bytes > size) abort();
            float *values = kr_alloc(count, sizeof *values);
            if (values) kr_tensor_to_float32(values, tensor);
            kr_free(values);
        }
        kr_gguf_hints(&hints, &arena, &gguf, &error);
        if (kr_gguf_tokenizer_read(&tokenizer, &arena, &gguf, &error) == KRAIT_OK)
            for (size_t i = 0; i < tokenizer.n_added; i++)
                if (tokenizer.added[i].text.length == 0) abort();
    }
    kr_file_close(&file);
    kr_arena_free(&arena);
    return 0;
}
