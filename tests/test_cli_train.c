/* `krait train`, the real program: runs, what they leave, what they refuse. Interruptions are test_cli_train_kill.c's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "krait/data.h"
#include "train_runs.h"

#ifdef KRAIT_CLI

static bool there(const char *folder, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return kr_exists(path);
}

/* The number that the last line of metrics with this key has. */
static double last_number(const char *folder, const char *key)
{
    char path[600], text[80];
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    char *metrics = cli_read(path, NULL), *found = NULL;
    snprintf(text, sizeof text, "\"%s\": ", key);
    for (char *at = metrics; (at = strstr(at, text)); at++) found = at;
    if (!found) fail_msg("no %s in %s", key, path);
    double value = strtod(found + strlen(text), NULL);
    free(metrics);
    return value;
}

static void a_run_leaves_models_that_learned(void **state)
{
    (void)state;
    const char *out = run_path("deep/run");
    kr_arena arena = { 0 };
    cli_result run = RUN(out, "--steps", "60", "--json");
    assert_cli(&run, 0, "finished at step 60; to try it: krait run -m ");
    assert_non_null(strstr(run.err, "step 60/60  loss "));
    const kr_json *end = cli_json(&run, &arena);
    assert_true(kr_json_get(end, "finished")->boolean);
    assert_true(cli_json_number(end, "step") == 60 && cli_json_number(end, "tokens") > 60 * 100);
    /* 47 kinds of token: 3.85 nats for who knows nothing. */
    double held_out = cli_json_number(end, "held_out_loss");
    if (!(held_out < 3.3)) fail_msg("held-out loss: expected below 3.3, found %g", held_out);
    assert_true(cli_json_number(end, "best_held_out_loss") <= held_out);
    assert_true(last_number(out, "held_out_loss") == held_out);
    assert_true(last_number(out, "step") == 60 && last_number(out, "grad_norm") > 0 && last_number(out, "gemm_share") > 0);
    static const char *const files[] = { "config.yaml",
                                         "metrics.jsonl",
                                         "best/model.safetensors",
                                         "last/manifest.json",
                                         "step-00000060/optimizer.safetensors",
                                         "step-00000050/run.json" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (!there(out, files[i])) fail_msg("no %s", files[i]);
    assert_false(there(out, "step-00000040") || there(out, "step-00000000") || there(out, "data"));
    char model[600];
    snprintf(model, sizeof model, "%s/last", out);
    cli_result logits = cli(NULL, "perplexity", "-m", model, "--ids-file", "-", NULL);
    assert_cli(&logits, 1, "expected at least 2 tokens");
    cli_result inspect = cli(NULL, "inspect", model, "--json", NULL);
    assert_cli(&inspect, 0, NULL);
    kr_arena_free(&arena);
    cli_free(&run);
    cli_free(&logits);
    cli_free(&inspect);
}

static void the_same_command_goes_on(void **state)
{
    (void)state;
    const char *whole = run_path("whole"), *parts = run_path("parts");
    cli_result a = RUN(whole, "--steps", "30");
    cli_result b = RUN(parts, "--steps", "30");
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 0, NULL);
    cli_result again = RUN(parts, "--steps", "30");
    assert_cli(&again, 0, "is finished: more steps need --steps and --allow-changes");
    assert_same_file(whole, parts, "last/model.safetensors");
    assert_same_file(whole, parts, "last/optimizer.safetensors");
    /* The config that it left describes the same run. */
    char config[600], folder[600];
    snprintf(config, sizeof config, "%s/config.yaml", parts);
    snprintf(folder, sizeof folder, "%s", parts);
#ifdef KRAIT_HAVE_YAML
    cli_result of_config = cli(NULL, "train", config, NULL);
    assert_cli(&of_config, 0, "is finished");
    cli_free(&of_config);
#endif
    cli_result changed = RUN(parts, "--steps", "40", "--learning-rate", "0.02");
    assert_cli(&changed, 1,
               "the run was begun with other settings: train.steps (30, now 40), train.learning_rate (0.01, now 0.02)");
    cli_result allowed = cli(NULL, "train", "--resume", folder, "--steps", "40", "--allow-changes", NULL);
    assert_cli(&allowed, 0, "note: going on with other settings: train.steps (30, now 40)");
    assert_non_null(strstr(allowed.err, "finished at step 40"));
    cli_result back = cli(NULL, "train", "--resume", folder, "--from-step", "30", "--steps", "35", "--allow-changes", NULL);
    assert_cli(&back, 0, "finished at step 35");
    cli_result none = cli(NULL, "train", "--resume", folder, "--from-step", "33", NULL);
    assert_cli(&none, 1, "expected a checkpoint of step 33, found none");
    cli_free(&a);
    cli_free(&b);
    cli_free(&again);
    cli_free(&changed);
    cli_free(&allowed);
    cli_free(&back);
    cli_free(&none);
}

