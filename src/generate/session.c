/* krait_run(): cuts a ragged batch of any size into steps that fit the session's memory. */
#include "generate/session.h"

#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"

enum { DEFAULT_CHUNK = 512, LARGEST_CHUNK = 1 << 20, MOST_THREADS = 1024 };
enum { LONG_STEP = 32 }; /* tokens from which on a step asks between layers: the time of a shorter one is short */

krait_status krait_session_create(krait_session **result, const krait_model *model, const krait_session_options *options,
                                  krait_error *error)
{
    static const krait_session_options defaults;
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_session_create: session is NULL");
    *result = NULL;
    if (!model) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_session_create: model is NULL");
    if (!options) options = &defaults;
    if (options->threads < 0 || options->threads > MOST_THREADS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "session: threads: expected 0 .. %d, found %d", MOST_THREADS,
                       options->threads);
    if (options->chunk_tokens > LARGEST_CHUNK)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "session: chunk_tokens: expected at most %d, found %zu", LARGEST_CHUNK,
                       options->chunk_tokens);
    krait_isa isa = options->isa;
    krait_status status = kr_isa_resolve(&isa, error);
    if (status) return status;
    krait_session *session = kr_alloc_zero(1, sizeof *session);
    if (!session) return kr_fail_memory(error, "a session", sizeof *session);
    session->model = kr_model_retain(model);
    session->device = kr_cpu_device(isa);
    session->threads = options->threads ? options->threads : kr_threads_available();
    session->progress = options->progress;
    size_t n = options->chunk_tokens ? options->chunk_tokens : DEFAULT_CHUNK;
    status = kr_step_memory_create(&session->memory, model, session->device, session->threads, n, error);
    if (!status) {
        session->ids = kr_alloc(n, sizeof *session->ids);
        session->starts = kr_alloc(n + 1, sizeof *session->starts);
        session->states = kr_alloc(n, sizeof *session->states);
        session->outputs = kr_alloc(n, sizeof *session->outputs);
        if (!session->ids || !session->starts || !session->states || !session->outputs)
            status = kr_fail_memory(error, "a session", n * sizeof *session->outputs);
    }
    if (status)
        krait_session_free(session);
    else
        *result = session;
    return status;
}

void krait_session_free(krait_session *session)
{
    if (!session) return;
    kr_step_memory_free(&session->memory);
    kr_free(session->ids);
    kr_free(session->starts);
    kr_free(session->states);
    kr_free(session->outputs);
    krait_model_free(session->model);
    kr_free(session);
}

const krait_model *krait_session_model(const krait_session *session) { return session ? session->model : NULL; }
krait_isa krait_session_isa(const krait_session *session) { return session ? session->device->isa : KRAIT_ISA_AUTO; }
int krait_session_threads(const krait_session *session) { return session ? session->threads : 0; }

uint64_t krait_session_bytes(const krait_session *session)
{
    if (!session) return 0;
    size_t row = sizeof *session->ids + sizeof *session->starts + sizeof *session->states + sizeof *session->outputs;
    return sizeof *session + session->memory.bytes + session->memory.max_tokens * row;
}

static size_t wanted_rows(const krait_sequence *sequence)
{
    switch (sequence->want) {
    case KRAIT_WANT_NONE: return 0;
    case KRAIT_WANT_LAST: return 1;
    case KRAIT_WANT_ALL: return sequence->count;
    case KRAIT_WANT_LISTED: return sequence->n_rows;
    }
    return 0;
}

size_t krait_outputs_rows(const krait_sequence *sequences, size_t n_sequences)
{
    size_t n = 0;
    for (size_t i = 0; sequences && i < n_sequences; i++) n += wanted_rows(&sequences[i]);
    return n;
}

/* ---- checking a batch: all of it, before anything changes -------------------------------------------------------- */

static krait_status check_sequence(const krait_session *session, const krait_sequence *sequence, size_t index, krait_error *error)
{
    int64_t vocab_size = session->model->config.vocab_size;
    if (!sequence->state) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: state is NULL", index);
    if (!kr_state_layout_fits(sequence->state->layout, session->model->state_layout)) {
        char expected[KR_FINGERPRINT], found[KR_FINGERPRINT];
        kr_config_fingerprint(&session->model->config, expected);
        kr_config_fingerprint(&sequence->state->layout->config, found);
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: a state of another model: expected %s, found %s", index,
                       expected, found);
    }
    if (sequence->count > 0 && !sequence->tokens)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: tokens is NULL", index);
    for (size_t i = 0; i < sequence->count; i++)
        if (sequence->tokens[i] < 0 || sequence->tokens[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: token %zu: expected an id in 0 .. %lld, found %d", index,
                           i, (long long)vocab_size - 1, (int)sequence->tokens[i]);
    switch (sequence->want) {
    case KRAIT_WANT_NONE:
    case KRAIT_WANT_ALL: return KRAIT_OK;
    case KRAIT_WANT_LAST:
        if (sequence->count == 0 && sequence->state->tokens == 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "sequence %zu: outputs of the last token are wanted, but there is none: no tokens, and a state that "
                           "has seen none",
                           index);
        return KRAIT_OK;
    case KRAIT_WANT_LISTED:
        if (sequence->n_rows > 0 && !sequence->rows)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: rows is NULL", index);
        for (size_t i = 0; i < sequence->n_rows; i++) {
            if (sequence->rows[i] >= sequence->count)
                return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: rows[%zu]: expected a position below %zu, found %zu",
                               index, i, sequence->count, sequence->rows[i]);
            if (i > 0 && sequence->rows[i] <= sequence->rows[i - 1])
                return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: rows[%zu]: expected more than %zu, found %zu", index,
                               i, sequence->rows[i - 1], sequence->rows[i]);
        }
        return KRAIT_OK;
    }
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: want: %d is none of krait_want", index, (int)sequence->want);
}

