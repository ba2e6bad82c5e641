/* `krait plot`, the real program. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#ifdef KRAIT_CLI

/* A run of 400 logged steps and 8 evaluations that ends in a cut line. */
static char *write_run(const char *name, double floor)
{
    char *path = strdup(cli_path(name));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 1; i <= 400; i++) {
        fprintf(file, "{\"step\":%d,\"tokens\":%d,\"loss\":%.4f,\"lr\":%g,\"tokens_per_second\":%d,\"seconds\":%.1f}\n", 10 * i,
                40960 * i, floor + 5.0 / i + (i % 5) * 0.02, 1e-3 * (1 - i / 500.0), 12000 + i % 7, 3.5 * i);
        if (i % 50 == 0)
            fprintf(file, "{\"step\":%d,\"tokens\":%d,\"held_out_loss\":%.4f}\n", 10 * i, 40960 * i, floor + 0.1 + 5.0 / i);
    }
    fputs("{\"step\":4010,\"lo", file);
    fclose(file);
    return path;
}

static void curves_in_the_terminal(void **state)
{
    (void)state;
    cli_folder();
    char *a = write_run("a.jsonl", 2), *b = write_run("b.jsonl", 3);
    cli_result one = cli(NULL, "plot", a, NULL), both = cli(NULL, "plot", a, b, "--ascii", "--size", "70x30", NULL);
    assert_cli(&one, 0, NULL);
    assert_string_equal(one.err, "");
    assert_memory_equal(one.out, "a\n", 2);
    assert_non_null(strstr(one.out, "training loss 2.0"));
    assert_non_null(strstr(one.out, "held-out loss 2.112"));
    assert_non_null(strstr(one.out, "\nlearning rate\n"));
    assert_non_null(strstr(one.out, "\ntokens per second\n"));
    assert_null(strchr(one.out, '\033'));
    assert_cli(&both, 0, NULL);
    assert_non_null(strstr(both.out, "a  a 2.0"));
    assert_non_null(strstr(both.out, "b  b 3.0"));
    size_t rows = 0;
    for (const char *line = both.out; *line; line += strcspn(line, "\n") + 1, rows++) {
        if (strcspn(line, "\n") > 70) fail_msg("%.*s", (int)strcspn(line, "\n"), line);
        for (const char *at = line; *at != '\n'; at++) assert_true(*at >= ' ' && *at <= '~');
    }
    assert_true(rows >= 27 && rows <= 30);
    cli_free(&one);
    cli_free(&both);
    free(a);
    free(b);
    cli_folder_remove();
}

static void points_as_json(void **state)
{
    (void)state;
    cli_folder();
    char *a = write_run("a.jsonl", 2);
    kr_arena arena = { 0 };
    cli_result result =
        cli(NULL, "plot", a, "--json", "-x", "tokens", "-y", "loss,held_out_loss", "--from", "40960", "--to", "2048000", NULL);
    assert_cli(&result, 0, NULL);
    const kr_json *root = cli_json(&result, &arena), *run = kr_json_get(root, "runs")->first;
    assert_true(kr_json_is(kr_json_get(root, "axis"), "tokens"));
    assert_true(kr_json_is(kr_json_get(run, "name"), "a"));
    assert_true(kr_json_get(run, "cut")->boolean);
    assert_int_equal(cli_json_number(run, "lines"), 408);
    const kr_json *loss = kr_json_get(run, "series")->first, *held_out = loss->next;
    assert_true(kr_json_is(kr_json_get(loss, "name"), "loss"));
    assert_int_equal(kr_json_get(loss, "x")->length, 50);
    assert_int_equal(kr_json_get(loss, "smooth")->length, 50);
    assert_true(kr_json_number(kr_json_get(loss, "x")->first) == 40960);
    assert_float_equal(kr_json_number(kr_json_get(loss, "y")->first), 7.02, 1e-9);
    assert_int_equal(kr_json_get(held_out, "x")->length, 1);
    assert_float_equal(kr_json_number(kr_json_get(held_out, "y")->first), 2.2, 1e-9);
    assert_null(kr_json_get(held_out, "smooth"));
    kr_arena_free(&arena);
    cli_free(&result);
    free(a);
    cli_folder_remove();
}

