#include "train/corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/threads.h"
#include "base/utf8.h"

/* Stretches are of about so many bytes: enough of them for every thread, and each large against what starting one costs. */
enum { STRETCH = 1 << 19 };
/* What is looked at on both sides of a cut. */
enum { WINDOW = 256 };
/* Places to cut at that are tried in front of giving up on line ends. */
enum { TRIES = 32 };

typedef struct walk {
    const krait_corpus *corpus;
    const kr_corpus_work *work;
    const kr_corpus_files *files;
    krait_error *error;
    kr_corpus_source *sources[KR_CORPUS_SLOTS]; /* [n_sources] those that stretches of this round are of */
    size_t n_sources;
    kr_corpus_stretch stretches[KR_CORPUS_SLOTS];
    krait_status status[KR_CORPUS_SLOTS];
    krait_error errors[KR_CORPUS_SLOTS];
    size_t n;
    int threads;
    kr_corpus_scratch *scratch; /* [threads] */
    size_t next;                /* stretch that no thread has taken yet */
    uint64_t n_bytes;           /* done */
    bool stop;                  /* progress said so */
} walk;

/* ---- sources ----------------------------------------------------------------------------------------------------- */

static void close_source(kr_corpus_source *source)
{
    if (!source) return;
    kr_file_close(&source->file);
    if (source->fd > 0) close(source->fd);
    kr_free(source->buffer);
    kr_free(source);
}

/* false: stop. On the caller's thread. */
static bool report(const walk *w)
{
    const krait_progress *progress = &w->work->progress;
    uint64_t done = __atomic_load_n(&w->n_bytes, __ATOMIC_RELAXED);
    return !progress->report || progress->report(progress->user, w->work->what, done, w->files->n_bytes);
}

/* Reads on behind what is left of the buffer from `from` on, which is moved to its beginning. */
static krait_status refill(walk *w, kr_corpus_source *s, size_t from)
{
    for (const char *p = s->data; (p = memchr(p, '\n', (size_t)(s->data + from - p))); p++) s->lines_before++;
    s->before += from;
    s->size -= from;
    if (from) memmove(s->buffer, s->buffer + from, s->size);
    if (s->size > s->capacity / 2) {
        size_t capacity;
        char *grown = kr_mul(s->capacity ? s->capacity : 8 * STRETCH, 2, &capacity) ? kr_realloc(s->buffer, capacity, 1) : NULL;
        if (!grown) return kr_fail_memory(w->error, s->name, s->capacity);
        s->buffer = grown;
        s->capacity = capacity;
    }
    s->data = s->buffer;
    while (s->size < s->capacity && !s->at_end) {
        /* Whoever wants to stop is asked while there is nothing to read. */
        struct pollfd readable = { .fd = s->fd, .events = POLLIN };
        if (poll(&readable, 1, 200) <= 0) {
            if (!report(w)) return kr_fail(w->error, KRAIT_ERROR_INTERRUPTED, "%s: interrupted", s->name);
            continue;
        }
        ssize_t n = read(s->fd, s->buffer + s->size, s->capacity - s->size);
        if (n < 0 && errno != EINTR) return kr_fail_errno(w->error, s->name, "read");
        if (n > 0) s->size += (size_t)n;
        if (n == 0) s->at_end = true;
    }
    return KRAIT_OK;
}

static krait_status open_source(walk *w, const char *name, kr_corpus_source **result)
{
    kr_corpus_source *s = kr_alloc_zero(1, sizeof *s);
    *result = s;
    if (!s) return kr_fail_memory(w->error, "a file", sizeof *s);
    *s = (kr_corpus_source){ .name = name, .fd = -1, .file = { .data = "" } };
    bool is_stdin = strcmp(name, "-") == 0;
    if (!is_stdin && kr_file_open(&s->file, name, NULL) == KRAIT_OK) {
        s->data = s->file.data;
        s->size = s->file.size;
        s->at_end = true;
        return KRAIT_OK;
    }
    s->name = is_stdin ? "stdin" : name;
    s->fd = is_stdin ? 0 : open(name, O_RDONLY | O_CLOEXEC);
    s->buffer = s->fd >= 0 ? kr_realloc(NULL, 8 * STRETCH, 1) : NULL;
    s->capacity = 8 * STRETCH;
    s->data = s->buffer;
    krait_status status = s->fd < 0   ? kr_fail_errno(w->error, name, "open")
                          : s->buffer ? refill(w, s, 0)
                                      : kr_fail_memory(w->error, "a stream", 8 * STRETCH);
    if (status) {
        close_source(s);
        *result = NULL;
    }
    return status;
}

/* ---- a round: stretches side by side ----------------------------------------------------------------------------- */

