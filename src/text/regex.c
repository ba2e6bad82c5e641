#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include <string.h>

#include "base/memory.h"

struct kr_regex {
    pcre2_code *code;
    bool jit; /* without it (no such back end, or no executable memory) PCRE2 interprets the pattern */
    bool out_of_memory;
};

/* ---- memory: PCRE2 allocates through us -------------------------------------------------------------------------- */

/* `failed` tells a lack of memory from other errors that PCRE2 reports as one; NULL where threads share the pattern. */
static void *allocate(size_t size, void *failed)
{
    void *block = kr_realloc(NULL, size, 1);
    if (!block && failed) *(bool *)failed = true;
    return block;
}

static void release(void *block, void *failed)
{
    (void)failed;
    kr_free(block);
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

static int shown(size_t length) { return length > 100 ? 100 : (int)length; }

static krait_status compile(kr_regex *regex, const char *name, const char *pattern, size_t length, bool literal,
                            krait_error *error)
{
    kr_buffer translated = { 0 };
    pcre2_general_context *general = pcre2_general_context_create(allocate, release, &regex->out_of_memory);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    krait_status status = context ? KRAIT_OK : kr_fail_memory(error, "a pattern", length);
    if (!status && !literal) status = kr_regex_translate(&translated, name, pattern, length, error);
    if (!status) {
        int code = 0;
        size_t at = 0;
        uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK;
        options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        regex->code = pcre2_compile((PCRE2_SPTR)(literal ? pattern : translated.data), literal ? length : translated.length,
                                    options, &code, &at, context);
        if (!regex->code && regex->out_of_memory) {
            status = kr_fail_memory(error, "a pattern", length);
        } else if (!regex->code) {
            char reason[128] = "";
            pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
            status = kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: pattern \"%.*s\": expected one that PCRE2 compiles, found: %s",
                             name, shown(length), pattern, reason);
        }
    }
    if (!status) {
        regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
        if (regex->out_of_memory) status = kr_fail_memory(error, "a pattern", length);
    }
    kr_free(translated.data);
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    return status;
}

krait_status kr_regex_compile(kr_regex **regex, const char *name, const char *pattern, size_t length, bool literal,
                              krait_error *error)
{
    *regex = kr_alloc_zero(1, sizeof **regex);
    if (!*regex) return kr_fail_memory(error, "a pattern", sizeof **regex);
    krait_status status = compile(*regex, name, pattern, length, literal, error);
    if (status) {
        kr_regex_free(*regex);
        *regex = NULL;
    }
    return status;
}

void kr_regex_free(kr_regex *regex)
{
    if (!regex) return;
    pcre2_code_free(regex->code);
    kr_free(regex);
}

/* ---- searching --------------------------------------------------------------------------------------------------- */

void kr_regex_scratch_free(kr_regex_scratch *scratch)
{
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    *scratch = (kr_regex_scratch){ 0 };
}

/* A search may take so many steps per byte of text, and so many at least: tokenizers' patterns take a few. Without a limit, a
 * pattern that backtracks exponentially would not end. */
enum { STEPS_PER_BYTE = 64, LEAST_STEPS = 10000000 };

krait_status kr_regex_prepare(kr_regex_scratch *scratch, size_t length, krait_error *error)
{
    if (!scratch->match) {
        pcre2_general_context *general = pcre2_general_context_create(allocate, release, NULL);
        if (general) {
            scratch->match = pcre2_match_data_create(1, general);
            scratch->context = pcre2_match_context_create(general);
        }
        pcre2_general_context_free(general);
        if (!scratch->match || !scratch->context) {
            kr_regex_scratch_free(scratch);
            return kr_fail_memory(error, "matching", 1);
        }
    }
    size_t steps = length < UINT32_MAX / STEPS_PER_BYTE ? length * STEPS_PER_BYTE : UINT32_MAX;
    pcre2_set_match_limit(scratch->context, (uint32_t)(steps < LEAST_STEPS ? LEAST_STEPS : steps));
    pcre2_set_depth_limit(scratch->context, UINT32_MAX);
    pcre2_set_heap_limit(scratch->context, UINT32_MAX);
    return KRAIT_OK;
}

krait_status kr_regex_find(const kr_regex *regex, const kr_regex_scratch *scratch, const char *text, size_t length, size_t from,
                           kr_regex_match *match, krait_error *error)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int code = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->jit) code = pcre2_jit_match(regex->code, subject, length, from, 0, scratch->match, scratch->context);
    /* Compiled code has a small stack, which is enough but for repeated groups; the interpreter takes what it needs. */
    if (code == PCRE2_ERROR_JIT_STACKLIMIT)
        code =
            pcre2_match(regex->code, subject, length, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match, scratch->context);
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(scratch->match);
    if (code >= 0) { /* \K can move the beginning anywhere */
        *match = (kr_regex_match){ offsets[0], offsets[1], true };
        if (match->begin >= from && match->end >= match->begin) return KRAIT_OK;
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "tokenizer: pattern: expected matches in ascending order, found one at byte %zu "
                       "behind byte %zu",
                       match->begin, from);
    }
    *match = (kr_regex_match){ length, length, false };
    if (code == PCRE2_ERROR_NOMATCH) return KRAIT_OK;
    if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAPLIMIT) return kr_fail_memory(error, "matching", length);
    return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                   "tokenizer: pattern: expected at most %d steps per byte of text, found more at byte %zu "
                   "of %zu (PCRE2 error %d)",
                   STEPS_PER_BYTE, from, length, code);
}
