/* `krait run --prompts`: each line its own, in order, whatever --batch is and wherever the run before was cut. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#ifdef KRAIT_CLI

static int enter(void **state)
{
    (void)state;
    cli_folder();
    return 0;
}

static int leave(void **state)
{
    (void)state;
    cli_folder_remove();
    return 0;
}

/* ---- the files --------------------------------------------------------------------------------------------------- */

enum { LINES = 40 };

/* The prompt of line `index`: up to 200 ids. */
static char *prompt_of(int index)
{
    int32_t ids[200];
    size_t n = index % 5 == 4 ? 200 : 1 + (size_t)index * 7 % 30;
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 17 + (size_t)index * 5 + 1) % 256);
    return cli_list_of(ids, n);
}

/* Prompts of ids with ids of their own, seeds and lengths; returns the file's name. */
static const char *write_prompts(const char *name, int lines, int least_tokens)
{
    const char *path = cli_path(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < lines; i++) {
        char *ids = prompt_of(i);
        fprintf(file, "{\"ids\": [%s], \"id\": %d, \"max_tokens\": %d, \"seed\": %d}\n", ids, 1000 - i,
                least_tokens + i * 11 % 23, i % 7);
        free(ids);
    }
    fclose(file);
    return path;
}

static cli_result run(const char *in, const char *out, const char *more, const char *value)
{
    return cli(NULL, "run", "-m", TINY, "--ignore-eos", "--prompts", in, "-o", out, more, value, NULL);
}

static void assert_same_files(const char *found, const char *expected)
{
    size_t n_found, n_expected;
    char *a = cli_read(found, &n_found), *b = cli_read(expected, &n_expected);
    assert_int_equal(n_found, n_expected);
    assert_memory_equal(a, b, n_expected);
    free(a);
    free(b);
}

static size_t lines_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* The line with that index of the results, as JSON. */
static const kr_json *result_of(const char *text, size_t index, kr_arena *arena)
{
    krait_error error;
    const kr_json *root;
    for (size_t i = 0; i < index; i++) {
        text = strchr(text, '\n');
        assert_non_null(text++);
    }
    assert_ok(kr_json_parse(&root, arena, "result", text, strcspn(text, "\n"), &error));
    assert_true(cli_json_number(root, "index") == (double)index);
    return root;
}

/* ---- what is in the lines ---------------------------------------------------------------------------------------- */

static void lines_are_those_of_run_alone_in_order(void **state)
{
    (void)state;
    const char *in = write_prompts("in", LINES, 1), *out = cli_path("out");
    cli_result result = run(in, out, "--batch", "7");
    assert_cli(&result, 0, NULL);
    assert_string_equal(result.err, "");
    assert_string_equal(result.out, "");
    cli_free(&result);
    char *text = cli_read(out, NULL);
    assert_int_equal(lines_of(text), LINES);
    for (int i = 0; i < LINES; i++) {
        kr_arena arena = { 0 };
        const kr_json *root = result_of(text, (size_t)i, &arena);
        assert_true(cli_json_number(root, "id") == 1000 - i);
        assert_true(kr_json_is(kr_json_get(root, "finish"), "length"));
        assert_true(cli_json_number(root, "tokens") == 1 + i * 11 % 23);
        size_t n, n_alone;
        int32_t *ids = cli_json_ids(kr_json_get(root, "ids"), &n);
        if (i % 4 == 0) {
            char *prompt = prompt_of(i), tokens[16], seed[16];
            snprintf(tokens, sizeof tokens, "%d", 1 + i * 11 % 23);
            snprintf(seed, sizeof seed, "%d", i % 7);
            result =
                cli(NULL, "run", "-m", TINY, "--ignore-eos", "--ids", prompt, "--no-echo", "-n", tokens, "--seed", seed, NULL);
            assert_cli(&result, 0, NULL);
            int32_t *alone = cli_ids(result.out, &n_alone);
            assert_ids(ids, n, alone, n_alone);
            free(alone);
            free(prompt);
            cli_free(&result);
        }
        free(ids);
        kr_arena_free(&arena);
    }
    free(text);
}

static void batch_and_threads_do_not_show(void **state)
{
    (void)state;
    static const char *const ways[][2] = { { "--batch", "3" }, { "--batch", "16" }, { "--batch", "128" }, { "--threads", "2" } };
    char *in = strdup(write_prompts("in", LINES, 1)), *first = strdup(cli_path("first"));
    cli_result result = run(in, first, "--batch", "1");
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char name[16];
        snprintf(name, sizeof name, "way%zu", i);
        char *out = strdup(cli_path(name));
        result = run(in, out, ways[i][0], ways[i][1]);
        assert_cli(&result, 0, NULL);
        assert_same_files(out, first);
        free(out);
        cli_free(&result);
    }
    free(in);
    free(first);
}

