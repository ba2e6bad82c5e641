/* kr_scan on channels begin..end-1: real A, B and C per token.
 *
 * Channels lie in the lanes of vectors. For a tile of tokens x channels, three passes over scratch:
 *   1. dt = act(delta + bias), dt * u and D * u, once per token and channel;
 *   2. for each vector of channels and each block of states, whose h stay in registers: the recurrence over the tile's tokens,
 *      y += C h;
 *   3. y * silu(z), out.
 * exp(dt A) is 2^(dt log2(e) A). Its argument is almost always small: a tile's largest dt and A tell, and vec_exp2_small() gives
 * the same bits as vec_exp2() then. */

typedef struct scan_tile {
    float dt[KR_SCAN_TILE_TOKENS][KR_SCAN_TILE_CHANNELS]; /* times log2(e) */
    float du[KR_SCAN_TILE_TOKENS][KR_SCAN_TILE_CHANNELS]; /* dt * u */
    float y[KR_SCAN_TILE_TOKENS][KR_SCAN_TILE_CHANNELS];
    float A[][KR_SCAN_TILE_CHANNELS]; /* [d_state] */
} scan_tile;

enum {
    SCAN_TILE_VECTORS = KR_SCAN_TILE_CHANNELS / VEC_LANES,
    SCAN_STATES = VEC_REGISTERS / 2, /* states in registers */
    SCAN_AHEAD = 8                   /* tokens */
};

/* Starts reading [n_rows, n_channels] into the second cache: rows are too far apart for the processor to guess. */
VEC_INLINE void scan_fetch(const float *rows, size_t n_rows, size_t stride, size_t n_channels)
{
    for (size_t n = 0; n < n_rows; n++)
        for (size_t c = 0; c < n_channels; c += 16) __builtin_prefetch(rows + n * stride + c, 0, 2);
}

/* What the backward pass starts a chunk from. */
VEC_INLINE void scan_save(const kr_scan *op, const float *state, float *saved, size_t channel, size_t n_channels)
{
    for (size_t i = channel; i < op->d_state * op->d_inner; i += op->d_inner)
        memcpy(saved + i, state + i, n_channels * sizeof *saved);
}

/* Pass 1; returns for each vector of channels the largest |dt|. Asks for rows ahead, up to the n_left-th that follows, and for those
 * of pass 3. */
VEC_INLINE void scan_inputs(const kr_scan *op, scan_tile *tile, size_t token, size_t n_tokens, size_t n_left, size_t channel,
                            size_t n_channels, vec largest[])
{
    for (size_t t = 0; t < n_tokens; t++) {
        if (t + SCAN_AHEAD < n_left) {
            scan_fetch(op->delta.data + (token + t + SCAN_AHEAD) * op->delta.stride + channel, 1, 0, n_channels);
            scan_fetch(op->u.data + (token + t + SCAN_AHEAD) * op->u.stride + channel, 1, 0, n_channels);
        }
        if (op->z.data && n_left > 1) scan_fetch(op->z.data + (token + t) * op->z.stride + channel, 1, 0, n_channels);
        const float *delta = op->delta.data + (token + t) * op->delta.stride + channel;
        const float *u = op->u.data + (token + t) * op->u.stride + channel;
        for (size_t c = 0; c < n_channels; c += VEC_LANES) {
            size_t lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES, v = c / VEC_LANES;
            vec dt = vec_load_n(delta + c, lanes), x = vec_load_n(u + c, lanes);
            if (op->delta_bias) dt = vec_add(dt, vec_load_n(op->delta_bias + channel + c, lanes));
            if (op->delta_softplus) dt = vec_softplus(dt);
            vec dt2 = vec_mul(dt, vec_set(0x1.715476p+0f)), y = vec_zero();
            if (op->D) y = vec_mul(x, vec_load_n(op->D + channel + c, lanes));
            largest[v] = t == 0 ? vec_abs(dt2) : vec_max(largest[v], vec_abs(dt2));
            vec_store(tile->dt[t] + c, dt2);
            vec_store(tile->du[t] + c, vec_mul(dt, x));
            vec_store(tile->y[t] + c, y);
        }
    }
}

/* Pass 2 for one vector of channels (c.. in the tile) and `states` states (from n), a constant where this is inlined. B and C
 * point to state n of the tile's first token, h to it in the sequence's state. */
