/* kr_scan and kr_scan_backward, sequence after sequence and some hundred tokens at a time, on the caller's arrays or on copies in the
 * ops' layout. */
#include "api/scan_pieces.h"

#include <string.h>

#include "api/array.h"
#include "base/memory.h"

typedef struct run {
    const krait_selective_scan *op;
    const krait_selective_scan_gradients *gradients; /* NULL: forward */
    kr_sequences sequences;
    kr_exec exec;
    size_t D, N, groups, pair; /* pair: floats of an element of A, B, C and states */
    size_t tokens;             /* of a piece */
    kr_scan scan;              /* without what differs from piece to piece */
    float *memory;
    float *A, *B, *C, *D_values, *bias, *state, *saved;         /* in the layout of ops.h */
    float *u, *delta, *z, *y, *dy, *du, *ddelta, *dz, *dB, *dC; /* a piece, unless the caller's can be used */
    float *B_piece, *C_piece;
    float *dA, *dB_fixed, *dC_fixed, *dD, *dbias;
} run;

/* ---- checks ------------------------------------------------------------------------------------------------------------ */

static krait_status check_sizes(const krait_selective_scan *op, krait_error *error)
{
    size_t groups = op->n_groups ? op->n_groups : 1;
    if (op->dim == 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dim is 0");
    if (op->d_state == 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "d_state is 0");
    if (op->dim % groups != 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "n_groups is %zu, which does not divide dim, %zu", groups, op->dim);
    return KRAIT_OK;
}

static krait_status check(run *r, const krait_selective_scan *op, const krait_selective_scan_gradients *g, krait_error *error)
{
    krait_status status = check_sizes(op, error);
    if (!status) status = kr_check_sequences(&r->sequences, op->batch, op->length, op->starts, op->n_sequences, error);
    if (status) return status;
    size_t b = op->batch, D = op->dim, L = op->length, N = op->d_state, G = op->n_groups ? op->n_groups : 1, n = r->sequences.n;
    KR_INPUT("u", &op->u, true, b, D, L)
    KR_INPUT("delta", &op->delta, true, b, D, L)
    KR_INPUT("A", &op->A, true, D, N)
    KR_INPUT("z", &op->z, false, b, D, L)
    KR_INPUT("D", &op->D, false, D)
    KR_INPUT("delta_bias", &op->delta_bias, false, D)
    KR_INPUT("initial_state", &op->initial_state, false, n, D, N)
    KR_OUTPUT("out", &op->out, !g, b, D, L)
    if (op->fixed_B) {
        KR_INPUT("B", &op->B, true, D, N)
    } else {
        KR_INPUT("B", &op->B, true, b, G, N, L)
    }
    if (op->fixed_C) {
        KR_INPUT("C", &op->C, true, D, N)
    } else {
        KR_INPUT("C", &op->C, true, b, G, N, L)
    }
    if (!g) {
        KR_OUTPUT("last_state", &op->last_state, false, n, D, N)
        return KRAIT_OK;
    }
    KR_INPUT("dout", &g->dout, true, b, D, L)
    KR_INPUT("dlast_state", &g->dlast_state, false, n, D, N)
    KR_OUTPUT("du", &g->du, false, b, D, L)
    KR_OUTPUT("ddelta", &g->ddelta, false, b, D, L)
    KR_OUTPUT("dz", &g->dz, false, b, D, L)
    KR_OUTPUT("dA", &g->dA, false, D, N)
    KR_OUTPUT("dD", &g->dD, false, D)
    KR_OUTPUT("ddelta_bias", &g->ddelta_bias, false, D)
    KR_OUTPUT("dinitial_state", &g->dinitial_state, false, n, D, N)
    if (op->fixed_B) {
        KR_OUTPUT("dB", &g->dB, false, D, N)
    } else {
        KR_OUTPUT("dB", &g->dB, false, b, G, N, L)
    }
    if (op->fixed_C) {
        KR_OUTPUT("dC", &g->dC, false, D, N)
    } else {
        KR_OUTPUT("dC", &g->dC, false, b, G, N, L)
    }
    if (g->dz.data && !op->z.data) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dz is wanted, but z is NULL");
    if (g->dD.data && !op->D.data) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dD is wanted, but D is NULL");
    if (g->ddelta_bias.data && !op->delta_bias.data)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "ddelta_bias is wanted, but delta_bias is NULL");
    return KRAIT_OK;
}

