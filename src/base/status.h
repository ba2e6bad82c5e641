/* Errors as values: how every fallible function of the library says what went wrong. */
#ifndef KR_BASE_STATUS_H
#define KR_BASE_STATUS_H

#include "krait/krait.h"

/* Replaces control characters by '?': messages quote names from files that nobody vouches for, and end up on terminals. */
void kr_make_printable(char *text);

/* Writes `status` and the formatted message to `error` (which may be NULL) and returns `status`, so that a failure is one
 * statement: return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: header of %zu bytes, file has %zu", name, header, size); */
krait_status kr_fail(krait_error *error, krait_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* KRAIT_ERROR_MEMORY, naming what could not be had. */
krait_status kr_fail_memory(krait_error *error, const char *what, size_t bytes);

/* KRAIT_ERROR_IO with the text of errno. */
krait_status kr_fail_errno(krait_error *error, const char *path, const char *action);

/* The compiler sees what the three return, and so that nothing after `if (status) return status;` runs with results unset. */
static inline krait_status kr_known_status(krait_status status) { return status; }
#define kr_fail(error, status, ...)        (kr_fail(error, status, __VA_ARGS__), kr_known_status(status))
#define kr_fail_memory(error, what, bytes) (kr_fail_memory(error, what, bytes), kr_known_status(KRAIT_ERROR_MEMORY))
#define kr_fail_errno(error, path, action) (kr_fail_errno(error, path, action), kr_known_status(KRAIT_ERROR_IO))

#endif
