/* The reader of GGUF files: sound ones, and broken ones of every kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_maker.h"

enum { F32 = 0, Q8_0 = 8, Q4_K = 12, I8 = 24 };

/* Reads what was made, from a block that ends with it, so that a sanitizer sees a read beyond; frees both. */
static krait_status read_made(gguf_maker *m, krait_error *error)
{
    char *bytes = malloc(m->size ? m->size : 1);
    assert_non_null(bytes);
    if (m->size) memcpy(bytes, m->data, m->size);
    kr_arena arena = { 0 };
    kr_file file;
    kr_gguf gguf;
    *error = (krait_error){ 0 };
    assert_int_equal(kr_file_borrow(&file, "x.gguf", bytes, m->size, NULL), KRAIT_OK);
    krait_status status = kr_gguf_read(&gguf, &arena, &file, error);
    if (status) assert_true(gguf.n_tensors == 0 && gguf.n_values == 0);
    kr_file_close(&file);
    kr_arena_free(&arena);
    free(bytes);
    gguf_free(m);
    return status;
}

static void refuses(krait_status status, gguf_maker *m, const char *message)
{
    krait_error error;
    krait_status found = read_made(m, &error);
    char whole[512];
    snprintf(whole, sizeof whole, "x.gguf: %s", message);
    if (strncmp(error.message, whole, strlen(whole)) != 0) print_error("expected \"%s\", found \"%s\"\n", whole, error.message);
    assert_true(strncmp(error.message, whole, strlen(whole)) == 0);
    assert_int_equal(found, status);
}

/* A value of every type, an array of numbers and one of strings, two tensors, one of them in blocks. */
static void make_sound(gguf_maker *m, uint32_t version)
{
    gguf_header(m, version, 3, 15);
    for (uint32_t type = KR_GGUF_U8; type <= KR_GGUF_F64; type++) {
        char key[32];
        if (type == KR_GGUF_STRING || type == KR_GGUF_ARRAY || type == KR_GGUF_BOOL) continue;
        snprintf(key, sizeof key, "number.%u", (unsigned)type);
        gguf_key(m, key, type);
        switch (type) {
        case KR_GGUF_F32: gguf_bytes(m, &(float){ -0.5f }, 4); break;
        case KR_GGUF_F64: gguf_bytes(m, &(double){ 1e300 }, 8); break;
        case KR_GGUF_U8: gguf_bytes(m, "\xff", 1); break;
        case KR_GGUF_I8: gguf_bytes(m, "\xff", 1); break;
        case KR_GGUF_U16: gguf_bytes(m, "\xff\xff", 2); break;
        case KR_GGUF_I16: gguf_bytes(m, "\xff\xff", 2); break;
        case KR_GGUF_U32: gguf_u32(m, UINT32_MAX); break;
        case KR_GGUF_I32: gguf_u32(m, UINT32_MAX); break;
        default: gguf_u64(m, UINT64_MAX);
        }
    }
    gguf_key_bool(m, "flag", true);
    gguf_key_text(m, "text", "h\xc3\xa9");
    gguf_key_u32(m, "general.alignment", 64);
    gguf_key_array(m, "numbers", KR_GGUF_I16, 3);
    gguf_bytes(m, (int16_t[]){ 1, -2, 3 }, 6);
    gguf_key_array(m, "strings", KR_GGUF_STRING, 2);
    gguf_text(m, "");
    gguf_text(m, "two");
    gguf_tensor(m, "b", 2, (uint64_t[]){ 32, 2 }, Q8_0, 64);
    gguf_tensor(m, "a", 3, (uint64_t[]){ 1, 2, 3 }, F32, 0);
    gguf_tensor(m, "scalar", 0, NULL, I8, 192);
    gguf_pad(m, 64);
    for (int i = 0; i < 6; i++) gguf_bytes(m, &(float){ (float)i }, 4);
    gguf_pad(m, 64);
    for (int i = 0; i < 68; i++) gguf_bytes(m, i % 34 == 1 ? "\x3c" : "\0", 1); /* scales of 1 */
    gguf_pad(m, 64);
    gguf_bytes(m, "\x07", 1);
}

