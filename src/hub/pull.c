/* Downloading a model: what the revision has, which of it is wanted, the files, and last the links that make it findable. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "hub/blob.h"
#include "hub/cache.h"
#include "hub/http.h"
#include "hub/hub_json.h"

#define PARALLEL   4
#define MAX_TOKEN  4096
#define MAX_ANSWER ((size_t)16 << 20)
#define NAME_SIZE  520 /* "OWNER/NAME: FILE" */

typedef struct pull {
    const krait_hub_options *options;
    const char *text; /* the name as given */
    kr_hub_name name;
    char root[KR_HUB_PATH];
    char endpoint[1024];
    kr_http_client client;
    kr_arena arena;
    kr_hub_listing listing;
    kr_blob *blobs; /* of the call to fetch() that runs */
    size_t n_blobs;
    uint64_t done, total; /* bytes; `done` of earlier calls to fetch() */
} pull;

bool krait_hub_can_pull(void) { return true; }

/* ---- the token --------------------------------------------------------------------------------------------------- */

static krait_status clean_token(char token[MAX_TOKEN], const char *text, size_t length, krait_error *error)
{
    while (length && (unsigned char)text[length - 1] <= ' ') length--;
    while (length && (unsigned char)*text <= ' ') text++, length--;
    for (size_t i = 0; i < length; i++) /* a line end would begin another header */
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f || length >= MAX_TOKEN)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "the token for the hub: expected one short word, found something else");
    memcpy(token, text, length);
    token[length] = 0;
    return KRAIT_OK;
}

static krait_status find_token(char token[MAX_TOKEN], const krait_hub_options *options, krait_error *error)
{
    char path[KR_HUB_PATH], text[MAX_TOKEN + 2];
    const char *said = options->token ? options->token : kr_hub_variable("HF_TOKEN");
    if (!said) said = kr_hub_variable("HUGGING_FACE_HUB_TOKEN"); /* as it was called before */
    token[0] = 0;
    if (said) return clean_token(token, said, strlen(said), error);
    const char *named = kr_hub_variable("HF_TOKEN_PATH");
    krait_status status = KRAIT_OK;
    if (named)
        status = kr_hub_expand(path, named, error);
    else if (kr_hub_home(path, NULL))
        return KRAIT_OK;
    else if (strlen(path) + 7 <= KR_HUB_PATH)
        memcpy(path + strlen(path), "/token", 7);
    FILE *file = status ? NULL : fopen(path, "rb");
    if (!file) return status; /* without one, as with Python */
    size_t n = fread(text, 1, sizeof text, file);
    fclose(file);
    status = clean_token(token, text, n, error);
    explicit_bzero(text, sizeof text);
    return status;
}

/* ---- JSON into memory -------------------------------------------------------------------------------------------- */

typedef struct buffer {
    const char *name;
    char *data;
    size_t size, capacity;
} buffer;

static krait_status begin_buffer(void *user, kr_http_next *next, uint64_t *from, krait_error *error)
{
    (void)error;
    ((buffer *)user)->size = 0;
    *next = KR_HTTP_GO;
    *from = 0;
    return KRAIT_OK;
}

static krait_status rewind_buffer(void *user, krait_error *error)
{
    (void)error;
    ((buffer *)user)->size = 0;
    return KRAIT_OK;
}

