#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "formats/pickle.h"
#include "formats/torch_zip.h"
#include "formats/zip.h"

/* ---- making archives --------------------------------------------------------------------------------------------- */

enum { MAX_FILE = 1 << 20 };

typedef struct member {
    const char *name;
    const void *data;
    size_t size;
    uint16_t flags, method;
} member;

typedef struct builder {
    unsigned char bytes[MAX_FILE];
    size_t size;
} builder;

static void put(builder *b, const void *data, size_t size)
{
    assert_true(size <= MAX_FILE - b->size);
    if (size) memcpy(b->bytes + b->size, data, size);
    b->size += size;
}

static void put_number(builder *b, uint64_t value, size_t width) { put(b, &value, width); }

static builder zip;
static size_t directory_offset, end_offset;

/* An archive of stored members, as zipfile writes it; with `wide` all sizes and places are in zip64 records. */
static void make_zip(const member *members, size_t n, bool wide)
{
    size_t places[16];
    zip.size = 0;
    for (size_t i = 0; i < n; i++) {
        places[i] = zip.size;
        put_number(&zip, 0x04034b50, 4);
        put_number(&zip, 20, 2);
        put_number(&zip, members[i].flags, 2);
        put_number(&zip, members[i].method, 2);
        put_number(&zip, 0, 8); /* time, checksum */
        put_number(&zip, members[i].size, 4);
        put_number(&zip, members[i].size, 4);
        put_number(&zip, strlen(members[i].name), 2);
        put_number(&zip, 3, 2); /* an extra field to skip, as torch pads with one */
        put(&zip, members[i].name, strlen(members[i].name));
        put(&zip, "FB", 3);
        put(&zip, members[i].data, members[i].size);
    }
    directory_offset = zip.size;
    for (size_t i = 0; i < n; i++) {
        put_number(&zip, 0x02014b50, 4);
        put_number(&zip, 20, 4);
        put_number(&zip, members[i].flags, 2);
        put_number(&zip, members[i].method, 2);
        put_number(&zip, 0, 8);
        put_number(&zip, wide ? UINT32_MAX : members[i].size, 4);
        put_number(&zip, wide ? UINT32_MAX : members[i].size, 4);
        put_number(&zip, strlen(members[i].name), 2);
        put_number(&zip, wide ? 32 : 0, 2);
        put_number(&zip, 0, 2 + 2); /* comment, volume */
        put_number(&zip, 0, 2 + 4); /* attributes */
        put_number(&zip, wide ? UINT32_MAX : places[i], 4);
        put(&zip, members[i].name, strlen(members[i].name));
        if (!wide) continue;
        put_number(&zip, 7, 2); /* another extra field first */
        put_number(&zip, 0, 2);
        put_number(&zip, 1, 2);
        put_number(&zip, 24, 2);
        put_number(&zip, members[i].size, 8);
        put_number(&zip, members[i].size, 8);
        put_number(&zip, places[i], 8);
    }
    size_t directory_size = zip.size - directory_offset;
    end_offset = zip.size;
    if (wide) {
        put_number(&zip, 0x06064b50, 4);
        put_number(&zip, 44, 8);
        put_number(&zip, 0, 4 + 4); /* versions, volume */
        put_number(&zip, 0, 4);
        put_number(&zip, n, 8);
        put_number(&zip, n, 8);
        put_number(&zip, directory_size, 8);
        put_number(&zip, directory_offset, 8);
        put_number(&zip, 0x07064b50, 4);
        put_number(&zip, 0, 4);
        put_number(&zip, end_offset, 8);
        put_number(&zip, 1, 4);
    }
    put_number(&zip, 0x06054b50, 4);
    put_number(&zip, 0, 4);
    put_number(&zip, wide ? UINT16_MAX : n, 2);
    put_number(&zip, wide ? UINT16_MAX : n, 2);
    put_number(&zip, wide ? UINT32_MAX : directory_size, 4);
    put_number(&zip, wide ? UINT32_MAX : directory_offset, 4);
    put_number(&zip, 0, 2);
}

static const float storage_values[6] = { 0, 1, 2, 3, 4, 5 };

