/* What type a parameter is to be held or saved in. */
#include <fnmatch.h>

#include "model/model.h"
#include "tensor/packed.h"

krait_weight_type kr_type_fitting(krait_weight_type type, size_t rows, size_t columns)
{
    bool larger =
        kr_is_grouped(type) && kr_packed_bytes(type, rows, columns) >= kr_packed_bytes(KRAIT_WEIGHT_BF16, rows, columns);
    return larger ? KRAIT_WEIGHT_BF16 : type;
}

/* Whether blocks of Q8_0 have numbers that q6 has: krait writes its q6 so. */
static bool fits_q6(const kr_tensor *tensor)
{
    enum { SCALE = 2, BLOCK = 32 };
    size_t bytes;
    if (tensor->dtype != KRAIT_DTYPE_Q8_0 || !kr_tensor_bytes(tensor, &bytes)) return false;
    const signed char *data = tensor->data;
    for (size_t at = 0; at < bytes; at += SCALE + BLOCK) {
        bool fits = true;
        for (size_t i = at + SCALE; i < at + SCALE + BLOCK; i++) fits = fits && data[i] >= -32 && data[i] <= 31;
        if (!fits) return false;
    }
    return true;
}

bool kr_type_holds_exactly(krait_weight_type type, const kr_tensor *tensor)
{
    return kr_packs_exactly(tensor->dtype, type) || (type == KRAIT_WEIGHT_Q6 && fits_q6(tensor));
}

krait_weight_type kr_type_raised(krait_weight_type type, const kr_parameter_place *place, const kr_tensor *tensor)
{
    const unsigned asks = place->layer == 0 ? KR_Q6_IN_Q4 | KR_Q6_IN_FIRST : KR_Q6_IN_Q4;
    if (type != KRAIT_WEIGHT_Q4 || !(place->parameter->flags & asks)) return type;
    if (tensor && (kr_packs_exactly(tensor->dtype, type) || tensor->dtype == KRAIT_DTYPE_PACKED_Q4)) return type;
    return KRAIT_WEIGHT_Q6;
}

krait_weight_type kr_type_choose(const krait_save_options *options, kr_choice_use *uses, const kr_parameter_place *place,
                                 const kr_tensor *tensor, const char **reason)
{
    const krait_type_choice *chosen = NULL;
    for (size_t i = 0; i < options->n_choices; i++) {
        const char *pattern = options->choices[i].pattern;
        if (fnmatch(pattern, place->gguf_name, 0) != 0 && fnmatch(pattern, place->name, 0) != 0) continue;
        if (!chosen)
            uses[i] = KR_CHOICE_USED;
        else if (uses[i] == KR_CHOICE_UNUSED)
            uses[i] = KR_CHOICE_LATE;
        if (!chosen) chosen = &options->choices[i];
    }
    if (chosen) {
        *reason = "chosen";
        return chosen->type;
    }
    krait_weight_type type = kr_type_raised(options->type, place, tensor);
    if (type == options->type) return type;
    *reason = "costs much in q4";
    /* Of a model that is quantised already it is kept, as it would otherwise be refused. */
    bool is_q8 = tensor && (tensor->dtype == KRAIT_DTYPE_PACKED_Q8 || kr_packs_exactly(tensor->dtype, KRAIT_WEIGHT_Q8));
    return is_q8 && !options->requantize && !kr_type_holds_exactly(type, tensor) ? KRAIT_WEIGHT_Q8 : type;
}

krait_status kr_type_check_options(const krait_save_options *options, krait_error *error)
{
    enum { MOST_STEPS = 1000000 };
    if ((unsigned)options->type > KRAIT_WEIGHT_Q6)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "save options: type: expected 0 .. %d, found %d", KRAIT_WEIGHT_Q6,
                       (int)options->type);
    if (options->n_calibration && !options->calibration)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "save options: calibration: expected %zu ids, found none",
                       options->n_calibration);
    if (options->tune_steps && !options->n_calibration)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "save options: tune_steps: expected ids to tune with, found none");
    if (options->tune_steps > MOST_STEPS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "save options: tune_steps: expected 0 .. %d, found %zu", MOST_STEPS,
                       options->tune_steps);
    for (size_t i = 0; i < options->n_choices; i++)
        if (!options->choices[i].pattern || (unsigned)options->choices[i].type > KRAIT_WEIGHT_Q6)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "save options: choice %zu: expected a pattern and a type", i);
    return KRAIT_OK;
}

krait_status kr_type_check_choices(const krait_save_options *options, const kr_choice_use *uses, krait_error *error)
{
    for (size_t i = 0; i < options->n_choices; i++) {
        const char *pattern = options->choices[i].pattern;
        if (uses[i] == KR_CHOICE_LATE)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "pattern \"%.200s\": every matrix that it fits has its type from an earlier pattern", pattern);
        if (uses[i] == KR_CHOICE_UNUSED)
            return kr_fail(
                error, KRAIT_ERROR_ARGUMENT,
                "pattern \"%.200s\": expected the name of a matrix, with * and ? for what differs, found none that fits",
                pattern);
    }
    return KRAIT_OK;
}
