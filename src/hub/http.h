/* GET, several at a time, with libcurl: redirects, resuming, retries. What arrives goes to a sink. */
#ifndef KR_HUB_HTTP_H
#define KR_HUB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "krait/hub.h"

typedef enum kr_http_next {
    KR_HTTP_GO,   /* ask for it */
    KR_HTTP_BUSY, /* somebody else is at it: try again soon */
    KR_HTTP_HAVE  /* nothing to do */
} kr_http_next;

/* Where a body goes. A failure of any of them ends the whole call with it. */
typedef struct kr_http_sink {
    /* Before each try: what to do, and from which byte on (it may be called again after it said BUSY, or when a try failed). */
    krait_status (*begin)(void *user, kr_http_next *next, uint64_t *from, krait_error *error);
    /* The server starts from byte 0 although another one was asked for. */
    krait_status (*rewind)(void *user, krait_error *error);
    krait_status (*body)(void *user, const char *data, size_t size, krait_error *error);
    /* The body is complete. *again: from the beginning, please. */
    krait_status (*end)(void *user, bool *again, krait_error *error);
} kr_http_sink;

/* What to get, and where it goes. */
typedef struct kr_http_job {
    const char *name; /* begins messages */
    const char *url;
    bool known; /* the hub has said that there is such a thing */
    const kr_http_sink *sink;
    void *user;
} kr_http_job;

typedef struct kr_http_client {
    void *multi;
    const char *model, *endpoint; /* for messages, and the origin that the token goes to; both must outlive the client */
    void *authorization;          /* the header with the token; NULL: none */
    /* Called often while jobs run; an error ends them. */
    krait_status (*tick)(void *user, krait_error *error);
    void *user;
} kr_http_client;

/* `token` may be NULL. KRAIT_ERROR_ARGUMENT when it, or the endpoint, cannot be used. */
krait_status kr_http_open(kr_http_client *client, const char *model, const char *endpoint, const char *token, krait_error *error);
void kr_http_close(kr_http_client *client);

/* Runs all jobs to their end, at most `parallel` at a time. Answers other than 200 and 206 are errors, for a person; those that may
 * pass (5xx, 429, a connection that is cut) are tried again, later and later, a few times without anything new arriving. */
krait_status kr_http_run(kr_http_client *client, const kr_http_job *jobs, size_t n, size_t parallel, krait_error *error);

/* `text` with everything but letters, digits and "-._~/" as %XX, '/' too unless `path`. NULL when out of memory; kr_free() it. */
char *kr_http_escape(const char *text, bool path);

#endif
