#include "formats/tokenizer_json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* Where in the file we are, for messages: "pre_tokenizer.pretokenizers[1].pattern". */
typedef struct reader {
    kr_tokenizer_json *result;
    kr_arena *arena;
    const char *name;
    krait_error *error;
} reader;

/* Enough for the paths we make; a longer one is cut in the message. */
typedef struct path {
    char text[160];
} path;

__attribute__((format(printf, 2, 3))) static path below(const path *parent, const char *format, ...)
{
    path result = *parent;
    size_t used = strlen(result.text);
    va_list args;
    va_start(args, format);
    vsnprintf(result.text + used, sizeof result.text - used, format, args);
    va_end(args);
    if (!used && result.text[0] == '.') memmove(result.text, result.text + 1, sizeof result.text - 1);
    return result;
}

/* How many bytes of a string from the file go into a message. */
static int shown(size_t length) { return length > 60 ? 60 : (int)length; }

static krait_status wrong(const reader *r, krait_status status, const path *where, const char *expected, const kr_json *found)
{
    if (!found) return kr_fail(r->error, status, "%s: %s: expected %s, found nothing", r->name, where->text, expected);
    if (found->type == KR_JSON_STRING)
        return kr_fail(r->error, status, "%s: %s: expected %s, found \"%.*s\"", r->name, where->text, expected,
                       shown(found->length), found->string);
    if (found->type == KR_JSON_INTEGER)
        return kr_fail(r->error, status, "%s: %s: expected %s, found %" PRId64, r->name, where->text, expected, found->integer);
    if (found->type == KR_JSON_BOOL)
        return kr_fail(r->error, status, "%s: %s: expected %s, found %s", r->name, where->text, expected,
                       found->boolean ? "true" : "false");
    return kr_fail(r->error, status, "%s: %s: expected %s, found %s", r->name, where->text, expected,
                   found->type == KR_JSON_NULL ? "null" : kr_json_type_name(found->type));
}

static bool absent(const kr_json *value) { return !value || value->type == KR_JSON_NULL; }

static krait_status read_bool(const reader *r, const path *where, const kr_json *object, const char *key, bool missing,
                              bool *value)
{
    const kr_json *member = kr_json_get(object, key);
    *value = missing;
    if (absent(member)) return KRAIT_OK;
    path at = below(where, ".%s", key);
    if (member->type != KR_JSON_BOOL) return wrong(r, KRAIT_ERROR_FORMAT, &at, "a boolean", member);
    *value = member->boolean;
    return KRAIT_OK;
}

static krait_status read_id(const reader *r, const path *at, const kr_json *value, int32_t *id)
{
    if (!value || value->type != KR_JSON_INTEGER || value->integer < 0 || value->integer > KR_MAX_TOKEN_ID) {
        char expected[64];
        snprintf(expected, sizeof expected, "an id from 0 to %d", KR_MAX_TOKEN_ID);
        return wrong(r, KRAIT_ERROR_FORMAT, at, expected, value);
    }
    *id = (int32_t)value->integer;
    return KRAIT_OK;
}

/* The object's "type", which must be a string. */
static krait_status read_type(const reader *r, const path *where, const kr_json *object, const kr_json **type)
{
    *type = kr_json_get(object, "type");
    if (object->type != KR_JSON_OBJECT) return wrong(r, KRAIT_ERROR_FORMAT, where, "an object or null", object);
    path at = below(where, ".type");
    if (!*type || (*type)->type != KR_JSON_STRING) return wrong(r, KRAIT_ERROR_FORMAT, &at, "a string", *type);
    return KRAIT_OK;
}

typedef krait_status part_reader(reader *r, const path *where, const kr_json *part);

