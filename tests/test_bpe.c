#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"

#ifdef KRAIT_HAVE_TEXT

#include "text/bpe.h"
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/regex.h"

static krait_error error;

typedef struct model {
    kr_arena json_arena, arena;
    kr_file file;
    kr_vocabulary vocabulary;
    kr_bpe bpe;
} model;

static void load(model *m, const char *path)
{
    kr_tokenizer_json json;
    *m = (model){ 0 };
    assert_ok(kr_file_open(&m->file, path, &error));
    assert_ok(kr_tokenizer_json_read(&json, &m->json_arena, path, m->file.data, m->file.size, &error));
    assert_ok(kr_vocabulary_build(&m->vocabulary, &m->arena, path, &json, &error));
    assert_ok(kr_bpe_build(&m->bpe, &m->vocabulary, &m->arena, path, &json, &error));
}

static void unload(model *m)
{
    kr_arena_free(&m->json_arena);
    kr_arena_free(&m->arena);
    kr_file_close(&m->file);
}

/* The definition: as long as a pair has a rank, merge the one with the lowest, the leftmost of equals. */
static size_t merge_by_definition(const kr_bpe *bpe, const char *text, size_t n, int32_t *ids)
{
    for (size_t i = 0; i < n; i++) ids[i] = bpe->byte_ids[(unsigned char)text[i]];
    for (;;) {
        const kr_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const kr_merge *merge = kr_bpe_find_merge(bpe, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
            if (merge->rank == KR_NO_RANK || (best && merge->rank >= best->rank)) continue;
            best = merge;
            at = i;
        }
        if (!best) return n;
        ids[at] = (int32_t)best->id;
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof *ids);
    }
}

static size_t n_windows_fitted, n_windows_not;

/* Compares with the definition: the piece as a whole, and merged in windows of any size, where these fit together. */
static void expect_merged(const kr_bpe *bpe, kr_bpe_scratch *scratch, const char *text, size_t n, size_t window)
{
    int32_t expected[300], tokens[300];
    assert_true(n <= 300);
    size_t n_expected = merge_by_definition(bpe, text, n, expected);
    kr_ids ids = { 0 };
    assert_ok(kr_bpe_encode(bpe, scratch, text, n, &ids, &error));
    assert_int_equal(ids.length, n_expected);
    assert_memory_equal(ids.data, expected, n_expected * sizeof *expected);
    kr_free(ids.data);
    bool done;
    for (size_t i = 0; i < n; i++) tokens[i] = bpe->byte_ids[(unsigned char)text[i]];
    assert_ok(kr_bpe_merge_long(bpe, scratch, window, (uint32_t *)tokens, &n, &done, &error));
    if (done) {
        assert_int_equal(n, n_expected);
        assert_memory_equal(tokens, expected, n_expected * sizeof *expected);
        n_windows_fitted++;
    } else {
        n_windows_not++;
    }
}

/* "starcoder" has its ranks shuffled: merging often makes pairs of lower rank than the one just merged. */
static void pieces_of_any_length_merge_as_defined(void **state)
{
    (void)state;
    static const char *const paths[] = { KRAIT_TEST_DATA "/tokenizer/starcoder.json", KRAIT_TEST_DATA "/tokenizer/gpt4o.json",
                                         KRAIT_TEST_DATA "/tokenizer/plain.json", KRAIT_MODELS "/text-small/tokenizer.json" };
    static const char *const letters[] = { "a", "ethsin", "the captain ", "aab", "\xe6\x97\xa5\xe6\x9c\xac" };
    kr_rng rng;
    kr_rng_seed(&rng, 4);
    for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
        model m;
        kr_bpe_scratch scratch = { 0 };
        load(&m, paths[p]);
        m.bpe.ignore_merges = false;
        for (int i = 0; i < 1500; i++) {
            char text[300];
            const char *from = letters[kr_rng_u32(&rng) % 5];
            size_t n = 1 + kr_rng_u32(&rng) % (i % 2 ? 60 : sizeof text);
            for (size_t j = 0; j < n; j++) text[j] = from[kr_rng_u32(&rng) % strlen(from)];
            expect_merged(&m.bpe, &scratch, text, n, 1 + kr_rng_u32(&rng) % 100);
        }
        kr_bpe_scratch_free(&scratch);
        unload(&m);
    }
}

/* Every string of a and b up to `LONGEST` is a token, made from any two parts, with ranks drawn at random: merging makes pairs of
 * lower rank all the time. */
