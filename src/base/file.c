#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"

krait_status kr_file_open(kr_file *file, const char *path, krait_error *error)
{
    *file = (kr_file){ .data = "" };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer is to be refused, not waited for */
    if (fd < 0) return kr_fail_errno(error, path, "open");
    struct stat info;
    krait_status status = KRAIT_OK;
    if (fstat(fd, &info) != 0)
        status = kr_fail_errno(error, path, "stat");
    else if (!S_ISREG(info.st_mode))
        status = kr_fail(error, KRAIT_ERROR_IO, "%s: expected a regular file, found a %s", path,
                         S_ISDIR(info.st_mode) ? "folder" : "special file");
    else if (!(file->name = kr_strndup(path, strlen(path))))
        status = kr_fail_memory(error, "a file name", strlen(path));
    else if (info.st_size > 0) {
        void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
            status = kr_fail_errno(error, path, "map");
        else {
            file->data = map;
            file->size = (size_t)info.st_size;
            file->mapped = true;
        }
    }
    close(fd);
    if (status) kr_file_close(file);
    return status;
}

krait_status kr_file_borrow(kr_file *file, const char *name, const void *data, size_t size, krait_error *error)
{
    *file = (kr_file){ .data = size ? data : "", .size = size, .name = kr_strndup(name, strlen(name)) };
    return file->name ? KRAIT_OK : kr_fail_memory(error, "a file name", strlen(name));
}

void kr_file_forget(const kr_file *file)
{
    if (file->mapped) madvise((void *)file->data, file->size, MADV_DONTNEED);
}

uint64_t kr_file_checksum(const kr_file *file)
{
    enum { PIECE = 1 << 20 }; /* whole pages */
    kr_checksum_sums sums = kr_checksum_begin();
    size_t at = 0;
    for (; file->size - at > PIECE; at += PIECE) {
        kr_checksum_add(&sums, file->data + at, PIECE);
        if (file->mapped) madvise((void *)(file->data + at), PIECE, MADV_DONTNEED);
    }
    return kr_checksum_end(&sums, file->data + at, file->size - at);
}

void kr_file_close(kr_file *file)
{
    if (file->mapped) munmap((void *)file->data, file->size);
    kr_free(file->name);
    *file = (kr_file){ .data = "" };
}

bool kr_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool kr_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

char *kr_join_path(const char *folder, const char *name)
{
    size_t a = strlen(folder), b = strlen(name);
    bool slash = a > 0 && folder[a - 1] != '/';
    char *path = kr_realloc(NULL, a + slash + b + 1, 1);
    if (!path) return NULL;
    memcpy(path, folder, a);
    if (slash) path[a] = '/';
    memcpy(path + a + slash, name, b + 1);
    return path;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

enum { WRITER_BUFFER = 1 << 16 };

static krait_status write_all(kr_writer *writer, const char *data, size_t size, krait_error *error)
{
    while (size > 0) {
        ssize_t n = write(writer->fd, data, size);
        if (n < 0) {
            if (errno == EINTR) continue;
            writer->failed = true;
            return kr_fail_errno(error, writer->path, "write");
        }
        data += n;
        size -= (size_t)n;
    }
    return KRAIT_OK;
}

krait_status kr_writer_open(kr_writer *writer, const char *path, krait_error *error)
{
    *writer = (kr_writer){ .fd = -1 };
    size_t length = strlen(path);
    writer->path = kr_strndup(path, length);
    writer->buffer = kr_realloc(NULL, WRITER_BUFFER, 1);
    if (!writer->path || !writer->buffer) {
        kr_writer_abandon(writer);
        return kr_fail_memory(error, "a file to write", WRITER_BUFFER);
    }
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        kr_writer_abandon(writer);
        return kr_fail(error, KRAIT_ERROR_IO, "%s: expected a file to write, found a folder", path);
    }
    if (exists && !S_ISREG(info.st_mode)) {
        writer->fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        enum { SUFFIX = 24 };
        writer->temporary = kr_realloc(NULL, length + SUFFIX, 1);
        if (!writer->temporary) {
            kr_writer_abandon(writer);
            return kr_fail_memory(error, "a file name", length + SUFFIX);
        }
        snprintf(writer->temporary, length + SUFFIX, "%s.part-%ld", path, (long)getpid());
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (writer->fd < 0) {
        krait_status status = kr_fail_errno(error, path, "write");
        kr_free(writer->temporary); /* was not made: nothing to remove */
        writer->temporary = NULL;
        kr_writer_abandon(writer);
        return status;
    }
    return KRAIT_OK;
}

krait_status kr_writer_write(kr_writer *writer, const void *data, size_t size, krait_error *error)
{
    if (writer->failed) return kr_fail(error, KRAIT_ERROR_IO, "%s: an earlier write failed", writer->path);
    if (size > WRITER_BUFFER - writer->used) {
        krait_status status = write_all(writer, writer->buffer, writer->used, error);
        writer->used = 0;
        if (status) return status;
        if (size >= WRITER_BUFFER) return write_all(writer, data, size, error);
    }
    if (size) memcpy(writer->buffer + writer->used, data, size);
    writer->used += size;
    return KRAIT_OK;
}

krait_status kr_writer_overwrite(kr_writer *writer, size_t offset, const void *data, size_t size, krait_error *error)
{
    if (writer->failed) return kr_fail(error, KRAIT_ERROR_IO, "%s: an earlier write failed", writer->path);
    krait_status status = write_all(writer, writer->buffer, writer->used, error);
    writer->used = 0;
    for (size_t done = 0; !status && done < size;) {
        ssize_t n = pwrite(writer->fd, (const char *)data + done, size - done, (off_t)(offset + done));
        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR) {
            writer->failed = true;
            status = kr_fail_errno(error, writer->path, "write");
        }
    }
    return status;
}

krait_status kr_writer_commit(kr_writer *writer, krait_error *error)
{
    krait_status status = KRAIT_OK;
    if (writer->failed) status = kr_fail(error, KRAIT_ERROR_IO, "%s: an earlier write failed", writer->path);
    if (!status) status = write_all(writer, writer->buffer, writer->used, error);
    if (!status && writer->temporary && fsync(writer->fd) != 0) status = kr_fail_errno(error, writer->path, "write");
    if (writer->fd >= 0 && close(writer->fd) != 0 && !status) status = kr_fail_errno(error, writer->path, "write");
    writer->fd = -1;
    if (!status && writer->temporary) {
        if (rename(writer->temporary, writer->path) != 0)
            status = kr_fail_errno(error, writer->path, "rename to");
        else {
            kr_free(writer->temporary);
            writer->temporary = NULL;
        }
    }
    kr_writer_abandon(writer);
    return status;
}

void kr_writer_abandon(kr_writer *writer)
{
    if (writer->fd >= 0) close(writer->fd);
    if (writer->temporary) unlink(writer->temporary);
    kr_free(writer->temporary);
    kr_free(writer->path);
    kr_free(writer->buffer);
    *writer = (kr_writer){ .fd = -1 };
}
