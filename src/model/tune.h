/* Tuning a quantised model by its predictions: the integers of its matrices stay as calibration chose them; their scales and what is float32
 * beside them (norms, convolution, biases, D; A stays) move, by Adam on gradients through the whole model, so that its probabilities come
 * nearest to those of the float32 model on the calibration text. As the last phase of EfficientQAT (Chen et al. 2024), with the model's own
 * predictions as the targets.
 *
 * In memory are two float32 models, if the checkpoint has not the first itself, the gradients, a byte for each number, and what a window of
 * text keeps for the backward pass. */
#ifndef KR_MODEL_TUNE_H
#define KR_MODEL_TUNE_H

#include "model/model.h"
#include "tensor/numbers.h"

typedef struct kr_tuning kr_tuning;

/* What a parameter is saved in: q8, q6 or q4, for which numbers are to be chosen; f16 or bf16, rounded; f32, which may be tuned where it is no
 * matrix; AUTO: blocks that are taken over as they are. */
typedef krait_weight_type kr_tuning_type(void *saving, const kr_parameter_place *place);

/* Calibrates and tunes. The options' ids, of which too few are an error, their progress and the checkpoint are used by this call alone. */
krait_status kr_tuning_create(kr_tuning **tuning, krait_checkpoint *checkpoint, const krait_config *config,
                              const krait_save_options *options, int threads, kr_tuning_type *type, void *saving,
                              krait_error *error);
void kr_tuning_free(kr_tuning *tuning);

/* What became of a parameter: one of the two. */
typedef struct kr_tuned {
    kr_numbers numbers;  /* of all rows */
    const float *values; /* as files store them */
} kr_tuned;

/* false: it is as it was. */
bool kr_tuning_find(const kr_tuning *tuning, const kr_parameter *parameter, size_t layer, kr_tuned *tuned);

#endif