static void check_sound(uint32_t version)
{
    gguf_maker m = { 0 };
    make_sound(&m, version);
    kr_arena arena = { 0 };
    kr_file file;
    kr_gguf gguf;
    krait_error error;
    assert_true(kr_gguf_is(m.data, m.size));
    assert_ok(kr_file_borrow(&file, "x.gguf", m.data, m.size, &error));
    assert_ok(kr_gguf_read(&gguf, &arena, &file, &error));
    assert_int_equal(gguf.version, version);
    static const double numbers[] = {
        [KR_GGUF_U8] = 255,          [KR_GGUF_I8] = -1,    [KR_GGUF_U16] = 65535, [KR_GGUF_I16] = -1,
        [KR_GGUF_U32] = 4294967295., [KR_GGUF_I32] = -1,   [KR_GGUF_F32] = -0.5,  [KR_GGUF_U64] = 18446744073709551616.,
        [KR_GGUF_I64] = -1,          [KR_GGUF_F64] = 1e300
    };
    double number;
    const char *text;
    size_t length;
    int64_t element;
    char buffer[64];
    for (int type = KR_GGUF_U8; type <= KR_GGUF_F64; type++) {
        char key[32];
        snprintf(key, sizeof key, "number.%d", type);
        const kr_gguf_value *value = kr_gguf_find(&gguf, key);
        if (!numbers[type]) continue;
        assert_non_null(value);
        assert_true(kr_gguf_number(value, &number) && number == numbers[type]);
        assert_false(kr_gguf_string(value, &text, &length));
        assert_false(kr_gguf_element(value, 0, &element));
    }
    assert_true(kr_gguf_number(kr_gguf_find(&gguf, "flag"), &number) && number == 1);
    assert_true(kr_gguf_string(kr_gguf_find(&gguf, "text"), &text, &length) && length == 3 && memcmp(text, "h\xc3\xa9", 3) == 0);
    assert_false(kr_gguf_number(kr_gguf_find(&gguf, "text"), &number));
    const kr_gguf_value *array = kr_gguf_find(&gguf, "numbers"), *strings = kr_gguf_find(&gguf, "strings");
    assert_true(kr_gguf_element(array, 1, &element) && element == -2);
    assert_false(kr_gguf_element(array, 3, &element));
    assert_false(kr_gguf_number(array, &number));
    assert_string_equal(kr_gguf_describe(array, buffer, sizeof buffer), "an array of 3 i16");
    assert_string_equal(kr_gguf_describe(NULL, buffer, sizeof buffer), "nothing");
    const char *at = strings->data;
    assert_int_equal(strings->count, 2);
    kr_gguf_next_string(&at, &length);
    assert_int_equal(length, 0);
    text = kr_gguf_next_string(&at, &length);
    assert_true(length == 3 && memcmp(text, "two", 3) == 0);
    assert_null(kr_gguf_find(&gguf, "nowhere"));

    assert_int_equal(gguf.n_tensors, 3);
    const kr_tensor *a = &gguf.tensors[0], *b = &gguf.tensors[1], *scalar = &gguf.tensors[2];
    assert_string_equal(a->name, "a");
    assert_true(a->n_dims == 3 && a->shape[0] == 3 && a->shape[1] == 2 && a->shape[2] == 1);
    float values[64];
    kr_tensor_to_float32(values, a);
    assert_true(values[5] == 5);
    assert_true(b->n_dims == 2 && b->shape[0] == 2 && b->shape[1] == 32 && b->dtype == KRAIT_DTYPE_Q8_0);
    kr_tensor_to_float32(values, b);
    assert_true(values[0] == 0 && values[63] == 0);
    assert_true(scalar->n_dims == 0 && scalar->dtype == KRAIT_DTYPE_I8 && *(const char *)scalar->data == 7);
    kr_file_close(&file);
    kr_arena_free(&arena);
    gguf_free(&m);
}

static void reads_versions_2_and_3(void **state)
{
    (void)state;
    check_sound(2);
    check_sound(3);
}

