/* Loading a tokenizer.json; one that loads is used. */
#include <stdlib.h>

#include "fuzz.h"
#include "krait/krait.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "The ab abb  1984\n\xff\xc3\xa9\xcc\x81 <s>x";
    krait_tokenizer *tokenizer;
    krait_error error;
    if (krait_tokenizer_load_memory(&tokenizer, "fuzz.json", data, size, &error)) return 0;
    int32_t *ids;
    size_t n, length;
    char *back;
    if (krait_tokenizer_encode(tokenizer, text, sizeof text - 1, NULL, &ids, &n, &error) == KRAIT_OK) {
        if (krait_tokenizer_decode(tokenizer, ids, n, true, &back, &length, &error)) abort(); /* its own ids */
        krait_free(back);
        krait_free(ids);
    }
    krait_tokenizer_free(tokenizer);
    return 0;
}
