/* Names: of models as people type them, and of what a server says is in them. */
#ifndef KR_HUB_NAME_H
#define KR_HUB_NAME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "krait/hub.h"

/* "OWNER/NAME[@REVISION][:FILE]", taken apart. */
typedef struct kr_hub_name {
    char model[200];    /* "OWNER/NAME" */
    char folder[216];   /* "models--OWNER--NAME" */
    char revision[256]; /* "main" when none was given */
    char file[256];     /* "": the whole model */
    bool has_revision;
} kr_hub_name;

/* KRAIT_ERROR_ARGUMENT when it has another form. */
krait_status kr_hub_name_parse(kr_hub_name *name, const char *text, krait_error *error);
/* The name that a folder of the cache stands for; false: none. */
bool kr_hub_name_of_folder(kr_hub_name *name, const char *folder);

/* A relative path of plain components: no "..", ".", empty one, backslash or control character, none above 200 bytes. */
bool kr_hub_is_file(const char *text, size_t length);
/* The same of letters, digits and "._-+" only. */
bool kr_hub_is_revision(const char *text, size_t length);
/* `digits` lower-case hexadecimal digits: 40 of a commit or a git blob, 64 of a SHA-256. */
bool kr_hub_is_hash(const char *text, size_t length, size_t digits);

#endif
