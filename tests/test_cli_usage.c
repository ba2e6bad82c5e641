/* The program's manners: help, usage errors, exit codes, output that cannot be written, manuals in step. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#ifdef KRAIT_CLI

static const char *const commands[] = { "run",  "inspect", "tokenize", "logits", "perplexity", "quantize",  "bench", "pull",
                                        "list", "rm",      "plot",     "data",   "train",      "tokenizer", "task" };
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void help_explains_every_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        cli_result a = cli(NULL, commands[i], "--help", NULL), b = cli(NULL, "help", commands[i], NULL);
        assert_cli(&a, 0, NULL);
        assert_string_equal(a.out, b.out);
        assert_string_equal(a.err, "");
        assert_non_null(strstr(a.out, "Usage: krait "));
        assert_non_null(strstr(a.out, "\nExamples\n  krait "));
        /* For a terminal of 80 columns; usage lines may be longer. */
        for (const char *line = strstr(a.out, "\n\n") + 2; *line; line += strcspn(line, "\n") + 1)
            if (strncmp(line, "Usage", 5) != 0 && strcspn(line, "\n") > 80) fail_msg("%s: %s", commands[i], line);
        cli_free(&a);
        cli_free(&b);
    }
    cli_result none = cli(NULL, NULL), help = cli(NULL, "help", NULL), version = cli(NULL, "version", NULL);
    assert_cli(&none, 2, "Usage: krait COMMAND");
    assert_cli(&help, 0, NULL);
    assert_string_equal(help.out, none.err);
    assert_cli(&version, 0, NULL);
    assert_memory_equal(version.out, "krait ", 6);
    assert_non_null(strstr(version.out, krait_version()));
    assert_non_null(strstr(version.out, krait_build_info()));
    cli_free(&none);
    cli_free(&help);
    cli_free(&version);
}

/* Every row of the option tables is in the man page and in both completions. */
static void manuals_are_in_step_with_options(void **state)
{
    (void)state;
    cli_result list = cli(NULL, "__options", NULL);
    char *bash = cli_read(SOURCE "/completions/krait.bash", NULL), *zsh = cli_read(SOURCE "/completions/krait.zsh", NULL);
    assert_cli(&list, 0, NULL);
    size_t rows = 0;
    for (char *line = strtok(list.out, "\n"); line; line = strtok(NULL, "\n"), rows++) {
        char command[32], letter, name[64], argument[64], path[1024], text[256];
        assert_int_equal(sscanf(line, "%31s\t%c\t%63s\t%63s", command, &letter, name, argument), 4);

        snprintf(path, sizeof path, SOURCE "/docs/man/krait-%s.1", command);
        char *page = cli_read(path, NULL);
        bool argued = strcmp(argument, "-") != 0;
        if (letter != '-')
            snprintf(text, sizeof text, "Fl %c , -%s%s", letter, name, argued ? " Ar " : "\n");
        else
            snprintf(text, sizeof text, "Fl -%s%s", name, argued ? " Ar " : "\n");
        if (!strstr(page, text)) fail_msg("%s: no \"%s\"", path, text);
        free(page);

        /* Within the command's own part of each completion. */
        char *const completions[] = { bash, zsh };
        for (size_t i = 0; i < 2; i++) {
            snprintf(text, sizeof text, "\n    %s)\n", command);
            char *from = strstr(completions[i], text);
            assert_non_null(from);
            char *to = strstr(from, "\n        ;;"), saved = *to;
            *to = 0;
            snprintf(text, sizeof text, "--%s", name);
            bool found = false;
            for (char *at = from; !found && (at = strstr(at, text)); at++)
                found = strchr(" \n[}\"", at[strlen(text)]) || !at[strlen(text)];
            if (!found) fail_msg("completions/krait.%s: %s: no %s", i ? "zsh" : "bash", command, text);
            *to = saved;
        }
    }
    assert_true(rows > 60);
    free(bash);
    free(zsh);
    cli_free(&list);
}

