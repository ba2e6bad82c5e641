/* Token files: written and read back, and everything that is not one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "cli.h"
#include "train/token_file.h"

/* Three documents of 3, 0 and 2 tokens behind their separators, 9 tokens with the last separator. */
static void write_small(const char *path, int64_t vocab_size, bool masked)
{
    krait_token_writer *writer;
    krait_error error;
    krait_token_writer_options options = { .vocab_size = vocab_size, .separator = 1, .tokenizer_fingerprint = 77 };
    assert_ok(krait_token_writer_create(&writer, path, &options, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_add(writer, (int32_t[]){ 5, 6 }, masked ? (bool[]){ false, true } : NULL, 2, 7, &error));
    assert_ok(krait_token_writer_add(writer, (int32_t[]){ 7 }, NULL, 1, 3, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_add(writer, (int32_t[]){ (int32_t)vocab_size - 1, 0 }, NULL, 2, 2, &error));
    assert_ok(krait_token_writer_commit(writer, &error));
    krait_token_writer_free(writer);
}

static krait_token_file *open_file(const char *path)
{
    krait_token_file *file;
    krait_error error;
    assert_ok(krait_token_file_open(&file, path, &error));
    return file;
}

static void check_small(int64_t vocab_size, int width, bool masked)
{
    krait_error error;
    const char *path = cli_path("small.tokens");
    write_small(path, vocab_size, masked);
    krait_token_file *file = open_file(path);
    const krait_token_file_info *info = krait_token_file_get_info(file);
    assert_int_equal(info->n_tokens, 9);
    assert_int_equal(info->n_documents, 3);
    assert_int_equal(info->n_bytes, 12);
    assert_int_equal(info->vocab_size, vocab_size);
    assert_int_equal(info->separator, 1);
    assert_int_equal(info->width, width);
    assert_int_equal(info->masked, masked);
    assert_int_equal(info->tokenizer_fingerprint, 77);
    assert_string_equal(krait_token_file_path(file), path);
    int32_t ids[9], expected[9] = { 1, 5, 6, 7, 1, 1, (int32_t)vocab_size - 1, 0, 1 };
    assert_ok(krait_token_file_read(file, 0, 9, ids, &error));
    assert_memory_equal(ids, expected, sizeof ids);
    assert_ok(krait_token_file_read(file, 6, 2, ids, &error));
    assert_memory_equal(ids, expected + 6, 8);
    assert_ok(krait_token_file_read(file, 9, 0, ids, &error));
    static const uint64_t starts[] = { 0, 4, 5 }, counts[] = { 4, 1, 3 };
    for (uint64_t i = 0; i < 3; i++) {
        uint64_t first, count;
        assert_ok(krait_token_file_document(file, i, &first, &count, &error));
        assert_int_equal(first, starts[i]);
        assert_int_equal(count, counts[i]);
    }
    for (uint64_t i = 0; i < 9; i++) assert_int_equal(krait_token_file_is_target(file, i), !(masked && i == 1));
    assert_int_equal(kr_token_file_count_targets(file, 0, 9), masked ? 8 : 9);
    assert_ok(krait_token_file_verify(file, NULL, &error));
    krait_token_file_free(file);
    unlink(path);
}

static void tokens_come_back(void **unused)
{
    (void)unused;
    check_small(300, 2, false);
    check_small(65536, 2, true);
    check_small(65537, 4, false);
    check_small(INT32_MAX, 4, true);
}

static void files_of_many_blocks_come_back(void **unused)
{
    (void)unused;
    enum { DOCUMENTS = 700, LENGTH = 1201 };
    krait_error error;
    const char *path = cli_path("large.tokens");
    krait_token_writer *writer;
    int32_t ids[LENGTH];
    bool learn[LENGTH];
    assert_ok(krait_token_writer_create(&writer, path, &(krait_token_writer_options){ .vocab_size = 70000, .no_separator = true },
                                        &error));
    for (int32_t d = 0; d < DOCUMENTS; d++) {
        for (int32_t i = 0; i < LENGTH; i++) {
            ids[i] = (d * LENGTH + i) % 69997;
            learn[i] = i % 3 != 0;
        }
        assert_ok(krait_token_writer_begin(writer, &error));
        assert_ok(krait_token_writer_add(writer, ids, d % 2 ? learn : NULL, LENGTH, 1, &error));
    }
    assert_ok(krait_token_writer_commit(writer, &error));
    krait_token_writer_free(writer);
    krait_token_file *file = open_file(path);
    assert_int_equal(krait_token_file_get_info(file)->separator, -1);
    assert_int_equal(krait_token_file_get_info(file)->n_tokens, DOCUMENTS * LENGTH);
    for (int32_t d = 0; d < DOCUMENTS; d++) {
        uint64_t first, count;
        assert_ok(krait_token_file_document(file, (uint64_t)d, &first, &count, &error));
        assert_int_equal(first, d * LENGTH);
        assert_int_equal(count, LENGTH);
        assert_ok(krait_token_file_read(file, first, LENGTH, ids, &error));
        for (int32_t i = 0; i < LENGTH; i++) {
            assert_int_equal(ids[i], (d * LENGTH + i) % 69997);
            assert_int_equal(krait_token_file_is_target(file, first + (uint64_t)i), d % 2 == 0 || i % 3 != 0);
        }
    }
    assert_int_equal(kr_token_file_count_targets(file, 3, 2000), 1198 + 802 - 268);
    assert_ok(krait_token_file_verify(file, NULL, &error));
    krait_token_file_free(file);
    unlink(path);
}

/* A damaged token is found where it is, by the block's checksum. */
static void damage_is_found_and_placed(void **unused)
{
    (void)unused;
    krait_error error;
    const char *path = cli_path("damaged.tokens");
    krait_token_writer *writer;
    int32_t *ids = calloc(1 << 20, sizeof *ids);
    assert_ok(
        krait_token_writer_create(&writer, path, &(krait_token_writer_options){ .vocab_size = 256, .separator = 0 }, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_add(writer, ids, NULL, 1 << 20, 1 << 20, &error));
    assert_ok(krait_token_writer_commit(writer, &error));
    krait_token_writer_free(writer);
    free(ids);
    size_t size;
    char *bytes = cli_read(path, &size);
    bytes[128 + (1 << 20) + 4000] ^= 1;
    krait_token_file *file;
    assert_ok(krait_token_file_open_memory(&file, "x", bytes, size, &error));
    assert_int_equal(krait_token_file_verify(file, NULL, &error), KRAIT_ERROR_FORMAT);
    assert_non_null(strstr(error.message, "x: damaged: the checksum of bytes 1048704 to 2097279"));
    krait_token_file_free(file);
    free(bytes);
    unlink(path);
}

static void put_sum(char *bytes) { kr_write_little((unsigned char *)bytes + 120, 8, kr_checksum(bytes, 120)); }

static void expect(const char *bytes, size_t size, const char *message)
{
    krait_token_file *file;
    krait_error error;
    krait_status status = krait_token_file_open_memory(&file, "x", bytes, size, &error);
    if (!status || !strstr(error.message, message))
        fail_msg("expected \"%s\", found \"%s\"", message, status ? error.message : "ok");
    assert_null(file);
}

static void every_field_is_checked(void **unused)
{
    (void)unused;
    const char *path = cli_path("small.tokens");
    write_small(path, 300, false);
    size_t size;
    char *good = cli_read(path, &size), *bytes = malloc(size + 1);
    /* at, width, value, whether the header's checksum is made good, message */
    static const struct {
        int at, width;
        uint64_t value;
        bool sum;
        const char *message;
    } cases[] = {
        { 0, 1, 'k', true, "expected a token file" },
        { 8, 4, 2, true, "version: expected 1, found 2" },
        { 12, 4, 3, true, "width: expected 2 or 4, found 3" },
        { 12, 4, 4, true, "expected 200 bytes for 9 tokens and 3 documents, found 184" },
        { 16, 8, 1, true, "n_tokens: expected at least 2, found 1" },
        { 16, 8, 13, true, "expected 192 bytes for 13 tokens and 3 documents, found 184" },
        { 16, 8, UINT64_MAX, true, "n_tokens: 18446744073709551615 are more than a file can hold" },
        { 24, 8, 0, true, "n_documents: expected 1 to 9, found 0" },
        { 24, 8, 10, true, "n_documents: expected 1 to 9, found 10" },
        { 48, 4, 0, true, "vocab_size: expected 1 to 65536, found 0" },
        { 48, 4, 65537, true, "vocab_size: expected 1 to 65536, found 65537" },
        { 52, 4, 300, true, "separator: expected -1 or an id below 300, found 300" },
        { 52, 4, 0xfffffffe, true, "separator: expected -1 or an id below 300, found -2" },
        { 56, 4, 2, true, "flags: expected 0 or 1" },
        { 56, 4, 1, true, "expected 192 bytes for 9 tokens" },
        { 60, 1, 1, true, "zeros behind" },
        { 111, 1, 1, true, "zeros behind" },
        { 112, 8, 5, true, "damaged: the checksum of bytes 176 to 183" },
        { 40, 8, 5, false, "damaged: the checksum of its header" },
        { 152, 8, 1, true, "document 0: expected to begin behind token 0 of 9, found token 1" },
        { 160, 8, 0, true, "document 1: expected to begin behind token 0 of 9, found token 0" },
        { 168, 8, 9, true, "document 2: expected to begin behind token 4 of 9, found token 9" },
    };
    assert_int_equal(size, 184);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(bytes, good, size);
        kr_write_little((unsigned char *)bytes + cases[i].at, cases[i].width, cases[i].value);
        if (cases[i].sum) put_sum(bytes);
        expect(bytes, size, cases[i].message);
    }
    memcpy(bytes, good, size);
    for (size_t n = 0; n < size; n++) expect(bytes, n, n < 128 ? "expected a token file" : "expected 184 bytes");
    bytes[size] = 0;
    expect(bytes, size + 1, "expected 184 bytes for 9 tokens and 3 documents, found 185");

    krait_error error;
    krait_token_file *file;
    bytes[128 + 2 * 3 + 1] = 2; /* token 3 is 7 + 512 */
    assert_ok(krait_token_file_open_memory(&file, "x", bytes, size, &error));
    int32_t ids[9];
    assert_int_equal(krait_token_file_read(file, 1, 8, ids, &error), KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "x: damaged: token 3: expected an id below 300, found 519");
    assert_int_equal(krait_token_file_read(file, 1, 9, ids, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_token_file_read(file, 10, 0, ids, &error), KRAIT_ERROR_ARGUMENT);
    uint64_t first, count;
    assert_int_equal(krait_token_file_document(file, 3, &first, &count, &error), KRAIT_ERROR_ARGUMENT);
    krait_token_file_free(file);
    free(bytes);
    free(good);
    unlink(path);
}

static void writers_refuse_what_files_cannot_hold(void **unused)
{
    (void)unused;
    krait_error error;
    const char *path = cli_path("none.tokens");
    krait_token_writer *writer;
    krait_token_writer_options options = { .vocab_size = 10, .separator = 10 };
    assert_int_equal(krait_token_writer_create(&writer, path, &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "separator: expected an id below 10, found 10"));
    options = (krait_token_writer_options){ .vocab_size = 0 };
    assert_int_equal(krait_token_writer_create(&writer, path, &options, &error), KRAIT_ERROR_ARGUMENT);
    options = (krait_token_writer_options){ .vocab_size = 10, .no_separator = true };
    assert_int_equal(krait_token_writer_create(&writer, "/dev/null", &options, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "/dev/null: expected a regular file"));
    assert_int_equal(krait_token_writer_create(&writer, "/nowhere/x", &options, &error), KRAIT_ERROR_IO);

    assert_ok(krait_token_writer_create(&writer, path, &options, &error));
    assert_int_equal(krait_token_writer_add(writer, (int32_t[]){ 1 }, NULL, 1, 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_int_equal(krait_token_writer_begin(writer, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "document 0: expected at least one token"));
    krait_token_writer_free(writer);

    assert_ok(krait_token_writer_create(&writer, path, &options, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_int_equal(krait_token_writer_add(writer, (int32_t[]){ 1, 10 }, NULL, 2, 1, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "expected ids below 10, found 10"));
    assert_int_equal(krait_token_writer_commit(writer, &error), KRAIT_ERROR_ARGUMENT);
    krait_token_writer_free(writer);

    assert_ok(krait_token_writer_create(&writer, path, &options, &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_add(writer, (int32_t[]){ 1 }, NULL, 1, 1, &error));
    assert_int_equal(krait_token_writer_commit(writer, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "expected at least 2 tokens, found 1"));
    krait_token_writer_free(writer);
    assert_int_equal(cli_folder_count(), 0);
}

static void a_full_disk_leaves_nothing(void **unused)
{
    (void)unused;
    krait_error error;
    krait_token_writer *writer;
    const char *path = cli_path("full.tokens");
    assert_ok(krait_token_writer_create(&writer, path, &(krait_token_writer_options){ .vocab_size = 10, .no_separator = true },
                                        &error));
    assert_ok(krait_token_writer_begin(writer, &error));
    assert_ok(krait_token_writer_add(writer, (int32_t[]){ 1, 2, 3 }, NULL, 3, 3, &error));
    krait_token_writer_free(writer); /* without commit */
    assert_int_equal(cli_folder_count(), 0);
}

static void checksums_notice_single_bits_and_lengths(void **unused)
{
    (void)unused;
    unsigned char bytes[100] = { 0 };
    for (size_t n = 0; n <= sizeof bytes; n++) {
        uint64_t sum = kr_checksum(bytes, n);
        if (n > 0) assert_true(sum != kr_checksum(bytes, n - 1));
        for (size_t bit = 0; bit < 8 * n; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            assert_true(sum != kr_checksum(bytes, n));
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    /* the file's format: must never change */
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)i;
    assert_true(kr_checksum(bytes, 100) == UINT64_C(0xaf403144b7edd1e9));
    assert_true(kr_fnv1a(KR_FNV_START, "a", 1) == 0xaf63dc4c8601ec8cu);
}

static int set_up(void **unused)
{
    (void)unused;
    return cli_folder() ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    cli_folder_remove();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_come_back),
        cmocka_unit_test(files_of_many_blocks_come_back),
        cmocka_unit_test(damage_is_found_and_placed),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(writers_refuse_what_files_cannot_hold),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(checksums_notice_single_bits_and_lengths),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
