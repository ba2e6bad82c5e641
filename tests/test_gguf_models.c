/* Models and configs out of GGUF files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "gguf_maker.h"
#include "model/model.h"
#include "tensor/packed.h"

static krait_error error;

#define TINY_IDS 24

/* Logits of a fixed text, all rows. */
static float *logits_in(krait_checkpoint *checkpoint, krait_weight_type type, size_t *n)
{
    krait_model *model;
    krait_session *session;
    krait_state *state;
    int32_t ids[TINY_IDS];
    assert_ok(krait_model_create(&model, checkpoint, &(krait_load_options){ .type = type }, &error));
    assert_ok(krait_session_create(&session, model, NULL, &error));
    assert_ok(krait_state_create(&state, model, &error));
    size_t vocab = (size_t)krait_model_config(model)->vocab_size;
    for (size_t i = 0; i < TINY_IDS; i++) ids[i] = (int32_t)(i * 37 % vocab);
    *n = TINY_IDS * vocab;
    float *logits = malloc(*n * sizeof *logits);
    krait_sequence all = { .state = state, .tokens = ids, .count = TINY_IDS, .want = KRAIT_WANT_ALL };
    assert_ok(krait_run(session, &all, 1, &(krait_outputs){ .logits = logits }, &error));
    krait_state_free(state);
    krait_session_free(session);
    krait_model_free(model);
    return logits;
}

static float *logits_of(krait_checkpoint *checkpoint, size_t *n) { return logits_in(checkpoint, KRAIT_WEIGHT_AUTO, n); }

static krait_checkpoint *open_made(const gguf_maker *m)
{
    krait_checkpoint *checkpoint;
    assert_ok(krait_checkpoint_open_memory(&checkpoint, &(krait_blob){ "made.gguf", m->data, m->size }, 1, &error));
    return checkpoint;
}

