#include "train/settings.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "train/settings_table.h"

#define MANY 64 /* more settings than there are */

static void *field(const krait_training_settings *settings, size_t index)
{
    return (char *)&settings->values + kr_setting_rows[index].offset;
}

static bool is_list(krait_setting_type type) { return type == KRAIT_SETTING_TEXTS || type == KRAIT_SETTING_FILES; }

static bool is_truth(const krait_setting *setting)
{
    return setting->type == KRAIT_SETTING_CHOICE && strcmp(setting->argument, "true|false") == 0;
}

static size_t find(const char *key)
{
    size_t i = 0;
    while (i < kr_n_setting_rows && strcmp(kr_setting_rows[i].setting.key, key) != 0) i++;
    return i;
}

/* The last part of a key alone is what people forget the section of: "rows" is near "data.rows". */
static krait_status unknown(const char *key, const char *origin, krait_error *error)
{
    const char *keys[MANY] = { 0 }, *last[MANY] = { 0 };
    size_t n = 0;
    for (; n < kr_n_setting_rows && n < MANY; n++) {
        keys[n] = kr_setting_rows[n].setting.key;
        const char *dot = strrchr(keys[n], '.');
        last[n] = dot ? dot + 1 : keys[n];
    }
    const char *nearest = kr_nearest(key, keys, n);
    const char *dot = strrchr(key, '.'), *word = dot ? dot + 1 : key;
    for (size_t i = 0; i < n && !nearest; i++)
        if (strcmp(word, last[i]) == 0) nearest = keys[i];
    const char *near_word = nearest ? NULL : kr_nearest(word, last, n);
    for (size_t i = 0; i < n && near_word; i++)
        if (last[i] == near_word) nearest = keys[i];
    if (nearest) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: unknown key %s: did you mean %s?", origin, key, nearest);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: unknown key %s", origin, key);
}

static char *keep(krait_training_settings *settings, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = kr_arena_alloc(&settings->arena, size, 1);
    if (copy) memcpy(copy, text, size);
    return copy;
}

/* ---- one value --------------------------------------------------------------------------------------------------- */

static krait_status wrong(const krait_setting *setting, const char *value, const char *origin, krait_error *error)
{
    char range[96] = "";
    if (setting->maximum != 0)
        snprintf(range, sizeof range, " from %.15g to %.15g", setting->minimum, setting->maximum);
    else if (setting->type != KRAIT_SETTING_CHOICE)
        snprintf(range, sizeof range, ", at least %.15g", setting->minimum);
    const char *kind = setting->type == KRAIT_SETTING_COUNT ? "a whole number" : "a number";
    if (setting->type == KRAIT_SETTING_CHOICE)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s: expected one of %s, found %s", origin, setting->key,
                       setting->argument, value);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s: expected %s%s, found %s", origin, setting->key, kind, range, value);
}

static bool parse_number(const char *text, double *value)
{
    char *end;
    if (!strchr("+-.0123456789", text[0]) || !text[0]) return false; /* no "inf", no white space */
    if (strchr(text, 'x') || strchr(text, 'X')) return false;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && !*end && isfinite(*value) && errno != ERANGE;
}

/* Whether `value` is a word of "a|b|c". */
static bool is_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (const char *at = choices; length && *at;) {
        size_t n = strcspn(at, "|");
        if (n == length && memcmp(at, value, n) == 0) return true;
        at += n + (at[n] == '|');
    }
    return false;
}

static bool parse_truth(const char *text, bool *value)
{
    static const char *const words[2][3] = { { "false", "no", "off" }, { "true", "yes", "on" } };
    for (int truth = 0; truth < 2; truth++)
        for (int i = 0; i < 3; i++)
            if (strcmp(text, words[truth][i]) == 0) return *value = truth, true;
    return false;
}

