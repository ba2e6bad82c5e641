#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "tensor/packed.h"

/* A file of a header and `data_size` bytes of data; its block ends with it, so that a sanitizer sees a read beyond. */
static kr_file make_file(const char *header, uint64_t header_length, size_t data_size)
{
    size_t length = strlen(header), size = 8 + length + data_size;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    memcpy(bytes, &header_length, 8);
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_size; i++) bytes[8 + length + i] = (unsigned char)i;
    kr_file file;
    assert_int_equal(kr_file_borrow(&file, "x.safetensors", bytes, size, NULL), KRAIT_OK);
    return file;
}

static void free_file(kr_file *file)
{
    free((void *)file->data);
    kr_file_close(file);
}

static void expect_refusal(krait_status status, const char *header, uint64_t header_length, size_t data_size, const char *message)
{
    kr_arena arena = { 0 };
    kr_safetensors result;
    krait_error error = { 0 };
    kr_file file = make_file(header, header_length, data_size);
    krait_status found = kr_safetensors_read(&result, &arena, &file, &error);
    if (!strstr(error.message, message)) print_error("expected \"%s\", found \"%s\"\n", message, error.message);
    assert_int_equal(found, status);
    assert_non_null(strstr(error.message, message));
    assert_non_null(strstr(error.message, "x.safetensors: "));
    assert_null(result.tensors);
    kr_arena_free(&arena);
    free_file(&file);
}

static void refuses(const char *header, size_t data_size, const char *message)
{
    expect_refusal(KRAIT_ERROR_FORMAT, header, strlen(header), data_size, message);
}

static void reads_tensors_in_the_order_of_their_data(void **state)
{
    (void)state;
    const char *header = "{\"b\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[8,11]},\"__metadata__\":{\"k\":\"v\"},"
                         "\"a\":{\"shape\":[2,1],\"data_offsets\":[0,8],\"dtype\":\"F32\"},"
                         "\"e\":{\"dtype\":\"F64\",\"shape\":[0,4],\"data_offsets\":[8,8]},"
                         "\"s\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[11,12]}}   \n ";
    kr_file file = make_file(header, strlen(header), 12);
    assert_true(kr_safetensors_is(file.data, file.size));
    kr_arena arena = { 0 };
    kr_safetensors all;
    krait_error error;
    assert_int_equal(kr_safetensors_read(&all, &arena, &file, &error), KRAIT_OK);
    assert_int_equal(all.n_tensors, 4);
    assert_string_equal(all.tensors[0].name, "a");
    assert_string_equal(all.tensors[1].name, "e");
    assert_string_equal(all.tensors[2].name, "b");
    assert_string_equal(all.tensors[3].name, "s");
    assert_int_equal(all.tensors[0].n_dims, 2);
    assert_int_equal(all.tensors[0].shape[0], 2);
    assert_int_equal(all.tensors[0].stride[0], 1);
    assert_int_equal(all.tensors[3].n_dims, 0);
    assert_string_equal(all.tensors[2].file, "x.safetensors");
    float values[3];
    kr_tensor_to_float32(values, &all.tensors[2]);
    assert_true(values[0] == 8 && values[2] == 10);
    kr_tensor_to_float32(values, &all.tensors[0]); /* at an odd address, most likely */
    assert_true(kr_json_is(kr_json_get(all.metadata, "k"), "v"));
    kr_arena_free(&arena);
    free_file(&file);
}

static void a_file_may_be_empty_of_tensors(void **state)
{
    (void)state;
    kr_file file = make_file("{}", 2, 0);
    kr_arena arena = { 0 };
    kr_safetensors all;
    assert_int_equal(kr_safetensors_read(&all, &arena, &file, NULL), KRAIT_OK);
    assert_int_equal(all.n_tensors, 0);
    assert_null(all.metadata);
    kr_arena_free(&arena);
    free_file(&file);
}

static void recognises_its_own_only(void **state)
{
    (void)state;
    assert_false(kr_safetensors_is("", 0));
    assert_false(kr_safetensors_is("\2\0\0\0\0\0\0\0", 8));
    assert_false(kr_safetensors_is("PK\3\4........", 12));
    assert_true(kr_safetensors_is("\2\0\0\0\0\0\0\0{}", 10));
}

