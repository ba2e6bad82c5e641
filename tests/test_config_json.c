#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "formats/config_json.h"

static kr_arena arena;
static kr_file file;

static krait_status read_text(kr_config_hints *hints, const char *text, krait_error *error)
{
    kr_file_close(&file);
    assert_int_equal(kr_file_borrow(&file, "config.json", text, strlen(text), NULL), KRAIT_OK);
    return kr_config_json_read(hints, &arena, &file, error);
}

static kr_config_hints hints_of(const char *text)
{
    kr_config_hints hints;
    krait_error error;
    if (read_text(&hints, text, &error)) fail_msg("%s", error.message);
    assert_string_equal(hints.file, "config.json");
    return hints;
}

static void refuses(const char *text, const char *message)
{
    kr_config_hints hints;
    krait_error error = { 0 };
    assert_int_equal(read_text(&hints, text, &error), KRAIT_ERROR_FORMAT);
    if (!strstr(error.message, message)) fail_msg("expected \"%s\", found \"%s\"", message, error.message);
    assert_null(hints.file);
}

static int clean(void **state)
{
    (void)state;
    kr_arena_free(&arena);
    kr_file_close(&file);
    return 0;
}

static void expect_hint(kr_hint hint, const char *key, double value)
{
    assert_non_null(hint.key);
    assert_string_equal(hint.key, key);
    assert_true(hint.value == value);
}

static void reads_the_hf_layout(void **state)
{
    (void)state;
    krait_error error;
    kr_config_hints h;
    if (kr_file_open(&file, KRAIT_TEST_DATA "/models/falcon/config.json", &error)) fail_msg("%s", error.message);
    if (kr_config_json_read(&h, &arena, &file, &error)) fail_msg("%s", error.message);
    assert_string_equal(h.model_type, "falcon_mamba");
    assert_string_equal(h.architecture, "FalconMambaForCausalLM");
    assert_string_equal(h.activation, "silu");
    assert_string_equal(h.ssm_layer, "");
    expect_hint(h.vocab_size, "vocab_size", 128);
    expect_hint(h.d_model, "hidden_size", 48);
    expect_hint(h.n_layer, "num_hidden_layers", 3);
    expect_hint(h.d_inner, "intermediate_size", 96);
    expect_hint(h.d_state, "state_size", 16);
    expect_hint(h.d_conv, "conv_kernel", 4);
    expect_hint(h.dt_rank, "time_step_rank", 3);
    expect_hint(h.expand, "expand", 2);
    expect_hint(h.proj_bias, "use_bias", 0);
    expect_hint(h.conv_bias, "use_conv_bias", 1);
    expect_hint(h.tied_head, "tie_word_embeddings", 0);
    expect_hint(h.norm_eps, "layer_norm_epsilon", 1e-5);
    expect_hint(h.mixer_norm_eps, "mixer_rms_eps", 1e-6);
    expect_hint(h.bos_id, "bos_token_id", 0);
    expect_hint(h.eos_id, "eos_token_id", 0);
    assert_null(h.rms_norm.key);
    assert_null(h.pad_vocab_size_multiple.key);
    assert_int_equal(h.n_notes, 0);
}

static void reads_the_original_layout(void **state)
{
    (void)state;
    kr_config_hints h =
        hints_of("{\"d_model\": 768, \"n_layer\": 24, \"vocab_size\": 50277, \"ssm_cfg\": {\"d_state\": 8, \"d_conv\": 3, "
                 "\"expand\": 3, \"dt_rank\": \"auto\", \"layer\": \"Mamba2\", \"headdim\": 64}, \"rms_norm\": true, "
                 "\"residual_in_fp32\": true, \"fused_add_norm\": true, \"pad_vocab_size_multiple\": 8, "
                 "\"tie_embeddings\": false, \"d_inner\": 160}");
    assert_string_equal(h.model_type, "");
    assert_string_equal(h.architecture, "");
    expect_hint(h.d_model, "d_model", 768);
    expect_hint(h.n_layer, "n_layer", 24);
    expect_hint(h.vocab_size, "vocab_size", 50277);
    expect_hint(h.d_state, "d_state", 8);
    expect_hint(h.d_conv, "d_conv", 3);
    expect_hint(h.expand, "expand", 3);
    expect_hint(h.d_inner, "d_inner", 160);
    expect_hint(h.rms_norm, "rms_norm", 1);
    expect_hint(h.pad_vocab_size_multiple, "pad_vocab_size_multiple", 8);
    expect_hint(h.tied_head, "tie_embeddings", 0);
    assert_null(h.dt_rank.key);
    assert_string_equal(h.ssm_layer, "Mamba2");
    h = hints_of("{\"ssm_cfg\": {\"dt_rank\": 5}}");
    expect_hint(h.dt_rank, "dt_rank", 5);
    hints_of("{\"ssm_cfg\": null}");
    hints_of("{}");
}

