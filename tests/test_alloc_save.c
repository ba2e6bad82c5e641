/* Each allocation of saving a model as a GGUF file fails once: an error of memory, nothing leaks, and no file is left. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "fixture.h"

static char folder[128], weights[160], config[160];
static char out[] = P_tmpdir "/krait-alloc-XXXXXX";

static krait_status save(void *model, krait_error *error)
{
    krait_checkpoint *checkpoint;
    krait_save_options options = {
        .type = KRAIT_WEIGHT_Q4, .threads = 1, .choices = &(krait_type_choice){ "token_embd*", KRAIT_WEIGHT_Q8 }, .n_choices = 1
    };
    krait_status status = krait_checkpoint_open(&checkpoint, model, error);
    if (!status) status = krait_checkpoint_save_gguf(checkpoint, out, &options, error);
    krait_checkpoint_free(checkpoint);
    return status;
}

static size_t tune_steps;

/* Calibrated, and perhaps tuned, into a folder. */
static krait_status save_calibrated(void *model, krait_error *error)
{
    enum { TOKENS = 256 };
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++) ids[i] = i * 7 % 101;
    krait_checkpoint *checkpoint;
    krait_save_options options = { .type = KRAIT_WEIGHT_Q4, .threads = 1, .calibration = ids, .n_calibration = TOKENS };
    options.tune_steps = tune_steps;
    krait_status status = krait_checkpoint_open(&checkpoint, model, error);
    if (!status) status = krait_checkpoint_save(checkpoint, folder, &options, error);
    krait_checkpoint_free(checkpoint);
    if (!status) {
        unlink(weights), unlink(config);
        rmdir(folder);
    }
    return status;
}

static void every_allocation_of_calibrating(void **state)
{
    (void)state;
    static char *const models[] = { KRAIT_TEST_DATA "/models/tiny", KRAIT_TEST_DATA "/models/odd" };
    snprintf(folder, sizeof folder, P_tmpdir "/krait-alloc-calibrate-%ld", (long)getpid());
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    snprintf(config, sizeof config, "%s/config.json", folder);
    tune_steps = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) assert_true(fail_alloc_every(save_calibrated, models[i]) > 40);
    tune_steps = 1;
    assert_true(fail_alloc_every(save_calibrated, models[1]) > 90);
}

static void every_allocation_of_saving(void **state)
{
    (void)state;
    static char *const models[] = { KRAIT_TEST_DATA "/models/tiny", KRAIT_TEST_DATA "/models/falcon",
                                    KRAIT_MODELS "/text-small" };
    close(mkstemp(out));
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) assert_true(fail_alloc_every(save, models[i]) > 20);
    unlink(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_of_saving),
                                        cmocka_unit_test(every_allocation_of_calibrating) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
