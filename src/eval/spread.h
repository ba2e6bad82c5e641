/* Mean and spread of a value per token (Welford 1962: no cancellation, however long the text). */
#ifndef KR_EVAL_SPREAD_H
#define KR_EVAL_SPREAD_H

#include <math.h>
#include <stdint.h>

typedef struct kr_spread {
    uint64_t n;
    double sum, mean, squares; /* squares: sum of (value - mean)^2 */
} kr_spread;

static inline void kr_spread_add(kr_spread *s, double value)
{
    s->n++;
    s->sum += value;
    double off = value - s->mean;
    s->mean += off / (double)s->n;
    s->squares += off * (value - s->mean);
}

/* Of the mean; 0 for a single value. */
static inline double kr_spread_error(const kr_spread *s)
{
    double n = (double)s->n;
    return s->n > 1 ? sqrt(s->squares / (n - 1) / n) : 0;
}

#endif
