/* Each allocation of opening, listing and writing files fails once: an error of memory, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "formats/checkpoint.h"
#include "formats/safetensors.h"

static krait_status open_and_list(void *path, krait_error *error)
{
    krait_checkpoint *checkpoint;
    krait_status status = krait_checkpoint_open(&checkpoint, path, error);
    if (status) return status;
    for (size_t i = 0; i < krait_checkpoint_n_tensors(checkpoint) && !status; i++) {
        uint64_t n_nan, n_infinite;
        status = krait_checkpoint_count_nonfinite(checkpoint, i, &n_nan, &n_infinite);
        if (status) kr_fail_memory(error, "counting", 0);
    }
    kr_checkpoint_add_note(checkpoint, "a note");
    krait_checkpoint_free(checkpoint);
    return status;
}

static void every_model_can_be_opened_or_not(void **state)
{
    (void)state;
    static const char *const models[] = { "tiny", "odd", "wide", "bf16-sharded", "f16", "original", "falcon" };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, models[i]);
        assert_true(fail_alloc_every(open_and_list, path) > 10);
    }
}

/* Metadata, arrays of strings, tensors in blocks. */
static void gguf_files_can_be_opened_or_not(void **state)
{
    (void)state;
    static char paths[][200] = { KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf", KRAIT_TEST_DATA "/gguf/tokenizer.gguf" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) assert_true(fail_alloc_every(open_and_list, paths[i]) > 5);
}

static krait_status open_memory(void *context, krait_error *error)
{
    (void)context;
    /* more than the eight keys that are compared by pairs, a "model." prefix, two spellings that disagree, a type that is noted */
    static const char config[] =
        "{\"n_layer\": 1, \"num_hidden_layers\": 2, \"a\\u0041\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1, "
        "\"f\": 1, \"g\": 1, \"expand\": []}";
    static const char header[] = "{\"model.a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}0";
    char weights[sizeof header + 8] = { sizeof header - 2 };
    memcpy(weights + 8, header, sizeof header - 1);
    const krait_blob files[] = { { "config.json", config, sizeof config - 1 },
                                 { "model.safetensors", weights, sizeof header + 7 } };
    krait_checkpoint *checkpoint;
    krait_status status = krait_checkpoint_open_memory(&checkpoint, files, 2, error);
    krait_checkpoint_free(checkpoint);
    return status;
}

static void files_in_memory_can_be_opened_or_not(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(open_memory, NULL) > 10);
}

static krait_status write_tensors(void *path, krait_error *error)
{
    kr_tensor tensor = { .name = "a", .dtype = KRAIT_DTYPE_U8, .n_dims = 1, .shape = { 3 }, .data = "abc" };
    kr_tensor_set_contiguous(&tensor);
    return kr_safetensors_write(path, &tensor, 1, (const char *const[][2]){ { "key", "value" } }, 1, error);
}

static void tensors_can_be_written_or_not(void **state)
{
    (void)state;
    char path[] = P_tmpdir "/krait-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(fail_alloc_every(write_tensors, path) >= 4);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_can_be_opened_or_not),
        cmocka_unit_test(gguf_files_can_be_opened_or_not),
        cmocka_unit_test(files_in_memory_can_be_opened_or_not),
        cmocka_unit_test(tensors_can_be_written_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