/* Every length is an error, none an accident. */
static void refuses_a_file_that_is_cut_anywhere(void **state)
{
    (void)state;
    gguf_maker sound = { 0 };
    make_sound(&sound, 3);
    for (size_t length = 0; length < sound.size; length++) {
        gguf_maker cut = { 0 };
        krait_error error;
        gguf_bytes(&cut, sound.data, length);
        assert_int_equal(read_made(&cut, &error), KRAIT_ERROR_FORMAT);
        assert_non_null(strstr(error.message, "x.gguf: "));
    }
    gguf_free(&sound);
}

static void names_versions_that_it_does_not_know(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    gguf_header(&m, 1, 0, 0);
    refuses(KRAIT_ERROR_UNSUPPORTED, &m, "version: expected 2 or 3, found 1: make the file anew from the original model");
    gguf_header(&m, 4, 0, 0);
    refuses(KRAIT_ERROR_UNSUPPORTED, &m, "version: expected 2 or 3, found 4");
    gguf_header(&m, 0x03000000, 0, 0);
    refuses(KRAIT_ERROR_UNSUPPORTED, &m, "expected a little-endian GGUF file, found a big-endian one");
    gguf_bytes(&m, "GGML....", 8);
    refuses(KRAIT_ERROR_FORMAT, &m, "expected a GGUF file, found 8 bytes of something else");
}

static void refuses_counts_that_lie(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    gguf_header(&m, 3, 1, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "header: number of tensors: expected at most 0, as 0 bytes are left, found 1");
    gguf_header(&m, 3, UINT64_MAX, 0);
    refuses(KRAIT_ERROR_FORMAT, &m,
            "header: number of tensors: expected at most 0, as 0 bytes are left, found 18446744073709551615");
    gguf_header(&m, 3, 0, (uint64_t)1 << 60);
    gguf_key_u32(&m, "key", 1);
    refuses(KRAIT_ERROR_FORMAT, &m,
            "header: number of metadata: expected at most 1, as 19 bytes are left, found 1152921504606846976");
    gguf_header(&m, 3, 0, 1);
    gguf_key_array(&m, "key", KR_GGUF_U32, (uint64_t)1 << 62);
    gguf_u32(&m, 1);
    refuses(KRAIT_ERROR_FORMAT, &m, "key: length: expected at most 1, as 4 bytes are left, found 4611686018427387904");
    gguf_header(&m, 3, 0, 1);
    gguf_key_array(&m, "key", KR_GGUF_STRING, (uint64_t)1 << 61);
    gguf_text(&m, "a");
    refuses(KRAIT_ERROR_FORMAT, &m, "key: length: expected at most 1, as 9 bytes are left, found 2305843009213693952");
}

static void refuses_strings_that_lie(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    gguf_header(&m, 3, 0, 1);
    gguf_u64(&m, UINT64_MAX - 4);
    gguf_bytes(&m, "123456", 6);
    refuses(KRAIT_ERROR_FORMAT, &m,
            "metadata 0: key: expected 18446744073709551611 bytes from byte 32 on, found 6 before the file's end");
    gguf_header(&m, 3, 0, 1);
    gguf_key_array(&m, "key", KR_GGUF_STRING, 3);
    gguf_text(&m, "a");
    gguf_u64(&m, 100);
    gguf_u64(&m, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "key[1]: string: expected 100 bytes from byte 68 on, found 8 before the file's end");
    gguf_header(&m, 3, 0, 1);
    gguf_key_u32(&m, "", 12345);
    gguf_bytes(&m, "..", 2);
    refuses(KRAIT_ERROR_FORMAT, &m, "metadata 0: key: expected text, found an empty one");
    gguf_header(&m, 3, 0, 1);
    gguf_u64(&m, 3);
    gguf_bytes(&m, "a\0b", 3);
    gguf_bytes(&m, "........", 8);
    refuses(KRAIT_ERROR_FORMAT, &m, "metadata 0: key: expected text, found a NUL character in it");
    char *key = malloc(65537);
    memset(key, 'k', 65536);
    key[65536] = '\0';
    gguf_header(&m, 3, 0, 1);
    gguf_key_u32(&m, key, 1);
    refuses(KRAIT_ERROR_FORMAT, &m, "metadata 0: key: expected text, found more than 65535 bytes");
    free(key);
}

