/* `krait train` ended at any moment, by kill -9, Ctrl-C, SIGTERM and files that cannot grow: what the next process makes of it is, bit for bit,
 * what an uninterrupted run gives. */
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
#include "train_runs.h"

#ifdef KRAIT_CLI

enum { KILLS = 30 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void assert_same_run(const char *whole, const char *parts)
{
    static const char *const files[] = { "last/model.safetensors", "last/optimizer.safetensors", "best/model.safetensors" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) assert_same_file(whole, parts, files[i]);
    char *a = run_metrics(whole), *b = run_metrics(parts);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

static pid_t start(const char *const *arguments)
{
    const char *argv[50] = { KRAIT_CLI };
    for (size_t n = 0; arguments[n]; n++) argv[n + 1] = arguments[n];
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(126);
        execv(KRAIT_CLI, (char *const *)argv);
        _exit(127);
    }
    return pid;
}

/* Starts the run in `parts` again and again, each time for a random while of at most `longest` seconds; the number of times that it was
 * killed before it came to its end. */
static size_t kill_often(const char *parts, const char *const *more, double longest, kr_rng *rng)
{
    const char *arguments[48];
    size_t n_killed = 0;
    run_arguments(arguments, parts, more);
    for (int i = 0; i < KILLS; i++) {
        pid_t pid = start(arguments);
        double wait = longest * kr_rng_double(rng);
        struct timespec pause = { .tv_sec = (time_t)wait, .tv_nsec = (long)(1e9 * (wait - (double)(time_t)wait)) };
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        n_killed++;
    }
    return n_killed;
}

static void kill_and_compare(const char *name, const char *const *more, uint64_t seed)
{
    char whole[600], parts[600];
    kr_rng rng;
    kr_rng_seed(&rng, seed);
    snprintf(whole, sizeof whole, "%s-whole", run_path(name));
    double began = now();
    cli_result a = run_train(whole, more);
    double longest = 0.3 * (now() - began);
    assert_cli(&a, 0, "finished at step");
    cli_free(&a);
    /* The machine may have been busy then and not now: a run that ends too early is begun anew with shorter whiles. */
    size_t n_killed = 0;
    for (int attempt = 0; attempt < 6 && n_killed < 5; attempt++, longest /= 2) {
        snprintf(parts, sizeof parts, "%s-parts-%d", run_path(name), attempt);
        n_killed = kill_often(parts, more, longest, &rng);
    }
    assert_true(n_killed >= 5);
    cli_result b = run_train(parts, more);
    assert_cli(&b, 0, "finished");
    cli_free(&b);
    assert_same_run(whole, parts);
}

static void killed_runs_end_as_others(void **state)
{
    (void)state;
    kill_and_compare("shuffled",
                     (const char *const[]){ "--steps", "120", "--checkpoint-every", "7", "--evaluate-every", "5", NULL }, 1);
}

static void killed_runs_carry_their_states(void **state)
{
    (void)state;
    kill_and_compare("streams",
                     (const char *const[]){ "--steps", "120", "--checkpoint-every", "9", "--order", "streams", "--accumulate",
                                            "2", "--log-every", "4", "--keep", "1", NULL },
                     2);
}

/* The newest checkpoint has its name, but the link does not point to it yet, nor is the one too many removed: as a kill leaves it that a
 * random one seldom hits. There is nothing left to learn, so that no other checkpoint makes good for it. */
static void a_kill_behind_the_last_checkpoint_is_made_good(void **state)
{
    (void)state;
    static const char *const more[] = { "--steps", "20", "--keep", "1", NULL };
    char out[600], link[640], beside[640], kept[640], target[64] = "";
    snprintf(out, sizeof out, "%s", run_path("behind"));
    snprintf(link, sizeof link, "%s/last", out);
    snprintf(beside, sizeof beside, "%s/last.new", out);
    snprintf(kept, sizeof kept, "%s/step-00000010", out);
    cli_result a = run_train(out, more);
    assert_cli(&a, 0, "finished at step 20");
    assert_int_equal(access(kept, F_OK), -1);
    assert_int_equal(mkdir(kept, 0777), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("step-00000010", link), 0);
    assert_int_equal(symlink("step-00000020", beside), 0);
    cli_result b = run_train(out, more);
    assert_cli(&b, 0, "is finished");
    assert_int_equal(readlink(link, target, sizeof target), strlen("step-00000020"));
    assert_memory_equal(target, "step-00000020", strlen("step-00000020"));
    assert_int_equal(readlink(beside, target, sizeof target), -1);
    assert_int_equal(access(kept, F_OK), -1);
    cli_free(&a);
    cli_free(&b);
}

/* Products of bfloat16, whose float32 masters are what a checkpoint has: the rounded copies are made of them anew. Steps have 256 tokens, so
 * that the products are those of large ones; in two threads, since their sums may be split between threads: another number of them may give
 * other bits, the same number may not. */
static void killed_runs_in_bfloat16(void **state)
{
    (void)state;
    static const char *const more[][16] = {
        { "--steps", "60", "--checkpoint-every", "7", "--evaluate-every", "5", "--compute", "bf16", "--rows", "8", NULL },
        { "--steps", "60", "--checkpoint-every", "7", "--evaluate-every", "5", "--compute", "bf16", "--rows", "8", "--threads",
          "2", "--d-model", "40", NULL },
    };
    kill_and_compare("bf16-one", more[0], 3);
    kill_and_compare("bf16-two", more[1], 4);
    /* It is bfloat16 that was compared. */
    char f32[600], bf16[600];
    snprintf(f32, sizeof f32, "%s", run_path("bf16-not"));
    snprintf(bf16, sizeof bf16, "%s", run_path("bf16-one-whole"));
    cli_result a = RUN(f32, "--steps", "60", "--checkpoint-every", "7", "--evaluate-every", "5", "--rows", "8");
    assert_cli(&a, 0, "finished at step 60");
    cli_free(&a);
    char *curves[] = { run_metrics(f32), run_metrics(bf16) };
    assert_string_not_equal(curves[0], curves[1]);
    free(curves[0]);
    free(curves[1]);
}

/* Signals that ask: the step is finished, a checkpoint written, and the exit code is 130. */
static void signals_leave_a_checkpoint(void **state)
{
    (void)state;
    static const char *const more[] = { "--steps", "400", "--checkpoint-every", "1000", NULL };
    const char *arguments[48];
    char whole[600], parts[600];
    snprintf(whole, sizeof whole, "%s", run_path("asked-whole"));
    snprintf(parts, sizeof parts, "%s", run_path("asked-parts"));
    cli_result a = run_train(whole, more);
    assert_cli(&a, 0, NULL);
    cli_free(&a);
    run_arguments(arguments, parts, more);
    for (int i = 0; i < 2; i++) {
        cli_process process = cli_start(arguments);
        assert_true(cli_wait_for(&process, "loss "));
        kill(process.pid, i ? SIGTERM : SIGINT);
        assert_true(cli_wait_for(&process, "interrupted at step "));
        assert_true(cli_wait_for(&process, "to go on: krait train --resume "));
        assert_int_equal(cli_end(&process), 130);
    }
    cli_result b = run_train(parts, more);
    assert_cli(&b, 0, "finished at step 400");
    cli_free(&b);
    assert_same_run(whole, parts);
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    static const char *const more[] = { "--steps", "100000", "--checkpoint-every", "1000", NULL };
    const char *arguments[48];
    char out[600];
    snprintf(out, sizeof out, "%s", run_path("locked"));
    run_arguments(arguments, out, more);
    cli_process process = cli_start(arguments);
    assert_true(cli_wait_for(&process, "loss "));
    cli_result other = cli(NULL, "train", "--resume", out, NULL);
    assert_cli(&other, 1, "locked: another process works in it: ");
    kill(process.pid, SIGTERM);
    assert_int_equal(cli_end(&process), 130);
    cli_free(&other);
}

/* As a full disk: the checkpoint fails in the middle, says so, and what was there before is gone on with. */
static void a_disk_that_is_full_takes_nothing(void **state)
{
    (void)state;
    NOT_UNDER_THREAD_SANITIZER("does not start with a limit of file sizes");
    static const char *const more[] = { "--steps", "60", "--checkpoint-every", "20", NULL };
    char whole[600], parts[600];
    snprintf(whole, sizeof whole, "%s", run_path("full-whole"));
    snprintf(parts, sizeof parts, "%s", run_path("full-parts"));
    cli_result a = run_train(whole, more);
    assert_cli(&a, 0, NULL);
    const char *const first[] = { "--steps", "60", "--checkpoint-every", "20", NULL };
    const char *arguments[48];
    run_arguments(arguments, parts, first);
    cli_process process = cli_start(arguments);
    assert_true(cli_wait_for(&process, "loss "));
    kill(process.pid, SIGTERM);
    cli_end(&process);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 12000; /* the metrics' lines fit, the weights do not */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_IGN);
    cli_result b = run_train(parts, more);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_cli(&b, 1, "File too large");
    cli_result c = run_train(parts, more);
    assert_cli(&c, 0, "finished at step 60");
    assert_same_run(whole, parts);
    cli_free(&a);
    cli_free(&b);
    cli_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_runs_end_as_others),
        cmocka_unit_test(killed_runs_carry_their_states),
        cmocka_unit_test(a_kill_behind_the_last_checkpoint_is_made_good),
        cmocka_unit_test(killed_runs_in_bfloat16),
        cmocka_unit_test(signals_leave_a_checkpoint),
        cmocka_unit_test(a_second_process_is_refused),
        cmocka_unit_test(a_disk_that_is_full_takes_nothing),
    };
    return cmocka_run_group_tests(tests, run_set_up, run_tear_down);
}

#else
int main(void) { return 0; }
#endif
