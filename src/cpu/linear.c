/* kr_linear: few tokens by our own kernels, which read the weights once at the speed of memory; many by the GEMM where the weights are
 * float32, or bfloat16 on CPUs that multiply it. kr_linear_backward the same way. */
#include "base/memory.h"
#include "base/threads.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "tensor/packed.h"

enum {
    SMALLEST_PIECE = 64 << 10,
    ASK_TOKENS = 4, /* fewer tokens are multiplied with several groups of rows side by side, which lie far apart, */
    STREAMS = 4,    /* at most so many */
    ASK_BYTES = 128 << 10
};

typedef struct product {
    const kr_linear *op;
    const kr_cpu_kernels *kernels;
    kr_quantized x;  /* with weights that want it */
    size_t next;     /* row that no thread has taken */
    size_t smallest; /* piece to take, in rows */
    size_t grain;    /* runs longer than this are a multiple of it, but for the last */
    const kr_gemm_product *backward;
} product;

bool kr_cpu_quantizes(const kr_cpu_kernels *kernels, krait_weight_type type)
{
    return kr_is_grouped(type) || (type == KRAIT_WEIGHT_BF16 && kernels->bf16);
}

void kr_cpu_linear_rows(const kr_cpu_kernels *kernels, const kr_linear *op, const kr_quantized *x, size_t begin, size_t end,
                        size_t then)
{
    if (kr_cpu_quantizes(kernels, op->weight.type))
        kernels->dot(op, x, begin, end, then);
    else
        kernels->matvec(op, begin, end);
}

/* Few tokens are cut by columns, in the same places as channels by the ops that wrote them. */
static void quantize_share(void *context, int thread, int n_threads)
{
    const product *p = context;
    const size_t n = p->op->n_tokens, stride = p->x.stride;
    size_t begin = 0, end = n, from = 0, to = stride;
    if (n < (size_t)n_threads * KR_TILE_TOKENS)
        kr_share(stride, KR_BLOCK_COLUMNS, thread, n_threads, &from, &to);
    else
        kr_share(n, KR_TILE_TOKENS, thread, n_threads, &begin, &end);
    if (begin < end && from < to) p->kernels->quantize(p->op, &p->x, begin, end, from, to);
}

/* With few tokens the kernels start in several places at once. */
void kr_cpu_linear_ask(const kr_linear *op, size_t begin, size_t end, size_t most)
{
    const kr_matrix *w = &op->weight;
    if (op->n_tokens < ASK_TOKENS || begin >= end) return;
    size_t from = kr_packed_offset(w->type, begin, w->columns), to = kr_packed_offset(w->type, end, w->columns);
    if (kr_is_grouped(w->type) && end == w->rows) to = kr_packed_bytes(w->type, end, w->columns);
    if (to > from + most) to = from + most;
    for (size_t i = from; i < to; i += 64) __builtin_prefetch((const char *)w->data + i, 0, 2);
}

/* Threads take runs of consecutive rows, each half of what would be its share of the rest: long runs read memory well, short ones
 * at the end let the threads end together, also where one is slower to get its memory. The end of the run; none is left if it
 * begins at the last row's end. */
