#include "hub/blob.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

static krait_status blob_path(char path[KR_HUB_PATH], const kr_blob *blob, const char *end, krait_error *error)
{
    return kr_hub_path(path, error, "%s/%s/blobs/%s%s", blob->root, blob->model->folder, blob->entry->hash, end);
}

bool kr_blob_is_there(const char *root, const kr_hub_name *model, const kr_hub_entry *entry, uint64_t *partial)
{
    char path[KR_HUB_PATH];
    struct stat info;
    *partial = 0;
    if (!kr_hub_path(path, NULL, "%s/%s/blobs/%s", root, model->folder, entry->hash) && stat(path, &info) == 0
        && S_ISREG(info.st_mode) && (uint64_t)info.st_size == entry->size)
        return true;
    if (!kr_hub_path(path, NULL, "%s/%s/blobs/%s.incomplete", root, model->folder, entry->hash) && lstat(path, &info) == 0
        && S_ISREG(info.st_mode) && (uint64_t)info.st_size <= entry->size)
        *partial = (uint64_t)info.st_size;
    return false;
}

/* ---- the hash ---------------------------------------------------------------------------------------------------- */

static krait_status add(kr_blob *blob, const void *data, size_t size, krait_error *error)
{
    if (EVP_DigestUpdate(blob->digest, data, size) != 1)
        return kr_fail(error, KRAIT_ERROR_IO, "%s: libcrypto cannot hash", blob->name);
    blob->have += size;
    return KRAIT_OK;
}

static krait_status begin_hash(kr_blob *blob, krait_error *error)
{
    char head[40];
    if (!blob->digest && !(blob->digest = EVP_MD_CTX_new())) return kr_fail_memory(error, "a hash", 0);
    if (EVP_DigestInit_ex(blob->digest, blob->entry->is_sha256 ? EVP_sha256() : EVP_sha1(), NULL) != 1)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: libcrypto has no %s", blob->name,
                       blob->entry->is_sha256 ? "SHA-256" : "SHA-1");
    krait_status status = KRAIT_OK;
    if (!blob->entry->is_sha256) { /* git hashes this line first, its NUL included */
        int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)blob->entry->size);
        status = add(blob, head, (size_t)n + 1, error);
    }
    blob->have = 0;
    return status;
}

static krait_status check_hash(const kr_blob *blob, bool *right, char found[65], krait_error *error)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(blob->digest, bytes, &n) != 1 || n > 32)
        return kr_fail(error, KRAIT_ERROR_IO, "%s: libcrypto cannot hash", blob->name);
    for (unsigned i = 0; i < n; i++) snprintf(found + 2 * i, 3, "%02x", bytes[i]);
    *right = strcmp(found, blob->entry->hash) == 0;
    return KRAIT_OK;
}

/* ---- the sink ---------------------------------------------------------------------------------------------------- */

void kr_blob_open(kr_blob *blob, const char *root, const kr_hub_name *model, const kr_hub_entry *entry, const char *name)
{
    *blob = (kr_blob){ .root = root, .model = model, .entry = entry, .name = name, .fd = -1, .lock = -1 };
}

void kr_blob_close(kr_blob *blob)
{
    if (blob->fd >= 0) close(blob->fd);
    if (blob->lock >= 0) close(blob->lock); /* and unlocks */
    EVP_MD_CTX_free(blob->digest);
    blob->fd = blob->lock = -1;
    blob->digest = NULL;
}

/* False: another process has it. The lock's file stays, as Python leaves it: removing it would race with who waits for it. */
static krait_status lock(kr_blob *blob, bool *locked, krait_error *error)
{
    char path[KR_HUB_PATH];
    *locked = false;
    krait_status status = kr_hub_path(path, error, "%s/.locks/%s/%s.lock", blob->root, blob->model->folder, blob->entry->hash);
    if (!status) status = kr_hub_make_parent(path, error);
    if (status) return status;
    blob->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (blob->lock < 0) return kr_fail_errno(error, path, "open");
    if (flock(blob->lock, LOCK_EX | LOCK_NB) == 0) {
        *locked = true;
        return KRAIT_OK;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) status = kr_fail_errno(error, path, "lock");
    close(blob->lock);
    blob->lock = -1;
    return status;
}

static krait_status rewind_blob(void *user, krait_error *error)
{
    kr_blob *blob = user;
    blob->resumed = false;
    if (ftruncate(blob->fd, 0) != 0 || lseek(blob->fd, 0, SEEK_SET) != 0) return kr_fail_errno(error, blob->name, "write");
    return begin_hash(blob, error);
}

