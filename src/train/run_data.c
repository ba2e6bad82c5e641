/* What a run is made of: tokenizer, token files, the model's config, and how many steps there are. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "krait/hub.h"
#include "train/run.h"

/* ---- tokenizer ---------------------------------------------------------------------------------------------------- */

static krait_status keep_json(kr_run_data *data, const char *bytes, size_t size, krait_error *error)
{
    data->tokenizer_json = kr_strndup(bytes, size);
    data->tokenizer_size = size;
    return data->tokenizer_json ? KRAIT_OK : kr_fail_memory(error, "tokenizer.json", size);
}

/* The bytes of PATH, or of tokenizer.json in it; what begins with '{' is one. */
static krait_status read_json(kr_run_data *data, const char *path, krait_error *error)
{
    char *inside = kr_is_folder(path) ? kr_join_path(path, "tokenizer.json") : kr_strndup(path, strlen(path));
    kr_file file = { 0 };
    if (!inside) return kr_fail_memory(error, "a path", strlen(path));
    krait_status status = kr_file_open(&file, inside, error);
    if (!status && file.size && file.data[0] == '{') status = keep_json(data, file.data, file.size, error);
    kr_file_close(&file);
    kr_free(inside);
    return status;
}

static krait_status open_tokenizer(kr_run_data *data, krait_training *t, const char *path, krait_error *error)
{
    const char *json;
    size_t size;
    krait_status status = KRAIT_OK;
    if (path)
        status = krait_tokenizer_load(&data->tokenizer, path, error);
    else if (data->from && krait_checkpoint_has_tokenizer(data->from))
        status = krait_tokenizer_create(&data->tokenizer, data->from, error);
    else
        return KRAIT_OK;
    if (status == KRAIT_ERROR_UNSUPPORTED) { /* token files do without */
        kr_run_note(t, "the tokenizer cannot be used: %s", error ? error->message : "unsupported");
        status = KRAIT_OK;
    }
    if (!status && path) return read_json(data, path, error);
    if (!status && krait_checkpoint_file(data->from, "tokenizer.json", &json, &size)) return keep_json(data, json, size, error);
    return status;
}

/* ---- the model ---------------------------------------------------------------------------------------------------- */

static krait_status open_from(kr_run_data *data, const char *name, krait_error *error)
{
    char *path = NULL;
    krait_status status = KRAIT_OK;
    if (!kr_exists(name) && krait_hub_is_name(name)) {
        status = krait_hub_find(&path, name, NULL, error);
        if (!status && !path)
            status =
                kr_fail(error, KRAIT_ERROR_ARGUMENT,
                        "model.from: no file or folder %s here, and no such model in the hub's cache: krait pull %s", name, name);
    }
    if (!status) status = krait_checkpoint_open(&data->from, path ? path : name, error);
    krait_free(path);
    return status;
}

enum { VOCAB_MULTIPLE = 8 }; /* that a new model's vocabulary is filled up to, as published ones are */

/* Rows of the embedding that ids need. */
static int64_t needed_rows(const kr_run_data *data)
{
    int64_t rows = data->tokenizer ? (int64_t)krait_tokenizer_vocab_size(data->tokenizer) : 0;
    int64_t of_file = krait_token_file_get_info(data->train)->vocab_size;
    return rows > of_file ? rows : of_file;
}

static krait_status new_config(kr_run_data *data, const krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_config *c = &data->config;
    int64_t rows = needed_rows(data);
    if (v->model.shape) {
        krait_status status = krait_config_named(c, v->model.shape, error);
        if (status) return status;
    } else {
        *c = (krait_config){ .d_model = (int64_t)v->model.d_model,
                             .n_layer = (int64_t)v->model.n_layer,
                             .d_state = (int64_t)v->model.d_state,
                             .d_conv = (int64_t)v->model.d_conv,
                             .d_inner = (int64_t)(v->model.expand * v->model.d_model),
                             .dt_rank = (int64_t)(v->model.dt_rank ? v->model.dt_rank : (v->model.d_model + 15) / 16),
                             .conv_bias = true,
                             .norm_eps = 1e-5f };
    }
    c->tied_head = v->model.tied_head;
    c->bos_id = c->eos_id = krait_token_file_get_info(data->train)->separator;
    c->vocab_size =
        v->model.vocab_size ? (int64_t)v->model.vocab_size : (rows + VOCAB_MULTIPLE - 1) / VOCAB_MULTIPLE * VOCAB_MULTIPLE;
    if (c->vocab_size < rows)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "model.vocab_size: expected at least %lld, as many as the tokens are, found %lld", (long long)rows,
                       (long long)c->vocab_size);
    return KRAIT_OK;
}

