/* Whole runs: opening, going on, the loop of steps with what is due between them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "train/held_out.h"
#include "train/run.h"
#include "train/watch.h"

/* ---- one step ---------------------------------------------------------------------------------------------------- */

static krait_status learn_batch(krait_training *t, uint64_t *n_targets, krait_error *error)
{
    size_t n = 0;
    krait_status status = krait_dataset_batch(t->data.dataset, t->position.batch, t->rows, t->reset, &n, error);
    for (size_t i = 0; i < n && !status; i++) {
        t->position.log_tokens += t->rows[i].count;
        t->position.tokens += t->rows[i].count;
        for (size_t j = 0; j < t->rows[i].count; j++) *n_targets += t->rows[i].targets[j] >= 0;
        if (!t->states) continue;
        if (t->reset[i]) krait_state_reset(t->states[i]);
        t->rows[i].state = t->states[i];
    }
    if (!status) t->position.batch++;
    return status ? status : krait_trainer_accumulate(t->trainer, t->rows, n, error);
}

/* What is done about a step that went wrong. */
typedef enum remedy { NOTE, SKIP, STOP, BACK } remedy;

static remedy remedy_of(const char *word)
{
    return strcmp(word, "stop") == 0 ? STOP : strcmp(word, "back") == 0 ? BACK : strcmp(word, "skip") == 0 ? SKIP : NOTE;
}

/* To the last checkpoint that was due, but for the place in the data, which is behind what did harm, and the clock. */
static krait_status go_back(krait_training *t, krait_error *error)
{
    uint64_t *steps, to = 0, every = t->settings->values.checkpoint.every;
    size_t n;
    kr_position now = t->position, then;
    char text[96];
    krait_status status = kr_run_folder_checkpoints(&t->folder, &steps, &n, error);
    for (size_t i = 0; i < n && !status; i++)
        if (steps[i] % every == 0 && steps[i] <= now.step) to = steps[i];
    kr_free(steps);
    if (!status) status = kr_run_check(t, to, error);
    if (!status) status = kr_run_load(t, to, &then, error);
    if (status) return status;
    then.batch = now.batch;
    then.tokens = now.tokens;
    then.seconds = now.seconds;
    then.n_setbacks = now.n_setbacks;
    t->position = then;
    snprintf(text, sizeof text, "from step %llu, on with batch %llu", (unsigned long long)now.step,
             (unsigned long long)now.batch);
    return kr_run_put_event(t, "went back", text, error);
}

static krait_status handle(krait_training *t, remedy what, const char *event, const char *text, krait_error *error)
{
    unsigned long long step = t->position.step, limit = t->settings->values.divergence.limit;
    kr_run_note(t, "%s", text);
    krait_status status = kr_run_put_event(t, event, text, error);
    if (status || what == NOTE) return status;
    if (what == STOP) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: stopped behind step %llu: %s", t->folder.path, step, text);
    if (++t->position.n_setbacks > limit)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: stopped behind step %llu, after %llu such steps since the last checkpoint: %s", t->folder.path, step,
                       limit, text);
    return what == BACK ? go_back(t, error) : KRAIT_OK;
}

static krait_status handle_nonfinite(krait_training *t, const krait_train_step *step, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    char text[320];
    snprintf(text, sizeof text, "step %llu: loss %g, gradient norm %g: %s%s is not finite; nothing was changed",
             (unsigned long long)t->position.step + 1, step->loss, step->grad_norm, step->nonfinite ? "first " : "the loss",
             step->nonfinite ? step->nonfinite : "");
    /* Carried states may hold it. */
    for (size_t i = 0; t->states && i < t->n_rows; i++) krait_state_reset(t->states[i]);
    return handle(t, remedy_of(v->divergence.nonfinite), "nonfinite", text, error);
}

static krait_status watch(krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    double mean = t->position.mean_loss;
    char text[160];
    if (strcmp(v->divergence.spike, "off") == 0 || !kr_watch(&t->position, t->last.loss, v->divergence.rise)) return KRAIT_OK;
    snprintf(text, sizeof text, "step %llu: the loss leapt to %.4f, from a mean of %.4f; gradient norm %.3g",
             (unsigned long long)t->position.step, t->last.loss, mean, t->last.grad_norm);
    return handle(t, remedy_of(v->divergence.spike), "spike", text, error);
}

