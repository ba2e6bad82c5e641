/* A file of prompts, one JSON object per line, as `krait run --prompts` takes it:
 *
 *     {"prompt": "text"} or {"ids": [1, 2, 3]}
 *
 * with "id" (a string or a number, for the reader's own use), "max_tokens", "seed", "temperature" and "stop" (a string or a list
 * of them) beside it, all optional. Other fields are an error: a misspelt option would be ignored in silence. */
#ifndef KR_CLI_PROMPTS_H
#define KR_CLI_PROMPTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"
#include "krait/krait.h"

typedef struct kr_prompt {
    const kr_json *id; /* NULL: none */
    const char *text;  /* [length]; NULL: it is given by ids */
    size_t length;
    int32_t *ids; /* [n_ids] */
    size_t n_ids;
    uint64_t max_tokens; /* 0: not given */
    bool has_seed, has_temperature, has_stop;
    uint64_t seed;
    float temperature;
    const char **stop; /* [n_stop] */
    size_t n_stop;
} kr_prompt;

/* Reads one line. The result lives in `arena` and in `line`. KRAIT_ERROR_FORMAT says what is wrong with it; prompt->id is set
 * then, too, where it could be read. */
krait_status kr_prompt_parse(kr_prompt *prompt, kr_arena *arena, const char *line, size_t length, krait_error *error);

/* The lines of the file; empty ones are passed over. */
typedef struct kr_prompts {
    const char *name;
    FILE *file;
    bool again;    /* it can be read twice: `n` and `hash` are known */
    uint64_t n;    /* prompts in it */
    uint64_t hash; /* of its bytes */
    uint64_t line; /* number of the last line, from 1 */
    char *text;    /* getline()'s */
    size_t capacity;
} kr_prompts;

/* `path` may be "-": stdin. A regular file is read once, for its hash. Close it also when this fails. */
krait_status kr_prompts_open(kr_prompts *prompts, const char *path, krait_error *error);
void kr_prompts_close(kr_prompts *prompts);
/* The next line without its end, valid until the next call; NULL at the end of the file. */
krait_status kr_prompts_next(kr_prompts *prompts, const char **line, size_t *length, krait_error *error);

/* FNV-1a, 64 bits, for telling files and options apart (not against an adversary): begin with KR_HASH. */
#define KR_HASH UINT64_C(0xcbf29ce484222325)
uint64_t kr_hash(uint64_t hash, const void *bytes, size_t size);

#endif
