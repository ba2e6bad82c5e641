/* krait_checkpoint_save(): what is loaded from the folder is what loading with that type gives, and nothing is lost on the way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "formats/checkpoint.h"
#include "tensor/tensor.h"

static const char *folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, P_tmpdir "/krait-save-%ld-%s", (long)getpid(), name);
    return path;
}

static bool exists(const char *path, const char *name)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return access(file, F_OK) == 0;
}

static void discard(const char *path)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };
    char file[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        unlink(file);
    }
    rmdir(path);
}

static krait_status save(const char *from, const char *to, const krait_save_options *options, krait_error *error)
{
    krait_checkpoint *checkpoint;
    krait_status status = krait_checkpoint_open(&checkpoint, from, error);
    if (!status) status = krait_checkpoint_save(checkpoint, to, options, error);
    krait_checkpoint_free(checkpoint);
    return status;
}

/* The logits of a few tokens; and the bytes of the weights. */
static float *logits_of(const char *path, krait_weight_type type, size_t *size, uint64_t *bytes)
{
    enum { TOKENS = 12 };
    krait_error error;
    krait_model *model;
    krait_session *session;
    krait_state *state;
    if (krait_model_load(&model, path, &(krait_load_options){ .type = type }, &error)) fail_msg("%s", error.message);
    assert_ok(krait_session_create(&session, model, &(krait_session_options){ .threads = 1 }, &error));
    assert_ok(krait_state_create(&state, model, &error));
    size_t vocab = (size_t)krait_model_config(model)->vocab_size;
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++) ids[i] = (int32_t)((size_t)(i * 13 + 5) % vocab);
    float *logits = malloc(TOKENS * vocab * sizeof *logits);
    krait_sequence sequence = { .state = state, .tokens = ids, .count = TOKENS, .want = KRAIT_WANT_ALL };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
    *size = TOKENS * vocab;
    *bytes = krait_model_bytes(model);
    krait_state_free(state);
    krait_session_free(session);
    krait_model_free(model);
    return logits;
}

static void a_saved_model_has_the_bits_of_one_converted_while_loading(void **state)
{
    (void)state;
    static const char *const models[] = { "tiny", "odd", "bf16-sharded", "original", "falcon" };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (krait_weight_type type = KRAIT_WEIGHT_F32; type <= KRAIT_WEIGHT_Q6; type++) {
            char from[512];
            krait_error error;
            snprintf(from, sizeof from, KRAIT_TEST_DATA "/models/%s", models[m]);
            const char *to = folder("bits");
            assert_ok(save(from, to, &(krait_save_options){ .type = type }, &error));
            size_t n, again;
            uint64_t bytes, bytes_again;
            bool grouped = type >= KRAIT_WEIGHT_Q8; /* kept by auto; the others are float32 then */
            float *expected = logits_of(from, type, &n, &bytes),
                  *found = logits_of(to, grouped ? KRAIT_WEIGHT_AUTO : type, &again, &bytes_again);
            assert_int_equal(n, again);
            assert_memory_equal(expected, found, n * sizeof *found);
            if (!grouped) assert_int_equal(bytes, bytes_again);
            free(expected), free(found);
            discard(to);
        }
}

static size_t n_told;
static void on_tensor(void *user, const krait_saved_tensor *tensor)
{
    krait_dtype expected = strstr(tensor->name, "x_proj") ? KRAIT_DTYPE_F16 : KRAIT_DTYPE_PACKED_Q8;
    (void)user;
    n_told++;
    if (strstr(tensor->name, "x_proj") || strstr(tensor->name, "in_proj.weight")) assert_int_equal(tensor->to, expected);
    if (tensor->to == KRAIT_DTYPE_PACKED_Q8) assert_true(tensor->error > 1e-4 && tensor->error < 0.02);
    if (tensor->to == KRAIT_DTYPE_F32) assert_true(tensor->error == 0);
    assert_true(tensor->bytes > 0);
}

