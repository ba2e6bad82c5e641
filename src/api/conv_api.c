/* krait_causal_conv1d_*: kr_conv and kr_conv_backward, sequence after sequence and some hundred tokens at a time. */
#include <string.h>

#include "api/array.h"
#include "base/memory.h"

typedef struct run {
    const krait_causal_conv1d *op;
    const krait_causal_conv1d_gradients *gradients; /* NULL: forward */
    kr_sequences sequences;
    kr_exec exec;
    size_t dim, past, tokens;
    float *memory, *weight, *bias, *state, *before, *x, *y, *dy, *dx, *dweight, *dbias;
} run;

static krait_status check(run *r, const krait_causal_conv1d *op, const krait_causal_conv1d_gradients *g, krait_error *error)
{
    if (op->dim == 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dim is 0");
    if (op->width < 1 || op->width > 16)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "width is %zu: 1 to 16 are possible", op->width);
    krait_status status = kr_check_sequences(&r->sequences, op->batch, op->length, op->starts, op->n_sequences, error);
    if (status) return status;
    size_t b = op->batch, D = op->dim, L = op->length, past = op->width - 1, n = r->sequences.n;
    KR_INPUT("x", &op->x, true, b, D, L)
    KR_INPUT("weight", &op->weight, true, D, op->width)
    KR_INPUT("bias", &op->bias, false, D)
    KR_INPUT("initial_state", &op->initial_state, false, n, D, past)
    if (!g) {
        KR_OUTPUT("out", &op->out, true, b, D, L)
        KR_OUTPUT("final_state", &op->final_state, false, n, D, past)
        return KRAIT_OK;
    }
    KR_INPUT("dout", &g->dout, true, b, D, L)
    KR_INPUT("dfinal_state", &g->dfinal_state, false, n, D, past)
    KR_OUTPUT("dx", &g->dx, false, b, D, L)
    KR_OUTPUT("dweight", &g->dweight, false, D, op->width)
    KR_OUTPUT("dbias", &g->dbias, false, D)
    KR_OUTPUT("dinitial_state", &g->dinitial_state, false, n, D, past)
    if (g->dbias.data && !op->bias.data) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dbias is wanted, but bias is NULL");
    return KRAIT_OK;
}

static void carve(run *r, kr_carver *carver)
{
    size_t D = r->dim, width = r->past + 1, n = r->tokens;
    r->weight = kr_carve(carver, width, D), r->bias = kr_carve(carver, 1, D);
    r->state = kr_carve(carver, r->past, D), r->x = kr_carve(carver, n, D), r->y = kr_carve(carver, n, D);
    if (!r->gradients) return;
    r->before = kr_carve(carver, r->past, D), r->dy = kr_carve(carver, n, D), r->dx = kr_carve(carver, n, D);
    r->dweight = kr_carve(carver, width, D), r->dbias = kr_carve(carver, 1, D);
}

static krait_status prepare(run *r, const krait_causal_conv1d *op, const krait_causal_conv1d_gradients *g,
                            const krait_op_options *options, krait_error *error)
{
    if (!op) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "op is NULL");
    krait_status status = check(r, op, g, error);
    if (!status) status = kr_api_exec(&r->exec, options, error);
    if (status) return status;
    *r = (run){ .op = op,
                .gradients = g,
                .sequences = r->sequences,
                .exec = r->exec,
                .dim = op->dim,
                .past = op->width - 1,
                .tokens = op->length < KR_API_TOKENS ? op->length : KR_API_TOKENS };
    kr_carver carver = { 0 };
    carve(r, &carver);
    r->memory = carver.failed ? NULL : kr_alloc(carver.used, sizeof(float));
    if (!r->memory) return kr_fail_memory(error, "buffers of the convolution", carver.used * sizeof(float));
    carver = (kr_carver){ .base = r->memory };
    carve(r, &carver);
    kr_gather(r->weight, r->dim, kr_strided_input(&op->weight, 0, 1, 0), op->width, r->dim, 1, 1);
    kr_vector_in(r->bias, &op->bias, r->dim);
    return KRAIT_OK;
}

static kr_conv piece_of(const run *r, kr_place at, const size_t *start)
{
    return (kr_conv){ .rows = { 1, start },
                      .dim = r->dim,
                      .width = r->op->width,
                      .x = kr_take(&r->op->x, at, r->x, r->dim, r->exec.threads),
                      .weight = r->weight,
                      .bias = r->op->bias.data ? r->bias : NULL,
                      .silu = r->op->silu };
}

