#include "formats/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/checkpoint_open.h"

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

static krait_status make(krait_checkpoint **result, const char *path, krait_error *error)
{
    krait_checkpoint *c = kr_alloc_zero(1, sizeof *c);
    if (!c) return kr_fail_memory(error, "a checkpoint", sizeof *c);
    atomic_init(&c->references, 1);
    c->path = kr_strndup(path, strlen(path));
    if (!c->path) {
        krait_checkpoint_free(c);
        return kr_fail_memory(error, "a path", strlen(path));
    }
    *result = c;
    return KRAIT_OK;
}

krait_status krait_checkpoint_open(krait_checkpoint **checkpoint, const char *path, krait_error *error)
{
    if (checkpoint) *checkpoint = NULL;
    if (!checkpoint || !path)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_checkpoint_open: %s is NULL", checkpoint ? "path" : "checkpoint");
    krait_checkpoint *c;
    krait_status status = make(&c, path, error);
    if (status) return status;
    if (kr_is_folder(path)) {
        status = kr_checkpoint_gather(c, &(kr_source){ .folder = path }, NULL, error);
    } else {
        const char *name = kr_base_name(path);
        char *folder = kr_strndup(path, (size_t)(name - path));
        status = folder ? kr_checkpoint_gather(c, &(kr_source){ .folder = folder }, name, error)
                        : kr_fail_memory(error, "a path", strlen(path));
        kr_free(folder);
    }
    if (status)
        krait_checkpoint_free(c);
    else
        *checkpoint = c;
    return status;
}

krait_status krait_checkpoint_open_memory(krait_checkpoint **checkpoint, const krait_blob *files, size_t n_files,
                                          krait_error *error)
{
    if (checkpoint) *checkpoint = NULL;
    if (!checkpoint || !files || n_files == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_checkpoint_open_memory: expected files, found none");
    for (size_t i = 0; i < n_files; i++)
        if (!files[i].name || (!files[i].data && files[i].size > 0))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                           "krait_checkpoint_open_memory: files[%zu]: expected a name and data, found NULL", i);
    krait_checkpoint *c;
    krait_status status = make(&c, files[0].name, error);
    if (status) return status;
    status =
        kr_checkpoint_gather(c, &(kr_source){ .blobs = files, .n_blobs = n_files }, n_files == 1 ? files[0].name : NULL, error);
    if (status)
        krait_checkpoint_free(c);
    else
        *checkpoint = c;
    return status;
}

krait_checkpoint *kr_checkpoint_retain(const krait_checkpoint *checkpoint)
{
    krait_checkpoint *c = (krait_checkpoint *)checkpoint; /* the count is no part of what is const */
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void krait_checkpoint_free(krait_checkpoint *checkpoint)
{
    if (!checkpoint || atomic_fetch_sub_explicit(&checkpoint->references, 1, memory_order_acq_rel) > 1) return;
    for (size_t i = 0; i < checkpoint->n_files; i++) kr_file_close(&checkpoint->files[i]);
    kr_free(checkpoint->files);
    kr_free(checkpoint->tensors);
    kr_free(checkpoint->by_name);
    kr_free(checkpoint->notes);
    kr_free(checkpoint->path);
    kr_arena_free(&checkpoint->arena);
    kr_free(checkpoint);
}

/* ---- what it holds ----------------------------------------------------------------------------------------------- */

const char *krait_checkpoint_path(const krait_checkpoint *checkpoint) { return checkpoint->path; }

size_t krait_checkpoint_n_tensors(const krait_checkpoint *checkpoint) { return checkpoint->n_tensors; }

krait_status krait_checkpoint_tensor(const krait_checkpoint *checkpoint, size_t index, krait_tensor_info *info)
{
    if (info) *info = (krait_tensor_info){ 0 };
    if (!checkpoint || !info || index >= checkpoint->n_tensors) return KRAIT_ERROR_ARGUMENT;
    const kr_tensor *tensor = &checkpoint->tensors[index];
    size_t bytes = 0;
    kr_tensor_bytes(tensor, &bytes); /* fits: the reader has checked */
    *info = (krait_tensor_info){
        .name = tensor->name, .file = kr_base_name(tensor->file), .dtype = tensor->dtype, .n_dims = tensor->n_dims, .bytes = bytes
    };
    memcpy(info->shape, tensor->shape, sizeof info->shape);
    return KRAIT_OK;
}

static void count_values(const float *values, size_t n, uint64_t *n_nan, uint64_t *n_infinite)
{
    const uint32_t infinity = 0x7f800000u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7fffffffu;
        *n_nan += bits > infinity;
        *n_infinite += bits == infinity;
    }
}

