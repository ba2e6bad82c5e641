/* The folder of a training run: its lock, folders in one piece, checksums, the position, metrics that are cut, leaps of the loss. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli.h"
#include "train/manifest.h"
#include "train/metrics.h"
#include "train/position.h"
#include "train/run_folder.h"
#include "train/watch.h"

static char root[256];

static const char *at(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s%s%s", root, *name ? "/" : "", name);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "%s/krait-run-XXXXXX", P_tmpdir);
    return mkdtemp(root) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void put(const char *name, const char *text) { cli_write(at(name), text, strlen(text)); }

static void only_one_process_works_in_it(void **state)
{
    (void)state;
    kr_run_folder a, b;
    krait_error error;
    assert_ok(kr_run_folder_open(&a, at("deep/er/run"), false, &error));
    assert_int_equal(kr_run_folder_open(&b, at("deep/er/run"), true, &error), KRAIT_ERROR_IO);
    char expected[64];
    snprintf(expected, sizeof expected, "another process works in it: %ld", (long)getpid());
    assert_non_null(strstr(error.message, expected));
    kr_run_folder_close(&a);
    assert_ok(kr_run_folder_open(&b, at("deep/er/run"), true, &error));
    kr_run_folder_close(&b);
}

static void other_folders_are_refused(void **state)
{
    (void)state;
    kr_run_folder folder;
    krait_error error;
    assert_int_equal(kr_run_folder_open(&folder, at("missing"), true, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "missing: expected the folder of a run, found none"));
    assert_int_equal(mkdir(at("other"), 0777), 0);
    assert_int_equal(kr_run_folder_open(&folder, at("other"), true, &error), KRAIT_ERROR_ARGUMENT);
    put("other/letter.txt", "dear");
    assert_int_equal(kr_run_folder_open(&folder, at("other"), false, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "found something else in it"));
    assert_false(kr_exists(at("other/lock")));
    assert_int_equal(kr_run_folder_open(&folder, at("other/letter.txt"), false, &error), KRAIT_ERROR_IO);
}

static void write_checkpoint(const kr_run_folder *folder, const char *name, const char *text)
{
    krait_error error;
    char *part;
    assert_ok(kr_run_folder_begin(folder, name, &part, &error));
    char *path = kr_join_path(part, "model");
    cli_write(path, text, strlen(text));
    kr_free(path);
    kr_free(part);
    assert_ok(kr_run_folder_commit(folder, name, &error));
}

static void folders_appear_in_one_piece(void **state)
{
    (void)state;
    kr_run_folder folder;
    krait_error error;
    uint64_t *steps;
    size_t n;
    char *part;
    assert_ok(kr_run_folder_open(&folder, at("run"), false, &error));
    write_checkpoint(&folder, "step-00000100", "one");
    write_checkpoint(&folder, "step-00000020", "two");
    write_checkpoint(&folder, "step-00000100", "three"); /* in place of the first */
    assert_ok(kr_run_folder_link_last(&folder, "step-00000020", &error));
    assert_ok(kr_run_folder_link_last(&folder, "step-00000100", &error));
    assert_ok(kr_run_folder_begin(&folder, "step-00000300", &part, &error)); /* never ended */
    kr_free(part);
    put("run/step-x", "");
    assert_ok(kr_run_folder_checkpoints(&folder, &steps, &n, &error));
    assert_int_equal(n, 2);
    assert_true(steps[0] == 20 && steps[1] == 100);
    kr_free(steps);
    char *text = cli_read(at("run/last/model"), NULL);
    assert_string_equal(text, "three");
    free(text);
    assert_ok(kr_manifest_check(at("run/last"), &error));
    /* As if the process had ended between the two renames of a replacement, and in one of another. */
    kr_run_folder_close(&folder);
    assert_int_equal(rename(at("run/step-00000020"), at("run/step-00000020.old")), 0);
    assert_int_equal(mkdir(at("run/step-00000100.old"), 0777), 0);
    put("run/step-00000100.old/model", "old");
    assert_ok(kr_run_folder_open(&folder, at("run"), true, &error));
    assert_ok(kr_run_folder_checkpoints(&folder, &steps, &n, &error));
    assert_int_equal(n, 2);
    kr_free(steps);
    assert_false(kr_exists(at("run/step-00000100.old")) || kr_exists(at("run/step-00000020.old")));
    assert_false(kr_exists(at("run/step-00000300.part")));
    assert_ok(kr_manifest_check(at("run/step-00000020"), &error));
    kr_run_folder_remove(&folder, "step-00000020");
    assert_false(kr_exists(at("run/step-00000020")) || kr_exists(at("run/step-00000020.part")));
    kr_run_folder_close(&folder);
}

