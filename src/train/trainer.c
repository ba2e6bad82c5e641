/* krait_trainer: rows to gradients, gradients to the next parameters. */
#include "train/trainer.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/device.h"

/* ---- life --------------------------------------------------------------------------------------------------------- */

static bool array_bytes(const krait_trainer *t, krait_weight_type compute, size_t *flat, size_t *owned)
{
    size_t rounded = 0;
    return kr_mul(t->count, sizeof(float), flat) && kr_mul(t->A_count, sizeof(float), owned) && kr_add(*owned, *flat, owned)
           && (compute != KRAIT_WEIGHT_BF16 || kr_mul(t->count, sizeof(uint16_t), &rounded)) && kr_add(*owned, rounded, owned);
}

static size_t optimizer_scratch(const krait_trainer *t, const kr_device *device)
{
    size_t most = 0;
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slots[i].count > most) most = t->slots[i].count;
    return device->sum_squares_scratch(most);
}

static krait_status allocate(krait_trainer *t, krait_error *error)
{
    size_t flat, owned;
    krait_model *model = t->model;
    if (!array_bytes(t, t->options.compute, &flat, &owned))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "config: a model of these dimensions is larger than memory can be");
    model->owned = kr_alloc_zero(owned, 1);
    model->bytes = owned;
    t->gradient = kr_alloc_zero(t->count, sizeof *t->gradient);
    t->m = kr_alloc_zero(t->count, sizeof *t->m);
    t->v = kr_alloc_zero(t->count, sizeof *t->v);
    t->scratch = kr_alloc(optimizer_scratch(t, t->device), 1);
    if (!model->owned || !t->gradient || !t->m || !t->v || !t->scratch)
        return kr_fail_memory(error, "a trainer's parameters, gradients and moments", owned + 3 * flat);
    t->values = (float *)(void *)model->owned;
    t->A = t->values + t->count;
    if (t->options.compute == KRAIT_WEIGHT_BF16) t->rounded = (uint16_t *)(void *)(t->A + t->A_count);
    return KRAIT_OK;
}

static krait_status create(krait_trainer *t, const krait_config *config, uint64_t seed, krait_checkpoint *from,
                           const krait_trainer_options *options, krait_error *error)
{
    krait_isa isa = options->isa;
    krait_status status = kr_isa_resolve(&isa, error);
    if (!status) status = kr_model_new(&t->model, config, error);
    if (!status) status = kr_model_new(&t->gradients, config, error);
    if (!status) status = kr_slots_create(t, config, options, error);
    if (status) return status;
    t->options = *options;
    t->options.freeze = NULL;
    t->options.n_freeze = 0;
    t->memory.keep = kr_keep_of(options);
    t->device = kr_cpu_device(isa);
    t->threads = options->threads ? options->threads : kr_threads_available();
    status = allocate(t, error);
    if (!status) status = from ? kr_slots_load(t, from, error) : kr_slots_draw(t, seed, error);
    if (status) return status;
    kr_slots_connect(t);
    kr_slots_derive(t, true);
    return KRAIT_OK;
}

krait_status krait_trainer_create(krait_trainer **result, const krait_config *config, uint64_t seed, krait_checkpoint *from,
                                  const krait_trainer_options *options, krait_error *error)
{
    if (!result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_create: trainer is NULL");
    *result = NULL;
    if (!options) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_create: options is NULL");
    if (!config == !from)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_create: expected either a config or a checkpoint, found %s",
                       config ? "both" : "neither");
    krait_config own;
    krait_status status = kr_trainer_options_check(options, error);
    if (!status) status = from ? krait_checkpoint_config(from, &own, error) : kr_config_check(config, error);
    if (status) return status;
    if (config) own = *config;
    krait_trainer *trainer = kr_alloc_zero(1, sizeof *trainer);
    if (!trainer) return kr_fail_memory(error, "a trainer", sizeof *trainer);
    status = create(trainer, &own, seed, from, options, error);
    if (status)
        krait_trainer_free(trainer);
    else
        *result = trainer;
    return status;
}

static void free_builder(kr_piece_builder *b)
{
    kr_free(b->ids);
    kr_free(b->targets);
    kr_free(b->start);
    kr_free(b->before);
    kr_free(b->after);
    *b = (kr_piece_builder){ 0 };
}