static void a_model_is_gone_on_with(void **state)
{
    (void)state;
    const char *first = run_path("first"), *second = run_path("second");
    cli_result a = RUN(first, "--steps", "20");
    assert_cli(&a, 0, NULL);
    char from[600], data[600];
    snprintf(from, sizeof from, "%s/last", first);
    snprintf(data, sizeof data, "%s", run_path("train.tokens"));
    cli_result b = cli(NULL, "train", "--from", from, "--data", data, "--out", second, "--steps", "10", "--rows", "4", "--window",
                       "32", "--freeze", "backbone.embeddings.weight", "--threads", "1", NULL);
    assert_cli(&b, 0, "finished at step 10");
    assert_true(last_number(second, "loss") < 3.8); /* it knew something */
    cli_result none =
        cli(NULL, "train", "--from", from, "--data", data, "--out", run_path("third"), "--freeze", "nothing.*", NULL);
    assert_cli(&none, 1, "nothing.*");
    cli_free(&a);
    cli_free(&b);
    cli_free(&none);
}

/* The same figure by another program's way: every token behind the separator, as one stream. */
static void the_held_out_loss_is_that_of_perplexity(void **state)
{
    (void)state;
    char one[600], out[600], model[700], ids[2000] = "";
    krait_token_file *file;
    krait_error error;
    int32_t tokens[200];
    kr_arena arena = { 0 };
    snprintf(one, sizeof one, "%s", run_path("one.tokens"));
    snprintf(out, sizeof out, "%s", run_path("measured"));
    snprintf(model, sizeof model, "%s/last", out);
    run_write_tokens(one, 199, 9); /* one document: 0, 199 tokens, and the 0 that ends the file */
    assert_ok(krait_token_file_open(&file, one, &error));
    assert_int_equal(krait_token_file_get_info(file)->n_tokens, 201);
    assert_ok(krait_token_file_read(file, 0, 200, tokens, &error));
    krait_token_file_free(file);
    for (size_t i = 0, used = 0; i < 200; i++) used += (size_t)snprintf(ids + used, sizeof ids - used, "%d ", (int)tokens[i]);
    char train[600];
    snprintf(train, sizeof train, "%s", run_path("train.tokens"));
    cli_result a = cli(NULL, "train", "--data", train, "--held-out", one, "--d-model", "16", "--layers", "2", "--rows", "4",
                       "--window", "32", "--steps", "30", "--learning-rate", "0.01", "--out", out, NULL);
    assert_cli(&a, 0, NULL);
    cli_result b = cli(ids, "perplexity", "-m", model, "--ids-file", "-", "--json", NULL);
    assert_cli(&b, 0, NULL);
    double expected = cli_json_number(cli_json(&b, &arena), "nats_per_token"), found = last_number(out, "held_out_loss");
    if (!(fabs(found - expected) < 1e-5)) fail_msg("held-out loss: expected %.8f, found %.8f", expected, found);
    assert_true(last_number(out, "held_out_tokens") == 199);
    kr_arena_free(&arena);
    cli_free(&a);
    cli_free(&b);
}

