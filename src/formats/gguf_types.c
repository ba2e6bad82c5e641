#include "formats/gguf_types.h"

/* clang-format off */
static const kr_gguf_type types[] = {
    {  0, "F32",        1,   4, true,  KRAIT_DTYPE_F32 },
    {  1, "F16",        1,   2, true,  KRAIT_DTYPE_F16 },
    {  2, "Q4_0",      32,  18, true,  KRAIT_DTYPE_Q4_0 },
    {  3, "Q4_1",      32,  20, true,  KRAIT_DTYPE_Q4_1 },
    {  6, "Q5_0",      32,  22, true,  KRAIT_DTYPE_Q5_0 },
    {  7, "Q5_1",      32,  24, true,  KRAIT_DTYPE_Q5_1 },
    {  8, "Q8_0",      32,  34, true,  KRAIT_DTYPE_Q8_0 },
    {  9, "Q8_1",      32,  36, false, KRAIT_DTYPE_F32 },
    { 10, "Q2_K",     256,  84, true,  KRAIT_DTYPE_Q2_K },
    { 11, "Q3_K",     256, 110, true,  KRAIT_DTYPE_Q3_K },
    { 12, "Q4_K",     256, 144, true,  KRAIT_DTYPE_Q4_K },
    { 13, "Q5_K",     256, 176, true,  KRAIT_DTYPE_Q5_K },
    { 14, "Q6_K",     256, 210, true,  KRAIT_DTYPE_Q6_K },
    { 15, "Q8_K",     256, 292, false, KRAIT_DTYPE_F32 },
    { 16, "IQ2_XXS",  256,  66, false, KRAIT_DTYPE_F32 },
    { 17, "IQ2_XS",   256,  74, false, KRAIT_DTYPE_F32 },
    { 18, "IQ3_XXS",  256,  98, false, KRAIT_DTYPE_F32 },
    { 19, "IQ1_S",    256,  50, false, KRAIT_DTYPE_F32 },
    { 20, "IQ4_NL",    32,  18, true,  KRAIT_DTYPE_IQ4_NL },
    { 21, "IQ3_S",    256, 110, false, KRAIT_DTYPE_F32 },
    { 22, "IQ2_S",    256,  82, false, KRAIT_DTYPE_F32 },
    { 23, "IQ4_XS",   256, 136, false, KRAIT_DTYPE_F32 },
    { 24, "I8",         1,   1, true,  KRAIT_DTYPE_I8 },
    { 25, "I16",        1,   2, true,  KRAIT_DTYPE_I16 },
    { 26, "I32",        1,   4, true,  KRAIT_DTYPE_I32 },
    { 27, "I64",        1,   8, true,  KRAIT_DTYPE_I64 },
    { 28, "F64",        1,   8, true,  KRAIT_DTYPE_F64 },
    { 29, "IQ1_M",    256,  56, false, KRAIT_DTYPE_F32 },
    { 30, "BF16",       1,   2, true,  KRAIT_DTYPE_BF16 },
    { 34, "TQ1_0",    256,  54, false, KRAIT_DTYPE_F32 },
    { 35, "TQ2_0",    256,  66, false, KRAIT_DTYPE_F32 },
    { 39, "MXFP4",     32,  17, false, KRAIT_DTYPE_F32 },
    { 40, "NVFP4",     64,  36, false, KRAIT_DTYPE_F32 },
    { 41, "Q1_0",     128,  18, false, KRAIT_DTYPE_F32 },
};
/* clang-format on */
enum { TYPES = sizeof types / sizeof *types };

const kr_gguf_type *kr_gguf_type_of(uint32_t id)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const kr_gguf_type *kr_gguf_type_of_dtype(krait_dtype dtype)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].readable && types[i].dtype == dtype) return &types[i];
    return NULL;
}
