/* kr_gemm in plain C, for builds without a library: blocks that fit the caches, and loops that any compiler vectorises. */
#include <string.h>

#include "base/threads.h"
#include "cpu/device.h"
#include "cpu/gemm.h"

const char *kr_gemm_name(void) { return "plain"; }

/* A block of weights is turned to [K_BLOCK, N_BLOCK], 16 KB, so that the inner loop runs over consecutive outputs and needs no
 * sum across a vector; M_BLOCK rows of x use each of its rows while it is in a register. */
enum { M_BLOCK = 4, N_BLOCK = 16, K_BLOCK = 256 };

typedef struct product {
    size_t m, n, k, ldx, ldw, ldy;
    const float *x, *w;
    bool add;
    float *y;
} product;

static void turn(float block[K_BLOCK][N_BLOCK], const float *w, size_t ldw, size_t n, size_t k)
{
    if (n < N_BLOCK) memset(block, 0, K_BLOCK * sizeof *block);
    for (size_t j = 0; j < n; j++)
        for (size_t i = 0; i < k; i++) block[i][j] = w[j * ldw + i];
}

/* sums[M_BLOCK, N_BLOCK] = x[M_BLOCK, k] @ block[k, N_BLOCK] */
static void multiply(float sums[M_BLOCK][N_BLOCK], const float *const x[M_BLOCK], const float block[K_BLOCK][N_BLOCK], size_t k)
{
    float sum[M_BLOCK][N_BLOCK] = { { 0 } };
    for (size_t i = 0; i < k; i++)
        for (int r = 0; r < M_BLOCK; r++)
            for (int j = 0; j < N_BLOCK; j++) sum[r][j] += x[r][i] * block[i][j];
    memcpy(sums, sum, sizeof sum);
}

static void multiply_share(void *context, int thread, int n_threads)
{
    const product *p = context;
    float block[K_BLOCK][N_BLOCK], sums[M_BLOCK][N_BLOCK];
    size_t begin, end;
    kr_share(p->n, N_BLOCK, thread, n_threads, &begin, &end);
    for (size_t j = begin; j < end; j += N_BLOCK) {
        size_t n = end - j < N_BLOCK ? end - j : N_BLOCK;
        for (size_t i = 0; i < p->k || i == 0; i += K_BLOCK) {
            size_t k = p->k - i < K_BLOCK ? p->k - i : K_BLOCK;
            bool add = p->add || i > 0;
            turn(block, p->w + j * p->ldw + i, p->ldw, n, k);
            for (size_t r = 0; r < p->m; r += M_BLOCK) {
                size_t m = p->m - r < M_BLOCK ? p->m - r : M_BLOCK;
                const float *x[M_BLOCK];
                for (size_t a = 0; a < M_BLOCK; a++) x[a] = p->x + (a < m ? r + a : r) * p->ldx + i;
                multiply(sums, x, (const float(*)[N_BLOCK])block, k);
                for (size_t a = 0; a < m; a++) {
                    float *y = p->y + (r + a) * p->ldy + j;
                    for (size_t b = 0; b < n; b++) y[b] = add ? y[b] + sums[a][b] : sums[a][b];
                }
            }
        }
    }
}

void kr_gemm(int threads, size_t m, size_t n, size_t k, const float *x, size_t ldx, const float *w, size_t ldw, bool add,
             float *y, size_t ldy)
{
    product p = { m, n, k, ldx, ldw, ldy, x, w, add, y };
    kr_parallel(threads, multiply_share, &p);
}
