#include "cli/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "cli/cli.h"

#define HELP_COLUMN    28
#define HELP_WIDTH     80
#define CHOICES_COLUMN 12

enum { MOST_OPTIONS = 128 }; /* of a command, headings included */

int kr_options_wrong(const kr_command *command, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "krait %s: ", command->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'krait %s --help'.\n", command->name);
    return KR_EXIT_USAGE;
}

bool kr_options_count(const char *text, uint64_t *value)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    *value = parsed;
    return !*end && !errno;
}

/* ---- one option -------------------------------------------------------------------------------------------------- */

/* The spelling that the user used, for messages. */
static const char *spelled(const kr_option *option, bool as_letter, char buffer[64])
{
    if (as_letter)
        snprintf(buffer, 64, "-%c", option->letter);
    else
        snprintf(buffer, 64, "--%s", option->name);
    return buffer;
}

static bool in_range(const kr_option *option, double value)
{
    return value >= option->minimum && (option->maximum == 0 || value <= option->maximum);
}

/* "a whole number", "at least 1", "from 0 to 1" */
static const char *expected(const kr_option *option, char buffer[96])
{
    const char *kind = option->type == KR_OPTION_NUMBER ? "a number" : "a whole number";
    if (option->maximum != 0)
        snprintf(buffer, 96, "%s from %.10g to %.10g", kind, option->minimum, option->maximum);
    else if (isinf(option->minimum))
        snprintf(buffer, 96, "%s", kind);
    else
        snprintf(buffer, 96, "%s, at least %.10g", kind, option->minimum);
    return buffer;
}

static bool is_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = choices; length; at++) {
        size_t n = strcspn(at, "|");
        if (n == length && memcmp(at, word, n) == 0) return true;
        at += n;
        if (!*at) break;
    }
    return false;
}

static bool parse_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && !*end && !isnan(*value) && !(errno == ERANGE && isinf(*value)) && text[0] != ' ';
}

static bool parse_counts(const kr_option *option, kr_counts *list, kr_arena *arena, const char *text, bool *no_memory)
{
    size_t n = 1;
    for (const char *at = text; *at; at++) n += *at == ',';
    uint64_t *items = kr_arena_alloc(arena, list->n + n, sizeof *items);
    if (!items) return *no_memory = true, false;
    if (list->n) memcpy(items, list->items, list->n * sizeof *items);
    for (const char *at = text; n--;) {
        char word[24];
        size_t length = strcspn(at, ",");
        if (length >= sizeof word) return false;
        memcpy(word, at, length);
        word[length] = 0;
        uint64_t value;
        if (!kr_options_count(word, &value) || !in_range(option, (double)value)) return false;
        items[list->n++] = value;
        at += length + 1;
    }
    list->items = items;
    return true;
}

static bool append(kr_texts *list, kr_arena *arena, const char *text)
{
    const char **items = kr_arena_alloc(arena, list->n + 1, sizeof *items);
    if (!items) return false;
    if (list->n) memcpy(items, list->items, list->n * sizeof *items);
    items[list->n++] = text;
    list->items = items;
    return true;
}

