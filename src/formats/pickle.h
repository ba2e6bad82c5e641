/* The part of Python's pickle format (protocols 2 to 5) that a dict of tensors needs, read into a tree of values. Nothing is ever
 * run or imported: a global is a name that must be on the caller's list, and calling one makes a node that says so. */
#ifndef KR_FORMATS_PICKLE_H
#define KR_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"

/* Beyond what any state dict has; Python writes batches of 1000 elements. */
#define KR_PICKLE_MAX_STACK 65536
#define KR_PICKLE_MAX_MEMO  ((size_t)1 << 22)

typedef enum kr_pickle_type {
    KR_PICKLE_NONE,
    KR_PICKLE_BOOL,
    KR_PICKLE_INTEGER,
    KR_PICKLE_FLOAT,
    KR_PICKLE_STRING, /* text or bytes */
    KR_PICKLE_TUPLE,
    KR_PICKLE_LIST,
    KR_PICKLE_DICT,
    KR_PICKLE_GLOBAL,     /* one of the caller's list */
    KR_PICKLE_CALL,       /* a global, called with a tuple */
    KR_PICKLE_PERSISTENT, /* a thing kept outside of the pickle, under this id */
} kr_pickle_type;

/* A global that may occur, and whether it may be called. A called "collections.OrderedDict" becomes a dict. */
typedef struct kr_pickle_global {
    const char *name; /* "module.attribute" */
    bool callable;
} kr_pickle_global;

/* One value may be reached on several ways, also from within itself: a reader must not follow lists and dicts without end. */
typedef struct kr_pickle_value {
    kr_pickle_type type;
    size_t offset; /* of the opcode that made it, in the pickle */
    size_t length; /* bytes of a string, elements of a tuple, list or dict */
    union {
        int64_t integer; /* also of a BOOL */
        double number;
        const char *string;                          /* in the pickle's bytes: no NUL behind */
        struct kr_pickle_value *const *elements;     /* of a TUPLE: [length] */
        struct kr_pickle_item *first;                /* of a LIST or DICT, in the pickle's order; NULL when empty */
        const kr_pickle_global *global;              /* of a GLOBAL; of a CALL: what is called */
        const struct kr_pickle_value *persistent_id; /* of a PERSISTENT */
    };
    union {
        struct kr_pickle_item *last;             /* of a LIST or DICT */
        const struct kr_pickle_value *arguments; /* of a CALL: a tuple */
    };
} kr_pickle_value;

typedef struct kr_pickle_item {
    const kr_pickle_value *key; /* NULL in a list */
    const kr_pickle_value *value;
    struct kr_pickle_item *next;
} kr_pickle_item;

/* Reads one pickle, which must end at `size`. `name` begins the error messages, which name the opcode or global and its byte. The tree
 * lives in `arena`; strings point into `bytes`. */
krait_status kr_pickle_read(const kr_pickle_value **root, kr_arena *arena, const char *name, const char *bytes, size_t size,
                            const kr_pickle_global *globals, size_t n_globals, krait_error *error);

/* Whether a string value equals a C string. */
bool kr_pickle_is(const kr_pickle_value *value, const char *text);
/* "None", "bool", "int", ...: as Python calls them, for messages. */
const char *kr_pickle_type_name(kr_pickle_type type);

#endif
