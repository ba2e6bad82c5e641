/* The config of a checkpoint: shapes win, and every disagreement is named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "formats/safetensors.h"

/* A checkpoint made of models/tiny's tensors, changed by `change`, beside a config.json of the test's own. */
typedef struct made {
    char folder[64], weights[96], config[96];
    krait_checkpoint *source, *checkpoint;
} made;

static void make(made *m, const char *config_json, void (*change)(kr_tensor *tensors, size_t *n))
{
    krait_error error;
    m->source = fixture_open(KRAIT_TEST_DATA "/models/tiny", "model.safetensors");
    snprintf(m->folder, sizeof m->folder, "/tmp/krait-config-XXXXXX");
    assert_non_null(mkdtemp(m->folder));
    snprintf(m->weights, sizeof m->weights, "%s/model.safetensors", m->folder);
    snprintf(m->config, sizeof m->config, "%s/config.json", m->folder);
    size_t n = m->source->n_tensors;
    kr_tensor *tensors = malloc((n + 4) * sizeof *tensors);
    memcpy(tensors, m->source->tensors, n * sizeof *tensors);
    if (change) change(tensors, &n);
    assert_ok(kr_safetensors_write(m->weights, tensors, n, NULL, 0, &error));
    free(tensors);
    if (config_json) {
        FILE *file = fopen(m->config, "w");
        assert_non_null(file);
        fputs(config_json, file);
        fclose(file);
    }
    assert_ok(krait_checkpoint_open(&m->checkpoint, m->folder, &error));
}

static void unmake(made *m)
{
    krait_checkpoint_free(m->checkpoint);
    krait_checkpoint_free(m->source);
    unlink(m->weights);
    unlink(m->config);
    assert_int_equal(rmdir(m->folder), 0);
}

static bool noted(const krait_checkpoint *checkpoint, const char *text)
{
    const char *note;
    for (size_t i = 0; (note = krait_checkpoint_note(checkpoint, i)); i++)
        if (strstr(note, text)) return true;
    return false;
}

static void expect_note(const char *config_json, const char *note)
{
    made m;
    krait_config config;
    krait_error error;
    make(&m, config_json, NULL);
    assert_ok(krait_checkpoint_config(m.checkpoint, &config, &error));
    assert_int_equal(config.d_inner, 128); /* the shape's, whatever config.json says */
    assert_int_equal(config.n_layer, 3);
    assert_int_equal(config.vocab_size, 256);
    if (!noted(m.checkpoint, note)) {
        for (size_t i = 0; krait_checkpoint_note(m.checkpoint, i); i++)
            print_message("note: %s\n", krait_checkpoint_note(m.checkpoint, i));
        fail_msg("no note says \"%s\"", note);
    }
    unmake(&m);
}

static void expect_failure(const char *config_json, void (*change)(kr_tensor *, size_t *), krait_status status, const char *says)
{
    made m;
    krait_config config;
    krait_model *model;
    krait_error error;
    make(&m, config_json, change);
    assert_int_equal(krait_checkpoint_config(m.checkpoint, &config, &error), status);
    if (!strstr(error.message, says)) fail_msg("\"%s\" is not in \"%s\"", says, error.message);
    assert_int_equal(krait_model_create(&model, m.checkpoint, NULL, &error), status);
    assert_null(model);
    assert_true(krait_checkpoint_n_tensors(m.checkpoint) > 0); /* it can still be listed */
    unmake(&m);
}

