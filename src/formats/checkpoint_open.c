/* Finding a checkpoint's files and reading what is in them. What a file is, its content says; its name only says where to look. */
#include "formats/checkpoint_open.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "formats/safetensors.h"
#include "formats/torch_zip.h"

const char *kr_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static const krait_blob *find_blob(const kr_source *source, const char *name)
{
    for (size_t i = 0; i < source->n_blobs; i++)
        if (strcmp(source->blobs[i].name, name) == 0) return &source->blobs[i];
    return NULL;
}

static krait_status has_file(const kr_source *source, const char *name, bool *has, krait_error *error)
{
    if (!source->folder) {
        *has = find_blob(source, name) != NULL;
        return KRAIT_OK;
    }
    char *path = kr_join_path(source->folder, name);
    if (!path) return kr_fail_memory(error, "a file name", strlen(name));
    *has = kr_exists(path);
    kr_free(path);
    return KRAIT_OK;
}

/* Opens a file of the source and adds it to the checkpoint's. */
static krait_status open_file(krait_checkpoint *c, const kr_source *source, const char *name, const kr_file **opened,
                              krait_error *error)
{
    kr_file *files = kr_realloc(c->files, c->n_files + 1, sizeof *files);
    if (!files) return kr_fail_memory(error, "a list of files", (c->n_files + 1) * sizeof *files);
    c->files = files;
    kr_file *file = &files[c->n_files];
    krait_status status;
    if (source->folder) {
        char *path = kr_join_path(source->folder, name);
        if (!path) return kr_fail_memory(error, "a file name", strlen(name));
        status = kr_file_open(file, path, error);
        kr_free(path);
    } else {
        const krait_blob *blob = find_blob(source, name);
        if (!blob) return kr_fail(error, KRAIT_ERROR_IO, "%s: expected a file of that name, found none", name);
        status = kr_file_borrow(file, name, blob->data, blob->size, error);
    }
    if (status) return status;
    c->n_files++;
    *opened = file;
    return KRAIT_OK;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static krait_status append_tensors(krait_checkpoint *c, const kr_tensor *tensors, size_t n, krait_error *error)
{
    kr_tensor *all = kr_realloc(c->tensors, c->n_tensors + n, sizeof *all);
    if (!all) return kr_fail_memory(error, "a list of tensors", (c->n_tensors + n) * sizeof *all);
    if (n) memcpy(all + c->n_tensors, tensors, n * sizeof *all);
    c->tensors = all;
    c->n_tensors += n;
    return KRAIT_OK;
}

static bool begins(const kr_file *file, const char *text)
{
    size_t length = strlen(text);
    return file->size >= length && memcmp(file->data, text, length) == 0;
}

/* A GGUF file is a whole checkpoint: its metadata say what else the text files would. */
static krait_status read_gguf(krait_checkpoint *c, const kr_file *file, krait_error *error)
{
    kr_gguf *gguf = kr_arena_alloc(&c->arena, 1, sizeof *gguf);
    if (!gguf) return kr_fail_memory(error, "metadata", sizeof *gguf);
    krait_status status = kr_gguf_read(gguf, &c->arena, file, error);
    if (!status) status = append_tensors(c, gguf->tensors, gguf->n_tensors, error);
    if (!status) status = kr_gguf_hints(&c->hints, &c->arena, gguf, error);
    c->gguf = gguf;
    return status;
}

/* Reads the tensors of a file of any kind. */
static krait_status read_weights(krait_checkpoint *c, const kr_file *file, krait_error *error)
{
    krait_status status;
    if (kr_torch_zip_is(file->data, file->size)) {
        kr_tensor *tensors;
        size_t n;
        status = kr_torch_zip_read(&tensors, &n, &c->arena, file, error);
        return status ? status : append_tensors(c, tensors, n, error);
    }
    if (kr_gguf_is(file->data, file->size)) return read_gguf(c, file, error);
    if (begins(file, "version https://git-lfs"))
        return kr_fail(
            error, KRAIT_ERROR_FORMAT,
            "%s: expected safetensors, GGUF or a torch zip file, found a Git LFS pointer: fetch the file itself (git lfs pull)",
            file->name);
    if (kr_safetensors_is(file->data, file->size)) {
        kr_safetensors read;
        status = kr_safetensors_read(&read, &c->arena, file, error);
        return status ? status : append_tensors(c, read.tensors, read.n_tensors, error);
    }
    return kr_fail(error, KRAIT_ERROR_FORMAT,
                   "%s: expected safetensors, GGUF or a torch zip file, found %zu bytes of something else", file->name,
                   file->size);
}

static krait_status open_weights(krait_checkpoint *c, const kr_source *source, const char *name, krait_error *error)
{
    const kr_file *file;
    krait_status status = open_file(c, source, name, &file, error);
    return status ? status : read_weights(c, file, error);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    const kr_tensor *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

/* Sorts the names into by_name; the same name twice is an error. */
static krait_status sort_names(krait_checkpoint *c, krait_error *error)
{
    size_t n = c->n_tensors;
    const kr_tensor **sorted = kr_alloc(n, sizeof *sorted);
    c->by_name = kr_alloc(n, sizeof *c->by_name);
    if (!sorted || !c->by_name) {
        kr_free(sorted);
        return kr_fail_memory(error, "a list of names", n * sizeof *sorted);
    }
    for (size_t i = 0; i < n; i++) sorted[i] = &c->tensors[i];
    qsort(sorted, n, sizeof *sorted, compare_names);
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < n && !status; i++) {
        c->by_name[i] = (size_t)(sorted[i] - c->tensors);
        if (i > 0 && strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: tensor %.200s: expected one of that name, found another in %.100s",
                             sorted[i]->file, sorted[i]->name, kr_base_name(sorted[i - 1]->file));
    }
    kr_free(sorted);
    return status;
}

/* Drops "model." when every name begins with it; the order by name stays. */
static void drop_prefix(krait_checkpoint *c)
{
    static const char prefix[] = "model.";
    const size_t length = sizeof prefix - 1;
    for (size_t i = 0; i < c->n_tensors; i++)
        if (strncmp(c->tensors[i].name, prefix, length) != 0) return;
    if (c->n_tensors == 0) return;
    for (size_t i = 0; i < c->n_tensors; i++) c->tensors[i].name += length;
    kr_checkpoint_add_note(c, "every tensor's name begins with \"%s\", which is dropped", prefix);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* A name that stays in its folder, in a buffer. */
static krait_status shard_name(char *name, size_t size, const kr_file *index, const kr_json *value, krait_error *error)
{
    const char *reason = NULL;
    if (value->type != KR_JSON_STRING)
        reason = kr_json_type_name(value->type);
    else if (value->length == 0 || value->length >= size)
        reason = "a name of no or too many characters";
    else if (memchr(value->string, '/', value->length) || memchr(value->string, '\0', value->length) || kr_json_is(value, "..")
             || kr_json_is(value, "."))
        reason = "a path";
    if (reason)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: weight_map: %.*s: expected a file's name without folder, found %s",
                       index->name, value->key_length < 200 ? (int)value->key_length : 200, value->key, reason);
    memcpy(name, value->string, value->length);
    name[value->length] = '\0';
    return KRAIT_OK;
}

static krait_status open_shard(krait_checkpoint *c, const kr_source *source, const kr_file *index, const char *name,
                               krait_error *error)
{
    if (kr_checkpoint_file(c, name)) return KRAIT_OK;
    bool has;
    krait_status status = has_file(source, name, &has, error);
    if (status) return status;
    if (!has)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: weight_map: expected a file %s beside it, found none", index->name, name);
    return open_weights(c, source, name, error);
}

/* Every tensor that the index names must be where it says. */
static krait_status check_shard(const krait_checkpoint *c, const kr_file *index, const kr_json *entry, const char *shard,
                                krait_error *error)
{
    char *name = kr_strndup(entry->key, entry->key_length);
    if (!name) return kr_fail_memory(error, "a tensor's name", entry->key_length + 1);
    const kr_tensor *tensor = kr_checkpoint_find(c, name);
    krait_status status = KRAIT_OK;
    if (!tensor || strcmp(kr_base_name(tensor->file), shard) != 0)
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: weight_map: tensor %.200s: expected it in %s, found it %s%s",
                         index->name, name, shard, tensor ? "in " : "nowhere", tensor ? kr_base_name(tensor->file) : "");
    kr_free(name);
    return status;
}

