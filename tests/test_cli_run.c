/* `krait run`: the right tokens by ids and as text, states, stops, Ctrl-C, the conversation. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

#ifdef KRAIT_CLI

static int leave(void **state)
{
    (void)state;
    cli_folder_remove();
    return 0;
}

static int enter(void **state)
{
    (void)state;
    cli_folder();
    return 0;
}

/* The n greedy tokens of `tiny` from the text of ids `prompt`, with further arguments. */
static int32_t *tiny(const char *prompt, const char *n_tokens, size_t *n, const char *more, const char *value)
{
    cli_result result =
        cli(NULL, "run", "-m", TINY, "--ids", prompt, "--greedy", "--no-echo", "--ignore-eos", "-n", n_tokens, more, value, NULL);
    assert_cli(&result, 0, NULL);
    int32_t *ids = cli_ids(result.out, n);
    cli_free(&result);
    return ids;
}

static void greedy_ids_of_the_reference_models(void **state)
{
    (void)state;
    static const char *const models[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char path[512];
        size_t n_input, n_greedy, n;
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/models/%s", models[m]);
        krait_checkpoint *expected = fixture_open(path, "expected.safetensors");
        int32_t *input = fixture_ids(expected, "input_ids", &n_input), *greedy = fixture_ids(expected, "greedy", &n_greedy);
        for (size_t row = 0; row < 2; row++) {
            char *prompt = cli_list_of(input + row * n_input / 2, 8);
            cli_result result =
                cli(NULL, "run", "-m", path, "--ids", prompt, "--greedy", "--no-echo", "--ignore-eos", "-n", "32", NULL);
            assert_cli(&result, 0, NULL);
            int32_t *ids = cli_ids(result.out, &n);
            assert_ids(ids, n, greedy + row * n_greedy / 2, n_greedy / 2);
            free(ids);
            free(prompt);
            cli_free(&result);
        }
        free(input);
        free(greedy);
        krait_checkpoint_free(expected);
    }
}

static void protmamba_writes_its_protein(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "checkpoints/protmamba");
    static const char expected[] = "MSGRPGITEKRLSAKRFHQLRDMAPDNMLNPNDVTIDIPLHSVSSRGQTGARKSSVNAPD",
                      letters[] = "LAGVSERTIDPKQNFYMHWCXBUZO.-";
    cli_result result = cli(NULL, "run", "-m", path, "--ids", "0", "--greedy", "--no-echo", "-n", "60", NULL);
    assert_cli(&result, 0, NULL);
    size_t n;
    int32_t *ids = cli_ids(result.out, &n);
    char protein[128] = "";
    for (size_t i = 0; i < n && i < sizeof protein - 1; i++)
        protein[i] = ids[i] >= 4 && ids[i] < 4 + (int)strlen(letters) ? letters[ids[i] - 4] : '?';
    assert_memory_equal(protein, expected, strlen(expected));
    free(ids);
    free(path);
    cli_free(&result);
}

static void echo_and_no_echo(void **state)
{
    (void)state;
    cli_result with = cli(NULL, "run", "-m", TINY, "--ids", "5,6", "--ids", "7", "--greedy", "-n", "3", NULL);
    cli_result without = cli(NULL, "run", "-m", TINY, "--ids", "5,6,7", "--greedy", "-n", "3", "--no-echo", NULL);
    assert_cli(&with, 0, NULL);
    assert_memory_equal(with.out, "5 6 7 ", 6);
    assert_string_equal(with.out + 6, without.out);
    assert_int_equal(without.out[without.out_length - 1], '\n');
    cli_free(&with);
    cli_free(&without);
}

