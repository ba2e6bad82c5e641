/* Batches: every token a target once an epoch, in an order that the seed fixes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "krait/data.h"
#include "train/permutation.h"

/* Token i is i, so that what a batch holds says where it is from; documents begin at multiples of `every`, one more than a document's
 * tokens. The separator, where there is one, is the last id. */
static krait_token_file *make_file(size_t n, size_t every, bool separator, bool masked)
{
    krait_error error;
    const char *path = cli_path("dataset.tokens");
    krait_token_writer *writer;
    krait_token_writer_options options = { .vocab_size = (int64_t)n + 1, .no_separator = !separator, .separator = (int32_t)n };
    assert_ok(krait_token_writer_create(&writer, path, &options, &error));
    size_t last = separator ? n - 1 : n; /* commit writes one more separator */
    for (size_t i = 0; i < last; i++) {
        int32_t id = (int32_t)i;
        bool learn = !masked || i % 5 != 2;
        if (i % every == 0) assert_ok(krait_token_writer_begin(writer, &error));
        if (i % every == 0 && separator) continue;
        assert_ok(krait_token_writer_add(writer, &id, &learn, 1, 1, &error));
    }
    assert_ok(krait_token_writer_commit(writer, &error));
    krait_token_writer_free(writer);
    krait_token_file *file;
    assert_ok(krait_token_file_open(&file, path, &error));
    assert_int_equal(krait_token_file_get_info(file)->n_tokens, n);
    return file;
}

/* Ids are positions; a separator's is told by what follows it, which another separator does at the end only. */
static uint64_t position_of(int32_t token, int32_t target, const krait_token_file_info *info)
{
    if (token != info->separator) return (uint64_t)token;
    return target == info->separator ? info->n_tokens - 2 : (uint64_t)target - 1;
}

static void check_row(const krait_train_row *row, const krait_token_file *file, size_t every, unsigned char *seen)
{
    const krait_token_file_info *info = krait_token_file_get_info(file);
    size_t start = 0;
    krait_error error;
    for (size_t i = 0; i < row->count; i++) {
        uint64_t at = position_of(row->tokens[i], row->targets[i], info);
        assert_in_range(at, 0, info->n_tokens - 2);
        int32_t pair[2];
        assert_ok(krait_token_file_read(file, at, 2, pair, &error));
        assert_int_equal(row->tokens[i], pair[0]);
        bool learned = !(info->separator < 0 && (at + 1) % every == 0) && !(info->masked && (at + 1) % 5 == 2);
        assert_int_equal(row->targets[i], learned ? pair[1] : -1);
        if (i > 0 && at % every == 0) {
            assert_true(start < row->n_starts);
            assert_int_equal(row->starts[start++], i);
        }
        seen[at]++;
    }
    assert_int_equal(start, row->n_starts);
}

static void check_epochs(const krait_token_file *file, size_t every, size_t n_rows, size_t window, krait_order order)
{
    krait_error error;
    krait_dataset *set;
    krait_train_row rows[300];
    unsigned char seen[1000];
    assert_ok(krait_dataset_create(&set, file, n_rows, window, order, 5, &error));
    uint64_t n_tokens = krait_token_file_get_info(file)->n_tokens, n = krait_dataset_batches_per_epoch(set);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        uint64_t targets = 0;
        memset(seen, 0, sizeof seen);
        for (uint64_t b = 0; b < n; b++) {
            size_t found;
            assert_ok(krait_dataset_batch(set, epoch * n + b, rows, NULL, &found, &error));
            assert_in_range(found, 1, n_rows);
            if (b + 1 < n && order == KRAIT_ORDER_SHUFFLED) assert_int_equal(found, n_rows);
            for (size_t i = 0; i < found; i++) {
                assert_in_range(rows[i].count, 1, window);
                check_row(&rows[i], file, every, seen);
                for (size_t j = 0; j < rows[i].count; j++) targets += rows[i].targets[j] >= 0;
            }
        }
        for (size_t i = 0; i < n_tokens - 1; i++) assert_int_equal(seen[i], 1);
        assert_int_equal(targets, krait_dataset_targets_per_epoch(set));
    }
    krait_dataset_free(set);
}

