#include "cli/model_source.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "cli/default_model.h"
#include "cli/report.h"
#include "krait/hub.h"

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

krait_status kr_model_pull(char **path, const char *name, krait_error *error)
{
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_pull, KR_PROGRESS_BYTES);
    krait_hub_options options = { .progress = kr_progress_callback(&progress) };
    krait_status status = krait_hub_pull(path, name, &options, error);
    kr_progress_end(&progress);
    return status;
}

krait_status kr_model_find(char **path, const char *model, krait_error *error)
{
    struct stat info;
    *path = NULL;
    if (lstat(model, &info) == 0 || !krait_hub_is_name(model)) return KRAIT_OK;
    krait_status status = krait_hub_find(path, model, NULL, error);
    if (status || *path) return status;
    status = kr_model_pull(path, model, error);
    if (!status || status == KRAIT_ERROR_INTERRUPTED || status == KRAIT_ERROR_MEMORY) return status;
    char message[sizeof error->message];
    snprintf(message, sizeof message, "%s", error->message);
    return kr_fail(error, status, "no file or folder %s here, and as a model of the hub: %s", model, message);
}

krait_status kr_model_source_open_checkpoint(kr_model_source *source, const kr_model_choice *choice, krait_error *error)
{
    memset(source, 0, sizeof *source);
    if (choice->model) {
        source->name = choice->model;
        krait_status status = kr_model_find(&source->path, choice->model, error);
        if (!status) status = krait_checkpoint_open(&source->checkpoint, source->path ? source->path : choice->model, error);
        if (status) kr_model_source_close(source);
        return status;
    }
    const krait_blob *files;
    size_t n = kr_default_model(&files);
    if (!n) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "this build has no model of its own: give one with -m MODEL");
    source->name = "the built-in model";
    return krait_checkpoint_open_memory(&source->checkpoint, files, n, error);
}

/* tokenizer.json in the folder of a weights file that was given alone. */
static krait_status open_beside(kr_model_source *source, const char *weights, bool *found, krait_error *error)
{
    const char *slash = strrchr(weights, '/');
    char path[4096];
    *found = false;
    int n = snprintf(path, sizeof path, "%.*stokenizer.json", slash ? (int)(slash - weights) + 1 : 0, weights);
    struct stat info;
    if (n >= (int)sizeof path || is_folder(weights) || stat(path, &info) != 0) return KRAIT_OK;
    *found = true;
    return krait_tokenizer_load(&source->tokenizer, path, error);
}

krait_status kr_model_source_open_tokenizer(kr_model_source *source, const kr_model_choice *choice, krait_error *error)
{
    if (choice->tokenizer) return krait_tokenizer_load(&source->tokenizer, choice->tokenizer, error);
    bool found = krait_checkpoint_has_tokenizer(source->checkpoint);
    krait_status status = KRAIT_OK;
    if (found)
        status = krait_tokenizer_create(&source->tokenizer, source->checkpoint, error);
    else if (choice->model)
        status = open_beside(source, source->path ? source->path : choice->model, &found, error);
    if (!found)
        snprintf(source->no_tokenizer, sizeof source->no_tokenizer,
                 "%s has no tokenizer.json: give one with --tokenizer FILE, or give numbers instead of text", source->name);
    if (status != KRAIT_ERROR_UNSUPPORTED) return status;
    /* The model still runs by ids. */
    snprintf(source->no_tokenizer, sizeof source->no_tokenizer, "%s", error->message);
    return KRAIT_OK;
}

krait_session_options kr_session_options(const kr_model_choice *choice)
{
    krait_session_options options = { .threads = (int)choice->threads, .chunk_tokens = choice->chunk };
    for (int isa = KRAIT_ISA_AUTO; choice->isa && isa < KRAIT_N_ISAS; isa++)
        if (strcmp(choice->isa, krait_isa_name((krait_isa)isa)) == 0) options.isa = (krait_isa)isa;
    return options;
}

krait_load_options kr_load_options(const kr_model_choice *choice, kr_progress *progress)
{
    krait_load_options options = { .threads = (int)choice->threads };
    if (progress) options.progress = kr_progress_callback(progress);
    if (choice->type) krait_weight_type_find(&options.type, choice->type);
    return options;
}

krait_status kr_model_source_open(kr_model_source *source, const kr_model_choice *choice, kr_progress *progress,
                                  krait_error *error)
{
    krait_load_options load = kr_load_options(choice, progress);
    krait_session_options session = kr_session_options(choice);
    krait_status status = kr_model_source_open_checkpoint(source, choice, error);
    if (progress) progress->began = kr_now(); /* a download has a line of its own */
    if (!status) status = krait_model_create(&source->model, source->checkpoint, &load, error);
    kr_progress_end(progress);
    if (!status) status = krait_session_create(&source->session, source->model, &session, error);
    if (!status) source->config = krait_model_config(source->model);
    if (status) kr_model_source_close(source);
    return status;
}

void kr_model_source_close(kr_model_source *source)
{
    krait_session_free(source->session);
    krait_model_free(source->model);
    krait_checkpoint_free(source->checkpoint);
    krait_tokenizer_free(source->tokenizer);
    krait_free(source->path);
    memset(source, 0, sizeof *source);
}

krait_status kr_model_source_need_tokenizer(const kr_model_source *source, krait_error *error)
{
    if (source->tokenizer) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s", source->no_tokenizer);
}

krait_status kr_model_source_bos(const kr_model_source *source, int32_t *id, krait_error *error)
{
    static const char *const names[] = { "<|endoftext|>", "<s>", "<cls>" };
    *id = source->config->bos_id;
    for (size_t i = 0; *id < 0 && source->tokenizer && i < KR_COUNT_OF(names); i++)
        *id = krait_tokenizer_id(source->tokenizer, names[i], strlen(names[i]));
    if (*id >= 0) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT, "--bos: %s names no token that begins a text (bos_token_id in config.json)",
                   source->name);
}
