/* kr_scan and kr_scan_backward: the references, and the drivers. */
#include <string.h>

#include "base/threads.h"
#include "cpu/cpu_math.h"
#include "cpu/kernels.h"

/* What the real and the complex reference share. */
static float time_step(const kr_scan *op, size_t t, size_t d)
{
    float dt = op->delta.data[t * op->delta.stride + d];
    if (op->delta_bias) dt += op->delta_bias[d];
    return op->delta_softplus ? kr_softplus(dt) : dt;
}

static float output(const kr_scan *op, size_t t, size_t d, float sum)
{
    if (op->D) sum += op->D[d] * op->u.data[t * op->u.stride + d];
    if (op->z.data) sum *= kr_silu(op->z.data[t * op->z.stride + d]);
    return sum;
}

/* Index of B's or C's element for token t, channel d and state n. */
static size_t index_of(const kr_scan *op, bool fixed, size_t stride, size_t t, size_t d, size_t n)
{
    size_t group = d / (op->d_inner / op->n_groups), pair = op->is_complex ? 2 : 1;
    return fixed ? (n * op->d_inner + d) * pair : t * stride + (group * op->d_state + n) * pair;
}

/* A token's step of channel d's states, h[0], h[stride], ..; returns sum_n C h. */
static float step_real(const kr_scan *op, float *h, size_t stride, size_t t, size_t d, float dt, float u)
{
    float sum = 0;
    for (size_t n = 0; n < op->d_state; n++, h += stride) {
        float B = op->B.data[index_of(op, op->fixed_B, op->B.stride, t, d, n)];
        float C = op->C.data[index_of(op, op->fixed_C, op->C.stride, t, d, n)];
        *h = expf(dt * op->A[n * op->d_inner + d]) * *h + dt * B * u;
        sum += C * *h;
    }
    return sum;
}

/* h[0..1], h[2 * stride..], ..; returns 2 Re(sum_n C h). */
static float step_complex(const kr_scan *op, float *h, size_t stride, size_t t, size_t d, float dt, float u)
{
    float sum = 0;
    for (size_t n = 0; n < op->d_state; n++, h += 2 * stride) {
        const float *B = op->B.data + index_of(op, op->fixed_B, op->B.stride, t, d, n);
        const float *C = op->C.data + index_of(op, op->fixed_C, op->C.stride, t, d, n);
        const float *A = op->A + 2 * (n * op->d_inner + d);
        float size = expf(dt * A[0]), angle = dt * A[1];
        float a_re = size * cosf(angle), a_im = size * sinf(angle), h_re = h[0], h_im = h[1];
        h[0] = a_re * h_re - a_im * h_im + dt * B[0] * u;
        h[1] = a_re * h_im + a_im * h_re + dt * B[1] * u;
        sum += C[0] * h[0] - C[1] * h[1];
    }
    return 2 * sum;
}

void kr_scan_plain(const kr_scan *op, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    size_t pair = op->is_complex ? 2 : 1;
    float *saved = op->saved;
    for (size_t s = 0; s < op->rows.n_sequences; s++)
        for (size_t t = op->rows.start[s]; t < op->rows.start[s + 1]; t++) {
            if (saved && (t - op->rows.start[s]) % KR_SCAN_CHUNK == 0) {
                for (size_t n = 0; n < op->d_state; n++, saved += op->d_inner * pair)
                    memcpy(saved + begin * pair, op->state[s] + (n * op->d_inner + begin) * pair,
                           (end - begin) * pair * sizeof *saved);
            }
            for (size_t d = begin; d < end; d++) {
                float dt = time_step(op, t, d), u = op->u.data[t * op->u.stride + d];
                float sum = (op->is_complex ? step_complex : step_real)(op, op->state[s] + d * pair, op->d_inner, t, d, dt, u);
                op->y.data[t * op->y.stride + d] = output(op, t, d, sum);
            }
        }
}

/* ---- backward ---------------------------------------------------------------------------------------------------------- */

/* Where the gradient of index_of()'s element is summed; `rows` are the part's own. */
static float *gradient_of(const kr_scan *op, bool fixed, kr_view whole, kr_view rows, size_t row, size_t d, size_t n)
{
    size_t pair = op->is_complex ? 2 : 1;
    return fixed && whole.data ? whole.data + (n * op->d_inner + d) * pair : rows.data + row * rows.stride + n * pair;
}

