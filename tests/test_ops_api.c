/* krait/ops.h on the reference vectors of tests/data/ops in their own layout, [batch, dim, seqlen], and in the library's. */
#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "krait/ops.h"

typedef struct scan_case {
    const char *name;
    size_t batch, dim, length, d_state, groups;
    bool softplus, is_complex, fixed_B, fixed_C;
} scan_case;

static const scan_case scan_cases[] = {
    { "plain", 2, 13, 19, 16, 1, 1, 0, 0, 0 },
    { "one_token", 2, 64, 1, 16, 1, 1, 0, 0, 0 },
    { "initial_state", 2, 24, 65, 16, 1, 1, 0, 0, 0 },
    { "longer", 1, 48, 129, 16, 1, 1, 0, 0, 0 },
    { "no_d", 1, 8, 33, 16, 1, 1, 0, 0, 0 },
    { "no_z", 1, 8, 33, 16, 1, 1, 0, 0, 0 },
    { "no_bias_no_softplus", 1, 8, 33, 16, 1, 0, 0, 0, 0 },
    { "bare", 2, 5, 17, 4, 1, 0, 0, 0, 0 },
    { "n1", 2, 9, 21, 1, 1, 1, 0, 0, 0 },
    { "n7", 2, 17, 23, 7, 1, 1, 0, 0, 0 },
    { "n8", 2, 17, 23, 8, 1, 1, 0, 0, 0 },
    { "n64", 1, 6, 40, 64, 1, 1, 0, 0, 0 },
    { "n128", 1, 3, 12, 128, 1, 1, 0, 0, 0 },
    { "groups2", 2, 12, 31, 16, 2, 1, 0, 0, 0 },
    { "fixed_b", 2, 10, 21, 8, 1, 1, 0, 1, 0 },
    { "fixed_c", 2, 10, 21, 8, 1, 1, 0, 0, 1 },
    { "fixed_both", 2, 10, 21, 8, 1, 1, 0, 1, 1 },
    { "complex", 2, 10, 21, 8, 1, 1, 1, 0, 0 },
    { "complex_state", 2, 10, 21, 8, 1, 1, 1, 0, 0 },
    { "complex_groups", 1, 8, 19, 8, 2, 1, 1, 0, 0 },
    { "complex_fixed", 2, 6, 15, 4, 1, 1, 1, 1, 1 },
};

/* What a test has allocated. */
static void *allocated[256];
static size_t n_allocated;

static float *floats(size_t count)
{
    float *p = calloc(count + 1, sizeof *p);
    assert_non_null(p);
    assert_true(n_allocated < sizeof allocated / sizeof *allocated);
    return allocated[n_allocated++] = p;
}

static void free_all(void)
{
    while (n_allocated > 0) free(allocated[--n_allocated]);
}

static float *load(const krait_checkpoint *file, const char *name, const char *key)
{
    char full[128];
    size_t count;
    snprintf(full, sizeof full, "%s/%s", name, key);
    if (!fixture_has(file, full)) return NULL;
    float *p = fixture_floats(file, full, &count);
    assert_true(n_allocated < sizeof allocated / sizeof *allocated);
    return allocated[n_allocated++] = p;
}

/* An array of sizes a, b, c, d (unused ones 1) of `pair` floats, contiguous in the given order of dimensions: order[0] is outermost. */
typedef struct layout {
    size_t size[4];
    ptrdiff_t stride[4];
    size_t count, pair;
} layout;

static layout laid(const size_t size[4], const int order[4], size_t pair)
{
    layout l = { .count = pair, .pair = pair };
    for (int i = 3; i >= 0; i--) {
        l.size[order[i]] = size[order[i]];
        l.stride[order[i]] = (ptrdiff_t)l.count;
        l.count *= size[order[i]];
    }
    return l;
}

static float *at(float *data, const layout *l, size_t i)
{
    size_t rest = i;
    ptrdiff_t offset = 0;
    for (int k = 3; k >= 0; k--) {
        offset += (ptrdiff_t)(rest % l->size[k]) * l->stride[k];
        rest /= l->size[k];
    }
    return data + offset;
}

/* From one layout to another; NULL stays NULL. */
static float *turned(float *data, const layout *from, const layout *to)
{
    if (!data) return NULL;
    float *out = floats(to->count);
    for (size_t i = 0; i < from->count / from->pair; i++) memcpy(at(out, to, i), at(data, from, i), from->pair * sizeof *out);
    return out;
}

