/* config.json of both layouts as hints: what it says, under which name it says it, and nothing decided. The model's shapes win
 * (src/model/config.c). */
#ifndef KR_FORMATS_CONFIG_JSON_H
#define KR_FORMATS_CONFIG_JSON_H

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"

/* A number that may be missing; `key` is the name it was found under ("hidden_size", "d_model"), for messages. */
typedef struct kr_hint {
    const char *key; /* NULL: missing */
    double value;    /* may be NaN or infinite: seen in the wild */
} kr_hint;

typedef struct kr_config_hints {
    const char *file;      /* name of the file, for messages; NULL when there is none */
    char model_type[32];   /* "mamba", "falcon_mamba", ...; "" when missing (the original layout) */
    char architecture[64]; /* the first of `architectures`, or "" */
    kr_hint vocab_size, d_model, n_layer, d_inner, d_state, d_conv, dt_rank, expand;
    kr_hint pad_vocab_size_multiple;
    kr_hint proj_bias, conv_bias, tied_head; /* 0 or 1 */
    kr_hint norm_eps, mixer_norm_eps;
    kr_hint bos_id, eos_id;
    kr_hint rms_norm;      /* original layout: 0 means LayerNorm, which is not supported */
    char activation[16];   /* hidden_act, "" when missing */
    char ssm_layer[16];    /* original layout: ssm_cfg.layer ("Mamba1", "Mamba2"), "" when missing */
    const char *notes[16]; /* oddities in the file itself ("n_layer 48 and num_hidden_layers 32 disagree"), in the arena */
    size_t n_notes;
} kr_config_hints;

/* Reads the fields we know; others are ignored, null and "auto" count as missing. Where two spellings of one field disagree the
 * first of the hf layout is taken, with a note. A field of a wrong JSON type gets a note when shapes tell what it would have said,
 * and is an error when nothing else does (types, epsilons, activation). `hints` points into `file`'s name. */
krait_status kr_config_json_read(kr_config_hints *hints, kr_arena *arena, const kr_file *file, krait_error *error);

#endif
