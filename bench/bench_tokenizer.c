/* The tokenizer's speed: English novels, and texts that could take quadratic time, at 1 MB and 10 MB, whose ratio shows that they
 * do not. Prints JSON. Best of several runs, one thread.
 *
 *     bench_tokenizer [TOKENIZER.json [FOLDER OF TEXTS]]
 *
 * The defaults are below $KRAIT_DATA: tokenizer/gpt-neox-20b.tokenizer.json and text/novels. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "krait/krait.h"

enum { SMALL = 1000000, LARGE = 10000000 };

static krait_error error;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void stop(const char *message)
{
    fprintf(stderr, "bench_tokenizer: %s\n", message);
    exit(1);
}

/* Seconds of the best of `runs` encodings. */
static double encode(const krait_tokenizer *tokenizer, const char *text, size_t length, int runs, size_t *n_ids)
{
    double best = 1e9;
    for (int i = 0; i < runs; i++) {
        int32_t *ids;
        double start = now();
        if (krait_tokenizer_encode(tokenizer, text, length, NULL, &ids, n_ids, &error)) stop(error.message);
        double seconds = now() - start;
        krait_free(ids);
        if (seconds < best) best = seconds;
    }
    return best;
}

static double decode(const krait_tokenizer *tokenizer, const char *text, size_t length)
{
    int32_t *ids;
    size_t n_ids;
    if (krait_tokenizer_encode(tokenizer, text, length, NULL, &ids, &n_ids, &error)) stop(error.message);
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        char *back;
        double start = now();
        if (krait_tokenizer_decode(tokenizer, ids, n_ids, true, &back, &length, &error)) stop(error.message);
        double seconds = now() - start;
        krait_free(back);
        if (seconds < best) best = seconds;
    }
    krait_free(ids);
    return best;
}

/* Reads the folder's files one after another, up to LARGE bytes. */
static size_t read_texts(char *text, const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0) stop("the folder of texts cannot be read");
    size_t length = 0;
    for (int i = 0; i < n; i++) {
        char name[4096 + 256];
        kr_file file;
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && kr_file_open(&file, name, &error) == KRAIT_OK) {
            size_t part = file.size < LARGE - length ? file.size : LARGE - length;
            memcpy(text + length, file.data, part);
            length += part;
            kr_file_close(&file);
        }
        free(entries[i]);
    }
    free(entries);
    return length;
}

static void fill(char *text, const char *pattern, const char *novels, size_t n_novels)
{
    kr_rng rng;
    kr_rng_seed(&rng, 1);
    size_t n = 0, length = strlen(pattern);
    if (strcmp(pattern, "random letters") == 0)
        for (; n < LARGE; n++) text[n] = (char)('a' + kr_rng_u32(&rng) % 26);
    else if (strcmp(pattern, "English without spaces") == 0) {
        for (size_t i = 0; n < LARGE; i = (i + 1) % n_novels)
            if ((novels[i] | 32) >= 'a' && (novels[i] | 32) <= 'z') text[n++] = novels[i];
    } else if (strcmp(pattern, "English in one line") == 0) {
        for (size_t i = 0; n < LARGE; i = (i + 1) % n_novels)
            text[n++] = novels[i] == '\n' || novels[i] == '\r' ? ' ' : novels[i];
    } else
        for (; n < LARGE; n++) text[n] = pattern[n % length];
}

int main(int argc, char **argv)
{
    const char *data = getenv("KRAIT_DATA");
    char tokenizer_path[4096], texts_path[4096];
    if (argc < 3 && !data) stop("give a tokenizer.json and a folder of texts, or set KRAIT_DATA");
    snprintf(tokenizer_path, sizeof tokenizer_path, "%s%s", argc > 1 ? argv[1] : data,
             argc > 1 ? "" : "/tokenizer/gpt-neox-20b.tokenizer.json");
    snprintf(texts_path, sizeof texts_path, "%s%s", argc > 2 ? argv[2] : data, argc > 2 ? "" : "/text/novels");

    krait_tokenizer *tokenizer;
    double load = now();
    if (krait_tokenizer_load(&tokenizer, tokenizer_path, &error)) stop(error.message);
    load = now() - load;
    char *novels = malloc(LARGE), *text = malloc(LARGE);
    if (!novels || !text) stop("out of memory");
    size_t n_novels = read_texts(novels, texts_path), n_ids;
    if (n_novels < 1000) stop("no texts in the folder");

    kr_json_writer w = { .file = stdout, .indent = 2 };
    kr_json_open(&w, '{');
    kr_json_key(&w, "load_seconds");
    kr_json_put_number(&w, load);
    double seconds = encode(tokenizer, novels, n_novels, 5, &n_ids);
    kr_json_key(&w, "english_bytes");
    kr_json_put_integer(&w, (int64_t)n_novels);
    kr_json_key(&w, "english_ids");
    kr_json_put_integer(&w, (int64_t)n_ids);
    kr_json_key(&w, "encode_mb_per_second");
    kr_json_put_number(&w, (double)n_novels / seconds / 1e6);
    kr_json_key(&w, "decode_mb_per_second");
    kr_json_put_number(&w, (double)n_novels / decode(tokenizer, novels, n_novels) / 1e6);
    kr_json_key(&w, "long");
    kr_json_open(&w, '[');
    static const char *const patterns[] = {
        "English in one line", "English without spaces", "random letters", "a", " ",   "\n", "a b ",
        "\xe4\xb8\xad",        "\xcc\x81\xcc\xa7",       "\x80",           "'", " \n", "1"
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        fill(text, patterns[i], novels, n_novels);
        double small = encode(tokenizer, text, SMALL, 3, &n_ids), large = encode(tokenizer, text, LARGE, 2, &n_ids);
        kr_json_open(&w, '{');
        kr_json_key(&w, "text");
        kr_json_put_text(&w, patterns[i]);
        kr_json_key(&w, "seconds_1mb");
        kr_json_put_number(&w, small);
        kr_json_key(&w, "seconds_10mb");
        kr_json_put_number(&w, large);
        kr_json_key(&w, "ratio");
        kr_json_put_number(&w, large / small);
        kr_json_close(&w, '}');
    }
    kr_json_close(&w, ']');
    kr_json_close(&w, '}');
    putchar('\n');
    krait_tokenizer_free(tokenizer);
    free(novels);
    free(text);
    return w.failed;
}