static krait_input input(const float *data, const layout *l)
{
    return (krait_input){ data, { l->stride[0], l->stride[1], l->stride[2], l->stride[3] } };
}
static krait_output output(float *data, const layout *l)
{
    return (krait_output){ data, { l->stride[0], l->stride[1], l->stride[2], l->stride[3] } };
}

static void compare(const char *name, const char *what, float *found, const layout *l, float *expected, const layout *natural)
{
    char text[128];
    snprintf(text, sizeof text, "%s: %s", name, what);
    if (expected) assert_close(text, turned(found, l, natural), expected, natural->count, 2e-5);
}

/* ---- scan -------------------------------------------------------------------------------------------------------------- */

static void run_scan_case(const krait_checkpoint *file, const scan_case *k, bool tokens_first, bool keep, int threads)
{
    static const int as_is[] = { 0, 1, 2, 3 }, ours[] = { 0, 2, 1, 3 }, ours4[] = { 0, 3, 1, 2 }, turned2[] = { 1, 0, 2, 3 };
    size_t pair = k->is_complex ? 2 : 1, b = k->batch, D = k->dim, L = k->length, N = k->d_state;
    const size_t activation[] = { b, D, L, 1 }, matrix[] = { D, N, 1, 1 }, vector[] = { D, 1, 1, 1 }, states[] = { b, D, N, 1 };
    const size_t per_token[] = { b, k->groups, N, L };
    layout natural = laid(activation, as_is, 1), act = laid(activation, tokens_first ? ours : as_is, 1);
    layout natural_A = laid(matrix, as_is, pair), A = laid(matrix, tokens_first ? turned2 : as_is, pair),
           V = laid(vector, as_is, 1);
    layout natural_BC = laid(per_token, as_is, pair), BC = laid(per_token, tokens_first ? ours4 : as_is, pair);
    layout natural_h = laid(states, as_is, pair), h = laid(states, tokens_first ? ours : as_is, pair);
    layout *LB = k->fixed_B ? &A : &BC, *LC = k->fixed_C ? &A : &BC;
    layout *nB = k->fixed_B ? &natural_A : &natural_BC, *nC = k->fixed_C ? &natural_A : &natural_BC;
    krait_selective_scan op = { .batch = b,
                                .dim = D,
                                .length = L,
                                .d_state = N,
                                .n_groups = k->groups,
                                .u = input(turned(load(file, k->name, "u"), &natural, &act), &act),
                                .delta = input(turned(load(file, k->name, "delta"), &natural, &act), &act),
                                .A = input(turned(load(file, k->name, "A"), &natural_A, &A), &A),
                                .B = input(turned(load(file, k->name, "B"), nB, LB), LB),
                                .C = input(turned(load(file, k->name, "C"), nC, LC), LC),
                                .fixed_B = k->fixed_B,
                                .fixed_C = k->fixed_C,
                                .is_complex = k->is_complex,
                                .delta_softplus = k->softplus,
                                .D = input(load(file, k->name, "D"), &V),
                                .z = input(turned(load(file, k->name, "z"), &natural, &act), &act),
                                .delta_bias = input(load(file, k->name, "delta_bias"), &V),
                                .initial_state = input(turned(load(file, k->name, "h0"), &natural_h, &h), &h),
                                .out = output(floats(act.count), &act),
                                .last_state = output(floats(h.count), &h) };
    krait_error error;
    krait_op_options options = { .threads = threads };
    size_t saved = krait_selective_scan_saved(&op);
    assert_int_equal(saved, (L + 127) / 128 * b * N * D * pair);
    if (keep) op.saved = floats(saved);
    assert_ok(krait_selective_scan_forward(&op, &options, &error));
    compare(k->name, "out", op.out.data, &act, load(file, k->name, "out"), &natural);
    compare(k->name, "last_state", op.last_state.data, &h, load(file, k->name, "last_state"), &natural_h);

    krait_selective_scan_gradients g = {
        .dout = input(turned(load(file, k->name, "dout"), &natural, &act), &act),
        .dlast_state = input(turned(load(file, k->name, "dlast"), &natural_h, &h), &h),
        .du = output(floats(act.count), &act),
        .ddelta = output(floats(act.count), &act),
        .dz = output(op.z.data ? floats(act.count) : NULL, &act),
        .dA = output(floats(A.count), &A),
        .dB = output(floats(LB->count), LB),
        .dC = output(floats(LC->count), LC),
        .dD = output(op.D.data ? floats(D) : NULL, &V),
        .ddelta_bias = output(op.delta_bias.data ? floats(D) : NULL, &V),
        .dinitial_state = output(floats(h.count), &h),
    };
    memset(op.out.data, 0, act.count * sizeof(float));
    assert_ok(krait_selective_scan_backward(&op, &g, &options, &error));
    compare(k->name, "out again", op.out.data, &act, load(file, k->name, "out"), &natural);
    compare(k->name, "du", g.du.data, &act, load(file, k->name, "grad.u"), &natural);
    compare(k->name, "ddelta", g.ddelta.data, &act, load(file, k->name, "grad.delta"), &natural);
    compare(k->name, "dz", g.dz.data, &act, load(file, k->name, "grad.z"), &natural);
    compare(k->name, "dA", g.dA.data, &A, load(file, k->name, "grad.A"), &natural_A);
    compare(k->name, "dB", g.dB.data, LB, load(file, k->name, "grad.B"), nB);
    compare(k->name, "dC", g.dC.data, LC, load(file, k->name, "grad.C"), nC);
    compare(k->name, "dD", g.dD.data, &V, load(file, k->name, "grad.D"), &V);
    compare(k->name, "ddelta_bias", g.ddelta_bias.data, &V, load(file, k->name, "grad.delta_bias"), &V);
    compare(k->name, "dinitial_state", g.dinitial_state.data, &h, load(file, k->name, "grad.h0"), &natural_h);
    free_all();
}

