/* Products of bfloat16 weights, read where they are mapped, with x rounded to bfloat16: the body of kernels.h's dot for CPUs that
 * multiply pairs of bfloat16 and add them to float32. Tiles and streams are those of matvec_body.h, a vector holding twice the
 * columns. An output's bits depend neither on the tile nor on the range. */

enum { BF16_COLUMNS = 2 * VEC_LANES };

VEC_INLINE void bf16_tile(const kr_linear *op, const kr_quantized *x, size_t j, size_t step, const size_t rows, size_t t,
                          const size_t tokens, size_t ahead)
{
    const size_t K = op->weight.columns, run = step * K;
    const uint16_t *w = (const uint16_t *)op->weight.data + j * K, *v = (const uint16_t *)(const void *)x->values + t * x->stride;
    vec sum[6][MATVEC_ROWS];
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) VEC_UNROLL
    for (size_t r = 0; r < rows; r++) sum[i][r] = vec_zero();
    for (size_t k = 0; k < K; k += BF16_COLUMNS) {
        const size_t n = K - k < BF16_COLUMNS ? K - k : BF16_COLUMNS;
        if (ahead) {
            VEC_UNROLL
            for (size_t r = 0; r < rows; r++) __builtin_prefetch((const void *)((uintptr_t)(w + r * run + k) + ahead), 0, 2);
        }
        bvec b[6];
        VEC_UNROLL
        for (size_t i = 0; i < tokens; i++) b[i] = bvec_load(v + i * x->stride + k); /* rows of x are filled up with zeros */
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            const uint16_t *at = w + r * run + k;
            bvec a = n == BF16_COLUMNS ? bvec_load(at) : bvec_load_n(at, n);
            VEC_UNROLL
            for (size_t i = 0; i < tokens; i++) sum[i][r] = bvec_dot(sum[i][r], a, b[i]);
        }
    }
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) {
        float s[MATVEC_ROWS], *y = op->y.data + (t + i) * op->y.stride + j;
        if (rows == MATVEC_ROWS)
            vec_sum4(s, sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        else
            s[0] = vec_sum(sum[i][0]);
        for (size_t r = 0; r < rows; r++) {
            if (op->bias) s[r] += op->bias[j + r * step];
            y[r * step] = op->add ? y[r * step] + s[r] : s[r];
        }
    }
}

static void bf16_tile_of(const kr_linear *op, const kr_quantized *x, size_t j, size_t step, size_t t, size_t tokens, size_t ahead)
{
    switch (tokens) {
    case 1: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 1, ahead); break;
    case 2: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 2, ahead); break;
    case 3: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 3, ahead); break;
    case 4: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 4, ahead); break;
    case 5: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 5, ahead); break;
    case 6: bf16_tile(op, x, j, step, MATVEC_ROWS, t, 6, ahead); break;
    default: __builtin_unreachable();
    }
}

static void bf16_block(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t t, size_t n)
{
    const size_t step = (end - begin) / MATVEC_ROWS, tiles = (n + MATVEC_TOKENS - 1) / MATVEC_TOKENS;
    const size_t ahead = n <= 2 ? 1024 : tiles == 1 ? 2048 : 8192;
    for (size_t j = begin; j < begin + step; j++)
        for (size_t i = 0, first = t; i < tiles; i++) {
            const size_t tokens = n / tiles + (i < n % tiles);
            bf16_tile_of(op, x, j, step, first, tokens, i < MATVEC_ASKS ? ahead : 0);
            first += tokens;
        }
    for (size_t j = begin + step * MATVEC_ROWS; j < end; j++)
        for (size_t i = t; i < t + n; i++) bf16_tile(op, x, j, 0, 1, i, 1, 0);
}

static void bf16_rows(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    (void)then;
    size_t block = MATVEC_BLOCK_BYTES / sizeof(uint16_t) / x->stride;
    if (block < MATVEC_MIN_BLOCK) block = MATVEC_MIN_BLOCK;
    for (size_t t = 0; t < op->n_tokens; t += block)
        bf16_block(op, x, begin, end, t, op->n_tokens - t < block ? op->n_tokens - t : block);
}

static void bf16_quantize(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t first, size_t last)
{
    const size_t K = op->weight.columns < last ? op->weight.columns : last;
    for (size_t t = begin; t < end; t++) {
        const float *from = op->x.data + t * op->x.stride;
        uint16_t *to = (uint16_t *)(void *)x->values + t * x->stride;
        size_t k = first;
        for (; k + BF16_COLUMNS <= K; k += BF16_COLUMNS) bvec_store(to + k, vec_load(from + k), vec_load(from + k + VEC_LANES));
        if (k < K) {
            const size_t n = K - k, low = n < VEC_LANES ? n : VEC_LANES;
            bvec_store(to + k, vec_load_n(from + k, low), n > low ? vec_load_n(from + k + VEC_LANES, n - low) : vec_zero());
            k += BF16_COLUMNS;
        }
        if (k < last) memset(to + k, 0, (last - k) * sizeof *to);
    }
}

static void quantize_any(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    (op->weight.type == KRAIT_WEIGHT_BF16 ? bf16_quantize : quantize_rows)(op, x, begin, end, from, to);
}

static void dot_any(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    (op->weight.type == KRAIT_WEIGHT_BF16 ? bf16_rows : dot_rows)(op, x, begin, end, then);
}
