/* `krait train`: a whole training run, from a config file and flags. Every setting of the library (krait/training.h) is a flag. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"
#include "cli/train_config.h"
#include "cli/train_view.h"
#include "krait/training.h"

enum { MOST = 96 };

/* Values of a setting's flag, whichever it takes. */
typedef union given {
    const char *text;
    kr_texts texts;
} given;

typedef struct train_values {
    const char *config, *resume;
    uint64_t from_step;
    bool allow_changes, dry_run, init_config, quiet, json;
    given settings[MOST];
} train_values;

#define AT(field) offsetof(train_values, field)

static const kr_option own_options[] = {
    { KR_OPTION_HEADING, .help = "The run" },
    { KR_OPTION_FILE, 0, "resume", "RUN", AT(resume),
      .help = "Go on with the run in this folder; the same command as before does it, too" },
    { KR_OPTION_FLAG, 0, "allow-changes", NULL, AT(allow_changes),
      .help = "Go on though settings differ from those that the run was begun with" },
    { KR_OPTION_COUNT, 0, "from-step", "N", AT(from_step), 1, 0, NULL, "Go on from that checkpoint instead of the newest" },
    { KR_OPTION_FLAG, 0, "dry-run", NULL, AT(dry_run),
      .help = "Say what it would be: parameters, memory, tokens, and time by a few steps. Nothing is kept" },
    { KR_OPTION_FLAG, 0, "init-config", NULL, AT(init_config), .help = "Print a config file with comments, to begin from" },
    { KR_OPTION_FLAG, 'q', "quiet", NULL, AT(quiet), .help = "Notes and errors alone" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object at the end, or of --dry-run" },
};

/* ---- options from settings ---------------------------------------------------------------------------------------- */

static bool is_list(const krait_setting *setting)
{
    return setting->type == KRAIT_SETTING_TEXTS || setting->type == KRAIT_SETTING_FILES;
}

static kr_option option_of(const krait_setting *setting, size_t index)
{
    static const kr_option_type types[] = {
        [KRAIT_SETTING_TEXT] = KR_OPTION_TEXT,     [KRAIT_SETTING_FILE] = KR_OPTION_FILE,
        [KRAIT_SETTING_CHOICE] = KR_OPTION_CHOICE, [KRAIT_SETTING_COUNT] = KR_OPTION_TEXT,
        [KRAIT_SETTING_NUMBER] = KR_OPTION_TEXT,   [KRAIT_SETTING_TEXTS] = KR_OPTION_TEXTS,
        [KRAIT_SETTING_FILES] = KR_OPTION_TEXTS,
    };
    return (kr_option){ .type = types[setting->type],
                        .name = setting->flag,
                        .argument = setting->argument,
                        .offset = AT(settings) + index * sizeof(given),
                        .initial = is_list(setting) ? NULL : setting->initial,
                        .help = setting->help };
}

/* The rows of this command, then those of the settings under their sections. */
static const kr_option *make_options(size_t *n_options)
{
    static kr_option options[2 * MOST];
    static const struct {
        const char *section, *heading;
    } headings[] = {
        { "out", "What is kept, and from what it is drawn" },
        { "model.", "The model" },
        { "data.", "The text" },
        { "train.", "Learning" },
        { "evaluate.", "Held-out text" },
        { "sample.", "Samples" },
        { "checkpoint.", "Checkpoints" },
        { "divergence.", "When a step goes wrong" },
        { "log.", "Metrics" },
    };
    static size_t n;
    if (!n) {
        size_t next = 0;
        memcpy(options, own_options, sizeof own_options);
        n = KR_COUNT_OF(own_options);
        const krait_setting *setting;
        for (size_t i = 0; i < MOST && (setting = krait_training_setting(i)); i++) {
            const char *section = next < KR_COUNT_OF(headings) ? headings[next].section : NULL;
            if (section && strncmp(setting->key, section, strlen(section)) == 0)
                options[n++] = (kr_option){ .type = KR_OPTION_HEADING, .help = headings[next++].heading };
            options[n++] = option_of(setting, i);
        }
    }
    *n_options = n;
    return options;
}

/* ---- settings from options ---------------------------------------------------------------------------------------- */

/* Flags count more than what is there: a list is replaced. */
static krait_status apply_flags(krait_training_settings *settings, const train_values *values, bool *any, krait_error *error)
{
    const krait_setting *setting;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < MOST && (setting = krait_training_setting(i)) && !status; i++) {
        const given *value = &values->settings[i];
        char origin[72];
        snprintf(origin, sizeof origin, "--%s", setting->flag);
        if (is_list(setting)) {
            if (value->texts.n) status = krait_training_settings_clear(settings, setting->key, error);
            for (size_t j = 0; j < value->texts.n && !status; j++)
                status = krait_training_settings_set(settings, setting->key, value->texts.items[j], origin, error);
            *any = *any || value->texts.n;
        } else if (value->text && value->text != setting->initial) {
            status = krait_training_settings_set(settings, setting->key, value->text, origin, error);
            *any = true;
        }
    }
    return status;
}

