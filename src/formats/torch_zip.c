#include "formats/torch_zip.h"

#include <string.h>

#include "base/utf8.h"
#include "formats/pickle.h"
#include "formats/zip.h"

/* All that a pickle may name. The first are storages, of elements of these types. */
static const krait_dtype storage_dtypes[] = { KRAIT_DTYPE_F32, KRAIT_DTYPE_F16, KRAIT_DTYPE_BF16, KRAIT_DTYPE_F64,
                                              KRAIT_DTYPE_I8,  KRAIT_DTYPE_I16, KRAIT_DTYPE_I32,  KRAIT_DTYPE_I64,
                                              KRAIT_DTYPE_U8,  KRAIT_DTYPE_BOOL };
enum { N_STORAGES = sizeof storage_dtypes / sizeof *storage_dtypes };
static const char rebuild_tensor[] = "torch._utils._rebuild_tensor_v2", rebuild_parameter[] = "torch._utils._rebuild_parameter";
static const kr_pickle_global globals[] = {
    { "torch.FloatStorage", false },
    { "torch.HalfStorage", false },
    { "torch.BFloat16Storage", false },
    { "torch.DoubleStorage", false },
    { "torch.CharStorage", false },
    { "torch.ShortStorage", false },
    { "torch.IntStorage", false },
    { "torch.LongStorage", false },
    { "torch.ByteStorage", false },
    { "torch.BoolStorage", false },
    { rebuild_tensor, true },
    { rebuild_parameter, true },
    { "collections.OrderedDict", true },
    /* beside a state dict, as what it was trained with */
    { "torch.float32", false },
    { "torch.float16", false },
    { "torch.bfloat16", false },
    { "torch.float64", false },
};

/* An archive being read. */
typedef struct reader {
    const kr_file *file;
    kr_arena *arena;
    kr_zip zip;
    size_t root_length; /* of "archive/", which every entry's name begins with */
    const char *root;
    krait_error *error;
} reader;

/* PROTO 2, LONG1 of 10 bytes: 0x1950a86a20f9469cfc6c, the magic number of the format before 1.6. */
static const char legacy_magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

static bool is_legacy(const char *data, size_t size)
{
    size_t length = sizeof legacy_magic - 1;
    return size >= length && memcmp(data, legacy_magic, length) == 0;
}

bool kr_torch_zip_is(const char *data, size_t size)
{
    return (size >= 4 && memcmp(data, "PK\3\4", 4) == 0) || is_legacy(data, size);
}

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static krait_status fail_tensor(const reader *r, const char *name, const char *field, const char *expected, const char *found)
{
    return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: tensor %.200s: %s: expected %s, found %s", r->file->name, name, field,
                   expected, found);
}

/* The entry root/folder+key of the archive; NULL when there is none. */
static krait_status find_entry(const reader *r, const kr_zip_entry **entry, const char *folder, const char *key,
                               size_t key_length)
{
    size_t folder_length = strlen(folder), length = r->root_length + folder_length + key_length;
    char *name = kr_realloc(NULL, length + 1, 1);
    if (!name) return kr_fail_memory(r->error, "a zip entry's name", length + 1);
    memcpy(name, r->root, r->root_length);
    memcpy(name + r->root_length, folder, folder_length);
    memcpy(name + r->root_length + folder_length, key, key_length);
    name[length] = '\0';
    *entry = strlen(name) == length ? kr_zip_find(&r->zip, name) : NULL;
    kr_free(name);
    return KRAIT_OK;
}

/* Finds NAME/data.pkl, whose folder all other names begin with. */
static krait_status find_pickle(reader *r, const kr_zip_entry **pickle)
{
    static const char name[] = "/data.pkl";
    const size_t length = sizeof name - 1;
    *pickle = NULL;
    for (size_t i = 0; i < r->zip.n_entries; i++) {
        const kr_zip_entry *entry = &r->zip.entries[i];
        const char *slash = strchr(entry->name, '/');
        if (!slash || strcmp(slash, name) != 0) continue;
        if (*pickle)
            return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: expected one zip entry */data.pkl, found two", r->file->name);
        *pickle = entry;
    }
    if (!*pickle)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT,
                       "%s: expected a zip entry */data.pkl, as torch.save writes, found %zu others", r->file->name,
                       r->zip.n_entries);
    r->root = (*pickle)->name;
    r->root_length = strlen(r->root) - length + 1;
    return KRAIT_OK;
}