static krait_status add_text(krait_training_settings *settings, kr_texts_list *list, const char *text, krait_error *error)
{
    const char **items = kr_arena_alloc(&settings->arena, list->n + 1, sizeof *items);
    char *copy = keep(settings, text);
    if (!items || !copy) return kr_fail_memory(error, "a setting", strlen(text));
    if (list->n) memcpy(items, list->items, list->n * sizeof *items);
    items[list->n] = copy;
    *list = (kr_texts_list){ .items = items, .n = list->n + 1 };
    return KRAIT_OK;
}

static krait_status store(krait_training_settings *settings, size_t index, const char *value, const char *origin,
                          krait_error *error)
{
    const krait_setting *setting = &kr_setting_rows[index].setting;
    void *to = field(settings, index);
    double number;
    const char *text;
    bool truth;
    switch (setting->type) {
    case KRAIT_SETTING_TEXT:
    case KRAIT_SETTING_FILE:
        if (!(text = keep(settings, value))) return kr_fail_memory(error, "a setting", strlen(value));
        if (setting->type == KRAIT_SETTING_FILE && !*value)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s: expected a path, found none", origin, setting->key);
        *(const char **)to = text;
        return KRAIT_OK;
    case KRAIT_SETTING_TEXTS:
    case KRAIT_SETTING_FILES:
        if (!*value) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: %s: expected a text, found none", origin, setting->key);
        return add_text(settings, to, value, error);
    case KRAIT_SETTING_CHOICE:
        if (is_truth(setting)) {
            if (!parse_truth(value, &truth)) return wrong(setting, value, origin, error);
            *(bool *)to = truth;
            return KRAIT_OK;
        }
        if (!is_choice(setting->argument, value)) return wrong(setting, value, origin, error);
        if (!(text = keep(settings, value))) return kr_fail_memory(error, "a setting", strlen(value));
        *(const char **)to = text;
        return KRAIT_OK;
    case KRAIT_SETTING_COUNT:
    case KRAIT_SETTING_NUMBER:
        if (!parse_number(value, &number) || number < setting->minimum || (setting->maximum != 0 && number > setting->maximum))
            return wrong(setting, value, origin, error);
        if (setting->type == KRAIT_SETTING_NUMBER) return *(double *)to = number, KRAIT_OK;
        if (number != floor(number) || number < 0) return wrong(setting, value, origin, error);
        *(uint64_t *)to = (uint64_t)number;
        return KRAIT_OK;
    }
    return KRAIT_OK;
}

static void clear(krait_training_settings *settings, size_t index)
{
    static const size_t sizes[] = {
        [KRAIT_SETTING_TEXT] = sizeof(char *),         [KRAIT_SETTING_FILE] = sizeof(char *),
        [KRAIT_SETTING_CHOICE] = sizeof(char *),       [KRAIT_SETTING_COUNT] = sizeof(uint64_t),
        [KRAIT_SETTING_NUMBER] = sizeof(double),       [KRAIT_SETTING_TEXTS] = sizeof(kr_texts_list),
        [KRAIT_SETTING_FILES] = sizeof(kr_texts_list),
    };
    const krait_setting *setting = &kr_setting_rows[index].setting;
    memset(field(settings, index), 0, is_truth(setting) ? sizeof(bool) : sizes[setting->type]);
    settings->origins[index] = NULL;
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

krait_status krait_training_settings_create(krait_training_settings **settings, krait_error *error)
{
    if (!settings) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_settings_create: settings is NULL");
    *settings = NULL;
    krait_training_settings *new_settings = kr_alloc_zero(1, sizeof *new_settings);
    const char **origins = kr_alloc_zero(kr_n_setting_rows, sizeof *origins);
    if (!new_settings || !origins) {
        kr_free(new_settings);
        kr_free(origins);
        return kr_fail_memory(error, "settings", sizeof *new_settings);
    }
    new_settings->origins = origins;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < kr_n_setting_rows && !status; i++)
        if (kr_setting_rows[i].setting.initial)
            status = store(new_settings, i, kr_setting_rows[i].setting.initial, "default", error);
    if (status) {
        krait_training_settings_free(new_settings);
        return status;
    }
    *settings = new_settings;
    return KRAIT_OK;
}

