/* Choosing the numbers of a quantised matrix so that its products change least, not its weights: error feedback, as in GPTQ (Frantar et
 * al. 2022) in the form of LDLQ (Chee et al. 2023).
 *
 * With H = X^T X, X the rows that the matrix was multiplied by, an error e of one of its rows changes the products by e H e^T in sum of
 * squares. H = R R^T, R upper triangular, gives |e R|^2 = sum_j R[j,j]^2 (e[j] + sum_{k<j} e[k] R[k,j] / R[j,j])^2: column after column the
 * number nearest to the weight plus what the errors so far ask for takes each term to its least.
 *
 * That looks forward only. Sweeps over the columns follow, each changing a number, and then a run's scale, to what is best given all others
 * (coordinate descent: e H e^T never grows). */
#ifndef KR_TENSOR_FEEDBACK_H
#define KR_TENSOR_FEEDBACK_H

#include "tensor/numbers.h"

/* For matrices of n columns. */
typedef struct kr_feedback {
    size_t n;
    const float *factor;     /* [n, n]: above the diagonal R[k,j] / R[j,j] */
    const float *importance; /* [n]: R[j,j]^2 */
    const float *moments;    /* [n, n]: H itself, all of it */
} kr_feedback;

enum { KR_FEEDBACK_PANEL = 64 };

/* Of h [n, n], of which the part on and above the diagonal counts: `damping` times the mean of its diagonal is added there, and the part below
 * filled in; then factor [n, n] and importance [n]. scratch [KR_FEEDBACK_PANEL, n]. The same bits for any number of threads. */
void kr_feedback_factor(float *h, size_t n, float damping, float *factor, float *importance, float *scratch, int threads);

/* Floats of scratch that choosing numbers of rows needs. */
size_t kr_feedback_scratch(size_t rows, size_t n);
/* Numbers for w [rows, n]; `back` [rows, n] are the weights they stand for. A row's do not depend on the others. */
void kr_feedback_choose(const kr_feedback *feedback, krait_weight_type type, size_t rows, const float *w, kr_numbers out,
                        float *back, float *scratch);

#endif
