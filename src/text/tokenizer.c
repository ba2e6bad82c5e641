#include "text/tokenizer.h"

#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "formats/checkpoint.h"
#include "formats/gguf_tokenizer.h"
#include "krait/data.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/word_cache.h"

struct krait_tokenizer {
    kr_arena arena; /* of all that follows but the patterns */
    kr_vocabulary vocabulary;
    kr_bpe bpe;
    kr_added_tokens raw, normalized; /* looked for before and after normalisation */
    kr_normalizer normalizers[KR_MAX_NORMALIZERS];
    size_t n_normalizers;
    kr_pretokenizers pretokenizers;
};

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static krait_status build(krait_tokenizer *t, const char *name, const kr_tokenizer_json *json, krait_error *error)
{
    memcpy(t->normalizers, json->normalizers, sizeof t->normalizers);
    t->n_normalizers = json->n_normalizers;
    krait_status status = kr_vocabulary_build(&t->vocabulary, &t->arena, name, json, error);
    if (!status) status = kr_bpe_build(&t->bpe, &t->vocabulary, &t->arena, name, json, error);
    if (!status) status = kr_added_tokens_build(&t->raw, &t->arena, name, json, false, error);
    if (!status) status = kr_added_tokens_build(&t->normalized, &t->arena, name, json, true, error);
    return status ? status : kr_pretokenizers_build(&t->pretokenizers, name, json, error);
}

static krait_status create(krait_tokenizer **tokenizer, const char *name, const kr_tokenizer_json *json, krait_error *error)
{
    krait_tokenizer *result = kr_alloc_zero(1, sizeof *result);
    if (!result) return kr_fail_memory(error, "a tokenizer", sizeof *result);
    krait_status status = build(result, name, json, error);
    if (status)
        krait_tokenizer_free(result);
    else
        *tokenizer = result;
    return status;
}

/* The description in a file of either kind. */
static krait_status read_description(kr_tokenizer_json *json, kr_arena *arena, const char *name, const void *data, size_t size,
                                     krait_error *error)
{
    if (!kr_gguf_is(data, size)) return kr_tokenizer_json_read(json, arena, name, data, size, error);
    kr_file file;
    kr_gguf gguf;
    krait_status status = kr_file_borrow(&file, name, data, size, error);
    if (status) return status;
    status = kr_gguf_read(&gguf, arena, &file, error);
    if (!status && !kr_gguf_has_tokenizer(&gguf))
        status = kr_fail(error, KRAIT_ERROR_FORMAT, "%s: expected a tokenizer inside, found none", name);
    if (!status) status = kr_gguf_tokenizer_read(json, arena, &gguf, error);
    kr_file_close(&file);
    return status;
}

krait_status krait_tokenizer_load_memory(krait_tokenizer **tokenizer, const char *name, const void *data, size_t size,
                                         krait_error *error)
{
    if (!tokenizer) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a pointer, found NULL");
    *tokenizer = NULL;
    if (!data && size) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected data, found NULL");
    if (!name) name = "tokenizer.json";
    kr_arena arena = { 0 };
    kr_tokenizer_json json;
    krait_status status = read_description(&json, &arena, name, data ? data : "", size, error);
    if (!status) status = create(tokenizer, name, &json, error);
    kr_arena_free(&arena);
    return status;
}

krait_status krait_tokenizer_create(krait_tokenizer **tokenizer, const krait_checkpoint *checkpoint, krait_error *error)
{
    if (!tokenizer) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a pointer, found NULL");
    *tokenizer = NULL;
    if (!checkpoint) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a checkpoint, found NULL");
    const kr_file *file = kr_checkpoint_file(checkpoint, "tokenizer.json");
    bool inside = checkpoint->gguf && kr_gguf_has_tokenizer(checkpoint->gguf);
    if (!inside && !file)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "%s: expected a tokenizer.json, found none",
                       krait_checkpoint_path(checkpoint));
    if (!inside) return krait_tokenizer_load_memory(tokenizer, file->name, file->data, file->size, error);
    kr_arena arena = { 0 };
    kr_tokenizer_json json;
    krait_status status = kr_gguf_tokenizer_read(&json, &arena, checkpoint->gguf, error);
    if (!status) status = create(tokenizer, checkpoint->gguf->file, &json, error);
    kr_arena_free(&arena);
    return status;
}

