/* GGUF files made in memory, sound ones and broken ones: bytes put one after another. */
#ifndef KRAIT_TESTS_GGUF_MAKER_H
#define KRAIT_TESTS_GGUF_MAKER_H

#include "fixture.h"
#include "formats/gguf.h"

typedef struct gguf_maker {
    char *data;
    size_t size, capacity;
} gguf_maker;

void gguf_free(gguf_maker *m);
void gguf_bytes(gguf_maker *m, const void *bytes, size_t n);
void gguf_u32(gguf_maker *m, uint32_t number);
void gguf_u64(gguf_maker *m, uint64_t number);
void gguf_text(gguf_maker *m, const char *text);
/* Zeros up to a multiple of n. */
void gguf_pad(gguf_maker *m, size_t n);

void gguf_header(gguf_maker *m, uint32_t version, uint64_t n_tensors, uint64_t n_values);
/* A key and its type; the value is to follow. */
void gguf_key(gguf_maker *m, const char *key, uint32_t type);
void gguf_key_array(gguf_maker *m, const char *key, uint32_t type, uint64_t count);
void gguf_key_u32(gguf_maker *m, const char *key, uint32_t number);
void gguf_key_f32(gguf_maker *m, const char *key, float number);
void gguf_key_bool(gguf_maker *m, const char *key, bool flag);
void gguf_key_text(gguf_maker *m, const char *key, const char *text);
/* An entry of the list; dims as files have them, the fastest first. */
void gguf_tensor(gguf_maker *m, const char *name, int n_dims, const uint64_t *dims, uint32_t type, uint64_t offset);

/* The checkpoint in a folder, float32 throughout. mixer_eps: with the key for it. */
void gguf_from_model(gguf_maker *m, const char *folder, bool mixer_eps);

#endif
