/* krait: whole training runs, from settings to a model, safe against every interruption.
 *
 *   krait_training_settings *settings; krait_training *training; krait_error error;
 *   if (krait_training_settings_create(&settings, &error)
 *       || krait_training_settings_set(settings, "data.train", "novels.tokens", "here", &error)
 *       || ...
 *       || krait_training_open(&training, "runs/novels", settings, NULL, &error)
 *       || krait_training_run(training, &error))
 *       fprintf(stderr, "%s\n", error.message);
 *
 * A run lives in a folder:
 *
 *   config.yaml       its settings, all of them, with comments
 *   metrics.jsonl     a line for every few steps, evaluation, sample and event
 *   data/             token files, where texts were given
 *   step-00001000/    checkpoints: a model in the layout of Hugging Face with its tokenizer, and beside it all that is needed
 *   step-00002000/    to go on exactly there
 *   last              a link to the newest of them
 *   best/             the model with the lowest held-out loss
 *   lock              held while a process works in it
 *
 * Checkpoints are written beside, synced and renamed; a manifest has the checksum of each of their files. Whatever ends a process,
 * the next one goes on from the newest checkpoint, and what comes of it is bit for bit what an uninterrupted run gives.
 *
 * The conventions are those of krait.h. */
#ifndef KRAIT_TRAINING_H
#define KRAIT_TRAINING_H

#include "krait/data.h"
#include "krait/krait.h"
#include "krait/train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- settings ---------------------------------------------------------------------------------------------------- */

typedef enum krait_setting_type {
    KRAIT_SETTING_TEXT = 0,
    KRAIT_SETTING_FILE,
    KRAIT_SETTING_CHOICE, /* one of the words in `argument`, "a|b|c"; of "true|false", yes, no, on and off are understood too */
    KRAIT_SETTING_COUNT,  /* a whole number */
    KRAIT_SETTING_NUMBER,
    KRAIT_SETTING_TEXTS, /* any number of texts */
    KRAIT_SETTING_FILES
} krait_setting_type;

/* What can be set. Texts are constants. */
typedef struct krait_setting {
    krait_setting_type type;
    const char *key;         /* "train.learning_rate" */
    const char *flag;        /* "learning-rate": what `krait train` calls it */
    const char *argument;    /* "N", "a|b" */
    const char *initial;     /* its default as one would type it; NULL: none */
    const char *help;        /* a sentence without its full stop */
    double minimum, maximum; /* of numbers; a maximum of 0 means none */
    bool may_change;         /* when an interrupted run goes on: what it cannot change the result by */
} krait_setting;

KRAIT_API size_t krait_training_n_settings(void);
/* NULL past the last. */
KRAIT_API const krait_setting *krait_training_setting(size_t index);

typedef struct krait_training_settings krait_training_settings;

/* With every default. */
KRAIT_API krait_status krait_training_settings_create(krait_training_settings **settings, krait_error *error);
KRAIT_API void krait_training_settings_free(krait_training_settings *settings);
/* Gives a setting its value, or adds one to those that take several. `origin` ("novels.yaml:7", "--rows"), copied, begins messages about it,
 * now and later. An unknown key is KRAIT_ERROR_ARGUMENT, and the message has the nearest one. */
KRAIT_API krait_status krait_training_settings_set(krait_training_settings *settings, const char *key, const char *value,
                                                   const char *origin, krait_error *error);
/* Back to its default. */
KRAIT_API krait_status krait_training_settings_clear(krait_training_settings *settings, const char *key, krait_error *error);
/* Where it was given; NULL: nowhere, or the key is unknown. */
KRAIT_API const char *krait_training_settings_origin(const krait_training_settings *settings, const char *key);
/* The value `index` of it as text, in a buffer of the calling thread; NULL past the last. */
KRAIT_API const char *krait_training_settings_get(const krait_training_settings *settings, const char *key, size_t index);
/* Those that the run in `folder` was begun with, from its newest checkpoint. */
KRAIT_API krait_status krait_training_settings_of_run(krait_training_settings **settings, const char *folder, krait_error *error);
/* All of them as a config file with comments, which gives the same settings when it is read. Free with krait_free(). */
KRAIT_API krait_status krait_training_settings_yaml(const krait_training_settings *settings, char **text, krait_error *error);