static krait_status check_byte_order(const reader *r)
{
    const kr_zip_entry *entry;
    krait_status status = find_entry(r, &entry, "byteorder", "", 0);
    if (status || !entry || (entry->size == 6 && memcmp(entry->data, "little", 6) == 0)) return status;
    return kr_fail(r->error, KRAIT_ERROR_UNSUPPORTED, "%s: byteorder: expected little, found \"%.*s\"", r->file->name,
                   entry->size < 16 ? (int)entry->size : 16, entry->data);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static bool is_size(const kr_pickle_value *value) { return value->type == KR_PICKLE_INTEGER && value->integer >= 0; }

/* A tuple of sizes into an array. */
static krait_status read_sizes(const reader *r, const char *name, const char *field, const kr_pickle_value *tuple, int *n_dims,
                               uint64_t *sizes)
{
    if (tuple->type != KR_PICKLE_TUPLE) return fail_tensor(r, name, field, "a tuple", kr_pickle_type_name(tuple->type));
    if (tuple->length > KRAIT_MAX_DIMS) return fail_tensor(r, name, field, "at most 8 dimensions", "more");
    for (size_t i = 0; i < tuple->length; i++) {
        const kr_pickle_value *e = tuple->elements[i];
        if (!is_size(e))
            return fail_tensor(r, name, field, "integers from 0",
                               e->type == KR_PICKLE_INTEGER ? "a negative one" : kr_pickle_type_name(e->type));
        sizes[i] = (uint64_t)e->integer;
    }
    *n_dims = (int)tuple->length;
    return KRAIT_OK;
}

/* A storage: persistent id ("storage", type, key, location, number of elements), its bytes under data/key. */
static krait_status read_storage(const reader *r, kr_tensor *tensor, const kr_pickle_value *value, uint64_t *count)
{
    const char *name = tensor->name;
    const kr_pickle_value *id = value->type == KR_PICKLE_PERSISTENT ? value->persistent_id : NULL;
    if (!id || id->type != KR_PICKLE_TUPLE || id->length < 5 || !kr_pickle_is(id->elements[0], "storage")
        || id->elements[1]->type != KR_PICKLE_GLOBAL || id->elements[2]->type != KR_PICKLE_STRING || !is_size(id->elements[4]))
        return fail_tensor(r, name, "storage", "(\"storage\", type, key, location, size)", "something else");
    size_t type = (size_t)(id->elements[1]->global - globals);
    if (type >= N_STORAGES) return fail_tensor(r, name, "storage type", "a storage of numbers", globals[type].name);
    tensor->dtype = storage_dtypes[type];
    *count = (uint64_t)id->elements[4]->integer;

    const kr_pickle_value *key = id->elements[2];
    const kr_zip_entry *entry;
    krait_status status = find_entry(r, &entry, "data/", key->string, key->length);
    if (status) return status;
    int shown = key->length < 60 ? (int)key->length : 60;
    if (!entry)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: tensor %.200s: storage: expected a zip entry data/%.*s, found none",
                       r->file->name, name, shown, key->string);
    size_t bytes;
    if (!kr_mul(*count, kr_dtype_size(tensor->dtype), &bytes) || bytes > entry->size)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT,
                       "%s: tensor %.200s: storage data/%.*s: expected %llu elements of %s, found %zu bytes", r->file->name, name,
                       shown, key->string, (unsigned long long)*count, krait_dtype_name(tensor->dtype), entry->size);
    tensor->data = entry->data;
    return KRAIT_OK;
}

/* Whether all elements lie in a storage of `count` elements, from `offset` on. */
static bool is_inside(const kr_tensor *tensor, uint64_t offset, uint64_t count)
{
    size_t last = offset;
    for (int i = 0; i < tensor->n_dims; i++)
        if (tensor->shape[i] == 0) return offset <= count;
    for (int i = 0; i < tensor->n_dims; i++) {
        size_t extent;
        if (!kr_mul(tensor->shape[i] - 1, tensor->stride[i], &extent) || !kr_add(last, extent, &last)) return false;
    }
    return last < count;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks...), or _rebuild_parameter(tensor, requires_grad, hooks). */
