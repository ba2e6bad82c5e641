#include "hub/http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "hub/hub_info.h"

#define MAX_TRIES     5 /* without a new byte */
#define MAX_REDIRECTS 8
#define FIRST_PAUSE   0.5 /* seconds; doubled each time */
#define LONGEST_PAUSE 60.0
#define BUSY_PAUSE    0.2
#define STALLED       60 /* seconds without a byte */
#define MAX_ERROR     ((uint64_t)1 << 20)

typedef enum try_phase { TRY_WAITING, TRY_RUNNING, TRY_DONE } try_phase;

struct kr_http_try {
    const kr_http_client *client;
    const kr_http_job *job;
    CURL *curl;
    try_phase phase;
    double not_before;
    int failures, redirects;
    char *location; /* where the last answer sent us; NULL: the job's own url */
    /* of the answer that comes in */
    uint64_t from, range_start, received, ignored;
    bool begun, has_range;
    double retry_after; /* seconds; negative: not said */
    char said[160];     /* the hub's own words */
    char reason[CURL_ERROR_SIZE];
    krait_error error; /* of the sink */
};
typedef struct kr_http_try http_try;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

const char *kr_hub_info(void)
{
    static _Thread_local char info[64];
    snprintf(info, sizeof info, "curl %s", curl_version_info(CURLVERSION_NOW)->version);
    return info;
}

char *kr_http_escape(const char *text, bool path)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t length = strlen(text), bytes;
    if (!kr_mul(length, 3, &bytes)) return NULL;
    char *out = kr_alloc(bytes + 1, 1), *at = out;
    if (!out) return NULL;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain || (path && c == '/')) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    *at = 0;
    return out;
}

/* ---- the client -------------------------------------------------------------------------------------------------- */

static bool is_initialised;
static void initialise(void) { is_initialised = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK; }

krait_status kr_http_open(kr_http_client *client, const char *model, const char *endpoint, const char *token, krait_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    memset(client, 0, sizeof *client);
    client->model = model;
    client->endpoint = endpoint;
    if (strncmp(endpoint, "https://", 8) != 0 && strncmp(endpoint, "http://", 7) != 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "HF_ENDPOINT: expected https://..., found %s", endpoint);
    pthread_once(&once, initialise);
    client->multi = is_initialised ? curl_multi_init() : NULL;
    if (!client->multi) return kr_fail_memory(error, "libcurl", 0);
    if (!token) return KRAIT_OK;
    size_t size = strlen(token) + 32;
    char *header = kr_alloc(size, 1);
    if (header) {
        snprintf(header, size, "Authorization: Bearer %s", token);
        client->authorization = curl_slist_append(NULL, header);
        memset(header, 0, size);
    }
    kr_free(header);
    if (client->authorization) return KRAIT_OK;
    kr_http_close(client);
    return kr_fail_memory(error, "a header", size);
}

void kr_http_close(kr_http_client *client)
{
    curl_slist_free_all(client->authorization);
    if (client->multi) curl_multi_cleanup(client->multi);
    memset(client, 0, sizeof *client);
}

/* Whether two URLs have scheme, host and port in common. */
static bool same_origin(const char *a, const char *b)
{
    static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
    CURLU *urls[2] = { curl_url(), curl_url() };
    bool same = urls[0] && urls[1] && !curl_url_set(urls[0], CURLUPART_URL, a, 0) && !curl_url_set(urls[1], CURLUPART_URL, b, 0);
    for (size_t i = 0; same && i < sizeof parts / sizeof *parts; i++) {
        char *texts[2] = { NULL, NULL };
        same = !curl_url_get(urls[0], parts[i], &texts[0], CURLU_DEFAULT_PORT)
               && !curl_url_get(urls[1], parts[i], &texts[1], CURLU_DEFAULT_PORT) && strcasecmp(texts[0], texts[1]) == 0;
        curl_free(texts[0]);
        curl_free(texts[1]);
    }
    curl_url_cleanup(urls[0]);
    curl_url_cleanup(urls[1]);
    return same;
}

/* ---- what libcurl calls ------------------------------------------------------------------------------------------ */

