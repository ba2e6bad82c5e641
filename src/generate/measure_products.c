#include <time.h>

#include "base/memory.h"
#include "generate/session.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

krait_status krait_measure_products(krait_session *session, size_t n_tokens, size_t n_logits, double *seconds, krait_error *error)
{
    if (!session || !seconds)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_measure_products: %s is NULL", session ? "seconds" : "session");
    *seconds = 0;
    size_t most = session->memory.max_tokens, vocab_size = (size_t)session->model->config.vocab_size;
    if (n_tokens < 1 || n_tokens > most || n_logits > n_tokens)
        return kr_fail(
            error, KRAIT_ERROR_ARGUMENT,
            "krait_measure_products: expected 1 .. %zu tokens (the session's chunk) and no more logits, found %zu and %zu", most,
            n_tokens, n_logits);
    float *logits = kr_alloc(n_logits * vocab_size, sizeof *logits);
    if (!logits) return kr_fail_memory(error, "logits", n_logits * vocab_size * sizeof *logits);
    double start = now();
    kr_model_products(session->model, session->device, session->threads, &session->memory, n_tokens, n_logits, logits);
    *seconds = now() - start;
    kr_free(logits);
    return KRAIT_OK;
}
