/* krait_checkpoint_save(): a checkpoint's parameters in other types, in a folder of the Hugging Face layout, matrices in q8 and q4 as
 * kernels read them (tensor/packed.h), so that a model made of it is mapped. A chunk of a tensor is in memory at a time. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/threads.h"
#include "formats/gguf_tokenizer.h"
#include "formats/safetensors.h"
#include "model/calibrate.h"
#include "model/model.h"
#include "model/save_files.h"
#include "model/tune.h"
#include "tensor/packed.h"

typedef struct item {
    const kr_parameter *parameter;
    const kr_tensor *tensor; /* as stored */
    krait_weight_type type;
    const char *reason;
    size_t layer;
} item;

/* A chunk is whole groups of rows of about so many elements. */
enum { CHUNK_ELEMENTS = 1 << 19 };

typedef struct saving {
    krait_checkpoint *checkpoint;
    krait_config config;
    const krait_save_options *options;
    const char *path; /* of the folder */
    kr_choice_use *uses;
    kr_arena arena;     /* names */
    item *items;        /* [capacity], one more than there are */
    kr_tensor *tensors; /* [n] as they will be */
    size_t n, capacity;
    int pass;                    /* of listing them */
    kr_calibration *calibration; /* NULL: none */
    kr_tuning *tuning;           /* NULL: none */
    int threads;
    size_t largest, largest_rows, largest_packed; /* of all chunks: elements, rows, bytes when packed */
    float *values;                                /* of the chunk in work */
    unsigned char *packed;
    double *errors, *squares; /* of each group of its rows */
    uint64_t done, total;     /* elements */
} saving;

static krait_dtype dtype_of(krait_weight_type type)
{
    static const krait_dtype dtypes[] = { [KRAIT_WEIGHT_AUTO] = KRAIT_DTYPE_F32,     [KRAIT_WEIGHT_F32] = KRAIT_DTYPE_F32,
                                          [KRAIT_WEIGHT_F16] = KRAIT_DTYPE_F16,      [KRAIT_WEIGHT_BF16] = KRAIT_DTYPE_BF16,
                                          [KRAIT_WEIGHT_Q8] = KRAIT_DTYPE_PACKED_Q8, [KRAIT_WEIGHT_Q4] = KRAIT_DTYPE_PACKED_Q4,
                                          [KRAIT_WEIGHT_Q6] = KRAIT_DTYPE_PACKED_Q6 };
    return dtypes[type];
}

/* ---- what there is to write -------------------------------------------------------------------------------------- */

/* Packed matrices first, whose bytes are multiples of a cache line, then float32, then the rest: all are aligned in the file. */
enum { PASSES = 3 };
static int pass_of(const kr_tensor *tensor) { return kr_tensor_is_packed(tensor) ? 0 : tensor->dtype == KRAIT_DTYPE_F32 ? 1 : 2; }

static krait_status count_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    (void)place, (void)error;
    ((saving *)context)->capacity++;
    return KRAIT_OK;
}

static size_t chunk_rows(size_t rows, size_t columns)
{
    size_t groups = CHUNK_ELEMENTS / columns / KR_GROUP_ROWS;
    size_t chunk = (groups ? groups : 1) * KR_GROUP_ROWS;
    return chunk < rows ? chunk : rows;
}