static long answer(const http_try *t)
{
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

/* The value of a header of that name, without white space around; NULL if it is another. */
static const char *header_value(const char *line, size_t size, const char *name, size_t *length)
{
    size_t n = strlen(name);
    if (size <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) return NULL;
    const char *begin = line + n + 1, *end = line + size;
    while (begin < end && (*begin == ' ' || *begin == '\t')) begin++;
    while (end > begin && (unsigned char)end[-1] <= ' ') end--;
    *length = (size_t)(end - begin);
    return begin;
}

static size_t take_header(char *line, size_t one, size_t size, void *user)
{
    http_try *t = user;
    size_t n;
    const char *value;
    char text[64];
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0) { /* a new answer, after a "100 Continue" or a proxy's */
        t->has_range = false;
        t->retry_after = -1;
        t->said[0] = 0;
    } else if ((value = header_value(line, size, "content-range", &n))) {
        unsigned long long start;
        snprintf(text, sizeof text, "%.*s", n < 60 ? (int)n : 60, value);
        t->has_range = sscanf(text, "bytes %llu-", &start) == 1;
        if (t->has_range) t->range_start = start;
    } else if ((value = header_value(line, size, "retry-after", &n))) {
        snprintf(text, sizeof text, "%.*s", n < 60 ? (int)n : 60, value);
        char *end;
        double seconds = strtod(text, &end);
        if (end != text && seconds >= 0 && seconds < 1e9) t->retry_after = seconds; /* a date counts as not said */
    } else if ((value = header_value(line, size, "x-error-message", &n))) {
        snprintf(t->said, sizeof t->said, "%.*s", n < 150 ? (int)n : 150, value);
        kr_make_printable(t->said);
    }
    return one * size;
}

/* Before the first byte, and at the end of an empty body: does the answer start where we go on? */
static krait_status begin_body(http_try *t, long code)
{
    if (t->begun) return KRAIT_OK;
    t->begun = true;
    if (code == 206 && (!t->has_range || t->range_start != t->from))
        return kr_fail(&t->error, KRAIT_ERROR_FORMAT, "%s: expected bytes from %llu on, the server sent others", t->job->name,
                       (unsigned long long)t->from);
    return code == 200 && t->from > 0 ? t->job->sink->rewind(t->job->user, &t->error) : KRAIT_OK;
}

static size_t take_body(char *data, size_t one, size_t size, void *user)
{
    http_try *t = user;
    long code = answer(t);
    (void)one;                        /* is 1 */
    if (code != 200 && code != 206) { /* a page about an error */
        t->ignored += size;
        return t->ignored > MAX_ERROR ? 0 : size;
    }
    if (begin_body(t, code) || t->job->sink->body(t->job->user, data, size, &t->error)) return 0;
    t->received += size;
    return size;
}

/* ---- a try ------------------------------------------------------------------------------------------------------- */

/* Whom to trust: as the environment says, or where this system has it, which libcurl does not know when it comes from another one (in a wheel). */
static const char *certificates_file(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",                  /* Fedora, RHEL */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* newer ones of these */
        "/etc/ssl/ca-bundle.pem",                            /* openSUSE */
        "/etc/ssl/cert.pem",                                 /* Alpine */
    };
    const char *own = getenv("SSL_CERT_FILE");
    if (own && *own) return own;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (kr_exists(places[i])) return places[i];
    return NULL;
}

static krait_status start(http_try *t, krait_error *error)
{
    const kr_http_client *client = t->client;
    const char *url = t->location ? t->location : t->job->url;
    char range[32];
    if (!t->curl && !(t->curl = curl_easy_init())) return kr_fail_memory(error, "libcurl", 0);
    CURL *curl = t->curl;
    t->begun = t->has_range = false;
    t->received = t->ignored = t->range_start = 0;
    t->retry_after = -1;
    t->said[0] = t->reason[0] = 0;
    t->error = (krait_error){ 0 };
    curl_easy_reset(curl);
    snprintf(range, sizeof range, "%llu-", (unsigned long long)t->from);
    CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
    if (!code && t->from) code = curl_easy_setopt(curl, CURLOPT_RANGE, range);
    /* Redirects are ours, so that the token is seen to go to nobody else, whatever the version of libcurl. */
    if (!code && client->authorization && same_origin(url, client->endpoint))
        code = curl_easy_setopt(curl, CURLOPT_HTTPHEADER, (struct curl_slist *)client->authorization);
    if (!code) code = curl_easy_setopt(curl, CURLOPT_USERAGENT, "krait");
    if (code) return kr_fail_memory(error, "a request", 0);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALLED);
    curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, 1L << 18);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, t);
    const char *certificates = certificates_file();
    if (certificates) curl_easy_setopt(curl, CURLOPT_CAINFO, certificates);
    if (curl_multi_add_handle(client->multi, curl)) return kr_fail_memory(error, "a request", 0);
    t->phase = TRY_RUNNING;
    return KRAIT_OK;
}

