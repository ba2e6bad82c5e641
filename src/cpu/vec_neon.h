/* Four floats: NEON of AArch64. The same functions as in the other vec_<isa>.h; only one may be included. */
#ifndef KR_CPU_VEC_H
#define KR_CPU_VEC_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/vec_inline.h"

typedef float32x4_t vec;

enum {
    VEC_LANES = 4,
    VEC_REGISTERS = 32 /* a hint for blocking */
};

VEC_INLINE vec vec_zero(void) { return vdupq_n_f32(0.0f); }
VEC_INLINE vec vec_set(float x) { return vdupq_n_f32(x); }
VEC_INLINE vec vec_load(const float *p) { return vld1q_f32(p); }
VEC_INLINE void vec_store(float *p, vec x) { vst1q_f32(p, x); }
/* The first n lanes, 0 <= n <= VEC_LANES: other lanes are read as zero; memory behind is not touched. */
VEC_PARTIAL vec vec_load_n(const float *p, size_t n)
{
    if (n == VEC_LANES) return vld1q_f32(p);
    vec x = vec_zero();
    if (n > 0) x = vld1q_lane_f32(p, x, 0);
    if (n > 1) x = vld1q_lane_f32(p + 1, x, 1);
    if (n > 2) x = vld1q_lane_f32(p + 2, x, 2);
    return x;
}
VEC_PARTIAL void vec_store_n(float *p, vec x, size_t n)
{
    if (n == VEC_LANES) {
        vst1q_f32(p, x);
        return;
    }
    if (n > 0) vst1q_lane_f32(p, x, 0);
    if (n > 1) vst1q_lane_f32(p + 1, x, 1);
    if (n > 2) vst1q_lane_f32(p + 2, x, 2);
}

/* Keeps a loaded vector in a register. Compilers would rather fold the load into each of several uses. */
VEC_INLINE void vec_keep(vec *a) { __asm__("" : "+w"(*a)); }

VEC_INLINE vec vec_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
VEC_INLINE vec vec_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

VEC_INLINE vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }
VEC_INLINE vec vec_sub(vec a, vec b) { return vsubq_f32(a, b); }
VEC_INLINE vec vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
VEC_INLINE vec vec_div(vec a, vec b) { return vdivq_f32(a, b); }
/* a*b + c, rounded once */
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
/* Gives b, or a NaN, if either is a NaN. */
VEC_INLINE vec vec_max(vec a, vec b) { return vmaxq_f32(a, b); }
VEC_INLINE vec vec_min(vec a, vec b) { return vminq_f32(a, b); }
VEC_INLINE vec vec_sqrt(vec a) { return vsqrtq_f32(a); }
VEC_INLINE vec vec_abs(vec a) { return vabsq_f32(a); }

/* a < b ? x : y */
VEC_INLINE vec vec_less(vec a, vec b, vec x, vec y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
/* The low nine bits of each lane as sign and exponent of a power of two; the sum of lanes as integers. */
VEC_INLINE vec vec_exponent(vec a) { return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(a), 23)); }
VEC_INLINE vec vec_add_bits(vec a, vec b)
{
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b)));
}

/* The sum of the lanes, always in the same order: halves are added, then quarters. */
VEC_INLINE float vec_sum(vec a)
{
    float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
/* vec_sum() of four at once: sums[0..3]. */
VEC_INLINE void vec_sum4(float *sums, vec a, vec b, vec c, vec d)
{
    vec ab = vaddq_f32(vzip1q_f32(a, b), vzip2q_f32(a, b)), cd = vaddq_f32(vzip1q_f32(c, d), vzip2q_f32(c, d));
    vec first = vcombine_f32(vget_low_f32(ab), vget_low_f32(cd)), second = vcombine_f32(vget_high_f32(ab), vget_high_f32(cd));
    vst1q_f32(sums, vaddq_f32(first, second));
}
/* The largest lane; unspecified if there are NaNs. */
VEC_INLINE float vec_max_lane(vec a) { return vmaxvq_f32(a); }

/* ---- integers: as many of 32 bits as there are floats, or four times as many bytes ---------------------------------- */

typedef int32x4_t ivec;

VEC_INLINE ivec ivec_set(int32_t x) { return vdupq_n_s32(x); }
VEC_INLINE ivec ivec_load(const void *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
VEC_INLINE vec ivec_float(ivec a) { return vcvtq_f32_s32(a); }
/* The lower and the upper half of each byte. */
VEC_INLINE ivec ivec_low4(ivec a) { return vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(a), vdupq_n_u8(15))); }
VEC_INLINE ivec ivec_high4(ivec a) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(a), 4)); }

VEC_INLINE ivec ivec_and(ivec a, ivec b) { return vandq_s32(a, b); }
VEC_INLINE ivec ivec_or(ivec a, ivec b) { return vorrq_s32(a, b); }
/* Each byte two bits to the right or left; what comes in from its neighbour is for the caller to mask. */
VEC_INLINE ivec ivec_right2(ivec a) { return vshrq_n_s32(a, 2); }
VEC_INLINE ivec ivec_left2(ivec a) { return vshlq_n_s32(a, 2); }

/* For each lane sum + a0 c0 + a1 c1 + a2 c2 + a3 c3, exactly: a is bytes 0..63 (dot4) or what ivec_q8() makes of q8's numbers (dot8),
 * c signed bytes > -128. VEC_Q8_OFFSET says whether the numbers' offset is still in a. */
enum { VEC_Q8_OFFSET = 0 };
VEC_INLINE ivec ivec_q8(ivec numbers) { return vreinterpretq_s32_u8(veorq_u8(vreinterpretq_u8_s32(numbers), vdupq_n_u8(128))); }
VEC_INLINE ivec ivec_dot8(ivec sum, ivec a, ivec c)
{
    int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(c);
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, x, y);
#else
    /* Two products of at most 128 * 127 fit 16 bits. */
    return vpadalq_s16(sum, vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y)));
#endif
}
VEC_INLINE ivec ivec_dot4(ivec sum, ivec a, ivec c) { return ivec_dot8(sum, a, c); }

/* ---- bfloat16: twice as many as there are floats ----------------------------------------------------------------- */

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
typedef bfloat16x8_t bvec;

VEC_INLINE bvec bvec_load(const uint16_t *p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
/* Others are zero. */
VEC_PARTIAL bvec bvec_load_n(const uint16_t *p, size_t n)
{
    uint16_t part[2 * VEC_LANES] = { 0 };
    for (size_t i = 0; i < n; i++) part[i] = p[i];
    return bvec_load(part);
}
/* Rounds to nearest even, low lanes first. */
VEC_INLINE void bvec_store(uint16_t *p, vec low, vec high)
{
    vst1q_u16(p, vreinterpretq_u16_bf16(vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(low), high)));
}
/* For each lane sum + a0 b0 + a1 b1. CPUs without the extended bfloat16 of ARMv9.2 round the products and their sum to odd. */
VEC_INLINE vec bvec_dot(vec sum, bvec a, bvec b) { return vbfdotq_f32(sum, a, b); }
#endif

#endif
