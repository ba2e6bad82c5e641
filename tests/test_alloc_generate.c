/* Every allocation of sampling, stop strings, generation, perplexity and comparison may fail: an error, and nothing leaks. */
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "fixture.h"
#include "generate/stop.h"

static krait_model *model;
static krait_session *session;
static krait_state *state;
static krait_tokenizer *tokenizer; /* NULL in a build without text */

static int open_model(void **unused)
{
    (void)unused;
    krait_error error;
    assert_ok(krait_model_load(&model, KRAIT_MODELS "/text-small", NULL, &error));
    assert_ok(krait_session_create(&session, model, NULL, &error));
    assert_ok(krait_state_create(&state, model, &error));
#ifdef KRAIT_HAVE_TEXT
    assert_ok(krait_tokenizer_load(&tokenizer, KRAIT_MODELS "/text-small", &error));
#endif
    return 0;
}

static int close_model(void **unused)
{
    (void)unused;
    krait_tokenizer_free(tokenizer);
    krait_state_free(state);
    krait_session_free(session);
    krait_model_free(model);
    return 0;
}

static const krait_logit_bias bias[] = { { 3, 1 }, { 4, 1 } };
static const krait_sampling sampling = {
    .temperature = 1,
    .top_k = 10,
    .top_p = 0.9f,
    .min_p = 0.01f,
    .presence_penalty = 1,
    .penalty_window = 8,
    .logit_bias = bias,
    .n_logit_bias = 2,
};
static const int32_t prompt[4] = { 40, 50, 60, 70 };

static krait_status sample(void *context, krait_error *error)
{
    (void)context;
    float logits[100] = { 0 };
    krait_sampler *sampler;
    int32_t id;
    krait_status status = krait_sampler_create(&sampler, 100, &sampling, error);
    if (!status) status = krait_sampler_accept(sampler, 5, error);
    if (!status) status = krait_sampler_sample(sampler, logits, &id, error);
    krait_sampler_free(sampler);
    return status;
}

static krait_status follow(void *context, krait_error *error)
{
    (void)context;
    const char *const stops[] = { "one", "another" };
    static const char letters[] = "the letters of a text that goes on, and on, and on";
    kr_stop *stop;
    const char *text;
    size_t length;
    ptrdiff_t found;
    krait_status status = kr_stop_create(&stop, stops, 2, error);
    for (size_t n = 1; !status && n < sizeof letters; n++) status = kr_stop_push(stop, letters, n, &text, &length, &found, error);
    kr_stop_free(stop);
    return status;
}

static krait_status generate(void *context, krait_error *error)
{
    (void)context;
    const char *const stops[] = { "one", "another" };
    krait_generate_options options = { .sampling = sampling, .max_tokens = 6, .logprobs = true };
    krait_generate_result result;
    if (tokenizer) {
        options.stop = stops;
        options.n_stop = 2;
    }
    krait_state_reset(state);
    krait_status status = krait_generate(session, state, tokenizer, prompt, 4, &options, &result, error);
    if (status) assert_int_equal(result.n_generated, 0);
    return status;
}

static void count_end(void *user, const krait_generate_result *result, const krait_error *why)
{
    (void)result;
    krait_error *ended = user;
    if (why) *ended = *why;
}

/* Three requests in two rows; what a row alone failed of is the error, too. */
static krait_status generate_batch(void *context, krait_error *error)
{
    (void)context;
    const char *const stops[] = { "one", "another" };
    krait_error ended = { 0 };
    krait_generate_options options = { .sampling = sampling, .max_tokens = 3, .logprobs = true, .user = &ended };
    krait_batch *batch;
    if (tokenizer) {
        options.stop = stops;
        options.n_stop = 2;
    }
    krait_batch_request request = {
        .tokenizer = tokenizer, .prompt = prompt, .n_prompt = 4, .options = &options, .on_end = count_end
    };
    krait_status status = krait_batch_create(&batch, session, 2, error);
    for (size_t added = 0; !status && (added < 3 || krait_batch_free_rows(batch) < 2);) {
        for (; !status && added < 3 && krait_batch_free_rows(batch) > 0; added++) {
            size_t before = krait_batch_free_rows(batch);
            status = krait_batch_add(batch, &request, error);
            assert_int_equal(krait_batch_free_rows(batch), before - !status);
        }
        if (!status) status = krait_batch_step(batch, error);
    }
    if (!status && ended.status) *error = ended;
    krait_batch_free(batch);
    return status ? status : ended.status;
}

static krait_status measure(void *context, krait_error *error)
{
    (void)context;
    krait_perplexity_result result;
    return krait_perplexity(session, prompt, 4, &(krait_perplexity_options){ .window = 2 }, &result, error);
}

static krait_status compare(void *context, krait_error *error)
{
    (void)context;
    krait_comparison result;
    return krait_compare(session, session, prompt, 4, &(krait_perplexity_options){ .window = 2 }, &result, error);
}

static void sampler_reports_every_failed_allocation(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(sample, NULL) >= 6);
}

static void stop_strings_report_every_failed_allocation(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(follow, NULL) >= 7);
}

static void generate_reports_every_failed_allocation(void **unused)
{
    (void)unused;
    krait_error error;
    assert_ok(generate(NULL, &error)); /* what the libraries below allocate once is not counted */
    assert_true(fail_alloc_every(generate, NULL) >= 7);
}

static void a_batch_reports_every_failed_allocation(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(generate_batch, NULL) >= 20);
}

static void perplexity_reports_every_failed_allocation(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(measure, NULL) >= 3);
}

static void compare_reports_every_failed_allocation(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(compare, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_reports_every_failed_allocation),  cmocka_unit_test(stop_strings_report_every_failed_allocation),
        cmocka_unit_test(generate_reports_every_failed_allocation), cmocka_unit_test(perplexity_reports_every_failed_allocation),
        cmocka_unit_test(compare_reports_every_failed_allocation),  cmocka_unit_test(a_batch_reports_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