/* *moved: the parameters did. */
static krait_status make_step(krait_training *t, bool *moved, krait_error *error)
{
    double began = kr_run_clock();
    uint64_t before = t->position.log_tokens, n_targets = 0;
    krait_train_step step = { 0 };
    krait_status status = KRAIT_OK;
    *moved = false;
    for (uint64_t i = 0; i < t->settings->values.train.accumulate && !status; i++) status = learn_batch(t, &n_targets, error);
    if (status || !n_targets) return status; /* a batch of masked tokens alone teaches nothing */
    status = krait_trainer_update(t->trainer, &step, error);
    if (status) return status;
    double seconds = kr_run_clock() - began, rate = (double)(t->position.log_tokens - before) / seconds;
    t->rate = t->rate > 0 ? t->rate + 0.1 * (rate - t->rate) : rate;
    t->position.seconds += seconds;
    t->position.log_seconds += seconds;
    if (!step.finite) return handle_nonfinite(t, &step, error);
    *moved = true;
    t->last = step;
    t->position.step++;
    t->position.log_steps++;
    t->position.log_targets += step.n_targets;
    t->position.log_nats += step.loss * (double)step.n_targets;
    t->position.log_norm += step.grad_norm;
    return KRAIT_OK;
}

/* ---- between steps ----------------------------------------------------------------------------------------------- */

/* An interruption waits for the end of an evaluation: what an interrupted run does must be what others do. */
static bool report_evaluation(void *training, const char *what, uint64_t done, uint64_t total)
{
    kr_run_progress(training, what, done, total);
    return true;
}

static krait_status evaluate(krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    kr_position *p = &t->position;
    kr_held_out_options how = { .window = v->evaluate.window,
                                .tokens = v->evaluate.tokens,
                                .tokenizer = t->data.tokenizer,
                                .progress = { .report = report_evaluation, .user = t } };
    kr_held_out result;
    krait_status status = kr_held_out_measure(t->trainer, t->data.held_out, &how, &result, error);
    if (status) return status;
    p->held_out_loss = result.nats_per_token;
    p->held_out_bits = result.bits_per_byte;
    bool best = isfinite(result.nats_per_token) && !(p->best_loss <= result.nats_per_token);
    p->n_stale = best ? 0 : p->n_stale + 1;
    if (best) {
        p->best_loss = result.nats_per_token;
        p->best_step = p->step;
        status = kr_run_save_best(t, error);
    }
    if (!status) status = kr_run_put_evaluation(t, result.n_scored, error);
    if (!status) kr_run_tell(t, KRAIT_TRAINING_EVALUATION, NULL);
    if (!status && v->evaluate.patience && p->n_stale >= v->evaluate.patience) {
        p->finished = true;
        status = kr_run_put_event(t, "stopped early", NULL, error);
        kr_run_note(t, "stopped early: no better held-out loss than %.4f of step %llu in %llu evaluations", p->best_loss,
                    (unsigned long long)p->best_step, (unsigned long long)p->n_stale);
    }
    return status;
}

static krait_status sample(krait_training *t, krait_error *error)
{
    char *text;
    if (!t->data.tokenizer || !t->settings->values.sample.tokens) return KRAIT_OK;
    krait_status status = kr_run_sample(t, &text, error);
    if (!status) status = kr_run_put_sample(t, text, error);
    if (!status) kr_run_tell(t, KRAIT_TRAINING_SAMPLE, text);
    kr_free(text);
    return status;
}

/* How long the products of a step take alone: the least of all times that it was measured, since others may use the machine as well. */
static krait_status measure_products(krait_training *t, int times, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_status status = KRAIT_OK;
    for (int i = 0; i < times && !status; i++) {
        double seconds = 0;
        status = krait_trainer_measure_products(t->trainer, v->data.rows * v->data.window, &seconds, error);
        seconds *= (double)v->train.accumulate;
        if (t->products_seconds <= 0 || seconds < t->products_seconds) t->products_seconds = seconds;
    }
    krait_trainer_discard(t->trainer);
    return status;
}