typedef struct listener {
    walk *walk;
    int thread;
    size_t slot;
} listener;

static krait_status give_text(void *user, const kr_corpus_text *text, krait_error *error)
{
    listener *l = user;
    return l->walk->work->text(l->walk->work->user, l->thread, l->slot, text, error);
}

static void work_body(void *context, int thread, int n_threads)
{
    walk *w = context;
    (void)n_threads;
    for (;;) {
        size_t slot = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED);
        if (slot >= w->n || __atomic_load_n(&w->stop, __ATOMIC_RELAXED)) break;
        listener l = { w, thread, slot };
        w->status[slot] = kr_corpus_parse(w->corpus, &w->stretches[slot], &w->scratch[thread], give_text, &l, &w->errors[slot]);
        __atomic_add_fetch(&w->n_bytes, w->stretches[slot].length, __ATOMIC_RELAXED);
        if (thread == 0 && !report(w)) __atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
    }
}

/* Works on the stretches that were gathered, and closes their sources, but for `current`. */
static krait_status run_round(walk *w, const kr_corpus_source *current)
{
    krait_status status = KRAIT_OK;
    w->next = 0;
    if (w->n > 0) kr_parallel(w->n < (size_t)w->threads ? (int)w->n : w->threads, work_body, w);
    if (w->stop || (w->n > 0 && !report(w)))
        status = kr_fail(w->error, KRAIT_ERROR_INTERRUPTED, "%s: interrupted", w->stretches[0].source->name);
    for (size_t i = 0; !status && i < w->n; i++) {
        status = w->status[i];
        if (status)
            kr_fail(w->error, status, "%s", w->errors[i].message);
        else
            status = w->work->done(w->work->user, i, w->stretches[i].source->name, w->error);
    }
    w->n = 0;
    for (size_t i = 0; i < w->n_sources; i++)
        if (w->sources[i] != current) close_source(w->sources[i]);
    w->n_sources = 0;
    return status;
}

/* Adds a stretch of the current source. */
static krait_status add(walk *w, kr_corpus_source *source, size_t from, size_t to, bool begins)
{
    krait_status status = w->n == KR_CORPUS_SLOTS ? run_round(w, source) : KRAIT_OK;
    if (w->n_sources == 0 || w->sources[w->n_sources - 1] != source) w->sources[w->n_sources++] = source;
    w->stretches[w->n++] = (kr_corpus_stretch){ source, source->data + from, to - from, begins };
    return status;
}

/* ---- cutting ----------------------------------------------------------------------------------------------------- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_inside(char c) { return ((unsigned char)c & 0xc0) == 0x80; } /* of a UTF-8 character */

/* Whether the document data[begin..end) may be cut at `at`. */
static bool may_cut(const walk *w, const char *data, size_t begin, size_t end, size_t at)
{
    size_t from = at - begin > WINDOW ? at - WINDOW : begin, to = end - at > WINDOW ? at + WINDOW : end;
    while (from < at && is_inside(data[from])) from++;
    while (to > at && to < end && is_inside(data[to])) to--;
    if (w->corpus->invalid != KRAIT_INVALID_ERROR && kr_utf8_valid_prefix(data + from, to - from) != to - from) return false;
    char text[2 * WINDOW];
    size_t front = at - from, back = to - at;
    memcpy(text, data + from, front + back);
    if (w->corpus->crlf) {
        front = kr_corpus_drop_returns(text, data + from, front);
        back = kr_corpus_drop_returns(text + front, data + at, back);
    }
    return w->work->may_cut(w->work->user, text, front + back, front);
}

/* Where to cut the document data[begin..end) behind about STRETCH bytes; 0: nowhere. */
static size_t find_cut(const walk *w, const char *data, size_t begin, size_t end)
{
    int tries = 0;
    for (size_t i = begin + STRETCH; i + WINDOW < end && tries < TRIES; i++) {
        const char *feed = memchr(data + i, '\n', end - WINDOW - i);
        if (!feed) break;
        i = (size_t)(feed - data);
        if (is_space(data[i + 1]) || (unsigned char)data[i + 1] >= 0x80) continue;
        size_t front = w->corpus->crlf && data[i - 1] == '\r' ? i - 1 : i;
        if (!w->work->may_cut) return front;
        if (may_cut(w, data, begin, end, front)) return front;
        if (may_cut(w, data, begin, end, i + 1)) return i + 1;
        tries++;
    }
    if (!w->work->may_cut) return 0;
    tries = 0;
    for (size_t i = begin + STRETCH; i + WINDOW < end && tries < TRIES; i++) {
        if (is_inside(data[i]) || data[i - 1] == '\r') continue;
        if (may_cut(w, data, begin, end, i)) return i;
        tries++;
    }
    return 0;
}

