#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "fixture.h"

/* What a 16-bit format with `exponent_bits` says a number is, by its definition. */
static double meaning(uint16_t bits, int exponent_bits)
{
    int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (bits & 0x7fff) >> mantissa_bits, mantissa = bits & ((1 << mantissa_bits) - 1);
    double sign = bits >> 15 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
    return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static void check_float(float found, double expected)
{
    if (isnan(expected)) {
        assert_true(isnan(found));
        return;
    }
    assert_true((double)found == expected);
    assert_int_equal(signbit(found) != 0, signbit(expected) != 0);
}

static void every_f16_and_bf16_value_is_exact(void **state)
{
    (void)state;
    static uint16_t bits[65536];
    static float f16[65536], bf16[65536];
    for (uint32_t i = 0; i < 65536; i++) bits[i] = (uint16_t)i;
    kr_to_float32(f16, KRAIT_DTYPE_F16, bits, 65536);
    kr_to_float32(bf16, KRAIT_DTYPE_BF16, bits, 65536);
    for (uint32_t i = 0; i < 65536; i++) {
        check_float(f16[i], meaning((uint16_t)i, 5));
        check_float(bf16[i], meaning((uint16_t)i, 8));
        check_float(kr_f16_to_float((uint16_t)i), meaning((uint16_t)i, 5));
        check_float(kr_bf16_to_float((uint16_t)i), meaning((uint16_t)i, 8));
        if (isnan(f16[i]))
            assert_true(isnan(kr_f16_to_float(kr_float_to_f16(f16[i]))));
        else
            assert_int_equal(kr_float_to_f16(f16[i]), i);
        if (isnan(bf16[i]))
            assert_true(isnan(kr_bf16_to_float(kr_float_to_bf16(bf16[i]))));
        else
            assert_int_equal(kr_float_to_bf16(bf16[i]), i);
    }
    kr_fp_mode mode = kr_flush_denormals();
    kr_to_float32(bf16, KRAIT_DTYPE_F16, bits, 65536);
    kr_fp_restore(mode);
    assert_memory_equal(f16, bf16, sizeof f16);
}

/* Between each two neighbours: just below the middle goes down, just above goes up, the middle to the even one. */
static void rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7bff; i++) {
        float low = kr_f16_to_float((uint16_t)i), high = kr_f16_to_float((uint16_t)(i + 1)), middle = (low + high) / 2;
        assert_int_equal(kr_float_to_f16(middle), i + (i & 1));
        assert_int_equal(kr_float_to_f16(nextafterf(middle, 0)), i);
        assert_int_equal(kr_float_to_f16(-nextafterf(middle, 1e9f)), (i + 1) | 0x8000);
    }
    for (uint32_t i = 0x0080; i < 0x7f7f; i++) {
        float low = kr_bf16_to_float((uint16_t)i), high = kr_bf16_to_float((uint16_t)(i + 1)), middle = low + (high - low) / 2;
        assert_int_equal(kr_float_to_bf16(middle), i + (i & 1));
        assert_int_equal(kr_float_to_bf16(nextafterf(middle, 0)), i);
        assert_int_equal(kr_float_to_bf16(-nextafterf(middle, INFINITY)), (i + 1) | 0x8000);
    }
    assert_int_equal(kr_float_to_f16(65519.996f), 0x7bff);
    assert_int_equal(kr_float_to_f16(65520), 0x7c00);
    assert_int_equal(kr_float_to_f16(-1e30f), 0xfc00);
    assert_int_equal(kr_float_to_f16(1e-30f), 0);
    assert_int_equal(kr_float_to_f16(-0.0f), 0x8000);
    assert_int_equal(kr_float_to_bf16(3.4e38f), 0x7f80);
    assert_true(isnan(kr_bf16_to_float(kr_float_to_bf16(NAN))));
}

static void converts_every_type_unaligned(void **state)
{
    (void)state;
#define CASE(dtype, type, ...)                                               \
    do {                                                                     \
        const type values[] = { __VA_ARGS__ };                               \
        enum { N = sizeof values / sizeof *values };                         \
        char bytes[sizeof values + 1];                                       \
        float out[N];                                                        \
        memcpy(bytes + 1, values, sizeof values);                            \
        kr_to_float32(out, dtype, bytes + 1, N);                             \
        for (int i = 0; i < N; i++) assert_true(out[i] == (float)values[i]); \
    } while (0)
    CASE(KRAIT_DTYPE_F32, float, 1.5f, -2, 1e-40f);
    CASE(KRAIT_DTYPE_F64, double, 0.1, 1e300, -1e-300, 16777217);
    CASE(KRAIT_DTYPE_I8, int8_t, -128, 127, 0);
    CASE(KRAIT_DTYPE_I16, int16_t, -32768, 32767);
    CASE(KRAIT_DTYPE_I32, int32_t, INT32_MIN, INT32_MAX, 16777217);
    CASE(KRAIT_DTYPE_I64, int64_t, INT64_MIN, INT64_MAX, -1);
    CASE(KRAIT_DTYPE_U8, uint8_t, 0, 255);
    CASE(KRAIT_DTYPE_U16, uint16_t, 65535);
    CASE(KRAIT_DTYPE_U32, uint32_t, UINT32_MAX);
    CASE(KRAIT_DTYPE_U64, uint64_t, UINT64_MAX, 1);
#undef CASE
    float out[3];
    kr_to_float32(out, KRAIT_DTYPE_BOOL, (unsigned char[]){ 0, 1, 200 }, 3);
    assert_true(out[0] == 0 && out[1] == 1 && out[2] == 1);
    kr_to_float32(out, KRAIT_DTYPE_F32, NULL, 0);
}

