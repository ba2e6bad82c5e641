/* krait: the command line. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/report.h"

static const kr_command *const commands[] = { &kr_command_run,    &kr_command_inspect,    &kr_command_tokenize,
                                              &kr_command_logits, &kr_command_perplexity, &kr_command_quantize,
                                              &kr_command_bench,  &kr_command_pull,       &kr_command_list,
                                              &kr_command_rm,     &kr_command_plot,       &kr_command_data,
                                              &kr_command_train,  &kr_command_tokenizer,  &kr_command_task };

/* What failures outside of any subcommand are reported as. */
static const kr_command help_command = { .name = "help" };

static const kr_command *find(const char *name)
{
    for (size_t i = 0; i < KR_COUNT_OF(commands); i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int put_version(void)
{
    printf("krait %s (%s)\n", krait_version(), krait_build_info());
    return kr_output_finish(&help_command, KR_EXIT_OK);
}

static void put_help(FILE *out)
{
    fputs("krait: selective state space models (Mamba) on your CPU\n\n"
          "Usage: krait COMMAND [options]\n\n",
          out);
    for (size_t i = 0; i < KR_COUNT_OF(commands); i++) fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fputs("  help         explain a command: krait help run\n"
          "  version      the version, and what this build was made of\n\n"
          "Start here\n"
          "  krait run -p 'It was a dark and stormy night, and the'     # a small model is inside\n"
          "  krait run -m path/to/mamba-130m-hf -p 'Hello' --stats     # or bring a checkpoint\n"
          "  krait run -m state-spaces/mamba-130m-hf -p 'Hello'        # or have it downloaded\n\n"
          "Exit codes: 0 done, 1 failed (stderr says why), 2 wrong command line, 130 Ctrl-C.\n"
          "Manual: man krait, man krait-run, ...\n",
          out);
}

static int unknown(const char *word)
{
    const char *names[KR_COUNT_OF(commands) + 2];
    size_t n = 0;
    while (n < KR_COUNT_OF(commands)) {
        names[n] = commands[n]->name;
        n++;
    }
    names[n++] = "help";
    names[n++] = "version";
    const char *nearest = kr_nearest(word, names, n);
    fprintf(stderr, "krait: unknown command %s", word);
    if (nearest)
        fprintf(stderr, ": did you mean krait %s?\n", nearest);
    else
        fputs("\nTry 'krait help'.\n", stderr);
    return KR_EXIT_USAGE;
}

static int help(const char *name)
{
    const kr_command *command = name ? find(name) : NULL;
    if (name && !command && strcmp(name, "help") != 0 && strcmp(name, "version") != 0) return unknown(name);
    if (command)
        kr_options_help(command, stdout);
    else
        put_help(stdout);
    return kr_output_finish(&help_command, KR_EXIT_OK);
}

static int run(const kr_command *command, int n, char **argv)
{
    kr_arena arena = { 0 };
    void *values = kr_alloc_zero(1, command->values_size);
    int code = KR_EXIT_FAILURE;
    if (!values)
        fprintf(stderr, "krait %s: out of memory\n", command->name);
    else
        switch (kr_options_parse(command, values, &arena, n, argv)) {
        case KR_PARSED_HELP:
            kr_options_help(command, stdout);
            code = KR_EXIT_OK;
            break;
        case KR_PARSED_WRONG: code = KR_EXIT_USAGE; break;
        case KR_PARSED_OK: code = command->run(values); break;
        }
    kr_free(values);
    kr_arena_free(&arena);
    return kr_output_finish(command, code);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        put_help(stderr);
        return KR_EXIT_USAGE;
    }
    const char *word = argv[1];
    const kr_command *command = find(word);
    if (command) return run(command, argc - 2, argv + 2);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) return put_version();
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(word, "__options") == 0) { /* for the tests that keep man pages and completions in step */
        for (size_t i = 0; i < KR_COUNT_OF(commands); i++) kr_options_list(commands[i], stdout);
        return kr_output_finish(&help_command, KR_EXIT_OK);
    }
    return unknown(word);
}
