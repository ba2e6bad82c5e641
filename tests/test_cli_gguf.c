/* The program on GGUF files: what is in them, their tokenizer, and what is wrong with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "gguf_maker.h"

#ifdef KRAIT_CLI

#define MIXED     KRAIT_TEST_DATA "/gguf/tiny-mixed.gguf"
#define TOKENIZER KRAIT_TEST_DATA "/gguf/tokenizer.gguf"

static int leave(void **state)
{
    (void)state;
    cli_folder_remove();
    return 0;
}

static int enter(void **state)
{
    (void)state;
    cli_folder();
    return 0;
}

static void inspect_shows_what_is_in_one(void **state)
{
    (void)state;
    cli_result text = cli(NULL, "inspect", MIXED, NULL), result = cli(NULL, "inspect", MIXED, "--json", NULL);
    assert_cli(&text, 0, NULL);
    assert_cli(&result, 0, NULL);
    assert_non_null(strstr(text.out, "(layout: gguf)"));
    assert_non_null(strstr(text.out, "  token_embd.weight        Q8_0  [256, 64]\n"));
    assert_non_null(strstr(text.out, "runs               yes"));
    kr_arena arena = { 0 };
    const kr_json *root = cli_json(&result, &arena);
    assert_true(kr_json_is(kr_json_get(root, "layout"), "gguf"));
    assert_true(cli_json_number(root, "config.d_state") == 16);
    assert_true(cli_json_number(root, "bytes") == 146240);
    kr_arena_free(&arena);
    cli_free(&text);
    cli_free(&result);
}

static void inspect_names_what_is_wrong_with_one(void **state)
{
    (void)state;
    size_t size;
    char *bytes = cli_read(MIXED, &size);
    const char *path = cli_path("cut.gguf");
    cli_write(path, bytes, 1000);
    free(bytes);
    cli_result cut = cli(NULL, "inspect", path, NULL), none = cli(NULL, "inspect", TOKENIZER, NULL);
    assert_cli(&cut, 1, "cut.gguf: ");
    assert_cli(&none, 1, "tokenizer.gguf: not a language model we know: expected a tensor token_embd.weight, found 0 others");
    cli_free(&cut);
    cli_free(&none);
}

#ifdef KRAIT_HAVE_TEXT

static void text_becomes_the_ids_of_the_tokenizer_inside(void **state)
{
    (void)state;
    static const char text[] = "It was a dark<|endoftext|> and stormy night, caf\xc3\xa9 1984";
    cli_result folder = cli(text, "tokenize", "-m", KRAIT_MODELS "/text-small", NULL),
               model = cli(text, "tokenize", "-m", TOKENIZER, NULL),
               alone = cli(text, "tokenize", "--tokenizer", TOKENIZER, NULL);
    assert_cli(&folder, 0, NULL);
    assert_cli(&model, 0, NULL);
    assert_cli(&alone, 0, NULL);
    assert_string_equal(model.out, folder.out);
    assert_string_equal(alone.out, folder.out);
    cli_free(&folder);
    cli_free(&model);
    cli_free(&alone);
}

/* Puts n values, with one more to keep the alignment of what follows, before those that a file has. */
static void insert_values(gguf_maker *m, gguf_maker *values, uint64_t n)
{
    enum { HEADER = 24, ALIGNMENT = 32 };
    char padding[ALIGNMENT + 1] = "";
    size_t fixed = values->size + 8 + strlen("padding") + 4 + 8;
    memset(padding, '.', (ALIGNMENT - fixed % ALIGNMENT) % ALIGNMENT);
    gguf_key_text(values, "padding", padding);
    gguf_maker all = { 0 };
    uint64_t before;
    memcpy(&before, m->data + 16, 8);
    before += n + 1;
    memcpy(m->data + 16, &before, 8);
    gguf_bytes(&all, m->data, HEADER);
    gguf_bytes(&all, values->data, values->size);
    gguf_bytes(&all, m->data + HEADER, m->size - HEADER);
    gguf_free(m);
    gguf_free(values);
    *m = all;
}

static void a_model_whose_text_is_cut_otherwise_runs_by_ids(void **state)
{
    (void)state;
    gguf_maker m = { 0 }, values = { 0 };
    gguf_from_model(&m, TINY, false);
    gguf_key_text(&values, "tokenizer.ggml.model", "gpt2");
    gguf_key_text(&values, "tokenizer.ggml.pre", "unheard-of");
    gguf_key_array(&values, "tokenizer.ggml.tokens", KR_GGUF_STRING, 1);
    gguf_text(&values, "a");
    insert_values(&m, &values, 3);
    const char *path = cli_path("x.gguf");
    cli_write(path, m.data, m.size);
    gguf_free(&m);
    cli_result text = cli(NULL, "run", "-m", path, "-p", "a", NULL);
    assert_cli(&text, 1, "tokenizer.ggml.pre: expected a name of how to cut text that we know (gpt-2, olmo, falcon,");
    assert_non_null(strstr(text.err, "found \"unheard-of\""));
    cli_result ids = cli(NULL, "run", "-m", path, "--ids", "1,2,3", "--greedy", "-n", "8", NULL),
               same = cli(NULL, "run", "-m", TINY, "--ids", "1,2,3", "--greedy", "-n", "8", NULL);
    assert_cli(&ids, 0, NULL);
    assert_cli(&same, 0, NULL);
    assert_string_equal(ids.out, same.out);
    cli_free(&text);
    cli_free(&ids);
    cli_free(&same);
}

#define TEXT_TESTS                                                  \
    cmocka_unit_test(text_becomes_the_ids_of_the_tokenizer_inside), \
        cmocka_unit_test_setup_teardown(a_model_whose_text_is_cut_otherwise_runs_by_ids, enter, leave),
#else
#define TEXT_TESTS
#endif

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(inspect_shows_what_is_in_one),
                                        cmocka_unit_test_setup_teardown(inspect_names_what_is_wrong_with_one, enter, leave),
                                        TEXT_TESTS };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void) { return 0; }

#endif
