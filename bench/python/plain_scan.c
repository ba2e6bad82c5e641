/* What people compile as an extension when PyTorch's own loop is too slow: the scan as it is written down, a channel after the other, on all threads;
 * the backward pass keeps the states of one channel. bench_training.py builds it with the compiler's best options and calls it from autograd.
 *
 * u, delta (before softplus, with its bias), z, y and their gradients are [batch, dim, length]; B, C [batch, length, n]; A [dim, n]; D [dim]. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 16

static inline float softplus(float x) { return x > 20 ? x : log1pf(expf(x)); }
static inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

void plain_scan_forward(long batch, long dim, long length, const float *u, const float *delta, const float *A, const float *B,
                        const float *C, const float *D, const float *z, float *y)
{
#pragma omp parallel for collapse(2) schedule(static)
    for (long b = 0; b < batch; b++)
        for (long d = 0; d < dim; d++) {
            float h[N] = { 0 };
            long row = (b * dim + d) * length;
            for (long t = 0; t < length; t++) {
                const float *Bt = B + (b * length + t) * N, *Ct = C + (b * length + t) * N;
                float dt = softplus(delta[row + t]), in = dt * u[row + t], sum = 0;
                for (int n = 0; n < N; n++) {
                    h[n] = expf(dt * A[d * N + n]) * h[n] + in * Bt[n];
                    sum += h[n] * Ct[n];
                }
                y[row + t] = (sum + D[d] * u[row + t]) * z[row + t] * sigmoid(z[row + t]);
            }
        }
}

/* dB and dC [threads of batch, length, n] are added to: a batch row belongs to one thread at a time. */
void plain_scan_backward(long batch, long dim, long length, const float *u, const float *delta, const float *A, const float *B,
                         const float *C, const float *D, const float *z, const float *dy, float *du, float *ddelta, float *dA,
                         float *dB, float *dC, float *dD, float *dz)
{
#pragma omp parallel
    {
        float *states = malloc((size_t)(length + 1) * N * sizeof *states), *decays = malloc((size_t)length * N * sizeof *decays);
        float *own_A = calloc((size_t)dim * N, sizeof *own_A), *own_D = calloc((size_t)dim, sizeof *own_D);
#pragma omp for schedule(static)
        for (long b = 0; b < batch; b++)
            for (long d = 0; d < dim; d++) {
                long row = (b * dim + d) * length;
                memset(states, 0, N * sizeof *states);
                for (long t = 0; t < length; t++) {
                    const float *Bt = B + (b * length + t) * N;
                    float dt = softplus(delta[row + t]), in = dt * u[row + t];
                    for (int n = 0; n < N; n++) {
                        decays[t * N + n] = expf(dt * A[d * N + n]);
                        states[(t + 1) * N + n] = decays[t * N + n] * states[t * N + n] + in * Bt[n];
                    }
                }
                float dh[N] = { 0 };
                for (long t = length - 1; t >= 0; t--) {
                    const float *Bt = B + (b * length + t) * N, *Ct = C + (b * length + t) * N, *h = states + (t + 1) * N,
                                *before = states + t * N;
                    float *dBt = dB + (b * length + t) * N, *dCt = dC + (b * length + t) * N;
                    float x = u[row + t], dt = softplus(delta[row + t]), s = sigmoid(z[row + t]), silu = z[row + t] * s, sum = 0,
                          d_dt = 0, d_in = 0;
                    for (int n = 0; n < N; n++) sum += h[n] * Ct[n];
                    float out = sum + D[d] * x, g = dy[row + t] * silu;
                    dz[row + t] = dy[row + t] * out * (s + silu * (1 - s));
                    own_D[d] += g * x;
                    for (int n = 0; n < N; n++) {
                        float decay = decays[t * N + n], dhn = dh[n] + g * Ct[n], part = dhn * before[n] * decay;
                        dCt[n] += g * h[n];
                        dBt[n] += dhn * dt * x;
                        d_in += dhn * Bt[n];
                        d_dt += part * A[d * N + n];
                        own_A[d * N + n] += part * dt;
                        dh[n] = dhn * decay;
                    }
                    du[row + t] = d_in * dt + g * D[d];
                    ddelta[row + t] = (d_dt + d_in * x) * sigmoid(delta[row + t]);
                }
            }
#pragma omp critical
        {
            for (long i = 0; i < dim * N; i++) dA[i] += own_A[i];
            for (long i = 0; i < dim; i++) dD[i] += own_D[i];
        }
        free(states), free(decays), free(own_A), free(own_D);
    }
}
