/* One file's content on its way into blobs/: locked, resumed, hashed as it comes, renamed when it is right. */
#ifndef KR_HUB_BLOB_H
#define KR_HUB_BLOB_H

#include "hub/cache.h"
#include "hub/http.h"
#include "hub/hub_json.h"

typedef struct kr_blob {
    const char *root;
    const kr_hub_name *model;
    const kr_hub_entry *entry; /* has a hash */
    const char *name;          /* "OWNER/NAME: FILE" */
    int fd, lock;              /* -1: closed */
    void *digest;              /* of bytes [0, have) */
    uint64_t have;
    bool resumed; /* bytes of an earlier process are among them */
    bool complete;
} kr_blob;

/* user is a kr_blob. */
extern const kr_http_sink kr_blob_sink;

void kr_blob_open(kr_blob *blob, const char *root, const kr_hub_name *model, const kr_hub_entry *entry, const char *name);
/* Closes and unlocks; what is incomplete stays for the next time. */
void kr_blob_close(kr_blob *blob);
/* Whether it is in blobs/, whole by its size; else in *partial the bytes of it that are there. */
bool kr_blob_is_there(const char *root, const kr_hub_name *model, const kr_hub_entry *entry, uint64_t *partial);

#endif
