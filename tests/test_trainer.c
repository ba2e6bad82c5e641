/* A trainer as an object: saving it, what goes wrong, schedules, new parameters, memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train_fixture.h"

/* ---- saving ------------------------------------------------------------------------------------------------------------ */

static void remove_files(const char *folder, const char *state)
{
    char path[600];
    const char *const files[] = { "config.json", "model.safetensors" };
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        remove(path);
    }
    remove(folder);
    if (state) remove(state);
}

static void saving_and_loading_changes_no_bit(void **state)
{
    (void)state;
    const krait_weight_type types[] = { KRAIT_WEIGHT_F32, KRAIT_WEIGHT_BF16 };
    for (int i = 0; i < 2; i++) {
        krait_error error;
        krait_trainer_options options = krait_trainer_defaults();
        options.total_steps = 6;
        options.warmup_steps = 2;
        options.threads = 2;
        options.compute = types[i];
        krait_train_row rows[ROWS];
        all_rows(rows);
        const char folder[] = "test_train_model", path[] = "test_train_state.safetensors";
        remove_files(folder, path);
        krait_trainer *straight = small_trainer(&options), *again;
        for (int s = 0; s < 3; s++) step_of(straight, rows + s % 2, 2);
        assert_ok(krait_trainer_save_model(straight, folder, KRAIT_WEIGHT_F32, &error));
        assert_int_equal(krait_trainer_save_model(straight, folder, KRAIT_WEIGHT_F32, &error), KRAIT_ERROR_IO); /* not empty */
        assert_ok(krait_trainer_save_state(straight, path, &error));
        for (int s = 3; s < 6; s++) step_of(straight, rows + s % 2, 2);

        krait_checkpoint *checkpoint;
        assert_ok(krait_checkpoint_open(&checkpoint, folder, &error));
        assert_null(krait_checkpoint_note(checkpoint, 0));
        assert_ok(krait_trainer_create(&again, NULL, 0, checkpoint, &options, &error));
        krait_checkpoint_free(checkpoint);
        assert_ok(krait_trainer_load_state(again, path, &error));
        assert_int_equal(krait_trainer_steps(again), 3);
        for (int s = 3; s < 6; s++) step_of(again, rows + s % 2, 2);
        assert_same(value_of, straight, again, 0);
        krait_trainer_free(again);

        /* In bfloat16 a model of the same logits, roughly. */
        remove_files(folder, NULL);
        assert_ok(krait_trainer_save_model(straight, folder, KRAIT_WEIGHT_BF16, &error));
        assert_ok(krait_checkpoint_open(&checkpoint, folder, &error));
        assert_ok(krait_trainer_create(&again, NULL, 0, checkpoint, &options, &error));
        krait_checkpoint_free(checkpoint);
        assert_same(value_of, again, straight, 0x1p-8);
        krait_trainer_free(again);
        krait_trainer_free(straight);
        remove_files(folder, path);
    }
}

static void a_state_of_another_model_changes_nothing(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    const char path[] = "test_train_other.safetensors";
    krait_config config = small();
    config.d_state = 6;
    krait_trainer *other, *trainer = small_trainer(&options), *same = small_trainer(&options);
    krait_train_row rows[ROWS];
    all_rows(rows);
    step_of(trainer, rows, 1), step_of(same, rows, 1);
    assert_ok(krait_trainer_create(&other, &config, 0, NULL, &options, &error));
    assert_ok(krait_trainer_save_state(other, path, &error));
    assert_int_equal(krait_trainer_load_state(trainer, path, &error), KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "m.backbone.layers.0.mixer.x_proj.weight"));
    assert_int_equal(krait_trainer_load_state(trainer, KRAIT_TEST_DATA "/models/tiny/model.safetensors", &error),
                     KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "not a trainer's state"));
    assert_int_equal(krait_trainer_load_state(trainer, KRAIT_TEST_DATA "/models/tiny/config.json", &error), KRAIT_ERROR_FORMAT);
    assert_int_equal(krait_trainer_load_state(trainer, "no such file", &error), KRAIT_ERROR_IO);
    step_of(trainer, rows + 1, 1), step_of(same, rows + 1, 1);
    assert_same(value_of, trainer, same, 0);
    krait_trainer_free(trainer);
    krait_trainer_free(same);
    krait_trainer_free(other);
    remove(path);
}

