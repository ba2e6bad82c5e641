#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

krait_status kr_output_open(kr_output *out, const char *path, krait_error *error)
{
    struct stat info;
    *out = (kr_output){ .path = path, .fd = -1 };
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) {
        out->fd = open(path, O_WRONLY | O_CLOEXEC);
        return out->fd < 0 ? kr_fail_errno(error, path, "write") : KRAIT_OK;
    }
    size_t size = strlen(path) + 32;
    out->temporary = kr_alloc(size, 1);
    if (!out->temporary) return kr_fail_memory(error, path, size);
    snprintf(out->temporary, size, "%s.%ld.new", path, (long)getpid());
    out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (out->fd >= 0) return KRAIT_OK;
    krait_status status = kr_fail_errno(error, path, "write");
    kr_free(out->temporary);
    return status;
}

krait_status kr_output_write(kr_output *out, const void *data, size_t size, krait_error *error)
{
    for (const char *at = data; size && !out->failed;) {
        ssize_t n = write(out->fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            out->failed = true;
            kr_fail_errno(&out->error, out->path, "write");
            break;
        }
        at += n;
        size -= (size_t)n;
    }
    if (out->failed && error) *error = out->error;
    return out->failed ? out->error.status : KRAIT_OK;
}

krait_status kr_output_close(kr_output *out, krait_status status, krait_error *error)
{
    if (!status && out->failed) {
        if (error) *error = out->error;
        status = out->error.status;
    }
    if (!status && out->temporary && fsync(out->fd) != 0) status = kr_fail_errno(error, out->path, "write");
    if (close(out->fd) != 0 && !status) status = kr_fail_errno(error, out->path, "write");
    if (!status && out->temporary && rename(out->temporary, out->path) != 0) status = kr_fail_errno(error, out->path, "write");
    if (status && out->temporary) unlink(out->temporary);
    kr_free(out->temporary);
    return status;
}
