/* Large products by oneDNN's matmul, which takes the weights as they lie and packs blocks of them on its way: 90-95 % of the FMA
 * limit at 256 rows and more, where dnnl_sgemm reaches 60-90 % on two threads. (Weights packed beforehand give 3 % more, for
 * a second copy of them.) Primitives are made anew for each call, which takes 4 us: oneDNN caches what is behind them. */
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <signal.h>

#include "base/threads.h"
#include "cpu/device.h"
#include "cpu/gemm.h"

#define TEXT(number)    #number
#define TEXT_OF(number) TEXT(number)

const char *kr_gemm_name(void)
{
    return "onednn " TEXT_OF(DNNL_VERSION_MAJOR) "." TEXT_OF(DNNL_VERSION_MINOR) "." TEXT_OF(DNNL_VERSION_PATCH);
}

/* ---- what oneDNN 2 and 3 spell differently ----------------------------------------------------------------------- */

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t description;

static bool describe(description *d, dnnl_data_type_t type, size_t rows, size_t columns, size_t row_stride, size_t column_stride)
{
    dnnl_dims_t size = { (dnnl_dim_t)rows, (dnnl_dim_t)columns };
    dnnl_dims_t stride = { (dnnl_dim_t)row_stride, (dnnl_dim_t)column_stride };
    return dnnl_memory_desc_create_with_strides(d, 2, size, type, stride) == dnnl_success;
}

static void forget(description *d)
{
    if (*d) dnnl_memory_desc_destroy(*d);
}

static bool add_to_destination(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_f32) == dnnl_success; }

static bool create_product(dnnl_primitive_desc_t *product, dnnl_engine_t engine, const description *x, const description *w,
                           const description *y, dnnl_primitive_attr_t attributes)
{
    return dnnl_matmul_primitive_desc_create(product, engine, *x, *w, NULL, *y, attributes) == dnnl_success;
}

static bool create_memory(dnnl_memory_t *memory, const description *d, dnnl_engine_t engine, const void *data)
{
    return dnnl_memory_create(memory, *d, engine, (void *)data) == dnnl_success;
}

#else

typedef dnnl_memory_desc_t description;

static bool describe(description *d, dnnl_data_type_t type, size_t rows, size_t columns, size_t row_stride, size_t column_stride)
{
    dnnl_dims_t size = { (dnnl_dim_t)rows, (dnnl_dim_t)columns };
    dnnl_dims_t stride = { (dnnl_dim_t)row_stride, (dnnl_dim_t)column_stride };
    return dnnl_memory_desc_init_by_strides(d, 2, size, type, stride) == dnnl_success;
}

static void forget(description *d) { (void)d; }

static bool add_to_destination(dnnl_post_ops_t ops) { return dnnl_post_ops_append_sum(ops, 1.0f) == dnnl_success; }

static bool create_product(dnnl_primitive_desc_t *product, dnnl_engine_t engine, const description *x, const description *w,
                           const description *y, dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t matmul;
    return dnnl_matmul_desc_init(&matmul, x, w, NULL, y) == dnnl_success
           && dnnl_primitive_desc_create(product, &matmul, attributes, engine, NULL) == dnnl_success;
}

static bool create_memory(dnnl_memory_t *memory, const description *d, dnnl_engine_t engine, const void *data)
{
    return dnnl_memory_create(memory, d, engine, (void *)data) == dnnl_success;
}

#endif

/* For bfloat16 oneDNN has its reference alone elsewhere. */
bool kr_gemm_is_fast(krait_weight_type type)
{
#if defined(__x86_64__)
    return type == KRAIT_WEIGHT_F32 || type == KRAIT_WEIGHT_BF16;
#else
    return type == KRAIT_WEIGHT_F32;
#endif
}

/* ---- the product ------------------------------------------------------------------------------------------------- */

/* All that one product needs; whatever was made is destroyed, however far it came. */
typedef struct objects {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_post_ops_t post_ops;
    dnnl_primitive_attr_t attributes;
    description a_desc, b_desc, y_desc;
    dnnl_primitive_desc_t product_desc;
    dnnl_primitive_t product;
    dnnl_memory_t a, b, y;
} objects;

static void destroy(objects *o)
{
    if (o->a) dnnl_memory_destroy(o->a);
    if (o->b) dnnl_memory_destroy(o->b);
    if (o->y) dnnl_memory_destroy(o->y);
    if (o->product) dnnl_primitive_destroy(o->product);
    if (o->product_desc) dnnl_primitive_desc_destroy(o->product_desc);
    forget(&o->a_desc);
    forget(&o->b_desc);
    forget(&o->y_desc);
    if (o->attributes) dnnl_primitive_attr_destroy(o->attributes);
    if (o->post_ops) dnnl_post_ops_destroy(o->post_ops);
    if (o->stream) dnnl_stream_destroy(o->stream);
    if (o->engine) dnnl_engine_destroy(o->engine);
}

