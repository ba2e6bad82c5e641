/* The layout of token files. Numbers are little-endian; sections follow each other, each filled up with zeros to a multiple of 8.
 *
 *     0  "KRTOKENS"                                          header, 128 bytes
 *     8  u32 version, 1
 *    12  u32 width       bytes of a token: 2 or 4
 *    16  u64 n_tokens    at least 2
 *    24  u64 n_documents at least 1, at most n_tokens
 *    32  u64 n_bytes     of the text that the tokens are of
 *    40  u64 fingerprint of the tokenizer, 0: not known
 *    48  u32 vocab_size  1 .. 2^31 - 1; with width 2 at most 2^16
 *    52  i32 separator   id of the token in front of every document and at the end; -1: none
 *    56  u32 flags       bit 0: there is a mask; the others are zero
 *    60  zeros
 *   112  u64 kr_checksum of the section of sums
 *   120  u64 kr_checksum of bytes 0 .. 119
 *   128  u16 or u32 [n_tokens]      the tokens
 *        u64 [n_documents]          where each document begins: ascending, the first 0
 *        u8 [ceil(n_tokens / 8)]    the mask, if any: bit i % 8 of byte i / 8 is 1 when token i is to be learned
 *        u64 [n_blocks]             sums: kr_checksum of each block of 2^20 bytes from byte 128 to the beginning of this section
 *
 * The header's sum is thus a sum of everything. */
#ifndef KR_TRAIN_TOKEN_FILE_H
#define KR_TRAIN_TOKEN_FILE_H

#include "base/status.h"
#include "krait/data.h"

#define KR_TOKENS_MAGIC   "KRTOKENS"
#define KR_TOKENS_VERSION 1
enum { KR_TOKENS_HEADER = 128, KR_TOKENS_BLOCK = 1 << 20 };

/* Where the sections begin, and the end of the file. */
typedef struct kr_token_layout {
    uint64_t documents, mask, sums, end;
    uint64_t n_blocks;
} kr_token_layout;

/* false: sizes that no file can have. */
bool kr_token_layout_of(kr_token_layout *layout, const krait_token_file_info *info);

/* Fields of a header, in this order of bytes on every machine. */
static inline uint64_t kr_read_little(const unsigned char *bytes, int width)
{
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}
static inline void kr_write_little(unsigned char *bytes, int width, uint64_t value)
{
    for (int i = 0; i < width; i++) bytes[i] = (unsigned char)(value >> 8 * i);
}

/* The first document that begins at `position` or behind it: an index up to n_documents. */
uint64_t kr_token_file_find(const krait_token_file *file, uint64_t position);
uint64_t kr_token_file_start(const krait_token_file *file, uint64_t document);
/* How many of tokens first .. first + n - 1 are to be learned, as far as the mask says. */
uint64_t kr_token_file_count_targets(const krait_token_file *file, uint64_t first, uint64_t n);

#endif