/* From the config file, or the run to be resumed, and the flags. *same: nothing was said beside the run. */
static krait_status gather(krait_training_settings **settings, const train_values *values, bool *same, krait_error *error)
{
    bool any = false;
    krait_status status = values->resume ? krait_training_settings_of_run(settings, values->resume, error)
                                         : krait_training_settings_create(settings, error);
    if (!status && values->config) status = kr_train_config_read(*settings, values->config, error);
    if (!status) status = apply_flags(*settings, values, &any, error);
    *same = values->resume && !any;
    return status;
}

/* ---- what it says ------------------------------------------------------------------------------------------------- */

static int put_example(const kr_command *command)
{
    static const char *const example[][2] = {
        { "out", "runs/first" },         { "model.tokenizer", "tokenizer.json" },
        { "model.d_model", "256" },      { "model.n_layer", "6" },
        { "data.train", "text.txt" },    { "data.held_out", "held-out.txt" },
        { "sample.prompt", "It was a" },
    };
    krait_training_settings *settings;
    krait_error error;
    char *yaml = NULL;
    krait_status status = krait_training_settings_create(&settings, &error);
    for (size_t i = 0; i < KR_COUNT_OF(example) && !status; i++)
        status = krait_training_settings_set(settings, example[i][0], example[i][1], "example", &error);
    if (!status) status = krait_training_settings_yaml(settings, &yaml, &error);
    if (!status) fputs(yaml, stdout);
    krait_free(yaml);
    krait_training_settings_free(settings);
    return status ? kr_report_failure(command, &error) : KR_EXIT_OK;
}

static kr_text duration(double seconds)
{
    kr_text out;
    if (seconds < 60)
        snprintf(out.text, sizeof out.text, "%.1f seconds", seconds);
    else if (seconds < 3600)
        snprintf(out.text, sizeof out.text, "%.1f minutes", seconds / 60);
    else if (seconds < 48 * 3600.0)
        snprintf(out.text, sizeof out.text, "%.1f hours", seconds / 3600);
    else
        snprintf(out.text, sizeof out.text, "%.1f days", seconds / 86400);
    return out;
}

static void put_plan(const krait_training_plan *p)
{
    const krait_config *c = &p->config;
    const krait_trainer_memory *m = &p->memory;
    uint64_t memory = m->parameters + m->gradients + m->moments + m->activations + m->scratch;
    double tokens = (double)p->n_steps * (double)p->tokens_per_step;
    printf("model        %lld layers of %lld, state %lld, vocabulary %s: %s parameters\n", (long long)c->n_layer,
           (long long)c->d_model, (long long)c->d_state, kr_text_count((uint64_t)c->vocab_size).text,
           kr_text_count(p->parameters).text);
    printf("text         %s tokens", kr_text_count(p->train_tokens).text);
    if (p->held_out_tokens) printf(", %s held out", kr_text_count(p->held_out_tokens).text);
    printf("\nsteps        %s of %s tokens: %s tokens, %.2f epochs\n", kr_text_count(p->n_steps).text,
           kr_text_count(p->tokens_per_step).text, kr_text_count((uint64_t)tokens).text, p->epochs);
    printf("memory       %s: ", kr_text_bytes(memory).text);
    printf("parameters %s, ", kr_text_bytes(m->parameters).text);
    printf("gradients %s, ", kr_text_bytes(m->gradients).text);
    printf("moments %s, ", kr_text_bytes(m->moments).text);
    printf("activations %s, ", kr_text_bytes(m->activations).text);
    printf("scratch %s\n", kr_text_bytes(m->scratch).text);
    printf("checkpoint   %s\n", kr_text_bytes(p->checkpoint_bytes).text);
    printf("time         %s: %s a step, %s tokens/s", duration(p->seconds_per_step * (double)p->n_steps).text,
           kr_text_seconds(p->seconds_per_step).text,
           kr_text_count((uint64_t)((double)p->tokens_per_step / p->seconds_per_step)).text);
    printf(", %.0f %% of it matrix products\n", 100 * p->gemm_share);
}

