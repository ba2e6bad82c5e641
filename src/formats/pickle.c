#include "formats/pickle.h"

#include <string.h>

/* Opcodes under the names of Python's pickletools. */
enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_LIST = ']',
    OP_EMPTY_TUPLE = ')',
    OP_EMPTY_DICT = '}',
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C',
    OP_PROTO = 0x80,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95
};

/* Opcodes that we refuse, to name them. */
static const struct {
    unsigned char code;
    const char *name;
} refused[] = { { '2', "DUP" },          { 'F', "FLOAT" },
                { 'I', "INT" },          { 'L', "LONG" },
                { 'P', "PERSID" },       { 'S', "STRING" },
                { 'V', "UNICODE" },      { 'd', "DICT" },
                { 'g', "GET" },          { 'i', "INST" },
                { 'l', "LIST" },         { 'o', "OBJ" },
                { 'p', "PUT" },          { 0x81, "NEWOBJ" },
                { 0x82, "EXT1" },        { 0x83, "EXT2" },
                { 0x84, "EXT4" },        { 0x8b, "LONG4" },
                { 0x8e, "BINBYTES8" },   { 0x8f, "EMPTY_SET" },
                { 0x90, "ADDITEMS" },    { 0x91, "FROZENSET" },
                { 0x92, "NEWOBJ_EX" },   { 0x96, "BYTEARRAY8" },
                { 0x97, "NEXT_BUFFER" }, { 0x98, "READONLY_BUFFER" } };

typedef struct machine {
    kr_arena *arena;
    const char *name;
    const char *bytes;
    size_t size, at;
    size_t opcode; /* where the one being run stands */
    const kr_pickle_global *globals;
    size_t n_globals;
    kr_pickle_value **stack; /* NULL is a mark */
    size_t height, stack_capacity;
    kr_pickle_value **memo;
    size_t n_memo, memo_capacity; /* n_memo: one more than the largest index used */
    krait_error *error;
} machine;

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static krait_status fail(const machine *m, const char *expected, const char *found)
{
    return kr_fail(m->error, KRAIT_ERROR_FORMAT, "%s: pickle: byte %zu: expected %s, found %s", m->name, m->opcode, expected,
                   found);
}

static krait_status fail_memory(const machine *m, size_t bytes)
{
    return kr_fail(m->error, KRAIT_ERROR_MEMORY, "%s: out of memory: %zu bytes for a pickle", m->name, bytes);
}

static krait_status fail_opcode(const machine *m, unsigned char opcode)
{
    const char *name = "unknown";
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i].code == opcode) name = refused[i].name;
    return kr_fail(m->error, KRAIT_ERROR_UNSUPPORTED,
                   "%s: pickle: byte %zu: expected only what rebuilding tensors needs, found opcode 0x%02x (%s)", m->name,
                   m->opcode, opcode, name);
}

/* ---- stack and memo ---------------------------------------------------------------------------------------------- */

/* Makes room for one more pointer, doubling. */
static krait_status grow(const machine *m, kr_pickle_value ***array, size_t *capacity, size_t needed)
{
    if (needed <= *capacity) return KRAIT_OK;
    size_t larger = *capacity ? *capacity : 64;
    while (larger < needed) larger *= 2;
    kr_pickle_value **grown = kr_realloc(*array, larger, sizeof *grown);
    if (!grown) return fail_memory(m, larger * sizeof *grown);
    *array = grown;
    *capacity = larger;
    return KRAIT_OK;
}

static krait_status push(machine *m, kr_pickle_value *value)
{
    if (m->height == KR_PICKLE_MAX_STACK) return fail(m, "a stack of at most 65536 values", "more");
    krait_status status = grow(m, &m->stack, &m->stack_capacity, m->height + 1);
    if (!status) m->stack[m->height++] = value;
    return status;
}

/* A new value on the stack. */
static krait_status push_new(machine *m, kr_pickle_value **value, kr_pickle_type type)
{
    *value = kr_arena_alloc(m->arena, 1, sizeof **value);
    if (!*value) return fail_memory(m, sizeof **value);
    **value = (kr_pickle_value){ .type = type, .offset = m->opcode };
    return push(m, *value);
}