/* Asks the sink and starts, or puts it off. */
static krait_status begin(http_try *t, krait_error *error)
{
    kr_http_next next = KR_HTTP_GO;
    t->from = 0;
    krait_status status = t->job->sink->begin(t->job->user, &next, &t->from, error);
    if (status) return status;
    if (next == KR_HTTP_GO) return start(t, error);
    t->phase = next == KR_HTTP_HAVE ? TRY_DONE : TRY_WAITING;
    t->not_before = now() + BUSY_PAUSE;
    return KRAIT_OK;
}

static krait_status redirect(http_try *t, krait_error *error)
{
    char *url = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &url);
    if (!url) return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: the server redirects to nowhere", t->job->name);
    if (++t->redirects > MAX_REDIRECTS)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: more than %d redirects", t->job->name, MAX_REDIRECTS);
    bool secure = strncmp(t->client->endpoint, "https://", 8) == 0;
    if (strncmp(url, "https://", 8) != 0 && (secure || strncmp(url, "http://", 7) != 0))
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a redirect to https://, found %.200s", t->job->name, url);
    char *copy = kr_strndup(url, strlen(url));
    if (!copy) return kr_fail_memory(error, "an address", strlen(url));
    kr_free(t->location);
    t->location = copy;
    return start(t, error);
}

/* Of "scheme://host:port". */
static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
}

static krait_status refused(const http_try *t, long code, krait_error *error)
{
    const char *name = t->job->name, *said = *t->said ? t->said : "no reason given";
    const char *model = t->client->model, *endpoint = t->client->endpoint;
    bool token = t->client->authorization;
    if (t->location && !same_origin(t->location, endpoint)) /* a store of files, which knows of no models and no tokens */
        return kr_fail(error, KRAIT_ERROR_IO, "%s: %.*s, where the hub keeps it, answered %ld (%s): try again later", name,
                       (int)origin_length(t->location), t->location, code, said);
    switch (code) {
    case 401:
        if (t->job->known)
            return kr_fail(error, KRAIT_ERROR_IO, "%s: %s (401: %s): accept the terms at %s/%s, and set HF_TOKEN%s", name,
                           token ? "the hub does not accept the token" : "needs a token", said, endpoint, model,
                           token ? " to one that is allowed to read it" : "");
        if (token)
            return kr_fail(error, KRAIT_ERROR_IO, "%s: the hub does not accept the token, or there is no such model (401: %s)",
                           name, said);
        return kr_fail(error, KRAIT_ERROR_IO,
                       "%s: there is no such model, or it needs a token (401: %s): check the name, or set HF_TOKEN", name, said);
    case 403:
        return kr_fail(error, KRAIT_ERROR_IO, "%s: no access (403: %s): %s %s/%s", name, said,
                       token ? "ask for it, or accept the terms, at" : "set HF_TOKEN after accepting the terms at", endpoint,
                       model);
    case 404: return kr_fail(error, KRAIT_ERROR_IO, "%s: not found at %s (404: %s)", name, endpoint, said);
    case 429:
        if (t->retry_after > LONGEST_PAUSE)
            return kr_fail(error, KRAIT_ERROR_IO, "%s: too many requests (429): try again in %.0f s%s", name, t->retry_after,
                           token ? "" : ", or set HF_TOKEN");
        return kr_fail(error, KRAIT_ERROR_IO, "%s: too many requests (429: %s): try again later%s", name, said,
                       token ? "" : ", or set HF_TOKEN");
    default: return kr_fail(error, KRAIT_ERROR_IO, "%s: the server answered %ld (%s)", name, code, said);
    }
}

static bool may_pass(CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM: return true;
    default: return false;
    }
}

