/* `krait bench`: which measurements, and how they are shown. */
#include "cli/bench.h"

#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"

typedef struct bench_values {
    kr_model_choice choice;
    const char *shape;
    kr_counts prefill, decode, batch, threads, positions;
    uint64_t rounds;
    bool json;
} bench_values;

#define AT(field) offsetof(bench_values, field)

static const kr_option options[] = {
    { KR_OPTION_HEADING, .help = "What is measured" },
    KR_OPTION_MODEL(bench_values),
    { KR_OPTION_CHOICE, 0, "shape", "130m|370m|790m|1.4b|2.8b", AT(shape),
      .help = "Random weights of a published shape instead of a checkpoint; 2.8b takes 11 GB" },
    { KR_OPTION_COUNTS, 0, "prefill", "N,...", AT(prefill), 0, 1 << 24, "512", "Lengths of prompts to read; 0: none" },
    { KR_OPTION_COUNTS, 0, "decode", "N,...", AT(decode), 0, 1 << 24, "64", "Tokens to generate; 0: none" },
    { KR_OPTION_COUNTS, 0, "batch", "B,...", AT(batch), 1, 4096, "1,16", "Sequences that generate at a time" },
    { KR_OPTION_COUNTS, 't', "threads", "N,...", AT(threads), 1, 1024, NULL,
      "Numbers of threads; without it, 1 and as many as the process may use" },
    { KR_OPTION_COUNTS, 0, "long", "N,...", AT(positions), 1, 0,
      .help = "Also the time per token and the memory at these positions of one sequence, as in 4096,1048576" },

    { KR_OPTION_HEADING, .help = "How" },
    { KR_OPTION_COUNT, 0, "rounds", "N", AT(rounds), 1, 64, "5",
      "Work and bound take turns so many times; the best of each is shown" },
    KR_OPTION_TYPE(bench_values),
    KR_OPTION_ISA(bench_values),
    KR_OPTION_CHUNK(bench_values),
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
};

typedef struct report {
    const bench_values *values;
    const char *name; /* of the model */
    const krait_model *model;
    const char *isa;
    double load_seconds;
    kr_bench_result *results; /* [n], room for all */
    size_t n;
    kr_bench_position *positions;
    int long_threads;
} report;

/* ---- as text ----------------------------------------------------------------------------------------------------- */

static void put_head(const report *r)
{
    printf("%s: %s parameters, %s of weights; made or loaded in %s\n", r->name,
           kr_text_count(krait_config_parameters(krait_model_config(r->model))).text,
           kr_text_bytes(krait_model_bytes(r->model)).text, kr_text_seconds(r->load_seconds).text);
    printf("krait %s (%s), computing with %s\n\n", krait_version(), krait_build_info(), r->isa);
    printf("%-14s %5s %7s  %12s %12s  %10s %8s  %s\n", "work", "batch", "threads", "tokens/s", "bound", "time/bound", "of bound",
           "the bound is");
}

static void put_result(const kr_bench_result *result)
{
    char work[32], bound[64];
    double tokens = (double)(result->tokens * result->batch);
    snprintf(work, sizeof work, "%s %llu", result->work, (unsigned long long)result->tokens);
    if (result->bytes_per_second > 0)
        snprintf(bound, sizeof bound, "the weights read at %.1f GB/s", result->bytes_per_second / 1e9);
    else
        snprintf(bound, sizeof bound, "the matrix products alone");
    printf("%-14s %5llu %7d  %12.1f %12.1f  %9.2fx %7.1f%%  %s\n", work, (unsigned long long)result->batch, result->threads,
           tokens / result->seconds, tokens / result->bound_seconds, result->seconds / result->bound_seconds,
           100 * result->bound_seconds / result->seconds, bound);
    fflush(stdout);
}

