#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "train/permutation.h"
#include "train/token_file.h"

struct krait_dataset {
    const krait_token_file *file;
    const krait_token_file_info *info;
    size_t rows, window;
    krait_order order;
    uint64_t seed;
    uint64_t n_positions; /* of the ring: all tokens but the last are predicted from */
    uint64_t n_windows;   /* shuffled: in an epoch */
    uint64_t n_batches;   /* in an epoch */
    uint64_t n_targets;
    size_t length;    /* the longest row there is */
    int32_t *tokens;  /* [rows, length] */
    int32_t *targets; /* [rows, length] */
    size_t *starts;   /* [rows, length] */
    int32_t *read;    /* [length + 1] */
};

static uint64_t ceil_div(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

krait_status krait_dataset_create(krait_dataset **dataset, const krait_token_file *file, size_t rows, size_t window,
                                  krait_order order, uint64_t seed, krait_error *error)
{
    if (dataset) *dataset = NULL;
    if (!dataset || !file)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dataset: expected a pointer and a token file, found NULL");
    if (rows == 0 || window == 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dataset: expected at least 1 row and a window of 1, found %zu and %zu", rows,
                       window);
    if (order != KRAIT_ORDER_SHUFFLED && order != KRAIT_ORDER_STREAMS)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "dataset: order: expected shuffled or streams, found %d", (int)order);
    krait_dataset *d = kr_alloc_zero(1, sizeof *d);
    if (!d) return kr_fail_memory(error, "a dataset", sizeof *d);
    const krait_token_file_info *info = krait_token_file_get_info(file);
    *d = (krait_dataset){ .file = file, .info = info, .rows = rows, .window = window, .order = order, .seed = seed };
    d->n_positions = info->n_tokens - 1;
    d->length = window < d->n_positions ? window : (size_t)d->n_positions;
    d->n_windows = ceil_div(d->n_positions, window);
    d->n_batches =
        order == KRAIT_ORDER_SHUFFLED ? ceil_div(d->n_windows, rows) : ceil_div(ceil_div(d->n_positions, rows), window);
    d->n_targets = kr_token_file_count_targets(file, 1, d->n_positions);
    if (info->separator < 0)
        for (uint64_t i = 1; i < info->n_documents; i++)
            d->n_targets -= krait_token_file_is_target(file, kr_token_file_start(file, i));
    size_t n, read;
    if (kr_mul(rows, d->length, &n) && kr_add(d->length, 1, &read)) {
        d->tokens = kr_alloc(n, sizeof *d->tokens);
        d->targets = kr_alloc(n, sizeof *d->targets);
        d->starts = kr_alloc(n, sizeof *d->starts);
        d->read = kr_alloc(read, sizeof *d->read);
    }
    if (!d->tokens || !d->targets || !d->starts || !d->read) {
        size_t length = d->length;
        krait_dataset_free(d);
        return kr_fail_memory(error, "rows of tokens", rows * length * 2 * sizeof(int32_t));
    }
    *dataset = d;
    return KRAIT_OK;
}

void krait_dataset_free(krait_dataset *dataset)
{
    if (!dataset) return;
    kr_free(dataset->tokens);
    kr_free(dataset->targets);
    kr_free(dataset->starts);
    kr_free(dataset->read);
    kr_free(dataset);
}

uint64_t krait_dataset_batches_per_epoch(const krait_dataset *dataset) { return dataset ? dataset->n_batches : 0; }

uint64_t krait_dataset_targets_per_epoch(const krait_dataset *dataset) { return dataset ? dataset->n_targets : 0; }

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static bool is_start(const krait_dataset *d, uint64_t position)
{
    uint64_t document = kr_token_file_find(d->file, position);
    return document < d->info->n_documents && kr_token_file_start(d->file, document) == position;
}

