/* A text read by one or two models, as one stream or in windows, a piece at a time: every evaluation is a function of the logits
 * that come by. Memory does not depend on the length of the text. */
#ifndef KR_EVAL_WALK_H
#define KR_EVAL_WALK_H

#include "base/status.h"
#include "eval/spread.h"

enum { KR_WALK_MODELS = 2 };

/* What is read, and what is done with it. */
typedef struct kr_walk {
    krait_session *sessions[KR_WALK_MODELS]; /* the second may be NULL; both have the same vocab_size */
    const int32_t *tokens;                   /* [n_tokens] */
    size_t n_tokens;
    const krait_perplexity_options *options;
    const char *name; /* of the function that was called, for messages */
    /* Of n tokens: logits[m] [n, vocab_size] of model m after tokens at .. at+n-1, and next[i], the token that really follows
     * token at+i. Calls come in the order of the text. */
    krait_status (*score)(void *context, const float *const *logits, const int32_t *next, size_t n, size_t at,
                          krait_error *error);
    void *context;
} kr_walk;

/* KRAIT_ERROR_ARGUMENT for what is wrong with the arguments of a call: sessions[0], tokens, n_tokens, window, ids. */
krait_status kr_walk_check(const kr_walk *walk, krait_error *error);
/* Reads a text that was checked. */
krait_status kr_walk_run(const kr_walk *walk, krait_error *error);

/* The most tokens that one call of score() gets. */
size_t kr_walk_rows(size_t vocab_size);

/* Of -log p of each token. */
krait_perplexity_result kr_perplexity_of(const kr_spread *nats);

#endif
