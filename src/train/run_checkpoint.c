/* Checkpoints of a run. step-N holds
 *
 *   config.json, model.safetensors, tokenizer.json   a model as any other
 *   optimizer.safetensors                            moments, steps
 *   state-I.safetensors                              of row I, where states are carried from batch to batch
 *   run.json                                         the position, and the settings
 *   manifest.json                                    sizes and checksums
 *
 * Those whose step is a multiple of checkpoint.every are due; others are of an interruption, of the clock, or the end. A return after a
 * divergence is to one that is due, so that it does not depend on what interrupted the run. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "train/manifest.h"
#include "train/run.h"

#define BEST      "best"
#define OPTIMIZER "optimizer.safetensors"

uint64_t kr_run_checkpoint_bytes(const krait_config *config, size_t n_states)
{
    uint64_t parameters = krait_config_parameters(config);
    uint64_t state = (uint64_t)config->n_layer * (uint64_t)config->d_inner * (uint64_t)(config->d_state + config->d_conv - 1);
    return 3 * sizeof(float) * parameters + n_states * sizeof(float) * state + (1 << 20);
}

static krait_status write_tokenizer(const krait_training *t, const char *folder, krait_error *error)
{
    if (!t->data.tokenizer_json) return KRAIT_OK;
    char *path = kr_join_path(folder, "tokenizer.json");
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    kr_writer writer;
    krait_status status = kr_writer_open(&writer, path, error);
    if (!status && (status = kr_writer_write(&writer, t->data.tokenizer_json, t->data.tokenizer_size, error)))
        kr_writer_abandon(&writer);
    else if (!status)
        status = kr_writer_commit(&writer, error);
    kr_free(path);
    return status;
}

static char *state_path(const char *folder, size_t row)
{
    char name[48];
    snprintf(name, sizeof name, "state-%zu.safetensors", row);
    return kr_join_path(folder, name);
}

static krait_status write_states(const krait_training *t, const char *folder, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; t->states && i < t->n_rows && !status; i++) {
        char *path = state_path(folder, i);
        status = path ? krait_state_save(t->states[i], path, error) : kr_fail_memory(error, "a path", strlen(folder));
        kr_free(path);
    }
    return status;
}

/* ---- which are kept ---------------------------------------------------------------------------------------------- */

static bool is_due(const krait_training *t, uint64_t step) { return step % t->settings->values.checkpoint.every == 0; }

