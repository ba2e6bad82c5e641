/* `krait inspect`: what is in a checkpoint, and whether it can be run. */
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/progress.h"
#include "cli/report.h"

/* Reading more than this for NaNs is a wait nobody asked for. */
#define QUICK_BYTES ((uint64_t)1 << 30)

typedef struct inspect_values {
    kr_model_choice choice;
    const char *model;
    bool check_values, no_check_values, json;
} inspect_values;

#define AT(field) offsetof(inspect_values, field)

static const kr_option options[] = {
    { KR_OPTION_FILE, 'm', "model", "MODEL", AT(choice.model), .help = "The same as the argument MODEL" },
    { KR_OPTION_FLAG, 0, "check-values", NULL, AT(check_values),
      .help = "Look for NaN and infinite weights however large the checkpoint is; up to 1 GB it is done anyway" },
    { KR_OPTION_FLAG, 0, "no-check-values", NULL, AT(no_check_values), .help = "Do not look for them" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
};

typedef struct values_check {
    bool done;
    uint64_t nan, infinite;
} values_check;

typedef struct inspection {
    krait_checkpoint *checkpoint;
    const char *name;
    bool runnable;
    krait_config config;
    krait_error why_not; /* unless runnable */
    size_t n_tensors;
    uint64_t bytes, elements;
    bool checked;
    values_check *values; /* [n_tensors] */
    uint64_t n_nan, n_infinite;
} inspection;

/* conv_state.i and ssm_state.i of every layer, and last_hidden: float32 (krait.h, krait_state). */
static uint64_t state_bytes(const krait_config *c)
{
    return 4 * (uint64_t)(c->n_layer * c->d_inner * (c->d_conv - 1 + c->d_state) + c->d_model);
}

static krait_tensor_info tensor(const inspection *in, size_t i)
{
    krait_tensor_info info;
    krait_checkpoint_tensor(in->checkpoint, i, &info);
    return info;
}

static uint64_t elements(const krait_tensor_info *info)
{
    uint64_t n = 1;
    for (int d = 0; d < info->n_dims; d++) n *= info->shape[d];
    return n;
}

static krait_status count_all(inspection *in, const inspect_values *values, krait_error *error)
{
    in->n_tensors = krait_checkpoint_n_tensors(in->checkpoint);
    for (size_t i = 0; i < in->n_tensors; i++) {
        krait_tensor_info info = tensor(in, i);
        in->bytes += info.bytes;
        in->elements += elements(&info);
    }
    in->checked = values->check_values || (!values->no_check_values && in->bytes <= QUICK_BYTES);
    in->values = kr_alloc_zero(in->n_tensors, sizeof *in->values);
    if (!in->values) return kr_fail_memory(error, "counts", in->n_tensors * sizeof *in->values);
    if (!in->checked) return KRAIT_OK;
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_inspect, "tensors");
    krait_status status = KRAIT_OK;
    for (size_t i = 0; !status && i < in->n_tensors; i++) {
        values_check *check = &in->values[i];
        if (!kr_progress_report(&progress, "looking for NaN", i, in->n_tensors))
            status = kr_fail(error, KRAIT_ERROR_INTERRUPTED, "interrupted");
        else
            check->done = !krait_checkpoint_count_nonfinite(in->checkpoint, i, &check->nan, &check->infinite);
        in->n_nan += check->nan;
        in->n_infinite += check->infinite;
    }
    kr_progress_end(&progress);
    return status;
}

/* ---- as text ----------------------------------------------------------------------------------------------------- */

static void put_shape(char *out, size_t size, const krait_tensor_info *info)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int d = 0; d < info->n_dims && used < size; d++)
        used += (size_t)snprintf(out + used, size - used, d ? ", %llu" : "%llu", (unsigned long long)info->shape[d]);
    if (used < size) snprintf(out + used, size - used, "]");
}

static void put_id(const char *name, int32_t id)
{
    if (id >= 0)
        printf("  %-16s %d\n", name, (int)id);
    else
        printf("  %-16s none\n", name);
}

static void put_config(const krait_config *c)
{
    printf("config\n");
    printf("  %-16s %s\n", "family", krait_family_name(c->family));
    printf("  %-16s %lld\n", "vocab_size", (long long)c->vocab_size);
    printf("  %-16s %lld\n", "d_model", (long long)c->d_model);
    printf("  %-16s %lld\n", "n_layer", (long long)c->n_layer);
    printf("  %-16s %lld\n", "d_inner", (long long)c->d_inner);
    printf("  %-16s %lld\n", "d_state", (long long)c->d_state);
    printf("  %-16s %lld\n", "d_conv", (long long)c->d_conv);
    printf("  %-16s %lld\n", "dt_rank", (long long)c->dt_rank);
    printf("  %-16s %s\n", "lm_head", c->tied_head ? "tied to the embedding" : "of its own");
    printf("  %-16s in_proj and out_proj %s, conv1d %s\n", "biases", c->proj_bias ? "yes" : "no", c->conv_bias ? "yes" : "no");
    printf("  %-16s %g\n", "norm_eps", (double)c->norm_eps);
    if (c->family == KRAIT_FAMILY_FALCON_MAMBA) printf("  %-16s %g\n", "mixer_norm_eps", (double)c->mixer_norm_eps);
    put_id("bos_id", c->bos_id);
    put_id("eos_id", c->eos_id);
    uint64_t parameters = krait_config_parameters(c);
    printf("\nparameters         %s, %s as float32\n", kr_text_count(parameters).text, kr_text_bytes(4 * parameters).text);
    printf("state              %s per sequence, whatever its length\n", kr_text_bytes(state_bytes(c)).text);
}