/* Counts what the values are as float32, which is what a model is made of: a float64 beyond its range counts as infinite. */
krait_status krait_checkpoint_count_nonfinite(const krait_checkpoint *checkpoint, size_t index, uint64_t *n_nan,
                                              uint64_t *n_infinite)
{
    enum { CHUNK = 2048 }; /* whole blocks of every type */
    float chunk[CHUNK];
    if (!checkpoint || !n_nan || !n_infinite || index >= checkpoint->n_tensors) return KRAIT_ERROR_ARGUMENT;
    *n_nan = *n_infinite = 0;
    const kr_tensor *tensor = &checkpoint->tensors[index];
    size_t count = 0, block = kr_dtype_block(tensor->dtype), size = kr_dtype_size(tensor->dtype);
    kr_tensor_count(tensor, &count);
    if (kr_tensor_is_contiguous(tensor)) {
        for (size_t at = 0; at < count; at += CHUNK) {
            size_t n = count - at < CHUNK ? count - at : CHUNK;
            kr_to_float32(chunk, tensor->dtype, (const char *)tensor->data + at / block * size, n);
            count_values(chunk, n, n_nan, n_infinite);
        }
        return KRAIT_OK;
    }
    float *values = kr_alloc(count, sizeof *values);
    if (!values) return KRAIT_ERROR_MEMORY;
    kr_tensor_to_float32(values, tensor);
    count_values(values, count, n_nan, n_infinite);
    kr_free(values);
    return KRAIT_OK;
}

const kr_tensor *kr_checkpoint_find(const krait_checkpoint *checkpoint, const char *name)
{
    size_t low = 0, high = checkpoint->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const kr_tensor *tensor = &checkpoint->tensors[checkpoint->by_name[middle]];
        int order = strcmp(name, tensor->name);
        if (order == 0) return tensor;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *krait_checkpoint_layout(const krait_checkpoint *checkpoint)
{
    if (checkpoint->gguf) return "gguf";
    if (kr_checkpoint_find(checkpoint, "backbone.embeddings.weight")) return "hf";
    if (kr_checkpoint_find(checkpoint, "backbone.embedding.weight")) return "original";
    /* The original layout may leave the embedding to the head that it is tied to. */
    if (kr_checkpoint_find(checkpoint, "lm_head.weight") && kr_checkpoint_find(checkpoint, "backbone.norm_f.weight"))
        return "original";
    return "unknown";
}

const kr_file *kr_checkpoint_file(const krait_checkpoint *checkpoint, const char *name)
{
    for (size_t i = 0; i < checkpoint->n_files; i++)
        if (strcmp(kr_base_name(checkpoint->files[i].name), name) == 0) return &checkpoint->files[i];
    return NULL;
}

bool krait_checkpoint_file(const krait_checkpoint *checkpoint, const char *name, const char **data, size_t *size)
{
    const kr_file *file = kr_checkpoint_file(checkpoint, name);
    *data = file ? file->data : NULL;
    *size = file ? file->size : 0;
    return file != NULL;
}

bool krait_checkpoint_has_tokenizer(const krait_checkpoint *checkpoint)
{
    return (checkpoint->gguf && kr_gguf_has_tokenizer(checkpoint->gguf)) || kr_checkpoint_file(checkpoint, "tokenizer.json");
}

/* ---- notes ------------------------------------------------------------------------------------------------------- */

void kr_checkpoint_forget(const krait_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->n_files; i++) kr_file_forget(&checkpoint->files[i]);
}

void kr_checkpoint_add_note(krait_checkpoint *checkpoint, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kr_make_printable(text);
    for (size_t i = 0; i < checkpoint->n_notes; i++)
        if (strcmp(checkpoint->notes[i], text) == 0) return;
    if (checkpoint->n_notes == checkpoint->notes_capacity) {
        size_t capacity = checkpoint->notes_capacity ? checkpoint->notes_capacity * 2 : 8;
        const char **notes = kr_realloc(checkpoint->notes, capacity, sizeof *notes);
        if (!notes) return;
        checkpoint->notes = notes;
        checkpoint->notes_capacity = capacity;
    }
    char *copy = kr_arena_alloc(&checkpoint->arena, strlen(text) + 1, 1);
    if (!copy) return;
    strcpy(copy, text);
    checkpoint->notes[checkpoint->n_notes++] = copy;
}

const char *krait_checkpoint_note(const krait_checkpoint *checkpoint, size_t index)
{
    return index < checkpoint->n_notes ? checkpoint->notes[index] : NULL;
}
