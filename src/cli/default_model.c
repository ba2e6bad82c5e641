/* Built with KRAIT_HAVE_DEFAULT_MODEL and KRAIT_MODEL_DIR, the folder of the model as a string; the object depends on its files. */
#include "cli/default_model.h"

#include "cli/options.h"

#ifdef KRAIT_HAVE_DEFAULT_MODEL

/* The assembler puts the bytes between two labels: no multi-megabyte array for the compiler to parse. Aligned so that the weights
 * in the file, which are 64 bytes apart or 8, are used where they are. */
#define EMBED(label, file)                               \
    __asm__(".pushsection .rodata\n"                     \
            ".balign 64\n"                               \
            ".globl kr_" label "_begin\n"                \
            ".hidden kr_" label "_begin\n"               \
            "kr_" label "_begin:\n"                      \
            ".incbin \"" KRAIT_MODEL_DIR "/" file "\"\n" \
            ".globl kr_" label "_end\n"                  \
            ".hidden kr_" label "_end\n"                 \
            "kr_" label "_end:\n"                        \
            ".byte 0\n"                                  \
            ".popsection\n")

EMBED("embedded_config", "config.json");
EMBED("embedded_weights", "model.safetensors");
EMBED("embedded_tokenizer", "tokenizer.json");

#define BYTES extern const char __attribute__((visibility("hidden")))
BYTES kr_embedded_config_begin[], kr_embedded_config_end[];
BYTES kr_embedded_weights_begin[], kr_embedded_weights_end[];
BYTES kr_embedded_tokenizer_begin[], kr_embedded_tokenizer_end[];

size_t kr_default_model(const krait_blob **files)
{
    static krait_blob blobs[3];
    blobs[0] =
        (krait_blob){ "config.json", kr_embedded_config_begin, (size_t)(kr_embedded_config_end - kr_embedded_config_begin) };
    blobs[1] = (krait_blob){ "model.safetensors", kr_embedded_weights_begin,
                             (size_t)(kr_embedded_weights_end - kr_embedded_weights_begin) };
    blobs[2] = (krait_blob){ "tokenizer.json", kr_embedded_tokenizer_begin,
                             (size_t)(kr_embedded_tokenizer_end - kr_embedded_tokenizer_begin) };
    *files = blobs;
    return KR_COUNT_OF(blobs);
}

#else

size_t kr_default_model(const krait_blob **files)
{
    *files = NULL;
    return 0;
}

#endif
