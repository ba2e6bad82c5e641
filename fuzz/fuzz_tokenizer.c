/* Encoding and decoding any bytes, with several tokenizers: the first byte says which, its high bit asks for special tokens. Where
 * nothing is normalised, the text must come back; the stream must give whole characters. */
#include "fuzz.h"

#ifdef KRAIT_HAVE_TEXT

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "krait/krait.h"

static const char *const names[] = { "plain",     "llama3",     "gpt4o",    "falcon",
                                     "starcoder", "contiguous", "deepseek", "bloom", /* these change nothing */
                                     "neox",      "nfkc",       "nfd",      "prefix",
                                     "empty",     "after",      "lines",    "word" };
enum { N_NAMES = sizeof names / sizeof *names, N_LOSSLESS = 8 };

static void check(bool condition)
{
    if (!condition) abort();
}

static void check_stream(const krait_tokenizer *tokenizer, const int32_t *ids, size_t n)
{
    krait_decoder *decoder;
    const char *text;
    size_t length;
    check(krait_decoder_create(&decoder, tokenizer, true, NULL) == KRAIT_OK);
    for (size_t i = 0; i <= n; i++) {
        if (i < n)
            check(krait_decoder_push(decoder, ids[i], &text, &length, NULL) == KRAIT_OK);
        else
            check(krait_decoder_flush(decoder, &text, &length, NULL) == KRAIT_OK);
        check(kr_utf8_valid_prefix(text, length) == length);
    }
    krait_decoder_free(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static krait_tokenizer *tokenizers[N_NAMES];
    if (size == 0) return 0;
    size_t which = (data[0] & 0x7f) % N_NAMES;
    bool no_special = !(data[0] & 0x80);
    const char *text = (const char *)data + 1;
    if (!tokenizers[which]) {
        char path[1000];
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/tokenizer/%s.json", names[which]);
        check(krait_tokenizer_load(&tokenizers[which], path, NULL) == KRAIT_OK);
    }
    int32_t *ids;
    size_t n, length;
    char *back;
    krait_error error;
    if (krait_tokenizer_encode(tokenizers[which], text, size - 1, &(krait_encode_options){ no_special }, &ids, &n, &error))
        abort();
    check(krait_tokenizer_decode(tokenizers[which], ids, n, true, &back, &length, NULL) == KRAIT_OK);
    /* <lr> takes white space along. */
    if (which < N_LOSSLESS && no_special && !memmem(text, size - 1, "<lr>", 4))
        check(length == size - 1 && memcmp(back, text, length) == 0);
    check_stream(tokenizers[which], ids, n);
    krait_free(back);
    krait_free(ids);
    return 0;
}

#else

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)data, (void)size;
    return 0;
}

#endif