static void put_tensors(const inspection *in)
{
    int width = 0, type_width = 4;
    for (size_t i = 0; i < in->n_tensors; i++) {
        krait_tensor_info info = tensor(in, i);
        int length = (int)strlen(info.name), type_length = (int)strlen(krait_dtype_name(info.dtype));
        if (length > width) width = length;
        if (type_length > type_width) type_width = type_length;
    }
    if (width > 60) width = 60;
    printf("\ntensors            %zu, %s elements, %s\n", in->n_tensors, kr_text_count(in->elements).text,
           kr_text_bytes(in->bytes).text);
    for (size_t i = 0; i < in->n_tensors; i++) {
        krait_tensor_info info = tensor(in, i);
        const values_check *check = &in->values[i];
        char shape[256];
        put_shape(shape, sizeof shape, &info);
        printf("  %-*s  %-*s  %s", width, info.name, type_width, krait_dtype_name(info.dtype), shape);
        if (check->nan) printf("  %s NaN", kr_text_count(check->nan).text);
        if (check->infinite) printf("  %s infinite", kr_text_count(check->infinite).text);
        putchar('\n');
    }
}

static void put_values(const inspection *in)
{
    size_t named = 0, bad = 0;
    if (!in->checked) {
        printf("values             not looked at: --check-values reads them all\n");
        return;
    }
    if (!in->n_nan && !in->n_infinite) {
        printf("values             all finite\n");
        return;
    }
    for (size_t i = 0; i < in->n_tensors; i++) bad += in->values[i].nan || in->values[i].infinite;
    printf("values             %s NaN, %s infinite, in", kr_text_count(in->n_nan).text, kr_text_count(in->n_infinite).text);
    for (size_t i = 0; i < in->n_tensors && named < 3; i++)
        if (in->values[i].nan || in->values[i].infinite) printf("%s %s", named++ ? "," : "", tensor(in, i).name);
    if (bad > named) printf(" and %zu more", bad - named);
    putchar('\n');
}

static void put_text(const inspection *in)
{
    const char *note;
    printf("%s (layout: %s)\n\n", in->name, krait_checkpoint_layout(in->checkpoint));
    if (in->runnable) put_config(&in->config);
    put_tensors(in);
    putchar('\n');
    put_values(in);
    for (size_t i = 0; (note = krait_checkpoint_note(in->checkpoint, i)); i++) printf("%-18s %s\n", i ? "" : "notes", note);
    if (in->runnable)
        printf("runs               yes\n");
    else
        printf("runs               no: %s\n", in->why_not.message);
}

/* ---- as JSON ----------------------------------------------------------------------------------------------------- */

static void put_integer(kr_json_writer *json, const char *key, int64_t value)
{
    kr_json_key(json, key);
    kr_json_put_integer(json, value);
}

static void put_json_config(kr_json_writer *json, const krait_config *c)
{
    kr_json_key(json, "config");
    kr_json_open(json, '{');
    kr_json_key(json, "family");
    kr_json_put_text(json, krait_family_name(c->family));
    put_integer(json, "vocab_size", c->vocab_size);
    put_integer(json, "d_model", c->d_model);
    put_integer(json, "n_layer", c->n_layer);
    put_integer(json, "d_inner", c->d_inner);
    put_integer(json, "d_state", c->d_state);
    put_integer(json, "d_conv", c->d_conv);
    put_integer(json, "dt_rank", c->dt_rank);
    kr_json_key(json, "tied_head");
    kr_json_put_bool(json, c->tied_head);
    kr_json_key(json, "proj_bias");
    kr_json_put_bool(json, c->proj_bias);
    kr_json_key(json, "conv_bias");
    kr_json_put_bool(json, c->conv_bias);
    kr_json_key(json, "norm_eps");
    kr_json_put_float(json, c->norm_eps);
    if (c->family == KRAIT_FAMILY_FALCON_MAMBA) {
        kr_json_key(json, "mixer_norm_eps");
        kr_json_put_float(json, c->mixer_norm_eps);
    }
    put_integer(json, "bos_id", c->bos_id);
    put_integer(json, "eos_id", c->eos_id);
    kr_json_close(json, '}');
    put_integer(json, "parameters", (int64_t)krait_config_parameters(c));
    put_integer(json, "float32_bytes", 4 * (int64_t)krait_config_parameters(c));
    put_integer(json, "state_bytes", (int64_t)state_bytes(c));
}