/* Calls read for each element of the array that a Sequence keeps under `key`. */
static krait_status read_sequence(reader *r, const path *where, const kr_json *sequence, const char *key, part_reader *read)
{
    const kr_json *list = kr_json_get(sequence, key);
    path at = below(where, ".%s", key);
    if (!list || list->type != KR_JSON_ARRAY) return wrong(r, KRAIT_ERROR_FORMAT, &at, "an array", list);
    size_t i = 0;
    for (const kr_json *part = list->first; part; part = part->next) {
        path element = below(&at, "[%zu]", i++);
        krait_status status = read(r, &element, part);
        if (status) return status;
    }
    return KRAIT_OK;
}

/* ---- normalizer, post_processor, decoder ------------------------------------------------------------------------- */

static krait_status read_normalizer(reader *r, const path *where, const kr_json *value)
{
    if (absent(value)) return KRAIT_OK;
    const kr_json *type;
    krait_status status = read_type(r, where, value, &type);
    if (status) return status;
    if (kr_json_is(type, "Sequence")) return read_sequence(r, where, value, "normalizers", read_normalizer);
    static const char *const names[] = { "NFC", "NFD", "NFKC", "NFKD" }; /* in the order of kr_normalizer */
    size_t kind = 0;
    while (kind < 4 && !kr_json_is(type, names[kind])) kind++;
    path at = below(where, ".type");
    if (kind == 4) return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "NFC, NFD, NFKC, NFKD or Sequence", type);
    if (r->result->n_normalizers == KR_MAX_NORMALIZERS)
        return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "at most 8 normalizers", type);
    r->result->normalizers[r->result->n_normalizers++] = (kr_normalizer)kind;
    return KRAIT_OK;
}

/* All of these add special tokens or move offsets, and neither concerns us. */
static krait_status check_post_processor(reader *r, const path *where, const kr_json *value)
{
    if (absent(value)) return KRAIT_OK;
    const kr_json *type;
    krait_status status = read_type(r, where, value, &type);
    if (status) return status;
    if (kr_json_is(type, "Sequence")) return read_sequence(r, where, value, "processors", check_post_processor);
    static const char *const names[] = { "ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (kr_json_is(type, names[i])) return KRAIT_OK;
    path at = below(where, ".type");
    return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing or Sequence",
                 type);
}

/* Fuse joins the tokens' texts, which decoding does anyway. Without any decoder the texts of characters would have spaces between
 * them; of bytes that is not meant. */
static krait_status check_decoder(reader *r, const path *where, const kr_json *value)
{
    bool characters = r->result->characters;
    if (absent(value) && !characters) return KRAIT_OK;
    if (absent(value)) return wrong(r, KRAIT_ERROR_UNSUPPORTED, where, "Fuse, as pre_tokenizer has no ByteLevel", value);
    const kr_json *type;
    krait_status status = read_type(r, where, value, &type);
    if (status) return status;
    if (kr_json_is(type, "Sequence")) return read_sequence(r, where, value, "decoders", check_decoder);
    if ((kr_json_is(type, "ByteLevel") && !characters) || kr_json_is(type, "Fuse")) return KRAIT_OK;
    path at = below(where, ".type");
    if (characters) return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "Fuse or Sequence, as pre_tokenizer has no ByteLevel", type);
    return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "ByteLevel, Fuse or Sequence", type);
}

/* ---- pre_tokenizer ----------------------------------------------------------------------------------------------- */

static krait_status read_behavior(const reader *r, const path *where, const kr_json *object, kr_split_behavior *behavior)
{
    /* In the order of kr_split_behavior. */
    static const char *const names[] = { "Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous" };
    const kr_json *value = kr_json_get(object, "behavior");
    if (value && value->type == KR_JSON_STRING)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (kr_json_is(value, names[i])) {
                *behavior = (kr_split_behavior)i;
                return KRAIT_OK;
            }
    path at = below(where, ".behavior");
    return wrong(r, KRAIT_ERROR_FORMAT, &at, "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous", value);
}

