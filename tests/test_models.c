/* Every reference model: logits, hidden states, states and greedy text as computed in float64. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

/* facts of the field: an exact float32 implementation meets these, relative to a tensor's largest magnitude. */
static const double tolerance = 1e-4;

typedef struct run {
    krait_model *model;
    krait_session *session;
    krait_state *state[2];
    const krait_config *config;
} run;

static void open_run(run *r, const char *path, const krait_session_options *options)
{
    krait_error error;
    assert_ok(krait_model_load(&r->model, path, NULL, &error));
    assert_ok(krait_session_create(&r->session, r->model, options, &error));
    for (int i = 0; i < 2; i++) assert_ok(krait_state_create(&r->state[i], r->model, &error));
    r->config = krait_model_config(r->model);
}

static void close_run(run *r)
{
    for (int i = 0; i < 2; i++) krait_state_free(r->state[i]);
    krait_session_free(r->session);
    krait_model_free(r->model);
}

static int32_t argmax(const float *logits, int64_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static void check_states(const run *r, const krait_checkpoint *expected, int n_sequences)
{
    for (size_t i = 0; i < krait_state_n_tensors(r->state[0]); i++) {
        krait_tensor_info info;
        assert_int_equal(krait_state_tensor(r->state[0], i, &info), KRAIT_OK);
        if (strcmp(info.name, "last_hidden") == 0) continue;
        size_t count, each = info.bytes / sizeof(float);
        float *values = fixture_floats(expected, info.name, &count), *found = malloc(info.bytes + 1);
        assert_int_equal(count, each * (size_t)n_sequences);
        for (int s = 0; s < n_sequences; s++) {
            assert_int_equal(krait_state_read(r->state[s], i, found), KRAIT_OK);
            assert_close(info.name, found, values + (size_t)s * each, each, tolerance);
        }
        free(values);
        free(found);
    }
}

/* expected: logits, hidden, states of a batch of sequences from a fresh state, and what greedy decoding makes of the first 8
 * tokens of each. */
static void check_model(const char *folder, const char *expected_folder, const krait_session_options *options)
{
    krait_error error;
    run r;
    krait_checkpoint *expected = fixture_open(expected_folder, "expected.safetensors");
    open_run(&r, folder, options);
    size_t n_ids, vocab = (size_t)r.config->vocab_size, d_model = (size_t)r.config->d_model, n_layer = (size_t)r.config->n_layer;
    int32_t *ids = fixture_ids(expected, "input_ids", &n_ids);
    float *logits = fixture_floats(expected, "logits", NULL);
    size_t batch = (size_t)kr_checkpoint_find(expected, "input_ids")->shape[0], length = n_ids / batch;
    assert_true(batch <= 2);

    float *found = malloc(n_ids * vocab * sizeof *found), *hidden = malloc((n_layer + 1) * n_ids * d_model * sizeof *hidden);
    int64_t *layers = malloc((n_layer + 1) * sizeof *layers);
    krait_sequence sequences[2];
    for (size_t i = 0; i <= n_layer; i++) layers[i] = (int64_t)i;
    for (size_t s = 0; s < batch; s++)
        sequences[s] =
            (krait_sequence){ .state = r.state[s], .tokens = ids + s * length, .count = length, .want = KRAIT_WANT_ALL };
    krait_outputs outputs = { .logits = found, .hidden = hidden, .layers = layers, .n_layers = n_layer + 1 };
    assert_ok(krait_run(r.session, sequences, batch, &outputs, &error));
    assert_close("logits", found, logits, n_ids * vocab, tolerance);
    for (size_t i = 0; i <= n_layer; i++) {
        char name[32];
        snprintf(name, sizeof name, "hidden.%zu", i);
        if (!fixture_has(expected, name)) continue;
        float *values = fixture_floats(expected, name, NULL);
        assert_close(name, hidden + i * n_ids * d_model, values, n_ids * d_model, tolerance);
        free(values);
    }
    check_states(&r, expected, (int)batch);

    if (fixture_has(expected, "greedy") && kr_checkpoint_find(expected, "greedy")->shape[0] == batch) {
        size_t n_greedy;
        int32_t *greedy = fixture_ids(expected, "greedy", &n_greedy);
        for (size_t s = 0; s < batch; s++) {
            int32_t next = 0;
            krait_state_reset(r.state[s]);
            for (size_t i = 0; i < n_greedy / batch; i++) {
                krait_sequence one = {
                    .state = r.state[s], .tokens = i ? &next : ids + s * length, .count = i ? 1 : 8, .want = KRAIT_WANT_LAST
                };
                assert_ok(krait_run(r.session, &one, 1, &(krait_outputs){ .logits = found }, &error));
                next = argmax(found, r.config->vocab_size);
                assert_int_equal(next, greedy[s * (n_greedy / batch) + i]);
            }
        }
        free(greedy);
    }
    free(ids);
    free(logits);
    free(found);
    free(hidden);
    free(layers);
    close_run(&r);
    krait_checkpoint_free(expected);
}

static const krait_isa isas[] = { KRAIT_ISA_PLAIN,    KRAIT_ISA_AVX2,        KRAIT_ISA_AVX512,
                                  KRAIT_ISA_NEON,     KRAIT_ISA_AVX512_BF16, KRAIT_ISA_AVX2_VNNI,
                                  KRAIT_ISA_NEON_DOT, KRAIT_ISA_NEON_BF16,   KRAIT_ISA_AVX512_AMX };

/* On every instruction set this machine has, with one thread and two. */
static void check_everywhere(const char *name)
{
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/models/%s", KRAIT_TEST_DATA, name);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++)
        for (int threads = 1; threads <= 2 && krait_isa_available(isas[i]); threads++)
            check_model(folder, folder, &(krait_session_options){ .isa = isas[i], .threads = threads });
}

static void tiny(void **state) { (void)state, check_everywhere("tiny"); }
static void odd(void **state) { (void)state, check_everywhere("odd"); }
static void wide(void **state) { (void)state, check_everywhere("wide"); }
static void bf16_sharded(void **state) { (void)state, check_everywhere("bf16-sharded"); }
static void f16(void **state) { (void)state, check_everywhere("f16"); }
static void original(void **state) { (void)state, check_everywhere("original"); }
static void falcon(void **state) { (void)state, check_everywhere("falcon"); }

static void protmamba(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(folder, "checkpoints/protmamba");
    check_model(folder, KRAIT_TEST_DATA "/protmamba", NULL);
    free(folder);
}

/* The 58 residues that the checkpoint's source gives for greedy decoding from <cls>. */
static void protmamba_writes_its_protein(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(folder, "checkpoints/protmamba");
    static const char alphabet[] = "LAGVSERTIDPKQNFYMHWCXBUZO.-";
    static const char protein[] = "MSGRPGITEKRLSAKRFHQLRDMAPDNMLNPNDVTIDIPLHSVSSRGQTGARKSSVNAPD";
    krait_error error;
    run r;
    open_run(&r, folder, NULL);
    float *logits = malloc((size_t)r.config->vocab_size * sizeof *logits);
    int32_t id = 0; /* <cls> */
    for (size_t i = 0; i < sizeof protein - 1; i++) {
        krait_sequence one = { .state = r.state[0], .tokens = &id, .count = 1, .want = KRAIT_WANT_LAST };
        assert_ok(krait_run(r.session, &one, 1, &(krait_outputs){ .logits = logits }, &error));
        id = argmax(logits, r.config->vocab_size);
        assert_in_range(id, 4, 4 + sizeof alphabet - 2);
        assert_int_equal(alphabet[id - 4], protein[i]);
    }
    free(logits);
    close_run(&r);
    free(folder);
}

/* The fixture keeps every 8th row of the logits, and says which. */
static void text_small(void **state)
{
    (void)state;
    krait_error error;
    run r;
    krait_checkpoint *expected = fixture_open(KRAIT_TEST_DATA "/text-small", "expected.safetensors");
    open_run(&r, KRAIT_MODELS "/text-small", NULL);
    size_t n_ids, n_rows, vocab = (size_t)r.config->vocab_size;
    int32_t *ids = fixture_ids(expected, "input_ids", &n_ids), *rows = fixture_ids(expected, "rows", &n_rows);
    float *logits = fixture_floats(expected, "logits", NULL), *found = malloc(n_rows * vocab * sizeof *found);
    size_t *wanted = malloc(n_rows * sizeof *wanted);
    for (size_t i = 0; i < n_rows; i++) wanted[i] = (size_t)rows[i];
    krait_sequence all = {
        .state = r.state[0], .tokens = ids, .count = n_ids, .want = KRAIT_WANT_LISTED, .rows = wanted, .n_rows = n_rows
    };
    assert_ok(krait_run(r.session, &all, 1, &(krait_outputs){ .logits = found }, &error));
    assert_close("logits", found, logits, n_rows * vocab, tolerance);
    check_states(&r, expected, 1);
    free(ids);
    free(rows);
    free(logits);
    free(found);
    free(wanted);
    close_run(&r);
    krait_checkpoint_free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny),         cmocka_unit_test(odd),       cmocka_unit_test(wide),
        cmocka_unit_test(bf16_sharded), cmocka_unit_test(f16),       cmocka_unit_test(original),
        cmocka_unit_test(falcon),       cmocka_unit_test(protmamba), cmocka_unit_test(protmamba_writes_its_protein),
        cmocka_unit_test(text_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
