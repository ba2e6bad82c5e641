/* How well the model that is being trained foresees text that it does not learn. */
#ifndef KR_TRAIN_HELD_OUT_H
#define KR_TRAIN_HELD_OUT_H

#include "krait/data.h"
#include "krait/train.h"

typedef struct kr_held_out_options {
    size_t window;   /* 0: each document is one stream; else windows of so many tokens, each from an empty state */
    uint64_t tokens; /* look at so many of the file; 0: at all */
    const krait_tokenizer *tokenizer; /* for the bytes of tokens; NULL: there is none */
    krait_progress progress;          /* tokens */
} kr_held_out_options;

typedef struct kr_held_out {
    uint64_t n_scored;
    double nats_per_token;
    double bits_per_byte; /* NaN when the text's bytes are not known */
} kr_held_out;

/* Tokens of a row, at most, of a file that has so many. */
size_t kr_held_out_row(const kr_held_out_options *options, uint64_t n_tokens);
/* Every token is scored but the first of a document, which nothing precedes: in files with separators, that is the separator. So what is
 * foreseen of a document is its text, not its end, as krait perplexity --bos measures it. Masked tokens are not scored. */
krait_status kr_held_out_measure(krait_trainer *trainer, const krait_token_file *file, const kr_held_out_options *options,
                                 kr_held_out *result, krait_error *error);

#endif