static void state_in_goes_on_where_state_out_stopped(void **state)
{
    (void)state;
    size_t n_whole, n_first, n_second;
    const char *path = cli_path("state");
    int32_t *whole = tiny("1,2,3", "12", &n_whole, NULL, NULL);
    int32_t *first = tiny("1,2,3", "5", &n_first, "--state-out", path);
    assert_ids(first, n_first, whole, 5);
    cli_result result = cli(NULL, "run", "-m", TINY, "--state-in", path, "--greedy", "--ignore-eos", "-n", "7", NULL);
    assert_cli(&result, 0, NULL);
    size_t n;
    int32_t *rest = cli_ids(result.out, &n);
    assert_ids(rest, n, whole + 5, 7);
    free(rest);
    cli_free(&result);
    /* The last token drawn is in the state, so that a prompt follows it: the same as one long prompt. */
    int32_t *second = tiny("4", "7", &n_second, "--state-in", path);
    char prompt[128];
    char *drawn = cli_list_of(first, 5);
    snprintf(prompt, sizeof prompt, "1,2,3,%s,4", drawn);
    int32_t *expected = tiny(prompt, "7", &n, NULL, NULL);
    assert_ids(second, n_second, expected, n);
    free(drawn);
    free(whole);
    free(first);
    free(second);
    free(expected);

    result = cli(NULL, "run", "-m", WIDE, "--ids", "1", "--state-in", path, NULL);
    assert_cli(&result, 1, path);
    cli_free(&result);
    assert_int_equal(cli_folder_count(), 1);
}

static void same_seed_same_ids(void **state)
{
    (void)state;
    const char *const list[] = { "run", "-m", TINY, "--ids", "1", "-n", "40", "--temp", "2", "--ignore-eos", NULL };
    cli_result a = cli_list(NULL, 0, list), b = cli_list(NULL, 0, list);
    cli_result c = cli(NULL, "run", "-m", TINY, "--ids", "1", "-n", "40", "--temp", "2", "--ignore-eos", "--seed", "1", NULL);
    assert_string_equal(a.out, b.out);
    assert_string_not_equal(a.out, c.out);
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
}

static void samplers_reach_the_library(void **state)
{
    (void)state;
    size_t n_greedy, n;
    int32_t *greedy = tiny("1,2,3", "4", &n_greedy, NULL, NULL);
    static const char *const same[][2] = { { "--top-k", "1" }, { "--top-p", "0.000001" }, { "--min-p", "1" }, { "--temp", "0" } };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        cli_result result = cli(NULL, "run", "-m", TINY, "--ids", "1,2,3", "--no-echo", "--ignore-eos", "-n", "4", "--temp", "3",
                                same[i][0], same[i][1], NULL);
        assert_cli(&result, 0, NULL);
        int32_t *ids = cli_ids(result.out, &n);
        assert_ids(ids, n, greedy, n_greedy);
        free(ids);
        cli_free(&result);
    }
    /* Forbid the first token: another comes. */
    char bias[32];
    snprintf(bias, sizeof bias, "%d=-inf", (int)greedy[0]);
    int32_t *ids = tiny("1,2,3", "1", &n, "--logit-bias", bias);
    assert_int_not_equal(ids[0], greedy[0]);
    free(ids);
    /* Stop at the second. */
    char stop[32];
    snprintf(stop, sizeof stop, "%d", (int)greedy[1]);
    cli_result result =
        cli(NULL, "run", "-m", TINY, "--ids", "1,2,3", "--greedy", "--ignore-eos", "--json", "--stop-id", stop, NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_true(kr_json_is(kr_json_get(root, "finish"), "stop_id"));
    kr_arena_free(&arena);
    cli_free(&result);
    /* A range that the library checks, named by it. */
    result = cli(NULL, "run", "-m", TINY, "--ids", "1", "--logit-bias", "256=1", NULL);
    assert_cli(&result, 1, "256");
    cli_free(&result);
    free(greedy);
}