static krait_status read_split(reader *r, const path *where, const kr_json *value, kr_pretokenizer *split)
{
    const kr_json *pattern = kr_json_get(value, "pattern"), *string = kr_json_get(pattern, "String"),
                  *text = string ? string : kr_json_get(pattern, "Regex");
    path at = below(where, ".pattern");
    if (!text || text->type != KR_JSON_STRING)
        return wrong(r, KRAIT_ERROR_FORMAT, &at, "{\"Regex\": string} or {\"String\": string}", text ? text : pattern);
    split->pattern = (kr_span){ text->string, text->length };
    split->literal = string != NULL;
    krait_status status = read_bool(r, where, value, "invert", false, &split->invert);
    return status ? status : read_behavior(r, where, value, &split->behavior);
}

static krait_status read_pretokenizer(reader *r, const path *where, const kr_json *value)
{
    if (absent(value)) return KRAIT_OK;
    const kr_json *type;
    krait_status status = read_type(r, where, value, &type);
    if (status) return status;
    if (kr_json_is(type, "Sequence")) return read_sequence(r, where, value, "pretokenizers", read_pretokenizer);
    path at = below(where, ".type");
    kr_pretokenizer step = { 0 };
    if (kr_json_is(type, "ByteLevel")) {
        step.type = KR_PRETOKENIZER_BYTE_LEVEL;
        for (size_t i = 0; i < r->result->n_pretokenizers; i++)
            if (r->result->pretokenizers[i].type == step.type)
                return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "ByteLevel once", type);
        status = read_bool(r, where, value, "add_prefix_space", false, &step.add_prefix_space);
        if (!status) status = read_bool(r, where, value, "use_regex", true, &step.use_regex);
    } else if (kr_json_is(type, "Split")) {
        step.type = KR_PRETOKENIZER_SPLIT;
        status = read_split(r, where, value, &step);
    } else if (kr_json_is(type, "Digits")) {
        step.type = KR_PRETOKENIZER_DIGITS;
        bool individual;
        status = read_bool(r, where, value, "individual_digits", false, &individual);
        step.behavior = individual ? KR_SPLIT_ISOLATED : KR_SPLIT_CONTIGUOUS;
    } else if (kr_json_is(type, "Punctuation")) {
        step.type = KR_PRETOKENIZER_PUNCTUATION;
        step.behavior = KR_SPLIT_ISOLATED;
        if (kr_json_get(value, "behavior")) status = read_behavior(r, where, value, &step.behavior);
    } else {
        return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "ByteLevel, Split, Digits, Punctuation or Sequence", type);
    }
    if (status) return status;
    if (r->result->n_pretokenizers == KR_MAX_PRETOKENIZERS)
        return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "at most 32 pre-tokenizers", type);
    r->result->pretokenizers[r->result->n_pretokenizers++] = step;
    return KRAIT_OK;
}

/* Without ByteLevel the tokens are of characters, not of bytes. */
static krait_status read_pretokenizers(reader *r, const kr_json *value)
{
    path at = { "pre_tokenizer" };
    krait_status status = read_pretokenizer(r, &at, value);
    if (status) return status;
    r->result->characters = true;
    for (size_t i = 0; i < r->result->n_pretokenizers; i++)
        if (r->result->pretokenizers[i].type == KR_PRETOKENIZER_BYTE_LEVEL) r->result->characters = false;
    return KRAIT_OK;
}

/* ---- added_tokens ------------------------------------------------------------------------------------------------ */

