#include "model/tune.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "cpu/device.h"
#include "model/calibrate.h"
#include "model/training.h"
#include "tensor/packed.h"

/* Windows of so many tokens, each from an empty state, so many to a step. */
enum { WINDOW = 512, BATCH = 4 };

/* Of Adam: docs/QUANTIZATION.md has what else was tried. A step moves a scale by the share RATE of itself, another parameter by that of its
 * tensor's root mean square, at most; gradients are far below 1e-8. */
#define RATE      1e-3
#define LAST_RATE 0.02 /* of it */
#define WARM_UP   20   /* steps */
#define BETA1     0.9f
#define BETA2     0.99f
#define EPSILON   1e-12f

enum { LINE = KR_ALIGNMENT / sizeof(float) };

static size_t padded(size_t floats) { return (floats + LINE - 1) / LINE * LINE; }

typedef struct slot {
    const kr_parameter *parameter;
    size_t layer, count, rows, columns;
    krait_weight_type type;
    bool is_held;     /* `values` has it: it differs from the float32 model's, or will */
    size_t held;      /* where, and its gradient */
    size_t free;      /* of what is tuned: one for each scale, or each value; 0: nothing of it is */
    size_t first;     /* where */
    float scale;      /* of values: a step of 1 in what is tuned */
    const float *was; /* values of the float32 model */
    kr_numbers chosen;
} slot;

struct kr_tuning {
    krait_config config;
    const krait_save_options *options;
    const kr_device *device;
    int threads;
    slot *slots;
    size_t n_slots, n_values, n_free;
    krait_model *teacher, *student, *gradients; /* of the latter two the fields alone are used */
    float *values, *gradient;                   /* [n_values] */
    float *moved, *slope, *m, *v;               /* [n_free]: what is tuned, from 0 on; its gradient and moments */
    float *stored;                              /* [n_free] values as files store them, at the end */
    kr_train_memory memory;
    float *hidden, *teacher_logits;
    size_t window, n_windows, *order;
    kr_calibration *calibration; /* while numbers are chosen */
};

/* ---- what there is ----------------------------------------------------------------------------------------------- */

static krait_status count_slot(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)place, (void)error;
    ++*(size_t *)context;
    return KRAIT_OK;
}

typedef struct listing {
    kr_tuning *tuning;
    kr_tuning_type *type;
    void *saving;
    size_t at, n_grouped;
} listing;

static krait_status list_slot(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    listing *l = context;
    kr_tuning *t = l->tuning;
    const kr_parameter *parameter = place->parameter;
    slot *s = &t->slots[l->at++];
    *s = (slot){ .parameter = parameter, .layer = place->layer, .type = l->type(l->saving, place), .held = t->n_values };
    s->count = kr_parameter_count(parameter, &t->config);
    s->rows = kr_dim_size(parameter->shape[0], &t->config);
    s->columns = s->count / s->rows;
    s->first = t->n_free;
    const bool grouped = kr_is_grouped(s->type), matrix = parameter->flags & KR_MATRIX;
    if (grouped)
        s->free = s->rows * kr_runs_of(s->columns);
    else if (!matrix && parameter->form != KR_MINUS_EXP_TRANSPOSED)
        s->free = s->count;
    s->is_held = s->free || s->type == KRAIT_WEIGHT_F16 || s->type == KRAIT_WEIGHT_BF16;
    l->n_grouped += grouped;
    t->n_free += padded(s->free);
    if (s->is_held) t->n_values += padded(s->count);
    return KRAIT_OK;
}

typedef struct connection {
    kr_tuning *tuning;
    krait_model *model;
    size_t at;
} connection;

/* Fields of the student and of the gradients; what is not held is the teacher's, and has no gradient. */
static krait_status connect_field(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    connection *c = context;
    const kr_tuning *t = c->tuning;
    const slot *s = &t->slots[c->at++];
    const bool gradient = c->model == t->gradients;
    const float *data = gradient ? NULL : s->was;
    if (s->is_held) data = gradient ? s->free ? t->gradient + s->held : NULL : t->values + s->held;
    if (place->parameter->flags & KR_MATRIX)
        *(kr_matrix *)place->field =
            (kr_matrix){ .data = data, .rows = s->rows, .columns = s->columns, .type = KRAIT_WEIGHT_F32 };
    else
        *(const float **)place->field = data;
    return KRAIT_OK;
}

