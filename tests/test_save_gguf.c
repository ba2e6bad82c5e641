/* krait_checkpoint_save_gguf(): models saved and loaded again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "model/model.h"

static const char *model_path(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, KRAIT_TEST_DATA "/models/%s", name);
    return path;
}

/* Logits of a few tokens, [n, vocab_size]; free with free(). */
static float *logits_of(krait_model *model, size_t *count)
{
    int32_t ids[7];
    krait_session *session;
    krait_state *state;
    krait_error error;
    size_t vocab = (size_t)krait_model_config(model)->vocab_size;
    for (int i = 0; i < 7; i++) ids[i] = (int32_t)((size_t)(3 + 5 * i) % vocab);
    float *logits = malloc(7 * vocab * sizeof *logits);
    assert_ok(krait_session_create(&session, model, &(krait_session_options){ .threads = 1 }, &error));
    assert_ok(krait_state_create(&state, model, &error));
    assert_ok(krait_run(session, &(krait_sequence){ .state = state, .tokens = ids, .count = 7, .want = KRAIT_WANT_ALL }, 1,
                        &(krait_outputs){ .logits = logits }, &error));
    krait_state_free(state);
    krait_session_free(session);
    *count = 7 * vocab;
    return logits;
}

static float *logits_of_file(const char *path, size_t *count)
{
    krait_model *model;
    krait_error error;
    assert_ok(krait_model_load(&model, path, NULL, &error));
    float *logits = logits_of(model, count);
    krait_model_free(model);
    return logits;
}

static krait_status save(const char *model, const char *out, const krait_save_options *options, krait_error *error)
{
    krait_checkpoint *checkpoint;
    krait_status status = krait_checkpoint_open(&checkpoint, model, error);
    if (!status) status = krait_checkpoint_save_gguf(checkpoint, out, options, error);
    krait_checkpoint_free(checkpoint);
    return status;
}

/* The stored types differ; the values that the model computes with do not. */
static void float32_files_give_the_same_logits(void **state)
{
    (void)state;
    static const char *const models[] = { "tiny", "wide", "bf16-sharded", "f16", "original", "falcon" };
    const char *out = cli_path("x.gguf");
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        krait_error error;
        size_t n, m;
        assert_ok(save(model_path(models[i]), out, NULL, &error));
        float *expected = logits_of_file(model_path(models[i]), &n), *found = logits_of_file(out, &m);
        assert_int_equal(n, m);
        if (memcmp(expected, found, n * sizeof *found) != 0) fail_msg("%s: other logits", models[i]);
        free(expected);
        free(found);
    }
    cli_folder_remove();
}

typedef struct same_bits {
    const krait_checkpoint *from, *to;
    size_t n;
} same_bits;

static krait_status compare_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    same_bits *s = context;
    const kr_tensor *a = kr_weights_stored(s->from, place), *b = kr_weights_stored(s->to, place);
    size_t bytes, count;
    (void)error;
    assert_true(a && b && kr_tensor_count(a, &count) && kr_tensor_bytes(b, &bytes));
    if (place->parameter->flags & KR_MATRIX) {
        assert_int_equal(a->dtype, b->dtype);
        assert_memory_equal(a->data, b->data, bytes);
        s->n++;
    } else if (place->parameter->form != KR_MINUS_EXP_TRANSPOSED) {
        float *values = malloc(count * sizeof *values);
        kr_tensor_to_float32(values, a);
        assert_int_equal(b->dtype, KRAIT_DTYPE_F32);
        assert_memory_equal(values, b->data, bytes);
        free(values);
    }
    return KRAIT_OK;
}

static void weights_of_the_same_type_keep_their_bits(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        krait_weight_type type;
    } cases[] = { { "tiny", KRAIT_WEIGHT_F32 }, { "bf16-sharded", KRAIT_WEIGHT_BF16 }, { "f16", KRAIT_WEIGHT_F16 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *out = cli_path("x.gguf");
        krait_checkpoint *from, *to;
        krait_config config;
        krait_error error;
        assert_ok(save(model_path(cases[i].model), out, &(krait_save_options){ .type = cases[i].type }, &error));
        assert_ok(krait_checkpoint_open(&from, model_path(cases[i].model), &error));
        assert_ok(krait_checkpoint_open(&to, out, &error));
        assert_ok(krait_checkpoint_config(to, &config, &error));
        same_bits s = { from, to, 0 };
        assert_ok(kr_each_parameter(&config, NULL, compare_place, &s, &error));
        assert_true(s.n > 4);
        krait_checkpoint_free(from);
        krait_checkpoint_free(to);
    }
    cli_folder_remove();
}

typedef struct seen {
    size_t n, in_blocks;
    krait_dtype in, dt, x, embedding, first, a;
    double error;
    char dt_reason[80], embedding_reason[80];
} seen;

