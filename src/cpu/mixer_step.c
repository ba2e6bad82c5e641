/* kr_mixer_step: the ops of a decode step as shares of one parallel region. Its reference is the same text on the references of
 * the ops. */
#include "base/threads.h"
#include "cpu/kernels.h"
#include "tensor/packed.h"

enum { ASK_BYTES = 256 << 10 /* of the small matrices, before the threads meet */ };

typedef struct context {
    const kr_cpu_kernels *kernels, *scan_kernels;
    const kr_mixer_step *op;
    kr_conv conv;
    kr_linear x_proj, dt_proj;
    kr_rms_norm norms[3]; /* of dt, B, C */
    kr_scan scan;
    kr_quantized quantized; /* x, where x_proj wants it */
    char *scratch;          /* of each thread, thread_scratch bytes: for dt_proj, then for the scan */
    size_t thread_scratch;
} context;

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Channels of a thread, first..last-1, through the convolution, and as x_proj reads them. */
static void convolve(const context *c, size_t first, size_t last)
{
    if (first >= last) return;
    c->kernels->conv(&c->conv, first, last);
    if (!kr_cpu_quantizes(c->kernels, c->x_proj.weight.type)) return;
    c->kernels->quantize(&c->x_proj, &c->quantized, 0, c->op->n_sequences, first,
                         last < c->op->d_inner ? last : c->quantized.stride);
}

static void share(void *pointer, int thread, int n_threads)
{
    const context *c = pointer;
    char *scratch = c->scratch + (size_t)thread * c->thread_scratch;
    size_t begin, end, first_channel, last_channel;
    kr_share(c->op->d_inner, KR_BLOCK_COLUMNS, thread, n_threads, &first_channel, &last_channel);
    kr_share(c->x_proj.weight.rows, kr_is_grouped(c->x_proj.weight.type) ? KR_GROUP_ROWS : 1, thread, n_threads, &begin, &end);
    convolve(c, first_channel, last_channel);
    kr_cpu_linear_ask(&c->x_proj, begin, end, ASK_BYTES);
    kr_barrier(n_threads);

    if (begin < end) kr_cpu_linear_rows(c->kernels, &c->x_proj, &c->quantized, begin, end, end);
    kr_cpu_linear_ask(&c->dt_proj, first_channel, last_channel, ASK_BYTES);
    kr_barrier(n_threads);

    if (c->op->norm_eps >= 0) {
        kr_share(c->op->n_sequences, 1, thread, n_threads, &begin, &end);
        for (int i = 0; i < 3 && begin < end; i++) c->kernels->rms_norm(&c->norms[i], begin, end);
        kr_barrier(n_threads);
    }

    if (first_channel < last_channel) {
        kr_cpu_linear_alone(c->kernels, &c->dt_proj, first_channel, last_channel, scratch);
        c->scan_kernels->scan(&c->scan, first_channel, last_channel, scratch);
    }
}

static size_t thread_scratch(size_t n, size_t N, size_t R)
{
    size_t product = kr_quantized_carve(NULL, NULL, n, R), scan = kr_cpu_scan_scratch(1, N);
    return aligned(product > scan ? product : scan);
}

void kr_cpu_mixer_step(const kr_exec *exec, const kr_mixer_step *op)
{
    size_t n = op->n_sequences, D = op->d_inner, N = op->d_state, R = op->dt_rank, width = R + 2 * N;
    char *scratch = exec->scratch;
    size_t *start = (size_t *)scratch;
    float *x = (float *)(scratch += aligned((n + 1) * sizeof *start));
    float *dt = (float *)(scratch += aligned(n * D * sizeof *x)), *B = dt + R, *C = B + N; /* rows of x_proj's output */
    scratch += aligned(n * width * sizeof *dt);
    kr_quantized quantized;
    scratch += aligned(kr_quantized_carve(&quantized, scratch, n, D));
    for (size_t s = 0; s <= n; s++) start[s] = s;
    kr_rows rows = { n, start };

    /* delta is written to y, and the scan turns it into y in place. */
    context c = {
        .kernels = kr_cpu_kernels_of(exec->device->isa),
        .scan_kernels = kr_cpu_kernels_of(N > KR_SCAN_MAX_STATE ? KRAIT_ISA_PLAIN : exec->device->isa),
        .op = op,
        .conv = { .rows = rows,
                  .dim = D,
                  .width = op->d_conv,
                  .x = op->xz,
                  .weight = op->conv_weight,
                  .bias = op->conv_bias,
                  .silu = true,
                  .state = op->conv_state,
                  .y = { x, D } },
        .x_proj = { .n_tokens = n, .x = { x, D }, .weight = op->x_proj, .y = { dt, width } },
        .norms = { { n, R, { dt, width }, NULL, op->norm_eps, { dt, width } },
                   { n, N, { B, width }, NULL, op->norm_eps, { B, width } },
                   { n, N, { C, width }, NULL, op->norm_eps, { C, width } } },
        .dt_proj = { .n_tokens = n, .x = { dt, width }, .weight = op->dt_proj, .y = op->y },
        .scan = { .rows = rows,
                  .d_inner = D,
                  .d_state = N,
                  .n_groups = 1,
                  .u = { x, D },
                  .delta = { op->y.data, op->y.stride },
                  .z = { op->xz.data + D, op->xz.stride },
                  .B = { B, width },
                  .C = { C, width },
                  .A = op->A,
                  .D = op->D,
                  .delta_bias = op->dt_bias,
                  .delta_softplus = true,
                  .state = op->ssm_state,
                  .y = op->y },
        .quantized = quantized,
        .scratch = scratch,
        .thread_scratch = thread_scratch(n, N, R),
    };
    int threads = (width + R + n * N) * D < KR_SERIAL_ELEMENTS ? 1 : exec->threads;
    kr_parallel(threads, share, &c);
}

size_t kr_cpu_mixer_step_scratch(int threads, size_t n_sequences, size_t d_inner, size_t d_state, size_t dt_rank)
{
    return aligned((n_sequences + 1) * sizeof(size_t)) + aligned(n_sequences * d_inner * sizeof(float))
           + aligned(n_sequences * (dt_rank + 2 * d_state) * sizeof(float))
           + aligned(kr_quantized_carve(NULL, NULL, n_sequences, d_inner))
           + (size_t)threads * thread_scratch(n_sequences, d_state, dt_rank);
}
