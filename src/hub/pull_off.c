/* A build without network: what pull.c defines, saying so. CMake takes this file instead of those that download. */
#include "base/status.h"
#include "hub/hub_info.h"
#include "krait/hub.h"

const char *kr_hub_info(void) { return "off"; }
bool krait_hub_can_pull(void) { return false; }

krait_status krait_hub_pull(char **path, const char *name, const krait_hub_options *options, krait_error *error)
{
    (void)options;
    if (path) *path = NULL;
    return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                   "%s: this build has no network: install libcurl and OpenSSL (Debian: libcurl4-openssl-dev libssl-dev) and "
                   "configure with -DKRAIT_HUB=ON, or put the model into the cache by other means",
                   name ? name : "krait_hub_pull");
}
