/* The conversation: lines from the person, continuations from the model, one state that both extend. Nothing here grows with its
 * length: the state is of fixed size, and so is the number of copies kept for /undo. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/nearest.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/line_reader.h"
#include "cli/report.h"
#include "cli/run.h"

#define UNDO_LEVELS 16

typedef struct conversation {
    kr_run *run;
    krait_state *before[UNDO_LEVELS]; /* a ring of states from before the last turns; made as they are needed */
    size_t next, n_undo;
    uint64_t turn;
    krait_generate_result result; /* of the last turn */
    bool quit;
} conversation;

static void say_error(const krait_error *error) { fprintf(stderr, "krait run: %s\n", error->message); }

/* ---- undo -------------------------------------------------------------------------------------------------------- */

static krait_status remember(conversation *c, krait_error *error)
{
    krait_state **slot = &c->before[c->next];
    krait_status status = *slot ? krait_state_copy(*slot, c->run->state, error) : krait_state_clone(slot, c->run->state, error);
    if (status) return status;
    c->next = (c->next + 1) % UNDO_LEVELS;
    if (c->n_undo < UNDO_LEVELS) c->n_undo++;
    return KRAIT_OK;
}

static bool roll_back(conversation *c)
{
    krait_error error;
    if (!c->n_undo) return false;
    c->next = (c->next + UNDO_LEVELS - 1) % UNDO_LEVELS;
    c->n_undo--;
    if (!krait_state_copy(c->run->state, c->before[c->next], &error)) return true;
    say_error(&error);
    return false;
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* The line with what goes before and behind it; by ids, as it is. Free with kr_free(). */
static char *dressed(const conversation *c, const char *line, size_t length, size_t *total)
{
    const kr_run_values *values = c->run->values;
    bool begins = krait_state_tokens(c->run->state) == 0;
    const char *before = values->before ? values->before : begins ? "" : "\n", *after = values->after ? values->after : "";
    if (c->run->by_ids || !length) before = after = "";
    size_t n_before = strlen(before), n_after = strlen(after);
    char *text = kr_alloc(n_before + length + n_after + 1, 1);
    if (!text) return NULL;
    memcpy(text, before, n_before);
    memcpy(text + n_before, line, length);
    memcpy(text + n_before + length, after, n_after);
    *total = n_before + length + n_after;
    return text;
}

static krait_status take_turn(conversation *c, const char *text, size_t length, krait_error *error)
{
    kr_run *run = c->run;
    int32_t *ids;
    size_t n;
    krait_status status = kr_run_encode(run, text, length, krait_state_tokens(run->state) == 0, &ids, &n, error);
    if (status) return status;
    if (!n && !krait_state_tokens(run->state))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "nothing to continue yet: type the beginning of a text, or /help");
    if (!status) status = remember(c, error);
    if (!status) {
        /* The same seed would draw the same numbers at each turn. */
        run->options.sampling.seed = run->values->seed + c->turn++;
        status = kr_run_generate(run, ids, n, &c->result, error);
        if (status) roll_back(c); /* the state is somewhere in the middle of the prompt */
    }
    krait_free(ids);
    return status;
}

