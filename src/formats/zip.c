#include "formats/zip.h"

#include <stdlib.h>
#include <string.h>

/* Sizes of the fixed parts of the records, and their signatures. */
enum { LOCAL_SIZE = 30, CENTRAL_SIZE = 46, END_SIZE = 22, END64_SIZE = 56, LOCATOR_SIZE = 20, COMMENT_MAX = 65535 };
#define LOCAL_SIGNATURE   0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE     0x06054b50u
#define END64_SIGNATURE   0x06064b50u
#define LOCATOR_SIGNATURE 0x07064b50u

static uint16_t u16(const char *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t u32(const char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Where the central directory lies, as the end records say. */
typedef struct directory {
    uint64_t offset, size, n_entries;
    size_t limit; /* it ends here at the latest: where the end records begin */
} directory;

/* One entry, as the central directory has it. */
typedef struct central {
    const char *name;
    size_t name_length;
    uint16_t flags, method;
    uint64_t stored_size, size, local;
    size_t record_size;
} central;

/* The end record, which a comment may follow; NULL if there is none. */
static const char *find_end(const kr_file *file)
{
    if (file->size < END_SIZE) return NULL;
    size_t highest = file->size - END_SIZE, lowest = highest > COMMENT_MAX ? highest - COMMENT_MAX : 0;
    for (size_t at = highest + 1; at-- > lowest;) {
        const char *record = file->data + at;
        if (u32(record) == END_SIGNATURE && at + END_SIZE + u16(record + 20) == file->size) return record;
    }
    return NULL;
}

/* What the end record, or its zip64 form, says about the directory. */
static krait_status find_directory(const kr_file *file, directory *found, krait_error *error)
{
    const char *record = find_end(file);
    if (!record)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: expected a zip archive's central directory at the end, found none: is the file cut?", file->name);
    size_t end = (size_t)(record - file->data);
    *found = (directory){ .n_entries = u16(record + 10), .size = u32(record + 12), .offset = u32(record + 16), .limit = end };
    uint32_t volumes = u16(record + 4) | u16(record + 6);
    if (end >= LOCATOR_SIZE && u32(record - LOCATOR_SIZE) == LOCATOR_SIGNATURE) {
        uint64_t at = u64(record - LOCATOR_SIZE + 8);
        size_t limit = end - LOCATOR_SIZE;
        if (limit < END64_SIZE || at > limit - END64_SIZE || u32(file->data + at) != END64_SIGNATURE)
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: zip64 end record: expected one at byte %llu, found none", file->name,
                           (unsigned long long)at);
        record = file->data + at;
        *found = (directory){ .n_entries = u64(record + 32), .size = u64(record + 40), .offset = u64(record + 48), .limit = at };
        volumes = u32(record + 16) | u32(record + 20);
    }
    if (volumes != 0) return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: expected one zip volume, found several", file->name);
    if (found->offset > found->limit || found->size > found->limit - found->offset
        || found->n_entries > found->size / CENTRAL_SIZE)
        return kr_fail(
            error, KRAIT_ERROR_FORMAT,
            "%s: zip central directory: expected it within the first %zu bytes, found %llu entries in %llu bytes at %llu",
            file->name, found->limit, (unsigned long long)found->n_entries, (unsigned long long)found->size,
            (unsigned long long)found->offset);
    return KRAIT_OK;
}

/* Fills in the values that did not fit 32 bits from the zip64 extra field; false if they are not there. */
static bool read_extra(central *c, const char *extra, size_t size)
{
    uint64_t *wide[3];
    size_t n = 0;
    if (c->size == UINT32_MAX) wide[n++] = &c->size;
    if (c->stored_size == UINT32_MAX) wide[n++] = &c->stored_size;
    if (c->local == UINT32_MAX) wide[n++] = &c->local;
    if (n == 0) return true;
    while (size >= 4) {
        size_t length = u16(extra + 2);
        if (length > size - 4) return false;
        if (u16(extra) == 1) {
            if (length < n * 8) return false;
            for (size_t i = 0; i < n; i++) *wide[i] = u64(extra + 4 + i * 8);
            return true;
        }
        extra += 4 + length;
        size -= 4 + length;
    }
    return false;
}

static krait_status fail_at(const kr_file *file, size_t at, const char *what, krait_error *error)
{
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: zip central directory: byte %zu: expected %s", file->name, at, what);
}

static krait_status read_central(central *c, const kr_file *file, size_t at, size_t end, krait_error *error)
{
    const char *record = file->data + at;
    if (end - at < CENTRAL_SIZE || u32(record) != CENTRAL_SIGNATURE) return fail_at(file, at, "an entry, found none", error);
    size_t name = u16(record + 28), extra = u16(record + 30), comment = u16(record + 32);
    *c = (central){ .name = record + CENTRAL_SIZE,
                    .name_length = name,
                    .flags = u16(record + 8),
                    .method = u16(record + 10),
                    .stored_size = u32(record + 20),
                    .size = u32(record + 24),
                    .local = u32(record + 42),
                    .record_size = CENTRAL_SIZE + name + extra + comment };
    if (c->record_size > end - at) return fail_at(file, at, "an entry, found one that is cut", error);
    if (memchr(c->name, '\0', name)) return fail_at(file, at, "a name, found a NUL character in it", error);
    if (!read_extra(c, c->name + name, extra)) return fail_at(file, at, "a zip64 field with the sizes, found none", error);
    return KRAIT_OK;
}

/* Finds the bytes of an entry behind its local header, which must agree with the directory. */
static krait_status locate(kr_zip_entry *entry, const central *c, const kr_file *file, const directory *d, krait_error *error)
{
    const char *reason = NULL;
    if (c->flags & 1)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: %.200s: expected plain bytes, found an encrypted zip entry",
                       file->name, entry->name);
    if (c->method != 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: %.200s: expected a stored zip entry, as torch.save writes them, found a compressed one (method %u)",
                       file->name, entry->name, c->method);
    if (c->stored_size != c->size) reason = "the two sizes of a stored entry to be one";
    if (!reason && (d->offset < LOCAL_SIZE || c->local > d->offset - LOCAL_SIZE)) reason = "a local header before the directory";
    if (!reason) {
        const char *local = file->data + c->local;
        size_t behind = (size_t)(d->offset - c->local - LOCAL_SIZE), name = u16(local + 26), skip = name + u16(local + 28);
        if (u32(local) != LOCAL_SIGNATURE)
            reason = "a local header where the directory says";
        else if (skip > behind || c->size > behind - skip)
            reason = "its bytes to lie before the directory";
        else if (name != c->name_length || memcmp(local + LOCAL_SIZE, c->name, name) != 0 || u16(local + 8) != 0)
            reason = "a local header that agrees with the directory";
        else
            entry->data = local + LOCAL_SIZE + skip;
    }
    entry->size = (size_t)c->size;
    if (!reason) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %.200s: zip entry: expected %s, found %llu bytes, header at byte %llu",
                   file->name, entry->name, reason, (unsigned long long)c->size, (unsigned long long)c->local);
}

