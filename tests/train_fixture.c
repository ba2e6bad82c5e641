#include "train_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const reference_names[N_MODELS] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };

reference open_reference(const char *name)
{
    krait_error error;
    reference r = { 0 };
    char path[512];
    snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, name);
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

void close_reference(reference *r)
{
    krait_checkpoint_free(r->checkpoint);
    krait_checkpoint_free(r->expected);
    free(r->ids);
    free(r->targets);
}

krait_trainer_options constant(void)
{
    krait_trainer_options options = krait_trainer_defaults();
    options.schedule = KRAIT_SCHEDULE_CONSTANT;
    options.threads = 2;
    return options;
}

krait_trainer *trainer_of(const reference *r, const krait_trainer_options *options)
{
    krait_error error;
    krait_trainer *trainer;
    assert_ok(krait_trainer_create(&trainer, NULL, 0, r->checkpoint, options, &error));
    return trainer;
}

const char *const parameter_names[] = {
    "backbone.embeddings.weight",
    "backbone.layers.0.norm.weight",
    "backbone.layers.0.mixer.in_proj.weight",
    "backbone.layers.1.mixer.conv1d.weight",
    "backbone.layers.1.mixer.conv1d.bias",
    "backbone.layers.0.mixer.x_proj.weight",
    "backbone.layers.1.mixer.dt_proj.weight",
    "backbone.layers.0.mixer.dt_proj.bias",
    "backbone.layers.1.mixer.A_log",
    "backbone.layers.0.mixer.D",
    "backbone.layers.1.mixer.out_proj.weight",
    "backbone.norm_f.weight",
};

krait_config small(void)
{
    return (krait_config){ .vocab_size = VOCABULARY,
                           .d_model = D_MODEL,
                           .n_layer = 2,
                           .d_inner = 2 * D_MODEL,
                           .d_state = 5,
                           .d_conv = 4,
                           .dt_rank = 3,
                           .conv_bias = true,
                           .tied_head = true,
                           .norm_eps = 1e-5f,
                           .bos_id = -1,
                           .eos_id = -1 };
}

size_t count_of(const char *name)
{
    const krait_config c = small();
    const struct {
        const char *part;
        int64_t count;
    } counts[] = {
        { "embeddings", c.vocab_size * c.d_model },
        { "norm_f", c.d_model },
        { "0.norm", c.d_model },
        { "in_proj", 2 * c.d_inner * c.d_model },
        { "conv1d.weight", c.d_inner * 4 },
        { "conv1d.bias", c.d_inner },
        { "x_proj", (c.dt_rank + 2 * c.d_state) * c.d_inner },
        { "dt_proj.weight", c.d_inner * c.dt_rank },
        { "dt_proj.bias", c.d_inner },
        { "A_log", c.d_inner * c.d_state },
        { ".D", c.d_inner },
        { "out_proj", c.d_model * c.d_inner },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (strstr(name, counts[i].part)) return (size_t)counts[i].count;
    fail();
    return 0;
}

krait_trainer *small_trainer(const krait_trainer_options *options)
{
    krait_error error;
    krait_trainer *trainer;
    const krait_config config = small();
    assert_ok(krait_trainer_create(&trainer, &config, 7, NULL, options, &error));
    return trainer;
}

/* Texts that have something to be learned, the same for every seed. */
int32_t text[ROWS][LENGTH + 1];

int make_text(void **state)
{
    (void)state;
    uint32_t x = 1;
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i <= LENGTH; i++) {
            x = x * 1664525 + 1013904223;
            text[r][i] = i % 2 ? (text[r][i - 1] * 7 + r) % VOCABULARY : (int32_t)(x >> 16) % VOCABULARY;
        }
    return 0;
}

krait_train_row row_of(int r, size_t begin, size_t count)
{
    return (krait_train_row){ .tokens = text[r] + begin, .targets = text[r] + begin + 1, .count = count };
}

float *gradient_of(const krait_trainer *trainer, const char *name)
{
    krait_error error;
    float *out = malloc(count_of(name) * sizeof *out);
    assert_ok(krait_trainer_gradient(trainer, name, out, count_of(name), &error));
    return out;
}

float *value_of(const krait_trainer *trainer, const char *name)
{
    krait_error error;
    float *out = malloc(count_of(name) * sizeof *out);
    assert_ok(krait_trainer_parameter(trainer, name, out, count_of(name), &error));
    return out;
}

/* To within `tolerance`; 0: the same bits. */
void assert_same(reader read, const krait_trainer *a, const krait_trainer *b, double tolerance)
{
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const char *name = parameter_names[i];
        float *x = read(a, name), *y = read(b, name);
        assert_true(largest_magnitude(y, count_of(name)) > 0);
        if (tolerance > 0)
            assert_close(name, x, y, count_of(name), tolerance);
        else if (memcmp(x, y, count_of(name) * sizeof *x) != 0)
            fail_msg("%s: expected the same bits, largest difference %g", name, (double)largest_difference(x, y, count_of(name)));
        free(x);
        free(y);
    }
}

double step_of(krait_trainer *trainer, const krait_train_row *rows, size_t n_rows)
{
    krait_error error;
    krait_train_step step;
    assert_ok(krait_trainer_accumulate(trainer, rows, n_rows, &error));
    assert_ok(krait_trainer_update(trainer, &step, &error));
    assert_true(step.finite);
    return step.loss;
}

void all_rows(krait_train_row rows[ROWS])
{
    for (int r = 0; r < ROWS; r++) rows[r] = row_of(r, 0, LENGTH);
}
