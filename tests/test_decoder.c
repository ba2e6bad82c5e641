#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"

#ifdef KRAIT_HAVE_TEXT

static krait_error error;

static krait_tokenizer *tokenizer;

static int load(void **state)
{
    (void)state;
    return krait_tokenizer_load(&tokenizer, KRAIT_TEST_DATA "/tokenizer/plain.json", NULL) != KRAIT_OK;
}

static int unload(void **state)
{
    (void)state;
    krait_tokenizer_free(tokenizer);
    return 0;
}

/* Pushes single bytes and checks what comes out after each: "|" separates, the last is what flush gives. */
static void expect_stream(const char *bytes, const char *expected)
{
    krait_decoder *decoder;
    char found[512];
    size_t n = 0;
    assert_ok(krait_decoder_create(&decoder, tokenizer, false, &error));
    for (const char *byte = bytes;; byte++) {
        const char *text;
        size_t length;
        if (*byte)
            assert_ok(krait_decoder_push(decoder, krait_tokenizer_id(tokenizer, byte, 1), &text, &length, &error));
        else
            assert_ok(krait_decoder_flush(decoder, &text, &length, &error));
        memcpy(found + n, text, length);
        n += length;
        if (!*byte) break;
        found[n++] = '|';
    }
    found[n] = '\0';
    assert_string_equal(found, expected);
    krait_decoder_free(decoder);
}

#define BAD "\xef\xbf\xbd"

static void characters_come_out_whole(void **state)
{
    (void)state;
    expect_stream("ab", "a|b|");
    expect_stream("\xc3\xa9", "|\xc3\xa9|");
    expect_stream("\xe6\x97\xa5!", "||\xe6\x97\xa5|!|");
    expect_stream("\xf0\x9f\x8e\x89", "|||\xf0\x9f\x8e\x89|");
}

/* One U+FFFD for each maximal subpart (Unicode 15, table 3-8 and before it). */
static void bytes_that_are_no_character_are_replaced(void **state)
{
    (void)state;
    expect_stream("\xff", BAD "|");
    expect_stream("\x80", BAD "|");
    expect_stream("\xc3", "|" BAD);
    expect_stream("\xf0\x9f\x8e", "|||" BAD);
    expect_stream("\xe6\x97z", "||" BAD "z|");
    expect_stream("\xe6\x97\xe6\x97\xa5", "||" BAD "||\xe6\x97\xa5|");
    expect_stream("\xe0\x80\x80", "|" BAD BAD "|" BAD "|"); /* overlong */
    expect_stream("\xed\xa0\x80", "|" BAD BAD "|" BAD "|"); /* a surrogate */
    expect_stream("\xf4\x90\x80\x80", "|" BAD BAD "|" BAD "|" BAD "|");
    expect_stream("\xc0\xaf", BAD "|" BAD "|");
    expect_stream("\xf1\x80\x80\xe1\x80\xc2\x62", "|||" BAD "||" BAD "|" BAD "b|");
}

/* The same bytes in one go, as the reference for streams. */
static size_t decode_lossy(const char *bytes, size_t length, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        uint32_t c;
        size_t step = kr_utf8_next(bytes + i, length - i, &c);
        if (step > 0) {
            memcpy(out + n, bytes + i, step);
            n += step;
        } else {
            step = 1;
            for (size_t k = 2; k <= 3 && k <= length - i; k++)
                if (kr_utf8_is_cut(bytes + i, k)) step = k;
            memcpy(out + n, BAD, 3);
            n += 3;
        }
        i += step;
    }
    return n;
}

static void streams_add_up_to_the_whole(void **state)
{
    (void)state;
    krait_decoder *decoder;
    kr_rng rng;
    kr_rng_seed(&rng, 9);
    size_t n_ids = krait_tokenizer_vocab_size(tokenizer);
    assert_ok(krait_decoder_create(&decoder, tokenizer, true, &error));
    for (int i = 0; i < 2000; i++) {
        int32_t ids[40];
        size_t n = kr_rng_u32(&rng) % 40, used = 0, length;
        char found[40 * 64], expected[40 * 64], *bytes;
        const char *text;
        for (size_t j = 0; j < n; j++) ids[j] = (int32_t)(kr_rng_u32(&rng) % (i % 2 ? n_ids : 256));
        for (size_t j = 0; j <= n; j++) {
            if (j < n)
                assert_ok(krait_decoder_push(decoder, ids[j], &text, &length, &error));
            else
                assert_ok(krait_decoder_flush(decoder, &text, &length, &error));
            assert_int_equal(kr_utf8_valid_prefix(text, length), length);
            memcpy(found + used, text, length);
            used += length;
        }
        assert_ok(krait_tokenizer_decode(tokenizer, ids, n, true, &bytes, &length, &error));
        size_t n_expected = decode_lossy(bytes, length, expected);
        assert_int_equal(used, n_expected);
        assert_memory_equal(found, expected, used);
        krait_free(bytes);
    }
    krait_decoder_free(decoder);
}

static void special_tokens_are_passed_over(void **state)
{
    (void)state;
    int32_t special = krait_tokenizer_id(tokenizer, "<|endoftext|>", 13), first = krait_tokenizer_id(tokenizer, "\xc3", 1),
            second = krait_tokenizer_id(tokenizer, "\xa9", 1);
    for (int keep = 0; keep < 2; keep++) {
        krait_decoder *decoder;
        const char *text;
        size_t length;
        assert_ok(krait_decoder_create(&decoder, tokenizer, keep, &error));
        assert_ok(krait_decoder_push(decoder, first, &text, &length, &error));
        assert_int_equal(length, 0);
        assert_ok(krait_decoder_push(decoder, special, &text, &length, &error));
        assert_int_equal(length, keep ? 3 + 13 : 0);
        assert_ok(krait_decoder_push(decoder, second, &text, &length, &error));
        assert_int_equal(length, keep ? 3 : 2); /* a stray byte behind the token, the rest of the character without it */
        krait_decoder_free(decoder);
    }
}

static void unknown_ids_are_seen(void **state)
{
    (void)state;
    krait_decoder *decoder;
    const char *text;
    size_t length;
    assert_ok(krait_decoder_create(&decoder, tokenizer, false, &error));
    assert_ok(krait_decoder_push(decoder, (int32_t)krait_tokenizer_vocab_size(tokenizer), &text, &length, &error));
    assert_int_equal(length, 3);
    assert_memory_equal(text, BAD, 3);
    assert_int_equal(krait_decoder_push(decoder, -1, &text, &length, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_decoder_push(decoder, 0, NULL, &length, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_decoder_flush(NULL, &text, &length, &error), KRAIT_ERROR_ARGUMENT);
    krait_decoder_free(decoder);
    krait_decoder_free(NULL);
    assert_int_equal(krait_decoder_create(&decoder, NULL, false, &error), KRAIT_ERROR_ARGUMENT);
    assert_null(decoder);
    assert_int_equal(krait_decoder_create(NULL, tokenizer, false, &error), KRAIT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_come_out_whole),   cmocka_unit_test(bytes_that_are_no_character_are_replaced),
        cmocka_unit_test(streams_add_up_to_the_whole), cmocka_unit_test(special_tokens_are_passed_over),
        cmocka_unit_test(unknown_ids_are_seen),
    };
    return cmocka_run_group_tests(tests, load, unload);
}

#else

int main(void) { return 0; }

#endif
