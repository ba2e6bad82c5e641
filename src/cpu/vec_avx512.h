/* Sixteen floats: AVX-512 F, BW, DQ, VL. The same functions as in the other vec_<isa>.h; only one may be included. */
#ifndef KR_CPU_VEC_H
#define KR_CPU_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/vec_inline.h"

typedef __m512 vec;

enum {
    VEC_LANES = 16,
    VEC_REGISTERS = 32 /* a hint for blocking */
};

VEC_INLINE vec vec_zero(void) { return _mm512_setzero_ps(); }
VEC_INLINE vec vec_set(float x) { return _mm512_set1_ps(x); }
VEC_INLINE vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
VEC_INLINE void vec_store(float *p, vec x) { _mm512_storeu_ps(p, x); }
/* The first n lanes, 0 <= n <= VEC_LANES: other lanes are read as zero; memory behind is not touched. */
VEC_INLINE __mmask16 vec_mask(size_t n) { return (__mmask16)((1u << n) - 1); }
VEC_PARTIAL vec vec_load_n(const float *p, size_t n) { return _mm512_maskz_loadu_ps(vec_mask(n), p); }
VEC_PARTIAL void vec_store_n(float *p, vec x, size_t n) { _mm512_mask_storeu_ps(p, vec_mask(n), x); }

/* Keeps a loaded vector in a register. Compilers would rather fold the load into each of several uses. */
VEC_INLINE void vec_keep(vec *a) { __asm__("" : "+v"(*a)); }

VEC_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
VEC_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
VEC_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
VEC_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
/* a*b + c, rounded once */
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
/* Gives b, or a NaN, if either is a NaN. */
VEC_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
VEC_INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
VEC_INLINE vec vec_abs(vec a) { return _mm512_abs_ps(a); }
/* The largest lane; unspecified if there are NaNs. */
VEC_INLINE float vec_max_lane(vec a) { return _mm512_reduce_max_ps(a); }

/* a < b ? x : y */
VEC_INLINE vec vec_less(vec a, vec b, vec x, vec y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/* The low nine bits of each lane as sign and exponent of a power of two. */
VEC_INLINE vec vec_exponent(vec a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23)); }
/* 2^(k / VEC_LANES) where the low bits of each lane are an integer k, |k| < 125 * VEC_LANES. Shifted left by 19, k's exponent is in
 * its place, and the lower bits of k, which index the table, are in the mantissa's highest, where the table has them subtracted. */
static const uint32_t vec_powers[VEC_LANES]
    __attribute__((aligned(64))) = { 0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
                                     0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
                                     0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d };
VEC_INLINE vec vec_power(vec k)
{
    __m512i index = _mm512_castps_si512(k);
    __m512i power = _mm512_permutexvar_epi32(index, _mm512_load_si512(vec_powers));
    return _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_slli_epi32(index, 19)));
}

/* The sum of the lanes, always in the same order: halves are added, then quarters, and so on. */
VEC_INLINE float vec_sum(vec a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
/* vec_sum() of four at once: sums[0..3]. */
VEC_INLINE void vec_sum4(float *sums, vec a, vec b, vec c, vec d)
{
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
    __m512 s =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD)); /* a lane of 128 bits each */
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4E));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xB1));
    _mm_storeu_ps(sums, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
}

#endif
