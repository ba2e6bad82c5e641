/* kr_scan_backward on a chunk and a tile of channels: real A, B and C per token.
 *
 * As in scan_body.h, channels lie in the lanes of vectors, and there are three passes over scratch:
 *   1. once per token and channel: dt, dt * u, the gate, q = dy * silu(z);
 *   2. for each vector of channels and each block of states: forward, keeping the states of every token in scratch (the second
 *      cache holds them), and back again. The states' gradients and dA stay in registers;
 *   3. what follows from sums over states: y, du, ddelta, dz, and the sums over tokens. */

typedef struct scan_slot { /* of a token and a vector of channels */
    float dt[VEC_LANES];   /* times log2(e) */
    float dt_u[VEC_LANES]; /* dt * u */
    float gate[VEC_LANES]; /* 1 / (1 + exp(-z)) */
    float q[VEC_LANES];
    float y[VEC_LANES]; /* before the gate */
    float p[VEC_LANES]; /* see ops.h */
    float ddt[VEC_LANES];
} scan_slot;

enum { SCAN_BACKWARD_STATES = VEC_REGISTERS / 4 /* states in registers */ };

typedef struct scan_backward_tile {
    scan_slot slot[SCAN_TILE_VECTORS][KR_SCAN_CHUNK];
    float h[KR_SCAN_CHUNK + 1][SCAN_BACKWARD_STATES][VEC_LANES]; /* before each token, and after the last */
} scan_backward_tile;

_Static_assert(sizeof(scan_backward_tile) <= KR_SCAN_BACKWARD_FLOATS * sizeof(float), "scratch");

/* Rows are too far apart for the processor to guess, so they are asked for as many tokens ahead. */
enum { SCAN_BACKWARD_AHEAD = 8 };
VEC_INLINE void scan_ask(const float *data, size_t stride, size_t t, const kr_scan_part *part)
{
    if (data)
        for (size_t d = part->begin; d < part->end; d += 16) __builtin_prefetch(data + t * stride + d, 0, 3);
}
VEC_INLINE void scan_ask_to_write(const float *data, size_t stride, size_t t, const kr_scan_part *part)
{
    if (data)
        for (size_t d = part->begin; d < part->end; d += 16) __builtin_prefetch(data + t * stride + d, 1, 3);
}

/* Pass 1; returns for each vector of channels the largest |dt|. */
VEC_INLINE void scan_backward_inputs(const kr_scan_backward *b, const kr_scan_part *part, scan_backward_tile *tile, vec largest[])
{
    const kr_scan *op = &b->forward;
    for (size_t i = 0; i < part->count; i++) {
        size_t t = part->first + i;
        if (part->count - i > SCAN_BACKWARD_AHEAD) {
            scan_ask(op->delta.data, op->delta.stride, t + SCAN_BACKWARD_AHEAD, part);
            scan_ask(op->u.data, op->u.stride, t + SCAN_BACKWARD_AHEAD, part);
            scan_ask(op->z.data, op->z.stride, t + SCAN_BACKWARD_AHEAD, part);
            scan_ask(b->dy.data, b->dy.stride, t + SCAN_BACKWARD_AHEAD, part);
        }
        for (size_t d = part->begin, v = 0; d < part->end; d += VEC_LANES, v++) {
            size_t lanes = part->end - d < VEC_LANES ? part->end - d : VEC_LANES;
            scan_slot *slot = &tile->slot[v][i];
            vec dt = vec_load_n(op->delta.data + t * op->delta.stride + d, lanes);
            vec u = vec_load_n(op->u.data + t * op->u.stride + d, lanes),
                q = vec_load_n(b->dy.data + t * b->dy.stride + d, lanes);
            if (op->delta_bias) dt = vec_add(dt, vec_load_n(op->delta_bias + d, lanes));
            if (op->delta_softplus) dt = vec_softplus(dt);
            vec dt2 = vec_mul(dt, vec_set(0x1.715476p+0f)), y = vec_zero();
            if (op->D) y = vec_mul(u, vec_load_n(op->D + d, lanes));
            if (op->z.data) {
                vec z = vec_load_n(op->z.data + t * op->z.stride + d, lanes), gate = vec_sigmoid(z);
                q = vec_mul(q, vec_mul(z, gate));
                vec_store(slot->gate, gate);
            }
            largest[v] = i == 0 ? vec_abs(dt2) : vec_max(largest[v], vec_abs(dt2));
            vec_store(slot->dt, dt2);
            vec_store(slot->dt_u, vec_mul(dt, u));
            vec_store(slot->q, q);
            vec_store(slot->y, y);
            vec_store(slot->p, vec_zero());
            vec_store(slot->ddt, vec_zero());
        }
    }
}

