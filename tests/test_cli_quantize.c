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
    cli_result made = cli(NULL, "quantize", out, "--type", "q8", NULL); /* it is q8 itself */
    assert_cli(&made, 0, NULL);
    cli_result again = cli(NULL, "quantize", cli_path("y.gguf"), "--type", "q4", NULL);
    assert_cli(&again, 1, "quantising it once more");
    cli_free(&again);
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
    assert_cli(&b, 1, "blk.0.ssm_in.weight is Q8_0 already");
    assert_non_null(strstr(b.err, "--force"));
    assert_cli(&c, 0, NULL);
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
    cli_folder_remove();
}

/* The ids of a text that repeats itself, for a model of 256 tokens. */
static void calibration_with_ids_brings_the_model_nearer(void **state)
{
    (void)state;
    enum { TOKENS = 600 };
    static char ids[TOKENS * 4 + 1];
    for (size_t i = 0, at = 0; i < TOKENS; i++)
        at += (size_t)snprintf(ids + at, sizeof ids - at, "%zu%s", i * i % 97, i % 2 ? "\n" : ",");
    const char *list = cli_path("ids.txt"), *alone = cli_path("alone.gguf"), *calibrated = cli_path("calibrated.gguf"),
               *tuned = cli_path("tuned.gguf");
    cli_write(list, ids, strlen(ids));
    cli_result a = cli(NULL, "quantize", TINY, alone, "--type", "q4", NULL);
    cli_result b = cli(NULL, "quantize", TINY, calibrated, "--type", "q4", "--calibrate-ids", list, NULL);
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 0, NULL);
    size_t size_a, size_b;
    char *bytes_a = cli_read(alone, &size_a), *bytes_b = cli_read(calibrated, &size_b);
    assert_int_equal(size_a, size_b);
    assert_true(memcmp(bytes_a, bytes_b, size_a) != 0);
    free(bytes_a), free(bytes_b);
    cli_result t = cli(NULL, "quantize", TINY, tuned, "--type", "q4", "--calibrate-ids", list, "--tune", "4", NULL);
    assert_cli(&t, 0, NULL);
    cli_free(&t);
    const char *const files[] = { alone, calibrated, tuned };
    double kl[3];
    for (int i = 0; i < 3; i++) {
        kr_arena arena = { 0 };
        cli_result c = cli(NULL, "perplexity", "-m", TINY, "--compare", files[i], "--ids-file", list, "--json", NULL);
        assert_cli(&c, 0, NULL);
        kl[i] = cli_json_number(cli_json(&c, &arena), "compare.kl_divergence");
        kr_arena_free(&arena);
        cli_free(&c);
    }
    assert_true(kl[1] > 0 && kl[1] < kl[0]);
    assert_true(kl[2] > 0 && kl[2] < kl[1]);
    cli_result few =
        cli(NULL, "quantize", TINY, tuned, "--type", "q4", "--calibrate-ids", list, "--calibrate-tokens", "255", NULL);
    assert_cli(&few, 1, "--calibrate-tokens: expected at least 256 tokens, twice the columns of the widest matrix, found 255");
    cli_free(&a), cli_free(&b), cli_free(&few);
    cli_folder_remove();
}

