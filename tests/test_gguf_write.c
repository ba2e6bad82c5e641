/* GGUF files as krait writes them: the container, read back; the bytes of quantised blocks, against ggml's; tokenizers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "formats/gguf_tokenizer.h"
#include "formats/gguf_tokenizer_write.h"
#include "tensor/blocks.h"

/* ---- the container ----------------------------------------------------------------------------------------------- */

static void put_some(kr_gguf_writer *w)
{
    kr_gguf_put(w, "u8", KR_GGUF_U8, &(uint8_t){ 200 });
    kr_gguf_put(w, "i8", KR_GGUF_I8, &(int8_t){ -100 });
    kr_gguf_put(w, "u16", KR_GGUF_U16, &(uint16_t){ 60000 });
    kr_gguf_put(w, "i16", KR_GGUF_I16, &(int16_t){ -30000 });
    kr_gguf_put_u32(w, "u32", 4000000000u);
    kr_gguf_put(w, "i32", KR_GGUF_I32, &(int32_t){ -2000000000 });
    kr_gguf_put_f32(w, "f32", 0.5f);
    kr_gguf_put(w, "u64", KR_GGUF_U64, &(uint64_t){ UINT64_C(1) << 52 });
    kr_gguf_put(w, "i64", KR_GGUF_I64, &(int64_t){ -(INT64_C(1) << 52) });
    kr_gguf_put(w, "f64", KR_GGUF_F64, &(double){ 1e300 });
    kr_gguf_put_bool(w, "yes", true);
    kr_gguf_put_text(w, "text", "h\xc3\xa9");
    kr_gguf_put_text(w, "nothing", "");
    kr_gguf_put_array(w, "numbers", KR_GGUF_I16, (int16_t[]){ 1, -2, 3 }, 3);
    kr_gguf_put_array(w, "none", KR_GGUF_F32, NULL, 0);
    kr_gguf_put_strings(w, "strings", 2);
    kr_gguf_add_string(w, "", 0);
    kr_gguf_add_string(w, "two", 3);
    kr_gguf_put_tensor(w, "a", KRAIT_DTYPE_F32, 3, (uint64_t[]){ 3, 1, 2 });
    kr_gguf_put_tensor(w, "b", KRAIT_DTYPE_Q4_0, 2, (uint64_t[]){ 2, 32 });
    kr_gguf_put_tensor(w, "c", KRAIT_DTYPE_F16, 1, (uint64_t[]){ 5 });
}

static krait_status write_some(const char *path, krait_error *error)
{
    kr_gguf_writer w = { 0 };
    put_some(&w);
    krait_status status = kr_gguf_begin(&w, path, error);
    for (int i = 0; i < 6 && !status; i++) status = kr_gguf_write(&w, &(float){ (float)i }, sizeof(float), error);
    if (!status) status = kr_gguf_end_tensor(&w, error);
    if (!status) status = kr_gguf_write(&w, "0123456789abcdefgh0123456789abcdefgh", 36, error);
    if (!status) status = kr_gguf_end_tensor(&w, error);
    if (!status) status = kr_gguf_write(&w, "0123456789", 10, error);
    if (!status) status = kr_gguf_end_tensor(&w, error);
    if (!status) status = kr_gguf_commit(&w, error);
    kr_gguf_abandon(&w);
    return status;
}

