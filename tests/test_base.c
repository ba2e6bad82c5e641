/* The ground floor: memory, files, UTF-8, random numbers, threads, errors. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/threads.h"
#include "base/utf8.h"

static char folder[64]; /* a temporary one, for every test of this file */

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/krait-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails, and with it the test, if something was left behind */
}

/* ---- errors ------------------------------------------------------------------------------------------------------- */

static void errors_carry_status_and_message(void **state)
{
    (void)state;
    krait_error error;
    assert_int_equal(kr_fail(&error, KRAIT_ERROR_FORMAT, "%s: %d", "file", 7), KRAIT_ERROR_FORMAT);
    assert_int_equal(error.status, KRAIT_ERROR_FORMAT);
    assert_string_equal(error.message, "file: 7");
    assert_int_equal(kr_fail(NULL, KRAIT_ERROR_IO, "nobody listens"), KRAIT_ERROR_IO);
}

static void messages_hold_no_control_characters(void **state)
{
    (void)state;
    krait_error error;
    kr_fail(&error, KRAIT_ERROR_FORMAT, "%s", "a\x1b[31mb\nc\x7f \xc3\xa9");
    assert_string_equal(error.message, "a?[31mb?c? \xc3\xa9");
}

static void long_messages_are_cut(void **state)
{
    (void)state;
    krait_error error;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    kr_fail(&error, KRAIT_ERROR_IO, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int status = KRAIT_OK; status <= KRAIT_ERROR_INTERRUPTED; status++)
        assert_string_not_equal(krait_status_name((krait_status)status), "unknown");
    assert_string_equal(krait_status_name((krait_status)99), "unknown");
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static void blocks_are_aligned_and_zeroed_on_request(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n += 7) {
        unsigned char *block = kr_alloc_zero(n, 3);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % KR_ALIGNMENT, 0);
        for (size_t i = 0; i < 3 * n; i++) assert_int_equal(block[i], 0);
        kr_free(block);
    }
    kr_free(NULL);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    size_t result;
    assert_false(kr_mul(SIZE_MAX / 2, 3, &result));
    assert_true(kr_mul(SIZE_MAX / 2, 2, &result));
    assert_false(kr_add(SIZE_MAX, 1, &result));
    assert_true(kr_add(SIZE_MAX - 1, 1, &result));
    assert_null(kr_alloc(SIZE_MAX / 4 + 1, 4));
    assert_null(kr_alloc(SIZE_MAX, 1));
    assert_null(kr_alloc_zero(SIZE_MAX / 8, 16));
    assert_null(kr_realloc(NULL, SIZE_MAX / 4 + 1, 4));
    kr_arena arena = { 0 };
    assert_null(kr_arena_alloc(&arena, SIZE_MAX / 4 + 1, 4));
    assert_null(kr_arena_alloc(&arena, SIZE_MAX - 3, 1));
    assert_int_equal(arena.total, 0);
    kr_arena_free(&arena);
}

static void realloc_keeps_what_was_there(void **state)
{
    (void)state;
    char *text = kr_realloc(NULL, 4, 1);
    memcpy(text, "abcd", 4);
    text = kr_realloc(text, 100000, 1);
    assert_memory_equal(text, "abcd", 4);
    kr_free(text);
    text = kr_strndup("krait and more", 5);
    assert_string_equal(text, "krait");
    kr_free(text);
}

static void arenas_give_disjoint_aligned_memory(void **state)
{
    (void)state;
    kr_arena arena = { 0 };
    enum { N = 300 };
    unsigned char *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = kr_arena_alloc(&arena, i * i % 9000 + 1, 1);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)i & 0xff, i * i % 9000 + 1);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < i * i % 9000 + 1; j++) assert_int_equal(blocks[i][j], i & 0xff);
    assert_true(arena.total >= 300 * 4500);
    kr_arena_free(&arena);
    assert_null(arena.block);
    assert_int_equal(arena.total, 0);
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

static char *in_folder(const char *name)
{
    char *path = kr_join_path(folder, name);
    assert_non_null(path);
    return path;
}

static void write_file(const char *path, const char *data, size_t size)
{
    kr_writer writer;
    krait_error error;
    assert_int_equal(kr_writer_open(&writer, path, &error), KRAIT_OK);
    assert_int_equal(kr_writer_write(&writer, data, size, &error), KRAIT_OK);
    assert_int_equal(kr_writer_commit(&writer, &error), KRAIT_OK);
}