static void stdin_and_stdout(void **state)
{
    (void)state;
    static const char two[] = "{\"ids\": [1, 2], \"id\": \"a \\\"b\\\"\"}\n\n   \n{\"ids\": [3], \"id\": 1.5, \"max_tokens\": 2}";
    cli_result result = cli(two, "run", "-m", TINY, "-n", "4", "--ignore-eos", "--prompts", "-", "-o", "-", "--stats", "--json",
                            "--logprobs", NULL);
    assert_cli(&result, 0, "tokens/s");
    assert_int_equal(lines_of(result.out), 2);
    assert_null(strstr(result.out, "run")); /* nothing could go on there */
    kr_arena arena = { 0 };
    const kr_json *a = result_of(result.out, 0, &arena), *b = result_of(result.out, 1, &arena);
    assert_true(kr_json_is(kr_json_get(a, "id"), "a \"b\""));
    assert_true(cli_json_number(b, "id") == 1.5);
    assert_int_equal(kr_json_get(a, "logprobs")->length, 4);
    assert_int_equal(kr_json_get(b, "ids")->length, 2);
    kr_arena_free(&arena);
    cli_free(&result);
    result = cli("", "run", "-m", TINY, "--prompts", "-", "-o", "-", NULL);
    assert_cli(&result, 0, NULL);
    assert_string_equal(result.out, "");
    cli_free(&result);
}

static void a_state_goes_before_every_prompt(void **state)
{
    (void)state;
    const char *saved = cli_path("state"), *out = cli_path("out"), *in = cli_path("in");
    cli_result result = cli(NULL, "run", "-m", TINY, "--ids", "1,2,3", "-n", "2", "--state-out", saved, NULL);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    static const char lines[] = "{\"ids\": [7, 8]}\n{\"ids\": []}\n{\"ids\": [7, 8]}\n";
    cli_write(in, lines, strlen(lines));
    result = run(in, out, "--state-in", saved);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    result = cli(NULL, "run", "-m", TINY, "--state-in", saved, "--ids", "7,8", "--no-echo", "--ignore-eos", NULL);
    assert_cli(&result, 0, NULL);
    char *text = cli_read(out, NULL);
    for (size_t i = 0; i < 3; i += 2) {
        kr_arena arena = { 0 };
        size_t n, n_alone;
        int32_t *ids = cli_json_ids(kr_json_get(result_of(text, i, &arena), "ids"), &n), *alone = cli_ids(result.out, &n_alone);
        assert_ids(ids, n, alone, n_alone);
        free(ids);
        free(alone);
        kr_arena_free(&arena);
    }
    free(text);
    cli_free(&result);
}

