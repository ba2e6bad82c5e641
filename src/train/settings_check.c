/* Settings that cannot be meant together. */
#include <stdio.h>
#include <string.h>

#include "train/settings.h"

/* Two settings of which only one may be given. */
static krait_status either(const krait_training_settings *s, size_t a, size_t b, krait_error *error)
{
    char first[256], second[256];
    if (!kr_setting_given(s, a) || !kr_setting_given(s, b)) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s contradicts %s: expected one of them", kr_setting_where(s, b, second),
                   kr_setting_where(s, a, first));
}

/* A setting that means nothing without another. */
static krait_status needs(const krait_training_settings *s, size_t index, bool there, const char *what, krait_error *error)
{
    char where[256];
    if (!kr_setting_given(s, index) || there) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: means nothing without %s", kr_setting_where(s, index, where), what);
}

static krait_status check_model(const krait_training_settings *s, krait_error *error)
{
    const kr_settings *v = &s->values;
    const size_t shape = KR_SETTING(model.shape), from = KR_SETTING(model.from);
    const size_t dimensions[] = { KR_SETTING(model.d_model), KR_SETTING(model.n_layer), KR_SETTING(model.d_state),
                                  KR_SETTING(model.d_conv),  KR_SETTING(model.expand),  KR_SETTING(model.dt_rank) };
    krait_status status = either(s, shape, from, error);
    for (size_t i = 0; i < sizeof dimensions / sizeof *dimensions && !status; i++) {
        status = either(s, shape, dimensions[i], error);
        if (!status) status = either(s, from, dimensions[i], error);
    }
    if (!status) status = either(s, from, KR_SETTING(model.vocab_size), error);
    if (!status) status = either(s, from, KR_SETTING(model.tied_head), error);
    if (!status) status = either(s, from, KR_SETTING(model.dt_min), error);
    if (!status) status = either(s, from, KR_SETTING(model.dt_max), error);
    if (!status && v->model.dt_min > v->model.dt_max)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "model.dt_min: expected at most model.dt_max, %g, found %g", v->model.dt_max,
                       v->model.dt_min);
    if (status || v->model.from || v->model.shape) return status;
    if (!v->model.d_model || !v->model.n_layer)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "no model: expected model.from, or model.shape, or model.d_model and model.n_layer");
    return KRAIT_OK;
}

static krait_status check_length(const krait_training_settings *s, krait_error *error)
{
    const size_t steps = KR_SETTING(train.steps), tokens = KR_SETTING(train.tokens), epochs = KR_SETTING(train.epochs);
    char where[256];
    krait_status status = either(s, steps, tokens, error);
    if (!status) status = either(s, steps, epochs, error);
    if (!status) status = either(s, tokens, epochs, error);
    if (!status && kr_setting_given(s, epochs) && s->values.train.epochs <= 0)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a number above 0, found 0", kr_setting_where(s, epochs, where));
    return status;
}

static krait_status check_schedule(const krait_training_settings *s, krait_error *error)
{
    const kr_settings *v = &s->values;
    char rate[256], least[256];
    bool wsd = strcmp(v->train.schedule, "wsd") == 0, constant = strcmp(v->train.schedule, "constant") == 0;
    krait_status status = needs(s, KR_SETTING(train.decay_steps), wsd, "train.schedule: wsd", error);
    if (!status && constant)
        status = needs(s, KR_SETTING(train.min_learning_rate), false, "train.schedule: cosine or wsd", error);
    if (!status && !constant && v->train.min_learning_rate > v->train.learning_rate)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s of %g is above %s of %g",
                         kr_setting_where(s, KR_SETTING(train.min_learning_rate), least), v->train.min_learning_rate,
                         kr_setting_where(s, KR_SETTING(train.learning_rate), rate), v->train.learning_rate);
    return status;
}

static krait_status check_held_out(const krait_training_settings *s, krait_error *error)
{
    const size_t files = KR_SETTING(data.held_out), pattern = KR_SETTING(data.held_out_pattern),
                 share = KR_SETTING(data.held_out_share);
    const size_t evaluate[] = { KR_SETTING(evaluate.every), KR_SETTING(evaluate.window), KR_SETTING(evaluate.tokens),
                                KR_SETTING(evaluate.patience) };
    bool any = kr_setting_given(s, files) || kr_setting_given(s, pattern) || s->values.data.held_out_share > 0;
    krait_status status = either(s, files, pattern, error);
    if (!status) status = either(s, files, share, error);
    if (!status) status = either(s, pattern, share, error);
    for (size_t i = 0; i < sizeof evaluate / sizeof *evaluate && !status; i++)
        status = needs(s, evaluate[i], any, "data.held_out", error);
    if (!status && s->values.evaluate.window == 1)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "evaluate.window: expected 0, or at least 2, found 1");
    return status;
}

krait_status kr_settings_check(const krait_training_settings *s, krait_error *error)
{
    const kr_settings *v = &s->values;
    krait_status status = check_model(s, error);
    if (!status && !v->data.train.n) status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "nothing to learn: expected data.train");
    if (!status) status = check_length(s, error);
    if (!status) status = check_schedule(s, error);
    if (!status) status = check_held_out(s, error);
    if (!status) status = needs(s, KR_SETTING(data.prompt_field), v->data.field, "data.field", error);
    if (!status) status = either(s, KR_SETTING(data.field), KR_SETTING(data.split), error);
    if (!status && kr_setting_given(s, KR_SETTING(divergence.rise)))
        status = needs(s, KR_SETTING(divergence.rise), strcmp(v->divergence.spike, "off") != 0, "divergence.spike", error);
    return status;
}
