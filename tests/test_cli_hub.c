/* Models by name: `pull`, `list`, `rm` and -m OWNER/NAME, against tests/hub_server.py, which plays the hub and its faults. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"
#include "krait/hub.h"

#ifdef KRAIT_CLI

#define COMMIT   "0123456789abcdef0123456789abcdef01234567"
#define TINY_HUB "hub/models--acme--tiny"
#define SNAPSHOT TINY_HUB "/snapshots/" COMMIT

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void shell(const char *format, ...)
{
    char command[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0) fail_msg("%s", command);
}

static bool exists(const char *name)
{
    struct stat info;
    return lstat(cli_path(name), &info) == 0;
}

static void write_text(const char *name, const char *text) { cli_write(cli_path(name), text, strlen(text)); }

static int runs_like(const char *model, const char *path)
{
    cli_result a = cli(NULL, "run", "-m", model, "--ids", "1,2,3", "-n", "8", "--greedy", "-t", "1", NULL);
    cli_result b = cli(NULL, "run", "-m", path, "--ids", "1,2,3", "-n", "8", "--greedy", "-t", "1", NULL);
    assert_cli(&a, 0, NULL);
    assert_cli(&b, 0, NULL);
    int order = strcmp(a.out, b.out);
    cli_free(&a);
    cli_free(&b);
    return order == 0;
}

static void assert_run(int code, const char *message, const char *command, const char *name)
{
    cli_result result = strcmp(command, "run") == 0 ? cli(NULL, "run", "-m", name, "--ids", "1", "-n", "1", "-t", "1", NULL)
                                                    : cli(NULL, command, name, NULL);
    assert_cli(&result, code, message);
    cli_free(&result);
}

/* ---- without any server ------------------------------------------------------------------------------------------ */

static int enter(void **state)
{
    static const char *const others[] = { "HF_HUB_CACHE",           "HUGGINGFACE_HUB_CACHE", "HF_TOKEN",
                                          "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",         "HF_HUB_OFFLINE",
                                          "SSL_CERT_FILE",          "TRANSFORMERS_OFFLINE",  "XDG_CACHE_HOME" };
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) unsetenv(others[i]);
    /* ctest may start us without a stdin, whose number a pipe would get. */
    for (int fd = 0; fd <= STDERR_FILENO;)
        if ((fd = open("/dev/null", O_RDWR)) > STDERR_FILENO) close(fd);
    setenv("HF_HOME", cli_folder(), 1);
    setenv("HF_ENDPOINT", "http://127.0.0.1:1", 1); /* nobody */
    setenv("no_proxy", "*", 1);
    setenv("NO_PROXY", "*", 1);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    shell("rm -rf '%s'/* '%s'/.locks", cli_folder(), cli_folder());
    cli_folder_remove();
    return 0;
}

static void clear(void) { shell("rm -rf '%s'", cli_path("hub")); }

/* As a system without links has it, and as Python writes refs. */
static void models_that_are_there_need_no_network(void **state)
{
    (void)state;
    clear();
    shell("mkdir -p '%s/refs/refs/pr' '%s' && cp '%s'/* '%s'", cli_path(TINY_HUB), cli_path(SNAPSHOT), TINY, cli_path(SNAPSHOT));
    write_text(TINY_HUB "/refs/main", COMMIT);
    write_text(TINY_HUB "/refs/refs/pr/1", COMMIT "\n");
    assert_true(runs_like("acme/tiny", TINY));
    assert_true(runs_like("acme/tiny@refs/pr/1", TINY));
    assert_true(runs_like("acme/tiny@" COMMIT, TINY));
    assert_true(runs_like("acme/tiny:model.safetensors", TINY));

    cli_result list = cli(NULL, "list", "--json", NULL);
    kr_arena arena = { 0 };
    assert_cli(&list, 0, NULL);
    const kr_json *root = cli_json(&list, &arena);
    assert_int_equal(root->length, 1);
    assert_true(kr_json_is(kr_json_get(root->first, "name"), "acme/tiny"));
    assert_true(kr_json_is(kr_json_get(root->first, "revision"), "main"));
    assert_true(kr_json_is(kr_json_get(root->first, "commit"), COMMIT));
    assert_true(kr_json_get(root->first, "complete")->boolean);
    kr_arena_free(&arena);
    cli_free(&list);

    /* Half a model is none. */
    shell("rm '%s'/*.safetensors", cli_path(SNAPSHOT));
    setenv("HF_HUB_OFFLINE", "1", 1);
    assert_run(1, "", "run", "acme/tiny");
    unsetenv("HF_HUB_OFFLINE");
    list = cli(NULL, "list", NULL);
    assert_non_null(strstr(list.out, "incomplete"));
    cli_free(&list);
    assert_run(0, NULL, "rm", "acme/tiny");
    assert_false(exists(TINY_HUB));
    list = cli(NULL, "list", NULL);
    assert_cli(&list, 0, "krait list: no models yet");
    assert_string_equal(list.out, "");
    cli_free(&list);
}

