/* Each allocation of saving a model as a GGUF file fails once: an error of memory, nothing leaks, and no file is left. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "fixture.h"

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
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_of_saving) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
