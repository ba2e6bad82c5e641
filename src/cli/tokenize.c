/* `krait tokenize`: text to ids and back. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"

typedef struct tokenize_values {
    kr_model_choice choice;
    const char *text, *file;
    bool decode, jsonl, no_special, skip_special;
} tokenize_values;

#define AT(field) offsetof(tokenize_values, field)

static const kr_option options[] = {
    KR_OPTION_MODEL(tokenize_values),
    KR_OPTION_TOKENIZER(tokenize_values),
    { KR_OPTION_TEXT, 'p', "prompt", "TEXT", AT(text), .help = "The text (or, with --decode, the ids)" },
    { KR_OPTION_FILE, 'f', "file", "FILE", AT(file), .help = "Read it from a file; without -p and -f, from stdin" },
    { KR_OPTION_FLAG, 'd', "decode", NULL, AT(decode), .help = "Ids in, text out" },
    { KR_OPTION_FLAG, 0, "jsonl", NULL, AT(jsonl),
      .help = "A JSON object per line: {\"text\": \"...\"} gives {\"ids\": [...]}, with --decode the other way round" },
    { KR_OPTION_FLAG, 0, "no-special", NULL, AT(no_special),
      .help = "Text that spells a special token, like <|endoftext|>, is ordinary text" },
    { KR_OPTION_FLAG, 0, "skip-special", NULL, AT(skip_special), .help = "With --decode: leave special tokens out" },
};

typedef struct tokenize_job {
    const tokenize_values *values;
    const krait_tokenizer *tokenizer;
} tokenize_job;

static krait_status encode(const tokenize_job *job, const char *text, size_t length, int32_t **ids, size_t *n, krait_error *error)
{
    krait_encode_options how = { .no_special = job->values->no_special };
    return krait_tokenizer_encode(job->tokenizer, text, length, &how, ids, n, error);
}

static krait_status decode(const tokenize_job *job, const int32_t *ids, size_t n, char **text, size_t *length, krait_error *error)
{
    return krait_tokenizer_decode(job->tokenizer, ids, n, !job->values->skip_special, text, length, error);
}

/* ---- the whole input as one text --------------------------------------------------------------------------------- */

static krait_status encode_all(const tokenize_job *job, const char *data, size_t size, krait_error *error)
{
    int32_t *ids;
    size_t n;
    krait_status status = encode(job, data, size, &ids, &n, error);
    if (status) return status;
    for (size_t i = 0; i < n; i++) printf(i ? " %d" : "%d", (int)ids[i]);
    putchar('\n');
    krait_free(ids);
    return KRAIT_OK;
}

static krait_status decode_all(const tokenize_job *job, const char *name, const char *data, size_t size, krait_error *error)
{
    int32_t *ids;
    size_t n, length;
    char *text;
    krait_status status = kr_input_ids(name, data, size, &ids, &n, error);
    if (!status) status = decode(job, ids, n, &text, &length, error);
    if (!status) {
        fwrite(text, 1, length, stdout); /* the tokens' bytes and nothing else, so that it is the inverse of encoding */
        krait_free(text);
    }
    kr_free(ids);
    return status;
}

/* ---- a JSON object per line -------------------------------------------------------------------------------------- */

static krait_status encode_line(const tokenize_job *job, const kr_json *root, kr_json_writer *json, krait_error *error)
{
    const kr_json *text = kr_json_get(root, "text");
    int32_t *ids;
    size_t n;
    if (!text || text->type != KR_JSON_STRING)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "expected a string \"text\", found %s",
                       text ? kr_json_type_name(text->type) : "no such member");
    krait_status status = encode(job, text->string, text->length, &ids, &n, error);
    if (status) return status;
    kr_json_open(json, '{');
    kr_json_key(json, "ids");
    kr_json_open(json, '[');
    for (size_t i = 0; i < n; i++) kr_json_put_integer(json, ids[i]);
    kr_json_close(json, ']');
    kr_json_close(json, '}');
    krait_free(ids);
    return KRAIT_OK;
}

static krait_status decode_line(const tokenize_job *job, const kr_json *root, kr_json_writer *json, krait_error *error)
{
    const kr_json *list = kr_json_get(root, "ids");
    char *text;
    size_t n = 0, length;
    if (!list || list->type != KR_JSON_ARRAY)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "expected an array \"ids\", found %s",
                       list ? kr_json_type_name(list->type) : "no such member");
    int32_t *ids = kr_alloc(list->length, sizeof *ids);
    if (!ids) return kr_fail_memory(error, "ids", list->length * sizeof *ids);
    krait_status status = KRAIT_OK;
    for (const kr_json *element = list->first; element && !status; element = element->next) {
        if (element->type != KR_JSON_INTEGER || element->integer < 0 || element->integer > INT32_MAX)
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "ids[%zu]: expected an id from 0 to %d", n, INT32_MAX);
        else
            ids[n++] = (int32_t)element->integer;
    }
    if (!status) status = decode(job, ids, n, &text, &length, error);
    if (!status) {
        kr_json_open(json, '{');
        kr_json_key(json, "text");
        kr_json_put_string(json, text, length);
        kr_json_close(json, '}');
        krait_free(text);
    }
    kr_free(ids);
    return status;
}

