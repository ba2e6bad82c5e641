/* `krait logits`: what the model computes for given ids, as a safetensors file. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"

typedef struct logits_values {
    kr_model_choice choice;
    kr_counts ids;
    const char *ids_file, *text, *out;
    bool hidden, states, json;
} logits_values;

#define AT(field) offsetof(logits_values, field)

static const kr_option options[] = {
    KR_OPTION_MODEL(logits_values),
    { KR_OPTION_COUNTS, 0, "ids", "1,2,3", AT(ids), 0, INT32_MAX, .help = "The token ids" },
    { KR_OPTION_FILE, 0, "ids-file", "FILE", AT(ids_file),
      .help = "The token ids from a file (- for stdin): numbers between commas or white space" },
    { KR_OPTION_TEXT, 'p', "prompt", "TEXT", AT(text), .help = "The ids of a text" },
    KR_OPTION_TOKENIZER(logits_values),
    { KR_OPTION_FILE, 'o', "out", "FILE", AT(out), .help = "The safetensors file to write" },
    { KR_OPTION_FLAG, 0, "hidden", NULL, AT(hidden),
      .help = "Also hidden.i [n, d_model]: the residual stream, of the embedding (i = 0) and after each layer" },
    { KR_OPTION_FLAG, 0, "states", NULL, AT(states),
      .help = "Also conv_state.i [d_inner, d_conv - 1] and ssm_state.i [d_inner, d_state] after the last token" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "Say what was written as one JSON object on stdout" },
    KR_OPTION_THREADS(logits_values),
    KR_OPTION_TYPE(logits_values),
    KR_OPTION_ISA(logits_values),
    KR_OPTION_CHUNK(logits_values),
};

/* Tensors on their way to the file; grows are checked once, at the end. */
typedef struct tensor_list {
    kr_arena arena; /* names and data */
    krait_tensor_info *infos;
    const void **data;
    size_t n, capacity;
} tensor_list;

/* Adds a float32 tensor of one or two dimensions; its data, to be filled in, or NULL when memory runs out. */
static float *add(tensor_list *list, const char *name, int64_t index, uint64_t rows, uint64_t columns)
{
    char full[64];
    size_t count;
    int length =
        index < 0 ? snprintf(full, sizeof full, "%s", name) : snprintf(full, sizeof full, "%s.%lld", name, (long long)index);
    if (list->n == list->capacity || !kr_mul(rows, columns, &count)) return NULL;
    char *copy = kr_arena_alloc(&list->arena, (size_t)length + 1, 1);
    float *data = kr_arena_alloc(&list->arena, count, sizeof *data);
    if (!copy || !data) return NULL;
    memcpy(copy, full, (size_t)length + 1);
    list->infos[list->n] = (krait_tensor_info){ .name = copy, .dtype = KRAIT_DTYPE_F32, .n_dims = 2, .shape = { rows, columns } };
    list->data[list->n++] = data;
    return data;
}

static krait_status open_list(tensor_list *list, size_t capacity, krait_error *error)
{
    list->infos = kr_arena_alloc(&list->arena, capacity, sizeof *list->infos);
    list->data = kr_arena_alloc(&list->arena, capacity, sizeof *list->data);
    list->capacity = capacity;
    return list->infos && list->data ? KRAIT_OK : kr_fail_memory(error, "tensors", capacity);
}

static krait_status add_states(tensor_list *list, const krait_state *state, krait_error *error)
{
    for (size_t i = 0; i < krait_state_n_tensors(state); i++) {
        krait_tensor_info info;
        krait_status status = krait_state_tensor(state, i, &info);
        if (status) return kr_fail(error, status, "state tensor %zu", i);
        if (strncmp(info.name, "conv_state.", 11) != 0 && strncmp(info.name, "ssm_state.", 10) != 0) continue;
        float *data = add(list, info.name, -1, info.shape[0], info.shape[1]);
        if (!data) return kr_fail_memory(error, info.name, info.bytes);
        status = krait_state_read(state, i, data);
        if (status) return kr_fail(error, status, "%s", info.name);
    }
    return KRAIT_OK;
}

/* Runs the ids chunk by chunk, so that it can be watched and stopped. Within a call hidden rows are [n_layers, count, d_model],
 * while each hidden.i wants all its tokens together: they go through `rows`. */