static void put_positions(const report *r)
{
    const kr_bench_position *first = &r->positions[0];
    printf("\n%-14s %7s  %14s %7s  %14s %7s  %s\n", "position", "threads", "prefill/token", "ratio", "decode/token", "ratio",
           "resident");
    for (size_t i = 0; i < r->values->positions.n; i++) {
        const kr_bench_position *p = &r->positions[i];
        printf("%-14s %7d  %14s %7.3f  %14s %7.3f  %s\n", kr_text_count(p->position).text, r->long_threads,
               kr_text_seconds(p->prefill_seconds).text, p->prefill_seconds / first->prefill_seconds,
               kr_text_seconds(p->decode_seconds).text, p->decode_seconds / first->decode_seconds,
               kr_text_bytes(p->resident_bytes).text);
    }
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static void put_number(kr_json_writer *json, const char *key, double value)
{
    kr_json_key(json, key);
    kr_json_put_number(json, value);
}

static void put_integer(kr_json_writer *json, const char *key, uint64_t value)
{
    kr_json_key(json, key);
    kr_json_put_integer(json, (int64_t)value);
}

static void put_word(kr_json_writer *json, const char *key, const char *word)
{
    kr_json_key(json, key);
    kr_json_put_text(json, word);
}

static void put_json_result(kr_json_writer *json, const kr_bench_result *result)
{
    double tokens = (double)(result->tokens * result->batch);
    kr_json_open(json, '{');
    put_word(json, "work", result->work);
    put_integer(json, "tokens", result->tokens);
    put_integer(json, "batch", result->batch);
    put_integer(json, "threads", (uint64_t)result->threads);
    put_number(json, "seconds", result->seconds);
    put_number(json, "tokens_per_second", tokens / result->seconds);
    put_word(json, "bound", result->bound);
    put_number(json, "bound_seconds", result->bound_seconds);
    put_number(json, "bound_tokens_per_second", tokens / result->bound_seconds);
    if (result->bytes_per_second > 0) put_number(json, "read_bytes_per_second", result->bytes_per_second);
    put_number(json, "ratio", result->seconds / result->bound_seconds);
    put_number(json, "ratio_median", result->ratio_median);
    kr_json_close(json, '}');
}

static bool put_json(const report *r)
{
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    put_word(&json, "model", r->name);
    put_integer(&json, "parameters", krait_config_parameters(krait_model_config(r->model)));
    put_integer(&json, "weight_bytes", krait_model_bytes(r->model));
    put_integer(&json, "bytes_per_token", krait_model_bytes_per_token(r->model));
    put_number(&json, "load_seconds", r->load_seconds);
    put_word(&json, "version", krait_version());
    put_word(&json, "build", krait_build_info());
    put_word(&json, "isa", r->isa);
    put_integer(&json, "resident_bytes", kr_resident_bytes());
    kr_json_key(&json, "results");
    kr_json_open(&json, '[');
    for (size_t i = 0; i < r->n; i++) put_json_result(&json, &r->results[i]);
    kr_json_close(&json, ']');
    kr_json_key(&json, "long");
    kr_json_open(&json, '[');
    for (size_t i = 0; i < r->values->positions.n; i++) {
        const kr_bench_position *p = &r->positions[i];
        kr_json_open(&json, '{');
        put_integer(&json, "position", p->position);
        put_integer(&json, "threads", (uint64_t)r->long_threads);
        put_number(&json, "prefill_seconds_per_token", p->prefill_seconds);
        put_number(&json, "decode_seconds_per_token", p->decode_seconds);
        put_integer(&json, "resident_bytes", p->resident_bytes);
        kr_json_close(&json, '}');
    }
    kr_json_close(&json, ']');
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_bench, &json);
}

/* ---- the measurements -------------------------------------------------------------------------------------------- */

static uint64_t largest(const kr_counts *counts)
{
    uint64_t most = 1;
    for (size_t i = 0; i < counts->n; i++)
        if (counts->items[i] > most) most = counts->items[i];
    return most;
}

static void keep(report *r, const kr_bench_result *result)
{
    r->results[r->n++] = *result;
    if (!r->values->json) put_result(result);
}

static krait_status measure(report *r, kr_bench *bench, krait_error *error)
{
    const bench_values *v = r->values;
    kr_bench_result result;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < v->prefill.n && !status; i++) {
        if (!v->prefill.items[i]) continue;
        status = kr_bench_prefill(bench, v->prefill.items[i], &result, error);
        if (!status) keep(r, &result);
    }
    for (size_t i = 0; i < v->decode.n && !status; i++)
        for (size_t b = 0; b < v->batch.n && !status && v->decode.items[i]; b++) {
            status = kr_bench_decode(bench, v->decode.items[i], v->batch.items[b], &result, error);
            if (!status) keep(r, &result);
        }
    return status;
}

