/* A folder as a GGUF file and back: every tensor and the tokenizer are what they were, bit for bit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "formats/checkpoint.h"
#include "model/model.h"

static void convert(const char *from, const char *to, krait_weight_type type, bool gguf)
{
    krait_checkpoint *checkpoint;
    krait_error error;
    krait_save_options options = { .type = type };
    assert_ok(krait_checkpoint_open(&checkpoint, from, &error));
    assert_ok((gguf ? krait_checkpoint_save_gguf : krait_checkpoint_save)(checkpoint, to, &options, &error));
    krait_checkpoint_free(checkpoint);
}

/* Tensors of the type keep it; the others are float32 with the same values. Returns how many kept their type. */
static size_t compare(const char *from, const char *to)
{
    krait_checkpoint *a, *b;
    krait_error error;
    size_t same = 0;
    assert_ok(krait_checkpoint_open(&a, from, &error));
    assert_ok(krait_checkpoint_open(&b, to, &error));
    for (size_t i = 0; i < a->n_tensors; i++) {
        const kr_tensor *x = &a->tensors[i], *y = kr_checkpoint_find(b, x->name);
        size_t count, bytes;
        if (!y) fail_msg("%s: not there any more", x->name);
        assert_true(kr_tensor_count(x, &count) && kr_tensor_bytes(x, &bytes));
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->shape, y->shape, (size_t)x->n_dims * sizeof *x->shape);
        if (x->dtype == y->dtype) {
            same++;
            if (memcmp(x->data, y->data, bytes) != 0) fail_msg("%s: other bytes", x->name);
            continue;
        }
        assert_int_equal(y->dtype, KRAIT_DTYPE_F32);
        float *values = malloc(count * sizeof *values);
        kr_tensor_to_float32(values, x);
        if (memcmp(values, y->data, count * sizeof *values) != 0) fail_msg("%s: other values", x->name);
        free(values);
    }
    const kr_file *s = kr_checkpoint_file(a, "tokenizer.json"), *t = kr_checkpoint_file(b, "tokenizer.json");
    if (s) {
        assert_true(t && s->size == t->size);
        assert_memory_equal(s->data, t->data, s->size);
    }
    krait_checkpoint_free(a);
    krait_checkpoint_free(b);
    return same;
}

static void nothing_is_lost(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        krait_weight_type type;
    } cases[] = { { TINY, KRAIT_WEIGHT_F32 },
                  { KRAIT_MODELS "/text-small", KRAIT_WEIGHT_F32 }, /* trained: its A_log is no logarithm of whole numbers */
                  { KRAIT_TEST_DATA "/models/bf16-sharded", KRAIT_WEIGHT_BF16 },
                  { KRAIT_TEST_DATA "/models/f16", KRAIT_WEIGHT_F16 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *file = cli_path("x.gguf"), *folder = cli_path("x");
        convert(cases[i].model, file, cases[i].type, true);
        convert(file, folder, cases[i].type, false);
        assert_true(compare(cases[i].model, folder) > 4);
        /* And once more from there. */
        const char *again = cli_path("y.gguf");
        convert(folder, again, cases[i].type, true);
        assert_true(compare(file, again) > 4);
        cli_folder_remove();
    }
}

/* Another ssm_a, with the A_log of the old one beside it. */
static void an_a_log_that_does_not_fit_does_not_count(void **state)
{
    (void)state;
    const char *file = cli_path("x.gguf"), *folder = cli_path("x");
    krait_checkpoint *checkpoint;
    krait_error error;
    size_t size;
    convert(KRAIT_MODELS "/text-small", file, KRAIT_WEIGHT_F32, true);
    assert_ok(krait_checkpoint_open(&checkpoint, file, &error));
    size_t at = (size_t)((const char *)kr_checkpoint_find(checkpoint, "blk.0.ssm_a")->data - checkpoint->files[0].data);
    krait_checkpoint_free(checkpoint);
    char *bytes = cli_read(file, &size);
    memcpy(bytes + at, &(float){ -0.25f }, sizeof(float));
    cli_write(file, bytes, size);
    free(bytes);
    convert(file, folder, KRAIT_WEIGHT_F32, false);
    assert_ok(krait_checkpoint_open(&checkpoint, folder, &error));
    float a_log[2];
    memcpy(a_log, kr_checkpoint_find(checkpoint, "backbone.layers.0.mixer.A_log")->data, sizeof a_log);
    assert_true(a_log[0] == kr_logarithm_of(-0.25f));
    krait_checkpoint_free(checkpoint);

    /* And one that no A_log stands for is refused, not made NaN. */
    bytes = cli_read(file, &size);
    memcpy(bytes + at, &(float){ 0.5f }, sizeof(float));
    cli_write(file, bytes, size);
    free(bytes);
    assert_ok(krait_checkpoint_open(&checkpoint, file, &error));
    assert_int_equal(krait_checkpoint_save(checkpoint, cli_path("z"), &(krait_save_options){ 0 }, &error),
                     KRAIT_ERROR_UNSUPPORTED);
    assert_string_equal(error.message, "blk.0.ssm_a: expected values below 0, which A_log can stand for, found 0.5");
    krait_checkpoint_free(checkpoint);
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(an_a_log_that_does_not_fit_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
