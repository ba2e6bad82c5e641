/* The reader of config.json: whatever the bytes, an error or hints that can be printed. */
#include <stdlib.h>
#include <string.h>

#include "formats/config_json.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 };
    kr_file file;
    kr_config_hints hints;
    krait_error error;
    if (kr_file_borrow(&file, "config.json", data, size, &error)) return 0;
    if (kr_config_json_read(&hints, &arena, &file, &error) == KRAIT_OK) {
        size_t text = strlen(hints.model_type) + strlen(hints.architecture) + strlen(hints.activation) + strlen(hints.ssm_layer);
        for (size_t i = 0; i < hints.n_notes; i++) text += strlen(hints.notes[i]);
        if (text > sizeof hints + 16 * 512 || !hints.file) abort();
    }
    kr_file_close(&file);
    kr_arena_free(&arena);
    return 0;
}
