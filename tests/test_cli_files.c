/* The commands that read or write files: inspect, tokenize, logits, perplexity, bench. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const char *const models[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
#define N_MODELS (sizeof models / sizeof *models)

/* ---- inspect ----------------------------------------------------------------------------------------------------- */

static void inspect_shows_every_model(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        char path[512];
        krait_error error;
        krait_model *model;
        krait_state *sequence;
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/models/%s", models[m]);
        cli_result text = cli(NULL, "inspect", path, NULL), result = cli(NULL, "inspect", "-m", path, "--json", NULL);
        assert_cli(&text, 0, NULL);
        assert_cli(&result, 0, NULL);
        assert_non_null(strstr(text.out, "runs               yes"));
        assert_non_null(strstr(text.out, "all finite"));
        kr_arena arena = { 0 };
        const kr_json *root = cli_json(&result, &arena);
        assert_ok(krait_model_load(&model, path, NULL, &error));
        assert_ok(krait_state_create(&sequence, model, &error));
        const krait_config *config = krait_model_config(model);
        assert_true(cli_json_number(root, "parameters") == (double)krait_config_parameters(config));
        double state_bytes = cli_json_number(root, "state_bytes"); /* of the values; an object is a little more */
        assert_true(state_bytes <= (double)krait_state_bytes(sequence));
        assert_true(state_bytes + 256 > (double)krait_state_bytes(sequence));
        assert_true(cli_json_number(root, "config.d_inner") == (double)config->d_inner);
        assert_true(cli_json_number(root, "config.dt_rank") == (double)config->dt_rank);
        assert_true(cli_json_number(root, "nan") == 0);
        const krait_checkpoint *checkpoint = krait_model_checkpoint(model);
        assert_int_equal(kr_json_get(root, "tensors")->length, krait_checkpoint_n_tensors(checkpoint));
        for (size_t i = 0; i < krait_checkpoint_n_tensors(checkpoint); i++) {
            krait_tensor_info info;
            krait_checkpoint_tensor(checkpoint, i, &info);
            assert_non_null(strstr(text.out, info.name));
        }
        krait_state_free(sequence);
        krait_model_free(model);
        kr_arena_free(&arena);
        cli_free(&text);
        cli_free(&result);
    }
}

/* A copy of tiny's weights, changed, beside its config.json. */
static char *weights(size_t *size)
{
    size_t n;
    char *config = cli_read(TINY "/config.json", &n);
    cli_write(cli_path("config.json"), config, n);
    free(config);
    return cli_read(TINY "/model.safetensors", size);
}

static void inspect_names_what_is_wrong(void **state)
{
    (void)state;
    size_t size;
    char *data = weights(&size);
    cli_write(cli_path("model.safetensors"), data, size - 1000);
    cli_result result = cli(NULL, "inspect", cli_folder(), NULL);
    assert_cli(&result, 1, "model.safetensors");
    cli_free(&result);

    /* The header's name of one tensor changed: one is missing, one surplus; all are listed all the same. */
    char *name = memmem(data, size, "norm_f.weight", 13);
    assert_non_null(name);
    memcpy(name, "norm_g", 6);
    cli_write(cli_path("model.safetensors"), data, size);
    result = cli(NULL, "inspect", cli_folder(), NULL);
    assert_cli(&result, 1, "norm_f");
    assert_non_null(strstr(result.out, "norm_g.weight"));
    assert_non_null(strstr(result.out, "runs               no: "));
    cli_free(&result);
    result = cli(NULL, "inspect", cli_folder(), "--json", NULL);
    assert_cli(&result, 1, "norm_f");
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_false(kr_json_get(root, "runs")->boolean);
    assert_int_equal(kr_json_get(root, "error")->type, KR_JSON_STRING);
    kr_arena_free(&arena);
    cli_free(&result);
    result = cli(NULL, "run", "-m", cli_folder(), "--ids", "1", NULL);
    assert_cli(&result, 1, "norm_f");
    cli_free(&result);
    free(data);
}