static void bad_lines_are_told_and_the_rest_goes_on(void **state)
{
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        { "\xef\xbb\xbf{\"ids\": [1]}", NULL }, /* the mark that some editors put at the beginning of UTF-8 */
        { "nonsense", "JSON: byte " },
        { "{\"ids\": [1]", "found the end of the line" },
        { "{\"ids\": [1], \"ids\": [2]}", "JSON: byte " },
        { "[1, 2]", "expected a JSON object, found array" },
        { "{}", "expected one of \\\"prompt\\\" and \\\"ids\\\", found neither" },
        { "{\"ids\": [1], \"prompt\": \"x\"}", "found both" },
        { "{\"promt\": \"x\"}", "found the field \\\"promt\\\"" },
        { "{\"prompt\": 5}", "prompt: expected a string, found 5" },
        { "{\"prompt\": \"x\"}", "has no tokenizer.json" },
        { "{\"ids\": 5}", "ids: expected a list of ids" },
        { "{\"ids\": [1, -1]}", "ids: expected ids from 0 to 2147483647, found -1" },
        { "{\"ids\": [1, 256]}", "position 1: expected an id from 0 to 255, found 256" },
        { "{\"ids\": []}", "prompt: expected at least one token" },
        { "{\"ids\": [1], \"id\": []}", "id: expected a string, or a number" },
        { "{\"ids\": [1], \"id\": 123456789012345678901}", "id: expected a string, or a number" },
        { "{\"ids\": [1], \"max_tokens\": 0}", "max_tokens: expected a whole number, at least 1" },
        { "{\"ids\": [1], \"max_tokens\": 1.5}", "max_tokens: expected a whole number, at least 1" },
        { "{\"ids\": [1], \"seed\": -1}", "seed: expected a whole number, at least 0" },
        { "{\"ids\": [1], \"temperature\": -1}", "temperature: expected a finite number" },
        { "{\"ids\": [1], \"temperature\": NaN}", "temperature: expected a finite number" },
        { "{\"ids\": [1], \"stop\": \"x\"}", "stop: expected no strings without a tokenizer" },
        { "{\"ids\": [1], \"stop\": [\"\"]}", "stop: expected some text" },
        { "{\"ids\": [1], \"stop\": \"a\\u0000b\"}", "stop: expected some text" },
        { "{\"ids\": [1], \"stop\": 5}", "stop: expected some text" },
        { "{\"id\": \"mine\", \"ids\": true}", "\"id\": \"mine\", \"error\"" },
        { "{\"ids\": [1]}", NULL },
    };
    enum { N = sizeof cases / sizeof *cases };
    const char *in = cli_path("in"), *out = cli_path("out");
    FILE *file = fopen(in, "w");
    assert_non_null(file);
    for (size_t i = 0; i < N; i++) fprintf(file, "%s\n", cases[i].line);
    fclose(file);
    for (int again = 0; again < 2; again++) { /* the second time, nothing is left to do: it says the same */
        cli_result result = run(in, out, "--batch", "2");
        assert_cli(&result, 1, again ? "all 27 lines are there" : "line 2: JSON: ");
        assert_cli(&result, 1, "25 of 27 prompts failed");
        cli_free(&result);
    }
    char *text = cli_read(out, NULL), *at = text;
    for (size_t i = 0; i < N; i++, at++) {
        size_t length = strcspn(at, "\n");
        at[length] = 0;
        if (cases[i].message && (!strstr(at, cases[i].message) || !strstr(at, "\"error\": ")))
            fail_msg("case %zu: no \"%s\" in %s", i, cases[i].message, at);
        if (!cases[i].message && strstr(at, "error")) fail_msg("case %zu: %s", i, at);
        at += length;
    }
    free(text);
}

/* ---- going on ---------------------------------------------------------------------------------------------------- */

static void a_file_cut_anywhere_is_gone_on_with(void **state)
{
    (void)state;
    const char *in = write_prompts("in", 12, 1), *whole = cli_path("whole"), *part = cli_path("part");
    char *in_name = strdup(in), *whole_name = strdup(whole), *part_name = strdup(part);
    cli_result result = run(in_name, whole_name, "--batch", "4");
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    size_t size;
    char *text = cli_read(whole_name, &size);
    const size_t cuts[] = { 0, 1, 5, 40, 110, size / 3, size / 2, size - 300, size - 1, size };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_true(cuts[i] <= size);
        cli_write(part_name, text, cuts[i]);
        result = run(in_name, part_name, "--batch", "5");
        bool cut_line = cuts[i] && text[cuts[i] - 1] != '\n';
        assert_cli(&result, 0, cut_line ? "one that is cut, which is dropped: going on" : cuts[i] ? "lines are there" : NULL);
        assert_same_files(part_name, whole_name);
        cli_free(&result);
    }
    free(text);
    free(in_name);
    free(whole_name);
    free(part_name);
}

static size_t lines_in(const char *path)
{
    if (access(path, R_OK) != 0) return 0;
    char *text = cli_read(path, NULL);
    size_t n = lines_of(text);
    free(text);
    return n;
}

/* Starts a run, and sends it a signal once it has written so many lines. */
static int stop_at(const char *in, const char *out, size_t lines, int number)
{
    const char *const arguments[] = { "run", "-m", TINY, "--ignore-eos", "--prompts", in, "-o", out, "--batch", "3", NULL };
    cli_process process = cli_start(arguments);
    while (lines_in(out) < lines) usleep(2000);
    kill(process.pid, number);
    return cli_end(&process);
}

static void a_killed_run_is_gone_on_with(void **state)
{
    (void)state;
    char *in = strdup(write_prompts("in", 30, 1500)), *whole = strdup(cli_path("whole")), *out = strdup(cli_path("out"));
    cli_result result = run(in, whole, NULL, NULL);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    assert_int_equal(stop_at(in, out, 1, SIGKILL), 128 + SIGKILL);
    size_t n = lines_in(out);
    assert_true(n < 30);
    assert_int_equal(stop_at(in, out, n + 4, SIGKILL), 128 + SIGKILL);
    assert_true(lines_in(out) >= n + 4);
    n = lines_in(out);
    assert_true(n < 30);
    assert_int_equal(stop_at(in, out, n + 4, SIGINT), 130);
    assert_true(lines_in(out) < 30);
    result = run(in, out, NULL, NULL);
    assert_cli(&result, 0, "going on behind them");
    assert_same_files(out, whole);
    assert_int_equal(cli_folder_count(), 3);
    cli_free(&result);
    free(in);
    free(whole);
    free(out);
}