/* [dim, width-1] of a sequence -> [width-1, dim], from its row `first` on. */
static void state_in(const run *r, float *to, const krait_input *array, size_t s, size_t first)
{
    if (first >= r->past) return;
    ptrdiff_t offset = (ptrdiff_t)s * array->stride[0] + (ptrdiff_t)first * array->stride[2];
    if (array->data)
        kr_gather(to, r->dim, kr_strided_input(array, offset, 2, 1), r->past - first, r->dim, 1, 1);
    else
        memset(to, 0, (r->past - first) * r->dim * sizeof *to);
}

static void state_out(const run *r, const krait_output *array, size_t s, const float *from)
{
    if (array->data && r->past > 0)
        kr_scatter(kr_strided_output(array, (ptrdiff_t)s * array->stride[0], 2, 1), from, r->dim, r->past, r->dim, 1, 1);
}

krait_status krait_causal_conv1d_forward(const krait_causal_conv1d *op, const krait_op_options *options, krait_error *error)
{
    run r;
    krait_status status = prepare(&r, op, NULL, options, error);
    if (status) return status;
    for (size_t s = 0; s < r.sequences.n; s++) {
        size_t row, first, count;
        kr_sequence(&r.sequences, s, &row, &first, &count);
        state_in(&r, r.state, &op->initial_state, s, 0);
        for (size_t t = 0; t < count; t += r.tokens) {
            kr_place at = { row, first + t, count - t < r.tokens ? count - t : r.tokens };
            size_t start[] = { 0, at.count };
            kr_conv conv = piece_of(&r, at, start);
            conv.state = (float *const[]){ r.state };
            conv.y = kr_target(&op->out, at, r.y, r.dim);
            kr_conv_run(&r.exec, &conv);
            kr_put(&op->out, at, r.y, r.dim, r.exec.threads);
        }
        state_out(&r, &op->final_state, s, r.state);
    }
    kr_free(r.memory);
    return KRAIT_OK;
}

/* The width-1 inputs before token t of sequence s, which begins at `first` in its row. */
static void inputs_before(const run *r, size_t s, size_t row, size_t first, size_t t)
{
    const krait_input *x = &r->op->x;
    size_t known = t < r->past ? t : r->past, given = r->past - known; /* of the sequence; of the initial state, its last */
    if (given > 0) state_in(r, r->before, &r->op->initial_state, s, t);
    if (known > 0)
        kr_gather(r->before + given * r->dim, r->dim,
                  kr_strided_input(x, (ptrdiff_t)row * x->stride[0] + (ptrdiff_t)(first + t - known) * x->stride[2], 2, 1), known,
                  r->dim, 1, 1);
}

krait_status krait_causal_conv1d_backward(const krait_causal_conv1d *op, const krait_causal_conv1d_gradients *gradients,
                                          const krait_op_options *options, krait_error *error)
{
    run r;
    if (!gradients) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "gradients is NULL");
    krait_status status = prepare(&r, op, gradients, options, error);
    if (status) return status;
    memset(r.dweight, 0, op->width * r.dim * sizeof(float));
    memset(r.dbias, 0, r.dim * sizeof(float));
    for (size_t s = r.sequences.n; s-- > 0;) {
        size_t row, first, count;
        kr_sequence(&r.sequences, s, &row, &first, &count);
        state_in(&r, r.state, &gradients->dfinal_state, s, 0);
        for (size_t end = count; end > 0;) {
            size_t begin = (end - 1) / r.tokens * r.tokens, start[] = { 0, end - begin };
            kr_place at = { row, first + begin, end - begin };
            inputs_before(&r, s, row, first, begin);
            kr_conv_backward b = { .forward = piece_of(&r, at, start),
                                   .state_before = (const float *const[]){ r.before },
                                   .dy = kr_take(&gradients->dout, at, r.dy, r.dim, r.exec.threads),
                                   .dstate = (float *const[]){ r.state },
                                   .dx = kr_target(&gradients->dx, at, r.dx, r.dim),
                                   .dweight = gradients->dweight.data ? r.dweight : NULL,
                                   .dbias = gradients->dbias.data ? r.dbias : NULL };
            kr_conv_backward_run(&r.exec, &b);
            kr_put(&gradients->dx, at, r.dx, r.dim, r.exec.threads);
            end = begin;
        }
        state_out(&r, &gradients->dinitial_state, s, r.state);
    }
    if (gradients->dweight.data)
        kr_scatter(kr_strided_output(&gradients->dweight, 0, 1, 0), r.dweight, r.dim, op->width, r.dim, 1, 1);
    kr_vector_out(&gradients->dbias, r.dbias, r.dim);
    kr_free(r.memory);
    return KRAIT_OK;
}
