/* Each allocation of reading the hub's JSON and of looking into the cache fails once: an error of memory, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_alloc.h"
#include "hub/hub_json.h"
#include "krait/hub.h"

static krait_status read_json(void *context, krait_error *error)
{
    static const char text[] =
        "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"a\",\"size\":7,"
        "\"blobId\":\"0123456789abcdef0123456789abcdef01234567\"}],\"weight_map\":{\"x\":\"b\",\"y\":\"a\"}}";
    kr_arena arena = { 0 };
    kr_hub_listing listing;
    const char *const *names;
    size_t n;
    (void)context;
    krait_status status = kr_hub_listing_read(&listing, &arena, "hub", text, sizeof text - 1, error);
    if (!status) status = kr_hub_shards_read(&names, &n, &arena, "index", text, sizeof text - 1, error);
    if (!status) status = kr_hub_config_check("hub", text, sizeof text - 1, error);
    kr_arena_free(&arena);
    return status;
}

static void json_is_read_or_not(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(read_json, NULL) > 0);
}

static krait_status find(void *options, krait_error *error)
{
    char *path;
    krait_status status = krait_hub_find(&path, "a/b", options, error);
    if (!status && !path) status = KRAIT_ERROR_IO;
    krait_free(path);
    return status;
}

static void models_are_found_or_not(void **state)
{
    (void)state;
    char folder[] = "/tmp/krait-test-XXXXXX", command[2048];
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command,
             "cd %s && mkdir -p models--a--b/refs models--a--b/snapshots && printf 0123456789abcdef0123456789abcdef01234567 > "
             "models--a--b/refs/main && ln -s '%s/models/bf16-sharded' "
             "models--a--b/snapshots/0123456789abcdef0123456789abcdef01234567",
             folder, KRAIT_TEST_DATA);
    assert_int_equal(system(command), 0);
    krait_hub_options options = { .cache = folder };
    assert_true(fail_alloc_every(find, &options) > 2);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_read_or_not),
        cmocka_unit_test(models_are_found_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
