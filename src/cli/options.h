/* Command lines from tables: one row per option, from which parsing, --help, and the tests of the man pages and completions are
 * made. */
#ifndef KR_CLI_OPTIONS_H
#define KR_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/memory.h"

typedef enum kr_option_type {
    KR_OPTION_HEADING, /* no option: `help` is a heading in --help */
    KR_OPTION_FLAG,    /* bool */
    KR_OPTION_TEXT,    /* const char *, NULL when not given */
    KR_OPTION_FILE,    /* the same; completed as a path */
    KR_OPTION_CHOICE,  /* const char *: one of the words in `argument`, "a|b|c" */
    KR_OPTION_COUNT,   /* uint64_t in [minimum, maximum] */
    KR_OPTION_NUMBER,  /* double in [minimum, maximum] */
    KR_OPTION_TEXTS,   /* kr_texts: may be given several times */
    KR_OPTION_COUNTS   /* kr_counts: "1,2,3", each in [minimum, maximum]; may be given several times */
} kr_option_type;

typedef struct kr_texts {
    const char **items;
    size_t n;
} kr_texts;

typedef struct kr_counts {
    uint64_t *items;
    size_t n;
} kr_counts;

typedef struct kr_option {
    kr_option_type type;
    char letter;             /* 0: none */
    const char *name;        /* without the dashes */
    const char *argument;    /* what --help calls it; NULL for a flag */
    size_t offset;           /* of the field in the command's values */
    double minimum, maximum; /* of numbers; a maximum of 0 means none */
    const char *initial;     /* the default as one would type it, shown by --help; NULL: zero, not shown */
    const char *help;        /* a sentence without its full stop */
} kr_option;

typedef struct kr_command {
    const char *name;
    const char *summary;     /* one line */
    const char *synopsis;    /* what follows "krait NAME " in the usage line */
    const char *description; /* a paragraph */
    const char *examples;    /* lines of commands and comments */
    const kr_option *options;
    size_t n_options;
    const kr_option *(*make_options)(size_t *n_options); /* instead of `options`, when they are no constant; NULL: they are */
    const char *operand; /* what the one argument that is no option is called; NULL: there is none */
    size_t operand_offset;
    bool operands; /* there may be any number of them: operand_offset is that of a kr_texts */
    const char
        *last_operand; /* what a second one, behind it, is called; given alone, an argument is this one. NULL: there is none */
    size_t last_operand_offset;
    size_t values_size;
    int (*run)(const void *values); /* returns an exit code */
} kr_command;

#define KR_COUNT_OF(array) (sizeof(array) / sizeof *(array))

typedef enum kr_parsed { KR_PARSED_OK, KR_PARSED_HELP, KR_PARSED_WRONG } kr_parsed;

/* Fills the zeroed `values` with defaults and with what argv[0..n) says. Texts point into argv, lists live in `arena`. On
 * KR_PARSED_WRONG the reason is on stderr; KR_PARSED_HELP: --help was asked for. */
kr_parsed kr_options_parse(const kr_command *command, void *values, kr_arena *arena, int n, char **argv);

/* Says on stderr what is wrong with the command line and where help is; returns KR_EXIT_USAGE. */
int kr_options_wrong(const kr_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the whole of --help. */
void kr_options_help(const kr_command *command, FILE *out);
/* One line per option, for tests and tools: command, letter or "-", name, argument or "-", separated by tabs. */
void kr_options_list(const kr_command *command, FILE *out);

/* The number that `text` spells, all of it: false for junk, signs, overflow. */
bool kr_options_count(const char *text, uint64_t *value);

#endif
