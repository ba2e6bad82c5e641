/* Each allocation of training fails once: an error of memory, and nothing leaks. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "train_fixture.h"

static char folder[] = "/tmp/krait-alloc-XXXXXX", model_path[64], state_path[64];

static krait_status train_and_save(void *context, krait_error *error)
{
    const bool *fresh = context;
    krait_checkpoint *checkpoint = NULL;
    krait_trainer *trainer = NULL;
    krait_state *carried = NULL;
    krait_train_step step;
    krait_trainer_options options = constant();
    const char *const freeze[] = { "*.D" };
    krait_config config = small(); /* smaller still: it is trained hundreds of times */
    config.n_layer = 1;
    config.d_model = 16;
    config.d_inner = 32;
    options.threads = 1;
    options.freeze = freeze;
    options.n_freeze = 1;
    options.compute = *fresh ? KRAIT_WEIGHT_F32 : KRAIT_WEIGHT_BF16;
    krait_status status = KRAIT_OK;
    if (!*fresh) status = krait_checkpoint_open(&checkpoint, KRAIT_TEST_DATA "/models/odd", error);
    if (!status) status = krait_trainer_create(&trainer, *fresh ? &config : NULL, 1, checkpoint, &options, error);
    if (!status) status = krait_state_create(&carried, krait_trainer_model(trainer), error);
    krait_train_row rows[2] = { row_of(0, 0, 3), row_of(1, 0, 4) };
    rows[1].state = carried;
    double loss = 0;
    uint64_t n = 0;
    if (!status) status = krait_trainer_accumulate(trainer, rows, 2, error);
    if (!status) status = krait_trainer_update(trainer, &step, error);
    if (!status) status = krait_trainer_evaluate(trainer, rows, 2, &loss, &n, error);
    if (!status) status = krait_trainer_save_model(trainer, model_path, KRAIT_WEIGHT_F32, error);
    if (!status) status = krait_trainer_save_state(trainer, state_path, error);
    if (!status) status = krait_trainer_load_state(trainer, state_path, error);
    krait_state_free(carried);
    krait_trainer_free(trainer);
    krait_checkpoint_free(checkpoint);
    char path[96];
    snprintf(path, sizeof path, "%s/config.json", model_path);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", model_path);
    unlink(path);
    rmdir(model_path);
    unlink(state_path);
    return status;
}

static void every_allocation_of_a_trainer(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(model_path, sizeof model_path, "%s/model", folder);
    snprintf(state_path, sizeof state_path, "%s/state", folder);
    for (int fresh = 0; fresh < 2; fresh++) {
        bool is_fresh = fresh;
        assert_true(fail_alloc_every(train_and_save, &is_fresh) > 50);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_of_a_trainer) };
    return cmocka_run_group_tests(tests, make_text, NULL);
}
