#include "model/training.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/threads.h"
#include "tensor/softmax.h"

/* Rows of logits: enough for the library's products, few enough that they stay in a cache where the vocabulary is small. */
enum { HEAD_FLOATS = 1 << 20, HEAD_LEAST = 256, HEAD_MOST = 1024 };

static size_t head_rows(const krait_config *config, size_t max_tokens)
{
    size_t rows = HEAD_FLOATS / (size_t)config->vocab_size / 64 * 64;
    if (rows < HEAD_LEAST) rows = HEAD_LEAST;
    if (rows > HEAD_MOST) rows = HEAD_MOST;
    return rows < max_tokens ? rows : max_tokens;
}

static size_t state_count(const krait_config *config, const kr_block *block, size_t part)
{
    return part < block->n_state ? kr_dim_size(block->state[part].rows, config) * kr_dim_size(block->state[part].channels, config)
                                 : 0;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

typedef struct sizes {
    size_t x, saved, work, states[KR_STATE_PARTS], head, logits; /* floats */
} sizes;

static bool size_up(kr_train_memory *m, sizes *s, const krait_config *config, const kr_device *device, int threads)
{
    const kr_block *block = kr_block_of(config->family);
    const size_t n = m->max_tokens, d_model = (size_t)config->d_model, vocab_size = (size_t)config->vocab_size;
    m->head_rows = head_rows(config, n);
    s->work = block->train_work_size(config, n, n / KR_SCAN_CHUNK + m->max_sequences, m->keep);
    const size_t needs[] = {
        block->train_scratch_size(device, threads, config, n),
        device->linear_scratch(threads, m->head_rows, vocab_size, d_model),
        device->linear_backward_scratch(threads, m->head_rows, vocab_size, d_model),
        device->cross_entropy_scratch(m->head_rows),
    };
    m->scratch_size = 0;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        if (needs[i] > m->scratch_size) m->scratch_size = needs[i];
    const size_t one = block->saved_size(config, n, n / KR_SCAN_CHUNK + m->max_sequences, m->keep),
                 each = block->saved_size(config, m->max_backward, m->max_backward / KR_SCAN_CHUNK + m->max_sequences, m->keep);
    bool fits = kr_mul(n, d_model, &s->x) && kr_mul(each, m->max_backward ? (size_t)config->n_layer : 0, &s->saved)
                && kr_mul(m->head_rows, d_model, &s->head) && kr_mul(m->head_rows, vocab_size, &s->logits);
    if (one > s->saved) s->saved = one;
    size_t floats = 0, bytes = m->scratch_size;
    for (size_t part = 0; part < KR_STATE_PARTS; part++)
        fits = fits && kr_mul(state_count(config, block, part), m->max_sequences, &s->states[part])
               && kr_add(floats, s->states[part], &floats);
    fits = fits && kr_add(floats, s->x, &floats) && kr_add(floats, s->work, &floats) && kr_add(floats, 2 * s->head, &floats)
           && kr_add(floats, s->logits, &floats) && kr_mul(floats, sizeof(float), &floats) && kr_add(bytes, floats, &bytes)
           && kr_mul(s->saved, sizeof(float), &m->saved_bytes);
    m->other_bytes = bytes + m->max_sequences * KR_STATE_PARTS * 2 * sizeof(float *)
                     + m->head_rows * (sizeof *m->head_tokens + sizeof *m->head_targets);
    return fits;
}

bool kr_train_memory_plan(kr_train_memory *memory, const krait_config *config, const kr_device *device, int threads,
                          size_t max_tokens, size_t max_backward, size_t max_sequences)
{
    sizes s;
    memory->max_tokens = max_tokens;
    memory->max_backward = max_backward;
    memory->max_sequences = max_sequences;
    return size_up(memory, &s, config, device, threads);
}

void kr_train_memory_free(kr_train_memory *m)
{
    kr_free(m->x);
    kr_free(m->saved);
    kr_free(m->work);
    for (size_t part = 0; part < KR_STATE_PARTS; part++) kr_free(m->states[part]);
    kr_free(m->before);
    kr_free(m->after);
    kr_free(m->head_in);
    kr_free(m->head_out);
    kr_free(m->logits);
    kr_free(m->head_tokens);
    kr_free(m->head_targets);
    kr_free(m->scratch);
    *m = (kr_train_memory){ .keep = m->keep };
}

krait_status kr_train_memory_reserve(kr_train_memory *m, const krait_config *config, const kr_device *device, int threads,
                                     size_t n_tokens, bool backward, size_t n_sequences, krait_error *error)
{
    size_t n_backward = backward ? n_tokens : 0;
    if (n_tokens <= m->max_tokens && n_backward <= m->max_backward && n_sequences <= m->max_sequences) return KRAIT_OK;
    if (n_tokens < m->max_tokens) n_tokens = m->max_tokens;
    if (n_backward < m->max_backward) n_backward = m->max_backward;
    if (n_sequences < m->max_sequences) n_sequences = m->max_sequences;
    while (n_sequences & (n_sequences - 1))
        n_sequences += n_sequences & -n_sequences; /* a power of two: it varies from piece to piece */
    kr_train_memory_free(m);
    sizes s = { 0 };
    bool done = kr_train_memory_plan(m, config, device, threads, n_tokens, n_backward, n_sequences)
                && size_up(m, &s, config, device, threads);
    if (done) {
        /* What train_products() multiplies without having computed it is zero, not a stray NaN. */
        m->x = kr_alloc_zero(s.x, sizeof *m->x);
        m->saved = kr_alloc_zero(s.saved, sizeof *m->saved);
        m->work = kr_alloc_zero(s.work, sizeof *m->work);
        for (size_t part = 0; part < KR_STATE_PARTS; part++) {
            m->states[part] = kr_alloc(s.states[part], sizeof *m->states[part]);
            done = done && m->states[part];
        }
        m->before = kr_alloc(n_sequences * KR_STATE_PARTS, sizeof *m->before);
        m->after = kr_alloc(n_sequences * KR_STATE_PARTS, sizeof *m->after);
        m->head_in = kr_alloc_zero(s.head, sizeof *m->head_in);
        m->head_out = kr_alloc_zero(s.head, sizeof *m->head_out);
        m->logits = kr_alloc(s.logits, sizeof *m->logits);
        m->head_tokens = kr_alloc(m->head_rows, sizeof *m->head_tokens);
        m->head_targets = kr_alloc(m->head_rows, sizeof *m->head_targets);
        m->scratch = kr_alloc(m->scratch_size, 1);
        done = done && m->x && m->saved && m->work && m->before && m->after && m->head_in && m->head_out && m->logits
               && m->head_tokens && m->head_targets && m->scratch;
    }
    if (done) return KRAIT_OK;
    size_t bytes = m->saved_bytes + m->other_bytes;
    kr_train_memory_free(m);
    return kr_fail_memory(error, "the activations of a training step", bytes);
}

/* ---- passes ------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    const krait_model *model;
    krait_model *gradients;
    kr_exec exec;
    kr_train_memory *memory;
    const kr_train_piece *piece;
} pass;

static kr_block_training layer_training(const pass *p, size_t layer)
{
    const krait_config *config = &p->model->config;
    const kr_block *block = p->model->block;
    kr_train_memory *m = p->memory;
    const size_t n = p->piece->n_tokens;
    /* Without a backward pass nobody reads what a layer keeps. */
    const size_t place = p->gradients ? layer : 0;
    kr_block_training training = { .n_tokens = n,
                                   .rows = p->piece->rows,
                                   .x = { m->x, (size_t)config->d_model },
                                   .keep = m->keep,
                                   .saved =
                                       m->saved + place * block->saved_size(config, n, kr_scan_chunks(p->piece->rows), m->keep),
                                   .work = m->work };
    for (size_t part = 0; part < block->n_state; part++) {
        const float **before = m->before + part * m->max_sequences;
        float **state = m->after + part * m->max_sequences;
        const size_t count = state_count(config, block, part);
        for (size_t s = 0; s < p->piece->rows.n_sequences; s++) {
            const krait_state *from = p->piece->before[s];
            before[s] = from ? kr_state_part_of(from, layer, part) : NULL;
            state[s] = m->states[part] + s * count;
        }
        training.before[part] = before;
        training.state[part] = state;
    }
    return training;
}