/* As Python reads them: ~ and $NAME may stand in them. */
static void variables_with_paths_are_expanded(void **state)
{
    (void)state;
    static const struct {
        const char *variable, *value;
    } cases[] = {
        { "HF_HUB_CACHE", "~/hub" }, { "HF_HUB_CACHE", "$KRAIT_HERE/hub" },  { "HUGGINGFACE_HUB_CACHE", "${KRAIT_HERE}/hub" },
        { "HF_HOME", "~" },          { "HF_HOME", "~/${KRAIT_NOWHERE}/.." }, { "XDG_CACHE_HOME", "~/cache" }
    };
    char *home = strdup(getenv("HOME") ? getenv("HOME") : "/");
    clear();
    shell("mkdir -p '%s/refs' '%s' && cp '%s'/* '%s'", cli_path(TINY_HUB), cli_path(SNAPSHOT), TINY, cli_path(SNAPSHOT));
    shell("mkdir -p '%s' '%s' && ln -s .. '%s'", cli_path("${KRAIT_NOWHERE}"), cli_path("cache"), cli_path("cache/huggingface"));
    write_text(TINY_HUB "/refs/main", COMMIT);
    setenv("HOME", cli_folder(), 1);
    setenv("KRAIT_HERE", cli_folder(), 1);
    setenv("HF_HUB_OFFLINE", "1", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsetenv("HF_HOME");
        setenv(cases[i].variable, cases[i].value, 1);
        cli_result found = cli(NULL, "run", "-m", "acme/tiny", "--ids", "1", "-n", "1", "-t", "1", NULL); /* which asks nobody */
#ifdef KRAIT_HAVE_HUB
        cli_result pulled = cli(NULL, "pull", "acme/tiny", NULL);
        assert_cli(&pulled, 0, NULL);
        assert_non_null(strstr(pulled.out, SNAPSHOT));
        cli_free(&pulled);
#endif
        unsetenv(cases[i].variable);
        if (found.code != 0) fail_msg("%s=%s: found %d and \"%s\"", cases[i].variable, cases[i].value, found.code, found.err);
        cli_free(&found);
    }
    setenv("HF_HOME", cli_folder(), 1);
#ifdef KRAIT_HAVE_HUB
    assert_run(1, "acme/none: not in ", "pull", "acme/none");
    setenv("TRANSFORMERS_OFFLINE", "1", 1);
    assert_run(1, "offline (HF_HUB_OFFLINE): unset it", "pull", "acme/none");
    unsetenv("HF_HUB_OFFLINE");
    assert_run(1, "offline (TRANSFORMERS_OFFLINE): unset it", "pull", "acme/none");
#endif
    unsetenv("HF_HUB_OFFLINE");
    unsetenv("TRANSFORMERS_OFFLINE");
    setenv("HOME", home, 1);
    free(home);
    shell("rm -r '%s' '%s'", cli_path("${KRAIT_NOWHERE}"), cli_path("cache"));
}

