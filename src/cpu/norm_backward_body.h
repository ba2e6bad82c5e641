/* kr_rms_norm_backward: the factors of tokens, then channels begin..end-1 of all tokens. */
static void rms_norm_factors_tokens(const kr_rms_norm_backward *op, float (*factors)[2], size_t begin, size_t end)
{
    const kr_rms_norm *f = &op->forward;
    for (size_t t = begin; t < end; t++) {
        const float *x = f->x.data + t * f->x.stride, *dy = op->dy.data + t * op->dy.stride;
        vec squares[2] = { vec_zero(), vec_zero() }, product[2] = { vec_zero(), vec_zero() };
        for (size_t i = 0, k = 0; i < f->dim; i += VEC_LANES, k ^= 1) {
            size_t lanes = f->dim - i < VEC_LANES ? f->dim - i : VEC_LANES;
            vec v = vec_load_n(x + i, lanes), g = vec_load_n(dy + i, lanes);
            if (f->weight) g = vec_mul(g, vec_load_n(f->weight + i, lanes));
            squares[k] = vec_fma(v, v, squares[k]);
            product[k] = vec_fma(v, g, product[k]);
        }
        /* In double: the cube of a large r is beyond float. */
        double r = 1 / sqrt((double)vec_sum(vec_add(squares[0], squares[1])) / (double)f->dim + (double)f->eps);
        factors[t][0] = (float)r;
        factors[t][1] = (float)(r * r * r / (double)f->dim * (double)vec_sum(vec_add(product[0], product[1])));
    }
}

static void rms_norm_backward_channels(const kr_rms_norm_backward *op, const float (*factors)[2], size_t begin, size_t end)
{
    enum { TILE_VECTORS = 8 }; /* so many sums stay in registers or close by, while rows pass in pieces of a few cache lines */
    const kr_rms_norm *f = &op->forward;
    for (size_t first = begin; first < end; first += TILE_VECTORS * VEC_LANES) {
        size_t last = end - first < TILE_VECTORS * VEC_LANES ? end : first + TILE_VECTORS * VEC_LANES;
        vec dweight[TILE_VECTORS];
        for (size_t v = 0; v < TILE_VECTORS; v++) dweight[v] = vec_zero();
        for (size_t t = 0; t < f->n_tokens; t++) {
            const float *x = f->x.data + t * f->x.stride, *dy = op->dy.data + t * op->dy.stride;
            float *dx = op->dx.data ? op->dx.data + t * op->dx.stride : NULL;
            vec r = vec_set(factors[t][0]), shift = vec_set(-factors[t][1]);
            for (size_t i = first, v = 0; i < last; i += VEC_LANES, v++) {
                size_t lanes = last - i < VEC_LANES ? last - i : VEC_LANES;
                vec input = vec_load_n(x + i, lanes), g = vec_mul(vec_load_n(dy + i, lanes), r);
                dweight[v] = vec_fma(g, input, dweight[v]);
                if (!dx) continue;
                if (f->weight) g = vec_mul(g, vec_load_n(f->weight + i, lanes));
                vec sum = vec_fma(shift, input, g);
                if (op->add) sum = vec_add(sum, vec_load_n(dx + i, lanes));
                vec_store_n(dx + i, sum, lanes);
            }
        }
        for (size_t i = first, v = 0; i < last && op->dweight; i += VEC_LANES, v++) {
            size_t lanes = last - i < VEC_LANES ? last - i : VEC_LANES;
            vec_store_n(op->dweight + i, vec_add(dweight[v], vec_load_n(op->dweight + i, lanes)), lanes);
        }
    }
}