void krait_trainer_free(krait_trainer *t)
{
    if (!t) return;
    krait_model_free(t->model);
    krait_model_free(t->gradients);
    kr_free(t->slots);
    kr_free(t->gradient);
    kr_free(t->m);
    kr_free(t->v);
    kr_free(t->scratch);
    kr_train_memory_free(&t->memory);
    free_builder(&t->builder);
    for (size_t i = 0; i < t->n_before; i++) krait_state_free(t->before[i]);
    kr_free(t->before);
    kr_free(t);
}

/* ---- checking rows ------------------------------------------------------------------------------------------------- */

static krait_status check_row(const krait_trainer *t, const krait_train_row *row, size_t index, krait_error *error)
{
    const long long vocab_size = (long long)t->model->config.vocab_size;
    if (row->count > 0 && (!row->tokens || !row->targets))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: %s is NULL", index, row->tokens ? "targets" : "tokens");
    for (size_t i = 0; i < row->count; i++) {
        if (row->tokens[i] < 0 || row->tokens[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: token %zu: expected an id in 0 .. %lld, found %d", index, i,
                           vocab_size - 1, (int)row->tokens[i]);
        if (row->targets[i] >= vocab_size)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "row %zu: target %zu: expected an id below %lld, or a negative number for none, found %d", index, i,
                           vocab_size, (int)row->targets[i]);
    }
    if (row->n_starts > 0 && !row->starts) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: starts is NULL", index);
    size_t before = 0;
    for (size_t i = 0; i < row->n_starts; i++) {
        if (row->starts[i] <= before || row->starts[i] >= row->count)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: start %zu: expected a position in %zu .. %zu, found %zu", index,
                           i, before + 1, row->count - 1, row->starts[i]);
        before = row->starts[i];
    }
    if (row->state && !kr_state_layout_fits(row->state->layout, t->model->state_layout))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: a state of another model", index);
    return KRAIT_OK;
}

static krait_status check_rows(const krait_trainer *t, const krait_train_row *rows, size_t n_rows, krait_error *error)
{
    krait_status status = KRAIT_OK;
    size_t n = 0;
    for (; n < n_rows && !status; n++) {
        status = check_row(t, &rows[n], n, error);
        if (!status && rows[n].state && rows[n].state->marked)
            status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "row %zu: its state is also that of an earlier row", n);
        if (!status && rows[n].state) rows[n].state->marked = true;
    }
    for (size_t i = 0; i < n; i++)
        if (rows[i].state) rows[i].state->marked = false;
    return status;
}

/* ---- pieces -------------------------------------------------------------------------------------------------------- */

typedef struct building {
    krait_trainer *trainer;
    bool backward;
    double *loss;
} building;

/* The end of the document that begins at `at`; *next counts the starts passed. */
static size_t document_end(const krait_train_row *row, size_t *next)
{
    return *next < row->n_starts ? row->starts[(*next)++] : row->count;
}

static bool give_piece(kr_piece_builder *b, size_t tokens, size_t sequences, bool (*piece)(void *context), void *context)
{
    b->n_tokens = tokens;
    b->n_sequences = sequences;
    return piece(context);
}

/* Pieces that rows fall into: whole rows together, a row that is longer than a piece by its documents. Calls `piece` for each, until
 * that returns false; with b NULL only the largest are counted. */
