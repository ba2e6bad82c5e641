/* Each allocation of a whole training run fails once: an error of memory, and nothing leaks; what is left in its folder is gone on with. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "fixture.h"
#include "krait/training.h"
#include "train_runs.h"

static char out[600], train[600], held[600];

static krait_status set_all(krait_training_settings *settings, krait_error *error)
{
    const char *const pairs[][2] = {
        { "data.train", train },       { "data.held_out", held },
        { "data.rows", "2" },          { "data.window", "16" },
        { "data.order", "streams" },   { "model.d_model", "8" },
        { "model.n_layer", "1" },      { "train.steps", "2" },
        { "checkpoint.every", "1" },   { "checkpoint.keep", "1" },
        { "evaluate.tokens", "60" },   { "log.every", "1" },
        { "train.threads", "1" },      { "out", out },
        { "model.freeze", "*.A_log" }, { "evaluate.window", "8" },
    };
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs && !status; i++)
        status = krait_training_settings_set(settings, pairs[i][0], pairs[i][1], "test", error);
    return status;
}

static krait_status run(void *context, krait_error *error)
{
    krait_training_settings *settings = NULL;
    krait_training *training = NULL;
    (void)context;
    krait_status status = krait_training_settings_create(&settings, error);
    if (!status) status = set_all(settings, error);
    if (!status) status = krait_training_open(&training, out, settings, NULL, error);
    if (!status) status = krait_training_run(training, error);
    krait_training_free(training);
    krait_training_settings_free(settings);
    return status;
}

/* From nothing, in a new folder each time. */
static krait_status begin_and_run(void *context, krait_error *error)
{
    static int n;
    snprintf(out, sizeof out, "%s-%d", (const char *)context, n++);
    return run(NULL, error);
}

/* Of a run that has ended: everything is read again. */
static krait_status go_on(void *context, krait_error *error)
{
    krait_training *training = NULL;
    (void)context;
    krait_status status = krait_training_open(&training, out, NULL, &(krait_training_options){ .resume = true }, error);
    krait_training_free(training);
    return status;
}

static krait_status plan(void *context, krait_error *error)
{
    krait_training_settings *settings = NULL;
    krait_training_plan result;
    (void)context;
    krait_status status = krait_training_settings_create(&settings, error);
    if (!status) status = set_all(settings, error);
    if (!status) status = krait_training_get_plan(&result, settings, NULL, error);
    krait_training_settings_free(settings);
    return status;
}

static krait_status yaml(void *context, krait_error *error)
{
    krait_training_settings *settings = NULL, *of_run = NULL;
    char *text = NULL;
    (void)context;
    krait_status status = krait_training_settings_create(&settings, error);
    if (!status) status = set_all(settings, error);
    if (!status) status = krait_training_settings_yaml(settings, &text, error);
    if (!status) status = krait_training_settings_of_run(&of_run, out, error);
    krait_free(text);
    krait_training_settings_free(settings);
    krait_training_settings_free(of_run);
    return status;
}

static void every_allocation_of_a_run(void **state)
{
    (void)state;
    char base[600];
    snprintf(base, sizeof base, "%s", out);
    assert_true(fail_alloc_every(begin_and_run, base) > 200);
    assert_true(fail_alloc_every(go_on, NULL) > 100); /* with what the last, undisturbed one left */
}

static void every_allocation_of_a_plan(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(plan, NULL) > 50);
}

static void every_allocation_of_a_config(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(yaml, NULL) > 30);
}

static int set_up(void **state)
{
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1); /* where syncing is no work */
    if (run_set_up(state)) return 1;
    snprintf(out, sizeof out, "%s", run_path("out"));
    snprintf(train, sizeof train, "%s", run_path("small.tokens"));
    snprintf(held, sizeof held, "%s", run_path("held.tokens"));
    run_write_tokens(train, 100, 3);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_a_run),
        cmocka_unit_test(every_allocation_of_a_config),
        cmocka_unit_test(every_allocation_of_a_plan),
    };
    return cmocka_run_group_tests(tests, set_up, run_tear_down);
}
