/* The references of matrix products. */
#include <math.h>
#include <string.h>

#include "cpu/kernels.h"
#include "tensor/packed.h"
#include "tensor/tensor.h"

/* Sixteen partial sums, then their sum: a fixed order that a compiler may still vectorise, and a smaller error than one sum. */
#define DOT(name, type, VALUE)                                                        \
    static float name(const float *a, const type *b, size_t n)                        \
    {                                                                                 \
        enum { LANES = 16 };                                                          \
        float lane[LANES] = { 0 }, sum = 0;                                           \
        size_t i = 0;                                                                 \
        for (; i + LANES <= n; i += LANES)                                            \
            for (size_t l = 0; l < LANES; l++) lane[l] += a[i + l] * VALUE(b[i + l]); \
        for (; i < n; i++) lane[i % LANES] += a[i] * VALUE(b[i]);                     \
        for (size_t l = 0; l < LANES; l++) sum += lane[l];                            \
        return sum;                                                                   \
    }
DOT(dot_f32, float, )
DOT(dot_f16, uint16_t, kr_f16_to_float)
DOT(dot_bf16, uint16_t, kr_bf16_to_float)

void kr_matvec_plain(const kr_linear *op, size_t begin, size_t end)
{
    size_t K = op->weight.columns;
    for (size_t j = begin; j < end; j++)
        for (size_t t = 0; t < op->n_tokens; t++) {
            float *y = op->y.data + t * op->y.stride + j;
            const float *x = op->x.data + t * op->x.stride;
            float sum = 0;
            switch (op->weight.type) {
            case KRAIT_WEIGHT_F16: sum = dot_f16(x, (const uint16_t *)op->weight.data + j * K, K); break;
            case KRAIT_WEIGHT_BF16: sum = dot_bf16(x, (const uint16_t *)op->weight.data + j * K, K); break;
            default: sum = dot_f32(x, (const float *)op->weight.data + j * K, K);
            }
            if (op->bias) sum += op->bias[j];
            *y = op->add ? *y + sum : sum;
        }
}

void kr_product_plain(const kr_gemm_product *p, size_t begin, size_t end)
{
    enum { STRIP = 64 };
    const size_t row = p->a_transposed ? 1 : p->lda, step = p->a_transposed ? p->lda : 1;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < p->n; j += STRIP) {
            const size_t columns = p->n - j < STRIP ? p->n - j : STRIP;
            float sum[STRIP] = { 0 }, *y = p->y + i * p->ldy + j;
            for (size_t l = 0; l < p->k; l++) {
                const float a = ((const float *)p->a)[i * row + l * step];
                const size_t at = l * p->ldb + j;
                if (p->type == KRAIT_WEIGHT_BF16)
                    for (size_t c = 0; c < columns; c++) sum[c] += a * kr_bf16_to_float(((const uint16_t *)p->b)[at + c]);
                else
                    for (size_t c = 0; c < columns; c++) sum[c] += a * ((const float *)p->b)[at + c];
            }
            for (size_t c = 0; c < columns; c++) y[c] = p->add ? y[c] + sum[c] : sum[c];
        }
}

/* ---- grouped weights --------------------------------------------------------------------------------------------- */

#include "cpu/quantize_body.h"

void kr_quantize_plain(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    quantize_rows(op, x, begin, end, from, to);
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t kr_quantized_carve(kr_quantized *x, void *memory, size_t n_tokens, size_t columns)
{
    const size_t stride = kr_blocks_of(columns) * KR_BLOCK_COLUMNS, halves = stride / KR_HALF_COLUMNS;
    const size_t tiles = (n_tokens + KR_TILE_TOKENS - 1) / KR_TILE_TOKENS;
    const size_t scale = n_tokens * stride * sizeof(uint16_t); /* room for bfloat16 */
    const size_t offset = scale + aligned(n_tokens * halves * sizeof(float));
    const size_t tile_scale = offset + aligned(n_tokens * halves * sizeof(int32_t));
    const size_t tile_offset = tile_scale + tiles * halves * KR_TILE_TOKENS * sizeof(float);
    char *at = memory;
    if (memory)
        *x = (kr_quantized){ .stride = stride,
                             .values = (int8_t *)at,
                             .scale = (float *)(void *)(at + scale),
                             .offset = (int32_t *)(void *)(at + offset),
                             .tile_scale = (float *)(void *)(at + tile_scale),
                             .tile_offset = (int32_t *)(void *)(at + tile_offset) };
    return tile_offset + tiles * halves * KR_TILE_TOKENS * sizeof(int32_t);
}

/* The sum of half a block's products, exactly. */
static int32_t dot_half(const uint8_t *numbers, krait_weight_type type, size_t row, size_t half, const int8_t *x)
{
    int32_t sum = 0;
    for (size_t c = 0; c < KR_HALF_COLUMNS; c++) {
        const size_t quad = c / 4, row_at = row * 4 + c % 4, step = KR_GROUP_ROWS * 4;
        int32_t number;
        if (type == KRAIT_WEIGHT_Q8)
            number = numbers[(half * KR_HALF_COLUMNS / 4 + quad) * step + row_at];
        else
            number = numbers[quad * step + row_at] >> 4 * half & 15;
        if (type == KRAIT_WEIGHT_Q6)
            number |= (numbers[KR_Q6_LOW_BYTES + quad / 2 * step + row_at] >> (4 * half + quad % 2 * 2) & 3) << 4;
        sum += (number - kr_number_offset(type)) * x[c];
    }
    return sum;
}

void kr_dot_plain(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    (void)then;
    const krait_weight_type type = op->weight.type;
    const size_t size = kr_block_bytes(type), blocks = x->stride / KR_BLOCK_COLUMNS;
    for (size_t j = begin; j < end; j++)
        for (size_t t = 0; t < op->n_tokens; t++) {
            const uint8_t *block = (const uint8_t *)op->weight.data + j / KR_GROUP_ROWS * blocks * size;
            const int8_t *values = x->values + t * x->stride;
            const float *scale_x = x->scale + t * x->stride / KR_HALF_COLUMNS;
            const size_t row = j % KR_GROUP_ROWS;
            float *y = op->y.data + t * op->y.stride + j, sum = 0;
            for (size_t b = 0; b < blocks; b++, block += size, values += KR_BLOCK_COLUMNS, scale_x += 2) {
                for (size_t half = 0; half < 2; half++) {
                    uint16_t scale;
                    memcpy(&scale, block + (half * KR_GROUP_ROWS + row) * sizeof scale, sizeof scale);
                    int32_t number = dot_half(block + KR_SCALES_BYTES, type, row, half, values + half * KR_HALF_COLUMNS);
                    sum = fmaf((float)number, kr_f16_to_float(scale) * scale_x[half], sum);
                }
            }
            if (op->bias) sum += op->bias[j];
            *y = op->add ? *y + sum : sum;
        }
}
