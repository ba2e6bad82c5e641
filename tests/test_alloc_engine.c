/* Each allocation of loading, running, and keeping states fails once: an error of memory, and nothing leaks. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "fixture.h"

static char state_path[] = "/tmp/krait-alloc-XXXXXX";

static krait_status load_and_run(void *context, krait_error *error)
{
    krait_model *model = NULL;
    krait_session *session = NULL;
    krait_state *state = NULL, *clone = NULL, *loaded = NULL;
    int32_t ids[5] = { 1, 2, 3, 4, 5 };
    krait_status status = krait_model_load(&model, context, NULL, error);
    if (!status)
        status = krait_session_create(&session, model, &(krait_session_options){ .threads = 1, .chunk_tokens = 4 }, error);
    if (!status) status = krait_state_create(&state, model, error);
    if (!status) status = krait_run(session, &(krait_sequence){ .state = state, .tokens = ids, .count = 5 }, 1, NULL, error);
    if (!status) status = krait_state_clone(&clone, state, error);
    if (!status) status = krait_state_save(clone, state_path, error);
    if (!status) status = krait_state_load(&loaded, model, state_path, error);
    krait_state_free(state);
    krait_state_free(clone);
    krait_state_free(loaded);
    krait_session_free(session);
    krait_model_free(model);
    return status;
}

static void every_allocation_of_the_engine(void **unused)
{
    (void)unused;
    static const char *const models[] = { "tiny", "odd", "bf16-sharded", "f16", "original", "falcon" };
    close(mkstemp(state_path));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/models/%s", KRAIT_TEST_DATA, models[i]);
        assert_true(fail_alloc_every(load_and_run, path) > 20);
    }
    unlink(state_path);
}

static krait_status make_random(void *context, krait_error *error)
{
    krait_model *model = NULL;
    krait_status status = krait_model_random(&model, context, 1, NULL, error);
    krait_model_free(model);
    return status;
}

static void every_allocation_of_a_random_model(void **unused)
{
    (void)unused;
    krait_config config = { .vocab_size = 9, .d_model = 8, .n_layer = 2, .d_inner = 16, .d_state = 2, .d_conv = 4, .dt_rank = 1 };
    assert_true(fail_alloc_every(make_random, &config) >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_of_the_engine),
                                        cmocka_unit_test(every_allocation_of_a_random_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
