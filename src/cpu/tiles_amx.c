/* Products on the tiles of AMX. A tile is 16 rows of 64 bytes; an instruction multiplies two of them and adds to a third.
 *
 * bfloat16: C[16 rows of the weight, 16 tokens] += A[16 rows, 32 columns] B[16 pairs of columns, 16 tokens, 2]. A is the weight as it
 * lies; B is x, packed when it is rounded:
 *
 *     tokens 16i .. 16i+m-1, m = 16 or what is left, from value 16i * stride on:   [stride / 2 pairs of columns][m tokens][2]
 *
 * q8, q4: C[16 tokens, 16 rows] += A[16 tokens, 32 columns] B[8 quads of columns, 16 rows, 4 columns]. A is x as it lies; B is half a
 * block (tensor/packed.h), its numbers made signed bytes on their way through a buffer.
 *
 * An element is a sum over columns in order, whatever else is in the tiles: its bits depend on neither tokens nor range. */
#include "cpu/tiles.h"

#include <stdbool.h>
#include <string.h>

#include "tensor/packed.h"

#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)

#include "cpu/vec_avx512.h"

enum { TILE = 16, TILE_BYTES = 64, LINE = 64 };

enum { STREAMS = 4, ASK_AHEAD = 8 << 10 /* bytes, at least: what a core reads while memory answers */ };

/* Memory that will be wanted, asked for in as many streams: a core fetches several streams at once faster than one. The lines of a stream
 * are spread over `steps` steps. */
typedef struct request {
    uintptr_t from;
    size_t run; /* bytes of a stream */
    size_t lines, steps, due;
} request;

static request request_of(const void *from, size_t bytes, size_t steps)
{
    const size_t lines = (bytes / LINE + STREAMS - 1) / STREAMS;
    return (request){ .from = (uintptr_t)from, .run = lines * LINE, .lines = lines, .steps = steps };
}

VEC_INLINE void ask(request *r)
{
    for (r->due += r->lines; r->due >= r->steps; r->due -= r->steps, r->from += LINE) {
        VEC_UNROLL
        for (size_t k = 0; k < STREAMS; k++) __builtin_prefetch((const void *)(r->from + k * r->run), 0, 2);
    }
}