/* ---- runs -------------------------------------------------------------------------------------------------------- */

typedef enum krait_training_event_type {
    KRAIT_TRAINING_STEP = 0,   /* after every update */
    KRAIT_TRAINING_EVALUATION, /* of the held-out text */
    KRAIT_TRAINING_SAMPLE,     /* a few lines by the model: `text` */
    KRAIT_TRAINING_CHECKPOINT, /* was written: `text` is its folder */
    KRAIT_TRAINING_NOTE,       /* what a person should know: `text` */
    KRAIT_TRAINING_WORK        /* what takes long before or between steps: `text`, `done` of `total` (0: not known) */
} krait_training_event_type;

/* What happened, with where the run is: all of the figures are there in every event, those of the last step and evaluation. */
typedef struct krait_training_event {
    krait_training_event_type type;
    const char *text;
    uint64_t done, total;
    uint64_t step, n_steps;
    uint64_t tokens; /* seen so far */
    double epoch;    /* passes over the data */
    double loss;     /* mean nats per token of the step */
    double grad_norm, learning_rate;
    double tokens_per_second; /* over the last steps */
    double gemm_share;        /* seconds that the step's matrix products take alone, over the seconds of a step */
    double seconds;           /* of training, in all processes */
    double seconds_left;
    double held_out_loss;          /* nats per token; NaN: there was no evaluation yet */
    double held_out_bits_per_byte; /* NaN also where a token file does not know its text's bytes */
    double best_held_out_loss;
} krait_training_event;

typedef struct krait_training_options {
    bool resume;        /* the folder must be that of a run; without it, one is begun where there is none */
    bool allow_changes; /* settings may differ from those that the run was begun with */
    uint64_t from_step; /* go on from this checkpoint; 0: from the newest */
    /* false: stop. The step is finished and a checkpoint written; krait_training_run() then gives KRAIT_ERROR_INTERRUPTED. */
    bool (*on_event)(void *user, const krait_training_event *event);
    void *user;
} krait_training_options;

typedef struct krait_training krait_training;

/* Begins a run in `folder`, which is new or empty, or goes on with the one that is in it: `settings` must then be those it was begun with
 * but for what may change, or NULL for the same ones. KRAIT_ERROR_ARGUMENT names the settings that differ. Another process in the folder,
 * a damaged checkpoint, another tokenizer's token file and a full disk are errors that say so, and leave the run as it was. */
KRAIT_API krait_status krait_training_open(krait_training **training, const char *folder, const krait_training_settings *settings,
                                           const krait_training_options *options, krait_error *error);
/* Ends without writing: what came after the last checkpoint is lost. */
KRAIT_API void krait_training_free(krait_training *training);
/* Trains to the end. Afterwards, also after KRAIT_ERROR_INTERRUPTED, a checkpoint has everything. */
KRAIT_API krait_status krait_training_run(krait_training *training, krait_error *error);
/* Whether the run has reached its end, be it the last step or an early stop. */
KRAIT_API bool krait_training_finished(const krait_training *training);
/* Updates made. */
KRAIT_API uint64_t krait_training_step(const krait_training *training);
KRAIT_API const char *krait_training_folder(const krait_training *training);
KRAIT_API const krait_training_settings *krait_training_get_settings(const krait_training *training);
/* The model as it is now: see krait_trainer_model(). */
KRAIT_API const krait_model *krait_training_model(const krait_training *training);

/* What a run would be. */
typedef struct krait_training_plan {
    krait_config config;
    uint64_t parameters;
    uint64_t train_tokens, held_out_tokens;
    uint64_t tokens_per_step, n_steps;
    double epochs;
    krait_trainer_memory memory;
    uint64_t checkpoint_bytes; /* of one */
    double seconds_per_step;   /* measured, without evaluations and checkpoints */
    double gemm_share;
} krait_training_plan;

/* Reads the data, makes the model and takes a few steps, which are forgotten; writes nothing but temporary token files where texts were
 * given. */
KRAIT_API krait_status krait_training_get_plan(krait_training_plan *plan, const krait_training_settings *settings,
                                               const krait_training_options *options, krait_error *error);

#ifdef __cplusplus
}
#endif

#endif