/* oneDNN gives the working memory of a thread's products back to the system when the last of its primitives is destroyed, and the
 * next one gets it page by page, each cleared. So the last primitive is kept until the next is made or the thread
 * ends. */
static pthread_key_t last_key;
static pthread_once_t last_once = PTHREAD_ONCE_INIT;
static bool last_works;

static void destroy_last(void *last) { dnnl_primitive_destroy(last); }
static void make_last_key(void) { last_works = pthread_key_create(&last_key, destroy_last) == 0; }

/* Takes the primitive, unless that fails. */
static void keep_as_last(dnnl_primitive_t *product)
{
    if (pthread_once(&last_once, make_last_key) != 0 || !last_works) return;
    dnnl_primitive_t before = pthread_getspecific(last_key);
    if (pthread_setspecific(last_key, *product) != 0) return;
    *product = NULL;
    if (before) dnnl_primitive_destroy(before);
}

/* Some of oneDNN's kernels for float32 on x86-64 have the stack pointer in memory of malloc() while they run, until oneDNN 3.11.2
 * (github.com/uxlfoundation/oneDNN issue 4845): the frame of a signal's handler would be written over what lies below, a Ctrl-C break the heap. So
 * signals wait for the end of a product, but for those of an instruction's own failure, which cannot. */
static void get_signals_that_wait(sigset_t *set)
{
    static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
    sigfillset(set);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(set, own[i]);
}

/* OpenMP's other threads take none from their first product on: to let them again would cost a second parallel region for each. */
static void leave_signals_to_others(void *signals, int thread, int n_threads)
{
    static _Thread_local bool does;
    (void)n_threads;
    if (thread > 0 && !does) does = pthread_sigmask(SIG_BLOCK, signals, NULL) == 0;
}

static bool execute(int threads, const objects *o)
{
    dnnl_exec_arg_t arguments[] = { { DNNL_ARG_SRC, o->a }, { DNNL_ARG_WEIGHTS, o->b }, { DNNL_ARG_DST, o->y } };
    sigset_t waiting, before;
    get_signals_that_wait(&waiting);
    if (pthread_sigmask(SIG_BLOCK, &waiting, &before) != 0) return false;
    if (threads > 1) kr_parallel(threads, leave_signals_to_others, &waiting);
    bool done = dnnl_primitive_execute(o->product, o->stream, 3, arguments) == dnnl_success
                && dnnl_stream_wait(o->stream) == dnnl_success;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return done;
}

bool kr_gemm(int threads, const kr_gemm_product *p)
{
    objects o = { 0 };
    const dnnl_data_type_t type = p->type == KRAIT_WEIGHT_BF16 ? dnnl_bf16 : dnnl_f32;
    const size_t a_row = p->a_transposed ? 1 : p->lda, a_column = p->a_transposed ? p->lda : 1;
    const size_t b_row = p->b_transposed ? 1 : p->ldb, b_column = p->b_transposed ? p->ldb : 1;
    int before = kr_threads_set(threads);
    bool done = dnnl_engine_create(&o.engine, dnnl_cpu, 0) == dnnl_success
                && dnnl_stream_create(&o.stream, o.engine, dnnl_stream_default_flags) == dnnl_success
                && dnnl_post_ops_create(&o.post_ops) == dnnl_success && (!p->add || add_to_destination(o.post_ops))
                && dnnl_primitive_attr_create(&o.attributes) == dnnl_success
                && dnnl_primitive_attr_set_post_ops(o.attributes, o.post_ops) == dnnl_success
                && describe(&o.a_desc, type, p->m, p->k, a_row, a_column)
                && describe(&o.b_desc, type, p->k, p->n, b_row, b_column) && describe(&o.y_desc, dnnl_f32, p->m, p->n, p->ldy, 1)
                && create_product(&o.product_desc, o.engine, &o.a_desc, &o.b_desc, &o.y_desc, o.attributes)
                && dnnl_primitive_create(&o.product, o.product_desc) == dnnl_success
                && create_memory(&o.a, &o.a_desc, o.engine, p->a) && create_memory(&o.b, &o.b_desc, o.engine, p->b)
                && create_memory(&o.y, &o.y_desc, o.engine, p->y);
    if (done) {
        done = execute(threads, &o);
        keep_as_last(&o.product);
    }
    destroy(&o);
    kr_threads_set(before);
    return done;
}
