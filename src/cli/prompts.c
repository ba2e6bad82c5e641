#include "cli/prompts.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/interrupt.h"

uint64_t kr_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* ---- one line ---------------------------------------------------------------------------------------------------- */

static krait_status wrong(const kr_json *value, const char *name, const char *expected, krait_error *error)
{
    char found[40];
    switch (value->type) {
    case KR_JSON_INTEGER: snprintf(found, sizeof found, "%lld", (long long)value->integer); break;
    case KR_JSON_NUMBER: snprintf(found, sizeof found, "%.9g", value->number); break;
    case KR_JSON_STRING: snprintf(found, sizeof found, "%s", value->length ? "another string" : "an empty string"); break;
    default: snprintf(found, sizeof found, "%s", kr_json_type_name(value->type));
    }
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %s, found %s", name, expected, found);
}

static krait_status read_id(kr_prompt *prompt, const kr_json *value, const char *line, krait_error *error)
{
    static const char expected[] = "a string, or a number that 64 bits can hold";
    if (value->type == KR_JSON_NUMBER) {
        /* A whole number without point or exponent would be in the result with other digits. */
        const char *at = line + value->offset + (line[value->offset] == '-');
        at += strspn(at, "0123456789");
        if (!isfinite(value->number) || !strchr(".eE", *at)) return wrong(value, "id", expected, error);
    } else if (value->type != KR_JSON_INTEGER && value->type != KR_JSON_STRING) {
        return wrong(value, "id", expected, error);
    }
    prompt->id = value;
    return KRAIT_OK;
}

static krait_status read_count(uint64_t *count, const kr_json *value, const char *name, int64_t least, krait_error *error)
{
    if (value->type != KR_JSON_INTEGER || value->integer < least)
        return wrong(value, name, least ? "a whole number, at least 1" : "a whole number, at least 0", error);
    *count = (uint64_t)value->integer;
    return KRAIT_OK;
}

static krait_status read_temperature(kr_prompt *prompt, const kr_json *value, krait_error *error)
{
    bool number = value->type == KR_JSON_INTEGER || value->type == KR_JSON_NUMBER;
    double temperature = number ? kr_json_number(value) : -1;
    if (!(temperature >= 0 && temperature <= (double)FLT_MAX))
        return wrong(value, "temperature", "a finite number, at least 0", error);
    prompt->has_temperature = true;
    prompt->temperature = (float)temperature;
    return KRAIT_OK;
}

static krait_status read_stop(kr_prompt *prompt, kr_arena *arena, const kr_json *value, krait_error *error)
{
    bool list = value->type == KR_JSON_ARRAY;
    size_t n = list ? value->length : 1;
    const char **stop = kr_arena_alloc(arena, n + 1, sizeof *stop);
    if (!stop) return kr_fail_memory(error, "stop", n * sizeof *stop);
    prompt->n_stop = 0;
    for (const kr_json *item = list ? value->first : value; item; item = list ? item->next : NULL) {
        if (item->type != KR_JSON_STRING || !item->length || memchr(item->string, 0, item->length))
            return wrong(item, "stop", "some text, or a list of texts", error);
        char *text = kr_arena_alloc(arena, item->length + 1, 1);
        if (!text) return kr_fail_memory(error, "stop", item->length + 1);
        memcpy(text, item->string, item->length);
        text[item->length] = 0;
        stop[prompt->n_stop++] = text;
    }
    prompt->stop = stop;
    prompt->has_stop = true;
    return KRAIT_OK;
}

static krait_status read_ids(kr_prompt *prompt, kr_arena *arena, const kr_json *value, krait_error *error)
{
    if (value->type != KR_JSON_ARRAY) return wrong(value, "ids", "a list of ids", error);
    prompt->ids = kr_arena_alloc(arena, value->length + 1, sizeof *prompt->ids);
    if (!prompt->ids) return kr_fail_memory(error, "ids", value->length * sizeof *prompt->ids);
    for (const kr_json *item = value->first; item; item = item->next) {
        if (item->type != KR_JSON_INTEGER || item->integer < 0 || item->integer > INT32_MAX)
            return wrong(item, "ids", "ids from 0 to 2147483647", error);
        prompt->ids[prompt->n_ids++] = (int32_t)item->integer;
    }
    return KRAIT_OK;
}