static void inspect_counts_nan(void **state)
{
    (void)state;
    size_t size;
    char *data = weights(&size);
    const float bad[2] = { NAN, INFINITY };
    memcpy(data + size - sizeof bad, bad, sizeof bad);
    cli_write(cli_path("model.safetensors"), data, size);
    free(data);
    cli_result result = cli(NULL, "inspect", cli_folder(), NULL);
    assert_cli(&result, 0, NULL); /* it can be run */
    assert_non_null(strstr(result.out, "1 NaN, 1 infinite, in "));
    cli_free(&result);
    result = cli(NULL, "inspect", cli_folder(), "--no-check-values", NULL);
    assert_non_null(strstr(result.out, "not looked at"));
    cli_free(&result);
}

/* ---- logits ------------------------------------------------------------------------------------------------------ */

/* Every tensor that the program wrote to `path` against the first sequence's part of `expected`. */
static void compare_tensors(const char *model, const char *path, const krait_checkpoint *expected, size_t n_sequences)
{
    krait_error error;
    krait_checkpoint *found;
    if (krait_checkpoint_open(&found, path, &error)) fail_msg("%s", error.message);
    size_t compared = 0;
    for (size_t i = 0; i < krait_checkpoint_n_tensors(found); i++) {
        krait_tensor_info info;
        krait_checkpoint_tensor(found, i, &info);
        char what[128];
        snprintf(what, sizeof what, "%s: %s", model, info.name);
        assert_int_equal(info.dtype, KRAIT_DTYPE_F32);
        assert_int_equal(info.n_dims, 2);
        if (!fixture_has(expected, info.name)) continue;
        size_t n, n_expected;
        float *a = fixture_floats(found, info.name, &n), *b = fixture_floats(expected, info.name, &n_expected);
        assert_int_equal(n, n_expected / n_sequences);
        assert_close(what, a, b, n, 1e-4);
        compared++;
        free(a);
        free(b);
    }
    assert_true(compared > 3);
    krait_checkpoint_free(found);
}

static void compare_model(const char *name, const char *path, const char *expected_folder, size_t n_sequences, const char *chunk)
{
    krait_checkpoint *expected = fixture_open(expected_folder, "expected.safetensors");
    size_t n;
    int32_t *input = fixture_ids(expected, "input_ids", &n);
    n /= n_sequences;
    char *ids = cli_list_of(input, n);
    char out[512];
    snprintf(out, sizeof out, "%s", cli_path("out.safetensors"));
    cli_result result =
        cli(NULL, "logits", "-m", path, "--ids", ids, "-o", out, "--hidden", "--states", "--json", "--chunk", chunk, NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena), *tensors = kr_json_get(root, "tensors");
    assert_true(kr_json_is(kr_json_get(root, "file"), out));
    assert_int_equal(kr_json_get(tensors, "logits")->first->integer, (int64_t)n);
    compare_tensors(name, out, expected, n_sequences);
    assert_int_equal(cli_folder_count(), 1);
    kr_arena_free(&arena);
    cli_free(&result);
    free(ids);
    free(input);
    krait_checkpoint_free(expected);
}

static void logits_of_the_reference_models(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        char path[512];
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/models/%s", models[m]);
        compare_model(models[m], path, path, 2, "512");
        compare_model(models[m], path, path, 2, "7");
    }
}

static void logits_of_protmamba(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "checkpoints/protmamba");
    compare_model("protmamba", path, KRAIT_TEST_DATA "/protmamba", 1, "512");
    free(path);
}

static void logits_of_ids_from_a_file(void **state)
{
    (void)state;
    char a[512], b[512];
    size_t n_a, n_b;
    snprintf(a, sizeof a, "%s", cli_path("a"));
    snprintf(b, sizeof b, "%s", cli_path("b"));
    cli_result first = cli(NULL, "logits", "-m", TINY, "--ids", "1,2,3", "-o", a, NULL);
    cli_result second = cli("1 2\n3\n", "logits", "-m", TINY, "--ids-file", "-", "-o", b, NULL);
    assert_cli(&first, 0, NULL);
    assert_cli(&second, 0, NULL);
    assert_int_equal(first.out_length, 0);
    char *x = cli_read(a, &n_a), *y = cli_read(b, &n_b);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(x, y, n_a);
    free(x);
    free(y);
    cli_free(&first);
    cli_free(&second);
}

