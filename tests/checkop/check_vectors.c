/* The reference vectors of tests/data/ops, which were computed in float64. Tensors there are [batch, dim, seqlen] (complex: a last
 * dimension of 2). Tolerance: 1e-5 of the largest magnitude of the tensor. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "checkop.h"
#include "formats/safetensors.h"

typedef struct vectors {
    kr_arena arena;
    kr_file file;
    kr_safetensors tensors;
    const char *name; /* of the case */
    size_t name_length;
} vectors;

static void die(const char *message)
{
    fprintf(stderr, "checkop: %s\n", message);
    exit(2);
}

/* CASE/key, or NULL. */
static const kr_tensor *find(const vectors *v, const char *key)
{
    for (size_t i = 0; i < v->tensors.n_tensors; i++) {
        const kr_tensor *t = &v->tensors.tensors[i];
        if (strncmp(t->name, v->name, v->name_length) == 0 && t->name[v->name_length] == '/'
            && strcmp(t->name + v->name_length + 1, key) == 0)
            return t;
    }
    return NULL;
}

/* A tensor's values with its dimensions `from` (of `n` sizes: dims) put into the order `order`. NULL if there is none. */
static float *load(check *c, const vectors *v, const char *key, const int order[], kr_view *view, size_t rows, size_t columns)
{
    const kr_tensor *t = find(v, key);
    if (!t) return NULL;
    size_t total = 1, strides[8], sizes[8], at[8] = { 0 };
    for (int i = t->n_dims - 1; i >= 0; i--) {
        strides[i] = total;
        total *= (size_t)t->shape[i];
    }
    for (int i = 0; i < t->n_dims; i++) sizes[i] = (size_t)t->shape[order[i]];
    float *flat = kr_alloc(total, sizeof *flat);
    if (!flat) die("out of memory");
    kr_tensor_to_float32(flat, t);
    if (rows * columns != total) die("a tensor's shape is not its case's");
    *view = check_matrix(c, rows, columns);
    for (size_t i = 0; i < total; i++) {
        size_t index = 0;
        for (int k = 0; k < t->n_dims; k++) index += at[k] * strides[order[k]];
        view->data[i / columns * view->stride + i % columns] = flat[index];
        for (int k = t->n_dims - 1; k >= 0 && ++at[k] == sizes[k]; k--) at[k] = 0;
    }
    kr_free(flat);
    return view->data;
}

static void compare(check *c, const char *what, kr_cview found, kr_view expected, size_t rows, size_t columns)
{
    double largest = 0;
    for (size_t i = 0; i < rows * columns; i++)
        largest = fmax(largest, fabs((double)expected.data[i / columns * expected.stride + i % columns]));
    for (size_t i = 0; i < rows * columns; i++)
        check_close(c, what, i, found.data[i / columns * found.stride + i % columns],
                    expected.data[i / columns * expected.stride + i % columns], 1e-5 * largest + SMALLEST_NORMAL);
}

/* A parameter's gradient; expected is NULL where the case has no such parameter, or no gradients. */
static void compare_floats(check *c, const char *what, const float *found, const float *expected, size_t count)
{
    if (expected) compare(c, what, (kr_cview){ found, count }, (kr_view){ (float *)(uintptr_t)expected, count }, 1, count);
}

static float *zeros(check *c, size_t count) { return memset(check_floats(c, count), 0, count * sizeof(float)); }

/* A tensor without batch whose last two dimensions change places: [dim, n] -> contiguous [n, dim] (with pairs). */
static float *load_turned(check *c, const vectors *v, const char *key, size_t pair)
{
    const kr_tensor *t = find(v, key);
    if (!t) return NULL;
    static const int order[] = { 1, 0, 2 };
    kr_view view;
    size_t rows = (size_t)t->shape[1], columns = (size_t)t->shape[0] * pair;
    load(c, v, key, order, &view, rows, columns);
    float *data = check_floats(c, rows * columns);
    for (size_t r = 0; r < rows; r++) memcpy(data + r * columns, view.data + r * view.stride, columns * sizeof *data);
    return data;
}

static float *load_vector(check *c, const vectors *v, const char *key, size_t count)
{
    static const int order[] = { 0 };
    kr_view view;
    return load(c, v, key, order, &view, 1, count);
}