static krait_status list_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    saving *s = context;
    const kr_parameter *parameter = place->parameter;
    item *it = &s->items[s->n];
    kr_tensor *tensor = &s->tensors[s->n];
    *it = (item){
        .parameter = parameter, .layer = place->layer, .tensor = kr_weights_stored(s->checkpoint, place), .type = KRAIT_WEIGHT_F32
    };
    *tensor = (kr_tensor){ 0 };
    for (const kr_dim *dim = parameter->shape; *dim != KR_DIM_END; dim++)
        tensor->shape[tensor->n_dims++] = kr_dim_size(*dim, &s->config);
    kr_tensor_set_contiguous(tensor);
    if (parameter->flags & KR_MATRIX) {
        krait_weight_type wanted = kr_type_choose(s->options, s->uses, place, it->tensor, &it->reason);
        bool exact = kr_type_holds_exactly(wanted, it->tensor);
        it->type = exact ? wanted : kr_type_fitting(wanted, tensor->shape[0], tensor->shape[1]);
        if (it->type != wanted) it->reason = "smaller than blocks that are filled up";
    }
    tensor->dtype = dtype_of(it->type);
    if (pass_of(tensor) != s->pass) return KRAIT_OK;
    s->n++;
    char *name = kr_arena_alloc(&s->arena, strlen(place->name) + 1, 1);
    if (!name) return kr_fail_memory(error, "a tensor's name", strlen(place->name) + 1);
    tensor->name = strcpy(name, place->name);
    bool lossy = kr_dtype_block(it->tensor->dtype) > 1 && kr_is_grouped(it->type) && it->tensor->dtype != tensor->dtype
                 && !kr_type_holds_exactly(it->type, it->tensor);
    if (lossy && !s->options->requantize)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: %s is %s already: quantising it once more, to %s, would add to what was lost", it->tensor->file,
                       it->tensor->name, krait_dtype_name(it->tensor->dtype), krait_dtype_name(tensor->dtype));
    size_t count = kr_parameter_count(parameter, &s->config);
    size_t rows = tensor->shape[0], columns = count / rows, chunk = chunk_rows(rows, columns);
    s->total += count;
    if (chunk * columns > s->largest) s->largest = chunk * columns;
    if (chunk > s->largest_rows) s->largest_rows = chunk;
    size_t packed = kr_packed_bytes(it->type, chunk, columns);
    if (packed > s->largest_packed) s->largest_packed = packed;
    return KRAIT_OK;
}

/* ---- one tensor -------------------------------------------------------------------------------------------------- */

typedef struct conversion {
    saving *saving;
    const item *item;
    size_t first, rows, columns; /* rows of a chunk */
    bool exact;                  /* blocks are rearranged */
    bool calibrated;
    kr_tuned tuned; /* numbers or values that take the place of the tensor's */
} conversion;

/* Packs groups of rows, and sums up what that changed. */
static void convert_share(void *context, int thread, int n_threads)
{
    const conversion *c = context;
    saving *s = c->saving;
    const krait_weight_type type = c->item->type;
    size_t begin, end;
    kr_share(c->rows, KR_GROUP_ROWS, thread, n_threads, &begin, &end);
    if (c->exact) {
        const kr_tensor *blocks = c->item->tensor;
        size_t at = (c->first + begin) * c->columns / kr_dtype_block(blocks->dtype) * kr_dtype_size(blocks->dtype);
        kr_pack_blocks(type, s->packed, c->columns, begin, end - begin, (const char *)blocks->data + at);
        return;
    }
    for (size_t row = begin; row < end; row += KR_GROUP_ROWS) {
        size_t n = end - row < KR_GROUP_ROWS ? end - row : KR_GROUP_ROWS;
        const float *values = s->values + row * c->columns;
        float back[KR_BLOCK_COLUMNS];
        double *error = &s->errors[row / KR_GROUP_ROWS], *square = &s->squares[row / KR_GROUP_ROWS];
        if (c->tuned.numbers.numbers) {
            const size_t from = c->first + row;
            kr_pack_numbers(type, s->packed, c->columns, row, n,
                            &(kr_numbers){ c->tuned.numbers.numbers + from * c->columns,
                                           c->tuned.numbers.scales + from * kr_runs_of(c->columns) });
        } else if (c->calibrated) {
            kr_numbers numbers = kr_calibration_choose(s->calibration, thread, type, c->first + row, n, values);
            kr_pack_numbers(type, s->packed, c->columns, row, n, &numbers);
        } else
            kr_pack(type, s->packed, c->columns, row, n, values);
        *error = *square = 0;
        for (size_t r = 0; r < n; r++)
            for (size_t at = 0; at < c->columns; at += KR_BLOCK_COLUMNS) {
                size_t count = c->columns - at < KR_BLOCK_COLUMNS ? c->columns - at : KR_BLOCK_COLUMNS;
                kr_unpack(back, type, s->packed, c->columns, row + r, at, count);
                for (size_t i = 0; i < count; i++) {
                    double value = (double)values[r * c->columns + at + i], e = (double)back[i] - value;
                    *error += e * e;
                    *square += value * value;
                }
            }
    }
}