/* A torch file of this pickle and one storage of six floats, data/0. */
static void make_torch(const void *pickle, size_t size)
{
    make_zip((const member[]){ { .name = "archive/data.pkl", .data = pickle, .size = size },
                               { .name = "archive/byteorder", .data = "little", .size = 6 },
                               { .name = "archive/data/0", .data = storage_values, .size = sizeof storage_values } },
             3, false);
}

/* ---- reading them ------------------------------------------------------------------------------------------------ */

typedef struct opened {
    kr_arena arena;
    kr_file file;
    char *copy;
    kr_tensor *tensors;
    size_t n;
    krait_error error;
} opened;

/* Reads the first `size` bytes of the archive, from a block that ends with them. */
static krait_status read_zip(opened *o, size_t size)
{
    *o = (opened){ 0 };
    o->copy = malloc(size ? size : 1);
    assert_non_null(o->copy);
    memcpy(o->copy, zip.bytes, size);
    assert_int_equal(kr_file_borrow(&o->file, "x.bin", o->copy, size, NULL), KRAIT_OK);
    return kr_torch_zip_read(&o->tensors, &o->n, &o->arena, &o->file, &o->error);
}

static void close_zip(opened *o)
{
    kr_arena_free(&o->arena);
    kr_file_close(&o->file);
    free(o->copy);
}

static void expect_refusal(krait_status status, const char *message)
{
    opened o;
    krait_status found = read_zip(&o, zip.size);
    if (found != status || !strstr(o.error.message, message))
        print_error("expected \"%s\", found \"%s\"\n", message, found ? o.error.message : "no error");
    assert_int_equal(found, status);
    assert_non_null(strstr(o.error.message, message));
    assert_non_null(strstr(o.error.message, "x.bin: "));
    assert_null(o.tensors);
    assert_int_equal(o.n, 0);
    close_zip(&o);
}

#define REFUSES(status, pickle, message) (make_torch(pickle, sizeof(pickle) - 1), expect_refusal(status, message))

/* Pieces of pickles. */
#define PROTO                        "\x80\x02"
#define STR(n, text)                 "X" n "\0\0\0" text
#define SMALL(n)                     "K" n
#define REBUILD                      "ctorch._utils\n_rebuild_tensor_v2\n"
#define STORAGE(type, key, count)    "(" STR("\7", "storage") "ctorch\n" type "\n" STR("\1", key) STR("\3", "cpu") count "tQ"
#define ORDERED                      "ccollections\nOrderedDict\n)R"
#define TENSOR(offset, size, stride) REBUILD "(" STORAGE("FloatStorage", "0", SMALL("\6")) offset size stride "\x89" ORDERED "tR"
#define TWO(a, b)                    SMALL(a) SMALL(b) "\x86"
#define DICT_OF(key, value)          PROTO "}" STR("\1", key) value "s."

static void reads_a_tensor(void **state)
{
    (void)state;
    make_torch(DICT_OF("w", TENSOR(SMALL("\0"), TWO("\2", "\3"), TWO("\3", "\1"))),
               sizeof DICT_OF("w", TENSOR(SMALL("\0"), TWO("\2", "\3"), TWO("\3", "\1"))) - 1);
    assert_true(kr_torch_zip_is((char *)zip.bytes, zip.size));
    opened o;
    if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
    assert_int_equal(o.n, 1);
    assert_string_equal(o.tensors[0].name, "w");
    assert_string_equal(o.tensors[0].file, "x.bin");
    assert_int_equal(o.tensors[0].dtype, KRAIT_DTYPE_F32);
    assert_int_equal(o.tensors[0].n_dims, 2);
    assert_int_equal(o.tensors[0].shape[0], 2);
    float out[6];
    kr_tensor_to_float32(out, &o.tensors[0]);
    assert_memory_equal(out, storage_values, sizeof out);
    close_zip(&o);
}

