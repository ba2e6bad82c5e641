/* A build without text: CMake takes this file instead of tokenizer_train.c. */
#include "base/status.h"
#include "krait/data.h"

krait_status krait_tokenizer_train(const char *path, const krait_corpus *corpus, const krait_tokenizer_training *training,
                                   krait_tokenizer_trained *result, krait_error *error)
{
    (void)path, (void)corpus, (void)training;
    if (result) *result = (krait_tokenizer_trained){ 0 };
    return kr_fail(
        error, KRAIT_ERROR_UNSUPPORTED,
        "this build has no tokenizers: install PCRE2 and utf8proc (Debian: libpcre2-dev libutf8proc-dev) and configure with "
        "-DKRAIT_TEXT=ON");
}
