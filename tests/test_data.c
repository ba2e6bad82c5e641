/* Texts into token files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "krait/data.h"

#ifdef KRAIT_HAVE_TEXT

static krait_tokenizer *tokenizer;
static char out[300];

static int set_up(void **unused)
{
    (void)unused;
    snprintf(out, sizeof out, "%s/out.tokens", cli_folder());
    krait_error error;
    assert_ok(krait_tokenizer_load(&tokenizer, KRAIT_MODELS "/text-small", &error));
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    krait_tokenizer_free(tokenizer);
    cli_folder_remove();
    return 0;
}

/* Without one of the four paths that live at a time. */
static void write_text(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", cli_folder(), name);
    cli_write(path, text, strlen(text));
}

/* All tokens of a file. */
static int32_t *tokens_of(const char *path, krait_token_file_info *info)
{
    krait_token_file *file;
    krait_error error;
    assert_ok(krait_token_file_open(&file, path, &error));
    assert_ok(krait_token_file_verify(file, NULL, &error));
    assert_ok(krait_token_file_check_tokenizer(file, tokenizer, &error));
    *info = *krait_token_file_get_info(file);
    int32_t *ids = malloc((size_t)info->n_tokens * sizeof *ids);
    assert_ok(krait_token_file_read(file, 0, (size_t)info->n_tokens, ids, &error));
    krait_token_file_free(file);
    return ids;
}

/* The text of all tokens, special ones included. */
static char *text_of(const char *path)
{
    krait_token_file_info info;
    krait_error error;
    char *text, *copy;
    size_t length;
    int32_t *ids = tokens_of(path, &info);
    assert_ok(krait_tokenizer_decode(tokenizer, ids, (size_t)info.n_tokens, true, &text, &length, &error));
    copy = strdup(text);
    krait_free(text);
    free(ids);
    unlink(path);
    return copy;
}

static void expect(const krait_corpus *corpus, const char *expected)
{
    krait_error error;
    assert_ok(krait_data_write(corpus, tokenizer, out, NULL, NULL, &error));
    char *text = text_of(out);
    assert_string_equal(text, expected);
    free(text);
}

static void refuse(const krait_corpus *corpus, const krait_data_options *options, const char *message)
{
    krait_error error;
    krait_status status = krait_data_write(corpus, tokenizer, out, options, NULL, &error);
    if (!status || !strstr(error.message, message))
        fail_msg("expected \"%s\", found \"%s\"", message, status ? error.message : "ok");
    assert_int_not_equal(access(out, F_OK), 0);
}

/* ---- long texts -------------------------------------------------------------------------------------------------- */

enum { LONG = 1800000 };

/* Words, lines of them with `line` words (0: one line), characters of two and three bytes, and runs of white space. */
static char *long_text(size_t line, const char *feed, size_t *length)
{
    static const char *const words[] = { "the ",   "Whale", " sea",         "ing ", "caf\xc3\xa9 ",
                                         "don't ", "1851",  "\xe2\x80\x94", ".  ",  "a" };
    char *text = malloc(LONG + 32);
    size_t n = 0;
    uint32_t state = 1;
    for (size_t i = 1; n < LONG; i++) {
        state = state * 1664525u + 1013904223u;
        const char *word = line && i % line == 0 ? feed : words[(state >> 16) % 10];
        memcpy(text + n, word, strlen(word));
        n += strlen(word);
    }
    *length = n;
    return text;
}

