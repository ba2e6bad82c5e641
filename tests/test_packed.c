/* Weight types: what packing loses, what odd sizes leave alone, and models in every type on every instruction set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "fixture.h"
#include "tensor/blocks.h"
#include "tensor/packed.h"

#define N_TYPES (KRAIT_WEIGHT_Q6 + 1)

static float *normals(size_t n, uint64_t seed)
{
    kr_rng rng;
    kr_rng_seed(&rng, seed);
    float *values = malloc((n + 1) * sizeof *values);
    for (size_t i = 0; i < n; i++) values[i] = kr_rng_normal(&rng);
    return values;
}

/* Relative to the standard deviation of the weights: half a step of the number at most, and what a step is on average. */
static void a_row_comes_back_within_half_a_step(void **state)
{
    (void)state;
    static const double most[N_TYPES] = { 0, 0, 0x1p-9, 0x1p-6, 0.025, 0.45, 0.08 },
                        mean_square[N_TYPES] = { 0, 0, 1e-6, 2e-5, 1e-4, 0.011, 7e-4 };
    static const size_t sizes[][2] = { { 1, 1 }, { 16, 64 }, { 17, 65 }, { 40, 48 }, { 5, 200 }, { 33, 31 } };
    for (krait_weight_type type = 0; type <= KRAIT_WEIGHT_Q6; type++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            size_t rows = sizes[s][0], columns = sizes[s][1], bytes = kr_packed_bytes(type, rows, columns);
            float *w = normals(rows * columns, s), *back = malloc((columns + 1) * sizeof *back);
            unsigned char *packed = malloc(bytes + 1);
            packed[bytes] = 0xA5;
            size_t half = rows / 2 / KR_GROUP_ROWS * KR_GROUP_ROWS; /* in two pieces */
            kr_pack(type, packed, columns, 0, half, w);
            kr_pack(type, packed, columns, half, rows - half, w + half * columns);
            assert_int_equal(packed[bytes], 0xA5);
            double square = 0;
            for (size_t r = 0; r < rows; r++) {
                back[columns] = 7;
                kr_unpack_row(back, type, packed, columns, r);
                assert_true(back[columns] == 7);
                for (size_t c = 0; c < columns; c++) {
                    double e = fabs((double)back[c] - (double)w[r * columns + c]);
                    assert_true(e <= most[type] * fmax(1, fabs((double)w[r * columns + c])));
                    square += e * e;
                }
            }
            assert_true(square / (double)(rows * columns) <= mean_square[type]);
            free(w), free(back), free(packed);
        }
}

static void zeros_and_extremes_stay_finite(void **state)
{
    (void)state;
    static const float values[] = { 0, 1e-42f, -1e-38f, 65504, 3e38f, -3e38f };
    for (krait_weight_type type = KRAIT_WEIGHT_Q8; type <= KRAIT_WEIGHT_Q6; type++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            float w[KR_BLOCK_COLUMNS] = { 0 }, back[KR_BLOCK_COLUMNS];
            w[3] = values[v];
            unsigned char packed[KR_Q8_BLOCK_BYTES];
            kr_pack(type, packed, KR_BLOCK_COLUMNS, 0, 1, w);
            kr_unpack_row(back, type, packed, KR_BLOCK_COLUMNS, 0);
            for (size_t c = 0; c < KR_BLOCK_COLUMNS; c++) assert_true(isfinite(back[c]) && (c == 3 || back[c] == 0));
        }
}