static krait_status run_ids(const kr_model_source *source, krait_state *state, size_t chunk, const int32_t *ids, size_t n,
                            tensor_list *list, bool with_hidden, krait_error *error)
{
    const krait_config *config = source->config;
    size_t n_hidden = with_hidden ? (size_t)config->n_layer + 1 : 0, vocab = (size_t)config->vocab_size;
    size_t d_model = (size_t)config->d_model;
    float *logits = add(list, "logits", -1, n, vocab);
    float **hidden = kr_alloc_zero(n_hidden, sizeof *hidden);
    int64_t *layers = kr_alloc(n_hidden, sizeof *layers);
    size_t size;
    float *rows = kr_mul(n_hidden * chunk, d_model, &size) ? kr_alloc(size, sizeof *rows) : NULL;
    bool complete = logits && hidden && layers && rows;
    for (size_t i = 0; complete && i < n_hidden; i++) {
        layers[i] = (int64_t)i;
        hidden[i] = add(list, "hidden", (int64_t)i, n, d_model);
        complete = hidden[i];
    }
    krait_status status =
        complete ? KRAIT_OK : kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory for the outputs of %zu tokens", n);
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_logits, "tokens");
    for (size_t at = 0; at < n && !status; at += chunk) {
        size_t count = n - at < chunk ? n - at : chunk;
        krait_sequence sequence = { .state = state, .tokens = ids + at, .count = count, .want = KRAIT_WANT_ALL };
        krait_outputs outputs = {
            .logits = logits + at * vocab, .hidden = n_hidden ? rows : NULL, .layers = layers, .n_layers = n_hidden
        };
        status = krait_run(source->session, &sequence, 1, &outputs, error);
        for (size_t i = 0; i < n_hidden && !status; i++)
            memcpy(hidden[i] + at * d_model, rows + i * count * d_model, count * d_model * sizeof *rows);
        if (!status && !kr_progress_report(&progress, "running", at + count, n))
            status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
    }
    kr_progress_end(&progress);
    kr_free(hidden);
    kr_free(layers);
    kr_free(rows);
    return status;
}

static bool put_json(const logits_values *values, const tensor_list *list)
{
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    kr_json_key(&json, "file");
    kr_json_put_text(&json, values->out);
    kr_json_key(&json, "tensors");
    kr_json_open(&json, '{');
    for (size_t i = 0; i < list->n; i++) {
        kr_json_key(&json, list->infos[i].name);
        kr_json_open(&json, '[');
        for (int d = 0; d < list->infos[i].n_dims; d++) kr_json_put_integer(&json, (int64_t)list->infos[i].shape[d]);
        kr_json_close(&json, ']');
    }
    kr_json_close(&json, '}');
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_logits, &json);
}

static krait_status read_ids(const logits_values *values, kr_model_source *source, int32_t **ids, size_t *n, krait_error *error)
{
    krait_status status;
    *ids = NULL;
    if (values->ids.n)
        status = kr_input_ids_of_counts(&values->ids, ids, n, error);
    else if (values->ids_file) {
        char *data;
        size_t size;
        status = kr_input_read(values->ids_file, &data, &size, error);
        if (!status) status = kr_input_ids(values->ids_file, data, size, ids, n, error);
        kr_free(data);
    } else {
        status = kr_model_source_open_tokenizer(source, &values->choice, error);
        if (!status) status = kr_model_source_need_tokenizer(source, error);
        if (!status) status = krait_tokenizer_encode(source->tokenizer, values->text, strlen(values->text), NULL, ids, n, error);
    }
    if (status) return status;
    if (!*n) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "expected at least one id, found none");
    return kr_input_check_ids(*ids, *n, source->config->vocab_size, error);
}

static int run_logits(const void *values_)
{
    const logits_values *values = values_;
    int given = (values->ids.n != 0) + (values->ids_file != NULL) + (values->text != NULL);
    if (given != 1) return kr_options_wrong(&kr_command_logits, "expected one of --ids, --ids-file and -p, found %d", given);
    if (!values->out) return kr_options_wrong(&kr_command_logits, "expected -o FILE, where to write to");
    kr_model_source source = { 0 };
    tensor_list list = { 0 };
    krait_state *state = NULL;
    kr_progress progress;
    krait_error error;
    int32_t *ids = NULL;
    size_t n;
    kr_interrupt_catch();
    kr_progress_begin(&progress, &kr_command_logits, NULL);
    krait_status status = kr_output_check(values->out, &error);
    if (!status) status = kr_model_source_open(&source, &values->choice, &progress, &error);
    if (!status) status = read_ids(values, &source, &ids, &n, &error);
    if (!status) status = krait_state_create(&state, source.model, &error);
    /* logits, hidden.0 .. hidden.n_layer, and two states per layer */
    if (!status) status = open_list(&list, 3 * (size_t)source.config->n_layer + 2, &error);
    if (!status) status = run_ids(&source, state, values->choice.chunk, ids, n, &list, values->hidden, &error);
    if (!status && values->states) status = add_states(&list, state, &error);
    if (!status) status = krait_tensors_save(values->out, list.infos, list.data, list.n, &error);
    int code = status ? kr_report_failure(&kr_command_logits, &error) : KR_EXIT_OK;
    if (!status && values->json && !put_json(values, &list)) code = KR_EXIT_FAILURE;
    krait_free(ids);
    krait_state_free(state);
    kr_arena_free(&list.arena);
    kr_model_source_close(&source);
    return code;
}

const kr_command kr_command_logits = {
    .name = "logits",
    .summary = "write a model's logits, hidden rows and states to a file",
    .synopsis = "[-m MODEL] --ids 1,2,3 | --ids-file FILE | -p TEXT -o OUT [options]",
    .description =
        "Runs the ids from an empty state and writes the tensor logits [n, vocab_size], float32: row t is about the token "
        "that follows token t. For comparing implementations, for embeddings (--hidden), and for states (--states).",
    .examples = "  krait logits -m path/to/model --ids 1,2,3 --hidden --states -o out.safetensors\n"
                "  krait tokenize -p Hello | krait logits --ids-file - -o hello.safetensors\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(logits_values),
    .run = run_logits,
};
