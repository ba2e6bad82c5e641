#include "fixture.h"

#include <string.h>

#include "fail_alloc.h"

#ifdef KRAIT_HAVE_TEXT

static krait_status create(void *context, krait_error *error)
{
    krait_tokenizer *tokenizer;
    krait_status status = krait_tokenizer_create(&tokenizer, context, error);
    krait_tokenizer_free(tokenizer);
    return status;
}

static void making_one_of_a_checkpoint_survives(void **state)
{
    (void)state;
    static const char *const paths[] = { KRAIT_MODELS "/text-small", KRAIT_TEST_DATA "/gguf/tokenizer.gguf" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        krait_checkpoint *checkpoint;
        krait_error error;
        assert_ok(krait_checkpoint_open(&checkpoint, paths[i], &error));
        assert_true(fail_alloc_every(create, checkpoint) > 10);
        krait_checkpoint_free(checkpoint);
    }
}

/* Every part of loading: the decomposed added token of "nfkc" and its patterns too. */
static krait_status load(void *context, krait_error *error)
{
    krait_tokenizer *tokenizer;
    krait_status status = krait_tokenizer_load(&tokenizer, context, error);
    krait_tokenizer_free(tokenizer);
    return status;
}

static void loading_survives(void **state)
{
    (void)state;
    static char paths[][200] = { KRAIT_TEST_DATA "/tokenizer/nfkc.json", KRAIT_TEST_DATA "/tokenizer/falcon.json",
                                 KRAIT_MODELS "/text-small", KRAIT_TEST_DATA "/gguf/tokenizer.gguf" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) assert_true(fail_alloc_every(load, paths[i]) > 20);
}

/* Short words and long pieces, marks to sort, invalid bytes, added tokens; ids back to text, at once and in a stream. */
static krait_status encode_and_decode(void *context, krait_error *error)
{
    const krait_tokenizer *tokenizer = context;
    char text[2000];
    size_t length = 0;
    for (int i = 0; i < 200; i++) text[length++] = "the captain"[i % 3];
    for (int i = 0; i < 100; i++) memcpy(text + length, i % 2 ? "\xcc\x81" : "\xcc\xa7", 2), length += 2;
    const char *rest = " <|endoftext|>\xff\xfe it's 1984 in \xe6\x97\xa5\xe6\x9c\xac\xef\xac\x81    x";
    memcpy(text + length, rest, strlen(rest));
    length += strlen(rest);
    int32_t *ids;
    size_t n, n_text;
    krait_status status = krait_tokenizer_encode(tokenizer, text, length, NULL, &ids, &n, error);
    if (status) return status;
    char *decoded;
    krait_decoder *decoder = NULL;
    status = krait_tokenizer_decode(tokenizer, ids, n, true, &decoded, &n_text, error);
    if (!status) status = krait_decoder_create(&decoder, tokenizer, true, error);
    for (size_t i = 0; !status && i < n; i++) {
        const char *piece;
        status = krait_decoder_push(decoder, ids[i], &piece, &n_text, error);
    }
    krait_decoder_free(decoder);
    krait_free(decoded);
    krait_free(ids);
    return status;
}

static void encoding_and_decoding_survive(void **state)
{
    (void)state;
    static const char *const paths[] = { KRAIT_TEST_DATA "/tokenizer/nfkc.json", KRAIT_TEST_DATA "/tokenizer/starcoder.json",
                                         KRAIT_TEST_DATA "/tokenizer/falcon.json" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        krait_tokenizer *tokenizer;
        krait_error error;
        assert_ok(krait_tokenizer_load(&tokenizer, paths[i], &error));
        assert_true(fail_alloc_every(encode_and_decode, tokenizer) > 10);
        krait_tokenizer_free(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(loading_survives), cmocka_unit_test(making_one_of_a_checkpoint_survives),
                                        cmocka_unit_test(encoding_and_decoding_survive) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
