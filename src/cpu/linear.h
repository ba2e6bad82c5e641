/* kr_linear on the CPU. */
#ifndef KR_CPU_LINEAR_H
#define KR_CPU_LINEAR_H

#include "ops/ops.h"

/* Plain C: each output on its own, summed in a fixed order. The specification of the others. */
void kr_cpu_linear_reference(const kr_exec *exec, const kr_linear *op);

/* Few tokens by our own kernel of exec->device->isa, many by kr_gemm. */
void kr_cpu_linear(const kr_exec *exec, const kr_linear *op);

/* Bytes of scratch either needs. */
size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns);

#endif
