/* The reader of torch files. The bytes are taken as an archive, and as the pickle in one: an archive's checksums and places leave a
 * fuzzer little room to reach the pickle machine. */
#include <stdlib.h>
#include <string.h>

#include "formats/torch_zip.h"
#include "fuzz.h"

static void read_archive(const void *data, size_t size)
{
    kr_arena arena = { 0 };
    kr_file file;
    kr_tensor *tensors;
    size_t n;
    krait_error error;
    if (kr_file_borrow(&file, "fuzz.bin", data, size, &error)) return;
    if (kr_torch_zip_read(&tensors, &n, &arena, &file, &error) == KRAIT_OK)
        for (size_t i = 0; i < n; i++) {
            size_t count;
            if (!kr_tensor_count(&tensors[i], &count) || count > size) abort();
            float *values = kr_alloc(count, sizeof *values);
            if (values) kr_tensor_to_float32(values, &tensors[i]);
            kr_free(values);
        }
    kr_file_close(&file);
    kr_arena_free(&arena);
}

typedef struct archive {
    unsigned char *bytes;
    size_t size;
} archive;

static void put(archive *a, const void *data, size_t size)
{
    memcpy(a->bytes + a->size, data, size);
    a->size += size;
}

static void put_number(archive *a, uint64_t value, size_t width) { put(a, &value, width); }

/* Headers of a stored member; with `local`, the place of its local header, that of the directory. */
static void put_header(archive *a, const char *name, size_t size, const size_t *local)
{
    put_number(a, local ? 0x02014b50 : 0x04034b50, 4);
    put_number(a, 0, local ? 8 : 6);
    put_number(a, 0, 8);
    put_number(a, size, 4);
    put_number(a, size, 4);
    put_number(a, strlen(name), 4); /* and no extra field */
    if (local) {
        put_number(a, 0, 8);
        put_number(a, 0, 2);
        put_number(a, *local, 4);
    }
    put(a, name, strlen(name));
}

/* An archive of this pickle and one storage. */
static void read_pickle(const uint8_t *pickle, size_t size)
{
    static const char storage[64] = { 1, 2, 3, 4 };
    enum { HEADERS = 1024 };
    archive a = { .bytes = malloc(size + HEADERS) };
    if (!a.bytes) return;
    size_t places[2] = { 0 }, directory;
    put_header(&a, "a/data.pkl", size, NULL);
    put(&a, pickle, size);
    places[1] = a.size;
    put_header(&a, "a/data/0", sizeof storage, NULL);
    put(&a, storage, sizeof storage);
    directory = a.size;
    put_header(&a, "a/data.pkl", size, &places[0]);
    put_header(&a, "a/data/0", sizeof storage, &places[1]);
    size_t directory_size = a.size - directory;
    put_number(&a, 0x06054b50, 8);
    put_number(&a, 2, 2);
    put_number(&a, 2, 2);
    put_number(&a, directory_size, 4);
    put_number(&a, directory, 4);
    put_number(&a, 0, 2);
    read_archive(a.bytes, a.size);
    free(a.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_archive(data, size);
    if (size >= 2 && data[0] == 0x80) read_pickle(data, size);
    return 0;
}
