#include "base/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

typedef struct parser {
    kr_arena *arena;
    const char *name;
    const char *bytes;
    size_t size, at;
    krait_error *error;
} parser;

/* One open container: its node, and the last of its children so far. */
typedef struct frame {
    kr_json *container, *last;
} frame;

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static krait_status fail_at(const parser *p, size_t offset, const char *expected, const char *found)
{
    size_t line = 1;
    for (size_t i = 0; i < offset; i++) line += p->bytes[i] == '\n';
    return kr_fail(p->error, KRAIT_ERROR_FORMAT, "%s: line %zu, byte %zu: expected %s, found %s", p->name, line, offset, expected,
                   found);
}

/* What stands at `offset` instead of what was expected. */
static krait_status fail_found(const parser *p, size_t offset, const char *expected)
{
    if (offset >= p->size) return fail_at(p, p->size, expected, "the end of the file");
    char found[24];
    unsigned char c = (unsigned char)p->bytes[offset];
    snprintf(found, sizeof found, c > ' ' && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
    return fail_at(p, offset, expected, found);
}

static krait_status fail_memory(const parser *p, size_t bytes)
{
    return kr_fail(p->error, KRAIT_ERROR_MEMORY, "%s: out of memory: %zu bytes for JSON", p->name, bytes);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* 0x80 in each byte of `eight` that is a quote, a backslash, a control character or not ASCII, and perhaps in bytes above
 * such a byte: the lowest mark is exact. */
static uint64_t special_bytes(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = eight ^ ones * '"', backslash = eight ^ ones * '\\';
    return ((quote - ones) | (backslash - ones) | (eight - ones * 0x20) | eight) & tops;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The four hexadecimal digits at `at`, or -1. Those bytes lie inside the string, whose closing quote is none. */
static long hex4(const char *at)
{
    long value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Replaces the escapes in bytes[begin..end). What comes out is never longer. */
static krait_status unescape(parser *p, size_t begin, size_t end, const char **text, size_t *length)
{
    char *out = kr_arena_alloc(p->arena, end - begin, 1);
    if (!out) return fail_memory(p, end - begin);
    *text = out;
    const char *s = p->bytes + begin, *stop = p->bytes + end;
    while (s < stop) {
        const char *escape = memchr(s, '\\', (size_t)(stop - s));
        size_t plain = (size_t)((escape ? escape : stop) - s);
        memcpy(out, s, plain);
        out += plain;
        s += plain;
        if (!escape) break;
        size_t offset = (size_t)(s - p->bytes);
        static const char letters[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *letter = s[1] ? strchr(letters, s[1]) : NULL;
        if (letter) {
            *out++ = values[letter - letters];
            s += 2;
            continue;
        }
        if (s[1] != 'u') return fail_found(p, offset + 1, "one of \"\\/bfnrtu after a backslash");
        long unit = hex4(s + 2);
        if (unit < 0) return fail_at(p, offset, "four hexadecimal digits", "another character among them");
        s += 6;
        uint32_t code_point = (uint32_t)unit;
        if (unit >= 0xd800 && unit < 0xe000) {
            long low = unit < 0xdc00 && stop - s >= 6 && s[0] == '\\' && s[1] == 'u' ? hex4(s + 2) : -1;
            if (low < 0xdc00 || low >= 0xe000) return fail_at(p, offset, "a pair of surrogates", "a lone one");
            code_point = 0x10000 + (((uint32_t)unit & 0x3ff) << 10 | ((uint32_t)low & 0x3ff));
            s += 6;
        }
        out += kr_utf8_put(code_point, out);
    }
    *length = (size_t)(out - *text);
    return KRAIT_OK;
}

/* A string whose opening quote is at p->at. */
static krait_status parse_string(parser *p, const char **text, size_t *length)
{
    size_t begin = p->at + 1, i = begin;
    bool escaped = false, wide = false;
    for (;;) {
        while (p->size - i >= 8) {
            uint64_t eight;
            memcpy(&eight, p->bytes + i, 8);
            uint64_t special = special_bytes(eight);
            if (special) {
                i += (size_t)__builtin_ctzll(special) / 8;
                break;
            }
            i += 8;
        }
        if (i >= p->size) return fail_at(p, p->at, "a string", "no closing quote");
        unsigned char c = (unsigned char)p->bytes[i];
        if (c == '"') break;
        if (c < 0x20) return fail_at(p, i, "a string", "a control character in it");
        if (c >= 0x80) wide = true;
        if (c == '\\') {
            escaped = true;
            i++; /* the character behind is no closing quote */
            if (i >= p->size) return fail_at(p, p->at, "a string", "no closing quote");
            if ((unsigned char)p->bytes[i] < 0x20) return fail_at(p, i, "a string", "a control character in it");
        }
        i++;
    }
    if (wide) {
        size_t valid = kr_utf8_valid_prefix(p->bytes + begin, i - begin);
        if (valid < i - begin) return fail_at(p, begin + valid, "UTF-8", "invalid bytes");
    }
    p->at = i + 1;
    if (escaped) return unescape(p, begin, i, text, length);
    *text = p->bytes + begin;
    *length = i - begin;
    return KRAIT_OK;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* The longest decimal expansion that can matter to a double has 767 significant digits. */
enum { NUMBER_MAX = 1024 };

static krait_status read_double(const parser *p, const char *text, size_t length, double *value)
{
    char copy[NUMBER_MAX + 1];
    if (length > NUMBER_MAX) return fail_at(p, (size_t)(text - p->bytes), "a number of at most 1024 characters", "a longer one");
    memcpy(copy, text, length);
    copy[length] = '\0';
    /* strtod() alone would read the decimal point of the program's locale. */
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c_locale) return fail_memory(p, sizeof c_locale);
    *value = strtod_l(copy, NULL, c_locale);
    freelocale(c_locale);
    return KRAIT_OK;
}

static size_t count_digits(const parser *p, size_t at)
{
    size_t i = at;
    while (i < p->size && p->bytes[i] >= '0' && p->bytes[i] <= '9') i++;
    return i - at;
}

static krait_status parse_number(parser *p, kr_json *node)
{
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    size_t begin = p->at, i = begin;
    bool negative = p->bytes[i] == '-';
    i += negative;
    size_t whole = count_digits(p, i);
    if (whole == 0) return fail_found(p, i, "a digit");
    if (whole > 1 && p->bytes[i] == '0') return fail_at(p, i, "a number", "a leading zero");
    /* All digits as one integer, as long as they fit, and the power of ten that scales it. */
    uint64_t digits = 0;
    bool fits = true;
    long exponent = 0;
    for (size_t end = i + whole; i < end; i++)
        fits = fits && !__builtin_mul_overflow(digits, 10u, &digits)
               && !__builtin_add_overflow(digits, (uint64_t)(p->bytes[i] - '0'), &digits);
    bool integer = true;
    if (i < p->size && p->bytes[i] == '.') {
        integer = false;
        size_t fraction = count_digits(p, ++i);
        if (fraction == 0) return fail_found(p, i, "a digit");
        exponent = -(long)fraction;
        for (size_t end = i + fraction; i < end; i++)
            fits = fits && !__builtin_mul_overflow(digits, 10u, &digits)
                   && !__builtin_add_overflow(digits, (uint64_t)(p->bytes[i] - '0'), &digits);
    }
    if (i < p->size && (p->bytes[i] == 'e' || p->bytes[i] == 'E')) {
        integer = false;
        bool minus = ++i < p->size && p->bytes[i] == '-';
        if (i < p->size && (p->bytes[i] == '-' || p->bytes[i] == '+')) i++;
        size_t n = count_digits(p, i);
        if (n == 0) return fail_found(p, i, "a digit");
        long written = 0;
        for (size_t end = i + n; i < end; i++)
            if (written < 1000000) written = written * 10 + (p->bytes[i] - '0');
        exponent += minus ? -written : written;
    }
    p->at = i;
    if (integer && fits && digits <= (uint64_t)INT64_MAX + negative) {
        node->type = KR_JSON_INTEGER;
        node->integer = negative ? (int64_t)-digits : (int64_t)digits;
        return KRAIT_OK;
    }
    node->type = KR_JSON_NUMBER;
    /* One correctly rounded operation on two exact doubles is exact (Clinger 1990); everything else is the C library's. */
    if (fits && digits <= (uint64_t)1 << 53 && exponent >= -22 && exponent <= 22) {
        double value = (double)digits;
        value = exponent < 0 ? value / powers[-exponent] : value * powers[exponent];
        node->number = negative ? -value : value;
        return KRAIT_OK;
    }
    return read_double(p, p->bytes + begin, i - begin, &node->number);
}

static bool take_word(parser *p, const char *word)
{
    size_t length = strlen(word);
    if (p->size - p->at < length || memcmp(p->bytes + p->at, word, length) != 0) return false;
    p->at += length;
    return true;
}

/* Anything but a container. */
static krait_status parse_scalar(parser *p, kr_json *node)
{
    if (p->at >= p->size) return fail_found(p, p->at, "a value");
    char c = p->bytes[p->at];
    if (c == '"') {
        node->type = KR_JSON_STRING;
        return parse_string(p, &node->string, &node->length);
    }
    if ((c >= '0' && c <= '9') || (c == '-' && !(p->at + 1 < p->size && p->bytes[p->at + 1] == 'I')))
        return parse_number(p, node);
    if (take_word(p, "null")) {
        node->type = KR_JSON_NULL;
    } else if (take_word(p, "true") || take_word(p, "false")) {
        node->type = KR_JSON_BOOL;
        node->boolean = c == 't';
    } else if (take_word(p, "NaN") || take_word(p, "Infinity") || take_word(p, "-Infinity")) {
        node->type = KR_JSON_NUMBER;
        node->number = c == 'N' ? (double)NAN : c == 'I' ? (double)INFINITY : -(double)INFINITY;
    } else {
        return fail_found(p, p->at, "a value");
    }
    return KRAIT_OK;
}

/* ---- containers -------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_key(const kr_json *member, uint64_t seed)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = seed ^ member->key_length;
    const char *key = member->key;
    size_t left = member->key_length;
    for (; left > 0;) {
        uint64_t word = 0;
        size_t n = left < 8 ? left : 8;
        memcpy(&word, key, n);
        hash = mix(hash ^ word, odd);
        key += n;
        left -= n;
    }
    return mix(hash, odd);
}

static bool same_key(const kr_json *a, const kr_json *b)
{
    return a->key_length == b->key_length && memcmp(a->key, b->key, a->key_length) == 0;
}

static krait_status fail_duplicate(const parser *p, const kr_json *member)
{
    char found[96];
    int shown = member->key_length < 60 ? (int)member->key_length : 60;
    snprintf(found, sizeof found, "\"%.*s\" again", shown, member->key);
    return fail_at(p, member->offset, "a key of its own", found);
}

/* Refuses two members of one key: by pairs when they are few, through a hash set when they are many. */
static krait_status check_keys(const parser *p, const kr_json *object)
{
    enum { FEW = 8 };
    if (object->length <= FEW) {
        for (const kr_json *a = object->first; a; a = a->next)
            for (const kr_json *b = object->first; b != a; b = b->next)
                if (same_key(a, b)) return fail_duplicate(p, a);
        return KRAIT_OK;
    }
    size_t slots = 32;
    while (slots < object->length * 2) slots *= 2;
    const kr_json **set = kr_alloc_zero(slots, sizeof *set);
    if (!set) return fail_memory(p, slots * sizeof *set);
    uint64_t seed = (uint64_t)(uintptr_t)set; /* so that no file can be made of colliding keys */
    krait_status status = KRAIT_OK;
    for (const kr_json *member = object->first; member && !status; member = member->next) {
        size_t slot = hash_key(member, seed) & (slots - 1);
        while (set[slot] && !same_key(set[slot], member)) slot = (slot + 1) & (slots - 1);
        if (set[slot]) status = fail_duplicate(p, member);
        set[slot] = member;
    }
    kr_free(set);
    return status;
}

static void skip_space(parser *p)
{
    while (p->at < p->size) {
        char c = p->bytes[p->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
        p->at++;
    }
}

/* The key of a member and its colon. */
static krait_status parse_key(parser *p, const char **key, size_t *key_length)
{
    skip_space(p);
    if (p->at >= p->size || p->bytes[p->at] != '"') return fail_found(p, p->at, "a key in quotes");
    krait_status status = parse_string(p, key, key_length);
    if (status) return status;
    skip_space(p);
    if (p->at >= p->size || p->bytes[p->at] != ':') return fail_found(p, p->at, "':'");
    p->at++;
    return KRAIT_OK;
}

/* Parses one value and all it contains: each turn of the loop reads one value, opening containers on the way down and closing
 * them on the way up, so that depth costs a frame and no recursion. */
static krait_status parse_tree(parser *p, const kr_json **root)
{
    frame stack[KR_JSON_MAX_DEPTH];
    int depth = 0;
    for (;;) {
        frame *parent = depth ? &stack[depth - 1] : NULL;
        const char *key = NULL;
        size_t key_length = 0;
        krait_status status = KRAIT_OK;
        if (parent && parent->container->type == KR_JSON_OBJECT) status = parse_key(p, &key, &key_length);
        if (status) return status;
        skip_space(p);
        kr_json *node = kr_arena_alloc(p->arena, 1, sizeof *node);
        if (!node) return fail_memory(p, sizeof *node);
        *node = (kr_json){ .offset = p->at, .key = key, .key_length = key_length };
        if (!parent)
            *root = node;
        else {
            if (parent->last)
                parent->last->next = node;
            else
                parent->container->first = node;
            parent->last = node;
            parent->container->length++;
        }
        char open = p->at < p->size ? p->bytes[p->at] : '\0';
        if (open == '{' || open == '[') {
            if (depth == KR_JSON_MAX_DEPTH) return fail_at(p, p->at, "at most 64 containers in each other", "more");
            node->type = open == '{' ? KR_JSON_OBJECT : KR_JSON_ARRAY;
            p->at++;
            stack[depth++] = (frame){ .container = node };
            skip_space(p);
            if (!(p->at < p->size && p->bytes[p->at] == (open == '{' ? '}' : ']'))) continue;
        } else if ((status = parse_scalar(p, node))) {
            return status;
        }
        /* Behind a value, or in an empty container: close what closes. */
        for (;; depth--) {
            skip_space(p);
            if (depth == 0) return p->at == p->size ? KRAIT_OK : fail_found(p, p->at, "nothing behind the value");
            const kr_json *container = stack[depth - 1].container;
            bool object = container->type == KR_JSON_OBJECT;
            char c = p->at < p->size ? p->bytes[p->at] : '\0';
            if (c == ',') break;
            if (c != (object ? '}' : ']')) return fail_found(p, p->at, object ? "',' or '}'" : "',' or ']'");
            p->at++;
            if (object && (status = check_keys(p, container))) return status;
        }
        p->at++; /* the comma */
    }
}

krait_status kr_json_parse(const kr_json **root, kr_arena *arena, const char *name, const char *bytes, size_t size,
                           krait_error *error)
{
    parser p = { .arena = arena, .name = name, .bytes = bytes, .size = size, .error = error };
    krait_status status = parse_tree(&p, root);
    if (status) *root = NULL;
    return status;
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

const kr_json *kr_json_get(const kr_json *object, const char *key)
{
    if (!object || object->type != KR_JSON_OBJECT) return NULL;
    for (const kr_json *member = object->first; member; member = member->next)
        if (kr_json_key_is(member, key)) return member;
    return NULL;
}

bool kr_json_is(const kr_json *value, const char *text)
{
    return value->type == KR_JSON_STRING && value->length == strlen(text) && memcmp(value->string, text, value->length) == 0;
}

bool kr_json_key_is(const kr_json *member, const char *text)
{
    return member->key && member->key_length == strlen(text) && memcmp(member->key, text, member->key_length) == 0;
}

double kr_json_number(const kr_json *value) { return value->type == KR_JSON_INTEGER ? (double)value->integer : value->number; }

const char *kr_json_type_name(kr_json_type type)
{
    static const char *const names[] = { "null", "boolean", "integer", "number", "string", "array", "object" };
    return names[type];
}
