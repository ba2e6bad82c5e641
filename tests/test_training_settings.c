/* Settings of training runs: values, messages, what contradicts what, the config file that they become. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "train/settings.h"

static krait_training_settings *make(void)
{
    krait_training_settings *settings;
    krait_error error;
    assert_ok(krait_training_settings_create(&settings, &error));
    return settings;
}

static void set(krait_training_settings *settings, const char *key, const char *value)
{
    krait_error error;
    assert_ok(krait_training_settings_set(settings, key, value, "here", &error));
}

static void the_table_is_sound(void **state)
{
    (void)state;
    assert_true(krait_training_n_settings() > 40 && krait_training_n_settings() <= 96); /* as many as the program has room for */
    for (size_t i = 0; i < krait_training_n_settings(); i++) {
        const krait_setting *a = krait_training_setting(i);
        assert_true(a->key && a->flag && a->argument && a->help);
        assert_true(a->help[strlen(a->help) - 1] != '.');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(a->key, krait_training_setting(j)->key);
            assert_string_not_equal(a->flag, krait_training_setting(j)->flag);
        }
    }
    assert_null(krait_training_setting(krait_training_n_settings()));
}

static void values_read_back_as_they_were_given(void **state)
{
    (void)state;
    krait_training_settings *s = make();
    krait_error error;
    assert_string_equal(krait_training_settings_get(s, "data.rows", 0), "16");
    assert_null(krait_training_settings_origin(s, "data.rows"));
    assert_null(krait_training_settings_get(s, "train.steps", 0));
    set(s, "train.steps", "1e4");
    assert_int_equal(s->values.train.steps, 10000);
    assert_string_equal(krait_training_settings_get(s, "train.steps", 0), "10000");
    set(s, "train.learning_rate", "4e-3");
    assert_true(s->values.train.learning_rate == 4e-3);
    assert_string_equal(krait_training_settings_get(s, "train.learning_rate", 0), "0.004");
    set(s, "model.tied_head", "no");
    assert_string_equal(krait_training_settings_get(s, "model.tied_head", 0), "false");
    set(s, "data.train", "a.txt");
    set(s, "data.train", "b c.txt");
    assert_string_equal(krait_training_settings_get(s, "data.train", 1), "b c.txt");
    assert_null(krait_training_settings_get(s, "data.train", 2));
    assert_string_equal(krait_training_settings_origin(s, "data.train"), "here");
    assert_ok(krait_training_settings_clear(s, "data.train", &error));
    assert_null(krait_training_settings_get(s, "data.train", 0));
    assert_null(krait_training_settings_origin(s, "data.train"));
    krait_training_settings_free(s);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        { "data.row", "8", "x.yaml:3: unknown key data.row: did you mean data.rows?" },
        { "rows", "8", "unknown key rows: did you mean data.rows?" },
        { "model.rows", "8", "did you mean data.rows?" },
        { "train.lerning_rate", "8", "did you mean train.learning_rate?" },
        { "frobnicate", "8", "x.yaml:3: unknown key frobnicate" },
        { "data.rows", "0", "x.yaml:3: data.rows: expected a whole number from 1 to 1048576, found 0" },
        { "data.rows", "2.5", "data.rows: expected a whole number" },
        { "data.rows", "-1", "found -1" },
        { "data.rows", "", "expected a whole number" },
        { "data.rows", " 8", "expected a whole number" },
        { "data.rows", "0x10", "expected a whole number" },
        { "data.rows", "8 rows", "found 8 rows" },
        { "train.learning_rate", "inf", "train.learning_rate: expected a number" },
        { "train.learning_rate", "nan", "train.learning_rate: expected a number" },
        { "train.learning_rate", "1e999", "train.learning_rate: expected a number" },
        { "train.schedule", "cosin", "train.schedule: expected one of cosine|wsd|constant, found cosin" },
        { "train.schedule", "", "expected one of" },
        { "train.schedule", "cosine|wsd", "expected one of" },
        { "train.recompute", "maybe", "train.recompute: expected one of true|false, found maybe" },
        { "model.from", "", "model.from: expected a path, found none" },
    };
    krait_training_settings *s = make();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_error error = { 0 };
        assert_int_equal(krait_training_settings_set(s, cases[i].key, cases[i].value, "x.yaml:3", &error), KRAIT_ERROR_ARGUMENT);
        if (!strstr(error.message, cases[i].message))
            fail_msg("case %zu: expected \"%s\", found \"%s\"", i, cases[i].message, error.message);
    }
    assert_string_equal(krait_training_settings_get(s, "data.rows", 0), "16");
    krait_training_settings_free(s);
}

