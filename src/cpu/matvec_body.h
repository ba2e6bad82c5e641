/* Products with weights that are read in place: the body of kernels.h's matvec, on the vectors of vec_<isa>.h.
 *
 * A tile is a few rows of the weight by a few tokens. Every output has a vector of partial sums of its own, lane l taking the k
 * with k % VEC_LANES == l, so that its bits do not depend on the tile; the tile's sums and what is loaded for them fill the
 * registers. One token alone is as fast as memory: its tile is high, for that many streams of weights read faster than one. */

enum {
    MATVEC_ROWS = 4,                                 /* of a tile of any number of tokens */
    MATVEC_TOKENS = VEC_REGISTERS >= 32 ? 6 : 3,     /* of it, at most */
    MATVEC_HIGH_ROWS = VEC_REGISTERS >= 32 ? 16 : 8, /* of a tile of one token */
    MATVEC_MIN_BLOCK = 66,                           /* tokens that share one reading of the weights, */
    MATVEC_BLOCK_BYTES = 256 << 10,                  /* or as many as have this much x, which is to stay in cache */
    MATVEC_AHEAD_BYTES = 32 << 10,                   /* how far ahead weights are fetched from memory, into that cache; */
    MATVEC_ASKS = 3                                  /* asked for so often, since a busy core drops such requests */
};

/* Where to fetch ahead: an address, since it runs past the end of the weights. */
typedef struct matvec_ahead {
    uintptr_t address;
    size_t lines; /* of 64 bytes, per VEC_LANES columns */
} matvec_ahead;

VEC_INLINE void matvec_fetch(matvec_ahead *ahead)
{
    for (size_t i = 0; i < ahead->lines; i++) __builtin_prefetch((const void *)(ahead->address + 64 * i), 0, 2);
    ahead->address += 64 * ahead->lines;
}

VEC_INLINE void matvec_tile(const kr_linear *op, size_t j, const size_t rows, size_t t, const size_t tokens, matvec_ahead ahead)
{
    const size_t K = op->weight.columns, stride = op->x.stride;
    const float *w = op->weight.data + j * K, *x = op->x.data + t * stride;
    vec sum[6][16];
#pragma GCC unroll 16
    for (size_t i = 0; i < tokens; i++)
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) sum[i][r] = vec_zero();
    size_t k = 0;
    for (; k + VEC_LANES <= K; k += VEC_LANES) {
        matvec_fetch(&ahead);
        vec b[6];
#pragma GCC unroll 16
        for (size_t i = 0; i < tokens; i++) {
            b[i] = vec_load(x + i * stride + k);
            vec_keep(&b[i]);
        }
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            vec a = vec_load(w + r * K + k);
            if (tokens > 1) vec_keep(&a);
#pragma GCC unroll 16
            for (size_t i = 0; i < tokens; i++) sum[i][r] = vec_fma(a, b[i], sum[i][r]);
        }
    }
    if (k < K) {
#pragma GCC unroll 16
        for (size_t r = 0; r < rows; r++) {
            vec a = vec_load_n(w + r * K + k, K - k);
#pragma GCC unroll 16
            for (size_t i = 0; i < tokens; i++) sum[i][r] = vec_fma(a, vec_load_n(x + i * stride + k, K - k), sum[i][r]);
        }
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < tokens; i++) {
        float s[16], *y = op->y.data + (t + i) * op->y.stride + j;
        if (rows == 1) s[0] = vec_sum(sum[i][0]);
#pragma GCC unroll 16
        for (size_t r = 0; r + 4 <= rows; r += 4) vec_sum4(s + r, sum[i][r], sum[i][r + 1], sum[i][r + 2], sum[i][r + 3]);
        if (op->bias)
            for (size_t r = 0; r < rows; r++) s[r] += op->bias[j + r];
        if (op->add)
            for (size_t r = 0; r < rows; r++) s[r] += y[r];
        for (size_t r = 0; r < rows; r++) y[r] = s[r];
    }
}

/* MATVEC_ROWS rows by some tokens. */
static void matvec_tile_of(const kr_linear *op, size_t j, size_t t, size_t tokens, matvec_ahead ahead)
{
    if (tokens > MATVEC_TOKENS) __builtin_unreachable();
    switch (tokens) {
    case 1: matvec_tile(op, j, MATVEC_ROWS, t, 1, ahead); break;
    case 2: matvec_tile(op, j, MATVEC_ROWS, t, 2, ahead); break;
    case 3: matvec_tile(op, j, MATVEC_ROWS, t, 3, ahead); break;
    case 4: matvec_tile(op, j, MATVEC_ROWS, t, 4, ahead); break;
    case 5: matvec_tile(op, j, MATVEC_ROWS, t, 5, ahead); break;
    case 6: matvec_tile(op, j, MATVEC_ROWS, t, 6, ahead); break;
    }
}

/* As many lines as a tile reads that has so many rows from row j on. */
VEC_INLINE matvec_ahead matvec_ahead_of(const kr_linear *op, size_t j, size_t rows)
{
    return (matvec_ahead){ (uintptr_t)(op->weight.data + j * op->weight.columns) + MATVEC_AHEAD_BYTES, rows * VEC_LANES / 16 };
}

/* Tokens t .. t+n-1, which fit a cache. */
static void matvec_block(const kr_linear *op, size_t begin, size_t end, size_t t, size_t n)
{
    const size_t tiles = (n + MATVEC_TOKENS - 1) / MATVEC_TOKENS;
    size_t j = begin;
    if (n == 1)
        for (; j + MATVEC_HIGH_ROWS <= end; j += MATVEC_HIGH_ROWS)
            matvec_tile(op, j, MATVEC_HIGH_ROWS, t, 1, matvec_ahead_of(op, j, MATVEC_HIGH_ROWS));
    for (; j + MATVEC_ROWS <= end; j += MATVEC_ROWS)
        for (size_t i = 0, first = t; i < tiles; i++) {
            size_t tokens = n / tiles + (i < n % tiles);
            matvec_tile_of(op, j, first, tokens, matvec_ahead_of(op, j, i < MATVEC_ASKS ? MATVEC_ROWS : 0));
            first += tokens;
        }
    for (; j < end; j++)
        for (size_t i = t; i < t + n; i++) matvec_tile(op, j, 1, i, 1, matvec_ahead_of(op, j, 0));
}

static void matvec_rows(const kr_linear *op, size_t begin, size_t end)
{
    size_t block = MATVEC_BLOCK_BYTES / sizeof(float) / (op->weight.columns + 1);
    if (block < MATVEC_MIN_BLOCK) block = MATVEC_MIN_BLOCK;
    for (size_t t = 0; t < op->n_tokens; t += block)
        matvec_block(op, begin, end, t, op->n_tokens - t < block ? op->n_tokens - t : block);
}
