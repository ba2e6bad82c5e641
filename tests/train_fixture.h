/* What tests of training share: reference models, and a small model with something to learn. */
#ifndef KRAIT_TESTS_TRAIN_FIXTURE_H
#define KRAIT_TESTS_TRAIN_FIXTURE_H

#include "fixture.h"

#include "krait/train.h"

/* ---- reference models ---- */

enum { N_MODELS = 7 };
extern const char *const reference_names[N_MODELS];

typedef struct reference {
    krait_checkpoint *checkpoint, *expected;
    int32_t *ids, *targets; /* [batch, length] */
    size_t batch, length;
    krait_train_row rows[4];
} reference;

reference open_reference(const char *name);
void close_reference(reference *r);
krait_trainer *trainer_of(const reference *r, const krait_trainer_options *options);

/* ---- a small model ---- */

/* The usual options, with a constant rate and two threads. */
krait_trainer_options constant(void);

enum { N_PARAMETERS = 12, D_MODEL = 40, VOCABULARY = 90, LENGTH = 100, ROWS = 4 };
extern const char *const parameter_names[N_PARAMETERS];
krait_config small(void);
size_t count_of(const char *name);
krait_trainer *small_trainer(const krait_trainer_options *options);

/* Texts that have something to be learned, the same every time. */
extern int32_t text[ROWS][LENGTH + 1];
int make_text(void **state);
krait_train_row row_of(int r, size_t begin, size_t count);
void all_rows(krait_train_row rows[ROWS]);

/* Free what they give with free(). */
typedef float *(*reader)(const krait_trainer *trainer, const char *name);
float *gradient_of(const krait_trainer *trainer, const char *name);
float *value_of(const krait_trainer *trainer, const char *name);
/* All parameters (or gradients), to within `tolerance` of the largest; 0: the same bits. */
void assert_same(reader read, const krait_trainer *a, const krait_trainer *b, double tolerance);
/* One batch, one update; its loss. */
double step_of(krait_trainer *trainer, const krait_train_row *rows, size_t n_rows);

#endif