void krait_training_settings_free(krait_training_settings *settings)
{
    if (!settings) return;
    kr_arena_free(&settings->arena);
    kr_free(settings->origins);
    kr_free(settings);
}

krait_status krait_training_settings_set(krait_training_settings *settings, const char *key, const char *value,
                                         const char *origin, krait_error *error)
{
    if (!settings || !key || !value)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_settings_set: %s is NULL",
                       !settings ? "settings"
                       : !key    ? "key"
                                 : "value");
    if (!origin) origin = "settings";
    size_t index = find(key);
    if (index == kr_n_setting_rows) return unknown(key, origin, error);
    char *where = keep(settings, origin);
    if (!where) return kr_fail_memory(error, "a setting", strlen(origin));
    krait_status status = store(settings, index, value, origin, error);
    if (!status) settings->origins[index] = where;
    return status;
}

krait_status krait_training_settings_clear(krait_training_settings *settings, const char *key, krait_error *error)
{
    if (!settings || !key) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_settings_clear: an argument is NULL");
    size_t index = find(key);
    if (index == kr_n_setting_rows) return unknown(key, "settings", error);
    clear(settings, index);
    const char *initial = kr_setting_rows[index].setting.initial;
    return initial ? store(settings, index, initial, "default", error) : KRAIT_OK;
}

const char *krait_training_settings_origin(const krait_training_settings *settings, const char *key)
{
    size_t index = settings && key ? find(key) : kr_n_setting_rows;
    return index < kr_n_setting_rows ? settings->origins[index] : NULL;
}

/* The shortest decimal that reads back the same. */
static void print_number(char *text, size_t size, double value)
{
    for (int precision = 1; precision <= DBL_DECIMAL_DIG; precision++) {
        snprintf(text, size, "%.*g", precision, value);
        if (strtod(text, NULL) == value) return;
    }
}

const char *krait_training_settings_get(const krait_training_settings *settings, const char *key, size_t index)
{
    static _Thread_local char buffer[40];
    size_t at = settings && key ? find(key) : kr_n_setting_rows;
    if (at == kr_n_setting_rows) return NULL;
    const krait_setting *setting = &kr_setting_rows[at].setting;
    const void *from = field(settings, at);
    if (is_list(setting->type)) {
        const kr_texts_list *list = from;
        return index < list->n ? list->items[index] : NULL;
    }
    if (index > 0) return NULL;
    if (is_truth(setting)) return *(const bool *)from ? "true" : "false";
    if (setting->type != KRAIT_SETTING_COUNT && setting->type != KRAIT_SETTING_NUMBER) return *(const char *const *)from;
    if (!setting->initial && !settings->origins[at]) return NULL;
    if (setting->type == KRAIT_SETTING_COUNT)
        snprintf(buffer, sizeof buffer, "%llu", (unsigned long long)*(const uint64_t *)from);
    else
        print_number(buffer, sizeof buffer, *(const double *)from);
    return buffer;
}

bool kr_setting_given(const krait_training_settings *settings, size_t index)
{
    const krait_setting *setting = &kr_setting_rows[index].setting;
    if (!settings->origins[index] || !setting->initial) return settings->origins[index] != NULL;
    const char *value = krait_training_settings_get(settings, setting->key, 0);
    return !value || strcmp(value, setting->initial) != 0;
}

const char *kr_setting_where(const krait_training_settings *settings, size_t index, char buffer[256])
{
    const char *key = kr_setting_rows[index].setting.key, *origin = settings->origins[index];
    snprintf(buffer, 256, "%s%s%s", origin ? origin : "", origin ? ": " : "", key);
    return buffer;
}

/* ---- what a checkpoint remembers --------------------------------------------------------------------------------- */

