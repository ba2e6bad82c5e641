#include <string.h>

#include "base/memory.h"
#include "model/model.h"

krait_status kr_step_memory_create(kr_step_memory *memory, const krait_model *model, const kr_device *device, int threads,
                                   size_t max_tokens, krait_error *error)
{
    const krait_config *config = &model->config;
    size_t d_model = (size_t)config->d_model;
    *memory = (kr_step_memory){ .max_tokens = max_tokens };
    memory->scratch_size = model->block->scratch_size(device, threads, config, max_tokens);
    size_t head = device->linear_scratch(threads, max_tokens, (size_t)config->vocab_size, d_model);
    if (head > memory->scratch_size) memory->scratch_size = head;
    size_t rows, work = model->block->work_size(config, max_tokens);
    if (kr_mul(max_tokens, d_model, &rows)) {
        memory->x = kr_alloc(rows, sizeof(float));
        memory->head = kr_alloc(rows, sizeof(float));
        memory->work = kr_alloc_zero(work, sizeof(float)); /* products() multiplies what is there: no stray NaN */
        memory->state_parts = kr_alloc(max_tokens, KR_STATE_PARTS * sizeof(float *));
        memory->scratch = kr_alloc(memory->scratch_size, 1);
        memory->bytes = (2 * rows + work) * sizeof(float) + max_tokens * KR_STATE_PARTS * sizeof(float *) + memory->scratch_size;
    }
    if (memory->x && memory->head && memory->work && memory->state_parts && memory->scratch) return KRAIT_OK;
    kr_step_memory_free(memory);
    return kr_fail_memory(error, "a session's scratch", (2 * rows + work) * sizeof(float));
}

void kr_step_memory_free(kr_step_memory *memory)
{
    kr_free(memory->x);
    kr_free(memory->head);
    kr_free(memory->work);
    kr_free(memory->state_parts);
    kr_free(memory->scratch);
    *memory = (kr_step_memory){ 0 };
}

static const float *output_row(const kr_step_memory *memory, const kr_output_row *row, size_t d_model)
{
    return row->state ? kr_state_last_hidden(row->state) : memory->x + row->token * d_model;
}

/* Copies the wanted rows of the residual stream at `layer` to every place of hidden->layers that asks for it. Rows that a state kept
 * exist for the last layer only. */
static void keep_hidden(const krait_model *model, const kr_step_memory *memory, const kr_step *step, int64_t layer)
{
    const krait_outputs *hidden = step->hidden;
    if (!hidden) return;
    size_t d_model = (size_t)model->config.d_model;
    for (size_t i = 0; i < hidden->n_layers; i++) {
        if (hidden->layers[i] != layer) continue;
        float *out = hidden->hidden + (i * step->n_hidden_rows + step->hidden_row) * d_model;
        for (size_t j = 0; j < step->n_outputs; j++) {
            if (step->outputs[j].state && layer != model->config.n_layer) continue;
            memcpy(out + j * d_model, output_row(memory, &step->outputs[j], d_model), d_model * sizeof *out);
        }
    }
}

bool kr_model_step(const krait_model *model, const kr_device *device, int threads, kr_step_memory *memory, const kr_step *step)
{
    const krait_config *config = &model->config;
    const kr_block *block = model->block;
    size_t d_model = (size_t)config->d_model, n = step->n_tokens, n_sequences = step->rows.n_sequences;
    kr_exec exec = { .device = device, .threads = threads, .scratch = memory->scratch, .scratch_size = memory->scratch_size };
    kr_view x = { memory->x, d_model };
    if (n > 0) {
        kr_embedding_run(&exec, &(kr_embedding){ .n_tokens = n, .ids = step->ids, .table = model->embedding, .out = x });
        keep_hidden(model, memory, step, 0);
        kr_block_batch batch = { .n_tokens = n, .rows = step->rows, .x = x };
        for (size_t layer = 0; layer < (size_t)config->n_layer; layer++) {
            if (step->progress && !step->progress->report(step->progress->user, "layers", layer, (uint64_t)config->n_layer))
                return false;
            for (size_t part = 0; part < block->n_state; part++) {
                float **states = memory->state_parts + part * memory->max_tokens;
                for (size_t s = 0; s < n_sequences; s++) states[s] = kr_state_part_of(step->states[s], layer, part);
                batch.state[part] = states;
            }
            block->forward(&exec, config, kr_model_layer(model, layer), &batch, memory->work);
            keep_hidden(model, memory, step, (int64_t)layer + 1);
        }
        for (size_t s = 0; s < n_sequences; s++) {
            const float *last = memory->x + (step->rows.start[s + 1] - 1) * d_model;
            memcpy(kr_state_last_hidden(step->states[s]), last, d_model * sizeof *last);
            step->states[s]->tokens += step->rows.start[s + 1] - step->rows.start[s];
        }
    } else {
        keep_hidden(model, memory, step, config->n_layer);
    }
    if (!step->logits || step->n_outputs == 0) return true;
    for (size_t j = 0; j < step->n_outputs; j++)
        memcpy(memory->head + j * d_model, output_row(memory, &step->outputs[j], d_model), d_model * sizeof(float));
    kr_view head = { memory->head, d_model };
    kr_rms_norm_run(&exec, &(kr_rms_norm){ .n_tokens = step->n_outputs,
                                           .dim = d_model,
                                           .x = { head.data, d_model },
                                           .weight = model->norm_f,
                                           .eps = config->norm_eps,
                                           .y = head });
    kr_linear_run(&exec, &(kr_linear){ .n_tokens = step->n_outputs,
                                       .x = { head.data, d_model },
                                       .weight = model->head,
                                       .y = { step->logits, (size_t)config->vocab_size } });
    return true;
}

void kr_model_products(const krait_model *model, const kr_device *device, int threads, kr_step_memory *memory, size_t n_tokens,
                       size_t n_logits, float *logits)
{
    size_t d_model = (size_t)model->config.d_model;
    kr_exec exec = { .device = device, .threads = threads, .scratch = memory->scratch, .scratch_size = memory->scratch_size };
    memset(memory->x, 0, memory->max_tokens * d_model * sizeof(float));
    for (size_t layer = 0; layer < (size_t)model->config.n_layer; layer++)
        model->block->products(&exec, &model->config, kr_model_layer(model, layer), n_tokens, (kr_view){ memory->x, d_model },
                               memory->work);
    if (n_logits > 0)
        kr_linear_run(&exec, &(kr_linear){ .n_tokens = n_logits,
                                           .x = { memory->x, d_model },
                                           .weight = model->head,
                                           .y = { logits, (size_t)model->config.vocab_size } });
}
