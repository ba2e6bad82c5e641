/* Eight floats: AVX2 and FMA. The same functions as in the other vec_<isa>.h; only one may be included. */
#ifndef KR_CPU_VEC_H
#define KR_CPU_VEC_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/vec_inline.h"

typedef __m256 vec;

enum {
    VEC_LANES = 8,
    VEC_REGISTERS = 16 /* a hint for blocking */
};

VEC_INLINE vec vec_zero(void) { return _mm256_setzero_ps(); }
VEC_INLINE vec vec_set(float x) { return _mm256_set1_ps(x); }
VEC_INLINE vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
VEC_INLINE void vec_store(float *p, vec x) { _mm256_storeu_ps(p, x); }
/* The first n lanes, 0 <= n <= VEC_LANES: other lanes are read as zero; memory behind is not touched. */
VEC_INLINE __m256i vec_mask(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
VEC_PARTIAL vec vec_load_n(const float *p, size_t n)
{
    return n == VEC_LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vec_mask(n));
}
VEC_PARTIAL void vec_store_n(float *p, vec x, size_t n)
{
    if (n == VEC_LANES)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, vec_mask(n), x);
}

/* Keeps a loaded vector in a register. Compilers would rather fold the load into each of several uses. */
VEC_INLINE void vec_keep(vec *a) { __asm__("" : "+x"(*a)); }

VEC_INLINE vec vec_load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
VEC_INLINE vec vec_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

VEC_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
VEC_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
VEC_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
VEC_INLINE vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
/* a*b + c, rounded once */
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
/* Gives b, or a NaN, if either is a NaN. */
VEC_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
VEC_INLINE vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
VEC_INLINE vec vec_sqrt(vec a) { return _mm256_sqrt_ps(a); }
VEC_INLINE vec vec_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }

/* a < b ? x : y */
VEC_INLINE vec vec_less(vec a, vec b, vec x, vec y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
/* The low nine bits of each lane as sign and exponent of a power of two. */
VEC_INLINE vec vec_exponent(vec a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23)); }
/* 2^(k / VEC_LANES) where the low bits of each lane are an integer k, |k| < 125 * VEC_LANES. Shifted left by 20, k's exponent is in
 * its place, and the lower bits of k, which index the table, are in the mantissa's highest, where the table has them subtracted. */
static const uint32_t vec_powers[VEC_LANES] __attribute__((aligned(64))) = { 0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                                                             0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7 };
VEC_INLINE vec vec_power(vec k)
{
    __m256i index = _mm256_castps_si256(k);
    __m256i power = _mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i *)vec_powers), index);
    return _mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_slli_epi32(index, 20)));
}

/* The sum of the lanes, always in the same order: halves are added, then quarters, and so on. */
VEC_INLINE float vec_sum(vec a)
{
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
/* vec_sum() of four at once: sums[0..3]. */
VEC_INLINE void vec_sum4(float *sums, vec a, vec b, vec c, vec d)
{
    __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    __m256 s = _mm256_add_ps(_mm256_unpacklo_ps(ab, cd), _mm256_unpackhi_ps(ab, cd)); /* a c a c | b d b d */
    s = _mm256_add_ps(s, _mm256_permute_ps(s, 0x4E));
    _mm_storeu_ps(sums, _mm_unpacklo_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
/* The largest lane; unspecified if there are NaNs. */
VEC_INLINE float vec_max_lane(vec a)
{
    __m128 c = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_max_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

/* ---- integers: as many of 32 bits as there are floats, or four times as many bytes ---------------------------------- */

typedef __m256i ivec;

VEC_INLINE ivec ivec_set(int32_t x) { return _mm256_set1_epi32(x); }
VEC_INLINE ivec ivec_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
VEC_INLINE vec ivec_float(ivec a) { return _mm256_cvtepi32_ps(a); }
/* The lower and the upper half of each byte. */
VEC_INLINE ivec ivec_low4(ivec a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
VEC_INLINE ivec ivec_high4(ivec a) { return ivec_low4(_mm256_srli_epi16(a, 4)); }

VEC_INLINE ivec ivec_and(ivec a, ivec b) { return _mm256_and_si256(a, b); }
VEC_INLINE ivec ivec_or(ivec a, ivec b) { return _mm256_or_si256(a, b); }
/* Each byte two bits to the right or left; what comes in from its neighbour is for the caller to mask. */
VEC_INLINE ivec ivec_right2(ivec a) { return _mm256_srli_epi16(a, 2); }
VEC_INLINE ivec ivec_left2(ivec a) { return _mm256_slli_epi16(a, 2); }

/* For each lane sum + a0 c0 + a1 c1 + a2 c2 + a3 c3, exactly: a is bytes 0..63 (dot4) or what ivec_q8() makes of q8's numbers (dot8),
 * c signed bytes > -128. VEC_Q8_OFFSET says whether the numbers' offset is still in a. */
#if defined(__AVXVNNI__)
enum { VEC_Q8_OFFSET = 1 };
VEC_INLINE ivec ivec_q8(ivec numbers) { return numbers; }
VEC_INLINE ivec ivec_dot8(ivec sum, ivec a, ivec c) { return _mm256_dpbusd_avx_epi32(sum, a, c); }
VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec c) { return _mm256_dpbusd_avx_epi32(sum, a, c); }
#else
enum { VEC_Q8_OFFSET = 0 };
VEC_INLINE ivec ivec_q8(ivec numbers) { return _mm256_xor_si256(numbers, _mm256_set1_epi8(-128)); }
VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec c)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, c), _mm256_set1_epi16(1)));
}
VEC_INLINE ivec ivec_dot8(ivec sum, ivec a, ivec c) { return ivec_dot4(sum, _mm256_abs_epi8(a), _mm256_sign_epi8(c, a)); }
#endif

#endif