static void another_run_is_not_gone_on_with(void **state)
{
    (void)state;
    char *in = strdup(write_prompts("in", 4, 1)), *out = strdup(cli_path("out")), *other = strdup(write_prompts("other", 5, 1));
    cli_result result = run(in, out, NULL, NULL);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    size_t size, n;
    char *before = cli_read(out, &size);

    result = run(other, out, NULL, NULL);
    assert_cli(&result, 1, "was begun with other prompts");
    cli_free(&result);
    result = run(in, out, "--seed", "5");
    assert_cli(&result, 1, "was begun with other options");
    cli_free(&result);
    result = run(in, out, "-n", "5");
    assert_cli(&result, 1, "was begun with other options");
    cli_free(&result);
    result = run(in, out, "-m", WIDE);
    assert_cli(&result, 1, "was begun with another model");
    cli_free(&result);
    result = run(in, in, NULL, NULL); /* -o in place of another name */
    assert_cli(&result, 1, "is not of a krait run --prompts");
    cli_free(&result);
    result = cli("{\"ids\": [1]}\n", "run", "-m", TINY, "--prompts", "-", "-o", out, NULL);
    assert_cli(&result, 1, "through a pipe cannot be read again");
    cli_free(&result);
    char *after = cli_read(out, &n);
    assert_int_equal(n, size);
    assert_memory_equal(after, before, size);
    free(after);

    /* a text of somebody's, without a newline; a line that is not where it belongs; one line too many */
    cli_write(other, "precious", 8);
    result = run(in, other, NULL, NULL);
    assert_cli(&result, 1, "is not of a krait run --prompts");
    cli_free(&result);
    after = cli_read(other, &n);
    assert_int_equal(n, 8);
    free(after);
    const char *second = strchr(before, '\n') + 1, *third = strchr(second, '\n') + 1;
    char mixed[1 << 14];
    int length = snprintf(mixed, sizeof mixed, "%.*s%s", (int)(second - before), before, third);
    cli_write(other, mixed, (size_t)length);
    result = run(in, other, NULL, NULL);
    assert_cli(&result, 1, "line 2: expected the result with index 1");
    cli_free(&result);
    length = snprintf(mixed, sizeof mixed, "%s{\"index\": 4}\n", before);
    cli_write(other, mixed, (size_t)length);
    result = run(in, other, NULL, NULL);
    assert_cli(&result, 1, "expected at most 4 lines, as many as there are prompts, found 5");
    cli_free(&result);
    free(before);
    free(in);
    free(out);
    free(other);
}

static void an_empty_file_gives_an_empty_one(void **state)
{
    (void)state;
    char *in = strdup(cli_path("in")), *out = strdup(cli_path("out"));
    cli_write(in, "\n\n", 2);
    for (int again = 0; again < 2; again++) {
        cli_result result = run(in, out, NULL, NULL);
        assert_cli(&result, 0, NULL);
        size_t size;
        free(cli_read(out, &size));
        assert_int_equal(size, 0);
        cli_free(&result);
    }
    cli_result result = run("/no/such/file", out, NULL, NULL);
    assert_cli(&result, 1, "/no/such/file: cannot open");
    cli_free(&result);
    result = run(cli_folder(), out, NULL, NULL);
    assert_cli(&result, 1, "Is a directory");
    cli_free(&result);
    result = run(in, "/no/such/folder/out", NULL, NULL);
    assert_cli(&result, 1, "/no/such/folder/out: cannot write");
    cli_free(&result);
    free(in);
    free(out);
}

