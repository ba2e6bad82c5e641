/* kr_gemm by oneDNN, 2.x or 3.x. */
#include <oneapi/dnnl/dnnl.h>

#include "base/threads.h"
#include "cpu/device.h"
#include "cpu/gemm.h"

#define TEXT_OF(number)  #number
#define TEXT_OF2(number) TEXT_OF(number)

const char *kr_gemm_name(void)
{
    return "onednn " TEXT_OF2(DNNL_VERSION_MAJOR) "." TEXT_OF2(DNNL_VERSION_MINOR) "." TEXT_OF2(DNNL_VERSION_PATCH);
}

void kr_gemm(int threads, size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, size_t ldw, bool add,
             float *y, size_t ldy)
{
    if (m == 0 || n == 0) return;
    int before = kr_threads_set(threads);
    dnnl_status_t status = dnnl_sgemm('N', 'T', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k, 1.0f, x, (dnnl_dim_t)ldx, w,
                                      (dnnl_dim_t)ldw, add ? 1.0f : 0.0f, y, (dnnl_dim_t)ldy);
    kr_threads_set(before);
    /* Out of memory, which nobody above could be told: slow, but right. oneDNN allocates before it writes. */
    if (status != dnnl_success) kr_gemm_reference(m, n, k, x, ldx, w, ldw, add, y, ldy);
}