static void a_plan_changes_nothing(void **state)
{
    (void)state;
    const char *out = run_path("planned");
    kr_arena arena = { 0 };
    cli_result text = RUN(out, "--epochs", "2", "--dry-run");
    cli_result json = RUN(out, "--epochs", "2", "--dry-run", "--json");
    assert_cli(&text, 0, NULL);
    assert_cli(&json, 0, NULL);
    assert_non_null(strstr(text.out, "model        2 layers of 16, state 4, vocabulary 48: "));
    assert_non_null(strstr(text.out, "memory       "));
    const kr_json *plan = cli_json(&json, &arena);
    assert_true(cli_json_number(plan, "tokens_per_step") == 128 && cli_json_number(plan, "train_tokens") == 6030);
    assert_true(cli_json_number(plan, "steps") == 96 && cli_json_number(plan, "epochs") == 2);
    assert_true(cli_json_number(plan, "seconds_per_step") > 0 && cli_json_number(plan, "memory_moments") > 0);
    assert_false(kr_exists(out));
    kr_arena_free(&arena);
    cli_free(&text);
    cli_free(&json);
}

/* Bytes at the peak of a run of two steps, its last checkpoint with them, beyond those that --dry-run names. */
static double beyond_the_plan(const char *d_model)
{
    kr_arena arena = { 0 };
    char out[600];
    snprintf(out, sizeof out, "%s-%s", run_path("memory"), d_model);
    cli_result dry = RUN(out, "--steps", "2", "--d-model", d_model, "--dry-run", "--json");
    assert_cli(&dry, 0, NULL);
    static const char *const parts[] = { "parameters", "gradients", "moments", "activations", "scratch" };
    double planned = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        char name[32];
        snprintf(name, sizeof name, "memory_%s", parts[i]);
        planned += cli_json_number(cli_json(&dry, &arena), name);
    }
    cli_result result = RUN(out, "--steps", "2", "--d-model", d_model);
    assert_cli(&result, 0, "finished at step 2");
    double beyond = (double)result.peak - planned;
    kr_arena_free(&arena);
    cli_free(&dry);
    cli_free(&result);
    return beyond;
}