/* Once more, later; false: that was enough. */
static bool again_later(http_try *t)
{
    if (t->received) t->failures = 0;
    if (++t->failures >= MAX_TRIES || t->retry_after > LONGEST_PAUSE) return false;
    double pause = FIRST_PAUSE * (1 << (t->failures - 1));
    t->not_before = now() + (t->retry_after >= 0 ? t->retry_after : pause);
    t->phase = TRY_WAITING;
    t->redirects = 0;
    kr_free(t->location);
    t->location = NULL; /* signed addresses expire */
    return true;
}

static krait_status finish(http_try *t, CURLcode result, krait_error *error)
{
    long code = answer(t);
    bool again = false;
    curl_multi_remove_handle(t->client->multi, t->curl);
    if (t->error.status) {
        if (error) *error = t->error;
        return t->error.status;
    }
    if (result == CURLE_OUT_OF_MEMORY) return kr_fail_memory(error, "libcurl", 0);
    if (result && !(result == CURLE_WRITE_ERROR && t->ignored > MAX_ERROR)) {
        if (may_pass(result) && again_later(t)) return KRAIT_OK;
        const char *reason = *t->reason ? t->reason : curl_easy_strerror(result);
        return kr_fail(error, KRAIT_ERROR_IO, "%s: %s: %s%s", t->job->name, t->client->endpoint, reason,
                       t->from + t->received ? "; what has come is kept, the same command goes on from there" : "");
    }
    if (code == 200 || code == 206) {
        krait_status status = begin_body(t, code);
        if (status) {
            if (error) *error = t->error;
            return status;
        }
        status = t->job->sink->end(t->job->user, &again, error);
        t->phase = again ? TRY_WAITING : TRY_DONE;
        t->not_before = 0;
        return status;
    }
    if (code >= 300 && code < 400 && code != 304) return redirect(t, error);
    if (code == 416 && t->from) { /* there is no such byte: ours are not of this file */
        krait_status status = t->job->sink->rewind(t->job->user, error);
        return status ? status : again_later(t) ? KRAIT_OK : refused(t, code, error);
    }
    bool passes = code == 408 || code == 429 || code >= 500;
    return passes && again_later(t) ? KRAIT_OK : refused(t, code, error);
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static krait_status finish_ready(const kr_http_client *client, krait_error *error)
{
    CURLMsg *message;
    int left;
    krait_status status = KRAIT_OK;
    while (!status && (message = curl_multi_info_read(client->multi, &left))) {
        if (message->msg != CURLMSG_DONE) continue;
        http_try *t;
        CURLcode result = message->data.result;
        if (curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t)) continue;
        status = finish(t, result, error);
    }
    return status;
}

static krait_status run(kr_http_client *client, http_try *tries, size_t n, size_t parallel, krait_error *error)
{
    for (;;) {
        size_t n_done = 0, n_running = 0;
        int still;
        krait_status status = KRAIT_OK;
        double time = now();
        for (size_t i = 0; i < n; i++) n_running += tries[i].phase == TRY_RUNNING;
        for (size_t i = 0; !status && i < n; i++) {
            if (tries[i].phase == TRY_WAITING && n_running < parallel && tries[i].not_before <= time) {
                status = begin(&tries[i], error);
                n_running += tries[i].phase == TRY_RUNNING;
            }
            n_done += tries[i].phase == TRY_DONE;
        }
        if (!status && client->tick) status = client->tick(client->user, error);
        if (status || n_done == n) return status;
        if (curl_multi_perform(client->multi, &still)) return kr_fail_memory(error, "libcurl", 0);
        status = finish_ready(client, error);
        if (status) return status;
        curl_multi_poll(client->multi, NULL, 0, 50, NULL);
    }
}

krait_status kr_http_run(kr_http_client *client, const kr_http_job *jobs, size_t n, size_t parallel, krait_error *error)
{
    http_try *tries = kr_alloc_zero(n, sizeof *tries);
    if (!tries) return kr_fail_memory(error, "requests", n * sizeof *tries);
    for (size_t i = 0; i < n; i++) tries[i] = (http_try){ .client = client, .job = &jobs[i] };
    krait_status status = run(client, tries, n, parallel, error);
    for (size_t i = 0; i < n; i++) {
        if (tries[i].curl) {
            curl_multi_remove_handle(client->multi, tries[i].curl);
            curl_easy_cleanup(tries[i].curl);
        }
        kr_free(tries[i].location);
    }
    kr_free(tries);
    return status;
}
