/* krait_rms_norm_*: kr_rms_norm and kr_rms_norm_backward where the caller's rows lie. */
#include <string.h>

#include "api/array.h"
#include "base/memory.h"

static krait_status check_rows(const char *name, const void *data, const ptrdiff_t *stride, size_t dim, krait_error *error)
{
    if (!data || (stride[0] >= 0 && (stride[1] == 1 || dim == 1))) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "%s: strides are %td and %td; the first may not be negative, the second must be 1", name, stride[0],
                   stride[1]);
}

static krait_status check(const krait_rms_norm *op, const krait_rms_norm_gradients *g, krait_error *error)
{
    krait_status status;
    if (op->dim == 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dim is 0");
    if (!(op->eps >= 0)) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "eps is %g", (double)op->eps);
    KR_INPUT("x", &op->x, true, op->rows, op->dim)
    KR_INPUT("weight", &op->weight, false, op->dim)
    if ((status = check_rows("x", op->x.data, op->x.stride, op->dim, error))) return status;
    if (!g) {
        KR_OUTPUT("out", &op->out, true, op->rows, op->dim)
        return check_rows("out", op->out.data, op->out.stride, op->dim, error);
    }
    KR_INPUT("dout", &g->dout, true, op->rows, op->dim)
    KR_OUTPUT("dx", &g->dx, false, op->rows, op->dim)
    KR_OUTPUT("dweight", &g->dweight, false, op->dim)
    if (g->dweight.data && !op->weight.data) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dweight is wanted, but weight is NULL");
    if ((status = check_rows("dout", g->dout.data, g->dout.stride, op->dim, error))) return status;
    return check_rows("dx", g->dx.data, g->dx.stride, op->dim, error);
}

/* Runs forward, or backward when there are gradients. */
static krait_status run(const krait_rms_norm *op, const krait_rms_norm_gradients *g, const krait_op_options *options,
                        krait_error *error)
{
    kr_exec exec;
    if (!op) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "op is NULL");
    krait_status status = check(op, g, error);
    if (!status) status = kr_api_exec(&exec, options, error);
    if (status) return status;
    float *memory = NULL, *weight = NULL, *dweight = NULL;
    for (int pass = 0; pass < 2; pass++) {
        kr_carver carver = { .base = memory };
        weight = kr_carve(&carver, 1, op->dim);
        dweight = kr_carve(&carver, 1, op->dim);
        exec.scratch_size = g ? exec.device->rms_norm_backward_scratch(op->rows) : 0;
        exec.scratch = kr_carve(&carver, 1, exec.scratch_size / sizeof(float));
        if (pass == 0) memory = carver.failed ? NULL : kr_alloc(carver.used, sizeof(float));
        if (!memory) return kr_fail_memory(error, "buffers of the norm", carver.used * sizeof(float));
    }
    kr_vector_in(weight, &op->weight, op->dim);
    memset(dweight, 0, op->dim * sizeof *dweight);
    kr_rms_norm norm = { .n_tokens = op->rows,
                         .dim = op->dim,
                         .x = { op->x.data, (size_t)op->x.stride[0] },
                         .weight = op->weight.data ? weight : NULL,
                         .eps = op->eps };
    if (g) {
        kr_rms_norm_backward b = { .forward = norm,
                                   .dy = { g->dout.data, (size_t)g->dout.stride[0] },
                                   .dx = { g->dx.data, (size_t)g->dx.stride[0] },
                                   .dweight = g->dweight.data ? dweight : NULL };
        kr_rms_norm_backward_run(&exec, &b);
        kr_vector_out(&g->dweight, dweight, op->dim);
    } else {
        norm.y = (kr_view){ op->out.data, (size_t)op->out.stride[0] };
        kr_rms_norm_run(&exec, &norm);
    }
    kr_free(memory);
    return KRAIT_OK;
}

krait_status krait_rms_norm_forward(const krait_rms_norm *op, const krait_op_options *options, krait_error *error)
{
    return run(op, NULL, options, error);
}

krait_status krait_rms_norm_backward(const krait_rms_norm *op, const krait_rms_norm_gradients *gradients,
                                     const krait_op_options *options, krait_error *error)
{
    if (!gradients) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "gradients is NULL");
    return run(op, gradients, options, error);
}