static void put_json_tensor(kr_json_writer *json, const inspection *in, size_t i)
{
    krait_tensor_info info = tensor(in, i);
    kr_json_open(json, '{');
    kr_json_key(json, "name");
    kr_json_put_text(json, info.name);
    kr_json_key(json, "dtype");
    kr_json_put_text(json, krait_dtype_name(info.dtype));
    kr_json_key(json, "shape");
    kr_json_open(json, '[');
    for (int d = 0; d < info.n_dims; d++) kr_json_put_integer(json, (int64_t)info.shape[d]);
    kr_json_close(json, ']');
    put_integer(json, "bytes", (int64_t)info.bytes);
    kr_json_key(json, "file");
    kr_json_put_text(json, info.file);
    if (in->values[i].done) {
        put_integer(json, "nan", (int64_t)in->values[i].nan);
        put_integer(json, "infinite", (int64_t)in->values[i].infinite);
    }
    kr_json_close(json, '}');
}

static bool put_json(const inspection *in)
{
    kr_json_writer json = { .file = stdout };
    const char *note;
    kr_json_open(&json, '{');
    kr_json_key(&json, "model");
    kr_json_put_text(&json, in->name);
    kr_json_key(&json, "layout");
    kr_json_put_text(&json, krait_checkpoint_layout(in->checkpoint));
    kr_json_key(&json, "runs");
    kr_json_put_bool(&json, in->runnable);
    kr_json_key(&json, "error");
    kr_json_put_text(&json, in->runnable ? NULL : in->why_not.message);
    if (in->runnable) put_json_config(&json, &in->config);
    kr_json_key(&json, "notes");
    kr_json_open(&json, '[');
    for (size_t i = 0; (note = krait_checkpoint_note(in->checkpoint, i)); i++) kr_json_put_text(&json, note);
    kr_json_close(&json, ']');
    put_integer(&json, "elements", (int64_t)in->elements);
    put_integer(&json, "bytes", (int64_t)in->bytes);
    kr_json_key(&json, "values_checked");
    kr_json_put_bool(&json, in->checked);
    if (in->checked) {
        put_integer(&json, "nan", (int64_t)in->n_nan);
        put_integer(&json, "infinite", (int64_t)in->n_infinite);
    }
    kr_json_key(&json, "tensors");
    kr_json_open(&json, '[');
    for (size_t i = 0; i < in->n_tensors; i++) put_json_tensor(&json, in, i);
    kr_json_close(&json, ']');
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_inspect, &json);
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int run_inspect(const void *values_)
{
    const inspect_values *values = values_;
    kr_model_choice choice = values->choice;
    if (values->model && choice.model) return kr_options_wrong(&kr_command_inspect, "expected one model, found two");
    if (values->check_values && values->no_check_values)
        return kr_options_wrong(&kr_command_inspect, "--check-values and --no-check-values: expected one of them");
    if (values->model) choice.model = values->model;
    kr_model_source source;
    inspection in = { 0 };
    krait_error error;
    kr_interrupt_catch();
    krait_status status = kr_model_source_open_checkpoint(&source, &choice, &error);
    if (!status) {
        in.checkpoint = source.checkpoint;
        in.name = source.name;
        status = count_all(&in, values, &error);
    }
    int code = KR_EXIT_OK;
    if (status)
        code = kr_report_failure(&kr_command_inspect, &error);
    else {
        in.runnable = !krait_checkpoint_config(in.checkpoint, &in.config, &in.why_not);
        if (!values->json)
            put_text(&in);
        else if (!put_json(&in))
            code = KR_EXIT_FAILURE;
        if (!in.runnable) code = kr_report_failure(&kr_command_inspect, &in.why_not);
    }
    kr_free(in.values);
    kr_model_source_close(&source);
    return code;
}

const kr_command kr_command_inspect = {
    .name = "inspect",
    .summary = "show what is in a checkpoint, and whether it can be run",
    .synopsis = "[MODEL] [options]",
    .description =
        "MODEL is a folder or one weights file, in any layout, GGUF among them; without it, the built-in model. Shows the config "
        "that the "
        "tensors' shapes describe, every tensor, the parameters, the size of a sequence's state, and what is odd or wrong. "
        "Works on files that no model can be made of; then the exit code is 1.",
    .examples = "  krait inspect\n"
                "  krait inspect path/to/mamba-130m-hf\n"
                "  krait inspect mamba-130m.Q8_0.gguf\n"
                "  krait inspect pytorch_model.bin --json | jq .parameters\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "MODEL",
    .operand_offset = AT(model),
    .values_size = sizeof(inspect_values),
    .run = run_inspect,
};
