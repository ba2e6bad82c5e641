#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/safetensors.h"

/* ---- a folder of files that goes away after each test ------------------------------------------------------------ */

static char folder[] = P_tmpdir "/krait-test-XXXXXX";
static char path_buffer[512];

static const char *in_folder(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", folder, name);
    return path_buffer;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = { "model.safetensors",
                                         "model.safetensors.index.json",
                                         "pytorch_model.bin",
                                         "config.json",
                                         "pytorch_model.bin.index.json",
                                         "a.safetensors",
                                         "b.safetensors",
                                         "c.gguf",
                                         "README.md",
                                         "tokenizer.json",
                                         "1.bin",
                                         "2.bin" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_folder(names[i]));
    return rmdir(folder);
}

static void put_text(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
}

/* A safetensors file of float tensors [2], whose values are `first` and first + 1, and so on. */
static void put_tensors(const char *file, const char *const *names, size_t n, float first)
{
    kr_tensor tensors[8];
    float values[8][2];
    for (size_t i = 0; i < n; i++) {
        values[i][0] = first + (float)(2 * i);
        values[i][1] = first + (float)(2 * i + 1);
        tensors[i] = (kr_tensor){ .name = names[i], .n_dims = 1, .shape = { 2 }, .data = values[i] };
        kr_tensor_set_contiguous(&tensors[i]);
    }
    assert_int_equal(kr_safetensors_write(in_folder(file), tensors, n, NULL, 0, NULL), KRAIT_OK);
}

static void put_copy(const char *name, const char *from)
{
    kr_file file;
    krait_error error;
    kr_writer writer;
    if (kr_file_open(&file, from, &error) || kr_writer_open(&writer, in_folder(name), &error)
        || kr_writer_write(&writer, file.data, file.size, &error) || kr_writer_commit(&writer, &error))
        fail_msg("%s", error.message);
    kr_file_close(&file);
}

static krait_checkpoint *open_path(const char *path)
{
    krait_checkpoint *c;
    krait_error error;
    if (krait_checkpoint_open(&c, path, &error)) fail_msg("%s", error.message);
    assert_string_equal(krait_checkpoint_path(c), path);
    return c;
}

static void refuses(krait_status status, const char *path, const char *message)
{
    krait_checkpoint *c;
    krait_error error = { 0 };
    krait_status found = krait_checkpoint_open(&c, path, &error);
    if (!strstr(error.message, message)) print_error("expected \"%s\", found \"%s\"\n", message, error.message);
    assert_int_equal(found, status);
    assert_non_null(strstr(error.message, message));
    assert_null(c);
}

static float first_value(const krait_checkpoint *c, const char *name)
{
    const kr_tensor *tensor = kr_checkpoint_find(c, name);
    assert_non_null(tensor);
    float value;
    memcpy(&value, tensor->data, sizeof value);
    return value;
}

static void expect_note(const krait_checkpoint *c, const char *text)
{
    for (size_t i = 0; krait_checkpoint_note(c, i); i++)
        if (strstr(krait_checkpoint_note(c, i), text)) return;
    fail_msg("expected a note \"%s\", found %zu others", text, c->n_notes);
}

/* ---- fixtures ---------------------------------------------------------------------------------------------------- */