static void paths_are_joined_with_one_slash(void **state)
{
    (void)state;
    static const char *const cases[][3] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" }, { "/", "b", "/b" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = kr_join_path(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        kr_free(path);
    }
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    char *path = in_folder("file");
    /* around the writer's buffer of 64 KiB */
    static const size_t sizes[] = { 0, 1, 4096, 65535, 65536, 65537, 200001 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *data = malloc(sizes[i] + 1);
        for (size_t j = 0; j < sizes[i]; j++) data[j] = (char)(j * 31 >> 3);
        write_file(path, data, sizes[i]);
        kr_file file;
        krait_error error;
        assert_int_equal(kr_file_open(&file, path, &error), KRAIT_OK);
        assert_int_equal(file.size, sizes[i]);
        assert_non_null(file.data);
        assert_string_equal(file.name, path);
        assert_memory_equal(file.data, data, sizes[i]);
        kr_file_close(&file);
        kr_file_close(&file);
        free(data);
    }
    assert_true(kr_exists(path));
    assert_false(kr_is_folder(path));
    assert_true(kr_is_folder(folder));
    unlink(path);
    assert_false(kr_exists(path));
    kr_free(path);
}

static void many_small_writes_arrive_in_order(void **state)
{
    (void)state;
    char *path = in_folder("small");
    kr_writer writer;
    krait_error error;
    assert_int_equal(kr_writer_open(&writer, path, &error), KRAIT_OK);
    for (uint32_t i = 0; i < 50000; i++) assert_int_equal(kr_writer_write(&writer, &i, sizeof i, &error), KRAIT_OK);
    assert_int_equal(kr_writer_commit(&writer, &error), KRAIT_OK);
    kr_file file;
    assert_int_equal(kr_file_open(&file, path, &error), KRAIT_OK);
    assert_int_equal(file.size, 200000);
    for (uint32_t i = 0; i < 50000; i++) assert_memory_equal(file.data + 4 * i, &i, 4);
    kr_file_close(&file);
    unlink(path);
    kr_free(path);
}

static void an_abandoned_file_leaves_the_old_one(void **state)
{
    (void)state;
    char *path = in_folder("kept");
    write_file(path, "old", 3);
    kr_writer writer;
    krait_error error;
    assert_int_equal(kr_writer_open(&writer, path, &error), KRAIT_OK);
    assert_int_equal(kr_writer_write(&writer, "new and longer", 14, &error), KRAIT_OK);
    kr_writer_abandon(&writer);
    kr_file file;
    assert_int_equal(kr_file_open(&file, path, &error), KRAIT_OK);
    assert_int_equal(file.size, 3);
    assert_memory_equal(file.data, "old", 3);
    kr_file_close(&file);
    unlink(path);
    kr_free(path);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    if (!kr_exists("/dev/full")) {
        print_message("no /dev/full here\n");
        skip();
    }
    char data[100000] = { 0 };
    kr_writer writer;
    krait_error error;
    /* found while writing */
    assert_int_equal(kr_writer_open(&writer, "/dev/full", &error), KRAIT_OK);
    assert_int_equal(kr_writer_write(&writer, data, sizeof data, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "/dev/full"));
    assert_int_equal(kr_writer_write(&writer, "x", 1, &error), KRAIT_ERROR_IO);
    assert_int_equal(kr_writer_commit(&writer, &error), KRAIT_ERROR_IO);
    /* found while flushing */
    assert_int_equal(kr_writer_open(&writer, "/dev/full", &error), KRAIT_OK);
    assert_int_equal(kr_writer_write(&writer, "x", 1, &error), KRAIT_OK);
    assert_int_equal(kr_writer_commit(&writer, &error), KRAIT_ERROR_IO);
}