/* States [batch, dim, n] -> one contiguous [n, dim] each, zeros if there are none. */
static void load_states(check *c, const vectors *v, const char *key, float *states[], size_t batch, size_t dim, size_t n,
                        size_t pair)
{
    static const int order[] = { 0, 2, 1, 3 };
    kr_view view;
    bool given = load(c, v, key, order, &view, batch, n * dim * pair) != NULL;
    for (size_t b = 0; b < batch; b++) {
        states[b] = check_floats(c, n * dim * pair);
        for (size_t i = 0; i < n * dim * pair; i++) states[b][i] = given ? view.data[b * view.stride + i] : 0.0f;
    }
}

enum { MOST_BATCH = 8 };

static const int activations[] = { 0, 2, 1 }, per_token[] = { 0, 2, 1, 3 }, per_group[] = { 0, 3, 1, 2, 4 };

/* B or C, or the gradient of one; dims without pairs. */
static kr_view load_coefficients(check *c, const vectors *v, const char *key, const kr_scan *op)
{
    size_t pair = op->is_complex ? 2 : 1, n_tokens = op->rows.start[op->rows.n_sequences];
    size_t dims = (size_t)find(v, key)->n_dims - (pair - 1);
    if (dims == 2) return (kr_view){ load_turned(c, v, key, pair), op->d_inner * pair };
    kr_view view;
    load(c, v, key, dims == 4 ? per_group : per_token, &view, n_tokens, op->n_groups * op->d_state * pair);
    return view;
}

static void scan_gradients(check *c, const vectors *v, const kr_scan *forward, kr_view out)
{
    size_t n = forward->rows.start[forward->rows.n_sequences], dim = forward->d_inner, pair = forward->is_complex ? 2 : 1;
    size_t N = forward->d_state, batch = forward->rows.n_sequences, states = N * dim * pair;
    float *dstate[MOST_BATCH], *dfirst[MOST_BATCH];
    load_states(c, v, "dlast", dstate, batch, dim, N, pair);
    load_states(c, v, "grad.h0", dfirst, batch, dim, N, pair);
    kr_view dy, expected;
    load(c, v, "dout", activations, &dy, n, dim);
    kr_scan_backward op = { .forward = *forward,
                            .dy = check_const(dy),
                            .dstate = dstate,
                            .du = check_matrix(c, n, dim),
                            .ddelta = check_matrix(c, n, dim),
                            .dz = check_matrix(c, n, dim),
                            .dA = zeros(c, states),
                            .dD = zeros(c, dim),
                            .ddelta_bias = zeros(c, dim),
                            .y = check_matrix(c, n, dim) };
    op.dB = forward->fixed_B ? (kr_view){ zeros(c, states), 0 } : check_matrix(c, n, forward->n_groups * N * pair);
    op.dC = forward->fixed_C ? (kr_view){ zeros(c, states), 0 } : check_matrix(c, n, forward->n_groups * N * pair);
    kr_exec exec = check_exec(c, c->device, 2, c->device->scan_backward_scratch(2, dim, N * pair, forward->n_groups));
    kr_scan_backward_run(&exec, &op);
    compare(c, "y", check_const(op.y), out, n, dim);
    if (load(c, v, "grad.u", activations, &expected, n, dim)) compare(c, "du", check_const(op.du), expected, n, dim);
    if (load(c, v, "grad.delta", activations, &expected, n, dim)) compare(c, "ddelta", check_const(op.ddelta), expected, n, dim);
    if (load(c, v, "grad.z", activations, &expected, n, dim)) compare(c, "dz", check_const(op.dz), expected, n, dim);
    for (int i = 0; i < 2; i++) {
        kr_view found = i ? op.dC : op.dB;
        bool fixed = i ? forward->fixed_C : forward->fixed_B;
        expected = load_coefficients(c, v, i ? "grad.C" : "grad.B", forward);
        if (fixed) found.stride = dim * pair;
        compare(c, i ? "dC" : "dB", check_const(found), expected, fixed ? N : n, (fixed ? dim : forward->n_groups * N) * pair);
    }
    compare_floats(c, "dA", op.dA, load_turned(c, v, "grad.A", pair), states);
    compare_floats(c, "dD", op.dD, load_vector(c, v, "grad.D", dim), dim);
    compare_floats(c, "ddelta_bias", op.ddelta_bias, load_vector(c, v, "grad.delta_bias", dim), dim);
    for (size_t b = 0; b < batch && find(v, "grad.h0"); b++) compare_floats(c, "dstate", dstate[b], dfirst[b], states);
}