static krait_status add_to_buffer(void *user, const char *data, size_t size, krait_error *error)
{
    buffer *b = user;
    if (size > MAX_ANSWER - b->size)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: an answer of more than %zu bytes", b->name, MAX_ANSWER);
    if (b->size + size > b->capacity) {
        size_t larger = 2 * (b->size + size);
        char *grown = kr_realloc(b->data, larger, 1);
        if (!grown) return kr_fail_memory(error, b->name, larger);
        b->data = grown;
        b->capacity = larger;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return KRAIT_OK;
}

static krait_status end_buffer(void *user, bool *again, krait_error *error)
{
    (void)user, (void)error;
    *again = false;
    return KRAIT_OK;
}

static const kr_http_sink buffer_sink = {
    .begin = begin_buffer, .rewind = rewind_buffer, .body = add_to_buffer, .end = end_buffer
};

static krait_status ask_listing(pull *p, krait_error *error)
{
    char url[2048];
    buffer answer = { .name = p->text };
    char *revision = kr_http_escape(p->name.revision, false);
    if (!revision) return kr_fail_memory(error, "an address", 0);
    snprintf(url, sizeof url, "%s/api/models/%s/revision/%s?blobs=true", p->endpoint, p->name.model, revision);
    kr_free(revision);
    kr_http_job job = { .name = p->text, .url = url, .sink = &buffer_sink, .user = &answer };
    krait_status status = kr_http_run(&p->client, &job, 1, 1, error);
    if (!status)
        status = kr_hub_listing_read(&p->listing, &p->arena, p->text, answer.data ? answer.data : "", answer.size, error);
    kr_free(answer.data); /* the listing's names are copies */
    if (status != KRAIT_ERROR_FORMAT || !error) return status;
    /* A page to log in at, say, that a hotel's network answers everything with. */
    char message[sizeof error->message];
    const size_t own = strlen(p->text) + 2;
    snprintf(message, sizeof message, "%s", strlen(error->message) > own ? error->message + own : error->message);
    return kr_fail(error, status, "%s: what %s answers is not a hub's list of files: %s", p->text, p->endpoint, message);
}

/* ---- which files ------------------------------------------------------------------------------------------------- */

/* Those of one round, each with a hash. */
typedef struct file_list {
    const kr_hub_entry *items[KR_HUB_MAX_SHARDS + 8];
    size_t n;
} file_list;

static bool want(const pull *p, file_list *list, const char *file)
{
    const kr_hub_entry *entry = kr_hub_listing_find(&p->listing, file);
    if (entry) list->items[list->n++] = entry;
    return entry;
}

/* No weights that a folder is loaded from: say what there is. */
static krait_status no_weights(const pull *p, krait_error *error)
{
    char found[200] = "";
    size_t used = 0, n = 0;
    for (size_t i = 0; i < p->listing.n; i++) {
        const char *file = p->listing.files[i].name;
        size_t length = strlen(file);
        if (length < 6 || strcmp(file + length - 5, ".gguf") != 0) continue;
        if (n++ < 3 && used < sizeof found)
            used += (size_t)snprintf(found + used, sizeof found - used, "%s%s", used ? ", " : "", file);
    }
    if (!n)
        return kr_fail(error, KRAIT_ERROR_FORMAT,
                       "%s: expected model.safetensors or pytorch_model.bin (or an index of its shards) there, found neither",
                       p->text);
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: has GGUF files: name one of them, as in %s:FILE (%s%s)", p->text, p->text,
                   found, n > 3 ? ", ..." : "");
}

/* The first of the four that is there; an index needs its shards, too. */
static krait_status choose(const pull *p, file_list *first, const char **index, const char **weights, krait_error *error)
{
    static const char *const names[] = { "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                         "pytorch_model.bin.index.json" };
    *index = *weights = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!kr_hub_listing_find(&p->listing, names[i])) continue;
        *(i % 2 ? index : weights) = names[i];
        break;
    }
    if (!*index && !*weights) return no_weights(p, error);
    if (!want(p, first, "config.json"))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a config.json there, found none", p->text);
    want(p, first, "tokenizer.json");
    if (*index) want(p, first, *index);
    return KRAIT_OK;
}

/* ---- the files --------------------------------------------------------------------------------------------------- */

static krait_status tick(void *user, krait_error *error)
{
    const pull *p = user;
    const krait_progress *progress = &p->options->progress;
    uint64_t done = p->done;
    for (size_t i = 0; i < p->n_blobs; i++) done += p->blobs[i].complete ? p->blobs[i].entry->size : p->blobs[i].have;
    if (!progress->report || progress->report(progress->user, p->text, done, p->total)) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_INTERRUPTED,
                   "interrupted: what has come of %s is kept, the same command goes on from there", p->text);
}

static krait_status check_space(const pull *p, const file_list *list, krait_error *error)
{
    struct statvfs info;
    uint64_t needed = 0, partial;
    for (size_t i = 0; i < list->n; i++)
        if (!kr_blob_is_there(p->root, &p->name, list->items[i], &partial)) {
            uint64_t more = list->items[i]->size - partial;
            needed = more > UINT64_MAX - needed ? UINT64_MAX : needed + more;
        }
    if (statvfs(p->root, &info) != 0) return KRAIT_OK; /* the writes will tell */
    uint64_t free_bytes = (uint64_t)info.f_bavail * info.f_frsize;
    if (needed <= free_bytes) return KRAIT_OK;
    const bool large = needed >= 1000000000;
    const double unit = large ? 1e-9 : 1e-6;
    return kr_fail(error, KRAIT_ERROR_IO, "%s: needs %.2f %s more, and %s has %.2f %s left: free some, or set HF_HOME", p->text,
                   unit * (double)needed, large ? "GB" : "MB", p->root, unit * (double)free_bytes, large ? "GB" : "MB");
}