static void every_token_is_a_target_once(void **unused)
{
    (void)unused;
    static const size_t lengths[] = { 2, 3, 4, 17, 64, 65, 100, 211 }, windows[] = { 1, 2, 7, 16, 64, 1000 },
                        all_rows[] = { 1, 3, 8, 300 };
    for (size_t l = 0; l < 8; l++)
        for (int kind = 0; kind < 3; kind++) {
            if (kind == 1 && lengths[l] < 3) continue; /* a separator, a token, a separator */
            krait_token_file *file = make_file(lengths[l], 9, kind == 1, kind == 2);
            for (size_t w = 0; w < 6; w++)
                for (size_t r = 0; r < 4; r++) {
                    check_epochs(file, 9, all_rows[r], windows[w], KRAIT_ORDER_SHUFFLED);
                    check_epochs(file, 9, all_rows[r], windows[w], KRAIT_ORDER_STREAMS);
                }
            krait_token_file_free(file);
        }
}

/* What a batch holds depends on seed and number alone: asked for in any order, by any dataset. */
static void a_batch_is_a_function_of_its_number(void **unused)
{
    (void)unused;
    krait_error error;
    krait_token_file *file = make_file(500, 50, true, false);
    for (int order = 0; order < 2; order++) {
        krait_dataset *a, *b, *other;
        krait_train_row x[4], y[4], z[4];
        bool reset_x[4], reset_y[4];
        size_t nx, ny, nz, n_different = 0;
        assert_ok(krait_dataset_create(&a, file, 4, 16, (krait_order)order, 1, &error));
        assert_ok(krait_dataset_create(&b, file, 4, 16, (krait_order)order, 1, &error));
        assert_ok(krait_dataset_create(&other, file, 4, 16, (krait_order)order, 2, &error));
        uint64_t n = 3 * krait_dataset_batches_per_epoch(a);
        for (uint64_t i = 0; i < n; i++) {
            assert_ok(krait_dataset_batch(a, i, x, reset_x, &nx, &error));
            assert_ok(krait_dataset_batch(b, n - 1 - i, y, reset_y, &ny, &error));
            assert_ok(krait_dataset_batch(b, i, y, reset_y, &ny, &error));
            assert_ok(krait_dataset_batch(other, i, z, NULL, &nz, &error));
            assert_int_equal(nx, ny);
            for (size_t r = 0; r < nx; r++) {
                assert_int_equal(x[r].count, y[r].count);
                assert_memory_equal(x[r].tokens, y[r].tokens, x[r].count * sizeof *x[r].tokens);
                assert_memory_equal(x[r].targets, y[r].targets, x[r].count * sizeof *x[r].targets);
                assert_int_equal(x[r].n_starts, y[r].n_starts);
                assert_int_equal(reset_x[r], reset_y[r]);
                n_different += r < nz && x[r].tokens[0] != z[r].tokens[0];
            }
        }
        assert_true(n_different > n);
        krait_dataset_free(a);
        krait_dataset_free(b);
        krait_dataset_free(other);
    }
    krait_token_file_free(file);
}

/* Row r of the next batch goes on where row r of this one ended, and states are reset where a document begins. */
static void streams_go_on(void **unused)
{
    (void)unused;
    enum { ROWS = 3, WINDOW = 16, LENGTH = 500, EVERY = 48 };
    krait_error error;
    krait_token_file *file = make_file(LENGTH, EVERY, false, false);
    krait_dataset *set;
    assert_ok(krait_dataset_create(&set, file, ROWS, WINDOW, KRAIT_ORDER_STREAMS, 3, &error));
    uint64_t n = krait_dataset_batches_per_epoch(set);
    assert_int_equal(n, (167 + 15) / 16); /* of 499 positions, the first row has 167 */
    int32_t next[ROWS] = { 0 };
    for (uint64_t b = 0; b < 3 * n; b++) {
        krait_train_row rows[ROWS];
        bool reset[ROWS];
        size_t n_rows;
        assert_ok(krait_dataset_batch(set, b, rows, reset, &n_rows, &error));
        for (size_t r = 0; r < n_rows; r++) {
            if (b > 0 && b % n) assert_int_equal(rows[r].tokens[0], next[r]);
            if (b == 0) assert_int_equal(rows[r].tokens[0], r == 0 ? 0 : r == 1 ? 167 : 333);
            assert_int_equal(reset[r], b % n == 0 || rows[r].tokens[0] % EVERY == 0);
            next[r] = (rows[r].tokens[rows[r].count - 1] + 1) % (LENGTH - 1);
            assert_null(rows[r].state);
        }
    }
    krait_dataset_free(set);
    krait_token_file_free(file);
}

