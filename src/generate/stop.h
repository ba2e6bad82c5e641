/* Stop strings in a text that comes in pieces. What may be the beginning of one is held back, so that what was given out
 * never has to be taken back, and where the pieces are cut makes no difference. */
#ifndef KR_GENERATE_STOP_H
#define KR_GENERATE_STOP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct kr_stop kr_stop;

/* Copies the strings: non-empty, valid UTF-8. With none of them every text passes at once. */
krait_status kr_stop_create(kr_stop **stop, const char *const *strings, size_t n, krait_error *error);
/* Accepts NULL. */
void kr_stop_free(kr_stop *stop);

/* Takes the next piece of the text. *out, valid until the next call, is what can be given out now. The first stop string to
 * be complete ends the text (of those complete at the same byte, the longest; of equal ones, the first given): then *found is
 * its index, else -1. *out ends before it, and the rest of the piece is dropped.
 * After a stop the next call begins a new text. KRAIT_ERROR_MEMORY leaves what is held as it was. */
krait_status kr_stop_push(kr_stop *stop, const char *text, size_t length, const char **out, size_t *out_length, ptrdiff_t *found,
                          krait_error *error);
/* The text ends here: *out is what was held back. The next call begins a new text. */
void kr_stop_flush(kr_stop *stop, const char **out, size_t *out_length);

#endif