static void json_has_everything(void **state)
{
    (void)state;
    cli_result result =
        cli(NULL, "run", "-m", TINY, "--ids", "1,2,3", "--greedy", "-n", "6", "--ignore-eos", "--json", "--logprobs", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    size_t n, n_greedy;
    int32_t *ids = cli_json_ids(kr_json_get(root, "ids"), &n), *greedy = tiny("1,2,3", "6", &n_greedy, NULL, NULL);
    assert_ids(ids, n, greedy, n_greedy);
    assert_int_equal(kr_json_get(root, "prompt_ids")->length, 3);
    assert_int_equal(kr_json_get(root, "logprobs")->length, 6);
    for (const kr_json *p = kr_json_get(root, "logprobs")->first; p; p = p->next) assert_true(kr_json_number(p) <= 0);
    assert_int_equal(kr_json_get(root, "text")->type, KR_JSON_NULL);
    assert_true(kr_json_is(kr_json_get(root, "finish"), "length"));
    assert_true(cli_json_number(root, "timings.prompt_tokens") == 3);
    assert_true(cli_json_number(root, "timings.generated_tokens") == 6);
    assert_true(cli_json_number(root, "timings.decode_tokens_per_second") > 0);
    assert_true(cli_json_number(root, "memory.resident_bytes") > 0);
    assert_true(cli_json_number(root, "memory.state_bytes") > 0);
    assert_true(cli_json_number(root, "state_tokens") == 9);
    free(ids);
    free(greedy);
    kr_arena_free(&arena);
    cli_free(&result);
}

static void threads_chunks_and_isa_give_the_same_ids(void **state)
{
    (void)state;
    static const char *const ways[][2] = { { "--threads", "2" }, { "--chunk", "3" }, { "--isa", "plain" } };
    size_t n_plain, n;
    int32_t *expected = tiny("1,2,3,4,5,6,7,8", "8", &n_plain, NULL, NULL);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int32_t *ids = tiny("1,2,3,4,5,6,7,8", "8", &n, ways[i][0], ways[i][1]);
        assert_ids(ids, n, expected, n_plain);
        free(ids);
    }
    free(expected);
    krait_isa foreign = krait_isa_available(KRAIT_ISA_NEON) ? KRAIT_ISA_AVX2 : KRAIT_ISA_NEON;
    cli_result result = cli(NULL, "run", "-m", TINY, "--ids", "1", "--isa", krait_isa_name(foreign), NULL);
    assert_cli(&result, 1, "plain"); /* the message lists what there is */
    cli_free(&result);
}

static void interrupt_keeps_text_and_state(void **state)
{
    (void)state;
    const char *path = cli_path("state");
    const char *const arguments[] = { "run",       "-m",           TINY,          "--ids", "1", "-n",
                                      "100000000", "--ignore-eos", "--state-out", path,    NULL };
    cli_process process = cli_start(arguments);
    assert_true(cli_wait_for(&process, " "));
    kill(process.pid, SIGINT);
    assert_int_equal(cli_end(&process), 130);
    cli_result result = cli(NULL, "run", "-m", TINY, "--ids", "1", "--state-in", path, "-n", "1", NULL);
    assert_cli(&result, 0, NULL);
    cli_free(&result);
    assert_int_equal(cli_folder_count(), 1);
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

static void conversation_extends_one_state(void **state)
{
    (void)state;
    const char *path = cli_path("saved");
    char input[1024];
    snprintf(input, sizeof input, "2 3\n/save %s\n\n/undo\n\n/load %s\n\n/nosuch\n/sav\n/undo\n/reset\n1 2 3\n/stats\n/quit\n9\n",
             path, path);
    cli_result result =
        cli(input, "run", "-i", "-m", TINY, "--ids", "1", "--greedy", "--ignore-eos", "--no-echo", "-n", "4", NULL);
    assert_cli(&result, 0, "(saved ");
    assert_cli(&result, 0, "unknown command /nosuch");
    assert_cli(&result, 0, "did you mean /save?");
    assert_cli(&result, 0, "(back to ");
    assert_cli(&result, 0, "tokens/s");
    /* 1 -> a; 2 3 -> b; go on -> c; undone, go on -> c; loaded, go on -> c; from empty: 1 2 3 -> d; nothing after /quit */
    size_t n, n_a, n_b, n_c, n_d;
    int32_t *ids = cli_ids(result.out, &n), *a = tiny("1", "4", &n_a, NULL, NULL), *d = tiny("1,2,3", "4", &n_d, NULL, NULL);
    char *text = cli_list_of(a, n_a), prompt[256];
    snprintf(prompt, sizeof prompt, "1,%s,2,3", text);
    int32_t *b = tiny(prompt, "8", &n_b, NULL, NULL); /* and c */
    int32_t expected[24];
    n_c = 4;
    memcpy(expected, a, 4 * sizeof *a);
    memcpy(expected + 4, b, 4 * sizeof *b);
    for (size_t i = 0; i < 3; i++) memcpy(expected + 8 + i * n_c, b + 4, n_c * sizeof *b);
    memcpy(expected + 20, d, 4 * sizeof *d);
    assert_ids(ids, n, expected, 24);
    free(text);
    free(ids);
    free(a);
    free(b);
    free(d);
    cli_free(&result);
}

static void undo_is_bounded(void **state)
{
    (void)state;
    char input[1024] = "", *at = input;
    for (int i = 0; i < 20; i++) at += sprintf(at, "1\n");
    for (int i = 0; i < 20; i++) at += sprintf(at, "/undo\n");
    cli_result result = cli(input, "run", "-i", "-m", TINY, "--ids", "1", "-n", "1", "--ignore-eos", NULL);
    assert_cli(&result, 0, "(nothing to take back)");
    size_t undone = 0;
    for (const char *found = result.err; (found = strstr(found, "(back to ")); found++) undone++;
    assert_int_equal(undone, 16);
    cli_free(&result);
}

static void mistakes_do_not_end_a_conversation(void **state)
{
    (void)state;
    cli_result result = cli("nonsense\n999999\n/load /no/such/file\n/save /no/such/folder/x\n/save\n2\n", "run", "-i", "-m", TINY,
                            "--ids", "1", "--greedy", "-n", "2", "--no-echo", "--ignore-eos", NULL);
    assert_cli(&result, 0, "expected ids");
    assert_cli(&result, 0, "found 999999");
    assert_cli(&result, 0, "/no/such/file");
    assert_cli(&result, 0, "/no/such/folder/x");
    assert_cli(&result, 0, "/save: expected a file");
    size_t n, lines = 0;
    int32_t *ids = cli_ids(result.out, &n);
    assert_int_equal(n, 4);
    for (const char *c = result.out; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 2);
    free(ids);
    cli_free(&result);
}

/* A person at a terminal: a line is typed, Ctrl-C stops the answer and not the program, Ctrl-C at the prompt only says how to leave. */
static void conversation_on_a_terminal(void **state)
{
    (void)state;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        print_message("skipped: no pseudo-terminals here\n");
        skip();
    }
    const char *name = ptsname(master);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setsid();
        int terminal = open(name, O_RDWR);
        ioctl(terminal, TIOCSCTTY, 0);
        dup2(terminal, 0);
        dup2(terminal, 1);
        dup2(terminal, 2);
        setenv("TERM", "xterm", 1);
        setenv("NO_COLOR", "1", 1);
        execl(KRAIT_CLI, KRAIT_CLI, "run", "-i", "-m", TINY, "--ids", "77", "-n", "100000000", "--ignore-eos", (char *)NULL);
        _exit(127);
    }
    cli_process process = { .pid = pid, .in = -1, .out = master };
    assert_true(cli_wait_for(&process, "77 "));
    assert_int_equal(write(master, "\003", 1), 1);
    assert_true(cli_wait_for(&process, "> "));
    assert_int_equal(write(master, "\003", 1), 1);
    assert_true(cli_wait_for(&process, "(/quit or Ctrl-D ends)"));
    assert_true(cli_wait_for(&process, "> "));
    assert_int_equal(write(master, "/stats\r", 7), 7);
    assert_true(cli_wait_for(&process, "tokens/s"));
    assert_int_equal(write(master, "/quit\r", 6), 6);
    assert_int_equal(cli_end(&process), 0);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