static void reads_strides_offsets_and_shared_storage(void **state)
{
    (void)state;
    static const char pickle[] = PROTO ORDERED "(" STR("\1", "t") TENSOR(SMALL("\0"), TWO("\3", "\2"), TWO("\1", "\3"))
        STR("\1", "o") TENSOR(SMALL("\4"), SMALL("\2") "\x85", SMALL("\1") "\x85") STR("\1", "s") TENSOR(SMALL("\5"), ")", ")")
            STR("\1", "e") TENSOR(SMALL("\6"), SMALL("\0") "\x85", SMALL("\1") "\x85") "u.";
    make_torch(pickle, sizeof pickle - 1);
    opened o;
    if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
    assert_int_equal(o.n, 4);
    float out[6];
    kr_tensor_to_float32(out, &o.tensors[0]);
    assert_memory_equal(out, ((float[]){ 0, 3, 1, 4, 2, 5 }), sizeof out);
    kr_tensor_to_float32(out, &o.tensors[1]);
    assert_memory_equal(out, ((float[]){ 4, 5 }), 2 * sizeof *out);
    kr_tensor_to_float32(out, &o.tensors[2]);
    assert_true(out[0] == 5);
    size_t count;
    assert_true(kr_tensor_count(&o.tensors[3], &count) && count == 0);
    close_zip(&o);
}

/* What protocols 4 and 5, training programs and modules put around tensors. */
static void reads_what_else_a_state_dict_has(void **state)
{
    (void)state;
    static const char pickle[] = "\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(" /* FRAME, MEMOIZE */
                                 "\x8c\5epochK\7"
                                 "\x8c\2lrG\x3f\xf0\0\0\0\0\0\0"
                                 "\x8c\4longJ\xff\xff\xff\xff"
                                 "\x8c\4big1\x8a\2\xff\xff"
                                 "\x8c\4noneN"
                                 "\x8c\5dtype\x8c\5torch\x8c\10bfloat16\x93"
                                 "\x8c\4list](K\1K\2eK\3a"
                                 "\x8c\5bytesC\2ab"
                                 "\x8c\5trash(K\1K\2"
                                 "1N"
                                 "\x8c\5popit"
                                 "K\1K\2"
                                 "0"
                                 "\x8c\12state_dict" ORDERED "\x94(\x8c\1p\x8c\14torch._utils\x8c\22_rebuild_parameter\x93("
        /* clang-format off */
        TENSOR("K\0", "K\6\x85", "K\1\x85")
        /* clang-format on */
        "\x89" ORDERED "tR\x8c\5versn\x88u}\x8c\11_metadataNsbu.";
    make_torch(pickle, sizeof pickle - 1);
    opened o;
    if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
    assert_int_equal(o.n, 1);
    assert_string_equal(o.tensors[0].name, "p");
    close_zip(&o);
}

static void reads_every_storage_type(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        krait_dtype dtype;
    } types[] = { { "FloatStorage", KRAIT_DTYPE_F32 },     { "HalfStorage", KRAIT_DTYPE_F16 },
                  { "BFloat16Storage", KRAIT_DTYPE_BF16 }, { "DoubleStorage", KRAIT_DTYPE_F64 },
                  { "CharStorage", KRAIT_DTYPE_I8 },       { "ShortStorage", KRAIT_DTYPE_I16 },
                  { "IntStorage", KRAIT_DTYPE_I32 },       { "LongStorage", KRAIT_DTYPE_I64 },
                  { "ByteStorage", KRAIT_DTYPE_U8 },       { "BoolStorage", KRAIT_DTYPE_BOOL } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        static builder pickle;
        static const char head[] = PROTO "}" STR("\1", "w") REBUILD "((" STR("\7", "storage") "ctorch\n",
                          tail[] = "\n" STR("\1", "0") STR("\3", "cpu") "K\2tQK\1)" /* one element, the second */ ")\x89NtRs.";
        pickle.size = 0;
        put(&pickle, head, sizeof head - 1);
        put(&pickle, types[i].name, strlen(types[i].name));
        put(&pickle, tail, sizeof tail - 1);
        make_torch(pickle.bytes, pickle.size);
        opened o;
        if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
        assert_int_equal(o.tensors[0].dtype, types[i].dtype);
        close_zip(&o);
    }
}