static void refuses_header_lengths_that_lie(void **state)
{
    (void)state;
    expect_refusal(KRAIT_ERROR_FORMAT, "{}", 3, 0, "header length: expected at most 2 bytes, found 3");
    expect_refusal(KRAIT_ERROR_FORMAT, "{}", UINT64_MAX, 0,
                   "header length: expected at most 2 bytes, found 18446744073709551615");
    expect_refusal(KRAIT_ERROR_FORMAT, "{}", 1, 0, "header: line 1, byte 1: expected a key in quotes, found the end");
    expect_refusal(KRAIT_ERROR_FORMAT, "{}", 0, 0, "header: line 1, byte 0: expected a value, found the end");
    kr_file file;
    krait_error error;
    kr_arena arena = { 0 };
    kr_safetensors all;
    assert_int_equal(kr_file_borrow(&file, "short", "1234567", 7, NULL), KRAIT_OK);
    assert_int_equal(kr_safetensors_read(&all, &arena, &file, &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "short: expected a header length of 8 bytes, found a file of 7");
    kr_file_close(&file);
    /* beyond the limit, though the file has so many bytes: an untouched mapping costs nothing */
    size_t size = 101 * 1000 * 1000;
    char *bytes = calloc(size, 1);
    assert_non_null(bytes);
    uint64_t length = size - 8;
    memcpy(bytes, &length, 8);
    assert_int_equal(kr_file_borrow(&file, "large", bytes, size, NULL), KRAIT_OK);
    assert_int_equal(kr_safetensors_read(&all, &arena, &file, &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "large: header length: expected at most 100000000 bytes, found 100999992");
    kr_file_close(&file);
    free(bytes);
    kr_arena_free(&arena);
}

static void refuses_headers_of_another_kind(void **state)
{
    (void)state;
    refuses("[]", 0, "header: expected an object, found array");
    refuses("{\"a\":1}", 0, "tensor a: entry: expected an object, found integer");
    refuses("{\"__metadata__\":[]}", 0, "__metadata__: expected an object, found array");
    refuses("{\"__metadata__\":{\"format\":1}}", 0, "__metadata__: \"format\": expected a string, found integer");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]},\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_"
            "offsets\":[0,0]}}",
            0, "expected a key of its own, found \"a\" again");
    refuses("{\"a\\u0000b\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "found a NUL character in it");
}

static void refuses_unknown_and_missing_fields(void **state)
{
    (void)state;
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", 1,
            "tensor a: expected the fields dtype, shape and data_offsets, found \"x\"");
    refuses("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor a: dtype: expected a value, found no such field");
    refuses("{\"a\":{\"dtype\":\"I8\",\"data_offsets\":[0,1]}}", 1, "tensor a: shape: expected a value, found no such field");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1]}}", 1, "tensor a: data_offsets: expected a value, found no such field");
}

static void refuses_types_it_does_not_know(void **state)
{
    (void)state;
    const char *header = "{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, header, strlen(header), 1, "tensor a: dtype: expected F32, F16, BF16, F64, BOOL or");
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, header, strlen(header), 1, "found \"F8_E5M2\"");
    refuses("{\"a\":{\"dtype\":8,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype: expected a string, found integer");
}

static void refuses_bad_shapes(void **state)
{
    (void)state;
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "shape: expected an array, found integer");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1, "shape: expected sizes, found a negative one");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1, "shape: expected sizes, found number");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
            "shape: expected at most 8 dimensions, found more");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,1]}}", 1,
            "shape: expected a size that can be addressed, found [4294967296, 4294967296] I8");
    refuses("{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,1]}}", 1,
            "a size that can be addressed");
}

static void refuses_offsets_that_disagree(void **state)
{
    (void)state;
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
            "tensor a: data_offsets: expected 8 bytes for [2] F32, found [0, 4], which is 4");
    refuses("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7,
            "tensor a: data_offsets: expected a range within the 7 bytes of data, found [0, 8]");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1,
            "expected a range within the 1 bytes of data, found [1, 0]");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1, "expected byte offsets, found a negative one");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,\"1\"]}}", 1, "expected byte offsets, found string");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1,
            "expected [begin, end], found an array of another");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":0}}", 1, "expected [begin, end], found integer");
}