/* Long sequences are measured with the last, usually the largest, number of threads only. */
static krait_status measure_all(report *r, const krait_model *model, krait_session_options how, const kr_counts *threads,
                                krait_error *error)
{
    const bench_values *v = r->values;
    size_t n_tokens = largest(&v->prefill);
    krait_status status = KRAIT_OK;
    if (n_tokens < 4096) n_tokens = 4096;
    for (size_t i = 0; i < threads->n && !status; i++) {
        kr_bench bench;
        how.threads = (int)threads->items[i];
        status = kr_bench_open(&bench, model, &how, largest(&v->batch), n_tokens, v->rounds, error);
        if (!status && i == 0) {
            r->isa = krait_isa_name(krait_session_isa(bench.session));
            if (!v->json) put_head(r);
        }
        if (!status) status = measure(r, &bench, error);
        if (!status && v->positions.n && i + 1 == threads->n) {
            kr_progress progress;
            kr_progress_begin(&progress, &kr_command_bench, "tokens");
            status = kr_bench_long(&bench, r->positions, v->positions.n, &progress, error);
            r->long_threads = (int)threads->items[i];
        }
        kr_bench_close(&bench);
    }
    return status;
}

static krait_status open_model(kr_model_source *source, const bench_values *v, krait_error *error)
{
    kr_progress progress;
    krait_config config;
    kr_progress_begin(&progress, &kr_command_bench, NULL);
    if (!v->shape) return kr_model_source_open(source, &v->choice, &progress, error);
    source->name = v->shape;
    krait_load_options load = kr_load_options(&v->choice, NULL);
    krait_status status = krait_config_named(&config, v->shape, error);
    return status ? status : krait_model_random(&source->model, &config, 0, &load, error);
}

/* 1 and all, or what --threads says. */
static krait_status which_threads(const bench_values *v, const krait_model *model, uint64_t all[2], kr_counts *threads,
                                  krait_error *error)
{
    krait_session *session;
    *threads = v->threads;
    if (threads->n) return KRAIT_OK;
    krait_status status = krait_session_create(&session, model, NULL, error);
    if (status) return status;
    all[0] = 1;
    all[1] = (uint64_t)krait_session_threads(session);
    *threads = (kr_counts){ all, all[1] > 1 ? 2 : 1 };
    krait_session_free(session);
    return KRAIT_OK;
}

static int run_bench(const void *values_)
{
    const bench_values *v = values_;
    if (v->shape && v->choice.model) return kr_options_wrong(&kr_command_bench, "-m and --shape: expected one of them");
    for (size_t i = 1; i < v->positions.n; i++)
        if (v->positions.items[i] <= v->positions.items[i - 1])
            return kr_options_wrong(&kr_command_bench, "--long: expected ascending positions, found %llu behind %llu",
                                    (unsigned long long)v->positions.items[i], (unsigned long long)v->positions.items[i - 1]);
    kr_model_source source = { 0 };
    report r = { .values = v };
    krait_error error;
    uint64_t all[2];
    kr_counts threads = { 0 };
    double began = kr_now();
    kr_interrupt_catch();
    krait_status status = open_model(&source, v, &error);
    r.load_seconds = kr_now() - began;
    r.name = source.name;
    r.model = source.model;
    if (!status) status = which_threads(v, source.model, all, &threads, &error);
    r.results = kr_alloc(threads.n * (v->prefill.n + v->decode.n * v->batch.n), sizeof *r.results);
    r.positions = kr_alloc_zero(v->positions.n, sizeof *r.positions);
    if (!status && (!r.results || !r.positions)) status = kr_fail(&error, KRAIT_ERROR_MEMORY, "out of memory");
    for (size_t i = 0; !status && i < v->positions.n; i++) r.positions[i].position = v->positions.items[i];
    if (!status) status = measure_all(&r, source.model, kr_session_options(&v->choice), &threads, &error);
    int code = status ? kr_report_failure(&kr_command_bench, &error) : KR_EXIT_OK;
    if (!status && v->json && !put_json(&r)) code = KR_EXIT_FAILURE;
    if (!status && !v->json && v->positions.n) put_positions(&r);
    kr_free(r.results);
    kr_free(r.positions);
    kr_model_source_close(&source);
    return code;
}

const kr_command kr_command_bench = {
    .name = "bench",
    .summary = "measure speed, each figure beside the machine's own bound",
    .synopsis = "[-m MODEL | --shape NAME] [options]",
    .description =
        "Measures reading prompts (prefill) and generating (decode). Beside each figure stands what this machine allows, "
        "measured in the same moments: the time of the matrix products alone, or for one sequence that generates, the "
        "time to read every weight once from memory. The ratio of the two holds on busy machines, too.",
    .examples = "  krait bench                                   # the built-in model\n"
                "  krait bench --shape 130m --threads 1,2\n"
                "  krait bench -m mamba-130m-hf --prefill 512,4096 --batch 1,4,16 --json\n"
                "  krait bench --prefill 0 --decode 0 --long 4096,1048576   # what length costs\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(bench_values),
    .run = run_bench,
};