static void choices_count_and_unused_ones_are_errors(void **state)
{
    (void)state;
    krait_error error;
    const char *to = folder("choices");
    krait_type_choice choices[] = { { "*.x_proj.weight", KRAIT_WEIGHT_F16 }, { "*.y_proj.*", KRAIT_WEIGHT_F16 } };
    krait_save_options options = { .type = KRAIT_WEIGHT_Q8, .choices = choices, .n_choices = 1, .on_tensor = on_tensor };
    assert_ok(save(KRAIT_TEST_DATA "/models/tiny", to, &options, &error));
    assert_true(n_told > 20);
    discard(to);
    options.n_choices = 2;
    assert_int_equal(save(KRAIT_TEST_DATA "/models/tiny", to, &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "pattern \"*.y_proj.*\": expected the name of a matrix"));
    choices[1].pattern = "*.layers.1.mixer.x_proj.weight";
    assert_int_equal(save(KRAIT_TEST_DATA "/models/tiny", to, &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(
        strstr(error.message, "mixer.x_proj.weight\": every matrix that it fits has its type from an earlier pattern"));
    assert_false(exists(to, "."));
}

static void quantising_twice_is_refused_unless_asked_for(void **state)
{
    (void)state;
    krait_error error;
    char first[128];
    snprintf(first, sizeof first, "%s", folder("first"));
    const char *second = folder("second");
    assert_ok(save(KRAIT_TEST_DATA "/models/tiny", first, &(krait_save_options){ .type = KRAIT_WEIGHT_Q8 }, &error));
    assert_int_equal(save(first, second, &(krait_save_options){ .type = KRAIT_WEIGHT_Q4 }, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "is q8 already"));
    assert_false(exists(second, "."));
    assert_ok(save(first, second, &(krait_save_options){ .type = KRAIT_WEIGHT_Q4, .requantize = true }, &error));
    discard(second);
    assert_ok(save(first, second, &(krait_save_options){ .type = KRAIT_WEIGHT_F32 }, &error)); /* what it stands for */
    size_t n;
    uint64_t bytes;
    float *a = logits_of(first, KRAIT_WEIGHT_F32, &n, &bytes), *b = logits_of(second, KRAIT_WEIGHT_F32, &n, &bytes);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a), free(b);
    discard(first), discard(second);
}

/* Through Q8_0 and Q4_0 and back, unforced. GGUF has A instead of its logarithm: that alone rounds on the way back. */
static void a_detour_through_gguf_loses_nothing(void **state)
{
    (void)state;
    static const char *const models[] = { KRAIT_TEST_DATA "/models/tiny", KRAIT_MODELS "/text-small" };
    krait_error error;
    char first[128], file[128];
    snprintf(first, sizeof first, "%s", folder("first"));
    snprintf(file, sizeof file, "%s", folder("detour.gguf"));
    const char *second = folder("second");
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (krait_weight_type type = KRAIT_WEIGHT_Q8; type <= KRAIT_WEIGHT_Q6; type++) {
            krait_checkpoint *from, *to;
            const krait_save_options options = { .type = type };
            assert_ok(save(models[m], first, &options, &error));
            assert_ok(krait_checkpoint_open(&from, first, &error));
            assert_ok(krait_checkpoint_save_gguf(from, file, &options, &error));
            assert_ok(save(file, second, &options, &error));
            assert_ok(krait_checkpoint_open(&to, second, &error));
            assert_int_equal(from->n_tensors, to->n_tensors);
            size_t n_packed = 0;
            for (size_t i = 0; i < from->n_tensors; i++) {
                const kr_tensor *a = &from->tensors[i], *b = kr_checkpoint_find(to, a->name);
                size_t bytes;
                assert_non_null(b);
                assert_int_equal(a->dtype, b->dtype);
                assert_true(kr_tensor_bytes(a, &bytes));
                n_packed += kr_tensor_is_packed(a);
                if (!strstr(a->name, "A_log") && memcmp(a->data, b->data, bytes) != 0) fail_msg("%s: %s", models[m], a->name);
            }
            assert_true(n_packed > 6);
            krait_checkpoint_free(from);
            krait_checkpoint_free(to);
            size_t n;
            uint64_t bytes, bytes_again;
            float *a = logits_of(first, KRAIT_WEIGHT_AUTO, &n, &bytes), *b = logits_of(file, KRAIT_WEIGHT_AUTO, &n, &bytes_again);
            assert_memory_equal(a, b, n * sizeof *a);
            assert_int_equal(bytes, bytes_again);
            free(a), free(b);
            unlink(file);
            discard(first), discard(second);
        }
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
    (void)state;
    krait_error error;
    assert_int_equal(save(KRAIT_TEST_DATA "/models/tiny", "/nonexistent/folder/out", NULL, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "/nonexistent/folder/out"));

    const char *to = folder("full"); /* nor may there be something in it */
    assert_ok(save(KRAIT_TEST_DATA "/models/tiny", to, NULL, &error));
    assert_int_equal(save(KRAIT_TEST_DATA "/models/odd", to, NULL, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "expected a new or an empty folder"));
    assert_true(exists(to, "model.safetensors"));
    discard(to);
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user, (void)what;
    return done < total / 2;
}

static void an_interrupted_save_leaves_nothing(void **state)
{
    (void)state;
    krait_error error;
    const char *to = folder("interrupted");
    krait_save_options options = { .type = KRAIT_WEIGHT_Q4, .progress = { .report = stop } };
    assert_int_equal(save(KRAIT_TEST_DATA "/models/tiny", to, &options, &error), KRAIT_ERROR_INTERRUPTED);
    assert_false(exists(to, "."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_model_has_the_bits_of_one_converted_while_loading),
        cmocka_unit_test(choices_count_and_unused_ones_are_errors),
        cmocka_unit_test(quantising_twice_is_refused_unless_asked_for),
        cmocka_unit_test(a_detour_through_gguf_loses_nothing),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_an_error),
        cmocka_unit_test(an_interrupted_save_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