static void unwritable_places_are_named(void **state)
{
    (void)state;
    kr_writer writer;
    krait_error error;
    char *path = in_folder("missing/file");
    assert_int_equal(kr_writer_open(&writer, path, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(kr_writer_open(&writer, folder, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "folder"));
    kr_free(path);
    if (geteuid() == 0) return; /* root may write anywhere */
    path = in_folder("file");
    assert_int_equal(chmod(folder, 0500), 0);
    assert_int_equal(kr_writer_open(&writer, path, &error), KRAIT_ERROR_IO);
    assert_int_equal(chmod(folder, 0700), 0);
    kr_free(path);
}

/* Of pieces of a megabyte, whose pages are let go of: the same as of all bytes at once. */
static void the_checksum_of_a_file_is_that_of_its_bytes(void **state)
{
    (void)state;
    enum { PIECE = 1 << 20, MOST = 3 * PIECE + 100 };
    static const size_t sizes[] = { 0, 1, 31, 32, 33, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, MOST };
    unsigned char *bytes = malloc(MOST);
    krait_error error;
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    for (size_t i = 0; i < MOST; i++) bytes[i] = (unsigned char)kr_rng_u32(&rng);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        kr_file file;
        char *path = in_folder("sum");
        write_file(path, (const char *)bytes, sizes[i]);
        assert_int_equal(kr_file_open(&file, path, &error), KRAIT_OK);
        assert_true(kr_file_checksum(&file) == kr_checksum(bytes, sizes[i]));
        assert_memory_equal(file.data, bytes, sizes[i]); /* it can still be read */
        kr_file_close(&file);
        assert_int_equal(unlink(path), 0);
        kr_free(path);
    }
    free(bytes);
}

static void only_regular_files_are_read(void **state)
{
    (void)state;
    kr_file file;
    krait_error error;
    assert_int_equal(kr_file_open(&file, folder, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, "found a folder"));
    assert_int_equal(kr_file_open(&file, "/dev/null", &error), KRAIT_ERROR_IO);
    char *path = in_folder("nothing");
    assert_int_equal(kr_file_open(&file, path, &error), KRAIT_ERROR_IO);
    assert_non_null(strstr(error.message, path));
    kr_free(path);
    assert_int_equal(kr_file_borrow(&file, "bytes", "abc", 3, &error), KRAIT_OK);
    assert_false(file.mapped);
    kr_file_close(&file);
}

/* ---- UTF-8 -------------------------------------------------------------------------------------------------------- */

/* The standard's definition, written the other way round: a character is valid if it is what its code point encodes to. */
static size_t valid_by_encoding(const char *text, size_t length)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t c;
    size_t n;
    if (s[0] < 0x80)
        n = 1, c = s[0];
    else if ((s[0] & 0xe0) == 0xc0)
        n = 2, c = s[0] & 0x1f;
    else if ((s[0] & 0xf0) == 0xe0)
        n = 3, c = s[0] & 0x0f;
    else if ((s[0] & 0xf8) == 0xf0)
        n = 4, c = s[0] & 0x07;
    else
        return 0;
    if (n > length) return 0;
    for (size_t i = 1; i < n; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf) return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    return c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

static void every_two_and_three_byte_sequence_is_judged_rightly(void **state)
{
    (void)state;
    char text[3];
    for (uint32_t bytes = 0; bytes < 1 << 24; bytes++) {
        text[0] = (char)(bytes >> 16), text[1] = (char)(bytes >> 8), text[2] = (char)bytes;
        uint32_t c;
        for (size_t length = 2; length <= 3; length++) {
            if (length == 2 && text[2]) continue;
            size_t n = kr_utf8_next(text, length, &c);
            if (n != valid_by_encoding(text, length)) fail_msg("%06x: %zu", (unsigned)bytes, n);
        }
    }
}

static void every_code_point_is_put_and_read_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff) continue;
        char text[4];
        uint32_t back = 0;
        size_t n = kr_utf8_put(c, text);
        if (kr_utf8_next(text, n, &back) != n || back != c || kr_utf8_valid_prefix(text, n) != n) fail_msg("U+%04X", (unsigned)c);
        for (size_t cut = 1; cut < n; cut++)
            if (kr_utf8_next(text, cut, &back) != 0 || !kr_utf8_is_cut(text, cut)) fail_msg("U+%04X, cut", (unsigned)c);
        if (kr_utf8_is_cut(text, n)) fail_msg("U+%04X is whole", (unsigned)c);
    }
}

static void four_byte_sequences_beyond_unicode_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xfe",
        "\xc0\x80",         "\xed\xa0\x80"
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint32_t c;
        assert_int_equal(kr_utf8_next(wrong[i], strlen(wrong[i]), &c), 0);
        assert_false(kr_utf8_is_cut(wrong[i], strlen(wrong[i])));
    }
    assert_false(kr_utf8_is_cut("\xe0\x80", 2)); /* no third byte can mend it */
    assert_false(kr_utf8_is_cut("\xf4\x90", 2));
    assert_false(kr_utf8_is_cut("", 0));
}

