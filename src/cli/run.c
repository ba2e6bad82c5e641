#include "cli/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/report.h"

#define AT(field) offsetof(kr_run_values, field)

static const kr_option options[] = {
    { KR_OPTION_HEADING, .help = "Model" },
    KR_OPTION_MODEL(kr_run_values),
    KR_OPTION_TOKENIZER(kr_run_values),

    { KR_OPTION_HEADING, .help = "Prompt" },
    { KR_OPTION_TEXT, 'p', "prompt", "TEXT", AT(prompt), .help = "Text to continue" },
    { KR_OPTION_FILE, 'f', "file", "FILE", AT(file),
      .help = "Continue the text in a file (- for stdin), less one newline at its end; without -p, -f and --ids, stdin is read" },
    { KR_OPTION_COUNTS, 0, "ids", "1,2,3", AT(ids), 0, INT32_MAX, .help = "Continue token ids; ids are then printed, too" },
    { KR_OPTION_FLAG, 0, "bos", NULL, AT(bos), .help = "Put the model's beginning-of-text token first; it alone is a prompt" },
    { KR_OPTION_FLAG, 'i', "interactive", NULL, AT(interactive),
      .help = "A conversation: each line you type is added to the text, and the model goes on; /help there lists commands" },
    { KR_OPTION_TEXT, 0, "before", "TEXT", AT(before),
      .help = "With -i: put before each line you type (without it, a newline, except at the very beginning)" },
    { KR_OPTION_TEXT, 0, "after", "TEXT", AT(after), .help = "With -i: put behind each line you type" },

    { KR_OPTION_HEADING, .help = "Many prompts, side by side" },
    { KR_OPTION_FILE, 0, "prompts", "FILE", AT(prompts),
      .help = "Continue each line's {\"prompt\": \"text\"} or {\"ids\": [1, 2]} (- for stdin), with \"id\", \"max_tokens\", "
              "\"seed\", "
              "\"temperature\" and \"stop\" if you like" },
    { KR_OPTION_FILE, 'o', "out", "FILE", AT(out),
      .help = "Where a line of JSON for each goes, in the same order (- for stdout); the same command again goes on after an "
              "interruption" },
    { KR_OPTION_COUNT, 0, "batch", "N", AT(batch), 1, KRAIT_BATCH_MAX_ROWS, "16",
      "How many generate at a time; the texts do not depend on it" },

    { KR_OPTION_HEADING, .help = "Length" },
    { KR_OPTION_COUNT, 'n', "tokens", "N", AT(n), 1, 0, "128", "Generate at most N tokens" },
    { KR_OPTION_TEXTS, 0, "stop", "TEXT", AT(stop), .help = "Stop before this text; may be given several times" },
    { KR_OPTION_COUNTS, 0, "stop-id", "ID", AT(stop_ids), 0, INT32_MAX,
      .help = "Stop at this token; may be given several times" },
    { KR_OPTION_FLAG, 0, "ignore-eos", NULL, AT(ignore_eos), .help = "Go on past the model's end-of-text token" },

    { KR_OPTION_HEADING, .help = "Sampling, in the order in which it applies" },
    { KR_OPTION_TEXTS, 0, "logit-bias", "ID=BIAS", AT(logit_bias),
      .help = "Add to a token's logit; -inf forbids the token; may be given several times" },
    { KR_OPTION_NUMBER, 0, "repeat-penalty", "X", AT(repeat_penalty), 0, 0, "1",
      "Divide positive logits of tokens seen before by X, multiply negative ones; 1 is off" },
    { KR_OPTION_NUMBER, 0, "frequency-penalty", "X", AT(frequency_penalty), -INFINITY, 0, "0",
      "Subtract X from a token's logit for each time it was seen" },
    { KR_OPTION_NUMBER, 0, "presence-penalty", "X", AT(presence_penalty), -INFINITY, 0, "0",
      "Subtract X once from the logit of each token seen" },
    { KR_OPTION_COUNT, 0, "penalty-window", "N", AT(penalty_window), 0, 1 << 30, "64",
      "How many of the last tokens count as seen; 0 is all of them" },
    { KR_OPTION_NUMBER, 0, "temp", "T", AT(temperature), 0, 0, "0.8",
      "Temperature: below 1 sticks to the probable, above 1 wanders; 0 is --greedy" },
    { KR_OPTION_FLAG, 0, "greedy", NULL, AT(greedy), .help = "Always the most probable token" },
    { KR_OPTION_COUNT, 0, "top-k", "K", AT(top_k), 0, INT32_MAX, "0", "Choose among the K most probable; 0 is off" },
    { KR_OPTION_NUMBER, 0, "top-p", "P", AT(top_p), 0, 1, "0.95",
      "Choose among the fewest whose probabilities sum to P; 1 is off" },
    { KR_OPTION_NUMBER, 0, "min-p", "P", AT(min_p), 0, 1, "0",
      "Choose among those at least P times as probable as the first; 0 is off" },
    { KR_OPTION_COUNT, 0, "seed", "N", AT(seed), 0, 0, "0", "Same seed, same text; --seed $RANDOM gives another text each time" },

    { KR_OPTION_HEADING, .help = "State: all that the model remembers, in a small file of fixed size" },
    { KR_OPTION_FILE, 0, "state-in", "FILE", AT(state_in), .help = "Go on from a saved state; a prompt is not needed then" },
    { KR_OPTION_FILE, 0, "state-out", "FILE", AT(state_out), .help = "Save the state at the end" },

    { KR_OPTION_HEADING, .help = "Output" },
    { KR_OPTION_FLAG, 0, "no-echo", NULL, AT(no_echo), .help = "Do not repeat the prompt before its continuation" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json),
      .help = "One JSON object with ids, text, why it ended, times and memory; with --prompts: ids beside each text" },
    { KR_OPTION_FLAG, 0, "logprobs", NULL, AT(logprobs),
      .help = "With --json: the log-probability of each token, before sampling" },
    { KR_OPTION_FLAG, 0, "stats", NULL, AT(stats), .help = "Rates and memory on stderr" },

    { KR_OPTION_HEADING, .help = "Machine" },
    KR_OPTION_THREADS(kr_run_values),
    KR_OPTION_TYPE(kr_run_values),
    KR_OPTION_ISA(kr_run_values),
    KR_OPTION_CHUNK(kr_run_values),
};

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* The block with room for `needed` elements; NULL, and the block as it was, when memory runs out. */
static void *grown(void *block, size_t *capacity, size_t needed, size_t size)
{
    if (needed <= *capacity) return block;
    size_t larger = *capacity * 2 > needed ? *capacity * 2 : needed + 64;
    void *moved = kr_realloc(block, larger, size);
    if (moved) *capacity = larger;
    return moved;
}

