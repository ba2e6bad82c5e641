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

VEC_INLINE vec vec_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
VEC_INLINE vec vec_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }

VEC_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
VEC_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
VEC_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
VEC_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
/* a*b + c, rounded once */
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
/* Gives b, or a NaN, if either is a NaN. */
VEC_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
VEC_INLINE vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
VEC_INLINE vec vec_sqrt(vec a) { return _mm512_sqrt_ps(a); }
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

/* ---- integers: as many of 32 bits as there are floats, or four times as many bytes ---------------------------------- */

typedef __m512i ivec;

VEC_INLINE ivec ivec_set(int32_t x) { return _mm512_set1_epi32(x); }
VEC_INLINE ivec ivec_load(const void *p) { return _mm512_loadu_si512(p); }
VEC_INLINE vec ivec_float(ivec a) { return _mm512_cvtepi32_ps(a); }
/* The lower and the upper half of each byte. */
VEC_INLINE ivec ivec_low4(ivec a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
VEC_INLINE ivec ivec_high4(ivec a) { return ivec_low4(_mm512_srli_epi16(a, 4)); }

VEC_INLINE ivec ivec_and(ivec a, ivec b) { return _mm512_and_si512(a, b); }
VEC_INLINE ivec ivec_or(ivec a, ivec b) { return _mm512_or_si512(a, b); }
/* Each byte two bits to the right or left; what comes in from its neighbour is for the caller to mask. */
VEC_INLINE ivec ivec_right2(ivec a) { return _mm512_srli_epi16(a, 2); }
VEC_INLINE ivec ivec_left2(ivec a) { return _mm512_slli_epi16(a, 2); }

/* For each lane sum + a0 c0 + a1 c1 + a2 c2 + a3 c3, exactly: a is bytes 0..63 (dot4) or what ivec_q8() makes of q8's numbers (dot8),
 * c signed bytes > -128. VEC_Q8_OFFSET says whether the numbers' offset is still in a. */
#if defined(__AVX512VNNI__)
enum { VEC_Q8_OFFSET = 1 };
VEC_INLINE ivec ivec_q8(ivec numbers) { return numbers; }
VEC_INLINE ivec ivec_dot8(ivec sum, ivec a, ivec c) { return _mm512_dpbusd_epi32(sum, a, c); }
VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec c) { return _mm512_dpbusd_epi32(sum, a, c); }
#else
enum { VEC_Q8_OFFSET = 0 };
VEC_INLINE ivec ivec_q8(ivec numbers) { return _mm512_xor_si512(numbers, _mm512_set1_epi8(-128)); }
VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec c)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(a, c), _mm512_set1_epi16(1)));
}
VEC_INLINE ivec ivec_dot8(ivec sum, ivec a, ivec c)
{
    return ivec_dot4(sum, _mm512_abs_epi8(a), _mm512_mask_sub_epi8(c, _mm512_movepi8_mask(a), _mm512_setzero_si512(), c));
}
#endif

/* ---- bfloat16: twice as many as there are floats ----------------------------------------------------------------- */

#if defined(__AVX512BF16__)
typedef __m512bh bvec;

VEC_INLINE bvec bvec_load(const uint16_t *p) { return (__m512bh)_mm512_loadu_si512(p); }
VEC_INLINE bvec bvec_load_n(const uint16_t *p, size_t n)
{
    return (__m512bh)_mm512_maskz_loadu_epi16((__mmask32)((UINT64_C(1) << n) - 1), p);
}
/* Rounds to nearest even, low lanes first. */
VEC_INLINE void bvec_store(uint16_t *p, vec low, vec high) { _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(high, low)); }
/* For each lane sum + a0 b0 + a1 b1 */
VEC_INLINE vec bvec_dot(vec sum, bvec a, bvec b) { return _mm512_dpbf16_ps(sum, a, b); }
#endif

#endif
