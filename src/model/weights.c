/* Tensors of a checkpoint, or random numbers -> the fields of a model, by the tables of parameters alone. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "model/model.h"
#include "tensor/packed.h"

const kr_tensor *kr_weights_stored(const krait_checkpoint *checkpoint, const kr_parameter_place *place)
{
    if (checkpoint->gguf) return place->gguf_name[0] ? kr_checkpoint_find(checkpoint, place->gguf_name) : NULL;
    const kr_tensor *tensor = kr_checkpoint_find(checkpoint, place->name);
    for (int i = 0; i < 2 && !tensor && place->other_names[i]; i++)
        tensor = kr_checkpoint_find(checkpoint, place->other_names[i]);
    return tensor;
}

/* ---- checking ---------------------------------------------------------------------------------------------------- */

typedef struct check {
    krait_checkpoint *checkpoint;
    const krait_config *config;
    bool *used; /* [n_tensors] */
} check;

static bool is_floating(krait_dtype dtype)
{
    return dtype == KRAIT_DTYPE_F32 || dtype == KRAIT_DTYPE_F16 || dtype == KRAIT_DTYPE_BF16 || dtype == KRAIT_DTYPE_F64
           || kr_dtype_block(dtype) > 1;
}

static krait_status check_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    const check *c = context;
    kr_tensor expected = { .dtype = KRAIT_DTYPE_F32 };
    char wanted[96], found[96] = "nothing";
    bool gguf = c->checkpoint->gguf != NULL; /* has no dimensions of 1 within a shape */
    for (const kr_dim *dim = place->parameter->shape; *dim != KR_DIM_END; dim++)
        if (!gguf || *dim != KR_ONE) expected.shape[expected.n_dims++] = kr_dim_size(*dim, c->config);
    const kr_tensor *tensor = kr_weights_stored(c->checkpoint, place);
    if (tensor && is_floating(tensor->dtype) && tensor->n_dims == expected.n_dims
        && memcmp(tensor->shape, expected.shape, (size_t)expected.n_dims * sizeof *expected.shape) == 0) {
        c->used[tensor - c->checkpoint->tensors] = true;
        return KRAIT_OK;
    }
    if (tensor) kr_tensor_describe(tensor, found, sizeof found);
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected %s (or %s), found %s",
                   tensor ? tensor->file : krait_checkpoint_path(c->checkpoint), gguf ? place->gguf_name : place->name,
                   kr_tensor_describe(&expected, wanted, sizeof wanted), gguf ? "another type of numbers" : "F16, BF16, F64",
                   found);
}