/* A limit on the size of files stands for a full disk: what was written is gone on with when there is room. */
static void a_full_disk_is_a_failure_and_can_be_gone_on_with(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("does not start with a limit of file sizes");
    char *in = strdup(write_prompts("in", LINES, 1)), *whole = strdup(cli_path("whole")), *out = strdup(cli_path("out"));
    cli_result result = run(in, whole, NULL, NULL);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    char command[4096];
    snprintf(command, sizeof command,
             "trap '' XFSZ; ulimit -f 4; '%s' run -m '%s' --ignore-eos --prompts '%s' -o '%s' >/dev/null 2>&1", KRAIT_CLI, TINY,
             in, out);
    assert_int_equal(cli_exit_code(system(command)), 1);
    struct stat info;
    assert_int_equal(stat(out, &info), 0);
    assert_true(info.st_size > 0 && info.st_size <= 4096);
    result = run(in, out, NULL, NULL);
    assert_cli(&result, 0, "going on behind them");
    assert_same_files(out, whole);
    cli_free(&result);
    result = run(in, "/dev/full", NULL, NULL);
    assert_cli(&result, 1, "/dev/full: cannot write: No space left on device");
    cli_free(&result);
    free(in);
    free(whole);
    free(out);
}

static void usage(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[10], *message;
    } cases[] = {
        { { "run", "--prompts", "x" }, "--prompts: expected -o FILE, too" },
        { { "run", "-p", "x", "-o", "y" }, "-o is for results: expected --prompts FILE" },
        { { "run", "--prompts", "x", "-o", "y", "-p", "z" }, "--prompts goes by itself" },
        { { "run", "--prompts", "x", "-o", "y", "-i" }, "--prompts goes by itself" },
        { { "run", "--prompts", "x", "-o", "y", "--batch", "129" }, "--batch 129: expected a whole number from 1 to 128" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        assert_cli(&result, 2, cases[i].message);
        cli_free(&result);
    }
}

#if defined(KRAIT_HAVE_TEXT) && defined(KRAIT_HAVE_DEFAULT_MODEL)

static void texts_with_options_of_their_own(void **state)
{
    (void)state;
    static const char lines[] = "{\"prompt\": \"It was a dark and\"}\n"
                                "{\"prompt\": \"It was a dark and\", \"stop\": [\"zzz\", \"e\"]}\n"
                                "{\"prompt\": \"It was a dark and\", \"temperature\": 1.5, \"seed\": 9, \"max_tokens\": 30}\n"
                                "{\"ids\": [40, 50]}\n";
    const char *in = cli_path("in");
    cli_write(in, lines, strlen(lines));
    cli_result result = cli(NULL, "run", "--prompts", in, "-o", "-", "--bos", "--greedy", "-n", "20", NULL);
    assert_cli(&result, 0, NULL);
    cli_result alone = cli(NULL, "run", "-p", "It was a dark and", "--bos", "--greedy", "-n", "20", "--json", NULL);
    cli_result warm =
        cli(NULL, "run", "-p", "It was a dark and", "--bos", "--temp", "1.5", "--seed", "9", "-n", "30", "--json", NULL);
    kr_arena arena = { 0 };
    const kr_json *text = kr_json_get(result_of(result.out, 0, &arena), "text");
    const kr_json *text_alone = kr_json_get(cli_json(&alone, &arena), "text");
    assert_int_equal(text->length, text_alone->length);
    assert_memory_equal(text->string, text_alone->string, text->length);
    const kr_json *stopped = result_of(result.out, 1, &arena);
    assert_true(kr_json_is(kr_json_get(stopped, "stop"), "e"));
    assert_null(memchr(kr_json_get(stopped, "text")->string, 'e', kr_json_get(stopped, "text")->length));
    assert_null(kr_json_get(stopped, "ids"));
    text = kr_json_get(result_of(result.out, 2, &arena), "text");
    text_alone = kr_json_get(cli_json(&warm, &arena), "text");
    assert_int_equal(text->length, text_alone->length);
    assert_memory_equal(text->string, text_alone->string, text->length);
    assert_int_equal(kr_json_get(result_of(result.out, 3, &arena), "ids")->length, 20);
    kr_arena_free(&arena);
    cli_free(&result);
    cli_free(&alone);
    cli_free(&warm);
}

#define TEXT_TESTS cmocka_unit_test_setup_teardown(texts_with_options_of_their_own, enter, leave),
#else
#define TEXT_TESTS
#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = { TEST(lines_are_those_of_run_alone_in_order),
                                        TEST(batch_and_threads_do_not_show),
                                        TEST(stdin_and_stdout),
                                        TEST(a_state_goes_before_every_prompt),
                                        TEST(bad_lines_are_told_and_the_rest_goes_on),
                                        TEST(a_file_cut_anywhere_is_gone_on_with),
                                        TEST(a_killed_run_is_gone_on_with),
                                        TEST(another_run_is_not_gone_on_with),
                                        TEST(an_empty_file_gives_an_empty_one),
                                        TEST(a_full_disk_is_a_failure_and_can_be_gone_on_with),
                                        TEST(usage),
                                        TEXT_TESTS };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