static krait_status read_tensor(const reader *r, kr_tensor *tensor, const kr_pickle_value *call)
{
    const char *name = tensor->name;
    if (call->global->name == rebuild_parameter) {
        if (call->arguments->length < 1 || call->arguments->elements[0]->type != KR_PICKLE_CALL
            || call->arguments->elements[0]->global->name != rebuild_tensor)
            return fail_tensor(r, name, "_rebuild_parameter", "a tensor", "something else");
        call = call->arguments->elements[0];
    }
    const kr_pickle_value *arguments = call->arguments;
    if (arguments->length < 4) return fail_tensor(r, name, "_rebuild_tensor_v2", "4 arguments or more", "fewer");
    const kr_pickle_value *offset = arguments->elements[1];
    uint64_t count = 0;
    krait_status status = read_storage(r, tensor, arguments->elements[0], &count);
    if (status) return status;
    if (!is_size(offset)) return fail_tensor(r, name, "storage offset", "an integer from 0", "something else");
    int n_strides = 0;
    status = read_sizes(r, name, "size", arguments->elements[2], &tensor->n_dims, tensor->shape);
    if (!status) status = read_sizes(r, name, "stride", arguments->elements[3], &n_strides, tensor->stride);
    if (status) return status;
    if (n_strides != tensor->n_dims) return fail_tensor(r, name, "stride", "as many as dimensions", "another number");
    /* More elements than the storage has would be a small file that unfolds into a huge tensor. */
    size_t elements;
    if (!kr_tensor_count(tensor, &elements) || elements > count || !is_inside(tensor, (uint64_t)offset->integer, count)) {
        char text[96];
        return kr_fail(r->error, KRAIT_ERROR_FORMAT,
                       "%s: tensor %.200s: size, stride, offset: expected elements within the storage's %llu, found %s at %llu",
                       r->file->name, name, (unsigned long long)count, kr_tensor_describe(tensor, text, sizeof text),
                       (unsigned long long)offset->integer);
    }
    tensor->data = (const char *)tensor->data + (size_t)offset->integer * kr_dtype_size(tensor->dtype);
    return KRAIT_OK;
}

static krait_status copy_name(const reader *r, const char **name, const kr_pickle_value *key)
{
    if (key->type != KR_PICKLE_STRING || memchr(key->string, '\0', key->length)
        || kr_utf8_valid_prefix(key->string, key->length) != key->length)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: pickle: byte %zu: expected a tensor's name as text, found %s",
                       r->file->name, key->offset,
                       key->type == KR_PICKLE_STRING ? "other bytes" : kr_pickle_type_name(key->type));
    char *copy = kr_arena_alloc(r->arena, key->length + 1, 1);
    if (!copy) return kr_fail_memory(r->error, "a tensor's name", key->length + 1);
    memcpy(copy, key->string, key->length);
    copy[key->length] = '\0';
    *name = copy;
    return KRAIT_OK;
}

/* The dict that holds the tensors: `root`, or a dict in it under one of the names that training programs use. */
static const kr_pickle_value *find_state_dict(const kr_pickle_value *root)
{
    static const char *const names[] = { "state_dict", "model_state_dict", "model" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (const kr_pickle_item *item = root->first; item; item = item->next)
            if (kr_pickle_is(item->key, names[i]) && item->value->type == KR_PICKLE_DICT) return item->value;
    return root;
}

static krait_status read_dict(const reader *r, kr_tensor **tensors, size_t *n_tensors, const kr_pickle_value *root)
{
    if (root->type != KR_PICKLE_DICT)
        return kr_fail(r->error, KRAIT_ERROR_FORMAT, "%s: pickle: expected a dict of tensors, found %s", r->file->name,
                       kr_pickle_type_name(root->type));
    const kr_pickle_value *dict = find_state_dict(root);
    kr_tensor *list = kr_arena_alloc(r->arena, dict->length, sizeof *list);
    if (!list) return kr_fail_memory(r->error, "a list of tensors", dict->length * sizeof *list);
    size_t n = 0;
    for (const kr_pickle_item *item = dict->first; item; item = item->next) {
        if (item->value->type != KR_PICKLE_CALL) continue;
        kr_tensor *tensor = &list[n++];
        *tensor = (kr_tensor){ .file = r->file->name };
        krait_status status = copy_name(r, &tensor->name, item->key);
        if (!status) status = read_tensor(r, tensor, item->value);
        if (status) return status;
    }
    *tensors = list;
    *n_tensors = n;
    return KRAIT_OK;
}

krait_status kr_torch_zip_read(kr_tensor **tensors, size_t *n_tensors, kr_arena *arena, const kr_file *file, krait_error *error)
{
    reader r = { .file = file, .arena = arena, .error = error };
    *tensors = NULL;
    *n_tensors = 0;
    if (is_legacy(file->data, file->size))
        return kr_fail(
            error, KRAIT_ERROR_UNSUPPORTED,
            "%s: expected a zip archive, as torch.save writes since 1.6, found the format before it: load it with torch and "
            "save it again",
            file->name);
    const kr_zip_entry *pickle;
    const kr_pickle_value *root;
    krait_status status = kr_zip_read(&r.zip, arena, file, error);
    if (!status) status = find_pickle(&r, &pickle);
    if (!status) status = check_byte_order(&r);
    if (!status)
        status = kr_pickle_read(&root, arena, file->name, pickle->data, pickle->size, globals, sizeof globals / sizeof *globals,
                                error);
    if (!status) status = read_dict(&r, tensors, n_tensors, root);
    return status;
}
