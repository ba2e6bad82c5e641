/* Products with grouped weights (tensor/packed.h), as integers: the body of kernels.h's dot.
 *
 * A tile is one or several groups of sixteen rows by a few tokens. Vectors run over rows; four columns of each are multiplied and
 * summed at a time with the four values of a token, which are the same for all rows. Few tokens take several groups, far apart, so that
 * memory is read in as many streams and sums do not wait for each other; many take one group, which stays in the first cache
 * while they pass. */

enum {
    DOT_VECTORS = KR_GROUP_ROWS / VEC_LANES,     /* of a group */
    DOT_STREAMS = VEC_LANES == 16 ? 4 : 1,       /* groups of a tile with few tokens */
    DOT_STREAM_TOKENS = VEC_LANES == 16 ? 3 : 0, /* what is few */
    DOT_TOKENS = VEC_LANES == 16 ? 12 : 3,       /* of a tile with one group */
    DOT_BLOCK_BYTES = 256 << 10,                 /* of x that one passage over the weights multiplies */
    DOT_AHEAD = 1024 /* bytes ahead that few tokens ask for, as a rule; what is asked for earlier goes into the first cache */
};

VEC_INLINE void dot_ask(const uint8_t *at, size_t ahead, const bool first_cache)
{
    const void *line = (const void *)((uintptr_t)at + ahead);
    if (first_cache)
        __builtin_prefetch(line, 0, 3);
    else
        __builtin_prefetch(line, 0, 2);
}

/* Numbers 0..63 from their low four bits and the bytes that have the other two at 4 half + 2 odd. */
VEC_INLINE ivec ivec_six(ivec low, ivec high, size_t half, size_t odd)
{
    ivec two = half ? odd ? ivec_right2(high) : high : odd ? ivec_left2(high) : ivec_left2(ivec_left2(high));
    return ivec_or(low, ivec_and(two, ivec_set(0x30303030)));
}

VEC_INLINE void dot_tile(const kr_linear *op, const kr_quantized *x, size_t group, size_t step, const size_t groups, size_t t,
                         const size_t tokens, const krait_weight_type type, size_t ahead, size_t part, size_t parts)
{
    const bool is_q8 = type == KRAIT_WEIGHT_Q8, is_q6 = type == KRAIT_WEIGHT_Q6;
    const size_t blocks = kr_blocks_of(op->weight.columns), size = kr_block_bytes(type);
    const size_t run = step * blocks * size, quads = KR_HALF_COLUMNS / 4;
    const size_t shared = is_q6 ? 2 : 1; /* quads that share bytes */
    const bool first_cache = ahead > DOT_AHEAD;
    if (ahead == 0) ahead = blocks * size; /* the group after this one */
    const uint8_t *w = (const uint8_t *)op->weight.data + group * blocks * size;
    const int8_t *values = x->values + t * x->stride;
    const float *scale_x = x->scale + t * x->stride / KR_HALF_COLUMNS;
    const int32_t *offset = x->offset + t * x->stride / KR_HALF_COLUMNS;
    vec sum[DOT_TOKENS][DOT_STREAMS][DOT_VECTORS];
    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) VEC_UNROLL
    for (size_t g = 0; g < groups; g++) VEC_UNROLL
    for (size_t v = 0; v < DOT_VECTORS; v++) sum[i][g][v] = vec_zero();

    for (size_t b = 0; b < blocks; b++, w += size) {
        const bool ask = b % parts == part;
        if (ask) VEC_UNROLL
        for (size_t g = 0; g < groups; g++) dot_ask(w + g * run, ahead, first_cache); /* its scales */
        for (size_t half = 0; half < 2; half++) {
            ivec number[DOT_TOKENS][DOT_STREAMS][DOT_VECTORS];
            VEC_UNROLL
            for (size_t i = 0; i < tokens; i++) {
                ivec start =
                    is_q8 && !VEC_Q8_OFFSET ? ivec_set(0) : ivec_set(offset[i * x->stride / KR_HALF_COLUMNS + 2 * b + half]);
                VEC_UNROLL
                for (size_t g = 0; g < groups; g++) VEC_UNROLL
                for (size_t v = 0; v < DOT_VECTORS; v++) number[i][g][v] = start;
            }
            const int8_t *four = values + b * KR_BLOCK_COLUMNS + half * KR_HALF_COLUMNS;
            for (size_t pair = 0; pair < quads; pair += shared) VEC_UNROLL
            for (size_t q = pair; q < pair + shared; q++) {
                ivec a[DOT_STREAMS][DOT_VECTORS];
                VEC_UNROLL
                for (size_t g = 0; g < groups; g++) {
                    const uint8_t *at = w + g * run + KR_SCALES_BYTES + ((is_q8 ? half * quads : 0) + q) * 4 * KR_GROUP_ROWS;
                    const uint8_t *two = w + g * run + KR_SCALES_BYTES + KR_Q6_LOW_BYTES + pair * 2 * KR_GROUP_ROWS;
                    if (ask && (is_q8 || half == 0)) dot_ask(at, ahead, first_cache);
                    if (ask && is_q6 && half == 0 && q == pair) dot_ask(two, ahead, first_cache);
                    VEC_UNROLL
                    for (size_t v = 0; v < DOT_VECTORS; v++) {
                        ivec bytes = ivec_load(at + v * 4 * VEC_LANES);
                        a[g][v] = is_q8 ? ivec_q8(bytes) : half ? ivec_high4(bytes) : ivec_low4(bytes);
                        if (is_q6) a[g][v] = ivec_six(a[g][v], ivec_load(two + v * 4 * VEC_LANES), half, q - pair);
                    }
                }
                VEC_UNROLL
                for (size_t i = 0; i < tokens; i++) {
                    int32_t word;
                    memcpy(&word, four + i * x->stride + q * 4, sizeof word);
                    ivec c = ivec_set(word);
                    VEC_UNROLL
                    for (size_t g = 0; g < groups; g++) VEC_UNROLL
                    for (size_t v = 0; v < DOT_VECTORS; v++)
                        number[i][g][v] = is_q8 ? ivec_dot8(number[i][g][v], a[g][v], c) : ivec_dot4(number[i][g][v], a[g][v], c);
                }
            }
            VEC_UNROLL
            for (size_t g = 0; g < groups; g++) VEC_UNROLL
            for (size_t v = 0; v < DOT_VECTORS; v++) {
                const uint8_t *at = w + g * run;
                vec scale = vec_load_f16((const uint16_t *)(const void *)at + half * KR_GROUP_ROWS + v * VEC_LANES);
                VEC_UNROLL
                for (size_t i = 0; i < tokens; i++) {
                    vec both = vec_mul(scale, vec_set(scale_x[i * x->stride / KR_HALF_COLUMNS + 2 * b + half]));
                    sum[i][g][v] = vec_fma(ivec_float(number[i][g][v]), both, sum[i][g][v]);
                }
            }
        }
    }

    VEC_UNROLL
    for (size_t i = 0; i < tokens; i++) VEC_UNROLL
    for (size_t g = 0; g < groups; g++) VEC_UNROLL
    for (size_t v = 0; v < DOT_VECTORS; v++) {
        const size_t row = (group + g * step) * KR_GROUP_ROWS + v * VEC_LANES;
        if (row >= op->weight.rows) continue;
        const size_t n = op->weight.rows - row < VEC_LANES ? op->weight.rows - row : VEC_LANES;
        float *y = op->y.data + (t + i) * op->y.stride + row;
        vec result = sum[i][g][v];
        if (op->bias) result = vec_add(result, vec_load_n(op->bias + row, n));
        if (op->add) result = vec_add(vec_load_n(y, n), result);
        vec_store_n(y, result, n);
    }
}