static krait_status one_line(const tokenize_job *job, const char *line, size_t length, krait_error *error)
{
    kr_arena arena = { 0 };
    const kr_json *root;
    kr_json_writer json = { 0 };
    krait_status status = kr_json_parse(&root, &arena, "json", line, length, error);
    if (!status && root->type != KR_JSON_OBJECT)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "expected an object, found %s", kr_json_type_name(root->type));
    if (!status) status = job->values->decode ? decode_line(job, root, &json, error) : encode_line(job, root, &json, error);
    if (!status && json.failed) status = kr_fail_memory(error, "the answer", length);
    if (!status) {
        fwrite(json.buffer, 1, json.length, stdout);
        putchar('\n');
    }
    kr_free(json.buffer);
    kr_arena_free(&arena);
    return status;
}

/* Lines are read one by one: a stream may have no end. A bad one is named, and answered by {"error": ...} so that the answers
 * still go with the lines. */
static int all_lines(const tokenize_job *job, const char *name, FILE *file)
{
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t length;
    int code = KR_EXIT_OK;
    while ((length = getline(&line, &capacity, file)) >= 0 && !kr_interrupted()) {
        krait_error error;
        size_t n = (size_t)length;
        number++;
        if (n && line[n - 1] == '\n') n--;
        if (strspn(line, " \t\r") >= n) continue;
        if (one_line(job, line, n, &error)) {
            kr_json_writer json = { .file = stdout };
            fprintf(stderr, "krait tokenize: %s: line %zu: %s\n", name, number, error.message);
            kr_json_open(&json, '{');
            kr_json_key(&json, "error");
            kr_json_put_text(&json, error.message);
            kr_json_close(&json, '}');
            putchar('\n');
            code = KR_EXIT_FAILURE;
        }
        /* Whoever waits at the other end of a pipe gets each answer at once. */
        if (kr_output_failed()) break;
    }
    if (kr_interrupted())
        code = KR_EXIT_INTERRUPTED;
    else if (ferror(file)) {
        fprintf(stderr, "krait tokenize: %s: cannot read\n", name);
        code = KR_EXIT_FAILURE;
    }
    free(line);
    return code;
}

static int lines(const tokenize_job *job)
{
    const char *path = job->values->file;
    krait_error error;
    if (!path || strcmp(path, "-") == 0) return all_lines(job, "stdin", stdin);
    FILE *file = fopen(path, "rb");
    if (!file) {
        kr_fail_errno(&error, path, "open");
        return kr_report_failure(&kr_command_tokenize, &error);
    }
    int code = all_lines(job, path, file);
    fclose(file);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int whole(const tokenize_job *job)
{
    const tokenize_values *values = job->values;
    krait_error error;
    char *owned = NULL;
    const char *data = values->text, *name = values->text ? "-p" : values->file ? values->file : "stdin";
    size_t size = data ? strlen(data) : 0;
    krait_status status = KRAIT_OK;
    if (!data) {
        status = kr_input_read(values->file, &owned, &size, &error);
        data = owned;
    }
    if (!status) status = values->decode ? decode_all(job, name, data, size, &error) : encode_all(job, data, size, &error);
    kr_free(owned);
    return status ? kr_report_failure(&kr_command_tokenize, &error) : KR_EXIT_OK;
}

static int run_tokenize(const void *values_)
{
    const tokenize_values *values = values_;
    if (values->text && values->file) return kr_options_wrong(&kr_command_tokenize, "-p and -f: expected one of them");
    if (values->text && values->jsonl)
        return kr_options_wrong(&kr_command_tokenize, "--jsonl reads lines from -f or stdin, not -p");
    if (values->skip_special && !values->decode)
        return kr_options_wrong(&kr_command_tokenize, "--skip-special: expected --decode");
    if (values->no_special && values->decode)
        return kr_options_wrong(&kr_command_tokenize, "--no-special is about text that comes in: not with --decode");
    kr_model_source source = { 0 };
    krait_error error;
    kr_interrupt_catch();
    krait_status status = KRAIT_OK;
    /* A tokenizer alone needs no checkpoint. */
    if (!values->choice.tokenizer) status = kr_model_source_open_checkpoint(&source, &values->choice, &error);
    if (!status) status = kr_model_source_open_tokenizer(&source, &values->choice, &error);
    if (!status) status = kr_model_source_need_tokenizer(&source, &error);
    tokenize_job job = { values, source.tokenizer };
    int code = status ? kr_report_failure(&kr_command_tokenize, &error) : values->jsonl ? lines(&job) : whole(&job);
    kr_model_source_close(&source);
    return code;
}

const kr_command kr_command_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids and back",
    .synopsis = "[-m MODEL | --tokenizer FILE] [-p TEXT | -f FILE] [options]",
    .description =
        "Prints the ids of a text, every byte of it, separated by spaces. Without -m and --tokenizer it is the built-in "
        "model's tokenizer. Bytes that are no UTF-8 are encoded one by one, so that --decode gives them back. "
        "With --jsonl a bad line is answered by {\"error\": ...}, the others go on, and the exit code is 1.",
    .examples = "  krait tokenize -p 'Hello, world'\n"
                "  krait tokenize -m path/to/mamba-130m-hf < novel.txt > novel.ids\n"
                "  krait tokenize --tokenizer tokenizer.json --decode < novel.ids\n"
                "  echo '{\"text\": \"Hello\"}' | krait tokenize --jsonl\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(tokenize_values),
    .run = run_tokenize,
};