static void scan_gives_the_reference_vectors(void **state)
{
    (void)state;
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/ops", "selective_scan.safetensors");
    for (size_t i = 0; i < sizeof scan_cases / sizeof *scan_cases; i++)
        for (int way = 0; way < 4; way++) run_scan_case(file, &scan_cases[i], way & 1, way & 2, way % 3 + 1);
    krait_checkpoint_free(file);
}

static float *random_floats(kr_rng *rng, size_t count, float scale, float offset)
{
    float *p = floats(count);
    for (size_t i = 0; i < count; i++) p[i] = offset + scale * kr_rng_normal(rng);
    return p;
}

enum { D = 21, N = 5, L = 700 };

/* A scan of [1, dim, L] with everything, its gradients, in one layout or the other. */
typedef struct example {
    krait_selective_scan op;
    krait_selective_scan_gradients g;
} example;

static example make_example(bool tokens_first, size_t dim)
{
    kr_rng rng;
    kr_rng_seed(&rng, 7);
    const ptrdiff_t d = tokens_first ? 1 : L, t = tokens_first ? dim : 1;
    float *values[6]; /* u, delta, z, dout as [L, dim]; B, C as [L, N] */
    for (int i = 0; i < 6; i++) {
        size_t columns = i < 4 ? dim : N;
        float *random = random_floats(&rng, L * columns, 1, i == 1 ? -2 : 0), *turn = floats(L * columns);
        for (size_t r = 0; r < L; r++)
            for (size_t c = 0; c < columns; c++) turn[c * L + r] = random[r * columns + c];
        values[i] = tokens_first ? random : turn;
    }
    float *A = random_floats(&rng, dim * N, 1, 0);
    for (size_t i = 0; i < dim * N; i++) A[i] = -expf(A[i]);
    krait_input BC = { NULL, { 0, 0, tokens_first ? 1 : L, tokens_first ? N : 1 } };
    krait_output dBC = { NULL, { 0, 0, BC.stride[2], BC.stride[3] } };
    example e = { .op = { .batch = 1,
                          .dim = dim,
                          .length = L,
                          .d_state = N,
                          .u = { values[0], { 0, d, t } },
                          .delta = { values[1], { 0, d, t } },
                          .A = { A, { N, 1 } },
                          .B = BC,
                          .C = BC,
                          .delta_softplus = true,
                          .D = { random_floats(&rng, dim, 1, 0), { 1 } },
                          .z = { values[2], { 0, d, t } },
                          .delta_bias = { random_floats(&rng, dim, 0.1f, 0), { 1 } },
                          .initial_state = { random_floats(&rng, dim * N, 1, 0), { 0, N, 1 } },
                          .out = { floats(dim * L), { 0, d, t } },
                          .last_state = { floats(dim * N), { 0, N, 1 } } },
                  .g = { .dout = { values[3], { 0, d, t } },
                         .dlast_state = { random_floats(&rng, dim * N, 1, 0), { 0, N, 1 } },
                         .du = { floats(dim * L), { 0, d, t } },
                         .ddelta = { floats(dim * L), { 0, d, t } },
                         .dz = { floats(dim * L), { 0, d, t } },
                         .dA = { floats(dim * N), { N, 1 } },
                         .dB = dBC,
                         .dC = dBC,
                         .dD = { floats(dim), { 1 } },
                         .ddelta_bias = { floats(dim), { 1 } },
                         .dinitial_state = { floats(dim * N), { 0, N, 1 } } } };
    e.op.B.data = values[4], e.op.C.data = values[5];
    e.g.dB.data = floats(L * N), e.g.dC.data = floats(L * N);
    return e;
}

