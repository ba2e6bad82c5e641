#include "cli/task_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/report.h"

/* ---- learning ---------------------------------------------------------------------------------------------------- */

#define LEARNED_LOSS 0.1 /* nats: sequences grow when the mean loss is below it */
#define LOSS_DECAY   0.9
#define CURVE_EVERY  20
#define SAVE_EVERY   100  /* steps, */
#define SAVE_SECONDS 60.0 /* or so long: whichever is earlier */

typedef struct batch {
    krait_train_row *rows;
    int32_t *tokens, *targets;
    size_t n_rows, length;
} batch;

static size_t rows_of(const kr_task_lesson *lesson, size_t length)
{
    size_t rows = lesson->batch_tokens / length;
    return rows < 1 ? 1 : rows > lesson->max_rows ? lesson->max_rows : rows;
}

static krait_status make_batch(batch *b, const kr_task_lesson *lesson, krait_error *error)
{
    size_t most = lesson->batch_tokens > lesson->length ? lesson->batch_tokens : lesson->length;
    *b = (batch){ .rows = kr_alloc_zero(lesson->max_rows, sizeof *b->rows),
                  .tokens = kr_alloc(most, sizeof *b->tokens),
                  .targets = kr_alloc(most, sizeof *b->targets) };
    return b->rows && b->tokens && b->targets ? KRAIT_OK : kr_fail_memory(error, "batch", 2 * most * sizeof *b->tokens);
}

static void free_batch(batch *b)
{
    kr_free(b->rows);
    kr_free(b->tokens);
    kr_free(b->targets);
}

/* Sequences number `*next`, ... of the seed. */
static void fill_batch(batch *b, const kr_task_lesson *lesson, size_t length, uint64_t *next)
{
    size_t n_query = kr_task_n_query(lesson->task), body = length - n_query;
    b->n_rows = rows_of(lesson, length);
    b->length = length;
    for (size_t i = 0; i < b->n_rows; i++) {
        int32_t *tokens = b->tokens + i * length, *targets = b->targets + i * length;
        kr_task_sample sample;
        kr_task_draw(&sample, lesson->task, length, lesson->seed, (*next)++);
        kr_task_body(&sample, 0, body, tokens);
        for (size_t k = 0; k < body; k++) targets[k] = -1;
        kr_task_query(&sample, tokens + body, targets + body);
        b->rows[i] = (krait_train_row){ .tokens = tokens, .targets = targets, .count = length };
    }
}

static krait_status learn_step(krait_trainer *trainer, const batch *b, krait_train_step *step, krait_error *error)
{
    krait_status status = krait_trainer_accumulate(trainer, b->rows, b->n_rows, error);
    if (!status) status = krait_trainer_update(trainer, step, error);
    if (!status && !step->finite)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "step %llu: the loss is not finite%s%s: expected a smaller --lr",
                    (unsigned long long)step->step, step->nonfinite ? ", first in " : "", step->nonfinite ? step->nonfinite : "");
    return status;
}

/* The length of step s: every third step goes back to one of the shorter lengths, in turn, so that what was learned there (what to remember
 * lies right before the question, say, which is rare in a long sequence) is not lost. */
static size_t length_of_step(uint64_t s, size_t first, size_t length)
{
    size_t n = 0, lengths[64];
    for (size_t shorter = first; shorter < length && n < 64; shorter *= 2) lengths[n++] = shorter;
    return s % 3 == 2 && n ? lengths[s / 3 % n] : length;
}

kr_task_position kr_task_begin(const kr_task_lesson *lesson)
{
    size_t first = lesson->first_length < lesson->length ? lesson->first_length : lesson->length;
    return (kr_task_position){ .length = first, .reached = first };
}