static void contradictions_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *settings[6][2], *message; /* NULL: they are good */
    } cases[] = {
        { { { "model.shape", "130m" }, { "data.train", "a" } }, NULL },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "model.d_state", "16" } }, NULL }, /* as it is anyway */
        { { { "model.d_model", "8" }, { "model.n_layer", "1" }, { "data.train", "a" } }, NULL },
        { { { "model.from", "x" }, { "data.train", "a" }, { "train.epochs", "0.5" } }, NULL },
        { { { "data.train", "a" } }, "no model" },
        { { { "model.d_model", "8" }, { "data.train", "a" } }, "no model" },
        { { { "model.shape", "130m" } }, "nothing to learn: expected data.train" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "model.d_model", "8" } },
          "here: model.d_model contradicts here: model.shape" },
        { { { "model.from", "x" }, { "data.train", "a" }, { "model.shape", "130m" } }, "contradicts" },
        { { { "model.from", "x" }, { "data.train", "a" }, { "model.vocab_size", "9" } }, "model.vocab_size contradicts" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "train.steps", "9" }, { "train.epochs", "1" } },
          "train.epochs contradicts here: train.steps" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "train.decay_steps", "9" } },
          "train.decay_steps: means nothing without train.schedule: wsd" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "train.learning_rate", "1e-6" } }, "is above" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "evaluate.every", "9" } },
          "evaluate.every: means nothing without data.held_out" },
        { { { "model.shape", "130m" }, { "data.train", "a" }, { "train.epochs", "0" } }, "expected a number above 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_training_settings *s = make();
        krait_error error = { 0 };
        for (size_t j = 0; j < 6 && cases[i].settings[j][0]; j++) set(s, cases[i].settings[j][0], cases[i].settings[j][1]);
        krait_status status = kr_settings_check(s, &error);
        if (!cases[i].message != !status || (status && !strstr(error.message, cases[i].message)))
            fail_msg("case %zu: expected \"%s\", found \"%s\"", i, cases[i].message ? cases[i].message : "nothing",
                     error.message);
        krait_training_settings_free(s);
    }
}

static void what_a_checkpoint_remembers_is_the_same(void **state)
{
    (void)state;
    krait_training_settings *s = make(), *back;
    krait_error error;
    char text[300];
    set(s, "data.train", "a.txt");
    set(s, "data.train", "b \"quoted\"\n.txt");
    set(s, "train.learning_rate", "0.1234567890123456");
    set(s, "train.steps", "9007199254740992");
    set(s, "model.tied_head", "false");
    kr_json_writer json = { 0 };
    kr_settings_put_json(s, &json);
    assert_false(json.failed);
    kr_arena arena = { 0 };
    const kr_json *root;
    assert_ok(kr_json_parse(&root, &arena, "json", json.buffer, json.length, &error));
    assert_ok(kr_settings_read_json(&back, root, "json", &error));
    assert_false(kr_settings_differences(s, back, text, sizeof text));
    assert_true(back->values.train.learning_rate == 0.1234567890123456 && back->values.train.steps == 9007199254740992u);
    assert_string_equal(back->values.data.train.items[1], "b \"quoted\"\n.txt");
    set(back, "train.threads", "3"); /* may change */
    set(back, "checkpoint.keep", "7");
    assert_false(kr_settings_differences(s, back, text, sizeof text));
    set(back, "seed", "5");
    set(back, "data.train", "c");
    assert_true(kr_settings_differences(s, back, text, sizeof text));
    assert_non_null(strstr(text, "seed (0, now 5), data.train (a.txt b \"quoted\"\n.txt, now a.txt b \"quoted\"\n.txt c)"));
    kr_arena_free(&arena);
    kr_free(json.buffer);
    krait_training_settings_free(s);
    krait_training_settings_free(back);
}

static void remembered_settings_that_are_broken_are_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "[]", "settings: expected an object, found array" },
        { "{\"data.rows\": 8}", "data.rows: expected an array, found a integer" },
        { "{\"data.rows\": [8]}", "data.rows: expected strings, found a integer" },
        { "{\"data.rows\": [\"x\"]}", "j: data.rows: expected a whole number" },
        { "{\"data.rowz\": [\"8\"]}", "j: unknown key data.rowz" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_training_settings *s;
        krait_error error = { 0 };
        kr_arena arena = { 0 };
        const kr_json *root;
        assert_ok(kr_json_parse(&root, &arena, "j", cases[i][0], strlen(cases[i][0]), &error));
        assert_int_equal(kr_settings_read_json(&s, root, "j", &error), KRAIT_ERROR_FORMAT);
        assert_null(s);
        if (!strstr(error.message, cases[i][1])) fail_msg("expected \"%s\", found \"%s\"", cases[i][1], error.message);
        kr_arena_free(&arena);
    }
}

static void the_config_file_has_every_setting(void **state)
{
    (void)state;
    krait_training_settings *s = make();
    krait_error error;
    char *yaml;
    set(s, "data.train", "a b.txt");
    set(s, "data.train", "null");
    set(s, "train.schedule", "wsd");
    assert_ok(krait_training_settings_yaml(s, &yaml, &error));
    assert_non_null(strstr(yaml, "\ndata:\n"));
    assert_non_null(strstr(yaml, "\n  train:\n    - \"a b.txt\"\n    - \"null\"\n"));
    assert_non_null(strstr(yaml, "\n  schedule: wsd\n"));
    assert_non_null(strstr(yaml, "\n  # d_model: N\n"));
    assert_non_null(strstr(yaml, "\n  # held_out: [FILE]\n"));
    assert_non_null(strstr(yaml, "\nseed: 0\n"));
    for (size_t i = 0; i < krait_training_n_settings(); i++) {
        const char *key = krait_training_setting(i)->key, *dot = strchr(key, '.');
        char text[80];
        snprintf(text, sizeof text, "%s:", dot ? dot + 1 : key);
        if (!strstr(yaml, text)) fail_msg("no %s", key);
    }
    for (const char *line = yaml; *line; line += strcspn(line, "\n") + 1) assert_true(strcspn(line, "\n") <= 100);
    krait_free(yaml);
    krait_training_settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(values_read_back_as_they_were_given),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(contradictions_are_named),
        cmocka_unit_test(what_a_checkpoint_remembers_is_the_same),
        cmocka_unit_test(remembered_settings_that_are_broken_are_refused),
        cmocka_unit_test(the_config_file_has_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