static void refuses_code(void **state)
{
    (void)state;
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "cos\nsystem\n" STR("\4", "ls -") "\x85R.",
            "pickle: byte 2: expected only globals that rebuild tensors, found os.system: nothing was run");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "cposix\nsystem\n.", "found posix.system");
    REFUSES(KRAIT_ERROR_UNSUPPORTED,
            "\x80\x04\x8c\10builtins\x8c\4eval\x93\x8c\1"
            "1\x85R.",
            "byte 18: expected only globals that rebuild tensors, found builtins.eval");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
            "found torch._utils._rebuild_tensor_v2.__globals__");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "ctorch\n_utils._rebuild_tensor_v\n.", "found torch._utils._rebuild_tensor_v");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "(S'ls'\nios\nsystem\n.",
            "byte 3: expected only what rebuilding tensors needs, found opcode 0x53 (STRING)");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "(ios\nsystem\n.", "found opcode 0x69 (INST)");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "(o.", "found opcode 0x6f (OBJ)");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "ccollections\nOrderedDict\n)\x81.", "found opcode 0x81 (NEWOBJ)");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "\x82\1.", "found opcode 0x82 (EXT1)");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, PROTO "\xff.", "found opcode 0xff (unknown)");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "ctorch\nFloatStorage\n)R.",
            "expected REDUCE of a function that rebuilds tensors, found torch.FloatStorage");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO STR("\2", "os") ")R.", "expected REDUCE of a function that rebuilds tensors, found str");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO ORDERED ")R.", "expected REDUCE of a function that rebuilds tensors, found dict");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "ccollections\nOrderedDict\n]R.", "expected a tuple of arguments, found list");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "ccollections\nOrderedDict\n]\x85R.",
            "expected an OrderedDict made empty, found arguments");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "]}b.", "expected BUILD of an OrderedDict, found list");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO REBUILD "}b.", "expected BUILD of an OrderedDict, found global");
}

static void refuses_pickles_that_are_wrong(void **state)
{
    (void)state;
    REFUSES(KRAIT_ERROR_FORMAT, "", "pickle: byte 0: expected the bytes that the opcode announces, found the end of the pickle");
    REFUSES(KRAIT_ERROR_FORMAT, "}.", "expected a pickle of protocol 2 to 5, found another opcode than PROTO");
    REFUSES(KRAIT_ERROR_FORMAT, "\x80\1}.", "expected a pickle of protocol 2 to 5, found another protocol");
    REFUSES(KRAIT_ERROR_FORMAT, "\x80\6}.", "expected a pickle of protocol 2 to 5, found another protocol");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO ".", "byte 2: expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}}.", "expected one value when it stops, found more on the stack");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}.x", "expected the end of the pickle, found more bytes");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "(.", "expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "0.", "expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "1.", "expected a mark on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "t.", "expected a mark on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "u.", "expected a mark on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "(u.", "expected a dict to set items of, found none on the stack");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "](NNu.", "expected a dict to set items of, found none on the stack");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}(NNNu.", "expected pairs of key and value, found an odd number of values");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}Ns.", "byte 4: expected a dict to set items of, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}Na.", "expected a list to append to, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "(Na.", "expected a list to append to, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "K\1\x86.", "expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "h\0.", "expected a value in the memo, found none under that index");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "Nq\1h\0.", "expected a value in the memo, found none under that index");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "Nr\xff\xff\xff\xff.", "expected a memo of at most 4194304 values, found a larger index");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "q\0.", "expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "(q\0.", "expected a value on the stack, found none");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "X\xff\xff\xff\x7f.", "expected the bytes that the opcode announces, found the end");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "expected the bytes that the opcode announces");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "\x8a\x09\1\1\1\1\1\1\1\1\1.",
            "expected an integer of at most 8 bytes, found a longer one");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "cos", "byte 2: expected a line, found the end of the pickle");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "NN\x93.", "expected a module and a name as strings, found other values");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "].", "expected a dict of tensors, found list");
    static builder pickle;
    pickle.size = 0;
    put(&pickle, PROTO, 2);
    memset(pickle.bytes + 2, '(', 65537);
    make_torch(pickle.bytes, 2 + 65537);
    expect_refusal(KRAIT_ERROR_FORMAT, "expected a stack of at most 65536 values, found more");
}

