/* Many generations that share their steps: rows that read prompts beside rows that draw.
 *
 * What keeps a row's bits independent of the others: kr_device.independent_tokens. A step of that many tokens at most gives every
 * token the same bits in any company; a longer piece of a prompt runs in a krait_run() of its own, cut as krait_generate() cuts. */
#include <string.h>

#include "base/memory.h"
#include "generate/generation.h"
#include "generate/session.h"

typedef enum row_work { ROW_FREE, ROW_READING, ROW_WRITING } row_work;

typedef struct row {
    row_work work;
    uint64_t number; /* of its request, from 1 */
    krait_state *state;
    kr_generation generation;
    void (*on_end)(void *user, const krait_generate_result *result, const krait_error *error);
    int32_t *prompt; /* [n_prompt], of which `done` were run */
    size_t n_prompt, done;
    int32_t *stop_ids;
    int32_t token; /* writing: drawn, and not run yet */
} row;

struct krait_batch {
    krait_session *session;
    size_t n_rows, n_free;
    size_t most;     /* tokens of a step that rows share: not below n_rows */
    uint64_t number; /* of the last request */
    float *logits;   /* [n_rows, vocab_size] */
    row rows[KRAIT_BATCH_MAX_ROWS];
    /* The step being put together. */
    krait_sequence sequences[KRAIT_BATCH_MAX_ROWS];
    row *of[KRAIT_BATCH_MAX_ROWS]; /* the row of each sequence */
};

krait_status krait_batch_create(krait_batch **result, krait_session *session, size_t rows, krait_error *error)
{
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_create: batch is NULL");
    *result = NULL;
    if (!session) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_create: session is NULL");
    if (rows < 1 || rows > KRAIT_BATCH_MAX_ROWS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "batch: rows: expected 1 .. %d, found %zu", KRAIT_BATCH_MAX_ROWS, rows);
    krait_batch *b = kr_alloc_zero(1, sizeof *b);
    if (!b) return kr_fail_memory(error, "a batch", sizeof *b);
    size_t vocab_size = (size_t)session->model->config.vocab_size, size;
    b->session = session;
    b->n_rows = b->n_free = rows;
    b->most = session->device->independent_tokens;
    krait_status status = KRAIT_OK;
    if (!kr_mul(rows, vocab_size, &size) || !(b->logits = kr_alloc(size, sizeof *b->logits)))
        status = kr_fail_memory(error, "a batch's logits", vocab_size * sizeof *b->logits);
    for (size_t i = 0; i < rows && !status; i++) status = krait_state_create(&b->rows[i].state, session->model, error);
    if (status)
        krait_batch_free(b);
    else
        *result = b;
    return status;
}

/* All that belongs to a request. */
static void clear(row *r)
{
    kr_generation_close(&r->generation);
    kr_free(r->prompt);
    kr_free(r->stop_ids);
    *r = (row){ .state = r->state };
}

void krait_batch_free(krait_batch *b)
{
    if (!b) return;
    for (size_t i = 0; i < b->n_rows; i++) {
        clear(&b->rows[i]);
        krait_state_free(b->rows[i].state);
    }
    kr_free(b->logits);
    kr_free(b);
}

size_t krait_batch_rows(const krait_batch *batch) { return batch ? batch->n_rows : 0; }
size_t krait_batch_free_rows(const krait_batch *batch) { return batch ? batch->n_free : 0; }

static krait_status copy_ids(int32_t **copy, const char *name, const int32_t *ids, size_t n, krait_error *error)
{
    *copy = kr_alloc(n, sizeof *ids);
    if (!*copy) return kr_fail_memory(error, name, n * sizeof *ids);
    if (n) memcpy(*copy, ids, n * sizeof *ids);
    return KRAIT_OK;
}

/* Makes a free row ready to read. */
static krait_status fill(krait_batch *b, row *r, const krait_batch_request *request, krait_error *error)
{
    bool seen = request->from && krait_state_tokens(request->from) != 0;
    krait_status status = kr_generation_open(&r->generation, &b->session->model->config, request->tokenizer, request->prompt,
                                             request->n_prompt, seen, request->options, error);
    if (status) return status;
    krait_generate_options *o = &r->generation.options;
    if (request->from)
        status = krait_state_copy(r->state, request->from, error);
    else
        krait_state_reset(r->state);
    if (!status) status = copy_ids(&r->prompt, "a prompt", request->prompt, request->n_prompt, error);
    if (!status) status = copy_ids(&r->stop_ids, "stop_ids", o->stop_ids, o->n_stop_ids, error);
    o->stop_ids = r->stop_ids;
    r->n_prompt = request->n_prompt;
    r->on_end = request->on_end;
    return status;
}

