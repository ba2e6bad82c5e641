/* The arrays of krait/ops.h: checks, and copies into the layouts of ops/ops.h and back. */
#ifndef KR_API_ARRAY_H
#define KR_API_ARRAY_H

#include "krait/ops.h"
#include "ops/ops.h"

/* Tokens that go through buffers at a time; whole chunks of the scan. */
enum { KR_API_TOKENS = 2 * KR_SCAN_CHUNK };

/* Device and threads; no scratch yet. */
krait_status kr_api_exec(kr_exec *exec, const krait_op_options *options, krait_error *error);

/* `name` must be there and shape's elements countable. An absent array is an error if `required` and it has elements. Outputs may not
 * have a stride of 0 where there is more than one index. */
krait_status kr_check_input(const char *name, const krait_input *array, bool required, int n_dims, const size_t *shape,
                            krait_error *error);
krait_status kr_check_output(const char *name, const krait_output *array, bool required, int n_dims, const size_t *shape,
                             krait_error *error);

/* The sequences of a batch, or of starts. kr_check_sequences() checks the latter. */
typedef struct kr_sequences {
    size_t batch, length, n;
    const size_t *starts;
} kr_sequences;
krait_status kr_check_sequences(kr_sequences *out, size_t batch, size_t length, const size_t *starts, size_t n,
                                krait_error *error);
/* Sequence s: row of the batch, first token in it, number of tokens. */
void kr_sequence(const kr_sequences *sequences, size_t s, size_t *row, size_t *first, size_t *count);

/* A matrix in the caller's memory: element [r, c] is `pair` floats at data + r * row + c * column. */
typedef struct kr_strided {
    float *data;
    ptrdiff_t row, column;
} kr_strided;
/* [rows, columns] of elements into or out of rows `stride` floats apart. */
void kr_gather(float *to, size_t stride, kr_strided from, size_t rows, size_t columns, size_t pair, int threads);
void kr_scatter(kr_strided to, const float *from, size_t stride, size_t rows, size_t columns, size_t pair, int threads);

static inline kr_strided kr_strided_input(const krait_input *a, ptrdiff_t offset, int row, int column)
{
    return (kr_strided){ a->data ? (float *)(uintptr_t)a->data + offset : NULL, a->stride[row], a->stride[column] };
}
static inline kr_strided kr_strided_output(const krait_output *a, ptrdiff_t offset, int row, int column)
{
    return (kr_strided){ a->data ? a->data + offset : NULL, a->stride[row], a->stride[column] };
}

/* Whether ops can take it where it lies. */
static inline bool kr_is_direct(kr_strided m) { return m.data && m.column == 1 && m.row >= 0; }

/* Tokens first .. first+count-1 of a row of the batch, of an array [batch, dim, length]. */
typedef struct kr_place {
    size_t row, first, count;
} kr_place;
/* As rows of tokens: where it lies, or copied into buffer, [count, dim]. */
kr_cview kr_take(const krait_input *array, kr_place at, float *buffer, size_t dim, int threads);
/* Where an op shall write; kr_put() then brings it home. */
kr_view kr_target(const krait_output *array, kr_place at, float *buffer, size_t dim);
void kr_put(const krait_output *array, kr_place at, const float *buffer, size_t dim, int threads);
/* Whether kr_take() and kr_target() need no buffer. */
static inline bool kr_needs_no_copy(const void *data, const ptrdiff_t *stride)
{
    return !data || (stride[1] == 1 && stride[2] >= 0);
}

/* [dim] of any stride; absent: zeros, or nothing is written. */
void kr_vector_in(float *to, const krait_input *array, size_t dim);
void kr_vector_out(const krait_output *array, const float *from, size_t dim);

/* KR_INPUT("u", &op->u, required, its sizes..) leaves the function with the error. */
#define KR_INPUT(name, array, required, ...)                                                                \
    if ((status = kr_check_input(name, array, required, sizeof((size_t[]){ __VA_ARGS__ }) / sizeof(size_t), \
                                 (size_t[]){ __VA_ARGS__ }, error)))                                        \
        return status;
#define KR_OUTPUT(name, array, required, ...)                                                                \
    if ((status = kr_check_output(name, array, required, sizeof((size_t[]){ __VA_ARGS__ }) / sizeof(size_t), \
                                  (size_t[]){ __VA_ARGS__ }, error)))                                        \
        return status;

/* Carves blocks of floats from memory, or counts them when base is NULL. Overflow shows in failed. */
typedef struct kr_carver {
    float *base;
    size_t used;
    bool failed;
} kr_carver;
float *kr_carve(kr_carver *carver, size_t rows, size_t columns);

#endif
