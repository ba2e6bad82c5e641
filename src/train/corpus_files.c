#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "train/corpus.h"

bool kr_corpus_fits(const char *pattern, const char *name)
{
    const char *slash = strrchr(name, '/');
    return fnmatch(pattern, name, 0) == 0 || (slash && fnmatch(pattern, slash + 1, 0) == 0);
}

static bool fits_any(const char *const *patterns, size_t n, bool *used, const char *name)
{
    bool fits = false;
    for (size_t i = 0; i < n; i++)
        if (kr_corpus_fits(patterns[i], name)) used[i] = fits = true;
    return fits;
}

/* What of one call of kr_corpus_files_list() does not change. */
typedef struct listing {
    kr_corpus_files *files;
    const krait_corpus *corpus;
    bool *include_used, *exclude_used;
    bool stream; /* a size is not known */
    krait_error *error;
} listing;

/* Takes over `name`. */
static krait_status add(listing *l, char *name, uint64_t size)
{
    kr_corpus_files *files = l->files;
    if (files->n == files->capacity) {
        size_t capacity = files->capacity ? 2 * files->capacity : 64;
        char **names = kr_realloc(files->names, capacity, sizeof *names);
        if (!names) {
            kr_free(name);
            return kr_fail_memory(l->error, "file names", capacity * sizeof *names);
        }
        files->names = names;
        files->capacity = capacity;
    }
    files->names[files->n++] = name;
    files->n_bytes += size;
    return KRAIT_OK;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Folders within folders beyond this are taken for a circle of links. */
enum { DEEPEST = 64 };

static krait_status add_path(listing *l, const char *path, int depth, bool given);

static krait_status read_names(listing *l, const char *path, kr_corpus_files *entries)
{
    DIR *folder = opendir(path);
    if (!folder) return kr_fail_errno(l->error, path, "open");
    listing inner = { .files = entries, .error = l->error };
    krait_status status = KRAIT_OK;
    while (!status) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno) status = kr_fail_errno(l->error, path, "read");
            break;
        }
        if (entry->d_name[0] == '.') continue;
        char *name = kr_join_path(path, entry->d_name);
        status = name ? add(&inner, name, 0) : kr_fail_memory(l->error, "a file name", strlen(path));
    }
    closedir(folder);
    return status;
}

static krait_status add_folder(listing *l, const char *path, int depth)
{
    kr_corpus_files entries = { 0 };
    krait_status status = read_names(l, path, &entries);
    if (!status && entries.n) qsort(entries.names, entries.n, sizeof *entries.names, by_bytes);
    for (size_t i = 0; !status && i < entries.n; i++) status = add_path(l, entries.names[i], depth + 1, false);
    kr_corpus_files_free(&entries);
    return status;
}

/* given: named by the caller, not found in a folder. */
static krait_status add_path(listing *l, const char *path, int depth, bool given)
{
    const krait_corpus *c = l->corpus;
    struct stat info;
    bool is_stdin = given && strcmp(path, "-") == 0;
    if (!is_stdin && stat(path, &info) != 0) return kr_fail_errno(l->error, path, "open");
    if (!is_stdin && S_ISDIR(info.st_mode)) {
        if (depth > DEEPEST)
            return kr_fail(l->error, KRAIT_ERROR_IO, "%s: expected folders at most %d deep: do links go in a circle?", path,
                           DEEPEST);
        return add_folder(l, path, depth);
    }
    bool regular = !is_stdin && S_ISREG(info.st_mode);
    if (!given && !regular) return KRAIT_OK;
    if (!given && c->n_include && !fits_any(c->include, c->n_include, l->include_used, path)) return KRAIT_OK;
    if (fits_any(c->exclude, c->n_exclude, l->exclude_used, path)) return KRAIT_OK;
    size_t length = strlen(path);
    if (!c->json_field && length > 6 && strcmp(path + length - 6, ".jsonl") == 0)
        return kr_fail(l->error, KRAIT_ERROR_ARGUMENT,
                       "%s: expected the name of the field that is the text, as these are lines of JSON", path);
    if (!regular) l->stream = true;
    char *name = kr_strndup(path, length);
    return name ? add(l, name, regular ? (uint64_t)info.st_size : 0) : kr_fail_memory(l->error, "a file name", length);
}

static krait_status all_used(const char *what, const char *const *patterns, const bool *used, size_t n, krait_error *error)
{
    for (size_t i = 0; i < n; i++)
        if (!used[i])
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s %.200s: expected a pattern that fits some file, found none it fits",
                           what, patterns[i]);
    return KRAIT_OK;
}

static krait_status list(listing *l)
{
    const krait_corpus *c = l->corpus;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < c->n_paths; i++) status = add_path(l, c->paths[i], 0, true);
    if (!status) status = all_used("include", c->include, l->include_used, c->n_include, l->error);
    if (!status) status = all_used("exclude", c->exclude, l->exclude_used, c->n_exclude, l->error);
    if (!status && l->files->n == 0)
        status = kr_fail(l->error, KRAIT_ERROR_ARGUMENT, "%.200s: expected files of text, found none",
                         c->n_paths ? c->paths[0] : "corpus");
    if (l->stream) l->files->n_bytes = 0;
    return status;
}

krait_status kr_corpus_files_list(kr_corpus_files *files, const krait_corpus *corpus, krait_error *error)
{
    *files = (kr_corpus_files){ 0 };
    listing l = { .files = files,
                  .corpus = corpus,
                  .include_used = kr_alloc_zero(corpus->n_include, sizeof(bool)),
                  .exclude_used = kr_alloc_zero(corpus->n_exclude, sizeof(bool)),
                  .error = error };
    krait_status status =
        l.include_used && l.exclude_used ? list(&l) : kr_fail_memory(error, "patterns", corpus->n_include + corpus->n_exclude);
    kr_free(l.include_used);
    kr_free(l.exclude_used);
    if (status) kr_corpus_files_free(files);
    return status;
}

void kr_corpus_files_free(kr_corpus_files *files)
{
    for (size_t i = 0; i < files->n; i++) kr_free(files->names[i]);
    kr_free(files->names);
    *files = (kr_corpus_files){ 0 };
}