static void both_layouts_give_the_same_bits(void **state)
{
    (void)state;
    krait_error error;
    example ours = make_example(true, D), theirs = make_example(false, D);
    ours.op.saved = floats(krait_selective_scan_saved(&ours.op));
    assert_ok(krait_selective_scan_forward(&ours.op, &(krait_op_options){ .threads = 1 }, &error));
    assert_ok(krait_selective_scan_forward(&theirs.op, &(krait_op_options){ .threads = 3 }, &error));
    assert_memory_equal(ours.op.last_state.data, theirs.op.last_state.data, D * N * sizeof(float));
    assert_ok(krait_selective_scan_backward(&ours.op, &ours.g, &(krait_op_options){ .threads = 2 }, &error));
    assert_ok(krait_selective_scan_backward(&theirs.op, &theirs.g, NULL, &error));
    for (size_t t = 0; t < L; t++) {
        for (size_t d = 0; d < D; d++) {
            assert_true(ours.op.out.data[t * D + d] == theirs.op.out.data[d * L + t]);
            assert_true(ours.g.du.data[t * D + d] == theirs.g.du.data[d * L + t]);
            assert_true(ours.g.ddelta.data[t * D + d] == theirs.g.ddelta.data[d * L + t]);
            assert_true(ours.g.dz.data[t * D + d] == theirs.g.dz.data[d * L + t]);
        }
        for (size_t n = 0; n < N; n++) {
            assert_true(ours.g.dB.data[t * N + n] == theirs.g.dB.data[n * L + t]);
            assert_true(ours.g.dC.data[t * N + n] == theirs.g.dC.data[n * L + t]);
        }
    }
    assert_memory_equal(ours.g.dA.data, theirs.g.dA.data, D * N * sizeof(float));
    assert_memory_equal(ours.g.dD.data, theirs.g.dD.data, D * sizeof(float));
    assert_memory_equal(ours.g.ddelta_bias.data, theirs.g.ddelta_bias.data, D * sizeof(float));
    assert_memory_equal(ours.g.dinitial_state.data, theirs.g.dinitial_state.data, D * N * sizeof(float));
    free_all();
}

/* Enough channels that copies go by slices of them. Only sums over channels, which are added slice by slice, may differ from those in the
 * other layout, and even they not from one number of threads to another. */
static void slices_of_channels_give_what_the_whole_gives(void **state)
{
    (void)state;
    enum { WIDE = 300 };
    krait_error error;
    example ours = make_example(true, WIDE);
    size_t saved = krait_selective_scan_saved(&ours.op);
    ours.op.saved = floats(saved);
    assert_ok(krait_selective_scan_forward(&ours.op, NULL, &error));
    assert_ok(krait_selective_scan_backward(&ours.op, &ours.g, NULL, &error));
    float *dB = floats(L * N), *dC = floats(L * N), *first_dB = NULL, *first_dC = NULL;
    for (size_t i = 0; i < L * N; i++) dB[i % N * L + i / N] = ours.g.dB.data[i], dC[i % N * L + i / N] = ours.g.dC.data[i];
    for (int way = 0; way < 6; way++) {
        const krait_op_options options = { .threads = way % 2 ? 1 : way + 3 };
        example theirs = make_example(false, WIDE);
        if (way < 3) theirs.op.saved = floats(saved);
        assert_ok(krait_selective_scan_forward(&theirs.op, &options, &error));
        if (way < 3) assert_memory_equal(theirs.op.saved, ours.op.saved, saved * sizeof(float));
        assert_memory_equal(theirs.op.last_state.data, ours.op.last_state.data, WIDE * N * sizeof(float));
        if (way == 5) theirs.g.dC.data = NULL; /* not wanted */
        assert_ok(krait_selective_scan_backward(&theirs.op, &theirs.g, &options, &error));
        for (size_t i = 0; i < L * WIDE; i++) {
            size_t there = i % WIDE * L + i / WIDE;
            assert_true(ours.op.out.data[i] == theirs.op.out.data[there]);
            assert_true(ours.g.du.data[i] == theirs.g.du.data[there]);
            assert_true(ours.g.ddelta.data[i] == theirs.g.ddelta.data[there]);
            assert_true(ours.g.dz.data[i] == theirs.g.dz.data[there]);
        }
        assert_memory_equal(ours.g.dA.data, theirs.g.dA.data, WIDE * N * sizeof(float));
        assert_memory_equal(ours.g.dD.data, theirs.g.dD.data, WIDE * sizeof(float));
        assert_memory_equal(ours.g.ddelta_bias.data, theirs.g.ddelta_bias.data, WIDE * sizeof(float));
        assert_memory_equal(ours.g.dinitial_state.data, theirs.g.dinitial_state.data, WIDE * N * sizeof(float));
        assert_close("dB", theirs.g.dB.data, dB, L * N, 2e-6);
        if (!first_dB) first_dB = theirs.g.dB.data, first_dC = theirs.g.dC.data;
        assert_memory_equal(theirs.g.dB.data, first_dB, L * N * sizeof(float));
        if (!theirs.g.dC.data) continue;
        assert_close("dC", theirs.g.dC.data, dC, L * N, 2e-6);
        assert_memory_equal(theirs.g.dC.data, first_dC, L * N * sizeof(float));
    }
    free_all();
}

