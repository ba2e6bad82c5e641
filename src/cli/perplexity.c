/* `krait perplexity`: how well a model predicts a text. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/perplexity.h"
#include "cli/report.h"

#define AT(field) offsetof(kr_perplexity_values, field)

static const kr_option options[] = {
    KR_OPTION_MODEL(kr_perplexity_values),
    KR_OPTION_TOKENIZER(kr_perplexity_values),
    { KR_OPTION_FILE, 'f', "file", "FILE", AT(file), .help = "The text; without -f and --ids-file, stdin" },
    { KR_OPTION_FILE, 0, "ids-file", "FILE", AT(ids_file),
      .help = "Token ids instead of text: numbers between commas or white space" },
    { KR_OPTION_COUNT, 0, "window", "N", AT(window), 2, 0, NULL,
      "Score windows of N tokens, each from an empty state; without it, one stream through the state" },
    { KR_OPTION_FLAG, 0, "bos", NULL, AT(bos),
      .help = "Put the model's beginning-of-text token in front, so that the first token of the text is scored, too" },
    { KR_OPTION_FLAG, 0, "crlf", NULL, AT(crlf), .help = "Read line ends CR LF as LF, as texts are when a model is trained" },
    { KR_OPTION_FILE, 0, "compare", "OTHER", AT(compare),
      .help = "Also run this model on the same tokens, and say how far its predictions are from those of MODEL" },
    { KR_OPTION_CHOICE, 0, "compare-type", "auto|f32|f16|bf16|q8|q6|q4", AT(compare_type),
      .help = "Convert the weights of OTHER to it (--type is for MODEL); without --compare, OTHER is MODEL itself" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
    KR_OPTION_THREADS(kr_perplexity_values),
    KR_OPTION_TYPE(kr_perplexity_values),
    KR_OPTION_ISA(kr_perplexity_values),
    KR_OPTION_CHUNK(kr_perplexity_values),
};

/* A text as ids. The first token of the stream, or of each window, has nothing to be predicted from: its bytes do not count. */
typedef struct scored_text {
    int32_t *ids;
    size_t n;
    uint64_t bytes; /* that scored tokens stand for; 0 when there is no text */
} scored_text;

static uint64_t unscored_bytes(const krait_tokenizer *tokenizer, const kr_perplexity_values *values, const scored_text *text)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < text->n; i += values->window ? values->window : text->n) {
        size_t length = 0;
        bool is_bos = values->bos && i == 0;
        if (!is_bos && krait_tokenizer_token(tokenizer, text->ids[i], &length)) bytes += length;
    }
    return bytes;
}

static krait_status encode(const kr_model_source *source, const kr_model_source *other, const kr_perplexity_values *values,
                           const char *data, size_t size, scored_text *text, krait_error *error)
{
    int32_t bos = 0, *ids;
    size_t n;
    krait_status status = KRAIT_OK;
    if (values->bos) status = kr_model_source_bos(source, &bos, error);
    if (status) return status;
    status = values->ids_file ? kr_input_ids(values->ids_file, data, size, &ids, &n, error)
                              : krait_tokenizer_encode(source->tokenizer, data, size, NULL, &ids, &n, error);
    if (status) return status;
    if (!values->ids_file) status = kr_perplexity_same_ids(other, data, size, ids, n, error);
    if (!status) {
        text->ids = kr_alloc(n + 1, sizeof *ids);
        if (!text->ids) status = kr_fail_memory(error, "ids", n);
    }
    if (!status) {
        text->n = n + values->bos;
        if (values->bos) text->ids[0] = bos;
        if (n) memcpy(text->ids + values->bos, ids, n * sizeof *ids);
    }
    krait_free(ids);
    return status;
}

static krait_status read_text(const kr_model_source *source, const kr_model_source *other, const kr_perplexity_values *values,
                              scored_text *text, krait_error *error)
{
    const char *path = values->ids_file ? values->ids_file : values->file, *name = path ? path : "stdin";
    char *data;
    size_t size;
    krait_status status = kr_input_read(path, &data, &size, error);
    if (status) return status;
    if (values->crlf) size = kr_input_drop_returns(data, size);
    status = encode(source, other, values, data, size, text, error);
    if (!status && text->n < 2)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected at least 2 tokens, found %zu", name, text->n);
    if (!status) status = kr_input_check_ids(text->ids, text->n, source->config->vocab_size, error);
    if (!status && !values->ids_file) text->bytes = size - unscored_bytes(source->tokenizer, values, text);
    kr_free(data);
    return status;
}

/* What was measured; the comparison counts when a second model was asked for. */
typedef struct measured {
    krait_perplexity_result result;
    krait_comparison comparison;
    double seconds;
} measured;

static void put_text(const kr_perplexity_values *values, const kr_model_source *other, const scored_text *text, const measured *m,
                     double bits)
{
    const krait_perplexity_result *r = &m->result;
    double seconds = m->seconds;
    printf("nats/token   %.4f +- %.4f\n", r->nats_per_token, r->standard_error);
    printf("perplexity   %.3f\n", r->perplexity);
    if (text->bytes) printf("bits/byte    %.4f\n", bits);
    if (kr_perplexity_compares(values)) kr_perplexity_put_comparison(values, other, &m->comparison);
    printf("scored       %s tokens", kr_text_count(r->n_scored).text);
    if (text->bytes) printf(", %s bytes", kr_text_count(text->bytes).text);
    if (values->window)
        printf(", windows of %s", kr_text_count(values->window).text);
    else
        printf(", one stream");
    printf(", %.0f tokens/s\n", seconds > 0 ? (double)text->n / seconds : 0);
}

