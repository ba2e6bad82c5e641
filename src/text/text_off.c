/* A build without text: what the rest of the folder defines, saying so. CMake takes this file instead of the others. */
#include "base/status.h"
#include "krait/data.h"
#include "text/text.h"

const char *kr_text_info(void) { return "off"; }

static krait_status off(krait_error *error)
{
    return kr_fail(
        error, KRAIT_ERROR_UNSUPPORTED,
        "this build has no tokenizers: install PCRE2 and utf8proc (Debian: libpcre2-dev libutf8proc-dev) and configure with "
        "-DKRAIT_TEXT=ON, or work with token ids");
}

krait_status krait_tokenizer_load(krait_tokenizer **tokenizer, const char *path, krait_error *error)
{
    (void)path;
    if (tokenizer) *tokenizer = NULL;
    return off(error);
}

krait_status krait_tokenizer_load_memory(krait_tokenizer **tokenizer, const char *name, const void *data, size_t size,
                                         krait_error *error)
{
    (void)name, (void)data, (void)size;
    if (tokenizer) *tokenizer = NULL;
    return off(error);
}

krait_status krait_tokenizer_create(krait_tokenizer **tokenizer, const krait_checkpoint *checkpoint, krait_error *error)
{
    (void)checkpoint;
    if (tokenizer) *tokenizer = NULL;
    return off(error);
}

void krait_tokenizer_free(krait_tokenizer *tokenizer) { (void)tokenizer; }

size_t krait_tokenizer_vocab_size(const krait_tokenizer *tokenizer)
{
    (void)tokenizer;
    return 0;
}

krait_status krait_tokenizer_encode(const krait_tokenizer *tokenizer, const char *text, size_t length,
                                    const krait_encode_options *options, int32_t **ids, size_t *n_ids, krait_error *error)
{
    (void)tokenizer, (void)text, (void)length, (void)options;
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    return off(error);
}

krait_status krait_tokenizer_decode(const krait_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, bool keep_special,
                                    char **text, size_t *length, krait_error *error)
{
    (void)tokenizer, (void)ids, (void)n_ids, (void)keep_special;
    if (text) *text = NULL;
    if (length) *length = 0;
    return off(error);
}

const char *krait_tokenizer_token(const krait_tokenizer *tokenizer, int32_t id, size_t *length)
{
    (void)tokenizer, (void)id;
    if (length) *length = 0;
    return NULL;
}

bool krait_tokenizer_is_special(const krait_tokenizer *tokenizer, int32_t id)
{
    (void)tokenizer, (void)id;
    return false;
}

int32_t krait_tokenizer_id(const krait_tokenizer *tokenizer, const char *token, size_t length)
{
    (void)tokenizer, (void)token, (void)length;
    return -1;
}

uint64_t krait_tokenizer_fingerprint(const krait_tokenizer *tokenizer)
{
    (void)tokenizer;
    return 0;
}

krait_status krait_decoder_create(krait_decoder **decoder, const krait_tokenizer *tokenizer, bool keep_special,
                                  krait_error *error)
{
    (void)tokenizer, (void)keep_special;
    if (decoder) *decoder = NULL;
    return off(error);
}

void krait_decoder_free(krait_decoder *decoder) { (void)decoder; }

krait_status krait_decoder_push(krait_decoder *decoder, int32_t id, const char **text, size_t *length, krait_error *error)
{
    (void)decoder, (void)id;
    if (text) *text = "";
    if (length) *length = 0;
    return off(error);
}

krait_status krait_decoder_flush(krait_decoder *decoder, const char **text, size_t *length, krait_error *error)
{
    (void)decoder;
    if (text) *text = "";
    if (length) *length = 0;
    return off(error);
}