krait_status krait_batch_add(krait_batch *b, const krait_batch_request *request, krait_error *error)
{
    if (!b) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_add: batch is NULL");
    if (!request) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_add: request is NULL");
    if (!b->n_free)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_add: expected a free row, found all %zu at work", b->n_rows);
    row *r = b->rows;
    while (r->work != ROW_FREE) r++;
    krait_status status = fill(b, r, request, error);
    if (status) {
        clear(r);
        return status;
    }
    r->work = ROW_READING;
    r->number = ++b->number;
    b->n_free--;
    return KRAIT_OK;
}

/* Frees the row, then tells the caller, who may fill it at once. */
static void end(krait_batch *b, row *r, const krait_error *error)
{
    krait_generate_result result = { 0 };
    if (!error) result = kr_generation_result(&r->generation);
    void (*on_end)(void *, const krait_generate_result *, const krait_error *) = r->on_end;
    void *user = r->generation.options.user;
    clear(r);
    b->n_free++;
    if (on_end) on_end(user, &result, error);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* The row that has read for longest of those that were added behind number `behind`; NULL: none. */
static row *next_reading(krait_batch *b, uint64_t behind)
{
    row *next = NULL;
    for (row *r = b->rows; r < b->rows + b->n_rows; r++)
        if (r->work == ROW_READING && r->number > behind && (!next || r->number < next->number)) next = r;
    return next;
}

/* How much of its prompt krait_generate() would run next. Its pieces begin at multiples of the session's chunk; a row that shares
 * steps may stand within one. */
static size_t piece_of(const krait_batch *b, const row *r)
{
    size_t chunk = b->session->memory.max_tokens, piece = chunk - r->done % chunk, left = r->n_prompt - r->done;
    return left < piece ? left : piece;
}

/* Whether a piece cannot share a step. Only a whole one is so long, and it is run whole. */
static bool is_long(const krait_batch *b, const row *r) { return piece_of(b, r) > b->most; }

static krait_sequence reads(const row *r, size_t count)
{
    return (krait_sequence){ .state = r->state,
                             .tokens = r->prompt + r->done,
                             .count = count,
                             .want = r->done + count == r->n_prompt ? KRAIT_WANT_LAST : KRAIT_WANT_NONE };
}

/* What has run is behind the row; with logits it draws. */
static void advance(krait_batch *b, row *r, const krait_sequence *ran, const float *logits)
{
    krait_error error;
    krait_status status = KRAIT_OK;
    bool ended = false;
    if (r->work == ROW_READING) {
        status = kr_generation_read(&r->generation, ran->tokens, ran->count, &error);
        r->done += ran->count;
        if (r->done == r->n_prompt) r->work = ROW_WRITING;
    }
    if (!status && ran->want == KRAIT_WANT_LAST) status = kr_generation_draw(&r->generation, logits, &r->token, &ended, &error);
    if (status || ended) end(b, r, status ? &error : NULL);
}

static krait_status run(krait_batch *b, size_t n, krait_error *error)
{
    krait_status status = krait_run(b->session, b->sequences, n, &(krait_outputs){ .logits = b->logits }, error);
    const float *logits = b->logits;
    for (size_t i = 0; i < n && !status; i++) {
        bool wanted = b->sequences[i].want == KRAIT_WANT_LAST;
        advance(b, b->of[i], &b->sequences[i], logits);
        if (wanted) logits += b->session->model->config.vocab_size;
    }
    return status;
}

krait_status krait_batch_step(krait_batch *b, krait_error *error)
{
    if (!b) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_batch_step: batch is NULL");
    /* One long piece a step: a long prompt does not keep the others waiting for all of it. */
    for (row *r = next_reading(b, 0); r; r = next_reading(b, r->number)) {
        if (!is_long(b, r)) continue;
        b->sequences[0] = reads(r, piece_of(b, r));
        b->of[0] = r;
        krait_status status = run(b, 1, error);
        if (status) return status;
        break;
    }
    size_t n = 0, n_tokens = 0;
    for (row *r = b->rows; r < b->rows + b->n_rows; r++) {
        if (r->work != ROW_WRITING) continue;
        b->sequences[n] = (krait_sequence){ .state = r->state, .tokens = &r->token, .count = 1, .want = KRAIT_WANT_LAST };
        b->of[n++] = r;
        n_tokens++;
    }
    for (row *r = next_reading(b, 0); r; r = next_reading(b, r->number)) {
        size_t piece = piece_of(b, r), room = b->most - n_tokens;
        if (is_long(b, r) || (room == 0 && piece > 0)) continue;
        b->sequences[n] = reads(r, piece < room ? piece : room);
        b->of[n] = r;
        n_tokens += b->sequences[n++].count;
    }
    return n ? run(b, n, error) : KRAIT_OK;
}
