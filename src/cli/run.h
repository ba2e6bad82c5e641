/* `krait run`: what its ways of working share: one prompt (run.c), a conversation (run_interactive.c), a file of prompts (run_batch.c). */
#ifndef KR_CLI_RUN_H
#define KR_CLI_RUN_H

#include "base/json.h"
#include "cli/cli.h"
#include "cli/model_source.h"
#include "cli/progress.h"

typedef struct kr_run_values {
    kr_model_choice choice;
    const char *prompt, *file, *prompts, *out;
    uint64_t batch;
    kr_counts ids;
    bool bos;
    uint64_t n;
    double temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    uint64_t top_k, penalty_window, seed;
    kr_texts logit_bias;
    bool greedy;
    kr_texts stop;
    kr_counts stop_ids;
    bool ignore_eos;
    const char *state_in, *state_out;
    bool interactive;
    const char *before, *after;
    bool no_echo, json, logprobs, stats;
} kr_run_values;

/* A growing list, for --json. */
typedef struct kr_run_record {
    int32_t *ids;
    float *logprobs;
    size_t n, ids_capacity, logprobs_capacity;
    char *text;
    size_t length, text_capacity;
    bool failed; /* memory ran out */
} kr_run_record;

typedef struct kr_run {
    const kr_run_values *values;
    kr_model_source source;
    krait_state *state;
    krait_generate_options options;
    kr_progress progress;
    double load_seconds;
    bool by_ids;      /* ids go in and come out instead of text */
    const char *echo; /* text to put before the first piece; NULL: nothing (any more) */
    size_t echo_length;
    bool wrote, ended_line; /* something was written; its last byte was a newline */
    kr_run_record record;
} kr_run;

/* Adds to it; false when memory ran out. */
bool kr_run_record_piece(kr_run_record *record, const krait_piece *piece);
void kr_run_record_free(kr_run_record *record);

/* Members of a JSON object: a list of ids, and the "logprobs" of a record. */
void kr_run_put_ids(kr_json_writer *json, const char *key, const int32_t *ids, size_t n);
void kr_run_put_logprobs(kr_json_writer *json, const kr_run_record *record);

/* Model, tokenizer where it is needed (`has_text`: text will go in), and state. */
krait_status kr_run_open(kr_run *run, bool has_text, krait_error *error);

/* Puts the token of --bos before ids that begin the sequence, and checks them all. On failure the ids are freed. */
krait_status kr_run_finish_ids(kr_run *run, bool begin, int32_t **ids, size_t *n, krait_error *error);
/* Ids of a text, or, by ids, of the numbers in it. `begin`: this is the beginning of the sequence, where --bos puts its token. */
krait_status kr_run_encode(kr_run *run, const char *text, size_t length, bool begin, int32_t **ids, size_t *n,
                           krait_error *error);
/* krait_generate() with the pieces going to stdout or to the record; ends the line. */
krait_status kr_run_generate(kr_run *run, const int32_t *ids, size_t n, krait_generate_result *result, krait_error *error);
/* Rates and memory, on stderr. */
void kr_run_stats(const kr_run *run, const krait_generate_result *result);

/* The conversation; returns an exit code. The first turn, if any, is `text`. */
int kr_run_interactive(kr_run *run, const char *text, size_t length);
/* The file of prompts; returns an exit code. */
int kr_run_batch(kr_run *run);

#endif