static void refuses_metadata_of_other_kinds(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    gguf_header(&m, 3, 0, 1);
    gguf_key(&m, "key", 13);
    gguf_u64(&m, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "key: type: expected a number from 0 to 12, found 13");
    gguf_header(&m, 3, 0, 1);
    gguf_key_array(&m, "key", 77, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "key: type of the elements: expected a number from 0 to 12, found 77");
    gguf_header(&m, 3, 0, 1);
    gguf_key_array(&m, "key", KR_GGUF_ARRAY, 1);
    gguf_u32(&m, KR_GGUF_U8);
    gguf_u64(&m, 0);
    refuses(KRAIT_ERROR_UNSUPPORTED, &m, "key: expected an array of numbers, bools or strings, found one of arrays");
    gguf_header(&m, 3, 0, 1);
    gguf_key(&m, "key", KR_GGUF_BOOL);
    gguf_bytes(&m, "\2", 1);
    refuses(KRAIT_ERROR_FORMAT, &m, "key: expected a bool of 0 or 1, found 2");
    gguf_header(&m, 3, 0, 3);
    gguf_key_u32(&m, "twice", 1);
    gguf_key_u32(&m, "once", 1);
    gguf_key_text(&m, "twice", "2");
    refuses(KRAIT_ERROR_FORMAT, &m, "twice: expected one of that key, found another");
}

