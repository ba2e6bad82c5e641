#include "base/nearest.h"

#include <stdint.h>
#include <string.h>

#define LONGEST 64

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Levenshtein's distance; words longer than the row are as far as can be. */
static size_t edits(const char *a, const char *b)
{
    size_t row[LONGEST];
    size_t na = strlen(a), nb = strlen(b);
    if (na >= LONGEST || nb >= LONGEST) return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = least(substituted, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[nb];
}

const char *kr_nearest(const char *word, const char *const *words, size_t n)
{
    const char *nearest = NULL;
    size_t distance = least(3, strlen(word)); /* a one-letter word is near nothing but itself */
    for (size_t i = 0; i < n; i++) {
        size_t d = edits(word, words[i]);
        if (d < distance) {
            distance = d;
            nearest = words[i];
        }
    }
    return nearest;
}