static void a_saved_model_is_what_it_was_made_from(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        krait_error error;
        reference r = open_reference(reference_names[i]);
        krait_trainer_options options = constant();
        krait_trainer *trainer = trainer_of(&r, &options), *again;
        const char folder[] = "test_train_copy";
        remove_files(folder, NULL);
        assert_ok(krait_trainer_save_model(trainer, folder, KRAIT_WEIGHT_F32, &error));
        krait_checkpoint *copy;
        assert_ok(krait_checkpoint_open(&copy, folder, &error));
        assert_ok(krait_trainer_create(&again, NULL, 0, copy, &options, &error));
        krait_config config;
        assert_ok(krait_checkpoint_config(copy, &config, &error));
        assert_memory_equal(&config, krait_model_config(krait_trainer_model(trainer)), sizeof config);
        double losses[2] = { 0, 0 };
        uint64_t n = 0;
        assert_ok(krait_trainer_evaluate(trainer, r.rows, r.batch, &losses[0], &n, &error));
        assert_ok(krait_trainer_evaluate(again, r.rows, r.batch, &losses[1], &n, &error));
        assert_true(losses[0] == losses[1]);
        krait_checkpoint_free(copy);
        krait_trainer_free(trainer);
        krait_trainer_free(again);
        close_reference(&r);
        remove_files(folder, NULL);
    }
}

/* ---- what goes wrong ----------------------------------------------------------------------------------------------------- */

static void divergence_is_noticed_and_changes_nothing(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    options.learning_rate = 1e30f;
    options.weight_decay = 0;
    krait_trainer *trainer = small_trainer(&options), *same = small_trainer(&options);
    krait_train_row rows[ROWS];
    all_rows(rows);
    step_of(trainer, rows, 1), step_of(same, rows, 1);
    krait_train_step step;
    assert_ok(krait_trainer_accumulate(trainer, rows, ROWS, &error));
    assert_ok(krait_trainer_update(trainer, &step, &error));
    assert_false(step.finite);
    assert_non_null(step.nonfinite);
    assert_int_equal(step.step, 1);
    assert_same(value_of, trainer, same, 0);
    assert_int_equal(krait_trainer_update(trainer, &step, &error), KRAIT_ERROR_ARGUMENT); /* the gradients are gone */
    krait_trainer_free(trainer);
    krait_trainer_free(same);
}

typedef struct asking {
    uint64_t asked, stop_at, total; /* stop_at 0: never */
} asking;

static bool ask(void *user, const char *what, uint64_t done, uint64_t total)
{
    asking *a = user;
    assert_true(done < total);
    if (strcmp(what, "states") == 0) {
        assert_int_equal(total, ROWS);
    } else {
        assert_string_equal(what, "layers");
        a->total = total;
    }
    return ++a->asked != a->stop_at;
}

/* Wherever a batch is stopped, states are as before it, gathered gradients are gone, and the next step is that of a trainer that never
 * began the batch. */
static void a_stopped_batch_leaves_nothing_behind(void **state)
{
    (void)state;
    krait_error error;
    asking a = { 0 };
    krait_trainer_options options = constant(), asked = constant();
    options.piece_tokens = asked.piece_tokens = 2 * LENGTH; /* two groups */
    asked.progress = (krait_progress){ ask, &a };
    krait_trainer *trainer = small_trainer(&asked), *other = small_trainer(&options);
    krait_state *carried[2][ROWS], *initial;
    krait_train_row rows[2][ROWS];
    assert_ok(krait_state_create(&initial, krait_trainer_model(trainer), &error));
    for (int t = 0; t < 2; t++) {
        all_rows(rows[t]);
        for (int r = 0; r < ROWS; r++) {
            assert_ok(krait_state_create(&carried[t][r], krait_trainer_model(trainer), &error));
            rows[t][r].state = carried[t][r];
        }
    }
    step_of(trainer, rows[0], ROWS), step_of(other, rows[1], ROWS);
    assert_int_equal(a.asked, ROWS + 8); /* states; 2 layers, forward and backward, of 2 groups */
    assert_int_equal(a.total, 4);
    for (uint64_t stop_at = 1; stop_at <= ROWS + 8; stop_at++) {
        double loss = 5;
        uint64_t n = 6;
        a = (asking){ 0 };
        krait_train_row alone = row_of(0, 0, 10);
        assert_ok(krait_trainer_accumulate(trainer, &alone, 1, &error));
        a = (asking){ .stop_at = stop_at };
        assert_int_equal(krait_trainer_accumulate(trainer, rows[0], ROWS, &error), KRAIT_ERROR_INTERRUPTED);
        assert_int_equal(a.asked, stop_at);
        if (stop_at <= ROWS + 4) { /* 2 layers of 2 groups */
            a = (asking){ .stop_at = stop_at };
            assert_int_equal(krait_trainer_evaluate(trainer, rows[0], ROWS, &loss, &n, &error), KRAIT_ERROR_INTERRUPTED);
            assert_true(loss == 5 && n == 6);
        }
        for (int r = 0; r < ROWS; r++) {
            assert_int_equal(krait_state_tokens(carried[0][r]), krait_state_tokens(carried[1][r]));
            for (size_t i = 0; i < krait_state_n_tensors(initial); i++) {
                krait_tensor_info info;
                krait_state_tensor(initial, i, &info);
                float *x = malloc(info.bytes), *y = malloc(info.bytes);
                krait_state_read(carried[0][r], i, x), krait_state_read(carried[1][r], i, y);
                assert_memory_equal(x, y, info.bytes);
                free(x), free(y);
            }
        }
    }
    krait_train_step step;
    assert_int_equal(krait_trainer_update(trainer, &step, &error), KRAIT_ERROR_ARGUMENT); /* nothing is gathered */
    a = (asking){ 0 };
    step_of(trainer, rows[0], ROWS), step_of(other, rows[1], ROWS);
    assert_same(value_of, trainer, other, 0);
    for (int t = 0; t < 2; t++)
        for (int r = 0; r < ROWS; r++) krait_state_free(carried[t][r]);
    krait_state_free(initial);
    krait_trainer_free(trainer), krait_trainer_free(other);
}

