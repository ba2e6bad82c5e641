/* krait: what is trained on, row by row. Shared by krait/train.h, which learns from rows, and krait/data.h, which makes them. */
#ifndef KRAIT_TRAIN_ROW_H
#define KRAIT_TRAIN_ROW_H

#include "krait/krait.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A stretch of text, and what is to be foreseen at each of its tokens. Rows of a batch may differ in length: there is no padding. */
typedef struct krait_train_row {
    const int32_t *tokens;  /* [count] */
    const int32_t *targets; /* [count] what follows each token; negative: nothing to be learned there */
    size_t count;
    const size_t *
        starts; /* [n_starts] ascending positions in 1 .. count - 1 where another document begins: the state before them is zero */
    size_t n_starts;
    krait_state *state; /* NULL: from zero. Else where the row goes on from and, afterwards, where it ended: truncated BPTT */
} krait_train_row;

#ifdef __cplusplus
}
#endif

#endif
