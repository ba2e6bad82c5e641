#include "text/vocabulary.h"

#include <string.h>

#include "base/hash.h"
#include "text/byte_level.h"

static uint64_t hash_bytes(const char *bytes, size_t length)
{
    uint64_t hash = kr_fnv1a(KR_FNV_START, bytes, length);
    return hash ^ hash >> 32;
}

/* The slot that holds the bytes, or the free one where they would go. */
static size_t find_slot(const kr_vocabulary *v, const char *bytes, size_t length)
{
    size_t slot = hash_bytes(bytes, length) & v->slot_mask;
    for (; v->slots[slot] >= 0; slot = (slot + 1) & v->slot_mask) {
        const kr_token *token = &v->tokens[v->slots[slot]];
        if (token->length == length && memcmp(token->bytes, bytes, length) == 0) break;
    }
    return slot;
}

int32_t kr_vocabulary_find(const kr_vocabulary *v, const char *bytes, size_t length)
{
    return v->slots[find_slot(v, bytes, length)];
}

bool kr_vocabulary_spell(const kr_tokenizer_json *json, char *bytes, size_t *n_bytes, kr_span text)
{
    if (!json->characters) return kr_byte_level_decode(bytes, n_bytes, text.text, text.length);
    if (text.length) memcpy(bytes, text.text, text.length);
    *n_bytes = text.length;
    return true;
}

static int shown(size_t length) { return length > 60 ? 60 : (int)length; }

static krait_status allocate(kr_vocabulary *v, kr_arena *arena, const kr_tokenizer_json *json, krait_error *error)
{
    for (size_t i = 0; i < json->n_vocab; i++)
        if ((size_t)json->vocab[i].id >= v->size) v->size = (size_t)json->vocab[i].id + 1;
    for (size_t i = 0; i < json->n_added; i++)
        if ((size_t)json->added[i].id >= v->size) v->size = (size_t)json->added[i].id + 1;
    size_t n_slots = 16;
    while (n_slots < 2 * json->n_vocab) n_slots *= 2;
    v->slot_mask = n_slots - 1;
    v->tokens = kr_arena_alloc(arena, v->size, sizeof *v->tokens);
    v->slots = kr_arena_alloc(arena, n_slots, sizeof *v->slots);
    if (!v->tokens || !v->slots) return kr_fail_memory(error, "vocabulary", v->size * sizeof *v->tokens);
    for (size_t i = 0; i < v->size; i++) v->tokens[i] = (kr_token){ 0 };
    for (size_t i = 0; i < n_slots; i++) v->slots[i] = -1;
    return KRAIT_OK;
}

static krait_status add_entry(kr_vocabulary *v, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                              const kr_vocab_entry *entry, krait_error *error)
{
    kr_token *token = &v->tokens[entry->id];
    if (token->bytes)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s[\"%.*s\"]: expected an id of its own, found %d again", name,
                       json->vocab_field, shown(entry->text.length), entry->text.text, entry->id);
    char *bytes = kr_arena_alloc(arena, entry->text.length, 1);
    if (!bytes || entry->text.length > UINT32_MAX) return kr_fail_memory(error, "a token", entry->text.length);
    size_t length;
    if (!kr_vocabulary_spell(json, bytes, &length, entry->text)) {
        /* Nothing that merging could reach. The file's own bytes mark it until add_added() finds it to be an added token. */
        *token = (kr_token){ .bytes = entry->text.text, .length = (uint32_t)entry->text.length };
        return KRAIT_OK;
    }
    *token = (kr_token){ .bytes = bytes, .length = (uint32_t)length };
    v->slots[find_slot(v, bytes, length)] = entry->id;
    return KRAIT_OK;
}

/* A token that the vocabulary has under the same id keeps the vocabulary's meaning: its text is in the byte-level alphabet. */
static krait_status add_added(kr_vocabulary *v, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                              const kr_added_token *added, krait_error *error)
{
    const kr_span text = added->text;
    kr_token *token = &v->tokens[added->id];
    if (token->added)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: \"%.*s\": expected an id of its own, found %d again", name,
                       json->added_field, shown(text.length), text.text, added->id);
    char *copy = kr_arena_alloc(arena, text.length, 1);
    if (!copy || text.length > UINT32_MAX) return kr_fail_memory(error, "an added token", text.length);
    size_t length;
    bool in_alphabet = kr_vocabulary_spell(json, copy, &length, text);
    int32_t known = in_alphabet ? kr_vocabulary_find(v, copy, length) : -1;
    if (known >= 0 && known != added->id)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s: \"%.*s\": expected its id in %s, %d, found %d", name,
                       json->added_field, shown(text.length), text.text, json->vocab_field, known, added->id);
    if (known < 0) {
        if (token->bytes && (token->length != text.length || memcmp(token->bytes, text.text, text.length) != 0))
            return kr_fail(error, KRAIT_ERROR_FORMAT,
                           "%s: %s: \"%.*s\": expected an id of its own, found %d, which "
                           "%s has for another token",
                           name, json->added_field, shown(text.length), text.text, added->id, json->vocab_field);
        memcpy(copy, text.text, text.length);
        *token = (kr_token){ .bytes = copy, .length = (uint32_t)text.length };
    }
    token->added = true;
    token->special = added->special;
    return KRAIT_OK;
}

krait_status kr_vocabulary_build(kr_vocabulary *v, kr_arena *arena, const char *name, const kr_tokenizer_json *json,
                                 krait_error *error)
{
    *v = (kr_vocabulary){ 0 };
    krait_status status = allocate(v, arena, json, error);
    for (size_t i = 0; !status && i < json->n_vocab; i++) status = add_entry(v, arena, name, json, &json->vocab[i], error);
    for (size_t i = 0; !status && i < json->n_added; i++) status = add_added(v, arena, name, json, &json->added[i], error);
    for (size_t i = 0; !status && i < json->n_vocab; i++) {
        const kr_vocab_entry *entry = &json->vocab[i];
        if (v->tokens[entry->id].bytes == entry->text.text)
            status = kr_fail(error, KRAIT_ERROR_FORMAT,
                             "%s: %s[\"%.*s\"]: expected characters of the byte-level alphabet, "
                             "or an added token, found another character",
                             name, json->vocab_field, shown(entry->text.length), entry->text.text);
    }
    return status;
}