static krait_status open_index(krait_checkpoint *c, const kr_source *source, const char *name, krait_error *error)
{
    enum { NAME_MAX_BYTES = 256 };
    char shard[NAME_MAX_BYTES];
    const kr_file *opened;
    krait_status status = open_file(c, source, name, &opened, error);
    if (status) return status;
    const kr_file index = *opened; /* opening shards moves the list */
    const kr_json *root;
    status = kr_json_parse(&root, &c->arena, index.name, index.data, index.size, error);
    if (status) return status;
    const kr_json *map = kr_json_get(root, "weight_map");
    if (!map || map->type != KR_JSON_OBJECT)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: weight_map: expected an object, found %s", index.name,
                       map ? kr_json_type_name(map->type) : "no such field");
    for (const kr_json *entry = map->first; entry && !status; entry = entry->next) {
        status = shard_name(shard, sizeof shard, &index, entry, error);
        if (!status) status = open_shard(c, source, &index, shard, error);
    }
    if (!status) status = sort_names(c, error);
    for (const kr_json *entry = map->first; entry && !status; entry = entry->next) {
        status = shard_name(shard, sizeof shard, &index, entry, error);
        if (!status) status = check_shard(c, &index, entry, shard, error);
    }
    return status;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

/* In the order in which they are preferred. */
static const struct {
    const char *name;
    bool is_index;
} known[] = { { "model.safetensors", false },
              { "model.safetensors.index.json", true },
              { "pytorch_model.bin", false },
              { "pytorch_model.bin.index.json", true } };