/* ---- perplexity -------------------------------------------------------------------------------------------------- */

/* The loss of the first sequence, from the logits that were computed elsewhere. */
static double expected_nats(const krait_checkpoint *expected, const int32_t *ids, size_t n)
{
    size_t n_logits;
    float *logits = fixture_floats(expected, "logits", &n_logits);
    size_t vocab = n_logits / 2 / n;
    double nats = 0;
    for (size_t t = 0; t + 1 < n; t++) {
        double sum = 0;
        for (size_t v = 0; v < vocab; v++) sum += exp((double)logits[t * vocab + v]);
        nats += log(sum) - (double)logits[t * vocab + (size_t)ids[t + 1]];
    }
    free(logits);
    return nats / (double)(n - 1);
}

static void perplexity_of_ids(void **state)
{
    (void)state;
    krait_checkpoint *expected = fixture_open(TINY, "expected.safetensors");
    size_t n;
    int32_t *input = fixture_ids(expected, "input_ids", &n);
    n /= 2;
    char *ids = cli_list_of(input, n);
    cli_result result = cli(ids, "perplexity", "-m", TINY, "--ids-file", "-", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    double nats = expected_nats(expected, input, n);
    assert_true(fabs(cli_json_number(root, "nats_per_token") - nats) < 1e-4 * nats);
    assert_true(fabs(log(cli_json_number(root, "perplexity")) - nats) < 1e-4 * nats);
    assert_true(cli_json_number(root, "scored_tokens") == (double)n - 1);
    assert_true(cli_json_number(root, "standard_error") > 0);
    assert_int_equal(kr_json_get(root, "bits_per_byte")->type, KR_JSON_NULL);
    kr_arena_free(&arena);
    cli_free(&result);
    result = cli(ids, "perplexity", "-m", TINY, "--ids-file", "-", "--window", "8", NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "scored       21 tokens, windows of 8"));
    cli_free(&result);
    free(ids);
    free(input);
    krait_checkpoint_free(expected);
}