static void the_valid_prefix_ends_where_text_does(void **state)
{
    (void)state;
    char text[64];
    for (size_t at = 0; at < 40; at++) {
        memset(text, 'a', sizeof text);
        text[at] = (char)0xff;
        assert_int_equal(kr_utf8_valid_prefix(text, sizeof text), at);
        assert_int_equal(kr_utf8_valid_prefix(text, at), at);
        memcpy(text + at, "\xe2\x82\xac", 3);
        assert_int_equal(kr_utf8_valid_prefix(text, sizeof text), sizeof text);
        assert_int_equal(kr_utf8_valid_prefix(text, at + 2), at);
    }
}

/* ---- random numbers ----------------------------------------------------------------------------------------------- */

static void the_generator_gives_the_papers_numbers(void **state)
{
    (void)state;
    /* PCG-XSH-RR 64/32 with the default increment, computed apart from this code */
    static const struct {
        uint64_t seed;
        uint32_t expected[5];
    } cases[] = {
        { 42, { 0xc2f57bd6, 0x6b07c4a9, 0x72b7b29b, 0x44215383, 0xf5af5ead } },
        { 0, { 0xe823a24e, 0x7a7ecbd9, 0x89fd6c06, 0xae646aa8, 0xcd3cf945 } },
        { UINT64_MAX, { 0xd9313036, 0xcd4b6992, 0x7b8ec69e, 0x999dd010, 0x5c4eb9ab } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kr_rng rng;
        kr_rng_seed(&rng, cases[i].seed);
        for (size_t j = 0; j < 5; j++) assert_int_equal(kr_rng_u32(&rng), cases[i].expected[j]);
    }
}

static void distributions_have_their_moments(void **state)
{
    (void)state;
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    enum { N = 200000 };
    double sum = 0, squares = 0, uniform = 0, doubles = 0;
    for (int i = 0; i < N; i++) {
        float u = kr_rng_float(&rng);
        double d = kr_rng_double(&rng), normal = (double)kr_rng_normal(&rng);
        assert_true(u >= 0 && u < 1 && d >= 0 && d < 1 && isfinite(normal));
        uniform += (double)u, doubles += d, sum += normal, squares += normal * normal;
    }
    /* five standard errors: sd/sqrt(N), with sd 1 (mean), sqrt 2 (squares), 1/sqrt 12 (uniform) */
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2. / N));
    assert_true(fabs(uniform / N - 0.5) < 5 / sqrt(12. * N));
    assert_true(fabs(doubles / N - 0.5) < 5 / sqrt(12. * N));
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

static void shares_cover_everything_once(void **state)
{
    (void)state;
    for (size_t count = 0; count < 70; count++)
        for (size_t grain = 1; grain < 20; grain += 3)
            for (int n = 1; n < 9; n++) {
                size_t end = 0, largest = 0, smallest = SIZE_MAX;
                for (int t = 0; t < n; t++) {
                    size_t b, e;
                    kr_share(count, grain, t, n, &b, &e);
                    assert_true(b == end && e >= b && e <= count);
                    assert_true(b % grain == 0 || b == count);
                    end = e;
                    size_t grains = (e - b + grain - 1) / grain;
                    if (grains > largest) largest = grains;
                    if (grains < smallest) smallest = grains;
                }
                assert_int_equal(end, count);
                assert_true(largest - smallest <= 1);
            }
}

static void huge_counts_are_shared_without_overflow(void **state)
{
    (void)state;
    size_t begin, end;
    kr_share(SIZE_MAX - 7, 1, 2, 3, &begin, &end);
    assert_int_equal(end, SIZE_MAX - 7);
    assert_true(begin > SIZE_MAX / 2);
    kr_share(SIZE_MAX, 64, 6, 7, &begin, &end);
    assert_int_equal(end, SIZE_MAX);
}

typedef struct work {
    atomic_int calls, threads[8];
    int n_threads;
    int values[8], sums[8];
} work;

static void body(void *context, int thread, int n_threads)
{
    work *w = context;
    atomic_fetch_add(&w->calls, 1);
    atomic_fetch_add(&w->threads[thread], 1);
    if (thread == 0) w->n_threads = n_threads;
    w->values[thread] = thread + 1;
    kr_barrier(n_threads);
    for (int t = 0; t < n_threads; t++) w->sums[thread] += w->values[t];
}

