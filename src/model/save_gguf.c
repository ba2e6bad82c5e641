/* krait_checkpoint_save_gguf(): a checkpoint's parameters, or random ones, as a GGUF file that llama.cpp loads. They are read, encoded
 * and written in pieces, so that memory does not grow with the model. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/threads.h"
#include "formats/gguf_tokenizer.h"
#include "formats/gguf_tokenizer_write.h"
#include "model/calibrate.h"
#include "model/model.h"
#include "model/tune.h"
#include "tensor/blocks.h"
#include "tensor/packed.h"

/* A piece is what a thread takes, a chunk what is in memory: both whole rows. */
enum { PIECE_ELEMENTS = 1 << 16, CHUNK_PIECES = 32 };

typedef struct saving {
    krait_checkpoint *checkpoint; /* NULL: random parameters */
    uint64_t seed;                /* of the next one */
    krait_config config;
    const char *path;
    const krait_save_options *options;
    kr_choice_use *uses;
    kr_calibration *calibration; /* NULL: none */
    size_t n_calibrated;         /* matrices that it is for */
    kr_tuning *tuning;           /* NULL: none */
    int threads;
    kr_gguf_writer writer;
    uint64_t done, total;     /* elements */
    size_t chunk;             /* elements of the largest chunk of any parameter */
    float *values, *returned; /* [chunk]: as they are, and as the encoded ones read */
    unsigned char *encoded;   /* [chunk] of at most 4 bytes */
} saving;

/* ---- one parameter ----------------------------------------------------------------------------------------------- */

typedef struct plan {
    const kr_parameter_place *place;
    const kr_tensor *tensor; /* NULL: random */
    krait_dtype from, to;
    const char *reason; /* for another type than was asked for; NULL: none */
    char reason_text[64];
    size_t rows, columns;
    size_t piece_rows;
    bool exp;    /* A_log becomes -exp(A_log) */
    bool bytes;  /* stored as it is to be: copied bit for bit */
    bool exact;  /* stored in another order: rearranged */
    bool blocks; /* numbers are to be chosen */
    bool calibrated;
    kr_tuned tuned; /* numbers or values that take the place of the tensor's */
} plan;

static krait_status make_plan(plan *p, saving *s, const kr_parameter_place *place, krait_error *error)
{
    static const krait_dtype dtypes[] = {
        [KRAIT_WEIGHT_AUTO] = KRAIT_DTYPE_F32,  [KRAIT_WEIGHT_F32] = KRAIT_DTYPE_F32, [KRAIT_WEIGHT_F16] = KRAIT_DTYPE_F16,
        [KRAIT_WEIGHT_BF16] = KRAIT_DTYPE_BF16, [KRAIT_WEIGHT_Q8] = KRAIT_DTYPE_Q8_0, [KRAIT_WEIGHT_Q4] = KRAIT_DTYPE_Q4_0,
        [KRAIT_WEIGHT_Q6] = KRAIT_DTYPE_Q8_0 /* the least that holds it */
    };
    const kr_parameter *parameter = place->parameter;
    *p = (plan){ .place = place };
    if (!place->gguf_name[0])
        return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: GGUF's architecture mamba has no place for it", place->name);
    p->rows = kr_dim_size(parameter->shape[0], &s->config);
    p->columns = kr_parameter_count(parameter, &s->config) / p->rows;
    p->piece_rows = p->columns < PIECE_ELEMENTS ? PIECE_ELEMENTS / p->columns : 1;
    p->tensor = s->checkpoint ? kr_weights_stored(s->checkpoint, place) : NULL;
    p->from = p->tensor ? p->tensor->dtype : KRAIT_DTYPE_F32;
    p->exp = parameter->form == KR_MINUS_EXP_TRANSPOSED && !(s->checkpoint && s->checkpoint->gguf);
    if (parameter->flags & KR_MATRIX) {
        const krait_weight_type type = kr_type_choose(s->options, s->uses, place, p->tensor, &p->reason);
        p->to = dtypes[type];
        if (type == KRAIT_WEIGHT_Q6) {
            snprintf(p->reason_text, sizeof p->reason_text, "%s%sno q6 in GGUF files", p->reason ? p->reason : "",
                     p->reason ? "; " : "");
            p->reason = p->reason_text;
        }
        if (p->columns % kr_dtype_block(p->to) != 0) {
            snprintf(p->reason_text, sizeof p->reason_text, "rows of %zu are no whole blocks of %zu", p->columns,
                     kr_dtype_block(p->to));
            p->to = p->from == KRAIT_DTYPE_BF16 ? KRAIT_DTYPE_BF16 : KRAIT_DTYPE_F16;
            p->reason = p->reason_text;
        }
    } else {
        p->to = KRAIT_DTYPE_F32;
        p->reason = s->options->type <= KRAIT_WEIGHT_F32 ? NULL : "always f32";
    }
    p->bytes = p->tensor && p->from == p->to && !p->exp && kr_tensor_is_contiguous(p->tensor);
    p->exact = p->tensor && kr_tensor_is_packed(p->tensor) && kr_unpacks_exactly(p->to, kr_tensor_packed_type(p->tensor));
    p->blocks = kr_dtype_block(p->to) > 1 && !p->bytes && !p->exact;
    if (kr_dtype_block(p->from) > 1 && kr_dtype_block(p->to) > 1 && !p->bytes && !p->exact && !s->options->requantize)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "%s: %s is %s already: quantising it once more, to %s, would add to what was lost; say so (requantize, "
                       "--force) if that is meant",
                       p->tensor->file, p->tensor->name, krait_dtype_name(p->from), krait_dtype_name(p->to));
    return KRAIT_OK;
}

