/* `krait task`: the paper's synthetic tasks, learned and tested. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/memory.h"
#include "base/nearest.h"
#include "cli/chart.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/task_run.h"

typedef struct task_values {
    const char *name;
    kr_model_choice choice;
    uint64_t length, memory, vocabulary, layers, width, state;
    uint64_t steps, batch, seed;
    double rate;
    kr_counts test;
    uint64_t samples;
    const char *out, *size;
    kr_texts pictures;
    bool ascii, json;
} task_values;

#define AT(field) offsetof(task_values, field)

static const kr_option options[] = {
    { KR_OPTION_HEADING, .help = "What is learned" },
    { KR_OPTION_COUNT, 0, "length", "N", AT(length), 3, 1 << 20,
      .help = "Tokens of the longest sequences that are learned from" },
    { KR_OPTION_COUNT, 0, "memory", "N", AT(memory), 1, KR_TASK_MAX_MEMORY, .help = "Tokens to be copied" },
    { KR_OPTION_COUNT, 0, "vocabulary", "N", AT(vocabulary), KR_TASK_MIN_VOCABULARY, 65536, "16", "Different tokens" },
    { KR_OPTION_COUNT, 0, "layers", "N", AT(layers), 1, 256, "2", "Layers of the model" },
    { KR_OPTION_COUNT, 0, "width", "N", AT(width), 1, 8192, "64", "Its d_model" },
    { KR_OPTION_COUNT, 0, "state", "N", AT(state), 1, 256, "16", "Its d_state" },
    { KR_OPTION_FILE, 'm', "model", "MODEL", AT(choice.model), .help = "Test this model and learn nothing" },

    { KR_OPTION_HEADING, .help = "How" },
    { KR_OPTION_COUNT, 0, "steps", "N", AT(steps), 1, 100000000, .help = "Updates of the parameters" },
    { KR_OPTION_COUNT, 0, "batch", "N", AT(batch), 1, 1 << 24, .help = "Tokens of all sequences of a step together" },
    { KR_OPTION_NUMBER, 0, "lr", "X", AT(rate), 0, 10, .help = "Learning rate" },
    { KR_OPTION_COUNT, 0, "seed", "N", AT(seed), 0, 0, "1", "Of the model and the sequences" },
    KR_OPTION_THREADS(task_values),
    KR_OPTION_ISA(task_values),

    { KR_OPTION_HEADING, .help = "What is tested" },
    { KR_OPTION_COUNTS, 0, "test", "N,...", AT(test), 3, 1e12, .help = "Lengths, ascending" },
    { KR_OPTION_COUNT, 0, "samples", "N", AT(samples), 1, 1 << 24, .help = "Sequences of each length" },

    { KR_OPTION_HEADING, .help = "Results" },
    { KR_OPTION_FILE, 'o', "out", "FOLDER", AT(out),
      .help = "Keep checkpoints, and go on from them; the model, metrics.jsonl for krait plot, and results.json" },
    { KR_OPTION_TEXTS, 0, "plot", "FILE", AT(pictures),
      .help = "Draw accuracy over length as .svg or .png; may be given several times" },
    { KR_OPTION_TEXT, 0, "size", "WxH", AT(size), .help = "Of the picture in pixels" },
    { KR_OPTION_FLAG, 0, "ascii", NULL, AT(ascii), .help = "Letters instead of braille dots in the terminal" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object instead of table and drawing" },
};

/* What is as it is unless options say otherwise: chosen so that each is learned in minutes on two cores, see docs/TASKS.md. */
typedef struct recipe {
    const char *name, *title;
    kr_task_kind kind;
    size_t memory, length, first_length, batch_tokens, max_rows;
    uint64_t steps, warmup, samples;
    double rate, dt_min, dt_max;
    uint64_t first_test, last_test; /* powers of 2 between them */
} recipe;

static const recipe recipes[] = {
    { "induction", "induction heads", KR_TASK_INDUCTION, 0, 256, 8, 2048, 64, 2000, 100, 64, 4e-3, 1e-14, 1e-11, 64, 1 << 20 },
    { "selective-copying", "selective copying", KR_TASK_SELECTIVE_COPYING, 8, 256, 24, 4096, 64, 3000, 100, 256, 2e-3, 0, 0, 64,
      4096 },
    { "copying", "copying", KR_TASK_COPYING, 8, 256, 24, 4096, 64, 3000, 100, 256, 2e-3, 0, 0, 64, 4096 },
};