static bool has_note(const krait_checkpoint *checkpoint, const char *text)
{
    const char *note;
    for (size_t i = 0; (note = krait_checkpoint_note(checkpoint, i)); i++)
        if (strstr(note, text)) return true;
    return false;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static void the_same_bits_as_the_original(void **state)
{
    (void)state;
    static const char *const folders[] = { KRAIT_TEST_DATA "/models/tiny", KRAIT_TEST_DATA "/models/falcon",
                                           KRAIT_TEST_DATA "/models/wide" };
    for (size_t i = 0; i < 3; i++) {
        gguf_maker m = { 0 };
        krait_checkpoint *original;
        krait_config expected, config;
        size_t n, n_expected;
        gguf_from_model(&m, folders[i], true);
        krait_checkpoint *made = open_made(&m);
        assert_ok(krait_checkpoint_open(&original, folders[i], &error));
        assert_ok(krait_checkpoint_config(original, &expected, &error));
        assert_ok(krait_checkpoint_config(made, &config, &error));
        assert_string_equal(krait_checkpoint_layout(made), "gguf");
        assert_memory_equal(&config, &expected, sizeof config);
        assert_null(krait_checkpoint_note(made, 0));
        float *found = logits_of(made, &n), *logits = logits_of(original, &n_expected);
        assert_int_equal(n, n_expected);
        assert_memory_equal(found, logits, n * sizeof *found);
        free(found);
        free(logits);
        krait_checkpoint_free(made);
        krait_checkpoint_free(original);
        gguf_free(&m);
    }
}

static void float32_matrices_stay_where_they_are(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    krait_model *model;
    gguf_from_model(&m, KRAIT_TEST_DATA "/models/tiny", false);
    /* a block of float's alignment, as a mapped file is */
    void *data = kr_alloc(m.size, 1);
    memcpy(data, m.data, m.size);
    krait_checkpoint *made;
    assert_ok(krait_checkpoint_open_memory(&made, &(krait_blob){ "made.gguf", data, m.size }, 1, &error));
    assert_ok(krait_model_create(&model, made, NULL, &error));
    assert_ptr_equal((const void *)model->embedding.data, kr_checkpoint_find(made, "token_embd.weight")->data);
    krait_model_free(model);
    krait_checkpoint_free(made);
    kr_free(data);
    gguf_free(&m);
}

/* A float32 file of the same values as another. */
static void gguf_expanded(gguf_maker *m, const krait_checkpoint *from)
{
    gguf_maker data = { 0 };
    gguf_header(m, 2, from->n_tensors, 1);
    gguf_key_text(m, "general.architecture", "mamba");
    for (size_t i = 0; i < from->n_tensors; i++) {
        const kr_tensor *tensor = &from->tensors[i];
        uint64_t dims[4];
        size_t count;
        for (int d = 0; d < tensor->n_dims; d++) dims[d] = tensor->shape[tensor->n_dims - 1 - d];
        float *values = fixture_floats(from, tensor->name, &count);
        gguf_pad(&data, 32);
        gguf_tensor(m, tensor->name, tensor->n_dims, dims, 0, data.size);
        gguf_bytes(&data, values, count * sizeof *values);
        free(values);
    }
    gguf_pad(m, 32);
    gguf_bytes(m, data.data, data.size);
    gguf_free(&data);
}

/* tiny-mixed.gguf is models/tiny, written by ggml's own Python package in Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, F16, BF16 and F32. */
static void a_file_of_many_types_runs(void **state)
{
    (void)state;
    krait_checkpoint *mixed, *tiny;
    krait_config config;
    gguf_maker m = { 0 };
    size_t n;
    assert_ok(krait_checkpoint_open(&mixed, KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf", &error));
    assert_ok(krait_checkpoint_open(&tiny, KRAIT_TEST_DATA "/models/tiny", &error));
    assert_ok(krait_checkpoint_config(mixed, &config, &error));
    assert_null(krait_checkpoint_note(mixed, 0));
    assert_true(config.tied_head && config.conv_bias && config.n_layer == 3 && config.eos_id == 0);
    assert_true(config.norm_eps == 1e-5f);
    gguf_expanded(&m, mixed);
    krait_checkpoint *expanded = open_made(&m);
    float *found = logits_in(mixed, KRAIT_WEIGHT_F32, &n), *same = logits_of(expanded, &n), *original = logits_of(tiny, &n);
    float *held = logits_of(mixed, &n);
    assert_memory_equal(found, same, n * sizeof *found);
    assert_close("logits", found, original, n, 0.1); /* what 4 and 5 bits cost a model of random weights */
    assert_close("logits", held, found, n, 0.03);    /* as they are, multiplied as integers */
    assert_memory_not_equal(held, found, n * sizeof *found);
    free(found);
    free(same);
    free(held);
    free(original);
    krait_checkpoint_free(mixed);
    krait_checkpoint_free(tiny);
    krait_checkpoint_free(expanded);
    gguf_free(&m);
}

typedef struct held {
    const krait_checkpoint *checkpoint;
    size_t n_of[KRAIT_WEIGHT_Q4 + 1];
} held;

static krait_status look(void *context, const kr_parameter_place *place, krait_error *e)
{
    held *h = context;
    (void)e;
    if (!(place->parameter->flags & KR_MATRIX)) return KRAIT_OK;
    const kr_tensor *stored = kr_weights_stored(h->checkpoint, place);
    const kr_matrix *matrix = place->field;
    krait_weight_type expected = stored->dtype == KRAIT_DTYPE_F32    ? KRAIT_WEIGHT_F32
                                 : stored->dtype == KRAIT_DTYPE_F16  ? KRAIT_WEIGHT_F16
                                 : stored->dtype == KRAIT_DTYPE_BF16 ? KRAIT_WEIGHT_BF16
                                 : stored->dtype == KRAIT_DTYPE_Q4_0 ? KRAIT_WEIGHT_Q4
                                                                     : KRAIT_WEIGHT_Q8;
    if (matrix->type != expected)
        fail_msg("%s %s: held as %s", place->gguf_name, krait_dtype_name(stored->dtype), krait_weight_type_name(matrix->type));
    h->n_of[matrix->type]++;
    if (!kr_packs_exactly(stored->dtype, matrix->type)) return KRAIT_OK;
    size_t count;
    float *values = fixture_floats(h->checkpoint, stored->name, &count), *row = malloc(matrix->columns * sizeof *row);
    for (size_t r = 0; r < matrix->rows; r++) {
        kr_unpack_row(row, matrix->type, matrix->data, matrix->columns, r);
        assert_memory_equal(row, values + r * matrix->columns, matrix->columns * sizeof *row);
    }
    free(values);
    free(row);
    return KRAIT_OK;
}

static void matrices_are_held_in_the_type_they_have(void **state)
{
    (void)state;
    krait_checkpoint *mixed;
    krait_model *model;
    assert_ok(krait_checkpoint_open(&mixed, KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf", &error));
    for (int threads = 1; threads <= 3; threads += 2) {
        held h = { .checkpoint = mixed };
        assert_ok(krait_model_create(&model, mixed, &(krait_load_options){ .threads = threads }, &error));
        assert_ok(kr_each_parameter(krait_model_config(model), model, look, &h, &error));
        assert_true(h.n_of[KRAIT_WEIGHT_Q8] >= 3 && h.n_of[KRAIT_WEIGHT_Q4] >= 1 && h.n_of[KRAIT_WEIGHT_F16] >= 1);
        krait_model_free(model);
    }
    krait_checkpoint_free(mixed);
}

/* ---- config ------------------------------------------------------------------------------------------------------ */

static void an_epsilon_without_a_key_is_that_of_the_other_norms(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    krait_config config;
    gguf_from_model(&m, KRAIT_TEST_DATA "/models/falcon", false);
    krait_checkpoint *made = open_made(&m);
    assert_ok(krait_checkpoint_config(made, &config, &error));
    assert_int_equal(config.family, KRAIT_FAMILY_FALCON_MAMBA);
    assert_true(config.mixer_norm_eps == config.norm_eps && config.norm_eps == 1e-5f);
    assert_true(has_note(made, "made.gguf: krait.mixer_rms_eps is missing; that of the other norms, 1e-05, is used"));
    krait_checkpoint_free(made);
    gguf_free(&m);
}

/* The first place of a text, after which bytes are changed. */
static char *after(gguf_maker *m, const char *text)
{
    for (size_t i = 0; i + strlen(text) <= m->size; i++)
        if (memcmp(m->data + i, text, strlen(text)) == 0) return m->data + i + strlen(text);
    fail_msg("expected %s in the file, found none", text);
    return NULL;
}

static void shapes_win_over_metadata(void **state)
{
    (void)state;
    static const struct {
        const char *key, *note;
    } fields[] = {
        { "mamba.block_count", "made.gguf: mamba.block_count: expected 3, as the shape of the list of layers says, found 99" },
        { "mamba.embedding_length",
          "made.gguf: mamba.embedding_length: expected 64, as the shape of the embedding says, found 99" },
        { "mamba.ssm.state_size", "made.gguf: mamba.ssm.state_size: expected 16, as the shape of ssm_a says, found 99" },
        { "mamba.ssm.inner_size", "made.gguf: mamba.ssm.inner_size: expected 128, as the shape of ssm_a says, found 99" },
        { "mamba.ssm.conv_kernel",
          "made.gguf: mamba.ssm.conv_kernel: expected 4, as the shape of ssm_conv1d.weight says, found 99" },
        { "mamba.ssm.time_step_rank",
          "made.gguf: mamba.ssm.time_step_rank: expected 4, as the shape of ssm_dt.weight says, found 99" },
    };
    gguf_maker m = { 0 };
    krait_config config, expected;
    gguf_from_model(&m, KRAIT_TEST_DATA "/models/tiny", false);
    krait_checkpoint *made = open_made(&m);
    assert_ok(krait_checkpoint_config(made, &expected, &error));
    krait_checkpoint_free(made);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) after(&m, fields[i].key)[4] = 99;
    memcpy(after(&m, "tokenizer.ggml.bos_token_id") + 4, &(uint32_t){ 256 }, 4);
    made = open_made(&m);
    assert_ok(krait_checkpoint_config(made, &config, &error));
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) assert_true(has_note(made, fields[i].note));
    assert_true(has_note(made, "made.gguf: tokenizer.ggml.bos_token_id: expected an id below 256, found 256; it is not used"));
    assert_int_equal(config.bos_id, -1);
    config.bos_id = expected.bos_id;
    assert_memory_equal(&config, &expected, sizeof config);
    krait_checkpoint_free(made);
    gguf_free(&m);
}

static void expect_no_model(const gguf_maker *m, krait_status status, const char *message)
{
    krait_checkpoint *checkpoint;
    krait_config config;
    krait_status found = krait_checkpoint_open_memory(&checkpoint, &(krait_blob){ "made.gguf", m->data, m->size }, 1, &error);
    if (!found) found = krait_checkpoint_config(checkpoint, &config, &error);
    krait_checkpoint_free(checkpoint);
    assert_int_equal(found, status);
    assert_string_equal(error.message, message);
}

static void says_why_a_file_is_no_model(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    gguf_from_model(&m, KRAIT_TEST_DATA "/models/tiny", false);
    char *architecture = after(&m, "general.architecture") + 12;
    memcpy(architecture, "llama", 5);
    expect_no_model(&m, KRAIT_ERROR_UNSUPPORTED, "made.gguf: general.architecture: expected mamba, found llama");
    memcpy(architecture, "mamba", 5);
    /* another name */
    after(&m, "blk.0.ssm_")[-1] = '-';
    expect_no_model(&m, KRAIT_ERROR_FORMAT,
                    "made.gguf: blk.0.ssm_in.weight: expected [256, 64] F32 (or another type of numbers), found nothing");
    after(&m, "blk.0.ssm-")[-1] = '_';
    after(&m, "blk.1.ssm_a")[4] = 15; /* d_state */
    expect_no_model(&m, KRAIT_ERROR_FORMAT,
                    "made.gguf: blk.1.ssm_a: expected [128, 16] F32 (or another type of numbers), found [128, 15] F32");
    gguf_free(&m);

    gguf_header(&m, 3, 0, 0);
    expect_no_model(&m, KRAIT_ERROR_UNSUPPORTED, "made.gguf: general.architecture: expected mamba, found nothing");
    gguf_free(&m);
    gguf_header(&m, 3, 0, 1);
    gguf_key_u32(&m, "general.architecture", 5);
    expect_no_model(&m, KRAIT_ERROR_FORMAT, "made.gguf: general.architecture: expected a string, found u32 5");
    gguf_free(&m);
    gguf_header(&m, 3, 0, 2);
    gguf_key_text(&m, "general.architecture", "mamba");
    gguf_key_text(&m, "mamba.attention.layer_norm_rms_epsilon", "small");
    expect_no_model(&m, KRAIT_ERROR_FORMAT,
                    "made.gguf: mamba.attention.layer_norm_rms_epsilon: expected a number, found \"small\"");
    gguf_free(&m);
    gguf_header(&m, 3, 0, 2);
    gguf_key_text(&m, "general.architecture", "mamba");
    gguf_key_u32(&m, "mamba.ssm.dt_b_c_rms", 1);
    expect_no_model(&m, KRAIT_ERROR_FORMAT, "made.gguf: mamba.ssm.dt_b_c_rms: expected a bool, found u32 1");
    gguf_free(&m);
    gguf_header(&m, 3, 0, 1);
    gguf_key_text(&m, "general.architecture", "mamba");
    expect_no_model(
        &m, KRAIT_ERROR_UNSUPPORTED,
        "made.gguf: not a language model we know: expected a tensor token_embd.weight, found 0 others, the first none");
    gguf_free(&m);
    gguf_header(&m, 3, 0, 1);
    gguf_key(&m, "split.count", KR_GGUF_U16);
    gguf_bytes(&m, "\3\0", 2);
    expect_no_model(
        &m, KRAIT_ERROR_UNSUPPORTED,
        "made.gguf: split.count: expected a whole model in one file, found one of 3 parts: join them (llama-gguf-split --merge)");
    gguf_free(&m);
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

static void a_folder_may_hold_one_file(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    krait_checkpoint *checkpoint;
    krait_config config;
    const char *text;
    size_t size;
    gguf_from_model(&m, KRAIT_TEST_DATA "/models/tiny", false);
    const char *folder = cli_folder();
    cli_write(cli_path("any name.gguf"), m.data, m.size);
    /* of some other model */
    cli_write(cli_path("config.json"), "{\"model_type\": \"falcon_mamba\", \"state_size\": 5}", 47);
    assert_ok(krait_checkpoint_open(&checkpoint, folder, &error));
    assert_ok(krait_checkpoint_config(checkpoint, &config, &error));
    assert_int_equal(config.family, KRAIT_FAMILY_MAMBA);
    assert_null(krait_checkpoint_note(checkpoint, 0));
    assert_false(krait_checkpoint_file(checkpoint, "config.json", &text, &size));
    assert_false(krait_checkpoint_has_tokenizer(checkpoint));
    krait_checkpoint_free(checkpoint);
    cli_write(cli_path("another.gguf"), m.data, m.size);
    assert_int_equal(krait_checkpoint_open(&checkpoint, folder, &error), KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "found 2 files *.safetensors or *.gguf: give one of them"));
    cli_folder_remove();
    gguf_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bits_as_the_original), cmocka_unit_test(float32_matrices_stay_where_they_are),
        cmocka_unit_test(a_file_of_many_types_runs),     cmocka_unit_test(an_epsilon_without_a_key_is_that_of_the_other_norms),
        cmocka_unit_test(shapes_win_over_metadata),      cmocka_unit_test(says_why_a_file_is_no_model),
        cmocka_unit_test(a_folder_may_hold_one_file),    cmocka_unit_test(matrices_are_held_in_the_type_they_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