krait_status krait_tokenizer_load(krait_tokenizer **tokenizer, const char *path, krait_error *error)
{
    if (!tokenizer) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a pointer, found NULL");
    *tokenizer = NULL;
    if (!path) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "tokenizer: expected a path, found NULL");
    char *joined = NULL;
    if (kr_is_folder(path)) {
        joined = kr_join_path(path, "tokenizer.json");
        if (!joined) return kr_fail_memory(error, "a path", strlen(path));
    }
    kr_file file = { 0 };
    krait_status status = kr_file_open(&file, joined ? joined : path, error);
    if (!status) status = krait_tokenizer_load_memory(tokenizer, file.name, file.data, file.size, error);
    kr_file_close(&file);
    kr_free(joined);
    return status;
}

void krait_tokenizer_free(krait_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    kr_pretokenizers_free(&tokenizer->pretokenizers);
    kr_arena_free(&tokenizer->arena);
    kr_free(tokenizer);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

/* One call of krait_tokenizer_encode(). */
typedef struct encoding {
    const krait_tokenizer *tokenizer;
    bool no_special;
    kr_ids ids;
    kr_buffer normalized;
    kr_cutting cutting;
    kr_word_cache cache;
    kr_bpe_scratch bpe;
    krait_error *error;
} encoding;

static krait_status encode_piece(void *user, const char *piece, size_t length)
{
    encoding *e = user;
    kr_cached_word *word = NULL;
    if (length <= KR_CACHED_BYTES) {
        krait_status status = kr_ids_reserve(&e->ids, KR_CACHED_IDS, e->error);
        if (status) return status;
        bool known;
        word = kr_word_cache_place(&e->cache, piece, length, &known);
        if (known) {
            memcpy(e->ids.data + e->ids.length, word->ids, sizeof word->ids);
            e->ids.length += word->n_ids;
            return KRAIT_OK;
        }
    }
    size_t before = e->ids.length;
    krait_status status = kr_bpe_encode(&e->tokenizer->bpe, &e->bpe, piece, length, &e->ids, e->error);
    size_t n = e->ids.length - before;
    if (!status && word && n <= KR_CACHED_IDS) {
        memcpy(word->ids, e->ids.data + before, n * sizeof *word->ids);
        word->n_ids = (uint32_t)n;
        word->length = (uint32_t)length;
    }
    return status;
}

typedef krait_status encoder(encoding *e, const char *text, size_t length, bool prefix);

static krait_status encode_pieces(encoding *e, const char *text, size_t length, bool prefix)
{
    return kr_cut(&e->cutting, text, length, prefix);
}

/* Encodes what is between the added tokens by `between`. */
static krait_status encode_around(encoding *e, const kr_added_tokens *added, encoder *between, const char *text, size_t length,
                                  bool prefix)
{
    size_t from = 0;
    kr_added_match match;
    while (kr_added_tokens_next(added, text, length, from, e->no_special, &match)) {
        krait_status status = between(e, text + from, match.begin - from, prefix);
        if (!status) status = kr_ids_reserve(&e->ids, 1, e->error);
        if (status) return status;
        e->ids.data[e->ids.length++] = match.id;
        from = match.end;
        prefix = true;
    }
    return between(e, text + from, length - from, prefix);
}

static krait_status encode_raw(encoding *e, const char *text, size_t length, bool prefix)
{
    if (length == 0) return KRAIT_OK;
    const krait_tokenizer *t = e->tokenizer;
    krait_status status = kr_normalize(&text, &length, &e->normalized, t->normalizers, t->n_normalizers, text, length, e->error);
    return status ? status : encode_around(e, &t->normalized, encode_pieces, text, length, prefix);
}

/* Each run of bytes that are no UTF-8 is a piece of its own, and the text on both sides is encoded as if it stood alone. */
static krait_status encode_text(encoding *e, const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t valid = kr_utf8_valid_prefix(text + i, length - i);
        krait_status status = encode_around(e, &e->tokenizer->raw, encode_raw, text + i, valid, i == 0);
        if (status) return status;
        i += valid;
        size_t end = i;
        uint32_t character;
        while (end < length && kr_utf8_next(text + end, length - end, &character) == 0) end++;
        if (end > i) status = encode_piece(e, text + i, end - i);
        if (status) return status;
        i = end;
    }
    return KRAIT_OK;
}

krait_status krait_tokenizer_encode(const krait_tokenizer *tokenizer, const char *text, size_t length,
                                    const krait_encode_options *options, int32_t **ids, size_t *n_ids, krait_error *error)
{
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    if (!tokenizer || !ids || !n_ids || (!text && length))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "encode: expected a tokenizer, text, ids and n_ids, found NULL");
    if (length == 0) return KRAIT_OK;
    encoding e = { .tokenizer = tokenizer, .no_special = options && options->no_special, .error = error };
    e.cutting = (kr_cutting){ .pretokenizers = &tokenizer->pretokenizers, .on_piece = encode_piece, .user = &e, .error = error };
    krait_status status = kr_word_cache_create(&e.cache, length, error);
    if (!status) status = kr_ids_reserve(&e.ids, length / 4 + 8, error);
    if (!status) status = encode_text(&e, text, length);
    kr_cutting_free(&e.cutting);
    kr_bpe_scratch_free(&e.bpe);
    kr_word_cache_free(&e.cache);
    kr_free(e.normalized.data);
    if (status || e.ids.length == 0) {
        kr_free(e.ids.data);
        return status;
    }
    int32_t *exact = kr_realloc(e.ids.data, e.ids.length, sizeof *exact);
    *ids = exact ? exact : e.ids.data;
    *n_ids = e.ids.length;
    return KRAIT_OK;
}