static void scan_vector(check *c, const vectors *v, size_t batch, size_t dim, size_t length, size_t N, bool softplus,
                        bool is_complex)
{
    size_t n_tokens = batch * length, pair = is_complex ? 2 : 1, start[MOST_BATCH + 1];
    for (size_t b = 0; b <= batch; b++) start[b] = b * length;
    kr_scan op = { .rows = { batch, start },
                   .d_inner = dim,
                   .d_state = N,
                   .n_groups = 1,
                   .is_complex = is_complex,
                   .delta_softplus = softplus };
    kr_view u, delta, z, out, BC[2];
    load(c, v, "u", activations, &u, n_tokens, dim);
    load(c, v, "delta", activations, &delta, n_tokens, dim);
    load(c, v, "out", activations, &out, n_tokens, dim);
    if (load(c, v, "z", activations, &z, n_tokens, dim)) op.z = check_const(z);
    op.u = check_const(u);
    op.delta = check_const(delta);
    op.A = load_turned(c, v, "A", pair);
    op.D = load_vector(c, v, "D", dim);
    op.delta_bias = load_vector(c, v, "delta_bias", dim);
    for (int i = 0; i < 2; i++) {
        const kr_tensor *t = find(v, i ? "C" : "B");
        size_t dims = (size_t)t->n_dims - (pair - 1);
        if (dims == 4) op.n_groups = (size_t)t->shape[1];
        *(i ? &op.fixed_C : &op.fixed_B) = dims == 2;
        BC[i] = load_coefficients(c, v, i ? "C" : "B", &op);
    }
    op.B = check_const(BC[0]);
    op.C = check_const(BC[1]);
    float *states[MOST_BATCH], *last[MOST_BATCH];
    load_states(c, v, "h0", states, batch, dim, N, pair);
    load_states(c, v, "last_state", last, batch, dim, N, pair);
    op.state = states;
    op.saved = check_floats(c, kr_scan_chunks(op.rows) * N * dim * pair);
    op.y = check_matrix(c, n_tokens, dim);
    kr_exec exec = check_exec(c, c->device, 1, c->device->scan_scratch(1, N));
    kr_scan_run(&exec, &op);
    compare(c, "out", check_const(op.y), out, n_tokens, dim);
    for (size_t b = 0; b < batch; b++)
        compare(c, "last_state", (kr_cview){ states[b], dim * pair }, (kr_view){ last[b], dim * pair }, N, dim * pair);
    if (find(v, "dout")) scan_gradients(c, v, &op, out);
}

static void conv_vector(check *c, const vectors *v, size_t batch, size_t dim, size_t length, size_t width, bool silu)
{
    size_t n_tokens = batch * length, start[MOST_BATCH + 1];
    for (size_t b = 0; b <= batch; b++) start[b] = b * length;
    kr_view x, out;
    load(c, v, "x", activations, &x, n_tokens, dim);
    load(c, v, "out", activations, &out, n_tokens, dim);
    float *states[MOST_BATCH], *last[MOST_BATCH], *before[MOST_BATCH], *dstate[MOST_BATCH], *dfirst[MOST_BATCH];
    load_states(c, v, "initial", states, batch, dim, width - 1, 1);
    load_states(c, v, "initial", before, batch, dim, width - 1, 1);
    load_states(c, v, "last_state", last, batch, dim, width - 1, 1);
    kr_conv op = { .rows = { batch, start },
                   .dim = dim,
                   .width = width,
                   .x = check_const(x),
                   .weight = load_turned(c, v, "weight", 1),
                   .bias = load_vector(c, v, "bias", dim),
                   .silu = silu,
                   .state = states,
                   .y = check_matrix(c, n_tokens, dim) };
    kr_exec exec = check_exec(c, c->device, 1, 0);
    kr_conv_run(&exec, &op);
    compare(c, "out", check_const(op.y), out, n_tokens, dim);
    for (size_t b = 0; b < batch; b++)
        compare(c, "last_state", (kr_cview){ states[b], dim }, (kr_view){ last[b], dim }, width - 1, dim);

    kr_view dy, dx;
    load(c, v, "dout", activations, &dy, n_tokens, dim);
    load(c, v, "grad.x", activations, &dx, n_tokens, dim);
    load_states(c, v, "dlast", dstate, batch, dim, width - 1, 1);
    load_states(c, v, "grad.initial", dfirst, batch, dim, width - 1, 1);
    kr_conv_backward backward = { .forward = op,
                                  .state_before = (const float *const *)before,
                                  .dy = check_const(dy),
                                  .dstate = dstate,
                                  .dx = check_matrix(c, n_tokens, dim),
                                  .dweight = zeros(c, width * dim),
                                  .dbias = zeros(c, dim) };
    kr_conv_backward_run(&exec, &backward);
    compare(c, "dx", check_const(backward.dx), dx, n_tokens, dim);
    compare_floats(c, "dweight", backward.dweight, load_turned(c, v, "grad.weight", 1), width * dim);
    compare_floats(c, "dbias", backward.dbias, load_vector(c, v, "grad.bias", dim), dim);
    for (size_t b = 0; b < batch && find(v, "grad.initial"); b++)
        compare_floats(c, "dstate", dstate[b], dfirst[b], (width - 1) * dim);
}

