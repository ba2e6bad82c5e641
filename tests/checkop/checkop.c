#include "checkop.h"
#include "tensor/packed.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

/* ---- buffers ------------------------------------------------------------------------------------------------------- */

static const uint32_t canary = 0x7fc0beef; /* a NaN: whoever computes with it shows */

static kr_view new_buffer(check *c, size_t rows, size_t columns, size_t stride)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = rows > 0 ? ((rows - 1) * stride + columns) * sizeof(float) : 0;
    size_t size = (bytes + page) / page * page; /* at least a little in front */
    char *map = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + size, page, PROT_NONE) != 0
        || c->n_buffers == sizeof c->buffers / sizeof *c->buffers) {
        fprintf(stderr, "checkop: no memory for buffers\n");
        exit(2);
    }
    for (size_t i = 0; i < size; i += sizeof canary) memcpy(map + i, &canary, sizeof canary);
    buffer *b = &c->buffers[c->n_buffers++];
    *b = (buffer){ map, size, (float *)(void *)(map + size - bytes), rows, columns, stride };
    return (kr_view){ b->data, stride };
}

kr_view check_matrix(check *c, size_t rows, size_t columns)
{
    static const size_t more[] = { 0, 0, 1, 3, 16, 61 };
    return new_buffer(c, rows, columns, columns + more[check_below(c, 6)]);
}

float *check_floats(check *c, size_t count) { return new_buffer(c, 1, count, count).data; }

kr_view check_normal(check *c, size_t rows, size_t columns, float scale, float offset)
{
    kr_view v = check_matrix(c, rows, columns);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++) v.data[r * v.stride + i] = offset + scale * kr_rng_normal(&c->rng);
    return v;
}

float *check_normals(check *c, size_t count, float scale, float offset)
{
    float *data = check_floats(c, count);
    for (size_t i = 0; i < count; i++) data[i] = offset + scale * kr_rng_normal(&c->rng);
    return data;
}

kr_matrix check_pack(check *c, krait_weight_type type, const float *values, size_t rows, size_t columns)
{
    size_t bytes = kr_packed_bytes(type, rows, columns), floats = (bytes + sizeof(float) - 1) / sizeof(float);
    char *data = (char *)check_floats(c, floats) + (floats * sizeof(float) - bytes);
    kr_pack(type, data, columns, 0, rows, values);
    return (kr_matrix){ data, rows, columns, type };
}

void check_pick(check *c, float *data, size_t rows, size_t columns, size_t stride, const float *values, size_t n_values)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++) data[r * stride + i] = values[check_below(c, n_values)];
}

kr_view check_copy(check *c, kr_view from, size_t rows, size_t columns)
{
    kr_view v = check_matrix(c, rows, columns);
    for (size_t r = 0; r < rows; r++) memcpy(v.data + r * v.stride, from.data + r * from.stride, columns * sizeof(float));
    return v;
}

float *check_copy_floats(check *c, const float *from, size_t count)
{
    return memcpy(check_floats(c, count), from, count * sizeof *from);
}

kr_exec check_exec(check *c, const kr_device *device, int threads, size_t scratch_size)
{
    size_t rounded = (scratch_size + KR_ALIGNMENT - 1) / KR_ALIGNMENT * KR_ALIGNMENT;
    return (kr_exec){ device, threads, check_floats(c, rounded / sizeof(float)), scratch_size };
}

static bool is_canary(const char *p) { return memcmp(p, &canary, sizeof canary) == 0; }

void check_end_case(check *c)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t k = 0; k < c->n_buffers; k++) {
        buffer *b = &c->buffers[k];
        bool intact = true;
        for (const char *p = b->map; p < (const char *)b->data; p += sizeof canary) intact = intact && is_canary(p);
        for (size_t r = 0; r + 1 < b->rows; r++)
            for (size_t i = b->columns; i < b->stride; i++)
                intact = intact && is_canary((const char *)(b->data + r * b->stride + i));
        if (!intact) check_fail(c, "buffer %zu was written outside its [%zu, %zu]", k, b->rows, b->columns);
        munmap(b->map, b->map_size + page);
    }
    c->n_buffers = 0;
}

