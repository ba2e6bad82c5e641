#include "cli/task_folder.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/input.h"
#include "cli/output.h"
#include "cli/report.h"
#include "train/manifest.h"

#define POSITION  "task.json"
#define OPTIMIZER "optimizer.safetensors"
enum { VERSION = 1 };

/* ---- the position as JSON ---------------------------------------------------------------------------------------- */

/* Numbers are written so that they read back bit for bit. */
static const struct {
    const char *name;
    bool count;
    size_t offset;
} fields[] = {
#define COUNT(name)                                   \
    {                                                 \
#name, true, offsetof(kr_task_position, name) \
    }
#define NUMBER(name)                                   \
    {                                                  \
#name, false, offsetof(kr_task_position, name) \
    }
    COUNT(steps),   COUNT(tokens),  COUNT(next),  COUNT(length),   NUMBER(mean),
    NUMBER(weight), COUNT(reached), NUMBER(loss), NUMBER(seconds), COUNT(curve_bytes),
#undef COUNT
#undef NUMBER
};

static krait_status write_position(const kr_task_folder *folder, const char *path, const kr_task_position *position,
                                   krait_error *error)
{
    kr_json_writer json = { .indent = 1 };
    kr_output out;
    kr_json_open(&json, '{');
    kr_json_key(&json, "version");
    kr_json_put_integer(&json, VERSION);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *at = (const char *)position + fields[i].offset;
        kr_json_key(&json, fields[i].name);
        if (fields[i].count)
            kr_json_put_integer(&json, (int64_t) * (const uint64_t *)at);
        else
            kr_json_put_number(&json, *(const double *)at);
    }
    kr_json_key(&json, "settings");
    kr_json_open(&json, '{');
    for (size_t i = 0; i < folder->n_settings; i++) {
        kr_json_key(&json, folder->settings[i].name);
        kr_json_put_text(&json, folder->settings[i].value);
    }
    kr_json_close(&json, '}');
    kr_json_close(&json, '}');
    krait_status status = json.failed ? kr_fail_memory(error, POSITION, json.capacity) : kr_output_open(&out, path, error);
    if (!status) {
        status = kr_output_write(&out, json.buffer, json.length, error);
        status = kr_output_close(&out, status, error);
    }
    kr_free(json.buffer);
    return status;
}

static bool read_field(const kr_json *value, kr_task_position *position, size_t i)
{
    char *at = (char *)position + fields[i].offset;
    if (!value || (value->type != KR_JSON_INTEGER && value->type != KR_JSON_NUMBER)) return false;
    if (!fields[i].count)
        *(double *)at = kr_json_number(value);
    else if (value->type == KR_JSON_INTEGER && value->integer >= 0)
        *(uint64_t *)at = (uint64_t)value->integer;
    else
        return false;
    return true;
}

/* Every setting that is another than it was, in one message. */
static krait_status check_settings(const kr_task_folder *folder, const kr_json *before, krait_error *error)
{
    char text[400] = "";
    size_t used = 0;
    for (size_t i = 0; i < folder->n_settings; i++) {
        const kr_task_setting *now = &folder->settings[i];
        const kr_json *was = kr_json_get(before, now->name);
        if (was && was->type == KR_JSON_STRING && kr_json_is(was, now->value)) continue;
        bool known = was && was->type == KR_JSON_STRING;
        if (used < sizeof text)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s (%.*s, now %s)", used ? ", " : "", now->name,
                                     known ? (int)was->length : 7, known ? was->string : "nothing", now->value);
    }
    if (!used) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "%s: was begun with other settings: %s; expected the same ones, or another folder", folder->run.path, text);
}

static krait_status read_position(const kr_task_folder *folder, const char *path, kr_task_position *position, krait_error *error)
{
    kr_arena arena = { 0 };
    const kr_json *root = NULL;
    char *text = NULL;
    size_t size;
    krait_status status = kr_input_read(path, &text, &size, error);
    if (!status) status = kr_json_parse(&root, &arena, path, text, size, error);
    const kr_json *version = kr_json_get(root, "version");
    if (!status && (!version || version->type != KR_JSON_INTEGER || version->integer != VERSION))
        status = kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: version: expected %d, found another", path, VERSION);
    for (size_t i = 0; i < sizeof fields / sizeof *fields && !status; i++)
        if (!read_field(kr_json_get(root, fields[i].name), position, i))
            status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: expected a %s", path, fields[i].name,
                             fields[i].count ? "count" : "number");
    if (!status) status = check_settings(folder, kr_json_get(root, "settings"), error);
    kr_arena_free(&arena);
    kr_free(text);
    return status;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static char *path_in(const char *folder, const char *name, krait_error *error)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = kr_alloc(size, 1);
    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    else
        kr_fail_memory(error, "a path", size);
    return path;
}