static void sequences_of_variable_length_are_those_sequences_alone(void **state)
{
    (void)state;
    static const size_t starts[] = { 0, 3, 3, 260, L };
    enum { SEQUENCES = 4 };
    krait_error error;
    example all = make_example(false, D), one = make_example(false, D);
    kr_rng rng;
    kr_rng_seed(&rng, 8);
    float *before = random_floats(&rng, SEQUENCES * D * N, 1, 0), *dlast = random_floats(&rng, SEQUENCES * D * N, 1, 0);
    all.op.starts = starts;
    all.op.n_sequences = SEQUENCES;
    all.op.initial_state = (krait_input){ before, { D * N, N, 1 } };
    all.op.last_state = (krait_output){ floats(SEQUENCES * D * N), { D * N, N, 1 } };
    all.g.dlast_state = (krait_input){ dlast, { D * N, N, 1 } };
    all.g.dinitial_state = (krait_output){ floats(SEQUENCES * D * N), { D * N, N, 1 } };
    assert_ok(krait_selective_scan_forward(&all.op, NULL, &error));
    assert_ok(krait_selective_scan_backward(&all.op, &all.g, NULL, &error));
    float *dA = floats(D * N);
    for (size_t s = SEQUENCES; s-- > 0;) {
        krait_selective_scan op = one.op;
        krait_selective_scan_gradients g = one.g;
        krait_input *inputs[] = { &op.u, &op.delta, &op.z, &op.B, &op.C, &g.dout };
        krait_output *outputs[] = { &op.out, &g.du, &g.ddelta, &g.dz, &g.dB, &g.dC };
        for (int i = 0; i < 6; i++) inputs[i]->data += starts[s], outputs[i]->data += starts[s];
        op.length = starts[s + 1] - starts[s];
        op.initial_state.data = before + s * D * N;
        g.dlast_state.data = dlast + s * D * N;
        assert_ok(krait_selective_scan_forward(&op, NULL, &error));
        assert_memory_equal(op.last_state.data, all.op.last_state.data + s * D * N, D * N * sizeof(float));
        assert_ok(krait_selective_scan_backward(&op, &g, NULL, &error));
        assert_memory_equal(g.dinitial_state.data, all.g.dinitial_state.data + s * D * N, D * N * sizeof(float));
        for (size_t i = 0; i < D * N; i++) dA[i] += g.dA.data[i];
    }
    assert_memory_equal(one.op.out.data, all.op.out.data, D * L * sizeof(float));
    assert_memory_equal(one.g.du.data, all.g.du.data, D * L * sizeof(float));
    assert_memory_equal(one.g.ddelta.data, all.g.ddelta.data, D * L * sizeof(float));
    assert_memory_equal(one.g.dB.data, all.g.dB.data, N * L * sizeof(float));
    assert_close("dA", dA, all.g.dA.data, D * N, 1e-5);
    free_all();
}

static void state_updates_are_the_scan_token_by_token(void **state)
{
    (void)state;
    krait_error error;
    example e = make_example(true, D);
    e.op.length = 40;
    assert_ok(krait_selective_scan_forward(&e.op, NULL, &error));
    float *h = floats(D * N), *out = floats(D);
    memcpy(h, e.op.initial_state.data, D * N * sizeof *h);
    for (size_t t = 0; t < e.op.length; t++) {
        krait_state_update step = { .batch = 1,
                                    .dim = D,
                                    .d_state = N,
                                    .state = { h, { 0, N, 1 } },
                                    .x = { e.op.u.data + t * D, { 0, 1 } },
                                    .dt = { e.op.delta.data + t * D, { 0, 1 } },
                                    .A = e.op.A,
                                    .B = { e.op.B.data + t * N, { 0, 0, 1 } },
                                    .C = { e.op.C.data + t * N, { 0, 0, 1 } },
                                    .D = e.op.D,
                                    .dt_bias = e.op.delta_bias,
                                    .z = { e.op.z.data + t * D, { 0, 1 } },
                                    .dt_softplus = true,
                                    .out = { out, { 0, 1 } } };
        assert_ok(krait_selective_state_update(&step, NULL, &error));
        assert_memory_equal(out, e.op.out.data + t * D, D * sizeof *out);
    }
    assert_memory_equal(h, e.op.last_state.data, D * N * sizeof *h);
    free_all();
}