static krait_status make_config(kr_run_data *data, const krait_training *t, const char *checkpoint, krait_error *error)
{
    krait_checkpoint *own = NULL;
    krait_status status;
    if (!checkpoint && !data->from) return new_config(data, t, error);
    status = checkpoint ? krait_checkpoint_open(&own, checkpoint, error) : KRAIT_OK;
    if (!status) status = krait_checkpoint_config(own ? own : data->from, &data->config, error);
    krait_checkpoint_free(own);
    if (!status && needed_rows(data) > data->config.vocab_size && !data->tokenizer)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected ids below %lld, as the model has them, found a vocabulary of %lld",
                    krait_token_file_path(data->train), (long long)data->config.vocab_size, (long long)needed_rows(data));
    return status;
}

/* ---- the text ----------------------------------------------------------------------------------------------------- */

/* A token file says so in its first bytes. What cannot be read is none, and is told by who reads it. */
static krait_status is_token_file(const char *path, bool *is, krait_error *error)
{
    kr_file file = { 0 };
    *is = false;
    if (kr_is_folder(path)) return KRAIT_OK;
    krait_status status = kr_file_open(&file, path, error);
    if (!status) *is = file.size >= 8 && memcmp(file.data, "KRTOKENS", 8) == 0;
    kr_file_close(&file);
    return status == KRAIT_ERROR_MEMORY ? status : KRAIT_OK;
}

/* The token between documents: the model's own end, or that of the tokenizer; -1: there is none. */
static krait_status find_separator(const kr_run_data *data, int32_t *separator, krait_error *error)
{
    static const char *const names[] = { "<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>" };
    krait_config config;
    *separator = -1;
    krait_status status = data->from ? krait_checkpoint_config(data->from, &config, error) : KRAIT_OK;
    if (!status && data->from) *separator = config.eos_id;
    for (size_t i = 0; !status && *separator < 0 && i < sizeof names / sizeof *names; i++)
        *separator = krait_tokenizer_id(data->tokenizer, names[i], strlen(names[i]));
    return status;
}

/* Tokenises texts into `path`, and what is held out of them into `held_out`, if that is not NULL. */
static krait_status write_tokens(const kr_run_data *data, krait_training *t, const kr_texts_list *paths, const char *path,
                                 const char *held_out, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_corpus corpus = { .paths = paths->items,
                            .n_paths = paths->n,
                            .include = v->data.include.items,
                            .n_include = v->data.include.n,
                            .exclude = v->data.exclude.items,
                            .n_exclude = v->data.exclude.n,
                            .json_field = v->data.field,
                            .prompt_field = v->data.prompt_field,
                            .separator = v->data.split,
                            .crlf = v->data.crlf,
                            .invalid = strcmp(v->data.invalid, "replace") == 0 ? KRAIT_INVALID_REPLACE
                                       : strcmp(v->data.invalid, "skip") == 0  ? KRAIT_INVALID_SKIP
                                                                               : KRAIT_INVALID_ERROR };
    int32_t separator;
    krait_status status = find_separator(data, &separator, error);
    krait_data_options options = { .held_out_path = held_out,
                                   .held_out = v->data.held_out_pattern.items,
                                   .n_held_out = held_out ? v->data.held_out_pattern.n : 0,
                                   .held_out_share = held_out ? v->data.held_out_share : 0,
                                   .seed = v->seed,
                                   .no_separator = separator < 0,
                                   .separator = separator < 0 ? 0 : separator,
                                   .threads = (int)v->train.threads,
                                   .progress = { .report = kr_run_progress, .user = t } };
    return status ? status : krait_data_write(&corpus, data->tokenizer, path, &options, NULL, error);
}