static void put_json_count(kr_json_writer *json, const char *key, uint64_t value)
{
    kr_json_key(json, key);
    kr_json_put_integer(json, (int64_t)value);
}

static void put_json_number(kr_json_writer *json, const char *key, double value)
{
    kr_json_key(json, key);
    kr_json_put_number(json, value);
}

static bool put_plan_json(const krait_training_plan *p)
{
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    put_json_count(&json, "parameters", p->parameters);
    put_json_count(&json, "vocab_size", (uint64_t)p->config.vocab_size);
    put_json_count(&json, "train_tokens", p->train_tokens);
    put_json_count(&json, "held_out_tokens", p->held_out_tokens);
    put_json_count(&json, "steps", p->n_steps);
    put_json_count(&json, "tokens_per_step", p->tokens_per_step);
    put_json_number(&json, "epochs", p->epochs);
    put_json_count(&json, "memory_parameters", p->memory.parameters);
    put_json_count(&json, "memory_gradients", p->memory.gradients);
    put_json_count(&json, "memory_moments", p->memory.moments);
    put_json_count(&json, "memory_activations", p->memory.activations);
    put_json_count(&json, "memory_scratch", p->memory.scratch);
    put_json_count(&json, "checkpoint_bytes", p->checkpoint_bytes);
    put_json_number(&json, "seconds_per_step", p->seconds_per_step);
    put_json_number(&json, "gemm_share", p->gemm_share);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_train, &json);
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

/* The last event has the figures of the end. */
typedef struct watching {
    kr_train_view view;
    krait_training_event last;
} watching;

static bool on_event(void *user, const krait_training_event *event)
{
    watching *w = user;
    w->last = *event;
    w->last.text = NULL;
    return kr_train_view_event(&w->view, event);
}

static bool put_end_json(const krait_training *training, const krait_training_event *e)
{
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    kr_json_key(&json, "run"), kr_json_put_text(&json, krait_training_folder(training));
    kr_json_key(&json, "finished"), kr_json_put_bool(&json, krait_training_finished(training));
    put_json_count(&json, "step", krait_training_step(training));
    put_json_count(&json, "tokens", e->tokens);
    put_json_number(&json, "loss", e->step ? e->loss : NAN);
    put_json_number(&json, "held_out_loss", e->held_out_loss);
    put_json_number(&json, "held_out_bits_per_byte", e->held_out_bits_per_byte);
    put_json_number(&json, "best_held_out_loss", e->best_held_out_loss);
    put_json_number(&json, "seconds", e->seconds);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_train, &json);
}

static int dry_run(const krait_training_settings *settings, const train_values *values, const krait_training_options *options,
                   watching *w)
{
    krait_training_plan plan;
    krait_error error;
    krait_status status = krait_training_get_plan(&plan, settings, options, &error);
    kr_train_view_end(&w->view);
    if (status) return kr_report_failure(&kr_command_train, &error);
    if (!values->json) put_plan(&plan);
    return !values->json || put_plan_json(&plan) ? KR_EXIT_OK : KR_EXIT_FAILURE;
}

