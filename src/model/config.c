/* The config of a checkpoint. Files named config.json, and the metadata of GGUF files which are made of them, are wrong in many ways (facts of the field: other sizes than the tensors',
 * Infinity for numbers, fields of another model), so everything that a shape can tell is read from the shapes; what config.json
 * says otherwise becomes a note. Only what no shape tells is taken from it: the family, the epsilons, special ids, tying. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

const char *krait_family_name(krait_family family)
{
    switch (family) {
    case KRAIT_FAMILY_MAMBA: return "mamba";
    case KRAIT_FAMILY_FALCON_MAMBA: return "falcon_mamba";
    }
    return "unknown";
}

krait_status krait_config_named(krait_config *config, const char *name, krait_error *error)
{
    if (!config || !name)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_config_named: %s is NULL", config ? "name" : "config");
    static const struct {
        const char *name;
        int64_t n_layer, d_model;
    } shapes[] = { { "130m", 24, 768 }, { "370m", 48, 1024 }, { "790m", 48, 1536 }, { "1.4b", 48, 2048 }, { "2.8b", 64, 2560 } };
    *config = (krait_config){ 0 };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(name, shapes[i].name) != 0) continue;
        int64_t d_model = shapes[i].d_model;
        *config = (krait_config){ .family = KRAIT_FAMILY_MAMBA,
                                  .vocab_size = 50280,
                                  .d_model = d_model,
                                  .n_layer = shapes[i].n_layer,
                                  .d_inner = 2 * d_model,
                                  .d_state = 16,
                                  .d_conv = 4,
                                  .dt_rank = d_model / 16,
                                  .conv_bias = true,
                                  .tied_head = true,
                                  .norm_eps = 1e-5f,
                                  .bos_id = 0,
                                  .eos_id = 0 };
        return KRAIT_OK;
    }
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "shape: expected one of 130m, 370m, 790m, 1.4b, 2.8b, found \"%.40s\"", name);
}

static krait_status add_count(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)error;
    struct {
        const krait_config *config;
        uint64_t total;
    } *sum = context;
    sum->total += kr_parameter_count(place->parameter, sum->config);
    return KRAIT_OK;
}

uint64_t krait_config_parameters(const krait_config *config)
{
    struct {
        const krait_config *config;
        uint64_t total;
    } sum = { config, 0 };
    if (!config || kr_config_check(config, NULL) != KRAIT_OK) return 0;
    kr_each_parameter(config, NULL, add_count, &sum, NULL);
    return sum.total;
}

void kr_config_fingerprint(const krait_config *config, char text[KR_FINGERPRINT])
{
    snprintf(text, KR_FINGERPRINT,
             "%s vocab_size=%" PRId64 " d_model=%" PRId64 " n_layer=%" PRId64 " d_inner=%" PRId64 " d_state=%" PRId64
             " d_conv=%" PRId64 " dt_rank=%" PRId64,
             krait_family_name(config->family), config->vocab_size, config->d_model, config->n_layer, config->d_inner,
             config->d_state, config->d_conv, config->dt_rank);
}

krait_status kr_config_check(const krait_config *config, krait_error *error)
{
    /* Far beyond any model, and small enough that the product of any two fits a size_t with room to spare. */
    enum { LARGEST = 1 << 28, LARGEST_CONV = 16, LARGEST_STATE = 1 << 16 };
    const struct {
        const char *name;
        int64_t value, largest;
    } fields[] = {
        { "vocab_size", config->vocab_size, LARGEST }, { "d_model", config->d_model, LARGEST },
        { "n_layer", config->n_layer, 1 << 20 },       { "d_inner", config->d_inner, LARGEST },
        { "d_state", config->d_state, LARGEST_STATE }, { "d_conv", config->d_conv, LARGEST_CONV },
        { "dt_rank", config->dt_rank, LARGEST },
    };
    if (!kr_block_of(config->family))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "config: family %d is unknown", (int)config->family);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value < 1 || fields[i].value > fields[i].largest)
            return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "config: %s: expected 1 .. %" PRId64 ", found %" PRId64,
                           fields[i].name, fields[i].largest, fields[i].value);
    if (!(config->norm_eps >= 0) || !isfinite(config->norm_eps))
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "config: norm_eps: expected a number >= 0, found %g",
                       (double)config->norm_eps);
    return KRAIT_OK;
}

/* ---- reading a checkpoint's shapes ------------------------------------------------------------------------------- */

/* What the tensors are called that tell the dimensions. */
typedef struct tensor_names {
    const char *embeddings[3]; /* any of them */
    const char *head, *layers, *A, *conv, *dt_proj, *proj_bias, *conv_bias;
    int conv_dims;
    const char *conv_shape;
} tensor_names;