#if defined(KRAIT_HAVE_TEXT) && defined(KRAIT_HAVE_DEFAULT_MODEL)

#define SMALL  KRAIT_MODELS "/text-small"
#define STORMY "It was a dark and stormy night, and the"
/* From results.json of the model, computed elsewhere. */
#define STORMY_GOES_ON \
    "\nsunlight of the fields were filled with the foaming of the\nsunlight.\n\n\"Is it a little time?\" he said, with a"

static void text_goes_on(void **state)
{
    (void)state;
    cli_result result = cli(NULL, "run", "-m", SMALL, "--bos", "-p", STORMY, "--greedy", "-n", "40", NULL);
    assert_cli(&result, 0, NULL);
    assert_string_equal(result.out, STORMY STORMY_GOES_ON "\n");
    assert_string_equal(result.err, "");
    cli_free(&result);
    result = cli(STORMY "\n", "run", "-m", SMALL, "--bos", "--greedy", "-n", "40", "-f", "-", "--no-echo", NULL);
    assert_cli(&result, 0, NULL);
    assert_string_equal(result.out, STORMY_GOES_ON "\n");
    cli_free(&result);
}

/* Embedded in the program, it is the folder. */
static void the_built_in_model_is_that_of_its_folder(void **state)
{
    (void)state;
    cli_result inside = cli(NULL, "run", "--bos", "-p", STORMY, "--greedy", "-n", "40", NULL);
    cli_result folder = cli(NULL, "run", "-m", KRAIT_MODELS "/default", "--bos", "-p", STORMY, "--greedy", "-n", "40", NULL);
    assert_cli(&inside, 0, NULL);
    assert_cli(&folder, 0, NULL);
    assert_true(inside.out_length > strlen(STORMY) + 60);
    assert_string_equal(inside.out, folder.out);
    cli_free(&inside);
    cli_free(&folder);
}

