/* One model, many threads: each with a session and a state of its own, all getting the same bits. Run under ThreadSanitizer. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

enum { THREADS = 4, ROUNDS = 6, TOKENS = 40, VOCAB = 256 };

typedef struct worker {
    pthread_t thread;
    const krait_model *model;
    int session_threads;
    float logits[VOCAB];
    krait_status status;
    krait_error error;
} worker;

static krait_status work(worker *w)
{
    krait_session *session = NULL;
    krait_state *state = NULL;
    krait_status status =
        krait_session_create(&session, w->model, &(krait_session_options){ .threads = w->session_threads }, &w->error);
    if (!status) status = krait_state_create(&state, w->model, &w->error);
    for (int round = 0; round < ROUNDS && !status; round++) {
        int32_t ids[TOKENS];
        for (int i = 0; i < TOKENS; i++) ids[i] = (round * 91 + i * 17) % VOCAB;
        /* A prompt, then tokens one at a time: both paths. */
        krait_sequence prompt = { .state = state, .tokens = ids, .count = TOKENS, .want = KRAIT_WANT_LAST };
        status = krait_run(session, &prompt, 1, &(krait_outputs){ .logits = w->logits }, &w->error);
        for (int i = 0; i < 5 && !status; i++) {
            krait_sequence next = { .state = state, .tokens = ids + i, .count = 1, .want = KRAIT_WANT_LAST };
            status = krait_run(session, &next, 1, &(krait_outputs){ .logits = w->logits }, &w->error);
        }
    }
    krait_state_free(state);
    krait_session_free(session);
    return status;
}

static void *thread_main(void *argument)
{
    worker *w = argument;
    w->status = work(w);
    return NULL;
}

static void sessions_share_a_model(void **unused)
{
    (void)unused;
    krait_model *model;
    krait_error error;
    assert_ok(krait_model_load(&model, KRAIT_TEST_DATA "/models/tiny", NULL, &error));
    static worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .model = model, .session_threads = i % 2 ? 2 : 1 };
        assert_int_equal(pthread_create(&workers[i].thread, NULL, thread_main, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        if (workers[i].status) fail_msg("%s", workers[i].error.message);
        assert_close("logits", workers[i].logits, workers[0].logits, VOCAB, 1e-5);
        if (i >= 2) assert_memory_equal(workers[i].logits, workers[i - 2].logits, sizeof workers[i].logits);
    }
    krait_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sessions_share_a_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