typedef struct work {
    const task_values *values;
    const recipe *recipe;
    kr_task task;
    kr_task_lesson lesson;
    double rate;
    kr_task_result *results; /* [n_results] */
    size_t n_results;
    uint64_t samples;
    krait_config config;
    kr_task_position learned;
    kr_task_setting settings[16]; /* [n_settings] what a folder remembers */
    size_t n_settings;
    double test_seconds;
    size_t width, height;
} work;

/* ---- what is to be done ------------------------------------------------------------------------------------------ */

static uint64_t given(uint64_t value, uint64_t otherwise) { return value ? value : otherwise; }

static int wrong_name(const char *name)
{
    const char *names[KR_COUNT_OF(recipes)];
    for (size_t i = 0; i < KR_COUNT_OF(recipes); i++) names[i] = recipes[i].name;
    if (!name) return kr_options_wrong(&kr_command_task, "expected NAME: induction, selective-copying or copying");
    const char *nearest = kr_nearest(name, names, KR_COUNT_OF(recipes));
    if (nearest) return kr_options_wrong(&kr_command_task, "unknown task %s: did you mean %s?", name, nearest);
    return kr_options_wrong(&kr_command_task, "unknown task %s: expected induction, selective-copying or copying", name);
}

static bool choose_lengths(work *w)
{
    const task_values *v = w->values;
    size_t n = v->test.n, least = kr_task_min_length(&w->task);
    for (uint64_t length = w->recipe->first_test; !v->test.n && length <= w->recipe->last_test; length *= 2) n += length >= least;
    w->results = kr_alloc_zero(n, sizeof *w->results);
    if (!w->results) return false;
    for (size_t i = 0; i < v->test.n; i++) w->results[w->n_results++].length = v->test.items[i];
    for (uint64_t length = w->recipe->first_test; !v->test.n && length <= w->recipe->last_test; length *= 2)
        if (length >= least) w->results[w->n_results++].length = length;
    return true;
}