static void stop_strings_end_the_text_before_them(void **state)
{
    (void)state;
    cli_result result = cli(NULL, "run", "-m", SMALL, "--bos", "-p", STORMY, "--greedy", "--stop", "zzz", "--stop",
                            "fields were f", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_true(kr_json_is(kr_json_get(root, "text"), "\nsunlight of the "));
    assert_true(kr_json_is(kr_json_get(root, "finish"), "stop_string"));
    assert_true(kr_json_is(kr_json_get(root, "stop"), "fields were f"));
    kr_arena_free(&arena);
    cli_free(&result);
}

static void states_carry_text_on(void **state)
{
    (void)state;
    const char *path = cli_path("state");
    cli_result first =
        cli(NULL, "run", "-m", SMALL, "--bos", "-p", STORMY, "--greedy", "-n", "25", "--no-echo", "--state-out", path, NULL);
    cli_result second = cli(NULL, "run", "-m", SMALL, "--state-in", path, "--greedy", "-n", "15", NULL);
    assert_cli(&first, 0, NULL);
    assert_cli(&second, 0, NULL);
    char both[1024];
    snprintf(both, sizeof both, "%.*s%s", (int)first.out_length - 1, first.out, second.out);
    assert_string_equal(both, STORMY_GOES_ON "\n");
    cli_free(&first);
    cli_free(&second);
}

static void lines_of_a_conversation_are_joined(void **state)
{
    (void)state;
    cli_result a = cli("It was\n a dark\n", "run", "-i", "--greedy", "-n", "3", NULL);
    cli_result b = cli("It was\n a dark\n", "run", "-i", "--greedy", "-n", "3", "--before", "\n", NULL);
    cli_result c = cli("It was\n a dark\n", "run", "-i", "--greedy", "-n", "3", "--before", "Q: ", "--after", "\nA:", NULL);
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 0, NULL);
    assert_cli(&c, 0, NULL);
    assert_string_not_equal(a.out, c.out);
    /* The beginning gets no newline by itself. */
    cli_result once = cli(NULL, "run", "-p", "It was", "--greedy", "-n", "3", "--no-echo", NULL);
    assert_memory_equal(a.out, once.out, once.out_length);
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
    cli_free(&once);
}

static void bos_alone_is_a_prompt(void **state)
{
    (void)state;
    cli_result result = cli(NULL, "run", "--bos", "-n", "5", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    assert_int_equal(kr_json_get(cli_json(&result, &arena), "prompt_ids")->length, 1);
    kr_arena_free(&arena);
    cli_free(&result);
}

#define TEXT_TESTS                                                                              \
    cmocka_unit_test(text_goes_on), cmocka_unit_test(the_built_in_model_is_that_of_its_folder), \
        cmocka_unit_test(stop_strings_end_the_text_before_them),                                \
        cmocka_unit_test_setup_teardown(states_carry_text_on, enter, leave),                    \
        cmocka_unit_test(lines_of_a_conversation_are_joined), cmocka_unit_test(bos_alone_is_a_prompt),
#else
#define TEXT_TESTS
#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(greedy_ids_of_the_reference_models),
                                        cmocka_unit_test(protmamba_writes_its_protein),
                                        cmocka_unit_test(echo_and_no_echo),
                                        cmocka_unit_test_setup_teardown(state_in_goes_on_where_state_out_stopped, enter, leave),
                                        cmocka_unit_test(same_seed_same_ids),
                                        cmocka_unit_test(samplers_reach_the_library),
                                        cmocka_unit_test(json_has_everything),
                                        cmocka_unit_test(threads_chunks_and_isa_give_the_same_ids),
                                        cmocka_unit_test_setup_teardown(interrupt_keeps_text_and_state, enter, leave),
                                        cmocka_unit_test_setup_teardown(conversation_extends_one_state, enter, leave),
                                        cmocka_unit_test(undo_is_bounded),
                                        cmocka_unit_test(mistakes_do_not_end_a_conversation),
                                        cmocka_unit_test(conversation_on_a_terminal),
                                        TEXT_TESTS };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