static void bodies_run_once_per_thread_and_meet_at_the_barrier(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        work w = { 0 };
        kr_parallel(threads, body, &w);
        int n = w.n_threads;
        assert_true(n >= 1 && n <= threads);
        assert_int_equal(atomic_load(&w.calls), n);
        for (int t = 0; t < n; t++) {
            assert_int_equal(atomic_load(&w.threads[t]), 1);
            assert_int_equal(w.sums[t], n * (n + 1) / 2);
        }
    }
    assert_true(kr_threads_available() >= 1);
}

static void square_a_small_number(void *context, int thread, int n_threads)
{
    (void)n_threads;
    volatile float small = 1e-20f; /* its square, 1e-40, is denormal */
    ((float *)context)[thread] = small * small;
}

static void denormals_are_flushed_inside_and_kept_outside(void **state)
{
    (void)state;
#if defined(__x86_64__) || defined(__aarch64__)
    for (int threads = 1; threads <= 2; threads++) {
        float results[2] = { 0 };
        kr_parallel(threads, square_a_small_number, results);
        assert_true(results[0] == 0 && results[1] == 0);
        square_a_small_number(results, 0, 1);
        assert_true(results[0] > 0);
    }
#endif
}

/* ---- the CPU ------------------------------------------------------------------------------------------------------ */

static void instruction_sets_resolve_or_say_which_there_are(void **state)
{
    (void)state;
    krait_error error;
    krait_isa isa = KRAIT_ISA_PLAIN;
    assert_int_equal(kr_isa_resolve(&isa, &error), KRAIT_OK);
    assert_int_equal(isa, KRAIT_ISA_PLAIN);
    const char *before = getenv("KRAIT_ISA");
    char *saved = before ? strdup(before) : NULL;
    setenv("KRAIT_ISA", "mmx", 1);
    isa = KRAIT_ISA_AUTO;
    assert_int_equal(kr_isa_resolve(&isa, &error), KRAIT_ERROR_ARGUMENT);
    assert_non_null(strstr(error.message, "plain"));
    setenv("KRAIT_ISA", "plain", 1);
    isa = KRAIT_ISA_AUTO;
    assert_int_equal(kr_isa_resolve(&isa, &error), KRAIT_OK);
    assert_int_equal(isa, KRAIT_ISA_PLAIN);
    unsetenv("KRAIT_ISA");
    isa = KRAIT_ISA_AUTO;
    assert_int_equal(kr_isa_resolve(&isa, &error), KRAIT_OK);
    assert_int_equal(isa, kr_isa_best());
    assert_true(krait_isa_available(isa));
    if (saved) setenv("KRAIT_ISA", saved, 1);
    free(saved);
#if defined(__x86_64__)
    isa = KRAIT_ISA_NEON;
#else
    isa = KRAIT_ISA_AVX512;
#endif
    assert_int_equal(kr_isa_resolve(&isa, &error), KRAIT_ERROR_ARGUMENT);
    assert_string_equal(krait_isa_name((krait_isa)77), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_carry_status_and_message),
        cmocka_unit_test(messages_hold_no_control_characters),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(blocks_are_aligned_and_zeroed_on_request),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(realloc_keeps_what_was_there),
        cmocka_unit_test(arenas_give_disjoint_aligned_memory),
        cmocka_unit_test(paths_are_joined_with_one_slash),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(many_small_writes_arrive_in_order),
        cmocka_unit_test(an_abandoned_file_leaves_the_old_one),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(unwritable_places_are_named),
        cmocka_unit_test(the_checksum_of_a_file_is_that_of_its_bytes),
        cmocka_unit_test(only_regular_files_are_read),
        cmocka_unit_test(every_two_and_three_byte_sequence_is_judged_rightly),
        cmocka_unit_test(every_code_point_is_put_and_read_back),
        cmocka_unit_test(four_byte_sequences_beyond_unicode_are_refused),
        cmocka_unit_test(the_valid_prefix_ends_where_text_does),
        cmocka_unit_test(the_generator_gives_the_papers_numbers),
        cmocka_unit_test(distributions_have_their_moments),
        cmocka_unit_test(shares_cover_everything_once),
        cmocka_unit_test(huge_counts_are_shared_without_overflow),
        cmocka_unit_test(bodies_run_once_per_thread_and_meet_at_the_barrier),
        cmocka_unit_test(denormals_are_flushed_inside_and_kept_outside),
        cmocka_unit_test(instruction_sets_resolve_or_say_which_there_are),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
