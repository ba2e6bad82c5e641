#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kr_make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

krait_status(kr_fail)(krait_error *error, krait_status status, const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
        kr_make_printable(error->message);
        error->status = status;
    }
    return status;
}

krait_status(kr_fail_memory)(krait_error *error, const char *what, size_t bytes)
{
    return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

krait_status(kr_fail_errno)(krait_error *error, const char *path, const char *action)
{
    return kr_fail(error, KRAIT_ERROR_IO, "%s: cannot %s: %s", path, action, strerror(errno));
}

const char *krait_status_name(krait_status status)
{
    switch (status) {
    case KRAIT_OK: return "ok";
    case KRAIT_ERROR_ARGUMENT: return "argument";
    case KRAIT_ERROR_IO: return "io";
    case KRAIT_ERROR_FORMAT: return "format";
    case KRAIT_ERROR_UNSUPPORTED: return "unsupported";
    case KRAIT_ERROR_MEMORY: return "memory";
    case KRAIT_ERROR_INTERRUPTED: return "interrupted";
    }
    return "unknown";
}
