/* A model + scratch + threads. */
#ifndef KR_GENERATE_SESSION_H
#define KR_GENERATE_SESSION_H

#include "cpu/device.h"
#include "model/model.h"

struct krait_session {
    krait_model *model;
    const kr_device *device;
    int threads;
    krait_progress progress;
    kr_step_memory memory;
    /* The step being put together: [memory.max_tokens] each, but starts, which has one more. */
    int32_t *ids;
    size_t *starts;
    krait_state **states;
    kr_output_row *outputs;
};

#endif