static void usage_errors_say_what_was_expected(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[8], *message;
    } cases[] = {
        { { "runn" }, "did you mean krait run?" },
        { { "zzzzzz" }, "krait: unknown command zzzzzz" },
        { { "help", "inspct" }, "did you mean krait inspect?" },
        { { "run", "--tmep", "1" }, "krait run: unknown option --tmep: did you mean --temp?" },
        { { "run", "--tmep=1" }, "unknown option --tmep: did you mean --temp?" },
        { { "run", "-z" }, "unknown option -z" },
        { { "run", "-n" }, "-n: expected N behind it" },
        { { "run", "-n", "0", "-p", "x" }, "-n 0: expected a whole number, at least 1" },
        { { "run", "-n0", "-p", "x" }, "-n 0: expected a whole number, at least 1" },
        { { "run", "--tokens=-1" }, "--tokens -1: expected a whole number, at least 1" },
        { { "run", "-n", "12x" }, "-n 12x: expected" },
        { { "run", "-n", "" }, "expected a whole number" },
        { { "run", "-n", "99999999999999999999999" }, "expected a whole number" },
        { { "run", "--temp", "-1" }, "--temp -1: expected a number, at least 0" },
        { { "run", "--temp", "nan" }, "--temp nan: expected" },
        { { "run", "--temp", "1e999" }, "--temp 1e999: expected" },
        { { "run", "--top-p", "1.5" }, "--top-p 1.5: expected a number from 0 to 1" },
        { { "run", "--seed", "-1" }, "--seed -1: expected" },
        { { "run", "--isa", "sse" },
          "--isa sse: expected one of auto|plain|avx2|avx2-vnni|avx512|avx512-bf16|avx512-amx|neon|neon-dot|neon-bf16" },
        { { "run", "--ids", "1,,2" }, "--ids 1,,2: expected" },
        { { "run", "--ids", "" }, "--ids : expected" },
        { { "run", "--ids", "4294967296" }, "expected a whole number from 0 to 2147483647" },
        { { "run", "--ids", "1", "-p", "x" }, "expected one" },
        { { "run", "-p", "" }, "-p: expected some text to continue" },
        { { "run", "--stop", "", "-p", "x" }, "--stop: expected some text" },
        { { "run", "--stop", "x", "--ids", "1" }, "use --stop-id" },
        { { "run", "--logit-bias", "3", "-p", "x" }, "--logit-bias 3: expected ID=BIAS" },
        { { "run", "--logit-bias", "3=x", "-p", "x" }, "expected ID=BIAS" },
        { { "run", "--logit-bias", "-3=1", "-p", "x" }, "expected ID=BIAS" },
        { { "run", "--greedy=1", "-p", "x" }, "--greedy takes no value" },
        { { "run", "-i", "--json" }, "--json is not for a conversation" },
        { { "run", "--logprobs", "-p", "x" }, "--logprobs: expected --json" },
        { { "run", "--after", "x", "-p", "x" }, "expected -i" },
        { { "run", "word" }, "unexpected argument word" },
        { { "inspect", "a", "b" }, "one MODEL is enough" },
        { { "inspect", "a", "-m", "b" }, "expected one model" },
        { { "tokenize", "--skip-special" }, "expected --decode" },
        { { "tokenize", "-p", "x", "-f", "y" }, "expected one of them" },
        { { "logits", "-o", "x" }, "expected one of --ids, --ids-file and -p, found 0" },
        { { "logits", "--ids", "1" }, "expected -o FILE" },
        { { "perplexity", "--window", "1" }, "--window 1: expected a whole number, at least 2" },
        { { "perplexity", "--compare-type", "q7" }, "--compare-type q7: expected one of auto|f32|f16|bf16|q8|q6|q4" },
        { { "bench", "--shape", "7b" }, "--shape 7b: expected one of 130m|" },
        { { "bench", "--long", "8,4" }, "expected ascending positions, found 4 behind 8" },
        { { "bench", "--batch", "0" }, "--batch 0: expected" },
        { { "pull" }, "expected OWNER/NAME[@REVISION]" },
        { { "pull", "tiny" }, "tiny: expected OWNER/NAME[@REVISION][:FILE]" },
        { { "list", "tiny" }, "unexpected argument tiny" },
        { { "rm" }, "expected OWNER/NAME[@REVISION]" },
        { { "rm", "../x" }, "../x: expected OWNER/NAME[@REVISION]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        if (result.code != 2 || !strstr(result.err, cases[i].message) || result.out_length)
            fail_msg("case %zu: expected exit code 2 and \"%s\", found %d and \"%s\"", i, cases[i].message, result.code,
                     result.err);
        cli_free(&result);
    }
}