static void assert_number(const kr_gguf *gguf, const char *key, double expected)
{
    double found;
    if (!kr_gguf_number(kr_gguf_find(gguf, key), &found) || found != expected) fail_msg("%s", key);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    const char *path = cli_path("x.gguf");
    krait_error error;
    kr_file file;
    kr_gguf gguf;
    kr_arena arena = { 0 };
    const char *text;
    size_t length;
    assert_ok(write_some(path, &error));
    assert_ok(kr_file_open(&file, path, &error));
    assert_ok(kr_gguf_read(&gguf, &arena, &file, &error));
    assert_int_equal(gguf.version, 3);
    assert_int_equal(gguf.n_values, 16);
    assert_int_equal(gguf.n_tensors, 3);
    assert_number(&gguf, "u8", 200);
    assert_number(&gguf, "i8", -100);
    assert_number(&gguf, "u16", 60000);
    assert_number(&gguf, "i16", -30000);
    assert_number(&gguf, "u32", 4000000000.0);
    assert_number(&gguf, "i32", -2000000000.0);
    assert_number(&gguf, "f32", 0.5);
    assert_number(&gguf, "u64", 0x1p52);
    assert_number(&gguf, "i64", -0x1p52);
    assert_number(&gguf, "f64", 1e300);
    assert_number(&gguf, "yes", 1);
    assert_true(kr_gguf_string(kr_gguf_find(&gguf, "text"), &text, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(text, "h\xc3\xa9", 3);
    assert_true(kr_gguf_string(kr_gguf_find(&gguf, "nothing"), &text, &length) && length == 0);
    assert_int_equal(kr_gguf_find(&gguf, "none")->count, 0);
    const kr_gguf_value *value = kr_gguf_find(&gguf, "numbers");
    assert_int_equal(value->count, 3);
    for (size_t i = 0; i < 3; i++) {
        int64_t element;
        assert_true(kr_gguf_element(value, i, &element) && element == (i == 1 ? -2 : (int64_t)i + 1));
    }
    value = kr_gguf_find(&gguf, "strings");
    assert_int_equal(value->count, 2);
    const char *at = value->data;
    kr_gguf_next_string(&at, &length);
    assert_int_equal(length, 0);
    assert_memory_equal(kr_gguf_next_string(&at, &length), "two", 3);
    const kr_tensor *t = gguf.tensors;
    assert_true(t[0].n_dims == 3 && t[0].shape[0] == 3 && t[0].shape[1] == 1 && t[0].shape[2] == 2);
    assert_memory_equal(t[0].data, ((float[]){ 0, 1, 2, 3, 4, 5 }), 24);
    assert_int_equal(t[1].dtype, KRAIT_DTYPE_Q4_0);
    assert_memory_equal(t[1].data, "0123456789abcdefgh0123456789abcdefgh", 36);
    assert_memory_equal(t[2].data, "0123456789", 10);
    for (int i = 0; i < 3; i++) assert_int_equal(((const char *)t[i].data - file.data) % KR_GGUF_ALIGNMENT, 0);
    assert_int_equal(file.size % KR_GGUF_ALIGNMENT, 0);
    kr_arena_free(&arena);
    kr_file_close(&file);
    cli_folder_remove();
}

static void nothing_is_left_of_a_file_given_up(void **state)
{
    (void)state;
    const char *path = cli_path("x.gguf");
    krait_error error;
    kr_gguf_writer w = { 0 };
    size_t before = cli_folder_count();
    put_some(&w);
    assert_ok(kr_gguf_begin(&w, path, &error));
    assert_ok(kr_gguf_write(&w, "abc", 3, &error));
    kr_gguf_abandon(&w);
    kr_gguf_abandon(&w);
    assert_int_equal(cli_folder_count(), before);
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(write_some("/dev/full", &error), KRAIT_ERROR_IO);
        assert_non_null(strstr(error.message, "/dev/full"));
    }
    assert_int_equal(write_some("/no/such/folder/x.gguf", &error), KRAIT_ERROR_IO);
    cli_folder_remove();
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

static void quantised_bytes_are_those_of_ggml(void **state)
{
    (void)state;
    krait_checkpoint *file = fixture_open(KRAIT_TEST_DATA "/gguf", "encoded.safetensors");
    static const krait_dtype dtypes[] = { KRAIT_DTYPE_Q8_0, KRAIT_DTYPE_Q4_0 };
    size_t count;
    float *values = fixture_floats(file, "values", &count);
    for (size_t i = 0; i < 2; i++) {
        const kr_tensor *expected = kr_checkpoint_find(file, krait_dtype_name(dtypes[i]));
        assert_non_null(expected);
        size_t bytes = count / 32 * kr_dtype_size(dtypes[i]);
        assert_int_equal(expected->shape[0], bytes);
        unsigned char *found = malloc(bytes);
        kr_blocks_from_float32(found, dtypes[i], values, count / 32);
        for (size_t j = 0; j < bytes; j++)
            if (found[j] != ((const unsigned char *)expected->data)[j])
                fail_msg("%s: block %zu differs", krait_dtype_name(dtypes[i]), j / kr_dtype_size(dtypes[i]));
        free(found);
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t f16, bf16;
        memcpy(&f16, (const char *)kr_checkpoint_find(file, "F16")->data + 2 * i, 2);
        memcpy(&bf16, (const char *)kr_checkpoint_find(file, "BF16")->data + 2 * i, 2);
        assert_int_equal(kr_float_to_f16(values[i]), f16);
        assert_int_equal(kr_float_to_bf16(values[i]), bf16);
    }
    assert_true(kr_blocks_can_encode(KRAIT_DTYPE_Q8_0) && !kr_blocks_can_encode(KRAIT_DTYPE_Q5_0));
    free(values);
    krait_checkpoint_free(file);
}

/* ---- tokenizers -------------------------------------------------------------------------------------------------- */

/* Puts it in a file of nothing else; the name of how it cuts text. */
static krait_status write_tokenizer(const kr_tokenizer_json *t, size_t n_tokens, const char *path, const char **cutting,
                                    const char **reason, krait_error *error)
{
    kr_gguf_writer w = { 0 };
    krait_status status = kr_gguf_put_tokenizer(&w, t, n_tokens, (kr_gguf_special_ids){ 1, -1 }, cutting, reason, error);
    if (!status) status = kr_gguf_begin(&w, path, error);
    if (!status) status = kr_gguf_commit(&w, error);
    kr_gguf_abandon(&w);
    return status;
}

static bool same(kr_span a, kr_span b) { return a.length == b.length && memcmp(a.text, b.text, a.length) == 0; }

static void assert_same_tokenizer(const kr_tokenizer_json *a, const kr_tokenizer_json *b)
{
    assert_int_equal(a->n_merges, b->n_merges);
    for (size_t i = 0; i < a->n_merges; i++)
        assert_true(same(a->merges[i].left, b->merges[i].left) && same(a->merges[i].right, b->merges[i].right));
    assert_int_equal(a->n_added, b->n_added);
    assert_int_equal(a->n_normalizers, b->n_normalizers);
    assert_int_equal(a->ignore_merges, b->ignore_merges);
    assert_int_equal(a->n_pretokenizers, b->n_pretokenizers);
    for (size_t i = 0; i < a->n_pretokenizers; i++) {
        const kr_pretokenizer *p = &a->pretokenizers[i], *q = &b->pretokenizers[i];
        assert_int_equal(p->type, q->type);
        assert_true(p->use_regex == q->use_regex && p->behavior == q->behavior && p->invert == q->invert);
        if (p->type == KR_PRETOKENIZER_SPLIT) assert_true(same(p->pattern, q->pattern));
    }
    for (size_t i = 0; i < a->n_added; i++) {
        size_t j = 0;
        while (j < b->n_added && b->added[j].id != a->added[i].id) j++;
        assert_true(j < b->n_added && same(a->added[i].text, b->added[j].text) && a->added[i].special == b->added[j].special);
    }
    for (size_t i = 0; i < a->n_vocab; i++) {
        size_t j = 0;
        while (j < b->n_vocab && b->vocab[j].id != a->vocab[i].id) j++;
        bool is_added = false;
        for (size_t k = 0; k < a->n_added; k++) is_added = is_added || a->added[k].id == a->vocab[i].id;
        assert_true(is_added || (j < b->n_vocab && same(a->vocab[i].text, b->vocab[j].text)));
    }
}

static void tokenizers_come_back(void **state)
{
    (void)state;
    static const struct {
        const char *file, *cutting;
    } cases[] = {
        { "plain", "gpt-2" },      { "neox", "olmo" },  { "falcon", "falcon" }, { "starcoder", "starcoder" },
        { "llama3", "llama-bpe" }, { "qwen", "qwen2" }, { "gpt4o", "gpt-4o" },  { "bloom", NULL },
        { "prefix", NULL },        { "nfd", NULL },     { "word", NULL },
    };
    enum { ROWS = 60000 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[1024];
        const char *out = cli_path("t.gguf"), *cutting, *reason;
        krait_error error = { 0 };
        kr_arena arena = { 0 };
        kr_tokenizer_json written, read;
        kr_gguf gguf;
        kr_file file;
        size_t size, length;
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/tokenizer/%s.json", cases[i].file);
        char *json = cli_read(path, &size);
        assert_ok(kr_tokenizer_json_read(&written, &arena, path, json, size, &error));
        assert_ok(write_tokenizer(&written, ROWS, out, &cutting, &reason, &error));
        assert_null(reason);
        if (!cases[i].cutting)
            assert_null(cutting);
        else
            assert_string_equal(cutting, cases[i].cutting);
        assert_ok(kr_file_open(&file, out, &error));
        assert_ok(kr_gguf_read(&gguf, &arena, &file, &error));
        const kr_gguf_value *tokens = kr_gguf_find(&gguf, "tokenizer.ggml.tokens");
        assert_int_equal(tokens->count, ROWS);
        const char *pre, *at = tokens->data, *last = NULL;
        for (size_t j = 0; j < ROWS; j++) last = kr_gguf_next_string(&at, &length);
        assert_memory_equal(last, "[PAD59999]", length);
        assert_number(&gguf, "tokenizer.ggml.bos_token_id", 1);
        assert_null(kr_gguf_find(&gguf, "tokenizer.ggml.eos_token_id"));
        assert_true(kr_gguf_string(kr_gguf_find(&gguf, "tokenizer.ggml.pre"), &pre, &length));
        assert_memory_equal(pre, cutting ? cutting : "default", length);
        if (cases[i].cutting) {
            assert_ok(kr_gguf_tokenizer_read(&read, &arena, &gguf, &error));
            assert_same_tokenizer(&written, &read);
        }
        kr_file_close(&file);
        kr_arena_free(&arena);
        free(json);
    }
    cli_folder_remove();
}

static void tokenizers_that_do_not_fit_are_left_out(void **state)
{
    (void)state;
#define SPAN(text) { text, sizeof(text) - 1 }
    kr_vocab_entry vocab[] = { { SPAN("a"), 0 }, { SPAN("b"), 1 }, { SPAN("ab"), 2 } },
                   twice[] = { { SPAN("a"), 0 }, { SPAN("a"), 1 } }, pad[] = { { SPAN("[PAD2]"), 0 } };
    kr_merge_entry merges[] = { { SPAN("a"), SPAN("b") } }, spaced[] = { { SPAN("a "), SPAN("b") } };
    struct {
        kr_tokenizer_json tokenizer;
        size_t rows;
        const char *reason;
    } cases[] = {
        { { .vocab = vocab, .n_vocab = 3, .merges = merges, .n_merges = 1 }, 3, NULL },
        { { .vocab = vocab, .n_vocab = 3, .merges = merges, .n_merges = 1 }, 2, "more tokens" },
        { { .vocab = vocab, .n_vocab = 3, .merges = spaced, .n_merges = 1 }, 3, "a space" },
        { { .vocab = twice, .n_vocab = 2 }, 4, "same text" },
        { { .vocab = pad, .n_vocab = 1 }, 3, "same text" },
        { { .vocab = pad, .n_vocab = 1 }, 2, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *cutting, *reason;
        krait_error error;
        assert_ok(write_tokenizer(&cases[i].tokenizer, cases[i].rows, cli_path("t.gguf"), &cutting, &reason, &error));
        if (!cases[i].reason)
            assert_null(reason);
        else
            assert_true(reason && strstr(reason, cases[i].reason));
    }
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(nothing_is_left_of_a_file_given_up),
        cmocka_unit_test(quantised_bytes_are_those_of_ggml),
        cmocka_unit_test(tokenizers_come_back),
        cmocka_unit_test(tokenizers_that_do_not_fit_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
