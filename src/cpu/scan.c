/* kr_scan: the reference, and the driver. */
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

static float step_real(const kr_scan *op, float *h, size_t t, size_t d, float dt, float u)
{
    float sum = 0;
    for (size_t n = 0; n < op->d_state; n++) {
        size_t i = n * op->d_inner + d;
        float B = op->B.data[index_of(op, op->fixed_B, op->B.stride, t, d, n)];
        float C = op->C.data[index_of(op, op->fixed_C, op->C.stride, t, d, n)];
        h[i] = expf(dt * op->A[i]) * h[i] + dt * B * u;
        sum += C * h[i];
    }
    return sum;
}

static float step_complex(const kr_scan *op, float *h, size_t t, size_t d, float dt, float u)
{
    float sum = 0;
    for (size_t n = 0; n < op->d_state; n++) {
        size_t i = 2 * (n * op->d_inner + d);
        const float *B = op->B.data + index_of(op, op->fixed_B, op->B.stride, t, d, n);
        const float *C = op->C.data + index_of(op, op->fixed_C, op->C.stride, t, d, n);
        float size = expf(dt * op->A[i]), angle = dt * op->A[i + 1];
        float a_re = size * cosf(angle), a_im = size * sinf(angle), h_re = h[i], h_im = h[i + 1];
        h[i] = a_re * h_re - a_im * h_im + dt * B[0] * u;
        h[i + 1] = a_re * h_im + a_im * h_re + dt * B[1] * u;
        sum += C[0] * h[i] - C[1] * h[i + 1];
    }
    return 2 * sum;
}

void kr_scan_plain(const kr_scan *op, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    for (size_t s = 0; s < op->rows.n_sequences; s++)
        for (size_t t = op->rows.start[s]; t < op->rows.start[s + 1]; t++)
            for (size_t d = begin; d < end; d++) {
                float dt = time_step(op, t, d), u = op->u.data[t * op->u.stride + d];
                float sum = (op->is_complex ? step_complex : step_real)(op, op->state[s], t, d, dt, u);
                op->y.data[t * op->y.stride + d] = output(op, t, d, sum);
            }
}

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

void kr_cpu_scan(const kr_exec *exec, const kr_scan *op)
{
    bool plain = op->is_complex || op->fixed_B || op->fixed_C || op->d_state > KR_SCAN_MAX_STATE;
    size_t n_tokens = op->rows.start[op->rows.n_sequences];
    int threads = n_tokens * op->d_inner * op->d_state < KR_SERIAL_SCAN_STEPS ? 1 : exec->threads;
    kr_parallel(threads, share, &(context){ kr_cpu_kernels_of(plain ? KRAIT_ISA_PLAIN : exec->device->isa), op, exec->scratch });
}

/* Three tiles of tokens x channels (dt, dt * u, y) and one of states x channels (A). */
size_t kr_cpu_scan_scratch(int threads, size_t d_state)
{
    size_t states = d_state < KR_SCAN_MAX_STATE ? d_state : KR_SCAN_MAX_STATE;
    return (size_t)threads * (3 * KR_SCAN_TILE_TOKENS + states) * KR_SCAN_TILE_CHANNELS * sizeof(float);
}
