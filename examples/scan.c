/* The selective scan by itself, forward and backward, on arrays laid out as PyTorch's mamba_ssm has them: [batch, dim, length].
 *
 *   cc scan.c -o scan $(pkg-config --cflags --libs krait)
 *   ./scan
 *
 * Trains the step size of one channel, by gradient descent, until its state forgets as fast as another one's. */
#include <krait/ops.h>
#include <stdio.h>

enum { DIM = 1, LENGTH = 32, STATES = 1 };

int main(void)
{
    float u[LENGTH] = { 1 }, B[LENGTH], C[LENGTH], A[] = { -1 }, target[LENGTH], out[LENGTH];
    float delta[LENGTH], dout[LENGTH], ddelta[LENGTH], step = 1.5f, decay = 1;
    for (int t = 0; t < LENGTH; t++) {
        B[t] = C[t] = 1;
        target[t] = 0.25f * decay; /* an impulse of 0.25 that fades by exp(-0.25) a step: what a step size of 0.25 gives */
        decay *= 0.7788f;
    }
    const krait_selective_scan op = { .batch = 1,
                                      .dim = DIM,
                                      .length = LENGTH,
                                      .d_state = STATES,
                                      .u = { u, { LENGTH * DIM, LENGTH, 1 } },
                                      .delta = { delta, { LENGTH * DIM, LENGTH, 1 } },
                                      .A = { A, { STATES, 1 } },
                                      .B = { B, { LENGTH * STATES, LENGTH * STATES, LENGTH, 1 } },
                                      .C = { C, { LENGTH * STATES, LENGTH * STATES, LENGTH, 1 } },
                                      .out = { out, { LENGTH * DIM, LENGTH, 1 } } };
    const krait_selective_scan_gradients gradients = { .dout = { dout, { LENGTH * DIM, LENGTH, 1 } },
                                                       .ddelta = { ddelta, { LENGTH * DIM, LENGTH, 1 } } };
    krait_error error;
    for (int i = 0; i <= 20; i++) {
        float loss = 0, slope = 0;
        for (int t = 0; t < LENGTH; t++) delta[t] = step;
        if (krait_selective_scan_forward(&op, NULL, &error)) goto failed;
        for (int t = 0; t < LENGTH; t++) {
            float off = out[t] - target[t];
            loss += off * off;
            dout[t] = 2 * off;
        }
        if (krait_selective_scan_backward(&op, &gradients, NULL, &error)) goto failed;
        for (int t = 0; t < LENGTH; t++) slope += ddelta[t];
        if (i % 5 == 0) printf("%3d  step size %.4f  loss %.6f\n", i, step, loss);
        step -= 0.1f * slope;
    }
    return 0;
failed:
    fprintf(stderr, "scan: %s\n", error.message);
    return 1;
}
