/* Every allocation of files, writers, arenas and JSON may fail: an error, and nothing leaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "fail_alloc.h"

static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/krait-test-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static krait_status write_and_read(void *context, krait_error *error)
{
    (void)context;
    kr_writer writer;
    krait_status status = kr_writer_open(&writer, path, error);
    if (status) return status;
    status = kr_writer_write(&writer, "krait", 5, error);
    if (status) {
        kr_writer_abandon(&writer);
        return status;
    }
    status = kr_writer_commit(&writer, error);
    if (status) return status;
    kr_file file;
    status = kr_file_open(&file, path, error);
    if (status) return status;
    assert_int_equal(file.size, 5);
    kr_file_close(&file);
    return KRAIT_OK;
}

static void files_report_every_failed_allocation(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(write_and_read, NULL) >= 4);
}

static krait_status parse(void *context, krait_error *error)
{
    (void)context;
    static const char text[] = "{\"a\": [1, 2.5, \"x\\ny\", {\"b\": [null, true]}], \"c\": {}}";
    kr_arena arena = { 0 };
    const kr_json *root;
    krait_status status = kr_json_parse(&root, &arena, "test", text, sizeof text - 1, error);
    kr_arena_free(&arena);
    return status;
}

static void json_reports_every_failed_allocation(void **state)
{
    (void)state;
    assert_true(fail_alloc_every(parse, NULL) >= 1);
}

static void the_harness_counts_and_fails_what_it_says(void **state)
{
    (void)state;
    size_t live = fail_alloc_live();
    fail_alloc_arm(2);
    void *first = kr_alloc(1, 100), *second = kr_alloc_zero(1, 100), *third = kr_realloc(NULL, 10, 10);
    size_t n = fail_alloc_disarm();
    assert_int_equal(n, 3);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    assert_int_equal(fail_alloc_live(), live + 2);
    kr_free(first);
    kr_free(third);
    assert_int_equal(fail_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_harness_counts_and_fails_what_it_says),
        cmocka_unit_test(files_report_every_failed_allocation),
        cmocka_unit_test(json_reports_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
