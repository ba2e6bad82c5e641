/* Reference vectors: tensors of a safetensors file, as float32 or integers, whatever they are stored in. */
#ifndef KRAIT_TESTS_FIXTURE_H
#define KRAIT_TESTS_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"

/* cmocka.h wants these, in this order, before it. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Opens folder/name; a missing file fails the test. */
krait_checkpoint *fixture_open(const char *folder, const char *name);
/* All elements of a tensor; fails the test when there is none of that name. Free with free(). */
float *fixture_floats(const krait_checkpoint *file, const char *name, size_t *count);
int32_t *fixture_ids(const krait_checkpoint *file, const char *name, size_t *count);
bool fixture_has(const krait_checkpoint *file, const char *name);

/* A file or folder below $KRAIT_DATA, or NULL without that variable: then the test prints why and must return skip() (under CI it
 * fails instead). Free with free(). */
char *fixture_big_data(const char *path);
/* Use at the start of a test that needs it. */
#define NEEDS_BIG_DATA(variable, path)       \
    char *variable = fixture_big_data(path); \
    if (!variable) skip()

/* Use at the start of a test that this sanitizer rules out, with the reason, which is printed. */
#ifndef __has_feature /* clang's and newer gcc's */
#define __has_feature(name) 0
#endif
#define SKIP_SANITIZED(sanitizer, why)                                   \
    do {                                                                 \
        print_message("skipped: the " sanitizer " sanitizer %s\n", why); \
        skip();                                                          \
    } while (0)
#if __has_feature(thread_sanitizer) || defined(__SANITIZE_THREAD__)
#define NOT_UNDER_THREAD_SANITIZER(why) SKIP_SANITIZED("thread", why)
#else
#define NOT_UNDER_THREAD_SANITIZER(why) (void)0
#endif
#if __has_feature(address_sanitizer) || defined(__SANITIZE_ADDRESS__)
#define NOT_UNDER_ADDRESS_SANITIZER(why) SKIP_SANITIZED("address", why)
#else
#define NOT_UNDER_ADDRESS_SANITIZER(why) (void)0
#endif

/* Largest |a - b|, and largest |b|. A NaN in either counts as infinite. */
float largest_difference(const float *a, const float *b, size_t count);
float largest_magnitude(const float *a, size_t count);
/* Fails with `what` unless |found - expected| <= tolerance * largest |expected| everywhere. */
void assert_close(const char *what, const float *found, const float *expected, size_t count, double tolerance);

/* Fails with the message of `error` unless `status` is KRAIT_OK. */
#define assert_ok(call) assert_ok_(call, #call, &error, __FILE__, __LINE__)
void assert_ok_(krait_status status, const char *call, const krait_error *error, const char *file, int line);

#endif