static void remember(work *w, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void remember(work *w, const char *name, const char *format, ...)
{
    kr_task_setting *setting = &w->settings[w->n_settings++];
    va_list values;
    va_start(values, format);
    setting->name = name;
    vsnprintf(setting->value, sizeof setting->value, format, values);
    va_end(values);
}

/* All that what is learned depends on, as it was resolved, but threads and the instruction set, which krait train may change as well. */
static void remember_all(work *w)
{
    const task_values *v = w->values;
    remember(w, "task", "%s", w->recipe->name);
    remember(w, "--vocabulary", "%llu", (unsigned long long)v->vocabulary);
    if (w->task.kind != KR_TASK_INDUCTION) remember(w, "--memory", "%zu", w->task.memory);
    remember(w, "--length", "%zu", w->lesson.length);
    remember(w, "--layers", "%llu", (unsigned long long)v->layers);
    remember(w, "--width", "%llu", (unsigned long long)v->width);
    remember(w, "--state", "%llu", (unsigned long long)v->state);
    remember(w, "--steps", "%llu", (unsigned long long)w->lesson.steps);
    remember(w, "--batch", "%zu", w->lesson.batch_tokens);
    remember(w, "--lr", "%.9g", w->rate);
    remember(w, "--seed", "%llu", (unsigned long long)v->seed);
}

/* The exit code of a wrong command line, or KR_EXIT_OK. */
static int plan(work *w)
{
    const task_values *v = w->values;
    const kr_command *command = &kr_command_task;
    for (size_t i = 0; v->name && i < KR_COUNT_OF(recipes); i++)
        if (strcmp(recipes[i].name, v->name) == 0) w->recipe = &recipes[i];
    const recipe *r = w->recipe;
    if (!r) return wrong_name(v->name);
    if (v->memory && r->kind == KR_TASK_INDUCTION) return kr_options_wrong(command, "--memory: expected a task of copying");
    if (v->choice.model && v->out) return kr_options_wrong(command, "-o: expected a model to be learned, without -m");
    w->task = (kr_task){ r->kind, (int64_t)v->vocabulary, (size_t)given(v->memory, r->memory) };
    size_t least = kr_task_min_length(&w->task), length = (size_t)given(v->length, r->length);
    if (length < least) return kr_options_wrong(command, "--length %zu: expected at least %zu", length, least);
    for (size_t i = 0; i < v->test.n; i++) {
        if (v->test.items[i] < least)
            return kr_options_wrong(command, "--test %llu: expected at least %zu", (unsigned long long)v->test.items[i], least);
        if (i && v->test.items[i] <= v->test.items[i - 1])
            return kr_options_wrong(command, "--test: expected ascending lengths, found %llu behind %llu",
                                    (unsigned long long)v->test.items[i], (unsigned long long)v->test.items[i - 1]);
    }
    if (v->size && !kr_chart_parse_size(v->size, &w->width, &w->height))
        return kr_options_wrong(command, "--size %s: expected WIDTHxHEIGHT, each from 1 to 20000", v->size);
    size_t batch = (size_t)given(v->batch, r->batch_tokens), first = r->first_length < least ? least : r->first_length;
    w->lesson = (kr_task_lesson){ &w->task, length, first, batch, r->max_rows, given(v->steps, r->steps), v->seed };
    w->samples = given(v->samples, r->samples);
    w->rate = v->rate > 0 ? v->rate : r->rate;
    remember_all(w);
    int64_t width = (int64_t)v->width;
    w->config = (krait_config){ .vocab_size = (int64_t)v->vocabulary,
                                .d_model = width,
                                .n_layer = (int64_t)v->layers,
                                .d_inner = 2 * width,
                                .d_state = (int64_t)v->state,
                                .d_conv = 4,
                                .dt_rank = (width + 15) / 16,
                                .conv_bias = true,
                                .tied_head = true,
                                .norm_eps = 1e-5f,
                                .bos_id = -1,
                                .eos_id = -1 };
    return KR_EXIT_OK;
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static void put_integer(kr_json_writer *json, const char *key, uint64_t value)
{
    kr_json_key(json, key);
    kr_json_put_integer(json, (int64_t)value);
}

static void put_number(kr_json_writer *json, const char *key, double value)
{
    kr_json_key(json, key);
    kr_json_put_number(json, value);
}

static double accuracy(const kr_task_result *result) { return (double)result->right / (double)result->answers; }

static void put_json(kr_json_writer *json, const work *w)
{
    const task_values *v = w->values;
    kr_json_open(json, '{');
    kr_json_key(json, "task");
    kr_json_put_text(json, w->recipe->name);
    put_integer(json, "vocabulary", (uint64_t)w->task.vocab_size);
    if (w->task.kind != KR_TASK_INDUCTION) put_integer(json, "memory", w->task.memory);
    put_integer(json, "seed", v->seed);
    put_integer(json, "parameters", krait_config_parameters(&w->config));
    if (v->choice.model) {
        kr_json_key(json, "model");
        kr_json_put_text(json, v->choice.model);
    } else {
        kr_json_key(json, "learned");
        kr_json_open(json, '{');
        put_integer(json, "length", w->lesson.length);
        put_integer(json, "length_reached", w->learned.reached);
        put_integer(json, "steps", w->learned.steps);
        put_integer(json, "tokens", w->learned.tokens);
        put_integer(json, "batch_tokens", w->lesson.batch_tokens);
        put_number(json, "learning_rate", w->rate);
        put_number(json, "loss", w->learned.loss);
        put_number(json, "seconds", w->learned.seconds);
        kr_json_close(json, '}');
    }
    put_number(json, "test_seconds", w->test_seconds);
    kr_json_key(json, "results");
    kr_json_open(json, '[');
    for (size_t i = 0; i < w->n_results; i++) {
        const kr_task_result *r = &w->results[i];
        kr_json_open(json, '{');
        put_integer(json, "length", r->length);
        put_integer(json, "samples", r->samples);
        put_integer(json, "answers", r->answers);
        put_integer(json, "right", r->right);
        put_number(json, "accuracy", accuracy(r));
        kr_json_close(json, '}');
    }
    kr_json_close(json, ']');
    kr_json_close(json, '}');
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static krait_status path_in(const char *folder, const char *name, char *path, size_t size, krait_error *error)
{
    if (snprintf(path, size, "%s/%s", folder, name) < (int)size) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: the path is too long", folder);
}

static krait_status save_results(const work *w, krait_error *error)
{
    char path[4096];
    kr_output out;
    kr_json_writer json = { .indent = 2 };
    krait_status status = path_in(w->values->out, "results.json", path, sizeof path, error);
    if (!status) status = kr_output_open(&out, path, error);
    if (status) return status;
    put_json(&json, w);
    if (json.failed) status = kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory");
    if (!status) status = kr_output_write(&out, json.buffer, json.length, error);
    if (!status) status = kr_output_write(&out, "\n", 1, error);
    kr_free(json.buffer);
    return kr_output_close(&out, status, error);
}

/* ---- the drawing ------------------------------------------------------------------------------------------------- */

static krait_status show(const work *w, krait_error *error)
{
    const task_values *v = w->values;
    double *x = kr_alloc(w->n_results, sizeof *x), *y = kr_alloc(w->n_results, sizeof *y);
    const double chance = kr_task_chance(&w->task);
    char title[96], mark_text[48], name[64];
    krait_status status = x && y ? KRAIT_OK : kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory");
    for (size_t i = 0; i < w->n_results && !status; i++) {
        x[i] = (double)w->results[i].length;
        y[i] = accuracy(&w->results[i]);
    }
    snprintf(title, sizeof title, "%s: accuracy over length", w->recipe->title);
    title[0] = (char)(title[0] - 'a' + 'A');
    snprintf(mark_text, sizeof mark_text, "learned up to %zu", w->lesson.length);
    snprintf(name, sizeof name, "Mamba, %lld layer%s of %lld", (long long)w->config.n_layer, w->config.n_layer == 1 ? "" : "s",
             (long long)w->config.d_model);
    double ends[2] = { status ? 0 : x[0], status ? 0 : x[w->n_results - 1] };
    const kr_chart_series series[] = {
        { .key = 1,
          .x = ends,
          .y = (const double[]){ chance, chance },
          .n = 2,
          .colour = KR_CHART_GREY,
          .style = KR_CHART_DASHED },
        { .key = 0, .x = x, .y = y, .n = w->n_results, .style = KR_CHART_DOTTED },
    };
    const kr_chart_key keys[] = { { .name = name, .style = KR_CHART_DOTTED },
                                  { .name = "by chance", .colour = KR_CHART_GREY, .style = KR_CHART_DASHED } };
    const kr_chart_panel panel = { .y = { .title = "answers that are right", .unit = KR_CHART_SHARE, .low = 0, .high = 1.04 },
                                   .height = 1 };
    const kr_chart_mark mark = { (double)w->lesson.length, mark_text };
    kr_chart chart = { .title = title,
                       .x = { .title = "length of the sequence in tokens", .scale = KR_CHART_LOG2, .unit = KR_CHART_BINARY },
                       .panels = &panel,
                       .n_panels = 1,
                       .series = series,
                       .n_series = KR_COUNT_OF(series),
                       .keys = keys,
                       .n_keys = KR_COUNT_OF(keys),
                       .marks = &mark,
                       .n_marks = !v->choice.model || v->length };
    for (size_t i = 0; i < v->pictures.n && !status; i++)
        status = kr_chart_draw(&chart, v->pictures.items[i], w->width, w->height, error);
    if (!status && !v->json) {
        putchar('\n');
        status = kr_chart_put(&chart, &(kr_chart_print){ .rows = 18, .ascii = v->ascii, .colour = kr_may_colour(stdout) }, stdout,
                              error);
    }
    kr_free(x);
    kr_free(y);
    return status;
}

static void put_table(const work *w)
{
    printf("%12s  %10s  %s\n", "length", "accuracy", "right answers");
    for (size_t i = 0; i < w->n_results; i++) {
        const kr_task_result *r = &w->results[i];
        printf("%12s  %8.2f %%  %s of %s\n", kr_text_count(r->length).text, 100 * accuracy(r), kr_text_count(r->right).text,
               kr_text_count(r->answers).text);
    }
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Asked before each layer, so that Ctrl-C ends a long step, too. */
static bool goes_on(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what, (void)done, (void)total;
    return !kr_interrupted();
}

static krait_status check_outputs(const task_values *v, krait_error *error)
{
    struct stat info;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < v->pictures.n && !status; i++) status = kr_chart_check_path(v->pictures.items[i], error);
    if (!status && v->out && stat(v->out, &info) == 0 && !S_ISDIR(info.st_mode))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: exists and is no folder", v->out);
    return status;
}

static krait_status test_model(work *w, const krait_model *model, krait_error *error)
{
    krait_session *session = NULL;
    krait_session_options how = kr_session_options(&w->values->choice);
    kr_progress progress;
    double began = kr_now();
    how.chunk_tokens = 1024;
    krait_status status = krait_session_create(&session, model, &how, error);
    kr_progress_begin(&progress, &kr_command_task, "tokens");
    /* Of another seed than what was learned from. */
    if (!status)
        status = kr_task_test(session, &w->task, w->results, w->n_results, w->samples, w->values->seed ^ UINT64_C(1) << 63,
                              &progress, error);
    kr_progress_end(&progress);
    krait_session_free(session);
    w->test_seconds = kr_now() - began;
    return status;
}

static krait_trainer_options trainer_options(const work *w)
{
    const task_values *v = w->values;
    krait_trainer_options how = krait_trainer_defaults();
    uint64_t warmup = w->recipe->warmup < w->lesson.steps ? w->recipe->warmup : 0;
    how.learning_rate = (float)w->rate;
    how.min_learning_rate = (float)w->rate / 100;
    how.schedule = KRAIT_SCHEDULE_WSD; /* what is learned settles at the end */
    how.decay_steps = (w->lesson.steps - warmup) / 3;
    how.warmup_steps = warmup;
    how.total_steps = w->lesson.steps;
    how.weight_decay = 0;
    how.epsilon = 1e-12f; /* the gradient becomes very small long before the gates are shut tight enough for a million tokens */
    how.dt_min = (float)w->recipe->dt_min;
    how.dt_max = (float)w->recipe->dt_max;
    how.threads = (int)v->choice.threads;
    how.isa = kr_session_options(&v->choice).isa;
    how.progress.report = goes_on;
    return how;
}

/* A new trainer, or that of the folder's newest checkpoint. */
static krait_status begin(work *w, kr_task_folder *folder, krait_trainer **trainer, krait_error *error)
{
    const task_values *v = w->values;
    krait_trainer_options how = trainer_options(w);
    krait_status status = KRAIT_OK;
    w->learned = kr_task_begin(&w->lesson);
    if (v->out) status = kr_task_folder_open(folder, v->out, w->settings, w->n_settings, error);
    if (status) return status;
    if (folder->any) {
        status = kr_task_folder_load(folder, trainer, &how, &w->learned, error);
        if (!status)
            fprintf(stderr, "krait task: %s: %s behind step %s of %s\n", v->out,
                    w->learned.steps < w->lesson.steps ? "going on" : "all is learned, testing what stands",
                    kr_text_count(w->learned.steps).text, kr_text_count(w->lesson.steps).text);
        return status;
    }
    status = krait_trainer_create(trainer, &w->config, v->seed, NULL, &how, error);
    /* A checkpoint at once: from now on the settings are known. */
    if (!status && v->out) status = kr_task_folder_save(folder, *trainer, &w->learned, false, error);
    return status;
}

static krait_status learn_and_test(work *w, krait_error *error)
{
    const task_values *v = w->values;
    krait_trainer *trainer = NULL;
    kr_task_folder folder = { 0 };
    kr_progress progress;
    krait_status status = begin(w, &folder, &trainer, error);
    kr_progress_begin(&progress, &kr_command_task, "steps");
    if (!status) status = kr_task_learn(trainer, &w->lesson, &w->learned, v->out ? &folder : NULL, &progress, error);
    kr_progress_end(&progress);
    if (!status && v->out) status = kr_task_folder_publish(&folder, trainer, error);
    if (!status && !v->json)
        printf("%s: %s parameters learned from %s tokens in %s steps and %s; loss %.2g at length %llu\n\n", w->recipe->title,
               kr_text_count(krait_config_parameters(&w->config)).text, kr_text_count(w->learned.tokens).text,
               kr_text_count(w->learned.steps).text, kr_text_seconds(w->learned.seconds).text, w->learned.loss,
               (unsigned long long)w->learned.reached);
    fflush(stdout);
    if (!status) status = test_model(w, krait_trainer_model(trainer), error);
    if (!status && v->out) status = save_results(w, error);
    krait_trainer_free(trainer);
    kr_task_folder_close(&folder);
    return status;
}

/* How an interruption leaves things. */
static int say_interrupted(const work *w)
{
    const task_values *v = w->values;
    kr_text steps = kr_text_count(w->learned.steps), of = kr_text_count(w->lesson.steps);
    bool learned = w->learned.steps == w->lesson.steps;
    if (v->choice.model)
        fputs("krait task: interrupted\n", stderr);
    else if (v->out && learned)
        fprintf(stderr, "krait task: interrupted while testing; %s has the model, the same command tests it\n", v->out);
    else if (v->out)
        fprintf(stderr, "krait task: interrupted at step %s of %s; to go on: the same command with -o %s\n", steps.text, of.text,
                v->out);
    else if (learned)
        fputs("krait task: interrupted while testing; what was learned is lost: -o FOLDER would have kept it\n", stderr);
    else
        fprintf(stderr, "krait task: interrupted at step %s of %s, which are lost: -o FOLDER would have kept them\n", steps.text,
                of.text);
    return KR_EXIT_INTERRUPTED;
}

static krait_status test_given(work *w, krait_error *error)
{
    kr_model_source source = { 0 };
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_task, NULL);
    krait_status status = kr_model_source_open(&source, &w->values->choice, &progress, error);
    if (!status && source.config->vocab_size != w->task.vocab_size)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a model of %lld tokens, found one of %lld", source.name,
                         (long long)w->task.vocab_size, (long long)source.config->vocab_size);
    if (!status) {
        w->config = *source.config;
        status = test_model(w, source.model, error);
    }
    kr_model_source_close(&source);
    return status;
}

static int run_task(const void *values_)
{
    work w = { .values = values_ };
    const task_values *v = values_;
    krait_error error;
    int code = plan(&w);
    if (code) return code;
    kr_interrupt_catch();
    krait_status status = check_outputs(v, &error);
    if (!status && !choose_lengths(&w)) status = kr_fail(&error, KRAIT_ERROR_MEMORY, "out of memory");
    if (!status) status = v->choice.model ? test_given(&w, &error) : learn_and_test(&w, &error);
    if (!status && !v->json) put_table(&w);
    if (!status) status = show(&w, &error);
    if (!status && v->json) {
        kr_json_writer json = { .file = stdout };
        put_json(&json, &w);
        if (!kr_json_finish(&kr_command_task, &json)) code = KR_EXIT_FAILURE;
    }
    if (status == KRAIT_ERROR_INTERRUPTED)
        code = say_interrupted(&w);
    else if (status)
        code = kr_report_failure(&kr_command_task, &error);
    kr_free(w.results);
    return code;
}

const kr_command kr_command_task = {
    .name = "task",
    .summary = "learn one of the paper's synthetic tasks, and test it at any length",
    .synopsis = "induction|selective-copying|copying [options]",
    .description =
        "Trains a small model on the spot, in minutes on two cores, and shows how often it is right over the length of the "
        "sequences. Induction heads: when a token comes again, say what stood behind it the first time; learned from 256 "
        "tokens, tested up to a million. Selective copying: repeat the tokens that stand scattered among noise. Copying: "
        "repeat those at the beginning. With -o, whatever ends it - Ctrl-C, a kill - the same command goes on, and gives the "
        "bits that it would have given.",
    .examples = "  krait task induction --plot accuracy.svg\n"
                "  krait task selective-copying --memory 4 --test 64,1024\n"
                "  krait task induction -o heads && krait plot heads\n"
                "  krait task induction -m heads --test 4194304 --samples 8\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "NAME",
    .operand_offset = AT(name),
    .values_size = sizeof(task_values),
    .run = run_task,
};
