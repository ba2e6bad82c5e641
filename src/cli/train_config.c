#include "cli/train_config.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/input.h"
#ifdef KRAIT_HAVE_YAML
#include <yaml.h>
#endif

/* Sections within sections: there is one level of them. */
enum { DEEPEST = 4, LONGEST = 128 };

/* Where the reader is. */
typedef struct reader {
    krait_training_settings *settings;
    const char *name;
    char keys[DEEPEST][LONGEST]; /* of the mappings that are open */
    int depth;
} reader;

static krait_status wrong(const reader *r, size_t line, const char *what, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s:%zu: %s", r->name, line, what);
}

/* "model.d_model" of the keys that are open. */
static void whole_key(const reader *r, char key[DEEPEST * LONGEST])
{
    size_t used = 0;
    key[0] = 0;
    for (int i = 0; i < r->depth; i++)
        used += (size_t)snprintf(key + used, (size_t)DEEPEST * LONGEST - used, "%s%s", i ? "." : "", r->keys[i]);
}

/* Gives the key that is open a value, or one of several. */
static krait_status set(const reader *r, const char *value, size_t length, size_t line, bool first, krait_error *error)
{
    char key[DEEPEST * LONGEST], origin[LONGEST + 64], prefix[LONGEST + 40];
    whole_key(r, key);
    snprintf(origin, sizeof origin, "%.120s:%zu", r->name, line);
    int n = snprintf(prefix, sizeof prefix, "%.120s:", r->name);
    if (memchr(value, 0, length)) return wrong(r, line, "expected text, found a NUL in it", error);
    const char *before = krait_training_settings_origin(r->settings, key);
    if (first && before && strncmp(before, prefix, (size_t)n) == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s was given already: %s", origin, key, before);
    char *text = kr_strndup(value, length);
    if (!text) return kr_fail_memory(error, "a setting", length);
    krait_status status = krait_training_settings_set(r->settings, key, text, origin, error);
    kr_free(text);
    return status;
}

static krait_status open_key(reader *r, const char *key, size_t length, size_t line, krait_error *error)
{
    if (length >= LONGEST || memchr(key, 0, length)) return wrong(r, line, "expected a key, found something else", error);
    memcpy(r->keys[r->depth], key, length);
    r->keys[r->depth++][length] = 0;
    return KRAIT_OK;
}

#ifdef KRAIT_HAVE_YAML

static bool is_nothing(const yaml_event_t *event)
{
    static const char *const words[] = { "", "~", "null", "Null", "NULL" };
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp((const char *)event->data.scalar.value, words[i]) == 0) return true;
    return false;
}

static krait_status next(reader *r, yaml_parser_t *parser, yaml_event_t *event, krait_error *error)
{
    if (yaml_parser_parse(parser, event)) return KRAIT_OK;
    if (parser->error == YAML_MEMORY_ERROR) return kr_fail_memory(error, r->name, 0);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s:%zu: not YAML: %s%s%s", r->name, (size_t)parser->problem_mark.line + 1,
                   parser->problem ? parser->problem : "unreadable", parser->context ? ", " : "",
                   parser->context ? parser->context : "");
}

static krait_status read_list(reader *r, yaml_parser_t *parser, krait_error *error)
{
    for (bool first = true;; first = false) {
        yaml_event_t event;
        krait_status status = next(r, parser, &event, error);
        if (status) return status;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1;
        if (type == YAML_SCALAR_EVENT)
            status = set(r, (const char *)event.data.scalar.value, event.data.scalar.length, line, first, error);
        else if (type != YAML_SEQUENCE_END_EVENT)
            status = wrong(r, line, "expected a list of words, found something else in it", error);
        yaml_event_delete(&event);
        if (status || type == YAML_SEQUENCE_END_EVENT) return status;
    }
}

static krait_status read_mapping(reader *r, yaml_parser_t *parser, krait_error *error);

static krait_status read_value(reader *r, yaml_parser_t *parser, krait_error *error)
{
    yaml_event_t event;
    krait_status status = next(r, parser, &event, error);
    if (status) return status;
    size_t line = event.start_mark.line + 1;
    switch (event.type) {
    case YAML_SCALAR_EVENT:
        if (!is_nothing(&event))
            status = set(r, (const char *)event.data.scalar.value, event.data.scalar.length, line, true, error);
        break;
    case YAML_SEQUENCE_START_EVENT: status = read_list(r, parser, error); break;
    case YAML_MAPPING_START_EVENT:
        status = r->depth + 1 < DEEPEST ? read_mapping(r, parser, error) : wrong(r, line, "sections within sections", error);
        break;
    default: status = wrong(r, line, "expected a value, a list or a section, found an alias", error);
    }
    yaml_event_delete(&event);
    return status;
}

