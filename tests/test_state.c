/* States as values: clone, copy, save, load, and everything that is not a state of this model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "formats/safetensors.h"

static krait_model *model;
static krait_session *session;
static char folder[64];

static int set_up(void **unused)
{
    (void)unused;
    krait_error error;
    assert_ok(krait_model_load(&model, KRAIT_TEST_DATA "/models/odd", NULL, &error));
    assert_ok(krait_session_create(&session, model, NULL, &error));
    snprintf(folder, sizeof folder, "/tmp/krait-state-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    krait_session_free(session);
    krait_model_free(model);
    return rmdir(folder); /* fails if a test left something behind */
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static krait_state *state_after(size_t n)
{
    krait_state *state;
    krait_error error;
    int32_t ids[16];
    for (size_t i = 0; i < 16; i++) ids[i] = (int32_t)(i * 37 % 101);
    assert_ok(krait_state_create(&state, model, &error));
    krait_sequence sequence = { .state = state, .tokens = ids, .count = n };
    assert_ok(krait_run(session, &sequence, 1, NULL, &error));
    return state;
}

static void assert_equal_states(const krait_state *a, const krait_state *b)
{
    assert_int_equal(krait_state_tokens(a), krait_state_tokens(b));
    assert_int_equal(krait_state_n_tensors(a), krait_state_n_tensors(b));
    for (size_t i = 0; i < krait_state_n_tensors(a); i++) {
        krait_tensor_info info;
        assert_int_equal(krait_state_tensor(a, i, &info), KRAIT_OK);
        float *x = malloc(info.bytes + 1), *y = malloc(info.bytes + 1);
        assert_int_equal(krait_state_read(a, i, x), KRAIT_OK);
        assert_int_equal(krait_state_read(b, i, y), KRAIT_OK);
        assert_memory_equal(x, y, info.bytes);
        free(x);
        free(y);
    }
}

static void a_state_lists_its_tensors(void **unused)
{
    (void)unused;
    krait_state *state = state_after(3);
    const krait_config *config = krait_model_config(model);
    krait_tensor_info info;
    assert_int_equal(krait_state_n_tensors(state), 2 * config->n_layer + 1);
    krait_state_tensor(state, 2, &info);
    assert_string_equal(info.name, "conv_state.1");
    assert_int_equal(info.shape[0], config->d_inner);
    assert_int_equal(info.shape[1], config->d_conv - 1);
    krait_state_tensor(state, 3, &info);
    assert_string_equal(info.name, "ssm_state.1");
    assert_int_equal(info.shape[1], config->d_state);
    krait_state_tensor(state, 4, &info);
    assert_string_equal(info.name, "last_hidden");
    assert_int_equal(info.n_dims, 1);
    assert_int_equal(krait_state_tensor(state, 5, &info), KRAIT_ERROR_ARGUMENT);
    assert_in_range(krait_state_bytes(state),
                    (size_t)(config->n_layer * config->d_inner * (config->d_state + config->d_conv - 1)) * 4, 1 << 20);
    krait_state_free(state);
}

static void a_clone_goes_its_own_way(void **unused)
{
    (void)unused;
    krait_state *state = state_after(5), *clone, *longer = state_after(6);
    krait_error error;
    assert_ok(krait_state_clone(&clone, state, &error));
    assert_equal_states(clone, state);
    int32_t next = 5 * 37 % 101;
    krait_sequence sequence = { .state = clone, .tokens = &next, .count = 1 };
    assert_ok(krait_run(session, &sequence, 1, NULL, &error));
    assert_int_equal(krait_state_tokens(state), 5);
    assert_int_equal(krait_state_tokens(clone), 6);
    assert_ok(krait_state_copy(clone, state, &error)); /* rolled back */
    assert_equal_states(clone, state);
    krait_state_free(state);
    krait_state_free(clone);
    krait_state_free(longer);
}

static void save_and_load_give_the_same_bits(void **unused)
{
    (void)unused;
    for (size_t n = 0; n < 4; n++) {
        krait_state *state = state_after(n), *loaded;
        krait_error error;
        const char *path = path_of("state.safetensors");
        assert_ok(krait_state_save(state, path, &error));
        assert_ok(krait_state_load(&loaded, model, path, &error));
        assert_equal_states(loaded, state);
        unlink(path);
        krait_state_free(state);
        krait_state_free(loaded);
    }
}