/* One token and channel: what states add to the gradients of dt and of dt * u. */
typedef struct step_gradient {
    float dt, dt_u;
} step_gradient;

/* q is the gradient of sum_n C h (complex: of 2 Re). h: channel d's states before and after the token. carry: a[t+1] dh[t+1] before,
 * a[t] dh[t] after. */
static step_gradient step_backward_real(const kr_scan_backward *b, const kr_scan_part *part, size_t t, size_t d, float dt,
                                        float u, float q, const float *before, const float *after)
{
    const kr_scan *op = &b->forward;
    step_gradient sum = { 0, 0 };
    for (size_t n = 0; n < op->d_state; n++) {
        size_t i = n * op->d_inner + d;
        float B = op->B.data[index_of(op, op->fixed_B, op->B.stride, t, d, n)];
        float C = op->C.data[index_of(op, op->fixed_C, op->C.stride, t, d, n)];
        float dh = part->carry[i] + C * q, carry = expf(dt * op->A[i]) * dh;
        *gradient_of(op, op->fixed_B, b->dB, part->dB, t - part->first, d, n) += dt * u * dh;
        *gradient_of(op, op->fixed_C, b->dC, part->dC, t - part->first, d, n) += q * after[n];
        if (b->dA) b->dA[i] += dt * carry * before[n];
        sum.dt += op->A[i] * carry * before[n];
        sum.dt_u += B * dh;
        part->carry[i] = carry;
    }
    return sum;
}

/* With w* for the conjugate: carry = a* dh, dA = dt a* h* dh, dB = dt u dh, dC = 2 q h*, dt: Re(A* a* h* dh), dt u: Re(B* dh). */
static step_gradient step_backward_complex(const kr_scan_backward *b, const kr_scan_part *part, size_t t, size_t d, float dt,
                                           float u, float q, const float *before, const float *after)
{
    const kr_scan *op = &b->forward;
    step_gradient sum = { 0, 0 };
    for (size_t n = 0; n < op->d_state; n++) {
        size_t i = 2 * (n * op->d_inner + d);
        const float *B = op->B.data + index_of(op, op->fixed_B, op->B.stride, t, d, n);
        const float *C = op->C.data + index_of(op, op->fixed_C, op->C.stride, t, d, n);
        const float *A = op->A + i, *h0 = before + 2 * n, *h1 = after + 2 * n;
        float size = expf(dt * A[0]), angle = dt * A[1], a_re = size * cosf(angle), a_im = size * sinf(angle);
        float dh_re = part->carry[i] + 2 * q * C[0], dh_im = part->carry[i + 1] - 2 * q * C[1];
        float carry_re = a_re * dh_re + a_im * dh_im, carry_im = a_re * dh_im - a_im * dh_re;
        float x_re = carry_re * h0[0] + carry_im * h0[1], x_im = carry_im * h0[0] - carry_re * h0[1];
        float *dB = gradient_of(op, op->fixed_B, b->dB, part->dB, t - part->first, d, n);
        float *dC = gradient_of(op, op->fixed_C, b->dC, part->dC, t - part->first, d, n);
        dB[0] += dt * u * dh_re;
        dB[1] += dt * u * dh_im;
        dC[0] += 2 * q * h1[0];
        dC[1] -= 2 * q * h1[1];
        if (b->dA) {
            b->dA[i] += dt * x_re;
            b->dA[i + 1] += dt * x_im;
        }
        sum.dt += A[0] * x_re + A[1] * x_im;
        sum.dt_u += B[0] * dh_re + B[1] * dh_im;
        part->carry[i] = carry_re;
        part->carry[i + 1] = carry_im;
    }
    return sum;
}

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* A chunk of one channel: h[i] are its states before the chunk's token i, [d_state] (x2), sum[i] is sum_n C h after it. */
static void channel_backward(const kr_scan_backward *b, const kr_scan_part *part, size_t d, float *h, float *sum)
{
    const kr_scan *op = &b->forward;
    size_t pair = op->is_complex ? 2 : 1, N = op->d_state * pair;
    for (size_t n = 0; n < op->d_state; n++) memcpy(h + n * pair, part->saved + (n * op->d_inner + d) * pair, pair * sizeof *h);
    for (size_t i = 0; i < part->count; i++) {
        size_t t = part->first + i;
        float *now = h + (i + 1) * N;
        memcpy(now, now - N, N * sizeof *now);
        sum[i] =
            (op->is_complex ? step_complex : step_real)(op, now, 1, t, d, time_step(op, t, d), op->u.data[t * op->u.stride + d]);
    }
    float dD = 0, dbias = 0;
    for (size_t i = part->count; i-- > 0;) {
        size_t t = part->first + i;
        float u = op->u.data[t * op->u.stride + d], dt = time_step(op, t, d), q = b->dy.data[t * b->dy.stride + d];
        float delta = op->delta.data[t * op->delta.stride + d] + (op->delta_bias ? op->delta_bias[d] : 0.0f);
        float D = op->D ? op->D[d] : 0.0f, y = sum[i] + D * u, dz = 0;
        if (op->z.data) {
            float z = op->z.data[t * op->z.stride + d], s = sigmoid(z);
            dz = q * y * s * (1 + z * (1 - s));
            y *= kr_silu(z);
            q *= kr_silu(z);
        }
        step_gradient g =
            (op->is_complex ? step_backward_complex : step_backward_real)(b, part, t, d, dt, u, q, h + i * N, h + (i + 1) * N);
        float ddelta = (g.dt + u * g.dt_u) * (op->delta_softplus ? sigmoid(delta) : 1.0f);
        if (b->du.data) b->du.data[t * b->du.stride + d] = dt * g.dt_u + D * q;
        if (b->ddelta.data) b->ddelta.data[t * b->ddelta.stride + d] = ddelta;
        if (b->dz.data) b->dz.data[t * b->dz.stride + d] = dz;
        if (b->y.data) b->y.data[t * b->y.stride + d] = y;
        dD += q * u;
        dbias += ddelta;
    }
    if (b->dD) b->dD[d] += dD;
    if (b->ddelta_bias) b->ddelta_bias[d] += dbias;
}