/* A dict within itself must not send the reader round and round. */
static void reads_values_within_themselves(void **state)
{
    (void)state;
    static const char pickle[] = PROTO "}q\0" STR("\5", "model") "h\0s.";
    make_torch(pickle, sizeof pickle - 1);
    opened o;
    assert_int_equal(read_zip(&o, zip.size), KRAIT_OK);
    assert_int_equal(o.n, 0);
    close_zip(&o);
}

#define REFUSES_TENSOR(value, message) REFUSES(KRAIT_ERROR_FORMAT, DICT_OF("w", value), message)
#define ONE(a)                         SMALL(a) "\x85"

static void refuses_tensors_that_are_wrong(void **state)
{
    (void)state;
    REFUSES_TENSOR(TENSOR(SMALL("\0"), ONE("\7"), ONE("\1")),
                   "tensor w: size, stride, offset: expected elements within the storage's 6, found [7] F32 at 0");
    REFUSES_TENSOR(TENSOR(SMALL("\1"), ONE("\6"), ONE("\1")), "found [6] F32 at 1");
    REFUSES_TENSOR(TENSOR(SMALL("\0"), ONE("\3"), ONE("\3")), "found [3] F32 at 0");
    REFUSES_TENSOR(TENSOR(SMALL("\7"), ONE("\0"), ONE("\1")), "found [0] F32 at 7");
    REFUSES_TENSOR(TENSOR(SMALL("\6"), ")", ")"), "found [] F32 at 6");
    REFUSES_TENSOR(TENSOR(SMALL("\0"), ONE("\xff"), ONE("\0")), "found [255] F32 at 0");
    REFUSES_TENSOR(TENSOR(SMALL("\0"), ONE("\2"), "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), "found [2] F32 at 0");
    REFUSES_TENSOR(TENSOR("\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f", ONE("\2"), ONE("\1")),
                   "found [2] F32 at 9223372036854775807");
    REFUSES_TENSOR(TENSOR("J\xff\xff\xff\xff", ONE("\1"), ONE("\1")),
                   "storage offset: expected an integer from 0, found something else");
    REFUSES_TENSOR(TENSOR("N", ONE("\1"), ONE("\1")), "storage offset: expected an integer from 0");
    REFUSES_TENSOR(TENSOR("K\0", "J\xff\xff\xff\xff\x85", ONE("\1")), "size: expected integers from 0, found a negative one");
    REFUSES_TENSOR(TENSOR("K\0", ONE("\1"), "J\xff\xff\xff\xff\x85"), "stride: expected integers from 0, found a negative one");
    REFUSES_TENSOR(TENSOR("K\0", "N\x85", ONE("\1")), "size: expected integers from 0, found None");
    REFUSES_TENSOR(TENSOR("K\0", "N", ONE("\1")), "size: expected a tuple, found None");
    REFUSES_TENSOR(TENSOR("K\0", ONE("\1"), ")"), "stride: expected as many as dimensions, found another number");
    REFUSES_TENSOR(TENSOR("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ")"), "size: expected at most 8 dimensions, found more");
    REFUSES_TENSOR(REBUILD ")R", "_rebuild_tensor_v2: expected 4 arguments or more, found fewer");
    REFUSES_TENSOR("ctorch._utils\n_rebuild_parameter\n)R", "_rebuild_parameter: expected a tensor, found something else");
    REFUSES_TENSOR("ctorch._utils\n_rebuild_parameter\nN\x85R", "_rebuild_parameter: expected a tensor, found something else");
    REFUSES_TENSOR(REBUILD "(NK\0))tR", "storage: expected (\"storage\", type, key, location, size), found something else");
    REFUSES_TENSOR(REBUILD "(NQK\0))tR", "storage: expected (\"storage\", type, key, location, size), found something else");
    REFUSES_TENSOR(REBUILD "(" STORAGE("FloatStorage", "1", "K\6") "K\0))tR", "storage: expected a zip entry data/1, found none");
    REFUSES_TENSOR(REBUILD "(" STORAGE("FloatStorage", "0", "K\7") "K\0))tR",
                   "storage data/0: expected 7 elements of F32, found 24 bytes");
    REFUSES_TENSOR(REBUILD "(" STORAGE("DoubleStorage", "0", "K\4") "K\0))tR",
                   "storage data/0: expected 4 elements of F64, found 24 bytes");
    REFUSES_TENSOR(REBUILD "(" STORAGE("FloatStorage", "0", "\x8a\x8\xff\xff\xff\xff\xff\xff\xff\x7f") "K\0))tR",
                   "expected 9223372036854775807 elements");
    REFUSES_TENSOR(REBUILD "(" STORAGE("FloatStorage", "\0", "K\6") "K\0))tR", "expected a zip entry data/");
    REFUSES_TENSOR(REBUILD "(" STORAGE("float32", "0", "K\6") "K\0))tR",
                   "storage type: expected a storage of numbers, found torch.float32");
    REFUSES(KRAIT_ERROR_UNSUPPORTED, DICT_OF("w", REBUILD "(" STORAGE("ComplexFloatStorage", "0", "K\3") "K\0))tR"),
            "found torch.ComplexFloatStorage");
    REFUSES(KRAIT_ERROR_FORMAT, DICT_OF("\0", TENSOR("K\0", ")", ")")), "expected a tensor's name as text, found other bytes");
    REFUSES(KRAIT_ERROR_FORMAT, DICT_OF("\xff", TENSOR("K\0", ")", ")")), "expected a tensor's name as text, found other bytes");
    REFUSES(KRAIT_ERROR_FORMAT, PROTO "}K\5" TENSOR("K\0", ")", ")") "s.", "expected a tensor's name as text, found int");
}

/* ---- the archive itself ------------------------------------------------------------------------------------------ */

#define GOOD_PICKLE DICT_OF("w", TENSOR("K\0", ")", ")"))
static const char good_pickle[] = GOOD_PICKLE;

static void make_good(bool wide)
{
    make_zip((const member[]){ { .name = "archive/data.pkl", .data = good_pickle, .size = sizeof good_pickle - 1 },
                               { .name = "archive/data/0", .data = storage_values, .size = sizeof storage_values } },
             2, wide);
}

static void reads_zip64(void **state)
{
    (void)state;
    make_good(true);
    opened o;
    if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
    assert_int_equal(o.n, 1);
    close_zip(&o);
    make_good(true);
    zip.bytes[end_offset] ^= 1;
    expect_refusal(KRAIT_ERROR_FORMAT, "zip64 end record: expected one at byte ");
    make_good(true);
    memset(zip.bytes + end_offset + 56 + 8, 0xff, 8);
    expect_refusal(KRAIT_ERROR_FORMAT, "zip64 end record: expected one at byte 18446744073709551615, found none");
    make_good(true);
    memset(zip.bytes + end_offset + 32, 0xff, 8);
    expect_refusal(KRAIT_ERROR_FORMAT, "found 18446744073709551615 entries");
    make_good(true);
    memset(zip.bytes + end_offset - 24, 0xff, 8); /* a size */
    expect_refusal(KRAIT_ERROR_FORMAT, "zip entry: expected the two sizes of a stored entry to be one");
    make_good(true);
    memset(zip.bytes + end_offset - 24, 0xff, 16); /* both */
    expect_refusal(KRAIT_ERROR_FORMAT,
                   "zip entry: expected its bytes to lie before the directory, found 18446744073709551615 bytes");
    make_good(true);
    zip.bytes[end_offset - 28] = 9; /* the field is of another kind */
    expect_refusal(KRAIT_ERROR_FORMAT, "expected a zip64 field with the sizes, found none");
}

static void a_comment_may_follow(void **state)
{
    (void)state;
    make_good(false);
    zip.bytes[zip.size - 2] = 5;
    put(&zip, "PK\5\6!", 5);
    opened o;
    if (read_zip(&o, zip.size)) fail_msg("%s", o.error.message);
    close_zip(&o);
}

static void refuses_entries_that_are_not_plain(void **state)
{
    (void)state;
    make_zip(&(const member){ .name = "archive/data.pkl", .data = good_pickle, .size = sizeof good_pickle - 1, .method = 8 }, 1,
             false);
    expect_refusal(KRAIT_ERROR_UNSUPPORTED,
                   "archive/data.pkl: expected a stored zip entry, as torch.save writes them, found a compressed one (method 8)");
    make_zip(&(const member){ .name = "archive/data.pkl", .data = good_pickle, .size = sizeof good_pickle - 1, .flags = 1 }, 1,
             false);
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, "archive/data.pkl: expected plain bytes, found an encrypted zip entry");
    const member pickle = { .name = "archive/data.pkl", .data = good_pickle, .size = sizeof good_pickle - 1 };
    make_zip((const member[]){ pickle, pickle }, 2, false);
    expect_refusal(KRAIT_ERROR_FORMAT, "archive/data.pkl: expected one zip entry of that name, found two");
    make_zip((const member[]){ pickle, { .name = "b/data.pkl" } }, 2, false);
    expect_refusal(KRAIT_ERROR_FORMAT, "expected one zip entry */data.pkl, found two");
    make_zip((const member[]){ { .name = "data.pkl" }, { .name = "a/b/data.pkl" } }, 2, false);
    expect_refusal(KRAIT_ERROR_FORMAT, "expected a zip entry */data.pkl, as torch.save writes, found 2 others");
    make_zip((const member[]){ pickle, { .name = "archive/byteorder", .data = "big", .size = 3 } }, 2, false);
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, "byteorder: expected little, found \"big\"");
    make_zip(NULL, 0, false);
    expect_refusal(KRAIT_ERROR_FORMAT, "found 0 others");
}

static void refuses_records_that_lie(void **state)
{
    (void)state;
    struct {
        size_t offset; /* from the directory, or from the beginning */
        bool in_directory;
        unsigned char byte;
        const char *message;
    } cases[] = {
        { 0, true, 'X', "zip central directory: byte " },
        { 20, true, 1, "expected the two sizes of a stored entry to be one" },
        { 29, true, 0xff, "expected an entry, found one that is cut" },
        { 43, true, 0xff, "expected a local header before the directory" },
        { 42, true, 1, "expected a local header where the directory says" },
        { 46, true, 'A', "expected a local header that agrees with the directory" },
        { 50, true, 0, "expected a name, found a NUL character in it" },
        { 0, false, 'X', "expected a local header where the directory says" },
        { 29, false, 0xff, "expected its bytes to lie before the directory" },
        { 26, false, 3, "expected a local header that agrees with the directory" },
        { 8, false, 8, "expected a local header that agrees with the directory" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_good(false);
        zip.bytes[cases[i].offset + (cases[i].in_directory ? directory_offset : 0)] = cases[i].byte;
        expect_refusal(KRAIT_ERROR_FORMAT, cases[i].message);
    }
    make_good(false);
    zip.bytes[end_offset + 4] = 1;
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, "expected one zip volume, found several");
    make_good(false);
    zip.bytes[end_offset + 10] = 1; /* fewer entries than the directory has bytes for */
    expect_refusal(KRAIT_ERROR_FORMAT, "found 62 in its entries");
    make_good(false);
    zip.bytes[end_offset + 10] = 0xff;
    expect_refusal(KRAIT_ERROR_FORMAT, "found 255 entries in ");
    make_good(false);
    zip.bytes[end_offset + 19] = 0xff;
    expect_refusal(KRAIT_ERROR_FORMAT, "zip central directory: expected it within the first ");
}

static void truncations_are_refused(void **state)
{
    (void)state;
    make_good(false);
    for (size_t size = 0; size < zip.size; size++) {
        opened o;
        assert_int_equal(read_zip(&o, size), KRAIT_ERROR_FORMAT);
        close_zip(&o);
    }
    for (size_t size = 0; size < sizeof good_pickle - 1; size++) {
        make_torch(good_pickle, size);
        opened o;
        assert_int_equal(read_zip(&o, zip.size), KRAIT_ERROR_FORMAT);
        close_zip(&o);
    }
}

/* Any byte changed gives an error or tensors within the file: the sanitizers watch. */
static void changed_bytes_do_no_harm(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        make_good(wide);
        size_t size = zip.size;
        for (size_t i = 0; i < size; i++) {
            static const unsigned char masks[] = { 0x01, 0x80, 0xff };
            for (size_t m = 0; m < sizeof masks; m++) {
                zip.bytes[i] ^= masks[m];
                opened o;
                if (read_zip(&o, size) == KRAIT_OK)
                    for (size_t t = 0; t < o.n; t++) {
                        float value;
                        assert_int_equal(o.tensors[t].n_dims, 0);
                        kr_tensor_to_float32(&value, &o.tensors[t]);
                    }
                close_zip(&o);
                zip.bytes[i] ^= masks[m];
            }
        }
    }
}