static void failures_name_the_file(void **state)
{
    (void)state;
    static const struct {
        const char *arguments[12], *message;
    } cases[] = {
        { { "run", "-m", "/no/such/model", "-p", "x" }, "krait run: /no/such/model" },
        { { "inspect", "/no/such/model" }, "krait inspect: /no/such/model" },
        { { "run", "-m", TINY, "-f", "/no/such/text" }, "/no/such/text" },
        { { "run", "-m", TINY, "--ids", "999999" }, "position 0: expected an id from 0 to 255, found 999999" },
        { { "run", "-m", TINY, "--ids", "1", "--state-in", "/no/such/state" }, "/no/such/state" },
        { { "run", "-m", TINY, "--ids", "1", "--state-out", "/no/such/folder/state" }, "/no/such/folder/state" },
        { { "run", "-m", TINY, "--ids", "1", "--state-in", TINY "/model.safetensors" }, "model.safetensors" },
        { { "run", "-m", TINY, "-p", "x" }, "has no tokenizer.json: give one with --tokenizer FILE" },
        { { "run", "-m", TINY, "--tokenizer", "/no/such/tokenizer.json", "-p", "x" }, "tokenizer" },
        { { "logits", "-m", TINY, "--ids", "1", "-o", "/no/such/folder/x" }, "/no/such/folder/x: cannot write" },
        { { "logits", "-m", TINY, "--ids", "1", "-o", "/dev/full" }, "/dev/full: cannot write: No space left" },
        { { "logits", "-m", TINY, "--ids", "1,256", "-o", "/dev/null" }, "position 1: expected an id from 0 to 255, found 256" },
        { { "logits", "-m", TINY, "--ids-file", TINY "/config.json", "-o", "/dev/null" }, "config.json: byte 0: expected ids" },
        { { "logits", "-m", TINY, "--ids-file", "/dev/null", "-o", "/dev/null" }, "expected at least one id" },
        { { "perplexity", "-m", TINY, "--ids-file", "/dev/null" }, "expected at least 2 tokens, found 0" },
        { { "perplexity", "-m", TINY, "--ids-file", "/dev/null", "--compare", "/no/such/model" }, "/no/such/model" },
        { { "bench", "-m", "/no/such/model" }, "krait bench: /no/such/model" },
        { { "quantize", "/no/such/model", P_tmpdir "/x.gguf", "--type", "q8" }, "krait quantize: /no/such/model" },
        { { "quantize", TINY, "/no/such/folder/x.gguf", "--type", "q8" }, "/no/such/folder/x.gguf: cannot write" },
        { { "quantize", TINY, P_tmpdir "/x.gguf", "--type", "q8", "--keep", "ssm_a=q8" },
          "--keep: pattern \"ssm_a\": expected the name of a matrix, with * and ? for what differs, found none that fits" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        bool one_line = strlen(result.err) > 0 && strchr(result.err, '\n') == result.err + strlen(result.err) - 1;
        if (result.code != 1 || !strstr(result.err, cases[i].message) || !one_line)
            fail_msg("case %zu: expected exit code 1 and \"%s\", found %d and \"%s\"", i, cases[i].message, result.code,
                     result.err);
        cli_free(&result);
    }
}

static void empty_stdin_is_told(void **state)
{
    (void)state;
    cli_result result = cli("\n", "run", "-m", TINY, NULL);
    assert_cli(&result, 1, "stdin: expected some text to continue, found none");
    cli_free(&result);
}

static int run_into(const char *out, char *message, size_t size)
{
    char command[2048];
    snprintf(command, sizeof command, "'%s' run -m '%s' --ids 1 -n 20 2>&1 >%s", KRAIT_CLI, TINY, out);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t n = fread(message, 1, size - 1, pipe);
    message[n] = 0;
    return cli_exit_code(pclose(pipe));
}

static void full_disk_is_a_failure(void **state)
{
    (void)state;
    char message[512];
    assert_int_equal(run_into("/dev/full", message, sizeof message), 1);
    assert_string_equal(message, "krait run: stdout: cannot write: No space left on device\n");
}

/* As in `krait run | head -c 1`. */
static void closed_pipe_ends_quietly(void **state)
{
    (void)state;
    static const char *const arguments[] = { "run", "-m", TINY, "--ids", "1", "-n", "100000000", "--ignore-eos", NULL };
    cli_process process = cli_start(arguments);
    char byte;
    assert_int_equal(read(process.out, &byte, 1), 1);
    close(process.out);
    process.out = open("/dev/null", O_RDONLY);
    assert_int_equal(cli_end(&process), 0);
}

static void colours_are_for_terminals(void **state)
{
    (void)state;
    cli_result result = cli(NULL, "run", "-m", TINY, "--ids", "1", "-n", "2", "--stats", NULL);
    assert_cli(&result, 0, "tokens/s");
    assert_null(strchr(result.out, '\033'));
    assert_null(strchr(result.err, '\033'));
    cli_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_explains_every_command),
        cmocka_unit_test(manuals_are_in_step_with_options),
        cmocka_unit_test(usage_errors_say_what_was_expected),
        cmocka_unit_test(failures_name_the_file),
        cmocka_unit_test(empty_stdin_is_told),
        cmocka_unit_test(full_disk_is_a_failure),
        cmocka_unit_test(closed_pipe_ends_quietly),
        cmocka_unit_test(colours_are_for_terminals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