static bool store(const kr_command *command, const kr_option *option, bool as_letter, void *values, kr_arena *arena,
                  const char *text)
{
    char *field = (char *)values + option->offset;
    char name[64], range[96];
    bool no_memory = false;
    uint64_t count;
    double number;
    switch (option->type) {
    case KR_OPTION_HEADING: break;
    case KR_OPTION_FLAG: *(bool *)field = true; return true;
    case KR_OPTION_TEXT:
    case KR_OPTION_FILE: *(const char **)field = text; return true;
    case KR_OPTION_CHOICE:
        *(const char **)field = text;
        if (is_choice(option->argument, text)) return true;
        kr_options_wrong(command, "%s %s: expected one of %s", spelled(option, as_letter, name), text, option->argument);
        return false;
    case KR_OPTION_COUNT:
        if (!kr_options_count(text, &count) || !in_range(option, (double)count)) break;
        *(uint64_t *)field = count;
        return true;
    case KR_OPTION_NUMBER:
        if (!parse_number(text, &number) || !in_range(option, number)) break;
        *(double *)field = number;
        return true;
    case KR_OPTION_TEXTS:
        if (append((kr_texts *)field, arena, text)) return true;
        no_memory = true;
        break;
    case KR_OPTION_COUNTS:
        if (parse_counts(option, (kr_counts *)field, arena, text, &no_memory)) return true;
        if (no_memory) break;
        kr_options_wrong(command, "%s %s: expected %s, or several separated by commas", spelled(option, as_letter, name), text,
                         expected(option, range));
        return false;
    }
    if (no_memory)
        fprintf(stderr, "krait %s: out of memory\n", command->name);
    else
        kr_options_wrong(command, "%s %s: expected %s", spelled(option, as_letter, name), text, expected(option, range));
    return false;
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static const kr_option *options_of(const kr_command *command, size_t *n)
{
    *n = command->n_options;
    return command->make_options ? command->make_options(n) : command->options;
}

static const kr_option *find_long(const kr_command *command, const char *name, size_t length)
{
    size_t n;
    const kr_option *options = options_of(command, &n);
    for (size_t i = 0; i < n; i++) {
        const char *candidate = options[i].name;
        if (candidate && strlen(candidate) == length && memcmp(candidate, name, length) == 0) return &options[i];
    }
    return NULL;
}

static const kr_option *find_letter(const kr_command *command, char letter)
{
    size_t n;
    const kr_option *options = options_of(command, &n);
    for (size_t i = 0; i < n; i++)
        if (letter && options[i].letter == letter) return &options[i];
    return NULL;
}

static kr_parsed unknown(const kr_command *command, const char *word)
{
    const char *names[MOST_OPTIONS];
    size_t n = 0, n_options;
    const kr_option *options = options_of(command, &n_options);
    for (size_t i = 0; i < n_options && n < KR_COUNT_OF(names); i++)
        if (options[i].name) names[n++] = options[i].name;
    char bare[64];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word, "="), word);
    const char *nearest = bare[0] == '-' && bare[1] == '-' ? kr_nearest(bare + 2, names, n) : NULL;
    if (nearest)
        kr_options_wrong(command, "unknown option %s: did you mean --%s?", bare, nearest);
    else
        kr_options_wrong(command, "unknown option %s", bare);
    return KR_PARSED_WRONG;
}

static bool set_defaults(const kr_command *command, void *values, kr_arena *arena)
{
    size_t n;
    const kr_option *options = options_of(command, &n);
    for (size_t i = 0; i < n; i++) {
        const kr_option *option = &options[i];
        if (option->initial && !store(command, option, false, values, arena, option->initial)) return false;
    }
    return true;
}

/* A default list is replaced by the first value given, not added to. */
static void forget_default(const kr_option *option, void *values, bool *given)
{
    bool first = !*given;
    *given = true;
    if (first && option->type == KR_OPTION_COUNTS) *(kr_counts *)((char *)values + option->offset) = (kr_counts){ 0 };
}

/* The index-th argument that is no option. Of two that are possible, the last is the one that there always is. */
static bool take_operand(const kr_command *command, void *values, kr_arena *arena, size_t index, const char *word)
{
    if (command->operands) {
        if (append((kr_texts *)((char *)values + command->operand_offset), arena, word)) return true;
        fprintf(stderr, "krait %s: out of memory\n", command->name);
        return false;
    }
    const char **first = (const char **)((char *)values + command->operand_offset);
    const char **last = (const char **)((char *)values + command->last_operand_offset);
    if (!command->operand)
        kr_options_wrong(command, "unexpected argument %s", word);
    else if (index == 0) {
        *(command->last_operand ? last : first) = word;
        return true;
    } else if (!command->last_operand)
        kr_options_wrong(command, "unexpected argument %s: one %s is enough", word, command->operand);
    else if (index > 1)
        kr_options_wrong(command, "unexpected argument %s: %s and %s are enough", word, command->operand, command->last_operand);
    else {
        *first = *last;
        *last = word;
        return true;
    }
    return false;
}

