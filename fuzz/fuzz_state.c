/* State files against a small model: whatever the bytes, an error or a state that runs. */
#include <stdlib.h>

#include "krait/krait.h"

static const krait_config config = { .vocab_size = 7,
                                     .d_model = 4,
                                     .n_layer = 1,
                                     .d_inner = 8,
                                     .d_state = 2,
                                     .d_conv = 3,
                                     .dt_rank = 1,
                                     .norm_eps = 1e-5f,
                                     .bos_id = -1,
                                     .eos_id = -1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    krait_model *model;
    krait_session *session;
    krait_state *state;
    if (krait_model_random(&model, &config, 1, NULL, NULL)) return 0;
    if (krait_state_load_memory(&state, model, data, size, NULL) == KRAIT_OK) {
        float logits[7];
        int32_t id = 3;
        krait_sequence next = { .state = state, .tokens = &id, .count = 1, .want = KRAIT_WANT_LAST };
        if (krait_session_create(&session, model, &(krait_session_options){ .threads = 1, .chunk_tokens = 1 }, NULL)
            == KRAIT_OK) {
            if (krait_run(session, &next, 1, &(krait_outputs){ .logits = logits }, NULL) != KRAIT_OK) abort();
            krait_session_free(session);
        }
        krait_state_free(state);
    }
    krait_model_free(model);
    return 0;
}