/* Everything that is due at this step, in an order that does not depend on interruptions. */
static krait_status look_around(krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    kr_position *p = &t->position;
    krait_status status = KRAIT_OK;
    bool end = p->step >= t->data.n_steps, due = p->step % v->checkpoint.every == 0;
    uint64_t evaluate_every = v->evaluate.every ? v->evaluate.every : v->checkpoint.every;
    if (p->log_steps && (p->step % v->log.every == 0 || end)) status = kr_run_put_step(t, error);
    if (!status) kr_run_tell(t, KRAIT_TRAINING_STEP, NULL);
    if (!status && t->data.held_out && (p->step % evaluate_every == 0 || end)) status = evaluate(t, error);
    if (end) p->finished = true;
    if (!status && (due || p->finished)) status = sample(t, error);
    if (!status && due && !p->finished) status = measure_products(t, 1, error);
    if (due) p->n_setbacks = 0;
    double minutes = (kr_run_clock() - t->saved_at) / 60;
    bool time = v->checkpoint.minutes > 0 && minutes >= v->checkpoint.minutes;
    if (!status && (due || p->finished || t->stop || time)) status = kr_run_save(t, error);
    return status;
}

krait_status krait_training_run(krait_training *t, krait_error *error)
{
    if (!t) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_run: training is NULL");
    krait_status status = KRAIT_OK;
    bool moved = false;
    while (!t->position.finished && !t->stop && !status) {
        status = make_step(t, &moved, error);
        if (!status && moved) status = watch(t, error);
        if (!status && moved) status = look_around(t, error);
    }
    if (status || t->position.finished) return status;
    /* A batch that was passed over may be the last thing that happened. */
    if (!moved) status = kr_run_save(t, error);
    if (status) return status;
    t->stop = false;
    return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: interrupted at step %llu; a checkpoint has everything", t->folder.path,
                   (unsigned long long)t->position.step);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Copies settings by what they are remembered as. */
static krait_status copy_settings(krait_training_settings **copy, const krait_training_settings *settings, krait_error *error)
{
    krait_status status = krait_training_settings_create(copy, error);
    for (size_t i = 0; i < krait_training_n_settings() && !status; i++) {
        const char *key = krait_training_setting(i)->key, *origin = krait_training_settings_origin(settings, key), *value;
        for (size_t j = 0; origin && !status && (value = krait_training_settings_get(settings, key, j)); j++)
            status = krait_training_settings_set(*copy, key, value, origin, error);
    }
    return status;
}

static krait_status make_states(krait_training *t, krait_error *error)
{
    if (strcmp(t->settings->values.data.order, "streams") != 0) return KRAIT_OK;
    t->states = kr_alloc_zero(t->n_rows, sizeof *t->states);
    krait_status status = t->states ? KRAIT_OK : kr_fail_memory(error, "states", t->n_rows * sizeof *t->states);
    for (size_t i = 0; i < t->n_rows && !status; i++)
        status = krait_state_create(&t->states[i], krait_trainer_model(t->trainer), error);
    return status;
}

static krait_status make_rows(krait_training *t, krait_error *error)
{
    t->n_rows = t->settings->values.data.rows;
    t->rows = kr_alloc_zero(t->n_rows, sizeof *t->rows);
    t->reset = kr_alloc_zero(t->n_rows, sizeof *t->reset);
    return t->rows && t->reset ? KRAIT_OK : kr_fail_memory(error, "rows", t->n_rows * sizeof *t->rows);
}

static krait_status open_metrics(krait_training *t, krait_error *error)
{
    char *path = kr_run_folder_path(&t->folder, "metrics.jsonl");
    krait_status status = path ? kr_metrics_open(&t->metrics, path, t->position.metrics_bytes, error)
                               : kr_fail_memory(error, "a path", strlen(t->folder.path));
    kr_free(path);
    return status;
}

static krait_status write_config(const krait_training *t, krait_error *error)
{
    char *yaml = NULL, *path = kr_run_folder_path(&t->folder, "config.yaml");
    krait_status status =
        path ? krait_training_settings_yaml(t->settings, &yaml, error) : kr_fail_memory(error, "a path", strlen(t->folder.path));
    if (!status) {
        kr_writer writer;
        status = kr_writer_open(&writer, path, error);
        if (!status && (status = kr_writer_write(&writer, yaml, strlen(yaml), error)))
            kr_writer_abandon(&writer);
        else if (!status)
            status = kr_writer_commit(&writer, error);
    }
    kr_free(yaml);
    kr_free(path);
    return status;
}