static void shapes_win_and_the_field_is_named(void **unused)
{
    (void)unused;
    expect_note("{\"model_type\":\"mamba\",\"intermediate_size\":160}",
                "intermediate_size: expected 128, as the shape of A_log says, found 160");
    expect_note("{\"model_type\":\"mamba\",\"num_hidden_layers\":32}", "num_hidden_layers: expected 3");
    expect_note("{\"d_model\":64,\"n_layer\":3,\"vocab_size\":240,\"pad_vocab_size_multiple\":8}", "vocab_size: expected 256");
    expect_note("{\"model_type\":\"mamba\",\"hidden_size\":Infinity}", "hidden_size");
    expect_note("{\"model_type\":\"mamba\",\"layer_norm_epsilon\":Infinity}",
                "layer_norm_epsilon: expected a number between 0 and 1");
    expect_note("{\"model_type\":\"mamba\",\"state_size\":8}", "state_size: expected 16");
    expect_note("{\"model_type\":\"mamba\",\"time_step_rank\":8}", "time_step_rank: expected 4");
    expect_note("{\"model_type\":\"mamba\",\"conv_kernel\":3}", "conv_kernel: expected 4");
    expect_note("{\"model_type\":\"mamba\",\"expand\":3}", "expand: expected d_inner / d_model = 2, found 3");
    expect_note("{\"model_type\":\"mamba\",\"use_bias\":true}", "use_bias");
    expect_note("{\"model_type\":\"mamba\",\"eos_token_id\":300}", "eos_token_id: expected an id below 256, found 300");
    expect_note("{\"model_type\":\"llama\"}", "model_type: expected mamba or falcon_mamba, found llama");
    expect_note(NULL, "no config.json");
}

static void a_padded_vocabulary_is_no_disagreement(void **unused)
{
    (void)unused;
    made m;
    krait_config config;
    krait_error error;
    make(&m, "{\"d_model\":64,\"n_layer\":3,\"vocab_size\":253,\"ssm_cfg\":{},\"rms_norm\":true,\"pad_vocab_size_multiple\":8}",
         NULL);
    assert_ok(krait_checkpoint_config(m.checkpoint, &config, &error));
    assert_int_equal(config.vocab_size, 256);
    assert_true(config.tied_head);
    assert_false(noted(m.checkpoint, "vocab_size"));
    unmake(&m);
}

static kr_tensor *named(kr_tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
    fail_msg("no %s", name);
    return NULL;
}

static void remove_D(kr_tensor *tensors, size_t *n)
{
    *named(tensors, *n, "backbone.layers.1.mixer.D") = tensors[*n - 1];
    --*n;
}
static void turn_x_proj(kr_tensor *tensors, size_t *n)
{
    kr_tensor *tensor = named(tensors, *n, "backbone.layers.2.mixer.x_proj.weight");
    uint64_t rows = tensor->shape[0];
    tensor->shape[0] = tensor->shape[1];
    tensor->shape[1] = rows;
    kr_tensor_set_contiguous(tensor);
}
static void make_A_integers(kr_tensor *tensors, size_t *n)
{
    named(tensors, *n, "backbone.layers.0.mixer.A_log")->dtype = KRAIT_DTYPE_I32;
}
static void rename_embedding(kr_tensor *tensors, size_t *n)
{
    named(tensors, *n, "backbone.embeddings.weight")->name = "wte.weight";
}
static void add_mamba2(kr_tensor *tensors, size_t *n)
{
    tensors[*n] = *named(tensors, *n, "backbone.layers.0.mixer.D");
    tensors[(*n)++].name = "backbone.layers.0.mixer.dt_bias";
}
static void add_far_layer(kr_tensor *tensors, size_t *n)
{
    tensors[*n] = *named(tensors, *n, "backbone.layers.0.mixer.D");
    tensors[(*n)++].name = "backbone.layers.5.mixer.D";
}
static void add_surplus(kr_tensor *tensors, size_t *n)
{
    tensors[*n] = *named(tensors, *n, "backbone.layers.0.mixer.D");
    tensors[(*n)++].name = "backbone.layers.0.mixer.extra";
}

static void what_is_missing_or_wrong_is_named(void **unused)
{
    (void)unused;
    static const char good[] = "{\"model_type\":\"mamba\"}";
    expect_failure(good, remove_D, KRAIT_ERROR_FORMAT,
                   "backbone.layers.1.mixer.D: expected [128] F32 (or F16, BF16, F64), found nothing");
    expect_failure(good, turn_x_proj, KRAIT_ERROR_FORMAT,
                   "layers.2.mixer.x_proj.weight: expected [36, 128] F32 (or F16, BF16, F64), found [128, 36] F32");
    expect_failure(good, make_A_integers, KRAIT_ERROR_FORMAT, "found [128, 16] I32");
    expect_failure(good, rename_embedding, KRAIT_ERROR_UNSUPPORTED, "expected a tensor backbone.embeddings.weight");
    expect_failure(good, add_mamba2, KRAIT_ERROR_UNSUPPORTED, "Mamba-2");
    expect_failure(good, add_far_layer, KRAIT_ERROR_FORMAT, "backbone.layers.3.norm.weight");
    expect_failure("{\"d_model\":64,\"n_layer\":3,\"rms_norm\":false}", NULL, KRAIT_ERROR_UNSUPPORTED, "LayerNorm");
    expect_failure("{\"model_type\":\"mamba\",\"hidden_act\":\"gelu\"}", NULL, KRAIT_ERROR_UNSUPPORTED, "gelu");
}

