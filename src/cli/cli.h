/* The program `krait`: what a subcommand is, how it ends, and what all of them share. Everything here stands on the public
 * API; base/json.h and base/memory.h are the only other parts of the library that it uses. */
#ifndef KR_CLI_CLI_H
#define KR_CLI_CLI_H

#include "cli/options.h"
#include "krait/krait.h"

/* Exit codes of every subcommand. */
enum {
    KR_EXIT_OK = 0,
    KR_EXIT_FAILURE = 1,      /* "krait run: what went wrong" is on stderr */
    KR_EXIT_USAGE = 2,        /* the command line is at fault */
    KR_EXIT_INTERRUPTED = 130 /* Ctrl-C, as shells report it */
};

extern const kr_command kr_command_run, kr_command_inspect, kr_command_tokenize, kr_command_logits, kr_command_perplexity,
    kr_command_bench, kr_command_quantize, kr_command_pull, kr_command_list, kr_command_rm, kr_command_plot, kr_command_data,
    kr_command_train, kr_command_tokenizer, kr_command_task;

#endif