void kr_scan_backward_plain(const kr_scan_backward *b, const kr_scan_part *part, void *scratch)
{
    size_t N = b->forward.d_state * (b->forward.is_complex ? 2 : 1);
    float *sum = scratch, *h = sum + KR_SCAN_CHUNK;
    for (size_t i = 0; i < part->count; i++) {
        memset(part->dB.data + i * part->dB.stride, 0, N * sizeof(float));
        memset(part->dC.data + i * part->dC.stride, 0, N * sizeof(float));
    }
    for (size_t d = part->begin; d < part->end; d++) channel_backward(b, part, d, h, sum);
}

/* ---- drivers ----------------------------------------------------------------------------------------------------------- */

typedef struct context {
    const kr_cpu_kernels *kernels;
    const kr_scan *op;
    char *scratch;
} context;

static void share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    size_t begin, end;
    kr_share(c->op->d_inner, 16, thread, n_threads, &begin, &end);
    if (begin < end) c->kernels->scan(c->op, begin, end, c->scratch + (size_t)thread * kr_cpu_scan_scratch(1, c->op->d_state));
}

/* Vectors do the usual, the reference does the rest. */
static const kr_cpu_kernels *kernels_for(const kr_exec *exec, const kr_scan *op)
{
    bool plain = op->is_complex || op->fixed_B || op->fixed_C || op->d_state > KR_SCAN_MAX_STATE;
    return kr_cpu_kernels_of(plain ? KRAIT_ISA_PLAIN : exec->device->isa);
}

void kr_cpu_scan(const kr_exec *exec, const kr_scan *op)
{
    size_t n_tokens = op->rows.start[op->rows.n_sequences];
    int threads = n_tokens * op->d_inner * op->d_state < KR_SERIAL_SCAN_STEPS ? 1 : exec->threads;
    kr_parallel(threads, share, &(context){ kernels_for(exec, op), op, exec->scratch });
}