static void reads_the_numbers_seen_in_the_wild(void **state)
{
    (void)state;
    kr_config_hints h = hints_of("{\"time_step_limit\": [0.0, Infinity], \"hidden_size\": Infinity, \"num_hidden_layers\": NaN, "
                                 "\"expand\": {\"__float__\": \"Infinity\"}, \"state_size\": {\"__float__\": \"-Infinity\"}, "
                                 "\"conv_kernel\": {\"__float__\": \"NaN\"}, \"time_step_rank\": \"auto\", "
                                 "\"eos_token_id\": [7, 8], \"bos_token_id\": null, \"use_bias\": 1}");
    assert_true(h.d_model.value == (double)INFINITY);
    assert_true(isnan(h.n_layer.value));
    assert_true(h.expand.value == (double)INFINITY);
    assert_true(h.d_state.value == -(double)INFINITY);
    assert_true(isnan(h.d_conv.value));
    assert_null(h.dt_rank.key);
    assert_null(h.bos_id.key);
    expect_hint(h.eos_id, "eos_token_id", 7);
    expect_hint(h.proj_bias, "use_bias", 1);
    assert_int_equal(h.n_notes, 0);
}

static void notes_two_spellings_that_disagree(void **state)
{
    (void)state;
    kr_config_hints h = hints_of("{\"n_layer\": 48, \"num_hidden_layers\": 32, \"d_model\": 5, \"hidden_size\": 5}");
    expect_hint(h.n_layer, "num_hidden_layers", 32);
    assert_int_equal(h.n_notes, 1);
    assert_string_equal(h.notes[0], "config.json: num_hidden_layers 32 and n_layer 48 disagree; the first is taken");
}

static void notes_wrong_types_where_shapes_tell(void **state)
{
    (void)state;
    kr_config_hints h =
        hints_of("{\"hidden_size\": \"64\", \"use_bias\": 2, \"eos_token_id\": [], \"expand\": {\"__float__\": 1}}");
    assert_null(h.d_model.key);
    assert_null(h.proj_bias.key);
    assert_null(h.eos_id.key);
    assert_null(h.expand.key);
    assert_int_equal(h.n_notes, 4);
    assert_string_equal(h.notes[0], "config.json: hidden_size: expected a number, found string; it is not used");
    char many[4096] = "{";
    static const char *const keys[] = { "vocab_size",    "hidden_size",       "d_model",      "num_hidden_layers",
                                        "n_layer",       "intermediate_size", "d_inner",      "state_size",
                                        "conv_kernel",   "time_step_rank",    "expand",       "use_bias",
                                        "use_conv_bias", "bos_token_id",      "eos_token_id", "pad_vocab_size_multiple" };
    for (size_t i = 0; i < 16; i++) sprintf(many + strlen(many), "\"%s\": [[]], ", keys[i]);
    strcat(many, "\"ssm_cfg\": {\"d_state\": [], \"d_conv\": []}}");
    assert_int_equal(hints_of(many).n_notes, 16);
}

static void refuses_wrong_types_where_nothing_else_tells(void **state)
{
    (void)state;
    refuses("{\"layer_norm_epsilon\": \"1e-5\"}", "config.json: layer_norm_epsilon: expected a number, found string");
    refuses("{\"mixer_rms_eps\": []}", "config.json: mixer_rms_eps: expected a number, found array");
    refuses("{\"model_type\": 3}", "config.json: model_type: expected a string, found integer");
    refuses("{\"hidden_act\": true}", "config.json: hidden_act: expected a string, found boolean");
    refuses("{\"tie_word_embeddings\": \"yes\"}", "config.json: tie_word_embeddings: expected true or false, found string");
    refuses("{\"rms_norm\": 2}", "config.json: rms_norm: expected true or false, found integer");
    refuses("{\"architectures\": [1]}", "config.json: architectures: expected a string, found integer");
    refuses("{\"ssm_cfg\": []}", "config.json: ssm_cfg: expected an object, found array");
    refuses("{\"ssm_cfg\": {\"layer\": 2}}", "config.json: layer: expected a string, found integer");
    refuses("[]", "config.json: expected an object, found array");
    refuses("", "config.json: line 1, byte 0: expected a value");
    refuses("{\"a\": 1, \"a\": 2}", "found \"a\" again");
}

static void long_names_are_cut(void **state)
{
    (void)state;
    kr_config_hints h = hints_of("{\"model_type\": \"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\"}");
    assert_int_equal(strlen(h.model_type), sizeof h.model_type - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(reads_the_hf_layout, clean),
        cmocka_unit_test_teardown(reads_the_original_layout, clean),
        cmocka_unit_test_teardown(reads_the_numbers_seen_in_the_wild, clean),
        cmocka_unit_test_teardown(notes_two_spellings_that_disagree, clean),
        cmocka_unit_test_teardown(notes_wrong_types_where_shapes_tell, clean),
        cmocka_unit_test_teardown(refuses_wrong_types_where_nothing_else_tells, clean),
        cmocka_unit_test_teardown(long_names_are_cut, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