static void the_format_before_is_refused_with_advice(void **state)
{
    (void)state;
    zip.size = 0;
    put(&zip,
        "\x80\x02\x8a\nl\xfc\x9c"
        "F\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        20);
    assert_true(kr_torch_zip_is((char *)zip.bytes, zip.size));
    expect_refusal(KRAIT_ERROR_UNSUPPORTED, "load it with torch and save it again");
    assert_false(kr_torch_zip_is("PK", 2));
    assert_false(kr_torch_zip_is("", 0));
}

/* ---- real files -------------------------------------------------------------------------------------------------- */

static const kr_tensor *find(const opened *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->tensors[i].name, name) == 0) return &o->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void open_real(opened *o, const char *path)
{
    *o = (opened){ 0 };
    if (kr_file_open(&o->file, path, &o->error) || kr_torch_zip_read(&o->tensors, &o->n, &o->arena, &o->file, &o->error))
        fail_msg("%s", o->error.message);
}

static void reads_the_original_layout(void **state)
{
    (void)state;
    opened o;
    open_real(&o, KRAIT_TEST_DATA "/models/original/pytorch_model.bin");
    assert_int_equal(o.n, 33);
    const kr_tensor *embedding = find(&o, "backbone.embedding.weight"), *head = find(&o, "lm_head.weight");
    assert_ptr_equal(embedding->data, head->data);
    assert_int_equal(embedding->shape[0], 256);
    assert_int_equal(embedding->shape[1], 64);
    const kr_tensor *A_log = find(&o, "backbone.layers.2.mixer.A_log");
    assert_int_equal(A_log->shape[0], 128);
    assert_int_equal(A_log->shape[1], 16);
    close_zip(&o);
}