static krait_status check_outputs(const krait_session *session, const krait_outputs *outputs, krait_error *error)
{
    int64_t n_layer = session->model->config.n_layer;
    if (!outputs || outputs->n_layers == 0) return KRAIT_OK;
    if (!outputs->hidden || !outputs->layers)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "outputs: n_layers is %zu, but %s is NULL", outputs->n_layers,
                       outputs->hidden ? "layers" : "hidden");
    for (size_t i = 0; i < outputs->n_layers; i++)
        if (outputs->layers[i] < 0 || outputs->layers[i] > n_layer)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "outputs: layers[%zu]: expected 0 .. %lld, found %lld", i,
                           (long long)n_layer, (long long)outputs->layers[i]);
    return KRAIT_OK;
}

static krait_status check_batch(const krait_session *session, const krait_sequence *sequences, size_t n_sequences,
                                const krait_outputs *outputs, krait_error *error)
{
    if (n_sequences > 0 && !sequences) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_run: sequences is NULL");
    krait_status status = check_outputs(session, outputs, error);
    size_t i = 0;
    for (; i < n_sequences && !status; i++) {
        status = check_sequence(session, &sequences[i], i, error);
        if (status) break;
        if (sequences[i].state->marked)
            status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "sequence %zu: its state is also that of an earlier sequence", i);
        else
            sequences[i].state->marked = true;
        if (status) break;
    }
    while (i-- > 0) sequences[i].state->marked = false;
    return status;
}

/* ---- cutting it into steps --------------------------------------------------------------------------------------- */

/* Where in the batch the next step begins. */
typedef struct cursor {
    size_t sequence, token; /* token of that sequence */
    size_t listed;          /* of its rows, those before `token` */
    size_t row;             /* of all wanted rows */
} cursor;

/* Adds one sequence's next tokens (as many as fit) to the step. Returns false when the step is full before the sequence ends. */
static bool add_sequence(const krait_session *session, kr_step *step, const krait_sequence *sequence, cursor *at)
{
    size_t room = session->memory.max_tokens - step->n_tokens;
    if (sequence->count == 0) {
        if (sequence->want != KRAIT_WANT_LAST) return true;
        if (step->n_outputs == session->memory.max_tokens) return false;
        session->outputs[step->n_outputs++] = (kr_output_row){ .state = sequence->state };
        return true;
    }
    size_t left = sequence->count - at->token, n = left < room ? left : room, first = step->n_tokens, end = at->token + n;
    if (n == 0) return false;
    /* Every token may want a row, and rows of states may have come before. */
    if (step->n_outputs + n > session->memory.max_tokens) return false;
    memcpy(session->ids + first, sequence->tokens + at->token, n * sizeof *session->ids);
    session->states[step->rows.n_sequences++] = sequence->state;
    session->starts[step->rows.n_sequences] = first + n;
    step->n_tokens += n;
    for (size_t t = at->token; t < end; t++) {
        bool wanted = sequence->want == KRAIT_WANT_ALL || (sequence->want == KRAIT_WANT_LAST && t + 1 == sequence->count);
        if (sequence->want == KRAIT_WANT_LISTED && at->listed < sequence->n_rows && sequence->rows[at->listed] == t) {
            wanted = true;
            at->listed++;
        }
        if (wanted) session->outputs[step->n_outputs++] = (kr_output_row){ .token = first + t - at->token };
    }
    at->token = end;
    return end == sequence->count;
}

krait_status krait_run(krait_session *session, const krait_sequence *sequences, size_t n_sequences, const krait_outputs *outputs,
                       krait_error *error)
{
    if (!session) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_run: session is NULL");
    krait_status status = check_batch(session, sequences, n_sequences, outputs, error);
    if (status) return status;
    size_t n_rows = krait_outputs_rows(sequences, n_sequences);
    float *logits = outputs ? outputs->logits : NULL;
    for (cursor at = { 0 }; at.sequence < n_sequences;) {
        kr_step step = { .ids = session->ids, .states = session->states, .outputs = session->outputs };
        step.rows.start = session->starts;
        session->starts[0] = 0;
        while (at.sequence < n_sequences && add_sequence(session, &step, &sequences[at.sequence], &at))
            at = (cursor){ .sequence = at.sequence + 1, .row = at.row };
        if (logits) step.logits = logits + at.row * (size_t)session->model->config.vocab_size;
        step.hidden = outputs && outputs->n_layers > 0 ? outputs : NULL;
        step.hidden_row = at.row;
        step.n_hidden_rows = n_rows;
        if (session->progress.report && step.n_tokens >= LONG_STEP) step.progress = &session->progress;
        if (!kr_model_step(session->model, session->device, session->threads, &session->memory, &step))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted between two layers");
        at.row += step.n_outputs;
    }
    return KRAIT_OK;
}
