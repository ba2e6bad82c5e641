/* The constants of GGUF, ggml's file format. All numbers are little-endian; versions 2 and 3 differ in nothing that matters here.
 *
 *     magic       "GGUF"
 *     version     u32
 *     n_tensors   u64
 *     n_values    u64
 *     n_values times     key: string, value type: u32, value
 *     n_tensors times    name: string, n_dims: u32, n_dims times u64 with the contiguous dimension first, type: u32, offset: u64
 *     zeros up to a multiple of the alignment; then the tensors' bytes, which the offsets count from, each at such a multiple
 *
 * A string is its length in bytes (u64) and its bytes, without a NUL. An array is the type of its elements (u32), their number
 * (u64) and the elements. The alignment is 32, or what the value "general.alignment" says. */
#ifndef KR_FORMATS_GGUF_TYPES_H
#define KR_FORMATS_GGUF_TYPES_H

#include "tensor/tensor.h"

#define KR_GGUF_MAGIC "GGUF"

enum {
    KR_GGUF_OLDEST_VERSION = 2,
    KR_GGUF_VERSION = 3,
    KR_GGUF_ALIGNMENT = 32,
    KR_GGUF_MAX_DIMS = 4,
    KR_GGUF_MAX_NAME = 63 /* bytes of a tensor's name: ggml's are 64 with the NUL */
};

/* Types of values. */
typedef enum kr_gguf_value_type {
    KR_GGUF_U8 = 0,
    KR_GGUF_I8 = 1,
    KR_GGUF_U16 = 2,
    KR_GGUF_I16 = 3,
    KR_GGUF_U32 = 4,
    KR_GGUF_I32 = 5,
    KR_GGUF_F32 = 6,
    KR_GGUF_BOOL = 7, /* a byte, 0 or 1 */
    KR_GGUF_STRING = 8,
    KR_GGUF_ARRAY = 9,
    KR_GGUF_U64 = 10,
    KR_GGUF_I64 = 11,
    KR_GGUF_F64 = 12,
    KR_GGUF_VALUE_TYPES
} kr_gguf_value_type;

/* A tensor's type: its number in files, its name in ggml, the elements of a block and their bytes. Only what `readable` says has a
 * krait_dtype. */
typedef struct kr_gguf_type {
    uint32_t id;
    const char *name;
    uint16_t block, bytes;
    bool readable;
    krait_dtype dtype;
} kr_gguf_type;

/* NULL: no number that ggml uses. */
const kr_gguf_type *kr_gguf_type_of(uint32_t id);
/* NULL: a type that GGUF has no number for. */
const kr_gguf_type *kr_gguf_type_of_dtype(krait_dtype dtype);

/* "general.file_type", which says what most of the matrices are. */
enum { KR_GGUF_FILE_F32 = 0, KR_GGUF_FILE_F16 = 1, KR_GGUF_FILE_Q4_0 = 2, KR_GGUF_FILE_Q8_0 = 7, KR_GGUF_FILE_BF16 = 32 };

#define KR_GGUF_NORM_EPS "mamba.attention.layer_norm_rms_epsilon"
/* The epsilon of Falcon-Mamba's inner norms (mixer_rms_eps), float32. llama.cpp has no key for it and takes that of the other norms,
 * as we do where this one is missing. */
#define KR_GGUF_MIXER_NORM_EPS "krait.mixer_rms_eps"

/* Before the name of an A_log in Hugging Face's layout: its own values, an array of float32, where ssm_a = -exp(A_log) does not determine
 * them. They count only as long as ssm_a is what they give. */
#define KR_GGUF_A_LOG_PREFIX "krait."
/* All of a tokenizer.json: GGUF's own key for it. */
#define KR_GGUF_TOKENIZER_JSON "tokenizer.huggingface.json"

/* "tokenizer.ggml.token_type". */
enum {
    KR_GGUF_TOKEN_NORMAL = 1,
    KR_GGUF_TOKEN_UNKNOWN = 2,
    KR_GGUF_TOKEN_CONTROL = 3, /* left out of text */
    KR_GGUF_TOKEN_USER_DEFINED = 4,
    KR_GGUF_TOKEN_UNUSED = 5,
    KR_GGUF_TOKEN_BYTE = 6
};

#endif
