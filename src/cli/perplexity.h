/* `krait perplexity`: what was asked for, and the model it may be compared with. */
#ifndef KR_CLI_PERPLEXITY_H
#define KR_CLI_PERPLEXITY_H

#include "base/json.h"
#include "cli/cli.h"
#include "cli/model_source.h"

typedef struct kr_perplexity_values {
    kr_model_choice choice;
    const char *file, *ids_file;
    const char *compare, *compare_type; /* NULL: not given */
    uint64_t window;
    bool bos, crlf, json;
} kr_perplexity_values;

/* Whether a second model was asked for. */
static inline bool kr_perplexity_compares(const kr_perplexity_values *values) { return values->compare || values->compare_type; }

/* Opens the other model, and its tokenizer if it has one and a text is given; a vocabulary that is not that of `base` is an error.
 * On failure everything of `other` is closed. */
krait_status kr_perplexity_open_other(kr_model_source *other, const kr_perplexity_values *values, const kr_model_source *base,
                                      krait_error *error);
/* KRAIT_ERROR_ARGUMENT when the other model has a tokenizer that makes other ids of the text. */
krait_status kr_perplexity_same_ids(const kr_model_source *other, const char *text, size_t size, const int32_t *ids, size_t n,
                                    krait_error *error);

/* What came of it: lines of text, or the member "compare" of an open JSON object. */
void kr_perplexity_put_comparison(const kr_perplexity_values *values, const kr_model_source *other, const krait_comparison *c);
void kr_perplexity_put_comparison_json(kr_json_writer *json, const kr_perplexity_values *values, const kr_model_source *other,
                                       const krait_comparison *c);

#endif