/* ---- decoding and the vocabulary --------------------------------------------------------------------------------- */

const kr_token *kr_tokenizer_find(const krait_tokenizer *tokenizer, int32_t id)
{
    if (id < 0 || (size_t)id >= tokenizer->vocabulary.size) return NULL;
    const kr_token *token = &tokenizer->vocabulary.tokens[id];
    return token->bytes ? token : NULL;
}

krait_status krait_tokenizer_decode(const krait_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool keep_special,
                                    char **text, size_t *length, krait_error *error)
{
    if (text) *text = NULL;
    if (length) *length = 0;
    if (!tokenizer || !text || !length || (!ids && n_ids))
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decode: expected a tokenizer, ids, text and length, found NULL");
    size_t total = 1;
    for (size_t i = 0; i < n_ids; i++) {
        const kr_token *token = kr_tokenizer_find(tokenizer, ids[i]);
        if (!token)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decode: ids[%zu]: expected an id of the tokenizer, below %zu, found %d",
                           i, tokenizer->vocabulary.size, ids[i]);
        if (!kr_add(total, token->length, &total)) return kr_fail_memory(error, "text", total);
    }
    char *result = kr_realloc(NULL, total, 1);
    if (!result) return kr_fail_memory(error, "text", total);
    size_t used = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const kr_token *token = kr_tokenizer_find(tokenizer, ids[i]);
        if (token->special && !keep_special) continue;
        memcpy(result + used, token->bytes, token->length);
        used += token->length;
    }
    result[used] = '\0';
    *text = result;
    *length = used;
    return KRAIT_OK;
}

size_t krait_tokenizer_vocab_size(const krait_tokenizer *tokenizer) { return tokenizer ? tokenizer->vocabulary.size : 0; }

const char *krait_tokenizer_token(const krait_tokenizer *tokenizer, int32_t id, size_t *length)
{
    const kr_token *token = tokenizer ? kr_tokenizer_find(tokenizer, id) : NULL;
    if (length) *length = token ? token->length : 0;
    return token ? token->bytes : NULL;
}

bool krait_tokenizer_is_special(const krait_tokenizer *tokenizer, int32_t id)
{
    const kr_token *token = tokenizer ? kr_tokenizer_find(tokenizer, id) : NULL;
    return token && token->special;
}

static int32_t find_added(const krait_tokenizer *t, const kr_added_tokens *added, const char *bytes, size_t length)
{
    for (size_t i = 0; i < added->n; i++) {
        const kr_token *token = &t->vocabulary.tokens[added->tokens[i].id];
        if (token->length == length && memcmp(token->bytes, bytes, length) == 0) return added->tokens[i].id;
    }
    return -1;
}

int32_t krait_tokenizer_id(const krait_tokenizer *tokenizer, const char *token, size_t length)
{
    if (!tokenizer || (!token && length)) return -1;
    if (!token) token = "";
    int32_t id = find_added(tokenizer, &tokenizer->raw, token, length);
    if (id < 0) id = find_added(tokenizer, &tokenizer->normalized, token, length);
    return id < 0 ? kr_vocabulary_find(&tokenizer->vocabulary, token, length) : id;
}

uint64_t krait_tokenizer_fingerprint(const krait_tokenizer *tokenizer)
{
    if (!tokenizer) return 0;
    const kr_vocabulary *v = &tokenizer->vocabulary;
    unsigned char number[9];
    for (size_t i = 0; i < 8; i++) number[i] = (unsigned char)((uint64_t)v->size >> 8 * i);
    uint64_t hash = kr_fnv1a(KR_FNV_START, number, 8);
    for (size_t id = 0; id < v->size; id++) {
        const kr_token *token = &v->tokens[id];
        if (!token->bytes) continue;
        for (size_t i = 0; i < 8; i++) number[i] = (unsigned char)((i < 4 ? id : token->length) >> 8 * (i % 4));
        number[8] = token->special;
        hash = kr_fnv1a(hash, number, sizeof number);
        hash = kr_fnv1a(hash, token->bytes, token->length);
    }
    return hash;
}