/* Three tiles of tokens x channels (dt, dt * u, y) and one of states x channels (A). */
size_t kr_cpu_scan_scratch(int threads, size_t d_state)
{
    size_t states = d_state < KR_SCAN_MAX_STATE ? d_state : KR_SCAN_MAX_STATE;
    return (size_t)threads * (3 * KR_SCAN_TILE_TOKENS + states) * KR_SCAN_TILE_CHANNELS * sizeof(float);
}

/* ---- the driver of the backward pass ----------------------------------------------------------------------------------- */

/* Channels are cut into tiles, each within a group; a thread has some of the tiles. Chunks go from the last to the first. dB and dC are
 * sums over the tiles of a group: each tile leaves its part in scratch, and when all have, the parts are added in the tiles' order. To
 * have few such meetings, consecutive chunks that are short go together. */
typedef struct backward_plan {
    size_t group_channels, group_tiles, n_tiles;
    size_t N;             /* floats of B per token and group */
    size_t part_floats;   /* [KR_SCAN_CHUNK, 2, N]: dB and dC of a tile */
    size_t thread_floats; /* scratch of a thread */
    size_t carry_floats;
} backward_plan;

static backward_plan plan_backward(size_t d_inner, size_t N, size_t n_groups)
{
    backward_plan p = { .group_channels = d_inner / n_groups, .N = N };
    p.group_tiles = (p.group_channels + KR_SCAN_TILE_CHANNELS - 1) / KR_SCAN_TILE_CHANNELS;
    p.n_tiles = p.group_tiles * n_groups;
    p.part_floats = (2 * KR_SCAN_CHUNK * N + 15) / 16 * 16;
    p.carry_floats = (N * d_inner + 15) / 16 * 16;
    p.thread_floats = (KR_SCAN_CHUNK + (KR_SCAN_CHUNK + 1) * N + 15) / 16 * 16; /* the reference's */
    if (p.thread_floats < KR_SCAN_BACKWARD_FLOATS) p.thread_floats = KR_SCAN_BACKWARD_FLOATS;
    return p;
}

size_t kr_cpu_scan_backward_scratch(int threads, size_t d_inner, size_t d_state, size_t n_groups)
{
    backward_plan p = plan_backward(d_inner, d_state, n_groups);
    return ((size_t)threads * p.thread_floats + p.carry_floats + 2 * p.n_tiles * p.part_floats) * sizeof(float);
}

typedef struct backward_context {
    const kr_cpu_kernels *kernels;
    const kr_scan_backward *op;
    backward_plan plan;
    float *carry, *parts, *scratch;
} backward_context;

/* A chunk of a sequence, its number among all chunks, and its row among those that go together. */
typedef struct chunk {
    size_t sequence, first, count, index, row;
    bool last; /* of its sequence */
} chunk;

/* The chunk before, in the order of time; false: there is none. *c begins as { .sequence = n_sequences, .index = kr_scan_chunks() }. */
static bool previous_chunk(kr_rows rows, chunk *c)
{
    c->last = c->sequence == rows.n_sequences || c->first == rows.start[c->sequence];
    size_t end = c->last ? 0 : c->first;
    while (c->last && c->sequence > 0) {
        c->sequence--;
        end = rows.start[c->sequence + 1];
        if (end > rows.start[c->sequence]) break;
    }
    if (c->index == 0) return false;
    c->index--;
    c->first = rows.start[c->sequence] + (end - 1 - rows.start[c->sequence]) / KR_SCAN_CHUNK * KR_SCAN_CHUNK;
    c->count = end - c->first;
    return true;
}

static void tile_backward(const backward_context *c, const chunk *k, size_t tile, float *part_rows, float *scratch)
{
    const kr_scan *op = &c->op->forward;
    const backward_plan *p = &c->plan;
    size_t group = tile / p->group_tiles, begin = group * p->group_channels + tile % p->group_tiles * KR_SCAN_TILE_CHANNELS;
    size_t end = (group + 1) * p->group_channels, pair = op->is_complex ? 2 : 1;
    if (end - begin > KR_SCAN_TILE_CHANNELS) end = begin + KR_SCAN_TILE_CHANNELS;
    float *given = c->op->dstate ? c->op->dstate[k->sequence] : NULL, *carry = given ? given : c->carry;
    if (k->last && !given) {
        for (size_t n = 0; n < op->d_state; n++)
            memset(carry + (n * op->d_inner + begin) * pair, 0, (end - begin) * pair * sizeof *carry);
    }
    kr_scan_part part = { .first = k->first,
                          .count = k->count,
                          .group = group,
                          .begin = begin,
                          .end = end,
                          .saved = op->saved + k->index * op->d_inner * p->N,
                          .carry = carry,
                          .dB = { part_rows + k->row * 2 * p->N, 2 * p->N },
                          .dC = { part_rows + k->row * 2 * p->N + p->N, 2 * p->N } };
    c->kernels->scan_backward(c->op, &part, scratch);
}