/* Four sums over the lanes, to or onto out. */
VEC_INLINE void scan_put4(float *out, bool add, vec a, vec b, vec c, vec d)
{
    float sums[4];
    vec_sum4(sums, a, b, c, d);
    for (int i = 0; i < 4; i++) out[i] = add ? out[i] + sums[i] : sums[i];
}
VEC_INLINE void scan_put(float *out, bool add, vec a) { *out = add ? *out + vec_sum(a) : vec_sum(a); }

/* States that an instruction set has no registers for are not reached, but compilers look at their index. */
#define SCAN_BACKWARD_H(t, i) tile->h[t][(i) < SCAN_BACKWARD_STATES ? (i) : 0]

/* Pass 2 for one vector of channels and `states` states (from n), a constant where this is inlined. `add`: to dB and dC, which the
 * tile's first vector writes. */
#define SCAN_BACKWARD_EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define SCAN_BACKWARD_LOAD(i)                               \
    if (i < states) {                                       \
        A##i = vec_load_n(op->A + at + i * D, lanes);       \
        h##i = vec_load_n(part->saved + at + i * D, lanes); \
        vec_store(SCAN_BACKWARD_H(0, i), h##i);             \
    }
#define SCAN_BACKWARD_FORTH(i)                                     \
    if (i < states) {                                              \
        vec x = vec_mul(dt, A##i);                                 \
        vec decay = small ? vec_exp2_small(x) : vec_exp2(x);       \
        h##i = vec_fma(decay, h##i, vec_mul(dt_u, vec_set(B[i]))); \
        y = vec_fma(h##i, vec_set(C[i]), y);                       \
        vec_store(SCAN_BACKWARD_H(t + 1, i), h##i);                \
    }
#define SCAN_BACKWARD_TURN(i)                               \
    if (i < states) {                                       \
        h##i = vec_load_n(part->carry + at + i * D, lanes); \
        dA##i = vec_zero();                                 \
    }
#define SCAN_BACKWARD_BACK(i)                                    \
    if (i < states) {                                            \
        vec x = vec_mul(dt, A##i);                               \
        vec decay = small ? vec_exp2_small(x) : vec_exp2(x);     \
        vec dh = vec_fma(q, vec_set(C[i]), h##i);                \
        dC##i = vec_mul(q, vec_load(SCAN_BACKWARD_H(t + 1, i))); \
        dB##i = vec_mul(dt_u, dh);                               \
        p = vec_fma(dh, vec_set(B[i]), p);                       \
        h##i = vec_mul(decay, dh);                               \
        vec w = vec_mul(h##i, vec_load(SCAN_BACKWARD_H(t, i)));  \
        ddt = vec_fma(w, A##i, ddt);                             \
        dA##i = vec_fma(w, dt, dA##i);                           \
    }
#define SCAN_BACKWARD_STORE(i)                                                                                 \
    if (i < states) {                                                                                          \
        vec_store_n(part->carry + at + i * D, h##i, lanes);                                                    \
        if (b->dA) {                                                                                           \
            float *dA = b->dA + at + i * D;                                                                    \
            vec_store_n(dA, vec_fma(dA##i, vec_set(0x1.62e43p-1f), vec_load_n(dA, lanes)), lanes); /* log 2 */ \
        }                                                                                                      \
    }
VEC_INLINE void scan_backward_states(const kr_scan_backward *b, const kr_scan_part *part, scan_backward_tile *tile, int states,
                                     bool small, size_t n, size_t v)
{
    const kr_scan *op = &b->forward;
    size_t D = op->d_inner, d = part->begin + v * VEC_LANES, at = n * D + d, group = part->group * op->d_state + n;
    size_t lanes = part->end - d < VEC_LANES ? part->end - d : VEC_LANES;
    scan_slot *slots = tile->slot[v];
    vec A0, A1, A2, A3, A4, A5, A6, A7, h0, h1, h2, h3, h4, h5, h6, h7, dA0, dA1, dA2, dA3, dA4, dA5, dA6, dA7;
    SCAN_BACKWARD_EACH(SCAN_BACKWARD_LOAD)
    for (size_t t = 0; t < part->count; t++) {
        const float *B = op->B.data + (part->first + t) * op->B.stride + group;
        const float *C = op->C.data + (part->first + t) * op->C.stride + group;
        vec dt = vec_load(slots[t].dt), dt_u = vec_load(slots[t].dt_u), y = vec_load(slots[t].y);
        SCAN_BACKWARD_EACH(SCAN_BACKWARD_FORTH)
        vec_store(slots[t].y, y);
    }
    SCAN_BACKWARD_EACH(SCAN_BACKWARD_TURN)
    for (size_t t = part->count; t-- > 0;) {
        const float *B = op->B.data + (part->first + t) * op->B.stride + group;
        const float *C = op->C.data + (part->first + t) * op->C.stride + group;
        float *dB = part->dB.data + t * part->dB.stride + n, *dC = part->dC.data + t * part->dC.stride + n;
        vec dt = vec_load(slots[t].dt), dt_u = vec_load(slots[t].dt_u), q = vec_load(slots[t].q);
        vec p = vec_load(slots[t].p), ddt = vec_load(slots[t].ddt);
        vec dB0, dB1, dB2, dB3, dB4, dB5, dB6, dB7, dC0, dC1, dC2, dC3, dC4, dC5, dC6, dC7;
        SCAN_BACKWARD_EACH(SCAN_BACKWARD_BACK)
        vec_store(slots[t].p, p);
        vec_store(slots[t].ddt, ddt);
        if (states >= 4) {
            scan_put4(dB, v > 0, dB0, dB1, dB2, dB3);
            scan_put4(dC, v > 0, dC0, dC1, dC2, dC3);
        } else {
            scan_put(dB, v > 0, dB0);
            scan_put(dC, v > 0, dC0);
            if (states > 1) scan_put(dB + 1, v > 0, dB1);
            if (states > 1) scan_put(dC + 1, v > 0, dC1);
        }
        if (states == 8) {
            scan_put4(dB + 4, v > 0, dB4, dB5, dB6, dB7);
            scan_put4(dC + 4, v > 0, dC4, dC5, dC6, dC7);
        }
    }
    SCAN_BACKWARD_EACH(SCAN_BACKWARD_STORE)
}

/* Pass 2 for one vector of channels. */
VEC_INLINE void scan_backward_vector(const kr_scan_backward *b, const kr_scan_part *part, scan_backward_tile *tile, bool small,
                                     size_t v)
{
    size_t n = 0, N = b->forward.d_state;
    for (; N - n >= SCAN_BACKWARD_STATES; n += SCAN_BACKWARD_STATES)
        scan_backward_states(b, part, tile, SCAN_BACKWARD_STATES, small, n, v);
    if (SCAN_BACKWARD_STATES > 4 && N - n >= 4) {
        scan_backward_states(b, part, tile, 4, small, n, v);
        n += 4;
    }
    if (N - n >= 2) {
        scan_backward_states(b, part, tile, 2, small, n, v);
        n += 2;
    }
    if (N - n >= 1) scan_backward_states(b, part, tile, 1, small, n, v);
}

/* Pass 3. */
VEC_INLINE void scan_backward_outputs(const kr_scan_backward *b, const kr_scan_part *part, const scan_backward_tile *tile)
{
    const kr_scan *op = &b->forward;
    vec dD[SCAN_TILE_VECTORS], dbias[SCAN_TILE_VECTORS];
    for (int v = 0; v < SCAN_TILE_VECTORS; v++) dD[v] = dbias[v] = vec_zero();
    for (size_t i = part->count; i-- > 0;) {
        size_t t = part->first + i;
        if (i >= SCAN_BACKWARD_AHEAD) {
            scan_ask_to_write(b->du.data, b->du.stride, t - SCAN_BACKWARD_AHEAD, part);
            scan_ask_to_write(b->ddelta.data, b->ddelta.stride, t - SCAN_BACKWARD_AHEAD, part);
            scan_ask_to_write(b->dz.data, b->dz.stride, t - SCAN_BACKWARD_AHEAD, part);
            scan_ask_to_write(b->y.data, b->y.stride, t - SCAN_BACKWARD_AHEAD, part);
        }
        for (size_t d = part->begin, v = 0; d < part->end; d += VEC_LANES, v++) {
            size_t lanes = part->end - d < VEC_LANES ? part->end - d : VEC_LANES;
            const scan_slot *slot = &tile->slot[v][i];
            vec u = vec_load_n(op->u.data + t * op->u.stride + d, lanes), q = vec_load(slot->q), p = vec_load(slot->p);
            vec y = vec_load(slot->y), ddelta = vec_fma(u, p, vec_load(slot->ddt)), dz = vec_zero();
            vec du = vec_mul(vec_mul(vec_load(slot->dt), vec_set(0x1.62e43p-1f)), p);
            if (op->D) du = vec_fma(q, vec_load_n(op->D + d, lanes), du);
            if (op->delta_softplus) {
                vec delta = vec_load_n(op->delta.data + t * op->delta.stride + d, lanes);
                if (op->delta_bias) delta = vec_add(delta, vec_load_n(op->delta_bias + d, lanes));
                ddelta = vec_mul(ddelta, vec_sigmoid(delta));
            }
            if (op->z.data) {
                const vec one = vec_set(1.0f);
                vec z = vec_load_n(op->z.data + t * op->z.stride + d, lanes), gate = vec_load(slot->gate);
                vec slope = vec_mul(gate, vec_fma(z, vec_sub(one, gate), one));
                dz = vec_mul(vec_mul(vec_load_n(b->dy.data + t * b->dy.stride + d, lanes), y), slope);
                y = vec_mul(y, vec_mul(z, gate));
            }
            dD[v] = vec_fma(q, u, dD[v]);
            dbias[v] = vec_add(dbias[v], ddelta);
            if (b->du.data) vec_store_n(b->du.data + t * b->du.stride + d, du, lanes);
            if (b->ddelta.data) vec_store_n(b->ddelta.data + t * b->ddelta.stride + d, ddelta, lanes);
            if (b->dz.data) vec_store_n(b->dz.data + t * b->dz.stride + d, dz, lanes);
            if (b->y.data) vec_store_n(b->y.data + t * b->y.stride + d, y, lanes);
        }
    }
    for (size_t d = part->begin, v = 0; d < part->end; d += VEC_LANES, v++) {
        size_t lanes = part->end - d < VEC_LANES ? part->end - d : VEC_LANES;
        if (b->dD) vec_store_n(b->dD + d, vec_add(dD[v], vec_load_n(b->dD + d, lanes)), lanes);
        if (b->ddelta_bias) vec_store_n(b->ddelta_bias + d, vec_add(dbias[v], vec_load_n(b->ddelta_bias + d, lanes)), lanes);
    }
}

static void scan_backward_part(const kr_scan_backward *b, const kr_scan_part *part, void *scratch)
{
    scan_backward_tile *tile = scratch;
    const kr_scan *op = &b->forward;
    vec largest_dt[SCAN_TILE_VECTORS];
    scan_backward_inputs(b, part, tile, largest_dt);
    for (size_t d = part->begin, v = 0; d < part->end; d += VEC_LANES, v++) {
        size_t lanes = part->end - d < VEC_LANES ? part->end - d : VEC_LANES;
        vec largest_A = vec_zero();
        for (size_t n = 0; n < op->d_state; n++)
            largest_A = vec_max(largest_A, vec_abs(vec_load_n(op->A + n * op->d_inner + d, lanes)));
        if (vec_max_lane(vec_mul(largest_A, largest_dt[v])) <= 125.0f)
            scan_backward_vector(b, part, tile, true, v);
        else
            scan_backward_vector(b, part, tile, false, v);
    }
    scan_backward_outputs(b, part, tile);
}