static krait_status tell(saving *s, const item *it, const kr_tensor *tensor, size_t count, double error_sum, double square,
                         krait_error *error)
{
    const krait_save_options *o = s->options;
    size_t bytes = 0;
    kr_tensor_bytes(tensor, &bytes);
    if (o->on_tensor)
        o->on_tensor(o->user, &(krait_saved_tensor){ .name = tensor->name,
                                                     .source_name = it->tensor->name,
                                                     .from = it->tensor->dtype,
                                                     .to = tensor->dtype,
                                                     .elements = count,
                                                     .bytes = bytes,
                                                     .error = square > 0 ? sqrt(error_sum / square) : 0,
                                                     .reason = it->reason });
    s->done += count;
    if (s->calibration) return kr_calibration_report(s->calibration, error);
    if (o->progress.report && !o->progress.report(o->progress.user, "writing", s->done, s->total))
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: writing was interrupted", s->path);
    return KRAIT_OK;
}

/* GGUF files have A; those of ours also A_log, where A does not determine it. */
static krait_status to_logarithms(saving *s, const item *it, const kr_tensor *tensor, size_t first, size_t count,
                                  krait_error *error)
{
    char key[sizeof KR_GGUF_A_LOG_PREFIX + sizeof((kr_parameter_place *)0)->name];
    snprintf(key, sizeof key, KR_GGUF_A_LOG_PREFIX "%s", tensor->name);
    const kr_gguf_value *kept = kr_gguf_find(s->checkpoint->gguf, key);
    if (kept && (!kept->is_array || kept->type != KR_GGUF_F32 || kept->count != tensor->shape[0] * tensor->shape[1])) kept = NULL;
    for (size_t i = 0; i < count; i++) {
        if (s->values[i] > 0)
            return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: expected values below 0, which A_log can stand for, found %g",
                           it->tensor->name, (double)s->values[i]);
        float value = kr_logarithm_of(s->values[i]), own = value;
        if (kept) memcpy(&own, kept->data + (first + i) * sizeof own, sizeof own);
        s->values[i] = kr_minus_exp(own) == s->values[i] ? own : value;
    }
    return KRAIT_OK;
}

/* Bytes that are as they are to be. */
static krait_status copy_tensor(saving *s, const kr_tensor *tensor, const char *data, kr_writer *to, krait_error *error)
{
    size_t bytes = 0, n;
    krait_status status = KRAIT_OK;
    kr_tensor_bytes(tensor, &bytes);
    for (size_t at = 0; at < bytes && !status; at += n) {
        n = bytes - at < CHUNK_ELEMENTS * sizeof(float) ? bytes - at : CHUNK_ELEMENTS * sizeof(float);
        status = kr_writer_write(to, data + at, n, error);
        kr_checkpoint_forget(s->checkpoint);
    }
    return status;
}

/* A chunk of tuned values in the place of the tensor's. */
static void take_tuned(const conversion *c, double *error_sum, double *square)
{
    float *values = c->saving->values;
    const float *tuned = c->tuned.values + c->first * c->columns;
    for (size_t i = 0; i < c->rows * c->columns; i++) {
        const double value = (double)values[i], e = (double)tuned[i] - value;
        *error_sum += e * e;
        *square += value * value;
        values[i] = tuned[i];
    }
}

static krait_status put_chunk(const conversion *c, const kr_tensor *tensor, double *error_sum, double *square, kr_writer *to,
                              krait_error *error)
{
    saving *s = c->saving;
    const item *it = c->item;
    const size_t count = c->rows * c->columns;
    if (c->exact) {
        kr_parallel(s->threads, convert_share, (void *)c);
        return kr_writer_write(to, s->packed, kr_packed_bytes(it->type, c->rows, c->columns), error);
    }
    kr_tensor_rows_to_float32(s->values, it->tensor, c->first, c->rows);
    if (it->parameter->form == KR_MINUS_EXP_TRANSPOSED && s->checkpoint->gguf) {
        krait_status status = to_logarithms(s, it, tensor, c->first * c->columns, count, error);
        if (status) return status;
    }
    if (c->tuned.values) take_tuned(c, error_sum, square);
    if (it->type == KRAIT_WEIGHT_F32) return kr_writer_write(to, s->values, count * sizeof *s->values, error);
    bool finite = true;
    for (size_t j = 0; j < count; j++) finite = finite && isfinite(s->values[j]);
    if (!finite && kr_is_grouped(it->type))
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: expected finite values that %s can hold, found others", tensor->name,
                       krait_weight_type_name(it->type));
    kr_parallel(s->threads, convert_share, (void *)c);
    double sum = 0;
    for (size_t g = 0; g * KR_GROUP_ROWS < c->rows; g++) sum += s->errors[g], *square += s->squares[g];
    if (finite && !isfinite(sum))
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: expected values that %s can hold, found larger ones", tensor->name,
                       krait_weight_type_name(it->type));
    *error_sum += sum;
    return kr_writer_write(to, s->packed, kr_packed_bytes(it->type, c->rows, c->columns), error);
}