/* Whether to go on: `done` of the layers of both passes. */
static bool proceed(const pass *p, size_t done)
{
    const krait_progress *progress = p->piece->progress;
    const uint64_t total = (uint64_t)p->model->config.n_layer * (p->gradients ? 2 : 1);
    return !progress || !progress->report || progress->report(progress->user, "layers", done, total);
}

static bool forward(const pass *p)
{
    const krait_config *config = &p->model->config;
    const kr_block *block = p->model->block;
    const kr_train_piece *piece = p->piece;
    const size_t d_model = (size_t)config->d_model;
    kr_embedding_run(&p->exec, &(kr_embedding){ .n_tokens = piece->n_tokens,
                                                .ids = piece->ids,
                                                .table = p->model->embedding,
                                                .out = { p->memory->x, d_model } });
    for (size_t layer = 0; layer < (size_t)config->n_layer; layer++) {
        if (!proceed(p, layer)) return false;
        kr_block_training training = layer_training(p, layer);
        block->train_forward(&p->exec, config, kr_model_layer(p->model, layer), &training);
        for (size_t part = 0; part < block->n_state; part++)
            for (size_t s = 0; s < piece->rows.n_sequences; s++)
                if (piece->after[s])
                    memcpy(kr_state_part_of(piece->after[s], layer, part), training.state[part][s],
                           state_count(config, block, part) * sizeof(float));
    }
    for (size_t s = 0; s < piece->rows.n_sequences; s++) {
        if (!piece->after[s]) continue;
        memcpy(kr_state_last_hidden(piece->after[s]), p->memory->x + (piece->rows.start[s + 1] - 1) * d_model,
               d_model * sizeof(float));
        piece->after[s]->tokens += piece->rows.start[s + 1] - piece->rows.start[s];
    }
    return true;
}

