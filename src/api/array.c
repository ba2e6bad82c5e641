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
enum { BLOCK = 4 }; /* a register of 16 bytes */

typedef float block __attribute__((vector_size(16)));
typedef int32_t block_order __attribute__((vector_size(16)));

/* Elements of a, 0 to 3, and of b, 4 to 7. */
#if defined(__clang__)
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (block_order){ i, j, k, l })
#endif

/* to[i, j] = from[j, i], both with rows of whole floats. */
static inline void turn_block(float *to, ptrdiff_t to_row, const float *from, ptrdiff_t from_row)
{
    block a[BLOCK], b[BLOCK], turned[BLOCK];
    for (int i = 0; i < BLOCK; i++) memcpy(&a[i], from + i * from_row, sizeof a[i]);
    b[0] = MIX(a[0], a[1], 0, 4, 1, 5), b[1] = MIX(a[0], a[1], 2, 6, 3, 7);
    b[2] = MIX(a[2], a[3], 0, 4, 1, 5), b[3] = MIX(a[2], a[3], 2, 6, 3, 7);
    turned[0] = MIX(b[0], b[2], 0, 1, 4, 5), turned[1] = MIX(b[0], b[2], 2, 3, 6, 7);
    turned[2] = MIX(b[1], b[3], 0, 1, 4, 5), turned[3] = MIX(b[1], b[3], 2, 3, 6, 7);
    for (int i = 0; i < BLOCK; i++) memcpy(to + i * to_row, &turned[i], sizeof turned[i]);
}

/* A whole tile whose far rows lie next to each other. One far line after the other: there they are often 4096 bytes apart, or a
 * multiple, and a cache does not hold sixteen of those. */
static void turn_tile(float *far, ptrdiff_t column, float *near, ptrdiff_t stride, bool out)
{
    for (ptrdiff_t c = 0; c < TILE; c += BLOCK)
        for (ptrdiff_t r = 0; r < TILE; r += BLOCK)
            if (out)
                turn_block(far + c * column + r, column, near + r * stride + c, stride);
            else
                turn_block(near + r * stride + c, stride, far + c * column + r, column);
}

static void copy_tile(const copy *k, size_t r0, size_t r1, size_t c0, size_t c1)
{
    float *far = k->far.data + (ptrdiff_t)r0 * k->far.row + (ptrdiff_t)c0 * k->far.column;
    if (k->pair == 1 && k->far.row == 1 && r1 - r0 == TILE && c1 - c0 == TILE) {
        turn_tile(far, k->far.column, k->near + r0 * k->stride + c0, (ptrdiff_t)k->stride, k->out);
        return;
    }
    for (size_t r = r0; r < r1; r++)
        for (size_t c = c0; c < c1; c++) {
            far = k->far.data + (ptrdiff_t)r * k->far.row + (ptrdiff_t)c * k->far.column;
            float *near = k->near + r * k->stride + c * k->pair;
            for (size_t p = 0; p < k->pair; p++) *(k->out ? far + p : near + p) = k->out ? near[p] : far[p];
        }
}

static void share(void *context, int thread, int n_threads)
{
    const copy *k = context;
    size_t begin, end;
    kr_share(k->columns, TILE, thread, n_threads, &begin, &end);
    for (size_t c0 = begin; c0 < end; c0 += TILE)
        for (size_t r0 = 0; r0 < k->rows; r0 += TILE)
            copy_tile(k, r0, k->rows - r0 < TILE ? k->rows : r0 + TILE, c0, end - c0 < TILE ? end : c0 + TILE);
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
