/* Training against reference vectors made in float64: gradients of every parameter, ten steps of AdamW; and against itself, where two ways
 * must give the same. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train_fixture.h"

/* ---- reference vectors ----------------------------------------------------------------------------------------------- */

/* The number of tensors checked. */
static size_t check_gradients(const char *name, krait_isa isa, int keep)
{
    krait_error error;
    reference r = open_reference(name);
    krait_trainer_options options = constant();
    options.isa = isa;
    options.recompute = keep == 0;
    options.keep_states = keep == 2;
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
        size_t checked = check_gradients(reference_names[i], KRAIT_ISA_AUTO, 1);
        assert_true(checked >= 10);
        for (int isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++)
            if (krait_isa_available((krait_isa)isa))
                assert_int_equal(check_gradients(reference_names[i], (krait_isa)isa, isa % 3), checked);
    }
}

/* Ten steps of a model; false: its vectors have none.
 *
 * The reference states 1e-4 of the largest magnitude. A loss or a norm is one number of a sum over everything: measured on plain C, AVX2 and AVX-512,
 * none of five models and ten steps is off by more than 4.4e-7, so that 1e-5 leaves room for other orders of sums and none for an error. The same goes for
 * parameters after ten steps (at most 1.2e-6; in_proj of `wide` 4e-6), but for one element of in_proj in `tiny`: its gradient is 1.2e-8 where
 * the largest is 1.4, less than the rounding of what it is a sum of, and AdamW divides it by its own size. It is off by 1.6e-4. */
static bool check_ten_steps(const char *name, krait_isa isa)
{
    krait_error error;
    reference r = open_reference(name);
    bool there = fixture_has(r.expected, "train.losses");
    if (there) {
        krait_trainer_options options = constant();
        options.isa = isa;
        krait_trainer *trainer = trainer_of(&r, &options);
        size_t steps, count;
        char what[256];
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
            snprintf(what, sizeof what, "%s, %s, step %zu: loss", name, krait_isa_name(isa), s);
            assert_close(what, &loss, &losses[s], 1, 1e-5);
            snprintf(what, sizeof what, "%s, %s, step %zu: gradient norm", name, krait_isa_name(isa), s);
            assert_close(what, &norm, &norms[s], 1, 1e-5);
        }
        for (size_t t = 0; t < krait_checkpoint_n_tensors(r.expected); t++) {
            krait_tensor_info info;
            assert_int_equal(krait_checkpoint_tensor(r.expected, t, &info), KRAIT_OK);
            if (strncmp(info.name, "train.after.", 12) != 0) continue;
            bool tiny = strcmp(name, "tiny") == 0 && strstr(info.name, "in_proj");
            float *expected = fixture_floats(r.expected, info.name, &count), *found = malloc(count * sizeof *found);
            assert_ok(krait_trainer_parameter(trainer, info.name + 12, found, count, &error));
            snprintf(what, sizeof what, "%s, %s: %s", name, krait_isa_name(isa), info.name);
            assert_close(what, found, expected, count, tiny ? 1e-3 : 1e-5);
            free(expected);
            free(found);
        }
        free(losses);
        free(norms);
        krait_trainer_free(trainer);
    }
    close_reference(&r);
    return there;
}

static void ten_steps_are_those_of_the_reference(void **state)
{
    (void)state;
    for (int isa = KRAIT_ISA_AUTO; isa < KRAIT_N_ISAS; isa++) {
        size_t curves = 0;
        if (isa != KRAIT_ISA_AUTO && !krait_isa_available((krait_isa)isa)) continue;
        for (size_t i = 0; i < N_MODELS; i++) curves += check_ten_steps(reference_names[i], (krait_isa)isa);
        assert_int_equal(curves, 5);
    }
}

static void loss_goes_down(void **state)
{
    (void)state;
    const krait_weight_type types[] = { KRAIT_WEIGHT_F32, KRAIT_WEIGHT_BF16 };
    for (int i = 0; i < 2; i++) {
        krait_trainer_options options = constant();
        options.learning_rate = 1e-2f;
        options.compute = types[i];
        krait_trainer *trainer = small_trainer(&options);
        krait_train_row rows[ROWS];
        all_rows(rows);
        double first = step_of(trainer, rows, ROWS), last = first;
        for (int s = 0; s < 40; s++) last = step_of(trainer, rows, ROWS);
        assert_true(fabs(first - log(VOCABULARY)) < 0.1);
        assert_true(last < 0.75 * first);
        krait_trainer_free(trainer);
    }
}