static const tensor_names *names_of(const krait_checkpoint *checkpoint)
{
    static const tensor_names json = { .embeddings = { "backbone.embeddings.weight", "backbone.embedding.weight",
                                                       "lm_head.weight" },
                                       .head = "lm_head.weight",
                                       .layers = "backbone.layers.",
                                       .A = "backbone.layers.0.mixer.A_log",
                                       .conv = "backbone.layers.0.mixer.conv1d.weight",
                                       .dt_proj = "backbone.layers.0.mixer.dt_proj.weight",
                                       .proj_bias = "backbone.layers.0.mixer.in_proj.bias",
                                       .conv_bias = "backbone.layers.0.mixer.conv1d.bias",
                                       .conv_dims = 3,
                                       .conv_shape = "[d_inner, 1, d_conv]" };
    static const tensor_names gguf = { .embeddings = { "token_embd.weight" },
                                       .head = "output.weight",
                                       .layers = "blk.",
                                       .A = "blk.0.ssm_a",
                                       .conv = "blk.0.ssm_conv1d.weight",
                                       .dt_proj = "blk.0.ssm_dt.weight",
                                       .proj_bias = "blk.0.ssm_in.bias",
                                       .conv_bias = "blk.0.ssm_conv1d.bias",
                                       .conv_dims = 2,
                                       .conv_shape = "[d_inner, d_conv]" };
    return checkpoint->gguf ? &gguf : &json;
}

/* The first that there is of up to n names. */
static const kr_tensor *find_any(const krait_checkpoint *checkpoint, const char *const *names, size_t n)
{
    const kr_tensor *tensor = NULL;
    for (size_t i = 0; i < n && names[i] && !tensor; i++) tensor = kr_checkpoint_find(checkpoint, names[i]);
    return tensor;
}

static bool is_mamba2(const krait_checkpoint *checkpoint)
{
    return kr_checkpoint_find(checkpoint, "backbone.layers.0.mixer.dt_bias") != NULL;
}

/* A tensor whose shape we learn from; its number of dimensions must be right for that. */
static krait_status need(const kr_tensor **result, const krait_checkpoint *checkpoint, const char *name, int n_dims,
                         const char *shape, krait_error *error)
{
    const kr_tensor *tensor = kr_checkpoint_find(checkpoint, name);
    char found[96] = "nothing";
    if (tensor && tensor->n_dims == n_dims) {
        for (int i = 0; i < n_dims; i++)
            if (tensor->shape[i] > INT32_MAX || tensor->shape[i] == 0) n_dims = -1;
        *result = tensor;
        if (n_dims > 0) return KRAIT_OK;
    }
    if (tensor) kr_tensor_describe(tensor, found, sizeof found);
    return kr_fail(error, tensor ? KRAIT_ERROR_FORMAT : KRAIT_ERROR_UNSUPPORTED, "%s: %s: expected %s, found %s",
                   tensor ? tensor->file : krait_checkpoint_path(checkpoint), name, shape, found);
}

static int64_t count_layers(const krait_checkpoint *checkpoint)
{
    const char *prefix = names_of(checkpoint)->layers;
    const size_t length = strlen(prefix);
    long long n_layer = 0;
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const char *name = checkpoint->tensors[i].name;
        if (strncmp(name, prefix, length) != 0) continue;
        char *end;
        long long layer = strtoll(name + length, &end, 10);
        /* No more layers than tensors: a lying index becomes a missing tensor, not a huge loop. */
        if (*end == '.' && layer >= n_layer && layer < (long long)checkpoint->n_tensors) n_layer = layer + 1;
    }
    return n_layer;
}

