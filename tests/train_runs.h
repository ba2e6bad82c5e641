/* Small training runs by the real program, for its tests: a text of a made-up language, a tiny model. */
#ifndef KRAIT_TESTS_TRAIN_RUNS_H
#define KRAIT_TESTS_TRAIN_RUNS_H

#include "cli.h"

#define RUN_VOCABULARY 48

/* A folder of its own for everything below, made and removed by group or case fixtures. */
int run_set_up(void **state);
int run_tear_down(void **state);
/* A path in it, in a buffer of its own (eight are live at a time). */
const char *run_path(const char *name);

/* Writes a token file of `n` tokens in documents of some hundred, drawn from `seed`: each token follows from the one before it, mostly. */
void run_write_tokens(const char *path, size_t n, uint64_t seed);

/* Arguments of `krait train`, NULL being the last of both: a tiny model on train.tokens, with held.tokens held out, in the folder OUT; then
 * `more`. Into `arguments` [48]. */
void run_arguments(const char **arguments, const char *out, const char *const *more);
/* Runs it to its end. */
cli_result run_train(const char *out, const char *const *more);
#define RUN(out, ...) run_train(out, (const char *const[]){ __VA_ARGS__, NULL })

/* Fails unless the files of these names in both folders hold the same bytes. */
void assert_same_file(const char *folder_a, const char *folder_b, const char *name);
/* The lines of metrics.jsonl that do not depend on the clock or on interruptions, without what does. Free with free(). */
char *run_metrics(const char *folder);

#endif