static void perplexity_compares_two_models(void **state)
{
    (void)state;
    krait_checkpoint *expected = fixture_open(TINY, "expected.safetensors");
    size_t n;
    int32_t *input = fixture_ids(expected, "input_ids", &n);
    char *ids = cli_list_of(input, n);
    cli_result same = cli(ids, "perplexity", "-m", TINY, "--compare", TINY, "--ids-file", "-", "--json", NULL);
    cli_result packed = cli(ids, "perplexity", "-m", TINY, "--compare-type", "q4", "--ids-file", "-", "--json", NULL);
    cli_result back =
        cli(ids, "perplexity", "-m", TINY, "--type", "q4", "--compare-type", "f32", "--ids-file", "-", "--json", NULL);
    cli_result text = cli(ids, "perplexity", "-m", TINY, "--compare-type", "q4", "--ids-file", "-", NULL);
    assert_cli(&same, 0, NULL);
    assert_cli(&packed, 0, NULL);
    assert_cli(&back, 0, NULL);
    assert_cli(&text, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *a = cli_json(&same, &arena), *b = cli_json(&packed, &arena), *c = cli_json(&back, &arena);
    assert_true(cli_json_number(a, "compare.kl_divergence") == 0 && cli_json_number(a, "compare.kl_max") == 0);
    assert_true(cli_json_number(a, "compare.top1_agreement") == 1 && cli_json_number(a, "compare.perplexity_ratio") == 1);
    assert_true(cli_json_number(a, "compare.perplexity") == cli_json_number(a, "perplexity"));
    assert_true(cli_json_number(b, "compare.kl_divergence") > 1e-6 && cli_json_number(b, "compare.kl_standard_error") > 0);
    assert_true(cli_json_number(b, "compare.kl_p99") <= cli_json_number(b, "compare.kl_max"));
    assert_true(cli_json_number(a, "perplexity") == cli_json_number(b, "perplexity"));
    assert_true(cli_json_number(b, "compare.perplexity") == cli_json_number(c, "perplexity"));
    assert_true(cli_json_number(b, "compare.nats_difference") == -cli_json_number(c, "compare.nats_difference"));
    assert_non_null(strstr(text.out, "compared     with " TINY " as q4\n"));
    assert_non_null(strstr(text.out, "  same top 1 "));
    kr_arena_free(&arena);
    cli_free(&same);
    cli_free(&packed);
    cli_free(&back);
    cli_free(&text);
    free(ids);
    free(input);
    krait_checkpoint_free(expected);
}

/* ---- bench ------------------------------------------------------------------------------------------------------- */

static void bench_gives_figures_and_bounds(void **state)
{
    (void)state;
    cli_result result = cli(NULL, "bench", "-m", TINY, "--prefill", "16,32", "--decode", "2", "--batch", "1,3", "--threads",
                            "1,2", "--rounds", "2", "--long", "8,64", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena), *list = kr_json_get(root, "results");
    assert_int_equal(list->length, 2 * (2 + 2));
    for (const kr_json *r = list->first; r; r = r->next) {
        assert_true(cli_json_number(r, "seconds") > 0);
        assert_true(cli_json_number(r, "bound_seconds") > 0);
        double ratio = cli_json_number(r, "seconds") / cli_json_number(r, "bound_seconds");
        assert_true(fabs(cli_json_number(r, "ratio") - ratio) < 1e-9 * ratio);
        bool bytes = kr_json_is(kr_json_get(r, "work"), "decode") && cli_json_number(r, "batch") == 1;
        assert_true(kr_json_is(kr_json_get(r, "bound"), bytes ? "bytes" : "products"));
    }
    assert_int_equal(kr_json_get(root, "long")->length, 2);
    for (const kr_json *p = kr_json_get(root, "long")->first; p; p = p->next)
        assert_true(cli_json_number(p, "decode_seconds_per_token") > 0);
    kr_arena_free(&arena);
    cli_free(&result);
    result = cli(NULL, "bench", "-m", TINY, "--prefill", "16", "--decode", "0", "--threads", "1", "--rounds", "1", "--long", "8",
                 NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(result.out, "prefill 16 "));
    assert_null(strstr(result.out, "decode 64"));
    assert_non_null(strstr(result.out, "position"));
    cli_free(&result);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

#if defined(KRAIT_HAVE_TEXT) && defined(KRAIT_HAVE_DEFAULT_MODEL)

#define TEXT_SMALL KRAIT_MODELS "/text-small"
#define BUILT_IN   KRAIT_MODELS "/default"

static void tokenize_gives_every_byte_back(void **state)
{
    (void)state;
    static const char text[] = "Ein Gr\xc3\xbc\xc3\x9f <|endoftext|> \xe2\x82\xac\r\n\t  x \xff\xfe 100%\n\n";
    cli_result ids = cli(text, "tokenize", NULL);
    assert_cli(&ids, 0, NULL);
    cli_result back = cli(ids.out, "tokenize", "--decode", NULL);
    assert_cli(&back, 0, NULL);
    assert_string_equal(back.out, text);
    cli_result other = cli(text, "tokenize", "-m", BUILT_IN, "-f", "-", NULL);
    assert_string_equal(other.out, ids.out);
    cli_result alone = cli(text, "tokenize", "--tokenizer", BUILT_IN "/tokenizer.json", NULL);
    assert_string_equal(alone.out, ids.out);
    cli_free(&alone);
    cli_free(&other);
    cli_free(&back);
    other = cli(text, "tokenize", "--no-special", NULL);
    assert_string_not_equal(other.out, ids.out);
    cli_free(&other);
    back = cli(ids.out, "tokenize", "--decode", "--skip-special", NULL);
    assert_null(strstr(back.out, "<|endoftext|>"));
    cli_free(&back);
    cli_free(&ids);
    cli_result none = cli("", "tokenize", NULL);
    assert_cli(&none, 0, NULL);
    assert_string_equal(none.out, "\n");
    cli_free(&none);
}

static void tokenize_lines_of_json(void **state)
{
    (void)state;
    static const char input[] = "{\"text\": \"Hello\\n\"}\n\nnonsense\n{\"ids\": []}\n{\"text\": 5}\n{\"text\": \"\"}";
    cli_result result = cli(input, "tokenize", "--jsonl", NULL);
    assert_cli(&result, 1, "stdin: line 3: ");
    assert_cli(&result, 1, "stdin: line 4: expected a string \"text\", found no such member");
    assert_cli(&result, 1, "stdin: line 5: expected a string \"text\", found integer");
    size_t n = 0;
    char *first = NULL;
    for (char *line = strtok(result.out, "\n"); line; line = strtok(NULL, "\n"), n++) {
        kr_arena arena = { 0 };
        const kr_json *root = cli_json(&(cli_result){ .out = line, .out_length = strlen(line) }, &arena);
        bool good = n == 0 || n == 4;
        assert_non_null(kr_json_get(root, good ? "ids" : "error"));
        if (n == 4) assert_int_equal(kr_json_get(root, "ids")->length, 0);
        if (n == 0) first = line;
        kr_arena_free(&arena);
    }
    assert_int_equal(n, 5);
    cli_result back = cli(first, "tokenize", "--jsonl", "--decode", NULL);
    assert_cli(&back, 0, NULL);
    assert_string_equal(back.out, "{\"text\": \"Hello\\n\"}\n");
    cli_free(&back);
    cli_free(&result);
    result = cli("{\"ids\": [1, -1]}\n{\"ids\": [99999999]}\n{\"ids\": [1.5]}\n", "tokenize", "--jsonl", "--decode", NULL);
    assert_cli(&result, 1, "line 1: ids[1]: expected an id");
    assert_cli(&result, 1, "line 2: ");
    assert_cli(&result, 1, "line 3: ids[0]: expected an id");
    cli_free(&result);
}

static void tokenize_refuses_ids_it_does_not_have(void **state)
{
    (void)state;
    cli_result result = cli("1 2 99999999", "tokenize", "--decode", NULL);
    assert_cli(&result, 1, "99999999");
    assert_int_equal(result.out_length, 0);
    cli_free(&result);
    result = cli("1 two 3", "tokenize", "--decode", NULL);
    assert_cli(&result, 1, "stdin: byte 2: expected ids from 0 to 2147483647, found \"two\"");
    cli_free(&result);
}

/* The figure of the model's card. */
static void perplexity_of_a_held_out_novel(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "text/novels/Doyle_Hound_1902.txt");
    cli_result result = cli(NULL, "perplexity", "-m", TEXT_SMALL, "-f", path, "--bos", "--crlf", "--json", NULL);
    assert_cli(&result, 0, NULL);
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_true(cli_json_number(root, "scored_tokens") == 100213);
    assert_true(cli_json_number(root, "scored_bytes") == 318524);
    assert_true(fabs(cli_json_number(root, "bits_per_byte") - 1.5589387) < 2e-5);
    assert_true(fabs(cli_json_number(root, "nats_per_token") - 3.4345719) < 2e-5);
    kr_arena_free(&arena);
    cli_free(&result);
    free(path);
}

static void perplexity_counts_scored_bytes(void **state)
{
    (void)state;
    cli_result with = cli("It was\r\n dark", "perplexity", "--bos", "--crlf", "--json", NULL);
    cli_result without = cli("It was\r\n dark", "perplexity", "--crlf", "--json", NULL);
    assert_cli(&with, 0, NULL);
    assert_cli(&without, 0, NULL);
    kr_arena arena = { 0 };
    assert_true(cli_json_number(cli_json(&with, &arena), "scored_bytes") == 12);
    assert_true(cli_json_number(cli_json(&without, &arena), "scored_bytes") < 12);
    kr_arena_free(&arena);
    cli_free(&with);
    cli_free(&without);
}

#define SMALL KRAIT_MODELS "/text-small"

/* text-small in the folder, with its tokenizer.json changed at the first place of `old` to `new`, which is as long. */
static void copy_small(const char *old, const char *new)
{
    static const char *const names[] = { "model.safetensors", "config.json", "tokenizer.json" };
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        size_t size;
        snprintf(path, sizeof path, SMALL "/%s", names[i]);
        char *data = cli_read(path, &size);
        if (i == 2) {
            char *at = strstr(data, old);
            assert_non_null(at);
            memcpy(at, new, strlen(new));
        }
        cli_write(cli_path(names[i]), data, size);
        free(data);
    }
}