static krait_status read_shapes(krait_config *config, const krait_checkpoint *checkpoint, krait_error *error)
{
    const tensor_names *names = names_of(checkpoint);
    const char *path = krait_checkpoint_path(checkpoint), *type = checkpoint->hints.model_type;
    const kr_tensor *embedding = find_any(checkpoint, names->embeddings, 3), *A, *conv, *dt_proj;
    if (checkpoint->gguf && strcmp(type, "mamba") != 0 && strcmp(type, "falcon_mamba") != 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: general.architecture: expected mamba, found %s",
                       checkpoint->hints.file, type[0] ? type : "nothing");
    if (!embedding)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: not a language model we know: expected a tensor %s%s%s, found %zu others, the first %.80s", path,
                       names->embeddings[0], names->embeddings[1] ? " or " : "", names->embeddings[1] ? names->embeddings[1] : "",
                       checkpoint->n_tensors, checkpoint->n_tensors ? checkpoint->tensors[0].name : "none");
    if (is_mamba2(checkpoint) || strcmp(type, "mamba2") == 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: a Mamba-2 model: expected a Mamba-1 mixer (x_proj, dt_proj), found dt_bias", path);
    krait_status status = need(&embedding, checkpoint, embedding->name, 2, "[vocab_size, d_model]", error);
    if (!status) status = need(&A, checkpoint, names->A, 2, "[d_inner, d_state]", error);
    if (!status) status = need(&conv, checkpoint, names->conv, names->conv_dims, names->conv_shape, error);
    if (!status) status = need(&dt_proj, checkpoint, names->dt_proj, 2, "[d_inner, dt_rank]", error);
    if (status) return status;
    config->vocab_size = (int64_t)embedding->shape[0];
    config->d_model = (int64_t)embedding->shape[1];
    config->n_layer = count_layers(checkpoint);
    config->d_inner = (int64_t)A->shape[0];
    config->d_state = (int64_t)A->shape[1];
    config->d_conv = (int64_t)conv->shape[names->conv_dims - 1];
    config->dt_rank = (int64_t)dt_proj->shape[1];
    config->proj_bias = kr_checkpoint_find(checkpoint, names->proj_bias) != NULL;
    config->conv_bias = kr_checkpoint_find(checkpoint, names->conv_bias) != NULL;
    return KRAIT_OK;
}

/* ---- what config.json adds, and where it disagrees --------------------------------------------------------------- */

static bool usable(const kr_hint *hint) { return hint->key && isfinite(hint->value); }

static void note_disagreement(krait_checkpoint *checkpoint, const kr_hint *hint, int64_t actual, const char *shape_of)
{
    if (!hint->key || hint->value == (double)actual) return;
    kr_checkpoint_add_note(checkpoint, "%s: %s: expected %" PRId64 ", as the shape of %s says, found %g; the shape is used",
                           checkpoint->hints.file, hint->key, actual, shape_of, hint->value);
}

static void note_disagreements(krait_checkpoint *checkpoint, const krait_config *config)
{
    const kr_config_hints *hints = &checkpoint->hints;
    kr_hint vocab = hints->vocab_size;
    double multiple = usable(&hints->pad_vocab_size_multiple) ? hints->pad_vocab_size_multiple.value : 1;
    if (usable(&vocab) && multiple >= 1) vocab.value = ceil(vocab.value / multiple) * multiple;
    note_disagreement(checkpoint, &vocab, config->vocab_size, "the embedding");
    note_disagreement(checkpoint, &hints->d_model, config->d_model, "the embedding");
    note_disagreement(checkpoint, &hints->n_layer, config->n_layer, "the list of layers");
    bool gguf = checkpoint->gguf != NULL;
    note_disagreement(checkpoint, &hints->d_inner, config->d_inner, gguf ? "ssm_a" : "A_log");
    note_disagreement(checkpoint, &hints->d_state, config->d_state, gguf ? "ssm_a" : "A_log");
    note_disagreement(checkpoint, &hints->d_conv, config->d_conv, gguf ? "ssm_conv1d.weight" : "conv1d.weight");
    note_disagreement(checkpoint, &hints->dt_rank, config->dt_rank, gguf ? "ssm_dt.weight" : "dt_proj.weight");
    note_disagreement(checkpoint, &hints->proj_bias, config->proj_bias, "the mixer (a bias of in_proj)");
    note_disagreement(checkpoint, &hints->conv_bias, config->conv_bias, "the mixer (a bias of conv1d)");
    if (!hints->d_inner.key && usable(&hints->expand) && hints->expand.value * (double)config->d_model != (double)config->d_inner)
        kr_checkpoint_add_note(checkpoint, "%s: %s: expected d_inner / d_model = %g, found %g; the shape is used", hints->file,
                               hints->expand.key, (double)config->d_inner / (double)config->d_model, hints->expand.value);
}

static float epsilon(krait_checkpoint *checkpoint, const kr_hint *hint, const char *name, double otherwise)
{
    if (usable(hint) && hint->value > 0 && hint->value < 1) return (float)hint->value;
    if (hint->key)
        kr_checkpoint_add_note(checkpoint, "%s: %s: expected a number between 0 and 1, found %g; %g is used",
                               checkpoint->hints.file, hint->key, hint->value, otherwise);
    else if (checkpoint->hints.model_type[0])
        kr_checkpoint_add_note(checkpoint, "%s: %s is missing; %g is used", checkpoint->hints.file, name, otherwise);
    return (float)otherwise;
}