static void refuses_alignments_that_are_none(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    for (uint32_t alignment = 0; alignment <= 48; alignment += 24) {
        char message[128];
        gguf_header(&m, 3, 0, 1);
        gguf_key_u32(&m, "general.alignment", alignment);
        snprintf(message, sizeof message, "general.alignment: expected a power of two of type u32, found u32 %u",
                 (unsigned)alignment);
        refuses(KRAIT_ERROR_FORMAT, &m, message);
    }
    gguf_header(&m, 3, 0, 1);
    gguf_key(&m, "general.alignment", KR_GGUF_U64);
    gguf_u64(&m, 64);
    refuses(KRAIT_ERROR_FORMAT, &m, "general.alignment: expected a power of two of type u32, found u64 64");
    /* padding beyond the file's end, and a tensor behind it */
    gguf_header(&m, 3, 1, 1);
    gguf_key_u32(&m, "general.alignment", 1u << 31);
    gguf_tensor(&m, "t", 1, (uint64_t[]){ 1 }, F32, 0);
    gguf_u64(&m, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected its 4 bytes at offset 0, found 0 bytes of data in the file");
}

/* One tensor, with 64 bytes of data. */
static void one_tensor(gguf_maker *m, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset)
{
    gguf_header(m, 3, 1, 0);
    gguf_tensor(m, "t", n_dims, dims, type, offset);
    gguf_pad(m, 32);
    for (int i = 0; i < 16; i++) gguf_u32(m, 0);
}

static void refuses_shapes_that_lie(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    one_tensor(&m, 5, (uint64_t[]){ 1, 1, 1, 1, 1 }, F32, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected at most 4 dimensions, found 5");
    one_tensor(&m, 3, (uint64_t[]){ (uint64_t)1 << 32, (uint64_t)1 << 32, 2 }, F32, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected a size that can be addressed, found [2, 4294967296, 4294967296] F32");
    one_tensor(&m, 2, (uint64_t[]){ (uint64_t)1 << 62, 1 }, F32, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected a size that can be addressed, found [1, 4611686018427387904] F32");
    one_tensor(&m, 2, (uint64_t[]){ 33, 32 }, Q8_0, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected rows of whole blocks of 32, found [32, 33] Q8_0");
    one_tensor(&m, 0, NULL, Q4_K, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected rows of whole blocks of 256, found [] Q4_K");
    one_tensor(&m, 1, (uint64_t[]){ 17 }, F32, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected its 68 bytes at offset 0, found 64 bytes of data in the file");
}

static void names_types_that_it_cannot_read(void **state)
{
    (void)state;
    static const struct {
        uint32_t number;
        const char *name;
    } types[] = { { 9, "Q8_1" },   { 15, "Q8_K" },  { 16, "IQ2_XXS" }, { 17, "IQ2_XS" }, { 18, "IQ3_XXS" },
                  { 19, "IQ1_S" }, { 21, "IQ3_S" }, { 22, "IQ2_S" },   { 23, "IQ4_XS" }, { 29, "IQ1_M" },
                  { 34, "TQ1_0" }, { 35, "TQ2_0" }, { 39, "MXFP4" } };
    gguf_maker m = { 0 };
    char message[256];
    static const char expected[] =
        "tensor t: type: expected F32, F16, BF16, F64, I8 to I64, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K or IQ4_NL, found ";
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        one_tensor(&m, 1, (uint64_t[]){ 256 }, types[i].number, 0);
        snprintf(message, sizeof message, "%s%s (%u)", expected, types[i].name, (unsigned)types[i].number);
        refuses(KRAIT_ERROR_UNSUPPORTED, &m, message);
    }
    one_tensor(&m, 1, (uint64_t[]){ 256 }, 1000, 0);
    snprintf(message, sizeof message, "%san unknown one (1000)", expected);
    refuses(KRAIT_ERROR_FORMAT, &m, message);
}

static void refuses_offsets_that_lie(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    const uint64_t eight[] = { 8 };
    one_tensor(&m, 1, eight, F32, 4);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: offset: expected a multiple of 32, found 4");
    one_tensor(&m, 1, eight, F32, 64);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor t: expected its 32 bytes at offset 64, found 64 bytes of data in the file");
    one_tensor(&m, 1, eight, F32, -(uint64_t)32);
    refuses(KRAIT_ERROR_FORMAT, &m,
            "tensor t: expected its 32 bytes at offset 18446744073709551584, found 64 bytes of data in the file");
    gguf_header(&m, 3, 3, 0);
    gguf_tensor(&m, "second", 1, (uint64_t[]){ 8 }, F32, 32);
    gguf_tensor(&m, "empty", 2, (uint64_t[]){ 0, 8 }, F32, 32);
    gguf_tensor(&m, "first", 1, (uint64_t[]){ 9 }, F32, 0);
    gguf_pad(&m, 32);
    for (int i = 0; i < 16; i++) gguf_u32(&m, 0);
    refuses(KRAIT_ERROR_FORMAT, &m, "tensor empty: offset: expected at least 36, where first ends, found 32: they overlap");
}

static void a_tensor_of_the_same_name_is_found_on_opening(void **state)
{
    (void)state;
    gguf_maker m = { 0 };
    krait_checkpoint *checkpoint;
    krait_error error;
    gguf_header(&m, 3, 2, 0);
    gguf_tensor(&m, "t", 1, (uint64_t[]){ 8 }, F32, 0);
    gguf_tensor(&m, "t", 1, (uint64_t[]){ 8 }, F32, 32);
    gguf_pad(&m, 32);
    for (int i = 0; i < 16; i++) gguf_u32(&m, 0);
    assert_int_equal(krait_checkpoint_open_memory(&checkpoint, &(krait_blob){ "x.gguf", m.data, m.size }, 1, &error),
                     KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "x.gguf: tensor t: expected one of that name, found another in x.gguf");
    gguf_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_versions_2_and_3),
        cmocka_unit_test(refuses_a_file_that_is_cut_anywhere),
        cmocka_unit_test(names_versions_that_it_does_not_know),
        cmocka_unit_test(refuses_counts_that_lie),
        cmocka_unit_test(refuses_strings_that_lie),
        cmocka_unit_test(refuses_metadata_of_other_kinds),
        cmocka_unit_test(refuses_alignments_that_are_none),
        cmocka_unit_test(refuses_shapes_that_lie),
        cmocka_unit_test(names_types_that_it_cannot_read),
        cmocka_unit_test(refuses_offsets_that_lie),
        cmocka_unit_test(a_tensor_of_the_same_name_is_found_on_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