static void recomputing_gives_the_same_bits(void **state)
{
    (void)state;
    krait_trainer_options options = constant();
    krait_trainer *a = small_trainer(&options);
    options.recompute = true;
    krait_trainer *b = small_trainer(&options);
    krait_error error;
    krait_train_row rows[ROWS];
    all_rows(rows);
    assert_ok(krait_trainer_accumulate(a, rows, ROWS, &error));
    assert_ok(krait_trainer_accumulate(b, rows, ROWS, &error));
    assert_same(gradient_of, a, b, 0);
    krait_trainer_free(a);
    krait_trainer_free(b);
}

/* The scan's output is then its backward pass's. */
static void keeping_states_gives_the_same(void **state)
{
    (void)state;
    krait_trainer_options options = constant();
    krait_trainer *a = small_trainer(&options);
    options.keep_states = true;
    krait_trainer *b = small_trainer(&options);
    krait_error error;
    krait_state *carried[2];
    for (int i = 0; i < 2; i++) assert_ok(krait_state_create(&carried[i], krait_trainer_model(a), &error));
    /* Longer than a chunk of the scan, in one sequence and from a state. */
    int32_t tokens[300], targets[300];
    for (int i = 0; i < 300; i++) tokens[i] = text[i % ROWS][i % LENGTH], targets[i] = i % 3 ? text[1][i % LENGTH] : -1;
    const size_t starts[] = { 7 };
    for (int turn = 0; turn < 2; turn++) {
        krait_train_row rows[] = { { tokens, targets, 300, turn ? starts : NULL, (size_t)turn, carried[0] }, row_of(1, 0, 50) };
        assert_ok(krait_trainer_accumulate(a, rows, 2, &error));
        rows[0].state = carried[1];
        assert_ok(krait_trainer_accumulate(b, rows, 2, &error));
        assert_same(gradient_of, b, a, 2e-6);
    }
    krait_state_free(carried[0]);
    krait_state_free(carried[1]);
    krait_trainer_free(a);
    krait_trainer_free(b);
}

static void the_number_of_threads_does_not_change_a_bit(void **state)
{
    (void)state;
    krait_trainer_options options = constant();
    options.isa = KRAIT_ISA_PLAIN; /* no library */
    options.threads = 1;
    krait_trainer *one = small_trainer(&options);
    krait_train_row rows[ROWS];
    all_rows(rows);
    for (int s = 0; s < 2; s++) step_of(one, rows, ROWS);
    for (int threads = 2; threads <= 5; threads++) {
        options.threads = threads;
        krait_trainer *more = small_trainer(&options);
        for (int s = 0; s < 2; s++) step_of(more, rows, ROWS);
        assert_same(value_of, one, more, 0);
        krait_trainer_free(more);
    }
    krait_trainer_free(one);
    /* Vectors, where our own kernels do the products. */
    options = constant();
    for (int r = 0; r < ROWS; r++) rows[r] = row_of(r, 0, 12);
    options.threads = 1;
    one = small_trainer(&options);
    step_of(one, rows, ROWS);
    options.threads = 3;
    krait_trainer *three = small_trainer(&options);
    step_of(three, rows, ROWS);
    assert_same(value_of, one, three, 0);
    krait_trainer_free(one);
    krait_trainer_free(three);
}

static void gathered_batches_are_one_batch(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_trainer *once = small_trainer(&options);
    options.piece_tokens = 150; /* one row at a time */
    krait_trainer *pieces = small_trainer(&options), *calls = small_trainer(&options);
    krait_train_row rows[ROWS];
    all_rows(rows);
    assert_ok(krait_trainer_accumulate(once, rows, ROWS, &error));
    assert_ok(krait_trainer_accumulate(pieces, rows, ROWS, &error));
    for (int r = 0; r < ROWS; r++) assert_ok(krait_trainer_accumulate(calls, &rows[r], 1, &error));
    assert_same(gradient_of, pieces, calls, 0);
    assert_same(gradient_of, pieces, once, 1e-5);
    krait_train_step a, b;
    assert_ok(krait_trainer_update(once, &a, &error));
    assert_ok(krait_trainer_update(pieces, &b, &error));
    assert_true(fabs(a.loss - b.loss) < 1e-6 && fabs(a.grad_norm - b.grad_norm) < 1e-5 * a.grad_norm);
    assert_int_equal(a.n_targets, ROWS * LENGTH);
    krait_trainer_free(once);
    krait_trainer_free(pieces);
    krait_trainer_free(calls);
}

