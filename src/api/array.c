#include "api/array.h"

#include <stdint.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/device.h"

krait_status kr_api_exec(kr_exec *exec, const krait_op_options *options, krait_error *error)
{
    krait_op_options chosen = options ? *options : (krait_op_options){ 0 };
    if (chosen.threads < 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "options.threads is %d", chosen.threads);
    krait_status status = kr_isa_resolve(&chosen.isa, error);
    if (status) return status;
    *exec =
        (kr_exec){ .device = kr_cpu_device(chosen.isa), .threads = chosen.threads > 0 ? chosen.threads : kr_threads_available() };
    return KRAIT_OK;
}

static krait_status check(const char *name, const void *data, const ptrdiff_t *stride, bool required, bool output, int n_dims,
                          const size_t *shape, krait_error *error)
{
    size_t count = 1;
    for (int i = 0; i < n_dims; i++)
        if (!kr_mul(count, shape[i], &count) || count > PTRDIFF_MAX / 64)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: its sizes are too large", name);
    if (!data && required && count > 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s is NULL", name);
    for (int i = 0; i < n_dims && data && output && count > 0; i++)
        if (shape[i] > 1 && stride[i] == 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: stride %d is 0, of an output with %zu there", name, i, shape[i]);
    return KRAIT_OK;
}

krait_status kr_check_input(const char *name, const krait_input *array, bool required, int n_dims, const size_t *shape,
                            krait_error *error)
{
    return check(name, array->data, array->stride, required, false, n_dims, shape, error);
}

krait_status kr_check_output(const char *name, const krait_output *array, bool required, int n_dims, const size_t *shape,
                             krait_error *error)
{
    return check(name, array->data, array->stride, required, true, n_dims, shape, error);
}

krait_status kr_check_sequences(kr_sequences *out, size_t batch, size_t length, const size_t *starts, size_t n,
                                krait_error *error)
{
    *out = (kr_sequences){ batch, length, starts ? n : batch, starts };
    if (!starts) return KRAIT_OK;
    if (batch != 1) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "batch is %zu: with starts it must be 1", batch);
    if (starts[0] != 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "starts[0] is %zu, not 0", starts[0]);
    for (size_t i = 0; i < n; i++)
        if (starts[i + 1] < starts[i])
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "starts[%zu] is %zu, after %zu: they must not descend", i + 1,
                           starts[i + 1], starts[i]);
    if (starts[n] != length)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "starts[%zu] is %zu: the last must be length, %zu", n, starts[n], length);
    return KRAIT_OK;
}

void kr_sequence(const kr_sequences *sequences, size_t s, size_t *row, size_t *first, size_t *count)
{
    *row = sequences->starts ? 0 : s;
    *first = sequences->starts ? sequences->starts[s] : 0;
    *count = sequences->starts ? sequences->starts[s + 1] - *first : sequences->length;
}

/* ---- copies ------------------------------------------------------------------------------------------------------------ */

typedef struct copy {
    kr_strided far;
    float *near;
    size_t stride, rows, columns, pair;
    bool out;
} copy;

enum { TILE = 16 }; /* a cache line of floats, so that each line of either side is touched once */

static void share(void *context, int thread, int n_threads)
{
    const copy *k = context;
    size_t begin, end;
    kr_share(k->columns, TILE, thread, n_threads, &begin, &end);
    for (size_t c0 = begin; c0 < end; c0 += TILE)
        for (size_t r0 = 0; r0 < k->rows; r0 += TILE) {
            size_t c1 = end - c0 < TILE ? end : c0 + TILE, r1 = k->rows - r0 < TILE ? k->rows : r0 + TILE;
            for (size_t r = r0; r < r1; r++)
                for (size_t c = c0; c < c1; c++) {
                    float *far = k->far.data + (ptrdiff_t)r * k->far.row + (ptrdiff_t)c * k->far.column;
                    float *near = k->near + r * k->stride + c * k->pair;
                    for (size_t p = 0; p < k->pair; p++) *(k->out ? far + p : near + p) = k->out ? near[p] : far[p];
                }
        }
}

enum { SERIAL = 1 << 15 }; /* elements below which threads cost more than they give */

void kr_gather(float *to, size_t stride, kr_strided from, size_t rows, size_t columns, size_t pair, int threads)
{
    kr_parallel(rows * columns < SERIAL ? 1 : threads, share, &(copy){ from, to, stride, rows, columns, pair, false });
}

void kr_scatter(kr_strided to, const float *from, size_t stride, size_t rows, size_t columns, size_t pair, int threads)
{
    kr_parallel(rows * columns < SERIAL ? 1 : threads, share,
                &(copy){ to, (float *)(uintptr_t)from, stride, rows, columns, pair, true });
}

static kr_strided activation(const float *data, const ptrdiff_t *stride, kr_place at)
{
    float *start = data ? (float *)(uintptr_t)data + (ptrdiff_t)at.row * stride[0] + (ptrdiff_t)at.first * stride[2] : NULL;
    return (kr_strided){ start, stride[2], stride[1] };
}

kr_cview kr_take(const krait_input *array, kr_place at, float *buffer, size_t dim, int threads)
{
    kr_strided m = activation(array->data, array->stride, at);
    if (!m.data) return (kr_cview){ NULL, 0 };
    if (kr_is_direct(m)) return (kr_cview){ m.data, (size_t)m.row };
    kr_gather(buffer, dim, m, at.count, dim, 1, threads);
    return (kr_cview){ buffer, dim };
}

kr_view kr_target(const krait_output *array, kr_place at, float *buffer, size_t dim)
{
    kr_strided m = activation(array->data, array->stride, at);
    if (!m.data) return (kr_view){ NULL, 0 };
    return kr_is_direct(m) ? (kr_view){ m.data, (size_t)m.row } : (kr_view){ buffer, dim };
}

void kr_put(const krait_output *array, kr_place at, const float *buffer, size_t dim, int threads)
{
    kr_strided m = activation(array->data, array->stride, at);
    if (m.data && !kr_is_direct(m)) kr_scatter(m, buffer, dim, at.count, dim, 1, threads);
}

void kr_vector_in(float *to, const krait_input *array, size_t dim)
{
    if (array->data)
        kr_gather(to, dim, (kr_strided){ (float *)(uintptr_t)array->data, 0, array->stride[0] }, 1, dim, 1, 1);
    else
        memset(to, 0, dim * sizeof *to);
}

void kr_vector_out(const krait_output *array, const float *from, size_t dim)
{
    if (array->data) kr_scatter((kr_strided){ array->data, 0, array->stride[0] }, from, dim, 1, dim, 1, 1);
}

float *kr_carve(kr_carver *carver, size_t rows, size_t columns)
{
    size_t count, at = carver->used;
    if (!kr_mul(rows, columns, &count) || count > PTRDIFF_MAX / 64 || carver->used > PTRDIFF_MAX / 64) {
        carver->failed = true;
        return NULL;
    }
    carver->used += (count + 15) / 16 * 16;
    return carver->base ? carver->base + at : NULL;
}
