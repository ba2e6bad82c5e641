/* vec_exp2_small: 2^x for |x| <= 125, relative error below 2e-7; exactly 1 for 0. Anything else gives nonsense.
 * By the table of vec_power() and a polynomial of degree 3: fewer multiplications and constants than exp2_polynomial.h, which
 * makes the whole scan 5 to 8 % faster. */
VEC_INLINE vec vec_exp2_small(vec x)
{
    const vec magic = vec_set(12582912.0f / VEC_LANES); /* rounds to multiples of 1 / VEC_LANES; see math_body.h */
    vec t = vec_add(x, magic);
    vec f = vec_sub(x, vec_sub(t, magic));
    vec p = vec_power(t);
    vec q = vec_fma(f, vec_set(0x1.c6b08ep-5f), vec_set(0x1.ec0c20p-3f));
    q = vec_mul(f, vec_fma(f, q, vec_set(0x1.62e430p-1f)));
    return vec_fma(p, q, p);
}