krait_status kr_weights_check(krait_checkpoint *checkpoint, const krait_config *config, krait_error *error)
{
    enum { NAMED = 3 };
    bool *used = kr_alloc_zero(checkpoint->n_tensors, sizeof *used);
    if (!used) return kr_fail_memory(error, "a check of weights", checkpoint->n_tensors);
    check c = { checkpoint, config, used };
    krait_status status = kr_each_parameter(config, NULL, check_place, &c, error);
    size_t surplus = 0;
    for (size_t i = 0; i < checkpoint->n_tensors && !status; i++) {
        bool tied_head =
            config->tied_head && strcmp(checkpoint->tensors[i].name, checkpoint->gguf ? "output.weight" : "lm_head.weight") == 0;
        if (used[i] || tied_head) continue;
        if (surplus++ < NAMED)
            kr_checkpoint_add_note(checkpoint, "%s: %s: a tensor that this model has no place for; it is not used",
                                   checkpoint->tensors[i].file, checkpoint->tensors[i].name);
    }
    if (surplus > NAMED) kr_checkpoint_add_note(checkpoint, "%zu more tensors are not used", surplus - NAMED);
    kr_free(used);
    return status;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static size_t padded(size_t bytes) { return (bytes + KR_ALIGNMENT - 1) / KR_ALIGNMENT * KR_ALIGNMENT; }

typedef struct loading {
    krait_model *model;
    krait_weight_type type;
    bool quantised;   /* the checkpoint has quantised matrices: auto keeps all of its types */
    size_t used;      /* bytes of model->owned */
    float *temporary; /* for parameters that are not held as they are stored: the largest of them */
    size_t temporary_size;
    const krait_load_options *options;
    uint64_t done, total; /* elements */
    size_t copied;        /* bytes of files that were read since their pages were given back */
    int threads;
    bool one_layer; /* others are passed over */
    size_t layer;
} loading;

/* What a parameter is held in. Types in blocks that are not ours become q8, which loses little of them (docs/GGUF.md). */
static krait_weight_type type_of(const loading *l, const kr_parameter_place *place, const kr_tensor *tensor)
{
    const kr_parameter *parameter = place->parameter;
    if (!(parameter->flags & KR_MATRIX)) return KRAIT_WEIGHT_F32;
    if (l->type == KRAIT_WEIGHT_AUTO) {
        if (!tensor || !l->quantised) return KRAIT_WEIGHT_F32;
        if (kr_tensor_is_packed(tensor)) return kr_tensor_packed_type(tensor);
        if (kr_packs_exactly(tensor->dtype, KRAIT_WEIGHT_Q4)) return KRAIT_WEIGHT_Q4;
        if (kr_type_holds_exactly(KRAIT_WEIGHT_Q6, tensor)) return KRAIT_WEIGHT_Q6;
        if (tensor->dtype == KRAIT_DTYPE_BF16) return KRAIT_WEIGHT_BF16;
        if (tensor->dtype == KRAIT_DTYPE_F16) return KRAIT_WEIGHT_F16;
        if (kr_dtype_block(tensor->dtype) == 1) return KRAIT_WEIGHT_F32;
    }
    krait_weight_type type = l->type == KRAIT_WEIGHT_AUTO ? KRAIT_WEIGHT_Q8 : kr_type_raised(l->type, place, tensor);
    if (tensor && kr_type_holds_exactly(type, tensor)) return type;
    return kr_type_fitting(type, kr_dim_size(parameter->shape[0], &l->model->config),
                           kr_dim_size(parameter->shape[1], &l->model->config));
}

/* In row-major order, at an address a number may have, and multiplied in the type it is stored in: usable where it is. */
static bool usable_in_place(const kr_parameter *parameter, krait_weight_type type, const kr_tensor *tensor)
{
    static const krait_dtype stored[] = {
        [KRAIT_WEIGHT_F32] = KRAIT_DTYPE_F32, [KRAIT_WEIGHT_F16] = KRAIT_DTYPE_F16, [KRAIT_WEIGHT_BF16] = KRAIT_DTYPE_BF16
    };
    if (kr_tensor_is_packed(tensor)) return type == kr_tensor_packed_type(tensor) && (uintptr_t)tensor->data % KR_ALIGNMENT == 0;
    return (parameter->flags & KR_MATRIX) && !kr_is_grouped(type) && tensor->dtype == stored[type]
           && kr_tensor_is_contiguous(tensor) && (uintptr_t)tensor->data % kr_dtype_size(tensor->dtype) == 0;
}

static size_t held_bytes(const loading *l, const kr_parameter *parameter, krait_weight_type type)
{
    size_t count = kr_parameter_count(parameter, &l->model->config);
    if (type == KRAIT_WEIGHT_F32) return count * sizeof(float);
    size_t rows = kr_dim_size(parameter->shape[0], &l->model->config);
    return kr_packed_bytes(type, rows, count / rows);
}

static krait_status add_sizes(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    loading *l = context;
    if (l->one_layer && place->layer != l->layer) return KRAIT_OK;
    const kr_parameter *parameter = place->parameter;
    const kr_tensor *tensor = l->model->checkpoint ? kr_weights_stored(l->model->checkpoint, place) : NULL;
    const krait_weight_type type = type_of(l, place, tensor);
    size_t count = kr_parameter_count(parameter, &l->model->config), bytes = held_bytes(l, parameter, type);
    l->total += count;
    l->model->bytes += bytes;
    if (tensor && usable_in_place(parameter, type, tensor)) return KRAIT_OK;
    l->used += padded(bytes);
    if (tensor && kr_type_holds_exactly(type, tensor)) return KRAIT_OK;
    bool as_stored = parameter->form == KR_AS_STORED && type == KRAIT_WEIGHT_F32;
    if (!as_stored && count > l->temporary_size) l->temporary_size = count;
    return KRAIT_OK;
}

/* Stored values in `in`, as the library holds them in `out`. GGUF files have A where others have A_log. */
static void reform(float *out, const float *in, const kr_parameter *parameter, const krait_model *model)
{
    const krait_config *config = &model->config;
    bool log = parameter->form == KR_MINUS_EXP_TRANSPOSED && !(model->checkpoint && model->checkpoint->gguf);
    size_t columns = 1, rows = kr_dim_size(parameter->shape[0], config);
    for (int i = 1; parameter->shape[i] != KR_DIM_END; i++) columns *= kr_dim_size(parameter->shape[i], config);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            float value = in[r * columns + c];
            out[c * rows + r] = log ? kr_minus_exp(value) : value;
        }
}