/* A run begins with a checkpoint of step 0, so that going on and going back always find one. */
static krait_status begin(krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    char *folder = kr_run_folder_path(&t->folder, "data");
    krait_status status = KRAIT_OK;
    if (!folder) status = kr_fail_memory(error, "a path", strlen(t->folder.path));
    if (!status) status = write_config(t, error);
    if (!status) status = kr_run_data_open(&t->data, t, folder, NULL, error);
    krait_trainer_options how = { 0 };
    if (!status) how = kr_run_trainer_options(&t->data, v);
    if (!status)
        status = krait_trainer_create(&t->trainer, t->data.from ? NULL : &t->data.config, v->seed, t->data.from, &how, error);
    if (!status) status = make_rows(t, error);
    if (!status) status = make_states(t, error);
    if (!status) status = open_metrics(t, error);
    if (!status) {
        t->position.train_checksum = krait_token_file_get_info(t->data.train)->checksum;
        if (t->data.held_out) t->position.held_out_checksum = krait_token_file_get_info(t->data.held_out)->checksum;
        if (t->data.tokenizer) t->position.fingerprint = krait_tokenizer_fingerprint(t->data.tokenizer);
        status = kr_run_put_event(t, "began", NULL, error);
    }
    if (!status) status = kr_run_save(t, error);
    kr_free(folder);
    return status;
}

static krait_status check_data(const krait_training *t, krait_error *error)
{
    const krait_token_file_info *train = krait_token_file_get_info(t->data.train);
    const krait_token_file_info *held_out = t->data.held_out ? krait_token_file_get_info(t->data.held_out) : NULL;
    if (t->options.allow_changes) return KRAIT_OK;
    if (train->checksum != t->position.train_checksum)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: holds other tokens than those that the run was begun with",
                       krait_token_file_path(t->data.train));
    if ((held_out ? held_out->checksum : 0) != t->position.held_out_checksum)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: holds other tokens than those that the run was begun with",
                       held_out ? krait_token_file_path(t->data.held_out) : "data.held_out");
    return KRAIT_OK;
}

/* The settings to go on with: those given, checked against those remembered; or the remembered ones. */
static krait_status settle(krait_training *t, krait_training_settings *remembered, krait_error *error)
{
    char text[400];
    if (!t->settings) {
        t->settings = remembered;
        return KRAIT_OK;
    }
    krait_status status = KRAIT_OK;
    if (kr_settings_differences(remembered, t->settings, text, sizeof text)) {
        if (!t->options.allow_changes)
            status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: the run was begun with other settings: %s", t->folder.path, text);
        else
            kr_run_note(t, "going on with other settings: %s", text);
    }
    krait_training_settings_free(remembered);
    return status;
}

/* Damage is the caller's to decide on: an older checkpoint may be there. */
static krait_status check_newest(const krait_training *t, uint64_t step, krait_error *error)
{
    krait_error inner;
    uint64_t *steps, older = 0;
    size_t n;
    bool found = false;
    krait_status status = kr_run_check(t, step, &inner), listed = kr_run_folder_checkpoints(&t->folder, &steps, &n, NULL);
    for (size_t i = 0; !listed && i < n; i++)
        if (steps[i] < step) older = steps[i], found = true;
    if (!listed) kr_free(steps);
    if (!status) return KRAIT_OK;
    if (!found) return kr_fail(error, status, "%s", inner.message);
    return kr_fail(error, status, "%s; an older checkpoint is that of step %llu", inner.message, (unsigned long long)older);
}

static krait_status go_on(krait_training *t, uint64_t step, krait_error *error)
{
    krait_training_settings *remembered = NULL;
    char *path = kr_run_folder_path(&t->folder, kr_run_step_name(step).text);
    char *folder = kr_run_folder_path(&t->folder, "data");
    bool given = t->settings != NULL;
    krait_status status = path && folder ? KRAIT_OK : kr_fail_memory(error, "a path", strlen(t->folder.path));
    if (!status) status = check_newest(t, step, error);
    if (!status) status = kr_position_read(path, &t->position, &remembered, error);
    if (!status) status = settle(t, remembered, error);
    if (!status) status = kr_run_data_open(&t->data, t, folder, path, error);
    if (!status) status = check_data(t, error);
    if (!status) status = make_rows(t, error);
    kr_position position;
    if (!status && strcmp(t->settings->values.data.order, "streams") == 0) {
        t->states = kr_alloc_zero(t->n_rows, sizeof *t->states);
        if (!t->states) status = kr_fail_memory(error, "states", t->n_rows * sizeof *t->states);
    }
    if (!status) status = kr_run_load(t, step, &position, error);
    /* The end may have come between a checkpoint and what follows it. From an earlier one, the later ones stay until there is another. */
    if (!status && !t->options.from_step) status = kr_run_publish(t, error);
    if (!status) status = open_metrics(t, error);
    if (!status && given) status = write_config(t, error);
    /* More steps than before: what was its end is none now. */
    bool further = t->options.allow_changes || t->options.from_step;
    if (!status && further && t->position.step < t->data.n_steps) t->position.finished = false;
    if (!status && !t->position.finished) status = kr_run_put_event(t, "resumed", NULL, error);
    kr_free(path);
    kr_free(folder);
    return status;
}

