/* The selective scan on any arrays. */
#ifndef KR_API_SCAN_PIECES_H
#define KR_API_SCAN_PIECES_H

#include "krait/ops.h"

/* Forward, or with gradients backward; everything is checked. */
krait_status kr_scan_pieces(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                            const krait_op_options *options, krait_error *error);
/* The same checks alone, and how many threads it would use. */
krait_status kr_scan_pieces_check(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients,
                                  const krait_op_options *options, int *threads, krait_error *error);
/* Whether u, delta, z, out and their gradients, as far as they are there, are used where they lie. */
bool kr_scan_activations_direct(const krait_selective_scan *op, const krait_selective_scan_gradients *gradients);

#endif