/* Any bytes, -128 among the numbers; scales are finite. */
static void blocks_of_ggml_are_held_exactly(void **state)
{
    (void)state;
    static const struct {
        krait_dtype dtype;
        krait_weight_type type;
    } pairs[] = { { KRAIT_DTYPE_Q8_0, KRAIT_WEIGHT_Q8 }, { KRAIT_DTYPE_Q4_0, KRAIT_WEIGHT_Q4 } };
    static const size_t sizes[][2] = { { 1, 32 }, { 16, 64 }, { 17, 96 }, { 40, 64 }, { 5, 224 }, { 33, 32 }, { 64, 768 } };
    kr_rng rng;
    kr_rng_seed(&rng, 5);
    for (size_t p = 0; p < 2; p++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const krait_weight_type type = pairs[p].type;
            const size_t rows = sizes[s][0], columns = sizes[s][1], block = kr_dtype_size(pairs[p].dtype);
            const size_t row_bytes = columns / 32 * block, bytes = kr_packed_bytes(type, rows, columns);
            unsigned char *blocks = malloc(rows * row_bytes), *again = malloc(rows * row_bytes), *packed = malloc(bytes + 1);
            float *values = malloc(columns * sizeof *values), *back = malloc(columns * sizeof *back);
            for (size_t i = 0; i < rows * row_bytes; i++) blocks[i] = (unsigned char)kr_rng_u32(&rng);
            for (size_t i = 1; i < rows * row_bytes; i += block) blocks[i] &= 0xbf; /* the scale's exponent */
            for (size_t i = 2; i < rows * row_bytes; i += 3 * block) blocks[i] = 0x80;
            memset(packed, 0xA5, bytes + 1);
            size_t half = rows / 2 / KR_GROUP_ROWS * KR_GROUP_ROWS;
            assert_true(kr_packs_exactly(pairs[p].dtype, type));
            kr_pack_blocks(type, packed, columns, half, rows - half, blocks + half * row_bytes);
            kr_pack_blocks(type, packed, columns, 0, half, blocks);
            assert_int_equal(packed[bytes], 0xA5);
            for (size_t r = 0; r < rows; r++) {
                kr_blocks_to_float32(values, pairs[p].dtype, blocks + r * row_bytes, columns / 32);
                kr_unpack_row(back, type, packed, columns, r);
                assert_memory_equal(values, back, columns * sizeof *back);
            }
            kr_unpack_blocks(again, type, packed, columns, 0, 1);
            kr_unpack_blocks(again + row_bytes, type, packed, columns, 1, rows - 1);
            assert_memory_equal(again, blocks, rows * row_bytes);

            /* What no block fills are zeros, as kr_pack() leaves them. */
            float *zeros = calloc(rows * columns, sizeof *zeros);
            unsigned char *empty = malloc(bytes);
            kr_pack(type, empty, columns, 0, rows, zeros);
            memset(blocks, 0, rows * row_bytes);
            for (size_t i = 0; i < rows * row_bytes && type == KRAIT_WEIGHT_Q4; i++) blocks[i] = i % block < 2 ? 0 : 0x88;
            memset(packed, 0xA5, bytes);
            kr_pack_blocks(type, packed, columns, 0, rows, blocks);
            assert_memory_equal(packed, empty, bytes);
            free(blocks), free(again), free(packed), free(values), free(back), free(zeros), free(empty);
        }
    assert_false(kr_packs_exactly(KRAIT_DTYPE_Q4_1, KRAIT_WEIGHT_Q4) || kr_packs_exactly(KRAIT_DTYPE_Q8_0, KRAIT_WEIGHT_Q4));
}

/* Q8_0 with numbers -32 .. 31, as krait writes its q6. */
static void blocks_of_ggml_hold_q6_exactly(void **state)
{
    (void)state;
    static const size_t sizes[][2] = { { 1, 32 }, { 17, 96 }, { 40, 64 }, { 5, 224 }, { 33, 768 } };
    enum { BLOCK = 34 };
    kr_rng rng;
    kr_rng_seed(&rng, 6);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t rows = sizes[s][0], columns = sizes[s][1], row_bytes = columns / 32 * BLOCK;
        const size_t bytes = kr_packed_bytes(KRAIT_WEIGHT_Q6, rows, columns);
        unsigned char *blocks = malloc(rows * row_bytes), *again = malloc(rows * row_bytes), *packed = malloc(bytes + 1);
        float *values = malloc(columns * sizeof *values), *back = malloc(columns * sizeof *back);
        for (size_t i = 0; i < rows * row_bytes; i++)
            blocks[i] = (unsigned char)(i % BLOCK < 2 ? kr_rng_u32(&rng) & 0xbf : kr_rng_u32(&rng) % 64 - 32);
        memset(packed, 0xA5, bytes + 1);
        size_t half = rows / 2 / KR_GROUP_ROWS * KR_GROUP_ROWS;
        kr_pack_blocks(KRAIT_WEIGHT_Q6, packed, columns, half, rows - half, blocks + half * row_bytes);
        kr_pack_blocks(KRAIT_WEIGHT_Q6, packed, columns, 0, half, blocks);
        assert_int_equal(packed[bytes], 0xA5);
        for (size_t r = 0; r < rows; r++) {
            kr_blocks_to_float32(values, KRAIT_DTYPE_Q8_0, blocks + r * row_bytes, columns / 32);
            kr_unpack_row(back, KRAIT_WEIGHT_Q6, packed, columns, r);
            assert_memory_equal(values, back, columns * sizeof *back);
        }
        kr_unpack_blocks(again, KRAIT_WEIGHT_Q6, packed, columns, 0, 1);
        kr_unpack_blocks(again + row_bytes, KRAIT_WEIGHT_Q6, packed, columns, 1, rows - 1);
        assert_memory_equal(again, blocks, rows * row_bytes);

        float *zeros = calloc(rows * columns, sizeof *zeros);
        unsigned char *empty = malloc(bytes);
        kr_pack(KRAIT_WEIGHT_Q6, empty, columns, 0, rows, zeros);
        memset(blocks, 0, rows * row_bytes);
        memset(packed, 0xA5, bytes);
        kr_pack_blocks(KRAIT_WEIGHT_Q6, packed, columns, 0, rows, blocks);
        assert_memory_equal(packed, empty, bytes);
        free(blocks), free(again), free(packed), free(values), free(back), free(zeros), free(empty);
    }
    assert_true(kr_unpacks_exactly(KRAIT_DTYPE_Q8_0, KRAIT_WEIGHT_Q6) && !kr_packs_exactly(KRAIT_DTYPE_Q8_0, KRAIT_WEIGHT_Q6));
    assert_false(kr_unpacks_exactly(KRAIT_DTYPE_Q4_0, KRAIT_WEIGHT_Q6));
}