static krait_status find_teacher(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    connection *c = context;
    c->tuning->slots[c->at++].was = place->parameter->flags & KR_MATRIX ? (const float *)((const kr_matrix *)place->field)->data
                                                                        : *(const float *const *)place->field;
    return KRAIT_OK;
}

static void connect(kr_tuning *t)
{
    krait_model *const models[] = { t->student, t->gradients };
    kr_each_parameter(&t->config, t->teacher, find_teacher, &(connection){ t, t->teacher, 0 }, NULL);
    for (int i = 0; i < 2; i++) {
        kr_each_parameter(&t->config, models[i], connect_field, &(connection){ t, models[i], 0 }, NULL);
        if (t->config.tied_head) models[i]->head = models[i]->embedding;
    }
}

/* ---- the numbers ------------------------------------------------------------------------------------------------- */

typedef struct choosing {
    kr_tuning *tuning;
    slot *slot;
    bool calibrated;
} choosing;

static void choose_alone(const slot *s, size_t row)
{
    const size_t runs = kr_runs_of(s->columns);
    for (size_t run = 0; run < runs; run++) {
        const size_t first = run * KR_RUN, n = s->columns - first < KR_RUN ? s->columns - first : KR_RUN;
        const float *values = s->was + row * s->columns + first;
        const uint16_t scale = kr_choose_scale(s->type, values, NULL, n);
        float inverse = 1 / kr_f16_to_float(scale);
        if (!isfinite(inverse)) inverse = 0;
        s->chosen.scales[row * runs + run] = scale;
        for (size_t i = 0; i < n; i++)
            s->chosen.numbers[row * s->columns + first + i] = (int8_t)kr_nearest_number(s->type, values[i], inverse);
    }
}

static void choose_share(void *context, int thread, int n_threads)
{
    const choosing *c = context;
    const slot *s = c->slot;
    const size_t runs = kr_runs_of(s->columns);
    size_t begin, end;
    kr_share(s->rows, KR_CHOICE_ROWS, thread, n_threads, &begin, &end);
    for (size_t row = begin, n; row < end; row += n) {
        n = end - row < KR_CHOICE_ROWS ? end - row : KR_CHOICE_ROWS;
        if (!c->calibrated) {
            for (size_t r = row; r < row + n; r++) choose_alone(s, r);
            continue;
        }
        const kr_numbers numbers =
            kr_calibration_choose(c->tuning->calibration, thread, s->type, row, n, s->was + row * s->columns);
        memcpy(s->chosen.numbers + row * s->columns, numbers.numbers, n * s->columns);
        memcpy(s->chosen.scales + row * runs, numbers.scales, n * runs * sizeof *numbers.scales);
    }
}

static krait_status choose(kr_tuning *t, slot *s, krait_error *error)
{
    choosing c = { t, s, false };
    s->chosen.numbers = kr_alloc(s->count, sizeof *s->chosen.numbers);
    s->chosen.scales = kr_alloc(s->rows * kr_runs_of(s->columns), sizeof *s->chosen.scales);
    if (!s->chosen.numbers || !s->chosen.scales) return kr_fail_memory(error, "a matrix", s->count);
    krait_status status = kr_calibration_begin(
        t->calibration, &(kr_parameter_place){ .parameter = s->parameter, .layer = s->layer }, &c.calibrated, error);
    if (status) return status;
    kr_parallel(t->threads, choose_share, &c);
    return kr_calibration_report(t->calibration, error);
}

/* Calibration, after which its memory is free for the rest. */
static krait_status choose_all(kr_tuning *t, krait_checkpoint *checkpoint, size_t n_grouped, krait_error *error)
{
    krait_status status =
        kr_calibration_create(&t->calibration, checkpoint, &t->config, t->options, t->threads, n_grouped, error);
    for (size_t i = 0; i < t->n_slots && !status; i++)
        if (kr_is_grouped(t->slots[i].type)) status = choose(t, &t->slots[i], error);
    kr_calibration_free(t->calibration);
    t->calibration = NULL;
    return status;
}

/* ---- the model that they make ------------------------------------------------------------------------------------ */

