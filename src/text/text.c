#include "text/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#define QUOTE(x)           #x
#define VERSION_2(a, b)    QUOTE(a) "." QUOTE(b)
#define VERSION_3(a, b, c) VERSION_2(a, b) "." QUOTE(c)

const char *kr_text_info(void)
{
    return "pcre2 " VERSION_2(PCRE2_MAJOR, PCRE2_MINOR) " utf8proc " VERSION_3(UTF8PROC_VERSION_MAJOR, UTF8PROC_VERSION_MINOR,
                                                                               UTF8PROC_VERSION_PATCH);
}
