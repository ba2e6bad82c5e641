/* kr_conv on channels begin..end-1. Token after token over a tile of channels, so narrow that its weights and the last few
 * rows of x stay in the first cache. */
enum { CONV_TILE_CHANNELS = 256 };

/* One token: row[w] are the inputs that weight row w takes. `width` is a constant where this is inlined for a usual one. */
VEC_INLINE void conv_token(const kr_conv *op, size_t width, const float *const row[], float *y, size_t begin, size_t end)
{
    for (size_t d = begin; d < end; d += VEC_LANES) {
        size_t lanes = end - d < VEC_LANES ? end - d : VEC_LANES;
        vec sum = op->bias ? vec_load_n(op->bias + d, lanes) : vec_zero();
        for (size_t w = 0; w < width; w++)
            sum = vec_fma(vec_load_n(op->weight + w * op->dim + d, lanes), vec_load_n(row[w] + d, lanes), sum);
        vec_store_n(y + d, op->silu ? vec_silu(sum) : sum, lanes);
    }
}

VEC_INLINE void conv_tile(const kr_conv *op, size_t width, size_t s, size_t begin, size_t end)
{
    size_t past = width - 1, first = op->rows.start[s], count = op->rows.start[s + 1] - first;
    const float *x = op->x.data + first * op->x.stride;
    float *y = op->y.data + first * op->y.stride, *state = op->state[s];
    for (size_t t = 0; t < count; t++) {
        const float *row[16];
        for (size_t w = 0; w < width; w++) row[w] = t + w < past ? state + (t + w) * op->dim : x + (t + w - past) * op->x.stride;
        conv_token(op, width, row, y + t * op->y.stride, begin, end);
    }
    for (size_t w = 0; count > 0 && w < past; w++) {
        size_t i = count + w;
        const float *row = i < past ? state + i * op->dim : x + (i - past) * op->x.stride;
        memcpy(state + w * op->dim + begin, row + begin, (end - begin) * sizeof *row);
    }
}

/* Starts reading what the next sequence of one token needs: states lie far apart. */
VEC_INLINE void conv_fetch(const kr_conv *op, size_t s, size_t begin, size_t end)
{
    const float *x = op->x.data + op->rows.start[s] * op->x.stride;
    for (size_t d = begin; d < end; d += 16) __builtin_prefetch(x + d, 0, 2);
    for (size_t w = 0; w + 1 < op->width; w++)
        for (size_t d = begin; d < end; d += 16) __builtin_prefetch(op->state[s] + w * op->dim + d, 0, 2);
}

static void conv_channels(const kr_conv *op, size_t begin, size_t end)
{
    for (size_t d = begin; d < end; d += CONV_TILE_CHANNELS) {
        size_t last = end - d < CONV_TILE_CHANNELS ? end : d + CONV_TILE_CHANNELS;
        for (size_t s = 0; s < op->rows.n_sequences; s++) {
            if (s + 1 < op->rows.n_sequences && op->rows.start[s + 1] - op->rows.start[s] <= 1) conv_fetch(op, s + 1, d, last);
            switch (op->width) {
            case 2: conv_tile(op, 2, s, d, last); break;
            case 3: conv_tile(op, 3, s, d, last); break;
            case 4: conv_tile(op, 4, s, d, last); break;
            default: conv_tile(op, op->width, s, d, last);
            }
        }
    }
}