static void an_index_needs_all_its_shards(void **state)
{
    (void)state;
    clear();
    shell("mkdir -p '%s/refs' '%s' && cp '%s'/* '%s'", cli_path(TINY_HUB), cli_path(SNAPSHOT),
          KRAIT_TEST_DATA "/models/bf16-sharded", cli_path(SNAPSHOT));
    write_text(TINY_HUB "/refs/main", COMMIT);
    assert_true(runs_like("acme/tiny", KRAIT_TEST_DATA "/models/bf16-sharded"));
    shell("rm '%s'/model-00002*", cli_path(SNAPSHOT));
    setenv("HF_HUB_OFFLINE", "yes", 1);
    assert_run(1, "no file or folder acme/tiny here", "run", "acme/tiny");
    unsetenv("HF_HUB_OFFLINE");
    /* And one that names a file elsewhere is not followed. */
    write_text(SNAPSHOT "/model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../../../../etc/passwd\"}}");
    assert_run(1, "weight_map: expected the name of a file beside it", "run", "acme/tiny");
}

static void names_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = { "acme",       "acme/",           "/tiny",          "acme/tiny/x", "../tiny",
                                         "acme/..",    "a--b/tiny",       "acme/tiny@",     "acme/t@..",   "acme/t@a/../b",
                                         "acme/tiny:", "acme/t:../x",     "acme/t:/x",      "acme/t@-x",   "acme/ti ny",
                                         "acme/t@a b", "acme/model.gguf", "acme/tiny:a//b", "-acme/tiny" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(krait_hub_is_name(wrong[i]));
        if (wrong[i][0] == '-') continue;
        assert_run(2, "expected OWNER/NAME[@REVISION]", "pull", wrong[i]);
        assert_run(2, "expected OWNER/NAME[@REVISION]", "rm", wrong[i]);
    }
    assert_true(krait_hub_is_name("a/b") && krait_hub_is_name("state-spaces/mamba-1.4b-hf@refs/pr/1:x/y.gguf"));
    assert_run(1, "acme/nothing: not in ", "rm", "acme/nothing");
    assert_run(1, "found a file of it", "rm", "acme/nothing:x");
}

#ifndef KRAIT_HAVE_HUB

static void pulling_says_that_there_is_no_network(void **state)
{
    (void)state;
    clear();
    assert_run(1, "acme/tiny: this build has no network", "pull", "acme/tiny");
    assert_run(1, "this build has no network", "run", "acme/tiny");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_are_there_need_no_network), cmocka_unit_test(variables_with_paths_are_expanded),
        cmocka_unit_test(an_index_needs_all_its_shards),         cmocka_unit_test(names_are_checked),
        cmocka_unit_test(pulling_says_that_there_is_no_network),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}

#else

/* ---- the server -------------------------------------------------------------------------------------------------- */

static pid_t server;
static int to_server = -1;