static void wrong_calibration_is_said(void **state)
{
    (void)state;
    const char *out = cli_path("x.gguf"), *bad = cli_path("bad.txt"), *outside = cli_path("outside.txt"),
               *empty = cli_path("empty.txt");
    cli_write(bad, "1,2,x", 5);
    cli_write(empty, "\n", 1);
    cli_write(outside, "1,2,256", 7);
    const struct {
        const char *arguments[10], *message;
        int code;
    } cases[] = {
        { { "quantize", TINY, out, "--type", "q4", "--calibrate", bad }, "has no tokenizer.json: give one", 1 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", "/no/such/file" }, "/no/such/file", 1 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", bad }, "bad.txt", 1 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", outside }, "expected an id from 0 to 255, found 256", 1 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", empty },
          "empty.txt: expected tokens to calibrate with, found none",
          1 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate", bad, "--calibrate-ids", bad }, "expected one of them", 2 },
        { { "quantize", "--shape", "130m", out, "--type", "q4", "--calibrate-ids", bad }, "random weights", 2 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", bad, "--calibrate-tokens", "0" }, "--calibrate-tokens", 2 },
        { { "quantize", TINY, out, "--type", "q4", "--tune", "10" },
          "--tune: expected --calibrate or --calibrate-ids with it",
          2 },
        { { "quantize", TINY, out, "--type", "q4", "--calibrate-ids", bad, "--tune", "some" }, "--tune", 2 },
    };
    size_t before = cli_folder_count();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = cli_list(NULL, 0, cases[i].arguments);
        if (result.code != cases[i].code || !strstr(result.err, cases[i].message))
            fail_msg("case %zu: expected %d and \"%s\", found %d and \"%s\"", i, cases[i].code, cases[i].message, result.code,
                     result.err);
        cli_free(&result);
    }
    assert_int_equal(cli_folder_count(), before);
    cli_folder_remove();
}

#if defined KRAIT_HAVE_DEFAULT_MODEL && defined KRAIT_HAVE_TEXT
/* A text of the model's own: deterministic, and of more than 1024 tokens, which is the least that it needs. */
static void a_model_is_calibrated_with_a_text(void **state)
{
    (void)state;
    const char *const model = KRAIT_MODELS "/text-small";
    const char *text = cli_path("text.txt"), *out = cli_path("x.gguf");
    cli_result own = cli(NULL, "run", "-m", model, "-p", "It was", "-n", "1100", "--seed", "1", NULL);
    assert_cli(&own, 0, NULL);
    cli_write(text, own.out, own.out_length);
    cli_result made = cli(NULL, "quantize", model, out, "--type", "q4", "--calibrate", text, NULL);
    assert_cli(&made, 0, NULL);
    assert_non_null(strstr(made.out, "token_embd.weight"));
    assert_non_null(strstr(made.out, "costs much in q4; no q6 in GGUF files"));
    cli_write(text, own.out, 400);
    cli_result few = cli(NULL, "quantize", model, cli_path("few.gguf"), "--type", "q4", "--calibrate", text, NULL);
    assert_cli(&few, 1, "text.txt: calibration: expected at least 1024 tokens, twice the columns of the widest matrix");
    cli_write(text, "", 0);
    cli_result none = cli(NULL, "quantize", model, cli_path("none.gguf"), "--type", "q4", "--calibrate", text, NULL);
    assert_cli(&none, 1, "text.txt: expected tokens to calibrate with, found none");
    cli_free(&own), cli_free(&made), cli_free(&few), cli_free(&none);
    cli_folder_remove();
}
#endif

static size_t peak_of(const char *model, const char *out)
{
    cli_result result = cli(NULL, "quantize", model, cli_path(out), "--type", "q8", NULL);
    assert_cli(&result, 0, NULL);
    size_t peak = result.peak;
    assert_true(peak > 0);
    cli_free(&result);
    return peak;
}

/* A model that is nearly all embedding. */
static krait_config wide(int32_t vocab_size)
{
    return (krait_config){ .vocab_size = vocab_size,
                           .d_model = 256,
                           .n_layer = 1,
                           .d_inner = 512,
                           .d_state = 16,
                           .d_conv = 4,
                           .dt_rank = 16,
                           .conv_bias = true,
                           .tied_head = true,
                           .norm_eps = 1e-5f,
                           .bos_id = -1,
                           .eos_id = -1 };
}