/* ---- pieces of [batch, n_groups, d_state, length] ------------------------------------------------------------------------- */

static bool coefficients_direct(const run *r, const ptrdiff_t *stride)
{
    return stride[2] == (ptrdiff_t)r->pair && stride[3] >= 0 && (r->groups == 1 || stride[1] == (ptrdiff_t)(r->N * r->pair));
}

static kr_strided coefficients(const float *data, const ptrdiff_t *stride, kr_place at, size_t group)
{
    ptrdiff_t offset = (ptrdiff_t)at.row * stride[0] + (ptrdiff_t)group * stride[1] + (ptrdiff_t)at.first * stride[3];
    return (kr_strided){ (float *)(uintptr_t)data + offset, stride[3], stride[2] };
}

static kr_cview take_coefficients(const run *r, const krait_input *array, kr_place at, float *buffer)
{
    size_t columns = r->N * r->pair;
    if (coefficients_direct(r, array->stride))
        return (kr_cview){ coefficients(array->data, array->stride, at, 0).data, (size_t)array->stride[3] };
    for (size_t g = 0; g < r->groups; g++)
        kr_gather(buffer + g * columns, r->groups * columns, coefficients(array->data, array->stride, at, g), at.count, r->N,
                  r->pair, r->exec.threads);
    return (kr_cview){ buffer, r->groups * columns };
}

static kr_view coefficients_target(const run *r, const krait_output *array, kr_place at, float *buffer)
{
    if (!array->data) return (kr_view){ NULL, 0 };
    if (coefficients_direct(r, array->stride))
        return (kr_view){ coefficients(array->data, array->stride, at, 0).data, (size_t)array->stride[3] };
    return (kr_view){ buffer, r->groups * r->N * r->pair };
}

static void put_coefficients(const run *r, const krait_output *array, kr_place at, const float *buffer)
{
    if (!array->data || coefficients_direct(r, array->stride)) return;
    for (size_t g = 0; g < r->groups; g++)
        kr_scatter(coefficients(array->data, array->stride, at, g), buffer + g * r->N * r->pair, r->groups * r->N * r->pair,
                   at.count, r->N, r->pair, r->exec.threads);
}

/* [dim, d_state] <-> [d_state, dim], of states those of sequence s. */
static void turn_in(const run *r, float *to, const krait_input *array, size_t s, int dims)
{
    ptrdiff_t offset = dims == 3 ? (ptrdiff_t)s * array->stride[0] : 0;
    if (array->data)
        kr_gather(to, r->D * r->pair, kr_strided_input(array, offset, dims - 1, dims - 2), r->N, r->D, r->pair, r->exec.threads);
    else
        memset(to, 0, r->N * r->D * r->pair * sizeof *to);
}

static void turn_out(const run *r, const krait_output *array, size_t s, int dims, const float *from)
{
    ptrdiff_t offset = dims == 3 ? (ptrdiff_t)s * array->stride[0] : 0;
    if (array->data)
        kr_scatter(kr_strided_output(array, offset, dims - 1, dims - 2), from, r->D * r->pair, r->N, r->D, r->pair,
                   r->exec.threads);
}

/* ---- preparation ------------------------------------------------------------------------------------------------------------ */

static size_t chunks_of(const kr_sequences *sequences)
{
    size_t chunks = 0, row, first, count;
    for (size_t s = 0; s < sequences->n; s++) {
        kr_sequence(sequences, s, &row, &first, &count);
        chunks += count / KR_SCAN_CHUNK + (count % KR_SCAN_CHUNK != 0);
    }
    return chunks;
}