/* A scale as it is now. */
static uint16_t scale_now(const kr_tuning *t, const slot *s, size_t i)
{
    const uint16_t scale = kr_float_to_f16(kr_f16_to_float(s->chosen.scales[i]) * (1 + t->moved[s->first + i]));
    return isfinite(kr_f16_to_float(scale)) ? scale : s->chosen.scales[i];
}

static void build_share(void *context, int thread, int n_threads)
{
    const kr_tuning *t = context;
    for (size_t i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        const size_t runs = kr_runs_of(s->columns);
        size_t begin, end;
        if (!s->free) continue;
        kr_share(s->rows, 1, thread, n_threads, &begin, &end);
        if (!kr_is_grouped(s->type)) {
            for (size_t j = begin * s->columns; j < end * s->columns; j++)
                t->values[s->held + j] = s->was[j] + s->scale * t->moved[s->first + j];
            continue;
        }
        for (size_t row = begin; row < end; row++)
            for (size_t run = 0; run < runs; run++) {
                const float scale = kr_f16_to_float(scale_now(t, s, row * runs + run));
                const size_t first = row * s->columns + run * KR_RUN, last = (row + 1) * s->columns;
                for (size_t j = first; j < last && j < first + KR_RUN; j++)
                    t->values[s->held + j] = scale * (float)s->chosen.numbers[j];
            }
    }
}

/* The gradient of what is tuned, of that of the values. */
static void slope_share(void *context, int thread, int n_threads)
{
    const kr_tuning *t = context;
    for (size_t i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        const size_t runs = kr_runs_of(s->columns);
        const float *gradient = t->gradient + s->held;
        size_t begin, end;
        if (!s->free) continue;
        kr_share(s->rows, 1, thread, n_threads, &begin, &end);
        if (!kr_is_grouped(s->type)) {
            for (size_t j = begin * s->columns; j < end * s->columns; j++) t->slope[s->first + j] = s->scale * gradient[j];
            continue;
        }
        for (size_t row = begin; row < end; row++)
            for (size_t run = 0; run < runs; run++) {
                const size_t first = row * s->columns + run * KR_RUN, last = (row + 1) * s->columns;
                float sum = 0;
                for (size_t j = first; j < last && j < first + KR_RUN; j++) sum += gradient[j] * (float)s->chosen.numbers[j];
                t->slope[s->first + row * runs + run] = kr_f16_to_float(s->chosen.scales[row * runs + run]) * sum;
            }
    }
}

/* Matrices that are only rounded, and how far a step goes for values. */
static void begin_values(kr_tuning *t)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        float *values = t->values + s->held;
        double squares = 0;
        if (s->type == KRAIT_WEIGHT_F16)
            for (size_t j = 0; j < s->count; j++) values[j] = kr_f16_to_float(kr_float_to_f16(s->was[j]));
        if (s->type == KRAIT_WEIGHT_BF16)
            for (size_t j = 0; j < s->count; j++) values[j] = kr_bf16_to_float(kr_float_to_bf16(s->was[j]));
        for (size_t j = 0; j < s->count && s->free && !kr_is_grouped(s->type); j++)
            squares += (double)s->was[j] * (double)s->was[j];
        s->scale = (float)sqrt(squares / (double)s->count);
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static krait_status allocate(kr_tuning *t, krait_error *error)
{
    t->values = kr_alloc(t->n_values, sizeof *t->values);
    t->gradient = kr_alloc(t->n_values, sizeof *t->gradient);
    float **const arrays[] = { &t->moved, &t->slope, &t->m, &t->v };
    bool all = t->values && t->gradient;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) /* zeros between the slots as well */
        all = (*arrays[i] = kr_alloc_zero(t->n_free, sizeof **arrays)) && all;
    t->window = t->options->n_calibration < WINDOW ? t->options->n_calibration : WINDOW;
    t->n_windows = t->options->n_calibration / t->window;
    t->order = kr_alloc(t->n_windows, sizeof *t->order);
    t->hidden = kr_alloc(t->window * (size_t)t->config.d_model, sizeof *t->hidden);
    if (!all || !t->order || !t->hidden) return kr_fail_memory(error, "tuning", 2 * t->n_values * sizeof *t->values);
    t->memory.keep = KR_KEEP_PROJECTED;
    krait_status status = kr_train_memory_reserve(&t->memory, &t->config, t->device, t->threads, t->window, true, 1, error);
    if (status) return status;
    const size_t logits = t->memory.head_rows * (size_t)t->config.vocab_size;
    t->teacher_logits = kr_alloc(logits, sizeof *t->teacher_logits);
    return t->teacher_logits ? KRAIT_OK : kr_fail_memory(error, "logits", logits * sizeof *t->teacher_logits);
}