static krait_model *load(const char *path, krait_weight_type type)
{
    krait_error error;
    krait_model *model;
    if (krait_model_load(&model, path, &(krait_load_options){ .type = type }, &error)) fail_msg("%s", error.message);
    return model;
}

static float *logits_of(const krait_model *model, krait_isa isa, int threads, size_t chunk, size_t n, size_t *vocab)
{
    krait_error error;
    krait_session *session;
    krait_state *state;
    krait_session_options how = { .threads = threads, .isa = isa, .chunk_tokens = chunk };
    assert_ok(krait_session_create(&session, model, &how, &error));
    assert_ok(krait_state_create(&state, model, &error));
    *vocab = (size_t)krait_model_config(model)->vocab_size;
    int32_t *ids = malloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)((i * 31 + 7) % *vocab);
    float *logits = malloc(n * *vocab * sizeof *logits);
    krait_sequence sequence = { .state = state, .tokens = ids, .count = n, .want = KRAIT_WANT_ALL };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = logits }, &error));
    free(ids);
    krait_state_free(state);
    krait_session_free(session);
    return logits;
}

static double distance(const float *a, const float *b, size_t n)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference / size);
}

static void models_are_close_to_float32_in_every_type(void **state)
{
    (void)state;
    static const char *const models[] = { KRAIT_TEST_DATA "/models/tiny", KRAIT_TEST_DATA "/models/odd",
                                          KRAIT_TEST_DATA "/models/bf16-sharded", KRAIT_TEST_DATA "/models/falcon",
                                          KRAIT_MODELS "/text-small" };
    static const double most[N_TYPES] = { 0, 0, 2e-3, 2e-2, 4e-2, 0.4, 0.1 };
    enum { TOKENS = 40 };
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        size_t vocab;
        krait_model *model = load(models[m], KRAIT_WEIGHT_F32);
        float *exact = logits_of(model, KRAIT_ISA_PLAIN, 1, TOKENS, TOKENS, &vocab);
        krait_model_free(model);
        for (krait_weight_type type = KRAIT_WEIGHT_F16; type <= KRAIT_WEIGHT_Q6; type++) {
            model = load(models[m], type);
            for (krait_isa isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++) {
                if (!krait_isa_available(isa)) continue;
                float *whole = logits_of(model, isa, 1, TOKENS, TOKENS, &vocab);
                float *pieces = logits_of(model, isa, 2, 1, TOKENS, &vocab);
                double away = distance(whole, exact, TOKENS * vocab), apart = distance(pieces, whole, TOKENS * vocab);
                if (!(away <= most[type])) fail_msg("%s %s: %g from float32", models[m], krait_weight_type_name(type), away);
                assert_true(apart <= most[type] / 4); /* token by token */
                free(whole), free(pieces);
            }
            krait_model_free(model);
        }
        free(exact);
    }
}

static void names_are_found(void **state)
{
    (void)state;
    krait_weight_type type, found;
    for (type = 0; type <= KRAIT_WEIGHT_Q6; type++) {
        assert_true(krait_weight_type_find(&found, krait_weight_type_name(type)));
        assert_int_equal(found, type);
    }
    assert_false(krait_weight_type_find(&found, "q5"));
    krait_model *model;
    krait_error error;
    krait_load_options options = { .type = (krait_weight_type)N_TYPES };
    assert_int_equal(krait_model_load(&model, KRAIT_TEST_DATA "/models/tiny", &options, &error), KRAIT_ERROR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_back_within_half_a_step),       cmocka_unit_test(zeros_and_extremes_stay_finite),
        cmocka_unit_test(blocks_of_ggml_are_held_exactly),           cmocka_unit_test(blocks_of_ggml_hold_q6_exactly),
        cmocka_unit_test(models_are_close_to_float32_in_every_type), cmocka_unit_test(names_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