bool kr_run_record_piece(kr_run_record *record, const krait_piece *piece)
{
    if (piece->id >= 0) {
        int32_t *ids = grown(record->ids, &record->ids_capacity, record->n + 1, sizeof *ids);
        if (ids) record->ids = ids;
        float *logprobs = grown(record->logprobs, &record->logprobs_capacity, record->n + 1, sizeof *logprobs);
        if (logprobs) record->logprobs = logprobs;
        if (!ids || !logprobs) return false;
        record->ids[record->n] = piece->id;
        record->logprobs[record->n++] = piece->logprob;
    }
    if (!piece->text_length) return true;
    char *text = grown(record->text, &record->text_capacity, record->length + piece->text_length, 1);
    if (!text) return false;
    record->text = text;
    memcpy(text + record->length, piece->text, piece->text_length);
    record->length += piece->text_length;
    return true;
}

void kr_run_record_free(kr_run_record *record)
{
    kr_free(record->ids);
    kr_free(record->logprobs);
    kr_free(record->text);
}

static void put(kr_run *run, const char *text, size_t length)
{
    if (!length) return;
    fwrite(text, 1, length, stdout);
    run->wrote = true;
    run->ended_line = text[length - 1] == '\n';
}

/* The prompt comes out with the first piece, not before: the line of progress would wipe its last line. */
static void put_echo(kr_run *run)
{
    bool dim = kr_may_colour(stdout);
    if (!run->echo) return;
    if (dim) fputs(KR_DIM, stdout);
    put(run, run->echo, run->echo_length);
    if (dim) fputs(KR_PLAIN, stdout);
    run->echo = NULL;
}

static bool on_piece(void *user, const krait_piece *piece)
{
    kr_run *run = user;
    if (run->values->json) {
        run->record.failed = !kr_run_record_piece(&run->record, piece);
        return !run->record.failed && !kr_interrupted();
    }
    kr_progress_end(&run->progress);
    put_echo(run);
    if (!run->by_ids)
        put(run, piece->text, piece->text_length);
    else if (piece->id >= 0) {
        char number[16];
        int n = snprintf(number, sizeof number, run->wrote ? " %d" : "%d", (int)piece->id);
        put(run, number, (size_t)n);
    }
    return !kr_output_failed() && !kr_interrupted();
}

