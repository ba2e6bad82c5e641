/* `krait list`: the models in the cache. */
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "krait/hub.h"

typedef struct list_values {
    bool json;
} list_values;

static const kr_option options[] = {
    { KR_OPTION_FLAG, 0, "json", NULL, offsetof(list_values, json), .help = "One JSON list" },
};

static void put_text(const krait_hub_model *models, size_t n)
{
    int width = 0;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(models[i].name) > width) width = (int)strlen(models[i].name);
    for (size_t i = 0; i < n; i++) {
        const krait_hub_model *m = &models[i];
        printf("%-*s  %-12.12s  %10s  %s\n", width, m->name, *m->commit ? m->commit : "-", kr_text_bytes(m->bytes).text,
               m->complete ? m->revision : "incomplete");
    }
}

static bool put_json(const krait_hub_model *models, size_t n)
{
    kr_json_writer json = { .file = stdout, .indent = 2 };
    kr_json_open(&json, '[');
    for (size_t i = 0; i < n; i++) {
        kr_json_open(&json, '{');
        kr_json_key(&json, "name");
        kr_json_put_text(&json, models[i].name);
        kr_json_key(&json, "revision");
        kr_json_put_text(&json, *models[i].revision ? models[i].revision : NULL);
        kr_json_key(&json, "commit");
        kr_json_put_text(&json, *models[i].commit ? models[i].commit : NULL);
        kr_json_key(&json, "bytes");
        kr_json_put_integer(&json, (int64_t)models[i].bytes);
        kr_json_key(&json, "complete");
        kr_json_put_bool(&json, models[i].complete);
        kr_json_close(&json, '}');
    }
    kr_json_close(&json, ']');
    return kr_json_finish(&kr_command_list, &json);
}

static int run_list(const void *values_)
{
    const list_values *values = values_;
    krait_hub_model *models;
    size_t n;
    krait_error error;
    bool finished = true;
    if (krait_hub_list(&models, &n, NULL, &error)) return kr_report_failure(&kr_command_list, &error);
    if (values->json)
        finished = put_json(models, n);
    else if (n)
        put_text(models, n);
    else
        fprintf(stderr, "krait list: no models yet: krait pull OWNER/NAME downloads one\n");
    krait_free(models);
    return finished ? KR_EXIT_OK : KR_EXIT_FAILURE;
}

const kr_command kr_command_list = {
    .name = "list",
    .summary = "list the models that are downloaded",
    .synopsis = "[options]",
    .description = "One line for each revision of each model in the cache, which is Python's, too: name, commit, size, and the "
                   "branch or tag that it was pulled by. A model is incomplete when it lacks files that it would be loaded from: "
                   "krait pull fetches them. Models of other kinds are listed as well.",
    .examples = "  krait list\n"
                "  krait list --json | jq -r '.[].name'\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .values_size = sizeof(list_values),
    .run = run_list,
};