static bool each_piece(const krait_train_row *rows, size_t n_rows, size_t most, kr_piece_builder *b, krait_state **before,
                       bool (*piece)(void *context), void *context, size_t *max_tokens, size_t *max_sequences)
{
    size_t tokens = 0, sequences = 0;
    *max_tokens = *max_sequences = 0;
    for (size_t r = 0; r < n_rows; r++) {
        const krait_train_row *row = &rows[r];
        const bool whole = row->count <= most;
        size_t next = 0, begin = 0, end;
        if (tokens > 0 && whole && tokens + row->count > most) {
            if (b && !give_piece(b, tokens, sequences, piece, context)) return false;
            tokens = sequences = 0;
        }
        for (; begin < row->count; begin = end) {
            end = document_end(row, &next);
            if (tokens > 0 && !whole && tokens + (end - begin) > most) {
                if (b && !give_piece(b, tokens, sequences, piece, context)) return false;
                tokens = sequences = 0;
            }
            if (b) {
                memcpy(b->ids + tokens, row->tokens + begin, (end - begin) * sizeof *b->ids);
                memcpy(b->targets + tokens, row->targets + begin, (end - begin) * sizeof *b->targets);
                b->before[sequences] = begin == 0 && row->state ? before ? before[r] : row->state : NULL;
                b->after[sequences] = end == row->count ? row->state : NULL;
                b->start[sequences + 1] = tokens + (end - begin);
            }
            tokens += end - begin;
            sequences++;
            if (tokens > *max_tokens) *max_tokens = tokens;
            if (sequences > *max_sequences) *max_sequences = sequences;
        }
    }
    return !b || tokens == 0 || give_piece(b, tokens, sequences, piece, context);
}

static krait_status reserve_builder(kr_piece_builder *b, size_t tokens, size_t sequences, krait_error *error)
{
    if (tokens <= b->max_tokens && sequences <= b->max_sequences) return KRAIT_OK;
    if (tokens < b->max_tokens) tokens = b->max_tokens;
    if (sequences < b->max_sequences) sequences = b->max_sequences;
    free_builder(b);
    b->ids = kr_alloc(tokens, sizeof *b->ids);
    b->targets = kr_alloc(tokens, sizeof *b->targets);
    b->start = kr_alloc_zero(sequences + 1, sizeof *b->start);
    b->before = kr_alloc(sequences, sizeof *b->before);
    b->after = kr_alloc(sequences, sizeof *b->after);
    if (!b->ids || !b->targets || !b->start || !b->before || !b->after) {
        free_builder(b);
        return kr_fail_memory(error, "a batch", tokens * 2 * sizeof *b->ids);
    }
    b->max_tokens = tokens;
    b->max_sequences = sequences;
    return KRAIT_OK;
}

/* Copies of the states that rows begin with: a thousand of a large model take seconds. */
static krait_status keep_before(krait_trainer *t, const krait_train_row *rows, size_t n_rows, krait_error *error)
{
    size_t needed = 0;
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].state) needed = i + 1;
    if (needed > t->n_before) {
        krait_state **more = kr_realloc(t->before, needed, sizeof *more);
        if (!more) return kr_fail_memory(error, "a list of states", needed * sizeof *more);
        memset(more + t->n_before, 0, (needed - t->n_before) * sizeof *more);
        t->before = more;
        t->n_before = needed;
    }
    const krait_progress *progress = &t->options.progress;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < needed && !status; i++) {
        if (!rows[i].state) continue;
        if (progress->report && !progress->report(progress->user, "states", i, needed))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted before the first layer");
        if (!t->before[i]) status = krait_state_create(&t->before[i], t->model, error);
        if (!status) status = krait_state_copy(t->before[i], rows[i].state, error);
    }
    return status;
}

static bool run_piece(void *context)
{
    const building *b = context;
    krait_trainer *t = b->trainer;
    kr_train_piece piece = { .n_tokens = t->builder.n_tokens,
                             .ids = t->builder.ids,
                             .targets = t->builder.targets,
                             .rows = { t->builder.n_sequences, t->builder.start },
                             .before = t->builder.before,
                             .progress = &t->options.progress,
                             .after = t->builder.after };
    return kr_model_train(t->model, b->backward ? t->gradients : NULL, t->device, t->threads, &t->memory, &piece, b->loss);
}

