#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

krait_checkpoint *fixture_open(const char *folder, const char *name)
{
    char path[1024];
    krait_error error;
    krait_checkpoint *file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (krait_checkpoint_open(&file, path, &error) != KRAIT_OK) fail_msg("%s", error.message);
    return file;
}

static const kr_tensor *find(const krait_checkpoint *file, const char *name, size_t *count)
{
    const kr_tensor *tensor = kr_checkpoint_find(file, name);
    if (!tensor || !kr_tensor_count(tensor, count)) fail_msg("%s: no tensor %s", file->path, name);
    return tensor;
}

bool fixture_has(const krait_checkpoint *file, const char *name) { return kr_checkpoint_find(file, name) != NULL; }

float *fixture_floats(const krait_checkpoint *file, const char *name, size_t *count)
{
    size_t n;
    const kr_tensor *tensor = find(file, name, &n);
    float *values = malloc(n * sizeof *values + 1);
    assert_non_null(values);
    kr_tensor_to_float32(values, tensor);
    if (count) *count = n;
    return values;
}

int32_t *fixture_ids(const krait_checkpoint *file, const char *name, size_t *count)
{
    float *values = fixture_floats(file, name, count); /* ids are far below 2^24 */
    size_t n;
    find(file, name, &n);
    int32_t *ids = malloc(n * sizeof *ids + 1);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)values[i];
    free(values);
    return ids;
}

char *fixture_big_data(const char *path)
{
    const char *folder = getenv("KRAIT_DATA"), *ci = getenv("CI");
    char *full = folder && *folder ? kr_join_path(folder, path) : NULL;
    if (full && kr_exists(full)) return full;
    if (ci && *ci) fail_msg("%s is needed under CI: set KRAIT_DATA", path);
    print_message("skipped: %s is not there; set KRAIT_DATA to the folder of larger data\n", path);
    free(full);
    return NULL;
}

float largest_magnitude(const float *a, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(a[i]) <= most)) most = fabsf(a[i]);
    return most;
}

float largest_difference(const float *a, const float *b, size_t count)
{
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        float difference = fabsf(a[i] - b[i]);
        if (isnan(difference)) return INFINITY;
        if (difference > most) most = difference;
    }
    return most;
}

void assert_close(const char *what, const float *found, const float *expected, size_t count, double tolerance)
{
    double allowed = tolerance * (double)largest_magnitude(expected, count);
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= allowed))
            fail_msg("%s[%zu]: expected %g, found %g (allowed difference %g)", what, i, (double)expected[i], (double)found[i],
                     allowed);
}

void assert_ok_(krait_status status, const char *call, const krait_error *error, const char *file, int line)
{
    if (status != KRAIT_OK) fail_msg("%s:%d: %s: %s", file, line, call, error->message);
}