static void see(void *user, const krait_saved_tensor *t)
{
    seen *s = user;
    s->n++;
    s->in_blocks += t->to == KRAIT_DTYPE_Q8_0 || t->to == KRAIT_DTYPE_Q4_0;
    if (strcmp(t->name, "token_embd.weight") == 0) {
        s->embedding = t->to;
        snprintf(s->embedding_reason, sizeof s->embedding_reason, "%s", t->reason ? t->reason : "");
    }
    if (strcmp(t->name, "blk.0.ssm_out.weight") == 0) s->first = t->to;
    if (strcmp(t->name, "blk.1.ssm_in.weight") == 0) {
        assert_string_equal(t->source_name, "backbone.layers.1.mixer.in_proj.weight");
        s->in = t->to;
        s->error = t->error;
    }
    if (strcmp(t->name, "blk.1.ssm_x.weight") == 0) s->x = t->to;
    if (strcmp(t->name, "blk.1.ssm_a") == 0) s->a = t->to;
    if (strcmp(t->name, "blk.1.ssm_dt.weight") == 0) {
        s->dt = t->to;
        snprintf(s->dt_reason, sizeof s->dt_reason, "%s", t->reason);
    }
}

/* tiny: rows of 64 and 128, dt_rank no multiple of 32. */
static void types_are_as_asked_for_where_they_can_be(void **state)
{
    (void)state;
    const krait_type_choice choices[] = { { "token_embd.weight", KRAIT_WEIGHT_BF16 },
                                          { "backbone.layers.1.*.in_proj.weight", KRAIT_WEIGHT_F32 },
                                          { "blk.*", KRAIT_WEIGHT_Q8 } };
    const char *out = cli_path("x.gguf");
    seen s = { 0 };
    krait_error error;
    krait_save_options options = { .type = KRAIT_WEIGHT_Q4, .on_tensor = see, .user = &s };
    assert_ok(save(TINY, out, &options, &error));
    assert_int_equal(s.embedding, KRAIT_DTYPE_Q8_0);
    assert_string_equal(s.embedding_reason, "costs much in q4; no q6 in GGUF files");
    assert_int_equal(s.first, KRAIT_DTYPE_Q8_0);
    assert_int_equal(s.in, KRAIT_DTYPE_Q4_0);
    assert_int_equal(s.x, KRAIT_DTYPE_Q4_0);
    assert_int_equal(s.dt, KRAIT_DTYPE_F16);
    assert_int_equal(s.a, KRAIT_DTYPE_F32);
    assert_non_null(strstr(s.dt_reason, "no whole blocks of 32"));
    assert_true(s.error > 0.03 && s.error < 0.15);
    s = (seen){ 0 };
    options.type = KRAIT_WEIGHT_Q8;
    assert_ok(save(TINY, out, &options, &error));
    assert_int_equal(s.in, KRAIT_DTYPE_Q8_0);
    assert_true(s.error > 0.001 && s.error < 0.01);
    options.choices = choices;
    options.n_choices = 3;
    s = (seen){ 0 };
    assert_ok(save(TINY, out, &options, &error));
    assert_int_equal(s.embedding, KRAIT_DTYPE_BF16);
    assert_int_equal(s.in, KRAIT_DTYPE_F32);
    assert_true(s.error == 0);
    options.choices = &(krait_type_choice){ "*norm*", KRAIT_WEIGHT_Q8 };
    options.n_choices = 1;
    size_t before = cli_folder_count();
    assert_int_equal(save(TINY, cli_path("y.gguf"), &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "pattern \"*norm*\": expected the name of a matrix"));
    assert_int_equal(cli_folder_count(), before);
    cli_folder_remove();
}

/* Nor does the file depend on how many threads write it. */
static void quantising_twice_has_to_be_forced(void **state)
{
    (void)state;
    const char *q8 = cli_path("q8.gguf"), *again = cli_path("again.gguf"), *q4 = cli_path("q4.gguf");
    krait_error error;
    size_t a, b;
    assert_ok(save(TINY, q8, &(krait_save_options){ .type = KRAIT_WEIGHT_Q8, .threads = 1 }, &error));
    assert_ok(save(q8, again, &(krait_save_options){ .type = KRAIT_WEIGHT_Q8, .threads = 3 }, &error));
    float *x = logits_of_file(q8, &a), *y = logits_of_file(again, &b);
    assert_true(a == b && memcmp(x, y, a * sizeof *x) == 0);
    free(x);
    free(y);
    assert_int_equal(save(q8, q4, &(krait_save_options){ .type = KRAIT_WEIGHT_Q4 }, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "q8.gguf: blk.0.ssm_in.weight is Q8_0 already"));
    assert_int_not_equal(access(q4, F_OK), 0);
    assert_ok(save(q8, q4, &(krait_save_options){ .type = KRAIT_WEIGHT_Q4, .requantize = true }, &error));
    assert_int_equal(access(q4, F_OK), 0);
    cli_folder_remove();
}