static void carve(run *r, kr_carver *carver)
{
    size_t D = r->D, N = r->N * r->pair, n = r->tokens, threads = (size_t)r->exec.threads;
    size_t scratch = r->exec.device->scan_scratch((int)threads, r->N), coefficients_floats = r->groups * N;
    r->A = kr_carve(carver, N, D), r->B = kr_carve(carver, N, D), r->C = kr_carve(carver, N, D);
    r->D_values = kr_carve(carver, 1, D), r->bias = kr_carve(carver, 1, D), r->state = kr_carve(carver, N, D);
    r->u = kr_carve(carver, n, D), r->delta = kr_carve(carver, n, D), r->z = kr_carve(carver, n, D),
    r->y = kr_carve(carver, n, D);
    r->B_piece = kr_carve(carver, n, coefficients_floats), r->C_piece = kr_carve(carver, n, coefficients_floats);
    r->saved = r->op->saved;
    if (r->gradients) {
        size_t backward = r->exec.device->scan_backward_scratch((int)threads, D, N, r->groups), states, needed;
        if (backward > scratch) scratch = backward;
        r->dy = kr_carve(carver, n, D), r->du = kr_carve(carver, n, D), r->ddelta = kr_carve(carver, n, D);
        r->dz = kr_carve(carver, n, D);
        r->dB = kr_carve(carver, n, coefficients_floats), r->dC = kr_carve(carver, n, coefficients_floats);
        r->dA = kr_carve(carver, N, D), r->dB_fixed = kr_carve(carver, N, D), r->dC_fixed = kr_carve(carver, N, D);
        r->dD = kr_carve(carver, 1, D), r->dbias = kr_carve(carver, 1, D);
        states = chunks_of(&r->sequences);
        if (!kr_mul(N, D, &needed)) carver->failed = true;
        if (!r->op->saved) r->saved = kr_carve(carver, states, needed);
    }
    r->exec.scratch = kr_carve(carver, 1, (scratch + sizeof(float) - 1) / sizeof(float));
    r->exec.scratch_size = scratch;
}

bool kr_scan_activations_direct(const krait_selective_scan *op, const krait_selective_scan_gradients *g)
{
    bool direct = kr_needs_no_copy(op->u.data, op->u.stride) && kr_needs_no_copy(op->delta.data, op->delta.stride)
                  && kr_needs_no_copy(op->z.data, op->z.stride) && kr_needs_no_copy(op->out.data, op->out.stride);
    return direct
           && (!g
               || (kr_needs_no_copy(g->dout.data, g->dout.stride) && kr_needs_no_copy(g->du.data, g->du.stride)
                   && kr_needs_no_copy(g->ddelta.data, g->ddelta.stride) && kr_needs_no_copy(g->dz.data, g->dz.stride)));
}

/* Whether nothing needs a copy: then a sequence is one piece. */
static bool all_direct(const run *r)
{
    const krait_selective_scan *op = r->op;
    const krait_selective_scan_gradients *g = r->gradients;
    bool direct = kr_scan_activations_direct(op, g);
    direct =
        direct && (op->fixed_B || coefficients_direct(r, op->B.stride)) && (op->fixed_C || coefficients_direct(r, op->C.stride));
    if (g && !op->fixed_B) direct = direct && (!g->dB.data || coefficients_direct(r, g->dB.stride));
    if (g && !op->fixed_C) direct = direct && (!g->dC.data || coefficients_direct(r, g->dC.stride));
    /* Without an output of its own the forward pass inside the backward pass writes to a piece. */
    return direct && (!g || op->saved);
}