static krait_status open_curve(kr_task_folder *folder, uint64_t keep, krait_error *error)
{
    char *path = path_in(folder->run.path, "metrics.jsonl", error);
    krait_status status = path ? kr_metrics_open(&folder->curve, path, keep, error) : KRAIT_ERROR_MEMORY;
    kr_free(path);
    return status;
}

/* A run of krait train has a lock as well. */
static krait_status check_kind(const kr_task_folder *folder, krait_error *error)
{
    kr_step_name step = kr_run_step_name(folder->saved);
    char name[64];
    snprintf(name, sizeof name, "%s/" POSITION, step.text);
    char *path = path_in(folder->run.path, folder->any ? name : "config.yaml", error);
    if (!path) return KRAIT_ERROR_MEMORY;
    bool there = access(path, F_OK) == 0;
    kr_free(path);
    if (there == folder->any) return KRAIT_OK;
    return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                   "%s: expected a new or an empty folder, or that of krait task, found that of krait train", folder->run.path);
}

krait_status kr_task_folder_open(kr_task_folder *folder, const char *path, const kr_task_setting *settings, size_t n_settings,
                                 krait_error *error)
{
    uint64_t *steps = NULL;
    size_t n = 0;
    *folder = (kr_task_folder){ .curve = { .fd = -1 }, .settings = settings, .n_settings = n_settings, .saved_at = kr_now() };
    krait_status status = kr_run_folder_open(&folder->run, path, false, error);
    if (status) return status;
    status = kr_run_folder_checkpoints(&folder->run, &steps, &n, error);
    folder->any = n > 0;
    folder->saved = n ? steps[n - 1] : 0;
    kr_free(steps);
    if (!status) status = check_kind(folder, error);
    if (!status && !folder->any) status = open_curve(folder, 0, error);
    if (status) kr_task_folder_close(folder);
    return status;
}