static int train(krait_training *training, const train_values *values, watching *w)
{
    krait_error error = { 0 };
    krait_status status = KRAIT_OK;
    bool before = krait_training_finished(training);
    if (!before) status = krait_training_run(training, &error);
    kr_train_view_end(&w->view);
    const char *folder = krait_training_folder(training);
    int code = KR_EXIT_OK;
    if (status == KRAIT_ERROR_INTERRUPTED) {
        fprintf(stderr, "krait train: interrupted at step %s; to go on: krait train --resume %s\n",
                kr_text_count(krait_training_step(training)).text, folder);
        code = KR_EXIT_INTERRUPTED;
    } else if (status)
        return kr_report_failure(&kr_command_train, &error);
    else if (before && !values->quiet)
        fprintf(stderr, "krait train: %s is finished: more steps need --steps and --allow-changes\n", folder);
    else if (!values->quiet)
        fprintf(stderr, "krait train: finished at step %s; to try it: krait run -m %s/%s\n",
                kr_text_count(krait_training_step(training)).text, folder, isnan(w->last.best_held_out_loss) ? "last" : "best");
    if (values->json && !put_end_json(training, &w->last)) code = KR_EXIT_FAILURE;
    return code;
}

/* A model of the hub is downloaded before the run asks for it. */
static krait_status fetch_model(const krait_training_settings *settings, krait_error *error)
{
    const char *from = krait_training_settings_get(settings, "model.from", 0);
    char *path = NULL;
    krait_status status = from ? kr_model_find(&path, from, error) : KRAIT_OK;
    krait_free(path);
    return status;
}

static int run_train(const void *values_)
{
    const train_values *values = values_;
    const kr_command *command = &kr_command_train;
    if (values->init_config) return put_example(command);
    if (values->config && values->resume) return kr_options_wrong(command, "CONFIG and --resume: expected one of them");
    if (values->from_step && values->dry_run) return kr_options_wrong(command, "--from-step and --dry-run: expected one of them");
    krait_training_settings *settings = NULL;
    krait_training *training = NULL;
    krait_error error;
    watching w = { .last = { .held_out_loss = NAN, .held_out_bits_per_byte = NAN, .best_held_out_loss = NAN } };
    bool same = false;
    int code;
    kr_interrupt_catch();
    kr_train_view_begin(&w.view, command, values->quiet);
    krait_training_options options = { .resume = values->resume,
                                       .allow_changes = values->allow_changes,
                                       .from_step = values->from_step,
                                       .on_event = on_event,
                                       .user = &w };
    krait_status status = gather(&settings, values, &same, &error);
    const char *out = status ? NULL : values->resume ? values->resume : krait_training_settings_get(settings, "out", 0);
    if (!status && !same) status = fetch_model(settings, &error);
    if (!status && values->dry_run)
        code = dry_run(settings, values, &options, &w);
    else {
        if (!status && !out)
            status =
                kr_fail(&error, KRAIT_ERROR_ARGUMENT, "no folder for the run: expected --out RUN, or out in the config file");
        if (!status) status = krait_training_open(&training, out, same ? NULL : settings, &options, &error);
        kr_train_view_end(&w.view);
        code = status ? kr_report_failure(command, &error) : train(training, values, &w);
    }
    krait_training_free(training);
    krait_training_settings_free(settings);
    return code;
}

const kr_command kr_command_train = {
    .name = "train",
    .summary = "train a model on text",
    .synopsis = "[CONFIG.yaml] [options]",
    .description =
        "Makes a model from text, or from tokens of krait data, or goes on with one that is there. A config file says what "
        "(krait "
        "train --init-config prints one), every key of it is a flag as well, and flags count more. The run's folder gets "
        "checkpoints, which are models as any other (krait run -m RUN/last), metrics.jsonl (krait plot RUN), and the config as "
        "it "
        "was resolved. Whatever ends a run - Ctrl-C, a kill, a full disk - the same command goes on from the newest checkpoint, "
        "and what "
        "comes of it is bit for bit what it would have been.",
    .examples = "  krait train --init-config > first.yaml            # edit it, then:\n"
                "  krait train first.yaml --dry-run                  # how large, how long?\n"
                "  krait train first.yaml                            # again: goes on\n"
                "  krait train --data novels.tokens --tokenizer tokenizer.json \\\n"
                "      --d-model 256 --layers 6 --steps 2000 --out runs/novels\n"
                "  krait train --from path/to/model --data notes.txt --out runs/notes \\\n"
                "      --learning-rate 1e-4 --epochs 2               # fine-tuning\n"
                "  krait train --resume runs/novels --steps 4000 --allow-changes\n",
    .make_options = make_options,
    .operand = "CONFIG",
    .operand_offset = AT(config),
    .values_size = sizeof(train_values),
    .run = run_train,
};
