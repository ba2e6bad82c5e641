/* `krait run --prompts`: a window of prompts that moves over the file. At its front the oldest result that is not written yet, at
 * its end the last prompt that was taken; what is finished in between waits. So memory does not grow with the file. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/interrupt.h"
#include "cli/prompts.h"
#include "cli/report.h"
#include "cli/results.h"
#include "cli/run.h"

/* How many results, at most, wait for an older one, for each row: then rows stay empty until it is done. */
enum { WINDOW = 16 };

typedef struct work work;

/* A prompt on its way. */
typedef struct place {
    work *of;
    bool done; /* `out` is its line of the results */
    uint64_t index, line;
    kr_arena arena; /* of the prompt */
    kr_prompt prompt;
    kr_run_record record;
    kr_json_writer out;
} place;

struct work {
    kr_run *run;
    kr_prompts prompts;
    kr_results results;
    krait_batch *batch;
    place *places; /* [n_places]; index i is at i % n_places */
    size_t n_places;
    uint64_t taken, written; /* prompts, from the file's first */
    bool at_end;             /* of the file */
    uint64_t n_bad, n_prompt, n_generated;
    double began;
    krait_status failure; /* of the whole run, inside a callback */
};

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void put_id(kr_json_writer *out, const kr_json *id)
{
    if (!id) return;
    kr_json_key(out, "id");
    switch (id->type) {
    case KR_JSON_STRING: kr_json_put_string(out, id->string, id->length); break;
    case KR_JSON_INTEGER: kr_json_put_integer(out, id->integer); break;
    default: kr_json_put_number(out, kr_json_number(id));
    }
}

static void begin_result(place *p)
{
    kr_json_open(&p->out, '{');
    if (p->index == 0 && p->of->results.resumable) {
        kr_json_key(&p->out, "run");
        kr_json_put_text(&p->out, p->of->results.key);
    }
    kr_json_key(&p->out, "index");
    kr_json_put_integer(&p->out, (int64_t)p->index);
    put_id(&p->out, p->prompt.id);
}

/* Drops what the prompt took; the line of the result stays. */
static void end_result(place *p)
{
    kr_json_close(&p->out, '}');
    kr_run_record_free(&p->record);
    kr_arena_free(&p->arena);
    p->record = (kr_run_record){ 0 };
    p->prompt = (kr_prompt){ 0 };
    p->done = true;
    if (p->out.failed) p->of->failure = KRAIT_ERROR_MEMORY;
}

static void put_error(place *p, const krait_error *error)
{
    work *w = p->of;
    if (error->status == KRAIT_ERROR_MEMORY) { /* the next attempt may have more: not the prompt's fault */
        w->failure = KRAIT_ERROR_MEMORY;
        return;
    }
    kr_progress_end(&w->run->progress);
    fprintf(stderr, "krait run: %s: line %llu: %s\n", w->prompts.name, (unsigned long long)p->line, error->message);
    w->n_bad++;
    begin_result(p);
    kr_json_key(&p->out, "error");
    kr_json_put_text(&p->out, error->message);
    end_result(p);
}

static void on_end(void *user, const krait_generate_result *result, const krait_error *error)
{
    place *p = user;
    const kr_run_record *record = &p->record;
    if (p->record.failed) p->of->failure = KRAIT_ERROR_MEMORY;
    if (p->of->failure) return;
    if (error) {
        put_error(p, error);
        return;
    }
    p->of->n_prompt += result->n_prompt;
    p->of->n_generated += result->n_generated;
    begin_result(p);
    if (p->prompt.text) {
        kr_json_key(&p->out, "text");
        kr_json_put_string(&p->out, record->text ? record->text : "", record->length);
    }
    if (!p->prompt.text || p->of->run->values->json) kr_run_put_ids(&p->out, "ids", record->ids, record->n);
    if (p->of->run->values->logprobs) kr_run_put_logprobs(&p->out, record);
    kr_json_key(&p->out, "finish");
    kr_json_put_text(&p->out, krait_finish_name(result->finish));
    if (result->finish == KRAIT_FINISH_STOP_STRING) {
        const char *const *stop = p->prompt.has_stop ? p->prompt.stop : p->of->run->options.stop;
        kr_json_key(&p->out, "stop");
        kr_json_put_text(&p->out, stop[result->stop_index]);
    }
    kr_json_key(&p->out, "prompt_tokens");
    kr_json_put_integer(&p->out, (int64_t)result->n_prompt);
    kr_json_key(&p->out, "tokens");
    kr_json_put_integer(&p->out, (int64_t)result->n_generated);
    end_result(p);
}