/* Tensor i, for kr_safetensors_write_each(). */
static krait_status put_tensor(void *context, size_t i, kr_writer *to, krait_error *error)
{
    saving *s = context;
    const item *it = &s->items[i];
    const kr_tensor *tensor = &s->tensors[i];
    const size_t count = kr_parameter_count(it->parameter, &s->config), rows = tensor->shape[0], columns = count / rows;
    const bool logarithm = it->parameter->form == KR_MINUS_EXP_TRANSPOSED && s->checkpoint->gguf;
    double error_sum = 0, square = 0;
    krait_status status = KRAIT_OK;
    kr_tuned tuned = { 0 };
    const bool is_tuned = s->tuning && kr_tuning_find(s->tuning, it->parameter, it->layer, &tuned);
    if (it->tensor->dtype == tensor->dtype && !logarithm && !is_tuned
        && (kr_tensor_is_contiguous(it->tensor) || kr_tensor_is_packed(it->tensor))) {
        status = copy_tensor(s, tensor, it->tensor->data, to, error);
    } else {
        conversion c = { .saving = s, .item = it, .columns = columns, .tuned = tuned };
        c.exact = !is_tuned && kr_type_holds_exactly(it->type, it->tensor);
        if (s->calibration && kr_is_grouped(it->type) && !c.exact)
            status = kr_calibration_begin(s->calibration, &(kr_parameter_place){ .parameter = it->parameter, .layer = it->layer },
                                          &c.calibrated, error);
        for (; c.first < rows && !status; c.first += c.rows) {
            c.rows = chunk_rows(rows - c.first, columns);
            status = put_chunk(&c, tensor, &error_sum, &square, to, error);
            kr_checkpoint_forget(s->checkpoint);
        }
    }
    return status ? status : tell(s, it, tensor, count, error_sum, square, error);
}

/* ---- the other files --------------------------------------------------------------------------------------------- */

/* The tokenizer of a GGUF file that llama.cpp's tools made, as tokenizer.json. */
static krait_status write_tokenizer(const saving *s, krait_error *error)
{
    kr_arena arena = { 0 };
    kr_tokenizer_json tokenizer;
    kr_json_writer json = { 0 };
    krait_error why = { 0 };
    krait_status status = kr_gguf_tokenizer_read(&tokenizer, &arena, s->checkpoint->gguf, &why);
    if (status == KRAIT_ERROR_UNSUPPORTED) { /* the model is of use without */
        kr_checkpoint_add_note(s->checkpoint, "the tokenizer is left out: %s", why.message);
        status = KRAIT_OK;
    } else if (status) {
        if (error) *error = why;
    } else {
        kr_tokenizer_json_write(&json, &tokenizer);
        status = json.failed ? kr_fail_memory(error, "tokenizer.json", json.length)
                             : kr_folder_add(s->path, "tokenizer.json", json.buffer, json.length, error);
    }
    kr_free(json.buffer);
    kr_arena_free(&arena);
    return status;
}

