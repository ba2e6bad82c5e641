/* What a training run can be told: one table, from which the config file, the flags of `krait train`, its help and what a
 * checkpoint remembers are made (krait_training_settings in krait/training.h). */
#ifndef KR_TRAIN_SETTINGS_H
#define KR_TRAIN_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/memory.h"
#include "krait/training.h"

/* Texts that live in the settings' arena. */
typedef struct kr_texts_list {
    const char **items;
    size_t n;
} kr_texts_list;

/* The values. Texts are NULL when they were not given and have no default; choices are one of the table's words. */
typedef struct kr_settings {
    const char *out;
    uint64_t seed;
    struct {
        const char *shape, *from, *tokenizer;
        uint64_t vocab_size, d_model, n_layer, d_state, d_conv, expand, dt_rank;
        double dt_min, dt_max;
        bool tied_head;
        kr_texts_list freeze;
    } model;
    struct {
        kr_texts_list train, include, exclude, held_out, held_out_pattern;
        double held_out_share;
        const char *field, *prompt_field, *split, *invalid, *order;
        uint64_t window, rows;
        bool crlf;
    } data;
    struct {
        uint64_t steps, tokens, warmup_steps, decay_steps, accumulate, threads;
        double epochs, learning_rate, min_learning_rate, weight_decay, beta1, beta2, epsilon, clip_norm;
        const char *schedule, *compute, *isa;
        bool recompute;
    } train;
    struct {
        uint64_t every, window, tokens, patience;
    } evaluate;
    struct {
        const char *prompt;
        uint64_t tokens;
        double temperature;
    } sample;
    struct {
        uint64_t every, keep;
        double minutes;
    } checkpoint;
    struct {
        const char *nonfinite, *spike;
        double rise;
        uint64_t limit;
    } divergence;
    struct {
        uint64_t every;
    } log;
} kr_settings;

struct krait_training_settings {
    kr_settings values;
    const char **origins; /* [krait_training_n_settings()] where each was given; NULL: it has its default */
    kr_arena arena;
};

/* Rows of the table by their field, for messages and `given`. */
size_t kr_setting_at(size_t offset);
#define KR_SETTING(field) kr_setting_at(offsetof(kr_settings, field))
/* Given, and not as its default is: a resolved config, in which everything is given, must be good for a run, too. */
bool kr_setting_given(const krait_training_settings *settings, size_t index);
/* "novels.yaml:7: model.d_model" for messages about a setting that was given, or its key alone. */
const char *kr_setting_where(const krait_training_settings *settings, size_t index, char buffer[256]);

/* Refuses settings that contradict each other, or that lack what every run needs. */
krait_status kr_settings_check(const krait_training_settings *settings, krait_error *error);

/* {"data.rows": ["16"], ...}: every setting that has a value. */
void kr_settings_put_json(const krait_training_settings *settings, kr_json_writer *json);
/* Reads that back into new settings; keys that are unknown are an error. `name` begins the message. */
krait_status kr_settings_read_json(krait_training_settings **settings, const kr_json *object, const char *name,
                                   krait_error *error);
/* The settings that differ and may not while a run goes on, as "data.rows (16, now 8), seed (0, now 1)" into `text`; false: there are none. */
bool kr_settings_differences(const krait_training_settings *before, const krait_training_settings *now, char *text, size_t size);

#endif