krait_status kr_run_generate(kr_run *run, const int32_t *ids, size_t n, krait_generate_result *result, krait_error *error)
{
    run->wrote = run->ended_line = false;
    kr_progress_begin(&run->progress, &kr_command_run, "tokens");
    krait_status status = krait_generate(run->source.session, run->state, run->by_ids ? NULL : run->source.tokenizer, ids, n,
                                         &run->options, result, error);
    kr_progress_end(&run->progress);
    if (run->wrote && !run->ended_line) fputc('\n', stdout);
    if (!status && run->record.failed) return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory for the text");
    return status;
}

krait_status kr_run_finish_ids(kr_run *run, bool begin, int32_t **ids, size_t *n, krait_error *error)
{
    krait_status status = KRAIT_OK;
    if (begin && run->values->bos) {
        int32_t bos, *with_bos = NULL;
        status = kr_model_source_bos(&run->source, &bos, error);
        if (!status && !(with_bos = kr_alloc(*n + 1, sizeof *with_bos))) status = kr_fail_memory(error, "ids", *n);
        if (!status) {
            with_bos[0] = bos;
            if (*n) memcpy(with_bos + 1, *ids, *n * sizeof **ids);
            krait_free(*ids);
            *ids = with_bos;
            ++*n;
        }
    }
    if (!status) status = kr_input_check_ids(*ids, *n, run->source.config->vocab_size, error);
    if (status) {
        krait_free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return status;
}

krait_status kr_run_encode(kr_run *run, const char *text, size_t length, bool begin, int32_t **ids, size_t *n, krait_error *error)
{
    krait_status status = run->by_ids ? kr_input_ids("ids", text, length, ids, n, error)
                                      : krait_tokenizer_encode(run->source.tokenizer, text, length, NULL, ids, n, error);
    return status ? status : kr_run_finish_ids(run, begin, ids, n, error);
}

/* ---- what it did ------------------------------------------------------------------------------------------------- */

static double rate(uint64_t n, double seconds) { return seconds > 0 ? (double)n / seconds : 0; }

void kr_run_stats(const kr_run *run, const krait_generate_result *result)
{
    const kr_model_source *source = &run->source;
    fflush(stdout); /* the text before the figures, also where both go to one file */
    fprintf(stderr, "prompt     %8s tokens in %8s  %10.1f tokens/s\n", kr_text_count(result->n_prompt).text,
            kr_text_seconds(result->prefill_seconds).text, rate(result->n_prompt, result->prefill_seconds));
    fprintf(stderr, "generated  %8s tokens in %8s  %10.1f tokens/s\n", kr_text_count(result->n_generated).text,
            kr_text_seconds(result->decode_seconds).text, rate(result->n_generated, result->decode_seconds));
    fprintf(stderr, "memory     %s resident: weights %s, scratch %s, state %s after %s tokens\n",
            kr_text_bytes(kr_resident_bytes()).text, kr_text_bytes(krait_model_bytes(source->model)).text,
            kr_text_bytes(krait_session_bytes(source->session)).text, kr_text_bytes(krait_state_bytes(run->state)).text,
            kr_text_count(krait_state_tokens(run->state)).text);
    fprintf(stderr, "with       %d thread%s, %s; loaded in %s; seed %llu; ended by %s\n", krait_session_threads(source->session),
            krait_session_threads(source->session) == 1 ? "" : "s", krait_isa_name(krait_session_isa(source->session)),
            kr_text_seconds(run->load_seconds).text, (unsigned long long)run->values->seed,
            kr_interrupted() ? "Ctrl-C" : krait_finish_name(result->finish));
}

void kr_run_put_ids(kr_json_writer *json, const char *key, const int32_t *ids, size_t n)
{
    kr_json_key(json, key);
    kr_json_open(json, '[');
    for (size_t i = 0; i < n; i++) kr_json_put_integer(json, ids[i]);
    kr_json_close(json, ']');
}

void kr_run_put_logprobs(kr_json_writer *json, const kr_run_record *record)
{
    kr_json_key(json, "logprobs");
    kr_json_open(json, '[');
    for (size_t i = 0; i < record->n; i++) kr_json_put_float(json, record->logprobs[i]);
    kr_json_close(json, ']');
}

static void put_number(kr_json_writer *json, const char *key, double value)
{
    kr_json_key(json, key);
    kr_json_put_number(json, value);
}

static void put_integer(kr_json_writer *json, const char *key, uint64_t value)
{
    kr_json_key(json, key);
    kr_json_put_integer(json, (int64_t)value);
}

static void put_word(kr_json_writer *json, const char *key, const char *word)
{
    kr_json_key(json, key);
    kr_json_put_text(json, word);
}

static bool put_json(const kr_run *run, const int32_t *ids, size_t n, const krait_generate_result *result)
{
    const kr_model_source *source = &run->source;
    const kr_run_record *record = &run->record;
    kr_json_writer json = { .file = stdout };
    kr_json_open(&json, '{');
    put_word(&json, "model", source->name);
    kr_run_put_ids(&json, "prompt_ids", ids, n);
    kr_run_put_ids(&json, "ids", record->ids, record->n);
    kr_json_key(&json, "text");
    if (run->by_ids)
        kr_json_put_null(&json);
    else
        kr_json_put_string(&json, record->text ? record->text : "", record->length);
    if (run->values->logprobs) kr_run_put_logprobs(&json, record);
    put_word(&json, "finish", kr_interrupted() ? "interrupted" : krait_finish_name(result->finish));
    if (result->finish == KRAIT_FINISH_STOP_STRING) put_word(&json, "stop", run->options.stop[result->stop_index]);
    put_integer(&json, "seed", run->values->seed);
    kr_json_key(&json, "timings");
    kr_json_open(&json, '{');
    put_number(&json, "load_seconds", run->load_seconds);
    put_integer(&json, "prompt_tokens", result->n_prompt);
    put_number(&json, "prefill_seconds", result->prefill_seconds);
    put_number(&json, "prefill_tokens_per_second", rate(result->n_prompt, result->prefill_seconds));
    put_integer(&json, "generated_tokens", result->n_generated);
    put_number(&json, "decode_seconds", result->decode_seconds);
    put_number(&json, "decode_tokens_per_second", rate(result->n_generated, result->decode_seconds));
    kr_json_close(&json, '}');
    kr_json_key(&json, "memory");
    kr_json_open(&json, '{');
    put_integer(&json, "resident_bytes", kr_resident_bytes());
    put_integer(&json, "weight_bytes", krait_model_bytes(source->model));
    put_integer(&json, "scratch_bytes", krait_session_bytes(source->session));
    put_integer(&json, "state_bytes", krait_state_bytes(run->state));
    kr_json_close(&json, '}');
    put_integer(&json, "state_tokens", krait_state_tokens(run->state));
    put_word(&json, "isa", krait_isa_name(krait_session_isa(source->session)));
    put_integer(&json, "threads", (uint64_t)krait_session_threads(source->session));
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_run, &json);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* What the table cannot check; KR_EXIT_OK or KR_EXIT_USAGE. */
static int check(const kr_run_values *values)
{
    const kr_command *command = &kr_command_run;
    int prompts = (values->prompt != NULL) + (values->file != NULL) + (values->ids.n != 0);
    if (prompts > 1) return kr_options_wrong(command, "-p, -f and --ids are three ways to give a prompt: expected one");
    if (values->prompt && !*values->prompt && !values->state_in && !values->bos)
        return kr_options_wrong(command, "-p: expected some text to continue, found none (--bos starts from nothing)");
    if (values->prompts && (prompts || values->interactive || values->state_out))
        return kr_options_wrong(command, "--prompts goes by itself: expected no -p, -f, --ids, -i and --state-out");
    if (values->prompts && !values->out) return kr_options_wrong(command, "--prompts: expected -o FILE, too (- for stdout)");
    if (!values->prompts && values->out) return kr_options_wrong(command, "-o is for results: expected --prompts FILE, too");
    if (values->interactive && values->json) return kr_options_wrong(command, "--json is not for a conversation (-i)");
    if (!values->interactive && (values->before || values->after))
        return kr_options_wrong(command, "--before and --after are for a conversation: expected -i, too");
    if (values->logprobs && !values->json) return kr_options_wrong(command, "--logprobs: expected --json, which shows them");
    if (values->ids.n && values->stop.n) return kr_options_wrong(command, "--stop is for text: with --ids use --stop-id");
    for (size_t i = 0; i < values->stop.n; i++)
        if (!*values->stop.items[i]) return kr_options_wrong(command, "--stop: expected some text, found none");
    if (!prompts && !values->prompts && !values->state_in && !values->bos && !values->interactive && !kr_input_on_stdin())
        return kr_options_wrong(command, "nothing to continue: expected -p TEXT, -f FILE, --ids 1,2,3, text on stdin, or -i");
    return KR_EXIT_OK;
}

static bool parse_bias(const char *text, krait_logit_bias *bias)
{
    char id[24], *end;
    uint64_t count;
    size_t length = strcspn(text, "=");
    if (!text[length] || length >= sizeof id) return false;
    memcpy(id, text, length);
    id[length] = 0;
    float value = strtof(text + length + 1, &end);
    if (!kr_options_count(id, &count) || count > INT32_MAX || end == text + length + 1 || *end || isnan(value)) return false;
    *bias = (krait_logit_bias){ .id = (int32_t)count, .bias = value };
    return true;
}

static void set_options(kr_run *run)
{
    const kr_run_values *v = run->values;
    run->options = (krait_generate_options){
        .sampling = { .temperature = v->greedy ? 0 : (float)v->temperature,
                      .top_k = (int32_t)v->top_k,
                      .top_p = (float)v->top_p,
                      .min_p = (float)v->min_p,
                      .repetition_penalty = (float)v->repeat_penalty,
                      .presence_penalty = (float)v->presence_penalty,
                      .frequency_penalty = (float)v->frequency_penalty,
                      .penalty_window = v->penalty_window,
                      .seed = v->seed },
        .max_tokens = v->n,
        .stop = v->stop.items,
        .n_stop = v->stop.n,
        .ignore_eos = v->ignore_eos,
        .logprobs = v->logprobs,
        .on_piece = on_piece,
        .user = run,
        .progress = kr_progress_callback(&run->progress),
    };
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* The prompt's bytes, or with --ids its numbers as text; `owned` is to be freed. NULL text: there is none. */
static krait_status read_prompt(const kr_run_values *values, char **owned, const char **text, size_t *length, krait_error *error)
{
    *owned = NULL;
    *text = values->prompt;
    *length = values->prompt ? strlen(values->prompt) : 0;
    bool from_stdin =
        !values->prompt && !values->file && !values->ids.n && !values->state_in && !values->bos && !values->interactive;
    if (values->ids.n) {
        char *at = *owned = kr_alloc(values->ids.n, 12);
        if (!at) return kr_fail_memory(error, "ids", values->ids.n * 12);
        for (size_t i = 0; i < values->ids.n; i++) at += sprintf(at, i ? " %d" : "%d", (int)values->ids.items[i]);
        *length = (size_t)(at - *owned);
    } else if (values->file || from_stdin) {
        krait_status status = kr_input_read(values->file, owned, length, error);
        if (status) return status;
        /* An editor's or echo's last newline is not meant as part of the text. */
        if (*length && (*owned)[*length - 1] == '\n') --*length;
        if (*length && (*owned)[*length - 1] == '\r') --*length;
        if (!*length && !values->state_in && !values->bos)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected some text to continue, found none",
                           values->file ? values->file : "stdin");
    }
    if (*owned) *text = *owned;
    return KRAIT_OK;
}

krait_status kr_run_open(kr_run *run, bool has_text, krait_error *error)
{
    const kr_run_values *values = run->values;
    double began = kr_now();
    kr_progress_begin(&run->progress, &kr_command_run, NULL);
    krait_status status = kr_model_source_open(&run->source, &values->choice, &run->progress, error);
    if (!status && !run->by_ids) status = kr_model_source_open_tokenizer(&run->source, &values->choice, error);
    /* Where no text goes in, a state or --bos, ids come out of a model without a tokenizer. */
    if (!status && !has_text && !values->stop.n && !run->source.tokenizer) run->by_ids = true;
    if (!status && !run->by_ids) status = kr_model_source_need_tokenizer(&run->source, error);
    if (status) return status;
    status = values->state_in ? krait_state_load(&run->state, run->source.model, values->state_in, error)
                              : krait_state_create(&run->state, run->source.model, error);
    run->load_seconds = kr_now() - began;
    return status;
}

static krait_status once(kr_run *run, const char *text, size_t length, krait_generate_result *result, krait_error *error)
{
    int32_t *ids;
    size_t n;
    krait_status status = kr_run_encode(run, text ? text : "", length, true, &ids, &n, error);
    if (status) return status;
    if (!n && !krait_state_tokens(run->state))
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "nothing to continue: the state has seen no tokens, and the prompt is empty");
    if (!status) {
        run->echo = run->values->no_echo ? NULL : text;
        run->echo_length = length;
        status = kr_run_generate(run, ids, n, result, error);
    }
    if (!status && run->values->json && !put_json(run, ids, n, result))
        status = kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory");
    if (!status && run->values->stats) kr_run_stats(run, result);
    krait_free(ids);
    return status;
}