static krait_status read_added_token(reader *r, const path *where, const kr_json *value)
{
    if (value->type != KR_JSON_OBJECT) return wrong(r, KRAIT_ERROR_FORMAT, where, "an object", value);
    const kr_json *content = kr_json_get(value, "content");
    path at = below(where, ".content");
    if (!content || content->type != KR_JSON_STRING || content->length == 0)
        return wrong(r, KRAIT_ERROR_FORMAT, &at, "a string that is not empty", content);
    kr_added_token token = { .text = { content->string, content->length } };
    at = below(where, ".id");
    krait_status status = read_id(r, &at, kr_json_get(value, "id"), &token.id);
    if (!status) status = read_bool(r, where, value, "special", false, &token.special);
    if (!status) status = read_bool(r, where, value, "normalized", !token.special, &token.normalized);
    if (!status) status = read_bool(r, where, value, "lstrip", false, &token.lstrip);
    if (!status) status = read_bool(r, where, value, "rstrip", false, &token.rstrip);
    if (!status) status = read_bool(r, where, value, "single_word", false, &token.single_word);
    if (!status) r->result->added[r->result->n_added++] = token;
    return status;
}

static krait_status read_added_tokens(reader *r, const kr_json *root)
{
    const kr_json *list = kr_json_get(root, "added_tokens");
    if (absent(list)) return KRAIT_OK;
    if (list->type != KR_JSON_ARRAY) return wrong(r, KRAIT_ERROR_FORMAT, &(path){ "added_tokens" }, "an array", list);
    r->result->added = kr_arena_alloc(r->arena, list->length, sizeof *r->result->added);
    if (!r->result->added) return kr_fail_memory(r->error, "added tokens", list->length * sizeof *r->result->added);
    return read_sequence(r, &(path){ "" }, root, "added_tokens", read_added_token);
}

/* ---- model ------------------------------------------------------------------------------------------------------- */

static krait_status read_vocab(reader *r, const kr_json *vocab)
{
    if (!vocab || vocab->type != KR_JSON_OBJECT)
        return wrong(r, KRAIT_ERROR_FORMAT, &(path){ "model.vocab" }, "an object from tokens to ids", vocab);
    r->result->vocab = kr_arena_alloc(r->arena, vocab->length, sizeof *r->result->vocab);
    if (!r->result->vocab) return kr_fail_memory(r->error, "vocabulary", vocab->length * sizeof *r->result->vocab);
    for (const kr_json *member = vocab->first; member; member = member->next) {
        kr_vocab_entry *entry = &r->result->vocab[r->result->n_vocab++];
        entry->text = (kr_span){ member->key, member->key_length };
        if (member->type == KR_JSON_INTEGER && member->integer >= 0 && member->integer <= KR_MAX_TOKEN_ID) {
            entry->id = (int32_t)member->integer;
            continue;
        }
        path at = below(&(path){ "model.vocab" }, "[\"%.*s\"]", shown(member->key_length), member->key);
        return read_id(r, &at, member, &entry->id);
    }
    return KRAIT_OK;
}

bool kr_merge_split(kr_span text, kr_merge_entry *merge)
{
    const char *space = memchr(text.text, ' ', text.length);
    if (!space) return false;
    size_t left = (size_t)(space - text.text), right = text.length - left - 1;
    merge->left = (kr_span){ text.text, left };
    merge->right = (kr_span){ space + 1, right };
    return left && right && !memchr(space + 1, ' ', right);
}

/* "a b" or ["a", "b"]. */
static bool read_merge(const kr_json *value, kr_merge_entry *merge)
{
    if (value->type == KR_JSON_STRING) return kr_merge_split((kr_span){ value->string, value->length }, merge);
    if (value->type != KR_JSON_ARRAY || value->length != 2) return false;
    const kr_json *left = value->first, *right = left->next;
    if (left->type != KR_JSON_STRING || right->type != KR_JSON_STRING || !left->length || !right->length) return false;
    merge->left = (kr_span){ left->string, left->length };
    merge->right = (kr_span){ right->string, right->length };
    return true;
}

