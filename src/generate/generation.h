/* One text being generated: draws tokens from logits, turns them into text, sees what ends it. Where the logits come from is
 * the caller's: one sequence (generate.c), or many that share their steps (batch.c). */
#ifndef KR_GENERATE_GENERATION_H
#define KR_GENERATE_GENERATION_H

#include "generate/stop.h"

typedef struct kr_generation {
    krait_generate_options
        options; /* stop_ids and `user` are the caller's; stop and logit_bias were copied and are not read again */
    size_t vocab_size;
    int32_t eos_id; /* -1: none */
    krait_sampler *sampler;
    krait_decoder *decoder; /* with `stop`: NULL without a tokenizer */
    kr_stop *stop;
    krait_generate_result result;
    double began; /* time */
} kr_generation;

/* Checks what krait_generate() was passed, and allocates. `seen`: the state has seen something already. On failure nothing is
 * left to close. */
krait_status kr_generation_open(kr_generation *generation, const krait_config *config, const krait_tokenizer *tokenizer,
                                const int32_t *prompt, size_t n_prompt, bool seen, const krait_generate_options *options,
                                krait_error *error);
/* Safe on a zeroed one. */
void kr_generation_close(kr_generation *generation);

/* Adds tokens of the prompt to the history. */
krait_status kr_generation_read(kr_generation *generation, const int32_t *tokens, size_t n, krait_error *error);
/* Draws the next token from logits [vocab_size] and gives out its piece. *ended: it was the last, and what was held back was
 * given out, too. Else the model is to run *id for the next logits. */
krait_status kr_generation_draw(kr_generation *generation, const float *logits, int32_t *id, bool *ended, krait_error *error);
/* How it went, up to now. */
krait_generate_result kr_generation_result(const kr_generation *generation);

#endif
