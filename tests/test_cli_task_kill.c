/* `krait task -o` ended at any moment: what the same command makes of it is, bit for bit, what an uninterrupted run gives. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"
#include "cli.h"

#ifdef KRAIT_CLI

enum { KILLS = 40, MOST = 48 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_for(double seconds)
{
    struct timespec pause = { .tv_sec = (time_t)seconds, .tv_nsec = (long)(1e9 * (seconds - (double)(time_t)seconds)) };
    nanosleep(&pause, NULL);
}

/* Copying of two tokens by a tiny model, into the folder `out` (NULL: none); then `more`, whose options count more, and --test unless they have
 * it. */
static const char **arguments_of(const char *out, const char *const *more)
{
    static const char *arguments[MOST];
    static const char *const own[] = { "task",     "copying", "--vocabulary", "6",  "--memory", "2",     "--width",   "16",
                                       "--layers", "2",       "--state",      "4",  "--length", "32",    "-t",        "1",
                                       "--steps",  "1200",    "--batch",      "96", "--lr",     "0.005", "--samples", "64" };
    size_t n = 0;
    bool tests = false;
    for (; n < sizeof own / sizeof *own; n++) arguments[n] = own[n];
    if (out) arguments[n++] = "-o", arguments[n++] = out;
    for (; *more; more++) {
        tests = tests || strcmp(*more, "--test") == 0;
        arguments[n++] = *more;
    }
    if (!tests) arguments[n++] = "--test", arguments[n++] = "8,16,32";
    arguments[n] = NULL;
    return arguments;
}

static const char *const nothing[] = { NULL };

static cli_result run(const char *out, const char *const *more) { return cli_list(NULL, 0, arguments_of(out, more)); }
#define RUN(out, ...) run(out, (const char *const[]){ __VA_ARGS__, NULL })

/* The lines of a file without what the clock gives. */
static char *timeless(const char *folder, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = cli_read(path, NULL), *to = text;
    for (char *at = text; *at;) {
        size_t n = strcspn(at, "\n"), keep = n;
        char *clock = memmem(at, n, "seconds\":", 9);
        if (clock) keep = (size_t)(clock - at);
        memmove(to, at, keep);
        to += keep;
        at += n;
        if (*at) *to++ = *at++;
    }
    *to = 0;
    return text;
}

static void assert_same_run(const char *whole, const char *parts)
{
    static const char *const texts[] = { "config.json", "metrics.jsonl", "results.json" };
    char a[600], b[600];
    size_t size_a, size_b;
    snprintf(a, sizeof a, "%s/model.safetensors", whole);
    snprintf(b, sizeof b, "%s/model.safetensors", parts);
    char *model_a = cli_read(a, &size_a), *model_b = cli_read(b, &size_b);
    assert_int_equal(size_a, size_b);
    if (memcmp(model_a, model_b, size_a) != 0) fail_msg("%s and %s differ", a, b);
    free(model_a);
    free(model_b);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text_a = timeless(whole, texts[i]), *text_b = timeless(parts, texts[i]);
        assert_string_equal(text_a, text_b);
        free(text_a);
        free(text_b);
    }
}

/* The uninterrupted run that others are compared with, made once, and the seconds that it took. */
static const char *whole_run(double *seconds)
{
    static char path[600];
    static double took;
    if (!*path) {
        snprintf(path, sizeof path, "%s", cli_path("whole"));
        double began = now();
        cli_result result = run(path, nothing);
        took = now() - began;
        assert_cli(&result, 0, NULL);
        assert_non_null(strstr(result.out, "learned from"));
        cli_free(&result);
    }
    if (seconds) *seconds = took;
    return path;
}

static bool exists(const char *folder, const char *name)
{
    char path[700];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &info) == 0 && info.st_size > 0;
}

static void wait_for_file(const char *folder, const char *name)
{
    for (double began = now(); !exists(folder, name); pause_for(0.002))
        if (now() - began > 120) fail_msg("%s/%s did not come", folder, name);
}

