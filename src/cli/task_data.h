/* The synthetic tasks of the paper (Gu & Dao 2023, section 4.1), as sequences that are a pure function of a seed and a number: any stretch
 * of one can be made without the rest, so that a million tokens need no memory.
 *
 * A sequence is a body, whose length is free, and a query, whose answers are learned and tested. With 16 tokens, S and Q being 15:
 *
 *     induction            body   7 2 S 9 4 4 0 12 ...       tokens 0 .. 14 at random; one S among them, with some token behind it
 *                          query  S                          answer: the token behind the first S, here 9
 *     selective copying    body   0 0 3 0 0 0 8 0 3 0 ...    noise 0; at random places as many tokens of 1 .. 14 as are to be memorised
 *                          query  Q Q Q                      answers: those, in order: 3 8 3
 *     copying              body   3 8 3 0 0 0 0 0 0 0 ...    the same with all of them first
 */
#ifndef KR_CLI_TASK_DATA_H
#define KR_CLI_TASK_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum kr_task_kind { KR_TASK_INDUCTION = 0, KR_TASK_SELECTIVE_COPYING, KR_TASK_COPYING } kr_task_kind;

#define KR_TASK_MIN_VOCABULARY 4
#define KR_TASK_MAX_MEMORY     64

typedef struct kr_task {
    kr_task_kind kind;
    int64_t vocab_size; /* at least KR_TASK_MIN_VOCABULARY */
    size_t memory;      /* of copying: tokens to be memorised, 1 .. KR_TASK_MAX_MEMORY */
} kr_task;

/* Tokens of the query, which are as many as there are answers; and the least that a whole sequence can have. */
size_t kr_task_n_query(const kr_task *task);
size_t kr_task_min_length(const kr_task *task);
/* How often a guess is right. */
double kr_task_chance(const kr_task *task);

typedef struct kr_task_sample {
    const kr_task *task;
    uint64_t key;                      /* of its random tokens */
    size_t places[KR_TASK_MAX_MEMORY]; /* ascending: of what is to be memorised; of induction, of the S */
    int32_t data[KR_TASK_MAX_MEMORY];  /* what is to be memorised */
} kr_task_sample;

/* The index-th sequence of a seed, with everything that is to be memorised where a whole sequence of `length` tokens can have it. The body may
 * then be made longer: its tokens do not depend on that. */
void kr_task_draw(kr_task_sample *sample, const kr_task *task, size_t length, uint64_t seed, uint64_t index);
/* The body's tokens first .. first + n - 1. */
void kr_task_body(const kr_task_sample *sample, size_t first, size_t n, int32_t *tokens);
/* tokens [n_query], answers [n_query] */
void kr_task_query(const kr_task_sample *sample, int32_t *tokens, int32_t *answers);

#endif
