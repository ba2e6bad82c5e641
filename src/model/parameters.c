#include <stdint.h>
#include <stdio.h>

#include "model/model.h"

/* The parameters outside of the blocks. */
static const kr_parameter own_parameters[] = {
    /* clang-format off */
    { .name = "backbone.embeddings.weight", .other_names = { "backbone.embedding.weight", "lm_head.weight" },
      .gguf_name = "token_embd.weight", .shape = { KR_VOCAB_SIZE, KR_D_MODEL }, .init = KR_INIT_EMBEDDING, .flags = KR_MATRIX | KR_DECAYS | KR_Q6_IN_Q4, .field = offsetof(krait_model, embedding) },
    { .name = "backbone.norm_f.weight", .gguf_name = "output_norm.weight", .shape = { KR_D_MODEL }, .init = KR_INIT_ONE, .field = offsetof(krait_model, norm_f) },
    { .name = "lm_head.weight", .gguf_name = "output.weight", .shape = { KR_VOCAB_SIZE, KR_D_MODEL }, .presence = KR_IF_UNTIED, .init = KR_INIT_EMBEDDING,
      .flags = KR_MATRIX | KR_DECAYS | KR_Q6_IN_Q4, .field = offsetof(krait_model, head) },
    /* clang-format on */
};
enum { OWN_BEFORE = 1, OWN_ALL = sizeof own_parameters / sizeof *own_parameters };

static void *field_of(void *base, const kr_parameter *parameter) { return base ? (char *)base + parameter->field : NULL; }

krait_status kr_each_parameter(const krait_config *config, krait_model *model,
                               krait_status (*visit)(void *context, const kr_parameter_place *place, krait_error *error),
                               void *context, krait_error *error)
{
    const kr_block *block = kr_block_of(config->family);
    kr_parameter_place place;
    krait_status status = KRAIT_OK;
    for (size_t i = 0; i < OWN_ALL && !status; i++) {
        if (i == OWN_BEFORE) { /* the layers come between the embedding and the last norm */
            for (size_t layer = 0; layer < (size_t)config->n_layer && !status; layer++)
                for (size_t j = 0; j < block->n_parameters && !status; j++) {
                    const kr_parameter *parameter = &block->parameters[j];
                    if (!kr_parameter_is_present(parameter, config)) continue;
                    place = (kr_parameter_place){ .parameter = parameter, .layer = layer };
                    place.field = field_of(model ? kr_model_layer(model, layer) : NULL, parameter);
                    snprintf(place.name, sizeof place.name, "backbone.layers.%zu.%s", layer, parameter->name);
                    if (parameter->gguf_name)
                        snprintf(place.gguf_name, sizeof place.gguf_name, "blk.%zu.%s", layer, parameter->gguf_name);
                    status = visit(context, &place, error);
                }
            if (status) break;
        }
        const kr_parameter *parameter = &own_parameters[i];
        if (!kr_parameter_is_present(parameter, config)) continue;
        place = (kr_parameter_place){ .parameter = parameter, .layer = SIZE_MAX, .field = field_of(model, parameter) };
        place.other_names[0] = parameter->other_names[0];
        place.other_names[1] = parameter->other_names[1];
        snprintf(place.name, sizeof place.name, "%s", parameter->name);
        if (parameter->gguf_name) snprintf(place.gguf_name, sizeof place.gguf_name, "%s", parameter->gguf_name);
        status = visit(context, &place, error);
    }
    return status;
}