/* ---- random choices ------------------------------------------------------------------------------------------------ */

size_t check_below(check *c, size_t n) { return kr_rng_u32(&c->rng) % n; }
bool check_maybe(check *c) { return check_below(c, 2) == 0; }

kr_rows check_rows(check *c, size_t n_sequences, size_t most, size_t *start)
{
    start[0] = 0;
    for (size_t s = 0; s < n_sequences; s++)
        start[s + 1] = start[s] + (check_maybe(c) ? check_below(c, 4) : check_below(c, most + 1));
    return (kr_rows){ n_sequences, start };
}

/* ---- verdicts ------------------------------------------------------------------------------------------------------ */

void check_fail(check *c, const char *format, ...)
{
    va_list arguments;
    c->failures++;
    if (c->failures > 10) return;
    va_start(arguments, format);
    printf("FAILED %s %s (%s): ", c->op, krait_isa_name(c->device->isa), c->label);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

void check_close(check *c, const char *what, size_t index, float found, float expected, double tolerance)
{
    c->checks++;
    double error = fabs((double)found - (double)expected);
    if (found == expected || (isnan(found) && isnan(expected))) return;
    if (error <= tolerance) {
        if (error / tolerance > c->worst) c->worst = error / tolerance;
        return;
    }
    check_fail(c, "%s[%zu]: expected %.9g, found %.9g, tolerance %.3g", what, index, (double)expected, (double)found, tolerance);
}

void check_same(check *c, const char *what, kr_cview a, kr_cview b, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < columns; i++) {
            const float *x = a.data + r * a.stride + i, *y = b.data + r * b.stride + i;
            c->checks++;
            if (memcmp(x, y, sizeof *x) != 0) {
                check_fail(c, "%s: [%zu, %zu] is %.9g and %.9g", what, r, i, (double)*x, (double)*y);
                return;
            }
        }
}

/* ---- benchmarks ---------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_seconds(void (*run)(void *context), void *context)
{
    double best = INFINITY, begin = now();
    size_t calls = 1;
    do { /* each sample takes at least 100 us */
        double start = now();
        for (size_t i = 0; i < calls; i++) run(context);
        double seconds = (now() - start) / (double)calls;
        if (seconds < best) best = seconds;
        if (seconds * (double)calls < 1e-4) calls *= 2;
    } while (now() - begin < 0.15);
    return best;
}

void bench_report(check *c, const char *label, double seconds, double items, const char *item, double bytes)
{
    /* The plain variant runs first, through the same benchmarks in the same order. */
    size_t i = c->n_timed++;
    if (c->device == c->reference && i < 32) c->plain_seconds[i] = seconds;
    double faster = i < 32 ? c->plain_seconds[i] / seconds : 0; /* 0: not measured, with --isa */
    if (c->json) {
        kr_json_open(c->json, '{');
        kr_json_key(c->json, "op"), kr_json_put_text(c->json, c->op);
        kr_json_key(c->json, "isa"), kr_json_put_text(c->json, krait_isa_name(c->device->isa));
        kr_json_key(c->json, "case"), kr_json_put_text(c->json, label);
        kr_json_key(c->json, "seconds"), kr_json_put_number(c->json, seconds);
        kr_json_key(c->json, "ns_per_item"), kr_json_put_number(c->json, seconds / items * 1e9);
        kr_json_key(c->json, "item"), kr_json_put_text(c->json, item);
        kr_json_key(c->json, "gb_per_second"), kr_json_put_number(c->json, bytes / seconds * 1e-9);
        if (faster > 0) kr_json_key(c->json, "times_plain"), kr_json_put_number(c->json, faster);
        kr_json_close(c->json, '}');
        return;
    }
    printf("%-18s %-11s %-34s %10.3f us  %9.3f ns/%-8s", c->op, krait_isa_name(c->device->isa), label, seconds * 1e6,
           seconds / items * 1e9, item);
    if (bytes > 0)
        printf(" %6.1f GB/s", bytes / seconds * 1e-9);
    else
        printf("            ");
    if (faster > 0) printf(" %7.1f x plain", faster);
    putchar('\n');
}