static void expect_refusal(const char *path, const krait_model *of, const char *says)
{
    krait_state *state = (krait_state *)1;
    krait_error error;
    assert_int_not_equal(krait_state_load(&state, of, path, &error), KRAIT_OK);
    assert_null(state);
    if (!strstr(error.message, says)) fail_msg("\"%s\" is not in \"%s\"", says, error.message);
}

static void what_is_no_state_of_this_model_is_refused(void **unused)
{
    (void)unused;
    krait_error error;
    krait_model *other;
    krait_state *state = state_after(3), *foreign;
    assert_ok(krait_model_load(&other, KRAIT_TEST_DATA "/models/tiny", NULL, &error));
    assert_ok(krait_state_create(&foreign, other, &error));
    assert_int_equal(krait_state_copy(state, foreign, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "d_model=64"));
    const char *path = path_of("state.safetensors");
    assert_ok(krait_state_save(state, path, &error));
    expect_refusal(path, other, "krait.config: expected mamba vocab_size=256");
    expect_refusal(path_of("missing"), model, "No such file");
    path = path_of("state.safetensors");
    expect_refusal(KRAIT_TEST_DATA "/models/odd/model.safetensors", model, "krait.state: expected 1, found nothing");
    FILE *file = fopen(path, "r+b");
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fclose(file);
    assert_int_equal(truncate(path, size - 4), 0);
    expect_refusal(path, model, "state.safetensors");
    unlink(path);
    krait_state_free(state);
    krait_state_free(foreign);
    krait_model_free(other);
}

/* A file that has the right metadata, but one tensor of another shape, or a bad count of tokens. */
static void altered_tensors_are_named(void **unused)
{
    (void)unused;
    krait_state *state = state_after(3);
    krait_error error;
    const char *path = path_of("state.safetensors");
    assert_ok(krait_state_save(state, path, &error));
    kr_file file;
    kr_arena arena = { 0 };
    kr_safetensors read;
    assert_ok(kr_file_open(&file, path, &error));
    assert_ok(kr_safetensors_read(&read, &arena, &file, &error));
    char config[300] = "";
    const kr_json *text = kr_json_get(read.metadata, "krait.config");
    memcpy(config, text->string, text->length);
    const char *changed = path_of("changed.safetensors");
    for (int c = 0; c < 3; c++) {
        const char *const metadata[][2] = { { "krait.state", "1" },
                                            { "krait.config", config },
                                            { "krait.tokens", c == 0 ? "-3" : "3" } };
        kr_tensor *tensors = malloc(read.n_tensors * sizeof *tensors);
        memcpy(tensors, read.tensors, read.n_tensors * sizeof *tensors);
        if (c == 1) {
            uint64_t rows = tensors[1].shape[0];
            tensors[1].shape[0] = tensors[1].shape[1], tensors[1].shape[1] = rows;
            kr_tensor_set_contiguous(&tensors[1]);
        }
        if (c == 2) tensors[1].name = "another";
        assert_ok(kr_safetensors_write(changed, tensors, read.n_tensors, metadata, 3, &error));
        expect_refusal(changed, model, c == 0 ? "krait.tokens" : "_state.");
        free(tensors);
    }
    unlink(changed);
    unlink(path_of("state.safetensors"));
    kr_arena_free(&arena);
    kr_file_close(&file);
    krait_state_free(state);
}

static void nothing_is_left_of_a_failed_save(void **unused)
{
    (void)unused;
    krait_state *state = state_after(1);
    krait_error error;
    assert_int_equal(krait_state_save(state, "/dev/full", &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "/dev/full"));
    assert_int_equal(krait_state_save(state, path_of("no/such/folder"), &error), KRAIT_ERROR_IO);
    assert_int_equal(krait_state_save(state, folder, &error), KRAIT_ERROR_IO);
    krait_state_free(state); /* tear_down() sees that the folder is empty */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_lists_its_tensors),        cmocka_unit_test(a_clone_goes_its_own_way),
        cmocka_unit_test(save_and_load_give_the_same_bits), cmocka_unit_test(what_is_no_state_of_this_model_is_refused),
        cmocka_unit_test(altered_tensors_are_named),        cmocka_unit_test(nothing_is_left_of_a_failed_save),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
