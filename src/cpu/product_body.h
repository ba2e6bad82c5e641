/* Products whose right side is read along its rows: those of backward passes (kernels.h's `product`).
 *
 *     y[i, j] (+)= sum_l a[i, l] * b[l, j]
 *
 * A tile is a few rows of y by two vectors, one sum for each element, over l in order: its bits do not depend on the tile. All
 * rows use a strip of b two vectors wide before the next is read, so that it stays in cache. */

enum { PRODUCT_ROWS = VEC_REGISTERS >= 32 ? 8 : 4, PRODUCT_COLUMNS = 2 * VEC_LANES };

/* rows and whether the strip is whole are known to the compiler. */
VEC_INLINE void product_tile(const kr_gemm_product *p, const krait_weight_type type, size_t i, const size_t rows, size_t j,
                             const bool whole)
{
    const size_t size = type == KRAIT_WEIGHT_F32 ? sizeof(float) : sizeof(uint16_t),
                 columns = whole || p->n - j > PRODUCT_COLUMNS ? PRODUCT_COLUMNS : p->n - j;
    const size_t low = columns < VEC_LANES ? columns : VEC_LANES, high = columns - low;
    const size_t row = p->a_transposed ? 1 : p->lda, step = p->a_transposed ? p->lda : 1;
    const float *a = (const float *)p->a + i * row;
    const char *b = (const char *)p->b + j * size;
    vec sum[8][2];
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) sum[r][0] = sum[r][1] = vec_zero();
    for (size_t l = 0; l < p->k; l++, a += step, b += p->ldb * size) {
        vec b0 = whole ? matvec_load(type, b) : matvec_load_n(type, b, low);
        vec b1 = whole  ? matvec_load(type, b + VEC_LANES * size)
                 : high ? matvec_load_n(type, b + VEC_LANES * size, high)
                        : vec_zero();
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            vec s = vec_set(a[r * row]);
            sum[r][0] = vec_fma(s, b0, sum[r][0]);
            sum[r][1] = vec_fma(s, b1, sum[r][1]);
        }
    }
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        float *y = p->y + (i + r) * p->ldy + j;
        if (p->add) {
            sum[r][0] = vec_add(vec_load_n(y, low), sum[r][0]);
            if (high) sum[r][1] = vec_add(vec_load_n(y + VEC_LANES, high), sum[r][1]);
        }
        vec_store_n(y, sum[r][0], low);
        if (high) vec_store_n(y + VEC_LANES, sum[r][1], high);
    }
}

VEC_INLINE void product_strips(const kr_gemm_product *p, const krait_weight_type type, size_t begin, size_t end)
{
    for (size_t j = 0; j < p->n; j += PRODUCT_COLUMNS) {
        const bool whole = p->n - j >= PRODUCT_COLUMNS;
        size_t i = begin;
        if (whole)
            for (; i + PRODUCT_ROWS <= end; i += PRODUCT_ROWS) product_tile(p, type, i, PRODUCT_ROWS, j, true);
        for (; i < end; i++) product_tile(p, type, i, 1, j, false);
    }
}

static void product_rows(const kr_gemm_product *p, size_t begin, size_t end)
{
    if (p->type == KRAIT_WEIGHT_BF16)
        product_strips(p, KRAIT_WEIGHT_BF16, begin, end);
    else
        product_strips(p, KRAIT_WEIGHT_F32, begin, end);
}
