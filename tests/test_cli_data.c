/* krait data. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#if defined(KRAIT_CLI) && defined(KRAIT_HAVE_TEXT)

#define TOKENIZER KRAIT_MODELS "/text-small/tokenizer.json"

static int enter(void **unused)
{
    (void)unused;
    cli_folder();
    return 0;
}

static int leave(void **unused)
{
    (void)unused;
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

static void texts_become_token_files(void **unused)
{
    (void)unused;
    const char *a = cli_path("a.txt"), *b = cli_path("b.txt"), *out = cli_path("out.tokens");
    write_text("a.txt", "It was a dark night.\r\n");
    write_text("b.txt", "The sea.");
    cli_result result = cli(NULL, "data", a, b, "-o", out, "--tokenizer", TOKENIZER, "--crlf", NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "out.tokens: "));
    assert_non_null(strstr(result.out, "2 documents"));
    cli_free(&result);
    result = cli(NULL, "data", "--inspect", out, "--tokenizer", TOKENIZER, NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "verified"));
    assert_non_null(strstr(result.out, "\"<|endoftext|>It was a dark night.\\n\""));
    assert_non_null(strstr(result.out, "\"<|endoftext|>The sea.\""));
    cli_free(&result);
    result = cli(NULL, "data", "--inspect", out, "--tokenizer", TOKENIZER, "--documents", "1", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena), *documents = kr_json_get(root, "first_documents");
    assert_true(cli_json_number(root, "documents") == 2);
    assert_true(cli_json_number(root, "bytes_of_text") == 29);
    assert_true(cli_json_number(root, "vocab_size") == 2048);
    assert_true(cli_json_number(root, "end") == 0);
    assert_int_equal(documents->length, 1);
    assert_true(kr_json_is(kr_json_get(documents->first, "text"), "<|endoftext|>It was a dark night.\n"));
    kr_arena_free(&arena);
    cli_free(&result);

    /* From stdin, cut by a line that is left out with the line ends around it. */
    result = cli("It was a dark night.\n%%\nThe sea.", "data", "-", "-o", out, "--tokenizer", TOKENIZER, "--split", "%%",
                 "--json", NULL);
    assert_cli(&result, 0, NULL);
    root = cli_json(&result, &arena);
    assert_true(cli_json_number(root, "training.documents") == 2);
    assert_true(cli_json_number(root, "training.bytes_of_text") == 28);
    assert_true(cli_json_number(root, "files") == 1);
    kr_arena_free(&arena);
    cli_free(&result);
    unlink(a);
    unlink(b);
    unlink(out);
}

