#include "hub/name.h"

#include <stdio.h>
#include <string.h>

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* As the hub has them. "--" separates OWNER and NAME in the cache. */
static bool is_word(const char *text, size_t length)
{
    if (length == 0 || length > 96 || text[0] == '.' || text[0] == '-') return false;
    for (size_t i = 0; i < length; i++) {
        if (!is_plain((unsigned char)text[i])) return false;
        if (i && text[i] == text[i - 1] && (text[i] == '.' || text[i] == '-')) return false;
    }
    return text[length - 1] != '.' && text[length - 1] != '-';
}

static bool is_path(const char *text, size_t length, bool plain)
{
    if (length == 0 || length > 255) return false;
    for (size_t i = 0; i < length;) {
        size_t begin = i;
        for (; i < length && text[i] != '/'; i++) {
            unsigned char c = (unsigned char)text[i];
            if (c < 0x20 || c == 0x7f || c == '\\' || (plain && !is_plain(c) && c != '+')) return false;
        }
        size_t n = i - begin;
        if (n == 0 || n > 200 || (n == 1 && text[begin] == '.') || (n == 2 && memcmp(text + begin, "..", 2) == 0)) return false;
        if (i < length && ++i == length) return false; /* a slash at the end */
    }
    return true;
}

bool kr_hub_is_file(const char *text, size_t length) { return is_path(text, length, false); }
bool kr_hub_is_revision(const char *text, size_t length) { return is_path(text, length, true) && text[0] != '-'; }

bool kr_hub_is_hash(const char *text, size_t length, size_t digits)
{
    for (size_t i = 0; i < length; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f'))) return false;
    return length == digits;
}

static bool set_model(kr_hub_name *name, const char *owner, size_t a, const char *model, size_t b)
{
    if (!is_word(owner, a) || !is_word(model, b)) return false;
    snprintf(name->model, sizeof name->model, "%.*s/%.*s", (int)a, owner, (int)b, model);
    snprintf(name->folder, sizeof name->folder, "models--%.*s--%.*s", (int)a, owner, (int)b, model);
    return true;
}

/* What stands behind a model's name; a word of weights is no model's: "dir/model.gguf" is a path that is not there. */
static bool is_weights(const char *text, size_t length)
{
    static const char *const ends[] = { ".safetensors", ".gguf", ".bin", ".json", ".pt", ".pth" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);
        if (length > n && memcmp(text + length - n, ends[i], n) == 0) return true;
    }
    return false;
}

static bool parse(kr_hub_name *name, const char *text)
{
    memset(name, 0, sizeof *name);
    size_t end = strcspn(text, "@:"), slash = strcspn(text, "/");
    if (slash >= end || is_weights(text, end)) return false;
    if (!set_model(name, text, slash, text + slash + 1, end - slash - 1)) return false;
    const char *at = text + end;
    snprintf(name->revision, sizeof name->revision, "main");
    if (*at == '@') {
        size_t n = strcspn(++at, ":");
        if (!kr_hub_is_revision(at, n)) return false;
        snprintf(name->revision, sizeof name->revision, "%.*s", (int)n, at);
        name->has_revision = true;
        at += n;
    }
    if (*at == ':') {
        size_t n = strlen(++at);
        if (!kr_hub_is_file(at, n)) return false;
        memcpy(name->file, at, n + 1);
    }
    return true;
}

krait_status kr_hub_name_parse(kr_hub_name *name, const char *text, krait_error *error)
{
    if (parse(name, text)) return KRAIT_OK;
    memset(name, 0, sizeof *name);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected OWNER/NAME[@REVISION][:FILE], as in state-spaces/mamba-130m-hf",
                   text);
}

bool krait_hub_is_name(const char *text)
{
    kr_hub_name name;
    return text && parse(&name, text);
}

bool kr_hub_name_of_folder(kr_hub_name *name, const char *folder)
{
    static const char prefix[] = "models--";
    memset(name, 0, sizeof *name);
    if (strncmp(folder, prefix, sizeof prefix - 1) != 0) return false;
    folder += sizeof prefix - 1;
    const char *between = strstr(folder, "--");
    return between && set_model(name, folder, (size_t)(between - folder), between + 2, strlen(between + 2));
}