static krait_status write_others(const saving *s, krait_error *error)
{
    /* The checkpoint's own config.json, or the fields of Hugging Face's that we read. */
    const kr_file *config = kr_checkpoint_file(s->checkpoint, "config.json");
    krait_status status = config ? kr_folder_add(s->path, "config.json", config->data, config->size, error)
                                 : kr_folder_add_config(s->path, &s->config, KRAIT_WEIGHT_AUTO, error);
    const kr_file *tokenizer = kr_checkpoint_file(s->checkpoint, "tokenizer.json");
    if (!status && tokenizer) return kr_folder_add(s->path, "tokenizer.json", tokenizer->data, tokenizer->size, error);
    const char *whole;
    size_t length;
    if (status || !s->checkpoint->gguf) return status;
    if (kr_gguf_string(kr_gguf_find(s->checkpoint->gguf, KR_GGUF_TOKENIZER_JSON), &whole, &length))
        return kr_folder_add(s->path, "tokenizer.json", whole, length, error);
    return kr_gguf_has_tokenizer(s->checkpoint->gguf) ? write_tokenizer(s, error) : KRAIT_OK;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static krait_status allocate(saving *s, krait_error *error)
{
    s->capacity = 1; /* the last one is looked at and passed over */
    kr_each_parameter(&s->config, NULL, count_place, s, NULL);
    s->uses = kr_alloc_zero(s->options->n_choices, sizeof *s->uses);
    s->items = kr_alloc(s->capacity, sizeof *s->items);
    s->tensors = kr_alloc(s->capacity, sizeof *s->tensors);
    if (!s->uses || !s->items || !s->tensors) return kr_fail_memory(error, "a list of tensors", s->capacity * sizeof *s->tensors);
    krait_status status = KRAIT_OK;
    for (s->pass = 0; s->pass < PASSES && !status; s->pass++) status = kr_each_parameter(&s->config, NULL, list_place, s, error);
    if (!status) status = kr_type_check_choices(s->options, s->uses, error);
    if (status) return status;
    size_t groups = s->largest_rows / KR_GROUP_ROWS + 1;
    s->values = kr_alloc(s->largest, sizeof *s->values);
    s->packed = kr_alloc(s->largest_packed, 1);
    s->errors = kr_alloc(groups, sizeof *s->errors);
    s->squares = kr_alloc(groups, sizeof *s->squares);
    if (!s->values || !s->packed || !s->errors || !s->squares)
        return kr_fail_memory(error, "a tensor", s->largest * sizeof *s->values + s->largest_packed);
    if (!s->options->n_calibration || s->options->tune_steps) return KRAIT_OK;
    size_t grouped = 0;
    for (size_t i = 0; i < s->n; i++) grouped += kr_is_grouped(s->items[i].type);
    return kr_calibration_create(&s->calibration, s->checkpoint, &s->config, s->options, s->threads, grouped, error);
}

/* What a parameter is tuned as. */
static krait_weight_type tuning_type(void *saving_, const kr_parameter_place *place)
{
    const saving *s = saving_;
    for (size_t i = 0; i < s->n; i++) {
        const item *it = &s->items[i];
        if (it->parameter != place->parameter || it->layer != place->layer) continue;
        const bool same = it->tensor->dtype == s->tensors[i].dtype || kr_type_holds_exactly(it->type, it->tensor);
        return kr_is_grouped(it->type) && same ? KRAIT_WEIGHT_AUTO : it->type;
    }
    return KRAIT_WEIGHT_AUTO;
}

static krait_status save(saving *s, krait_error *error)
{
    krait_status status = allocate(s, error);
    if (status) return status;
    bool made;
    status = kr_folder_begin(s->path, &made, error);
    if (status) return status;
    char *path = kr_join_path(s->path, "model.safetensors");
    if (!path) status = kr_fail_memory(error, "a path", strlen(s->path));
    if (!status && s->options->tune_steps)
        status = kr_tuning_create(&s->tuning, s->checkpoint, &s->config, s->options, s->threads, tuning_type, s, error);
    /* The weights last: a folder without them is seen to be incomplete. */
    if (!status) status = write_others(s, error);
    static const char *const metadata[][2] = { { "format", "krait" } };
    if (!status) status = kr_safetensors_write_each(path, s->tensors, s->n, metadata, 1, put_tensor, s, error);
    kr_free(path);
    if (status) kr_folder_abandon(s->path, made);
    return status;
}

krait_status krait_checkpoint_save(krait_checkpoint *checkpoint, const char *folder, const krait_save_options *options,
                                   krait_error *error)
{
    static const krait_save_options usual;
    if (!checkpoint || !folder)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_checkpoint_save: %s is NULL", checkpoint ? "folder" : "checkpoint");
    saving s = { .checkpoint = checkpoint, .path = folder, .options = options ? options : &usual };
    s.threads = s.options->threads > 0 ? s.options->threads : kr_threads_available();
    krait_status status = kr_type_check_options(s.options, error);
    if (!status) status = krait_checkpoint_config(checkpoint, &s.config, error);
    if (!status) status = save(&s, error);
    kr_calibration_free(s.calibration);
    kr_tuning_free(s.tuning);
    kr_arena_free(&s.arena);
    kr_free(s.uses);
    kr_free(s.items);
    kr_free(s.tensors);
    kr_free(s.values);
    kr_free(s.packed);
    kr_free(s.errors);
    kr_free(s.squares);
    return status;
}