/* ---- the program --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*check)(check *);
    void (*bench)(check *);
} ops[] = {
    { "math", check_math, bench_math },
    { "embedding", check_embedding, NULL },
    { "linear", check_linear, bench_linear },
    { "rms_norm", check_rms_norm, bench_rms_norm },
    { "conv", check_conv, bench_conv },
    { "scan", check_scan, bench_scan },
    { "mixer_step", check_mixer_step, bench_mixer_step },
    { "linear_backward", check_linear_backward, NULL },
    { "embedding_backward", check_embedding_backward, NULL },
    { "cross_entropy", check_cross_entropy, NULL },
    { "sum_squares", check_sum_squares, NULL },
    { "adamw", check_adamw, NULL },
    { "rms_norm_backward", check_rms_norm_backward, NULL },
    { "conv_backward", check_conv_backward, bench_conv_backward },
    { "scan_backward", check_scan_backward, bench_scan_backward },
    { "gradients", check_gradients, NULL },
    { "vectors", check_vectors, NULL },
};

/* Says which case touched a guard page. */
static const check *running;
static void on_fault(int number)
{
    static const char text[] = "FAILED: memory outside a buffer was touched: ";
    ssize_t written = write(STDOUT_FILENO, text, sizeof text - 1);
    const char *parts[] = { running->op, " ", krait_isa_name(running->device->isa), ", ", running->label, "\n" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) written += write(STDOUT_FILENO, parts[i], strlen(parts[i]));
    _exit(written > 0 ? 1 : number);
}

static int usage(FILE *out)
{
    fprintf(out, "usage: checkop [--bench] [--json] [--op NAME] [--isa NAME] [--seed N]\n"
                 "Checks every variant of the CPU's operations against the reference, or times them.\n  ops:");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) fprintf(out, " %s", ops[i].name);
    fprintf(out, "\n  instruction sets here:");
    for (int isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++)
        if (krait_isa_available((krait_isa)isa)) fprintf(out, " %s", krait_isa_name((krait_isa)isa));
    fprintf(out, "\n");
    return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
    bool bench = false, json = false;
    const char *only_op = NULL, *only_isa = NULL;
    uint64_t seed = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--help") == 0)
            return usage(stdout);
        else if (strcmp(argv[i], "--op") == 0 && i + 1 < argc)
            only_op = argv[++i];
        else if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc)
            only_isa = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else
            return usage(stderr);
    }

    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    size_t runs = 0, failures = 0;
    kr_json_writer writer = { .file = stdout, .indent = 2 };
    if (bench && json) kr_json_open(&writer, '[');
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        check c = { .op = ops[i].name, .reference = kr_cpu_device(KRAIT_ISA_PLAIN), .json = json ? &writer : NULL };
        if (only_op && strcmp(only_op, c.op) != 0) continue;
        if (bench && !ops[i].bench) continue;
        for (int isa = KRAIT_ISA_PLAIN; isa < KRAIT_N_ISAS; isa++) {
            if (!krait_isa_available((krait_isa)isa)) continue;
            if (only_isa && strcmp(only_isa, krait_isa_name((krait_isa)isa)) != 0) continue;
            c.device = kr_cpu_device((krait_isa)isa);
            c.checks = c.failures = c.n_timed = 0;
            c.worst = 0;
            kr_rng_seed(&c.rng, seed);
            runs++;
            running = &c;
            (bench ? ops[i].bench : ops[i].check)(&c);
            check_end_case(&c);
            failures += c.failures;
            if (!bench)
                printf("%-18s %-11s %9zu checks, %zu failed, largest error %.2f of the tolerance\n", c.op,
                       krait_isa_name(c.device->isa), c.checks, c.failures, c.worst);
        }
    }
    if (bench && json) {
        kr_json_close(&writer, ']');
        printf("\n");
    }
    if (runs == 0) return usage(stderr);
    return failures > 0;
}