static void norm_vector(check *c, const vectors *v, size_t rows, size_t dim, double eps)
{
    static const int order[] = { 0, 1 };
    kr_view x, out;
    load(c, v, "x", order, &x, rows, dim);
    load(c, v, "out", order, &out, rows, dim);
    kr_rms_norm op = { .n_tokens = rows,
                       .dim = dim,
                       .x = check_const(x),
                       .weight = load_vector(c, v, "weight", dim),
                       .eps = (float)eps,
                       .y = check_matrix(c, rows, dim) };
    kr_exec exec = check_exec(c, c->device, 1, 0);
    kr_rms_norm_run(&exec, &op);
    compare(c, "out", check_const(op.y), out, rows, dim);

    kr_view dy, dx;
    load(c, v, "dout", order, &dy, rows, dim);
    load(c, v, "grad.x", order, &dx, rows, dim);
    kr_rms_norm_backward backward = {
        .forward = op, .dy = check_const(dy), .dx = check_matrix(c, rows, dim), .dweight = zeros(c, dim)
    };
    kr_exec more = check_exec(c, c->device, 2, c->device->rms_norm_backward_scratch(rows));
    kr_rms_norm_backward_run(&more, &backward);
    compare(c, "dx", check_const(backward.dx), dx, rows, dim);
    compare_floats(c, "dweight", backward.dweight, load_vector(c, v, "grad.weight", dim), dim);
}

static double number(const kr_json *object, const char *key)
{
    const kr_json *value = kr_json_get(object, key);
    return !value ? 0 : value->type == KR_JSON_BOOL ? (double)value->boolean : kr_json_number(value);
}

static void one_file(check *c, const char *name)
{
    vectors v = { 0 };
    krait_error error;
    char path[1024];
    snprintf(path, sizeof path, "%s/ops/%s.safetensors", KRAIT_TEST_DATA, name);
    if (kr_file_open(&v.file, path, &error) || kr_safetensors_read(&v.tensors, &v.arena, &v.file, &error)) die(error.message);
    if (!v.tensors.metadata || v.tensors.metadata->length == 0) die("no metadata in a file of reference vectors");
    for (const kr_json *m = v.tensors.metadata->first; m; m = m->next) {
        const kr_json *s; /* the case's shape and options, as JSON in a string */
        if (kr_json_parse(&s, &v.arena, name, m->string, m->length, &error)) die(error.message);
        v.name = m->key;
        v.name_length = m->key_length;
        snprintf(c->label, sizeof c->label, "%s/%.*s", name, (int)m->key_length, m->key);
        size_t batch = (size_t)number(s, "batch"), dim = (size_t)number(s, "dim"), length = (size_t)number(s, "seqlen");
        if (strcmp(name, "selective_scan") == 0)
            scan_vector(c, &v, batch, dim, length, (size_t)number(s, "dstate"), number(s, "delta_softplus") != 0,
                        number(s, "complex") != 0);
        else if (strcmp(name, "causal_conv1d") == 0)
            conv_vector(c, &v, batch, dim, length, (size_t)number(s, "width"), number(s, "silu") != 0);
        else
            norm_vector(c, &v, (size_t)number(s, "rows"), dim, number(s, "eps"));
        check_end_case(c);
    }
    kr_file_close(&v.file);
    kr_arena_free(&v.arena);
}

void check_vectors(check *c)
{
    one_file(c, "selective_scan");
    one_file(c, "causal_conv1d");
    one_file(c, "rms_norm");
}
