/* `krait pull`: a model from the Hugging Face hub into the cache. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "krait/hub.h"

typedef struct pull_values {
    const char *model;
    bool json;
} pull_values;

#define AT(field) offsetof(pull_values, field)

static const kr_option options[] = {
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object: name and path" },
};

static int run_pull(const void *values_)
{
    const pull_values *values = values_;
    char *path = NULL;
    krait_error error;
    if (!values->model) return kr_options_wrong(&kr_command_pull, "expected OWNER/NAME[@REVISION]");
    if (!krait_hub_is_name(values->model))
        return kr_options_wrong(&kr_command_pull, "%s: expected OWNER/NAME[@REVISION][:FILE]", values->model);
    kr_interrupt_catch();
    if (kr_model_pull(&path, values->model, &error)) return kr_report_failure(&kr_command_pull, &error);
    bool finished = true;
    if (values->json) {
        kr_json_writer json = { .file = stdout, .indent = 2 };
        kr_json_open(&json, '{');
        kr_json_key(&json, "name");
        kr_json_put_text(&json, values->model);
        kr_json_key(&json, "path");
        kr_json_put_text(&json, path);
        kr_json_close(&json, '}');
        finished = kr_json_finish(&kr_command_pull, &json);
    } else
        printf("%s\n", path);
    krait_free(path);
    return finished ? KR_EXIT_OK : KR_EXIT_FAILURE;
}

const kr_command kr_command_pull = {
    .name = "pull",
    .summary = "download a model from the Hugging Face hub",
    .synopsis = "OWNER/NAME[@REVISION][:FILE] [options]",
    .description =
        "Fetches config.json, tokenizer.json and the weights of a model, or one FILE of it, checks their hashes, and prints "
        "where they are: the cache that Python's huggingface_hub uses, in which each finds the other's files. What is there "
        "is not fetched again; after an interruption the same command goes on. Then -m OWNER/NAME runs it. A model that "
        "needs a token takes it from HF_TOKEN or from where `huggingface-cli login` put it.",
    .examples = "  krait pull state-spaces/mamba-130m-hf\n"
                "  krait run -m state-spaces/mamba-130m-hf -p 'Hello'\n"
                "  krait pull OWNER/NAME@v1.0                # a branch, tag or commit\n"
                "  krait pull OWNER/NAME:mamba-q8_0.gguf     # one file\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "MODEL",
    .operand_offset = AT(model),
    .values_size = sizeof(pull_values),
    .run = run_pull,
};
