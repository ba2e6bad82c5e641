#include "fail_alloc.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "krait/data.h"

static char text[300], tokens[300];

static int set_up(void **unused)
{
    (void)unused;
    snprintf(text, sizeof text, "%s/a.jsonl", cli_folder());
    snprintf(tokens, sizeof tokens, "%s/out.tokens", cli_folder());
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    cli_folder_remove();
    return 0;
}

static krait_status write_tokens(void *unused, krait_error *error)
{
    (void)unused;
    krait_token_writer *writer;
    krait_token_writer_options options = { .vocab_size = 70000, .separator = 3 };
    krait_status status = krait_token_writer_create(&writer, tokens, &options, error);
    for (int32_t i = 0; !status && i < 300; i++) {
        status = krait_token_writer_begin(writer, error);
        if (!status) status = krait_token_writer_add(writer, &i, (bool[]){ i % 2 == 0 }, 1, 1, error);
    }
    if (!status) status = krait_token_writer_commit(writer, error);
    krait_token_writer_free(writer);
    return status;
}

static krait_status read_batches(void *unused, krait_error *error)
{
    (void)unused;
    krait_token_file *file;
    krait_dataset *set = NULL;
    krait_train_row rows[3];
    size_t n_rows;
    krait_status status = krait_token_file_open(&file, tokens, error);
    if (!status) status = krait_dataset_create(&set, file, 3, 10, KRAIT_ORDER_SHUFFLED, 1, error);
    if (!status) status = krait_dataset_batch(set, 1, rows, NULL, &n_rows, error);
    krait_dataset_free(set);
    krait_token_file_free(file);
    return status;
}

static void token_files_survive(void **unused)
{
    (void)unused;
    assert_true(fail_alloc_every(write_tokens, NULL) > 8);
    assert_true(fail_alloc_every(read_batches, NULL) > 5);
    assert_int_equal(cli_folder_count(), 1); /* the file of the run that nothing failed in */
    unlink(tokens);
}

#ifdef KRAIT_HAVE_TEXT

static krait_status tokenise(void *tokenizer, krait_error *error)
{
    const char *path = text;
    krait_corpus corpus = {
        .paths = &path, .n_paths = 1, .json_field = "text", .prompt_field = "q", .crlf = true, .invalid = KRAIT_INVALID_SKIP
    };
    return krait_data_write(&corpus, tokenizer, tokens, &(krait_data_options){ .threads = 1 }, NULL, error);
}

static krait_status tokenise_folder(void *tokenizer, krait_error *error)
{
    const char *path = cli_folder(), *include = "*.jsonl";
    krait_corpus corpus = { .paths = &path, .n_paths = 1, .include = &include, .n_include = 1, .json_field = "text" };
    return krait_data_write(&corpus, tokenizer, tokens, &(krait_data_options){ .threads = 1 }, NULL, error);
}

static krait_status train(void *unused, krait_error *error)
{
    (void)unused;
    const char *path = text;
    krait_corpus corpus = { .paths = &path, .n_paths = 1, .json_field = "text" };
    krait_tokenizer_training how = { .vocab_size = 262, .nfc = true, .digits = true, .min_count = 1, .threads = 1 };
    return krait_tokenizer_train(tokens, &corpus, &how, NULL, error);
}

static krait_status make_characters(void *unused, krait_error *error)
{
    (void)unused;
    krait_tokenizer_training how = { .kind = KRAIT_TOKENIZER_CHARACTERS, .alphabet = "ACGT" };
    krait_status status = krait_tokenizer_train(tokens, NULL, &how, NULL, error);
    krait_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t n;
    if (!status) status = krait_tokenizer_load(&tokenizer, tokens, error);
    if (!status) status = krait_tokenizer_encode(tokenizer, "GATTACA", 7, NULL, &ids, &n, error);
    krait_free(ids);
    krait_tokenizer_free(tokenizer);
    return status;
}

static void making_tokenizers_survives(void **unused)
{
    (void)unused;
    static const char line[] = "{\"text\": \"one two 12 cafe\\u0301 one two\"}";
    cli_write(text, line, strlen(line));
    assert_true(fail_alloc_every(train, NULL) > 20);
    assert_true(fail_alloc_every(make_characters, NULL) > 20);
    unlink(text);
    unlink(tokens);
    assert_int_equal(cli_folder_count(), 0);
}

static void tokenising_survives(void **unused)
{
    (void)unused;
    static const char lines[] = "{\"text\": \"one\\r\\ntwo\", \"q\": \"ask\\r\\n\"}\n{\"text\": \"th\xffree\", \"q\": \"\"}\n";
    krait_tokenizer *tokenizer;
    krait_error error;
    cli_write(text, lines, strlen(lines));
    assert_ok(krait_tokenizer_load(&tokenizer, KRAIT_MODELS "/text-small", &error));
    assert_true(fail_alloc_every(tokenise, tokenizer) > 20);
    cli_write(text, lines, 38);
    assert_true(fail_alloc_every(tokenise_folder, tokenizer) > 20);
    krait_tokenizer_free(tokenizer);
    unlink(text);
    unlink(tokens);
    assert_int_equal(cli_folder_count(), 0);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_files_survive),
#ifdef KRAIT_HAVE_TEXT
        cmocka_unit_test(tokenising_survives),
        cmocka_unit_test(making_tokenizers_survives),
#endif
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
