/* A line of `krait run --prompts`: read, or refused with a message; what was read is as the declaration says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/prompts.c"
#include "fuzz.h"

bool kr_interrupted(void) { return false; } /* the program's */

static void check(int condition)
{
    if (!condition) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    kr_arena arena = { 0 };
    kr_prompt prompt;
    krait_error error = { 0 };
    char *line = kr_strndup((const char *)data, size); /* as from getline(): a NUL follows */
    check(line != NULL);
    if (kr_prompt_parse(&prompt, &arena, line, size, &error)) {
        check(error.status != KRAIT_OK && error.message[0]);
    } else {
        check(!prompt.text != !prompt.ids);
        for (size_t i = 0; i < prompt.n_ids; i++) check(prompt.ids[i] >= 0);
        for (size_t i = 0; i < prompt.n_stop; i++) check(prompt.stop[i][0]);
        check(prompt.has_stop || !prompt.n_stop);
        check(isfinite(prompt.temperature) && prompt.temperature >= 0);
    }
    kr_arena_free(&arena);
    kr_free(line);
    return 0;
}
