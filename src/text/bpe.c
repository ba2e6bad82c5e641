#include "text/bpe.h"

#include <string.h>

#include "base/utf8.h"

/* Pieces of up to so many bytes, which is all but a few, are merged in a plain array. */
enum { SHORT_PIECE = 48 };

/* Longer ones in windows of so many tokens, which stay in a core's first cache. */
enum { WINDOW = 2048 };

/* ---- building ---------------------------------------------------------------------------------------------------- */

static int shown(size_t length) { return length > 60 ? 60 : (int)length; }

/* The id of left followed by right, as the file spells them; -1: unknown. right may be empty. */
static int32_t find_text(const kr_vocabulary *vocabulary, const kr_tokenizer_json *json, char *bytes, kr_span left, kr_span right)
{
    size_t n_left, n_right;
    if (!kr_vocabulary_spell(json, bytes, &n_left, left) || !kr_vocabulary_spell(json, bytes + n_left, &n_right, right))
        return -1;
    return kr_vocabulary_find(vocabulary, bytes, n_left + n_right);
}

static krait_status add_merge(kr_bpe *bpe, kr_buffer *scratch, const char *name, const kr_tokenizer_json *json, size_t rank,
                              krait_error *error)
{
    const kr_merge_entry *entry = &json->merges[rank];
    krait_status status = kr_buffer_reserve(scratch, entry->left.length + entry->right.length, error);
    if (status) return status;
    const kr_span none = { "", 0 };
    const kr_vocabulary *vocabulary = bpe->vocabulary;
    int32_t left = find_text(vocabulary, json, scratch->data, entry->left, none),
            right = find_text(vocabulary, json, scratch->data, entry->right, none),
            merged = find_text(vocabulary, json, scratch->data, entry->left, entry->right);
    if (left < 0 || right < 0 || merged < 0) {
        const kr_span *unknown = left >= 0 && right < 0 ? &entry->right : &entry->left,
                      *rest = left >= 0 && right >= 0 ? &entry->right : &none;
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: %s[%zu]: expected tokens of %s, found \"%.*s%.*s\"", name,
                       json->merges_field, rank, json->vocab_field, shown(unknown->length), unknown->text, shown(rest->length),
                       rest->text);
    }
    kr_merge *merge = kr_bpe_find_merge(bpe, (uint32_t)left, (uint32_t)right);
    *merge = (kr_merge){ (uint32_t)left, (uint32_t)right, (uint32_t)rank, (uint32_t)merged };
    return KRAIT_OK;
}

static krait_status find_bytes(kr_bpe *bpe, kr_buffer *scratch, const char *name, const kr_tokenizer_json *json,
                               krait_error *error)
{
    int missing = -1;
    for (int byte = 255; byte >= 0; byte--) {
        bpe->byte_ids[byte] = kr_vocabulary_find(bpe->vocabulary, &(char){ (char)byte }, 1);
        if (bpe->byte_ids[byte] < 0) missing = byte;
    }
    bpe->unk_id = -1;
    if (missing < 0 && !json->characters) return KRAIT_OK;
    if (json->byte_fallback && json->characters)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: model.byte_fallback: expected false, as pre_tokenizer has no ByteLevel, found true", name);
    if (json->byte_fallback)
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED,
                       "%s: model.byte_fallback: expected false, as model.vocab has no token for byte 0x%02x, found true", name,
                       missing);
    if (!json->unk_token.text) return KRAIT_OK;
    krait_status status = kr_buffer_reserve(scratch, json->unk_token.length, error);
    if (status) return status;
    bpe->unk_id = find_text(bpe->vocabulary, json, scratch->data, json->unk_token, (kr_span){ "", 0 });
    if (bpe->unk_id < 0)
        return kr_fail(error, KRAIT_ERROR_FORMAT, "%s: model.unk_token: expected a token of model.vocab, found \"%.*s\"", name,
                       shown(json->unk_token.length), json->unk_token.text);
    return KRAIT_OK;
}

