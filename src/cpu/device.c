#include "cpu/device.h"

#include "cpu/cpu_math.h"
#include "cpu/kernels.h"

const kr_cpu_kernels kr_cpu_kernels_plain = {
    .rms_norm = kr_rms_norm_plain,
    .conv = kr_conv_plain,
    .scan = kr_scan_plain,
    .scan_backward = kr_scan_backward_plain,
    .conv_backward = kr_conv_backward_plain,
    .rms_norm_factors = kr_rms_norm_factors_plain,
    .rms_norm_backward = kr_rms_norm_backward_plain,
    .matvec = kr_matvec_plain,
    .dot = kr_dot_plain,
    .quantize = kr_quantize_plain,
    .product = kr_product_plain,
    .cross_entropy = kr_cross_entropy_plain,
    .sum_squares = kr_sum_squares_plain,
    .adamw = kr_adamw_plain,
    .exp = kr_exp_plain,
    .softplus = kr_softplus_plain,
    .silu = kr_silu_plain,
};

const kr_cpu_kernels *kr_cpu_kernels_of(krait_isa isa)
{
    switch (isa) {
#if defined(__x86_64__) && !defined(KRAIT_NO_SIMD)
    case KRAIT_ISA_AVX2: return &kr_cpu_kernels_avx2;
    case KRAIT_ISA_AVX2_VNNI: return &kr_cpu_kernels_avx2_vnni;
    case KRAIT_ISA_AVX512: return &kr_cpu_kernels_avx512;
    case KRAIT_ISA_AVX512_BF16: return &kr_cpu_kernels_avx512_bf16;
    case KRAIT_ISA_AVX512_AMX: return &kr_cpu_kernels_avx512_amx;
#elif defined(__aarch64__) && !defined(KRAIT_NO_SIMD)
    case KRAIT_ISA_NEON: return &kr_cpu_kernels_neon;
    case KRAIT_ISA_NEON_DOT: return &kr_cpu_kernels_neon_dot;
    case KRAIT_ISA_NEON_BF16: return &kr_cpu_kernels_neon_bf16;
#endif
    default: return &kr_cpu_kernels_plain;
    }
}

_Static_assert(KR_MATVEC_MAX_TOKENS >= KRAIT_BATCH_MAX_ROWS, "rows of a batch share a step");

/* The ops find their kernels by exec->device->isa: the tables differ in nothing else. */
#define DEVICE(ISA)                                                    \
    [ISA] = {                                                          \
        .name = "cpu",                                                 \
        .isa = ISA,                                                    \
        .embedding = kr_cpu_embedding,                                 \
        .linear = kr_cpu_linear,                                       \
        .rms_norm = kr_cpu_rms_norm,                                   \
        .conv = kr_cpu_conv,                                           \
        .scan = kr_cpu_scan,                                           \
        .mixer_step = kr_cpu_mixer_step,                               \
        .rms_norm_backward = kr_cpu_rms_norm_backward,                 \
        .conv_backward = kr_cpu_conv_backward,                         \
        .scan_backward = kr_cpu_scan_backward,                         \
        .linear_backward = kr_cpu_linear_backward,                     \
        .embedding_backward = kr_cpu_embedding_backward,               \
        .cross_entropy = kr_cpu_cross_entropy,                         \
        .sum_squares = kr_cpu_sum_squares,                             \
        .adamw = kr_cpu_adamw,                                         \
        .linear_scratch = kr_cpu_linear_scratch,                       \
        .scan_scratch = kr_cpu_scan_scratch,                           \
        .mixer_step_scratch = kr_cpu_mixer_step_scratch,               \
        .rms_norm_backward_scratch = kr_cpu_rms_norm_backward_scratch, \
        .scan_backward_scratch = kr_cpu_scan_backward_scratch,         \
        .linear_backward_scratch = kr_cpu_linear_backward_scratch,     \
        .cross_entropy_scratch = kr_cpu_cross_entropy_scratch,         \
        .sum_squares_scratch = kr_cpu_sum_squares_scratch,             \
        .mixer_step_max = 16,                                          \
        .independent_tokens = KR_MATVEC_MAX_TOKENS,                    \
    }

static const kr_device devices[] = {
    DEVICE(KRAIT_ISA_PLAIN),    DEVICE(KRAIT_ISA_AVX2),        DEVICE(KRAIT_ISA_AVX512),
    DEVICE(KRAIT_ISA_NEON),     DEVICE(KRAIT_ISA_AVX512_BF16), DEVICE(KRAIT_ISA_AVX2_VNNI),
    DEVICE(KRAIT_ISA_NEON_DOT), DEVICE(KRAIT_ISA_NEON_BF16),   DEVICE(KRAIT_ISA_AVX512_AMX),
};

const kr_device *kr_cpu_device(krait_isa isa) { return &devices[isa]; }