void kr_task_folder_close(kr_task_folder *folder)
{
    if (!folder->run.path) return;
    kr_metrics_close(&folder->curve);
    kr_run_folder_close(&folder->run);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static krait_status make_trainer(krait_trainer **trainer, const krait_trainer_options *options, const char *step,
                                 krait_error *error)
{
    krait_checkpoint *checkpoint = NULL;
    char *optimizer = path_in(step, OPTIMIZER, error);
    krait_status status = optimizer ? krait_checkpoint_open(&checkpoint, step, error) : KRAIT_ERROR_MEMORY;
    if (!status) status = krait_trainer_create(trainer, NULL, 0, checkpoint, options, error);
    /* Checked against the manifest: it is missing where nothing is left to be learned, and only there. */
    if (!status && access(optimizer, F_OK) == 0) status = krait_trainer_load_state(*trainer, optimizer, error);
    krait_checkpoint_free(checkpoint);
    kr_free(optimizer);
    return status;
}

krait_status kr_task_folder_load(kr_task_folder *folder, krait_trainer **trainer, const krait_trainer_options *options,
                                 kr_task_position *position, krait_error *error)
{
    char *step = path_in(folder->run.path, kr_run_step_name(folder->saved).text, error);
    char *path = step ? path_in(step, POSITION, error) : NULL;
    krait_status status = path ? kr_manifest_check(step, error) : KRAIT_ERROR_MEMORY;
    *trainer = NULL;
    if (!status) status = read_position(folder, path, position, error);
    if (!status) status = make_trainer(trainer, options, step, error);
    if (!status) status = open_curve(folder, position->curve_bytes, error);
    if (status) {
        krait_trainer_free(*trainer);
        *trainer = NULL;
    }
    kr_free(step);
    kr_free(path);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static uint64_t checkpoint_bytes(const krait_trainer *trainer, bool finished)
{
    uint64_t parameters = krait_config_parameters(krait_model_config(krait_trainer_model(trainer)));
    return (finished ? 1 : 3) * sizeof(float) * parameters + (1 << 16);
}

static krait_status write_all(kr_task_folder *folder, const char *part, const krait_trainer *trainer, kr_task_position *position,
                              bool finished, krait_error *error)
{
    char *optimizer = path_in(part, OPTIMIZER, error), *path = path_in(part, POSITION, error);
    krait_status status = optimizer && path ? KRAIT_OK : KRAIT_ERROR_MEMORY;
    if (!status) status = krait_trainer_save_model(trainer, part, KRAIT_WEIGHT_F32, error);
    if (!status && !finished) status = krait_trainer_save_state(trainer, optimizer, error);
    if (!status) status = kr_metrics_sync(&folder->curve, error);
    if (!status) {
        position->curve_bytes = folder->curve.bytes;
        status = write_position(folder, path, position, error);
    }
    kr_free(optimizer);
    kr_free(path);
    return status;
}

static krait_status remove_others(const kr_task_folder *folder, krait_error *error)
{
    uint64_t *steps;
    size_t n;
    krait_status status = kr_run_folder_checkpoints(&folder->run, &steps, &n, error);
    for (size_t i = 0; i < n; i++)
        if (steps[i] != folder->saved) kr_run_folder_remove(&folder->run, kr_run_step_name(steps[i]).text);
    kr_free(steps);
    return status;
}

krait_status kr_task_folder_save(kr_task_folder *folder, const krait_trainer *trainer, kr_task_position *position, bool finished,
                                 krait_error *error)
{
    kr_step_name name = kr_run_step_name(position->steps);
    char *part = NULL;
    if (folder->any && folder->saved == position->steps) return KRAIT_OK;
    krait_status status = kr_run_folder_need(&folder->run, checkpoint_bytes(trainer, finished), error);
    if (!status) status = kr_run_folder_begin(&folder->run, name.text, &part, error);
    if (!status) status = write_all(folder, part, trainer, position, finished, error);
    if (!status) status = kr_run_folder_commit(&folder->run, name.text, error);
    if (status && part) kr_run_folder_abandon(&folder->run, name.text);
    kr_free(part);
    if (status) return status;
    folder->saved = position->steps;
    folder->any = true;
    folder->saved_at = kr_now();
    return remove_others(folder, error);
}

krait_status kr_task_folder_add(kr_task_folder *folder, const kr_task_point *p, krait_error *error)
{
    kr_json_writer line;
    kr_metrics_begin(&line);
    kr_json_key(&line, "step"), kr_json_put_integer(&line, (int64_t)p->step);
    kr_json_key(&line, "tokens"), kr_json_put_integer(&line, (int64_t)p->tokens);
    kr_json_key(&line, "loss"), kr_json_put_number(&line, p->loss);
    kr_json_key(&line, "length"), kr_json_put_integer(&line, (int64_t)p->length);
    kr_json_key(&line, "lr"), kr_json_put_float(&line, (float)p->learning_rate);
    kr_json_key(&line, "grad_norm"), kr_json_put_number(&line, p->grad_norm);
    kr_json_key(&line, "seconds"), kr_json_put_number(&line, p->seconds);
    return kr_metrics_end(&folder->curve, &line, error);
}

static krait_status put_file(const kr_task_folder *folder, const char *part, const char *name, krait_error *error)
{
    char *from = path_in(part, name, error), *to = from ? path_in(folder->run.path, name, error) : NULL;
    krait_status status = to ? KRAIT_OK : KRAIT_ERROR_MEMORY;
    if (!status && rename(from, to) != 0) status = kr_fail_errno(error, to, "rename to");
    kr_free(from);
    kr_free(to);
    return status;
}

krait_status kr_task_folder_publish(kr_task_folder *folder, const krait_trainer *trainer, krait_error *error)
{
    static const char name[] = "model";
    char *part = NULL;
    krait_status status = kr_run_folder_need(&folder->run, checkpoint_bytes(trainer, true), error);
    if (!status) status = kr_run_folder_begin(&folder->run, name, &part, error);
    if (!status) status = krait_trainer_save_model(trainer, part, KRAIT_WEIGHT_F32, error);
    /* Weights last: with them it is a model. */
    if (!status) status = put_file(folder, part, "config.json", error);
    if (!status) status = put_file(folder, part, "model.safetensors", error);
    if (!status) status = kr_sync_folder(folder->run.path, error);
    if (part) kr_run_folder_abandon(&folder->run, name);
    kr_free(part);
    return status;
}
