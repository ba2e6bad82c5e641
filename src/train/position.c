#include "train/position.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { VERSION = 1 };

typedef enum field_type { COUNT, NUMBER, TRUTH, HASH } field_type;

/* Numbers are written so that they read back bit for bit; NaN is null. */
static const struct {
    const char *name;
    field_type type;
    size_t offset;
} fields[] = {
#define F(type, name)                            \
    {                                            \
#name, type, offsetof(kr_position, name) \
    }
    F(COUNT, step),          F(COUNT, batch),          F(COUNT, tokens),           F(NUMBER, seconds),   F(TRUTH, finished),
    F(COUNT, metrics_bytes), F(NUMBER, mean_loss),     F(COUNT, n_watched),        F(TRUTH, in_spike),   F(COUNT, n_setbacks),
    F(NUMBER, log_nats),     F(NUMBER, log_norm),      F(COUNT, log_targets),      F(COUNT, log_steps),  F(COUNT, log_tokens),
    F(NUMBER, log_seconds),  F(NUMBER, held_out_loss), F(NUMBER, held_out_bits),   F(NUMBER, best_loss), F(COUNT, best_step),
    F(COUNT, n_stale),       F(HASH, train_checksum),  F(HASH, held_out_checksum), F(HASH, fingerprint),
#undef F
};

enum { N_FIELDS = sizeof fields / sizeof *fields };

kr_position kr_position_start(void) { return (kr_position){ .held_out_loss = NAN, .held_out_bits = NAN, .best_loss = NAN }; }

static void put_field(kr_json_writer *json, const kr_position *position, size_t i)
{
    const char *at = (const char *)position + fields[i].offset;
    char digits[24];
    kr_json_key(json, fields[i].name);
    switch (fields[i].type) {
    case COUNT: kr_json_put_integer(json, (int64_t) * (const uint64_t *)at); break;
    case NUMBER: kr_json_put_number(json, *(const double *)at); break;
    case TRUTH: kr_json_put_bool(json, *(const bool *)at); break;
    case HASH:
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)*(const uint64_t *)at);
        kr_json_put_text(json, digits);
        break;
    }
}

krait_status kr_position_write(const char *folder, const kr_position *position, const krait_training_settings *settings,
                               krait_error *error)
{
    kr_json_writer json = { .indent = 1 };
    kr_json_open(&json, '{');
    kr_json_key(&json, "version");
    kr_json_put_integer(&json, VERSION);
    for (size_t i = 0; i < N_FIELDS; i++) put_field(&json, position, i);
    kr_json_key(&json, "settings");
    kr_settings_put_json(settings, &json);
    kr_json_close(&json, '}');
    char *path = kr_join_path(folder, KR_POSITION);
    krait_status status = KRAIT_OK;
    if (json.failed || !path) status = kr_fail_memory(error, KR_POSITION, json.capacity);
    if (!status) {
        kr_writer writer;
        status = kr_writer_open(&writer, path, error);
        if (!status && (status = kr_writer_write(&writer, json.buffer, json.length, error)))
            kr_writer_abandon(&writer);
        else if (!status)
            status = kr_writer_commit(&writer, error);
    }
    kr_free(json.buffer);
    kr_free(path);
    return status;
}

/* false: it is of another type. */
static bool read_field(const kr_json *value, kr_position *position, size_t i)
{
    char *at = (char *)position + fields[i].offset, digits[17];
    switch (fields[i].type) {
    case COUNT:
        if (value->type != KR_JSON_INTEGER || value->integer < 0) return false;
        *(uint64_t *)at = (uint64_t)value->integer;
        return true;
    case NUMBER:
        if (value->type != KR_JSON_INTEGER && value->type != KR_JSON_NUMBER && value->type != KR_JSON_NULL) return false;
        *(double *)at = value->type == KR_JSON_NULL ? NAN : kr_json_number(value);
        return true;
    case TRUTH:
        if (value->type != KR_JSON_BOOL) return false;
        *(bool *)at = value->boolean;
        return true;
    case HASH:
        if (value->type != KR_JSON_STRING || value->length != 16) return false;
        memcpy(digits, value->string, 16);
        digits[16] = 0;
        *(uint64_t *)at = strtoull(digits, NULL, 16);
        return strspn(digits, "0123456789abcdef") == 16;
    }
    return false;
}

krait_status kr_position_parse(const char *name, const char *bytes, size_t size, kr_position *position,
                               krait_training_settings **settings, krait_error *error)
{
    kr_arena arena = { 0 };
    const kr_json *root;
    *settings = NULL;
    *position = kr_position_start();
    krait_status status = kr_json_parse(&root, &arena, name, bytes, size, error);
    const kr_json *version = status ? NULL : kr_json_get(root, "version");
    if (!status && (!version || version->type != KR_JSON_INTEGER || version->integer != VERSION))
        status = kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: version: expected %d, found another", name, VERSION);
    for (size_t i = 0; i < N_FIELDS && !status; i++) {
        const kr_json *value = kr_json_get(root, fields[i].name);
        if (!value || !read_field(value, position, i))
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a %s, found %s", name, fields[i].name,
                             fields[i].type == TRUTH  ? "boolean"
                             : fields[i].type == HASH ? "hash"
                                                      : "number",
                             value ? kr_json_type_name(value->type) : "nothing");
    }
    if (!status) status = kr_settings_read_json(settings, kr_json_get(root, "settings"), name, error);
    kr_arena_free(&arena);
    return status;
}

krait_status kr_position_read(const char *folder, kr_position *position, krait_training_settings **settings, krait_error *error)
{
    kr_file file = { 0 };
    char *path = kr_join_path(folder, KR_POSITION);
    *settings = NULL;
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    krait_status status = kr_file_open(&file, path, error);
    if (!status) status = kr_position_parse(path, file.data, file.size, position, settings, error);
    kr_file_close(&file);
    kr_free(path);
    return status;
}