/* The value `depth` below the top, which must not be under a mark. */
static krait_status peek(const machine *m, size_t depth, kr_pickle_value **value)
{
    for (size_t i = 0; i <= depth; i++)
        if (i >= m->height || !m->stack[m->height - 1 - i]) return fail(m, "a value on the stack", "none");
    *value = m->stack[m->height - 1 - depth];
    return KRAIT_OK;
}

/* The height of the stack just above the topmost mark. */
static krait_status find_mark(const machine *m, size_t *above)
{
    size_t i = m->height;
    while (i > 0 && m->stack[i - 1]) i--;
    if (i == 0) return fail(m, "a mark on the stack", "none");
    *above = i;
    return KRAIT_OK;
}

static krait_status put_memo(machine *m, uint64_t index)
{
    kr_pickle_value *value;
    krait_status status = peek(m, 0, &value);
    if (status) return status;
    if (index >= KR_PICKLE_MAX_MEMO) return fail(m, "a memo of at most 4194304 values", "a larger index");
    size_t before = m->memo_capacity;
    status = grow(m, &m->memo, &m->memo_capacity, (size_t)index + 1);
    if (status) return status;
    memset(m->memo + before, 0, (m->memo_capacity - before) * sizeof *m->memo);
    m->memo[index] = value;
    if (index >= m->n_memo) m->n_memo = (size_t)index + 1;
    return KRAIT_OK;
}

