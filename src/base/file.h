/* Files: whole ones read through a mapping, and new ones that appear complete or not at all. */
#ifndef KR_BASE_FILE_H
#define KR_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A file's bytes: mapped, or borrowed from memory. */
typedef struct kr_file {
    char *name;       /* for messages: the path as given */
    const char *data; /* never NULL; one readable byte does not follow: respect size */
    size_t size;
    bool mapped;
} kr_file;

/* Maps a regular file for reading. */
krait_status kr_file_open(kr_file *file, const char *path, krait_error *error);
/* Borrows bytes that the caller keeps alive. */
krait_status kr_file_borrow(kr_file *file, const char *name, const void *data, size_t size, krait_error *error);
/* Lets go of the pages that are in memory; they come back from the file when they are read. What is borrowed stays. */
void kr_file_forget(const kr_file *file);
/* kr_checksum() of all its bytes, letting go of the pages on the way: a file of any size takes no memory. */
uint64_t kr_file_checksum(const kr_file *file);
/* Safe on a zeroed kr_file. */
void kr_file_close(kr_file *file);

bool kr_is_folder(const char *path);
bool kr_exists(const char *path);
/* folder + "/" + name, or a copy of name when folder is empty; NULL when out of memory. Free with kr_free(). */
char *kr_join_path(const char *folder, const char *name);

/* Writes beside `path` and renames on commit, after syncing; without commit nothing is left behind. An existing file that is
 * not a regular one (/dev/stdout, a pipe) is written directly. */
typedef struct kr_writer {
    char *path, *temporary;
    int fd;
    char *buffer;
    size_t used;
    bool failed; /* a write failed; the error was given */
} kr_writer;

krait_status kr_writer_open(kr_writer *writer, const char *path, krait_error *error);
krait_status kr_writer_write(kr_writer *writer, const void *data, size_t size, krait_error *error);
/* Replaces bytes written before, in a regular file. */
krait_status kr_writer_overwrite(kr_writer *writer, size_t offset, const void *data, size_t size, krait_error *error);
/* Flushes, syncs, renames and closes. After it, or after abandon, the writer is closed. */
krait_status kr_writer_commit(kr_writer *writer, krait_error *error);
void kr_writer_abandon(kr_writer *writer);

#endif