static void opens_every_model(void **state)
{
    (void)state;
    static const struct {
        const char *name, *layout;
        size_t n_tensors;
        krait_dtype dtype;
    } models[] = {
        { "tiny", "hf", 32, KRAIT_DTYPE_F32 },           { "odd", "hf", 25, KRAIT_DTYPE_F32 },
        { "wide", "hf", 22, KRAIT_DTYPE_F32 },           { "f16", "hf", 22, KRAIT_DTYPE_F16 },
        { "falcon", "hf", 33, KRAIT_DTYPE_F32 },         { "bf16-sharded", "hf", 43, KRAIT_DTYPE_BF16 },
        { "original", "original", 33, KRAIT_DTYPE_F32 },
    };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char path[512];
        snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, models[m].name);
        krait_checkpoint *c = open_path(path);
        assert_string_equal(krait_checkpoint_layout(c), models[m].layout);
        if (krait_checkpoint_n_tensors(c) != models[m].n_tensors)
            fail_msg("%s: expected %zu tensors, found %zu", models[m].name, models[m].n_tensors, krait_checkpoint_n_tensors(c));
        const char *text;
        size_t size;
        assert_true(krait_checkpoint_file(c, "config.json", &text, &size));
        assert_int_equal(text[0], '{');
        assert_false(krait_checkpoint_file(c, "tokenizer.json", &text, &size));
        assert_null(text);
        assert_non_null(c->hints.d_model.key);
        assert_null(krait_checkpoint_note(c, 0));
        for (size_t i = 0; i < models[m].n_tensors; i++) {
            krait_tensor_info info;
            uint64_t n_nan, n_infinite;
            assert_int_equal(krait_checkpoint_tensor(c, i, &info), KRAIT_OK);
            if (strstr(info.name, "in_proj")) assert_int_equal(info.dtype, models[m].dtype);
            assert_null(strchr(info.file, '/'));
            assert_ptr_equal(kr_checkpoint_find(c, info.name), &c->tensors[i]);
            uint64_t bytes = kr_dtype_size(info.dtype);
            for (int d = 0; d < info.n_dims; d++) bytes *= info.shape[d];
            assert_int_equal(info.bytes, bytes);
            assert_int_equal(krait_checkpoint_count_nonfinite(c, i, &n_nan, &n_infinite), KRAIT_OK);
            assert_int_equal(n_nan + n_infinite, 0);
        }
        krait_tensor_info info;
        assert_int_equal(krait_checkpoint_tensor(c, models[m].n_tensors, &info), KRAIT_ERROR_ARGUMENT);
        assert_null(kr_checkpoint_find(c, "backbone"));
        krait_checkpoint_free(c);
    }
}

static void opens_single_files_with_the_config_beside(void **state)
{
    (void)state;
    static const char *const paths[] = { KRAIT_TEST_DATA "/models/tiny/model.safetensors",
                                         KRAIT_TEST_DATA "/models/original/pytorch_model.bin" };
    for (size_t i = 0; i < 2; i++) {
        krait_checkpoint *c = open_path(paths[i]);
        assert_true(c->n_tensors >= 32);
        assert_true(c->hints.d_model.value == 64);
        krait_checkpoint_free(c);
    }
    assert_int_equal(chdir(KRAIT_TEST_DATA "/models/tiny"), 0);
    krait_checkpoint *c = open_path("model.safetensors");
    assert_true(c->hints.d_model.value == 64);
    krait_checkpoint_free(c);
    c = open_path(".");
    assert_true(c->n_tensors == 32);
    krait_checkpoint_free(c);
}

