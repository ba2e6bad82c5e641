/* A training step beside its matrix products alone:
 *
 *     bench_train [SHAPE] [-r ROWS] [-l LENGTH] [-t THREADS] [-s STEPS] [-p PIECE] [--bf16] [--recompute | --keep-states] [--alone]
 *
 * SHAPE: "small" (6 layers of 256, vocabulary 2048) or one of the published ones ("130m"). Steps and products are timed in turn,
 * the best of each counts; a step is one batch and one update. --alone: steps only, for a profiler. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "krait/train.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int die(const krait_error *error)
{
    fprintf(stderr, "bench_train: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv)
{
    const char *shape = "small";
    size_t rows = 16, length = 256;
    int steps = 5;
    bool alone = false;
    krait_error error;
    krait_trainer_options options = krait_trainer_defaults();
    options.schedule = KRAIT_SCHEDULE_CONSTANT;
    options.threads = 2;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "-r") == 0)
            rows = strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "-l") == 0)
            length = strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "-t") == 0)
            options.threads = atoi(value), i++;
        else if (strcmp(argv[i], "-s") == 0)
            steps = atoi(value), i++;
        else if (strcmp(argv[i], "-p") == 0)
            options.piece_tokens = strtoul(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--bf16") == 0)
            options.compute = KRAIT_WEIGHT_BF16;
        else if (strcmp(argv[i], "--recompute") == 0)
            options.recompute = true;
        else if (strcmp(argv[i], "--keep-states") == 0)
            options.keep_states = true;
        else if (strcmp(argv[i], "--alone") == 0)
            alone = true;
        else
            shape = argv[i];
    }
    krait_config config = { .vocab_size = 2048,
                            .d_model = 256,
                            .n_layer = 6,
                            .d_inner = 512,
                            .d_state = 16,
                            .d_conv = 4,
                            .dt_rank = 16,
                            .conv_bias = true,
                            .tied_head = true,
                            .norm_eps = 1e-5f,
                            .bos_id = -1,
                            .eos_id = -1 };
    if (strcmp(shape, "small") != 0 && krait_config_named(&config, shape, &error)) return die(&error);
    krait_trainer *trainer;
    if (krait_trainer_create(&trainer, &config, 1, NULL, &options, &error)) return die(&error);
    const size_t n = rows * length;
    int32_t *tokens = malloc((n + 1) * sizeof *tokens);
    krait_train_row *batch = calloc(rows, sizeof *batch);
    uint32_t x = 1;
    for (size_t i = 0; i <= n; i++) tokens[i] = (int32_t)((x = x * 1664525 + 1013904223) >> 8) % (int32_t)config.vocab_size;
    for (size_t r = 0; r < rows; r++)
        batch[r] = (krait_train_row){ .tokens = tokens + r * length, .targets = tokens + r * length + 1, .count = length };

    double products = alone ? 0 : 1e30, gradients = 1e30, update = 1e30, seconds = 0;
    for (int s = 0; s <= steps; s++) { /* the first one warms up */
        krait_train_step step;
        if (!alone && krait_trainer_measure_products(trainer, n, &seconds, &error)) return die(&error);
        if (s > 0 && !alone && seconds < products) products = seconds;
        krait_trainer_discard(trainer);
        double start = now();
        if (krait_trainer_accumulate(trainer, batch, rows, &error)) return die(&error);
        seconds = now() - start;
        if (s > 0 && seconds < gradients) gradients = seconds;
        start = now();
        if (krait_trainer_update(trainer, &step, &error)) return die(&error);
        seconds = now() - start;
        if (s > 0 && seconds < update) update = seconds;
    }
    printf("%s %s%s, %zu x %zu, %d threads: %.0f tokens/s; step %.1f ms = gradients %.1f + update %.1f; products alone %.1f ms: "
           "%.1f %%\n",
           shape, krait_weight_type_name(options.compute),
           options.recompute     ? " recompute"
           : options.keep_states ? " keep states"
                                 : "",
           rows, length, options.threads, (double)n / (gradients + update), 1e3 * (gradients + update), 1e3 * gradients,
           1e3 * update, 1e3 * products, 100 * products / (gradients + update));
    free(tokens);
    free(batch);
    krait_trainer_free(trainer);
    return 0;
}