static int run_all(kr_run *run)
{
    const kr_run_values *values = run->values;
    krait_error error;
    krait_generate_result result;
    char *owned;
    const char *text;
    size_t length;
    int code = KR_EXIT_OK;
    krait_status status = read_prompt(values, &owned, &text, &length, &error);
    if (!status && values->state_out) status = kr_output_check(values->state_out, &error);
    if (!status) status = kr_run_open(run, text || values->interactive, &error);
    if (!status && values->interactive)
        code = kr_run_interactive(run, text, length);
    else if (!status)
        status = once(run, text, length, &result, &error);
    if (status)
        code = kr_report_failure(&kr_command_run, &error);
    else if (kr_interrupted())
        code = KR_EXIT_INTERRUPTED;
    /* After Ctrl-C in the middle of the text, too: the state has seen what was printed. */
    if (!status && values->state_out && krait_state_save(run->state, values->state_out, &error))
        code = kr_report_failure(&kr_command_run, &error);
    kr_free(owned);
    return code;
}

static int run_run(const void *values_)
{
    const kr_run_values *values = values_;
    kr_run run = { .values = values, .by_ids = values->ids.n != 0 };
    int code = check(values);
    if (code) return code;
    set_options(&run);
    krait_logit_bias *biases = kr_alloc(values->logit_bias.n, sizeof *biases);
    int32_t *stop_ids = NULL;
    size_t n_stop_ids;
    krait_error error;
    if (!biases || kr_input_ids_of_counts(&values->stop_ids, &stop_ids, &n_stop_ids, &error)) {
        fprintf(stderr, "krait run: out of memory\n");
        code = KR_EXIT_FAILURE;
    }
    for (size_t i = 0; !code && i < values->logit_bias.n; i++)
        if (!parse_bias(values->logit_bias.items[i], &biases[i]))
            code = kr_options_wrong(&kr_command_run, "--logit-bias %s: expected ID=BIAS, as in 13=-2.5 or 13=-inf",
                                    values->logit_bias.items[i]);
    if (!code) {
        run.options.sampling.logit_bias = biases;
        run.options.sampling.n_logit_bias = values->logit_bias.n;
        run.options.stop_ids = stop_ids;
        run.options.n_stop_ids = n_stop_ids;
        kr_interrupt_catch();
        code = values->prompts ? kr_run_batch(&run) : run_all(&run);
    }
    kr_free(biases);
    kr_free(stop_ids);
    kr_run_record_free(&run.record);
    krait_state_free(run.state);
    kr_model_source_close(&run.source);
    return code;
}

const kr_command kr_command_run = {
    .name = "run",
    .summary = "continue a text",
    .synopsis = "[-m MODEL] [-p TEXT | -f FILE | --ids 1,2,3 | -i | --prompts FILE -o FILE] [options]",
    .description = "Prints the prompt and what the model makes of it, as it comes. Without -m a small model of English novels "
                   "that is part of the program is used. Ctrl-C stops; what was written stays, and --state-out is saved.",
    .examples = "  krait run -p 'It was a dark and stormy night, and the'\n"
                "  krait run -m mamba-130m-hf -p 'The capital of France is' --greedy --stats\n"
                "  krait run -f chapter.txt -n 1 --state-out chapter.state  # read it once ...\n"
                "  krait run --state-in chapter.state --seed 7              # ... go on, often\n"
                "  krait run -m protmamba --ids 0 --greedy -n 60            # without a tokenizer\n"
                "  krait run -i --temp 1                                    # write together\n"
                "  krait run --prompts in.jsonl -o out.jsonl --batch 16     # many at a time\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(kr_run_values),
    .run = run_run,
};
