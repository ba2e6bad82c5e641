/* manifest.json of a checkpoint: the size and checksum (kr_checksum) of each file beside it. */
#ifndef KR_TRAIN_MANIFEST_H
#define KR_TRAIN_MANIFEST_H

#include "base/status.h"

#define KR_MANIFEST "manifest.json"

/* Syncs every file of the folder, writes the manifest, and syncs the folder. */
krait_status kr_manifest_write(const char *folder, krait_error *error);
/* KRAIT_ERROR_FORMAT names a file that is missing, of another size, or has other bytes than were written. */
krait_status kr_manifest_check(const char *folder, krait_error *error);
/* The same for a manifest in memory: `name` begins messages. */
krait_status kr_manifest_check_bytes(const char *folder, const char *name, const char *bytes, size_t size, krait_error *error);

/* fsync() of a folder: its files' names are then on the disk. */
krait_status kr_sync_folder(const char *path, krait_error *error);

#endif
