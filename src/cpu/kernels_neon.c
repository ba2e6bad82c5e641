#include "cpu/cpu_math.h"
#include "cpu/kernels.h"

#if defined(__aarch64__) && !defined(KRAIT_NO_SIMD)

#include "cpu/vec_neon.h"

#include "cpu/matvec_body.h"

const kr_cpu_kernels kr_cpu_kernels_neon = {
    .rms_norm = kr_rms_norm_plain,
    .conv = kr_conv_plain,
    .scan = kr_scan_plain,
    .matvec = matvec_rows,
    .exp = kr_exp_plain,
    .softplus = kr_softplus_plain,
    .silu = kr_silu_plain,
};

#endif
