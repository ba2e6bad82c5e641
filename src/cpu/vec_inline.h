/* How the functions of vec_<isa>.h are inlined. */
#ifndef KR_CPU_VEC_INLINE_H
#define KR_CPU_VEC_INLINE_H

/* Without the checks of the undefined behaviour sanitizer, which multiply in unrolled code until clang needs minutes; guard pages
 * (tests/checkop) watch over these. */
#define VEC_INLINE static inline __attribute__((always_inline, unused, no_sanitize("undefined")))

/* For partial loads and stores: the address sanitizer checks them lane by lane, and clang needs minutes where many are inlined. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VEC_PARTIAL static __attribute__((noinline, unused))
#endif
#endif
#ifndef VEC_PARTIAL
#define VEC_PARTIAL VEC_INLINE
#endif

/* Before a loop over registers, which are an array only in the text: without it the array would be one in memory. */
#if defined(__clang__)
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