/* The moments of this one are a file of 51 MB, which is read once more for its checksum. */
static void a_run_takes_the_memory_of_its_plan(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("has memory of its own");
    NOT_UNDER_ADDRESS_SANITIZER("keeps what is freed");
    double small = beyond_the_plan("16"), large = beyond_the_plan("720");
    if (!(large < small + 24e6)) fail_msg("%.1f MB beyond the plan, %.1f MB with a tiny model", 1e-6 * large, 1e-6 * small);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    char tokens[600], broken[600], short_one[600];
    snprintf(tokens, sizeof tokens, "%s", run_path("train.tokens"));
    snprintf(broken, sizeof broken, "%s", run_path("broken.tokens"));
    snprintf(short_one, sizeof short_one, "%s", run_path("short.tokens"));
    run_write_tokens(short_one, 30, 1);
    size_t size;
    char *bytes = cli_read(tokens, &size);
    bytes[1000] ^= 1;
    cli_write(broken, bytes, size);
    free(bytes);
    const struct {
        const char *more[6], *message;
        int code;
    } cases[] = {
        { { "--d-modle", "8" }, "unknown option --d-modle: did you mean --d-model?", 2 },
        { { "--rows", "x" }, "--rows: data.rows: expected a whole number from 1 to 1048576, found x", 1 },
        { { "--schedule", "cosin" }, "--schedule cosin: expected one of cosine|wsd|constant", 2 },
        { { "--shape", "130m" }, "--d-model: model.d_model contradicts --shape: model.shape", 1 },
        { { "--steps", "5", "--epochs", "1" }, "--epochs: train.epochs contradicts --steps: train.steps", 1 },
        { { "--vocab-size", "47" }, "model.vocab_size: expected at least 48", 1 },
        { { "--steps", "5", "--warmup-steps", "6" }, "expected at least as many steps", 1 },
        { { "--sample-prompt", "x" }, "means nothing without a tokenizer", 1 },
        { { "--tokenizer", "/no/such/tokenizer.json" }, "/no/such/tokenizer.json", 1 },
        { { "--resume", "/no/such/run" }, "/no/such/run: expected the folder of a run, found none", 1 },
        { { "CONFIG", "--resume", "x" }, "CONFIG and --resume: expected one of them", 2 },
        { { "/no/such/config.yaml" }, "/no/such/config.yaml: cannot open", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = run_train(run_path("wrong"), cases[i].more);
        if (result.code != cases[i].code || !strstr(result.err, cases[i].message))
            fail_msg("case %zu: expected %d and \"%s\", found %d and \"%s\"", i, cases[i].code, cases[i].message, result.code,
                     result.err);
        cli_free(&result);
    }
    const struct {
        const char *data, *held_out, *message;
    } texts[] = {
        { tokens, tokens, "found the same as in data.train" },
        { "/no/such/file", tokens, "/no/such/file is text, or not there" },
        { broken, tokens, "broken.tokens: " },
        { tokens, broken, "broken.tokens: " },
        { short_one, tokens, "too short: expected more than data.window = 256 tokens, found 32" },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        cli_result result = cli(NULL, "train", "--data", texts[i].data, "--held-out", texts[i].held_out, "--d-model", "8",
                                "--layers", "1", "--out", run_path("wrong"), NULL);
        if (result.code != 1 || !strstr(result.err, texts[i].message))
            fail_msg("text %zu: expected \"%s\", found %d and \"%s\"", i, texts[i].message, result.code, result.err);
        cli_free(&result);
    }
    cli_result no_out = cli(NULL, "train", "--data", tokens, "--d-model", "8", "--layers", "1", NULL);
    assert_cli(&no_out, 1, "no folder for the run: expected --out RUN");
    cli_free(&no_out);
}

static void a_damaged_checkpoint_is_named(void **state)
{
    (void)state;
    const char *out = run_path("damaged");
    char path[600];
    size_t size;
    cli_result a = RUN(out, "--steps", "20");
    assert_cli(&a, 0, NULL);
    snprintf(path, sizeof path, "%s/step-00000020/optimizer.safetensors", out);
    char *bytes = cli_read(path, &size);
    bytes[size / 2] ^= 4;
    cli_write(path, bytes, size);
    free(bytes);
    cli_result b = RUN(out, "--steps", "20");
    assert_cli(&b, 1, "step-00000020/optimizer.safetensors: damaged: expected checksum ");
    assert_non_null(strstr(b.err, "an older checkpoint is that of step 10"));
    cli_result c = RUN(out, "--steps", "20", "--from-step", "10");
    assert_cli(&c, 0, "finished at step 20");
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
}

static void a_step_that_goes_wrong_is_handled(void **state)
{
    (void)state;
    cli_result stop = RUN(run_path("stop"), "--steps", "20", "--learning-rate", "1e3", "--clip-norm", "0", "--warmup-steps", "0",
                          "--beta2", "0", "--epsilon", "1e-30", "--weight-decay", "1000", "--on-nonfinite", "stop");
    assert_cli(&stop, 1, "is not finite; nothing was changed");
    assert_non_null(strstr(stop.err, "stopped behind step "));
    cli_result skip = RUN(run_path("skip"), "--steps", "20", "--learning-rate", "1e3", "--clip-norm", "0", "--warmup-steps", "0",
                          "--beta2", "0", "--epsilon", "1e-30", "--weight-decay", "1000", "--divergence-limit", "3");
    assert_cli(&skip, 1, "after 3 such steps since the last checkpoint");
    cli_result back =
        RUN(run_path("back"), "--steps", "20", "--learning-rate", "1e3", "--clip-norm", "0", "--warmup-steps", "0", "--beta2",
            "0", "--epsilon", "1e-30", "--weight-decay", "1000", "--divergence-limit", "2", "--on-nonfinite", "back");
    assert_cli(&back, 1, "after 2 such steps since the last checkpoint");
    char path[600];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_path("back"));
    char *metrics = cli_read(path, NULL);
    size_t n = 0;
    for (char *at = metrics; (at = strstr(at, "\"went back\"")); at++) n++;
    assert_int_equal(n, 2);
    free(metrics);
    cli_free(&stop);
    cli_free(&skip);
    cli_free(&back);
}

