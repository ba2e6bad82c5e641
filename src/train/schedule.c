/* Options of a trainer, and the learning rate. */
#include <math.h>
#include <string.h>

#include "train/trainer.h"

static const char *const names[] = { "cosine", "wsd", "constant" };
enum { N_SCHEDULES = sizeof names / sizeof *names };

const char *krait_schedule_name(krait_schedule schedule)
{
    return (unsigned)schedule < N_SCHEDULES ? names[schedule] : "unknown";
}

bool krait_schedule_find(krait_schedule *schedule, const char *name)
{
    for (unsigned i = 0; i < N_SCHEDULES; i++)
        if (strcmp(name, names[i]) == 0) {
            *schedule = (krait_schedule)i;
            return true;
        }
    return false;
}

krait_trainer_options krait_trainer_defaults(void)
{
    return (krait_trainer_options){ .learning_rate = 1e-3f,
                                    .min_learning_rate = 1e-5f,
                                    .beta1 = 0.9f,
                                    .beta2 = 0.95f,
                                    .epsilon = 1e-8f,
                                    .weight_decay = 0.1f,
                                    .clip_norm = 1,
                                    .schedule = KRAIT_SCHEDULE_COSINE,
                                    .compute = KRAIT_WEIGHT_F32 };
}

double krait_trainer_rate(const krait_trainer_options *o, uint64_t step)
{
    const double peak = (double)o->learning_rate, least = (double)o->min_learning_rate, now = (double)step + 1;
    if (step < o->warmup_steps) return peak * now / (double)o->warmup_steps;
    const uint64_t end = o->total_steps > o->warmup_steps ? o->total_steps : o->warmup_steps;
    switch (o->schedule) {
    case KRAIT_SCHEDULE_COSINE: {
        if (step + 1 >= end) return least;
        double part = (now - (double)o->warmup_steps) / (double)(end - o->warmup_steps);
        return least + (peak - least) * (1 + cos(3.14159265358979323846 * part)) / 2;
    }
    case KRAIT_SCHEDULE_WSD: {
        if (o->decay_steps == 0) return peak;
        if (step + 1 >= end) return least;
        const double left = (double)end - now;
        return left >= (double)o->decay_steps ? peak : least + (peak - least) * left / (double)o->decay_steps;
    }
    case KRAIT_SCHEDULE_CONSTANT: break;
    }
    return peak;
}

static krait_status out_of_range(const char *name, const char *expected, double found, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: %s: expected %s, found %g", name, expected, found);
}

krait_status kr_trainer_options_check(const krait_trainer_options *o, krait_error *error)
{
    enum { MOST_THREADS = 1024 };
    const struct {
        const char *name;
        float value;
        float below; /* exclusive */
    } numbers[] = {
        { "learning_rate", o->learning_rate, INFINITY },
        { "min_learning_rate", o->min_learning_rate, INFINITY },
        { "beta1", o->beta1, 1 },
        { "beta2", o->beta2, 1 },
        { "epsilon", o->epsilon, INFINITY },
        { "weight_decay", o->weight_decay, INFINITY },
        { "clip_norm", o->clip_norm, INFINITY },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!(numbers[i].value >= 0 && numbers[i].value < numbers[i].below))
            return out_of_range(numbers[i].name, numbers[i].below == 1 ? "0 .. below 1" : "a finite number, not below 0",
                                (double)numbers[i].value, error);
    if (!(o->dt_min >= 0 && o->dt_max >= o->dt_min && o->dt_max < INFINITY && (o->dt_min > 0 || o->dt_max == 0)))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "trainer options: dt_min, dt_max: expected 0 < dt_min <= dt_max, or both 0, found %g and %g",
                       (double)o->dt_min, (double)o->dt_max);
    if (!(o->learning_rate > 0)) return out_of_range("learning_rate", "more than 0", (double)o->learning_rate, error);
    if (!(o->epsilon > 0)) return out_of_range("epsilon", "more than 0", (double)o->epsilon, error);
    if ((unsigned)o->schedule >= N_SCHEDULES)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: schedule: expected 0 .. %d, found %d", N_SCHEDULES - 1,
                       (int)o->schedule);
    if (o->schedule != KRAIT_SCHEDULE_CONSTANT) {
        if (o->min_learning_rate > o->learning_rate)
            return out_of_range("min_learning_rate", "at most learning_rate", (double)o->min_learning_rate, error);
        if (o->total_steps == 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "trainer options: total_steps: expected at least 1 with the schedule %s, found 0",
                           krait_schedule_name(o->schedule));
        if (o->warmup_steps > o->total_steps)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "trainer options: warmup_steps: expected at most total_steps (%llu), found %llu",
                           (unsigned long long)o->total_steps, (unsigned long long)o->warmup_steps);
    }
    if (o->schedule == KRAIT_SCHEDULE_WSD && o->decay_steps > o->total_steps - o->warmup_steps)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "trainer options: decay_steps: expected at most total_steps - warmup_steps (%llu), found %llu",
                       (unsigned long long)(o->total_steps - o->warmup_steps), (unsigned long long)o->decay_steps);
    if (o->compute != KRAIT_WEIGHT_F32 && o->compute != KRAIT_WEIGHT_BF16)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: compute: expected f32 or bf16, found %s",
                       krait_weight_type_name(o->compute));
    if (o->threads < 0 || o->threads > MOST_THREADS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: threads: expected 0 .. %d, found %d", MOST_THREADS,
                       o->threads);
    if (o->n_freeze > 0 && !o->freeze) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "trainer options: freeze is NULL");
    return KRAIT_OK;
}

size_t kr_piece_tokens(const krait_trainer_options *options)
{
    enum { USUAL = 2048 };
    return options->piece_tokens ? options->piece_tokens : USUAL;
}

kr_keep kr_keep_of(const krait_trainer_options *options)
{
    return options->recompute ? KR_KEEP_RESIDUAL : options->keep_states ? KR_KEEP_STATES : KR_KEEP_PROJECTED;
}