/* Appends positions first .. first + n - 1, which do not go over the ring's end. */
static krait_status append(krait_dataset *d, krait_train_row *row, uint64_t first, size_t n, krait_error *error)
{
    krait_status status = krait_token_file_read(d->file, first, n + 1, d->read, error);
    if (status) return status;
    int32_t *tokens = (int32_t *)row->tokens + row->count, *targets = (int32_t *)row->targets + row->count;
    memcpy(tokens, d->read, n * sizeof *tokens);
    memcpy(targets, d->read + 1, n * sizeof *targets);
    if (d->info->masked)
        for (size_t i = 0; i < n; i++)
            if (!krait_token_file_is_target(d->file, first + i + 1)) targets[i] = -1;
    uint64_t document = kr_token_file_find(d->file, first);
    for (; document < d->info->n_documents; document++) {
        uint64_t at = kr_token_file_start(d->file, document) - first;
        if (at > n) break;
        if (at > 0 && d->info->separator < 0) targets[at - 1] = -1; /* nothing says what the next document is */
        if (at < n && row->count + at > 0) ((size_t *)row->starts)[row->n_starts++] = row->count + (size_t)at;
    }
    row->count += n;
    return KRAIT_OK;
}

/* Positions first .. first + n - 1 of the ring that the epoch turned by `offset`. */
static krait_status fill(krait_dataset *d, krait_train_row *row, size_t index, uint64_t offset, uint64_t first, size_t n,
                         bool *reset, krait_error *error)
{
    *row = (krait_train_row){ .tokens = d->tokens + index * d->length,
                              .targets = d->targets + index * d->length,
                              .starts = d->starts + index * d->length };
    uint64_t left = d->n_positions - offset, at = first < left ? offset + first : first - left, until_end = d->n_positions - at;
    size_t before = n < until_end ? n : (size_t)until_end;
    if (reset && is_start(d, at)) *reset = true;
    krait_status status = append(d, row, at, before, error);
    if (!status && before < n) status = append(d, row, 0, n - before, error); /* its position 0 is a document's start */
    return status;
}

krait_status krait_dataset_batch(krait_dataset *dataset, uint64_t index, krait_train_row *rows, bool *reset, size_t *n_rows,
                                 krait_error *error)
{
    if (n_rows) *n_rows = 0;
    if (!dataset || !rows || !n_rows)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "batch: expected a dataset, rows and n_rows, found NULL");
    const krait_dataset *d = dataset;
    uint64_t epoch = index / d->n_batches, batch = index % d->n_batches, key = kr_mix(d->seed ^ kr_mix(epoch + 1)), n_windows = 0;
    uint64_t share = d->n_positions / d->rows,
             more = d->n_positions % d->rows; /* streams: of each row, and how many rows have one more */
    uint64_t offset = d->order == KRAIT_ORDER_STREAMS && epoch == 0 ? 0 : kr_mix(key + 1) % d->n_positions;
    kr_permutation permutation = { 0 };
    if (d->order == KRAIT_ORDER_SHUFFLED) {
        permutation = kr_permutation_make(d->n_windows, key);
        n_windows = d->n_windows - batch * d->rows;
    }
    size_t n = 0;
    for (; n < d->rows; n++) {
        uint64_t first, end;
        if (d->order == KRAIT_ORDER_SHUFFLED) {
            if (n >= n_windows) break;
            first = kr_permutation_at(&permutation, batch * d->rows + n) * d->window;
            end = d->n_positions;
        } else {
            uint64_t begin = n * share + (n < more ? n : more);
            first = begin + batch * d->window;
            end = begin + share + (n < more);
        }
        if (first >= end) break;
        if (reset) reset[n] = d->order == KRAIT_ORDER_SHUFFLED || batch == 0;
        size_t count = end - first < d->window ? (size_t)(end - first) : d->window;
        krait_status status = fill(dataset, &rows[n], n, offset, first, count, reset ? &reset[n] : NULL, error);
        if (status) return status;
    }
    *n_rows = n;
    return KRAIT_OK;
}