/* False: there is no python3, which fails under CI. */
static bool serve(void)
{
    int to[2], from[2], status;
    char ports[64] = "", endpoint[64];
    if (server) return true;
    if (system("python3 -c 'import http.server' 2>/dev/null") != 0) {
        if (getenv("CI")) fail_msg("no python3 to play the hub");
        print_message("no python3 to play the hub\n");
        return false;
    }
    shell("mkdir -p '%s' && cp -r '%s/models/tiny' '%s/models/bf16-sharded' '%s/gguf' '%s'", cli_path("srv/acme"),
          KRAIT_TEST_DATA, KRAIT_TEST_DATA, KRAIT_TEST_DATA, cli_path("srv/acme"));
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        execlp("python3", "python3", SOURCE "/tests/hub_server.py", cli_path("srv"), (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    to_server = to[1];
    size_t length = 0; /* the line may come in parts */
    for (ssize_t n = 1; n > 0 && length + 1 < sizeof ports && !strchr(ports, '\n'); length += n > 0 ? (size_t)n : 0)
        n = read(from[0], ports + length, sizeof ports - 1 - length);
    if (!strchr(ports, '\n')) {
        waitpid(server, &status, 0);
        fail_msg("hub_server.py did not start");
    }
    close(from[0]);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d/", atoi(ports));
    setenv("HF_ENDPOINT", endpoint, 1);
    return true;
}

static int leave_and_stop(void **state)
{
    int status;
    if (server) {
        close(to_server);
        waitpid(server, &status, 0);
    }
    return leave(state);
}

/* An empty cache, an empty log, and these faults. */
static void begin(const char *faults)
{
    clear();
    write_text("srv/log", "");
    write_text("srv/faults", faults);
}

#define NEEDS_SERVER() \
    if (!serve()) skip()

/* How many requests there were whose line has all of these. */
static size_t requests(const char *a, const char *b)
{
    size_t n = 0;
    char *log = cli_read(cli_path("srv/log"), NULL);
    for (char *line = strtok(log, "\n"); line; line = strtok(NULL, "\n")) n += strstr(line, a) && strstr(line, b);
    free(log);
    return n;
}

/* How many files below the cache have a name like this; links count. */
static size_t count(const char *pattern)
{
    char command[1024], text[32] = "";
    snprintf(command, sizeof command, "find '%s' -name '%s' ! -type d 2>/dev/null | wc -l", cli_path("hub"), pattern);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_non_null(fgets(text, sizeof text, pipe));
    pclose(pipe);
    return strtoul(text, NULL, 10);
}

/* No snapshot, no ref, no file under its own name but the small ones that came before. */
static void assert_nothing_looks_complete(void)
{
    assert_false(exists(SNAPSHOT));
    assert_false(exists(TINY_HUB "/refs/main"));
    setenv("HF_HUB_OFFLINE", "1", 1);
    assert_run(1, "offline (HF_HUB_OFFLINE): unset it and type krait pull acme/tiny", "run", "acme/tiny");
    unsetenv("HF_HUB_OFFLINE");
}

/* ---- as it should be --------------------------------------------------------------------------------------------- */

static void a_pulled_model_is_where_python_looks(void **state)
{
    (void)state;
    char target[512];
    NEEDS_SERVER();
    begin("");
    setenv("HF_TOKEN", "hf_secret", 1);
    cli_result result = cli(NULL, "pull", "acme/tiny", NULL), json = cli(NULL, "pull", "acme/tiny", "--json", NULL);
    unsetenv("HF_TOKEN");
    assert_cli(&result, 0, NULL);
    assert_cli(&json, 0, NULL);
    size_t length = strlen(cli_path(SNAPSHOT));
    assert_memory_equal(result.out, cli_path(SNAPSHOT), length);
    assert_non_null(strstr(json.out, cli_path(SNAPSHOT)));
    cli_free(&result);
    cli_free(&json);

    size_t size;
    char *ref = cli_read(cli_path(TINY_HUB "/refs/main"), &size);
    assert_int_equal(size, 40);
    assert_string_equal(ref, COMMIT);
    free(ref);
    ssize_t n = readlink(cli_path(SNAPSHOT "/config.json"), target, sizeof target - 1);
    assert_true(n > 0);
    target[n] = 0;
    assert_int_equal(n, (ssize_t)strlen("../../blobs/") + 40); /* git's */
    assert_memory_equal(target, "../../blobs/", 12);
    assert_int_equal(readlink(cli_path(SNAPSHOT "/model.safetensors"), target, sizeof target), 12 + 64);
    assert_int_equal(count("*.incomplete"), 0);

    /* What is there is neither fetched again nor asked for, nor written again: the cache may be read-only. */
    struct stat before_again, after;
    assert_int_equal(stat(cli_path(TINY_HUB "/refs/main"), &before_again), 0);
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(stat(cli_path(TINY_HUB "/refs/main"), &after), 0);
    assert_true(before_again.st_ino == after.st_ino);
    assert_int_equal(requests("resolve", "config.json"), 1);
    assert_int_equal(requests("cdn", "model.safetensors"), 1);
    size_t before = requests("", "");
    assert_true(runs_like("acme/tiny", TINY));
    assert_int_equal(requests("", ""), before);
    assert_run(0, NULL, "rm", "acme/tiny");
    assert_false(exists(TINY_HUB));
    assert_int_equal(count("*"), 0);
}

static void the_token_goes_to_the_hub_alone(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("");
    setenv("HF_TOKEN", "  hf_secret\n", 1); /* as files have it */
    assert_run(0, NULL, "pull", "acme/tiny");
    unsetenv("HF_TOKEN");
    assert_int_equal(requests("hub ", "authorization=Bearer hf_secret"), 3);
    assert_int_equal(requests("cdn ", "authorization=None"), 1);
    assert_int_equal(requests("cdn ", "hf_secret"), 0);

    begin("");
    write_text("token", "hf_file\n");
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("hub ", "authorization=Bearer hf_file"), 3);
    unlink(cli_path("token"));

    begin("");
    write_text("elsewhere", "hf_other");
    setenv("HF_TOKEN_PATH", cli_path("elsewhere"), 1);
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("hub ", "authorization=Bearer hf_other"), 3);
    unsetenv("HF_TOKEN_PATH");

    setenv("HF_TOKEN", "a\r\nX-Evil: 1", 1);
    assert_run(1, "the token for the hub: expected one short word", "pull", "acme/tiny");
    unsetenv("HF_TOKEN");
}