/* Hashes what an earlier process left. */
static krait_status resume(kr_blob *blob, const char *path, krait_error *error)
{
    enum { STEP = 1 << 16 };
    krait_status status = begin_hash(blob, error);
    char *buffer = status ? NULL : kr_alloc(STEP, 1);
    if (!status && !buffer) return kr_fail_memory(error, "a buffer", STEP);
    while (!status) {
        ssize_t n = read(blob->fd, buffer, STEP);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = kr_fail_errno(error, path, "read");
        if (n <= 0) break;
        status = add(blob, buffer, (size_t)n, error);
    }
    kr_free(buffer);
    blob->resumed = blob->have > 0;
    return !status && blob->have > blob->entry->size ? rewind_blob(blob, error) : status;
}

static krait_status end_blob(void *user, bool *again, krait_error *error);

static krait_status begin_blob(void *user, kr_http_next *next, uint64_t *from, krait_error *error)
{
    kr_blob *blob = user;
    char path[KR_HUB_PATH];
    uint64_t partial;
    bool locked, again;
    struct stat info;
    krait_status status = KRAIT_OK;
    *next = KR_HTTP_HAVE;
    if (blob->fd < 0) {
        blob->complete = kr_blob_is_there(blob->root, blob->model, blob->entry, &partial);
        if (blob->complete) return KRAIT_OK;
        status = lock(blob, &locked, error);
        if (!status && !locked) *next = KR_HTTP_BUSY;
        if (status || !locked) return status;
        /* The process that had the lock may have finished it. */
        blob->complete = kr_blob_is_there(blob->root, blob->model, blob->entry, &partial);
        if (blob->complete) {
            kr_blob_close(blob);
            return KRAIT_OK;
        }
        status = blob_path(path, blob, ".incomplete", error);
        if (!status) status = kr_hub_make_parent(path, error);
        if (status) return status;
        blob->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (blob->fd < 0 || fstat(blob->fd, &info) != 0) return kr_fail_errno(error, path, "write");
        if (!S_ISREG(info.st_mode)) return kr_fail(error, KRAIT_ERROR_IO, "%s: expected a regular file", path);
        status = resume(blob, path, error);
        if (status) return status;
        if (blob->have == blob->entry->size && blob->have > 0) { /* all there, but not renamed: there is nothing to ask for */
            status = end_blob(blob, &again, error);
            if (status || !again) return status;
        }
    }
    *next = KR_HTTP_GO;
    *from = blob->have;
    return KRAIT_OK;
}

static krait_status give_up(kr_blob *blob)
{
    char path[KR_HUB_PATH];
    if (!blob_path(path, blob, ".incomplete", NULL)) unlink(path);
    return KRAIT_ERROR_FORMAT;
}

static krait_status write_body(void *user, const char *data, size_t size, krait_error *error)
{
    kr_blob *blob = user;
    if (size > blob->entry->size - blob->have) {
        (void)kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %llu bytes, the server sends more", blob->name,
                      (unsigned long long)blob->entry->size);
        return give_up(blob);
    }
    for (size_t done = 0; done < size;) {
        ssize_t n = write(blob->fd, data + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            char path[KR_HUB_PATH] = "";
            int reason = errno;
            (void)blob_path(path, blob, ".incomplete", NULL);
            return kr_fail(error, KRAIT_ERROR_IO, "%s: cannot write: %s: %llu of %llu bytes are kept in %.250s", blob->name,
                           strerror(reason), (unsigned long long)(blob->have + done), (unsigned long long)blob->entry->size,
                           path);
        }
        done += (size_t)n;
    }
    return add(blob, data, size, error);
}

static krait_status end_blob(void *user, bool *again, krait_error *error)
{
    kr_blob *blob = user;
    char partial[KR_HUB_PATH], path[KR_HUB_PATH], found[65];
    bool right;
    *again = false;
    if (blob->have != blob->entry->size) {
        (void)kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %llu bytes, the server sent %llu", blob->name,
                      (unsigned long long)blob->entry->size, (unsigned long long)blob->have);
        return give_up(blob);
    }
    krait_status status = check_hash(blob, &right, found, error);
    if (status) return status;
    if (!right && blob->resumed) { /* the part from before may be to blame */
        *again = true;
        return rewind_blob(blob, error);
    }
    if (!right) {
        (void)kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected %s %s, found %s: it was damaged on the way, and is removed",
                      blob->name, blob->entry->is_sha256 ? "SHA-256" : "git's SHA-1", blob->entry->hash, found);
        return give_up(blob);
    }
    status = blob_path(partial, blob, ".incomplete", error);
    if (!status) status = blob_path(path, blob, "", error);
    if (!status && fsync(blob->fd) != 0) status = kr_fail_errno(error, partial, "write");
    if (!status && rename(partial, path) != 0) status = kr_fail_errno(error, path, "rename to");
    if (status) return status;
    blob->complete = true;
    kr_blob_close(blob);
    return KRAIT_OK;
}

const kr_http_sink kr_blob_sink = { .begin = begin_blob, .rewind = rewind_blob, .body = write_body, .end = end_blob };