/* One path that is a token file; or texts, which become one in `folder`. `ready`: it is there already. */
static krait_status open_tokens(krait_token_file **file, kr_run_data *data, krait_training *t, const kr_texts_list *paths,
                                const char *made, const char *made_held_out, bool ready, krait_error *error)
{
    size_t n_token_files = 0;
    krait_progress progress = { .report = kr_run_progress, .user = t };
    krait_status status = KRAIT_OK;
    bool is = false;
    for (size_t i = 0; i < paths->n && !status; i++) {
        status = is_token_file(paths->items[i], &is, error);
        n_token_files += is;
    }
    if (status) return status;
    if (n_token_files && paths->n > 1)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT,
                         "data: expected one token file, or texts, found %zu files of which %zu are token files", paths->n,
                         n_token_files);
    else if (n_token_files && made_held_out)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT,
                         "%s: nothing can be held out of a token file: expected data.held_out, or texts", paths->items[0]);
    else if (!n_token_files && !data->tokenizer)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s is text, or not there: expected model.tokenizer, or a token file",
                         paths->items[0]);
    else if (!n_token_files && !(ready && kr_exists(made)))
        status = write_tokens(data, t, paths, made, made_held_out, error);
    if (!status) status = krait_token_file_open(file, n_token_files ? paths->items[0] : made, error);
    if (!status) status = krait_token_file_verify(*file, &progress, error);
    if (!status && data->tokenizer) status = krait_token_file_check_tokenizer(*file, data->tokenizer, error);
    return status;
}

static krait_status open_text(kr_run_data *data, krait_training *t, const char *folder, bool ready, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    char *train = kr_join_path(folder, "train.tokens"), *held_out = kr_join_path(folder, "held-out.tokens");
    bool split = v->data.held_out_pattern.n > 0 || v->data.held_out_share > 0;
    krait_progress progress = { .report = kr_run_progress, .user = t };
    krait_status status = train && held_out ? KRAIT_OK : kr_fail_memory(error, "a path", strlen(folder));
    if (!status && mkdir(folder, 0777) != 0 && errno != EEXIST) status = kr_fail_errno(error, folder, "make folder");
    /* What is held out is written first: with the other one there, both are. */
    if (!status) status = open_tokens(&data->train, data, t, &v->data.train, train, split ? held_out : NULL, ready, error);
    if (!status && v->data.held_out.n)
        status = open_tokens(&data->held_out, data, t, &v->data.held_out, held_out, NULL, ready, error);
    if (!status && split) status = krait_token_file_open(&data->held_out, held_out, error);
    if (!status && split) status = krait_token_file_verify(data->held_out, &progress, error);
    rmdir(folder); /* unless there is something in it */
    kr_free(train);
    kr_free(held_out);
    return status;
}

static krait_status open_dataset(kr_run_data *data, krait_training *t, krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    const krait_token_file_info *info = krait_token_file_get_info(data->train);
    krait_order order = strcmp(v->data.order, "streams") == 0 ? KRAIT_ORDER_STREAMS : KRAIT_ORDER_SHUFFLED;
    if (info->n_tokens <= v->data.window)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: too short: expected more than data.window = %llu tokens, found %llu",
                       krait_token_file_path(data->train), (unsigned long long)v->data.window,
                       (unsigned long long)info->n_tokens);
    if (info->n_tokens <= v->data.window * v->data.rows)
        kr_run_note(t, "there are fewer tokens (%llu) than a batch has (%llu): each epoch is one smaller batch",
                    (unsigned long long)info->n_tokens, (unsigned long long)(v->data.window * v->data.rows));
    if (data->held_out && krait_token_file_get_info(data->held_out)->checksum == info->checksum)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "data.held_out: expected text that is not learned, found the same as in data.train");
    krait_status status = krait_dataset_create(&data->dataset, data->train, v->data.rows, v->data.window, order, v->seed, error);
    if (!status && !krait_dataset_targets_per_epoch(data->dataset))
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: nothing in it is to be learned: all tokens are masked",
                         krait_token_file_path(data->train));
    return status;
}

/* ---- how long ----------------------------------------------------------------------------------------------------- */

