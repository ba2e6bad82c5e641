/* The folder of a training run as a file system sees it: its lock, which checkpoints are in it, folders that appear in one piece.
 *
 * A folder NAME is made as NAME.part and renamed when everything in it is synced. One that it replaces becomes NAME.old first. What an
 * end at any moment leaves is put in order when the folder is opened the next time: NAME.part is removed, NAME.old is removed, or,
 * if there is no NAME, is NAME again. */
#ifndef KR_TRAIN_RUN_FOLDER_H
#define KR_TRAIN_RUN_FOLDER_H

#include "base/memory.h"
#include "base/status.h"

typedef struct kr_run_folder {
    char *path;
    int lock; /* a descriptor; -1: not held */
} kr_run_folder;

/* Makes the folder (and those above it) if need be, locks it and puts it in order. With `resume` it must be there. A folder that has something
 * in it, but no run, is refused. */
krait_status kr_run_folder_open(kr_run_folder *folder, const char *path, bool resume, krait_error *error);
/* Lets go of the lock. Safe on a zeroed one. */
void kr_run_folder_close(kr_run_folder *folder);

/* The steps of its checkpoints, ascending. Free with kr_free(). */
krait_status kr_run_folder_checkpoints(const kr_run_folder *folder, uint64_t **steps, size_t *n, krait_error *error);
/* "step-00001000" */
typedef struct kr_step_name {
    char text[32];
} kr_step_name;
kr_step_name kr_run_step_name(uint64_t step);

/* A path in it: free with kr_free(); NULL when out of memory. */
char *kr_run_folder_path(const kr_run_folder *folder, const char *name);
/* KRAIT_ERROR_IO unless `bytes` and a little more are free where the folder is. */
krait_status kr_run_folder_need(const kr_run_folder *folder, uint64_t bytes, krait_error *error);

/* Makes an empty NAME.part, whose path is *part: free with kr_free(). */
krait_status kr_run_folder_begin(const kr_run_folder *folder, const char *name, char **part, krait_error *error);
/* Writes the manifest of NAME.part, syncs everything in it, and gives it its name. */
krait_status kr_run_folder_commit(const kr_run_folder *folder, const char *name, krait_error *error);
/* Removes what there is of NAME.part. */
void kr_run_folder_abandon(const kr_run_folder *folder, const char *name);
/* Removes NAME. */
void kr_run_folder_remove(const kr_run_folder *folder, const char *name);
/* Makes the link `last` point to NAME. */
krait_status kr_run_folder_link_last(const kr_run_folder *folder, const char *name, krait_error *error);

#endif