typedef struct divergence {
    size_t n, vocab_size;
    float *logits, *teacher; /* [n, vocab_size], in; out: the gradient; nothing of use */
    double *losses;          /* [n] */
} divergence;

/* With p = softmax(teacher) and q = softmax(logits): sum_i p[i] (log p[i] - log q[i]), and its gradient q - p. */
static void diverge_share(void *context, int thread, int n_threads)
{
    enum { BLOCK = 64 };
    const divergence *d = context;
    size_t begin, end;
    kr_share(d->n, 1, thread, n_threads, &begin, &end);
    for (size_t t = begin; t < end; t++) {
        float *p = d->teacher + t * d->vocab_size, *q = d->logits + t * d->vocab_size, most_p, most_q;
        double sum_p = 0, sum_q = 0, inner = 0;
        size_t index;
        if (!kr_softmax_max(p, d->vocab_size, &most_p, &index) || !kr_softmax_max(q, d->vocab_size, &most_q, &index)) {
            d->losses[t] = NAN;
            continue;
        }
        for (size_t at = 0, n; at < d->vocab_size; at += n) {
            float apart[BLOCK];
            n = d->vocab_size - at < BLOCK ? d->vocab_size - at : BLOCK;
            for (size_t i = at; i < at + n; i++) {
                p[i] = most_p - p[i];
                q[i] = most_q - q[i];
                apart[i - at] = q[i] - p[i];
            }
            kr_softmax_exp(p + at, p + at, n);
            kr_softmax_exp(q + at, q + at, n);
            for (size_t i = at; i < at + n; i++) {
                sum_p += (double)p[i];
                sum_q += (double)q[i];
                inner += (double)p[i] * (double)apart[i - at];
            }
        }
        const float scale_p = (float)(1 / sum_p), scale_q = (float)(1 / sum_q);
        for (size_t i = 0; i < d->vocab_size; i++) q[i] = scale_q * q[i] - scale_p * p[i];
        d->losses[t] = inner / sum_p - log(sum_p) + log(sum_q);
    }
}