static void parameters_are_listed(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_trainer *trainer = small_trainer(&options);
    krait_tensor_info info;
    size_t n = krait_trainer_n_parameters(trainer), known = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(krait_trainer_parameter_info(trainer, i, &info), KRAIT_OK);
        uint64_t count = 1;
        for (int d = 0; d < info.n_dims; d++) count *= info.shape[d];
        assert_int_equal(info.bytes, count * sizeof(float));
        assert_int_equal(info.dtype, KRAIT_DTYPE_F32);
        float *x = malloc(info.bytes);
        assert_ok(krait_trainer_parameter(trainer, info.name, x, count, &error));
        free(x);
        total += count;
        for (size_t k = 0; k < N_PARAMETERS; k++)
            if (strcmp(info.name, parameter_names[k]) == 0) {
                assert_int_equal(count, count_of(info.name));
                known++;
            }
        if (strstr(info.name, "conv1d.weight")) assert_true(info.n_dims == 3 && info.shape[1] == 1 && info.shape[2] == 4);
    }
    const krait_config config = small();
    assert_int_equal(known, N_PARAMETERS);
    assert_int_equal(total, krait_config_parameters(&config));
    assert_int_equal(krait_trainer_parameter_info(trainer, n, &info), KRAIT_ERROR_ARGUMENT);
    assert_null(info.name);
    assert_int_equal(krait_trainer_parameter_info(NULL, 0, &info), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_trainer_parameter_info(trainer, 0, NULL), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_trainer_n_parameters(NULL), 0);
    krait_trainer_free(trainer);
}