/* The end of the document data[begin..size) that a separator ends, *next being behind it; `size`: there is none. */
static size_t find_end(const krait_corpus *corpus, const char *data, size_t begin, size_t size, size_t *next)
{
    *next = size;
    size_t length = corpus->separator ? strlen(corpus->separator) : 0;
    const char *found = length ? memmem(data + begin, size - begin, corpus->separator, length) : NULL;
    if (!found) return size;
    size_t end = (size_t)(found - data);
    *next = end + length;
    while (*next < size && (data[*next] == '\n' || data[*next] == '\r')) ++*next;
    while (end > begin && (data[end - 1] == '\n' || data[end - 1] == '\r')) end--;
    return end;
}

/* What is in memory of a stream up to `at` is done with. */
static krait_status read_on(walk *w, kr_corpus_source *s, size_t *at)
{
    krait_status status = run_round(w, s);
    if (!status) status = refill(w, s, *at);
    *at = 0;
    return status;
}

static krait_status walk_text(walk *w, kr_corpus_source *s)
{
    krait_status status = KRAIT_OK;
    size_t at = 0, end = 0, next = 0; /* of the document: where it goes on, its end, and the beginning of the one behind it */
    bool begins = true, known = false;
    while (!status) {
        if (!known) end = find_end(w->corpus, s->data, at, s->size, &next);
        known = end < s->size || s->at_end;
        if (!known && s->size - at <= 4 * STRETCH) {
            status = read_on(w, s, &at);
            continue;
        }
        /* The beginning of a separator may be the last that is in memory. */
        size_t sure = known ? end : s->size - STRETCH, cut = sure - at > 2 * STRETCH ? find_cut(w, s->data, at, sure) : 0;
        if (cut == 0 && !known) {
            status = read_on(w, s, &at);
            continue;
        }
        status = add(w, s, at, cut ? cut : end, begins);
        begins = cut == 0;
        at = cut ? cut : next;
        if (cut) continue;
        known = false;
        if (at == s->size && s->at_end) break;
    }
    return status;
}

static krait_status walk_lines(walk *w, kr_corpus_source *s)
{
    krait_status status = KRAIT_OK;
    for (size_t at = 0; !status && !(at == s->size && s->at_end);) {
        const char *feed = NULL;
        if (s->size - at > STRETCH) feed = memrchr(s->data + at, '\n', STRETCH);
        if (!feed && s->size - at > STRETCH) feed = memchr(s->data + at, '\n', s->size - at);
        if (!feed && !s->at_end) {
            status = read_on(w, s, &at);
            continue;
        }
        size_t end = feed ? (size_t)(feed - s->data) + 1 : s->size;
        status = add(w, s, at, end, true);
        at = end;
    }
    return status;
}

static krait_status walk_all(walk *w)
{
    for (size_t i = 0; i < w->files->n; i++) {
        kr_corpus_source *source;
        krait_status status = open_source(w, w->files->names[i], &source);
        if (status) return status;
        status = (w->corpus->json_field ? walk_lines : walk_text)(w, source);
        bool kept = w->n_sources && w->sources[w->n_sources - 1] == source;
        if (!kept) close_source(source);
        if (!status && w->n_sources == KR_CORPUS_SLOTS) status = run_round(w, NULL);
        if (status) return status;
    }
    return run_round(w, NULL);
}

krait_status kr_corpus_walk(const krait_corpus *corpus, const kr_corpus_files *files, const kr_corpus_work *work,
                            kr_corpus_counts *counts, krait_error *error)
{
    *counts = (kr_corpus_counts){ 0 };
    walk *w = kr_alloc_zero(1, sizeof *w);
    if (!w) return kr_fail_memory(error, "a round of text", sizeof *w);
    w->corpus = corpus;
    w->files = files;
    w->work = work;
    w->error = error;
    w->threads = work->threads > 0 ? work->threads : kr_threads_available();
    w->scratch = kr_alloc_zero((size_t)w->threads, sizeof *w->scratch);
    krait_status status = w->scratch ? walk_all(w) : kr_fail_memory(error, "scratch", (size_t)w->threads * sizeof *w->scratch);
    for (size_t i = 0; i < w->n_sources; i++) close_source(w->sources[i]); /* of a round that did not come to its end */
    for (int i = 0; w->scratch && i < w->threads; i++) {
        counts->n_invalid += w->scratch[i].n_invalid;
        kr_corpus_scratch_free(&w->scratch[i]);
    }
    counts->n_bytes = w->n_bytes;
    kr_free(w->scratch);
    kr_free(w);
    return status;
}
