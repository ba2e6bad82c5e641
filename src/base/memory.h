/* Allocation: aligned blocks, overflow-checked sizes, and arenas, one per lifetime. Everything the library allocates
 * comes from here, so that a test can make each allocation fail. */
#ifndef KR_BASE_MEMORY_H
#define KR_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* A cache line, and the widest vector. */
#define KR_ALIGNMENT 64

/* false if a*b or a+b does not fit. */
static inline bool kr_mul(size_t a, size_t b, size_t *product) { return !__builtin_mul_overflow(a, b, product); }
static inline bool kr_add(size_t a, size_t b, size_t *sum) { return !__builtin_add_overflow(a, b, sum); }

/* count * size bytes aligned to KR_ALIGNMENT, uninitialised or zeroed; NULL when they cannot be had or the product does not
 * fit. A count of 0 gives a block of its own. Free with kr_free(). */
void *kr_alloc(size_t count, size_t size);
void *kr_alloc_zero(size_t count, size_t size);
/* Grows or shrinks a block of kr_realloc() (or makes one of NULL); free it with kr_free() too. On failure NULL, and the old block is as it was. */
void *kr_realloc(void *block, size_t count, size_t size);
void kr_free(void *block);
/* A copy of `length` bytes with a NUL behind. */
char *kr_strndup(const char *text, size_t length);

/* Bump allocation in growing blocks, freed all at once. A zeroed kr_arena is empty and ready. */
typedef struct kr_arena {
    struct kr_arena_block *block;
    size_t total; /* bytes held from the system */
} kr_arena;

/* count * size bytes aligned to 16, not initialised; NULL on failure. */
void *kr_arena_alloc(kr_arena *arena, size_t count, size_t size);
void kr_arena_free(kr_arena *arena);

#endif
