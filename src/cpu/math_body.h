/* exp, softplus and silu on the vectors of vec_<isa>.h. Polynomials are minimax fits in the relative error, constant term exact.
 *
 * Adding 1.5 * 2^23 to a float below 2^22 rounds it to an integer, which then stands in the low bits of the sum: subtracting
 * gives the integer as a float, shifting gives the power of two. */
static const float round_to_integer = 12582912.0f;

/* 2^x for any x; for |x| <= 125 the bits of vec_exp2_small(), since adding 32 to such an x and multiplying by 2^-32 are exact. */
VEC_INLINE vec vec_exp2(vec x)
{
    const vec large = vec_set(100.0f), small = vec_set(-100.0f);
    x = vec_min(vec_set(150.0f), vec_max(vec_set(-150.0f), x));
    vec shift = vec_less(x, small, vec_set(32.0f), vec_less(large, x, vec_set(-32.0f), vec_zero()));
    vec scale = vec_less(x, small, vec_set(0x1p-32f), vec_less(large, x, vec_set(0x1p32f), vec_set(1.0f)));
    return vec_mul(vec_exp2_small(vec_add(x, shift)), scale);
}

/* e^x for any x, relative error below 2e-7 also where x is large: 0 below -87.7, infinity above 88.3. x = n log(2) + r, with log(2)
 * in two parts of which the first times n is exact. */
VEC_INLINE vec vec_exp(vec x)
{
    x = vec_min(vec_set(88.7f), vec_max(vec_set(-88.0f), x));
    vec t = vec_fma(x, vec_set(0x1.715476p+0f), vec_set(round_to_integer + 127));
    vec n = vec_sub(t, vec_set(round_to_integer + 127));
    vec r = vec_fma(n, vec_set(-0x1.62e400p-1f), x);
    r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), r);
    vec p = vec_fma(r, vec_set(0.00138427142f), vec_set(0.00837496482f));
    p = vec_fma(r, p, vec_set(0.0416680574f));
    p = vec_fma(r, p, vec_set(0.166664213f));
    p = vec_fma(r, p, vec_set(0.49999994f));
    p = vec_fma(r, p, vec_set(1.0f));
    p = vec_fma(r, p, vec_set(1.0f));
    return vec_mul(p, vec_exponent(t));
}

/* log(1 + e^x) = max(0, x) + log(1 + e^-|x|), whose last part is e P(e) on 0 <= e <= 1. */
VEC_INLINE vec vec_softplus(vec x)
{
    vec e = vec_exp(vec_sub(vec_zero(), vec_abs(x)));
    vec p = vec_fma(e, vec_set(-0.003244001651f), vec_set(0.019851349294f));
    p = vec_fma(e, p, vec_set(-0.056959304959f));
    p = vec_fma(e, p, vec_set(0.106036297977f));
    p = vec_fma(e, p, vec_set(-0.153055757284f));
    p = vec_fma(e, p, vec_set(0.196759328246f));
    p = vec_fma(e, p, vec_set(-0.249541327357f));
    p = vec_fma(e, p, vec_set(0.333299636841f));
    p = vec_fma(e, p, vec_set(-0.499999016523f));
    p = vec_fma(e, p, vec_set(1.0f));
    return vec_fma(e, p, vec_max(vec_zero(), x));
}

/* x / (1 + e^-x) */
VEC_INLINE vec vec_silu(vec x) { return vec_div(x, vec_add(vec_set(1.0f), vec_exp(vec_sub(vec_zero(), x)))); }

/* 1 / (1 + e^-x) */
VEC_INLINE vec vec_sigmoid(vec x) { return vec_div(vec_set(1.0f), vec_add(vec_set(1.0f), vec_exp(vec_sub(vec_zero(), x)))); }

static void exp_row(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        size_t lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
        vec_store_n(y + i, vec_exp(vec_load_n(x + i, lanes)), lanes);
    }
}

static void softplus_row(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        size_t lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
        vec_store_n(y + i, vec_softplus(vec_load_n(x + i, lanes)), lanes);
    }
}

static void silu_row(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        size_t lanes = n - i < VEC_LANES ? n - i : VEC_LANES;
        vec_store_n(y + i, vec_silu(vec_load_n(x + i, lanes)), lanes);
    }
}