/* A chunk is held at a time, be it on the heap or as pages of the model's file. */
static void memory_does_not_grow_with_the_model(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("keeps several bytes for each one that is read");
    const size_t file = 4 * (256 << 16), chunks = file / 2;
    const krait_config config = wide(1 << 16);
    char *large = strdup(cli_path("large.gguf"));
    krait_error error;
    if (krait_random_save_gguf(&config, 1, large, NULL, &error)) fail_msg("%s", error.message);
    assert_true(peak_of(large, "large-out.gguf") < peak_of(TINY, "out.gguf") + chunks);
    assert_true(peak_of(large, "large-out") < peak_of(TINY, "out") + chunks);
    free(large);
    cli_folder_remove();
}

/* What the process has beside weights, scratch and states. */
static double overhead_of(const char *model)
{
    kr_arena arena = { 0 };
    cli_result result = cli(NULL, "run", "-m", model, "--ids", "1", "-n", "1", "-t", "1", "--json", NULL);
    assert_cli(&result, 0, NULL);
    const kr_json *memory = kr_json_get(cli_json(&result, &arena), "memory");
    double bytes = cli_json_number(memory, "resident_bytes") - cli_json_number(memory, "weight_bytes")
                   - cli_json_number(memory, "scratch_bytes") - cli_json_number(memory, "state_bytes");
    kr_arena_free(&arena);
    cli_free(&result);
    return bytes;
}

/* Blocks of Q8_0 are multiplied in another order: the file's pages do not stay beside the copy. */
static void a_file_that_is_rearranged_is_not_in_memory_twice(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("keeps several bytes for each one that is read");
    const krait_config config = wide(1 << 18);
    const double file = 34.0 / 32 * (256 << 18);
    const char *large = cli_path("large.gguf");
    krait_save_options options = { .type = KRAIT_WEIGHT_Q8 };
    krait_error error;
    if (krait_random_save_gguf(&config, 1, large, &options, &error)) fail_msg("%s", error.message);
    assert_true(overhead_of(large) < overhead_of(TINY) + file / 2);
    cli_folder_remove();
}

/* q6 by --type and by --keep, in a folder that is seen to hold it, and as Q8_0 on the way to GGUF and back. */
static void q6_is_a_type_like_the_others(void **state)
{
    (void)state;
    const char *q6 = cli_path("q6"), *file = cli_path("q6.gguf");
    cli_result a = cli(NULL, "quantize", TINY, q6, "--type", "q6", "--keep", "*.1.mixer.in_proj*=q8", NULL);
    assert_cli(&a, 0, NULL);
    cli_result inspect = cli(NULL, "inspect", q6, NULL);
    assert_cli(&inspect, 0, NULL);
    assert_non_null(strstr(inspect.out, "  q6"));
    assert_non_null(strstr(inspect.out, "  q8"));
    cli_result b = cli(NULL, "quantize", q6, file, "--type", "q6", NULL);
    assert_cli(&b, 0, NULL);
    assert_non_null(strstr(b.out, "no q6 in GGUF files"));
    /* The same numbers and scales in another type: the same bits. */
    cli_result same = cli("1,2,3,4,5,6,7,8,9", "perplexity", "-m", q6, "--compare", file, "--ids-file", "-", "--json", NULL);
    assert_cli(&same, 0, NULL);
    kr_arena arena = { 0 };
    assert_true(cli_json_number(cli_json(&same, &arena), "compare.kl_divergence") == 0);
    kr_arena_free(&arena);
    cli_free(&a), cli_free(&b), cli_free(&inspect), cli_free(&same);
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", q6, names[i]);
        unlink(path);
    }
    rmdir(q6);
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
        cmocka_unit_test(calibration_with_ids_brings_the_model_nearer),
        cmocka_unit_test(wrong_calibration_is_said),
#if defined KRAIT_HAVE_DEFAULT_MODEL && defined KRAIT_HAVE_TEXT
        cmocka_unit_test(a_model_is_calibrated_with_a_text),
#endif
        cmocka_unit_test(memory_does_not_grow_with_the_model),
        cmocka_unit_test(a_file_that_is_rearranged_is_not_in_memory_twice),
        cmocka_unit_test(q6_is_a_type_like_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else
int main(void) { return 0; }
#endif
