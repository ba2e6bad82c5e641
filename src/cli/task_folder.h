/* The folder in which `krait task -o` learns, so that whatever ends it, the same command goes on and gives the bits that it would have given:
 *
 *     lock              while a process works in it
 *     step-N            the newest checkpoint: a model as any other, optimizer.safetensors until all is learned, and task.json, which
 *                       has the position and the settings; manifest.json has checksums
 *     metrics.jsonl     the curve
 *     config.json, model.safetensors, results.json   at the end
 *
 * It is the folder of a training run (train/run_folder.h) with less in it. Sequences are a pure function of the seed and their number, which is all
 * the randomness there is to be remembered. */
#ifndef KR_CLI_TASK_FOLDER_H
#define KR_CLI_TASK_FOLDER_H

#include "krait/train.h"
#include "train/metrics.h"
#include "train/run_folder.h"

/* How far learning has come, and all that must be known to go on beside the model and the optimizer. */
typedef struct kr_task_position {
    uint64_t steps, tokens; /* so far */
    uint64_t next;          /* the number of the next sequence */
    uint64_t length;        /* of sequences now, */
    double mean, weight;    /* the mean loss at it, and the weight of what the mean is of */
    uint64_t reached;       /* the length of the last step, before it grew, */
    double loss;            /* and the mean then */
    double seconds;         /* of learning */
    uint64_t curve_bytes;   /* of metrics.jsonl that belong to it */
} kr_task_position;

/* A line of the curve. */
typedef struct kr_task_point {
    uint64_t step, tokens, length;
    double loss, learning_rate, grad_norm, seconds;
} kr_task_point;

/* What a run was begun with, and cannot go on without. */
typedef struct kr_task_setting {
    const char *name;
    char value[32];
} kr_task_setting;

typedef struct kr_task_folder {
    kr_run_folder run;
    kr_metrics curve;
    const kr_task_setting *settings; /* [n_settings], the caller's */
    size_t n_settings;
    uint64_t saved;  /* the step of the newest checkpoint, */
    bool any;        /* if there is one, */
    double saved_at; /* and when it was written, by kr_now() */
} kr_task_folder;

/* Makes and locks the folder. One in which something else is, another process works, or whose settings are others (which are named), is
 * refused. */
krait_status kr_task_folder_open(kr_task_folder *folder, const char *path, const kr_task_setting *settings, size_t n_settings,
                                 krait_error *error);
/* Lets go of it. Safe on a zeroed one. */
void kr_task_folder_close(kr_task_folder *folder);

/* Where `any` is set: the trainer and the position of the newest checkpoint, and the curve cut to it. Everything learned, with all of
 * `steps`: the trainer has no more than the model. */
krait_status kr_task_folder_load(kr_task_folder *folder, krait_trainer **trainer, const krait_trainer_options *options,
                                 kr_task_position *position, krait_error *error);
/* Writes a checkpoint in the place of the one before, unless that one is of this step already. `finished`: nothing more will be learned. */
krait_status kr_task_folder_save(kr_task_folder *folder, const krait_trainer *trainer, kr_task_position *position, bool finished,
                                 krait_error *error);
/* Appends to the curve. */
krait_status kr_task_folder_add(kr_task_folder *folder, const kr_task_point *point, krait_error *error);
/* Puts the model into the folder itself, where -m FOLDER finds it. */
krait_status kr_task_folder_publish(kr_task_folder *folder, const krait_trainer *trainer, krait_error *error);

#endif