static void turn(conversation *c, const char *line, size_t length)
{
    krait_error error;
    size_t total;
    char *text = dressed(c, line, length, &total);
    krait_status status = text ? take_turn(c, text, total, &error) : kr_fail_memory(&error, "the line", length);
    if (status == KRAIT_ERROR_INTERRUPTED)
        fputs("(stopped while reading the line; it is forgotten)\n", stderr);
    else if (status)
        say_error(&error);
    else if (c->run->values->stats)
        kr_run_stats(c->run, &c->result);
    kr_free(text);
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static void help(void)
{
    fputs("What you type is added to the text, and the model goes on from there. An empty line: go on without adding.\n"
          "  /save FILE   save the state of the conversation        /load FILE   go on from a saved one\n"
          "  /undo        take back the last line and its answer    /reset       start with an empty text\n"
          "  /stats       rates and memory                          /quit        end (or Ctrl-D)\n"
          "Ctrl-C stops the model. // at the beginning of a line stands for a single /.\n",
          stderr);
}

static void save(conversation *c, const char *path)
{
    krait_error error;
    if (krait_state_save(c->run->state, path, &error))
        say_error(&error);
    else
        fprintf(stderr, "(saved %s after %s tokens: %s)\n", path, kr_text_count(krait_state_tokens(c->run->state)).text,
                kr_text_bytes(krait_state_bytes(c->run->state)).text);
}

static void load(conversation *c, const char *path)
{
    krait_error error;
    krait_state *loaded;
    if (krait_state_load(&loaded, c->run->source.model, path, &error) || remember(c, &error)) {
        say_error(&error);
        return;
    }
    krait_state_free(c->run->state);
    c->run->state = loaded;
    fprintf(stderr, "(loaded %s: %s tokens seen)\n", path, kr_text_count(krait_state_tokens(loaded)).text);
}

static void command(conversation *c, const char *line)
{
    static const char *const names[] = { "/save", "/load", "/undo", "/reset", "/stats", "/help", "/quit" };
    char name[16];
    size_t length = strcspn(line, " \t");
    const char *argument = line + length + strspn(line + length, " \t");
    snprintf(name, sizeof name, "%.*s", (int)length, line);
    bool takes_file = strcmp(name, "/save") == 0 || strcmp(name, "/load") == 0;
    krait_error error;
    if (takes_file && !*argument)
        fprintf(stderr, "%s: expected a file: %s FILE\n", name, name);
    else if (strcmp(name, "/save") == 0)
        save(c, argument);
    else if (strcmp(name, "/load") == 0)
        load(c, argument);
    else if (strcmp(name, "/undo") == 0) {
        if (roll_back(c))
            fprintf(stderr, "(back to %s tokens)\n", kr_text_count(krait_state_tokens(c->run->state)).text);
        else
            fputs("(nothing to take back)\n", stderr);
    } else if (strcmp(name, "/reset") == 0) {
        if (remember(c, &error)) say_error(&error);
        krait_state_reset(c->run->state);
        fputs("(empty; /undo brings it back)\n", stderr);
    } else if (strcmp(name, "/stats") == 0) {
        if (c->turn)
            kr_run_stats(c->run, &c->result);
        else
            fputs("(nothing was run yet)\n", stderr);
    } else if (strcmp(name, "/help") == 0)
        help();
    else if (strcmp(name, "/quit") == 0)
        c->quit = true;
    else {
        const char *nearest = kr_nearest(name, names, KR_COUNT_OF(names));
        if (nearest)
            fprintf(stderr, "unknown command %s: did you mean %s?\n", name, nearest);
        else
            fprintf(stderr, "unknown command %s: /help lists them; //... is text that begins with /\n", name);
    }
}

int kr_run_interactive(kr_run *run, const char *text, size_t length)
{
    conversation c = { .run = run };
    kr_line_reader *reader = kr_line_reader_create("> ");
    int code = KR_EXIT_OK;
    if (!reader) {
        fputs("krait run: out of memory\n", stderr);
        return KR_EXIT_FAILURE;
    }
    if (kr_may_colour(stderr))
        fprintf(stderr, "%s(%s; /help lists commands, Ctrl-D ends)%s\n", KR_DIM, run->source.name, KR_PLAIN);
    if (text || (run->values->bos && krait_state_tokens(run->state) == 0)) {
        run->echo = run->values->no_echo ? NULL : text;
        run->echo_length = length;
        turn(&c, text ? text : "", length);
        run->echo = NULL;
    }
    while (!c.quit && !kr_output_failed()) {
        if (kr_interrupted() && (kr_input_on_stdin() || !kr_interrupt_clear())) break;
        const char *line = kr_line_reader_next(reader, &length);
        if (!line && kr_interrupted() && kr_input_on_stdin()) break;
        if (!line && kr_interrupted()) {
            fputs("\n(/quit or Ctrl-D ends)\n", stderr);
            continue;
        }
        if (!line) {
            if (!kr_input_on_stdin()) fputc('\n', stdout);
            break;
        }
        if (line[0] == '/' && line[1] != '/')
            command(&c, line);
        else
            turn(&c, line + (line[0] == '/'), length - (line[0] == '/'));
    }
    kr_line_reader_free(reader);
    for (size_t i = 0; i < UNDO_LEVELS; i++) krait_state_free(c.before[i]);
    return code;
}