/* Writes what is finished, up to the first that is not. */
static krait_status write_results(work *w, krait_error *error)
{
    if (w->failure) return kr_fail(error, KRAIT_ERROR_MEMORY, "out of memory");
    while (w->written < w->taken) {
        place *p = &w->places[w->written % w->n_places];
        if (!p->done) break;
        size_t length = p->out.length;
        p->out.buffer[length] = '\n'; /* over the NUL */
        krait_status status = kr_results_put(&w->results, p->out.buffer, length + 1, error);
        kr_free(p->out.buffer);
        *p = (place){ 0 };
        if (status) return status;
        w->written++;
    }
    return KRAIT_OK;
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static bool on_piece(void *user, const krait_piece *piece)
{
    place *p = user;
    p->record.failed = p->record.failed || !kr_run_record_piece(&p->record, piece);
    return !p->record.failed;
}

/* Gives the prompt to a row. */
static krait_status start(work *w, place *p, krait_error *error)
{
    kr_run *run = w->run;
    const kr_prompt *prompt = &p->prompt;
    bool begins = krait_state_tokens(run->state) == 0;
    int32_t *ids = NULL;
    size_t n;
    krait_status status;
    if (prompt->text) {
        status = kr_model_source_need_tokenizer(&run->source, error);
        if (!status) status = krait_tokenizer_encode(run->source.tokenizer, prompt->text, prompt->length, NULL, &ids, &n, error);
    } else {
        n = prompt->n_ids;
        ids = kr_alloc(n, sizeof *ids);
        status = ids ? KRAIT_OK : kr_fail_memory(error, "ids", n * sizeof *ids);
        if (!status && n) memcpy(ids, prompt->ids, n * sizeof *ids);
    }
    if (!status) status = kr_run_finish_ids(run, begins, &ids, &n, error);
    if (status) return status;
    krait_generate_options options = run->options;
    options.on_piece = on_piece;
    options.user = p;
    if (prompt->max_tokens) options.max_tokens = prompt->max_tokens;
    if (prompt->has_seed) options.sampling.seed = prompt->seed;
    if (prompt->has_temperature) options.sampling.temperature = prompt->temperature;
    if (prompt->has_stop) {
        options.stop = prompt->stop;
        options.n_stop = prompt->n_stop;
    }
    krait_batch_request request = { .tokenizer = prompt->text ? run->source.tokenizer : NULL,
                                    .from = run->state,
                                    .prompt = ids,
                                    .n_prompt = n,
                                    .options = &options,
                                    .on_end = on_end };
    status = krait_batch_add(w->batch, &request, error);
    krait_free(ids);
    return status;
}

/* Takes the next line into the window. A bad one is finished with that. */
static krait_status take(work *w, krait_error *error)
{
    const char *line;
    size_t length;
    krait_status status = kr_prompts_next(&w->prompts, &line, &length, error);
    w->at_end = !status && !line;
    if (status || !line) return status;
    place *p = &w->places[w->taken % w->n_places];
    *p = (place){ .of = w, .index = w->taken, .line = w->prompts.line };
    w->taken++;
    char *copy = kr_arena_alloc(&p->arena, length + 1, 1);
    if (!copy) return kr_fail_memory(error, "a line", length);
    memcpy(copy, line, length);
    copy[length] = 0;
    krait_error why;
    status = kr_prompt_parse(&p->prompt, &p->arena, copy, length, &why);
    if (!status) status = start(w, p, &why);
    if (status) put_error(p, &why);
    return KRAIT_OK;
}

/* Fills free rows. */
static krait_status refill(work *w, krait_error *error)
{
    krait_status status = KRAIT_OK;
    while (!status && !w->at_end && krait_batch_free_rows(w->batch) && w->taken - w->written < w->n_places) {
        status = take(w, error);
        if (!status) status = write_results(w, error);
    }
    return status;
}

/* ---- going on where another run ended ---------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return kr_hash(hash, text ? text : "", text ? strlen(text) + 1 : 0);
}

static uint64_t hash_options(const kr_run *run)
{
    const kr_run_values *v = run->values;
    char numbers[512];
    uint64_t hash = KR_HASH;
    int n = snprintf(numbers, sizeof numbers, "%llu %d %d %d %d %d %.17g %.17g %.17g %.17g %.17g %.17g %llu %llu %llu %llu",
                     (unsigned long long)v->n, v->bos, v->ignore_eos, v->json, v->logprobs, v->greedy, v->temperature, v->top_p,
                     v->min_p, v->repeat_penalty, v->presence_penalty, v->frequency_penalty, (unsigned long long)v->top_k,
                     (unsigned long long)v->penalty_window, (unsigned long long)v->seed, (unsigned long long)v->choice.chunk);
    hash = kr_hash(hash, numbers, (size_t)n);
    for (size_t i = 0; i < v->stop.n; i++) hash = hash_text(hash, v->stop.items[i]);
    for (size_t i = 0; i < v->logit_bias.n; i++) hash = hash_text(hash_text(hash, "bias"), v->logit_bias.items[i]);
    return kr_hash(hash, v->stop_ids.items, v->stop_ids.n * sizeof *v->stop_ids.items);
}

/* A model is known by what it answers to two tokens, bit for bit, and a state by what it would say next: that takes in every weight
 * but other rows of the embedding, their types, and the kernels; the tokenizer is known by its tokens. */
static krait_status hash_model(const kr_run *run, uint64_t *hash, krait_error *error)
{
    const kr_model_source *source = &run->source;
    size_t vocab_size = (size_t)source->config->vocab_size;
    float *logits = kr_alloc(vocab_size, sizeof *logits);
    krait_state *state = NULL;
    const int32_t ids[] = { 0, (int32_t)vocab_size - 1 };
    krait_status status =
        logits ? krait_state_create(&state, source->model, error) : kr_fail_memory(error, "logits", vocab_size * sizeof *logits);
    krait_sequence sequence = { .state = state, .tokens = ids, .count = 2, .want = KRAIT_WANT_LAST };
    if (!status) status = krait_run(source->session, &sequence, 1, &(krait_outputs){ .logits = logits }, error);
    *hash = KR_HASH;
    if (!status) *hash = kr_hash(*hash, logits, vocab_size * sizeof *logits);
    if (!status && krait_state_tokens(run->state)) {
        sequence = (krait_sequence){ .state = run->state, .want = KRAIT_WANT_LAST };
        status = krait_run(source->session, &sequence, 1, &(krait_outputs){ .logits = logits }, error);
        if (!status) *hash = kr_hash(*hash, logits, vocab_size * sizeof *logits);
    }
    size_t n = source->tokenizer ? krait_tokenizer_vocab_size(source->tokenizer) : 0, length;
    for (size_t id = 0; id < n; id++) {
        const char *token = krait_tokenizer_token(source->tokenizer, (int32_t)id, &length);
        if (token) *hash = kr_hash(kr_hash(*hash, &id, sizeof id), token, length);
    }
    krait_state_free(state);
    kr_free(logits);
    return status;
}

/* Passes over the prompts whose results are there. */
static krait_status skip(work *w, krait_error *error)
{
    const char *line;
    size_t length;
    uint64_t n = w->results.n;
    krait_status status = KRAIT_OK;
    for (; w->taken < n && !status; w->taken++) {
        status = kr_prompts_next(&w->prompts, &line, &length, error);
        if (!status && !line)
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected at most %s lines, as many as there are prompts, found %s",
                             w->results.name, kr_text_count(w->taken).text, kr_text_count(n).text);
    }
    w->written = w->taken;
    w->n_bad = w->results.n_bad;
    if (!status && n && n == w->prompts.n)
        fprintf(stderr, "krait run: %s: all %s lines are there\n", w->results.name, kr_text_count(n).text);
    else if (!status && (n || w->results.cut))
        fprintf(stderr, "krait run: %s: %s lines are there%s: going on behind them\n", w->results.name, kr_text_count(n).text,
                w->results.cut ? ", and one that is cut, which is dropped" : "");
    return status;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static krait_status open_work(work *w, krait_error *error)
{
    kr_run *run = w->run;
    kr_run_key key = { .options = hash_options(run) };
    krait_status status = kr_prompts_open(&w->prompts, run->values->prompts, error);
    key.prompts = w->prompts.hash;
    if (!status) status = kr_run_open(run, false, error);
    if (!status) status = hash_model(run, &key.model, error);
    if (!status) status = krait_batch_create(&w->batch, run->source.session, run->values->batch, error);
    w->n_places = WINDOW * run->values->batch;
    if (!status && !(w->places = kr_alloc_zero(w->n_places, sizeof *w->places)))
        status = kr_fail_memory(error, "a window of prompts", w->n_places * sizeof *w->places);
    if (!status) status = kr_results_open(&w->results, run->values->out, &key, w->prompts.again, error);
    return status ? status : skip(w, error);
}

static krait_status run_work(work *w, krait_error *error)
{
    krait_status status = KRAIT_OK;
    char what[64];
    kr_progress_begin(&w->run->progress, &kr_command_run, "prompts");
    w->began = kr_now();
    while (!status) {
        status = refill(w, error);
        if (status || krait_batch_free_rows(w->batch) == krait_batch_rows(w->batch)) break;
        status = krait_batch_step(w->batch, error);
        if (!status) status = write_results(w, error);
        snprintf(what, sizeof what, "%.0f tokens/s", (double)w->n_generated / (kr_now() - w->began));
        /* Of this run, lest the rate count what another did. */
        uint64_t left = w->prompts.n > w->results.n ? w->prompts.n - w->results.n : 0;
        if (!status && !kr_progress_report(&w->run->progress, what, w->written - w->results.n, left))
            status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
    }
    kr_progress_end(&w->run->progress);
    return status;
}

static void put_stats(const work *w)
{
    const kr_model_source *source = &w->run->source;
    double seconds = kr_now() - w->began;
    fprintf(stderr, "prompts    %8s%s%s, %s tokens read, %s at a time\n", kr_text_count(w->written - w->results.n).text,
            w->results.n ? " beside those that were there: " : "", w->results.n ? kr_text_count(w->results.n).text : "",
            kr_text_count(w->n_prompt).text, kr_text_count(krait_batch_rows(w->batch)).text);
    fprintf(stderr, "generated  %8s tokens in %8s  %10.1f tokens/s, with the reading %.1f\n", kr_text_count(w->n_generated).text,
            kr_text_seconds(seconds).text, (double)w->n_generated / seconds, (double)(w->n_prompt + w->n_generated) / seconds);
    fprintf(stderr, "memory     %s resident: weights %s, scratch %s, a state per row %s\n",
            kr_text_bytes(kr_resident_bytes()).text, kr_text_bytes(krait_model_bytes(source->model)).text,
            kr_text_bytes(krait_session_bytes(source->session)).text, kr_text_bytes(krait_state_bytes(w->run->state)).text);
    fprintf(stderr, "with       %d thread%s, %s; loaded in %s; seed %llu\n", krait_session_threads(source->session),
            krait_session_threads(source->session) == 1 ? "" : "s", krait_isa_name(krait_session_isa(source->session)),
            kr_text_seconds(w->run->load_seconds).text, (unsigned long long)w->run->values->seed);
}

int kr_run_batch(kr_run *run)
{
    work w = { .run = run, .results.fd = -1 };
    krait_error error, later;
    int code = KR_EXIT_OK;
    krait_status status = open_work(&w, &error);
    bool began = !status;
    if (!status) status = run_work(&w, &error);
    if (began && kr_results_close(&w.results, &later) && !status) {
        status = later.status;
        error = later;
    }
    if (status && !kr_output_failed()) code = kr_report_failure(&kr_command_run, &error);
    if (status && began && w.results.resumable)
        fprintf(stderr, "krait run: %s has %s lines: the same command goes on behind them\n", w.results.name,
                kr_text_count(w.written).text);
    if (!status && run->values->stats) put_stats(&w);
    if (!status && w.n_bad) {
        fprintf(stderr, "krait run: %s of %s prompts failed: \"error\" in %s says why\n", kr_text_count(w.n_bad).text,
                kr_text_count(w.written).text, w.results.name);
        code = KR_EXIT_FAILURE;
    }
    krait_batch_free(w.batch);
    for (size_t i = 0; w.places && i < w.n_places; i++) {
        kr_run_record_free(&w.places[i].record);
        kr_arena_free(&w.places[i].arena);
        kr_free(w.places[i].out.buffer);
    }
    kr_free(w.places);
    kr_results_close(&w.results, &later);
    kr_prompts_close(&w.prompts);
    return code;
}