static krait_status prepare(run *r, const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                            const krait_op_options *options, krait_error *error)
{
    if (!op) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "op is NULL");
    krait_status status = check(r, op, gradients, error);
    if (!status) status = kr_api_exec(&r->exec, options, error);
    if (status) return status;
    *r = (run){ .op = op,
                .gradients = gradients,
                .sequences = r->sequences,
                .exec = r->exec,
                .D = op->dim,
                .N = op->d_state,
                .groups = op->n_groups ? op->n_groups : 1,
                .pair = op->is_complex ? 2 : 1 };
    bool direct = all_direct(r);
    r->tokens = direct ? 0 : op->length < KR_API_TOKENS ? op->length : KR_API_TOKENS;
    kr_carver carver = { 0 };
    carve(r, &carver);
    r->memory = carver.failed ? NULL : kr_alloc(carver.used, sizeof(float));
    if (!r->memory) return kr_fail_memory(error, "buffers of the selective scan", carver.used * sizeof(float));
    carver = (kr_carver){ .base = r->memory };
    carve(r, &carver);
    if (direct) r->tokens = op->length;

    turn_in(r, r->A, &op->A, 0, 2);
    if (op->fixed_B) turn_in(r, r->B, &op->B, 0, 2);
    if (op->fixed_C) turn_in(r, r->C, &op->C, 0, 2);
    if (op->D.data) kr_vector_in(r->D_values, &op->D, r->D);
    if (op->delta_bias.data) kr_vector_in(r->bias, &op->delta_bias, r->D);
    r->scan = (kr_scan){ .d_inner = r->D,
                         .d_state = r->N,
                         .n_groups = r->groups,
                         .fixed_B = op->fixed_B,
                         .fixed_C = op->fixed_C,
                         .A = r->A,
                         .is_complex = op->is_complex,
                         .D = op->D.data ? r->D_values : NULL,
                         .delta_bias = op->delta_bias.data ? r->bias : NULL,
                         .delta_softplus = op->delta_softplus };
    return KRAIT_OK;
}

/* A piece's kr_scan, but for rows, states and outputs. */
static kr_scan piece_of(const run *r, kr_place at)
{
    kr_scan scan = r->scan;
    scan.u = kr_take(&r->op->u, at, r->u, r->D, r->exec.threads);
    scan.delta = kr_take(&r->op->delta, at, r->delta, r->D, r->exec.threads);
    scan.z = kr_take(&r->op->z, at, r->z, r->D, r->exec.threads);
    scan.B = r->op->fixed_B ? (kr_cview){ r->B, 0 } : take_coefficients(r, &r->op->B, at, r->B_piece);
    scan.C = r->op->fixed_C ? (kr_cview){ r->C, 0 } : take_coefficients(r, &r->op->C, at, r->C_piece);
    return scan;
}

/* ---- forward and backward ----------------------------------------------------------------------------------------------------- */

static void forward(const run *r, float *saved)
{
    const krait_selective_scan *op = r->op;
    bool outputs = !r->gradients;
    for (size_t s = 0; s < r->sequences.n; s++) {
        size_t row, first, count;
        kr_sequence(&r->sequences, s, &row, &first, &count);
        turn_in(r, r->state, &op->initial_state, s, 3);
        for (size_t t = 0; t < count; t += r->tokens) {
            kr_place at = { row, first + t, count - t < r->tokens ? count - t : r->tokens };
            size_t start[] = { 0, at.count };
            kr_scan scan = piece_of(r, at);
            scan.rows = (kr_rows){ 1, start };
            scan.state = (float *const[]){ r->state };
            scan.saved = saved;
            scan.y = outputs ? kr_target(&op->out, at, r->y, r->D) : (kr_view){ r->y, r->D };
            kr_scan_run(&r->exec, &scan);
            if (outputs) kr_put(&op->out, at, r->y, r->D, r->exec.threads);
            if (saved) saved += kr_scan_chunks(scan.rows) * r->N * r->D * r->pair;
        }
        if (outputs) turn_out(r, &op->last_state, s, 3, r->state);
    }
}

