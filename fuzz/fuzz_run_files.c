/* What a training run reads back of itself: run.json, the manifest, settings. Whatever the bytes, an error or values that are sound. */
#include <stdlib.h>

#include "base/json.h"
#include "fuzz.h"
#include "train/manifest.h"
#include "train/position.h"

static void check(int condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    krait_training_settings *settings;
    kr_position position;
    krait_error error = { 0 };
    if (kr_position_parse("run.json", (const char *)data, size, &position, &settings, &error)) {
        check(!settings && error.status != KRAIT_OK && error.message[0]);
    } else {
        /* What was read is written as what reads the same. */
        krait_training_settings *again;
        kr_json_writer json = { 0 };
        kr_arena arena = { 0 };
        const kr_json *root;
        char text[200];
        kr_settings_put_json(settings, &json);
        check(!json.failed && kr_json_parse(&root, &arena, "settings", json.buffer, json.length, &error) == KRAIT_OK);
        check(kr_settings_read_json(&again, root, "settings", &error) == KRAIT_OK);
        check(!kr_settings_differences(settings, again, text, sizeof text));
        kr_settings_check(settings, &error);
        krait_training_settings_free(again);
        krait_training_settings_free(settings);
        kr_arena_free(&arena);
        kr_free(json.buffer);
    }
    /* No file of any name is in this folder. */
    check(kr_manifest_check_bytes("/no/such/folder", "manifest.json", (const char *)data, size, &error) != KRAIT_OK);
    return 0;
}
