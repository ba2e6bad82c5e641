#include "fail_alloc.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* glibc's own allocator under the names that it keeps for this purpose. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool armed;
static size_t countdown, n_made, n_live;

/* The code of the objects whose allocations count: an allocation belongs to whom it returns to. */
enum { MAX_RANGES = 256 };
static struct {
    uintptr_t begin, end;
} ranges[MAX_RANGES];
static size_t n_ranges;

static int add_ranges(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size, (void)unused;
    static const char *const exempt[] = { "libgomp",   "libomp", "libdnnl",  "libstdc++", "libOpenCL",
                                          "libcmocka", "libtbb", "ld-linux", "libgcc_s" };
    for (size_t i = 0; i < sizeof exempt / sizeof *exempt; i++)
        if (strstr(info->dlpi_name, exempt[i])) return 0;
    for (size_t i = 0; i < info->dlpi_phnum && n_ranges < MAX_RANGES; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type != PT_LOAD || !(header->p_flags & PF_X)) continue;
        uintptr_t begin = (uintptr_t)info->dlpi_addr + header->p_vaddr;
        ranges[n_ranges].begin = begin;
        ranges[n_ranges++].end = begin + header->p_memsz;
    }
    return 0;
}

/* The live blocks that count: a hash set with open addressing and without deletion marks (Knuth 6.4, algorithm R). */
enum { SET_BITS = 20, SET_SIZE = 1 << SET_BITS };
static uintptr_t set[SET_SIZE];

static size_t slot_of(uintptr_t block) { return (size_t)((uint64_t)block * 0x9e3779b97f4a7c15u >> (64 - SET_BITS)); }

static void set_add(void *block)
{
    if (n_live >= SET_SIZE / 2) return;
    size_t i = slot_of((uintptr_t)block);
    while (set[i]) i = (i + 1) % SET_SIZE;
    set[i] = (uintptr_t)block;
    n_live++;
}

static bool set_remove(void *block)
{
    size_t i = slot_of((uintptr_t)block);
    while (set[i] && set[i] != (uintptr_t)block) i = (i + 1) % SET_SIZE;
    if (!set[i]) return false;
    n_live--;
    for (size_t j = i;;) {
        set[i] = 0;
        size_t home;
        do {
            j = (j + 1) % SET_SIZE;
            if (!set[j]) return true;
            home = slot_of(set[j]);
        } while (i <= j ? i < home && home <= j : i < home || home <= j);
        set[i] = set[j];
        i = j;
    }
}

/* Whether an allocation that returns to `caller` counts. */
static bool counts(const void *caller)
{
    if (!armed) return false;
    for (size_t i = 0; i < n_ranges; i++)
        if ((uintptr_t)caller >= ranges[i].begin && (uintptr_t)caller < ranges[i].end) return true;
    return false;
}

/* Counts an allocation; true if it is the one to fail. */
static bool must_fail(bool counted)
{
    if (!counted) return false;
    pthread_mutex_lock(&lock);
    n_made++;
    bool fails = countdown > 0 && --countdown == 0;
    pthread_mutex_unlock(&lock);
    if (fails) errno = ENOMEM;
    return fails;
}

static void *made(bool counted, void *block)
{
    if (counted && block) {
        pthread_mutex_lock(&lock);
        set_add(block);
        pthread_mutex_unlock(&lock);
    }
    return block;
}

static bool forget(void *block)
{
    if (!block || !n_live) return false;
    pthread_mutex_lock(&lock);
    bool known = set_remove(block);
    pthread_mutex_unlock(&lock);
    return known;
}

/* ---- the replaced functions --------------------------------------------------------------------------------------- */

void *malloc(size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    return must_fail(counted) ? NULL : made(counted, __libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    return must_fail(counted) ? NULL : made(counted, __libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    if (must_fail(counted)) return NULL;
    bool known = forget(block);
    void *moved = __libc_realloc(block, size);
    if (!moved && size) return made(known, block), NULL; /* the old block is as it was */
    return made(counted || known, moved);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    return must_fail(counted) ? NULL : made(counted, __libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    return must_fail(counted) ? NULL : made(counted, __libc_memalign(alignment, size));
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    bool counted = counts(__builtin_return_address(0));
    if (must_fail(counted)) return ENOMEM;
    void *fresh = made(counted, __libc_memalign(alignment, size));
    if (!fresh) return ENOMEM;
    *block = fresh;
    return 0;
}

void free(void *block)
{
    forget(block);
    __libc_free(block);
}

/* ---- for tests ---------------------------------------------------------------------------------------------------- */

void fail_alloc_arm(size_t n)
{
    n_ranges = 0;
    dl_iterate_phdr(add_ranges, NULL);
    countdown = n;
    n_made = 0;
    armed = true;
}

size_t fail_alloc_disarm(void)
{
    armed = false;
    return n_made;
}

size_t fail_alloc_live(void) { return n_live; }

size_t fail_alloc_every(krait_status (*body)(void *context, krait_error *error), void *context)
{
    krait_error error;
    const char *apart = getenv("KRAIT_FAIL_EVERY");
    const size_t step = apart ? strtoul(apart, NULL, 10) : 1;
    assert_true(step > 0);
    assert_int_equal(body(context, &error), KRAIT_OK); /* what is allocated once and kept, is allocated now */
    for (size_t n = 1;; n += step) {
        size_t live = fail_alloc_live();
        memset(&error, 0, sizeof error);
        fail_alloc_arm(n);
        krait_status status = body(context, &error);
        size_t allocations = fail_alloc_disarm();
        if (fail_alloc_live() != live)
            fail_msg("allocation %zu fails: %zu blocks leak (status %s: %s)", n, fail_alloc_live() - live,
                     krait_status_name(status), error.message);
        bool of_memory = status == KRAIT_ERROR_MEMORY || (status == KRAIT_ERROR_IO && strstr(error.message, strerror(ENOMEM)));
        if (status != KRAIT_OK && (!of_memory || !error.message[0] || error.status != status))
            fail_msg("allocation %zu fails: expected an error of memory, found %s: \"%s\"", n, krait_status_name(status),
                     error.message);
        if (allocations < n) {
            assert_int_equal(status, KRAIT_OK);
            return allocations;
        }
    }
}