static void types_have_names_and_sizes(void **state)
{
    (void)state;
    for (int i = KRAIT_DTYPE_F32; i <= KRAIT_DTYPE_BOOL; i++) {
        krait_dtype found;
        const char *name = krait_dtype_name((krait_dtype)i);
        assert_true(kr_dtype_find(&found, name, strlen(name)));
        assert_int_equal(found, i);
        assert_true(kr_dtype_size((krait_dtype)i) >= 1);
    }
    krait_dtype found;
    assert_false(kr_dtype_find(&found, "F8_E4M3", 7));
    assert_false(kr_dtype_find(&found, "F3", 2));
    assert_false(kr_dtype_find(&found, "Q8_0", 4));
    assert_string_equal(krait_dtype_name((krait_dtype)99), "unknown");
}

/* tests/data/gguf/blocks.safetensors has random blocks of each type, and what ggml's own Python package makes of them. */
static void blocks_mean_what_they_do_to_ggml(void **state)
{
    (void)state;
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/gguf", "blocks.safetensors");
    for (int i = KRAIT_DTYPE_Q8_0; i <= KRAIT_DTYPE_IQ4_NL; i++) {
        krait_dtype dtype = (krait_dtype)i;
        char name[32];
        snprintf(name, sizeof name, "%s.blocks", krait_dtype_name(dtype));
        const kr_tensor *blocks = kr_checkpoint_find(file, name);
        assert_non_null(blocks);
        assert_int_equal(blocks->shape[1], kr_dtype_size(dtype));
        size_t n, bytes, size = (size_t)(blocks->shape[0] * blocks->shape[1]);
        snprintf(name, sizeof name, "%s.values", krait_dtype_name(dtype));
        float *expected = fixture_floats(file, name, &n), *found = malloc(n * sizeof *found);
        char *unaligned = malloc(size + 1);
        memcpy(unaligned + 1, blocks->data, size);
        kr_tensor tensor = { .dtype = dtype, .n_dims = 1, .shape = { n }, .data = unaligned + 1 };
        kr_tensor_set_contiguous(&tensor);
        assert_true(kr_tensor_bytes(&tensor, &bytes));
        assert_int_equal(bytes, size);
        kr_tensor_to_float32(found, &tensor);
        assert_memory_equal(found, expected, n * sizeof *found);
        free(unaligned);
        free(expected);
        free(found);
    }
    krait_checkpoint_free(file);
}

static void follows_strides(void **state)
{
    (void)state;
    const float data[24] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23 };
    kr_tensor t = { .dtype = KRAIT_DTYPE_F32, .n_dims = 3, .shape = { 2, 3, 4 }, .data = data };
    kr_tensor_set_contiguous(&t);
    assert_true(kr_tensor_is_contiguous(&t));
    float out[24];
    kr_tensor_to_float32(out, &t);
    assert_memory_equal(out, data, sizeof data);
    /* transposed: [4, 3, 2] */
    kr_tensor u = { .dtype = KRAIT_DTYPE_F32, .n_dims = 3, .shape = { 4, 3, 2 }, .stride = { 1, 4, 12 }, .data = data };
    assert_false(kr_tensor_is_contiguous(&u));
    kr_tensor_to_float32(out, &u);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 2; k++) assert_true(out[(i * 3 + j) * 2 + k] == data[i + j * 4 + k * 12]);
    /* a slice of rows, and one row repeated */
    kr_tensor v = { .dtype = KRAIT_DTYPE_F32, .n_dims = 2, .shape = { 3, 2 }, .stride = { 8, 1 }, .data = data };
    kr_tensor_to_float32(out, &v);
    assert_memory_equal(out, ((float[]){ 0, 1, 8, 9, 16, 17 }), 6 * sizeof *out);
    v.stride[0] = 0;
    kr_tensor_to_float32(out, &v);
    assert_memory_equal(out, ((float[]){ 0, 1, 0, 1, 0, 1 }), 6 * sizeof *out);
    /* a dimension of 1 may have any stride */
    kr_tensor w = { .n_dims = 2, .shape = { 1, 4 }, .stride = { 99, 1 } };
    assert_true(kr_tensor_is_contiguous(&w));
}

static void counts_and_describes_shapes(void **state)
{
    (void)state;
    char text[64];
    size_t count;
    kr_tensor t = { .dtype = KRAIT_DTYPE_BF16, .n_dims = 2, .shape = { 1536, 16 } };
    assert_true(kr_tensor_count(&t, &count) && count == 1536 * 16);
    assert_string_equal(kr_tensor_describe(&t, text, sizeof text), "[1536, 16] BF16");
    assert_string_equal(kr_tensor_describe(&t, text, 6), "[1536");
    t.n_dims = 0;
    assert_true(kr_tensor_count(&t, &count) && count == 1);
    assert_string_equal(kr_tensor_describe(&t, text, sizeof text), "[] BF16");
    t = (kr_tensor){ .n_dims = 3, .shape = { UINT64_MAX, UINT64_MAX, 0 } };
    assert_true(kr_tensor_count(&t, &count) && count == 0);
    t.n_dims = 2;
    assert_false(kr_tensor_count(&t, &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_and_bf16_value_is_exact), cmocka_unit_test(rounds_to_nearest_even),
        cmocka_unit_test(converts_every_type_unaligned),     cmocka_unit_test(types_have_names_and_sizes),
        cmocka_unit_test(blocks_mean_what_they_do_to_ggml),  cmocka_unit_test(follows_strides),
        cmocka_unit_test(counts_and_describes_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
