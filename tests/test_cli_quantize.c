/* `krait quantize`, the real program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#ifdef KRAIT_CLI

static void choices_and_totals_are_shown(void **state)
{
    (void)state;
    const char *out = cli_path("x.gguf");
    kr_arena arena = { 0 };
    cli_result text = cli(NULL, "quantize", TINY, out, "--type", "q8", "--keep", "blk.0.ssm_in.*=bf16", NULL);
    assert_cli(&text, 0, NULL);
    assert_non_null(strstr(text.out, "blk.0.ssm_in.weight        F32    BF16"));
    assert_non_null(strstr(text.out, "(chosen)"));
    assert_non_null(strstr(text.out, "blk.1.ssm_in.weight        F32    Q8_0"));
    assert_non_null(strstr(text.out, "no whole blocks of 32"));
    assert_non_null(strstr(text.out, "x.gguf: "));
    cli_result json = cli(NULL, "quantize", TINY, out, "--type=q8", "--json", NULL);
    assert_cli(&json, 0, NULL);
    const kr_json *object = cli_json(&json, &arena), *tensors = kr_json_get(object, "tensors");
    size_t size;
    free(cli_read(out, &size));
    double bytes = cli_json_number(object, "bytes"), sum = 0;
    for (const kr_json *t = tensors->first; t; t = t->next) sum += cli_json_number(t, "bytes");
    assert_true(sum == bytes && bytes < (double)size && bytes > 0.5 * (double)size);
    cli_result inspect = cli(NULL, "inspect", out, NULL);
    assert_cli(&inspect, 0, NULL);
    assert_non_null(strstr(inspect.out, "Q8_0"));
    assert_int_equal(cli_folder_count(), 1);
    kr_arena_free(&arena);
    cli_free(&text);
    cli_free(&json);
    cli_free(&inspect);
    cli_folder_remove();
}

#if defined KRAIT_HAVE_DEFAULT_MODEL && defined KRAIT_HAVE_TEXT
static void the_built_in_model_says_the_same_from_a_file(void **state)
{
    (void)state;
    const char *out = cli_path("x.gguf");
    cli_result made = cli(NULL, "quantize", out, "--type", "f32", NULL);
    assert_cli(&made, 0, NULL);
    cli_result a = cli(NULL, "run", "-p", "It was a dark", "-n", "12", "--greedy", NULL);
    cli_result b = cli(NULL, "run", "-m", out, "-p", "It was a dark", "-n", "12", "--greedy", NULL);
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 0, NULL);
    assert_string_equal(a.out, b.out);
    cli_free(&made);
    cli_free(&a);
    cli_free(&b);
    cli_folder_remove();
}
#endif

static void what_is_wrong_is_said_and_leaves_nothing(void **state)
{
    (void)state;
    const char *out = cli_path("x.gguf"), *full = cli_path("full.gguf");
    const struct {
        const char *arguments[10], *message;
        int code;
    } cases[] = {
        { { "quantize", TINY, "--type", "q8" }, "expected a new or an empty folder, found something in it", 1 },
        { { "quantize", TINY, "/no/such/folder", "--type", "q8" }, "/no/such/folder: cannot make folder", 1 },
        { { "quantize", "--shape", "130m", "folder", "--type", "q8" }, "folder: expected a name that ends in .gguf", 2 },
        { { "quantize", "--type", "q8" }, "expected OUT, the folder or OUT.gguf", 2 },
        { { "quantize", TINY, out }, "expected --type f32, f16, bf16, q8, q6 or q4", 2 },
        { { "quantize", TINY, out, "--type", "q5" }, "--type", 2 },
        { { "quantize", TINY, out, out, "--type", "q8" }, "MODEL and OUT are enough", 2 },
        { { "quantize", TINY, out, "--type", "q8", "--keep", "x" }, "--keep: expected PATTERN=TYPE", 2 },
        { { "quantize", TINY, out, "--type", "q8", "--keep", "x=q7" }, "found x=q7", 2 },
        { { "quantize", TINY, out, "--type", "q8", "--shape", "130m" }, "expected one of them", 2 },
        { { "quantize", TINY "/config.json", out, "--type", "q8" }, "config.json", 1 },
        { { "quantize", TINY, full, "--type", "q8" }, "full.gguf: cannot write: No space left", 1 },
    };
    size_t n = sizeof cases / sizeof *cases;
    if (symlink("/dev/full", full) != 0 || access("/dev/full", W_OK) != 0) n--;
    size_t before = cli_folder_count();
    for (size_t i = 0; i < n; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        if (result.code != cases[i].code || !strstr(result.err, cases[i].message))
            fail_msg("case %zu: expected %d and \"%s\", found %d and \"%s\"", i, cases[i].code, cases[i].message, result.code,
                     result.err);
        cli_free(&result);
    }
    assert_int_equal(cli_folder_count(), before);
    cli_folder_remove();
}

static void quantised_models_need_force(void **state)
{
    (void)state;
    const char *q8 = cli_path("q8.gguf"), *q4 = cli_path("q4.gguf");
    cli_result a = cli(NULL, "quantize", TINY, q8, "--type", "q8", NULL);
    cli_result b = cli(NULL, "quantize", q8, q4, "--type", "q4", NULL);
    cli_result c = cli(NULL, "quantize", q8, q4, "--type", "q4", "--force", NULL);
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 1, "token_embd.weight is Q8_0 already");
    assert_non_null(strstr(b.err, "--force"));
    assert_cli(&c, 0, NULL);
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_and_totals_are_shown),
#if defined KRAIT_HAVE_DEFAULT_MODEL && defined KRAIT_HAVE_TEXT
        cmocka_unit_test(the_built_in_model_says_the_same_from_a_file),
#endif
        cmocka_unit_test(what_is_wrong_is_said_and_leaves_nothing),
        cmocka_unit_test(quantised_models_need_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void) { return 0; }
#endif