/* Adds up the gradients of a window, and its divergence. */
static krait_status add_window(kr_tuning *t, size_t window, double *sum, krait_error *error)
{
    const size_t start[] = { 0, t->window };
    const krait_state *before[] = { NULL };
    krait_state *after[] = { NULL };
    const int32_t *ids = t->options->calibration + window * t->window;
    int32_t none[WINDOW];
    for (size_t i = 0; i < t->window; i++) none[i] = -1;
    kr_teacher teacher = { t->teacher, t->hidden, t->teacher_logits };
    kr_train_piece piece = {
        .n_tokens = t->window, .ids = ids, .targets = none, .rows = { 1, start }, .before = before, .after = after
    };
    kr_model_train(t->teacher, NULL, t->device, t->threads, &t->memory, &piece, sum);
    memcpy(t->hidden, t->memory.x, t->window * (size_t)t->config.d_model * sizeof *t->hidden);
    piece.targets = ids;
    piece.teacher = &teacher;
    kr_model_train(t->student, t->gradients, t->device, t->threads, &t->memory, &piece, sum);
    if (!isfinite(*sum))
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "tuning: expected predictions that are numbers, found others");
    return KRAIT_OK;
}

static krait_status report(const kr_tuning *t, uint64_t windows, krait_error *error)
{
    const krait_progress *progress = &t->options->progress;
    if (progress->report && !progress->report(progress->user, "tuning", windows, (uint64_t)t->options->tune_steps * BATCH))
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "tuning was interrupted");
    return KRAIT_OK;
}

static void shuffle(kr_tuning *t, kr_rng *rng)
{
    for (size_t i = t->n_windows; i > 1; i--) {
        size_t j = (size_t)(kr_rng_double(rng) * (double)i), last = t->order[i - 1];
        t->order[i - 1] = t->order[j];
        t->order[j] = last;
    }
}

/* Of step 0 .. steps-1: up, then down along a cosine. */
static double rate_at(size_t step, size_t steps)
{
    const double warm = (double)(step + 1) / WARM_UP, part = (double)step / (double)steps;
    const double rate = RATE * (LAST_RATE + (1 - LAST_RATE) * (1 + cos(3.14159265358979323846 * part)) / 2);
    return warm < 1 ? rate * warm : rate;
}

static krait_status tune(kr_tuning *t, krait_error *error)
{
    kr_rng rng;
    kr_exec exec = { .device = t->device, .threads = t->threads };
    size_t next = t->n_windows;
    krait_status status = KRAIT_OK;
    kr_rng_seed(&rng, 1);
    for (size_t i = 0; i < t->n_windows; i++) t->order[i] = i;
    begin_values(t);
    for (size_t step = 0; step < t->options->tune_steps && !status; step++) {
        double sum = 0;
        kr_parallel(t->threads, build_share, t);
        memset(t->gradient, 0, t->n_values * sizeof *t->gradient);
        for (size_t i = 0; i < BATCH && !status; i++) {
            if (next == t->n_windows) {
                shuffle(t, &rng);
                next = 0;
            }
            status = add_window(t, t->order[next++], &sum, error);
            if (!status) status = report(t, step * BATCH + i + 1, error);
        }
        if (status) break;
        kr_parallel(t->threads, slope_share, t);
        kr_adamw_run(&exec, &(kr_adamw){ .count = t->n_free,
                                         .value = t->moved,
                                         .m = t->m,
                                         .v = t->v,
                                         .gradient = t->slope,
                                         .scale = (float)(1 / (double)(BATCH * t->window)),
                                         .rate = (float)rate_at(step, t->options->tune_steps),
                                         .beta1 = BETA1,
                                         .beta2 = BETA2,
                                         .epsilon = EPSILON,
                                         .step = step + 1 });
    }
    return status;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Values from the layout in which a model holds them to that of files, and scales as they are to be. */
static krait_status finish(kr_tuning *t, krait_error *error)
{
    t->stored = t->slope; /* of which nothing is needed any more */
    t->slope = NULL;
    for (size_t i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        if (kr_is_grouped(s->type)) {
            for (size_t j = 0; j < s->free; j++) s->chosen.scales[j] = scale_now(t, s, j);
            continue;
        }
        const bool turned = s->parameter->form != KR_AS_STORED;
        for (size_t j = 0; j < s->free; j++) {
            const size_t row = j / s->columns, column = j % s->columns, held = turned ? column * s->rows + row : j;
            t->stored[s->first + j] = s->was[held] + s->scale * t->moved[s->first + held];
            if (!isfinite(t->stored[s->first + j]))
                return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "tuning: expected finite values, found others");
        }
    }
    return KRAIT_OK;
}