static void set_field(const kr_parameter_place *place, const krait_config *config, krait_weight_type type, const void *data)
{
    if (place->parameter->flags & KR_MATRIX)
        *(kr_matrix *)place->field = (kr_matrix){ .data = data,
                                                  .rows = kr_dim_size(place->parameter->shape[0], config),
                                                  .columns = kr_dim_size(place->parameter->shape[1], config),
                                                  .type = type };
    else
        *(const float **)place->field = data;
}

typedef struct packing {
    krait_weight_type type;
    void *matrix;
    size_t rows, columns;
    const float *values;
    const kr_tensor *blocks; /* instead of values */
} packing;

static void pack_share(void *context, int thread, int n_threads)
{
    const packing *p = context;
    size_t begin, end;
    kr_share(p->rows, KR_GROUP_ROWS, thread, n_threads, &begin, &end);
    if (begin == end) return;
    if (p->blocks) {
        size_t at = begin * p->columns / kr_dtype_block(p->blocks->dtype) * kr_dtype_size(p->blocks->dtype);
        kr_pack_blocks(p->type, p->matrix, p->columns, begin, end - begin, (const char *)p->blocks->data + at);
    } else
        kr_pack(p->type, p->matrix, p->columns, begin, end - begin, p->values + begin * p->columns);
}

/* Gives a parameter its room in the model's own memory, float32 values from `values`, and its field in the model. */
static void hold(loading *l, const kr_parameter_place *place, krait_weight_type type,
                 void (*values)(float *out, size_t count, void *context), void *context)
{
    const kr_parameter *parameter = place->parameter;
    const krait_config *config = &l->model->config;
    size_t count = kr_parameter_count(parameter, config), rows = kr_dim_size(parameter->shape[0], config);
    void *data = l->model->owned + l->used;
    bool as_stored = parameter->form == KR_AS_STORED && type == KRAIT_WEIGHT_F32;
    l->used += padded(held_bytes(l, parameter, type));
    values(as_stored ? data : l->temporary, count, context);
    if (parameter->form != KR_AS_STORED)
        reform(data, l->temporary, parameter, l->model);
    else if (!as_stored)
        kr_parallel(l->threads, pack_share, &(packing){ type, data, rows, count / rows, l->temporary, NULL });
    set_field(place, config, type, data);
}

typedef struct conversion {
    float *out;
    const kr_tensor *tensor;
    size_t count;
} conversion;

static void convert_share(void *context, int thread, int n_threads)
{
    const conversion *c = context;
    size_t begin, end;
    kr_share(c->count, 4096, thread, n_threads, &begin, &end);
    size_t at = begin / kr_dtype_block(c->tensor->dtype) * kr_dtype_size(c->tensor->dtype);
    kr_to_float32(c->out + begin, c->tensor->dtype, (const char *)c->tensor->data + at, end - begin);
}

typedef struct stored {
    const kr_tensor *tensor;
    int threads;
} stored;

static void convert(float *out, size_t count, void *context)
{
    enum { WORTH_THREADS = 1 << 16 };
    const stored *s = context;
    if (!kr_tensor_is_contiguous(s->tensor))
        kr_tensor_to_float32(out, s->tensor);
    else
        kr_parallel(count < WORTH_THREADS ? 1 : s->threads, convert_share, &(conversion){ out, s->tensor, count });
}

/* A matrix in blocks that hold the same as ours. */
static void rearrange(loading *l, const kr_parameter_place *place, krait_weight_type type, const kr_tensor *tensor)
{
    void *data = l->model->owned + l->used;
    l->used += padded(held_bytes(l, place->parameter, type));
    kr_parallel(l->threads, pack_share, &(packing){ type, data, tensor->shape[0], tensor->shape[1], NULL, tensor });
    set_field(place, &l->model->config, type, data);
}

/* A packed matrix that is not aligned, from a file that others wrote: packing it once more would lose of it. */
static void copy(loading *l, const kr_parameter_place *place, krait_weight_type type, const kr_tensor *tensor)
{
    size_t bytes = held_bytes(l, place->parameter, type);
    void *data = l->model->owned + l->used;
    l->used += padded(bytes);
    memcpy(data, tensor->data, bytes);
    set_field(place, &l->model->config, type, data);
}

/* What was copied out of mapped files need not stay in memory beside the copy. Of what is used in place nothing was touched yet. */
static void give_back(loading *l, size_t least)
{
    if (l->copied < least) return;
    kr_checkpoint_forget(l->model->checkpoint);
    l->copied = 0;
}