static void packed_documents_are_separate_ones(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    const size_t starts[] = { 1, 30, 31, 77 };
    krait_train_row packed = row_of(1, 0, LENGTH), separate[5];
    packed.starts = starts;
    packed.n_starts = 4;
    for (int i = 0; i < 5; i++) {
        size_t begin = i ? starts[i - 1] : 0, end = i < 4 ? starts[i] : LENGTH;
        separate[i] = row_of(1, begin, end - begin);
    }
    krait_trainer *a = small_trainer(&options), *b = small_trainer(&options), *whole = small_trainer(&options);
    krait_train_row plain = row_of(1, 0, LENGTH);
    assert_ok(krait_trainer_accumulate(a, &packed, 1, &error));
    assert_ok(krait_trainer_accumulate(b, separate, 5, &error));
    assert_same(gradient_of, a, b, 0);
    /* A row longer than a piece is cut between its documents. */
    options.piece_tokens = 40;
    krait_trainer *cut = small_trainer(&options);
    assert_ok(krait_trainer_accumulate(cut, &packed, 1, &error));
    assert_same(gradient_of, cut, a, 1e-5);
    assert_ok(krait_trainer_accumulate(whole, &plain, 1, &error));
    float *x = gradient_of(a, parameter_names[2]), *y = gradient_of(whole, parameter_names[2]);
    assert_true(largest_difference(x, y, count_of(parameter_names[2]))
                > 1e-3f * largest_magnitude(x, count_of(parameter_names[2])));
    free(x);
    free(y);
    krait_trainer_free(a);
    krait_trainer_free(b);
    krait_trainer_free(cut);
    krait_trainer_free(whole);
}

static void rows_without_targets_teach_nothing(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_trainer *a = small_trainer(&options), *b = small_trainer(&options);
    /* What comes before the only target matters, what comes after does not. */
    int32_t targets[LENGTH];
    for (int i = 0; i < LENGTH; i++) targets[i] = i == 49 ? text[0][50] : -1 - i;
    krait_train_row masked = row_of(0, 0, LENGTH), ending = row_of(0, 0, 50);
    masked.targets = ending.targets = targets;
    assert_ok(krait_trainer_accumulate(a, &masked, 1, &error));
    assert_ok(krait_trainer_accumulate(b, &ending, 1, &error));
    assert_same(gradient_of, a, b, 1e-5);
    krait_train_step step;
    assert_ok(krait_trainer_update(a, &step, &error));
    assert_int_equal(step.n_targets, 1);
    krait_trainer_free(a);
    krait_trainer_free(b);
}

static void carried_states_go_on_where_rows_end(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    krait_trainer *trainer = small_trainer(&options);
    const krait_model *model = krait_trainer_model(trainer);
    const size_t cuts[] = { 0, 1, 40, 43, LENGTH };
    krait_train_row whole = row_of(2, 0, LENGTH);
    double loss = 0, parts = 0;
    uint64_t n = 0, n_parts = 0;
    assert_ok(krait_trainer_evaluate(trainer, &whole, 1, &loss, &n, &error));
    assert_int_equal(n, LENGTH);
    krait_state *carried, *evaluated, *ran;
    krait_session *session;
    assert_ok(krait_state_create(&carried, model, &error));
    assert_ok(krait_state_create(&evaluated, model, &error));
    assert_ok(krait_state_create(&ran, model, &error));
    assert_ok(krait_session_create(&session, model, NULL, &error));
    float *logits = malloc(VOCABULARY * sizeof *logits);
    for (int i = 0; i < 4; i++) {
        krait_train_row row = row_of(2, cuts[i], cuts[i + 1] - cuts[i]);
        row.state = evaluated;
        assert_ok(krait_trainer_evaluate(trainer, &row, 1, &parts, &n_parts, &error));
        row.state = carried;
        assert_ok(krait_trainer_accumulate(trainer, &row, 1, &error));
        krait_sequence sequence = { .state = ran, .tokens = row.tokens, .count = row.count, .want = KRAIT_WANT_LAST };
        assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
    }
    assert_true(fabs(loss - parts) < 1e-5 * loss);
    assert_int_equal(krait_state_tokens(carried), LENGTH);
    for (size_t i = 0; i < krait_state_n_tensors(ran); i++) {
        krait_tensor_info info;
        assert_int_equal(krait_state_tensor(ran, i, &info), KRAIT_OK);
        size_t count = (size_t)info.bytes / sizeof(float);
        float *a = malloc(info.bytes), *b = malloc(info.bytes), *c = malloc(info.bytes);
        krait_state_read(ran, i, a);
        krait_state_read(carried, i, b);
        krait_state_read(evaluated, i, c);
        assert_close(info.name, b, a, count, 1e-5);
        assert_memory_equal(b, c, info.bytes);
        free(a);
        free(b);
        free(c);
    }
    krait_train_step step;
    assert_ok(krait_trainer_update(trainer, &step, &error));
    assert_true(fabs(step.loss * LENGTH - loss) < 1e-5 * loss);
    /* A later document's end is what a row with several leaves. */
    const size_t starts[] = { 60 };
    krait_train_row packed = row_of(3, 0, LENGTH), alone = row_of(3, 60, 40);
    packed.starts = starts;
    packed.n_starts = 1;
    packed.state = carried;
    alone.state = evaluated;
    krait_state_reset(evaluated);
    assert_ok(krait_trainer_evaluate(trainer, &packed, 1, &parts, &n_parts, &error));
    assert_ok(krait_trainer_evaluate(trainer, &alone, 1, &parts, &n_parts, &error));
    assert_int_equal(krait_state_tokens(carried), 40);
    krait_tensor_info info;
    assert_int_equal(krait_state_tensor(carried, 1, &info), KRAIT_OK);
    float *a = malloc(info.bytes), *b = malloc(info.bytes);
    krait_state_read(carried, 1, a);
    krait_state_read(evaluated, 1, b);
    assert_close("ssm_state.0", a, b, (size_t)info.bytes / sizeof(float), 1e-5);
    free(a);
    free(b);
    free(logits);
    krait_session_free(session);
    krait_state_free(carried);
    krait_state_free(evaluated);
    krait_state_free(ran);
    krait_trainer_free(trainer);
}

