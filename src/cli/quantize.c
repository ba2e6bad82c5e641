/* `krait quantize`: a model's weights in another type, in a folder or as a GGUF file. */
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"

typedef struct quantize_values {
    const char *model, *out, *type, *shape, *calibrate, *calibrate_ids, *tokenizer;
    uint64_t calibrate_tokens, tune;
    kr_texts keep;
    uint64_t threads;
    bool force, json;
} quantize_values;

#define AT(field) offsetof(quantize_values, field)

static const kr_option options[] = {
    { KR_OPTION_CHOICE, 0, "type", "f32|f16|bf16|q8|q6|q4", AT(type),
      .help = "What the matrices become; everything else is float32. q4 keeps the embedding, the head, dt_proj and the "
              "first out_proj in q6. In GGUF q8 and q6 are Q8_0, q4 is Q4_0" },
    { KR_OPTION_TEXTS, 0, "keep", "PATTERN=TYPE", AT(keep),
      .help =
          "Another type for the tensors of that name (* and ? stand for any text and character); the first that fits counts" },
    { KR_OPTION_FILE, 0, "calibrate", "FILE", AT(calibrate),
      .help = "Choose the numbers of q4, q6 and q8 for what the model multiplies while it reads this text, which should be like "
              "those that it is for" },
    { KR_OPTION_FILE, 0, "calibrate-ids", "FILE", AT(calibrate_ids),
      .help = "The same with token ids instead of text: numbers between commas or white space" },
    { KR_OPTION_COUNT, 0, "calibrate-tokens", "N", AT(calibrate_tokens), 1, 0, "32768",
      "Calibrate with so many tokens from the beginning of the text at most: memory and time grow with it" },
    { KR_OPTION_COUNT, 0, "tune", "STEPS", AT(tune), 0, 1000000, "0",
      "After calibrating, tune scales, norms and what else is float32 by the model's predictions on the same text, in so many "
      "steps of "
      "2048 tokens; some hundred are enough. It takes the time of training and the memory of three float32 models" },
    { KR_OPTION_FILE, 0, "tokenizer", "FILE", AT(tokenizer),
      .help = "tokenizer.json or GGUF file for the text of --calibrate instead of the checkpoint's own" },
    { KR_OPTION_CHOICE, 0, "shape", "130m|370m|790m|1.4b|2.8b", AT(shape),
      .help = "Random weights of a published shape instead of a MODEL, for measuring; OUT ends in .gguf then" },
    { KR_OPTION_FLAG, 0, "force", NULL, AT(force), .help = "Quantise a model that is quantised already" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
    { KR_OPTION_COUNT, 't', "threads", "N", AT(threads), 1, 1024, NULL, "Threads; without it, as many as the process may use" },
};

/* ---- what was done ----------------------------------------------------------------------------------------------- */

typedef struct record {
    krait_saved_tensor tensor; /* its strings are copies */
    char *name, *source_name, *reason;
} record;

typedef struct records {
    record *items;
    size_t n, capacity;
    bool out_of_memory;
} records;

static void add_record(void *user, const krait_saved_tensor *tensor)
{
    records *list = user;
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 64;
        record *grown = kr_realloc(list->items, capacity, sizeof *grown);
        if (!grown) {
            list->out_of_memory = true;
            return;
        }
        list->items = grown;
        list->capacity = capacity;
    }
    record *r = &list->items[list->n++];
    *r = (record){ .tensor = *tensor };
    r->name = kr_strndup(tensor->name, strlen(tensor->name));
    r->source_name = kr_strndup(tensor->source_name, strlen(tensor->source_name));
    r->reason = tensor->reason ? kr_strndup(tensor->reason, strlen(tensor->reason)) : NULL;
    if (!r->name || !r->source_name || (tensor->reason && !r->reason)) list->out_of_memory = true;
}

static void free_records(records *list)
{
    for (size_t i = 0; i < list->n; i++) {
        kr_free(list->items[i].name);
        kr_free(list->items[i].source_name);
        kr_free(list->items[i].reason);
    }
    kr_free(list->items);
}

typedef struct totals {
    uint64_t elements, bytes;
} totals;