static krait_status read_merges(reader *r, const kr_json *merges)
{
    if (!merges || merges->type != KR_JSON_ARRAY)
        return wrong(r, KRAIT_ERROR_FORMAT, &(path){ "model.merges" }, "an array", merges);
    r->result->merges = kr_arena_alloc(r->arena, merges->length, sizeof *r->result->merges);
    if (!r->result->merges) return kr_fail_memory(r->error, "merges", merges->length * sizeof *r->result->merges);
    for (const kr_json *value = merges->first; value; value = value->next) {
        if (!read_merge(value, &r->result->merges[r->result->n_merges])) {
            path at = below(&(path){ "model.merges" }, "[%zu]", r->result->n_merges);
            return wrong(r, KRAIT_ERROR_FORMAT, &at, "\"left right\" or [\"left\", \"right\"]", value);
        }
        r->result->n_merges++;
    }
    return KRAIT_OK;
}

static krait_status read_model(reader *r, const kr_json *model)
{
    path where = { "model" };
    if (!model || model->type != KR_JSON_OBJECT) return wrong(r, KRAIT_ERROR_FORMAT, &where, "an object", model);
    const kr_json *type = kr_json_get(model, "type"), *dropout = kr_json_get(model, "dropout"),
                  *unk = kr_json_get(model, "unk_token");
    if (type && !kr_json_is(type, "BPE")) return wrong(r, KRAIT_ERROR_UNSUPPORTED, &(path){ "model.type" }, "BPE", type);
    if (!absent(dropout)
        && !((dropout->type == KR_JSON_INTEGER || dropout->type == KR_JSON_NUMBER) && kr_json_number(dropout) == 0))
        return wrong(r, KRAIT_ERROR_UNSUPPORTED, &(path){ "model.dropout" }, "null or 0, as encoding is not random", dropout);
    static const char *const affixes[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    for (size_t i = 0; i < 2; i++) {
        const kr_json *affix = kr_json_get(model, affixes[i]);
        path at = below(&where, ".%s", affixes[i]);
        if (!absent(affix) && !kr_json_is(affix, "")) return wrong(r, KRAIT_ERROR_UNSUPPORTED, &at, "null or \"\"", affix);
    }
    if (!absent(unk)) {
        if (unk->type != KR_JSON_STRING)
            return wrong(r, KRAIT_ERROR_FORMAT, &(path){ "model.unk_token" }, "a string or null", unk);
        r->result->unk_token = (kr_span){ unk->string, unk->length };
    }
    krait_status status = read_bool(r, &where, model, "fuse_unk", false, &r->result->fuse_unk);
    if (!status) status = read_bool(r, &where, model, "byte_fallback", false, &r->result->byte_fallback);
    if (!status) status = read_bool(r, &where, model, "ignore_merges", false, &r->result->ignore_merges);
    if (!status) status = read_vocab(r, kr_json_get(model, "vocab"));
    return status ? status : read_merges(r, kr_json_get(model, "merges"));
}

krait_status kr_tokenizer_json_read(kr_tokenizer_json *result, kr_arena *arena, const char *name, const char *bytes, size_t size,
                                    krait_error *error)
{
    *result = (kr_tokenizer_json){ .vocab_field = "model.vocab", .merges_field = "model.merges", .added_field = "added_tokens" };
    reader r = { result, arena, name, error };
    const kr_json *root;
    krait_status status = kr_json_parse(&root, arena, name, bytes, size, error);
    if (status) return status;
    if (root->type != KR_JSON_OBJECT) return wrong(&r, KRAIT_ERROR_FORMAT, &(path){ "the file" }, "an object", root);
    status = read_added_tokens(&r, root);
    if (!status) status = read_normalizer(&r, &(path){ "normalizer" }, kr_json_get(root, "normalizer"));
    if (!status) status = read_pretokenizers(&r, kr_json_get(root, "pre_tokenizer"));
    if (!status) status = read_model(&r, kr_json_get(root, "model"));
    if (!status) status = check_post_processor(&r, &(path){ "post_processor" }, kr_json_get(root, "post_processor"));
    if (!status) status = check_decoder(&r, &(path){ "decoder" }, kr_json_get(root, "decoder"));
    return status;
}