void kr_settings_put_json(const krait_training_settings *settings, kr_json_writer *json)
{
    kr_json_open(json, '{');
    for (size_t i = 0; i < kr_n_setting_rows; i++) {
        const char *key = kr_setting_rows[i].setting.key, *value;
        if (!krait_training_settings_get(settings, key, 0)) continue;
        kr_json_key(json, key);
        kr_json_open(json, '[');
        for (size_t j = 0; (value = krait_training_settings_get(settings, key, j)); j++) kr_json_put_text(json, value);
        kr_json_close(json, ']');
    }
    kr_json_close(json, '}');
}

static krait_status read_member(krait_training_settings *settings, const kr_json *member, const char *name, krait_error *error)
{
    char *key = kr_strndup(member->key, member->key_length);
    krait_status status = key ? KRAIT_OK : kr_fail_memory(error, "a setting", member->key_length);
    if (!status && member->type != KR_JSON_ARRAY)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: settings: %s: expected an array, found a %s", name, key,
                         kr_json_type_name(member->type));
    size_t index = status ? 0 : find(key);
    if (!status && !member->first) /* none: the default, which others rely on */
        status = krait_training_settings_clear(settings, key, error);
    else if (!status && index < kr_n_setting_rows)
        clear(settings, index);
    for (const kr_json *item = status ? NULL : member->first; item && !status; item = item->next) {
        char *value = item->type == KR_JSON_STRING ? kr_strndup(item->string, item->length) : NULL;
        if (item->type != KR_JSON_STRING)
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: settings: %s: expected strings, found a %s", name, key,
                             kr_json_type_name(item->type));
        else if (!value)
            status = kr_fail_memory(error, "a setting", item->length);
        else
            status = krait_training_settings_set(settings, key, value, name, error);
        kr_free(value);
    }
    kr_free(key);
    return status == KRAIT_ERROR_ARGUMENT ? KRAIT_ERROR_FORMAT : status;
}

krait_status kr_settings_read_json(krait_training_settings **settings, const kr_json *object, const char *name,
                                   krait_error *error)
{
    *settings = NULL;
    if (!object || object->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: settings: expected an object, found %s", name,
                       object ? kr_json_type_name(object->type) : "nothing");
    krait_status status = krait_training_settings_create(settings, error);
    for (const kr_json *member = object->first; member && !status; member = member->next)
        status = read_member(*settings, member, name, error);
    if (status) {
        if (error) error->status = status;
        krait_training_settings_free(*settings);
        *settings = NULL;
    }
    return status;
}

/* One value as text, or several between brackets. */
static void describe(const krait_training_settings *settings, const char *key, char *text, size_t size)
{
    const char *value = krait_training_settings_get(settings, key, 0);
    size_t used = (size_t)snprintf(text, size, "%s", value ? value : "nothing");
    for (size_t i = 1; used < size && (value = krait_training_settings_get(settings, key, i)); i++)
        used += (size_t)snprintf(text + used, size - used, " %s", value);
}

bool kr_settings_differences(const krait_training_settings *before, const krait_training_settings *now, char *text, size_t size)
{
    size_t used = 0;
    *text = 0;
    for (size_t i = 0; i < kr_n_setting_rows; i++) {
        const krait_setting *setting = &kr_setting_rows[i].setting;
        bool same = true;
        for (size_t j = 0; same; j++) {
            char first[512];
            const char *a = krait_training_settings_get(before, setting->key, j);
            if (a) snprintf(first, sizeof first, "%s", a); /* both may be in the one buffer */
            const char *b = krait_training_settings_get(now, setting->key, j);
            if (!a && !b) break;
            same = a && b && strncmp(first, b, sizeof first - 1) == 0;
        }
        if (same || setting->may_change) continue;
        char was[80], is[80];
        describe(before, setting->key, was, sizeof was);
        describe(now, setting->key, is, sizeof is);
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s (%s, now %s)", used ? ", " : "", setting->key, was, is);
    }
    return used > 0;
}
