/* What the hub says: read, and refused where it is wrong. Names and caches are in test_cli_hub.c. */
#include <stdio.h>
#include <string.h>

#include "fixture.h"
#include "hub/cache.h"
#include "hub/hub_json.h"

#define COMMIT "\"sha\":\"0123456789abcdef0123456789abcdef01234567\""
#define SHA1   "\"blobId\":\"0123456789abcdef0123456789abcdef01234567\""
#define SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_listing_gives_hashes_and_sizes(void **state)
{
    (void)state;
    static const char text[] = "{" COMMIT ",\"siblings\":[{\"rfilename\":\"config.json\",\"size\":7," SHA1 "},"
                               "{\"rfilename\":\"a/b.bin\",\"size\":1," SHA1 ",\"lfs\":{\"sha256\":\"" SHA256 "\",\"size\":9}},"
                               "{\"rfilename\":\"no size\"," SHA1 "},{\"rfilename\":\"nothing\"}]}";
    kr_arena arena = { 0 };
    kr_hub_listing listing;
    krait_error error;
    assert_ok(kr_hub_listing_read(&listing, &arena, "hub", text, sizeof text - 1, &error));
    assert_int_equal(listing.n, 4);
    assert_string_equal(listing.commit, "0123456789abcdef0123456789abcdef01234567");
    const kr_hub_entry *config = kr_hub_listing_find(&listing, "config.json"), *large = kr_hub_listing_find(&listing, "a/b.bin");
    assert_true(config && large && !kr_hub_listing_find(&listing, "b.bin"));
    assert_true(config->size == 7 && !config->is_sha256 && strlen(config->hash) == 40);
    assert_true(large->size == 9 && large->is_sha256);
    assert_string_equal(large->hash, SHA256);
    assert_string_equal(listing.files[2].hash, ""); /* cannot be checked: as if there were none */
    assert_string_equal(listing.files[3].hash, "");
    kr_arena_free(&arena);
}

static void a_wrong_listing_is_refused_by_field(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "", "hub: " },
        { "[]", "hub: sha: expected 40 hexadecimal digits, found none" },
        { "{\"sha\":\"main\",\"siblings\":[]}", "hub: sha: expected 40 hexadecimal digits" },
        { "{\"sha\":\"0123456789ABCDEF0123456789abcdef01234567\",\"siblings\":[]}", "hub: sha: expected" },
        { "{" COMMIT "}", "hub: siblings: expected a list of files, found none" },
        { "{" COMMIT ",\"siblings\":{}}", "hub: siblings: expected a list of files, found object" },
        { "{" COMMIT ",\"siblings\":[1]}", "rfilename: expected the name of a file, found none" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"../x\"}]}", "expected a file name inside the model, found \"../x\"" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"/x\"}]}", "inside the model" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a/\"}]}", "inside the model" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a//b\"}]}", "inside the model" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\\\\..\\\\b\"}]}", "inside the model" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\\u0000b\"}]}", "inside the model" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\\u001b[2J\"}]}", "found \"a?[2J\"" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\",\"size\":-1}]}", "size: expected a number of bytes" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\",\"size\":1.5}]}", "size: expected a number of bytes, found number" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\",\"size\":1,\"blobId\":\"../../x\"}]}",
          "blobId: expected 40 hexadecimal" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\",\"size\":1,\"lfs\":{\"sha256\":\"\"}}]}",
          "lfs: sha256: expected 64 hex" },
        { "{" COMMIT ",\"siblings\":[{\"rfilename\":\"a\",\"size\":1,\"lfs\":{}}]}", "lfs: sha256: expected a hash, found none" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kr_arena arena = { 0 };
        kr_hub_listing listing;
        krait_error error;
        krait_status status = kr_hub_listing_read(&listing, &arena, "hub", cases[i].text, strlen(cases[i].text), &error);
        if (status != KRAIT_ERROR_FORMAT || !strstr(error.message, cases[i].message))
            fail_msg("case %zu: expected \"%s\", found %d and \"%s\"", i, cases[i].message, (int)status, error.message);
        assert_int_equal(listing.n, 0);
        kr_arena_free(&arena);
    }
}

static void an_index_names_each_shard_once(void **state)
{
    (void)state;
    static const char text[] = "{\"weight_map\":{\"x\":\"b\",\"y\":\"a\",\"z\":\"b\"}}";
    static const char *const wrong[] = { "{}",
                                         "{\"weight_map\":{}}",
                                         "{\"weight_map\":[\"a\"]}",
                                         "{\"weight_map\":{\"x\":1}}",
                                         "{\"weight_map\":{\"x\":\"../a\"}}",
                                         "{\"weight_map\":{\"x\":\"\"}}" };
    kr_arena arena = { 0 };
    const char *const *names;
    size_t n;
    krait_error error;
    assert_ok(kr_hub_shards_read(&names, &n, &arena, "index", text, sizeof text - 1, &error));
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(kr_hub_shards_read(&names, &n, &arena, "index", wrong[i], strlen(wrong[i]), &error), KRAIT_ERROR_FORMAT);
        assert_non_null(strstr(error.message, "index: weight_map: expected"));
    }
    kr_arena_free(&arena);
}

static void a_config_of_another_family_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "{}", NULL },
        { "{\"model_type\": null}", NULL },
        { "{\"model_type\": \"mamba\"}", NULL },
        { "{\"model_type\": \"falcon_mamba\"}", NULL },
        { "{\"model_type\": \"my-mamba\"}", NULL },
        { "{\"model_type\": \"llama\"}",
          "a/b: config.json: model_type: expected mamba or falcon_mamba, found llama: its weights are not downloaded" },
        { "{\"model_type\": \"mamba2\"}", "found mamba2" },
        { "{\"model_type\": \"\\u001b[2J\"}", "found ?[2J" },
        { "<html>", "a/b: config.json: " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        krait_error error = { 0 };
        krait_status status = kr_hub_config_check("a/b", cases[i].text, strlen(cases[i].text), &error);
        if (!status != !cases[i].message || (cases[i].message && !strstr(error.message, cases[i].message)))
            fail_msg("case %zu: expected \"%s\", found %d and \"%s\"", i, cases[i].message, (int)status, error.message);
    }
}

static void nulls_are_arguments_and_not_crashes(void **state)
{
    (void)state;
    char *path;
    size_t n;
    krait_hub_model *models;
    krait_hub_options nowhere = { .cache = "/no/such/cache", .offline = true };
    krait_error error;
    assert_int_equal(krait_hub_find(NULL, "a/b", NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_hub_find(&path, NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_hub_find(&path, "a", NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_hub_list(NULL, &n, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_hub_remove(NULL, NULL, NULL, &error), KRAIT_ERROR_ARGUMENT);
    assert_false(krait_hub_is_name(NULL));
    assert_ok(krait_hub_find(&path, "a/b", &nowhere, &error));
    assert_null(path);
    assert_ok(krait_hub_list(&models, &n, &nowhere, &error));
    assert_true(!models && n == 0);
    assert_int_not_equal(krait_hub_pull(&path, "a/b", &nowhere, &error), KRAIT_OK);
    assert_null(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_gives_hashes_and_sizes),    cmocka_unit_test(a_wrong_listing_is_refused_by_field),
        cmocka_unit_test(an_index_names_each_shard_once),      cmocka_unit_test(a_config_of_another_family_is_refused),
        cmocka_unit_test(nulls_are_arguments_and_not_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