static totals add_up(const records *list)
{
    totals t = { 0 };
    for (size_t i = 0; i < list->n; i++) {
        t.elements += list->items[i].tensor.elements;
        t.bytes += list->items[i].tensor.bytes;
    }
    return t;
}

static void put_text(const quantize_values *values, const krait_checkpoint *checkpoint, const records *list)
{
    const char *note;
    totals t = add_up(list);
    int width = 26; /* of the longest in a GGUF file */
    for (size_t i = 0; i < list->n; i++)
        if (strlen(list->items[i].name) > (size_t)width && strlen(list->items[i].name) < 80)
            width = (int)strlen(list->items[i].name);
    printf("%-*s %-6s %-6s %13s  error\n", width, "tensor", "from", "to", "bytes");
    for (size_t i = 0; i < list->n; i++) {
        const krait_saved_tensor *r = &list->items[i].tensor;
        printf("%-*s %-6s %-6s %13s  ", width, list->items[i].name, krait_dtype_name(r->from), krait_dtype_name(r->to),
               kr_text_count(r->bytes).text);
        if (r->error > 0)
            printf("%.3g %%", 100 * r->error);
        else
            printf("0");
        printf(list->items[i].reason ? "  (%s)\n" : "\n", list->items[i].reason);
    }
    for (size_t i = 0; checkpoint && (note = krait_checkpoint_note(checkpoint, i)); i++) printf("note: %s\n", note);
    printf("%s: %s parameters, %s, %.2f bits each\n", values->out, kr_text_count(t.elements).text, kr_text_bytes(t.bytes).text,
           t.elements ? 8 * (double)t.bytes / (double)t.elements : 0);
}

static void put_json_tensors(kr_json_writer *json, const records *list)
{
    kr_json_key(json, "tensors");
    kr_json_open(json, '[');
    for (size_t i = 0; i < list->n; i++) {
        const record *r = &list->items[i];
        kr_json_open(json, '{');
        kr_json_key(json, "name");
        kr_json_put_text(json, r->name);
        kr_json_key(json, "source");
        kr_json_put_text(json, r->source_name);
        kr_json_key(json, "from");
        kr_json_put_text(json, krait_dtype_name(r->tensor.from));
        kr_json_key(json, "to");
        kr_json_put_text(json, krait_dtype_name(r->tensor.to));
        kr_json_key(json, "elements");
        kr_json_put_integer(json, (int64_t)r->tensor.elements);
        kr_json_key(json, "bytes");
        kr_json_put_integer(json, (int64_t)r->tensor.bytes);
        kr_json_key(json, "error");
        kr_json_put_number(json, r->tensor.error);
        if (r->reason) {
            kr_json_key(json, "reason");
            kr_json_put_text(json, r->reason);
        }
        kr_json_close(json, '}');
    }
    kr_json_close(json, ']');
}

static bool put_json(const quantize_values *values, const char *model, const krait_checkpoint *checkpoint, const records *list)
{
    const char *note;
    totals t = add_up(list);
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    kr_json_key(&json, "model");
    kr_json_put_text(&json, model);
    kr_json_key(&json, "file");
    kr_json_put_text(&json, values->out);
    kr_json_key(&json, "type");
    kr_json_put_text(&json, values->type);
    kr_json_key(&json, "elements");
    kr_json_put_integer(&json, (int64_t)t.elements);
    kr_json_key(&json, "bytes");
    kr_json_put_integer(&json, (int64_t)t.bytes);
    kr_json_key(&json, "notes");
    kr_json_open(&json, '[');
    for (size_t i = 0; checkpoint && (note = krait_checkpoint_note(checkpoint, i)); i++) kr_json_put_text(&json, note);
    kr_json_close(&json, ']');
    put_json_tensors(&json, list);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_quantize, &json);
}

/* ---- doing it ---------------------------------------------------------------------------------------------------- */