static krait_status set_job(pull *p, kr_http_job *job, kr_blob *blob, const kr_hub_entry *entry, krait_error *error)
{
    size_t size = strlen(p->endpoint) + sizeof p->name.model + sizeof p->listing.commit + 3 * strlen(entry->name) + 32;
    char *name = kr_arena_alloc(&p->arena, NAME_SIZE, 1), *url = kr_arena_alloc(&p->arena, size, 1);
    char *path = kr_http_escape(entry->name, true);
    if (!name || !url || !path) {
        kr_free(path);
        return kr_fail_memory(error, "an address", size);
    }
    snprintf(name, NAME_SIZE, "%s: %s", p->name.model, entry->name);
    snprintf(url, size, "%s/%s/resolve/%s/%s", p->endpoint, p->name.model, p->listing.commit, path);
    kr_free(path);
    kr_blob_open(blob, p->root, &p->name, entry, name);
    *job = (kr_http_job){ .name = name, .url = url, .known = true, .sink = &kr_blob_sink, .user = blob };
    if (entry->hash[0]) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected its size and hash in the hub's list of files, found none", name);
}

static krait_status fetch(pull *p, const file_list *list, krait_error *error)
{
    krait_status status = kr_hub_make_folder(p->root, error);
    if (!status) status = check_space(p, list, error);
    if (status) return status;
    kr_http_job *jobs = kr_alloc_zero(list->n, sizeof *jobs);
    kr_blob *blobs = kr_alloc_zero(list->n, sizeof *blobs);
    if (!jobs || !blobs) status = kr_fail_memory(error, "requests", list->n * (sizeof *jobs + sizeof *blobs));
    size_t n = 0;
    for (; !status && n < list->n; n++) status = set_job(p, &jobs[n], &blobs[n], list->items[n], error);
    if (!status) {
        p->blobs = blobs;
        p->n_blobs = n;
        status = kr_http_run(&p->client, jobs, n, PARALLEL, error);
        p->n_blobs = 0;
        p->blobs = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (blobs[i].name) kr_blob_close(&blobs[i]);
        p->done += list->items[i]->size;
    }
    kr_free(jobs);
    kr_free(blobs);
    return status;
}

static void add_total(pull *p, const file_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        p->total = list->items[i]->size > UINT64_MAX - p->total ? UINT64_MAX : p->total + list->items[i]->size;
}

/* Maps a small file that was fetched. */
static krait_status open_blob(const pull *p, const char *name, kr_file *file, krait_error *error)
{
    char path[KR_HUB_PATH];
    const kr_hub_entry *entry = kr_hub_listing_find(&p->listing, name);
    krait_status status = kr_hub_path(path, error, "%s/%s/blobs/%s", p->root, p->name.folder, entry->hash);
    return status ? status : kr_file_open(file, path, error);
}

static krait_status check_config(const pull *p, krait_error *error)
{
    kr_file file = { 0 };
    krait_status status = open_blob(p, "config.json", &file, error);
    if (!status) status = kr_hub_config_check(p->text, file.data, file.size, error);
    kr_file_close(&file);
    return status;
}

static krait_status want_shards(pull *p, file_list *weights, const char *index, krait_error *error)
{
    const char *const *names;
    kr_file file = { 0 };
    size_t n = 0;
    krait_status status = open_blob(p, index, &file, error);
    if (!status) status = kr_hub_shards_read(&names, &n, &p->arena, index, file.data, file.size, error);
    kr_file_close(&file);
    for (size_t i = 0; !status && i < n; i++)
        if (!want(p, weights, names[i]))
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s names %s, which is not there", p->text, index, names[i]);
    return status;
}

/* ---- the links --------------------------------------------------------------------------------------------------- */

static krait_status link_file(const pull *p, const kr_hub_entry *entry, krait_error *error)
{
    char path[KR_HUB_PATH], temporary[KR_HUB_PATH], target[KR_HUB_PATH], up[3 * 128 + 1] = "", found[KR_HUB_PATH];
    size_t depth = 2; /* snapshots/COMMIT */
    for (const char *at = entry->name; *at; at++) depth += *at == '/';
    for (size_t i = 0; i < depth && i < 128; i++) memcpy(up + 3 * i, "../", 4);
    krait_status status =
        kr_hub_path(path, error, "%s/%s/snapshots/%s/%s", p->root, p->name.folder, p->listing.commit, entry->name);
    if (!status) status = kr_hub_path(temporary, error, "%s.part-%ld", path, (long)getpid());
    if (!status) status = kr_hub_path(target, error, "%sblobs/%s", up, entry->hash);
    if (!status) status = kr_hub_make_parent(path, error);
    if (status) return status;
    ssize_t n = readlink(path, found, sizeof found - 1);
    if (n > 0 && (size_t)n == strlen(target) && memcmp(found, target, (size_t)n) == 0) return KRAIT_OK;
    unlink(temporary);
    if (symlink(target, temporary) != 0) return kr_fail_errno(error, path, "link");
    if (rename(temporary, path) == 0) return KRAIT_OK;
    status = kr_fail_errno(error, path, "link");
    unlink(temporary);
    return status;
}