static void any_ranks_merge_as_defined(void **state)
{
    (void)state;
    enum { LONGEST = 5, N_TOKENS = (2 << LONGEST) - 2 };
    char names[N_TOKENS][LONGEST + 1];
    kr_vocab_entry vocab[N_TOKENS];
    kr_merge_entry merges[N_TOKENS * LONGEST];
    kr_rng rng;
    kr_rng_seed(&rng, 6);
    for (int i = 0; i < N_TOKENS; i++) { /* the bits of i + 2 below the highest */
        size_t length = 31 - (size_t)__builtin_clz((unsigned)i + 2);
        for (size_t j = 0; j < length; j++) names[i][j] = (i + 2) >> (length - 1 - j) & 1 ? 'b' : 'a';
        vocab[i] = (kr_vocab_entry){ { names[i], length }, i };
    }
    for (int round = 0; round < 200; round++) {
        size_t n_merges = 0;
        for (int i = 0; i < N_TOKENS; i++)
            for (size_t cut = 1; cut < vocab[i].text.length; cut++) {
                kr_merge_entry merge = { { names[i], cut }, { names[i] + cut, vocab[i].text.length - cut } };
                size_t at = kr_rng_u32(&rng) % (n_merges + 1);
                merges[n_merges++] = merges[at];
                merges[at] = merge;
            }
        kr_tokenizer_json json = { .vocab = vocab, .n_vocab = N_TOKENS, .merges = merges, .n_merges = n_merges };
        model m = { 0 };
        kr_bpe_scratch scratch = { 0 };
        assert_ok(kr_vocabulary_build(&m.vocabulary, &m.arena, "ranks", &json, &error));
        assert_ok(kr_bpe_build(&m.bpe, &m.vocabulary, &m.arena, "ranks", &json, &error));
        char text[300];
        size_t n = 1 + kr_rng_u32(&rng) % sizeof text;
        for (size_t j = 0; j < n; j++) text[j] = (char)('a' + kr_rng_u32(&rng) % 2);
        expect_merged(&m.bpe, &scratch, text, n, 1 + kr_rng_u32(&rng) % 100);
        kr_bpe_scratch_free(&scratch);
        unload(&m);
    }
}

static void windows_sometimes_fit(void **state)
{
    (void)state;
    print_message("windows fitted together for %zu pieces, not for %zu\n", n_windows_fitted, n_windows_not);
    assert_true(n_windows_fitted > 1000 && n_windows_not > 0);
}

static void alphabet_covers_every_byte(void **state)
{
    (void)state;
    char bytes[256], text[512], back[512];
    for (int i = 0; i < 256; i++) bytes[i] = (char)i;
    size_t length = kr_byte_level_encode(text, bytes, 256), n;
    assert_true(kr_byte_level_decode(back, &n, text, length));
    assert_int_equal(n, 256);
    assert_memory_equal(back, bytes, 256);
    assert_int_equal(kr_byte_level_encode(text, " \n\xad!", 4), 7);
    assert_memory_equal(text, "\xc4\xa0\xc4\x8a\xc5\x83!", 7); /* U+0120, U+010A, U+0143 */
    static const char *const outside[] = { " ", "\n", "\xc2\xad", "\xc5\x84", "\xc2\xa0", "\xe6\x97\xa5", "\xff", "\xc4" };
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        assert_false(kr_byte_level_decode(back, &n, outside[i], strlen(outside[i])));
}

static void expect_normal(kr_normalizer form, const char *text, const char *expected)
{
    kr_buffer buffer = { 0 };
    const char *out;
    size_t length;
    assert_ok(kr_normalize(&out, &length, &buffer, &form, 1, text, strlen(text), &error));
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(out, expected, length);
    kr_free(buffer.data);
}

