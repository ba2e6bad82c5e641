#include "train/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

krait_status kr_metrics_open(kr_metrics *metrics, const char *path, uint64_t keep, krait_error *error)
{
    *metrics = (kr_metrics){ .fd = -1, .path = kr_strndup(path, strlen(path)) };
    if (!metrics->path) return kr_fail_memory(error, "a path", strlen(path));
    krait_status status = KRAIT_OK;
    struct stat info;
    metrics->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (metrics->fd < 0 || fstat(metrics->fd, &info) != 0) status = kr_fail_errno(error, path, "write");
    if (!status) {
        /* Shorter than the checkpoint says: somebody shortened it. What is left is kept. */
        metrics->bytes = (uint64_t)info.st_size < keep ? (uint64_t)info.st_size : keep;
        if (ftruncate(metrics->fd, (off_t)metrics->bytes) != 0 || lseek(metrics->fd, 0, SEEK_END) < 0)
            status = kr_fail_errno(error, path, "write");
    }
    if (status) kr_metrics_close(metrics);
    return status;
}

void kr_metrics_begin(kr_json_writer *line)
{
    *line = (kr_json_writer){ 0 };
    kr_json_open(line, '{');
}

static krait_status append(kr_metrics *metrics, const char *bytes, size_t size, krait_error *error)
{
    while (size > 0) {
        ssize_t n = write(metrics->fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kr_fail_errno(error, metrics->path, "write");
        bytes += n;
        size -= (size_t)n;
        metrics->bytes += (uint64_t)n;
    }
    return KRAIT_OK;
}

krait_status kr_metrics_end(kr_metrics *metrics, kr_json_writer *line, krait_error *error)
{
    kr_json_close(line, '}');
    krait_status status = KRAIT_OK;
    if (line->failed) status = kr_fail_memory(error, "a line of metrics", line->capacity);
    if (!status) { /* the newline replaces the NUL: one write, so that few ends cut a line */
        line->buffer[line->length] = '\n';
        status = append(metrics, line->buffer, line->length + 1, error);
    }
    kr_free(line->buffer);
    *line = (kr_json_writer){ 0 };
    return status;
}

krait_status kr_metrics_sync(kr_metrics *metrics, krait_error *error)
{
    return fsync(metrics->fd) == 0 ? KRAIT_OK : kr_fail_errno(error, metrics->path, "sync");
}

void kr_metrics_close(kr_metrics *metrics)
{
    if (metrics->path && metrics->fd >= 0) close(metrics->fd);
    kr_free(metrics->path);
    *metrics = (kr_metrics){ .fd = -1 };
}
