/* Learning a synthetic task, and being tested on it at any length. */
#ifndef KR_CLI_TASK_RUN_H
#define KR_CLI_TASK_RUN_H

#include "cli/progress.h"
#include "cli/task_data.h"
#include "cli/task_folder.h"
#include "krait/train.h"

/* Sequences are short at first and twice as long whenever the loss has come down, up to `length` and never beyond: a circuit that is found
 * over eight tokens is stretched, where 256 at once would hide it. Now and then the shorter ones come back. */
typedef struct kr_task_lesson {
    const kr_task *task;
    size_t length;       /* of the longest sequences */
    size_t first_length; /* of the first; at least kr_task_min_length() */
    size_t batch_tokens; /* a step's sequences have about so many tokens together */
    size_t max_rows;     /* and are no more than these */
    uint64_t steps;      /* in all */
    uint64_t seed;
} kr_task_lesson;

/* The position before anything is learned. */
kr_task_position kr_task_begin(const kr_task_lesson *lesson);
/* From `position` to the end of the lesson. With a folder (NULL: none) it is kept there from time to time, at the end, and when `progress` or the
 * trainer's own callback asks to stop: KRAIT_ERROR_INTERRUPTED then leaves the position of the last whole step. */
krait_status kr_task_learn(krait_trainer *trainer, const kr_task_lesson *lesson, kr_task_position *position,
                           kr_task_folder *folder, kr_progress *progress, krait_error *error);

typedef struct kr_task_result {
    uint64_t length;
    uint64_t samples, answers, right;
} kr_task_result;

/* results[i].length is given, ascending, at least kr_task_min_length(); each is tested with `samples` sequences of `seed`. Memory does not depend on the lengths. For
 * induction heads the same bodies are asked at each length on their way, with what is to be remembered within the first of the lengths: every length then
 * is how far back it lies. */
krait_status kr_task_test(krait_session *session, const kr_task *task, kr_task_result *results, size_t n, uint64_t samples,
                          uint64_t seed, kr_progress *progress, krait_error *error);

#endif