/* The number of targets is that of all rows, *loss their sum; both untouched on failure. */
static krait_status run_rows(krait_trainer *t, const krait_train_row *rows, size_t n_rows, bool backward, double *loss,
                             uint64_t *n_targets, krait_error *error)
{
    const size_t most = kr_piece_tokens(&t->options);
    const bool keep = backward || t->options.progress.report;
    size_t tokens, sequences;
    uint64_t targets = 0;
    double sum = *loss;
    krait_status status = check_rows(t, rows, n_rows, error);
    if (status) return status;
    each_piece(rows, n_rows, most, NULL, NULL, NULL, NULL, &tokens, &sequences);
    if (tokens == 0) return KRAIT_OK;
    status = reserve_builder(&t->builder, tokens, sequences, error);
    if (!status)
        status =
            kr_train_memory_reserve(&t->memory, &t->model->config, t->device, t->threads, tokens, backward, sequences, error);
    if (!status && keep) status = keep_before(t, rows, n_rows, error);
    if (status) return status;
    for (size_t r = 0; r < n_rows; r++) {
        if (rows[r].state && rows[r].n_starts > 0) rows[r].state->tokens = 0; /* what it counts began with the last document */
        for (size_t i = 0; i < rows[r].count; i++) targets += rows[r].targets[i] >= 0;
    }
    building b = { t, backward, &sum };
    if (!each_piece(rows, n_rows, most, &t->builder, backward ? t->before : NULL, run_piece, &b, &tokens, &sequences)) {
        for (size_t r = 0; r < n_rows; r++)
            if (rows[r].state) krait_state_copy(rows[r].state, t->before[r], NULL);
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted between two layers");
    }
    *loss = sum;
    *n_targets += targets;
    return KRAIT_OK;
}

krait_status krait_trainer_accumulate(krait_trainer *t, const krait_train_row *rows, size_t n_rows, krait_error *error)
{
    if (!t || (!rows && n_rows))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_accumulate: %s is NULL", t ? "rows" : "trainer");
    krait_status status = run_rows(t, rows, n_rows, true, &t->loss, &t->n_targets, error);
    if (status == KRAIT_ERROR_INTERRUPTED) krait_trainer_discard(t);
    return status;
}

krait_status krait_trainer_evaluate(krait_trainer *t, const krait_train_row *rows, size_t n_rows, double *loss,
                                    uint64_t *n_targets, krait_error *error)
{
    if (!t || (!rows && n_rows) || !loss || !n_targets)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_evaluate: %s is NULL",
                       !t           ? "trainer"
                       : !loss      ? "loss"
                       : !n_targets ? "n_targets"
                                    : "rows");
    return run_rows(t, rows, n_rows, false, loss, n_targets, error);
}

/* ---- update --------------------------------------------------------------------------------------------------------- */

static void clear_share(void *context, int thread, int n_threads)
{
    krait_trainer *t = context;
    size_t begin, end;
    kr_share(t->count, 1024, thread, n_threads, &begin, &end);
    memset(t->gradient + begin, 0, (end - begin) * sizeof *t->gradient);
}

void krait_trainer_discard(krait_trainer *t)
{
    if (!t) return;
    kr_parallel(t->threads, clear_share, t);
    t->loss = 0;
    t->n_targets = 0;
}

static kr_exec exec_of(const krait_trainer *t)
{
    return (kr_exec){ .device = t->device, .threads = t->threads, .scratch = t->scratch, .scratch_size = SIZE_MAX };
}

/* What has gathered for A becomes that of A_log: dA/dA_log = A. */
static void finish_gradients(krait_trainer *t)
{
    for (size_t s = 0; s < t->n_slots; s++) {
        const kr_slot *slot = &t->slots[s];
        if (slot->parameter->form != KR_MINUS_EXP_TRANSPOSED || slot->frozen) continue;
        for (size_t i = 0; i < slot->count; i++) t->gradient[slot->offset + i] *= t->A[slot->A_offset + i];
    }
}

static double squares_of(const krait_trainer *t, const float *array, const kr_slot *slot)
{
    double sum = 0;
    kr_exec exec = exec_of(t);
    kr_sum_squares_run(&exec, &(kr_sum_squares){ array + slot->offset, slot->count, &sum });
    return sum;
}

static const char *first_nonfinite(const krait_trainer *t)
{
    for (size_t i = 0; i < t->n_slots; i++)
        if (!isfinite(squares_of(t, t->values, &t->slots[i]))) return t->slots[i].name;
    for (size_t i = t->n_slots; i-- > 0;)
        if (!isfinite(squares_of(t, t->gradient, &t->slots[i]))) return t->slots[i].name;
    return NULL;
}

