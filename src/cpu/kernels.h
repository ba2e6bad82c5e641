/* The inner functions of the CPU device, one table per instruction set.
 *
 * Each is an op on a share of its work: single-threaded, without allocation. The drivers (scan.c, conv.c, norm.c, linear.c,
 * mixer_step.c) cut the work and run the shares on threads. A result has the same bits whatever the shares.
 * kr_cpu_kernels_plain holds the references, the specification. The tables of the vector instruction sets are made by
 * kernels_<isa>.c, which includes vec_<isa>.h, exp2_<how>.h and then every body (math_body.h, scan_body.h, conv_body.h, norm_body.h,
 * matvec_body.h): one text per kernel, compiled once per instruction set. */
#ifndef KR_CPU_KERNELS_H
#define KR_CPU_KERNELS_H

#include "cpu/gemm.h"
#include "ops/ops.h"

/* Quantised rows of x, in blocks of 32 columns. */
typedef struct kr_quantized {
    size_t stride;        /* columns, filled up with zeros to a multiple of 64 */
    int8_t *values;       /* [n_tokens, stride]; for bfloat16 weights twice as many bytes, and no scales */
    float *scale;         /* [n_tokens, stride / 32] */
    int32_t *offset;      /* [n_tokens, stride / 32]: minus the block's sum times the offset of the weights' numbers */
    float *tile_scale;    /* [tiles of 16 tokens, stride / 32, 16]: scale once more, where dot multiplies tiles (tiles_amx.c), */
    int32_t *tile_offset; /* and offset */
    bool in_rows;         /* bfloat16 in rows, for the library, whatever dot wants */
} kr_quantized;

/* Carves the rows of n tokens from memory, aligned to 64, or only counts its bytes. */
size_t kr_quantized_carve(kr_quantized *x, void *memory, size_t n_tokens, size_t columns);

/* A piece of the scan's backward pass: the tokens of one chunk, channels begin..end-1 of one group, at most KR_SCAN_TILE_CHANNELS. */
typedef struct kr_scan_part {
    size_t first, count; /* tokens; count <= KR_SCAN_CHUNK */
    size_t group, begin, end;
    const float *saved; /* [d_state, d_inner] (x2): before token `first` */
    float *carry;       /* [d_state, d_inner] (x2): in the gradient of the states after the chunk, out of those before */
    kr_view dB, dC;     /* [count, d_state] (x2), written: the sums over these channels alone; nonsense if B or C is fixed */
} kr_scan_part;