static krait_status choose(krait_training *t, uint64_t *step, bool *found, krait_error *error)
{
    uint64_t *steps, wanted = t->options.from_step;
    size_t n;
    krait_status status = kr_run_folder_checkpoints(&t->folder, &steps, &n, error);
    if (status) return status;
    *found = n > 0;
    *step = n ? steps[n - 1] : 0;
    bool there = !wanted;
    for (size_t i = 0; i < n && wanted; i++)
        if (steps[i] == wanted) *step = wanted, there = true;
    kr_free(steps);
    if (!there)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a checkpoint of step %llu, found none", t->folder.path,
                       (unsigned long long)wanted);
    if (!*found && t->options.resume)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: the run has no checkpoint yet to go on from: begin it once more with its config", t->folder.path);
    return KRAIT_OK;
}

krait_status krait_training_settings_of_run(krait_training_settings **settings, const char *folder, krait_error *error)
{
    if (!settings || !folder)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_settings_of_run: %s is NULL",
                       settings ? "folder" : "settings");
    *settings = NULL;
    if (!kr_is_folder(folder))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected the folder of a run, found none", folder);
    kr_run_folder looking = { .path = (char *)folder, .lock = -1 };
    kr_position position;
    uint64_t *steps;
    size_t n;
    krait_status status = kr_run_folder_checkpoints(&looking, &steps, &n, error);
    if (status) return status;
    if (!n)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected the folder of a run with a checkpoint, found none", folder);
    char *path = n ? kr_run_folder_path(&looking, kr_run_step_name(steps[n - 1]).text) : NULL;
    if (!status && !path) status = kr_fail_memory(error, "a path", strlen(folder));
    if (!status) status = kr_position_read(path, &position, settings, error);
    kr_free(path);
    kr_free(steps);
    return status;
}

krait_status krait_training_open(krait_training **training, const char *folder, const krait_training_settings *settings,
                                 const krait_training_options *options, krait_error *error)
{
    if (!training || !folder)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_open: %s is NULL", training ? "folder" : "training");
    *training = NULL;
    if (!settings && !(options && options->resume))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_open: settings is NULL, and options.resume is false");
    krait_training *t = kr_alloc_zero(1, sizeof *t);
    if (!t) return kr_fail_memory(error, "a training run", sizeof *t);
    t->folder.lock = t->metrics.fd = -1;
    t->position = kr_position_start();
    t->saved_at = kr_run_clock();
    if (options) t->options = *options;
    uint64_t step = 0;
    bool found = false;
    krait_status status = settings ? copy_settings(&t->settings, settings, error) : KRAIT_OK;
    if (!status && settings) status = kr_settings_check(t->settings, error);
    if (!status) status = kr_run_folder_open(&t->folder, folder, t->options.resume, error);
    if (!status) status = choose(t, &step, &found, error);
    if (!status) status = found ? go_on(t, step, error) : begin(t, error);
    if (!status && !t->position.finished) status = measure_products(t, 3, error);
    if (status)
        krait_training_free(t);
    else
        *training = t;
    return status;
}

void krait_training_free(krait_training *t)
{
    if (!t) return;
    for (size_t i = 0; t->states && i < t->n_rows; i++) krait_state_free(t->states[i]);
    kr_free(t->states);
    krait_trainer_free(t->trainer);
    kr_free(t->rows);
    kr_free(t->reset);
    kr_run_data_close(&t->data);
    kr_metrics_close(&t->metrics);
    krait_training_settings_free(t->settings);
    kr_run_folder_close(&t->folder);
    kr_free(t);
}

bool krait_training_finished(const krait_training *training) { return training->position.finished; }
uint64_t krait_training_step(const krait_training *training) { return training->position.step; }
const char *krait_training_folder(const krait_training *training) { return training->folder.path; }
const krait_training_settings *krait_training_get_settings(const krait_training *training) { return training->settings; }
const krait_model *krait_training_model(const krait_training *training) { return krait_trainer_model(training->trainer); }
