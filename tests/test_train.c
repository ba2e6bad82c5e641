/* Training against reference vectors made in float64: gradients of every parameter, ten steps of AdamW. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "krait/train.h"

static const char models[] = KRAIT_TEST_DATA "/models";
static const char *const names[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
enum { N_MODELS = sizeof names / sizeof *names };

typedef struct reference {
    krait_checkpoint *checkpoint, *expected;
    int32_t *ids, *targets; /* [batch, length] */
    size_t batch, length;
    krait_train_row rows[4];
} reference;

static reference open_reference(const char *name)
{
    krait_error error;
    reference r = { 0 };
    char path[512];
    snprintf(path, sizeof path, "%s/%s", models, name);
    assert_ok(krait_checkpoint_open(&r.checkpoint, path, &error));
    r.expected = fixture_open(path, "expected.safetensors");
    size_t count;
    r.ids = fixture_ids(r.expected, "input_ids", &count);
    r.batch = 2;
    r.length = count / r.batch;
    r.targets = malloc(count * sizeof *r.targets);
    for (size_t i = 0; i < count; i++) r.targets[i] = (i + 1) % r.length ? r.ids[i + 1] : -1;
    for (size_t b = 0; b < r.batch; b++)
        r.rows[b] = (krait_train_row){ .tokens = r.ids + b * r.length, .targets = r.targets + b * r.length, .count = r.length };
    return r;
}

static void close_reference(reference *r)
{
    krait_checkpoint_free(r->checkpoint);
    krait_checkpoint_free(r->expected);
    free(r->ids);
    free(r->targets);
}

static krait_trainer_options constant(void)
{
    krait_trainer_options options = krait_trainer_defaults();
    options.schedule = KRAIT_SCHEDULE_CONSTANT;
    options.threads = 2;
    return options;
}

static krait_trainer *trainer_of(const reference *r, const krait_trainer_options *options)
{
    krait_error error;
    krait_trainer *trainer;
    assert_ok(krait_trainer_create(&trainer, NULL, 0, r->checkpoint, options, &error));
    return trainer;
}

/* ---- reference vectors ----------------------------------------------------------------------------------------------- */

/* The number of tensors checked. */
static size_t check_gradients(const char *name, krait_isa isa, bool recompute)
{
    krait_error error;
    reference r = open_reference(name);
    krait_trainer_options options = constant();
    options.isa = isa;
    options.recompute = recompute;
    krait_trainer *trainer = trainer_of(&r, &options);
    assert_ok(krait_trainer_accumulate(trainer, r.rows, r.batch, &error));
    size_t checked = 0;
    for (size_t i = 0; i < krait_checkpoint_n_tensors(r.expected); i++) {
        krait_tensor_info info;
        assert_int_equal(krait_checkpoint_tensor(r.expected, i, &info), KRAIT_OK);
        if (strncmp(info.name, "grad.", 5) != 0) continue;
        size_t count;
        char what[256];
        float *expected = fixture_floats(r.expected, info.name, &count), *found = malloc(count * sizeof *found);
        const char *own = info.name + 5;
        if (strcmp(own, "backbone.embedding.weight") == 0) own = "backbone.embeddings.weight";
        assert_ok(krait_trainer_gradient(trainer, own, found, count, &error));
        snprintf(what, sizeof what, "%s, %s: %s", name, krait_isa_name(isa), info.name);
        assert_close(what, found, expected, count, 1e-4);
        free(expected);
        free(found);
        checked++;
    }
    krait_trainer_free(trainer);
    close_reference(&r);
    return checked;
}

static void gradients_are_those_of_the_reference(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        size_t checked = check_gradients(names[i], KRAIT_ISA_AUTO, false);
        assert_true(checked >= 10);
        for (int isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++)
            if (krait_isa_available((krait_isa)isa))
                assert_int_equal(check_gradients(names[i], (krait_isa)isa, isa % 2 == 0), checked);
    }
}

static void ten_steps_are_those_of_the_reference(void **state)
{
    (void)state;
    size_t curves = 0;
    for (size_t i = 0; i < N_MODELS; i++) {
        krait_error error;
        reference r = open_reference(names[i]);
        if (fixture_has(r.expected, "train.losses")) {
            krait_trainer_options options = constant();
            krait_trainer *trainer = trainer_of(&r, &options);
            size_t steps, count;
            float *losses = fixture_floats(r.expected, "train.losses", &steps),
                  *norms = fixture_floats(r.expected, "train.grad_norms", &steps);
            assert_int_equal(steps, 10);
            for (size_t s = 0; s < steps; s++) {
                krait_train_step step;
                assert_ok(krait_trainer_accumulate(trainer, r.rows, r.batch, &error));
                assert_ok(krait_trainer_update(trainer, &step, &error));
                assert_int_equal(step.step, s + 1);
                assert_int_equal(step.n_targets, r.batch * (r.length - 1));
                assert_true(step.finite);
                float loss = (float)step.loss, norm = (float)step.grad_norm;
                assert_close("loss", &loss, &losses[s], 1, 1e-4);
                assert_close("gradient norm", &norm, &norms[s], 1, 1e-3);
            }
            for (size_t t = 0; t < krait_checkpoint_n_tensors(r.expected); t++) {
                krait_tensor_info info;
                assert_int_equal(krait_checkpoint_tensor(r.expected, t, &info), KRAIT_OK);
                if (strncmp(info.name, "train.after.", 12) != 0) continue;
                float *expected = fixture_floats(r.expected, info.name, &count), *found = malloc(count * sizeof *found);
                assert_ok(krait_trainer_parameter(trainer, info.name + 12, found, count, &error));
                assert_close(info.name, found, expected, count, 1e-3);
                free(expected);
                free(found);
            }
            free(losses);
            free(norms);
            krait_trainer_free(trainer);
            curves++;
        }
        close_reference(&r);
    }
    assert_int_equal(curves, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_reference),
        cmocka_unit_test(ten_steps_are_those_of_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