/* refs/REVISION: the commit, as Python writes it, without a line end. One that is right is left alone: the cache may be read-only. */
static krait_status write_ref(const pull *p, krait_error *error)
{
    char path[KR_HUB_PATH], found[65];
    kr_writer writer;
    kr_hub_commit(found, p->root, &p->name);
    if (strcmp(p->name.revision, p->listing.commit) == 0 || strcmp(found, p->listing.commit) == 0) return KRAIT_OK;
    krait_status status = kr_hub_path(path, error, "%s/%s/refs/%s", p->root, p->name.folder, p->name.revision);
    if (!status) status = kr_hub_make_parent(path, error);
    if (!status) status = kr_writer_open(&writer, path, error);
    if (status) return status;
    status = kr_writer_write(&writer, p->listing.commit, strlen(p->listing.commit), error);
    if (!status) return kr_writer_commit(&writer, error);
    kr_writer_abandon(&writer);
    return status;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static krait_status pull_files(pull *p, file_list *first, file_list *weights, krait_error *error)
{
    const char *index = NULL, *whole = NULL;
    krait_status status = ask_listing(p, error);
    if (status) return status;
    if (!p->name.file[0])
        status = choose(p, first, &index, &whole, error);
    else if (!want(p, weights, p->name.file))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: no such file there", p->text);
    if (!status && whole) want(p, weights, whole);
    add_total(p, first);
    add_total(p, weights);
    /* The small ones first: without them the large ones are of no use, and an index names the others. */
    if (!status && first->n) status = fetch(p, first, error);
    if (!status && first->n) status = check_config(p, error);
    if (!status && index) { /* of which none was counted yet */
        status = want_shards(p, weights, index, error);
        add_total(p, weights);
    }
    if (!status) status = fetch(p, weights, error);
    /* Nothing is findable before all is there; config.json, without which nothing is a model, is the last. */
    for (size_t i = 0; !status && i < weights->n; i++) status = link_file(p, weights->items[i], error);
    for (size_t i = first->n; !status && i-- > 0;) status = link_file(p, first->items[i], error);
    return status ? status : write_ref(p, error);
}

static krait_status open_pull(pull *p, const char *text, krait_error *error)
{
    char token[MAX_TOKEN];
    krait_status status = kr_hub_name_parse(&p->name, text, error);
    if (!status) status = kr_hub_root(p->root, p->options, error);
    if (status) return status;
    const char *offline = kr_hub_offline(p->options);
    if (offline && *offline)
        return kr_fail(error, KRAIT_ERROR_IO, "%s: not in %s, and offline (%s): unset it and type krait pull %s", text, p->root,
                       offline, text);
    if (offline) return kr_fail(error, KRAIT_ERROR_IO, "%s: not in %s, and offline", text, p->root);
    const char *endpoint = p->options->endpoint ? p->options->endpoint : kr_hub_variable("HF_ENDPOINT");
    if (!endpoint) endpoint = "https://huggingface.co";
    int length = (int)strlen(endpoint);
    while (length && endpoint[length - 1] == '/') length--;
    if (snprintf(p->endpoint, sizeof p->endpoint, "%.*s", length, endpoint) >= (int)sizeof p->endpoint)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "HF_ENDPOINT: expected at most %zu bytes", sizeof p->endpoint - 1);
    status = find_token(token, p->options, error);
    if (!status) status = kr_http_open(&p->client, p->name.model, p->endpoint, *token ? token : NULL, error);
    explicit_bzero(token, sizeof token);
    p->client.tick = tick;
    p->client.user = p;
    return status;
}

krait_status krait_hub_pull(char **path, const char *name, const krait_hub_options *options, krait_error *error)
{
    static const krait_hub_options usual;
    if (!path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_pull: path is NULL");
    *path = NULL;
    if (!name) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_hub_pull: name is NULL");
    pull *p = kr_alloc_zero(1, sizeof *p);
    file_list *lists = kr_alloc_zero(2, sizeof *lists);
    krait_status status = KRAIT_OK;
    if (!p || !lists)
        status = kr_fail_memory(error, "a download", sizeof *p + 2 * sizeof *lists);
    else {
        p->options = options ? options : &usual;
        p->text = name;
        if (kr_hub_offline(p->options)) status = krait_hub_find(path, name, p->options, error);
        if (!status && !*path) status = open_pull(p, name, error);
        if (!status && !*path) status = pull_files(p, &lists[0], &lists[1], error);
        char found[KR_HUB_PATH];
        if (!status && !*path)
            status = kr_hub_path(found, error, *p->name.file ? "%s/%s/snapshots/%s/%s" : "%s/%s/snapshots/%s%s", p->root,
                                 p->name.folder, p->listing.commit, p->name.file);
        if (!status && !*path && !(*path = kr_strndup(found, strlen(found))))
            status = kr_fail_memory(error, "a path", strlen(found));
        kr_http_close(&p->client);
        kr_arena_free(&p->arena);
    }
    kr_free(lists);
    kr_free(p);
    return status;
}
