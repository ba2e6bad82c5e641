/* kr_linear: few tokens by our own kernels, which read the weights once at the speed of memory; many by the GEMM where the weights are
 * float32. */
#include "base/threads.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "tensor/packed.h"

enum { SMALLEST_PIECE = 64 << 10 };

typedef struct product {
    const kr_linear *op;
    const kr_cpu_kernels *kernels;
    kr_quantized x;        /* with weights that want it */
    size_t next, smallest; /* row that no thread has taken; piece to take, in rows */
} product;

static bool quantizes(const kr_cpu_kernels *kernels, krait_weight_type type)
{
    return kr_is_grouped(type) || (type == KRAIT_WEIGHT_BF16 && kernels->bf16);
}

static void multiply(const product *p, size_t begin, size_t end)
{
    if (quantizes(p->kernels, p->op->weight.type))
        p->kernels->dot(p->op, &p->x, begin, end);
    else
        p->kernels->matvec(p->op, begin, end);
}

/* Threads take runs of consecutive rows, each half of what would be its share of the rest: long runs read memory well, short ones
 * at the end let the threads end together, also where one is slower to get its memory. */
static void multiply_share(void *context, int thread, int n_threads)
{
    product *p = context;
    (void)thread;
    size_t rows = p->op->weight.rows, begin = __atomic_load_n(&p->next, __ATOMIC_RELAXED);
    while (begin < rows) {
        size_t take = n_threads == 1 ? rows : (rows - begin) / (2 * (size_t)n_threads) / KR_GROUP_ROWS * KR_GROUP_ROWS;
        if (take < p->smallest) take = p->smallest;
        if (take > rows - begin) take = rows - begin;
        if (!__atomic_compare_exchange_n(&p->next, &begin, begin + take, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
        multiply(p, begin, begin + take);
        begin = __atomic_load_n(&p->next, __ATOMIC_RELAXED);
    }
}

static void quantize_share(void *context, int thread, int n_threads)
{
    const product *p = context;
    size_t begin, end;
    kr_share(p->op->n_tokens, 1, thread, n_threads, &begin, &end);
    if (begin < end) p->kernels->quantize(p->op, &p->x, begin, end);
}

static void run_own(const kr_exec *exec, const kr_linear *op)
{
    size_t row_bytes = kr_packed_bytes(op->weight.type, KR_GROUP_ROWS, op->weight.columns) / KR_GROUP_ROWS;
    size_t smallest = SMALLEST_PIECE / (row_bytes + 1) / KR_GROUP_ROWS * KR_GROUP_ROWS;
    product p = { .op = op, .kernels = kr_cpu_kernels_of(exec->device->isa), .smallest = smallest ? smallest : KR_GROUP_ROWS };
    if (quantizes(p.kernels, op->weight.type)) {
        kr_quantized_carve(&p.x, exec->scratch, op->n_tokens, op->weight.columns);
        kr_parallel(op->n_tokens * op->weight.columns < KR_SERIAL_ELEMENTS ? 1 : exec->threads, quantize_share, &p);
    }
    kr_parallel(exec->threads, multiply_share, &p);
}

void kr_cpu_linear_alone(const kr_cpu_kernels *kernels, const kr_linear *op, size_t begin, size_t end, void *scratch)
{
    product p = { .op = op, .kernels = kernels };
    if (quantizes(kernels, op->weight.type)) {
        kr_quantized_carve(&p.x, scratch, op->n_tokens, op->weight.columns);
        kernels->quantize(op, &p.x, 0, op->n_tokens);
    }
    multiply(&p, begin, end);
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
        kr_parallel(exec->threads, quantize_share, &p);
        x = p.x.values;
        stride = p.x.stride;
    }
    if (!kr_gemm(exec->threads, op->weight.type, op->n_tokens, rows, columns, x, stride, op->weight.data, columns, op->add,
                 op->y.data, op->y.stride))
        return false;
    if (op->bias) kr_parallel(exec->threads, add_bias_share, (void *)op);
    return true;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static bool library_is_faster(const kr_exec *exec, const kr_linear *op)
{
    if (exec->device->isa == KRAIT_ISA_PLAIN || op->n_tokens <= KR_MATVEC_MAX_TOKENS) return false;
    return op->weight.type == KRAIT_WEIGHT_F32
           || (op->weight.type == KRAIT_WEIGHT_BF16 && kr_cpu_kernels_of(exec->device->isa)->bf16);
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
