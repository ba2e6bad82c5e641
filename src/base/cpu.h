/* What this CPU can do, and its floating-point mode. */
#ifndef KR_BASE_CPU_H
#define KR_BASE_CPU_H

#include "base/status.h"

/* The best instruction set that both this build and this CPU (and its operating system) have. */
krait_isa kr_isa_best(void);

/* Resolves KRAIT_ISA_AUTO, through the environment variable KRAIT_ISA if it is set; an unknown name, or an instruction set that
 * is not available, is an error that lists those that are. */
krait_status kr_isa_resolve(krait_isa *isa, krait_error *error);

/* Flush-to-zero and denormals-are-zero for the calling thread; restore gives back what was before. */
typedef unsigned long kr_fp_mode;
kr_fp_mode kr_flush_denormals(void);
void kr_fp_restore(kr_fp_mode mode);

#endif
