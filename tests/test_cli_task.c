/* `krait task`, the real program: small tasks that are learned in a second. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#ifdef KRAIT_CLI

#define SMALL "--vocabulary", "5", "--width", "32", "--layers", "2", "--state", "4", "--length", "16", "-t", "1"

static double result_at(const kr_json *root, size_t index, const char *name)
{
    const kr_json *result = kr_json_get(root, "results")->first;
    while (index--) result = result->next;
    return cli_json_number(result, name);
}

static void a_task_is_learned_kept_and_tested_again(void **state)
{
    (void)state;
    cli_folder();
    char *folder = strdup(cli_path("model")), *path = malloc(strlen(folder) + 32);
    kr_arena arena = { 0 };
    cli_result learned = cli(NULL, "task", "induction", SMALL, "--steps", "1600", "--lr", "8e-3", "--batch", "256", "--test",
                             "8,16,64", "--samples", "100", "-o", folder, "--json", NULL);
    assert_cli(&learned, 0, NULL);
    const kr_json *root = cli_json(&learned, &arena);
    assert_true(kr_json_is(kr_json_get(root, "task"), "induction"));
    assert_true(cli_json_number(root, "learned.length_reached") == 16);
    assert_true(cli_json_number(root, "learned.steps") == 1600);
    assert_true(cli_json_number(root, "learned.loss") < 0.2);
    const size_t lengths[] = { 8, 16, 64 };
    for (size_t i = 0; i < 3; i++) {
        assert_true(result_at(root, i, "length") == (double)lengths[i]);
        assert_true(result_at(root, i, "answers") == 100);
        /* By chance it would be a quarter. */
        if (result_at(root, i, "accuracy") < 0.9) fail_msg("length %zu: %g", lengths[i], result_at(root, i, "accuracy"));
    }

    /* The results are in the folder, too, and the curve can be drawn. */
    snprintf(path, strlen(folder) + 32, "%s/results.json", folder);
    size_t size;
    char *text = cli_read(path, &size);
    cli_result kept = { .out = text, .out_length = size };
    assert_true(result_at(cli_json(&kept, &arena), 2, "right") == result_at(root, 2, "right"));
    cli_result curve = cli(NULL, "plot", folder, "-y", "loss,length", "--ascii", NULL);
    assert_cli(&curve, 0, NULL);
    assert_non_null(strstr(curve.out, "loss (nats per token)"));

    /* The model that was kept answers as it did. */
    cli_result again = cli(NULL, "task", "induction", "-m", folder, "--vocabulary", "5", "--test", "8,16,64", "--samples", "100",
                           "-t", "1", "--json", NULL);
    assert_cli(&again, 0, NULL);
    const kr_json *second = cli_json(&again, &arena);
    for (size_t i = 0; i < 3; i++) assert_true(result_at(second, i, "right") == result_at(root, i, "right"));
    cli_result other = cli(NULL, "task", "induction", "-m", folder, "--test", "64", NULL);
    assert_cli(&other, 1, "expected a model of 16 tokens, found one of 5");
    cli_free(&other);
    cli_free(&again);
    cli_free(&curve);
    cli_free(&learned);
    free(text);
    kr_arena_free(&arena);
    free(path);
    free(folder);
    cli_folder_remove();
}

static void copying_is_learned_and_drawn(void **state)
{
    (void)state;
    cli_folder();
    char *svg = strdup(cli_path("accuracy.svg"));
    cli_result result = cli(NULL, "task", "copying", SMALL, "--memory", "2", "--steps", "300", "--batch", "256", "--test", "8,16",
                            "--samples", "50", "--ascii",
#ifdef KRAIT_HAVE_PLOT
                            "--plot", svg,
#endif
                            NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "copying: "));
    const char *row = strstr(result.out, "\n          16");
    assert_non_null(row);
    assert_true(strtod(row + 13, NULL) > 70); /* a third by chance */
    assert_non_null(strstr(result.out, " of 100\n"));
    assert_non_null(strstr(result.out, "Copying: accuracy over length"));
    assert_non_null(strstr(result.out, "length of the sequence in tokens"));
#ifdef KRAIT_HAVE_PLOT
    char *text = cli_read(svg, NULL);
    assert_non_null(strstr(text, "<svg"));
    free(text);
#endif
    cli_free(&result);
    free(svg);
    cli_folder_remove();
}

static void the_seed_decides(void **state)
{
    (void)state;
    kr_arena arena = { 0 };
    double loss[3];
    for (int i = 0; i < 3; i++) {
        cli_result result = cli(NULL, "task", "selective-copying", SMALL, "--memory", "3", "--steps", "20", "--batch", "64",
                                "--test", "8", "--samples", "4", "--json", "--seed", i < 2 ? "7" : "8", NULL);
        assert_cli(&result, 0, NULL);
        loss[i] = cli_json_number(cli_json(&result, &arena), "learned.loss");
        cli_free(&result);
    }
    assert_true(loss[0] == loss[1] && loss[0] != loss[2]);
    kr_arena_free(&arena);
}

static void mistakes_are_explained(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[10];
        int code;
        const char *message;
    } cases[] = {
        { { "task" }, 2, "expected NAME: induction, selective-copying or copying" },
        { { "task", "copyng" }, 2, "unknown task copyng: did you mean copying?" },
        { { "task", "sorting" }, 2, "unknown task sorting: expected induction, selective-copying or copying" },
        { { "task", "induction", "--memory", "3" }, 2, "--memory: expected a task of copying" },
        { { "task", "copying", "--length", "10" }, 2, "--length 10: expected at least 16" },
        { { "task", "copying", "--test", "64,32" }, 2, "--test: expected ascending lengths, found 32 behind 64" },
        { { "task", "copying", "--memory", "8", "--test", "9" }, 2, "--test 9: expected at least 16" },
        { { "task", "induction", "-m", "x", "-o", "y" }, 2, "-o: expected a model to be learned, without -m" },
        { { "task", "induction", "--size", "9" }, 2, "--size 9: expected WIDTHxHEIGHT" },
        { { "task", "induction", "--plot", "x.gif" }, 1, "x.gif: expected a name that ends with .svg or .png" },
        { { "task", "induction", "-m", "/no/such/model" }, 1, "/no/such/model" },
        { { "task", "induction", "-o", "/dev/null" }, 1, "/dev/null: exists and is no folder" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        if (result.code != cases[i].code || !strstr(result.err, cases[i].message) || result.out_length)
            fail_msg("case %zu: expected exit code %d and \"%s\", found %d and \"%s\"", i, cases[i].code, cases[i].message,
                     result.code, result.err);
        cli_free(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_learned_kept_and_tested_again),
        cmocka_unit_test(copying_is_learned_and_drawn),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(mistakes_are_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