enum { N_KNOWN = sizeof known / sizeof *known };

static bool ends_with(const char *text, const char *end)
{
    size_t m = strlen(text), n = strlen(end);
    return m >= n && strcmp(text + m - n, end) == 0;
}

/* What else is in a folder: the weights files of any name, and an example of the rest. */
typedef struct others {
    char candidate[256], example[256];
    size_t n_candidates, n_files;
} others;

static void count_other(others *o, const char *name)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return;
    bool candidate = ends_with(name, ".safetensors") || ends_with(name, ".gguf");
    if (candidate && o->n_candidates++ == 0) snprintf(o->candidate, sizeof o->candidate, "%s", name);
    if (o->n_files++ == 0) snprintf(o->example, sizeof o->example, "%s", name);
}

static krait_status list_others(others *o, const kr_source *source, krait_error *error)
{
    for (size_t i = 0; !source->folder && i < source->n_blobs; i++) count_other(o, source->blobs[i].name);
    if (!source->folder) return KRAIT_OK;
    DIR *folder = opendir(source->folder);
    if (!folder) return kr_fail_errno(error, source->folder, "list");
    for (const struct dirent *entry; (entry = readdir(folder));) count_other(o, entry->d_name);
    closedir(folder);
    return KRAIT_OK;
}

/* No file of a known name: one of any name will do, if it is the only one. */
static krait_status open_other(krait_checkpoint *c, const kr_source *source, krait_error *error)
{
    others o = { 0 };
    krait_status status = list_others(&o, source, error);
    if (status) return status;
    if (o.n_candidates == 1) return open_weights(c, source, o.candidate, error);
    char found[320];
    if (o.n_candidates > 1)
        snprintf(found, sizeof found, "%zu files *.safetensors or *.gguf: give one of them", o.n_candidates);
    else if (o.n_files == 0)
        snprintf(found, sizeof found, "nothing");
    else
        snprintf(found, sizeof found, "%zu other file%s, such as %s", o.n_files, o.n_files > 1 ? "s" : "", o.example);
    return kr_fail(error, o.n_files ? KRAIT_ERROR_FORMAT : KRAIT_ERROR_IO,
                   "%s: expected one of %s, %s, %s, %s, one *.safetensors or one *.gguf, found %s", c->path, known[0].name,
                   known[1].name, known[2].name, known[3].name, found);
}

static krait_status open_known(krait_checkpoint *c, const kr_source *source, krait_error *error)
{
    int chosen = -1;
    for (int i = 0; i < N_KNOWN; i++) {
        bool has;
        krait_status status = has_file(source, known[i].name, &has, error);
        if (status) return status;
        if (!has) continue;
        if (chosen < 0)
            chosen = i;
        else
            kr_checkpoint_add_note(c, "%s is there beside %s, which is used", known[i].name, known[chosen].name);
    }
    if (chosen < 0) return open_other(c, source, error);
    return known[chosen].is_index ? open_index(c, source, known[chosen].name, error)
                                  : open_weights(c, source, known[chosen].name, error);
}

/* ---- text files -------------------------------------------------------------------------------------------------- */

/* A GGUF file stands for itself: of what lies beside it, it may be that of another model, only a tokenizer is taken, when it has none. */
static krait_status open_texts(krait_checkpoint *c, const kr_source *source, krait_error *error)
{
    static const char *const names[] = { "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json" };
    if (c->gguf && kr_gguf_has_tokenizer(c->gguf)) return KRAIT_OK;
    for (size_t i = c->gguf ? 2 : 0; i < sizeof names / sizeof *names; i++) {
        bool has;
        const kr_file *file;
        krait_status status = has_file(source, names[i], &has, error);
        if (!status && has) status = open_file(c, source, names[i], &file, error);
        if (!status && has && i == 0) status = kr_config_json_read(&c->hints, &c->arena, file, error);
        if (status) return status;
    }
    return KRAIT_OK;
}

krait_status kr_checkpoint_gather(krait_checkpoint *checkpoint, const kr_source *source, const char *single, krait_error *error)
{
    krait_status status = single ? open_weights(checkpoint, source, single, error) : open_known(checkpoint, source, error);
    if (!status && !checkpoint->by_name) status = sort_names(checkpoint, error);
    if (!status) drop_prefix(checkpoint);
    if (!status) status = open_texts(checkpoint, source, error);
    return status;
}