static void shards_revisions_and_single_files_are_pulled(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("");
    assert_true(runs_like("acme/bf16-sharded@refs/pr/1", KRAIT_TEST_DATA "/models/bf16-sharded")); /* -m pulls */
    assert_true(exists("hub/models--acme--bf16-sharded/refs/refs/pr/1"));
    assert_int_equal(requests("cdn ", "model-0000"), 2);
    assert_run(0, NULL, "pull", "acme/bf16-sharded@v1.0"); /* the same commit: a name more */
    assert_int_equal(requests("cdn ", "model-0000"), 2);
    assert_run(0, NULL, "rm", "acme/bf16-sharded@v1.0");
    assert_false(exists("hub/models--acme--bf16-sharded"));

    assert_true(runs_like("acme/gguf:tiny-mixed.gguf", KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf"));
    assert_run(1, "has GGUF files: name one of them, as in acme/gguf:FILE (", "pull", "acme/gguf");
    assert_run(1, "acme/gguf:none.gguf: no such file there", "pull", "acme/gguf:none.gguf");
}

/* Gigabytes that could not be run do not come. */
static void a_model_of_another_family_is_not_downloaded(void **state)
{
    (void)state;
    NEEDS_SERVER();
    shell("mkdir -p '%s' && cp '%s/model.safetensors' '%s'", cli_path("srv/acme/other"), TINY, cli_path("srv/acme/other"));
    write_text("srv/acme/other/config.json", "{\"model_type\": \"llama\"}");
    begin("");
    assert_run(1, "acme/other: config.json: model_type: expected mamba or falcon_mamba, found llama", "run", "acme/other");
    assert_int_equal(requests("model.safetensors", ""), 0);
    assert_run(0, NULL, "pull", "acme/other:model.safetensors"); /* who names a file wants it */
    assert_int_equal(requests("cdn", "model.safetensors"), 1);
}

static void a_path_that_exists_wins(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("");
    char *before = getcwd(NULL, 0);
    assert_int_equal(chdir(cli_path("srv")), 0);
    assert_run(0, NULL, "run", "acme/tiny");
    assert_int_equal(chdir(before), 0);
    free(before);
    assert_int_equal(requests("", ""), 0);
}

/* ---- as it should not be ----------------------------------------------------------------------------------------- */

static void what_the_server_refuses_is_told(void **state)
{
    (void)state;
    NEEDS_SERVER();
    static const struct {
        const char *faults, *token, *name, *message;
    } cases[] = {
        { "", NULL, "acme/none",
          "there is no such model, or it needs a token (401: Repository not found): check the name, or set HF_TOKEN" },
        { "", "hf_x", "acme/none", "does not accept the token, or there is no such model (401" },
        { "", NULL, "acme/tiny@v9", "acme/tiny@v9: not found at http" },
        { "403 1 api", NULL, "acme/tiny",
          "no access (403: as the test wants it): set HF_TOKEN after accepting the terms at http" },
        { "403 1 model.safe", "hf_x", "acme/tiny", "acme/tiny: model.safetensors: no access (403" },
        { "404 1 config", NULL, "acme/tiny", "acme/tiny: config.json: not found" },
        { "retry-3600 1 api", NULL, "acme/tiny", "too many requests (429): try again in 3600 s, or set HF_TOKEN" },
        { "418 1 api", NULL, "acme/tiny", "the server answered 418" },
        { "401 1 config", NULL, "acme/tiny",
          "acme/tiny: config.json: needs a token (401: as the test wants it): accept the terms at http" },
        { "401 1 config", "hf_x", "acme/tiny",
          "does not accept the token (401: as the test wants it): accept the terms at http" },
        { "403 1 cdn", NULL, "acme/tiny", ", where the hub keeps it, answered 403 (as the test wants it): try again later" },
        { "loop 99 config", NULL, "acme/tiny", "more than 8 redirects" },
        { "downgrade 1 config", NULL, "acme/tiny", "expected a redirect to https://, found ftp" },
        { "evil-../../../evil 1 api", NULL, "acme/tiny", "expected a file name inside the model, found \"../../../evil\"" },
        { "evil-/etc/evil 1 api", NULL, "acme/tiny", "expected a file name inside the model, found \"/etc/evil\"" },
        { "evil-a/../../evil 1 api", NULL, "acme/tiny", "expected a file name inside the model" },
        { "page 1 api", NULL, "acme/tiny", "is not a hub's list of files: line 1, byte 0: expected a value, found '<'" },
        { "flip 9 cdn", NULL, "acme/tiny", "model.safetensors: expected SHA-256 de966c" },
        { "flip 9 config.json", NULL, "acme/tiny", "config.json: expected git's SHA-1 fcd468d" },
        { "short 9 cdn", NULL, "acme/tiny", "model.safetensors: expected 461440 bytes, the server sent 461439" },
        { "long 9 cdn", NULL, "acme/tiny", "expected 461440 bytes, the server sends more" },
        { "shift 9 cdn\ncut-1000 1 none", NULL, "acme/tiny", NULL }, /* no range was asked for: nothing is wrong */
        { "cut-1000 1 cdn\nshift 1 cdn", NULL, "acme/tiny", "expected bytes from 1000 on, the server sent others" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(cases[i].faults);
        if (cases[i].token) setenv("HF_TOKEN", cases[i].token, 1);
        cli_result result = cli(NULL, "pull", cases[i].name, NULL);
        unsetenv("HF_TOKEN");
        if (result.code != (cases[i].message ? 1 : 0) || (cases[i].message && !strstr(result.err, cases[i].message)))
            fail_msg("case %zu: expected \"%s\", found %d and \"%s\"", i, cases[i].message, result.code, result.err);
        if (cases[i].message) assert_nothing_looks_complete();
        bool damaged = strstr(cases[i].faults, "flip") || strstr(cases[i].faults, "short") || strstr(cases[i].faults, "long");
        if (damaged) assert_int_equal(count("*.incomplete"), 0);
        cli_free(&result);
    }
    assert_false(exists("evil"));
}

static void what_may_pass_is_tried_again(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("500 1 api\n503 1 config\nretry-0 2 cdn\ncut-1000 1 cdn\ncut-7 1 cdn\n502 1 cdn");
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("cdn ", "range=bytes=1000-"), 1);
    assert_int_equal(requests("cdn ", "range=bytes=1007-"), 2);
    assert_true(runs_like("acme/tiny", TINY));
    /* Not for ever. */
    begin("500 99 api");
    assert_run(1, "acme/tiny: the server answered 500", "pull", "acme/tiny");
    assert_in_range(requests("api", ""), 3, 10);
}

static void a_later_pull_goes_on(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("cut-5000 1 cdn\n404 1 cdn");
    assert_run(1, "where the hub keeps it, answered 404", "pull", "acme/tiny");
    assert_nothing_looks_complete();
    assert_int_equal(count("*.incomplete"), 1);
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("cdn ", "range=bytes=5000-"), 2); /* after the cut, and now */
    assert_int_equal(count("*.incomplete"), 0);
    assert_true(runs_like("acme/tiny", TINY));

    /* A server that ignores ranges; and one of whose file the beginning is not. */
    static const char *const faults[] = { "cut-5000 1 cdn\n404 1 cdn\nnorange 1 cdn", "cut-5000 1 cdn\n404 1 cdn" };
    for (size_t i = 0; i < 2; i++) {
        begin(faults[i]);
        assert_run(1, "where the hub keeps it, answered 404", "pull", "acme/tiny");
        if (i) shell("printf '12345' | dd conv=notrunc of=\"$(find '%s' -name '*.incomplete')\" 2>/dev/null", cli_path("hub"));
        assert_run(0, NULL, "pull", "acme/tiny");
        assert_true(runs_like("acme/tiny", TINY));
    }
    /* All there, and never renamed; and more than all. */
    for (size_t i = 0; i < 2; i++) {
        char blob[] = TINY_HUB "/blobs/de966c024ec801ee9f59c8b768e392bfdb252278f716ed08b83d05f5a55607e8";
        shell("rm -r '%s' && mv '%s' '%s.incomplete'", cli_path(SNAPSHOT), cli_path(blob), cli_path(blob));
        if (i) shell("echo more >> '%s.incomplete'", cli_path(blob));
        assert_run(0, NULL, "pull", "acme/tiny");
        assert_true(runs_like("acme/tiny", TINY));
    }
}

/* A limit of the size of files: the write fails as on a full disk. */
static void a_full_disk_leaves_nothing_that_looks_complete(void **state)
{
    (void)state;
    NEEDS_SERVER();
    begin("");
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cli_result result = cli(NULL, "pull", "acme/tiny", NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_cli(&result, 1, "model.safetensors: cannot write: File too large: 100000 of 461440 bytes are kept in ");
    cli_free(&result);
    assert_nothing_looks_complete();
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("cdn ", "range=bytes=100000-"), 1);
}

static void processes_share_a_download(void **state)
{
    (void)state;
    NEEDS_SERVER();
    static const char *const arguments[] = { "pull", "acme/tiny", NULL };
    begin("slow-0.1 1 cdn");
    cli_process first = cli_start(arguments);
    for (size_t i = 0; i < 600 && !requests("cdn ", ""); i++) usleep(20000);
    cli_process second = cli_start(arguments);
    assert_run(1, "acme/tiny: another process is downloading it", "rm", "acme/tiny");
    assert_int_equal(cli_end(&first), 0);
    assert_int_equal(cli_end(&second), 0);
    assert_int_equal(requests("cdn ", ""), 1);
    assert_true(runs_like("acme/tiny", TINY));
}

static void an_interrupted_pull_goes_on(void **state)
{
    (void)state;
    NEEDS_SERVER();
    static const char *const arguments[] = { "pull", "acme/tiny", NULL };
    begin("slow-0.3 1 cdn");
    cli_process process = cli_start(arguments);
    for (size_t i = 0; i < 600 && !requests("cdn ", ""); i++) usleep(20000);
    usleep(700000);
    kill(process.pid, SIGINT);
    assert_true(cli_wait_for(&process,
                             "krait pull: interrupted: what has come of acme/tiny is kept, the same command goes on from there"));
    assert_int_equal(cli_end(&process), 130);
    assert_nothing_looks_complete();
    assert_int_equal(count("*.incomplete"), 1);
    assert_run(0, NULL, "pull", "acme/tiny");
    assert_int_equal(requests("cdn ", "range=bytes="), 1);
    assert_true(runs_like("acme/tiny", TINY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_that_are_there_need_no_network),
        cmocka_unit_test(variables_with_paths_are_expanded),
        cmocka_unit_test(an_index_needs_all_its_shards),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(a_pulled_model_is_where_python_looks),
        cmocka_unit_test(the_token_goes_to_the_hub_alone),
        cmocka_unit_test(shards_revisions_and_single_files_are_pulled),
        cmocka_unit_test(a_model_of_another_family_is_not_downloaded),
        cmocka_unit_test(a_path_that_exists_wins),
        cmocka_unit_test(what_the_server_refuses_is_told),
        cmocka_unit_test(what_may_pass_is_tried_again),
        cmocka_unit_test(a_later_pull_goes_on),
        cmocka_unit_test(a_full_disk_leaves_nothing_that_looks_complete),
        cmocka_unit_test(processes_share_a_download),
        cmocka_unit_test(an_interrupted_pull_goes_on),
    };
    return cmocka_run_group_tests(tests, enter, leave_and_stop);
}

#endif

#else

int main(void) { return 0; }

#endif
