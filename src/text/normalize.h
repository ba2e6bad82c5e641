/* Unicode normalisation (UAX #15). */
#ifndef KR_TEXT_NORMALIZE_H
#define KR_TEXT_NORMALIZE_H

#include "formats/tokenizer_json.h"
#include "text/buffer.h"

/* Applies the normalizers one after another to valid UTF-8. *out is `text` itself where it surely is normalised already, else it
 * lies in `buffer`, whose content is replaced. Linear in the length. */
krait_status kr_normalize(const char **out, size_t *out_length, kr_buffer *buffer, const kr_normalizer *normalizers,
                          size_t n_normalizers, const char *text, size_t length, krait_error *error);

#endif