static void refuses_overlaps_and_holes(void **state)
{
    (void)state;
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_"
            "offsets\":[2,6]}}",
            6, "tensor b: data_offsets: expected a begin of 4, found 2: it overlaps a");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_"
            "offsets\":[0,4]}}",
            4, "tensor b: data_offsets: expected a begin of 4, found 0: it overlaps a");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"I8\",\"shape\":[1],\"data_"
            "offsets\":[2,3]}}",
            3, "tensor b: data_offsets: expected a begin of 1, found 2: there is a hole behind a");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2, "there is a hole behind the header");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 2,
            "expected 1 bytes of data, as the last tensor ends there, found 2");
    refuses("{\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[1,1]}}", 2, "there is a hole behind the header");
}

static void truncations_are_refused(void **state)
{
    (void)state;
    kr_file file;
    krait_error error;
    if (kr_file_open(&file, KRAIT_TEST_DATA "/models/tiny/model.safetensors", &error)) fail_msg("%s", error.message);
    for (size_t size = 0; size < file.size; size += size < 4096 ? 61 : 4999) {
        char *copy = malloc(size ? size : 1);
        memcpy(copy, file.data, size);
        kr_file cut;
        kr_arena arena = { 0 };
        kr_safetensors all;
        assert_int_equal(kr_file_borrow(&cut, "cut", copy, size, NULL), KRAIT_OK);
        assert_int_equal(kr_safetensors_read(&all, &arena, &cut, &error), KRAIT_ERROR_FORMAT);
        kr_arena_free(&arena);
        kr_file_close(&cut);
        free(copy);
    }
    kr_file_close(&file);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void what_is_written_reads_back(void **state)
{
    (void)state;
    char path[] = P_tmpdir "/krait-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    const float a[6] = { 0, 1, 2, 3, 4, 5 };
    const int64_t b = -7;
    kr_tensor tensors[3] = {
        { .name = "first \"\xc3\xa9\"", .dtype = KRAIT_DTYPE_F32, .n_dims = 2, .shape = { 2, 3 }, .data = a },
        { .name = "empty", .dtype = KRAIT_DTYPE_F32, .n_dims = 1, .shape = { 0 }, .data = a },
        { .name = "scalar", .dtype = KRAIT_DTYPE_I64, .n_dims = 0, .data = &b }
    };
    for (int i = 0; i < 3; i++) kr_tensor_set_contiguous(&tensors[i]);
    krait_error error = { 0 };
    if (kr_safetensors_write(path, tensors, 3, (const char *const[][2]){ { "k", "v\n" }, { "l", "" } }, 2, &error))
        fail_msg("%s", error.message);
    kr_file file;
    kr_arena arena = { 0 };
    kr_safetensors all;
    if (kr_file_open(&file, path, &error) || kr_safetensors_read(&all, &arena, &file, &error)) fail_msg("%s", error.message);
    assert_int_equal(all.n_tensors, 3);
    assert_int_equal(((uintptr_t)all.tensors[0].data) % 64, 0);
    assert_string_equal(all.tensors[0].name, tensors[0].name);
    assert_memory_equal(all.tensors[0].data, a, sizeof a);
    assert_string_equal(all.tensors[1].name, "empty");
    assert_memory_equal(all.tensors[2].data, &b, sizeof b);
    assert_true(kr_json_is(kr_json_get(all.metadata, "k"), "v\n"));
    assert_int_equal(all.metadata->length, 2);
    kr_arena_free(&arena);
    kr_file_close(&file);
    unlink(path);
}

static void packed_matrices_are_bytes_to_others(void **state)
{
    (void)state;
    krait_error error;
    char path[] = P_tmpdir "/krait-packed-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    float w[17 * 70], back[17 * 70], row[70];
    for (int i = 0; i < 17 * 70; i++) w[i] = (float)(i * 37 % 101 - 50) / 50;
    static unsigned char packed[2 * 2 * KR_Q8_BLOCK_BYTES];
    for (krait_weight_type type = KRAIT_WEIGHT_Q8; type <= KRAIT_WEIGHT_Q6; type++) {
        kr_pack(type, packed, 70, 0, 17, w);
        kr_tensor t = { .name = "w",
                        .dtype = type == KRAIT_WEIGHT_Q8   ? KRAIT_DTYPE_PACKED_Q8
                                 : type == KRAIT_WEIGHT_Q6 ? KRAIT_DTYPE_PACKED_Q6
                                                           : KRAIT_DTYPE_PACKED_Q4,
                        .n_dims = 2,
                        .shape = { 17, 70 },
                        .data = packed };
        if (kr_safetensors_write(path, &t, 1, NULL, 0, &error)) fail_msg("%s", error.message);
        kr_file file;
        kr_arena arena = { 0 };
        kr_safetensors all;
        if (kr_file_open(&file, path, &error) || kr_safetensors_read(&all, &arena, &file, &error)) fail_msg("%s", error.message);
        assert_non_null(memmem(file.data, file.size, "\"U8\"", 4));
        assert_int_equal(all.tensors[0].dtype, t.dtype);
        assert_int_equal(all.tensors[0].n_dims, 2);
        assert_int_equal(all.tensors[0].shape[1], 70);
        kr_tensor_to_float32(back, &all.tensors[0]);
        for (size_t r = 0; r < 17; r++) {
            kr_unpack_row(row, type, packed, 70, r);
            assert_memory_equal(row, back + r * 70, sizeof row);
        }
        kr_arena_free(&arena);
        kr_file_close(&file);
    }
    unlink(path);
}

static void refuses_packed_matrices_of_another_size(void **state)
{
    (void)state;
    static const char *const values[] = { "q8/2 [16, 65]",
                                          "q8/2 [17, 64]",
                                          "q8/2 [0, 64]",
                                          "q4 [16, 64]",
                                          "q6 [16, 64]",
                                          "q9 [16, 64]",
                                          "q8/2 [16, 64",
                                          "q8/2 [16]",
                                          "",
                                          "q8/2 [18446744073709551615, 18446744073709551615]" };
    char header[256];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        snprintf(header, sizeof header,
                 "{\"__metadata__\":{\"w\":\"%s\"},\"w\":{\"dtype\":\"U8\",\"shape\":[1088],\"data_offsets\":[0,1088]}}",
                 values[i]);
        refuses(header, 1088,
                "__metadata__: w: expected q8/2, q6 or q4 with the rows and columns of a matrix of [1088] U8, found");
    }
    refuses("{\"__metadata__\":{\"w\":\"q8/2 [16, 64]\"},\"w\":{\"dtype\":\"I8\",\"shape\":[1088],\"data_offsets\":[0,1088]}}",
            1088, "found \"q8/2 [16, 64]\"");
    const char *old =
        "{\"__metadata__\":{\"w\":\"q8 [16, 64]\"},\"w\":{\"dtype\":\"U8\",\"shape\":[1088],\"data_offsets\":[0,1088]}}";
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, old, strlen(old), 1088, "w: expected the layout q8/2, found q8, of an older krait");
}