/* Two entries of the vocabulary take each other's ids. */
static void swap_letters(const char *a, const char *b)
{
    size_t size;
    char *data = cli_read(SMALL "/tokenizer.json", &size), *at_a = strstr(data, a), *at_b = strstr(data, b);
    assert_true(at_a && at_b && strlen(a) == strlen(b));
    memcpy(at_a, b, strlen(b));
    memcpy(at_b, a, strlen(a));
    cli_write(cli_path("tokenizer.json"), data, size);
    free(data);
}

static void compare_with_folder(int code, const char *message)
{
    cli_result result = cli("It was dark, said Quentin.", "perplexity", "-m", SMALL, "--compare", cli_folder(), "--json", NULL);
    assert_cli(&result, code, message);
    if (code == 0) {
        kr_arena arena = { 0 };
        assert_true(cli_json_number(cli_json(&result, &arena), "compare.kl_max") == 0);
        kr_arena_free(&arena);
    }
    cli_free(&result);
}

static void perplexity_compares_models_of_one_vocabulary_only(void **state)
{
    (void)state;
    copy_small("NFC", "NFC");
    compare_with_folder(0, NULL);
    remove(cli_path("tokenizer.json")); /* the base's is used */
    compare_with_folder(0, NULL);
    copy_small("\"add_prefix_space\": false,", "\"add_prefix_space\": true, ");
    compare_with_folder(1, "tokenizer: token 0 of the text: expected id ");
    size_t size;
    char *other = cli_read(KRAIT_TEST_DATA "/tokenizer/plain.json", &size);
    cli_write(cli_path("tokenizer.json"), other, size);
    free(other);
    compare_with_folder(1, "tokenizer: expected 2048 tokens as in " SMALL ", found 414");
    swap_letters("\"Q\"", "\"Z\"");
    compare_with_folder(1, ": expected the one of " SMALL ", found another");
    cli_result result = cli("text", "perplexity", "-m", SMALL, "--compare", TINY, NULL);
    assert_cli(&result, 1, "vocab_size: expected 2048 as in " SMALL ", found 256");
    cli_free(&result);
}