/* Until the process catches SIGINT. */
static void wait_for_handler(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    for (double began = now(); now() - began < 60; pause_for(0.002)) {
        char line[256];
        FILE *file = fopen(path, "r");
        unsigned long long caught = 0;
        while (file && fgets(line, sizeof line, file))
            if (sscanf(line, "SigCgt: %llx", &caught) == 1) break;
        if (file) fclose(file);
        if (caught >> (SIGINT - 1) & 1) return;
    }
    fail_msg("process %ld catches no SIGINT", (long)pid);
}

static size_t count_checkpoints(const char *folder)
{
    size_t n = 0;
    DIR *entries = opendir(folder);
    for (struct dirent *entry; entries && (entry = readdir(entries));) n += strncmp(entry->d_name, "step-", 5) == 0;
    if (entries) closedir(entries);
    return n;
}

/* Killed, and asked to end, in turns, each time after a random while of at most `longest` seconds; false: it came to its end before it was ended
 * three times in the one way and twice in the other. */
static bool end_often(const char *parts, double longest, kr_rng *rng)
{
    size_t n_ended[2] = { 0 };
    for (int i = 0; i < KILLS; i++) {
        cli_process process = cli_start(arguments_of(parts, nothing));
        pause_for(longest * kr_rng_double(rng));
        kill(process.pid, i % 2 ? SIGINT : SIGKILL);
        int code = cli_end(&process);
        if (code == 0) break;
        if (code != (i % 2 ? 130 : 128 + SIGKILL)) fail_msg("kill %d: exit code %d", i, code);
        n_ended[i % 2]++;
    }
    return n_ended[0] >= 3 && n_ended[1] >= 2;
}

static void whatever_ends_it_the_same_command_goes_on(void **state)
{
    (void)state;
    char parts[600];
    double longest;
    bool often = false;
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    const char *whole = whole_run(&longest);
    /* The machine may have been busy then and not now. */
    for (int attempt = 0; attempt < 8 && !often; attempt++) {
        longest /= attempt ? 2 : 4;
        snprintf(parts, sizeof parts, "%s-%d", cli_path("parts"), attempt);
        often = end_often(parts, longest, &rng);
    }
    assert_true(often);
    cli_result last = run(parts, nothing);
    assert_cli(&last, 0, NULL);
    cli_free(&last);
    assert_same_run(whole, parts);
    assert_int_equal(count_checkpoints(parts), 1);
    /* Nothing is left of what was under way. */
    assert_false(exists(parts, "model.part"));
}

static void signals_leave_a_checkpoint(void **state)
{
    (void)state;
    const char *whole = whole_run(NULL);
    char parts[600];
    snprintf(parts, sizeof parts, "%s", cli_path("asked"));
    for (int i = 0; i < 2; i++) {
        cli_process process = cli_start(arguments_of(parts, nothing));
        if (i) assert_true(cli_wait_for(&process, "going on behind step "));
        if (!i) wait_for_file(parts, "metrics.jsonl");
        kill(process.pid, i ? SIGTERM : SIGINT);
        assert_true(cli_wait_for(&process, "interrupted at step "));
        assert_true(cli_wait_for(&process, " of 1,200; to go on: the same command with -o "));
        assert_int_equal(cli_end(&process), 130);
        assert_int_equal(count_checkpoints(parts), 1);
        assert_false(exists(parts, "model.safetensors"));
    }
    cli_result last = run(parts, nothing);
    assert_cli(&last, 0, "going on behind step ");
    cli_free(&last);
    assert_same_run(whole, parts);
}