#define DOT_CASE(n) \
    case n: dot_tile(op, x, group, 0, 1, t, n <= DOT_TOKENS ? n : 1, type, ahead, part, parts); break;

VEC_INLINE void dot_group(const kr_linear *op, const kr_quantized *x, size_t group, size_t t, size_t tokens,
                          const krait_weight_type type, size_t ahead, size_t part, size_t parts)
{
    if (tokens > DOT_TOKENS) __builtin_unreachable();
    switch (tokens) {
        DOT_CASE(1)
        DOT_CASE(2)
        DOT_CASE(3)
        DOT_CASE(4)
        DOT_CASE(5)
        DOT_CASE(6)
        DOT_CASE(7)
        DOT_CASE(8)
        DOT_CASE(9)
        DOT_CASE(10)
        DOT_CASE(11)
        DOT_CASE(12)
    }
}
#undef DOT_CASE

/* Tokens t .. t+n-1, which fit a cache, each tile asking for its part of the next group, with groups begin .. end-1. */
VEC_INLINE void dot_block(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t t, size_t n, size_t ahead,
                          const krait_weight_type type)
{
    if (n <= DOT_STREAM_TOKENS) {
        const size_t step = (end - begin) / DOT_STREAMS;
        for (size_t g = begin; g < begin + step; g++) switch (n) {
            case 1: dot_tile(op, x, g, step, DOT_STREAMS, t, 1, type, ahead, 0, 1); break;
            case 2: dot_tile(op, x, g, step, DOT_STREAMS, t, DOT_STREAM_TOKENS >= 2 ? 2 : 1, type, ahead, 0, 1); break;
            case 3: dot_tile(op, x, g, step, DOT_STREAMS, t, DOT_STREAM_TOKENS >= 3 ? 3 : 1, type, ahead, 0, 1); break;
            }
        begin += step * DOT_STREAMS;
    }
    const size_t tiles = (n + DOT_TOKENS - 1) / DOT_TOKENS;
    for (size_t g = begin; g < end; g++)
        for (size_t i = 0, first = t; i < tiles; i++) {
            const size_t tokens = n / tiles + (i < n % tiles);
            dot_group(op, x, g, first, tokens, type, n <= DOT_STREAM_TOKENS ? ahead : 0, i, tiles);
            first += tokens;
        }
}

VEC_INLINE void dot_rows_asking(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t ahead)
{
    size_t block = DOT_BLOCK_BYTES / x->stride / DOT_TOKENS * DOT_TOKENS;
    if (block < 4 * DOT_TOKENS) block = 4 * DOT_TOKENS;
    begin /= KR_GROUP_ROWS;
    end = (end + KR_GROUP_ROWS - 1) / KR_GROUP_ROWS;
    for (size_t t = 0; t < op->n_tokens; t += block) {
        const size_t n = op->n_tokens - t < block ? op->n_tokens - t : block;
        switch (op->weight.type) {
        case KRAIT_WEIGHT_Q8: dot_block(op, x, begin, end, t, n, ahead, KRAIT_WEIGHT_Q8); break;
        case KRAIT_WEIGHT_Q6: dot_block(op, x, begin, end, t, n, ahead, KRAIT_WEIGHT_Q6); break;
        default: dot_block(op, x, begin, end, t, n, ahead, KRAIT_WEIGHT_Q4);
        }
    }
}

static void dot_rows(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then)
{
    (void)then;
    dot_rows_asking(op, x, begin, end, DOT_AHEAD);
}
