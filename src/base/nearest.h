/* The word that somebody meant: for messages about unknown ones. */
#ifndef KR_BASE_NEAREST_H
#define KR_BASE_NEAREST_H

#include <stddef.h>

/* The nearest of `n` words within two edits, or NULL. */
const char *kr_nearest(const char *word, const char *const *words, size_t n);

#endif