#define TEXT_TESTS                                                                                                 \
    cmocka_unit_test(tokenize_gives_every_byte_back), cmocka_unit_test(tokenize_lines_of_json),                    \
        cmocka_unit_test(tokenize_refuses_ids_it_does_not_have), cmocka_unit_test(perplexity_of_a_held_out_novel), \
        cmocka_unit_test(perplexity_counts_scored_bytes),                                                          \
        cmocka_unit_test_setup_teardown(perplexity_compares_models_of_one_vocabulary_only, enter, leave),
#else
#define TEXT_TESTS
#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(inspect_shows_every_model),
                                        cmocka_unit_test_setup_teardown(inspect_names_what_is_wrong, enter, leave),
                                        cmocka_unit_test_setup_teardown(inspect_counts_nan, enter, leave),
                                        cmocka_unit_test_setup_teardown(logits_of_the_reference_models, enter, leave),
                                        cmocka_unit_test_setup_teardown(logits_of_protmamba, enter, leave),
                                        cmocka_unit_test_setup_teardown(logits_of_ids_from_a_file, enter, leave),
                                        cmocka_unit_test(perplexity_of_ids),
                                        cmocka_unit_test(perplexity_compares_two_models),
                                        cmocka_unit_test(bench_gives_figures_and_bounds),
                                        TEXT_TESTS };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