/* In a file that is to lose nothing, the values of an A_log that -exp() of it does not determine. */
static krait_status put_logarithms(saving *s, const plan *p, krait_error *error)
{
    size_t count = p->rows * p->columns;
    char key[sizeof KR_GGUF_A_LOG_PREFIX + sizeof p->place->name];
    float *values = kr_alloc(count, sizeof *values);
    if (!values) return kr_fail_memory(error, "A_log", count * sizeof *values);
    kr_tensor_to_float32(values, p->tensor);
    bool determined = true;
    for (size_t i = 0; i < count && determined; i++) {
        float again = kr_logarithm_of(kr_minus_exp(values[i]));
        determined = memcmp(&again, &values[i], sizeof again) == 0;
    }
    snprintf(key, sizeof key, KR_GGUF_A_LOG_PREFIX "%s", p->place->name);
    if (!determined) kr_gguf_put_array(&s->writer, key, KR_GGUF_F32, values, count);
    kr_free(values);
    return KRAIT_OK;
}

static krait_status list_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    saving *s = context;
    plan p;
    krait_status status = make_plan(&p, s, place, error);
    if (status) return status;
    uint64_t shape[KR_PARAMETER_DIMS];
    int n_dims = 0;
    for (const kr_dim *dim = place->parameter->shape; *dim != KR_DIM_END; dim++)
        if (*dim != KR_ONE) shape[n_dims++] = kr_dim_size(*dim, &s->config);
    kr_gguf_put_tensor(&s->writer, place->gguf_name, p.to, n_dims, shape);
    if (p.exp && p.tensor && s->options->type <= KRAIT_WEIGHT_BF16) status = put_logarithms(s, &p, error);
    size_t rows = p.piece_rows * CHUNK_PIECES < p.rows ? p.piece_rows * CHUNK_PIECES : p.rows;
    if (rows * p.columns > s->chunk) s->chunk = rows * p.columns;
    s->total += p.rows * p.columns;
    s->n_calibrated += p.blocks;
    return status;
}

/* ---- a chunk of it ----------------------------------------------------------------------------------------------- */

typedef struct chunk {
    const saving *saving;
    const plan *plan;
    size_t first, rows;
    struct {
        double error, square; /* sums over its elements */
        bool unfit;           /* a value that the type cannot hold */
    } pieces[CHUNK_PIECES];
} chunk;