static void surplus_tensors_are_noted(void **unused)
{
    (void)unused;
    made m;
    krait_config config;
    krait_error error;
    make(&m, "{\"model_type\":\"mamba\"}", add_surplus);
    assert_ok(krait_checkpoint_config(m.checkpoint, &config, &error));
    assert_true(noted(m.checkpoint, "backbone.layers.0.mixer.extra"));
    unmake(&m);
}

static void published_shapes_have_their_parameters(void **unused)
{
    (void)unused;
    krait_config config;
    krait_error error;
    assert_ok(krait_config_named(&config, "130m", &error));
    assert_int_equal(krait_config_parameters(&config), 129135360); /* as published */
    assert_ok(krait_config_named(&config, "2.8b", &error));
    assert_int_equal(krait_config_parameters(&config) / 1000000, 2768);
    assert_int_equal(krait_config_named(&config, "7b", &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "1.4b"));
}

static void a_random_model_runs(void **unused)
{
    (void)unused;
    krait_config config = { .vocab_size = 50,
                            .d_model = 24,
                            .n_layer = 2,
                            .d_inner = 48,
                            .d_state = 5,
                            .d_conv = 1,
                            .dt_rank = 2,
                            .norm_eps = 1e-5f,
                            .bos_id = -1,
                            .eos_id = -1 };
    krait_model *model, *again;
    krait_session *session;
    krait_state *state;
    krait_error error;
    assert_ok(krait_model_random(&model, &config, 3, NULL, &error));
    assert_ok(krait_model_random(&again, &config, 3, NULL, &error));
    assert_ok(krait_session_create(&session, model, NULL, &error));
    assert_ok(krait_state_create(&state, model, &error));
    int32_t ids[] = { 1, 2, 3 };
    float a[50], b[50];
    krait_sequence sequence = { .state = state, .tokens = ids, .count = 3, .want = KRAIT_WANT_LAST };
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = a }, &error));
    krait_session_free(session);
    assert_ok(krait_session_create(&session, again, NULL, &error));
    krait_state_reset(state);
    assert_ok(krait_run(session, &sequence, 1, &(krait_outputs){ .logits = b }, &error));
    assert_memory_equal(a, b, sizeof a);
    assert_true(largest_magnitude(a, 50) > 0 && largest_magnitude(a, 50) < 100);
    krait_session_free(session);
    krait_state_free(state);
    krait_model_free(model);
    krait_model_free(again);
    config.d_conv = 17;
    assert_int_equal(krait_model_random(&model, &config, 3, NULL, &error), KRAIT_ERROR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "d_conv: expected 1 .. 16, found 17"));
}

static bool stop_at_half(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    *(uint64_t *)user = done;
    return done < total / 2;
}

static void loading_can_be_interrupted(void **unused)
{
    (void)unused;
    krait_model *model;
    krait_error error;
    uint64_t done = 0;
    krait_load_options options = { .progress = { stop_at_half, &done } };
    assert_int_equal(krait_model_load(&model, KRAIT_TEST_DATA "/models/tiny", &options, &error), KRAIT_ERROR_INTERRUPTED);
    assert_null(model);
    assert_true(done > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_win_and_the_field_is_named),
        cmocka_unit_test(a_padded_vocabulary_is_no_disagreement),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
        cmocka_unit_test(surplus_tensors_are_noted),
        cmocka_unit_test(published_shapes_have_their_parameters),
        cmocka_unit_test(a_random_model_runs),
        cmocka_unit_test(loading_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