static void damage_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *message;
    } cases[] = {
        { "{}", "files: expected a list of files, found nothing" },
        { "{\"files\": []}", "files: expected a list" },
        { "{\"files\": [{\"name\": \"model\"}]}", "expected name, bytes and checksum of a file" },
        { "{\"files\": [{\"name\": \"../model\", \"bytes\": 5, \"checksum\": \"0123456789abcdef\"}]}", "expected name" },
        { "{\"files\": [{\"name\": \"none\", \"bytes\": 5, \"checksum\": \"0123456789abcdef\"}]}", "none: cannot open" },
        { "{\"files\": [{\"name\": \"model\", \"bytes\": 5, \"checksum\": \"0123456789abcdef\"}]}",
          "model: damaged: expected checksum 0123456789abcdef, found " },
        { "{\"files\": [{\"name\": \"model\", \"bytes\": 6, \"checksum\": \"0123456789abcdef\"}]}",
          "model: damaged: expected 6 bytes, found 5" },
        { "{\"files\": [", "manifest.json" },
    };
    kr_run_folder folder;
    krait_error error;
    assert_ok(kr_run_folder_open(&folder, at("run"), false, &error));
    write_checkpoint(&folder, "step-00000001", "abcde");
    assert_ok(kr_manifest_check(at("run/step-00000001"), &error));
    put("run/step-00000001/model", "abcdE");
    assert_int_equal(kr_manifest_check(at("run/step-00000001"), &error), KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "step-00000001/model: damaged: expected checksum"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("run/step-00000001/manifest.json", cases[i].manifest);
        assert_true(kr_manifest_check(at("run/step-00000001"), &error) != KRAIT_OK);
        if (!strstr(error.message, cases[i].message)) fail_msg("expected \"%s\", found \"%s\"", cases[i].message, error.message);
    }
    assert_int_equal(unlink(at("run/step-00000001/manifest.json")), 0);
    assert_int_equal(kr_manifest_check(at("run/step-00000001"), &error), KRAIT_ERROR_IO);
    kr_run_folder_close(&folder);
}

static void a_checkpoint_larger_than_the_disk_is_not_begun(void **state)
{
    (void)state;
    kr_run_folder folder;
    krait_error error;
    assert_ok(kr_run_folder_open(&folder, at("run"), false, &error));
    assert_ok(kr_run_folder_need(&folder, 1000, &error));
    assert_int_equal(kr_run_folder_need(&folder, UINT64_C(1) << 60, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "run: no space for a checkpoint: expected 1152921504607"));
    kr_run_folder_close(&folder);
}

