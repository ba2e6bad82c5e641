/* Settings as a config file. Reading one is the caller's: the program does it with libyaml, others have parsers of their own. */
#include <stdio.h>
#include <string.h>

#include "train/settings_table.h"

#define WIDTH 100

/* A growing text; the JSON writer's strings are YAML's double-quoted ones. */
typedef struct text {
    char *bytes;
    size_t used, capacity;
    bool failed;
} text;

static void put(text *t, const char *bytes, size_t n)
{
    if (t->failed) return;
    if (n + 1 > t->capacity - t->used) {
        size_t capacity = t->capacity ? 2 * t->capacity : 4096;
        while (capacity < t->used + n + 1) capacity *= 2;
        char *grown = kr_realloc(t->bytes, capacity, 1);
        if (!grown) {
            t->failed = true;
            return;
        }
        t->bytes = grown;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->used, bytes, n);
    t->used += n;
    t->bytes[t->used] = 0;
}

static void put_text(text *t, const char *words) { put(t, words, strlen(words)); }

/* Words behind "# " at an indentation, wrapped. */
static void put_comment(text *t, const char *indent, const char *words)
{
    while (*words) {
        size_t room = WIDTH - 2 - strlen(indent), n = strlen(words);
        if (n > room) {
            n = room;
            while (n > 1 && words[n] != ' ') n--;
        }
        put_text(t, indent);
        put_text(t, "# ");
        put(t, words, n);
        put_text(t, "\n");
        words += n;
        words += strspn(words, " ");
    }
}

static bool is_plain(const char *value)
{
    static const char *const not_text[] = { "null", "Null", "NULL" };
    for (size_t i = 0; i < sizeof not_text / sizeof *not_text; i++)
        if (strcmp(value, not_text[i]) == 0) return false;
    size_t n = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-");
    return *value && !value[n] && value[0] != '-';
}

static void put_scalar(text *t, const char *value)
{
    if (is_plain(value)) {
        put_text(t, value);
        return;
    }
    kr_json_writer json = { 0 };
    kr_json_put_text(&json, value);
    t->failed = t->failed || json.failed;
    if (!json.failed) put_text(t, json.buffer);
    kr_free(json.buffer);
}

static void put_setting(text *t, const krait_training_settings *settings, const krait_setting *setting, bool first)
{
    const char *dot = strchr(setting->key, '.'), *name = dot ? dot + 1 : setting->key, *indent = dot ? "  " : "";
    bool list = setting->type == KRAIT_SETTING_TEXTS || setting->type == KRAIT_SETTING_FILES;
    char help[512];
    int n = snprintf(help, sizeof help, "%s", setting->help);
    if (setting->type == KRAIT_SETTING_CHOICE) snprintf(help + n, sizeof help - (size_t)n, " (%s)", setting->argument);
    if (!first) put_text(t, "\n");
    put_comment(t, indent, help);
    const char *value = krait_training_settings_get(settings, setting->key, 0);
    put_text(t, indent);
    if (!value) put_text(t, "# ");
    put_text(t, name);
    put_text(t, ":");
    if (!value) {
        put_text(t, list ? " [" : " ");
        put_text(t, setting->argument);
        put_text(t, list ? "]" : "");
    } else if (!list) {
        put_text(t, " ");
        put_scalar(t, value);
    }
    for (size_t i = 0; value && list && (value = krait_training_settings_get(settings, setting->key, i)); i++) {
        put_text(t, "\n");
        put_text(t, indent);
        put_text(t, "  - ");
        put_scalar(t, value);
    }
    put_text(t, "\n");
}

krait_status krait_training_settings_yaml(const krait_training_settings *settings, char **yaml, krait_error *error)
{
    if (!settings || !yaml) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_training_settings_yaml: an argument is NULL");
    *yaml = NULL;
    text t = { 0 };
    char section[32] = "";
    put_text(&t, "# A training run of krait: krait train THIS-FILE. What is behind # alone is not set.\n\n");
    for (size_t i = 0; i < kr_n_setting_rows; i++) {
        const krait_setting *setting = &kr_setting_rows[i].setting;
        size_t n = strcspn(setting->key, ".");
        bool in_section = setting->key[n] == '.';
        bool new_section = in_section && (strlen(section) != n || memcmp(section, setting->key, n) != 0);
        if (new_section) {
            snprintf(section, sizeof section, "%.*s", (int)n, setting->key);
            put_text(&t, "\n");
            put_comment(&t, "", kr_setting_section_help(section));
            put_text(&t, section);
            put_text(&t, ":\n");
        }
        put_setting(&t, settings, setting, new_section || i == 0);
    }
    if (t.failed) {
        kr_free(t.bytes);
        return kr_fail_memory(error, "a config file", t.capacity);
    }
    *yaml = t.bytes;
    return KRAIT_OK;
}
