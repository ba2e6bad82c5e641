/* kr_rms_norm's tokens begin..end-1. Four sums, so that additions need not wait for each other; their order is fixed. */
static void rms_norm_tokens(const kr_rms_norm *op, size_t begin, size_t end)
{
    enum { SUMS = 4 };
    size_t dim = op->dim, whole = dim / (SUMS * VEC_LANES) * (SUMS * VEC_LANES);
    for (size_t t = begin; t < end; t++) {
        const float *x = op->x.data + t * op->x.stride;
        float *y = op->y.data + t * op->y.stride;

        vec sum[SUMS] = { vec_zero(), vec_zero(), vec_zero(), vec_zero() };
        for (size_t i = 0; i < whole; i += SUMS * VEC_LANES)
            for (size_t s = 0; s < SUMS; s++) {
                vec v = vec_load(x + i + s * VEC_LANES);
                sum[s] = vec_fma(v, v, sum[s]);
            }
        for (size_t i = whole; i < dim; i += VEC_LANES) {
            vec v = vec_load_n(x + i, dim - i < VEC_LANES ? dim - i : VEC_LANES);
            sum[0] = vec_fma(v, v, sum[0]);
        }
        float squares = vec_sum(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3])));

        vec scale = vec_set(1.0f / sqrtf(squares / (float)dim + op->eps));
        for (size_t i = 0; i < dim; i += VEC_LANES) {
            size_t lanes = dim - i < VEC_LANES ? dim - i : VEC_LANES;
            vec v = vec_mul(vec_load_n(x + i, lanes), scale);
            if (op->weight) v = vec_mul(v, vec_load_n(op->weight + i, lanes));
            vec_store_n(y + i, v, lanes);
        }
    }
}
