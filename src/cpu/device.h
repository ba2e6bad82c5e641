/* The CPU as a device: one table per instruction set. */
#ifndef KR_CPU_DEVICE_H
#define KR_CPU_DEVICE_H

#include "ops/ops.h"

/* The table of an available instruction set (krait_isa_available(); not AUTO). KRAIT_ISA_PLAIN is the reference: plain C for every
 * op, and the specification of the others. */
const kr_device *kr_cpu_device(krait_isa isa);

/* "onednn 2.6.0", "plain": what multiplies large matrices. */
const char *kr_gemm_name(void);

#endif