static void reads_protmamba(void **state)
{
    (void)state;
    NEEDS_BIG_DATA(path, "checkpoints/protmamba/pytorch_model.bin");
    opened o;
    open_real(&o, path);
    free(path);
    assert_int_equal(o.n, 83);
    assert_int_equal(find(&o, "backbone.embedding.weight")->shape[0], 40);
    assert_ptr_equal(find(&o, "backbone.embedding.weight")->data, find(&o, "lm_head.weight")->data);
    close_zip(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_tensor),
        cmocka_unit_test(reads_strides_offsets_and_shared_storage),
        cmocka_unit_test(reads_what_else_a_state_dict_has),
        cmocka_unit_test(reads_every_storage_type),
        cmocka_unit_test(refuses_code),
        cmocka_unit_test(refuses_pickles_that_are_wrong),
        cmocka_unit_test(reads_values_within_themselves),
        cmocka_unit_test(refuses_tensors_that_are_wrong),
        cmocka_unit_test(reads_zip64),
        cmocka_unit_test(a_comment_may_follow),
        cmocka_unit_test(refuses_entries_that_are_not_plain),
        cmocka_unit_test(refuses_records_that_lie),
        cmocka_unit_test(truncations_are_refused),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(the_format_before_is_refused_with_advice),
        cmocka_unit_test(reads_the_original_layout),
        cmocka_unit_test(reads_protmamba),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