static int compare_names(const void *a, const void *b)
{
    const kr_zip_entry *s = a, *t = b;
    return strcmp(s->name, t->name);
}

krait_status kr_zip_read(kr_zip *zip, kr_arena *arena, const kr_file *file, krait_error *error)
{
    *zip = (kr_zip){ 0 };
    directory d = { 0 };
    krait_status status = find_directory(file, &d, error);
    if (status) return status;
    size_t n = (size_t)d.n_entries, at = (size_t)d.offset, end = at + (size_t)d.size;
    kr_zip_entry *entries = kr_arena_alloc(arena, n, sizeof *entries);
    if (!entries) return kr_fail_memory(error, "a zip directory", n * sizeof *entries);
    for (size_t i = 0; i < n; i++) {
        central c;
        status = read_central(&c, file, at, end, error);
        if (status) return status;
        char *name = kr_arena_alloc(arena, c.name_length + 1, 1);
        if (!name) return kr_fail_memory(error, "a zip entry's name", c.name_length + 1);
        memcpy(name, c.name, c.name_length);
        name[c.name_length] = '\0';
        entries[i] = (kr_zip_entry){ .name = name };
        status = locate(&entries[i], &c, file, &d, error);
        if (status) return status;
        at += c.record_size;
    }
    if (at != end)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: zip central directory: expected %llu bytes, found %zu in its entries",
                       file->name, (unsigned long long)d.size, at - (size_t)d.offset);
    qsort(entries, n, sizeof *entries, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(entries[i - 1].name, entries[i].name) == 0)
            return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %.200s: expected one zip entry of that name, found two", file->name,
                           entries[i].name);
    *zip = (kr_zip){ .entries = entries, .n_entries = n };
    return KRAIT_OK;
}

const kr_zip_entry *kr_zip_find(const kr_zip *zip, const char *name)
{
    const kr_zip_entry wanted = { .name = name };
    if (zip->n_entries == 0) return NULL;
    return bsearch(&wanted, zip->entries, zip->n_entries, sizeof *zip->entries, compare_names);
}
