/* krait_selective_scan_*: in one go, or channels by slices. */
#include <string.h>

#include "api/array.h"
#include "api/scan_pieces.h"
#include "base/memory.h"
#include "base/threads.h"

/* Where activations must be copied, a thread does better to turn, scan and turn back its own channels, some at a time: what it turns
 * stays in its cache, and no thread waits for another. The gradients of B and C are sums over channels: their slices are the same for any
 * number of threads, and are added in their order, so that the bits are. */
enum { SLICE = 128 };

typedef struct slices {
    const krait_selective_scan *op;
    const krait_selective_scan_gradients *gradients; /* NULL: forward */
    krait_op_options options;
    size_t width, rows, coefficients; /* channels; rows of saved; floats of dB */
    float *saved;                     /* [threads, rows, width], with op->saved */
    float *dB, *dC;                   /* [slices, batch, length, d_state], unless they are fixed or not wanted */
    krait_status *status;             /* [threads] */
    krait_error *errors;
} slices;

static void advance(krait_input *array, int dim, size_t channels)
{
    if (array->data) array->data += (ptrdiff_t)channels * array->stride[dim];
}

static void advance_output(krait_output *array, int dim, size_t channels)
{
    if (array->data) array->data += (ptrdiff_t)channels * array->stride[dim];
}

static krait_selective_scan slice_of(const krait_selective_scan *op, size_t begin, size_t count)
{
    krait_selective_scan slice = *op;
    slice.dim = count;
    advance(&slice.u, 1, begin), advance(&slice.delta, 1, begin), advance(&slice.z, 1, begin);
    advance(&slice.A, 0, begin), advance(&slice.D, 0, begin), advance(&slice.delta_bias, 0, begin);
    advance(&slice.initial_state, 1, begin);
    if (op->fixed_B) advance(&slice.B, 0, begin);
    if (op->fixed_C) advance(&slice.C, 0, begin);
    advance_output(&slice.out, 1, begin), advance_output(&slice.last_state, 1, begin);
    return slice;
}

/* [batch, 1, d_state, length] in a slice's own memory, [batch, length, d_state]. */
static krait_output own_coefficients(const slices *k, float *data, size_t slice)
{
    ptrdiff_t pair = k->op->is_complex ? 2 : 1, token = (ptrdiff_t)k->op->d_state * pair;
    return (krait_output){ data ? data + slice * k->coefficients : NULL, { token * (ptrdiff_t)k->op->length, 0, pair, token } };
}

static krait_selective_scan_gradients gradients_of(const slices *k, size_t begin)
{
    krait_selective_scan_gradients slice = *k->gradients;
    advance(&slice.dout, 1, begin), advance(&slice.dlast_state, 1, begin);
    advance_output(&slice.du, 1, begin), advance_output(&slice.ddelta, 1, begin), advance_output(&slice.dz, 1, begin);
    advance_output(&slice.dA, 0, begin), advance_output(&slice.dD, 0, begin), advance_output(&slice.ddelta_bias, 0, begin);
    advance_output(&slice.dinitial_state, 1, begin);
    if (k->op->fixed_B)
        advance_output(&slice.dB, 0, begin);
    else
        slice.dB = own_coefficients(k, k->dB, begin / k->width);
    if (k->op->fixed_C)
        advance_output(&slice.dC, 0, begin);
    else
        slice.dC = own_coefficients(k, k->dC, begin / k->width);
    return slice;
}

/* Between op->saved, [rows, dim], and a slice's. */
static void copy_saved(const slices *k, float *own, size_t begin, size_t count, bool out)
{
    size_t pair = k->op->is_complex ? 2 : 1, width = count * pair;
    for (size_t r = 0; r < k->rows; r++) {
        float *whole = k->op->saved + (r * k->op->dim + begin) * pair, *part = own + r * width;
        memcpy(out ? whole : part, out ? part : whole, width * sizeof *own);
    }
}

static krait_status run_slice(const slices *k, float *saved, size_t begin, size_t count, krait_error *error)
{
    krait_selective_scan slice = slice_of(k->op, begin, count);
    slice.saved = saved;
    if (!k->gradients) {
        krait_status status = kr_scan_pieces(&slice, NULL, &k->options, error);
        if (!status && saved) copy_saved(k, saved, begin, count, true);
        return status;
    }
    krait_selective_scan_gradients gradients = gradients_of(k, begin);
    if (saved) copy_saved(k, saved, begin, count, false);
    return kr_scan_pieces(&slice, &gradients, &k->options, error);
}

static void run_slices(void *context, int thread, int n_threads)
{
    slices *k = context;
    size_t begin, end, pair = k->op->is_complex ? 2 : 1;
    float *saved = k->saved ? k->saved + (size_t)thread * k->rows * k->width * pair : NULL;
    kr_share(k->op->dim, k->width, thread, n_threads, &begin, &end);
    for (size_t d = begin; d < end && !k->status[thread]; d += k->width)
        k->status[thread] = run_slice(k, saved, d, end - d < k->width ? end - d : k->width, &k->errors[thread]);
}

typedef struct sum {
    float *parts; /* [n, count]; the first becomes the sum */
    size_t n, count;
} sum;

static void add_share(void *context, int thread, int n_threads)
{
    const sum *k = context;
    size_t begin, end;
    kr_share(k->count, 16, thread, n_threads, &begin, &end);
    for (size_t i = 1; i < k->n; i++) {
        const float *part = k->parts + i * k->count;
        for (size_t j = begin; j < end; j++) k->parts[j] += part[j];
    }
}