static krait_status read_field(kr_prompt *prompt, kr_arena *arena, const char *line, const kr_json *field, krait_error *error)
{
    if (kr_json_key_is(field, "id")) return read_id(prompt, field, line, error);
    if (kr_json_key_is(field, "prompt")) {
        if (field->type != KR_JSON_STRING) return wrong(field, "prompt", "a string", error);
        prompt->text = field->string;
        prompt->length = field->length;
        return KRAIT_OK;
    }
    if (kr_json_key_is(field, "ids")) return read_ids(prompt, arena, field, error);
    if (kr_json_key_is(field, "max_tokens")) return read_count(&prompt->max_tokens, field, "max_tokens", 1, error);
    if (kr_json_key_is(field, "seed")) {
        prompt->has_seed = true;
        return read_count(&prompt->seed, field, "seed", 0, error);
    }
    if (kr_json_key_is(field, "temperature")) return read_temperature(prompt, field, error);
    if (kr_json_key_is(field, "stop")) return read_stop(prompt, arena, field, error);
    return kr_fail(error, KRAIT_ERROR_FORMAT,
                   "expected prompt, ids, id, max_tokens, seed, temperature and stop, found the field \"%.*s\"",
                   field->key_length < 40 ? (int)field->key_length : 40, field->key);
}

krait_status kr_prompt_parse(kr_prompt *prompt, kr_arena *arena, const char *line, size_t length, krait_error *error)
{
    const kr_json *root;
    *prompt = (kr_prompt){ 0 };
    krait_status status = kr_json_parse(&root, arena, "JSON", line, length, error);
    if (status == KRAIT_ERROR_FORMAT) { /* a line has but one line */
        static const char where[] = "JSON: line 1, ", end[] = "the end of the file";
        char *message = error->message;
        if (strncmp(message, where, strlen(where)) == 0)
            memmove(message + strlen("JSON: "), message + strlen(where), strlen(message) - strlen(where) + 1);
        const size_t n = strlen(message);
        if (n >= strlen(end) && strcmp(message + n - strlen(end), end) == 0) memcpy(message + n - 4, "line", 4);
    }
    if (status) return status;
    if (root->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "expected a JSON object, found %s", kr_json_type_name(root->type));
    /* The id first, so that what is wrong with another field can be told with it. */
    const kr_json *id = kr_json_get(root, "id");
    if (id) status = read_id(prompt, id, line, error);
    for (const kr_json *field = root->first; field && !status; field = field->next)
        status = read_field(prompt, arena, line, field, error);
    if (!status && !prompt->text == !prompt->ids)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "expected one of \"prompt\" and \"ids\", found %s",
                         prompt->text ? "both" : "neither");
    return status;
}

/* ---- the file ---------------------------------------------------------------------------------------------------- */

static bool is_empty(const char *line, size_t length)
{
    size_t n = 0;
    while (n < length && strchr(" \t\r\n", line[n]) && line[n]) n++;
    return n == length;
}

krait_status kr_prompts_open(kr_prompts *prompts, const char *path, krait_error *error)
{
    struct stat info;
    bool is_stdin = strcmp(path, "-") == 0;
    *prompts = (kr_prompts){ .name = is_stdin ? "stdin" : path, .hash = KR_HASH };
    prompts->file = is_stdin ? stdin : fopen(path, "rb");
    if (!prompts->file) return kr_fail_errno(error, path, "open");
    if (fstat(fileno(prompts->file), &info) != 0) return kr_fail_errno(error, path, "read");
    if (S_ISDIR(info.st_mode)) {
        errno = EISDIR;
        return kr_fail_errno(error, path, "read");
    }
    if (is_stdin || !S_ISREG(info.st_mode)) return KRAIT_OK;
    for (;;) {
        const char *line;
        size_t length;
        krait_status status = kr_prompts_next(prompts, &line, &length, error);
        if (status) return status;
        if (!line) break;
        prompts->n++;
        prompts->hash = kr_hash(prompts->hash, line, length);
        prompts->hash = kr_hash(prompts->hash, "\n", 1);
    }
    rewind(prompts->file);
    prompts->line = 0;
    prompts->again = true;
    return KRAIT_OK;
}

void kr_prompts_close(kr_prompts *prompts)
{
    if (prompts->file && prompts->file != stdin) fclose(prompts->file);
    free(prompts->text);
    *prompts = (kr_prompts){ 0 };
}

krait_status kr_prompts_next(kr_prompts *prompts, const char **line, size_t *length, krait_error *error)
{
    *line = NULL;
    *length = 0;
    for (;;) {
        errno = 0;
        ssize_t n = getline(&prompts->text, &prompts->capacity, prompts->file);
        if (kr_interrupted()) return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: interrupted", prompts->name);
        if (n < 0 && ferror(prompts->file)) return kr_fail_errno(error, prompts->name, "read");
        if (n < 0 && errno == ENOMEM) return kr_fail_memory(error, prompts->name, prompts->capacity);
        if (n < 0) return KRAIT_OK;
        prompts->line++;
        const size_t mark = prompts->line == 1 && n >= 3 && memcmp(prompts->text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* of UTF-8 */
        if (is_empty(prompts->text + mark, (size_t)n - mark)) continue;
        *line = prompts->text + mark;
        *length = (size_t)n - mark - (prompts->text[n - 1] == '\n');
        return KRAIT_OK;
    }
}