static void head_logits(const pass *p, const krait_model *model, size_t n, const float *stream, float *logits)
{
    const size_t d_model = (size_t)model->config.d_model;
    kr_train_memory *m = p->memory;
    for (size_t i = 0; i < n; i++)
        memcpy(m->head_in + i * d_model, stream + m->head_tokens[i] * d_model, d_model * sizeof(float));
    kr_rms_norm_run(&p->exec, &(kr_rms_norm){ .n_tokens = n,
                                              .dim = d_model,
                                              .x = { m->head_in, d_model },
                                              .weight = model->norm_f,
                                              .eps = model->config.norm_eps,
                                              .y = { m->head_out, d_model } });
    kr_linear_run(&p->exec, &(kr_linear){ .n_tokens = n,
                                          .x = { m->head_out, d_model },
                                          .weight = model->head,
                                          .y = { logits, (size_t)model->config.vocab_size } });
}

/* Instead of the cross entropy. */
static void diverge(const pass *p, size_t n, double *loss)
{
    const size_t vocab_size = (size_t)p->model->config.vocab_size;
    divergence d = { n, vocab_size, p->memory->logits, p->piece->teacher->logits, p->memory->scratch };
    kr_parallel(p->exec.threads, diverge_share, &d);
    for (size_t t = 0; t < n; t++) *loss += d.losses[t];
}

/* The last norm, the head, the loss and back, for the rows listed in head_tokens: their place in x takes the gradient. */
static void head(const pass *p, size_t n, double *loss)
{
    const krait_config *config = &p->model->config;
    kr_train_memory *m = p->memory;
    const size_t d_model = (size_t)config->d_model, vocab_size = (size_t)config->vocab_size;
    kr_view in = { m->head_in, d_model }, out = { m->head_out, d_model }, logits = { m->logits, vocab_size };
    const kr_teacher *teacher = p->piece->teacher;
    if (teacher) head_logits(p, teacher->model, n, teacher->hidden, teacher->logits);
    head_logits(p, p->model, n, m->x, logits.data);
    kr_rms_norm norm = {
        .n_tokens = n, .dim = d_model, .x = { in.data, d_model }, .weight = p->model->norm_f, .eps = config->norm_eps, .y = out
    };
    if (teacher)
        diverge(p, n, loss);
    else
        kr_cross_entropy_run(&p->exec, &(kr_cross_entropy){ .n_tokens = n,
                                                            .vocab_size = vocab_size,
                                                            .logits = logits,
                                                            .targets = m->head_targets,
                                                            .gradient = p->gradients != NULL,
                                                            .loss = loss });
    if (!p->gradients) return;
    /* The product with the weight's gradient reads what the other one overwrites. */
    kr_linear_backward back = { .n_tokens = n,
                                .x = { out.data, d_model },
                                .dy = { logits.data, vocab_size },
                                .weight = p->model->head,
                                .dweight = (float *)p->gradients->head.data };
    if (back.dweight) kr_linear_backward_run(&p->exec, &back);
    back.dweight = NULL;
    back.dx = out;
    kr_linear_backward_run(&p->exec, &back);
    kr_rms_norm_backward_run(
        &p->exec, &(kr_rms_norm_backward){
                      .forward = norm, .dy = { out.data, d_model }, .dx = in, .dweight = (float *)p->gradients->norm_f });
    for (size_t i = 0; i < n; i++) memcpy(m->x + m->head_tokens[i] * d_model, in.data + i * d_model, d_model * sizeof(float));
}