static void add_up(const slices *k, float *parts, size_t n, const krait_output *to, int threads)
{
    if (!parts) return;
    size_t pair = k->op->is_complex ? 2 : 1, token = k->op->d_state * pair;
    kr_parallel(threads, add_share, &(sum){ parts, n, k->coefficients });
    for (size_t b = 0; b < k->op->batch; b++)
        kr_scatter(kr_strided_output(to, (ptrdiff_t)b * to->stride[0], 3, 2), parts + b * k->op->length * token, token,
                   k->op->length, k->op->d_state, pair, threads);
}

static krait_status allocate(slices *k, size_t n, size_t threads, krait_error *error)
{
    const krait_selective_scan *op = k->op;
    size_t pair = op->is_complex ? 2 : 1, size, saved = krait_selective_scan_saved(op);
    k->coefficients = op->batch * op->length * op->d_state * pair; /* of an array that is there */
    k->rows = saved / op->dim / pair;
    k->status = kr_alloc_zero(threads, sizeof *k->status);
    k->errors = kr_alloc(threads, sizeof *k->errors);
    bool enough = k->status && k->errors;
    if (op->saved && enough) {
        enough = kr_mul(threads * k->width * pair, k->rows, &size) && (k->saved = kr_alloc(size ? size : 1, sizeof(float)));
    }
    const krait_selective_scan_gradients *g = k->gradients;
    enough = enough && kr_mul(n, k->coefficients, &size);
    if (enough && g && g->dB.data && !op->fixed_B) enough = (k->dB = kr_alloc(size, sizeof(float)));
    if (enough && g && g->dC.data && !op->fixed_C) enough = (k->dC = kr_alloc(size, sizeof(float)));
    return enough ? KRAIT_OK : kr_fail_memory(error, "slices of the selective scan", n * k->coefficients * sizeof(float));
}

static krait_status by_slices(const krait_selective_scan *op, const krait_selective_scan_gradients *g,
                              const krait_op_options *options, krait_error *error)
{
    int threads;
    krait_status status = kr_scan_pieces_check(op, g, options, &threads, error);
    if (status) return status;
    slices k = { .op = op, .gradients = g, .options = { .threads = 1, .isa = options ? options->isa : KRAIT_ISA_AUTO } };
    size_t each = (op->dim + (size_t)threads - 1) / (size_t)threads;
    k.width = g || each >= SLICE ? SLICE : (each + 15) / 16 * 16;
    size_t n = (op->dim + k.width - 1) / k.width;
    if ((size_t)threads > n) threads = (int)n;
    status = allocate(&k, n, (size_t)threads, error);
    if (!status) kr_parallel(threads, run_slices, &k);
    for (int i = 0; i < threads && !status; i++)
        if ((status = k.status[i]) && error) *error = k.errors[i];
    if (!status && g) {
        add_up(&k, k.dB, n, &g->dB, threads);
        add_up(&k, k.dC, n, &g->dC, threads);
    }
    kr_free(k.status), kr_free(k.errors), kr_free(k.saved), kr_free(k.dB), kr_free(k.dC);
    return status;
}

static krait_status run(const krait_selective_scan *op, const krait_selective_scan_gradients *g, const krait_op_options *options,
                        krait_error *error)
{
    bool sliced =
        op && op->n_groups <= 1 && op->dim >= 2 * SLICE && op->length >= KR_SCAN_CHUNK && !kr_scan_activations_direct(op, g);
    return (sliced ? by_slices : kr_scan_pieces)(op, g, options, error);
}

krait_status krait_selective_scan_forward(const krait_selective_scan *op, const krait_op_options *options, krait_error *error)
{
    return run(op, NULL, options, error);
}

krait_status krait_selective_scan_backward(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                                           const krait_op_options *options, krait_error *error)
{
    if (!gradients) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "gradients is NULL");
    return run(op, gradients, options, error);
}

static krait_input with_length(krait_input a, int dims)
{
    a.stride[dims] = 0;
    return a;
}

krait_status krait_selective_state_update(const krait_state_update *op, const krait_op_options *options, krait_error *error)
{
    if (!op) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "op is NULL");
    if (!op->state.data && op->batch > 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "state is NULL");
    if (!op->x.data && op->batch > 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "x is NULL");
    if (!op->dt.data && op->batch > 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dt is NULL");
    krait_selective_scan scan = { .batch = op->batch,
                                  .dim = op->dim,
                                  .length = 1,
                                  .d_state = op->d_state,
                                  .n_groups = op->n_groups,
                                  .u = with_length(op->x, 2),
                                  .delta = with_length(op->dt, 2),
                                  .A = op->A,
                                  .B = with_length(op->B, 3),
                                  .C = with_length(op->C, 3),
                                  .delta_softplus = op->dt_softplus,
                                  .D = op->D,
                                  .z = with_length(op->z, 2),
                                  .delta_bias = op->dt_bias,
                                  .out = op->out,
                                  .last_state = op->state };
    scan.out.stride[2] = 0;
    scan.initial_state.data = op->state.data;
    memcpy(scan.initial_state.stride, op->state.stride, sizeof scan.initial_state.stride);
    return krait_selective_scan_forward(&scan, options, error);
}