krait_status krait_trainer_update(krait_trainer *t, krait_train_step *result, krait_error *error)
{
    if (!t || !result) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_update: %s is NULL", t ? "result" : "trainer");
    *result = (krait_train_step){ .step = t->steps };
    if (t->n_targets == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_update: no target has been gathered since the last update");
    const double scale = 1 / (double)t->n_targets;
    double squares = 0;
    finish_gradients(t);
    for (size_t i = 0; i < t->n_slots; i++)
        if (!t->slots[i].frozen) squares += squares_of(t, t->gradient, &t->slots[i]);
    result->loss = t->loss * scale;
    result->n_targets = t->n_targets;
    result->grad_norm = sqrt(squares) * scale;
    result->learning_rate = krait_trainer_rate(&t->options, t->steps);
    result->finite = isfinite(result->loss) && isfinite(result->grad_norm);
    if (!result->finite) {
        result->nonfinite = first_nonfinite(t);
        krait_trainer_discard(t);
        return KRAIT_OK;
    }
    const double clip = (double)t->options.clip_norm / (result->grad_norm + 1e-6); /* as torch.nn.utils.clip_grad_norm_ */
    const double factor = t->options.clip_norm > 0 && clip < 1 ? scale * clip : scale;
    t->steps++;
    kr_exec exec = exec_of(t);
    for (size_t i = 0; i < t->n_slots; i++) {
        const kr_slot *slot = &t->slots[i];
        if (slot->frozen) continue;
        const bool decays = slot->parameter->flags & KR_DECAYS, rounded = t->rounded && slot->parameter->flags & KR_MATRIX;
        kr_adamw_run(&exec, &(kr_adamw){ .count = slot->count,
                                         .value = t->values + slot->offset,
                                         .m = t->m + slot->offset,
                                         .v = t->v + slot->offset,
                                         .gradient = t->gradient + slot->offset,
                                         .rounded = rounded ? t->rounded + slot->offset : NULL,
                                         .scale = (float)factor,
                                         .rate = (float)result->learning_rate,
                                         .beta1 = t->options.beta1,
                                         .beta2 = t->options.beta2,
                                         .epsilon = t->options.epsilon,
                                         .decay = decays ? t->options.weight_decay : 0,
                                         .step = t->steps });
    }
    kr_slots_derive(t, false);
    krait_trainer_discard(t);
    result->step = t->steps;
    return KRAIT_OK;
}

/* ---- questions ------------------------------------------------------------------------------------------------------ */

uint64_t krait_trainer_steps(const krait_trainer *trainer) { return trainer ? trainer->steps : 0; }
int krait_trainer_threads(const krait_trainer *trainer) { return trainer ? trainer->threads : 0; }
krait_isa krait_trainer_isa(const krait_trainer *trainer) { return trainer ? trainer->device->isa : KRAIT_ISA_AUTO; }
const krait_model *krait_trainer_model(const krait_trainer *trainer) { return trainer ? trainer->model : NULL; }

static krait_status find(const krait_trainer *t, const char *name, const float *out, size_t count, const char *call,
                         const kr_slot **slot, krait_error *error)
{
    if (!t || !name || !out)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s is NULL", call, !t ? "trainer" : !name ? "name" : "out");
    *slot = kr_slot_find(t, name);
    if (!*slot) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %.200s: expected the name of a parameter", call, name);
    if (count != (*slot)->count)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s: expected room for %zu numbers, found %zu", call, name,
                       (*slot)->count, count);
    return KRAIT_OK;
}

size_t krait_trainer_n_parameters(const krait_trainer *trainer) { return trainer ? trainer->n_slots : 0; }

krait_status krait_trainer_parameter_info(const krait_trainer *trainer, size_t index, krait_tensor_info *info)
{
    if (!info) return KRAIT_ERROR_ARGUMENT;
    *info = (krait_tensor_info){ 0 };
    if (!trainer || index >= trainer->n_slots) return KRAIT_ERROR_ARGUMENT;
    const kr_slot *slot = &trainer->slots[index];
    const kr_tensor tensor = kr_slot_tensor(slot, &trainer->model->config);
    *info = (krait_tensor_info){
        .name = slot->name, .dtype = tensor.dtype, .n_dims = tensor.n_dims, .bytes = slot->count * sizeof(float)
    };
    for (int i = 0; i < tensor.n_dims; i++) info->shape[i] = (uint64_t)tensor.shape[i];
    return KRAIT_OK;
}

