/* `krait rm`: a model out of the cache. */
#include "cli/cli.h"
#include "cli/report.h"
#include "krait/hub.h"

typedef struct rm_values {
    const char *model;
} rm_values;

static int run_rm(const void *values_)
{
    const rm_values *values = values_;
    uint64_t bytes;
    krait_error error;
    if (!values->model) return kr_options_wrong(&kr_command_rm, "expected OWNER/NAME[@REVISION]");
    if (!krait_hub_is_name(values->model))
        return kr_options_wrong(&kr_command_rm, "%s: expected OWNER/NAME[@REVISION], as krait list shows them", values->model);
    if (krait_hub_remove(values->model, &bytes, NULL, &error)) return kr_report_failure(&kr_command_rm, &error);
    printf("%s: %s freed\n", values->model, kr_text_bytes(bytes).text);
    return KR_EXIT_OK;
}

const kr_command kr_command_rm = {
    .name = "rm",
    .summary = "remove a downloaded model",
    .synopsis = "OWNER/NAME[@REVISION]",
    .description =
        "Removes a model from the cache, with all its revisions and what is half downloaded; or one revision, with the "
        "files that no other has. The cache is Python's, too: it will miss the model as well.",
    .examples = "  krait rm state-spaces/mamba-130m-hf\n"
                "  krait rm OWNER/NAME@v1.0\n",
    .operand = "MODEL",
    .operand_offset = offsetof(rm_values, model),
    .values_size = sizeof(rm_values),
    .run = run_rm,
};