static void nothing_is_left_of_a_failed_write(void **state)
{
    (void)state;
    krait_error error = { 0 };
    kr_tensor t = { .name = "x", .dtype = KRAIT_DTYPE_U8, .n_dims = 1, .shape = { 3 }, .data = "abc" };
    kr_tensor_set_contiguous(&t);
    assert_int_equal(kr_safetensors_write("/nonexistent/folder/x.safetensors", &t, 1, NULL, 0, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "/nonexistent/folder/x.safetensors"));
    if (access("/dev/full", W_OK) == 0)
        assert_int_equal(kr_safetensors_write("/dev/full", &t, 1, NULL, 0, &error), KRAIT_ERROR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_in_the_order_of_their_data),
        cmocka_unit_test(a_file_may_be_empty_of_tensors),
        cmocka_unit_test(recognises_its_own_only),
        cmocka_unit_test(refuses_header_lengths_that_lie),
        cmocka_unit_test(refuses_headers_of_another_kind),
        cmocka_unit_test(refuses_unknown_and_missing_fields),
        cmocka_unit_test(refuses_types_it_does_not_know),
        cmocka_unit_test(refuses_bad_shapes),
        cmocka_unit_test(refuses_offsets_that_disagree),
        cmocka_unit_test(refuses_overlaps_and_holes),
        cmocka_unit_test(truncations_are_refused),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(packed_matrices_are_bytes_to_others),
        cmocka_unit_test(refuses_packed_matrices_of_another_size),
        cmocka_unit_test(nothing_is_left_of_a_failed_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