/* What was learned is kept, and tested by the next call, which learns nothing anew. */
static void an_interrupted_test_keeps_the_model(void **state)
{
    (void)state;
    const char *whole = whole_run(NULL);
    char parts[600];
    snprintf(parts, sizeof parts, "%s", cli_path("tested"));
    for (int i = 0; i < 2; i++) {
        cli_process process =
            cli_start(arguments_of(parts, (const char *const[]){ "--test", "8,16777216", "--samples", "1000", NULL }));
        if (i) assert_true(cli_wait_for(&process, "all is learned, testing what stands behind step 1,200 of 1,200"));
        assert_true(cli_wait_for(&process, "parameters learned from"));
        kill(process.pid, i ? SIGKILL : SIGINT);
        if (!i) assert_true(cli_wait_for(&process, "interrupted while testing; "));
        assert_int_equal(cli_end(&process), i ? 128 + SIGKILL : 130);
        assert_true(exists(parts, "model.safetensors"));
        assert_false(exists(parts, "results.json"));
    }
    cli_result last = run(parts, nothing);
    assert_cli(&last, 0, "all is learned");
    assert_same_run(whole, parts);
    /* And once more, where all is done: the same again. */
    cli_result again = run(parts, nothing);
    assert_cli(&again, 0, "all is learned");
    assert_string_equal(again.out, last.out);
    assert_same_run(whole, parts);
    cli_free(&last);
    cli_free(&again);
}

static void without_a_folder_it_ends_at_once_and_says_so(void **state)
{
    (void)state;
    /* A step of minutes, so that it is the first one that is interrupted. */
    const char *const long_steps[] = { "--batch", "4194304", "--width", "128", "--length", "65536", NULL };
    cli_process process = cli_start(arguments_of(NULL, long_steps));
    wait_for_handler(process.pid);
    kill(process.pid, SIGINT);
    assert_true(cli_wait_for(&process, "interrupted at step 0 of 1,200, which are lost: -o FOLDER would have kept them"));
    assert_int_equal(cli_end(&process), 130);

    process =
        cli_start(arguments_of(NULL, (const char *const[]){ "--steps", "2", "--test", "8,16777216", "--samples", "1000", NULL }));
    assert_true(cli_wait_for(&process, "parameters learned from"));
    kill(process.pid, SIGTERM);
    assert_true(cli_wait_for(&process, "interrupted while testing; what was learned is lost: -o FOLDER would have kept it"));
    assert_int_equal(cli_end(&process), 130);
}

static void other_settings_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *message;
    } cases[] = {
        { "--vocabulary", "7", "whole: was begun with other settings: --vocabulary (6, now 7); expected the same ones" },
        { "--memory", "3", "--memory (2, now 3)" },
        { "--length", "64", "--length (32, now 64)" },
        { "--layers", "1", "--layers (2, now 1)" },
        { "--width", "32", "--width (16, now 32)" },
        { "--state", "8", "--state (4, now 8)" },
        { "--steps", "1300", "--steps (1200, now 1300)" },
        { "--batch", "128", "--batch (96, now 128)" },
        { "--lr", "0.004", "--lr (0.005, now 0.004)" },
        { "--seed", "2", "--seed (1, now 2)" },
    };
    const char *whole = whole_run(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cli_result result = RUN(whole, cases[i].option, cases[i].value);
        assert_cli(&result, 1, cases[i].message);
        assert_null(strstr(result.err, "), ")); /* it is the only one */
        cli_free(&result);
    }
    cli_result two = RUN(whole, "--seed", "3", "--lr", "0.1");
    assert_cli(&two, 1, "--lr (0.005, now 0.1), --seed (1, now 3)");
    cli_result kind = cli(NULL, "task", "induction", "-o", whole, NULL);
    assert_cli(&kind, 1, "task (copying, now induction), --vocabulary (6, now 16)");
    /* What is tested, and with what, may be another thing. */
    cli_result test = RUN(whole, "--test", "8", "--samples", "3", "-t", "2");
    assert_cli(&test, 0, "all is learned");
    assert_non_null(strstr(test.out, " of 6\n"));
    cli_result back = run(whole, nothing);
    assert_cli(&back, 0, NULL);
    cli_free(&two);
    cli_free(&kind);
    cli_free(&test);
    cli_free(&back);
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    char folder[600];
    snprintf(folder, sizeof folder, "%s", cli_path("locked"));
    cli_process process = cli_start(arguments_of(folder, (const char *const[]){ "--steps", "1000000", NULL }));
    wait_for_file(folder, "metrics.jsonl");
    cli_result other = RUN(folder, "--steps", "1000000");
    assert_cli(&other, 1, "locked: another process works in it: ");
    kill(process.pid, SIGTERM);
    assert_int_equal(cli_end(&process), 130);
    cli_free(&other);
}