typedef struct kr_cpu_kernels {
    /* Tokens begin..end-1. */
    void (*rms_norm)(const kr_rms_norm *op, size_t begin, size_t end);
    /* Channels begin..end-1 of every sequence, states included. */
    void (*conv)(const kr_conv *op, size_t begin, size_t end);
    /* The same. scratch: kr_cpu_scan_scratch(1, d_state) bytes, aligned to 64. Vectors: real A, B and C per token,
     * d_state <= KR_SCAN_MAX_STATE only. */
    void (*scan)(const kr_scan *op, size_t begin, size_t end, void *scratch);
    /* The gradient of what kr_scan_part says, but for dB and dC per token. scratch: what kr_cpu_scan_backward_scratch() counts for a
     * thread, aligned to 64. Vectors: as in scan. */
    void (*scan_backward)(const kr_scan_backward *op, const kr_scan_part *part, void *scratch);
    /* Channels begin..end-1 of every sequence. */
    void (*conv_backward)(const kr_conv_backward *op, size_t begin, size_t end);
    /* Of tokens begin..end-1: factors[t] = { r, r^3 / dim * sum_j g[j] x[t, j] }, see ops.h. */
    void (*rms_norm_factors)(const kr_rms_norm_backward *op, float (*factors)[2], size_t begin, size_t end);
    /* Channels begin..end-1 of dx and dweight. */
    void (*rms_norm_backward)(const kr_rms_norm_backward *op, const float (*factors)[2], size_t begin, size_t end);
    /* Columns begin..end-1 of y, that is rows begin..end-1 of the weight, for all tokens: decode and small batches. An element
     * of y depends on its rows of x and weight alone, not on n_tokens or the range. */
    void (*matvec)(const kr_linear *op, size_t begin, size_t end);
    /* Whether bfloat16 weights go through quantize and dot, which then round x to bfloat16, instead of matvec. */
    bool bf16;
    /* Rows of x begin..end-1 of a product with grouped weights, quantised as ops.h says, or rounded for bfloat16 weights, in columns from..to-1
     * of x->stride. begin is a multiple of KR_TILE_TOKENS, and end as well, unless it is the last; from and to are of KR_BLOCK_COLUMNS. */
    void (*quantize)(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to);
    /* matvec for what quantize made. Grouped weights: begin is a multiple of KR_GROUP_ROWS, the same bits in every table. `then`: the row
     * that the caller goes on with, if there is one: its memory may be asked for. */
    void (*dot)(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then);
    /* Rows begin..end-1 of y of a product whose a is float32 and not that of `type`, and whose b is not transposed. */
    void (*product)(const kr_gemm_product *p, size_t begin, size_t end);
    /* Rows begin..end-1; losses: [n_tokens]. */
    void (*cross_entropy)(const kr_cross_entropy *op, double *losses, size_t begin, size_t end);
    /* Sum of squares of n elements, at most KR_SQUARES_BLOCK. */
    double (*sum_squares)(const float *x, size_t n);
    /* Elements begin..end-1. */
    void (*adamw)(const kr_adamw *op, size_t begin, size_t end);
    /* y[i] = f(x[i]), the functions inside conv and scan, for tests. y may be x. */
    void (*exp)(float *y, const float *x, size_t n);
    void (*softplus)(float *y, const float *x, size_t n);
    void (*silu)(float *y, const float *x, size_t n);
} kr_cpu_kernels;

extern const kr_cpu_kernels kr_cpu_kernels_plain, kr_cpu_kernels_avx2, kr_cpu_kernels_avx512, kr_cpu_kernels_avx512_bf16,
    kr_cpu_kernels_avx2_vnni, kr_cpu_kernels_neon, kr_cpu_kernels_neon_dot, kr_cpu_kernels_neon_bf16, kr_cpu_kernels_avx512_amx;

/* The table of an instruction set that this build has. */
const kr_cpu_kernels *kr_cpu_kernels_of(krait_isa isa);

/* The references, each in its op's file. */
void kr_rms_norm_plain(const kr_rms_norm *op, size_t begin, size_t end);
void kr_conv_plain(const kr_conv *op, size_t begin, size_t end);
void kr_scan_plain(const kr_scan *op, size_t begin, size_t end, void *scratch); /* scratch unused */
void kr_rms_norm_factors_plain(const kr_rms_norm_backward *op, float (*factors)[2], size_t begin, size_t end);
void kr_rms_norm_backward_plain(const kr_rms_norm_backward *op, const float (*factors)[2], size_t begin, size_t end);
void kr_conv_backward_plain(const kr_conv_backward *op, size_t begin, size_t end);
void kr_scan_backward_plain(const kr_scan_backward *op, const kr_scan_part *part, void *scratch);
void kr_matvec_plain(const kr_linear *op, size_t begin, size_t end);
void kr_dot_plain(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t then);
void kr_quantize_plain(const kr_linear *op, const kr_quantized *x, size_t begin, size_t end, size_t from, size_t to);
void kr_product_plain(const kr_gemm_product *p, size_t begin, size_t end);
void kr_cross_entropy_plain(const kr_cross_entropy *op, double *losses, size_t begin, size_t end);
double kr_sum_squares_plain(const float *x, size_t n);
void kr_adamw_plain(const kr_adamw *op, size_t begin, size_t end);