krait_status krait_trainer_gradient(const krait_trainer *t, const char *name, float *out, size_t count, krait_error *error)
{
    const kr_slot *slot = NULL;
    krait_status status = find(t, name, out, count, "krait_trainer_gradient", &slot, error);
    if (status) return status;
    float *held = kr_alloc(count, sizeof *held);
    if (!held) return kr_fail_memory(error, "a gradient", count * sizeof *held);
    const float scale = t->n_targets ? (float)(1 / (double)t->n_targets) : 0;
    for (size_t i = 0; i < count; i++) {
        held[i] = t->gradient[slot->offset + i] * scale;
        if (slot->parameter->form == KR_MINUS_EXP_TRANSPOSED) held[i] *= t->A[slot->A_offset + i];
    }
    kr_slot_to_stored(out, slot, held);
    kr_free(held);
    return KRAIT_OK;
}

krait_status krait_trainer_parameter(const krait_trainer *t, const char *name, float *out, size_t count, krait_error *error)
{
    const kr_slot *slot = NULL;
    krait_status status = find(t, name, out, count, "krait_trainer_parameter", &slot, error);
    if (!status) kr_slot_to_stored(out, slot, t->values + slot->offset);
    return status;
}

krait_status krait_trainer_plan(const krait_config *config, const krait_trainer_options *options, size_t rows, size_t window,
                                krait_trainer_memory *memory, krait_error *error)
{
    return kr_trainer_plan(config, options, rows, window, 0, memory, error);
}

krait_status kr_trainer_plan(const krait_config *config, const krait_trainer_options *options, size_t rows, size_t window,
                             size_t evaluated, krait_trainer_memory *memory, krait_error *error)
{
    if (!config || !options || !memory)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_plan: %s is NULL",
                       !config    ? "config"
                       : !options ? "options"
                                  : "memory");
    *memory = (krait_trainer_memory){ 0 };
    if (rows == 0 || window == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_plan: expected at least one row of at least one token");
    krait_trainer t = { 0 };
    krait_isa isa = options->isa;
    krait_status status = kr_trainer_options_check(options, error);
    if (!status) status = kr_config_check(config, error);
    if (!status) status = kr_isa_resolve(&isa, error);
    if (!status) status = kr_slots_create(&t, config, options, error);
    const size_t most = kr_piece_tokens(options), together = window >= most ? 1 : most / window < rows ? most / window : rows;
    const int threads = options->threads ? options->threads : kr_threads_available();
    size_t flat = 0, owned = 0, tokens;
    t.memory.keep = kr_keep_of(options);
    if (!status
        && (!array_bytes(&t, options->compute, &flat, &owned) || !kr_mul(together, window, &tokens)
            || !kr_train_memory_plan(&t.memory, config, kr_cpu_device(isa), threads, tokens > evaluated ? tokens : evaluated,
                                     tokens, together)))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_plan: these sizes are larger than memory can be");
    if (!status)
        *memory = (krait_trainer_memory){ .parameters = owned,
                                          .gradients = flat,
                                          .moments = 2 * (uint64_t)flat,
                                          .activations = t.memory.saved_bytes,
                                          .scratch = t.memory.other_bytes };
    kr_free(t.slots);
    return status;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

krait_status krait_trainer_measure_products(krait_trainer *t, size_t n_tokens, double *seconds, krait_error *error)
{
    if (!t || !seconds)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_measure_products: %s is NULL", t ? "seconds" : "trainer");
    *seconds = 0;
    if (n_tokens == 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_trainer_measure_products: expected at least one token");
    const size_t most = kr_piece_tokens(&t->options), piece = n_tokens < most ? n_tokens : most;
    krait_status status = kr_train_memory_reserve(&t->memory, &t->model->config, t->device, t->threads, piece, true, 1, error);
    if (status) return status;
    const double start = now();
    for (size_t at = 0; at < n_tokens; at += piece)
        kr_model_train_products(t->model, t->gradients, t->device, t->threads, &t->memory,
                                n_tokens - at < piece ? n_tokens - at : piece);
    *seconds = now() - start;
    return KRAIT_OK;
}