static void text_is_normalised(void **state)
{
    (void)state;
    expect_normal(KR_NORMALIZER_NFC, "plain \xc3\xa9", "plain \xc3\xa9");
    expect_normal(KR_NORMALIZER_NFC,
                  "caf"
                  "e\xcc\x81!",
                  "caf\xc3\xa9!");
    expect_normal(KR_NORMALIZER_NFC, "\xcc\x81", "\xcc\x81");
    expect_normal(KR_NORMALIZER_NFC, "a\xcc\x81\xcc\xa7x", "\xc3\xa1\xcc\xa7x");
    expect_normal(KR_NORMALIZER_NFC, "\xc3\xb6\xcc\xa3", "\xe1\xbb\x8d\xcc\x88");             /* marks change places */
    expect_normal(KR_NORMALIZER_NFC, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"); /* Hangul */
    expect_normal(KR_NORMALIZER_NFC, "\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc");             /* excluded from composition */
    expect_normal(KR_NORMALIZER_NFD, "\xc3\xa9\xea\xb0\x81", "e\xcc\x81\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8");
    expect_normal(KR_NORMALIZER_NFKC, "\xef\xac\x81\xc2\xb2 \xef\xb7\xba",
                  "fi2 \xd8\xb5\xd9\x84\xd9\x89 \xd8\xa7\xd9\x84\xd9\x84\xd9\x87 \xd8\xb9\xd9\x84\xd9\x8a\xd9\x87 "
                  "\xd9\x88\xd8\xb3\xd9\x84\xd9\x85");
    expect_normal(KR_NORMALIZER_NFKD, "\xc2\xa0\xc3\xa9", " e\xcc\x81");
}

static void expect_translation(const char *pattern, const char *expected)
{
    kr_buffer out = { 0 };
    krait_status status = kr_regex_translate(&out, "x.json", pattern, strlen(pattern), &error);
    if (expected) {
        assert_int_equal(status, KRAIT_OK);
        assert_int_equal(out.length, strlen(expected));
        assert_memory_equal(out.data, expected, out.length);
    } else {
        assert_int_equal(status, KRAIT_ERROR_UNSUPPORTED);
        assert_non_null(strstr(error.message, "x.json: pattern"));
    }
    kr_free(out.data);
}

static void patterns_are_translated(void **state)
{
    (void)state;
    expect_translation("", "");
    expect_translation("\\p{L}+|\\P{N}{1,3}", "\\p{L}+|\\P{N}{1,3}");
    expect_translation("a{,3}b{2}c{", "a{0,3}b{2}c{");
    expect_translation("(?m:.)(?im)(?:m)(?<m>)", "(?s:.)(?is)(?:m)(?<m>)");
    expect_translation("[a[bc]d]e", "[abcd]e");
    expect_translation("[]\\]x][^]x][[:alpha:]]", "[]\\]x][^]x][[:alpha:]]");
    expect_translation("\\u00e9\\\\s", "\\x{00e9}\\\\s");
    expect_translation("\\", "\\");
    static const char *const refused[] = { "\\h", "[\\H]", "\\bx", "\\B", "[\\W]", "[a&&b]", "[a[^b]]", "\\p{N}{1,3}+" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) expect_translation(refused[i], NULL);
}

static void endless_backtracking_ends(void **state)
{
    (void)state;
    kr_regex *regex;
    kr_regex_scratch scratch = { 0 };
    kr_regex_match match;
    assert_ok(kr_regex_compile(&regex, "x.json", "(a+)+$", 6, false, &error));
    assert_ok(kr_regex_prepare(&scratch, 60, &error));
    char text[60];
    memset(text, 'a', sizeof text);
    text[59] = 'b';
    assert_int_equal(kr_regex_find(regex, &scratch, text, sizeof text, 0, &match, &error), KRAIT_ERROR_UNSUPPORTED);
    kr_regex_scratch_free(&scratch);
    kr_regex_free(regex);
    assert_int_equal(kr_regex_compile(&regex, "x.json", "a(b", 3, false, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "a(b"));
    assert_null(regex);
}

/* A repeated group needs more stack than compiled patterns have; the interpreter takes over. */
static void repeated_groups_match_far(void **state)
{
    (void)state;
    kr_regex *regex;
    kr_regex_scratch scratch = { 0 };
    kr_regex_match match;
    size_t length = 1000000;
    char *text = malloc(length);
    assert_non_null(text);
    memset(text, 'a', length);
    assert_ok(kr_regex_compile(&regex, "x.json", "(?:a|b)+c|(?:a|b)+", 18, false, &error));
    assert_ok(kr_regex_prepare(&scratch, length, &error));
    assert_ok(kr_regex_find(regex, &scratch, text, length, 0, &match, &error));
    assert_true(match.found);
    assert_int_equal(match.end, length);
    kr_regex_scratch_free(&scratch);
    kr_regex_free(regex);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_length_merge_as_defined),
        cmocka_unit_test(any_ranks_merge_as_defined),
        cmocka_unit_test(windows_sometimes_fit),
        cmocka_unit_test(alphabet_covers_every_byte),
        cmocka_unit_test(text_is_normalised),
        cmocka_unit_test(patterns_are_translated),
        cmocka_unit_test(endless_backtracking_ends),
        cmocka_unit_test(repeated_groups_match_far),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