/* One step. An interruption in the middle of it has changed nothing. */
static krait_status next_step(krait_trainer *trainer, const kr_task_lesson *lesson, batch *b, kr_task_position *p,
                              kr_task_folder *folder, krait_error *error)
{
    krait_train_step step;
    double began = kr_now();
    size_t first = lesson->first_length < lesson->length ? lesson->first_length : lesson->length;
    uint64_t next = p->next, s = p->steps;
    fill_batch(b, lesson, length_of_step(s, first, (size_t)p->length), &next);
    krait_status status = learn_step(trainer, b, &step, error);
    if (status) return status;
    p->next = next;
    if (b->length == p->length) {
        p->weight = LOSS_DECAY * p->weight + (1 - LOSS_DECAY);
        p->mean += (step.loss - p->mean) * (1 - LOSS_DECAY) / p->weight;
    }
    p->tokens += b->n_rows * b->length;
    p->steps = s + 1;
    p->loss = p->mean;
    p->reached = p->length;
    p->seconds += kr_now() - began;
    if (p->length < lesson->length && p->mean < LEARNED_LOSS && p->weight > 0.6) {
        p->length = 2 * p->length < lesson->length ? 2 * p->length : lesson->length;
        p->mean = p->weight = 0;
    }
    if (!folder || (s % CURVE_EVERY != 0 && s + 1 != lesson->steps)) return KRAIT_OK;
    return kr_task_folder_add(
        folder, &(kr_task_point){ step.step, p->tokens, p->reached, step.loss, step.learning_rate, step.grad_norm, p->seconds },
        error);
}

krait_status kr_task_learn(krait_trainer *trainer, const kr_task_lesson *lesson, kr_task_position *position,
                           kr_task_folder *folder, kr_progress *progress, krait_error *error)
{
    batch b;
    krait_status status = make_batch(&b, lesson, error);
    bool stop = false;
    while (position->steps < lesson->steps && !status && !stop) {
        char what[64];
        status = next_step(trainer, lesson, &b, position, folder, error);
        stop = status == KRAIT_ERROR_INTERRUPTED;
        if (status && !stop) break;
        snprintf(what, sizeof what, "learning at length %zu, loss %.2g", (size_t)position->reached, position->loss);
        if (!stop) stop = !kr_progress_report(progress, what, position->steps, lesson->steps);
        bool end = position->steps == lesson->steps, due = end || stop || position->steps % SAVE_EVERY == 0;
        status = KRAIT_OK;
        if (folder && (due || kr_now() - folder->saved_at >= SAVE_SECONDS))
            status = kr_task_folder_save(folder, trainer, position, end, error);
    }
    free_batch(&b);
    if (!status && position->steps < lesson->steps) status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
    return status;
}

/* ---- testing ----------------------------------------------------------------------------------------------------- */

#define ROWS  8    /* sequences side by side, */
#define PIECE 1024 /* each by so many tokens at a time */

typedef struct test {
    krait_session *session;
    const kr_task *task;
    size_t n_rows;
    kr_task_sample samples[ROWS];
    krait_state *states[ROWS], *asked[ROWS]; /* asked: a copy that has seen the query */
    int32_t *tokens;                         /* [ROWS, PIECE] */
    float *logits;                           /* [ROWS * n_query, vocab_size] */
    kr_progress *progress;
    uint64_t done, total; /* tokens */
} test;

static krait_status open_test(test *t, krait_error *error)
{
    size_t n_logits = ROWS * kr_task_n_query(t->task) * (size_t)t->task->vocab_size;
    krait_status status = KRAIT_OK;
    t->tokens = kr_alloc(ROWS * PIECE, sizeof *t->tokens);
    t->logits = kr_alloc(n_logits, sizeof *t->logits);
    if (!t->tokens || !t->logits) status = kr_fail_memory(error, "logits", n_logits * sizeof *t->logits);
    for (size_t i = 0; i < ROWS && !status; i++) {
        status = krait_state_create(&t->states[i], krait_session_model(t->session), error);
        if (!status) status = krait_state_create(&t->asked[i], krait_session_model(t->session), error);
    }
    return status;
}