static void backward(const run *r)
{
    const krait_selective_scan *op = r->op;
    const krait_selective_scan_gradients *g = r->gradients;
    size_t states = r->N * r->D * r->pair;
    float *saved = r->saved + chunks_of(&r->sequences) * states;
    float *const zeros[] = { r->dA, r->dB_fixed, r->dC_fixed };
    for (int i = 0; i < 3; i++) memset(zeros[i], 0, states * sizeof(float));
    memset(r->dD, 0, r->D * sizeof(float));
    memset(r->dbias, 0, r->D * sizeof(float));
    for (size_t s = r->sequences.n; s-- > 0;) {
        size_t row, first, count;
        kr_sequence(&r->sequences, s, &row, &first, &count);
        turn_in(r, r->state, &g->dlast_state, s, 3);
        for (size_t end = count; end > 0;) {
            size_t begin = (end - 1) / r->tokens * r->tokens, start[] = { 0, end - begin };
            kr_place at = { row, first + begin, end - begin };
            kr_scan_backward b = { .forward = piece_of(r, at),
                                   .dy = kr_take(&g->dout, at, r->dy, r->D, r->exec.threads),
                                   .dstate = (float *const[]){ r->state },
                                   .du = kr_target(&g->du, at, r->du, r->D),
                                   .ddelta = kr_target(&g->ddelta, at, r->ddelta, r->D),
                                   .dz = kr_target(&g->dz, at, r->dz, r->D),
                                   .dA = r->dA,
                                   .dD = g->dD.data ? r->dD : NULL,
                                   .ddelta_bias = g->ddelta_bias.data ? r->dbias : NULL,
                                   .y = kr_target(&op->out, at, r->y, r->D) };
            b.dB = op->fixed_B ? (kr_view){ g->dB.data ? r->dB_fixed : NULL, 0 } : coefficients_target(r, &g->dB, at, r->dB);
            b.dC = op->fixed_C ? (kr_view){ g->dC.data ? r->dC_fixed : NULL, 0 } : coefficients_target(r, &g->dC, at, r->dC);
            b.forward.rows = (kr_rows){ 1, start };
            saved -= kr_scan_chunks(b.forward.rows) * states;
            b.forward.saved = saved;
            kr_scan_backward_run(&r->exec, &b);
            kr_put(&g->du, at, r->du, r->D, r->exec.threads);
            kr_put(&g->ddelta, at, r->ddelta, r->D, r->exec.threads);
            kr_put(&g->dz, at, r->dz, r->D, r->exec.threads);
            kr_put(&op->out, at, r->y, r->D, r->exec.threads);
            if (!op->fixed_B) put_coefficients(r, &g->dB, at, r->dB);
            if (!op->fixed_C) put_coefficients(r, &g->dC, at, r->dC);
            end = begin;
        }
        turn_out(r, &g->dinitial_state, s, 3, r->state);
    }
    turn_out(r, &g->dA, 0, 2, r->dA);
    if (op->fixed_B) turn_out(r, &g->dB, 0, 2, r->dB_fixed);
    if (op->fixed_C) turn_out(r, &g->dC, 0, 2, r->dC_fixed);
    kr_vector_out(&g->dD, r->dD, r->D);
    kr_vector_out(&g->ddelta_bias, r->dbias, r->D);
}

size_t krait_selective_scan_saved(const krait_selective_scan *op)
{
    kr_sequences sequences;
    size_t states, size;
    if (!op || check_sizes(op, NULL)) return 0;
    if (kr_check_sequences(&sequences, op->batch, op->length, op->starts, op->n_sequences, NULL)) return 0;
    if (!kr_mul(op->d_state * (op->is_complex ? 2 : 1), op->dim, &states) || !kr_mul(chunks_of(&sequences), states, &size))
        return 0;
    return size;
}

krait_status kr_scan_pieces_check(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                                  const krait_op_options *options, int *threads, krait_error *error)
{
    run r;
    krait_status status = check(&r, op, gradients, error);
    if (!status) status = kr_api_exec(&r.exec, options, error);
    if (!status) *threads = r.exec.threads;
    return status;
}

krait_status kr_scan_pieces(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                            const krait_op_options *options, krait_error *error)
{
    run r;
    krait_status status = prepare(&r, op, gradients, options, error);
    if (status) return status;
    if (!gradients)
        forward(&r, op->saved);
    else {
        if (!op->saved) forward(&r, r.saved);
        backward(&r);
    }
    kr_free(r.memory);
    return KRAIT_OK;
}