static int32_t special_id(krait_checkpoint *checkpoint, const kr_hint *hint, const krait_config *config)
{
    if (!hint->key) return -1;
    if (hint->value >= 0 && hint->value < (double)config->vocab_size && hint->value == floor(hint->value))
        return (int32_t)hint->value;
    kr_checkpoint_add_note(checkpoint, "%s: %s: expected an id below %" PRId64 ", found %g; it is not used",
                           checkpoint->hints.file, hint->key, config->vocab_size, hint->value);
    return -1;
}

static bool same_contents(const kr_tensor *a, const kr_tensor *b)
{
    size_t bytes;
    if (a->dtype != b->dtype || a->n_dims != b->n_dims || memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape) != 0)
        return false;
    if (!kr_tensor_is_contiguous(a) || !kr_tensor_is_contiguous(b) || !kr_tensor_bytes(a, &bytes)) return false;
    return a->data == b->data || memcmp(a->data, b->data, bytes) == 0;
}

/* The head is tied when there is none of its own, or one that equals the embedding, or when config.json says so (then a stored one
 * is not used, as in the library that wrote it). */
static bool is_tied(krait_checkpoint *checkpoint)
{
    const tensor_names *names = names_of(checkpoint);
    const kr_tensor *head = kr_checkpoint_find(checkpoint, names->head),
                    *embedding = find_any(checkpoint, names->embeddings, checkpoint->gguf ? 1 : 2);
    const kr_hint *hint = &checkpoint->hints.tied_head;
    if (!head || !embedding) return true;
    if (same_contents(head, embedding)) return true;
    if (hint->key && hint->value == 1) {
        kr_checkpoint_add_note(checkpoint, "%s: %s is true, yet lm_head.weight differs from the embedding; the embedding is used",
                               checkpoint->hints.file, hint->key);
        return true;
    }
    return false;
}

static krait_status read_hints(krait_config *config, krait_checkpoint *checkpoint, krait_error *error)
{
    const kr_config_hints *hints = &checkpoint->hints;
    const char *type = hints->model_type;
    if (hints->rms_norm.key && hints->rms_norm.value == 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: %s: expected true (RMSNorm), found false (LayerNorm)", hints->file,
                       hints->rms_norm.key);
    if (hints->ssm_layer[0] && strcmp(hints->ssm_layer, "Mamba1") != 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: ssm_cfg.layer: expected Mamba1, found %s", hints->file,
                       hints->ssm_layer);
    if (hints->activation[0] && strcmp(hints->activation, "silu") != 0 && strcmp(hints->activation, "swish") != 0)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: hidden_act: expected silu, found %s", hints->file, hints->activation);
    bool falcon = strcmp(type, "falcon_mamba") == 0 || strncmp(hints->architecture, "FalconMamba", 11) == 0;
    if (type[0] && !falcon && strcmp(type, "mamba") != 0)
        kr_checkpoint_add_note(checkpoint,
                               "%s: model_type: expected mamba or falcon_mamba, found %s; the tensors are a Mamba-1's",
                               hints->file, type);
    if (!hints->file)
        kr_checkpoint_add_note(checkpoint, "no config.json: a Mamba-1 with norm_eps 1e-5 is assumed; the shapes tell the rest");
    config->family = falcon ? KRAIT_FAMILY_FALCON_MAMBA : KRAIT_FAMILY_MAMBA;
    const char *norm_eps = checkpoint->gguf ? KR_GGUF_NORM_EPS : "layer_norm_epsilon",
               *mixer_norm_eps = checkpoint->gguf ? KR_GGUF_MIXER_NORM_EPS : "mixer_rms_eps";
    config->norm_eps = epsilon(checkpoint, &hints->norm_eps, norm_eps, 1e-5);
    if (falcon) config->mixer_norm_eps = epsilon(checkpoint, &hints->mixer_norm_eps, mixer_norm_eps, 1e-6);
    config->bos_id = special_id(checkpoint, &hints->bos_id, config);
    config->eos_id = special_id(checkpoint, &hints->eos_id, config);
    config->tied_head = is_tied(checkpoint);
    for (size_t i = 0; i < hints->n_notes; i++) kr_checkpoint_add_note(checkpoint, "%s", hints->notes[i]);
    return KRAIT_OK;
}

krait_status krait_checkpoint_config(krait_checkpoint *checkpoint, krait_config *config, krait_error *error)
{
    if (!checkpoint || !config)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_checkpoint_config: %s is NULL", checkpoint ? "config" : "checkpoint");
    krait_config read = { 0 };
    *config = read;
    krait_status status = read_shapes(&read, checkpoint, error);
    if (!status) status = read_hints(&read, checkpoint, error);
    if (!status) note_disagreements(checkpoint, &read);
    if (!status) status = kr_config_check(&read, error);
    if (!status) status = kr_weights_check(checkpoint, &read, error);
    if (!status) *config = read;
    return status;
}
