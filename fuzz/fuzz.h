/* What libFuzzer calls, and fuzz/replay_main.c in builds without it. */
#ifndef KR_FUZZ_FUZZ_H
#define KR_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* One input; returns 0. A finding is a crash, a sanitizer's report, or a failed check that calls abort(). */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
