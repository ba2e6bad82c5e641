#include "model/save_files.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"

/* False also where it cannot be read. */
static bool is_empty(const char *folder)
{
    DIR *entries = opendir(folder);
    bool empty = entries != NULL;
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    if (entries) closedir(entries);
    return empty;
}

krait_status kr_folder_begin(const char *folder, bool *made, krait_error *error)
{
    *made = mkdir(folder, 0777) == 0;
    if (!*made && errno != EEXIST) return kr_fail_errno(error, folder, "make folder");
    if (!*made && !is_empty(folder)) /* it may be what someone wanted to read from */
        return kr_fail(error, KRAIT_ERROR_IO, "%s: expected a new or an empty folder, found something in it", folder);
    return KRAIT_OK;
}

void kr_folder_abandon(const char *folder, bool made)
{
    static const char *const names[] = { "config.json", "tokenizer.json" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = kr_join_path(folder, names[i]);
        if (path) unlink(path);
        kr_free(path);
    }
    if (made) rmdir(folder);
}

krait_status kr_folder_add(const char *folder, const char *name, const char *data, size_t size, krait_error *error)
{
    char *path = kr_join_path(folder, name);
    if (!path) return kr_fail_memory(error, "a path", strlen(folder));
    kr_writer writer;
    krait_status status = kr_writer_open(&writer, path, error);
    if (!status) {
        status = kr_writer_write(&writer, data, size, error);
        if (!status)
            status = kr_writer_commit(&writer, error);
        else
            kr_writer_abandon(&writer);
    }
    kr_free(path);
    return status;
}

krait_status kr_folder_add_config(const char *folder, const krait_config *c, krait_weight_type type, krait_error *error)
{
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {
        { "vocab_size", c->vocab_size },     { "hidden_size", c->d_model }, { "num_hidden_layers", c->n_layer },
        { "intermediate_size", c->d_inner }, { "state_size", c->d_state },  { "conv_kernel", c->d_conv },
        { "time_step_rank", c->dt_rank },
    };
    kr_json_writer json = { 0 };
    kr_json_open(&json, '{');
    kr_json_key(&json, "architectures"), kr_json_open(&json, '[');
    kr_json_put_text(&json, c->family == KRAIT_FAMILY_FALCON_MAMBA ? "FalconMambaForCausalLM" : "MambaForCausalLM");
    kr_json_close(&json, ']');
    kr_json_key(&json, "model_type"), kr_json_put_text(&json, krait_family_name(c->family));
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++)
        kr_json_key(&json, integers[i].key), kr_json_put_integer(&json, integers[i].value);
    if (c->d_inner % c->d_model == 0) /* transformers has no intermediate_size of its own */
        kr_json_key(&json, "expand"), kr_json_put_integer(&json, c->d_inner / c->d_model);
    if (type == KRAIT_WEIGHT_F32 || type == KRAIT_WEIGHT_BF16)
        kr_json_key(&json, "torch_dtype"), kr_json_put_text(&json, type == KRAIT_WEIGHT_F32 ? "float32" : "bfloat16");
    kr_json_key(&json, "use_bias"), kr_json_put_bool(&json, c->proj_bias);
    kr_json_key(&json, "use_conv_bias"), kr_json_put_bool(&json, c->conv_bias);
    kr_json_key(&json, "tie_word_embeddings"), kr_json_put_bool(&json, c->tied_head);
    kr_json_key(&json, "layer_norm_epsilon"), kr_json_put_number(&json, (double)c->norm_eps);
    if (c->family == KRAIT_FAMILY_FALCON_MAMBA)
        kr_json_key(&json, "mixer_rms_eps"), kr_json_put_number(&json, (double)c->mixer_norm_eps);
    if (c->bos_id >= 0) kr_json_key(&json, "bos_token_id"), kr_json_put_integer(&json, c->bos_id);
    if (c->eos_id >= 0) kr_json_key(&json, "eos_token_id"), kr_json_put_integer(&json, c->eos_id);
    kr_json_close(&json, '}');
    krait_status status = json.failed ? kr_fail_memory(error, "config.json", json.length)
                                      : kr_folder_add(folder, "config.json", json.buffer, json.length, error);
    kr_free(json.buffer);
    return status;
}