static void random_files_are_random_models(void **state)
{
    (void)state;
    const char *out = cli_path("x.gguf");
    /* Larger than a chunk in places, and not in whole ones; an untied head. */
    krait_config config = { .vocab_size = 40000,
                            .d_model = 64,
                            .n_layer = 2,
                            .d_inner = 128,
                            .d_state = 8,
                            .d_conv = 4,
                            .dt_rank = 5,
                            .conv_bias = true,
                            .norm_eps = 1e-5f,
                            .bos_id = -1,
                            .eos_id = -1 };
    krait_model *model;
    krait_error error;
    size_t a, b;
    assert_ok(krait_random_save_gguf(&config, 7, out, NULL, &error));
    assert_ok(krait_model_random(&model, &config, 7, NULL, &error));
    float *x = logits_of(model, &a), *y = logits_of_file(out, &b);
    assert_true(a == b && memcmp(x, y, a * sizeof *x) == 0);
    free(x);
    free(y);
    krait_model_free(model);
    config.conv_bias = false; /* written as zeros */
    assert_ok(krait_random_save_gguf(&config, 7, out, NULL, &error));
    assert_ok(krait_model_random(&model, &config, 7, NULL, &error));
    x = logits_of(model, &a);
    y = logits_of_file(out, &b);
    assert_true(a == b);
    assert_close("without a bias", y, x, a, 1e-6);
    free(x);
    free(y);
    krait_model_free(model);
    config.proj_bias = true;
    assert_int_equal(krait_random_save_gguf(&config, 7, out, NULL, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "in_proj.bias: GGUF's architecture mamba has no place"));
    cli_folder_remove();
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    assert_true(done <= total);
    return (*(int *)user)-- > 0;
}

static void what_cannot_be_saved_leaves_nothing(void **state)
{
    (void)state;
    int calls = 3;
    krait_error error;
    size_t before = cli_folder_count();
    krait_save_options options = { .progress = { stop, &calls } };
    assert_int_equal(save(TINY, cli_path("x.gguf"), &options, &error), KRAIT_ERROR_INTERRUPTED);
    assert_int_equal(cli_folder_count(), before);
    assert_int_equal(krait_checkpoint_save_gguf(NULL, "x", NULL, &error), KRAIT_ERROR_ARGUMENT);
    options = (krait_save_options){ .type = (krait_weight_type)9 };
    assert_int_equal(save(TINY, cli_path("x.gguf"), &options, &error), KRAIT_ERROR_ARGUMENT);
    if (access("/dev/full", W_OK) == 0) assert_int_equal(save(TINY, "/dev/full", NULL, &error), KRAIT_ERROR_IO);
    /* One weight beyond half precision, in a model of one layer, one channel. */
    static const char *const names[] = { "embeddings.weight",
                                         "layers.0.norm.weight",
                                         "layers.0.mixer.in_proj.weight",
                                         "layers.0.mixer.conv1d.weight",
                                         "layers.0.mixer.conv1d.bias",
                                         "layers.0.mixer.x_proj.weight",
                                         "layers.0.mixer.dt_proj.weight",
                                         "layers.0.mixer.dt_proj.bias",
                                         "layers.0.mixer.A_log",
                                         "layers.0.mixer.D",
                                         "layers.0.mixer.out_proj.weight",
                                         "norm_f.weight" };
    static const uint64_t shapes[][3] = { { 2, 1 }, { 1 }, { 4, 1 }, { 2, 1, 2 }, { 2 },    { 3, 2 },
                                          { 2, 1 }, { 2 }, { 2, 1 }, { 2 },       { 1, 2 }, { 1 } };
    static const float ones[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    float large[8] = { 1, -1e5f, 1, 1, 1, 1, 1, 1 };
    krait_tensor_info infos[12] = { 0 };
    const void *data[12];
    char full[12][64];
    for (int i = 0; i < 12; i++) {
        snprintf(full[i], sizeof full[i], "backbone.%s", names[i]);
        infos[i].name = full[i];
        while (infos[i].n_dims < 3 && shapes[i][infos[i].n_dims]) infos[i].n_dims++;
        memcpy(infos[i].shape, shapes[i], sizeof shapes[i]);
        data[i] = i == 2 ? large : ones;
    }
    const char *model = cli_path("model.safetensors"), *out = cli_path("x.gguf");
    assert_ok(krait_tensors_save(model, infos, data, 12, &error));
    assert_int_equal(save(model, out, &(krait_save_options){ .type = KRAIT_WEIGHT_F16 }, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "blk.0.ssm_in.weight: expected finite values that F16 can hold"));
    assert_int_equal(cli_folder_count(), before + 1);
    assert_ok(save(model, out, &(krait_save_options){ .type = KRAIT_WEIGHT_BF16 }, &error));
    large[1] = NAN; /* kept where it can be */
    assert_ok(krait_tensors_save(model, infos, data, 12, &error));
    assert_ok(save(model, out, &(krait_save_options){ .type = KRAIT_WEIGHT_F16 }, &error));
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_files_give_the_same_logits),       cmocka_unit_test(weights_of_the_same_type_keep_their_bits),
        cmocka_unit_test(types_are_as_asked_for_where_they_can_be), cmocka_unit_test(quantising_twice_has_to_be_forced),
        cmocka_unit_test(random_files_are_random_models),           cmocka_unit_test(what_cannot_be_saved_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
