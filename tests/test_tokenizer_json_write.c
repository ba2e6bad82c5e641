/* A description written as tokenizer.json and read again encodes as before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "formats/gguf_tokenizer.h"

static krait_error error;

/* The description in a file of either kind, as the text of a tokenizer.json. */
static kr_json_writer written(const char *path)
{
    kr_arena arena = { 0 };
    kr_tokenizer_json tokenizer;
    kr_json_writer json = { 0 };
    kr_file file;
    assert_ok(kr_file_open(&file, path, &error));
    if (kr_gguf_is(file.data, file.size)) {
        kr_gguf gguf;
        assert_ok(kr_gguf_read(&gguf, &arena, &file, &error));
        assert_ok(kr_gguf_tokenizer_read(&tokenizer, &arena, &gguf, &error));
        kr_tokenizer_json_write(&json, &tokenizer);
    } else {
        assert_ok(kr_tokenizer_json_read(&tokenizer, &arena, path, file.data, file.size, &error));
        kr_tokenizer_json_write(&json, &tokenizer);
    }
    assert_false(json.failed);
    kr_arena_free(&arena);
    kr_file_close(&file);
    return json;
}

#ifdef KRAIT_HAVE_TEXT

static void the_same_ids_come_of_it(void **state)
{
    (void)state;
    static const char *const files[] = { "tokenizer/plain.json",      "tokenizer/neox.json",  "tokenizer/llama3.json",
                                         "tokenizer/falcon.json",     "tokenizer/qwen.json",  "tokenizer/starcoder.json",
                                         "tokenizer/deepseek.json",   "tokenizer/gpt4o.json", "tokenizer/nfkc.json",
                                         "tokenizer/contiguous.json", "tokenizer/lines.json", "gguf/tokenizer.gguf" };
    static const char *const texts[] = { "The captain said: \"It's 1,234 o'clock!\"\n\n  Yes.",
                                         "na\xc3\xafve caf\xc3\xa9 e\xcc\x81",
                                         "<|endoftext|>a\tb \xe2\x80\xa6 \xf0\x9f\x90\x8d x=2**10;", "" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, KRAIT_TEST_DATA "/%s", files[i]);
        kr_json_writer json = written(path);
        krait_tokenizer *before, *after;
        assert_ok(krait_tokenizer_load(&before, path, &error));
        if (krait_tokenizer_load_memory(&after, files[i], json.buffer, json.length, &error))
            fail_msg("%s: %s", files[i], error.message);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
            int32_t *expected, *found;
            size_t n, m;
            assert_ok(krait_tokenizer_encode(before, texts[t], strlen(texts[t]), NULL, &expected, &n, &error));
            assert_ok(krait_tokenizer_encode(after, texts[t], strlen(texts[t]), NULL, &found, &m, &error));
            assert_ids(found, m, expected, n);
            krait_free(expected);
            krait_free(found);
        }
        krait_tokenizer_free(before);
        krait_tokenizer_free(after);
        kr_free(json.buffer);
    }
}

#endif

/* Written once more from what was read of it. */
static void nothing_changes_a_second_time(void **state)
{
    (void)state;
    kr_json_writer first = written(KRAIT_MODELS "/text-small/tokenizer.json");
    const char *path = cli_path("tokenizer.json");
    cli_write(path, first.buffer, first.length);
    kr_json_writer second = written(path);
    assert_int_equal(first.length, second.length);
    assert_memory_equal(first.buffer, second.buffer, first.length);
    kr_free(first.buffer);
    kr_free(second.buffer);
    cli_folder_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef KRAIT_HAVE_TEXT
        cmocka_unit_test(the_same_ids_come_of_it),
#endif
        cmocka_unit_test(nothing_changes_a_second_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