/* Rows begin..end-1 of dB or dC, from column `column` of the parts' rows. */
static void add_parts(const backward_context *c, kr_view out, size_t first, size_t begin, size_t end, const float *parts,
                      size_t column)
{
    const backward_plan *p = &c->plan;
    for (size_t row = begin; row < end; row++)
        for (size_t group = 0; group < c->op->forward.n_groups; group++) {
            float *sum = out.data + (first + row) * out.stride + group * p->N;
            const float *part = parts + group * p->group_tiles * p->part_floats + row * 2 * p->N + column;
            memcpy(sum, part, p->N * sizeof *sum);
            for (size_t tile = 1; tile < p->group_tiles; tile++) {
                part += p->part_floats;
                for (size_t n = 0; n < p->N; n++) sum[n] += part[n];
            }
        }
}

static void share_backward(void *pointer, int thread, int n_threads)
{
    const backward_context *c = pointer;
    const kr_scan *op = &c->op->forward;
    const backward_plan *p = &c->plan;
    float *scratch = c->scratch + (size_t)thread * p->thread_floats, *parts = c->parts;
    size_t begin, end;
    kr_share(p->n_tiles, 1, thread, n_threads, &begin, &end);
    chunk next = { .sequence = op->rows.n_sequences, .index = kr_scan_chunks(op->rows) };
    bool more = previous_chunk(op->rows, &next);
    while (more) {
        /* Chunks next, .. last, as long as their rows fit into a tile's part. */
        chunk from = next, last = next;
        size_t n_rows = 0, n_chunks = 0;
        do {
            last = next;
            n_rows += next.count;
            n_chunks++;
            more = previous_chunk(op->rows, &next);
        } while (more && n_rows + next.count <= KR_SCAN_CHUNK);
        for (size_t tile = begin; tile < end; tile++) {
            chunk k = from;
            for (size_t i = 0; i < n_chunks; i++) {
                k.row = k.first - last.first;
                tile_backward(c, &k, tile, parts + tile * p->part_floats, scratch);
                if (i + 1 < n_chunks) previous_chunk(op->rows, &k);
            }
        }
        /* While parts are added the next chunks' go into other memory, whose last reader has passed this barrier. */
        kr_barrier(n_threads);
        size_t first_row, end_row;
        kr_share(n_rows, 1, thread, n_threads, &first_row, &end_row);
        if (c->op->dB.data && !op->fixed_B) add_parts(c, c->op->dB, last.first, first_row, end_row, parts, 0);
        if (c->op->dC.data && !op->fixed_C) add_parts(c, c->op->dC, last.first, first_row, end_row, parts, p->N);
        parts = parts == c->parts ? c->parts + p->n_tiles * p->part_floats : c->parts;
    }
}

void kr_cpu_scan_backward(const kr_exec *exec, const kr_scan_backward *op)
{
    const kr_scan *f = &op->forward;
    size_t n_tokens = f->rows.start[f->rows.n_sequences];
    int threads = n_tokens * f->d_inner * f->d_state < KR_SERIAL_SCAN_STEPS / 4 ? 1 : exec->threads;
    backward_context c = { .kernels = kernels_for(exec, f),
                           .op = op,
                           .plan = plan_backward(f->d_inner, f->d_state * (f->is_complex ? 2 : 1), f->n_groups) };
    c.carry = exec->scratch;
    c.parts = c.carry + c.plan.carry_floats;
    c.scratch = c.parts + 2 * c.plan.n_tiles * c.plan.part_floats;
    kr_parallel(threads, share_backward, &c);
}