static void other_folders_are_left_alone(void **state)
{
    (void)state;
    char folder[600], path[700];
    snprintf(folder, sizeof folder, "%s", cli_path("other"));
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(path, sizeof path, "%s/letter.txt", folder);
    cli_write(path, "Dear", 4);
    cli_result something = run(folder, nothing);
    assert_cli(&something, 1, "other: expected a new or an empty folder, or that of a run, found something else in it");
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/lock", folder);
    cli_write(path, "", 0);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    cli_write(path, "", 0);
    cli_result begun = run(folder, nothing);
    assert_cli(&begun, 1, "other: expected a new or an empty folder, or that of krait task, found that of krait train");
    snprintf(path, sizeof path, "%s/step-00000010", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    cli_result train = run(folder, nothing);
    assert_cli(&train, 1, "found that of krait train");
    assert_int_equal(rmdir(path), 0);
    cli_free(&something);
    cli_free(&begun);
    cli_free(&train);
}

static void damage_is_seen(void **state)
{
    (void)state;
    char folder[600], path[700];
    snprintf(folder, sizeof folder, "%s", cli_path("damaged"));
    cli_result first = RUN(folder, "--steps", "40");
    assert_cli(&first, 0, NULL);
    snprintf(path, sizeof path, "%s/step-00000040/model.safetensors", folder);
    size_t size;
    char *bytes = cli_read(path, &size);
    bytes[size - 9] ^= 1;
    cli_write(path, bytes, size);
    cli_result second = RUN(folder, "--steps", "40");
    assert_cli(&second, 1, "step-00000040");
    assert_non_null(strstr(second.err, "model.safetensors"));
    free(bytes);
    cli_free(&first);
    cli_free(&second);
}

/* As a full disk: the checkpoint fails in the middle, says so, and what was there before is gone on with. */
static void a_disk_that_is_full_takes_nothing(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("does not start with a limit of file sizes");
    const char *whole = whole_run(NULL);
    char parts[600];
    snprintf(parts, sizeof parts, "%s", cli_path("full"));
    cli_process process = cli_start(arguments_of(parts, nothing));
    wait_for_file(parts, "metrics.jsonl");
    kill(process.pid, SIGTERM);
    assert_int_equal(cli_end(&process), 130);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 12000; /* the curve fits, the weights do not */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_IGN);
    cli_result failed = run(parts, nothing);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_cli(&failed, 1, "File too large");
    cli_result last = run(parts, nothing);
    assert_cli(&last, 0, "going on behind step ");
    assert_same_run(whole, parts);
    cli_free(&failed);
    cli_free(&last);
}

static int set_up(void **state)
{
    (void)state;
    cli_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cli_folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_ends_it_the_same_command_goes_on),
        cmocka_unit_test(signals_leave_a_checkpoint),
        cmocka_unit_test(an_interrupted_test_keeps_the_model),
        cmocka_unit_test(without_a_folder_it_ends_at_once_and_says_so),
        cmocka_unit_test(other_settings_are_refused_by_name),
        cmocka_unit_test(a_second_process_is_refused),
        cmocka_unit_test(other_folders_are_left_alone),
        cmocka_unit_test(damage_is_seen),
        cmocka_unit_test(a_disk_that_is_full_takes_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

#else

int main(void) { return 0; }

#endif