static krait_status read_mapping(reader *r, yaml_parser_t *parser, krait_error *error)
{
    for (;;) {
        yaml_event_t event;
        krait_status status = next(r, parser, &event, error);
        if (status) return status;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1;
        if (type == YAML_SCALAR_EVENT)
            status = open_key(r, (const char *)event.data.scalar.value, event.data.scalar.length, line, error);
        else if (type != YAML_MAPPING_END_EVENT)
            status = wrong(r, line, "expected a key, found something else", error);
        yaml_event_delete(&event);
        if (status || type == YAML_MAPPING_END_EVENT) return status;
        status = read_value(r, parser, error);
        if (status) return status;
        r->depth--;
    }
}

krait_status kr_train_config_parse(krait_training_settings *settings, const char *name, const char *bytes, size_t size,
                                   krait_error *error)
{
    reader r = { .settings = settings, .name = name };
    yaml_parser_t parser;
    yaml_event_t event;
    if (!yaml_parser_initialize(&parser)) return kr_fail_memory(error, name, sizeof parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, size);
    krait_status status = KRAIT_OK;
    bool end = false, seen = false;
    while (!end && !status) {
        status = next(&r, &parser, &event, error);
        if (status) break;
        size_t line = event.start_mark.line + 1;
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT: break;
        case YAML_DOCUMENT_START_EVENT:
            if (seen) status = wrong(&r, line, "expected one document, found a second", error);
            seen = true;
            break;
        case YAML_STREAM_END_EVENT: end = true; break;
        case YAML_MAPPING_START_EVENT: status = read_mapping(&r, &parser, error); break;
        default:
            if (event.type != YAML_SCALAR_EVENT || !is_nothing(&event))
                status = wrong(&r, line, "expected keys and values, found something else", error);
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

#else

static size_t line_of(const char *bytes, size_t offset)
{
    size_t line = 1;
    for (size_t i = 0; i < offset; i++) line += bytes[i] == '\n';
    return line;
}

static krait_status set_json(reader *r, const char *bytes, const kr_json *value, bool first, krait_error *error)
{
    size_t line = line_of(bytes, value->offset);
    const char *at = bytes + value->offset;
    switch (value->type) {
    case KR_JSON_STRING: return set(r, value->string, value->length, line, first, error);
    case KR_JSON_BOOL:
    case KR_JSON_INTEGER:
    case KR_JSON_NUMBER: return set(r, at, strspn(at, "truefalsNInity+-.0123456789E"), line, first, error);
    default: return wrong(r, line, "expected a value, found something else", error);
    }
}

static krait_status read_object(reader *r, const char *bytes, const kr_json *object, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (const kr_json *m = object->first; m && !status; m = m->next) {
        size_t line = line_of(bytes, m->offset);
        status = open_key(r, m->key, m->key_length, line, error);
        if (status || m->type == KR_JSON_NULL) {
            r->depth--;
            continue;
        }
        if (m->type == KR_JSON_OBJECT)
            status = r->depth < DEEPEST ? read_object(r, bytes, m, error) : wrong(r, line, "sections within sections", error);
        else if (m->type == KR_JSON_ARRAY)
            for (const kr_json *item = m->first; item && !status; item = item->next)
                status = set_json(r, bytes, item, item == m->first, error);
        else
            status = set_json(r, bytes, m, true, error);
        r->depth--;
    }
    return status;
}

krait_status kr_train_config_parse(krait_training_settings *settings, const char *name, const char *bytes, size_t size,
                                   krait_error *error)
{
    reader r = { .settings = settings, .name = name };
    kr_arena arena = { 0 };
    const kr_json *root;
    size_t begin = strspn(bytes, " \t\r\n");
    krait_status status = KRAIT_OK;
    if (begin < size && bytes[begin] != '{')
        status = kr_fail(
            error, KRAIT_ERROR_UNSUPPORTED,
            "%s: this build reads config files that are JSON alone: install libyaml and configure with KRAIT_YAML=ON", name);
    if (!status) status = kr_json_parse(&root, &arena, name, bytes, size, error);
    if (!status) status = read_object(&r, bytes, root, error);
    kr_arena_free(&arena);
    return status;
}

#endif

krait_status kr_train_config_read(krait_training_settings *settings, const char *path, krait_error *error)
{
    char *bytes;
    size_t size;
    krait_status status = kr_input_read(path, &bytes, &size, error);
    if (status) return status;
    status = kr_train_config_parse(settings, path, bytes, size, error);
    kr_free(bytes);
    return status;
}