static void held_out_files_go_elsewhere(void **unused)
{
    (void)unused;
    const char *a = cli_path("a.txt"), *b = cli_path("b.txt"), *out = cli_path("out.tokens"),
               *held = cli_path("out.held-out.tokens");
    write_text("a.txt", "one two");
    write_text("b.txt", "three");
    cli_result result =
        cli(NULL, "data", a, b, "-o", out, "--tokenizer", TOKENIZER, "--held-out", "b*", "--json", "--end", "7", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_true(cli_json_number(root, "held_out.bytes_of_text") == 5);
    assert_true(cli_json_number(root, "held_out.end") == 7);
    assert_true(kr_json_is(kr_json_get(kr_json_get(root, "held_out"), "file"), held));
    kr_arena_free(&arena);
    cli_free(&result);
    assert_int_equal(access(held, R_OK), 0);
    assert_int_equal(cli_folder_count(), 4);
    result = cli(NULL, "data", a, b, "-o", out, "--tokenizer", TOKENIZER, "--held-out", "z*", NULL);
    assert_cli(&result, 1, "held out z*: expected a pattern that fits");
    cli_free(&result);
    unlink(a);
    unlink(b);
    unlink(out);
    unlink(held);
}

static void bad_input_is_named(void **unused)
{
    (void)unused;
    const char *a = cli_path("a.txt"), *out = cli_path("out.tokens"), *broken = cli_path("broken.tokens");
    write_text("a.txt", "abc\xc3(");
    cli_result result = cli(NULL, "data", a, "-o", out, "--tokenizer", TOKENIZER, NULL);
    assert_cli(&result, 1, "a.txt: byte 3: expected UTF-8, found 0xc3");
    cli_free(&result);
    result = cli(NULL, "data", a, "-o", out, "--tokenizer", TOKENIZER, "--invalid", "replace", NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "note: 1 runs of bytes that are no UTF-8 were replaced"));
    cli_free(&result);
    result = cli(NULL, "data", "--inspect", out, "--tokenizer", KRAIT_TEST_DATA "/tokenizer/plain.json", NULL);
    assert_cli(&result, 1, "its tokens are another tokenizer's");
    cli_free(&result);
    size_t size;
    char *bytes = cli_read(out, &size);
    bytes[130] ^= 1;
    cli_write(broken, bytes, size);
    free(bytes);
    result = cli(NULL, "data", "--inspect", broken, NULL);
    assert_cli(&result, 1, "damaged: the checksum of bytes 128 to");
    cli_free(&result);
    result = cli(NULL, "data", "--inspect", a, NULL);
    assert_cli(&result, 1, "a.txt: expected a token file");
    cli_free(&result);
    static const struct {
        const char *arguments[10];
        int code;
        const char *message;
    } cases[] = {
        { { "data" }, 2, "expected files or folders of text" },
        { { "data", "x" }, 2, "expected -o FILE" },
        { { "data", "x", "-o", "y", "--inspect", "z" }, 2, "--inspect looks at a token file" },
        { { "data", "x", "-o", "y", "--prompt-field", "q" }, 2, "--prompt-field: expected --field" },
        { { "data", "x", "-o", "y", "--held-out", "q", "--held-out-share", "0.1" }, 2, "expected one of them" },
        { { "data", "x", "-o", "y", "--held-out-file", "q" }, 2, "--held-out-file: expected --held-out" },
        { { "data", "x", "-o", "y", "--end", "q", "--no-end" }, 2, "--end and --no-end" },
        { { "data", "x", "-o", "y", "--split", "" }, 2, "--split: expected a text" },
        { { "data", "/nowhere", "-o", "y", "--tokenizer", TOKENIZER }, 1, "/nowhere: cannot open" },
        { { "data", "x", "-o", "/nowhere/y", "--tokenizer", TOKENIZER }, 1, "/nowhere/y: cannot write" },
        { { "data", "x", "-o", "y", "--tokenizer", TOKENIZER, "--end", "<none>" }, 1, "--end <none>: expected a token" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        result = cli_list(NULL, 0, cases[i].arguments);
        assert_cli(&result, cases[i].code, cases[i].message);
        cli_free(&result);
    }
    unlink(a);
    unlink(out);
    unlink(broken);
}

/* The program waits for the rest of its stdin when the signal comes. */
static void an_interrupt_leaves_nothing(void **unused)
{
    (void)unused;
    const char *const arguments[] = { "data", "-", "-o", cli_path("out.tokens"), "--tokenizer", TOKENIZER, NULL };
    cli_process process = cli_start(arguments);
    assert_int_equal(write(process.in, "text", 4), 4);
    for (int i = 0; i < 500 && cli_folder_count() == 0; i++) usleep(20000);
    assert_int_equal(cli_folder_count(), 1); /* what is written appears later */
    usleep(50000);
    kill(process.pid, SIGINT);
    assert_true(cli_wait_for(&process, "krait data: interrupted"));
    assert_int_equal(cli_end(&process), 130);
    assert_int_equal(cli_folder_count(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_token_files),
        cmocka_unit_test(held_out_files_go_elsewhere),
        cmocka_unit_test(bad_input_is_named),
        cmocka_unit_test(an_interrupt_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}

#else
int main(void) { return 0; }
#endif