static krait_status remove_others(const krait_training *t, krait_error *error)
{
    uint64_t *steps, keep = t->settings->values.checkpoint.keep, n_due = 0;
    size_t n;
    krait_status status = kr_run_folder_checkpoints(&t->folder, &steps, &n, error);
    for (size_t i = n; i-- > 0 && !status;) {
        bool due = is_due(t, steps[i]);
        n_due += due;
        /* Beyond the position: of a time before a return to an earlier checkpoint. */
        bool keeps = steps[i] == t->position.step || (due && n_due <= keep);
        if (steps[i] > t->position.step || !keeps) {
            kr_run_folder_remove(&t->folder, kr_run_step_name(steps[i]).text);
            n_due -= due && steps[i] > t->position.step;
        }
    }
    kr_free(steps);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static krait_status write_all(krait_training *t, const char *folder, krait_error *error)
{
    krait_status status = krait_trainer_save_model(t->trainer, folder, KRAIT_WEIGHT_F32, error);
    char *optimizer = kr_join_path(folder, OPTIMIZER);
    if (!status && !optimizer) status = kr_fail_memory(error, "a path", strlen(folder));
    if (!status) status = write_tokenizer(t, folder, error);
    if (!status) status = krait_trainer_save_state(t->trainer, optimizer, error);
    if (!status) status = write_states(t, folder, error);
    if (!status) status = kr_metrics_sync(&t->metrics, error);
    if (!status) t->position.metrics_bytes = t->metrics.bytes;
    if (!status) status = kr_position_write(folder, &t->position, t->settings, error);
    kr_free(optimizer);
    return status;
}

krait_status kr_run_publish(krait_training *t, krait_error *error)
{
    krait_status status = kr_run_folder_link_last(&t->folder, kr_run_step_name(t->position.step).text, error);
    return status ? status : remove_others(t, error);
}

krait_status kr_run_save(krait_training *t, krait_error *error)
{
    kr_step_name name = kr_run_step_name(t->position.step);
    char *part = NULL;
    krait_status status =
        kr_run_folder_need(&t->folder, kr_run_checkpoint_bytes(&t->data.config, t->states ? t->n_rows : 0), error);
    if (!status) status = kr_run_folder_begin(&t->folder, name.text, &part, error);
    if (!status) status = write_all(t, part, error);
    if (!status) status = kr_run_folder_commit(&t->folder, name.text, error);
    if (!status) status = kr_run_publish(t, error);
    /* What there is of it would only take the space that is missing. */
    if (status && part) kr_run_folder_abandon(&t->folder, name.text);
    kr_free(part);
    if (status) return status;
    t->saved_at = kr_run_clock();
    char *path = kr_run_folder_path(&t->folder, name.text);
    kr_run_tell(t, KRAIT_TRAINING_CHECKPOINT, path ? path : name.text);
    kr_free(path);
    return KRAIT_OK;
}

krait_status kr_run_save_best(krait_training *t, krait_error *error)
{
    char *part = NULL;
    krait_status status = kr_run_folder_need(&t->folder, kr_run_checkpoint_bytes(&t->data.config, 0) / 3, error);
    if (!status) status = kr_run_folder_begin(&t->folder, BEST, &part, error);
    if (!status) status = krait_trainer_save_model(t->trainer, part, KRAIT_WEIGHT_F32, error);
    if (!status) status = write_tokenizer(t, part, error);
    if (!status) status = kr_position_write(part, &t->position, t->settings, error);
    if (!status) status = kr_run_folder_commit(&t->folder, BEST, error);
    if (status && part) kr_run_folder_abandon(&t->folder, BEST);
    kr_free(part);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static krait_status read_states(krait_training *t, const char *folder, krait_error *error)
{
    krait_status status = KRAIT_OK;
    for (size_t i = 0; t->states && i < t->n_rows && !status; i++) {
        char *path = state_path(folder, i);
        krait_state *state = NULL;
        status = path ? krait_state_load(&state, krait_trainer_model(t->trainer), path, error)
                      : kr_fail_memory(error, "a path", strlen(folder));
        if (!status) {
            krait_state_free(t->states[i]);
            t->states[i] = state;
        }
        kr_free(path);
    }
    return status;
}

static krait_status make_trainer(krait_training *t, const char *folder, krait_error *error)
{
    krait_trainer_options how = kr_run_trainer_options(&t->data, &t->settings->values);
    krait_checkpoint *checkpoint = NULL;
    krait_trainer *trainer = NULL;
    char *optimizer = kr_join_path(folder, OPTIMIZER);
    krait_status status = optimizer ? KRAIT_OK : kr_fail_memory(error, "a path", strlen(folder));
    if (!status) status = krait_checkpoint_open(&checkpoint, folder, error);
    /* The old one first: two may not fit into memory. */
    if (!status) krait_trainer_free(t->trainer), t->trainer = NULL;
    if (!status) status = krait_trainer_create(&trainer, NULL, 0, checkpoint, &how, error);
    if (!status) status = krait_trainer_load_state(trainer, optimizer, error);
    if (status)
        krait_trainer_free(trainer);
    else
        t->trainer = trainer;
    krait_checkpoint_free(checkpoint);
    kr_free(optimizer);
    return status;
}

krait_status kr_run_check(const krait_training *t, uint64_t step, krait_error *error)
{
    char *folder = kr_run_folder_path(&t->folder, kr_run_step_name(step).text);
    krait_status status = folder ? kr_manifest_check(folder, error) : kr_fail_memory(error, "a path", strlen(t->folder.path));
    kr_free(folder);
    return status;
}

krait_status kr_run_load(krait_training *t, uint64_t step, kr_position *position, krait_error *error)
{
    krait_training_settings *settings = NULL;
    char *folder = kr_run_folder_path(&t->folder, kr_run_step_name(step).text);
    if (!folder) return kr_fail_memory(error, "a path", strlen(t->folder.path));
    krait_status status = kr_position_read(folder, position, &settings, error);
    krait_training_settings_free(settings);
    if (!status) status = make_trainer(t, folder, error);
    if (!status) status = read_states(t, folder, error);
    kr_free(folder);
    return status;
}
