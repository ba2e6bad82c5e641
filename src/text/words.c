#include "text/words.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void kr_words_free(kr_words *words)
{
    kr_free(words->bytes.data);
    kr_free(words->words);
    kr_free(words->slots);
    *words = (kr_words){ 0 };
}

static size_t find_slot(const kr_words *w, const char *bytes, size_t length)
{
    uint64_t hash = kr_fnv1a(KR_FNV_START, bytes, length);
    size_t slot = (size_t)(hash ^ hash >> 32) & (w->n_slots - 1);
    for (; w->slots[slot]; slot = (slot + 1) & (w->n_slots - 1)) {
        const kr_word *word = &w->words[w->slots[slot] - 1];
        if (word->length == length && memcmp(w->bytes.data + word->offset, bytes, length) == 0) break;
    }
    return slot;
}

static krait_status grow(kr_words *w, krait_error *error)
{
    size_t capacity = w->capacity ? 2 * w->capacity : 1024;
    if (capacity > UINT32_MAX / 2) return kr_fail_memory(error, "words", capacity);
    kr_word *words = kr_realloc(w->words, capacity, sizeof *words);
    if (!words) return kr_fail_memory(error, "words", capacity * sizeof *words);
    w->words = words;
    uint32_t *slots = kr_alloc_zero(2 * capacity, sizeof *slots);
    if (!slots) return kr_fail_memory(error, "words", 2 * capacity * sizeof *slots);
    kr_free(w->slots);
    w->slots = slots;
    w->n_slots = 2 * capacity;
    w->capacity = capacity;
    for (size_t i = 0; i < w->n; i++) slots[find_slot(w, w->bytes.data + words[i].offset, words[i].length)] = (uint32_t)i + 1;
    return KRAIT_OK;
}

krait_status kr_words_add(kr_words *w, const char *bytes, size_t length, uint64_t count, krait_error *error)
{
    krait_status status = w->n == w->capacity ? grow(w, error) : KRAIT_OK;
    if (status) return status;
    size_t slot = find_slot(w, bytes, length);
    if (!w->slots[slot]) {
        status = kr_buffer_reserve(&w->bytes, length, error);
        if (status) return status;
        if (length) memcpy(w->bytes.data + w->bytes.length, bytes, length);
        w->words[w->n++] = (kr_word){ .offset = w->bytes.length, .length = length };
        w->bytes.length += length;
        w->slots[slot] = (uint32_t)w->n;
    }
    w->words[w->slots[slot] - 1].count += count;
    w->n_met += count;
    return KRAIT_OK;
}