static void wrong_rows_are_refused(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_trainer *trainer = small_trainer(&options);
    krait_state *carried;
    assert_ok(krait_state_create(&carried, krait_trainer_model(trainer), &error));
    const int32_t low[] = { 1, -1 }, high[] = { 1, VOCABULARY }, good[] = { 1, 2 };
    const size_t zero[] = { 0 }, end[] = { 2 }, twice[] = { 1, 1 };
    const struct {
        krait_train_row row;
        const char *message;
    } cases[] = {
        { { .tokens = low, .targets = good, .count = 2 }, "token 1: expected an id in 0 .. 89, found -1" },
        { { .tokens = high, .targets = good, .count = 2 }, "token 1" },
        { { .tokens = good, .targets = high, .count = 2 }, "target 1" },
        { { .targets = good, .count = 2 }, "tokens is NULL" },
        { { .tokens = good, .count = 2 }, "targets is NULL" },
        { { .tokens = good, .targets = good, .count = 2, .starts = zero, .n_starts = 1 }, "start 0" },
        { { .tokens = good, .targets = good, .count = 2, .starts = end, .n_starts = 1 }, "start 0" },
        { { .tokens = good, .targets = good, .count = 2, .starts = twice, .n_starts = 2 }, "start 1" },
        { { .tokens = good, .targets = good, .count = 2, .n_starts = 2 }, "starts is NULL" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_train_row rows[] = { { .tokens = good, .targets = good, .count = 2, .state = carried }, cases[i].row };
        assert_int_equal(krait_trainer_accumulate(trainer, rows, 2, &error), KRAIT_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, "row 1: "));
        assert_non_null(strstr(error.message, cases[i].message));
    }
    krait_train_row same[] = { { .tokens = good, .targets = good, .count = 2, .state = carried },
                               { .tokens = good, .targets = good, .count = 2, .state = carried } };
    assert_int_equal(krait_trainer_accumulate(trainer, same, 2, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_state_tokens(carried), 0);
    krait_train_step step;
    assert_int_equal(krait_trainer_update(trainer, &step, &error), KRAIT_ERROR_ARGUMENT);
    assert_ok(krait_trainer_accumulate(trainer, same, 1, &error));
    assert_ok(krait_trainer_accumulate(trainer, NULL, 0, &error));
    assert_int_equal(krait_state_tokens(carried), 2);
    krait_state_free(carried);
    krait_trainer_free(trainer);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    const krait_config config = small();
    const krait_trainer_options usual = constant();
    krait_trainer_options wrong[10];
    for (size_t i = 0; i < 10; i++) wrong[i] = usual;
    wrong[0].learning_rate = 0;
    wrong[1].learning_rate = NAN;
    wrong[2].beta1 = 1;
    wrong[3].beta2 = -0.1f;
    wrong[4].epsilon = 0;
    wrong[5].compute = KRAIT_WEIGHT_Q8;
    wrong[6].schedule = KRAIT_SCHEDULE_COSINE; /* without total_steps */
    wrong[7].schedule = KRAIT_SCHEDULE_WSD, wrong[7].total_steps = 10, wrong[7].decay_steps = 11;
    wrong[8].threads = -1;
    wrong[9].clip_norm = INFINITY;
    const char *const named[] = { "learning_rate", "learning_rate", "beta1",       "beta2",   "epsilon",
                                  "compute",       "total_steps",   "decay_steps", "threads", "clip_norm" };
    for (size_t i = 0; i < 10; i++) {
        krait_error error;
        krait_trainer *trainer;
        assert_int_equal(krait_trainer_create(&trainer, &config, 0, NULL, &wrong[i], &error), KRAIT_ERROR_ARGUMENT);
        assert_non_null(strstr(error.message, named[i]));
        assert_null(trainer);
    }
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------- */

static void rates_follow_the_schedules(void **state)
{
    (void)state;
    krait_trainer_options o = krait_trainer_defaults();
    o.learning_rate = 1;
    o.min_learning_rate = 0.1f;
    o.warmup_steps = 4;
    o.total_steps = 14;
    const struct {
        krait_schedule schedule;
        uint64_t step;
        double rate;
    } cases[] = {
        { KRAIT_SCHEDULE_COSINE, 0, 0.25 },   { KRAIT_SCHEDULE_COSINE, 3, 1 },    { KRAIT_SCHEDULE_COSINE, 8, 0.55 },
        { KRAIT_SCHEDULE_COSINE, 13, 0.1 },   { KRAIT_SCHEDULE_COSINE, 50, 0.1 }, { KRAIT_SCHEDULE_WSD, 1, 0.5 },
        { KRAIT_SCHEDULE_WSD, 8, 1 },         { KRAIT_SCHEDULE_WSD, 9, 1 },       { KRAIT_SCHEDULE_WSD, 10, 0.775 },
        { KRAIT_SCHEDULE_WSD, 11, 0.55 },     { KRAIT_SCHEDULE_WSD, 13, 0.1 },    { KRAIT_SCHEDULE_WSD, 99, 0.1 },
        { KRAIT_SCHEDULE_CONSTANT, 2, 0.75 }, { KRAIT_SCHEDULE_CONSTANT, 99, 1 },
    };
    o.decay_steps = 4;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o.schedule = cases[i].schedule;
        assert_true(fabs(krait_trainer_rate(&o, cases[i].step) - cases[i].rate) < 1e-7);
    }
    krait_schedule schedule;
    for (int i = 0; i < 3; i++) {
        assert_true(krait_schedule_find(&schedule, krait_schedule_name((krait_schedule)i)));
        assert_int_equal(schedule, i);
    }
    assert_false(krait_schedule_find(&schedule, "linear"));
}

static void new_parameters_are_drawn_as_the_paper_says(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_config config = small();
    config.vocab_size = 4000;
    krait_trainer *trainer;
    assert_ok(krait_trainer_create(&trainer, &config, 3, NULL, &options, &error));
    const size_t count = 4000 * D_MODEL;
    float *x = malloc(count * sizeof *x);
    assert_ok(krait_trainer_parameter(trainer, "backbone.embeddings.weight", x, count, &error));
    double mean = 0, square = 0, fourth = 0;
    for (size_t i = 0; i < count; i++) {
        double v = (double)x[i] / 0.02;
        mean += v / (double)count;
        square += v * v / (double)count;
        fourth += v * v * v * v / (double)count;
    }
    assert_true(fabs(mean) < 0.01 && fabs(square - 1) < 0.01 && fabs(fourth - 3) < 0.1);
    assert_ok(krait_trainer_parameter(trainer, "backbone.layers.1.mixer.dt_proj.bias", x, 2 * D_MODEL, &error));
    for (size_t i = 0; i < 2 * D_MODEL; i++) {
        double dt = log1p(exp((double)x[i]));
        assert_true(dt > 0.999e-3 && dt < 0.1001);
    }
    assert_ok(krait_trainer_parameter(trainer, "backbone.layers.1.mixer.A_log", x, 2 * D_MODEL * 5, &error));
    for (size_t i = 0; i < 2 * D_MODEL * 5; i++) assert_true(x[i] == logf((float)(i % 5 + 1)));
    const struct {
        const char *name;
        size_t count;
        float bound;
    } uniform[] = {
        { "backbone.layers.0.mixer.in_proj.weight", 4 * D_MODEL * D_MODEL, 1 / sqrtf(D_MODEL) },
        { "backbone.layers.0.mixer.out_proj.weight", 2 * D_MODEL * D_MODEL, 1 / sqrtf(2 * D_MODEL * 2) },
        { "backbone.layers.0.mixer.dt_proj.weight", 2 * D_MODEL * 3, 1 / sqrtf(3) },
        { "backbone.layers.0.mixer.conv1d.weight", 2 * D_MODEL * 4, 0.5f },
    };
    for (size_t i = 0; i < sizeof uniform / sizeof *uniform; i++) {
        assert_ok(krait_trainer_parameter(trainer, uniform[i].name, x, uniform[i].count, &error));
        float most = largest_magnitude(x, uniform[i].count);
        assert_true(most <= uniform[i].bound && most > 0.95f * uniform[i].bound);
    }
    free(x);
    krait_trainer_free(trainer);
}

static void a_plan_says_what_memory_is_for(void **state)
{
    (void)state;
    krait_error error;
    krait_config config;
    assert_ok(krait_config_named(&config, "130m", &error));
    krait_trainer_options options = constant();
    krait_trainer_memory memory, again;
    assert_ok(krait_trainer_plan(&config, &options, 1, 1024, &memory, &error));
    /* A token and layer: what the inputs of the products would take, 768 + 1536 + 48 + 1536 floats, is not exceeded. */
    assert_true(memory.activations <= (uint64_t)1024 * 24 * 3888 * sizeof(float));
    assert_true(memory.parameters >= krait_config_parameters(&config) * sizeof(float));
    assert_true(memory.gradients >= krait_config_parameters(&config) * sizeof(float));
    assert_int_equal(memory.moments, 2 * memory.gradients);
    options.recompute = true;
    assert_ok(krait_trainer_plan(&config, &options, 1, 1024, &again, &error));
    assert_int_equal(again.activations, (uint64_t)1024 * 24 * 768 * sizeof(float));
    assert_int_equal(krait_trainer_plan(&config, &options, 0, 1024, &again, &error), KRAIT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saving_and_loading_changes_no_bit),
        cmocka_unit_test(a_state_of_another_model_changes_nothing),
        cmocka_unit_test(a_saved_model_is_what_it_was_made_from),
        cmocka_unit_test(divergence_is_noticed_and_changes_nothing),
        cmocka_unit_test(a_stopped_batch_leaves_nothing_behind),
        cmocka_unit_test(parameters_are_listed),
        cmocka_unit_test(wrong_rows_are_refused),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(rates_follow_the_schedules),
        cmocka_unit_test(new_parameters_are_drawn_as_the_paper_says),
        cmocka_unit_test(a_plan_says_what_memory_is_for),
    };
    return cmocka_run_group_tests(tests, make_text, NULL);
}
