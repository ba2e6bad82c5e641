/* JSON: a strict reader into an arena, and a small writer.
 *
 * Why not a library's: a build with a C compiler alone must load checkpoints, whose headers are JSON; config.json files in the
 * wild hold NaN and Infinity (as Python writes them), which the packaged libraries refuse; and an error must name the byte.
 *
 * The reader accepts RFC 8259 plus the bare words NaN, Infinity and -Infinity. It refuses duplicate keys, invalid UTF-8,
 * lone surrogates, nesting beyond KR_JSON_MAX_DEPTH and anything behind the value. Strings without escapes point into the
 * input, which must outlive the tree; none has a NUL behind it. */
#ifndef KR_BASE_JSON_H
#define KR_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/status.h"

#define KR_JSON_MAX_DEPTH 64

typedef enum kr_json_type {
    KR_JSON_NULL,
    KR_JSON_BOOL,
    KR_JSON_INTEGER, /* fits int64_t and was written without '.', 'e' */
    KR_JSON_NUMBER,  /* any other number */
    KR_JSON_STRING,
    KR_JSON_ARRAY,
    KR_JSON_OBJECT
} kr_json_type;

typedef struct kr_json {
    kr_json_type type;
    size_t offset;   /* of the value's first byte in the input */
    const char *key; /* as a member of an object: [key_length]; else NULL */
    size_t key_length;
    const struct kr_json *next; /* the next element or member, in the input's order */
    size_t length;              /* bytes of a string, elements of an array, members of an object */
    union {
        bool boolean;
        int64_t integer;
        double number; /* of KR_JSON_NUMBER: see kr_json_number() */
        const char *string;
        const struct kr_json *first; /* element or member; NULL when empty */
    };
} kr_json;

/* Parses all of `bytes`. `name` begins the error message. The tree lives in `arena`. */
krait_status kr_json_parse(const kr_json **root, kr_arena *arena, const char *name, const char *bytes, size_t size,
                           krait_error *error);

/* The member of an object, or NULL (also when `object` is NULL or no object). Linear in the members. */
const kr_json *kr_json_get(const kr_json *object, const char *key);
/* Whether a string value, or a member's key, equals a C string. */
bool kr_json_is(const kr_json *value, const char *text);
bool kr_json_key_is(const kr_json *member, const char *text);
/* The value of a KR_JSON_INTEGER or KR_JSON_NUMBER. */
double kr_json_number(const kr_json *value);
/* "null", "boolean", "integer", "number", "string", "array", "object": for messages. */
const char *kr_json_type_name(kr_json_type type);

/* ---- writing: commas and escapes; the caller opens and closes in pairs ------------------------------------------- */

/* Writes to a FILE, or (file NULL) into a growing buffer. A failed allocation or write sets `failed`, and later calls do
 * nothing: check once, at the end. Invalid UTF-8 in strings becomes U+FFFD. */
typedef struct kr_json_writer {
    FILE *file;
    char *buffer; /* kr_free() it; ends with a NUL that length does not count */
    size_t length, capacity;
    bool failed;
    int indent; /* spaces per level; 0: one line */
    int depth;
    uint64_t has_elements; /* bit d: the container at depth d is not empty */
    bool after_key;
} kr_json_writer;

void kr_json_open(kr_json_writer *writer, char bracket);  /* '{' or '[' */
void kr_json_close(kr_json_writer *writer, char bracket); /* '}' or ']' */
void kr_json_key(kr_json_writer *writer, const char *key);
void kr_json_put_string(kr_json_writer *writer, const char *text, size_t length);
void kr_json_put_text(kr_json_writer *writer, const char *text); /* a C string; NULL gives null */
void kr_json_put_integer(kr_json_writer *writer, int64_t value);
/* The shortest decimal that reads back as the same double; null for NaN and infinities. */
void kr_json_put_number(kr_json_writer *writer, double value);
void kr_json_put_bool(kr_json_writer *writer, bool value);
void kr_json_put_null(kr_json_writer *writer);

#endif