/* All that is of no use to those who save. */
static void free_working(kr_tuning *t)
{
    kr_train_memory_free(&t->memory);
    kr_calibration_free(t->calibration);
    krait_model_free(t->student);
    krait_model_free(t->gradients);
    krait_model_free(t->teacher);
    float **const arrays[] = { &t->values, &t->gradient, &t->moved, &t->slope, &t->m, &t->v, &t->hidden, &t->teacher_logits };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        kr_free(*arrays[i]);
        *arrays[i] = NULL;
    }
    kr_free(t->order);
    t->order = NULL;
    t->calibration = NULL;
    t->student = t->gradients = t->teacher = NULL;
}

void kr_tuning_free(kr_tuning *t)
{
    if (!t) return;
    free_working(t);
    for (size_t i = 0; t->slots && i < t->n_slots; i++) {
        kr_free(t->slots[i].chosen.numbers);
        kr_free(t->slots[i].chosen.scales);
    }
    kr_free(t->slots);
    kr_free(t->stored);
    kr_free(t);
}

krait_status kr_tuning_create(kr_tuning **result, krait_checkpoint *checkpoint, const krait_config *config,
                              const krait_save_options *options, int threads, kr_tuning_type *type, void *saving,
                              krait_error *error)
{
    krait_isa isa = KRAIT_ISA_AUTO;
    *result = NULL;
    krait_status status = kr_isa_resolve(&isa, error);
    if (status) return status;
    kr_tuning *t = kr_alloc_zero(1, sizeof *t);
    if (!t) return kr_fail_memory(error, "tuning", sizeof *t);
    t->config = *config;
    t->options = options;
    t->device = kr_cpu_device(isa);
    t->threads = threads;
    kr_each_parameter(config, NULL, count_slot, &t->n_slots, NULL);
    listing l = { t, type, saving, 0, 0 };
    t->slots = kr_alloc_zero(t->n_slots, sizeof *t->slots);
    if (!t->slots) status = kr_fail_memory(error, "a list of parameters", t->n_slots * sizeof *t->slots);
    if (!status) status = kr_each_parameter(config, NULL, list_slot, &l, error);
    if (!status)
        status = krait_model_create(&t->teacher, checkpoint,
                                    &(krait_load_options){ .type = KRAIT_WEIGHT_F32, .threads = threads }, error);
    if (!status) status = kr_model_new(&t->student, config, error);
    if (!status) status = kr_model_new(&t->gradients, config, error);
    if (!status) kr_each_parameter(config, t->teacher, find_teacher, &(connection){ t, t->teacher, 0 }, NULL);
    if (!status) status = choose_all(t, checkpoint, l.n_grouped, error);
    if (!status) status = allocate(t, error);
    if (!status) {
        connect(t);
        status = tune(t, error);
    }
    if (!status) status = finish(t, error);
    if (status)
        kr_tuning_free(t);
    else {
        free_working(t);
        *result = t;
    }
    return status;
}

bool kr_tuning_find(const kr_tuning *t, const kr_parameter *parameter, size_t layer, kr_tuned *tuned)
{
    for (size_t i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        if (s->parameter != parameter || s->layer != layer) continue;
        const bool grouped = kr_is_grouped(s->type);
        *tuned = (kr_tuned){ .numbers = s->chosen, .values = grouped || !s->free ? NULL : t->stored + s->first };
        return s->free > 0;
    }
    return false;
}