/* "PATTERN=TYPE" of each --keep. The patterns are copies in `arena`. NULL after telling what is wrong. */
static krait_type_choice *read_choices(const kr_texts *keep, kr_arena *arena)
{
    krait_type_choice *choices = kr_arena_alloc(arena, keep->n + 1, sizeof *choices);
    for (size_t i = 0; i < keep->n && choices; i++) {
        const char *equals = strrchr(keep->items[i], '=');
        size_t length = equals ? (size_t)(equals - keep->items[i]) : 0;
        if (!length || !krait_weight_type_find(&choices[i].type, equals + 1)) {
            kr_options_wrong(&kr_command_quantize, "--keep: expected PATTERN=TYPE with f32, f16, bf16, q8, q6 or q4, found %s",
                             keep->items[i]);
            return NULL;
        }
        char *pattern = kr_arena_alloc(arena, length + 1, 1);
        if (pattern) {
            memcpy(pattern, keep->items[i], length);
            pattern[length] = '\0';
        } else
            choices = NULL;
        if (choices) choices[i].pattern = pattern;
    }
    if (!choices) kr_options_wrong(&kr_command_quantize, "--keep: out of memory");
    return choices;
}

static bool ends_in_gguf(const char *path)
{
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".gguf") == 0;
}

/* The ids to calibrate with: none when that was not asked for. Free with krait_free() or kr_free() as `text` says. */
static krait_status read_calibration(const quantize_values *values, kr_model_source *source, int32_t **ids, size_t *n,
                                     krait_error *error)
{
    const char *path = values->calibrate ? values->calibrate : values->calibrate_ids;
    char *data;
    size_t size;
    *ids = NULL;
    *n = 0;
    if (!path) return KRAIT_OK;
    krait_status status = KRAIT_OK;
    if (values->calibrate) {
        status = kr_model_source_open_tokenizer(source, &(kr_model_choice){ .tokenizer = values->tokenizer }, error);
        if (!status) status = kr_model_source_need_tokenizer(source, error);
    }
    if (!status) status = kr_input_read(path, &data, &size, error);
    if (status) return status;
    if (values->calibrate)
        status = krait_tokenizer_encode(source->tokenizer, data, kr_input_drop_returns(data, size), NULL, ids, n, error);
    else
        status = kr_input_ids(path, data, size, ids, n, error);
    kr_free(data);
    if (*n > values->calibrate_tokens) *n = (size_t)values->calibrate_tokens;
    /* For the library no ids are no calibration, which is not what was asked for. */
    return status || *n ? status
                        : kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected tokens to calibrate with, found none", path);
}

/* The library speaks of its options; say what gave them. n: ids to calibrate with. */
static krait_status name_option(const quantize_values *values, size_t n, krait_status status, krait_error *error)
{
    static const char calibration[] = "calibration: ", pattern[] = "pattern ";
    char message[sizeof error->message];
    snprintf(message, sizeof message, "%s", error->message);
    if (strncmp(message, pattern, sizeof pattern - 1) == 0)
        return kr_fail(error, status, "--keep: %s (krait inspect lists their names)", message);
    if (strncmp(message, calibration, sizeof calibration - 1) != 0) return status;
    if (n == values->calibrate_tokens) return kr_fail(error, status, "--calibrate-tokens: %s", message + sizeof calibration - 1);
    return kr_fail(error, status, "%s: %s", values->calibrate ? values->calibrate : values->calibrate_ids, message);
}

static krait_status save(const quantize_values *values, const krait_type_choice *choices, kr_model_source *source, records *list,
                         krait_error *error)
{
    kr_model_choice choice = { .model = values->model };
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_quantize, values->calibrate || values->calibrate_ids ? NULL : "weights");
    krait_save_options how = { .choices = choices,
                               .n_choices = values->keep.n,
                               .tune_steps = (size_t)values->tune,
                               .requantize = values->force,
                               .threads = (int)values->threads,
                               .on_tensor = add_record,
                               .user = list,
                               .progress = kr_progress_callback(&progress) };
    krait_weight_type_find(&how.type, values->type);
    bool gguf = ends_in_gguf(values->out);
    krait_status status = gguf ? kr_output_check(values->out, error) : KRAIT_OK;
    if (!status && values->shape) {
        krait_config config;
        source->name = values->shape;
        status = krait_config_named(&config, values->shape, error);
        if (!status) status = krait_random_save_gguf(&config, 1, values->out, &how, error);
    } else if (!status) {
        status = kr_model_source_open_checkpoint(source, &choice, error);
        int32_t *ids = NULL;
        if (!status) status = read_calibration(values, source, &ids, &how.n_calibration, error);
        how.calibration = ids;
        if (!status)
            status = (gguf ? krait_checkpoint_save_gguf : krait_checkpoint_save)(source->checkpoint, values->out, &how, error);
        krait_free(ids);
    }
    if (status) status = name_option(values, how.n_calibration, status, error);
    kr_progress_end(&progress);
    return status;
}