#define SCAN_EACH_STATE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define SCAN_LOAD(i) \
    if (i < states) h##i = vec_load_n(state + i * op->d_inner, lanes);
#define SCAN_STORE(i) \
    if (i < states) vec_store_n(state + i * op->d_inner, h##i, lanes);
#define SCAN_STEP(i)                                             \
    if (i < states) {                                            \
        vec x = vec_mul(dt, vec_load(tile->A[n + i] + c));       \
        vec decay = small ? vec_exp2_small(x) : vec_exp2(x);     \
        h##i = vec_fma(decay, h##i, vec_mul(du, vec_set(B[i]))); \
        y = vec_fma(h##i, vec_set(C[i]), y);                     \
    }
VEC_INLINE void scan_states(const kr_scan *op, scan_tile *tile, int states, bool small, size_t n, const float *B, const float *C,
                            size_t n_tokens, size_t c, float *state, size_t lanes)
{
    vec h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15;
    SCAN_EACH_STATE(SCAN_LOAD)
    for (size_t t = 0; t < n_tokens; t++, B += op->B.stride, C += op->C.stride) {
        vec dt = vec_load(tile->dt[t] + c), du = vec_load(tile->du[t] + c), y = vec_load(tile->y[t] + c);
        SCAN_EACH_STATE(SCAN_STEP)
        vec_store(tile->y[t] + c, y);
    }
    SCAN_EACH_STATE(SCAN_STORE)
}

/* Pass 2 for one vector of channels. */
VEC_INLINE void scan_vector(const kr_scan *op, scan_tile *tile, bool small, const float *B, const float *C, size_t n_tokens,
                            size_t c, float *state, size_t lanes)
{
    size_t n = 0, N = op->d_state, D = op->d_inner;
    for (; N - n >= SCAN_STATES; n += SCAN_STATES)
        scan_states(op, tile, SCAN_STATES, small, n, B + n, C + n, n_tokens, c, state + n * D, lanes);
    if (SCAN_STATES > 8 && N - n >= 8) {
        scan_states(op, tile, 8, small, n, B + n, C + n, n_tokens, c, state + n * D, lanes);
        n += 8;
    }
    if (N - n >= 4) {
        scan_states(op, tile, 4, small, n, B + n, C + n, n_tokens, c, state + n * D, lanes);
        n += 4;
    }
    if (N - n >= 2) {
        scan_states(op, tile, 2, small, n, B + n, C + n, n_tokens, c, state + n * D, lanes);
        n += 2;
    }
    if (N - n >= 1) scan_states(op, tile, 1, small, n, B + n, C + n, n_tokens, c, state + n * D, lanes);
}

/* Pass 3. */
VEC_INLINE void scan_outputs(const kr_scan *op, scan_tile *tile, size_t token, size_t n_tokens, size_t channel, size_t n_channels)
{
    for (size_t t = 0; t < n_tokens; t++) {
        const float *z = op->z.data ? op->z.data + (token + t) * op->z.stride + channel : NULL;
        float *out = op->y.data + (token + t) * op->y.stride + channel;
        for (size_t c = 0; c < n_channels; c += VEC_LANES) {
            size_t lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
            vec y = vec_load(tile->y[t] + c);
            if (z) y = vec_mul(y, vec_silu(vec_load_n(z + c, lanes)));
            vec_store_n(out + c, y, lanes);
        }
    }
}

/* All tokens of all sequences, for channels (at most a tile's) of one group. */
_Static_assert(KR_SCAN_CHUNK % KR_SCAN_TILE_TOKENS == 0, "chunks begin with tiles");
static void scan_tile_channels(const kr_scan *op, scan_tile *tile, size_t group, size_t channel, size_t n_channels)
{
    size_t N = op->d_state;
    vec largest_A[SCAN_TILE_VECTORS], largest_dt[SCAN_TILE_VECTORS];
    for (size_t c = 0; c < n_channels; c += VEC_LANES) {
        size_t lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
        vec max = vec_zero();
        for (size_t n = 0; n < N; n++) {
            vec A = vec_load_n(op->A + n * op->d_inner + channel + c, lanes);
            max = vec_max(max, vec_abs(A));
            vec_store(tile->A[n] + c, A);
        }
        largest_A[c / VEC_LANES] = max;
    }
    float *saved = op->saved;
    for (size_t s = 0; s < op->rows.n_sequences; s++) {
        size_t end = op->rows.start[s + 1];
        if (s + 1 < op->rows.n_sequences) scan_fetch(op->state[s + 1] + channel, N, op->d_inner, n_channels);
        for (size_t t = op->rows.start[s]; t < end; t += KR_SCAN_TILE_TOKENS) {
            size_t n_tokens = end - t < KR_SCAN_TILE_TOKENS ? end - t : KR_SCAN_TILE_TOKENS;
            if (saved && (t - op->rows.start[s]) % KR_SCAN_CHUNK == 0) {
                scan_save(op, op->state[s], saved, channel, n_channels);
                saved += N * op->d_inner;
            }
            const float *B = op->B.data + t * op->B.stride + group * N, *C = op->C.data + t * op->C.stride + group * N;
            scan_inputs(op, tile, t, n_tokens, end - t, channel, n_channels, largest_dt);
            for (size_t c = 0; c < n_channels; c += VEC_LANES) {
                size_t lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES, v = c / VEC_LANES;
                float *state = op->state[s] + channel + c;
                if (vec_max_lane(vec_mul(largest_A[v], largest_dt[v])) <= 125.0f)
                    scan_vector(op, tile, true, B, C, n_tokens, c, state, lanes);
                else
                    scan_vector(op, tile, false, B, C, n_tokens, c, state, lanes);
            }
            scan_outputs(op, tile, t, n_tokens, channel, n_channels);
        }
    }
}

/* ---- one token a sequence ------------------------------------------------------------------------------------------ */

/* Decode: every state is read and written once, which is most of the time with many sequences. Memory likes long runs of a row, so
 * chunks are wider than tiles; the next sequence's rows are asked for a few at a time between the vectors, as requests in a heap let
 * nothing pass. The same operations in the same order as above. */
enum {
    SCAN_STEP_CHANNELS = 2 * KR_SCAN_TILE_CHANNELS,
    SCAN_STEP_VECTORS = SCAN_STEP_CHANNELS / VEC_LANES,
    SCAN_STEP_STATES = 16
};

/* What the vectors of a chunk are between the passes. */
typedef struct scan_step {
    vec dt[SCAN_STEP_VECTORS]; /* times log2(e) */
    vec du[SCAN_STEP_VECTORS], y[SCAN_STEP_VECTORS];
    vec largest_A[SCAN_STEP_VECTORS];
} scan_step;

VEC_INLINE void scan_step_input(const kr_scan *op, scan_step *step, size_t s, size_t channel, size_t v, size_t lanes)
{
    vec dt = vec_load_n(op->delta.data + s * op->delta.stride + channel, lanes);
    const vec u = vec_load_n(op->u.data + s * op->u.stride + channel, lanes);
    if (op->delta_bias) dt = vec_add(dt, vec_load_n(op->delta_bias + channel, lanes));
    if (op->delta_softplus) dt = vec_softplus(dt);
    step->dt[v] = vec_mul(dt, vec_set(0x1.715476p+0f));
    step->du[v] = vec_mul(dt, u);
    step->y[v] = op->D ? vec_mul(u, vec_load_n(op->D + channel, lanes)) : vec_zero();
}

#define SCAN_STEP_STATE(i)                                                                        \
    do {                                                                                          \
        const vec x = vec_mul(dt, vec_load_n(A + (i)*D, lanes));                                  \
        const vec decay = small ? vec_exp2_small(x) : vec_exp2(x);                                \
        const vec now = vec_fma(decay, vec_load_n(h + (i)*D, lanes), vec_mul(du, vec_set(B[i]))); \
        vec_store_n(h + (i)*D, now, lanes);                                                       \
        y = vec_fma(now, vec_set(C[i]), y);                                                       \
    } while (0)

VEC_INLINE void scan_step_states(const kr_scan *op, scan_step *step, const bool small, size_t v, const float *A, float *h,
                                 const float *B, const float *C, const size_t lanes)
{
    const size_t N = op->d_state, D = op->d_inner;
    const vec dt = step->dt[v], du = step->du[v];
    vec y = step->y[v];
    size_t n = 0;
    for (; n + SCAN_STEP_STATES <= N; n += SCAN_STEP_STATES, A += SCAN_STEP_STATES * D, h += SCAN_STEP_STATES * D,
                                      B += SCAN_STEP_STATES, C += SCAN_STEP_STATES) {
        VEC_UNROLL
        for (size_t i = 0; i < SCAN_STEP_STATES; i++) SCAN_STEP_STATE(i);
    }
    for (size_t i = 0; i < N - n; i++) SCAN_STEP_STATE(i);
    step->y[v] = y;
}

/* Channels (at most a chunk) of one group; n_next channels follow, whose states and A are asked for as well. */
static void scan_step_channels(const kr_scan *op, size_t group, size_t channel, size_t n_channels, size_t n_next)
{
    const size_t N = op->d_state, D = op->d_inner, n_vectors = (n_channels + VEC_LANES - 1) / VEC_LANES;
    scan_step step;
    for (size_t v = 0; v < n_vectors; v++) {
        const size_t c = v * VEC_LANES, lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
        vec max = vec_zero();
        for (size_t n = 0; n < N; n++) max = vec_max(max, vec_abs(vec_load_n(op->A + n * D + channel + c, lanes)));
        step.largest_A[v] = max;
    }
    for (size_t s = 0; s < op->rows.n_sequences; s++) {
        const bool last = s + 1 == op->rows.n_sequences;
        const size_t to = last ? channel + n_channels : channel, n_fetch = last ? n_next : n_channels;
        const float *next = op->state[last ? 0 : s + 1] + to;
        const float *B = op->B.data + s * op->B.stride + group * N, *C = op->C.data + s * op->C.stride + group * N;
        for (size_t v = 0; v < n_vectors; v++) {
            const size_t c = v * VEC_LANES, lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
            scan_step_input(op, &step, s, channel + c, v, lanes);
        }
        for (size_t v = 0; v < n_vectors; v++) {
            const size_t c = v * VEC_LANES, lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
            const size_t row = v * N / n_vectors, end = (v + 1) * N / n_vectors;
            scan_fetch(next + row * D, end - row, D, n_fetch);
            if (last) scan_fetch(op->A + row * D + to, end - row, D, n_fetch);
            if (op->z.data && c < n_fetch) scan_fetch(op->z.data + (last ? 0 : s + 1) * op->z.stride + to + c, 1, 0, VEC_LANES);
            const float *A = op->A + channel + c;
            float *h = op->state[s] + channel + c;
            const bool small = vec_max_lane(vec_mul(step.largest_A[v], vec_abs(step.dt[v]))) <= 125.0f;
            if (small && lanes == VEC_LANES)
                scan_step_states(op, &step, true, v, A, h, B, C, VEC_LANES);
            else if (small)
                scan_step_states(op, &step, true, v, A, h, B, C, lanes);
            else
                scan_step_states(op, &step, false, v, A, h, B, C, lanes);
        }
        for (size_t v = 0; v < n_vectors; v++) {
            const size_t c = v * VEC_LANES, lanes = n_channels - c < VEC_LANES ? n_channels - c : VEC_LANES;
            vec y = step.y[v];
            if (op->z.data) y = vec_mul(y, vec_silu(vec_load_n(op->z.data + s * op->z.stride + channel + c, lanes)));
            vec_store_n(op->y.data + s * op->y.stride + channel + c, y, lanes);
        }
    }
}

static bool one_token_each(const kr_rows *rows)
{
    for (size_t s = 0; s < rows->n_sequences; s++)
        if (rows->start[s] != s || rows->start[s + 1] != s + 1) return false;
    return true;
}

/* -------------------------------------------------------------------------------------------------------------------- */

static void scan_channels(const kr_scan *op, size_t begin, size_t end, void *scratch)
{
    const size_t per_group = op->d_inner / op->n_groups;
    const bool steps = !op->saved && one_token_each(&op->rows);
    const size_t most = steps ? SCAN_STEP_CHANNELS : KR_SCAN_TILE_CHANNELS;
    for (size_t d = begin; d < end;) {
        size_t group = d / per_group, last = (group + 1) * per_group;
        if (last > end) last = end;
        if (last - d > most) last = d + most;
        if (steps)
            scan_step_channels(op, group, d, last - d, end - last < most ? end - last : most);
        else
            scan_tile_channels(op, scratch, group, d, last - d);
        d = last;
    }
}