krait_status kr_bpe_build(kr_bpe *bpe, const kr_vocabulary *vocabulary, kr_arena *arena, const char *name,
                          const kr_tokenizer_json *json, krait_error *error)
{
    size_t n_slots = 16;
    while (n_slots < 2 * json->n_merges) n_slots *= 2;
    *bpe = (kr_bpe){ .vocabulary = vocabulary,
                     .merges = kr_arena_alloc(arena, n_slots, sizeof *bpe->merges),
                     .merge_mask = n_slots - 1,
                     .fuse_unk = json->fuse_unk,
                     .ignore_merges = json->ignore_merges,
                     .none = json->n_merges == 0,
                     .characters = json->characters };
    if (!bpe->merges) return kr_fail_memory(error, "merges", n_slots * sizeof *bpe->merges);
    for (size_t i = 0; i < n_slots; i++) bpe->merges[i].rank = KR_NO_RANK;
    kr_buffer scratch = { 0 };
    krait_status status = find_bytes(bpe, &scratch, name, json, error);
    for (size_t i = 0; !status && i < json->n_merges; i++) status = add_merge(bpe, &scratch, name, json, i, error);
    kr_free(scratch.data);
    return status;
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

/* Writes the piece's bytes, or characters, as tokens; returns how many, which is less than `length` with fuse_unk and of characters.
 * 0: what begins with *missing has none. */
static size_t first_tokens(const kr_bpe *bpe, const char *piece, size_t length, uint32_t *tokens, unsigned char *missing)
{
    size_t n = 0;
    bool unknown_before = false;
    for (size_t i = 0, step = 1; i < length; i += step) {
        *missing = (unsigned char)piece[i];
        int32_t id = bpe->byte_ids[*missing];
        if (bpe->characters && *missing >= 0x80) {
            uint32_t character;
            step = kr_utf8_next(piece + i, length - i, &character);
            if (step == 0) step = 1;
            id = kr_vocabulary_find(bpe->vocabulary, piece + i, step);
        } else {
            step = 1;
        }
        bool unknown = id < 0;
        if (unknown) id = bpe->unk_id;
        if (id < 0) return 0;
        if (unknown && unknown_before && bpe->fuse_unk) continue;
        tokens[n++] = (uint32_t)id;
        unknown_before = unknown;
    }
    return n;
}

/* Merges tokens[0..n) in place, n <= SHORT_PIECE; returns how many are left. ranks[i] is that of the pair (i, i + 1). */
static size_t merge_short(const kr_bpe *bpe, uint32_t *tokens, size_t n)
{
    uint32_t ranks[SHORT_PIECE];
    for (size_t i = 0; i + 1 < n; i++) ranks[i] = kr_bpe_find_merge(bpe, tokens[i], tokens[i + 1])->rank;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == KR_NO_RANK) break;
        tokens[best] = kr_bpe_find_merge(bpe, tokens[best], tokens[best + 1])->id;
        n--;
        memmove(tokens + best + 1, tokens + best + 2, (n - best - 1) * sizeof *tokens);
        if (best + 1 < n) memmove(ranks + best + 1, ranks + best + 2, (n - best - 2) * sizeof *ranks);
        if (best > 0) ranks[best - 1] = kr_bpe_find_merge(bpe, tokens[best - 1], tokens[best])->rank;
        if (best + 1 < n) ranks[best] = kr_bpe_find_merge(bpe, tokens[best], tokens[best + 1])->rank;
    }
    return n;
}

krait_status kr_bpe_encode(const kr_bpe *bpe, kr_bpe_scratch *scratch, const char *piece, size_t length, kr_ids *ids,
                           krait_error *error)
{
    if (length == 0) return KRAIT_OK;
    krait_status status = kr_ids_reserve(ids, length, error);
    if (status) return status;
    int32_t whole = bpe->ignore_merges ? kr_vocabulary_find(bpe->vocabulary, piece, length) : -1;
    if (whole >= 0) {
        ids->data[ids->length++] = whole;
        return KRAIT_OK;
    }
    /* A long piece's tokens are merged where the ids will be. */
    uint32_t few[SHORT_PIECE], *tokens = length <= SHORT_PIECE ? few : (uint32_t *)(ids->data + ids->length);
    unsigned char missing = 0;
    size_t n = first_tokens(bpe, piece, length, tokens, &missing);
    if (n == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "text: expected bytes that the tokenizer has tokens for, found 0x%02x",
                       missing);
    if (length <= SHORT_PIECE) {
        n = merge_short(bpe, tokens, n);
        for (size_t i = 0; i < n; i++) ids->data[ids->length + i] = (int32_t)tokens[i];
    } else {
        bool done = bpe->none;
        for (size_t window = WINDOW; !status && !done; window *= 8) {
            n = first_tokens(bpe, piece, length, tokens, &missing);
            status = kr_bpe_merge_long(bpe, scratch, window, tokens, &n, &done, error);
        }
    }
    if (!status) ids->length += n;
    return status;
}