static int run_quantize(const void *values_)
{
    const quantize_values *values = values_;
    if (!values->out) return kr_options_wrong(&kr_command_quantize, "expected OUT, the folder or OUT.gguf, the file to write");
    if (values->shape && !ends_in_gguf(values->out))
        return kr_options_wrong(&kr_command_quantize, "%s: expected a name that ends in .gguf, with --shape", values->out);
    if (!values->type) return kr_options_wrong(&kr_command_quantize, "expected --type f32, f16, bf16, q8, q6 or q4");
    if (values->calibrate && values->calibrate_ids)
        return kr_options_wrong(&kr_command_quantize, "--calibrate and --calibrate-ids: expected one of them");
    if (values->tune && !values->calibrate && !values->calibrate_ids)
        return kr_options_wrong(&kr_command_quantize, "--tune: expected --calibrate or --calibrate-ids with it");
    if (values->shape && (values->calibrate || values->calibrate_ids))
        return kr_options_wrong(&kr_command_quantize, "--shape: random weights have nothing to be calibrated for");
    if (values->shape && values->model)
        return kr_options_wrong(&kr_command_quantize, "--shape and %s: expected one of them", values->model);
    kr_arena arena = { 0 };
    const krait_type_choice *choices = read_choices(&values->keep, &arena);
    if (!choices) {
        kr_arena_free(&arena);
        return KR_EXIT_USAGE;
    }
    kr_model_source source = { 0 };
    records list = { 0 };
    krait_error error;
    kr_interrupt_catch();
    krait_status status = save(values, choices, &source, &list, &error);
    int code = KR_EXIT_OK;
    if (status == KRAIT_OK && list.out_of_memory) status = kr_fail_memory(&error, "the list of what was done", list.n);
    if (status)
        code = kr_report_failure(&kr_command_quantize, &error);
    else if (!values->json)
        put_text(values, source.checkpoint, &list);
    else if (!put_json(values, source.name, source.checkpoint, &list))
        code = KR_EXIT_FAILURE;
    free_records(&list);
    kr_model_source_close(&source);
    kr_arena_free(&arena);
    return code;
}

const kr_command kr_command_quantize = {
    .name = "quantize",
    .summary = "write a model's weights in another type, as a folder or a GGUF file",
    .synopsis = "[MODEL | --shape NAME] OUT --type TYPE [options]",
    .description =
        "OUT.gguf is a GGUF file that krait and llama.cpp load, with the model's tokenizer in it; any other OUT is a folder like "
        "Hugging Face's, in which q8, q6 and q4 are krait's own, ready to be multiplied. What became of each tensor is listed: "
        "its types, its bytes, and the root of the mean squared error relative to the weights. Without MODEL, the "
        "built-in model. Rows that blocks of GGUF do not divide are stored in f16. A model in bf16 is the same in bf16, bit for "
        "bit.",
    .examples = "  krait quantize path/to/mamba-130m-hf mamba-130m-q8 --type q8\n"
                "  krait run -m mamba-130m-q8 -p 'Hello'\n"
                "  krait quantize path/to/mamba-130m-hf mamba-130m.gguf --type q8\n"
                "  krait quantize path/to/model out.gguf --type q4 --keep 'token_embd.weight=q8'\n"
                "  krait quantize path/to/model out.gguf --type q4 --keep '*.x_proj.*=f16'\n"
                "  krait quantize path/to/model out --type q4 --calibrate novel.txt\n"
                "  krait quantize path/to/model out --type q4 --calibrate novels.txt --tune 100\n"
                "  krait quantize --shape 1.4b random.gguf --type q8     # to measure speed with\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "MODEL",
    .operand_offset = AT(model),
    .last_operand = "OUT",
    .last_operand_offset = AT(out),
    .values_size = sizeof(quantize_values),
    .run = run_quantize,
};
