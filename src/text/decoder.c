/* Streaming decoding: whole characters only. */
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "text/buffer.h"
#include "text/tokenizer.h"

struct krait_decoder {
    const krait_tokenizer *tokenizer;
    bool keep_special;
    char cut[4]; /* the beginning of a character whose end is still to come */
    size_t n_cut;
    kr_buffer text; /* given out by the last call */
};

krait_status krait_decoder_create(krait_decoder **decoder, const krait_tokenizer *tokenizer, bool keep_special,
                                  krait_error *error)
{
    if (!decoder) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decoder: expected a pointer, found NULL");
    *decoder = NULL;
    if (!tokenizer) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decoder: expected a tokenizer, found NULL");
    krait_decoder *result = kr_alloc_zero(1, sizeof *result);
    if (!result) return kr_fail_memory(error, "a decoder", sizeof *result);
    result->tokenizer = tokenizer;
    result->keep_special = keep_special;
    *decoder = result;
    return KRAIT_OK;
}

void krait_decoder_free(krait_decoder *decoder)
{
    if (!decoder) return;
    kr_free(decoder->text.data);
    kr_free(decoder);
}

static const char replacement[] = "\xef\xbf\xbd";

/* Length of the maximal subpart at bytes[0..length), no whole character and length > 0: the longest beginning of a character,
 * or one byte (Unicode 15, section 3.9). */
static size_t subpart(const char *bytes, size_t length)
{
    size_t n = length < 3 ? length : 3;
    while (n > 1 && !kr_utf8_is_cut(bytes, n)) n--;
    return n;
}

/* Appends bytes[0..length) as valid UTF-8; returns how many at the end are held back, as what follows may complete them. */
static size_t append(kr_buffer *text, const char *bytes, size_t length)
{
    size_t i = 0;
    while (i < length) {
        size_t valid = kr_utf8_valid_prefix(bytes + i, length - i);
        memcpy(text->data + text->length, bytes + i, valid);
        text->length += valid;
        i += valid;
        if (i == length || kr_utf8_is_cut(bytes + i, length - i)) break;
        memcpy(text->data + text->length, replacement, 3);
        text->length += 3;
        i += subpart(bytes + i, length - i);
    }
    return length - i;
}

/* Gives out what is held back, followed by bytes[0..length). */
static krait_status give(krait_decoder *d, const char *bytes, size_t length, const char **text, size_t *out, krait_error *error)
{
    d->text.length = 0;
    size_t room; /* every byte may become a replacement character */
    if (!kr_add(length, sizeof d->cut, &room) || !kr_mul(room, 3, &room)) return kr_fail_memory(error, "text", length);
    krait_status status = kr_buffer_reserve(&d->text, room, error);
    if (status) return status;
    /* Byte by byte until the character that was cut is complete or cannot be. */
    size_t used = 0;
    while (d->n_cut > 0 && used < length) {
        d->cut[d->n_cut++] = bytes[used++];
        size_t left = append(&d->text, d->cut, d->n_cut);
        memmove(d->cut, d->cut + d->n_cut - left, left);
        d->n_cut = left;
    }
    size_t left = append(&d->text, bytes + used, length - used);
    if (left > 0) memcpy(d->cut, bytes + length - left, left), d->n_cut = left;
    *text = d->text.data;
    *out = d->text.length;
    return KRAIT_OK;
}

krait_status krait_decoder_push(krait_decoder *decoder, int32_t id, const char **text, size_t *length, krait_error *error)
{
    if (!decoder || !text || !length) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decoder: expected pointers, found NULL");
    *text = "";
    *length = 0;
    if (id < 0) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decoder: expected an id, found %d", id);
    const kr_token *token = kr_tokenizer_find(decoder->tokenizer, id);
    if (!token) return give(decoder, "\xff", 1, text, length, error); /* no character begins with that */
    if (token->special && !decoder->keep_special) return KRAIT_OK;
    return give(decoder, token->bytes, token->length, text, length, error);
}

krait_status krait_decoder_flush(krait_decoder *decoder, const char **text, size_t *length, krait_error *error)
{
    if (!decoder || !text || !length) return kr_fail(error, KRAIT_ERROR_ARGUMENT, "decoder: expected pointers, found NULL");
    *text = decoder->n_cut > 0 ? replacement : "";
    *length = strlen(*text);
    decoder->n_cut = 0;
    return KRAIT_OK;
}
