/* No library for large products: our own kernels do them (matvec_body.h, matvec.c). */
#include "cpu/device.h"
#include "cpu/gemm.h"

const char *kr_gemm_name(void) { return "plain"; }

bool kr_gemm_is_fast(krait_weight_type type)
{
    (void)type;
    return false;
}

bool kr_gemm(int threads, const kr_gemm_product *product)
{
    (void)threads, (void)product;
    return false;
}
