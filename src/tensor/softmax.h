/* The arithmetic of a row of logits: its largest element, exponentials, and the logarithm of their sum. The same input gives
 * the same bits on every machine. */
#ifndef KR_TENSOR_SOFTMAX_H
#define KR_TENSOR_SOFTMAX_H

#include <stdbool.h>
#include <stddef.h>

/* Where kr_softmax_exp() ends: exp(-87) is the last power of e, in whole numbers, that is a normal float. */
#define KR_SOFTMAX_LIMIT 87.0f

/* out[i] = exp(-x[i]) to 1e-7 of it, x[i] >= 0; beyond KR_SOFTMAX_LIMIT it stays exp(-KR_SOFTMAX_LIMIT), 1.6e-38. exp(0) is
 * exactly 1. out may be x. */
void kr_softmax_exp(float *out, const float *x, size_t n);

/* The largest of n >= 1 elements and its index, the lowest of equals. false if an element is NaN or +infinity: then `index` is
 * the first such. */
bool kr_softmax_max(const float *x, size_t n, float *max, size_t *index);

/* log(sum_i exp(x[i])) to 1e-6, n >= 1; -infinity if all are, NaN if one is NaN or +infinity. The natural log of
 * the probability of i is x[i] minus this. */
double kr_softmax_log_sum(const float *x, size_t n);

#endif