static krait_status count_steps(kr_run_data *data, const krait_training_settings *settings, krait_error *error)
{
    const kr_settings *v = &settings->values;
    bool warmup_given = kr_setting_given(settings, KR_SETTING(train.warmup_steps)); /* 0 is a number like others */
    double steps, epochs = v->train.epochs > 0 ? v->train.epochs : 1;
    data->tokens_per_step = v->data.rows * v->data.window * v->train.accumulate;
    if (v->train.steps)
        steps = (double)v->train.steps;
    else if (v->train.tokens)
        steps = ceil((double)v->train.tokens / (double)data->tokens_per_step);
    else
        steps = ceil(epochs * (double)krait_dataset_batches_per_epoch(data->dataset) / (double)v->train.accumulate);
    if (steps > 9007199254740992.0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "train: expected fewer than 2^53 steps");
    data->n_steps = (uint64_t)steps;
    data->warmup_steps = warmup_given ? v->train.warmup_steps : (uint64_t)ceil(0.02 * steps);
    if (strcmp(v->train.schedule, "wsd") == 0)
        data->decay_steps = v->train.decay_steps ? v->train.decay_steps : (uint64_t)ceil(0.2 * steps);
    if (data->warmup_steps + data->decay_steps > data->n_steps)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "train: expected at least as many steps as those of warm-up (%llu) and decay (%llu), found %llu",
                       (unsigned long long)data->warmup_steps, (unsigned long long)data->decay_steps,
                       (unsigned long long)data->n_steps);
    return KRAIT_OK;
}

krait_trainer_options kr_run_trainer_options(const kr_run_data *data, const kr_settings *v)
{
    krait_trainer_options o = krait_trainer_defaults();
    o.learning_rate = (float)v->train.learning_rate;
    o.min_learning_rate = (float)v->train.min_learning_rate;
    o.beta1 = (float)v->train.beta1;
    o.beta2 = (float)v->train.beta2;
    o.epsilon = (float)v->train.epsilon;
    o.weight_decay = (float)v->train.weight_decay;
    o.clip_norm = (float)v->train.clip_norm;
    krait_schedule_find(&o.schedule, v->train.schedule);
    o.warmup_steps = data->warmup_steps;
    o.total_steps = data->n_steps;
    o.decay_steps = data->decay_steps;
    o.compute = strcmp(v->train.compute, "bf16") == 0 ? KRAIT_WEIGHT_BF16 : KRAIT_WEIGHT_F32;
    o.recompute = v->train.recompute;
    o.threads = (int)v->train.threads;
    for (int isa = KRAIT_ISA_AUTO; isa < KRAIT_N_ISAS; isa++)
        if (strcmp(v->train.isa, krait_isa_name((krait_isa)isa)) == 0) o.isa = (krait_isa)isa;
    o.dt_min = (float)v->model.dt_min;
    o.dt_max = (float)v->model.dt_max;
    o.freeze = v->model.freeze.items;
    o.n_freeze = v->model.freeze.n;
    return o;
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

krait_status kr_run_data_open(kr_run_data *data, krait_training *t, const char *folder, const char *checkpoint,
                              krait_error *error)
{
    const kr_settings *v = &t->settings->values;
    krait_status status = KRAIT_OK;
    *data = (kr_run_data){ 0 };
    if (!checkpoint && v->model.from) status = open_from(data, v->model.from, error);
    if (!status && checkpoint) {
        char *json = kr_join_path(checkpoint, "tokenizer.json");
        if (!json) status = kr_fail_memory(error, "a path", strlen(checkpoint));
        if (!status && (kr_exists(json) || v->model.tokenizer))
            status = open_tokenizer(data, t, kr_exists(json) ? json : v->model.tokenizer, error);
        kr_free(json);
    } else if (!status)
        status = open_tokenizer(data, t, v->model.tokenizer, error);
    if (!status) status = open_text(data, t, folder, checkpoint != NULL, error);
    if (!status) status = make_config(data, t, checkpoint, error);
    if (!status) status = open_dataset(data, t, error);
    if (!status) status = count_steps(data, t->settings, error);
    if (!status && v->sample.prompt && !data->tokenizer)
        status =
            kr_fail(error, KRAIT_ERROR_ARGUMENT, "sample.prompt: means nothing without a tokenizer: expected model.tokenizer");
    if (status) kr_run_data_close(data);
    return status;
}

void kr_run_data_close(kr_run_data *data)
{
    krait_dataset_free(data->dataset);
    krait_token_file_free(data->train);
    krait_token_file_free(data->held_out);
    krait_tokenizer_free(data->tokenizer);
    krait_checkpoint_free(data->from);
    kr_free(data->tokenizer_json);
    *data = (kr_run_data){ 0 };
}