/* The gradient of the second half from the state of the first is the derivative of its loss, the state held fast. */
static void a_carried_state_counts_in_the_gradient(void **state)
{
    (void)state;
    krait_error error;
    krait_trainer_options options = constant();
    options.isa = KRAIT_ISA_PLAIN;
    krait_trainer *trainer = small_trainer(&options), *fresh = small_trainer(&options);
    krait_state *from, *work;
    assert_ok(krait_state_create(&from, krait_trainer_model(trainer), &error));
    krait_train_row first = row_of(0, 0, 50), second = row_of(0, 50, 50);
    first.state = from;
    double ignored = 0;
    uint64_t n = 0;
    assert_ok(krait_trainer_evaluate(trainer, &first, 1, &ignored, &n, &error));
    assert_ok(krait_state_clone(&work, from, &error));
    second.state = work;
    assert_ok(krait_trainer_accumulate(trainer, &second, 1, &error));
    second.state = NULL;
    assert_ok(krait_trainer_accumulate(fresh, &second, 1, &error));
    const char *name = "backbone.layers.1.mixer.conv1d.weight";
    float *with = gradient_of(trainer, name), *without = gradient_of(fresh, name);
    assert_true(largest_difference(with, without, count_of(name)) > 1e-3f * largest_magnitude(without, count_of(name)));
    /* One step against the gradient of that parameter alone. */
    double before = 0, after = 0, expected = 0;
    krait_state_copy(work, from, &error);
    second.state = work;
    assert_ok(krait_trainer_evaluate(trainer, &second, 1, &before, &n, &error));
    const char *const all[] = { "backbone.e*", "*norm*", "*proj*", "*A_log", "*D", "*conv1d.bias", "*0.mixer.conv1d*" };
    options.freeze = all;
    options.n_freeze = sizeof all / sizeof *all;
    options.learning_rate = 1e-4f;
    options.weight_decay = 0;
    options.clip_norm = 0;
    krait_trainer *moved = small_trainer(&options);
    float *old = value_of(moved, name);
    krait_state_copy(work, from, &error);
    step_of(moved, &second, 1);
    float *new = value_of(moved, name);
    for (size_t i = 0; i < count_of(name); i++) expected += 50 * (double)with[i] * ((double)new[i] - (double)old[i]);
    krait_state_copy(work, from, &error);
    assert_ok(krait_trainer_evaluate(moved, &second, 1, &after, &n, &error));
    assert_true(expected < -1e-4);
    assert_true(fabs(after - before - expected) < 0.05 * fabs(expected));
    free(old);
    free(new);
    free(with);
    free(without);
    krait_state_free(from);
    krait_state_free(work);
    krait_trainer_free(trainer);
    krait_trainer_free(fresh);
    krait_trainer_free(moved);
}