static bool put_json(const kr_perplexity_values *values, const kr_model_source *source, const kr_model_source *other,
                     const scored_text *text, const measured *m, double bits)
{
    const krait_perplexity_result *r = &m->result;
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    kr_json_key(&json, "model");
    kr_json_put_text(&json, source->name);
    kr_json_key(&json, "nats_per_token");
    kr_json_put_number(&json, r->nats_per_token);
    kr_json_key(&json, "standard_error");
    kr_json_put_number(&json, r->standard_error);
    kr_json_key(&json, "perplexity");
    kr_json_put_number(&json, r->perplexity);
    kr_json_key(&json, "bits_per_byte");
    kr_json_put_number(&json, text->bytes ? bits : NAN);
    kr_json_key(&json, "scored_tokens");
    kr_json_put_integer(&json, (int64_t)r->n_scored);
    kr_json_key(&json, "scored_bytes");
    kr_json_put_integer(&json, (int64_t)text->bytes);
    kr_json_key(&json, "window");
    kr_json_put_integer(&json, (int64_t)values->window);
    kr_json_key(&json, "seconds");
    kr_json_put_number(&json, m->seconds);
    if (kr_perplexity_compares(values)) kr_perplexity_put_comparison_json(&json, values, other, &m->comparison);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_perplexity, &json);
}

static krait_status open_base(kr_model_source *source, const kr_perplexity_values *values, krait_error *error)
{
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_perplexity, NULL);
    krait_status status = kr_model_source_open(source, &values->choice, &progress, error);
    if (status || values->ids_file) return status;
    status = kr_model_source_open_tokenizer(source, &values->choice, error);
    return status ? status : kr_model_source_need_tokenizer(source, error);
}

static krait_status measure(measured *m, kr_model_source *source, kr_model_source *other, const kr_perplexity_values *values,
                            const scored_text *text, krait_error *error)
{
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_perplexity, "tokens");
    krait_perplexity_options how = { .window = values->window, .progress = kr_progress_callback(&progress) };
    double began = kr_now();
    krait_status status;
    if (kr_perplexity_compares(values)) {
        status = krait_compare(source->session, other->session, text->ids, text->n, &how, &m->comparison, error);
        m->result = m->comparison.base;
    } else
        status = krait_perplexity(source->session, text->ids, text->n, &how, &m->result, error);
    m->seconds = kr_now() - began;
    kr_progress_end(&progress);
    return status;
}

static int run_perplexity(const void *values_)
{
    const kr_perplexity_values *values = values_;
    if (values->file && values->ids_file)
        return kr_options_wrong(&kr_command_perplexity, "-f and --ids-file: expected one of them");
    if (!values->file && !values->ids_file && !kr_input_on_stdin())
        return kr_options_wrong(&kr_command_perplexity, "no text: expected -f FILE, --ids-file FILE, or text on stdin");
    kr_model_source source = { 0 }, other = { 0 };
    scored_text text = { 0 };
    krait_error error;
    measured m = { 0 };
    kr_interrupt_catch();
    krait_status status = open_base(&source, values, &error);
    if (!status && kr_perplexity_compares(values)) status = kr_perplexity_open_other(&other, values, &source, &error);
    if (!status) status = read_text(&source, &other, values, &text, &error);
    if (!status) status = measure(&m, &source, &other, values, &text, &error);
    int code = KR_EXIT_OK;
    if (status)
        code = kr_report_failure(&kr_command_perplexity, &error);
    else {
        double bits = text.bytes ? m.result.nats / log(2) / (double)text.bytes : 0;
        if (!values->json)
            put_text(values, &other, &text, &m, bits);
        else if (!put_json(values, &source, &other, &text, &m, bits))
            code = KR_EXIT_FAILURE;
    }
    kr_free(text.ids);
    kr_model_source_close(&other);
    kr_model_source_close(&source);
    return code;
}

const kr_command kr_command_perplexity = {
    .name = "perplexity",
    .summary = "measure how well a model predicts a text",
    .synopsis = "[-m MODEL] [-f FILE] [options]",
    .description =
        "Reads the text as one stream through the model's state, or in windows, and prints the mean surprise per token "
        "(nats, with its standard error), its exponential, and bits per byte, which compares models of different "
        "vocabularies. Every token is scored but the first of the stream or window; --bos scores that one, too. With --compare "
        "or --compare-type a second model reads the same tokens: the KL divergence of its predictions, how often both expect the "
        "same token most, and the ratio of the perplexities, each with its standard error.",
    .examples = "  krait perplexity -f novel.txt --bos --crlf\n"
                "  krait perplexity -m path/to/mamba-130m-hf -f wiki.txt --window 2048 --json\n"
                "  krait perplexity -f novel.txt --compare-type q8   # what q8 costs\n"
                "  krait perplexity -m mamba-130m-hf -f wiki.txt --compare OTHER\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(kr_perplexity_values),
    .run = run_perplexity,
};
