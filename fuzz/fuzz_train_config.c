/* Config files of `krait train`: an error with file and line, or settings. */
#include <stdlib.h>

#include "cli/train_config.c"
#include "fuzz.h"

krait_status kr_input_read(const char *path, char **data, size_t *size, krait_error *error) /* the program's */
{
    (void)path, (void)data, (void)size;
    return kr_fail(error, KRAIT_ERROR_IO, "not here");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    krait_training_settings *settings;
    krait_error error = { 0 };
    if (krait_training_settings_create(&settings, &error)) abort();
    char *text = kr_strndup((const char *)data, size); /* as from kr_input_read(): a NUL follows */
    if (!text) abort();
    if (kr_train_config_parse(settings, "c.yaml", text, size, &error)) {
        if (error.status == KRAIT_OK || strncmp(error.message, "c.yaml", 6) != 0) abort();
    }
    kr_free(text);
    krait_training_settings_free(settings);
    return 0;
}
