#include "train/held_out.h"

#include <math.h>

#include "base/memory.h"
#include "train/token_file.h"

enum { PIECE = 2048 }; /* tokens that go through the model at a time: as many as in training, so that memory is there already */

typedef struct measuring {
    krait_trainer *trainer;
    const krait_token_file *file;
    const kr_held_out_options *options;
    krait_state *state; /* of the stream; NULL with windows */
    int32_t *tokens;    /* [PIECE + 1] */
    int32_t *targets;   /* [PIECE] */
    size_t *starts;     /* [PIECE] of all rows */
    krait_train_row *rows;
    double nats;
    uint64_t n_scored, n_bytes; /* bytes of what was scored, where a tokenizer knows them */
    bool some_passed_over;      /* not all that follows something was scored */
} measuring;

/* Fills targets for tokens first .. first + n - 1, of which the document borders are not foreseen. */
static void aim(measuring *m, uint64_t first, size_t n)
{
    const krait_token_file_info *info = krait_token_file_get_info(m->file);
    uint64_t document = kr_token_file_find(m->file, first + 1);
    for (size_t i = 0; i < n; i++) {
        uint64_t next = first + i + 1;
        bool border = next >= info->n_tokens;
        if (document < info->n_documents && kr_token_file_start(m->file, document) == next) {
            border = true;
            document++;
        }
        if (next + 1 == info->n_tokens && info->separator >= 0) border = true; /* the one that ends the file */
        bool target = !border && krait_token_file_is_target(m->file, next);
        if (!border && !target) m->some_passed_over = true;
        m->targets[i] = target ? m->tokens[i + 1] : -1;
        size_t length = 0;
        if (target && m->options->tokenizer && krait_tokenizer_token(m->options->tokenizer, m->tokens[i + 1], &length))
            m->n_bytes += length;
    }
}

/* The row of tokens at .. at + n - 1 of the piece, whose first is token `first` of the file. Returns the starts that it used. */
static size_t make_row(measuring *m, krait_train_row *row, uint64_t first, size_t at, size_t n, size_t *starts)
{
    const krait_token_file_info *info = krait_token_file_get_info(m->file);
    size_t n_starts = 0;
    for (uint64_t d = kr_token_file_find(m->file, first + 1); d < info->n_documents; d++) {
        uint64_t start = kr_token_file_start(m->file, d);
        if (start >= first + n) break;
        starts[n_starts++] = (size_t)(start - first);
    }
    *row = (krait_train_row){
        .tokens = m->tokens + at, .targets = m->targets + at, .count = n, .starts = starts, .n_starts = n_starts
    };
    return n_starts;
}

static krait_status measure_piece(measuring *m, uint64_t first, size_t n, krait_error *error)
{
    const krait_token_file_info *info = krait_token_file_get_info(m->file);
    size_t window = m->options->window ? m->options->window : n, n_rows = 0, n_starts = 0, more = first + n < info->n_tokens;
    krait_status status = krait_token_file_read(m->file, first, n + more, m->tokens, error);
    if (status) return status;
    aim(m, first, n);
    for (size_t at = 0; at < n; at += window) {
        size_t count = n - at < window ? n - at : window;
        n_starts += make_row(m, &m->rows[n_rows++], first + at, at, count, m->starts + n_starts);
    }
    /* A document that begins with the piece is no start in it: the state is carried from the one before. */
    if (m->state && kr_token_file_find(m->file, first) < info->n_documents
        && kr_token_file_start(m->file, kr_token_file_find(m->file, first)) == first)
        krait_state_reset(m->state);
    m->rows[0].state = m->state;
    return krait_trainer_evaluate(m->trainer, m->rows, n_rows, &m->nats, &m->n_scored, error);
}

size_t kr_held_out_row(const kr_held_out_options *o, uint64_t n_tokens)
{
    if (o->tokens && o->tokens < n_tokens) n_tokens = o->tokens;
    size_t row = o->window ? o->window : PIECE;
    return n_tokens < row ? (size_t)n_tokens : row;
}

static krait_status measure(measuring *m, krait_error *error)
{
    const krait_token_file_info *info = krait_token_file_get_info(m->file);
    const kr_held_out_options *o = m->options;
    uint64_t n_tokens = o->tokens && o->tokens < info->n_tokens ? o->tokens : info->n_tokens;
    /* Whole windows; one that is larger than a piece is a piece. */
    size_t piece = !o->window ? PIECE : o->window > PIECE ? o->window : PIECE / o->window * o->window;
    m->tokens = kr_alloc(piece + 1, sizeof *m->tokens);
    m->targets = kr_alloc(piece, sizeof *m->targets);
    m->starts = kr_alloc(piece, sizeof *m->starts);
    m->rows = kr_alloc_zero(o->window ? piece / o->window : 1, sizeof *m->rows);
    if (!m->tokens || !m->targets || !m->starts || !m->rows) return kr_fail_memory(error, "an evaluation", piece * 32);
    krait_status status = o->window ? KRAIT_OK : krait_state_create(&m->state, krait_trainer_model(m->trainer), error);
    for (uint64_t at = 0; at < n_tokens && !status; at += piece) {
        if (o->progress.report && !o->progress.report(o->progress.user, "evaluating", at, n_tokens))
            return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "evaluation was interrupted");
        status = measure_piece(m, at, n_tokens - at < piece ? (size_t)(n_tokens - at) : piece, error);
    }
    if (!status && !m->n_scored)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected something to evaluate on, found no token that follows another",
                    krait_token_file_path(m->file));
    if (n_tokens < info->n_tokens) m->some_passed_over = true;
    return status;
}

krait_status kr_held_out_measure(krait_trainer *trainer, const krait_token_file *file, const kr_held_out_options *options,
                                 kr_held_out *result, krait_error *error)
{
    measuring m = { .trainer = trainer, .file = file, .options = options };
    const krait_token_file_info *info = krait_token_file_get_info(file);
    *result = (kr_held_out){ .bits_per_byte = NAN, .nats_per_token = NAN };
    krait_status status = measure(&m, error);
    if (!status) {
        bool all = !m.some_passed_over && info->separator >= 0;
        uint64_t bytes = all ? info->n_bytes : m.n_bytes;
        result->n_scored = m.n_scored;
        result->nats_per_token = m.nats / (double)m.n_scored;
        if (bytes) result->bits_per_byte = m.nats / log(2) / (double)bytes;
    }
    krait_state_free(m.state);
    kr_free(m.tokens);
    kr_free(m.targets);
    kr_free(m.starts);
    kr_free(m.rows);
    return status;
}
