/* The JSON reader and writer: what is read is written, and must read back. */
#include <stdlib.h>

#include "base/json.h"
#include "fuzz.h"

static void write_value(kr_json_writer *w, const kr_json *value)
{
    if (value->key) { /* the writer's keys are C strings: a NUL would cut one and make two alike */
        char *key = kr_strndup(value->key, value->key_length);
        if (!key) abort();
        kr_json_key(w, key);
        kr_free(key);
    }
    switch (value->type) {
    case KR_JSON_NULL: kr_json_put_null(w); break;
    case KR_JSON_BOOL: kr_json_put_bool(w, value->boolean); break;
    case KR_JSON_INTEGER: kr_json_put_integer(w, value->integer); break;
    case KR_JSON_NUMBER: kr_json_put_number(w, value->number); break;
    case KR_JSON_STRING: kr_json_put_string(w, value->string, value->length); break;
    case KR_JSON_ARRAY:
    case KR_JSON_OBJECT:
        kr_json_open(w, value->type == KR_JSON_ARRAY ? '[' : '{');
        for (const kr_json *child = value->first; child; child = child->next) write_value(w, child);
        kr_json_close(w, value->type == KR_JSON_ARRAY ? ']' : '}');
    }
}

static bool has_nul_in_key(const kr_json *value)
{
    for (size_t i = 0; i < value->key_length; i++)
        if (!value->key[i]) return true;
    if (value->type == KR_JSON_ARRAY || value->type == KR_JSON_OBJECT)
        for (const kr_json *child = value->first; child; child = child->next)
            if (has_nul_in_key(child)) return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 }, again = { 0 };
    const kr_json *root;
    krait_error error;
    if (kr_json_parse(&root, &arena, "fuzz.json", (const char *)data, size, &error) == KRAIT_OK && !has_nul_in_key(root)) {
        kr_json_writer w = { .indent = (int)(size % 3) };
        write_value(&w, root);
        /* A reader takes 64 containers in each other, the writer 63. */
        if (!w.failed && kr_json_parse(&root, &again, "again.json", w.buffer, w.length, &error)) abort();
        kr_free(w.buffer);
    }
    kr_arena_free(&arena);
    kr_arena_free(&again);
    return 0;
}
