/* Products with weights that are read in place: the body of kernels.h's matvec, on the vectors of vec_<isa>.h.
 *
 * A tile is four rows of the weight by a few tokens. Every output has a vector of partial sums of its own, lane l taking the k
 * with k % VEC_LANES == l, so that its bits do not depend on the tile; the tile's sums and what is loaded for them fill the
 * registers. The range of rows is cut into four runs and a tile takes one row of each: four streams that each read memory in
 * order, with requests a little ahead, come out 5-20 % faster than one stream, or than a tile of neighbours. */

enum {
    MATVEC_ROWS = 4,
    MATVEC_TOKENS = VEC_REGISTERS >= 32 ? 6 : 3, /* of a tile, at most */
    MATVEC_MIN_BLOCK = 66,                       /* tokens that share one reading of the weights, */
    MATVEC_BLOCK_BYTES = 256 << 10,              /* or as many as have this much x, which is to stay in cache */
    MATVEC_ASKS = 3                              /* tiles of a row that ask for what is ahead: a busy core drops requests */
};

VEC_INLINE vec matvec_load(const krait_weight_type type, const void *w)
{
    return type == KRAIT_WEIGHT_F32 ? vec_load(w) : type == KRAIT_WEIGHT_F16 ? vec_load_f16(w) : vec_load_bf16(w);
}

VEC_INLINE vec matvec_load_n(const krait_weight_type type, const void *w, size_t n)
{
    if (type == KRAIT_WEIGHT_F32) return vec_load_n(w, n);
    uint16_t part[VEC_LANES] = { 0 };
    memcpy(part, w, n * sizeof *part);
    return matvec_load(type, part);
}

/* Rows j, j + step, ... as many as `rows` says (1 or 4), by tokens t .. t+tokens-1. Each stream asks for the weights `ahead` bytes
 * on, unless that is 0. */
VEC_INLINE void matvec_tile(const kr_linear *op, const krait_weight_type type, size_t j, size_t step, const size_t rows, size_t t,
                            const size_t tokens, size_t ahead)
{
    const size_t K = op->weight.columns, run = step * K, stride = op->x.stride, size = type == KRAIT_WEIGHT_F32 ? 4 : 2;
    const char *w = (const char *)op->weight.data + j * K * size;
    const float *x = op->x.data + t * stride;
    vec sum[6][MATVEC_ROWS];
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) {
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) sum[i][r] = vec_zero();
    }
    size_t k = 0;
    for (; k + VEC_LANES <= K; k += VEC_LANES) {
        if (ahead && k * size % 64 == 0) { /* once per line of 64 bytes; an address: it may be past the end */
            VEC_UNROLL
            for (size_t r = 0; r < rows; r++)
                __builtin_prefetch((const void *)((uintptr_t)(w + (r * run + k) * size) + ahead), 0, 2);
        }
        vec b[6];
        VEC_UNROLL
        for (size_t i = 0; i < tokens; i++) {
            b[i] = vec_load(x + i * stride + k);
            vec_keep(&b[i]);
        }
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            vec a = matvec_load(type, w + (r * run + k) * size);
            if (tokens > 1) vec_keep(&a);
            VEC_UNROLL
            for (size_t i = 0; i < tokens; i++) sum[i][r] = vec_fma(a, b[i], sum[i][r]);
        }
    }
    if (k < K) {
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            vec a = matvec_load_n(type, w + (r * run + k) * size, K - k);
            VEC_UNROLL
            for (size_t i = 0; i < tokens; i++) sum[i][r] = vec_fma(a, vec_load_n(x + i * stride + k, K - k), sum[i][r]);
        }
    }
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) {
        float s[MATVEC_ROWS], *y = op->y.data + (t + i) * op->y.stride + j;
        if (rows == MATVEC_ROWS)
            vec_sum4(s, sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        else
            s[0] = vec_sum(sum[i][0]);
        if (op->bias)
            for (size_t r = 0; r < rows; r++) s[r] += op->bias[j + r * step];
        if (op->add)
            for (size_t r = 0; r < rows; r++) s[r] += y[r * step];
        for (size_t r = 0; r < rows; r++) y[r * step] = s[r];
    }
}

VEC_INLINE void matvec_tile_of(const kr_linear *op, const krait_weight_type type, size_t j, size_t step, size_t t, size_t tokens,
                               size_t ahead)
{
    if (tokens > MATVEC_TOKENS) __builtin_unreachable();
    switch (tokens) {
    case 1: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 1, ahead); break;
    case 2: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 2, ahead); break;
    case 3: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 3, ahead); break;
    case 4: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 4, ahead); break;
    case 5: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 5, ahead); break;
    case 6: matvec_tile(op, type, j, step, MATVEC_ROWS, t, 6, ahead); break;
    }
}

/* Tokens t .. t+n-1, which fit a cache. */
VEC_INLINE void matvec_block(const kr_linear *op, const krait_weight_type type, size_t begin, size_t end, size_t t, size_t n)
{
    const size_t step = (end - begin) / MATVEC_ROWS, tiles = (n + MATVEC_TOKENS - 1) / MATVEC_TOKENS;
    const size_t ahead = n <= 2 ? 1024 : tiles == 1 ? 2048 : 8192; /* measured: the longer a row takes, the farther */
    for (size_t j = begin; j < begin + step; j++)
        for (size_t i = 0, first = t; i < tiles; i++) {
            size_t tokens = n / tiles + (i < n % tiles);
            matvec_tile_of(op, type, j, step, first, tokens, i < MATVEC_ASKS ? ahead : 0);
            first += tokens;
        }
    for (size_t j = begin + step * MATVEC_ROWS; j < end; j++)
        for (size_t i = t; i < t + n; i++) matvec_tile(op, type, j, 0, 1, i, 1, 0);
}

static void matvec_rows(const kr_linear *op, size_t begin, size_t end)
{
    size_t block = MATVEC_BLOCK_BYTES / sizeof(float) / (op->weight.columns + 1);
    if (block < MATVEC_MIN_BLOCK) block = MATVEC_MIN_BLOCK;
    for (size_t t = 0; t < op->n_tokens; t += block) {
        const size_t n = op->n_tokens - t < block ? op->n_tokens - t : block;
        switch (op->weight.type) {
        case KRAIT_WEIGHT_F16: matvec_block(op, KRAIT_WEIGHT_F16, begin, end, t, n); break;
        case KRAIT_WEIGHT_BF16: matvec_block(op, KRAIT_WEIGHT_BF16, begin, end, t, n); break;
        default: matvec_block(op, KRAIT_WEIGHT_F32, begin, end, t, n);
        }
    }
}
