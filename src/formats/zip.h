/* Zip archives of stored entries (PKWARE APPNOTE 6.3, with zip64), read in place: what torch.save() writes. Nothing is ever
 * inflated, so an archive cannot be larger than its file. */
#ifndef KR_FORMATS_ZIP_H
#define KR_FORMATS_ZIP_H

#include "base/file.h"
#include "base/memory.h"

typedef struct kr_zip_entry {
    const char *name; /* NUL-terminated, in the arena */
    const char *data; /* in the file's bytes */
    size_t size;
} kr_zip_entry;

typedef struct kr_zip {
    kr_zip_entry *entries; /* sorted by name, in the arena */
    size_t n_entries;
} kr_zip;

/* Reads the central directory. Refused: compressed (KRAIT_ERROR_UNSUPPORTED) and encrypted entries, several volumes, two entries
 * of one name, local headers that disagree with the directory, anything outside the file. */
krait_status kr_zip_read(kr_zip *zip, kr_arena *arena, const kr_file *file, krait_error *error);

/* NULL if there is none of that name. */
const kr_zip_entry *kr_zip_find(const kr_zip *zip, const char *name);

#endif