/* ---- convolution ----------------------------------------------------------------------------------------------------------- */

static void run_conv_case(const krait_checkpoint *file, const char *name, size_t b, size_t dim, size_t length, size_t width,
                          bool silu, bool tokens_first)
{
    static const int as_is[] = { 0, 1, 2, 3 }, ours[] = { 0, 2, 1, 3 };
    const size_t activation[] = { b, dim, length, 1 }, matrix[] = { dim, width, 1, 1 }, vector[] = { dim, 1, 1, 1 },
                 states[] = { b, dim, width - 1, 1 };
    layout natural = laid(activation, as_is, 1), act = laid(activation, tokens_first ? ours : as_is, 1),
           W = laid(matrix, as_is, 1);
    layout V = laid(vector, as_is, 1), h = laid(states, as_is, 1);
    krait_causal_conv1d op = { .batch = b,
                               .dim = dim,
                               .length = length,
                               .width = width,
                               .x = input(turned(load(file, name, "x"), &natural, &act), &act),
                               .weight = input(load(file, name, "weight"), &W),
                               .bias = input(load(file, name, "bias"), &V),
                               .silu = silu,
                               .initial_state = input(load(file, name, "initial"), &h),
                               .out = output(floats(act.count), &act),
                               .final_state = output(floats(h.count), &h) };
    krait_error error;
    assert_ok(krait_causal_conv1d_forward(&op, NULL, &error));
    compare(name, "out", op.out.data, &act, load(file, name, "out"), &natural);
    compare(name, "final_state", op.final_state.data, &h, load(file, name, "last_state"), &h);
    krait_causal_conv1d_gradients g = { .dout = input(turned(load(file, name, "dout"), &natural, &act), &act),
                                        .dfinal_state = input(load(file, name, "dlast"), &h),
                                        .dx = output(floats(act.count), &act),
                                        .dweight = output(floats(W.count), &W),
                                        .dbias = output(op.bias.data ? floats(dim) : NULL, &V),
                                        .dinitial_state = output(floats(h.count), &h) };
    assert_ok(krait_causal_conv1d_backward(&op, &g, NULL, &error));
    compare(name, "dx", g.dx.data, &act, load(file, name, "grad.x"), &natural);
    compare(name, "dweight", g.dweight.data, &W, load(file, name, "grad.weight"), &W);
    compare(name, "dbias", g.dbias.data, &V, load(file, name, "grad.bias"), &V);
    compare(name, "dinitial_state", g.dinitial_state.data, &h, load(file, name, "grad.initial"), &h);
    free_all();
}

static void convolution_gives_the_reference_vectors(void **state)
{
    (void)state;
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/ops", "causal_conv1d.safetensors");
    for (int way = 0; way < 2; way++) {
        run_conv_case(file, "w4", 2, 13, 19, 4, true, way);
        run_conv_case(file, "w4_initial", 2, 13, 19, 4, true, way);
        run_conv_case(file, "w3", 2, 16, 9, 3, false, way);
        run_conv_case(file, "w2", 1, 33, 9, 2, true, way);
        run_conv_case(file, "one_token", 2, 20, 1, 4, true, way);
        run_conv_case(file, "shorter_than_width", 1, 20, 2, 4, true, way);
        run_conv_case(file, "no_bias", 1, 64, 40, 4, false, way);
    }
    krait_checkpoint_free(file);
}