static krait_status get_memo(machine *m, uint64_t index)
{
    if (index >= m->n_memo || !m->memo[index]) return fail(m, "a value in the memo", "none under that index");
    return push(m, m->memo[index]);
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

/* `count` bytes behind the opcode, or NULL with an error. */
static const char *take(machine *m, uint64_t count)
{
    if (count > m->size - m->at) {
        fail(m, "the bytes that the opcode announces", "the end of the pickle");
        return NULL;
    }
    const char *bytes = m->bytes + m->at;
    m->at += (size_t)count;
    return bytes;
}

/* An unsigned little-endian number of `width` bytes; false with an error. */
static bool take_unsigned(machine *m, size_t width, uint64_t *value)
{
    const char *bytes = take(m, width);
    *value = 0;
    if (bytes) memcpy(value, bytes, width);
    return bytes != NULL;
}

/* A string behind its length of `width` bytes. */
static krait_status push_string(machine *m, size_t width)
{
    uint64_t length;
    const char *text;
    kr_pickle_value *value;
    if (!take_unsigned(m, width, &length) || !(text = take(m, length))) return KRAIT_ERROR_FORMAT;
    krait_status status = push_new(m, &value, KR_PICKLE_STRING);
    if (status) return status;
    value->string = text;
    value->length = (size_t)length;
    return KRAIT_OK;
}

static krait_status push_integer(machine *m, kr_pickle_type type, int64_t integer)
{
    kr_pickle_value *value;
    krait_status status = push_new(m, &value, type);
    if (!status) value->integer = integer;
    return status;
}

static krait_status push_unsigned(machine *m, size_t width)
{
    uint64_t integer;
    return take_unsigned(m, width, &integer) ? push_integer(m, KR_PICKLE_INTEGER, (int64_t)integer) : KRAIT_ERROR_FORMAT;
}

static krait_status push_int32(machine *m)
{
    const char *bytes = take(m, 4);
    int32_t integer;
    if (!bytes) return KRAIT_ERROR_FORMAT;
    memcpy(&integer, bytes, 4);
    return push_integer(m, KR_PICKLE_INTEGER, integer);
}

/* Two's complement of as many bytes as the first byte says; sizes of tensors fit 8. */
static krait_status push_long(machine *m)
{
    uint64_t width, integer;
    if (!take_unsigned(m, 1, &width)) return KRAIT_ERROR_FORMAT;
    if (width > 8) return fail(m, "an integer of at most 8 bytes", "a longer one");
    if (!take_unsigned(m, (size_t)width, &integer)) return KRAIT_ERROR_FORMAT;
    if (width > 0 && width < 8 && integer >> (width * 8 - 1)) integer |= UINT64_MAX << (width * 8);
    return push_integer(m, KR_PICKLE_INTEGER, (int64_t)integer);
}

static krait_status push_float(machine *m)
{
    const char *bytes = take(m, 8);
    kr_pickle_value *value;
    if (!bytes) return KRAIT_ERROR_FORMAT;
    uint64_t bits;
    memcpy(&bits, bytes, 8);
    bits = __builtin_bswap64(bits); /* the one big-endian thing in a pickle */
    krait_status status = push_new(m, &value, KR_PICKLE_FLOAT);
    if (!status) memcpy(&value->number, &bits, 8);
    return status;
}

/* ---- containers -------------------------------------------------------------------------------------------------- */

/* Replaces the stack from `above` on (and the mark below it, if there is one) by a tuple of its values. */
static krait_status make_tuple(machine *m, size_t above, size_t marks)
{
    size_t length = m->height - above;
    kr_pickle_value **elements = kr_arena_alloc(m->arena, length, sizeof *elements), *tuple;
    if (!elements) return fail_memory(m, length * sizeof *elements);
    if (length) memcpy(elements, m->stack + above, length * sizeof *elements);
    m->height = above - marks;
    krait_status status = push_new(m, &tuple, KR_PICKLE_TUPLE);
    if (status) return status;
    tuple->elements = elements;
    tuple->length = length;
    return KRAIT_OK;
}

static krait_status make_short_tuple(machine *m, size_t length)
{
    kr_pickle_value *lowest;
    krait_status status = peek(m, length - 1, &lowest);
    return status ? status : make_tuple(m, m->height - length, 0);
}

/* Moves the values from `above` on into the list or dict just below them (below the mark, if there is one). */
static krait_status fill(machine *m, kr_pickle_type type, size_t above, size_t marks)
{
    size_t step = type == KR_PICKLE_DICT ? 2 : 1, count = m->height - above;
    if (above < marks + 1 || !m->stack[above - marks - 1] || m->stack[above - marks - 1]->type != type)
        return fail(m, type == KR_PICKLE_DICT ? "a dict to set items of" : "a list to append to", "none on the stack");
    if (count % step != 0) return fail(m, "pairs of key and value", "an odd number of values");
    kr_pickle_value *container = m->stack[above - marks - 1];
    for (size_t i = above; i < m->height; i += step) {
        kr_pickle_item *item = kr_arena_alloc(m->arena, 1, sizeof *item);
        if (!item) return fail_memory(m, sizeof *item);
        *item = (kr_pickle_item){ .key = step == 2 ? m->stack[i] : NULL, .value = m->stack[i + step - 1] };
        if (container->last)
            container->last->next = item;
        else
            container->first = item;
        container->last = item;
        container->length++;
    }
    m->height = above - marks;
    return KRAIT_OK;
}

static krait_status fill_marked(machine *m, kr_pickle_type type)
{
    size_t above = 0;
    krait_status status = find_mark(m, &above);
    return status ? status : fill(m, type, above, 1);
}

static krait_status fill_one(machine *m, kr_pickle_type type, size_t count)
{
    kr_pickle_value *lowest;
    krait_status status = peek(m, count - 1, &lowest);
    return status ? status : fill(m, type, m->height - count, 0);
}

/* ---- globals ----------------------------------------------------------------------------------------------------- */

static bool global_is(const kr_pickle_global *global, const char *module, size_t module_length, const char *name,
                      size_t name_length)
{
    return strlen(global->name) == module_length + 1 + name_length && memcmp(global->name, module, module_length) == 0
           && global->name[module_length] == '.' && memcmp(global->name + module_length + 1, name, name_length) == 0;
}

static krait_status push_global(machine *m, const char *module, size_t module_length, const char *name, size_t name_length)
{
    for (size_t i = 0; i < m->n_globals; i++) {
        if (!global_is(&m->globals[i], module, module_length, name, name_length)) continue;
        kr_pickle_value *value;
        krait_status status = push_new(m, &value, KR_PICKLE_GLOBAL);
        if (!status) value->global = &m->globals[i];
        return status;
    }
    return kr_fail(m->error, KRAIT_ERROR_UNSUPPORTED,
                   "%s: pickle: byte %zu: expected only globals that rebuild tensors, found %.*s.%.*s: nothing was run", m->name,
                   m->opcode, module_length < 100 ? (int)module_length : 100, module, name_length < 100 ? (int)name_length : 100,
                   name);
}

/* The line at m->at without its end; NULL with an error. */
static const char *take_line(machine *m, size_t *length)
{
    const char *line = m->bytes + m->at, *end = memchr(line, '\n', m->size - m->at);
    *length = end ? (size_t)(end - line) : 0;
    if (!end) {
        fail(m, "a line", "the end of the pickle");
        return NULL;
    }
    m->at += *length + 1;
    return line;
}

static krait_status run_global(machine *m)
{
    size_t module_length, name_length;
    const char *module = take_line(m, &module_length), *name = module ? take_line(m, &name_length) : NULL;
    return name ? push_global(m, module, module_length, name, name_length) : KRAIT_ERROR_FORMAT;
}

static krait_status run_stack_global(machine *m)
{
    kr_pickle_value *module, *name;
    krait_status status = peek(m, 0, &name);
    if (!status) status = peek(m, 1, &module);
    if (status) return status;
    if (module->type != KR_PICKLE_STRING || name->type != KR_PICKLE_STRING)
        return fail(m, "a module and a name as strings", "other values");
    m->height -= 2;
    return push_global(m, module->string, module->length, name->string, name->length);
}

static krait_status run_reduce(machine *m)
{
    kr_pickle_value *callee, *arguments, *result;
    krait_status status = peek(m, 0, &arguments);
    if (!status) status = peek(m, 1, &callee);
    if (status) return status;
    if (callee->type != KR_PICKLE_GLOBAL || !callee->global->callable)
        return fail(m, "REDUCE of a function that rebuilds tensors",
                    callee->type == KR_PICKLE_GLOBAL ? callee->global->name : kr_pickle_type_name(callee->type));
    if (arguments->type != KR_PICKLE_TUPLE) return fail(m, "a tuple of arguments", kr_pickle_type_name(arguments->type));
    m->height -= 2;
    if (strcmp(callee->global->name, "collections.OrderedDict") == 0) {
        if (arguments->length != 0) return fail(m, "an OrderedDict made empty", "arguments");
        return push_new(m, &result, KR_PICKLE_DICT);
    }
    status = push_new(m, &result, KR_PICKLE_CALL);
    if (status) return status;
    result->global = callee->global;
    result->arguments = arguments;
    return KRAIT_OK;
}

/* Sets attributes of an object, such as `_metadata` of a state dict: of no use to us. */
static krait_status run_build(machine *m)
{
    kr_pickle_value *attributes, *object;
    krait_status status = peek(m, 0, &attributes);
    if (!status) status = peek(m, 1, &object);
    if (status) return status;
    if (object->type != KR_PICKLE_DICT) return fail(m, "BUILD of an OrderedDict", kr_pickle_type_name(object->type));
    m->height--;
    return KRAIT_OK;
}

static krait_status run_persistent_id(machine *m)
{
    kr_pickle_value *id, *value;
    krait_status status = peek(m, 0, &id);
    if (status) return status;
    m->height--;
    status = push_new(m, &value, KR_PICKLE_PERSISTENT);
    if (!status) value->persistent_id = id;
    return status;
}

/* ---- the machine ------------------------------------------------------------------------------------------------- */

static krait_status run(machine *m, unsigned char opcode)
{
    kr_pickle_value *value;
    uint64_t index;
    size_t above = 0;
    krait_status status;
    switch (opcode) {
    case OP_FRAME: return take(m, 8) ? KRAIT_OK : KRAIT_ERROR_FORMAT; /* its length matters to streams only */
    case OP_MARK: return push(m, NULL);
    case OP_POP:
        if (m->height == 0) return fail(m, "a value on the stack", "none");
        m->height--;
        return KRAIT_OK;
    case OP_POP_MARK:
        if ((status = find_mark(m, &above))) return status;
        m->height = above - 1;
        return KRAIT_OK;

    case OP_NONE: return push_new(m, &value, KR_PICKLE_NONE);
    case OP_NEWTRUE: return push_integer(m, KR_PICKLE_BOOL, 1);
    case OP_NEWFALSE: return push_integer(m, KR_PICKLE_BOOL, 0);
    case OP_BININT: return push_int32(m);
    case OP_BININT1: return push_unsigned(m, 1);
    case OP_BININT2: return push_unsigned(m, 2);
    case OP_LONG1: return push_long(m);
    case OP_BINFLOAT: return push_float(m);
    case OP_SHORT_BINSTRING:
    case OP_SHORT_BINBYTES:
    case OP_SHORT_BINUNICODE: return push_string(m, 1);
    case OP_BINSTRING:
    case OP_BINBYTES:
    case OP_BINUNICODE: return push_string(m, 4);
    case OP_BINUNICODE8: return push_string(m, 8);

    case OP_EMPTY_TUPLE: return make_tuple(m, m->height, 0);
    case OP_TUPLE1: return make_short_tuple(m, 1);
    case OP_TUPLE2: return make_short_tuple(m, 2);
    case OP_TUPLE3: return make_short_tuple(m, 3);
    case OP_TUPLE: return (status = find_mark(m, &above)) ? status : make_tuple(m, above, 1);
    case OP_EMPTY_LIST: return push_new(m, &value, KR_PICKLE_LIST);
    case OP_EMPTY_DICT: return push_new(m, &value, KR_PICKLE_DICT);
    case OP_APPEND: return fill_one(m, KR_PICKLE_LIST, 1);
    case OP_APPENDS: return fill_marked(m, KR_PICKLE_LIST);
    case OP_SETITEM: return fill_one(m, KR_PICKLE_DICT, 2);
    case OP_SETITEMS: return fill_marked(m, KR_PICKLE_DICT);

    case OP_BINPUT: return take_unsigned(m, 1, &index) ? put_memo(m, index) : KRAIT_ERROR_FORMAT;
    case OP_LONG_BINPUT: return take_unsigned(m, 4, &index) ? put_memo(m, index) : KRAIT_ERROR_FORMAT;
    case OP_MEMOIZE: return put_memo(m, m->n_memo);
    case OP_BINGET: return take_unsigned(m, 1, &index) ? get_memo(m, index) : KRAIT_ERROR_FORMAT;
    case OP_LONG_BINGET: return take_unsigned(m, 4, &index) ? get_memo(m, index) : KRAIT_ERROR_FORMAT;

    case OP_GLOBAL: return run_global(m);
    case OP_STACK_GLOBAL: return run_stack_global(m);
    case OP_REDUCE: return run_reduce(m);
    case OP_BUILD: return run_build(m);
    case OP_BINPERSID: return run_persistent_id(m);
    default: return fail_opcode(m, opcode);
    }
}

static krait_status read_header(machine *m)
{
    uint64_t opcode = 0, protocol = 0;
    if (!take_unsigned(m, 1, &opcode) || !take_unsigned(m, 1, &protocol)) return KRAIT_ERROR_FORMAT;
    if (opcode != OP_PROTO) return fail(m, "a pickle of protocol 2 to 5", "another opcode than PROTO");
    if (protocol < 2 || protocol > 5) return fail(m, "a pickle of protocol 2 to 5", "another protocol");
    return KRAIT_OK;
}

static krait_status read_all(machine *m, const kr_pickle_value **root)
{
    krait_status status = read_header(m);
    while (!status) {
        uint64_t opcode;
        m->opcode = m->at;
        if (!take_unsigned(m, 1, &opcode)) return KRAIT_ERROR_FORMAT;
        if (opcode == OP_STOP) {
            kr_pickle_value *top;
            status = peek(m, 0, &top);
            if (!status && m->height != 1) status = fail(m, "one value when it stops", "more on the stack");
            if (!status && m->at != m->size) status = fail(m, "the end of the pickle", "more bytes");
            if (!status) *root = top;
            return status;
        }
        status = run(m, (unsigned char)opcode);
    }
    return status;
}

krait_status kr_pickle_read(const kr_pickle_value **root, kr_arena *arena, const char *name, const char *bytes, size_t size,
                            const kr_pickle_global *globals, size_t n_globals, krait_error *error)
{
    machine m = {
        .arena = arena, .name = name, .bytes = bytes, .size = size, .globals = globals, .n_globals = n_globals, .error = error
    };
    *root = NULL;
    krait_status status = read_all(&m, root);
    kr_free(m.stack);
    kr_free(m.memo);
    return status;
}

bool kr_pickle_is(const kr_pickle_value *value, const char *text)
{
    return value->type == KR_PICKLE_STRING && value->length == strlen(text) && memcmp(value->string, text, value->length) == 0;
}

const char *kr_pickle_type_name(kr_pickle_type type)
{
    static const char *const names[] = { "None", "bool", "int",    "float", "str",          "tuple",
                                         "list", "dict", "global", "call",  "persistent id" };
    return names[type];
}
