/* Makes the n-th allocation fail, for tests that show that every failure is reported and leaks nothing. Linked into the tests
 * named test_alloc_*: fail_alloc.c replaces malloc and its family for the whole process.
 *
 * Allocations of the project's own code, of the C library on its behalf, and of the text libraries count. Those of the OpenMP
 * runtime and the GEMM library do not: the first would exit the process, both keep what they allocate. */
#ifndef KR_TEST_FAIL_ALLOC_H
#define KR_TEST_FAIL_ALLOC_H

#include <stddef.h>

#include "krait/krait.h"

/* From here on allocations are counted, and the n-th (from 1) fails, once. 0: none fails. */
void fail_alloc_arm(size_t n);
/* Back to normal; returns how many allocations were made, failed ones included, since arming. */
size_t fail_alloc_disarm(void);
/* Blocks allocated while armed that are not freed yet. */
size_t fail_alloc_live(void);

/* Runs body(context) with the 1st, 2nd, ... allocation failing until a run has fewer allocations than that. Fails the cmocka test
 * unless every run returns KRAIT_OK or an error that says it was memory, with a message, and frees all it allocated: `body`
 * itself frees what it made before it returns. With KRAIT_FAIL_EVERY=n in the environment, which tests under an emulator have, only
 * every n-th allocation: what fails and how does not depend on the CPU. Returns how many allocations the last, undisturbed run made. */
size_t fail_alloc_every(krait_status (*body)(void *context, krait_error *error), void *context);

#endif
