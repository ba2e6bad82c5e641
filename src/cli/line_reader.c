#include "cli/line_reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/interrupt.h"

#ifdef KRAIT_HAVE_EDIT
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <wchar.h>

#define HISTORY_LINES 1000
#endif

struct kr_line_reader {
    const char *prompt;
    bool terminal;
    char *line; /* getline()'s */
    size_t capacity;
#ifdef KRAIT_HAVE_EDIT
    EditLine *edit;
    History *history;
#endif
};

#ifdef KRAIT_HAVE_EDIT

static char *prompt_of(EditLine *edit)
{
    kr_line_reader *reader;
    el_get(edit, EL_CLIENTDATA, &reader);
    return (char *)reader->prompt; /* libedit's type is not const, but it only reads */
}

/* libedit's own reader tries again after a signal; this one lets Ctrl-C end the line. */
static int read_character(EditLine *edit, wchar_t *out)
{
    (void)edit;
    mbstate_t state;
    memset(&state, 0, sizeof state);
    for (;;) {
        char byte;
        if (!kr_interrupt_wait(STDIN_FILENO)) return -1;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-2) continue; /* more bytes of this character follow */
        if (used != (size_t)-1) return 1; /* also for a NUL */
        memset(&state, 0, sizeof state);  /* no character: drop the byte */
    }
}

static void open_editor(kr_line_reader *reader)
{
    HistEvent event;
    /* A container's C locale would not let UTF-8 be typed. */
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
    reader->edit = el_init("krait", stdin, stdout, stderr);
    reader->history = history_init();
    if (!reader->edit || !reader->history) return;
    history(reader->history, &event, H_SETSIZE, HISTORY_LINES);
    history(reader->history, &event, H_SETUNIQUE, 1);
    el_set(reader->edit, EL_CLIENTDATA, reader);
    el_set(reader->edit, EL_PROMPT, prompt_of);
    el_set(reader->edit, EL_EDITOR, "emacs");
    el_set(reader->edit, EL_HIST, history, reader->history);
    el_set(reader->edit, EL_GETCFN, read_character);
    el_source(reader->edit, NULL);
}

static const char *edited_line(kr_line_reader *reader, size_t *length)
{
    HistEvent event;
    int n = 0;
    const char *line = el_gets(reader->edit, &n);
    if (!line || n <= 0) return NULL;
    if (n > 1) history(reader->history, &event, H_ENTER, line);
    *length = (size_t)n;
    return line;
}

#endif

kr_line_reader *kr_line_reader_create(const char *prompt)
{
    kr_line_reader *reader = kr_alloc_zero(1, sizeof *reader);
    if (!reader) return NULL;
    reader->prompt = prompt;
    reader->terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
#ifdef KRAIT_HAVE_EDIT
    if (reader->terminal) open_editor(reader);
#endif
    return reader;
}

void kr_line_reader_free(kr_line_reader *reader)
{
    if (!reader) return;
#ifdef KRAIT_HAVE_EDIT
    if (reader->edit) el_end(reader->edit);
    if (reader->history) history_end(reader->history);
#endif
    free(reader->line);
    kr_free(reader);
}

const char *kr_line_reader_next(kr_line_reader *reader, size_t *length)
{
    const char *line = NULL;
    size_t n = 0;
#ifdef KRAIT_HAVE_EDIT
    if (reader->edit && reader->history) {
        line = edited_line(reader, &n);
        if (!line) return NULL;
    }
#endif
    if (!line) {
        if (reader->terminal) {
            fputs(reader->prompt, stdout);
            fflush(stdout);
            if (!kr_interrupt_wait(STDIN_FILENO)) return NULL;
        }
        ssize_t got = getline(&reader->line, &reader->capacity, stdin);
        if (got < 0) {
            clearerr(stdin); /* a signal is no reason to read nothing ever after */
            return NULL;
        }
        line = reader->line;
        n = (size_t)got;
    }
    /* Copied, so that the newline can be cut: libedit's line is its own. */
    if (line != reader->line) {
        if (reader->capacity < n + 1) {
            char *grown = realloc(reader->line, n + 1);
            if (!grown) return NULL;
            reader->line = grown;
            reader->capacity = n + 1;
        }
        memcpy(reader->line, line, n);
    }
    if (n && reader->line[n - 1] == '\n') n--;
    if (n && reader->line[n - 1] == '\r') n--;
    reader->line[n] = 0;
    *length = n;
    return reader->line;
}