static void close_test(test *t)
{
    for (size_t i = 0; i < ROWS; i++) {
        krait_state_free(t->states[i]);
        krait_state_free(t->asked[i]);
    }
    kr_free(t->tokens);
    kr_free(t->logits);
}

/* Reads the bodies from token `from` to `to`. */
static krait_status read_bodies(test *t, uint64_t from, uint64_t to, krait_error *error)
{
    krait_status status = KRAIT_OK;
    while (from < to && !status) {
        krait_sequence sequences[ROWS];
        size_t n = to - from < PIECE ? (size_t)(to - from) : PIECE;
        for (size_t i = 0; i < t->n_rows; i++) {
            kr_task_body(&t->samples[i], (size_t)from, n, t->tokens + i * PIECE);
            sequences[i] = (krait_sequence){ .state = t->states[i], .tokens = t->tokens + i * PIECE, .count = n };
        }
        status = krait_run(t->session, sequences, t->n_rows, NULL, error);
        from += n;
        t->done += n * t->n_rows;
        if (!status && !kr_progress_report(t->progress, "testing", t->done, t->total))
            status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
    }
    return status;
}

static int32_t largest(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static krait_status ask(test *t, kr_task_result *result, krait_error *error)
{
    size_t n_query = kr_task_n_query(t->task), vocab = (size_t)t->task->vocab_size;
    krait_sequence sequences[ROWS];
    int32_t answers[ROWS * KR_TASK_MAX_MEMORY];
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < t->n_rows && !status; i++) {
        kr_task_query(&t->samples[i], t->tokens + i * PIECE, answers + i * n_query);
        status = krait_state_copy(t->asked[i], t->states[i], error);
        sequences[i] =
            (krait_sequence){ .state = t->asked[i], .tokens = t->tokens + i * PIECE, .count = n_query, .want = KRAIT_WANT_ALL };
    }
    if (!status) status = krait_run(t->session, sequences, t->n_rows, &(krait_outputs){ .logits = t->logits }, error);
    for (size_t i = 0; i < t->n_rows * n_query && !status; i++)
        result->right += largest(t->logits + i * vocab, vocab) == answers[i];
    result->answers += t->n_rows * n_query;
    result->samples += t->n_rows;
    return status;
}

/* A group of rows at all lengths. */
static krait_status test_rows(test *t, kr_task_result *results, size_t n, uint64_t seed, uint64_t first, krait_error *error)
{
    bool nested = t->task->kind == KR_TASK_INDUCTION;
    uint64_t at = 0;
    krait_status status = KRAIT_OK;
    for (size_t k = 0; k < n && !status; k++) {
        uint64_t body = results[k].length - kr_task_n_query(t->task);
        for (size_t i = 0; i < t->n_rows && (k == 0 || !nested); i++) {
            /* Other lengths have other sequences, unless they are the same ones further on. */
            kr_task_draw(&t->samples[i], t->task, (size_t)results[k].length, seed + k, first + i);
            krait_state_reset(t->states[i]);
            at = 0;
        }
        status = read_bodies(t, at, body, error);
        at = body;
        if (!status) status = ask(t, &results[k], error);
    }
    return status;
}

krait_status kr_task_test(krait_session *session, const kr_task *task, kr_task_result *results, size_t n, uint64_t samples,
                          uint64_t seed, kr_progress *progress, krait_error *error)
{
    test t = { .session = session, .task = task, .progress = progress };
    krait_status status = open_test(&t, error);
    for (size_t k = 0; k < n; k++) {
        results[k] = (kr_task_result){ .length = results[k].length };
        if (task->kind != KR_TASK_INDUCTION || k + 1 == n) t.total += results[k].length * samples;
    }
    for (uint64_t first = 0; first < samples && !status; first += t.n_rows) {
        t.n_rows = samples - first < ROWS ? (size_t)(samples - first) : ROWS;
        status = test_rows(&t, results, n, seed, first, error);
    }
    close_test(&t);
    return status;
}