static void heads(const pass *p, double *loss)
{
    kr_train_memory *m = p->memory;
    const size_t d_model = (size_t)p->model->config.d_model;
    size_t n = 0;
    for (size_t t = 0; t < p->piece->n_tokens; t++) {
        if (p->piece->targets[t] < 0) continue;
        m->head_tokens[n] = t;
        m->head_targets[n++] = p->piece->targets[t];
        if (n == m->head_rows) {
            head(p, n, loss);
            n = 0;
        }
    }
    if (n > 0) head(p, n, loss);
    for (size_t t = 0; p->gradients && t < p->piece->n_tokens; t++)
        if (p->piece->targets[t] < 0) memset(m->x + t * d_model, 0, d_model * sizeof(float));
}

static bool backward(const pass *p)
{
    const krait_config *config = &p->model->config;
    for (size_t layer = (size_t)config->n_layer; layer-- > 0;) {
        if (!proceed(p, 2 * (size_t)config->n_layer - 1 - layer)) return false;
        kr_block_training training = layer_training(p, layer);
        p->model->block->backward(&p->exec, config, kr_model_layer(p->model, layer), kr_model_layer(p->gradients, layer),
                                  &training);
    }
    if (p->gradients->embedding.data)
        kr_embedding_backward_run(&p->exec, &(kr_embedding_backward){ .n_tokens = p->piece->n_tokens,
                                                                      .ids = p->piece->ids,
                                                                      .dim = (size_t)config->d_model,
                                                                      .dout = { p->memory->x, (size_t)config->d_model },
                                                                      .dtable = (float *)p->gradients->embedding.data });
    return true;
}

static kr_exec exec_of(const kr_device *device, int threads, const kr_train_memory *memory)
{
    return (kr_exec){ .device = device, .threads = threads, .scratch = memory->scratch, .scratch_size = memory->scratch_size };
}

bool kr_model_train(const krait_model *model, krait_model *gradients, const kr_device *device, int threads,
                    kr_train_memory *memory, const kr_train_piece *piece, double *loss)
{
    const pass p = { model, gradients, exec_of(device, threads, memory), memory, piece };
    if (!forward(&p)) return false;
    heads(&p, loss);
    return !gradients || backward(&p);
}

void kr_model_train_products(const krait_model *model, krait_model *gradients, const kr_device *device, int threads,
                             kr_train_memory *memory, size_t n_tokens)
{
    const krait_config *config = &model->config;
    const size_t d_model = (size_t)config->d_model, vocab_size = (size_t)config->vocab_size;
    const size_t start[] = { 0, n_tokens };
    const kr_train_piece piece = { .n_tokens = n_tokens, .rows = { 0, start } };
    const pass p = { model, gradients, exec_of(device, threads, memory), memory, &piece };
    for (size_t layer = 0; layer < (size_t)config->n_layer; layer++) {
        kr_block_training training = layer_training(&p, layer);
        model->block->train_products(&p.exec, config, kr_model_layer(model, layer), kr_model_layer(gradients, layer), &training);
    }
    for (size_t t = 0; t < n_tokens; t += memory->head_rows) {
        const size_t n = n_tokens - t < memory->head_rows ? n_tokens - t : memory->head_rows;
        kr_cview x = { memory->head_in, d_model };
        kr_view logits = { memory->logits, vocab_size };
        kr_linear_run(&p.exec, &(kr_linear){ .n_tokens = n, .x = x, .weight = model->head, .y = logits });
        kr_linear_backward_run(&p.exec, &(kr_linear_backward){ .n_tokens = n,
                                                               .x = x,
                                                               .dy = { logits.data, vocab_size },
                                                               .weight = model->head,
                                                               .dx = { memory->head_out, d_model },
                                                               .dweight = (float *)gradients->head.data });
    }
}