/* Epochs differ in their order, and in where they cut. */
static void epochs_differ(void **unused)
{
    (void)unused;
    enum { WINDOW = 10, LENGTH = 1001, N = 100 };
    krait_error error;
    krait_token_file *file = make_file(LENGTH, 2000, false, false);
    krait_dataset *set;
    assert_ok(krait_dataset_create(&set, file, 1, WINDOW, KRAIT_ORDER_SHUFFLED, 4, &error));
    assert_int_equal(krait_dataset_batches_per_epoch(set), N);
    int32_t first[2][N];
    size_t ascending = 0, same = 0;
    bool cuts[2][WINDOW] = { { false } };
    for (uint64_t i = 0; i < 2 * N; i++) {
        krait_train_row row;
        size_t n_rows;
        assert_ok(krait_dataset_batch(set, i, &row, NULL, &n_rows, &error));
        first[i / N][i % N] = row.tokens[0];
        cuts[i / N][row.tokens[0] % WINDOW] = true;
    }
    for (size_t i = 0; i < N; i++) {
        ascending += i > 0 && first[0][i] > first[0][i - 1];
        same += first[0][i] == first[1][i];
    }
    assert_in_range(ascending, 35, 65);
    assert_in_range(same, 0, 10);
    assert_true(memcmp(cuts[0], cuts[1], sizeof cuts[0]) != 0);
    krait_dataset_free(set);
    krait_token_file_free(file);
}

static void permutations_are_permutations(void **unused)
{
    (void)unused;
    for (uint64_t n = 1; n < 300; n++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            bool seen[300] = { false };
            kr_permutation p = kr_permutation_make(n, seed);
            for (uint64_t i = 0; i < n; i++) {
                uint64_t at = kr_permutation_at(&p, i);
                assert_in_range(at, 0, n - 1);
                assert_false(seen[at]);
                seen[at] = true;
            }
        }
    kr_permutation p = kr_permutation_make(UINT64_C(1) << 62, 1);
    assert_true(kr_permutation_at(&p, 0) < UINT64_C(1) << 62);
    assert_true(kr_permutation_at(&p, 0) != kr_permutation_at(&p, 1));

    /* Where index 0 goes, over seeds: chi squared of 15 degrees of freedom, 99.99 % of chance is below 44.3. */
    enum { CELLS = 16, SEEDS = 4000 };
    double counts[CELLS] = { 0 }, chi = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        p = kr_permutation_make(1000, seed);
        counts[kr_permutation_at(&p, 0) * CELLS / 1000]++;
    }
    for (size_t i = 0; i < CELLS; i++) {
        double expected = SEEDS * (double)((i + 1) * 1000 / CELLS - i * 1000 / CELLS) / 1000;
        chi += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    if (chi > 44.3) fail_msg("chi squared %g", chi);
}

static void bad_arguments_are_refused(void **unused)
{
    (void)unused;
    krait_error error;
    krait_token_file *file = make_file(20, 9, false, false);
    krait_dataset *set;
    assert_int_equal(krait_dataset_create(&set, file, 0, 1, KRAIT_ORDER_STREAMS, 3, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_dataset_create(&set, file, 1, 0, KRAIT_ORDER_STREAMS, 3, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_dataset_create(&set, file, 1, 1, (krait_order)7, 3, &error), KRAIT_ERROR_ARGUMENT);
    assert_int_equal(krait_dataset_create(&set, NULL, 1, 1, KRAIT_ORDER_STREAMS, 3, &error), KRAIT_ERROR_ARGUMENT);
    assert_null(set);
    assert_int_equal(krait_dataset_create(&set, file, SIZE_MAX / 2, 9, KRAIT_ORDER_STREAMS, 3, &error), KRAIT_ERROR_MEMORY);
    krait_token_file_free(file);
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
        cmocka_unit_test(every_token_is_a_target_once),
        cmocka_unit_test(a_batch_is_a_function_of_its_number),
        cmocka_unit_test(streams_go_on),
        cmocka_unit_test(epochs_differ),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