static krait_status load_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    loading *l = context;
    krait_model *model = l->model;
    if (l->one_layer && place->layer != l->layer) return KRAIT_OK;
    const kr_tensor *tensor = kr_weights_stored(model->checkpoint, place);
    const krait_weight_type type = type_of(l, place, tensor);
    const krait_progress *progress = l->options ? &l->options->progress : NULL;
    const bool in_place = usable_in_place(place->parameter, type, tensor);
    size_t stored_bytes = 0;
    if (in_place)
        set_field(place, &model->config, type, tensor->data);
    else if (kr_tensor_is_packed(tensor) && kr_tensor_packed_type(tensor) == type)
        copy(l, place, type, tensor);
    else if (kr_type_holds_exactly(type, tensor))
        rearrange(l, place, type, tensor);
    else
        hold(l, place, type, convert, &(stored){ tensor, l->threads });
    if (!in_place && kr_tensor_bytes(tensor, &stored_bytes)) l->copied += stored_bytes;
    give_back(l, (size_t)64 << 20);
    l->done += kr_parameter_count(place->parameter, &model->config);
    if (progress && progress->report && !progress->report(progress->user, "loading", l->done, l->total))
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: loading was interrupted", krait_checkpoint_path(model->checkpoint));
    return KRAIT_OK;
}

/* Sizes first, then one allocation for all, carved as the parameters come. */
static krait_status fill(loading *l, krait_status (*fill_place)(void *, const kr_parameter_place *, krait_error *),
                         krait_error *error)
{
    krait_model *model = l->model;
    l->type = l->options ? l->options->type : KRAIT_WEIGHT_AUTO;
    l->threads = l->options && l->options->threads > 0 ? l->options->threads : kr_threads_available();
    if ((unsigned)l->type > KRAIT_WEIGHT_Q6)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "load options: type: expected 0 .. %d, found %d", KRAIT_WEIGHT_Q6,
                       (int)l->type);
    const krait_checkpoint *checkpoint = model->checkpoint;
    for (size_t i = 0; checkpoint && i < checkpoint->n_tensors; i++)
        l->quantised = l->quantised || kr_dtype_block(checkpoint->tensors[i].dtype) > 1;
    kr_each_parameter(&model->config, model, add_sizes, l, NULL);
    model->owned = kr_alloc(l->used, sizeof *model->owned);
    l->temporary = kr_alloc(l->temporary_size, sizeof *l->temporary);
    krait_status status = KRAIT_OK;
    if (!model->owned || !l->temporary)
        status = kr_fail_memory(error, "a model's weights", l->used + l->temporary_size * sizeof(float));
    l->used = 0;
    if (!status) status = kr_each_parameter(&model->config, model, fill_place, l, error);
    kr_free(l->temporary);
    if (!status && model->config.tied_head) model->head = model->embedding;
    return status;
}

krait_status kr_weights_load(krait_model *model, const krait_load_options *options, krait_error *error)
{
    loading l = { .model = model, .options = options };
    krait_status status = fill(&l, load_place, error);
    give_back(&l, (size_t)1 << 20);
    return status;
}

krait_status kr_weights_load_layer(krait_model *model, size_t layer, int threads, krait_error *error)
{
    const krait_load_options options = { .type = KRAIT_WEIGHT_F32, .threads = threads };
    loading l = { .model = model, .options = &options, .one_layer = true, .layer = layer };
    kr_free(model->owned);
    model->owned = NULL;
    return fill(&l, load_place, error);
}

/* ---- random weights ---------------------------------------------------------------------------------------------- */

typedef struct random_loading {
    loading common; /* first: fill() passes the whole as its context */
    uint64_t seed;
    const kr_parameter *parameter; /* being drawn */
} random_loading;

typedef struct drawing {
    float *out;
    size_t count;
    const random_loading *loading;
} drawing;

static void draw_share(void *context, int thread, int n_threads)
{
    const drawing *d = context;
    const random_loading *r = d->loading;
    size_t begin, end;
    kr_share(d->count, 4096, thread, n_threads, &begin, &end);
    kr_parameter_draw(d->out + begin, r->parameter, &r->common.model->config, r->seed, begin, end - begin);
}

static void draw(float *out, size_t count, void *context)
{
    random_loading *r = context;
    kr_parallel(r->common.threads, draw_share, &(drawing){ out, count, r });
    r->seed++;
}

static krait_status draw_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    random_loading *r = context;
    r->parameter = place->parameter;
    hold(&r->common, place, type_of(&r->common, place, NULL), draw, r);
    return KRAIT_OK;
}

krait_status kr_weights_random(krait_model *model, uint64_t seed, const krait_load_options *options, krait_error *error)
{
    random_loading r = { .common = { .model = model, .options = options }, .seed = kr_parameter_seed(seed) };
    return fill(&r.common, draw_place, error);
}