static void a_run_that_gets_no_better_stops(void **state)
{
    (void)state;
    const char *out = run_path("patience");
    cli_result a = RUN(out, "--steps", "1000", "--learning-rate", "1e-12", "--min-learning-rate", "0", "--evaluate-every", "2",
                       "--patience", "3", "--json");
    assert_cli(&a, 0, "stopped early: no better held-out loss than ");
    cli_result b = RUN(out, "--steps", "1000", "--learning-rate", "1e-12", "--min-learning-rate", "0", "--evaluate-every", "2",
                       "--patience", "3");
    assert_cli(&b, 0, "is finished");
    cli_free(&a);
    cli_free(&b);
}

#ifdef KRAIT_HAVE_YAML
static void config_files_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "seed: 1\nmodel:\n  d_modle: 8\n", "c.yaml:3: unknown key model.d_modle: did you mean model.d_model?" },
        { "model:\n  rows: 8\n", "c.yaml:2: unknown key model.rows: did you mean data.rows?" },
        { "model: 130m\n", "c.yaml:1: unknown key model" },
        { "seed: 1\nseed: 2\n", "c.yaml:2: seed was given already: " },
        { "seed: [1, 2]\n", "no model" },
        { "data:\n  rows: many\n", "c.yaml:2: data.rows: expected a whole number" },
        { "model:\n  shape: 130m\n  d_model: 8\n", "c.yaml:3: model.d_model contradicts " },
        { "a: {b: {c: {d: {e: 1}}}}\n", "sections within sections" },
        { "seed: &x 1\ntrain: *x\n", "c.yaml:2: " },
        { "- a\n", "c.yaml:1: expected keys and values" },
        { "seed: 1\n---\nseed: 2\n", "c.yaml:2: expected one document, found a second" },
        { "seed: \"1\n", "c.yaml:" },
        { "\tseed: 1\n", "not YAML" },
        { "", "no model" },
        { "# nothing\n", "no model" },
        { "data:\n  train: [a, {b: c}]\n", "expected a list of words" },
        { "data:\n  held_out:\n  train: a\n", "no model" },
    };
    const char *path = run_path("c.yaml");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_write(path, cases[i].text, strlen(cases[i].text));
        cli_result result = cli(NULL, "train", path, "--out", "x", NULL);
        if (result.code != 1 || !strstr(result.err, cases[i].message))
            fail_msg("case %zu: expected \"%s\", found %d and \"%s\"", i, cases[i].message, result.code, result.err);
        cli_free(&result);
    }
    /* The example is a config, and flags count more. */
    cli_result example = cli(NULL, "train", "--init-config", NULL);
    assert_cli(&example, 0, NULL);
    cli_write(path, example.out, example.out_length);
    char data[600];
    snprintf(data, sizeof data, "%s", run_path("train.tokens"));
    cli_result result = cli(NULL, "train", path, "--data", data, "--dry-run", NULL);
    assert_cli(&result, 1, "tokenizer.json"); /* the one that it names is not there */
    cli_free(&example);
    cli_free(&result);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_leaves_models_that_learned),
        cmocka_unit_test(the_same_command_goes_on),
        cmocka_unit_test(a_model_is_gone_on_with),
        cmocka_unit_test(the_held_out_loss_is_that_of_perplexity),
        cmocka_unit_test(a_plan_changes_nothing),
        cmocka_unit_test(a_run_takes_the_memory_of_its_plan),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_damaged_checkpoint_is_named),
        cmocka_unit_test(a_step_that_goes_wrong_is_handled),
        cmocka_unit_test(a_run_that_gets_no_better_stops),
#ifdef KRAIT_HAVE_YAML
        cmocka_unit_test(config_files_are_read),
#endif
    };
    return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}

#else
int main(void) { return 0; }
#endif