static void frozen_parameters_do_not_change(void **state)
{
    (void)state;
    krait_trainer_options options = constant();
    const char *const patterns[] = { "backbone.layers.*.mixer.A_log", "*embeddings*", "backbone.layers.0.mixer.?n_proj.weight" };
    krait_trainer *free_one = small_trainer(&options);
    options.freeze = patterns;
    options.n_freeze = 3;
    krait_trainer *frozen = small_trainer(&options), *untouched = small_trainer(&options);
    krait_train_row rows[ROWS];
    all_rows(rows);
    for (int s = 0; s < 3; s++) step_of(frozen, rows, ROWS), step_of(free_one, rows, ROWS);
    for (size_t i = 0; i < N_PARAMETERS; i++) {
        const char *name = parameter_names[i];
        bool is_frozen = strstr(name, "A_log") || strstr(name, "embeddings") || strstr(name, "0.mixer.in_proj");
        float *now = value_of(frozen, name), *before = value_of(untouched, name), *other = value_of(free_one, name);
        assert_int_equal(memcmp(now, before, count_of(name) * sizeof *now) == 0, is_frozen);
        assert_int_not_equal(memcmp(other, before, count_of(name) * sizeof *now), 0);
        free(now);
        free(before);
        free(other);
    }
    krait_trainer_free(free_one);
    krait_trainer_free(frozen);
    krait_trainer_free(untouched);
    krait_error error;
    const krait_config config = small();
    const char *const wrong[] = { "*.mixer.B_log" };
    krait_trainer *none;
    options.freeze = wrong;
    options.n_freeze = 1;
    assert_int_equal(krait_trainer_create(&none, &config, 0, NULL, &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "*.mixer.B_log"));
    assert_null(none);
}

/* Step sizes of a new model lie where they are asked to, and as the paper's by default. */
static void step_sizes_are_drawn_between_bounds(void **state)
{
    (void)state;
    static const float bounds[][2] = { { 0, 0 }, { 1e-12f, 1e-9f }, { 0.5f, 8 } };
    const krait_config config = { .vocab_size = 16,
                                  .d_model = 64,
                                  .n_layer = 1,
                                  .d_inner = 128,
                                  .d_state = 4,
                                  .d_conv = 4,
                                  .dt_rank = 4,
                                  .tied_head = true,
                                  .norm_eps = 1e-5f,
                                  .bos_id = -1,
                                  .eos_id = -1 };
    for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++) {
        krait_trainer_options options = constant();
        krait_trainer *trainer;
        krait_error error;
        float bias[128];
        double least = INFINITY, most = 0, low = k ? (double)bounds[k][0] : 1e-3, high = k ? (double)bounds[k][1] : 1e-1;
        options.dt_min = bounds[k][0];
        options.dt_max = bounds[k][1];
        assert_ok(krait_trainer_create(&trainer, &config, 1, NULL, &options, &error));
        assert_ok(krait_trainer_parameter(trainer, "backbone.layers.0.mixer.dt_proj.bias", bias, 128, &error));
        for (size_t i = 0; i < 128; i++) {
            double dt = log1p(exp((double)bias[i]));
            least = fmin(least, dt);
            most = fmax(most, dt);
        }
        assert_true(least > low * 0.999 && most < high * 1.001);
        assert_true(log(most / least) > 0.9 * log(high / low));
        krait_trainer_free(trainer);
    }
    krait_trainer_options options = constant();
    krait_trainer *trainer;
    krait_error error;
    options.dt_max = 0.1f;
    assert_int_equal(krait_trainer_create(&trainer, &config, 1, NULL, &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "dt_min, dt_max: expected 0 < dt_min <= dt_max"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_reference),
        cmocka_unit_test(ten_steps_are_those_of_the_reference),
        cmocka_unit_test(loss_goes_down),
        cmocka_unit_test(recomputing_gives_the_same_bits),
        cmocka_unit_test(keeping_states_gives_the_same),
        cmocka_unit_test(the_number_of_threads_does_not_change_a_bit),
        cmocka_unit_test(gathered_batches_are_one_batch),
        cmocka_unit_test(packed_documents_are_separate_ones),
        cmocka_unit_test(rows_without_targets_teach_nothing),
        cmocka_unit_test(carried_states_go_on_where_rows_end),
        cmocka_unit_test(a_carried_state_counts_in_the_gradient),
        cmocka_unit_test(frozen_parameters_do_not_change),
        cmocka_unit_test(step_sizes_are_drawn_between_bounds),
    };
    return cmocka_run_group_tests(tests, make_text, NULL);
}