static void long_convolution_is_exact_across_pieces(void **state)
{
    (void)state;
    enum { DIM = 3, LENGTH = 1030, WIDTH = 5, CUT = 511 };
    kr_rng rng;
    kr_rng_seed(&rng, 9);
    krait_error error;
    krait_causal_conv1d whole = { .batch = 1,
                                  .dim = DIM,
                                  .length = LENGTH,
                                  .width = WIDTH,
                                  .x = { random_floats(&rng, DIM * LENGTH, 1, 0), { 0, LENGTH, 1 } },
                                  .weight = { random_floats(&rng, DIM * WIDTH, 1, 0), { WIDTH, 1 } },
                                  .silu = true,
                                  .out = { floats(DIM * LENGTH), { 0, LENGTH, 1 } } };
    krait_causal_conv1d_gradients g = { .dout = { random_floats(&rng, DIM * LENGTH, 1, 0), { 0, LENGTH, 1 } },
                                        .dx = { floats(DIM * LENGTH), { 0, LENGTH, 1 } } };
    assert_ok(krait_causal_conv1d_forward(&whole, NULL, &error));
    assert_ok(krait_causal_conv1d_backward(&whole, &g, NULL, &error));
    /* In two halves that hand over states and their gradients. */
    krait_causal_conv1d first = whole, second = whole;
    krait_causal_conv1d_gradients dfirst = g, dsecond = g;
    float *middle = floats(DIM * (WIDTH - 1)), *dmiddle = floats(DIM * (WIDTH - 1)), *out = floats(DIM * LENGTH),
          *dx = floats(DIM * LENGTH);
    first.length = CUT;
    first.out.data = out;
    first.final_state = (krait_output){ middle, { 0, WIDTH - 1, 1 } };
    second.length = LENGTH - CUT;
    second.x.data += CUT;
    second.out.data = out + CUT;
    second.initial_state = (krait_input){ middle, { 0, WIDTH - 1, 1 } };
    dsecond.dout.data += CUT;
    dsecond.dx.data = dx + CUT;
    dsecond.dinitial_state = (krait_output){ dmiddle, { 0, WIDTH - 1, 1 } };
    dfirst.dx.data = dx;
    dfirst.dfinal_state = (krait_input){ dmiddle, { 0, WIDTH - 1, 1 } };
    assert_ok(krait_causal_conv1d_forward(&first, NULL, &error));
    assert_ok(krait_causal_conv1d_forward(&second, NULL, &error));
    assert_memory_equal(out, whole.out.data, DIM * LENGTH * sizeof(float));
    assert_ok(krait_causal_conv1d_backward(&second, &dsecond, NULL, &error));
    assert_ok(krait_causal_conv1d_backward(&first, &dfirst, NULL, &error));
    assert_close("dx", dx, g.dx.data, DIM * LENGTH, 1e-6);
    free_all();
}

/* ---- RMSNorm ---------------------------------------------------------------------------------------------------------------- */

static void norm_gives_the_reference_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t rows, dim;
    } cases[] = { { "d64", 5, 64 }, { "d7", 3, 7 }, { "d768", 4, 768 }, { "tiny_values", 3, 40 }, { "zeros", 2, 16 } };
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/ops", "rms_norm.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t dim = cases[i].dim, count = cases[i].rows * dim;
        ptrdiff_t row = (ptrdiff_t)dim;
        krait_error error;
        krait_rms_norm op = { .rows = cases[i].rows,
                              .dim = dim,
                              .x = { load(file, cases[i].name, "x"), { row, 1 } },
                              .weight = { load(file, cases[i].name, "weight"), { 1 } },
                              .eps = 1e-5f,
                              .out = { floats(count), { row, 1 } } };
        assert_ok(krait_rms_norm_forward(&op, NULL, &error));
        assert_close("out", op.out.data, load(file, cases[i].name, "out"), count, 1e-5);
        krait_rms_norm_gradients g = { .dout = { load(file, cases[i].name, "dout"), { row, 1 } },
                                       .dx = { floats(count), { row, 1 } },
                                       .dweight = { floats(dim), { 1 } } };
        assert_ok(krait_rms_norm_backward(&op, &g, NULL, &error));
        assert_close("dx", g.dx.data, load(file, cases[i].name, "grad.x"), count, 1e-5);
        assert_close("dweight", g.dweight.data, load(file, cases[i].name, "grad.weight"), dim, 1e-5);
        free_all();
    }
    krait_checkpoint_free(file);
}

/* ---- bad arguments --------------------------------------------------------------------------------------------------------- */

static krait_error error; /* of the calls below */

static void refused(krait_status status, const char *text)
{
    assert_int_equal(status, KRAIT_ERROR_ARGUMENT);
    if (!strstr(error.message, text)) fail_msg("\"%s\" is not in: %s", text, error.message);
}