#ifdef KRAIT_HAVE_PLOT
static uint32_t big_endian(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
#endif

static void pictures(void **state)
{
    (void)state;
    cli_folder();
    char *a = write_run("a.jsonl", 2), *b = write_run("b.jsonl", 3);
    char *svg = strdup(cli_path("x.svg")), *png = strdup(cli_path("x.png"));
    cli_result s = cli(NULL, "plot", a, b, "-o", svg, "--log", "xy", "--title", "two \xC3\xA4 runs", NULL);
    cli_result p = cli(NULL, "plot", a, "-o", png, "--size", "450x330", "-x", "seconds", NULL);
#ifdef KRAIT_HAVE_PLOT
    size_t size;
    assert_cli(&s, 0, NULL);
    assert_string_equal(s.out, "");
    char *text = cli_read(svg, &size);
    assert_non_null(strstr(text, "<svg"));
    assert_non_null(strstr(text, "width=\"900px\""));
    assert_memory_equal(text + size - 7, "</svg>\n", 7);
    /* Colours of both runs. */
    assert_non_null(strstr(text, "rgb(0%,36.5%,66.3%)"));
    assert_non_null(strstr(text, "rgb(83.5%,32.9%,0%)"));
    free(text);
    assert_cli(&p, 0, NULL);
    unsigned char *bytes = (unsigned char *)cli_read(png, &size);
    assert_true(size > 3000);
    assert_memory_equal(bytes, "\x89PNG\r\n\x1a\n", 8);
    assert_int_equal(big_endian(bytes + 16), 450);
    assert_int_equal(big_endian(bytes + 20), 330);
    free(bytes);
    assert_int_equal(cli_folder_count(), 4); /* nothing temporary is left */
    cli_free(&p);
    p = cli(NULL, "plot", a, "-o", png, "--size", "900x100", NULL);
    assert_cli(&p, 1, "no room for 3 panels");
    assert_int_equal(cli_folder_count(), 4);
    cli_free(&p);
    p = cli(NULL, "plot", a, "-o", "/no/such/folder/x.svg", NULL);
    assert_cli(&p, 1, "/no/such/folder/x.svg: cannot write");
#else
    assert_cli(&s, 1, "this build draws in the terminal only");
    assert_cli(&p, 1, "this build draws in the terminal only");
#endif
    cli_free(&s);
    cli_free(&p);
    free(a);
    free(b);
    free(svg);
    free(png);
    cli_folder_remove();
}

/* The curve is drawn all the same, and the exit code says so. */
static void broken_lines_are_passed_over(void **state)
{
    (void)state;
    cli_folder();
    const char *path = cli_path("broken.jsonl");
    static const char text[] = "{\"step\":1,\"loss\":5}\n{\"step\":2,\"loss\":}\n{\"step\":3,\"loss\":4}\n[]\n";
    cli_write(path, text, sizeof text - 1);
    cli_result result = cli(NULL, "plot", path, "--json", NULL);
    assert_cli(&result, 1, "broken.jsonl: line 2: ");
    assert_non_null(strstr(result.err, "broken.jsonl: line 4: line: expected an object, found array: passed over"));
    assert_non_null(strstr(result.out, "\"y\": [5, 4]"));
    cli_free(&result);
    result = cli(text, "plot", "-", NULL);
    assert_cli(&result, 1, "krait plot: stdin: line 2: ");
    assert_memory_equal(result.out, "stdin\n", 6);
    cli_free(&result);
    cli_folder_remove();
}

static void mistakes_are_explained(void **state)
{
    (void)state;
    cli_folder();
    char *a = write_run("a.jsonl", 2);
    const char *empty = cli_path("empty.jsonl"), *folder = cli_folder();
    cli_write(empty, "", 0);
    const struct {
        const char *arguments[10];
        int code;
        const char *message;
    } cases[] = {
        { { "plot" }, 2, "expected RUN" },
        { { "plot", a, "--size", "900" }, 2, "--size 900: expected WIDTHxHEIGHT" },
        { { "plot", a, "--smooth", "many" }, 2, "--smooth many: expected auto, or how many points" },
        { { "plot", a, "--from", "10", "--to", "5" }, 2, "--to 5: expected more than --from 10" },
        { { "plot", a, "--name", "x", "--name", "y" }, 2, "--name: expected one for each of 1 runs, found 2" },
        { { "plot", a, "-x", "epochs" }, 2, "-x epochs: expected one of steps|tokens|seconds" },
        { { "plot", empty }, 1, "empty.jsonl: expected lines of a training run, found none" },
        { { "plot", "/no/such/run" }, 1, "/no/such/run: cannot open" },
        { { "plot", folder }, 1, "metrics.jsonl: cannot open" },
        { { "plot", a, "-y", "los" }, 1, "no series los: did you mean loss?" },
        { { "plot", a, "-y", "perplexity" },
          1,
          "no series perplexity: expected one of loss, lr, tokens_per_second, held_out_loss" },
        { { "plot", a, "-y", "" }, 1, "no series : expected one of loss" },
        { { "plot", a, "--from", "100000" }, 1, "no point of loss has its steps in this range" },
        { { "plot", a, "-o", "x.jpg" }, 1, "x.jpg: expected a name that ends with .svg or .png" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        if (result.code != cases[i].code || !strstr(result.err, cases[i].message) || result.out_length)
            fail_msg("case %zu: expected exit code %d and \"%s\", found %d and \"%s\"", i, cases[i].code, cases[i].message,
                     result.code, result.err);
        cli_free(&result);
    }
    free(a);
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_in_the_terminal),       cmocka_unit_test(points_as_json),         cmocka_unit_test(pictures),
        cmocka_unit_test(broken_lines_are_passed_over), cmocka_unit_test(mistakes_are_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
