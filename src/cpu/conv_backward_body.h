/* kr_conv_backward on channels begin..end-1: from the last token to the first over a tile of channels, so narrow that its weights, their
 * gradients and the last few rows stay in the first cache. */

typedef struct conv_tile_sums {
    float ds[16][CONV_TILE_CHANNELS]; /* a ring: of token t in row t % 16 */
    float dweight[16][CONV_TILE_CHANNELS];
    float dbias[CONV_TILE_CHANNELS];
} conv_tile_sums;

/* Input i of the state before and the tokens together, or NULL for zeros. */
VEC_INLINE const float *conv_input(const kr_conv_backward *op, size_t s, size_t i)
{
    const kr_conv *f = &op->forward;
    size_t past = f->width - 1;
    if (i >= past) return f->x.data + (f->rows.start[s] + i - past) * f->x.stride;
    return op->state_before && op->state_before[s] ? op->state_before[s] + i * f->dim : NULL;
}

/* The gradients of token t's sums, and what they give to those of the weights. */
VEC_INLINE void conv_backward_token(const kr_conv_backward *op, size_t width, size_t s, size_t t, size_t begin, size_t end,
                                    conv_tile_sums *tile)
{
    const kr_conv *f = &op->forward;
    const float *row[16], *dy = op->dy.data + (f->rows.start[s] + t) * op->dy.stride;
    for (size_t w = 0; w < width; w++) row[w] = conv_input(op, s, t + w);
    for (size_t d = begin, c = 0; d < end; d += VEC_LANES, c += VEC_LANES) {
        const vec one = vec_set(1.0f);
        size_t lanes = end - d < VEC_LANES ? end - d : VEC_LANES;
        vec x[16], ds = vec_load_n(dy + d, lanes);
        for (size_t w = 0; w < width; w++) x[w] = row[w] ? vec_load_n(row[w] + d, lanes) : vec_zero();
        if (f->silu) {
            vec sum = f->bias ? vec_load_n(f->bias + d, lanes) : vec_zero();
            for (size_t w = 0; w < width; w++) sum = vec_fma(vec_load_n(f->weight + w * f->dim + d, lanes), x[w], sum);
            vec gate = vec_sigmoid(sum);
            ds = vec_mul(ds, vec_mul(gate, vec_fma(sum, vec_sub(one, gate), one)));
        }
        vec_store(tile->ds[t % 16] + c, ds);
        vec_store(tile->dbias + c, vec_add(vec_load(tile->dbias + c), ds));
        for (size_t w = 0; w < width; w++) vec_store(tile->dweight[w] + c, vec_fma(ds, x[w], vec_load(tile->dweight[w] + c)));
    }
}

VEC_INLINE void conv_backward_tile(const kr_conv_backward *op, size_t width, size_t s, size_t begin, size_t end)
{
    const kr_conv *f = &op->forward;
    size_t past = width - 1, first = f->rows.start[s], count = f->rows.start[s + 1] - first;
    float *dstate = op->dstate ? op->dstate[s] : NULL;
    conv_tile_sums tile;
    for (size_t c = 0; c < CONV_TILE_CHANNELS; c++) tile.dbias[c] = 0;
    for (size_t w = 0; w < width; w++)
        for (size_t c = 0; c < CONV_TILE_CHANNELS; c++) tile.dweight[w][c] = 0;
    /* Input i goes into the sums of tokens i - past .. i. */
    for (size_t i = count + past; i-- > 0;) {
        if (i >= past) conv_backward_token(op, width, s, i - past, begin, end, &tile);
        const float *given = dstate && i >= count ? dstate + (i - count) * f->dim : NULL;
        float *out = i < past      ? dstate ? dstate + i * f->dim : NULL
                     : op->dx.data ? op->dx.data + (first + i - past) * op->dx.stride
                                   : NULL;
        for (size_t d = begin, c = 0; out && d < end; d += VEC_LANES, c += VEC_LANES) {
            size_t lanes = end - d < VEC_LANES ? end - d : VEC_LANES;
            vec sum = given ? vec_load_n(given + d, lanes) : vec_zero();
            for (size_t w = 0; w < width; w++)
                if (i >= w && i - w < count)
                    sum = vec_fma(vec_load_n(f->weight + w * f->dim + d, lanes), vec_load(tile.ds[(i - w) % 16] + c), sum);
            vec_store_n(out + d, sum, lanes);
        }
    }
    for (size_t d = begin, c = 0; d < end; d += VEC_LANES, c += VEC_LANES) {
        size_t lanes = end - d < VEC_LANES ? end - d : VEC_LANES;
        if (op->dbias) vec_store_n(op->dbias + d, vec_add(vec_load(tile.dbias + c), vec_load_n(op->dbias + d, lanes)), lanes);
        for (size_t w = 0; w < width && op->dweight; w++) {
            float *dweight = op->dweight + w * f->dim + d;
            vec_store_n(dweight, vec_add(vec_load(tile.dweight[w] + c), vec_load_n(dweight, lanes)), lanes);
        }
    }
}

static void conv_backward_channels(const kr_conv_backward *op, size_t begin, size_t end)
{
    for (size_t d = begin; d < end; d += CONV_TILE_CHANNELS) {
        size_t last = end - d < CONV_TILE_CHANNELS ? end : d + CONV_TILE_CHANNELS;
        for (size_t s = 0; s < op->forward.rows.n_sequences; s++) switch (op->forward.width) {
            case 2: conv_backward_tile(op, 2, s, d, last); break;
            case 3: conv_backward_tile(op, 3, s, d, last); break;
            case 4: conv_backward_tile(op, 4, s, d, last); break;
            default: conv_backward_tile(op, op->forward.width, s, d, last);
            }
    }
}