static void opens_from_memory(void **state)
{
    (void)state;
    kr_file weights, config;
    assert_int_equal(kr_file_open(&weights, KRAIT_TEST_DATA "/models/tiny/model.safetensors", NULL), KRAIT_OK);
    assert_int_equal(kr_file_open(&config, KRAIT_TEST_DATA "/models/tiny/config.json", NULL), KRAIT_OK);
    krait_blob blobs[] = { { "config.json", config.data, config.size }, { "model.safetensors", weights.data, weights.size } };
    krait_checkpoint *c;
    krait_error error;
    assert_int_equal(krait_checkpoint_open_memory(&c, blobs, 2, &error), KRAIT_OK);
    assert_int_equal(krait_checkpoint_n_tensors(c), 32);
    assert_string_equal(krait_checkpoint_path(c), "config.json");
    assert_true(c->hints.d_model.value == 64);
    krait_checkpoint_free(c);
    krait_blob alone = { "any name", weights.data, weights.size };
    assert_int_equal(krait_checkpoint_open_memory(&c, &alone, 1, &error), KRAIT_OK);
    assert_int_equal(krait_checkpoint_n_tensors(c), 32);
    krait_checkpoint_free(c);
    blobs[1].name = "README.md";
    assert_int_equal(krait_checkpoint_open_memory(&c, blobs, 2, &error), KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "config.json: expected one of model.safetensors, "));
    assert_non_null(strstr(error.message, "found 2 other files, such as config.json"));
    assert_int_equal(krait_checkpoint_open_memory(&c, blobs, 0, &error), KRAIT_ERROR_ARGUMENT);
    blobs[1].name = NULL;
    assert_int_equal(krait_checkpoint_open_memory(&c, blobs, 2, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_checkpoint_open(&c, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_checkpoint_open(NULL, "x", NULL), KRAIT_ERROR_ARGUMENT);
    krait_checkpoint_free(NULL);
    kr_file_close(&weights);
    kr_file_close(&config);
}

static void lives_as_long_as_anyone_needs_it(void **state)
{
    (void)state;
    krait_checkpoint *c = open_path(KRAIT_TEST_DATA "/models/tiny");
    krait_checkpoint *same = kr_checkpoint_retain(c);
    krait_checkpoint_free(c);
    assert_int_equal(krait_checkpoint_n_tensors(same), 32);
    krait_checkpoint_free(same);
}

/* ---- what is chosen ---------------------------------------------------------------------------------------------- */

static const char *const names_ab[] = { "a", "b" }, *const names_cd[] = { "c", "d" };

static void safetensors_win(void **state)
{
    (void)state;
    put_tensors("model.safetensors", names_ab, 2, 5);
    put_copy("pytorch_model.bin", KRAIT_TEST_DATA "/models/original/pytorch_model.bin");
    put_tensors("b.safetensors", names_cd, 2, 0);
    krait_checkpoint *c = open_path(folder);
    assert_int_equal(krait_checkpoint_n_tensors(c), 2);
    assert_true(first_value(c, "b") == 7);
    expect_note(c, "pytorch_model.bin is there beside model.safetensors, which is used");
    assert_string_equal(krait_checkpoint_layout(c), "unknown");
    krait_checkpoint_free(c);
    unlink(in_folder("model.safetensors"));
    c = open_path(folder);
    assert_int_equal(krait_checkpoint_n_tensors(c), 33);
    krait_checkpoint_free(c);
}

static void a_lone_file_of_any_name_will_do(void **state)
{
    (void)state;
    put_tensors("a.safetensors", names_ab, 2, 1);
    krait_checkpoint *c = open_path(folder);
    assert_true(first_value(c, "a") == 1);
    krait_checkpoint_free(c);
    put_tensors("b.safetensors", names_cd, 2, 1);
    refuses(KRAIT_ERROR_FORMAT, folder, "found 2 files *.safetensors or *.gguf: give one of them");
}

static void content_decides_what_a_file_is(void **state)
{
    (void)state;
    put_copy("model.safetensors", KRAIT_TEST_DATA "/models/original/pytorch_model.bin");
    krait_checkpoint *c = open_path(folder);
    assert_int_equal(krait_checkpoint_n_tensors(c), 33);
    krait_checkpoint_free(c);
    put_tensors("1.bin", names_ab, 2, 1);
    c = open_path(in_folder("1.bin"));
    assert_int_equal(krait_checkpoint_n_tensors(c), 2);
    krait_checkpoint_free(c);
}

static void refuses_what_is_no_checkpoint(void **state)
{
    (void)state;
    refuses(KRAIT_ERROR_IO, in_folder("missing"), "missing: cannot open: No such file or directory");
    refuses(
        KRAIT_ERROR_IO, folder,
        "expected one of model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json, one "
        "*.safetensors or one *.gguf, found nothing");
    put_text("README.md", "hello");
    refuses(KRAIT_ERROR_FORMAT, folder, "found 1 other file, such as README.md");
    refuses(KRAIT_ERROR_FORMAT, in_folder("README.md"),
            "README.md: expected safetensors, GGUF or a torch zip file, found 5 bytes of");
    put_text("c.gguf", "GGUF\3");
    refuses(KRAIT_ERROR_FORMAT, folder,
            "c.gguf: header: version: expected 4 bytes from byte 4 on, found 1 before the file's end");
    put_text("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid");
    refuses(KRAIT_ERROR_FORMAT, folder, "found a Git LFS pointer");
    put_text("model.safetensors", "");
    refuses(KRAIT_ERROR_FORMAT, folder, "found 0 bytes of something else");
    refuses(KRAIT_ERROR_IO, "/dev/null", "/dev/null: expected a regular file, found a special file");
}

static void a_broken_config_is_an_error(void **state)
{
    (void)state;
    put_tensors("model.safetensors", names_ab, 2, 1);
    put_text("config.json", "{\"d_model\": }");
    refuses(KRAIT_ERROR_FORMAT, folder, "config.json: line 1, byte 12: expected a value, found '}'");
}

static void drops_a_prefix_that_all_names_have(void **state)
{
    (void)state;
    put_tensors("model.safetensors", (const char *const[]){ "model.z", "model.backbone.embeddings.weight", "model.a" }, 3, 1);
    krait_checkpoint *c = open_path(folder);
    assert_true(first_value(c, "z") == 1);
    assert_true(first_value(c, "a") == 5);
    assert_string_equal(krait_checkpoint_layout(c), "hf");
    expect_note(c, "begins with \"model.\", which is dropped");
    krait_checkpoint_free(c);
    put_tensors("model.safetensors", (const char *const[]){ "model.z", "models" }, 2, 1);
    c = open_path(folder);
    assert_non_null(kr_checkpoint_find(c, "model.z"));
    assert_null(krait_checkpoint_note(c, 0));
    krait_checkpoint_free(c);
}

static void the_original_layout_may_leave_the_embedding_to_the_head(void **state)
{
    (void)state;
    put_tensors("model.safetensors", (const char *const[]){ "lm_head.weight", "backbone.norm_f.weight" }, 2, 1);
    krait_checkpoint *c = open_path(folder);
    assert_string_equal(krait_checkpoint_layout(c), "original");
    krait_checkpoint_free(c);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

static void reads_shards_by_their_index(void **state)
{
    (void)state;
    put_tensors("a.safetensors", names_ab, 2, 10);
    put_tensors("b.safetensors", names_cd, 2, 20);
    put_text("model.safetensors.index.json",
             "{\"metadata\": {\"total_size\": 32}, \"weight_map\": {\"d\": \"b.safetensors\", \"a\": "
             "\"a.safetensors\", \"c\": \"b.safetensors\", \"b\": \"a.safetensors\"}}");
    krait_checkpoint *c = open_path(folder);
    assert_int_equal(c->n_tensors, 4);
    assert_int_equal(c->n_files, 3);
    assert_true(first_value(c, "a") == 10 && first_value(c, "d") == 22);
    krait_tensor_info info;
    krait_checkpoint_tensor(c, 0, &info);
    assert_string_equal(info.file, "b.safetensors");
    krait_checkpoint_free(c);
    /* torch files in shards are opened the same way */
    rename(in_folder("model.safetensors.index.json"), strcat(strcpy((char[512]){ 0 }, folder), "/pytorch_model.bin.index.json"));
    c = open_path(folder);
    assert_int_equal(c->n_tensors, 4);
    krait_checkpoint_free(c);
}

static void refuses_indices_that_lie(void **state)
{
    (void)state;
    static const char index[] = "model.safetensors.index.json";
    put_tensors("a.safetensors", names_ab, 2, 10);
    put_tensors("b.safetensors", names_cd, 2, 20);
    put_text(index, "{\"weight_map\": {\"a\": \"a.safetensors\", \"x\": \"b.safetensors\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "index.json: weight_map: tensor x: expected it in b.safetensors, found it nowhere");
    put_text(index, "{\"weight_map\": {\"c\": \"b.safetensors\", \"d\": \"a.safetensors\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "weight_map: tensor d: expected it in a.safetensors, found it in b.safetensors");
    put_text(index, "{\"weight_map\": {\"a\": \"missing.safetensors\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "weight_map: expected a file missing.safetensors beside it, found none");
    put_text(index, "{\"weight_map\": {\"a\": \"../a.safetensors\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "weight_map: a: expected a file's name without folder, found a path");
    put_text(index, "{\"weight_map\": {\"a\": \"..\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "found a path");
    put_text(index, "{\"weight_map\": {\"a\": \"a.safetensors\\u0000\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "found a path");
    put_text(index, "{\"weight_map\": {\"a\": \"\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "found a name of no or too many characters");
    put_text(index, "{\"weight_map\": {\"a\": 1}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "found integer");
    put_text(index, "{\"weight_map\": []}");
    refuses(KRAIT_ERROR_FORMAT, folder, "index.json: weight_map: expected an object, found array");
    put_text(index, "{}");
    refuses(KRAIT_ERROR_FORMAT, folder, "index.json: weight_map: expected an object, found no such field");
    put_text(index, "[");
    refuses(KRAIT_ERROR_FORMAT, folder, "index.json: line 1");
    put_text(index, "{\"weight_map\": {\"a\": \"model.safetensors.index.json\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "found it nowhere");
    put_tensors("b.safetensors", names_ab, 2, 10);
    put_text(index, "{\"weight_map\": {\"a\": \"a.safetensors\", \"b\": \"b.safetensors\"}}");
    refuses(KRAIT_ERROR_FORMAT, folder, "tensor a: expected one of that name, found another in ");
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void counts_what_is_not_finite(void **state)
{
    (void)state;
    float f32[5000] = { [7] = NAN, [4999] = -INFINITY, [2048] = NAN };
    const double f64[3] = { 1, 1e300, (double)NAN };
    const uint16_t f16[4] = { 0x7c00, 0xfe00, 0x3c00, 0xfc00 };
    const int32_t i32[2] = { INT32_MAX, INT32_MIN };
    kr_tensor tensors[] = {
        { .name = "f32", .dtype = KRAIT_DTYPE_F32, .n_dims = 1, .shape = { 5000 }, .data = f32 },
        { .name = "f64", .dtype = KRAIT_DTYPE_F64, .n_dims = 1, .shape = { 3 }, .data = f64 },
        { .name = "f16", .dtype = KRAIT_DTYPE_F16, .n_dims = 1, .shape = { 4 }, .data = f16 },
        { .name = "i32", .dtype = KRAIT_DTYPE_I32, .n_dims = 1, .shape = { 2 }, .data = i32 },
    };
    for (int i = 0; i < 4; i++) kr_tensor_set_contiguous(&tensors[i]);
    assert_int_equal(kr_safetensors_write(in_folder("model.safetensors"), tensors, 4, NULL, 0, NULL), KRAIT_OK);
    krait_checkpoint *c = open_path(folder);
    static const uint64_t expected[4][2] = { { 2, 1 }, { 1, 1 }, { 1, 2 }, { 0, 0 } };
    for (size_t i = 0; i < 4; i++) {
        uint64_t n_nan, n_infinite;
        assert_int_equal(krait_checkpoint_count_nonfinite(c, i, &n_nan, &n_infinite), KRAIT_OK);
        assert_int_equal(n_nan, expected[i][0]);
        assert_int_equal(n_infinite, expected[i][1]);
    }
    uint64_t n_nan, n_infinite;
    assert_int_equal(krait_checkpoint_count_nonfinite(c, 4, &n_nan, &n_infinite), KRAIT_ERROR_ARGUMENT);
    /* a tensor with strides, as torch files have them */
    c->tensors[0].n_dims = 2;
    c->tensors[0].shape[0] = 2, c->tensors[0].shape[1] = 4;
    c->tensors[0].stride[0] = 1, c->tensors[0].stride[1] = 2;
    assert_int_equal(krait_checkpoint_count_nonfinite(c, 0, &n_nan, &n_infinite), KRAIT_OK);
    assert_int_equal(n_nan, 1);
    krait_checkpoint_free(c);
}

static void notes_are_kept_once(void **state)
{
    (void)state;
    krait_checkpoint *c = open_path(KRAIT_TEST_DATA "/models/tiny");
    for (int i = 0; i < 40; i++) kr_checkpoint_add_note(c, "note %d", i / 2);
    assert_int_equal(c->n_notes, 20);
    assert_string_equal(krait_checkpoint_note(c, 19), "note 19");
    assert_null(krait_checkpoint_note(c, 20));
    krait_checkpoint_free(c);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_every_model),
        cmocka_unit_test(opens_single_files_with_the_config_beside),
        cmocka_unit_test(opens_from_memory),
        cmocka_unit_test(lives_as_long_as_anyone_needs_it),
        WITH_FOLDER(safetensors_win),
        WITH_FOLDER(a_lone_file_of_any_name_will_do),
        WITH_FOLDER(content_decides_what_a_file_is),
        WITH_FOLDER(refuses_what_is_no_checkpoint),
        WITH_FOLDER(a_broken_config_is_an_error),
        WITH_FOLDER(drops_a_prefix_that_all_names_have),
        WITH_FOLDER(the_original_layout_may_leave_the_embedding_to_the_head),
        WITH_FOLDER(reads_shards_by_their_index),
        WITH_FOLDER(refuses_indices_that_lie),
        WITH_FOLDER(counts_what_is_not_finite),
        cmocka_unit_test(notes_are_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
