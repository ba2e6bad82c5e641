#include "train_runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "krait/data.h"

static char root[256];

int run_set_up(void **state)
{
    (void)state;
    const char *where = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/krait-train-XXXXXX", where && *where ? where : P_tmpdir);
    if (!mkdtemp(root)) return 1;
    run_write_tokens(run_path("train.tokens"), 6000, 1);
    run_write_tokens(run_path("held.tokens"), 900, 2);
    return 0;
}

int run_tear_down(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

const char *run_path(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

void run_write_tokens(const char *path, size_t n, uint64_t seed)
{
    krait_token_writer *writer;
    krait_error error;
    kr_rng rng;
    int32_t last = 0;
    kr_rng_seed(&rng, seed);
    assert_ok(krait_token_writer_create(&writer, path, &(krait_token_writer_options){ .vocab_size = RUN_VOCABULARY }, &error));
    for (size_t at = 0; at < n; at++) {
        if (at % 211 == 0) {
            assert_ok(krait_token_writer_begin(writer, &error));
            last = 0;
        }
        int32_t id = (5 * last + 1) % (RUN_VOCABULARY - 1) + 1;
        if (kr_rng_u32(&rng) % 8 == 0) id = (int32_t)(kr_rng_u32(&rng) % (RUN_VOCABULARY - 1)) + 1;
        assert_ok(krait_token_writer_add(writer, &id, NULL, 1, 2, &error));
        last = id;
    }
    assert_ok(krait_token_writer_commit(writer, &error));
    krait_token_writer_free(writer);
}

void run_arguments(const char **arguments, const char *out, const char *const *more)
{
    static char train[512], held[512], folder[512];
    snprintf(train, sizeof train, "%s/train.tokens", root);
    snprintf(held, sizeof held, "%s/held.tokens", root);
    snprintf(folder, sizeof folder, "%s", out);
    const char *const own[] = { "train", "--data",          train, "--held-out",  held, "--out",
                                folder,  "--d-model",       "16",  "--layers",    "2",  "--d-state",
                                "4",     "--rows",          "4",   "--window",    "32", "--learning-rate",
                                "0.01",  "--threads",       "1",   "--log-every", "1",  "--checkpoint-every",
                                "10",    "--sample-tokens", "0" };
    size_t n = 0;
    for (; n < sizeof own / sizeof *own; n++) arguments[n] = own[n];
    while (*more) arguments[n++] = *more++;
    arguments[n] = NULL;
}

cli_result run_train(const char *out, const char *const *more)
{
    const char *arguments[48];
    run_arguments(arguments, out, more);
    return cli_list(NULL, 0, arguments);
}

void assert_same_file(const char *folder_a, const char *folder_b, const char *name)
{
    char a[600], b[600];
    size_t size_a, size_b;
    snprintf(a, sizeof a, "%s/%s", folder_a, name);
    snprintf(b, sizeof b, "%s/%s", folder_b, name);
    char *bytes_a = cli_read(a, &size_a), *bytes_b = cli_read(b, &size_b);
    if (size_a != size_b || memcmp(bytes_a, bytes_b, size_a) != 0) fail_msg("%s and %s differ", a, b);
    free(bytes_a);
    free(bytes_b);
}

char *run_metrics(const char *folder)
{
    static const char *const keys[] = {
        "step", "tokens", "loss", "lr", "grad_norm", "held_out_loss", "held_out_tokens", "sample"
    };
    char path[600];
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    char *text = cli_read(path, NULL), *out = calloc(1, strlen(text) + 1), *to = out, *rest = NULL;
    krait_error error;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        kr_arena arena = { 0 };
        const kr_json *object;
        assert_ok(kr_json_parse(&object, &arena, path, line, strlen(line), &error));
        for (size_t i = 0; !kr_json_get(object, "event") && i < sizeof keys / sizeof *keys; i++) {
            const kr_json *value = kr_json_get(object, keys[i]);
            if (!value) continue;
            const char *at = line + value->offset;
            to += sprintf(to, "%s %.*s%s", keys[i], (int)strcspn(at, ",}"), at, i + 1 == sizeof keys / sizeof *keys ? "" : ";");
        }
        if (!kr_json_get(object, "event")) to += sprintf(to, "\n");
        kr_arena_free(&arena);
    }
    free(text);
    return out;
}