static void check_long(size_t line, const char *feed, bool crlf)
{
    size_t length, n, kept = 0;
    krait_error error;
    char *text = long_text(line, feed, &length);
    const char *path = cli_path("long.txt");
    cli_write(path, text, length);
    if (crlf) {
        for (size_t i = 0; i < length; i++)
            if (!(text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')) text[kept++] = text[i];
        length = kept;
    }
    int32_t *expected;
    assert_ok(krait_tokenizer_encode(tokenizer, text, length, NULL, &expected, &n, &error));
    krait_corpus corpus = { .paths = &path, .n_paths = 1, .crlf = crlf };
    for (int threads = 1; threads < 6; threads += 2) {
        krait_token_file_info info;
        krait_data_result result;
        assert_ok(krait_data_write(&corpus, tokenizer, out, &(krait_data_options){ .threads = threads }, &result, &error));
        int32_t *ids = tokens_of(out, &info);
        assert_int_equal(info.n_tokens, n + 2);
        assert_int_equal(info.n_documents, 1);
        assert_int_equal(info.n_bytes, length);
        assert_int_equal(result.training.checksum, info.checksum);
        assert_memory_equal(ids + 1, expected, n * sizeof *ids);
        assert_int_equal(ids[0], 0);
        assert_int_equal(ids[n + 1], 0);
        free(ids);
    }
    krait_free(expected);
    free(text);
    unlink(path);
    unlink(out);
}

/* They are cut, and their tokens are those of the uncut text. */
static void long_texts_have_the_tokens_of_the_whole(void **unused)
{
    (void)unused;
    check_long(12, "\n", false);
    check_long(12, "\r\n", true);
    check_long(9, " \n\n  \n", false);
    check_long(0, "", false);
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

static void folders_are_read_in_order(void **unused)
{
    (void)unused;
    krait_error error;
    char folder[128], inner[160];
    snprintf(folder, sizeof folder, "%s", cli_path("texts"));
    snprintf(inner, sizeof inner, "%s/b", folder);
    mkdir(folder, 0777);
    mkdir(inner, 0777);
    write_text("texts/c.txt", "see");
    write_text("texts/a.txt", "ay");
    write_text("texts/b/x.txt", "ex");
    write_text("texts/b/.hidden", "\xff");
    write_text("texts/d.md", "dee");
    write_text("texts/empty", "");
    const char *path = folder;
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    expect(&corpus, "<|endoftext|>ay<|endoftext|>ex<|endoftext|>see<|endoftext|>dee<|endoftext|>");
    corpus.include = (const char *const[]){ "*.txt", "?.md" };
    corpus.n_include = 2;
    corpus.exclude = (const char *const[]){ "*/b/*" };
    corpus.n_exclude = 1;
    expect(&corpus, "<|endoftext|>ay<|endoftext|>see<|endoftext|>dee<|endoftext|>");
    corpus.exclude = (const char *const[]){ "nothing" };
    refuse(&corpus, NULL, "exclude nothing: expected a pattern that fits some file");
    corpus.n_exclude = 0;
    corpus.include = (const char *const[]){ "*.txt", "*.rst" };
    refuse(&corpus, NULL, "include *.rst: expected a pattern that fits some file");
    corpus.n_include = 0;

    const char *held = cli_path("held.tokens");
    krait_data_result result;
    krait_data_options options = { .held_out_path = held, .held_out = (const char *const[]){ "c*", "x.txt" }, .n_held_out = 2 };
    assert_ok(krait_data_write(&corpus, tokenizer, out, &options, &result, &error));
    assert_int_equal(result.n_files, 5);
    assert_int_equal(result.n_empty, 1);
    assert_int_equal(result.n_bytes, 10);
    assert_int_equal(result.training.n_documents, 2);
    assert_int_equal(result.held_out.n_bytes, 5);
    char *text = text_of(out), *other = text_of(held);
    assert_string_equal(text, "<|endoftext|>ay<|endoftext|>dee<|endoftext|>");
    assert_string_equal(other, "<|endoftext|>ex<|endoftext|>see<|endoftext|>");
    free(text);
    free(other);
    options.held_out = (const char *const[]){ "c*", "zzz" };
    refuse(&corpus, &options, "held out zzz: expected a pattern that fits some file");
    options.held_out = (const char *const[]){ "*", "c*" };
    refuse(&corpus, &options, "expected some documents to be held out and others not, found all of 4");
    const char *const names[] = { "texts/c.txt", "texts/a.txt", "texts/b/x.txt", "texts/b/.hidden", "texts/d.md", "texts/empty" };
    for (size_t i = 0; i < 6; i++) unlink(cli_path(names[i]));
    rmdir(inner);
    refuse(&corpus, NULL, "expected files of text, found none");
    rmdir(folder);
    refuse(&corpus, NULL, "texts: cannot open");
    assert_int_equal(cli_folder_count(), 0);
}

static void texts_are_cut_and_cleaned(void **unused)
{
    (void)unused;
    const char *path = cli_path("a.txt");
    krait_corpus corpus = { .paths = &path, .n_paths = 1, .separator = "<|endoftext|>" };
    write_text("a.txt", "\xef\xbb\xbfone\r\ntwo\r<|endoftext|>\r\n\nthree <|endoftext|><|endoftext|>\nfour\n");
    expect(&corpus, "<|endoftext|>one\r\ntwo<|endoftext|>three <|endoftext|>four\n<|endoftext|>");
    corpus.crlf = true;
    expect(&corpus, "<|endoftext|>one\ntwo<|endoftext|>three <|endoftext|>four\n<|endoftext|>");
    corpus.separator = NULL;
    corpus.crlf = false;
    write_text("a.txt", "a\r\nb");
    expect(&corpus, "<|endoftext|>a\r\nb<|endoftext|>");
    write_text("a.txt", "ab\xff\xc3(\xe2\x82");
    refuse(&corpus, NULL, "a.txt: byte 2: expected UTF-8, found 0xff");
    corpus.invalid = KRAIT_INVALID_REPLACE;
    expect(&corpus, "<|endoftext|>ab\xef\xbf\xbd(\xef\xbf\xbd<|endoftext|>");
    corpus.invalid = KRAIT_INVALID_SKIP;
    expect(&corpus, "<|endoftext|>ab(<|endoftext|>");
    write_text("a.txt", "");
    refuse(&corpus, NULL, "a.txt: expected text, found none in 1 file");
    unlink(path);
}

static void special_text_may_be_ordinary(void **unused)
{
    (void)unused;
    krait_error error;
    krait_token_file_info info;
    const char *path = cli_path("a.txt");
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    write_text("a.txt", "x<|endoftext|>");
    for (int no_special = 0; no_special < 2; no_special++) {
        krait_data_options options = { .no_special = no_special, .no_separator = true };
        assert_ok(krait_data_write(&corpus, tokenizer, out, &options, NULL, &error));
        int32_t *ids = tokens_of(out, &info);
        assert_int_equal(info.separator, -1);
        if (no_special)
            assert_in_range(info.n_tokens, 3, 14);
        else
            assert_int_equal(info.n_tokens, 2);
        assert_int_equal(ids[info.n_tokens - 1] == 0, !no_special);
        free(ids);
    }
    write_text("a.txt", "a");
    unlink(out);
    refuse(&corpus, &(krait_data_options){ .no_separator = true }, "expected at least 2 tokens, found 1");
    unlink(path);
}

static void lines_of_json_are_documents(void **unused)
{
    (void)unused;
    krait_error error;
    const char *path = cli_path("a.jsonl");
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    write_text(
        "a.jsonl",
        "{\"text\": \"one\\ntwo\", \"q\": \"ask \"}\n\n  {\"q\": \"\", \"text\": \"caf\\u00e9\"}\r\n{\"text\":\"\",\"q\":\"\"}");
    refuse(&corpus, NULL, "a.jsonl: expected the name of the field");
    corpus.json_field = "text";
    expect(&corpus, "<|endoftext|>one\ntwo<|endoftext|>caf\xc3\xa9<|endoftext|>");
    corpus.prompt_field = "q";
    krait_data_result result;
    assert_ok(krait_data_write(&corpus, tokenizer, out, NULL, &result, &error));
    assert_int_equal(result.n_empty, 1);
    assert_true(result.training.masked);
    krait_token_file *file;
    assert_ok(krait_token_file_open(&file, out, &error));
    int32_t *ids;
    size_t n_prompt;
    uint64_t first, count;
    assert_ok(krait_tokenizer_encode(tokenizer, "ask ", 4, NULL, &ids, &n_prompt, &error));
    krait_free(ids);
    assert_ok(krait_token_file_document(file, 0, &first, &count, &error));
    for (uint64_t i = 0; i < result.training.n_tokens; i++)
        assert_int_equal(krait_token_file_is_target(file, i), i == 0 || i > n_prompt);
    krait_token_file_free(file);
    char *text = text_of(out);
    assert_string_equal(text, "<|endoftext|>ask one\ntwo<|endoftext|>caf\xc3\xa9<|endoftext|>");
    free(text);
    corpus.prompt_field = "z";
    refuse(&corpus, NULL, "a.jsonl: line 1: expected a string \"z\", found no such member");
    corpus.prompt_field = NULL;
    write_text("a.jsonl", "{\"text\": \"one\"}\n\n{\"text\": 3}\n");
    refuse(&corpus, NULL, "a.jsonl: line 3: expected a string \"text\", found integer");
    write_text("a.jsonl", "{\"text\": \"one\"}\n[]\n");
    refuse(&corpus, NULL, "a.jsonl: line 2: expected a string \"text\", found no object");
    write_text("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two}\n");
    refuse(&corpus, NULL, "a.jsonl: line 2: JSON: ");
    write_text("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"t\xffo\"}\n");
    refuse(&corpus, NULL, "a.jsonl: line 2: JSON: ");
    corpus.invalid = KRAIT_INVALID_REPLACE;
    expect(&corpus, "<|endoftext|>one<|endoftext|>t\xef\xbf\xbdo<|endoftext|>");
    unlink(path);
}

static void many_documents_are_shared_out_by_the_seed(void **unused)
{
    (void)unused;
    enum { N = 20000 };
    krait_error error;
    const char *path = cli_path("a.jsonl"), *held = cli_path("held.tokens");
    char *lines = malloc(N * 80), *end = lines;
    for (int i = 0; i < N; i++) end += sprintf(end, "{\"text\": \"document number %d of a corpus of them\"}\n", i);
    cli_write(path, lines, (size_t)(end - lines));
    free(lines);
    krait_corpus corpus = { .paths = &path, .n_paths = 1, .json_field = "text" };
    uint64_t checksums[3];
    for (uint64_t i = 0; i < 3; i++) {
        krait_data_result result;
        krait_data_options options = { .held_out_path = held, .held_out_share = 0.01, .seed = i / 2, .threads = 1 + 2 * (int)i };
        assert_ok(krait_data_write(&corpus, tokenizer, out, &options, &result, &error));
        assert_int_equal(result.training.n_documents + result.held_out.n_documents, N);
        assert_in_range(result.held_out.n_documents, 200 - 57, 200 + 57); /* four standard deviations */
        assert_int_equal(result.training.n_bytes + result.held_out.n_bytes, result.n_bytes - N * 13);
        checksums[i] = result.held_out.checksum;
    }
    assert_true(checksums[0] == checksums[1]);
    assert_true(checksums[0] != checksums[2]);
    unlink(path);
    unlink(out);
    unlink(held);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    assert_true(done <= total);
    return --*(int *)user > 0;
}

static void stopping_leaves_nothing(void **unused)
{
    (void)unused;
    size_t length;
    char *text = long_text(12, "\n", &length);
    const char *path = cli_path("long.txt");
    cli_write(path, text, length);
    free(text);
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    int left = 1;
    krait_error error;
    krait_data_options options = { .progress = { stop, &left }, .threads = 2 };
    assert_int_equal(krait_data_write(&corpus, tokenizer, out, &options, NULL, &error), KRAIT_ERROR_INTERRUPTED);
    assert_int_equal(cli_folder_count(), 1);
    unlink(path);
}

static void contradictions_are_refused(void **unused)
{
    (void)unused;
    const char *path = cli_path("a.txt");
    write_text("a.txt", "text");
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    refuse(&corpus, &(krait_data_options){ .held_out_share = 0.5 }, "held_out_path: expected it with");
    refuse(&corpus, &(krait_data_options){ .held_out_path = "x" }, "held_out_path: expected it with");
    refuse(&corpus, &(krait_data_options){ .held_out_path = "x", .held_out_share = 1 }, "held_out_share: expected a share");
    refuse(&corpus, &(krait_data_options){ .separator = 5000 }, "separator: expected an id below 2048, found 5000");
    corpus.prompt_field = "q";
    refuse(&corpus, NULL, "prompt_field: expected json_field");
    corpus.json_field = "t";
    corpus.separator = "x";
    refuse(&corpus, NULL, "separator: expected a text");
    refuse(NULL, NULL, "expected a corpus");
    unlink(path);
}

static void fingerprints_tell_tokenizers_apart(void **unused)
{
    (void)unused;
    krait_error error;
    krait_tokenizer *again, *other;
    assert_ok(krait_tokenizer_load(&again, KRAIT_MODELS "/text-small/tokenizer.json", &error));
    assert_ok(krait_tokenizer_load(&other, KRAIT_TEST_DATA "/tokenizer/plain.json", &error));
    assert_true(krait_tokenizer_fingerprint(tokenizer) == krait_tokenizer_fingerprint(again));
    assert_true(krait_tokenizer_fingerprint(tokenizer) != krait_tokenizer_fingerprint(other));
    /* files carry it: it must never change */
    assert_true(krait_tokenizer_fingerprint(tokenizer) == 0x636883a3505345bfu);
    const char *path = cli_path("a.txt");
    write_text("a.txt", "text");
    krait_corpus corpus = { .paths = &path, .n_paths = 1 };
    assert_ok(krait_data_write(&corpus, tokenizer, out, NULL, NULL, &error));
    krait_token_file *file;
    assert_ok(krait_token_file_open(&file, out, &error));
    assert_ok(krait_token_file_check_tokenizer(file, again, &error));
    assert_int_equal(krait_token_file_check_tokenizer(file, other, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "out.tokens: its tokens are another tokenizer's"));
    assert_non_null(strstr(error.message, "636883a3505345bf"));
    krait_token_file_free(file);
    krait_tokenizer_free(again);
    krait_tokenizer_free(other);
    unlink(path);
    unlink(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_texts_have_the_tokens_of_the_whole),
        cmocka_unit_test(folders_are_read_in_order),
        cmocka_unit_test(texts_are_cut_and_cleaned),
        cmocka_unit_test(special_text_may_be_ordinary),
        cmocka_unit_test(lines_of_json_are_documents),
        cmocka_unit_test(many_documents_are_shared_out_by_the_seed),
        cmocka_unit_test(stopping_leaves_nothing),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(fingerprints_tell_tokenizers_apart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#else

static void without_text_data_says_so(void **unused)
{
    (void)unused;
    krait_tokenizer *tokenizer;
    krait_error error;
    assert_int_equal(krait_tokenizer_load(&tokenizer, "x", &error), KRAIT_ERROR_UNSUPPORTED);
    assert_int_equal(krait_tokenizer_fingerprint(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(without_text_data_says_so) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