/* The ops of the device's table. */
void kr_cpu_embedding(const kr_exec *exec, const kr_embedding *op);
void kr_cpu_linear(const kr_exec *exec, const kr_linear *op);
void kr_cpu_rms_norm(const kr_exec *exec, const kr_rms_norm *op);
void kr_cpu_conv(const kr_exec *exec, const kr_conv *op);
void kr_cpu_scan(const kr_exec *exec, const kr_scan *op);
void kr_cpu_mixer_step(const kr_exec *exec, const kr_mixer_step *op);
void kr_cpu_rms_norm_backward(const kr_exec *exec, const kr_rms_norm_backward *op);
void kr_cpu_conv_backward(const kr_exec *exec, const kr_conv_backward *op);
void kr_cpu_scan_backward(const kr_exec *exec, const kr_scan_backward *op);
void kr_cpu_linear_backward(const kr_exec *exec, const kr_linear_backward *op);
void kr_cpu_embedding_backward(const kr_exec *exec, const kr_embedding_backward *op);
void kr_cpu_cross_entropy(const kr_exec *exec, const kr_cross_entropy *op);
void kr_cpu_sum_squares(const kr_exec *exec, const kr_sum_squares *op);
void kr_cpu_adamw(const kr_exec *exec, const kr_adamw *op);
/* Whether weights of a type go through quantize and dot. */
bool kr_cpu_quantizes(const kr_cpu_kernels *kernels, krait_weight_type type);
/* dot or matvec, on the caller's thread; x: what quantize made, if that is so. */
void kr_cpu_linear_rows(const kr_cpu_kernels *kernels, const kr_linear *op, const kr_quantized *x, size_t begin, size_t end,
                        size_t then);
/* Starts to read the weights of rows begin..end-1, at most `most` bytes, if there are so many tokens that the kernels would wait for them. */
void kr_cpu_linear_ask(const kr_linear *op, size_t begin, size_t end, size_t most);
/* Columns begin..end-1 of y on the caller's thread, with any weights; scratch: kr_cpu_linear_scratch(). */
void kr_cpu_linear_alone(const kr_cpu_kernels *kernels, const kr_linear *op, size_t begin, size_t end, void *scratch);
size_t kr_cpu_linear_scratch(int threads, size_t n_tokens, size_t rows, size_t columns);
size_t kr_cpu_scan_scratch(int threads, size_t d_state);
size_t kr_cpu_rms_norm_backward_scratch(size_t n_tokens);
size_t kr_cpu_scan_backward_scratch(int threads, size_t d_inner, size_t d_state, size_t n_groups);
size_t kr_cpu_linear_backward_scratch(int threads, size_t n_tokens, size_t rows, size_t columns);
size_t kr_cpu_cross_entropy_scratch(size_t n_tokens);
size_t kr_cpu_sum_squares_scratch(size_t count);
size_t kr_cpu_mixer_step_scratch(int threads, size_t n_sequences, size_t d_inner, size_t d_state, size_t dt_rank);

/* The scan's vectors work on tiles of tokens x channels, kept in scratch, so that a stride of a power of two between tokens does
 * not evict them; a tile's channels fill whole cache lines. */
enum { KR_SCAN_MAX_STATE = 256, KR_SCAN_TILE_TOKENS = 32, KR_SCAN_TILE_CHANNELS = 64 };

/* Scratch of the scan's backward pass for a thread: seven numbers per token and channel of a tile, and per token a vector of channels
 * times as many states as are held in registers, at most 128. */
enum { KR_SCAN_BACKWARD_FLOATS = 7 * KR_SCAN_CHUNK * KR_SCAN_TILE_CHANNELS + (KR_SCAN_CHUNK + 1) * 128 };

/* Up to so many tokens kr_linear is our kernels', which are faster than the library's there (bench/bench_linear.c) and give each
 * token the same bits however many there are: kr_device.independent_tokens. */
enum { KR_MATVEC_MAX_TOKENS = 128 };

/* Tokens that a tile may hold, and rows of a bfloat16 weight that are read side by side. */
enum { KR_TILE_TOKENS = 16, KR_PASS_ROWS = 32 };

/* A sum of squares is a sum of such sums. */
enum { KR_SQUARES_BLOCK = 1 << 14 };

/* Work below which an op stays on the caller's thread: waking others costs about what these take. */
enum { KR_SERIAL_ELEMENTS = 1 << 16, KR_SERIAL_SCAN_STEPS = 1 << 17 /* tokens * channels * states */ };

#endif