static void read_rows(float *out, const saving *s, const plan *p, size_t first, size_t rows)
{
    size_t count = rows * p->columns;
    if (!p->tensor)
        kr_parameter_draw(out, p->place->parameter, &s->config, s->seed, first * p->columns, count);
    else
        kr_tensor_rows_to_float32(out, p->tensor, first, rows);
    for (size_t i = 0; i < count && p->exp; i++) out[i] = kr_minus_exp(out[i]);
}

static void encode(unsigned char *out, krait_dtype dtype, const float *values, size_t count)
{
    if (dtype == KRAIT_DTYPE_F32)
        memcpy(out, values, count * sizeof *values);
    else if (kr_dtype_block(dtype) > 1)
        kr_blocks_from_float32(out, dtype, values, count / kr_dtype_block(dtype));
    else
        for (size_t i = 0; i < count; i++) {
            uint16_t bits = dtype == KRAIT_DTYPE_F16 ? kr_float_to_f16(values[i]) : kr_float_to_bf16(values[i]);
            memcpy(out + i * sizeof bits, &bits, sizeof bits);
        }
}

static void encode_calibrated(unsigned char *out, const saving *s, const plan *p, int thread, const float *values, size_t first,
                              size_t rows)
{
    const size_t blocks = p->columns / kr_dtype_block(p->to);
    const krait_weight_type type = p->to == KRAIT_DTYPE_Q4_0 ? KRAIT_WEIGHT_Q4 : KRAIT_WEIGHT_Q8;
    for (size_t row = 0, n; row < rows; row += n) {
        n = rows - row < KR_CHOICE_ROWS ? rows - row : KR_CHOICE_ROWS;
        kr_numbers numbers = kr_calibration_choose(s->calibration, thread, type, first + row, n, values + row * p->columns);
        kr_blocks_from_numbers(out + row * blocks * kr_dtype_size(p->to), p->to, &numbers, n * blocks);
    }
}

static void encode_tuned(unsigned char *out, const plan *p, size_t first, size_t rows)
{
    if (p->tuned.values) {
        encode(out, p->to, p->tuned.values + first * p->columns, rows * p->columns);
        return;
    }
    const kr_numbers numbers = { p->tuned.numbers.numbers + first * p->columns,
                                 p->tuned.numbers.scales + first * kr_runs_of(p->columns) };
    kr_blocks_from_numbers(out, p->to, &numbers, rows * (p->columns / kr_dtype_block(p->to)));
}