static size_t take_run(product *p, int n_threads, size_t *begin)
{
    const size_t rows = p->op->weight.rows;
    *begin = __atomic_load_n(&p->next, __ATOMIC_RELAXED);
    while (*begin < rows) {
        size_t rest = rows - *begin, take = n_threads == 1 ? rest : rest / (2 * (size_t)n_threads);
        if (take < rest) take -= take % (take > p->grain ? p->grain : KR_GROUP_ROWS);
        if (take < p->smallest) take = p->smallest;
        if (take > rest) take = rest;
        if (__atomic_compare_exchange_n(&p->next, begin, *begin + take, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return *begin + take;
    }
    return rows;
}

/* A thread knows the run after the one that it works on, which is so read without a pause. */
static void run_share(void *context, int thread, int n_threads)
{
    product *p = context;
    size_t begin, end = take_run(p, n_threads, &begin);
    if (kr_cpu_quantizes(p->kernels, p->op->weight.type)) {
        /* The rows that the kernels read first: those behind they ask for themselves. */
        const size_t first = kr_is_grouped(p->op->weight.type) ? KR_GROUP_ROWS : KR_PASS_ROWS;
        kr_cpu_linear_ask(p->op, begin, end - begin < first ? end : begin + first, ASK_BYTES);
        quantize_share(p, thread, n_threads);
        kr_barrier(n_threads);
    }
    while (begin < end) {
        size_t next, next_end = take_run(p, n_threads, &next);
        kr_cpu_linear_rows(p->kernels, p->op, &p->x, begin, end, next);
        begin = next;
        end = next_end;
    }
}

static void run_own(const kr_exec *exec, const kr_linear *op)
{
    size_t row_bytes = kr_packed_bytes(op->weight.type, KR_GROUP_ROWS, op->weight.columns) / KR_GROUP_ROWS;
    size_t smallest = SMALLEST_PIECE / (row_bytes + 1) / KR_GROUP_ROWS * KR_GROUP_ROWS;
    product p = { .op = op,
                  .kernels = kr_cpu_kernels_of(exec->device->isa),
                  .smallest = smallest ? smallest : KR_GROUP_ROWS,
                  .grain = (op->n_tokens < ASK_TOKENS ? STREAMS : 1) * KR_GROUP_ROWS };
    if (kr_cpu_quantizes(p.kernels, op->weight.type)) kr_quantized_carve(&p.x, exec->scratch, op->n_tokens, op->weight.columns);
    kr_parallel(exec->threads, run_share, &p);
}

void kr_cpu_linear_alone(const kr_cpu_kernels *kernels, const kr_linear *op, size_t begin, size_t end, void *scratch)
{
    kr_quantized x = { 0 };
    if (kr_cpu_quantizes(kernels, op->weight.type)) {
        kr_quantized_carve(&x, scratch, op->n_tokens, op->weight.columns);
        kernels->quantize(op, &x, 0, op->n_tokens, 0, x.stride);
    }
    kr_cpu_linear_rows(kernels, op, &x, begin, end, op->weight.rows);
}

/* ---- the library's ----------------------------------------------------------------------------------------------- */

static void add_bias_share(void *context, int thread, int n_threads)
{
    const kr_linear *op = context;
    size_t begin, end;
    kr_share(op->n_tokens, 1, thread, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        float *y = op->y.data + t * op->y.stride;
        for (size_t j = 0; j < op->weight.rows; j++) y[j] += op->bias[j];
    }
}

/* bfloat16 by the library: x is rounded first, and y then as if by our own kernels up to the order of sums. */
static bool run_gemm(const kr_exec *exec, const kr_linear *op)
{
    const kr_cpu_kernels *kernels = kr_cpu_kernels_of(exec->device->isa);
    size_t rows = op->weight.rows, columns = op->weight.columns;
    const void *x = op->x.data;
    size_t stride = op->x.stride;
    if (op->weight.type == KRAIT_WEIGHT_BF16) {
        product p = { .op = op, .kernels = kernels };
        kr_quantized_carve(&p.x, exec->scratch, op->n_tokens, columns);
        p.x.in_rows = true;
        kr_parallel(exec->threads, quantize_share, &p);
        x = p.x.values;
        stride = p.x.stride;
    }
    kr_gemm_product gemm = { .type = op->weight.type,
                             .m = op->n_tokens,
                             .n = rows,
                             .k = columns,
                             .a = x,
                             .lda = stride,
                             .b = op->weight.data,
                             .ldb = columns,
                             .b_transposed = true,
                             .add = op->add,
                             .y = op->y.data,
                             .ldy = op->y.stride };
    if (!kr_gemm(exec->threads, &gemm)) return false;
    if (op->bias) kr_parallel(exec->threads, add_bias_share, (void *)op);
    return true;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

/* The library picks its instruction set itself: one that multiplies bfloat16 is not to be had where the caller asked for none. */
static bool library_multiplies(const kr_exec *exec, krait_weight_type type)
{
    return exec->device->isa != KRAIT_ISA_PLAIN && kr_gemm_is_fast(type)
           && (type == KRAIT_WEIGHT_F32 || kr_cpu_kernels_of(exec->device->isa)->bf16);
}

static bool library_is_faster(const kr_exec *exec, const kr_linear *op)
{
    return op->n_tokens > KR_MATVEC_MAX_TOKENS && library_multiplies(exec, op->weight.type);
}

void kr_cpu_linear(const kr_exec *exec, const kr_linear *op)
{
    kr_linear rest = *op;
    if (library_is_faster(exec, op)) {
        kr_linear most = *op;
        most.n_tokens -= most.n_tokens % KR_GEMM_M;
        if (run_gemm(exec, &most)) {
            rest.n_tokens -= most.n_tokens;
            rest.x.data += most.n_tokens * op->x.stride;
            rest.y.data += most.n_tokens * op->y.stride;
        }
    }
    if (rest.n_tokens > 0) run_own(exec, &rest);
}

size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns)
{
    (void)threads, (void)rows;
    return kr_quantized_carve(NULL, NULL, n_tokens, columns);
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

static void product_share(void *context, int thread, int n_threads)
{
    const product *p = context;
    size_t begin, end;
    kr_share(p->backward->m, 8, thread, n_threads, &begin, &end);
    if (begin < end) p->kernels->product(p->backward, begin, end);
}

/* Tokens from..from+n-1 of both products by our own kernels. */
static void backward_own(const kr_exec *exec, const kr_linear_backward *op, size_t from, size_t n)
{
    const size_t rows = op->weight.rows, columns = op->weight.columns;
    const float *x = op->x.data + from * op->x.stride, *dy = op->dy.data + from * op->dy.stride;
    product p = { .kernels = kr_cpu_kernels_of(exec->device->isa) };
    const int threads = n * (rows < columns ? rows : columns) < KR_SERIAL_ELEMENTS / 16 ? 1 : exec->threads;
    if (op->dx.data) {
        p.backward = &(kr_gemm_product){ .type = op->weight.type,
                                         .m = n,
                                         .n = columns,
                                         .k = rows,
                                         .a = dy,
                                         .lda = op->dy.stride,
                                         .b = op->weight.data,
                                         .ldb = columns,
                                         .add = op->add,
                                         .y = op->dx.data + from * op->dx.stride,
                                         .ldy = op->dx.stride };
        kr_parallel(threads, product_share, &p);
    }
    if (op->dweight) {
        p.backward = &(kr_gemm_product){ .type = KRAIT_WEIGHT_F32,
                                         .m = rows,
                                         .n = columns,
                                         .k = n,
                                         .a = dy,
                                         .lda = op->dy.stride,
                                         .a_transposed = true,
                                         .b = x,
                                         .ldb = op->x.stride,
                                         .add = true,
                                         .y = op->dweight,
                                         .ldy = columns };
        kr_parallel(threads, product_share, &p);
    }
}

/* The first n tokens by the library; of the two products those that it has done are taken out of `op`. */
static void backward_gemm(const kr_exec *exec, const kr_linear_backward *op, size_t n, bool *done_dx, bool *done_dweight)
{
    const size_t rows = op->weight.rows, columns = op->weight.columns;
    const krait_weight_type type = op->weight.type;
    const void *x = op->x.data, *dy = op->dy.data;
    size_t x_stride = op->x.stride, dy_stride = op->dy.stride;
    if (type == KRAIT_WEIGHT_BF16) {
        const kr_linear of_x = { .n_tokens = n, .x = op->x, .weight = { .columns = columns, .type = type } };
        const kr_linear of_dy = { .n_tokens = n, .x = op->dy, .weight = { .columns = rows, .type = type } };
        product p = { .op = &of_x, .kernels = kr_cpu_kernels_of(exec->device->isa) };
        size_t used = kr_quantized_carve(&p.x, exec->scratch, n, columns);
        p.x.in_rows = true;
        if (op->dweight) kr_parallel(exec->threads, quantize_share, &p);
        x = p.x.values;
        x_stride = p.x.stride;
        p.op = &of_dy;
        kr_quantized_carve(&p.x, (char *)exec->scratch + used, n, rows);
        p.x.in_rows = true;
        kr_parallel(exec->threads, quantize_share, &p);
        dy = p.x.values;
        dy_stride = p.x.stride;
    }
    *done_dx = op->dx.data
               && kr_gemm(exec->threads, &(kr_gemm_product){ .type = type,
                                                             .m = n,
                                                             .n = columns,
                                                             .k = rows,
                                                             .a = dy,
                                                             .lda = dy_stride,
                                                             .b = op->weight.data,
                                                             .ldb = columns,
                                                             .add = op->add,
                                                             .y = op->dx.data,
                                                             .ldy = op->dx.stride });
    *done_dweight = op->dweight
                    && kr_gemm(exec->threads, &(kr_gemm_product){ .type = type,
                                                                  .m = rows,
                                                                  .n = columns,
                                                                  .k = n,
                                                                  .a = dy,
                                                                  .lda = dy_stride,
                                                                  .a_transposed = true,
                                                                  .b = x,
                                                                  .ldb = x_stride,
                                                                  .add = true,
                                                                  .y = op->dweight,
                                                                  .ldy = columns });
}

static void bias_share(void *context, int thread, int n_threads)
{
    const kr_linear_backward *op = context;
    size_t begin, end;
    kr_share(op->weight.rows, KR_ALIGNMENT / sizeof(float), thread, n_threads, &begin, &end);
    for (size_t t = 0; t < op->n_tokens; t++) {
        const float *dy = op->dy.data + t * op->dy.stride;
        for (size_t j = begin; j < end; j++) op->dbias[j] += dy[j];
    }
}

void kr_cpu_linear_backward(const kr_exec *exec, const kr_linear_backward *op)
{
    enum { LEAST = KR_GEMM_M };
    const bool library = op->n_tokens >= LEAST && library_multiplies(exec, op->weight.type);
    size_t most = library ? op->n_tokens - op->n_tokens % KR_GEMM_M : 0;
    bool dx = false, dweight = false;
    if (most > 0) backward_gemm(exec, op, most, &dx, &dweight);
    kr_linear_backward first = *op;
    if (dx) first.dx.data = NULL;
    if (dweight) first.dweight = NULL;
    if (most > 0) backward_own(exec, &first, 0, most); /* what the library failed to do */
    if (most < op->n_tokens) backward_own(exec, op, most, op->n_tokens - most);
    if (op->dbias) kr_parallel(op->n_tokens * op->weight.rows < KR_SERIAL_ELEMENTS ? 1 : exec->threads, bias_share, (void *)op);
}

size_t kr_cpu_linear_backward_scratch(int threads, size_t n_tokens, size_t rows, size_t columns)
{
    (void)threads;
    return kr_quantized_carve(NULL, NULL, n_tokens, rows) + kr_quantized_carve(NULL, NULL, n_tokens, columns);
}
