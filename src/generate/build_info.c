/* Which library this is. */
#include <stdio.h>

#include "base/cpu.h"
#include "cpu/device.h"
#include "hub/hub_info.h"
#include "text/text.h"

#define TEXT(x)  TEXT_(x)
#define TEXT_(x) #x

const char *krait_version(void) { return TEXT(KRAIT_VERSION_MAJOR) "." TEXT(KRAIT_VERSION_MINOR) "." TEXT(KRAIT_VERSION_PATCH); }

const char *krait_build_info(void)
{
    static _Thread_local char info[256];
#ifdef _OPENMP
    const char *threads = "openmp";
#else
    const char *threads = "one thread";
#endif
    snprintf(info, sizeof info, "%s; gemm %s; %s; text %s; hub %s", krait_isa_name(kr_isa_best()), kr_gemm_name(), threads,
             kr_text_info(), kr_hub_info());
    return info;
}
