/* vec_exp2_small: 2^x for |x| <= 125, relative error below 2e-7; exactly 1 for 0. Anything else gives nonsense.
 * By a polynomial; exp2_table.h has another way. */
VEC_INLINE vec vec_exp2_small(vec x)
{
    const vec magic = vec_set(12582912.0f); /* 1.5 * 2^23: see math_body.h */
    vec t = vec_add(x, magic);
    vec f = vec_sub(x, vec_sub(t, magic));
    vec p = vec_fma(f, vec_set(0x1.5bba20p-10f), vec_set(0x1.3cea86p-7f));
    p = vec_fma(f, p, vec_set(0x1.c6b752p-5f));
    p = vec_fma(f, p, vec_set(0x1.ebf9bcp-3f));
    p = vec_fma(f, p, vec_set(0x1.62e42ap-1f));
    p = vec_fma(f, p, vec_set(1.0f));
    return vec_add_bits(p, vec_exponent(t));
}