/* What ldtilecfg reads. Eight tiles with as many rows and bytes a row. */
typedef struct tile_config {
    uint8_t palette, start_row, zeros[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

/* The compiler does not know that tile instructions read memory. */
#define WRITTEN() __asm__ volatile("" ::: "memory")

static void configure(const tile_config *config)
{
    WRITTEN();
    _tile_loadconfig(config);
}

static void set_tile(tile_config *config, int tile, size_t rows, size_t bytes)
{
    config->rows[tile] = (uint8_t)rows;
    config->bytes[tile] = (uint16_t)bytes;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Turns 16 x 16 numbers of 32 bits about. */
VEC_INLINE void transpose(__m512i r[TILE])
{
    __m512i t[TILE];
    VEC_UNROLL
    for (int i = 0; i < TILE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    VEC_UNROLL
    for (int i = 0; i < TILE; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4q + c] has rows 4q .. 4q+3 of columns c, c+4, c+8, c+12. */
    VEC_UNROLL
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    VEC_UNROLL
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

/* ---- bfloat16 ---------------------------------------------------------------------------------------------------- */

enum { STEP = 32 /* columns of a tile */, PASS_ROWS = KR_PASS_ROWS, PASS_TOKENS = 2 * TILE };
_Static_assert(PASS_ROWS == 2 * TILE, "a pass has two groups of rows");

VEC_INLINE __m512i rounded(const float *x, size_t n)
{
    vec low, high;
    if (n == STEP) {
        low = vec_load(x), high = vec_load(x + VEC_LANES);
    } else {
        low = vec_load_n(x, least(n, VEC_LANES));
        high = n > VEC_LANES ? vec_load_n(x + VEC_LANES, n - VEC_LANES) : vec_zero();
    }
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

static void pack_tokens(const kr_linear *op, const kr_quantized *x, size_t first, size_t m, size_t begin, size_t end)
{
    const size_t K = op->weight.columns;
    const float *from = op->x.data + first * op->x.stride;
    uint16_t *to = (uint16_t *)(void *)x->values + first * x->stride + begin * m;
    for (size_t k = begin; k < end; k += STEP, to += STEP * m) {
        const size_t n = k < K ? least(K - k, STEP) : 0;
        if (n == 0) {
            memset(to, 0, STEP * m * sizeof *to);
        } else if (m == 1) {
            _mm512_storeu_si512(to, rounded(from + k, n));
        } else {
            __m512i r[TILE];
            for (size_t t = 0; t < TILE; t++) r[t] = t < m ? rounded(from + t * op->x.stride + k, n) : _mm512_setzero_si512();
            transpose(r);
            for (size_t p = 0; p < TILE; p++) _mm512_mask_storeu_epi32(to + p * 2 * m, vec_mask(m), r[p]);
        }
    }
}

void kr_tiles_quantize_bf16(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    for (size_t t = begin; t < end; t += TILE) pack_tokens(op, x, t, least(op->n_tokens - t, TILE), from, to);
}

/* As many groups of 16 rows and of tokens as a pass has, one or two of each. */
typedef struct pass {
    const uint16_t *a[2]; /* rows of the weight */
    const uint16_t *b[2]; /* packed tokens */
    size_t rows[2], tokens[2];
    request ask;
} pass;

/* Tiles 0..3 are C[group of rows][group of tokens], 4 and 5 are A, 6 and 7 B. */
static void configure_pass(tile_config *now, const pass *p)
{
    tile_config config = { .palette = 1 };
    for (int r = 0; r < 2; r++) {
        set_tile(&config, 4 + r, p->rows[r], p->rows[r] ? TILE_BYTES : 0);
        set_tile(&config, 6 + r, p->tokens[r] ? TILE : 0, p->tokens[r] * 4);
        for (int t = 0; t < 2; t++) {
            const bool used = p->rows[r] && p->tokens[t];
            set_tile(&config, 2 * r + t, used ? p->rows[r] : 0, used ? p->tokens[t] * 4 : 0);
        }
    }
    if (memcmp(now, &config, sizeof config) == 0) return;
    *now = config;
    configure(now);
}

/* One step of 32 columns, from memory with `a_stride` bytes between rows. */
#define BF16_STEP(A0, A1, A_STRIDE)                  \
    do {                                             \
        _tile_loadd(6, b0, 4 * p->tokens[0]);        \
        _tile_loadd(4, A0, A_STRIDE);                \
        _tile_dpbf16ps(0, 4, 6);                     \
        if (groups > 1) {                            \
            _tile_loadd(5, A1, A_STRIDE);            \
            _tile_dpbf16ps(2, 5, 6);                 \
        }                                            \
        if (tiles > 1) {                             \
            _tile_loadd(7, b1, 4 * p->tokens[1]);    \
            _tile_dpbf16ps(1, 4, 7);                 \
            if (groups > 1) _tile_dpbf16ps(3, 5, 7); \
        }                                            \
    } while (0)

VEC_INLINE void multiply_pass(const pass *p, size_t K, const int groups, const int tiles)
{
    const size_t stride = K * sizeof(uint16_t), b_step0 = p->tokens[0] * TILE_BYTES, b_step1 = p->tokens[1] * TILE_BYTES;
    const char *a0 = (const char *)p->a[0], *a1 = (const char *)p->a[1], *b0 = (const char *)p->b[0], *b1 = (const char *)p->b[1];
    request next = p->ask;
    _tile_zero(0);
    if (tiles > 1) _tile_zero(1);
    if (groups > 1) _tile_zero(2);
    if (groups > 1 && tiles > 1) _tile_zero(3);
    for (size_t k = K; k >= STEP; k -= STEP) {
        ask(&next);
        BF16_STEP(a0, a1, stride);
        a0 += TILE_BYTES, b0 += b_step0;
        if (groups > 1) a1 += TILE_BYTES;
        if (tiles > 1) b1 += b_step1;
    }
    if (K % STEP) { /* the last columns from a copy, filled up with zeros */
        uint16_t rest[2][TILE][STEP] __attribute__((aligned(64)));
        const __mmask32 columns = (__mmask32)((1u << K % STEP) - 1);
        for (int g = 0; g < groups; g++)
            for (size_t r = 0; r < p->rows[g]; r++)
                _mm512_store_si512(rest[g][r], _mm512_maskz_loadu_epi16(columns, (g ? a1 : a0) + r * stride));
        WRITTEN();
        BF16_STEP(rest[0], rest[1], TILE_BYTES);
    }
}

/* Rows j .. j+rows-1 of tokens t .. t+tokens-1, from a tile that was stored to `sums`. */
static void put_tile(const kr_linear *op, float sums[TILE][TILE], size_t j, size_t rows, size_t t, size_t tokens)
{
    if (tokens > 1) {
        __m512i r[TILE];
        for (int i = 0; i < TILE; i++) r[i] = _mm512_load_si512(sums[i]);
        transpose(r);
        for (int i = 0; i < TILE; i++) _mm512_store_si512(sums[i], r[i]);
    }
    const vec bias = op->bias ? vec_load_n(op->bias + j, rows) : vec_zero();
    for (size_t i = 0; i < tokens; i++) {
        float *y = op->y.data + (t + i) * op->y.stride + j;
        vec sum = vec_load(sums[i]);
        if (op->bias) sum = vec_add(sum, bias);
        if (op->add) sum = vec_add(vec_load_n(y, rows), sum);
        vec_store_n(y, sum, rows);
    }
}

static void run_pass(const kr_linear *op, const pass *p, size_t j, size_t t)
{
    const size_t K = op->weight.columns;
    if (p->rows[1])
        p->tokens[1] ? multiply_pass(p, K, 2, 2) : multiply_pass(p, K, 2, 1);
    else
        p->tokens[1] ? multiply_pass(p, K, 1, 2) : multiply_pass(p, K, 1, 1);
    /* A single token's sums are stored next to each other, which turns them. */
    float sums[4][TILE][TILE] __attribute__((aligned(64)));
    const size_t apart = p->tokens[0] > 1 ? TILE_BYTES : sizeof(float), apart_too = p->tokens[1] > 1 ? TILE_BYTES : sizeof(float);
    _tile_stored(0, sums[0], apart);
    if (p->tokens[1]) _tile_stored(1, sums[1], apart_too);
    if (p->rows[1]) _tile_stored(2, sums[2], apart);
    if (p->rows[1] && p->tokens[1]) _tile_stored(3, sums[3], apart_too);
    for (size_t r = 0; r < 2; r++)
        for (size_t i = 0; i < 2; i++)
            if (p->rows[r] && p->tokens[i]) put_tile(op, sums[2 * r + i], j + r * TILE, p->rows[r], t + i * TILE, p->tokens[i]);
}

/* A pass asks for rows after its own, in the order of memory, the last ones for those that the caller goes on with. Of several passes over
 * the same rows the first does. */
void kr_tiles_dot_bf16(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    const size_t K = op->weight.columns, n = op->n_tokens, row_bytes = K * sizeof(uint16_t);
    const uint16_t *w = op->weight.data, *values = (const uint16_t *)(const void *)x->values;
    const size_t ahead = (ASK_AHEAD / (PASS_ROWS * row_bytes) + 1) * PASS_ROWS;
    tile_config config = { 0 };
    for (size_t j = begin; j < end; j += PASS_ROWS) {
        const size_t rows = least(end - j, PASS_ROWS), next = j + ahead < end ? j + ahead : j + rows < end ? end : then;
        const size_t more = next < op->weight.rows ? least(op->weight.rows - next, PASS_ROWS) : 0;
        for (size_t t = 0; t < n; t += PASS_TOKENS) {
            const size_t tokens = least(n - t, PASS_TOKENS);
            pass p = { .a = { w + j * K, w + (j + TILE) * K },
                       .b = { values + t * x->stride, values + (t + TILE) * x->stride },
                       .rows = { least(rows, TILE), rows > TILE ? rows - TILE : 0 },
                       .tokens = { least(tokens, TILE), tokens > TILE ? tokens - TILE : 0 },
                       .ask = request_of(w + next * K, t == 0 && K >= STEP ? more * row_bytes : 0, K / STEP + 1) };
            configure_pass(&config, &p);
            run_pass(op, &p, j, t);
        }
    }
    _tile_release();
}

/* ---- q8, q6 and q4 ----------------------------------------------------------------------------------------------- */

enum {
    HALF = KR_HALF_COLUMNS,
    CHUNK = 32,                                       /* blocks whose numbers are made signed at a time */
    NUMBERS_BYTES = KR_GROUP_ROWS * KR_BLOCK_COLUMNS, /* of a block, then */
    PASSAGE = 128                                     /* tokens that one passage over the weights multiplies */
};

void kr_tiles_quantize_grouped(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to)
{
    (void)op;
    const size_t halves = x->stride / HALF;
    for (size_t t = begin; t < end; t++)
        for (size_t h = from / HALF; h < to / HALF; h++) {
            const size_t at = (t / TILE * halves + h) * TILE + t % TILE;
            x->tile_scale[at] = x->scale[t * halves + h];
            x->tile_offset[at] = x->offset[t * halves + h];
        }
}

/* Numbers of a block as signed bytes, [16 quads][16 rows][4]. */
VEC_INLINE void expand(int8_t *to, const uint8_t *block, size_t blocks, const krait_weight_type type)
{
    enum { HALF_BYTES = NUMBERS_BYTES / 2 };
    const __m512i sign = _mm512_set1_epi8(-128), low = _mm512_set1_epi8(15), two = _mm512_set1_epi8(0x30);
    const __m512i offset = _mm512_set1_epi8((char)kr_number_offset(type));
    for (size_t b = 0; b < blocks; b++, to += NUMBERS_BYTES, block += kr_block_bytes(type)) {
        const uint8_t *numbers = block + KR_SCALES_BYTES;
        if (type == KRAIT_WEIGHT_Q8) {
            for (size_t i = 0; i < NUMBERS_BYTES; i += LINE)
                _mm512_store_si512(to + i, _mm512_xor_si512(_mm512_loadu_si512(numbers + i), sign));
            continue;
        }
        for (size_t i = 0; i < HALF_BYTES; i += LINE) {
            const __m512i both = _mm512_loadu_si512(numbers + i);
            __m512i first = _mm512_and_si512(both, low), second = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
            if (type == KRAIT_WEIGHT_Q6) { /* two quads share the bytes with their high bits */
                __m512i high = _mm512_loadu_si512(numbers + KR_Q6_LOW_BYTES + i / LINE / 2 * LINE);
                if (i / LINE % 2) high = _mm512_srli_epi16(high, 2);
                first = _mm512_or_si512(first, _mm512_and_si512(_mm512_slli_epi16(high, 4), two));
                second = _mm512_or_si512(second, _mm512_and_si512(high, two));
            }
            _mm512_store_si512(to + i, _mm512_sub_epi8(first, offset));
            _mm512_store_si512(to + HALF_BYTES + i, _mm512_sub_epi8(second, offset));
        }
    }
}

/* Some blocks of a group by some tokens. */
typedef struct strip {
    size_t blocks;
    const uint8_t *numbers; /* of the first block, [16 quads][16 rows][4], */
    size_t numbers_apart;   /* those of the next being so far away */
    const uint8_t *scales;  /* of the first block, */
    size_t scales_apart;
    const int8_t *values; /* [tokens, stride] */
    size_t stride;
    const float *scale_x;  /* [blocks * 2][16 tokens], */
    const int32_t *offset; /* as well */
    float *sums;           /* [tokens][16 rows], in and out */
    request ask;
} strip;

/* `direct`: numbers as they lie in q8, unsigned, whose offset is in none of the products. With few tokens that costs less than to make
 * signed ones first. */
#define STRIP_HALF(C, A, B, X, NUMBERS)      \
    do {                                     \
        _tile_zero(C);                       \
        _tile_loadd(A, X, s->stride);        \
        _tile_loadd(B, NUMBERS, TILE_BYTES); \
        if (direct)                          \
            _tile_dpbsud(C, A, B);           \
        else                                 \
            _tile_dpbssd(C, A, B);           \
    } while (0)

/* Tiles 0, 1 or, in turn, 6, 7: C of the two halves of a block; 2, 3: A; 4, 5: B. A block is multiplied before the products of
 * the one before it are scaled. */
#define STRIP_MULTIPLY(C0, C1)                                 \
    do {                                                       \
        STRIP_HALF(C0, 2, 4, a, b);                            \
        STRIP_HALF(C1, 3, 5, a + HALF, b + NUMBERS_BYTES / 2); \
        a += KR_BLOCK_COLUMNS, b += s->numbers_apart;          \
        ask(&next);                                            \
    } while (0)

#define STRIP_ADD(C0, C1)                                                    \
    do {                                                                     \
        _tile_stored(C0, products[0], TILE_BYTES);                           \
        _tile_stored(C1, products[1], TILE_BYTES);                           \
        strip_scale(sum, products, scales, scale_x, offset, tokens, direct); \
        scales += s->scales_apart, scale_x += 2 * TILE, offset += 2 * TILE;  \
    } while (0)

VEC_INLINE void strip_scale(vec sum[TILE], int32_t products[2][TILE][TILE], const uint8_t *scales, const float *scale_x,
                            const int32_t *offset, const size_t tokens, const bool direct)
{
    for (size_t half = 0; half < 2; half++, scale_x += TILE, offset += TILE) {
        const vec scale = vec_load_f16((const uint16_t *)(const void *)scales + half * KR_GROUP_ROWS);
        VEC_UNROLL
        for (size_t i = 0; i < tokens; i++) {
            __m512i bits = ivec_load(products[half][i]);
            if (direct) bits = _mm512_add_epi32(bits, ivec_set(offset[i]));
            sum[i] = vec_fma(ivec_float(bits), vec_mul(scale, vec_set(scale_x[i])), sum[i]);
        }
    }
}

VEC_INLINE void multiply_strip(const strip *s, const size_t tokens, const bool direct)
{
    int32_t products[2][TILE][TILE] __attribute__((aligned(64)));
    vec sum[TILE];
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) sum[i] = vec_load(s->sums + i * TILE);
    const int8_t *a = s->values;
    const uint8_t *b = s->numbers, *scales = s->scales;
    const float *scale_x = s->scale_x;
    const int32_t *offset = s->offset;
    request next = s->ask;
    STRIP_MULTIPLY(0, 1);
    for (size_t left = s->blocks - 1;; left--) {
        if (left > 0) STRIP_MULTIPLY(6, 7);
        STRIP_ADD(0, 1);
        if (left == 0) break;
        left--;
        if (left > 0) STRIP_MULTIPLY(0, 1);
        STRIP_ADD(6, 7);
        if (left == 0) break;
    }
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) vec_store(s->sums + i * TILE, sum[i]);
}

#define STRIP_CASE(n) \
    case n: direct ? multiply_strip(s, n, true) : multiply_strip(s, n, false); break;

static void run_strip(const strip *s, size_t tokens, bool direct)
{
    switch (tokens) {
        STRIP_CASE(1)
        STRIP_CASE(2)
        STRIP_CASE(3)
        STRIP_CASE(4)
        STRIP_CASE(5)
        STRIP_CASE(6)
        STRIP_CASE(7)
        STRIP_CASE(8)
        STRIP_CASE(9)
        STRIP_CASE(10)
        STRIP_CASE(11)
        STRIP_CASE(12)
        STRIP_CASE(13)
        STRIP_CASE(14)
        STRIP_CASE(15)
        STRIP_CASE(16)
    default: __builtin_unreachable();
    }
}
#undef STRIP_CASE

static void configure_strip(tile_config *now, size_t tokens)
{
    if (now->rows[0] == tokens) return;
    *now = (tile_config){ .palette = 1 };
    for (int half = 0; half < 2; half++) {
        set_tile(now, half, tokens, TILE_BYTES);
        set_tile(now, 6 + half, tokens, TILE_BYTES);
        set_tile(now, 2 + half, tokens, HALF);
        set_tile(now, 4 + half, HALF / 4, TILE_BYTES);
    }
    configure(now);
}

static void put_sums(const kr_linear *op, const float *sums, size_t row, size_t t, size_t n)
{
    if (row >= op->weight.rows) return;
    const size_t rows = least(op->weight.rows - row, TILE);
    for (size_t i = 0; i < n; i++, sums += TILE) {
        float *y = op->y.data + (t + i) * op->y.stride + row;
        vec sum = vec_load(sums);
        if (op->bias) sum = vec_add(sum, vec_load_n(op->bias + row, rows));
        if (op->add) sum = vec_add(vec_load_n(y, rows), sum);
        vec_store_n(y, sum, rows);
    }
}

static size_t groups_of(size_t rows) { return (rows + KR_GROUP_ROWS - 1) / KR_GROUP_ROWS; }

/* Tokens t .. t+n-1, at most PASSAGE; t is a multiple of 16. */
static void dot_passage(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then, size_t t, size_t n,
                        tile_config *config)
{
    int8_t numbers[CHUNK * NUMBERS_BYTES] __attribute__((aligned(64)));
    float sums[PASSAGE * TILE] __attribute__((aligned(64)));
    const krait_weight_type type = op->weight.type;
    const size_t blocks = x->stride / KR_BLOCK_COLUMNS, size = kr_block_bytes(type), groups = groups_of(op->weight.rows);
    const size_t ahead = ASK_AHEAD / (blocks * size) + 1;
    const bool direct = type == KRAIT_WEIGHT_Q8 && n <= TILE;
    for (size_t group = begin; group < end; group++) {
        const uint8_t *w = (const uint8_t *)op->weight.data + group * blocks * size;
        const size_t next = group + ahead < end ? group + ahead : group + 1 < end ? end : then;
        const uint8_t *w_next = (const uint8_t *)op->weight.data + next * blocks * size;
        memset(sums, 0, n * TILE * sizeof *sums);
        for (size_t first = 0; first < blocks; first += CHUNK) {
            const size_t chunk = least(blocks - first, CHUNK);
            const uint8_t *block = w + first * size;
            if (!direct) switch (type) { /* inlined for each */
                case KRAIT_WEIGHT_Q8: expand(numbers, block, chunk, KRAIT_WEIGHT_Q8); break;
                case KRAIT_WEIGHT_Q6: expand(numbers, block, chunk, KRAIT_WEIGHT_Q6); break;
                default: expand(numbers, block, chunk, KRAIT_WEIGHT_Q4);
                }
            WRITTEN();
            for (size_t i = 0; i < n; i += TILE) {
                const size_t tokens = least(n - i, TILE);
                const strip s = { .blocks = chunk,
                                  .numbers = direct ? block + KR_SCALES_BYTES : (const uint8_t *)numbers,
                                  .numbers_apart = direct ? size : NUMBERS_BYTES,
                                  .scales = block,
                                  .scales_apart = size,
                                  .values = x->values + (t + i) * x->stride + first * KR_BLOCK_COLUMNS,
                                  .stride = x->stride,
                                  .scale_x = x->tile_scale + ((t + i) * x->stride / HALF + first * 2 * TILE),
                                  .offset = x->tile_offset + ((t + i) * x->stride / HALF + first * 2 * TILE),
                                  .sums = sums + i * TILE,
                                  .ask = request_of(w_next + first * size, i == 0 && next < groups ? chunk * size : 0, chunk) };
                configure_strip(config, tokens);
                run_strip(&s, tokens, direct);
            }
        }
        put_sums(op, sums, group * KR_GROUP_ROWS, t, n);
    }
}

void kr_tiles_dot_grouped(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    tile_config config = { 0 };
    begin /= KR_GROUP_ROWS;
    end = groups_of(end);
    then = groups_of(then);
    for (size_t t = 0; t < op->n_tokens; t += PASSAGE)
        dot_passage(op, x, begin, end, then, t, least(op->n_tokens - t, PASSAGE), &config);
    _tile_release();
}

#endif