static void wrong_arguments_are_errors_that_name_them(void **state)
{
    (void)state;
    const example good = make_example(false, D);
    example e = good;
#define BAD(change, text) (e = good, change, refused(krait_selective_scan_forward(&e.op, NULL, &error), text))
    BAD(e.op.u.data = NULL, "u is NULL");
    BAD(e.op.delta.data = NULL, "delta is NULL");
    BAD(e.op.A.data = NULL, "A is NULL");
    BAD(e.op.B.data = NULL, "B is NULL");
    BAD(e.op.C.data = NULL, "C is NULL");
    BAD(e.op.out.data = NULL, "out is NULL");
    BAD(e.op.out.stride[2] = 0, "out: stride 2 is 0");
    BAD(e.op.dim = 0, "dim is 0");
    BAD(e.op.d_state = 0, "d_state is 0");
    BAD(e.op.n_groups = 2, "n_groups is 2, which does not divide dim, 21");
    BAD(e.op.length = SIZE_MAX / 2, "u: its sizes are too large");
    static const size_t descending[] = { 0, 10, 9, L }, late[] = { 1, L }, shorter[] = { 0, 5 };
    BAD((e.op.starts = descending, e.op.n_sequences = 3), "starts[2] is 9, after 10");
    BAD((e.op.starts = late, e.op.n_sequences = 1), "starts[0] is 1");
    BAD((e.op.starts = shorter, e.op.n_sequences = 1), "starts[1] is 5: the last must be length, 700");
    BAD((e.op.starts = shorter, e.op.n_sequences = 1, e.op.batch = 2), "batch is 2");
    e = good;
    refused(krait_selective_scan_forward(NULL, NULL, &error), "op is NULL");
    refused(krait_selective_scan_forward(&e.op, &(krait_op_options){ .threads = -1 }, &error), "options.threads is -1");
    refused(krait_selective_scan_backward(&e.op, NULL, NULL, &error), "gradients is NULL");
#define BAD_GRADIENT(change, text) (e = good, change, refused(krait_selective_scan_backward(&e.op, &e.g, NULL, &error), text))
    BAD_GRADIENT(e.g.dout.data = NULL, "dout is NULL");
    BAD_GRADIENT(e.op.z.data = NULL, "dz is wanted, but z is NULL");
    BAD_GRADIENT(e.op.D.data = NULL, "dD is wanted, but D is NULL");
    BAD_GRADIENT(e.g.dA.stride[1] = 0, "dA: stride 1 is 0");
    e = good;
    krait_causal_conv1d conv = { .batch = 1, .dim = D, .length = 4, .width = 17, .x = e.op.u, .out = e.op.out };
    refused(krait_causal_conv1d_forward(&conv, NULL, &error), "width is 17: 1 to 16");
    conv.width = 4;
    refused(krait_causal_conv1d_forward(&conv, NULL, &error), "weight is NULL");
    krait_rms_norm norm = {
        .rows = 2, .dim = 8, .x = { e.op.u.data, { 8, 2 } }, .out = { e.op.out.data, { 8, 1 } }, .eps = 1e-5f
    };
    refused(krait_rms_norm_forward(&norm, NULL, &error), "x: strides are 8 and 2");
    norm.x.stride[1] = 1;
    norm.eps = NAN;
    refused(krait_rms_norm_forward(&norm, NULL, &error), "eps is");
    free_all();
}

static void nothing_to_do_is_no_error(void **state)
{
    (void)state;
    krait_selective_scan op = { .batch = 0, .dim = 3, .length = 5, .d_state = 2, .A = { (float[6]){ 0 }, { 2, 1 } } };
    assert_ok(krait_selective_scan_forward(&op, NULL, &error));
    float first[] = { 1, 2, 3, 4, 5, 6 }, last[6] = { 0 };
    op.batch = 1;
    op.length = 0;
    op.initial_state = (krait_input){ first, { 6, 2, 1 } };
    op.last_state = (krait_output){ last, { 6, 2, 1 } };
    assert_ok(krait_selective_scan_forward(&op, NULL, &error));
    assert_memory_equal(last, first, sizeof first);
    assert_int_equal(krait_selective_scan_saved(&op), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_gives_the_reference_vectors),
        cmocka_unit_test(both_layouts_give_the_same_bits),
        cmocka_unit_test(slices_of_channels_give_what_the_whole_gives),
        cmocka_unit_test(sequences_of_variable_length_are_those_sequences_alone),
        cmocka_unit_test(state_updates_are_the_scan_token_by_token),
        cmocka_unit_test(convolution_gives_the_reference_vectors),
        cmocka_unit_test(long_convolution_is_exact_across_pieces),
        cmocka_unit_test(norm_gives_the_reference_vectors),
        cmocka_unit_test(wrong_arguments_are_errors_that_name_them),
        cmocka_unit_test(nothing_to_do_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
