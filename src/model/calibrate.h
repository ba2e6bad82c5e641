/* Calibration: what a model's matrices multiply while it reads a text, and numbers for quantised ones that are right for that
 * (tensor/feedback.h). Layer by layer: the residual stream of all tokens is kept, one layer's weights in float32, and the second moments
 * H = X^T X of one matrix's inputs. */
#ifndef KR_MODEL_CALIBRATE_H
#define KR_MODEL_CALIBRATE_H

#include "model/model.h"
#include "tensor/numbers.h"

typedef struct kr_calibration kr_calibration;

/* Rows that are chosen at a time, at most. */
enum { KR_CHOICE_ROWS = 16 };

/* The options' ids, of which too few are an error, their progress and the checkpoint are used until it is freed. n_matrices: how many are to be
 * chosen, for the progress. */
krait_status kr_calibration_create(kr_calibration **calibration, krait_checkpoint *checkpoint, const krait_config *config,
                                   const krait_save_options *options, int threads, size_t n_matrices, krait_error *error);
void kr_calibration_free(kr_calibration *calibration);

/* Gets ready to choose numbers of a matrix: of those that it is called for, each once, in the order of kr_each_parameter(). *ready is false
 * for a matrix that multiplies nothing (an embedding that is not the head): its weights alone count. */
krait_status kr_calibration_begin(kr_calibration *calibration, const kr_parameter_place *place, bool *ready, krait_error *error);
/* Numbers for rows first .. first+n-1 of that matrix, w [n, columns], n <= KR_CHOICE_ROWS; valid until the thread's next call. Several
 * threads may call it for different rows, `thread` being less than those given to create. */
kr_numbers kr_calibration_choose(kr_calibration *calibration, int thread, krait_weight_type type, size_t first, size_t n,
                                 const float *w);
/* Tells the progress, which is of all of the work; an error says that it is to stop. */
krait_status kr_calibration_report(kr_calibration *calibration, krait_error *error);

#endif