static void a_position_reads_back_bit_for_bit(void **state)
{
    (void)state;
    kr_position p = kr_position_start(), q;
    krait_training_settings *settings, *back;
    krait_error error;
    assert_ok(krait_training_settings_create(&settings, &error));
    p.step = 123, p.batch = 456, p.tokens = UINT64_C(1) << 52, p.seconds = 1.0 / 3, p.finished = true;
    p.mean_loss = 0.1 + 0.2, p.log_nats = 1e300, p.train_checksum = UINT64_C(0xfedcba9876543210), p.n_stale = 7;
    assert_ok(kr_position_write(root, &p, settings, &error));
    assert_ok(kr_position_read(root, &q, &back, &error));
    assert_true(q.step == 123 && q.batch == 456 && q.tokens == UINT64_C(1) << 52 && q.seconds == 1.0 / 3 && q.finished);
    assert_true(q.mean_loss == 0.1 + 0.2 && q.log_nats == 1e300 && q.train_checksum == UINT64_C(0xfedcba9876543210));
    assert_true(isnan(q.best_loss) && isnan(q.held_out_bits) && q.n_stale == 7);
    krait_training_settings_free(back);
    size_t size;
    char *text = cli_read(at("run.json"), &size);
    static const char *const cases[][2] = {
        { "\"version\": 1", "version: expected 1" },
        { "\"step\": 123", "step: expected a number, found nothing" },
        { "\"finished\": true", "finished: expected a boolean" },
        { "\"settings\"", "settings: expected an object, found nothing" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *broken = malloc(size + 1);
        memcpy(broken, text, size + 1);
        strstr(broken, cases[i][0])[1] = '?';
        assert_true(kr_position_parse("run.json", broken, size, &q, &back, &error) != KRAIT_OK);
        assert_null(back);
        if (!strstr(error.message, cases[i][1])) fail_msg("expected \"%s\", found \"%s\"", cases[i][1], error.message);
        free(broken);
    }
    free(text);
    krait_training_settings_free(settings);
}

static void metrics_go_on_behind_the_checkpoint(void **state)
{
    (void)state;
    kr_metrics metrics;
    kr_json_writer line;
    krait_error error;
    assert_ok(kr_metrics_open(&metrics, at("metrics.jsonl"), 0, &error));
    uint64_t behind_first = 0;
    for (int i = 1; i <= 3; i++) {
        kr_metrics_begin(&line);
        kr_json_key(&line, "step");
        kr_json_put_integer(&line, i);
        assert_ok(kr_metrics_end(&metrics, &line, &error));
        if (i == 1) behind_first = metrics.bytes;
    }
    assert_ok(kr_metrics_sync(&metrics, &error));
    kr_metrics_close(&metrics);
    assert_ok(kr_metrics_open(&metrics, at("metrics.jsonl"), behind_first, &error));
    kr_metrics_begin(&line);
    kr_json_key(&line, "event");
    kr_json_put_text(&line, "resumed");
    assert_ok(kr_metrics_end(&metrics, &line, &error));
    kr_metrics_close(&metrics);
    char *text = cli_read(at("metrics.jsonl"), NULL);
    assert_string_equal(text, "{\"step\": 1}\n{\"event\": \"resumed\"}\n");
    free(text);
    /* A file that was shortened meanwhile is gone on with as it is. */
    assert_ok(kr_metrics_open(&metrics, at("metrics.jsonl"), 100000, &error));
    assert_int_equal(metrics.bytes, strlen("{\"step\": 1}\n{\"event\": \"resumed\"}\n"));
    kr_metrics_close(&metrics);
}

static void a_leap_is_told_once(void **state)
{
    (void)state;
    kr_position p = kr_position_start();
    int told = 0;
    for (int i = 0; i < 200; i++) {
        double loss = 3 + 0.3 * sin(i);
        assert_false(kr_watch(&p, loss, 1.0));
    }
    assert_true(fabs(p.mean_loss - 3) < 0.1);
    for (int i = 0; i < 100; i++) told += kr_watch(&p, 6.0, 1.0);
    assert_int_equal(told, 1);
    assert_true(p.mean_loss > 4.5); /* it is where the loss is now */
    kr_position young = kr_position_start();
    assert_false(kr_watch(&young, 3, 1.0) || kr_watch(&young, 10, 1.0)); /* nothing is known yet */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_one_process_works_in_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_folders_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(folders_appear_in_one_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_checkpoint_larger_than_the_disk_is_not_begun, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_position_reads_back_bit_for_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metrics_go_on_behind_the_checkpoint, set_up, tear_down),
        cmocka_unit_test(a_leap_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