static bool all_finite(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static void convert_piece(chunk *c, size_t piece, int thread)
{
    const plan *p = c->plan;
    const saving *s = c->saving;
    size_t first = piece * p->piece_rows, rows = c->rows - first < p->piece_rows ? c->rows - first : p->piece_rows;
    size_t at = first * p->columns, count = rows * p->columns, block = kr_dtype_block(p->to);
    float *values = s->values + at, *returned = s->returned + at;
    unsigned char *encoded = s->encoded + at / block * kr_dtype_size(p->to);
    if (p->exact) {
        kr_unpack_blocks(encoded, kr_tensor_packed_type(p->tensor), p->tensor->data, p->columns, c->first + first, rows);
        return;
    }
    read_rows(values, s, p, c->first + first, rows);
    bool finite = all_finite(values, count);
    c->pieces[piece].unfit = !finite && block > 1;
    if (c->pieces[piece].unfit) return;
    if (p->tuned.numbers.numbers || p->tuned.values)
        encode_tuned(encoded, p, c->first + first, rows);
    else if (p->calibrated)
        encode_calibrated(encoded, s, p, thread, values, c->first + first, rows);
    else
        encode(encoded, p->to, values, count);
    kr_to_float32(returned, p->to, encoded, count);
    c->pieces[piece].unfit = finite && !all_finite(returned, count);
    for (size_t i = 0; i < count; i++) {
        double value = (double)values[i], error = (double)returned[i] - value;
        c->pieces[piece].square += value * value;
        c->pieces[piece].error += error * error;
    }
}

static void convert_share(void *context, int thread, int n_threads)
{
    chunk *c = context;
    size_t begin, end, pieces = (c->rows + c->plan->piece_rows - 1) / c->plan->piece_rows;
    kr_share(pieces, 1, thread, n_threads, &begin, &end);
    for (size_t i = begin; i < end; i++) convert_piece(c, i, thread);
}

static krait_status report(saving *s, size_t count, krait_error *error)
{
    const krait_progress *progress = &s->options->progress;
    s->done += count;
    if (s->checkpoint) kr_checkpoint_forget(s->checkpoint);
    if (s->calibration) return kr_calibration_report(s->calibration, error);
    if (progress->report && !progress->report(progress->user, "writing", s->done, s->total))
        return kr_fail(error, KRAIT_ERROR_INTERRUPTED, "%s: writing was interrupted", s->path);
    return KRAIT_OK;
}

/* Sums are taken in the order of the pieces, whoever computed them. */
static krait_status write_chunk(saving *s, chunk *c, double *sum, double *square, krait_error *error)
{
    const plan *p = c->plan;
    memset(c->pieces, 0, sizeof c->pieces);
    bool small = c->rows * p->columns < PIECE_ELEMENTS;
    kr_parallel(small ? 1 : s->threads, convert_share, c);
    for (size_t i = 0; i < CHUNK_PIECES; i++) {
        if (c->pieces[i].unfit)
            return kr_fail(error, KRAIT_ERROR_UNSUPPORTED, "%s: expected finite values that %s can hold, found others",
                           p->place->gguf_name, krait_dtype_name(p->to));
        *sum += c->pieces[i].error;
        *square += c->pieces[i].square;
    }
    size_t bytes = c->rows * p->columns / kr_dtype_block(p->to) * kr_dtype_size(p->to);
    krait_status status = kr_gguf_write(&s->writer, s->encoded, bytes, error);
    return status ? status : report(s, c->rows * p->columns, error);
}

static krait_status copy_bytes(saving *s, const plan *p, krait_error *error)
{
    size_t left = p->rows, rows = p->piece_rows * CHUNK_PIECES, row = p->columns;
    const char *data = p->tensor->data;
    krait_status status = KRAIT_OK;
    while (left > 0 && !status) {
        size_t now = left < rows ? left : rows, bytes = now * row / kr_dtype_block(p->to) * kr_dtype_size(p->to);
        status = kr_gguf_write(&s->writer, data, bytes, error);
        if (!status) status = report(s, now * row, error);
        data += bytes;
        left -= now;
    }
    return status;
}

static krait_status write_place(void *context, const kr_parameter_place *place, krait_error *error)
{
    saving *s = context;
    plan p;
    double sum = 0, square = 0;
    krait_status status = make_plan(&p, s, place, error);
    if (status) return status;
    if (s->calibration && p.blocks) status = kr_calibration_begin(s->calibration, place, &p.calibrated, error);
    if (status) return status;
    if (s->tuning && kr_tuning_find(s->tuning, place->parameter, place->layer, &p.tuned)) p.bytes = false;
    if (p.bytes)
        status = copy_bytes(s, &p, error);
    else
        for (size_t first = 0; first < p.rows && !status; first += p.piece_rows * CHUNK_PIECES) {
            size_t rows = p.rows - first < p.piece_rows * CHUNK_PIECES ? p.rows - first : p.piece_rows * CHUNK_PIECES;
            status = write_chunk(s, &(chunk){ .saving = s, .plan = &p, .first = first, .rows = rows }, &sum, &square, error);
        }
    s->seed++;
    if (!status) status = kr_gguf_end_tensor(&s->writer, error);
    if (!status && s->options->on_tensor) {
        size_t count = p.rows * p.columns;
        s->options->on_tensor(s->options->user,
                              &(krait_saved_tensor){ .name = place->gguf_name,
                                                     .source_name = p.tensor ? p.tensor->name : place->name,
                                                     .from = p.from,
                                                     .to = p.to,
                                                     .elements = count,
                                                     .bytes = count / kr_dtype_block(p.to) * kr_dtype_size(p.to),
                                                     .error = square > 0 ? sqrt(sum / square) : 0,
                                                     .reason = p.reason });
    }
    return status;
}

/* llama.cpp wants a bias of the convolution: of a model that has none, zeros, behind everything else. */
static void list_zeros(saving *s)
{
    const uint64_t d_inner = (uint64_t)s->config.d_inner;
    char name[KR_GGUF_MAX_NAME + 1];
    for (int64_t i = 0; i < s->config.n_layer && !s->config.conv_bias; i++) {
        snprintf(name, sizeof name, "blk.%lld.ssm_conv1d.bias", (long long)i);
        kr_gguf_put_tensor(&s->writer, name, KRAIT_DTYPE_F32, 1, &d_inner);
    }
}

static krait_status write_zeros(saving *s, krait_error *error)
{
    static const float zeros[256];
    krait_status status = KRAIT_OK;
    for (int64_t i = 0; i < s->config.n_layer && !s->config.conv_bias && !status; i++) {
        for (size_t left = (size_t)s->config.d_inner, n; left && !status; left -= n) {
            n = left < 256 ? left : 256;
            status = kr_gguf_write(&s->writer, zeros, n * sizeof *zeros, error);
        }
        if (!status) status = kr_gguf_end_tensor(&s->writer, error);
    }
    return status;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

/* The last part of the path without a weights file's ending. */
static void put_name(saving *s)
{
    static const char *const endings[] = { ".safetensors", ".gguf", ".bin", ".pt", ".json" };
    const char *path = s->checkpoint ? krait_checkpoint_path(s->checkpoint) : "random";
    char name[256];
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t first = length;
    while (first > 0 && path[first - 1] != '/') first--;
    snprintf(name, sizeof name, "%.*s", (int)(length - first), path + first);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t n = strlen(name), ending = strlen(endings[i]);
        if (n > ending && strcmp(name + n - ending, endings[i]) == 0) name[n - ending] = '\0';
    }
    kr_gguf_put_text(&s->writer, "general.name", name);
}

static void put_config(saving *s)
{
    static const uint32_t file_types[] = {
        [KRAIT_WEIGHT_AUTO] = KR_GGUF_FILE_F32,  [KRAIT_WEIGHT_F32] = KR_GGUF_FILE_F32, [KRAIT_WEIGHT_F16] = KR_GGUF_FILE_F16,
        [KRAIT_WEIGHT_BF16] = KR_GGUF_FILE_BF16, [KRAIT_WEIGHT_Q8] = KR_GGUF_FILE_Q8_0, [KRAIT_WEIGHT_Q4] = KR_GGUF_FILE_Q4_0,
        [KRAIT_WEIGHT_Q6] = KR_GGUF_FILE_Q8_0
    };
    kr_gguf_writer *w = &s->writer;
    const krait_config *c = &s->config;
    bool falcon = c->family == KRAIT_FAMILY_FALCON_MAMBA;
    kr_gguf_put_text(w, "general.architecture", "mamba");
    put_name(s);
    kr_gguf_put_u32(w, "general.file_type", file_types[s->options->type]);
    kr_gguf_put_u32(w, "general.quantization_version", 2);
    kr_gguf_put_u32(w, "mamba.context_length", 1 << 20); /* no limit; llama.cpp's own converter says this */
    kr_gguf_put_u32(w, "mamba.embedding_length", (uint32_t)c->d_model);
    kr_gguf_put_u32(w, "mamba.feed_forward_length", 0);
    kr_gguf_put_u32(w, "mamba.attention.head_count", 0);
    kr_gguf_put_u32(w, "mamba.block_count", (uint32_t)c->n_layer);
    kr_gguf_put_u32(w, "mamba.ssm.conv_kernel", (uint32_t)c->d_conv);
    kr_gguf_put_u32(w, "mamba.ssm.inner_size", (uint32_t)c->d_inner);
    kr_gguf_put_u32(w, "mamba.ssm.state_size", (uint32_t)c->d_state);
    kr_gguf_put_u32(w, "mamba.ssm.time_step_rank", (uint32_t)c->dt_rank);
    kr_gguf_put_bool(w, "mamba.ssm.dt_b_c_rms", falcon);
    kr_gguf_put_f32(w, KR_GGUF_NORM_EPS, c->norm_eps);
    if (falcon) kr_gguf_put_f32(w, KR_GGUF_MIXER_NORM_EPS, c->mixer_norm_eps);
    kr_gguf_put_u32(w, "mamba.vocab_size", (uint32_t)c->vocab_size);
}

static krait_status put_tokenizer(saving *s, krait_error *error)
{
    const char *cutting = NULL, *reason = NULL;
    krait_checkpoint *c = s->checkpoint;
    kr_tokenizer_json tokenizer;
    kr_arena arena = { 0 };
    krait_status status = KRAIT_OK;
    krait_error why = { 0 };
    const kr_file *file = c ? kr_checkpoint_file(c, "tokenizer.json") : NULL;
    bool inside = c && c->gguf && kr_gguf_has_tokenizer(c->gguf), has = inside || file;
    if (inside)
        status = kr_gguf_tokenizer_read(&tokenizer, &arena, c->gguf, &why);
    else if (has)
        status = kr_tokenizer_json_read(&tokenizer, &arena, file->name, file->data, file->size, &why);
    if (status == KRAIT_ERROR_UNSUPPORTED) { /* the model is of use without */
        reason = why.message;
        status = KRAIT_OK;
    } else if (status) {
        if (error) *error = why;
    } else if (has) {
        kr_gguf_special_ids ids = { s->config.bos_id, s->config.eos_id };
        status = kr_gguf_put_tokenizer(&s->writer, &tokenizer, (size_t)s->config.vocab_size, ids, &cutting, &reason, error);
        if (!status && !reason && !cutting)
            kr_checkpoint_add_note(c, "GGUF has no name for how this tokenizer cuts text; \"default\" is written, which may give "
                                      "other ids");
    }
    const char *whole = file ? file->data : NULL;
    size_t length = file ? file->size : 0;
    if (inside && !kr_gguf_string(kr_gguf_find(c->gguf, KR_GGUF_TOKENIZER_JSON), &whole, &length)) whole = NULL;
    if (!status && whole) kr_gguf_put_string(&s->writer, KR_GGUF_TOKENIZER_JSON, whole, length);
    if (reason) kr_checkpoint_add_note(c, "the tokenizer is left out: %s", reason);
    if (!has || reason) kr_gguf_put_no_tokenizer(&s->writer);
    kr_arena_free(&arena);
    return status;
}

static void add_notes(saving *s)
{
    const krait_config *c = &s->config;
    if (!s->checkpoint) return;
    if (!c->conv_bias) kr_checkpoint_add_note(s->checkpoint, "no conv1d.bias: zeros are written, as llama.cpp wants one");
    if (c->d_inner != 2 * c->d_model)
        kr_checkpoint_add_note(s->checkpoint,
                               "d_inner is %lld, d_model %lld: llama.cpp runs models only where it is twice as much",
                               (long long)c->d_inner, (long long)c->d_model);
    if (c->family == KRAIT_FAMILY_FALCON_MAMBA && c->mixer_norm_eps != c->norm_eps)
        kr_checkpoint_add_note(s->checkpoint, "mixer_rms_eps is %g, for which llama.cpp takes %g, as for the other norms",
                               (double)c->mixer_norm_eps, (double)c->norm_eps);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* What a parameter is tuned as; its plan was made before without complaint. */
static krait_weight_type tuning_type(void *saving_, const kr_parameter_place *place)
{
    plan p;
    make_plan(&p, saving_, place, NULL);
    switch (p.to) {
    case KRAIT_DTYPE_F32: return KRAIT_WEIGHT_F32;
    case KRAIT_DTYPE_F16: return KRAIT_WEIGHT_F16;
    case KRAIT_DTYPE_BF16: return KRAIT_WEIGHT_BF16;
    case KRAIT_DTYPE_Q4_0: return p.blocks ? KRAIT_WEIGHT_Q4 : KRAIT_WEIGHT_AUTO;
    case KRAIT_DTYPE_Q8_0: return p.blocks ? KRAIT_WEIGHT_Q8 : KRAIT_WEIGHT_AUTO;
    default: return KRAIT_WEIGHT_AUTO;
    }
}

static krait_status save(saving *s, krait_error *error)
{
    const krait_config *c = &s->config;
    const uint64_t seed = s->seed;
    s->threads = s->options->threads > 0 ? s->options->threads : kr_threads_available();
    s->uses = kr_alloc_zero(s->options->n_choices, sizeof *s->uses);
    krait_status status = s->uses ? KRAIT_OK : kr_fail_memory(error, "choices", s->options->n_choices);
    put_config(s);
    if (!status) status = put_tokenizer(s, error);
    if (!status) status = kr_each_parameter(c, NULL, list_place, s, error);
    if (!status) status = kr_type_check_choices(s->options, s->uses, error);
    if (!status) {
        add_notes(s);
        list_zeros(s);
        s->values = kr_alloc(s->chunk, sizeof *s->values);
        s->returned = kr_alloc(s->chunk, sizeof *s->returned);
        s->encoded = kr_alloc(s->chunk, sizeof(float));
        if (!s->values || !s->returned || !s->encoded)
            status = kr_fail_memory(error, "a piece of a tensor", s->chunk * sizeof(float));
    }
    if (!status && s->options->n_calibration && !s->options->tune_steps)
        status = kr_calibration_create(&s->calibration, s->checkpoint, c, s->options, s->threads, s->n_calibrated, error);
    if (!status) status = kr_gguf_begin(&s->writer, s->path, error);
    if (!status && s->options->tune_steps)
        status = kr_tuning_create(&s->tuning, s->checkpoint, c, s->options, s->threads, tuning_type, s, error);
    s->seed = seed;
    if (!status) status = kr_each_parameter(c, NULL, write_place, s, error);
    if (!status) status = write_zeros(s, error);
    if (!status) status = kr_gguf_commit(&s->writer, error);
    kr_gguf_abandon(&s->writer);
    kr_calibration_free(s->calibration);
    kr_tuning_free(s->tuning);
    kr_free(s->uses);
    kr_free(s->values);
    kr_free(s->returned);
    kr_free(s->encoded);
    return status;
}

krait_status krait_checkpoint_save_gguf(krait_checkpoint *checkpoint, const char *path, const krait_save_options *options,
                                        krait_error *error)
{
    static const krait_save_options usual;
    if (!checkpoint || !path)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_checkpoint_save_gguf: %s is NULL", checkpoint ? "path" : "checkpoint");
    saving s = { .checkpoint = checkpoint, .path = path, .options = options ? options : &usual };
    krait_status status = kr_type_check_options(s.options, error);
    if (!status) status = krait_checkpoint_config(checkpoint, &s.config, error);
    return status ? status : save(&s, error);
}

krait_status krait_random_save_gguf(const krait_config *config, uint64_t seed, const char *path,
                                    const krait_save_options *options, krait_error *error)
{
    static const krait_save_options usual;
    if (!config || !path)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_random_save_gguf: %s is NULL", config ? "path" : "config");
    saving s = { .seed = kr_parameter_seed(seed), .config = *config, .path = path, .options = options ? options : &usual };
    krait_status status = kr_type_check_options(s.options, error);
    if (!status) status = kr_config_check(config, error);
    if (!status && s.options->n_calibration)
        status = kr_fail(error, KRAIT_ERROR_ARGUMENT, "krait_random_save_gguf: random weights have nothing to be calibrated for");
    return status ? status : save(&s, error);
}
