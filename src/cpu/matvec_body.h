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

/* Rows j, j + step, ... as many as `rows` says (1 or 4), by tokens t .. t+tokens-1. Each stream asks for the weights `ahead` bytes
 * on, unless that is 0. */
VEC_INLINE void matvec_tile(const kr_linear *op, size_t j, size_t step, const size_t rows, size_t t, const size_t tokens,
                            size_t ahead)
{
    const size_t K = op->weight.columns, run = step * K, stride = op->x.stride;
    const float *w = op->weight.data + j * K, *x = op->x.data + t * stride;
    vec sum[6][MATVEC_ROWS];
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) {
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) sum[i][r] = vec_zero();
    }
    size_t k = 0;
    for (; k + VEC_LANES <= K; k += VEC_LANES) {
        if (ahead && (VEC_LANES == 16 || k % 16 == 0)) { /* once per line of 64 bytes; an address: it may be past the end */
            VEC_UNROLL
            for (size_t r = 0; r < rows; r++) __builtin_prefetch((const void *)((uintptr_t)(w + r * run + k) + ahead), 0, 2);
        }
        vec b[6];
        VEC_UNROLL
        for (size_t i = 0; i < tokens; i++) {
            b[i] = vec_load(x + i * stride + k);
            vec_keep(&b[i]);
        }
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            vec a = vec_load(w + r * run + k);
            if (tokens > 1) vec_keep(&a);
            VEC_UNROLL
            for (size_t i = 0; i < tokens; i++) sum[i][r] = vec_fma(a, b[i], sum[i][r]);
        }
    }
    if (k < K) {
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            vec a = vec_load_n(w + r * run + k, K - k);
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

static void matvec_tile_of(const kr_linear *op, size_t j, size_t step, size_t t, size_t tokens, size_t ahead)
{
    if (tokens > MATVEC_TOKENS) __builtin_unreachable();
    switch (tokens) {
    case 1: matvec_tile(op, j, step, MATVEC_ROWS, t, 1, ahead); break;
    case 2: matvec_tile(op, j, step, MATVEC_ROWS, t, 2, ahead); break;
    case 3: matvec_tile(op, j, step, MATVEC_ROWS, t, 3, ahead); break;
    case 4: matvec_tile(op, j, step, MATVEC_ROWS, t, 4, ahead); break;
    case 5: matvec_tile(op, j, step, MATVEC_ROWS, t, 5, ahead); break;
    case 6: matvec_tile(op, j, step, MATVEC_ROWS, t, 6, ahead); break;
    }
}

/* Tokens t .. t+n-1, which fit a cache. */
static void matvec_block(const kr_linear *op, size_t begin, size_t end, size_t t, size_t n)
{
    const size_t step = (end - begin) / MATVEC_ROWS, tiles = (n + MATVEC_TOKENS - 1) / MATVEC_TOKENS;
    const size_t ahead = n <= 2 ? 1024 : tiles == 1 ? 2048 : 8192; /* measured: the longer a row takes, the farther */
    for (size_t j = begin; j < begin + step; j++)
        for (size_t i = 0, first = t; i < tiles; i++) {
            size_t tokens = n / tiles + (i < n % tiles);
            matvec_tile_of(op, j, step, first, tokens, i < MATVEC_ASKS ? ahead : 0);
            first += tokens;
        }
    for (size_t j = begin + step * MATVEC_ROWS; j < end; j++)
        for (size_t i = t; i < t + n; i++) matvec_tile(op, j, 0, 1, i, 1, 0);
}

static void matvec_rows(const kr_linear *op, size_t begin, size_t end)
{
    size_t block = MATVEC_BLOCK_BYTES / sizeof(float) / (op->weight.columns + 1);
    if (block < MATVEC_MIN_BLOCK) block = MATVEC_MIN_BLOCK;
    for (size_t t = 0; t < op->n_tokens; t += block)
        matvec_block(op, begin, end, t, op->n_tokens - t < block ? op->n_tokens - t : block);
}
