/* What training does beside the backward ops: cross entropy, sums of squares, AdamW. */

/* Four sums or maxima, so that operations need not wait for each other; their order is fixed. */
static void cross_entropy_rows(const kr_cross_entropy *op, double *losses, size_t begin, size_t end)
{
    enum { SUMS = 4 };
    const size_t n = op->vocab_size, whole = n / (SUMS * VEC_LANES) * (SUMS * VEC_LANES);
    for (size_t t = begin; t < end; t++) {
        float *x = op->logits.data + t * op->logits.stride;
        losses[t] = 0;
        if (op->targets[t] < 0) {
            if (op->gradient) memset(x, 0, n * sizeof *x);
            continue;
        }
        vec most[SUMS], sum[SUMS];
        for (size_t s = 0; s < SUMS; s++) most[s] = vec_set(x[0]), sum[s] = vec_zero();
        for (size_t i = 0; i < whole; i += SUMS * VEC_LANES) {
            VEC_UNROLL
            for (size_t s = 0; s < SUMS; s++) most[s] = vec_max(most[s], vec_load(x + i + s * VEC_LANES));
        }
        float largest = vec_max_lane(vec_max(vec_max(most[0], most[1]), vec_max(most[2], most[3])));
        for (size_t i = whole; i < n; i++) largest = x[i] > largest ? x[i] : largest;

        const vec shift = vec_set(largest);
        const double target = (double)x[op->targets[t]];
        for (size_t i = 0; i < whole; i += SUMS * VEC_LANES) {
            VEC_UNROLL
            for (size_t s = 0; s < SUMS; s++) {
                vec e = vec_exp(vec_sub(vec_load(x + i + s * VEC_LANES), shift));
                sum[s] = vec_add(sum[s], e);
                if (op->gradient) vec_store(x + i + s * VEC_LANES, e);
            }
        }
        float rest = 0;
        for (size_t i = whole; i < n; i += VEC_LANES) {
            const size_t lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
            float e[VEC_LANES];
            vec_store(e, vec_exp(vec_sub(vec_load_n(x + i, lanes), shift)));
            for (size_t l = 0; l < lanes; l++) rest += e[l];
            if (op->gradient) memcpy(x + i, e, lanes * sizeof *e);
        }
        const float total = vec_sum(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3]))) + rest;
        losses[t] = log((double)total) + (double)largest - target;
        if (!op->gradient) continue;
        const vec scale = vec_set(1.0f / total);
        for (size_t i = 0; i < n; i += VEC_LANES) {
            const size_t lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
            vec_store_n(x + i, vec_mul(vec_load_n(x + i, lanes), scale), lanes);
        }
        x[op->targets[t]] -= 1.0f;
    }
}

/* Infinity where the squares of finite elements overflow is told from real ones by adding in double. */
static double squares_sum(const float *x, size_t n)
{
    enum { SUMS = 4, BLOCK = 512 }; /* of a block in float32, of blocks in double */
    double total = 0;
    for (size_t at = 0; at < n; at += BLOCK) {
        const size_t count = n - at < BLOCK ? n - at : BLOCK;
        vec sum[SUMS] = { vec_zero(), vec_zero(), vec_zero(), vec_zero() };
        for (size_t i = 0; i < count; i += VEC_LANES) {
            const size_t lanes = count - i < VEC_LANES ? count - i : VEC_LANES;
            vec v = vec_load_n(x + at + i, lanes);
            sum[i / VEC_LANES % SUMS] = vec_fma(v, v, sum[i / VEC_LANES % SUMS]);
        }
        float squares = vec_sum(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3])));
        double exact = (double)squares;
        if (!(squares < 1e38f && squares > 1e-30f)) { /* beyond float32, or where it loses digits */
            exact = 0;
            for (size_t i = 0; i < count; i++) exact += (double)x[at + i] * (double)x[at + i];
        }
        total += exact;
    }
    return total;
}

static void adamw_range(const kr_adamw *op, size_t begin, size_t end)
{
    const double step = (double)op->step, beta1 = (double)op->beta1, beta2 = (double)op->beta2;
    const vec scale = vec_set(op->scale), b1 = vec_set(op->beta1), c1 = vec_set((float)(1 - beta1)), b2 = vec_set(op->beta2),
              c2 = vec_set((float)(1 - beta2)), eps = vec_set(op->epsilon),
              keep = vec_set((float)(1 - (double)op->rate * (double)op->decay)),
              rate = vec_set((float)((double)op->rate / (1 - pow(beta1, step)))),
              root = vec_set((float)(1 / sqrt(1 - pow(beta2, step))));
    for (size_t i = begin; i < end; i += VEC_LANES) {
        const size_t lanes = end - i < VEC_LANES ? end - i : VEC_LANES;
        vec g = vec_mul(vec_load_n(op->gradient + i, lanes), scale);
        vec m = vec_fma(b1, vec_load_n(op->m + i, lanes), vec_mul(c1, g));
        vec v = vec_fma(b2, vec_load_n(op->v + i, lanes), vec_mul(c2, vec_mul(g, g)));
        vec_store_n(op->m + i, m, lanes);
        vec_store_n(op->v + i, v, lanes);
        vec move = vec_div(vec_mul(rate, m), vec_fma(vec_sqrt(v), root, eps));
        vec value = vec_sub(vec_mul(keep, vec_load_n(op->value + i, lanes)), move);
        vec_store_n(op->value + i, value, lanes);
        if (op->rounded) {
            float out[VEC_LANES];
            vec_store(out, value);
            for (size_t l = 0; l < lanes; l++) op->rounded[i + l] = kr_float_to_bf16(out[l]);
        }
    }
}