kr_parsed kr_options_parse(const kr_command *command, void *values, kr_arena *arena, int n, char **argv)
{
    bool given[MOST_OPTIONS] = { false }; /* option i occurred */
    size_t n_operands = 0, n_options;
    const kr_option *options = options_of(command, &n_options);
    bool only_operands = false;
    if (!set_defaults(command, values, arena)) return KR_PARSED_WRONG;
    for (int i = 0; i < n; i++) {
        const char *word = argv[i], *value = NULL;
        const kr_option *option;
        char name[64];
        bool as_letter = word[0] == '-' && word[1] != '-';
        if (only_operands || word[0] != '-' || !word[1]) {
            if (!take_operand(command, values, arena, n_operands++, word)) return KR_PARSED_WRONG;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_operands = true;
            continue;
        }
        if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) return KR_PARSED_HELP;
        if (as_letter) {
            option = find_letter(command, word[1]);
            if (!option || (word[2] && option->type == KR_OPTION_FLAG)) return unknown(command, word);
            if (word[2]) value = word + 2;
        } else {
            size_t length = strcspn(word + 2, "=");
            option = find_long(command, word + 2, length);
            if (!option) return unknown(command, word);
            if (word[2 + length]) value = word + 2 + length + 1;
        }
        spelled(option, as_letter, name);
        if (option->type == KR_OPTION_FLAG && value) {
            kr_options_wrong(command, "%s takes no value", name);
            return KR_PARSED_WRONG;
        }
        if (option->type != KR_OPTION_FLAG && !value) {
            if (++i == n) {
                kr_options_wrong(command, "%s: expected %s behind it", name, option->argument);
                return KR_PARSED_WRONG;
            }
            value = argv[i];
        }
        forget_default(option, values, &given[option - options]);
        if (!store(command, option, as_letter, values, arena, value)) return KR_PARSED_WRONG;
    }
    return KR_PARSED_OK;
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

static void put_wrapped(FILE *out, const char *text, int column)
{
    int at = column;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", length, text);
        at += length;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void put_option(const kr_option *option, FILE *out)
{
    char left[160], text[512];
    if (option->type == KR_OPTION_HEADING) {
        fprintf(out, "\n%s\n", option->help);
        return;
    }
    int used = option->letter ? snprintf(left, sizeof left, "  -%c, --%s", option->letter, option->name)
                              : snprintf(left, sizeof left, "      --%s", option->name);
    if (option->argument) used += snprintf(left + used, sizeof left - (size_t)used, " %s", option->argument);
    const char *rest = left; /* many choices take more than a line */
    for (int column = 0, cut; column + (int)strlen(rest) > HELP_WIDTH; column = CHOICES_COLUMN, rest += cut) {
        for (cut = HELP_WIDTH - column; cut > 0 && rest[cut - 1] != '|';) cut--;
        if (cut == 0) break;
        fprintf(out, "%.*s\n%*s", cut, rest, CHOICES_COLUMN, "");
    }
    if (rest != left || used + 2 > HELP_COLUMN)
        fprintf(out, "%s\n%*s", rest, HELP_COLUMN, "");
    else
        fprintf(out, "%-*s", HELP_COLUMN, left);
    if (option->initial)
        snprintf(text, sizeof text, "%s [%s]", option->help, option->initial);
    else
        snprintf(text, sizeof text, "%s", option->help);
    put_wrapped(out, text, HELP_COLUMN);
}

void kr_options_help(const kr_command *command, FILE *out)
{
    fprintf(out, "krait %s: %s\n\nUsage: krait %s %s\n\n", command->name, command->summary, command->name, command->synopsis);
    put_wrapped(out, command->description, 0);
    size_t n;
    const kr_option *options = options_of(command, &n);
    if (n && options[0].type != KR_OPTION_HEADING) fputs("\nOptions\n", out);
    for (size_t i = 0; i < n; i++) put_option(&options[i], out);
    fprintf(out, "  -h, --help%*sShow this\n", HELP_COLUMN - 12, "");
    fprintf(out, "\nExamples\n%s", command->examples);
}

void kr_options_list(const kr_command *command, FILE *out)
{
    size_t n;
    const kr_option *options = options_of(command, &n);
    for (size_t i = 0; i < n; i++) {
        const kr_option *option = &options[i];
        if (option->type == KR_OPTION_HEADING) continue;
        fprintf(out, "%s\t%c\t%s\t%s\n", command->name, option->letter ? option->letter : '-', option->name,
                option->argument ? option->argument : "-");
    }
}
