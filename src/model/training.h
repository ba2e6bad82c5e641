/* A model's forward and backward pass over a piece of a batch. */
#ifndef KR_MODEL_TRAINING_H
#define KR_MODEL_TRAINING_H

#include "model/model.h"

/* Another model of the same vocabulary, whose probabilities are the targets. */
typedef struct kr_teacher {
    const krait_model *model;
    const float *hidden; /* [n_tokens, d_model]: its residual stream behind the last layer */
    float *logits;       /* room for [kr_train_memory.head_rows, vocab_size] */
} kr_teacher;

/* Whole sequences, one after another. */
typedef struct kr_train_piece {
    size_t n_tokens;
    const int32_t *ids, *targets;     /* [n_tokens]; targets negative: none */
    const kr_teacher *teacher;        /* NULL: none; otherwise targets only say which tokens count, and the loss is the
                                         Kullback-Leibler divergence from its probabilities */
    kr_rows rows;                     /* every sequence has at least one token */
    const krait_state *const *before; /* [n_sequences] what each goes on from, NULL: zeros */
    const krait_progress *progress;   /* asked before each layer; NULL: nobody is */
    krait_state *const
        *after; /* [n_sequences] where each ended, NULL: not wanted. after[s] may be before[s] where there is no backward
                                         pass */
} kr_train_piece;

/* Memory for pieces of up to so many tokens and sequences. */
typedef struct kr_train_memory {
    size_t max_tokens, max_sequences;
    size_t
        max_backward; /* tokens of pieces with a backward pass, for which every layer keeps something; the others need one layer's */
    kr_keep keep;
    size_t head_rows; /* that go through the head at once */
    float *x;         /* [max_tokens, d_model]: the residual stream, then its gradient */
    float *saved;     /* of each layer; of one alone where no backward pass follows */
    float *work;
    float *states[KR_STATE_PARTS]; /* [max_sequences] of one layer */
    const float **before;          /* [KR_STATE_PARTS, max_sequences] */
    float **after;
    float *head_in, *head_out, *logits; /* [head_rows, d_model] twice, [head_rows, vocab_size] */
    size_t *head_tokens;                /* [head_rows] */
    int32_t *head_targets;
    void *scratch;
    size_t scratch_size, saved_bytes, other_bytes;
} kr_train_memory;

/* Only computes the sizes: scratch_size, saved_bytes (kept from forward to backward pass) and other_bytes. false: they do not fit a
 * size_t. */
bool kr_train_memory_plan(kr_train_memory *memory, const krait_config *config, const kr_device *device, int threads,
                          size_t max_tokens, size_t max_backward, size_t max_sequences);
/* Makes room for at least so much; keeps what is there if it suffices. n_tokens with a backward pass, or without one. Set keep before the first
 * call; on failure it is empty. */
krait_status kr_train_memory_reserve(kr_train_memory *memory, const krait_config *config, const kr_device *device, int threads,
                                     size_t n_tokens, bool backward, size_t n_sequences, krait_error *error);
void kr_train_memory_free(kr_train_memory *memory);

/* Without gradients and targets it leaves the residual stream behind the last layer in memory->x.
 * Adds the losses to *loss and, if `gradients` is not NULL, the gradients of their sum to where its fields point: a model of the same
 * config whose layers, embedding, norm_f and head are gradients (NULL: not wanted; that of A is A's). A tied head's is the embedding's.
 * false: progress said to stop; gradients, *loss and the states behind rows have changed in part. */
bool kr_model_train(const krait_model *model, krait_model *gradients, const kr_device *device, int threads,
                    kr_train_memory *memory, const kr_train_piece *piece, double *loss);
/* The matrix products of it alone, for n_tokens with a target each. */
void kr_model_train_products(const krait_model *model, krait_model *gradients, const kr_device *device, int threads,
                             kr_train_memory *memory, size_t n_tokens);

#endif
