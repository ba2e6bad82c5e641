/* What a run would be: its size, its length, and how long it would take, by a few steps that are forgotten. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "train/held_out.h"
#include "train/run.h"
#include "train/trainer.h"

#define ENOUGH 3.0 /* seconds of measuring */
enum { MOST_STEPS = 20 };

static void remove_files(const char *folder)
{
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) {
        char *path = kr_join_path(folder, entry->d_name);
        if (path) unlink(path); /* not . and .. */
        kr_free(path);
    }
    if (entries) closedir(entries);
    rmdir(folder);
}

static krait_status take_steps(krait_training *t, krait_training_plan *plan, krait_error *error)
{
    uint64_t batch = 0;
    double began = 0, seconds = 0;
    krait_status status = KRAIT_OK;
    int n = -1; /* the first step touches memory for the first time */
    for (; n < MOST_STEPS && seconds < ENOUGH && !status; n++) {
        if (n == 0) began = kr_run_clock();
        for (uint64_t i = 0; i < t->settings->values.train.accumulate && !status; i++) {
            size_t n_rows = 0;
            status = krait_dataset_batch(t->data.dataset, batch++, t->rows, NULL, &n_rows, error);
            if (!status) status = krait_trainer_accumulate(t->trainer, t->rows, n_rows, error);
        }
        if (!status) status = krait_trainer_update(t->trainer, &(krait_train_step){ 0 }, error);
        seconds = n >= 0 ? kr_run_clock() - began : 0;
        if (!status && !kr_run_progress(t, "taking a few steps", (uint64_t)(n + 1), MOST_STEPS))
            status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
    }
    if (!status) plan->seconds_per_step = seconds / (double)n;
    return status;
}

static krait_status measure(krait_training *t, krait_training_plan *plan, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_trainer_options how = kr_run_trainer_options(&t->data, v);
    double products = 0;
    krait_status status =
        krait_trainer_create(&t->trainer, t->data.from ? NULL : &t->data.config, v->seed, t->data.from, &how, error);
    t->rows = kr_alloc_zero(v->data.rows, sizeof *t->rows);
    if (!status && !t->rows) status = kr_fail_memory(error, "rows", v->data.rows * sizeof *t->rows);
    for (int i = 0; i < 3 && !status; i++) { /* the first touches memory for the first time */
        double seconds = 0;
        status = krait_trainer_measure_products(t->trainer, v->data.rows * v->data.window, &seconds, error);
        if (i == 0 || seconds < products) products = seconds;
    }
    if (!status) krait_trainer_discard(t->trainer);
    if (!status) status = take_steps(t, plan, error);
    if (!status && plan->seconds_per_step > 0) plan->gemm_share = products * (double)v->train.accumulate / plan->seconds_per_step;
    return status;
}

static krait_status make_plan(krait_training *t, krait_training_plan *plan, const char *folder, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_status status = kr_run_data_open(&t->data, t, folder, NULL, error);
    if (status) return status;
    krait_trainer_options how = kr_run_trainer_options(&t->data, v);
    plan->config = t->data.config;
    plan->parameters = krait_config_parameters(&t->data.config);
    plan->train_tokens = krait_token_file_get_info(t->data.train)->n_tokens;
    plan->held_out_tokens = t->data.held_out ? krait_token_file_get_info(t->data.held_out)->n_tokens : 0;
    plan->tokens_per_step = t->data.tokens_per_step;
    plan->n_steps = t->data.n_steps;
    plan->epochs = (double)plan->n_steps * (double)v->train.accumulate / (double)krait_dataset_batches_per_epoch(t->data.dataset);
    plan->checkpoint_bytes = kr_run_checkpoint_bytes(&t->data.config, strcmp(v->data.order, "streams") == 0 ? v->data.rows : 0);
    size_t evaluated = 0;
    if (t->data.held_out)
        evaluated = kr_held_out_row(&(kr_held_out_options){ .window = v->evaluate.window, .tokens = v->evaluate.tokens },
                                    plan->held_out_tokens);
    status = kr_trainer_plan(&t->data.config, &how, v->data.rows, v->data.window, evaluated, &plan->memory, error);
    return status ? status : measure(t, plan, error);
}

krait_status krait_training_get_plan(krait_training_plan *plan, const krait_training_settings *settings,
                                     const krait_training_options *options, krait_error *error)
{
    if (!plan || !settings)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_get_plan: %s is NULL", plan ? "settings" : "plan");
    *plan = (krait_training_plan){ 0 };
    krait_status status = kr_settings_check(settings, error);
    if (status) return status;
    const char *where = getenv("TMPDIR");
    char *folder = kr_join_path(where && *where ? where : "/tmp", "krait-plan-XXXXXX");
    if (!folder) return kr_fail_memory(error, "a path", 32);
    if (!mkdtemp(folder)) {
        status = kr_fail_errno(error, folder, "make folder");
        kr_free(folder);
        return status;
    }
    /* A run without a folder of its own, whose settings are the caller's. */
    krait_training t = { .settings = (krait_training_settings *)settings, .folder = { .lock = -1 } };
    if (options) t.options = *options;
    status = make_plan(&t, plan, folder, error);
    krait_trainer_free(t.trainer);
    kr_free(t.rows);
    kr_run_data_close(&t.data);
    remove_files(folder);
    kr_free(folder);
    if (status) *plan = (krait_training_plan){ 0 };
    return status;
}
