/* `krait perplexity --compare`: the second model. */
#include <stdio.h>
#include <string.h>

#include "cli/perplexity.h"
#include "cli/report.h"

/* The same bytes for every id: else the same ids are not the same text. */
static krait_status same_vocabulary(const kr_model_source *base, const kr_model_source *other, krait_error *error)
{
    size_t n = krait_tokenizer_vocab_size(base->tokenizer), found = krait_tokenizer_vocab_size(other->tokenizer);
    if (n != found)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: tokenizer: expected %zu tokens as in %s, found %zu", other->name, n,
                       base->name, found);
    for (size_t id = 0; id < n; id++) {
        size_t a_length = 0, b_length = 0;
        const char *a = krait_tokenizer_token(base->tokenizer, (int32_t)id, &a_length);
        const char *b = krait_tokenizer_token(other->tokenizer, (int32_t)id, &b_length);
        if (!a != !b || (a && (a_length != b_length || memcmp(a, b, a_length) != 0)))
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: tokenizer: token %zu: expected the one of %s, found another",
                           other->name, id, base->name);
    }
    return KRAIT_OK;
}

krait_status kr_perplexity_open_other(kr_model_source *other, const kr_perplexity_values *values, const kr_model_source *base,
                                      krait_error *error)
{
    kr_progress progress;
    kr_model_choice choice = values->choice;
    if (values->compare) choice.model = values->compare;
    choice.type = values->compare_type;
    kr_progress_begin(&progress, &kr_command_perplexity, NULL);
    krait_status status = kr_model_source_open(other, &choice, &progress, error);
    if (status) return status;
    if (other->config->vocab_size != base->config->vocab_size)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: vocab_size: expected %lld as in %s, found %lld", other->name,
                         (long long)base->config->vocab_size, base->name, (long long)other->config->vocab_size);
    /* The same model has the same tokenizer, and --tokenizer is for both. */
    bool has_own = values->compare && !values->ids_file && !choice.tokenizer;
    if (!status && has_own) status = kr_model_source_open_tokenizer(other, &choice, error);
    if (!status && other->tokenizer) status = same_vocabulary(base, other, error);
    if (status) kr_model_source_close(other);
    return status;
}

krait_status kr_perplexity_same_ids(const kr_model_source *other, const char *text, size_t size, const int32_t *ids, size_t n,
                                    krait_error *error)
{
    int32_t *found;
    size_t n_found, i = 0;
    if (!other->tokenizer) return KRAIT_OK;
    krait_status status = krait_tokenizer_encode(other->tokenizer, text, size, NULL, &found, &n_found, error);
    if (status) return status;
    while (i < n && i < n_found && ids[i] == found[i]) i++;
    if (i < n && i < n_found)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: tokenizer: token %zu of the text: expected id %d as of the base, found %d",
                    other->name, i, (int)ids[i], (int)found[i]);
    else if (n != n_found)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: tokenizer: expected %zu tokens of the text as of the base, found %zu",
                         other->name, n, n_found);
    krait_free(found);
    return status;
}

void kr_perplexity_put_comparison(const kr_perplexity_values *values, const kr_model_source *other, const krait_comparison *c)
{
    printf("compared     with %s", other->name);
    if (values->compare_type) printf(" as %s", values->compare_type);
    printf("\n  nats/token %.4f +- %.4f, difference %+.6f +- %.6f\n", c->other.nats_per_token, c->other.standard_error,
           c->nats_difference, c->nats_difference_standard_error);
    printf("  perplexity %.3f, %+.4f %% +- %.4f\n", c->other.perplexity, 100 * (c->perplexity_ratio - 1),
           100 * c->perplexity_ratio_standard_error);
    printf("  KL         %.3g +- %.2g nats/token; of 99 %% of the tokens at most %.3g, of all %.3g\n", c->kl_divergence,
           c->kl_standard_error, c->kl_p99, c->kl_max);
    printf("  same top 1 %.3f %% +- %.3f\n", 100 * c->top1_agreement, 100 * c->top1_standard_error);
}

static void put_number(kr_json_writer *json, const char *key, double value)
{
    kr_json_key(json, key);
    kr_json_put_number(json, value);
}

void kr_perplexity_put_comparison_json(kr_json_writer *json, const kr_perplexity_values *values, const kr_model_source *other,
                                       const krait_comparison *c)
{
    kr_json_key(json, "compare");
    kr_json_open(json, '{');
    kr_json_key(json, "model");
    kr_json_put_text(json, other->name);
    kr_json_key(json, "type");
    kr_json_put_text(json, values->compare_type ? values->compare_type : "auto");
    put_number(json, "nats_per_token", c->other.nats_per_token);
    put_number(json, "standard_error", c->other.standard_error);
    put_number(json, "perplexity", c->other.perplexity);
    put_number(json, "nats_difference", c->nats_difference);
    put_number(json, "nats_difference_standard_error", c->nats_difference_standard_error);
    put_number(json, "perplexity_ratio", c->perplexity_ratio);
    put_number(json, "perplexity_ratio_standard_error", c->perplexity_ratio_standard_error);
    put_number(json, "kl_divergence", c->kl_divergence);
    put_number(json, "kl_standard_error", c->kl_standard_error);
    put_number(json, "kl_p99", c->kl_p99);
    put_number(json, "kl_max", c->kl_max);
    put_number(json, "top1_agreement", c->top1_agreement);
    put_number(json, "top1_standard_error", c->top1_standard_error);
    kr_json_close(json, '}');
}
