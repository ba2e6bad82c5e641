#include "train/settings_table.h"

#include <string.h>

enum { FIXED = 0, MAY_CHANGE = 1 };

#define ROW(type, key, flag, field, argument, initial, minimum, maximum, change, help)                                       \
    {                                                                                                                        \
        { KRAIT_SETTING_##type, key, flag, argument, initial, help, minimum, maximum, change }, offsetof(kr_settings, field) \
    }

/* clang-format off */
const kr_setting_row kr_setting_rows[] = {
    ROW(FILE, "out", "out", out, "RUN", NULL, 0, 0, MAY_CHANGE,
        "The folder of the run: checkpoints, metrics and this config as it was resolved. Given again, the run goes on"),
    ROW(COUNT, "seed", "seed", seed, "N", "0", 0, 9007199254740992.0, FIXED,
        "Draws a new model, the order of the data and what samples are drawn"),

    ROW(CHOICE, "model.shape", "shape", model.shape, "130m|370m|790m|1.4b|2.8b", NULL, 0, 0, FIXED,
        "A new model of a published shape, instead of dimensions"),
    ROW(FILE, "model.from", "from", model.from, "MODEL", NULL, 0, 0, FIXED,
        "Go on from this model (a folder, a file, OWNER/NAME on the hub) with its tokenizer, instead of a new one"),
    ROW(FILE, "model.tokenizer", "tokenizer", model.tokenizer, "FILE", NULL, 0, 0, FIXED,
        "tokenizer.json of a new model; token files do without, but then nothing can be sampled"),
    ROW(COUNT, "model.d_model", "d-model", model.d_model, "N", NULL, 1, 1 << 20, FIXED, "Width of the residual stream"),
    ROW(COUNT, "model.n_layer", "layers", model.n_layer, "N", NULL, 1, 1 << 16, FIXED, "Layers"),
    ROW(COUNT, "model.d_state", "d-state", model.d_state, "N", "16", 1, 1 << 12, FIXED, "State of each channel (N of the paper)"),
    ROW(COUNT, "model.d_conv", "d-conv", model.d_conv, "N", "4", 1, 16, FIXED, "Width of the causal convolution"),
    ROW(COUNT, "model.expand", "expand", model.expand, "N", "2", 1, 64, FIXED, "Channels of the mixer for each of d_model"),
    ROW(COUNT, "model.dt_rank", "dt-rank", model.dt_rank, "N", NULL, 1, 1 << 20, FIXED,
        "Rank of the projection to dt; without it, d_model / 16, rounded up"),
    ROW(COUNT, "model.vocab_size", "vocab-size", model.vocab_size, "N", NULL, 1, 2147483647.0, FIXED,
        "Rows of the embedding; without it, the tokenizer's, filled up to a multiple of 8"),
    ROW(NUMBER, "model.dt_min", "dt-min", model.dt_min, "X", "0.001", 1e-9, 1e3, FIXED,
        "Step sizes of a new model are drawn from here"),
    ROW(NUMBER, "model.dt_max", "dt-max", model.dt_max, "X", "0.1", 1e-9, 1e3, FIXED,
        "To here: the smaller they are, the longer it remembers before it has learned to"),
    ROW(CHOICE, "model.tied_head", "tied-head", model.tied_head, "true|false", "true", 0, 0, FIXED,
        "The head is the embedding"),
    ROW(TEXTS, "model.freeze", "freeze", model.freeze, "PATTERN", NULL, 0, 0, FIXED,
        "Parameters of that Hugging Face name do not change (* and ? stand for any text and character)"),

    ROW(FILES, "data.train", "data", data.train, "FILE", NULL, 0, 0, FIXED,
        "What to learn: text files, folders of them, or one token file of krait data"),
    ROW(TEXTS, "data.include", "include", data.include, "PATTERN", NULL, 0, 0, FIXED,
        "Of folders only files of such a name (* and ? stand for any text and character)"),
    ROW(TEXTS, "data.exclude", "exclude", data.exclude, "PATTERN", NULL, 0, 0, FIXED, "No files of such a name"),
    ROW(FILES, "data.held_out", "held-out", data.held_out, "FILE", NULL, 0, 0, FIXED,
        "What to evaluate on, which must be no part of what is learned: text files, folders, or one token file"),
    ROW(TEXTS, "data.held_out_pattern", "held-out-pattern", data.held_out_pattern, "PATTERN", NULL, 0, 0, FIXED,
        "Or files of data.train of such a name, which are then not learned"),
    ROW(NUMBER, "data.held_out_share", "held-out-share", data.held_out_share, "SHARE", NULL, 0, 0.999, FIXED,
        "Or this share of the documents, drawn by the seed"),
    ROW(TEXT, "data.field", "field", data.field, "NAME", NULL, 0, 0, FIXED,
        "Files are lines of JSON, each a document: the field that has the text"),
    ROW(TEXT, "data.prompt_field", "prompt-field", data.prompt_field, "NAME", NULL, 0, 0, FIXED,
        "And the field that has a text in front of it, which is read but not learned (fine-tuning)"),
    ROW(TEXT, "data.split", "split", data.split, "TEXT", NULL, 0, 0, FIXED,
        "What stands between documents of a text file; without it, a file is a document"),
    ROW(CHOICE, "data.crlf", "crlf", data.crlf, "true|false", "true", 0, 0, FIXED, "Line ends CR LF of texts are read as LF"),
    ROW(CHOICE, "data.invalid", "invalid", data.invalid, "error|replace|skip", "error", 0, 0, FIXED,
        "Bytes that are no UTF-8: stop and say where, replace each run of them by U+FFFD, or leave them out"),
    ROW(COUNT, "data.window", "window", data.window, "N", "256", 1, 1 << 30, FIXED, "Tokens of a row"),
    ROW(COUNT, "data.rows", "rows", data.rows, "N", "16", 1, 1 << 20, FIXED, "Rows that are run at a time"),
    ROW(CHOICE, "data.order", "order", data.order, "shuffled|streams", "shuffled", 0, 0, FIXED,
        "Windows from everywhere, each from an empty state; or `rows` streams, states carried from window to window"),

    ROW(COUNT, "train.steps", "steps", train.steps, "N", NULL, 1, 9007199254740992.0, FIXED,
        "How long: in updates; or in tokens, or in epochs"),
    ROW(COUNT, "train.tokens", "tokens", train.tokens, "N", NULL, 1, 9007199254740992.0, FIXED, "How long, in tokens"),
    ROW(NUMBER, "train.epochs", "epochs", train.epochs, "X", NULL, 0, 1e9, FIXED,
        "How long, in passes over the data; without any of the three, one"),
    ROW(COUNT, "train.accumulate", "accumulate", train.accumulate, "N", "1", 1, 1 << 20, FIXED,
        "Batches of an update: a step has accumulate * rows * window tokens"),
    ROW(NUMBER, "train.learning_rate", "learning-rate", train.learning_rate, "X", "0.001", 0, 1e3, FIXED, "Its peak"),
    ROW(NUMBER, "train.min_learning_rate", "min-learning-rate", train.min_learning_rate, "X", "1e-05", 0, 1e3, FIXED,
        "What the schedule ends at"),
    ROW(CHOICE, "train.schedule", "schedule", train.schedule, "cosine|wsd|constant", "cosine", 0, 0, FIXED,
        "After the warm-up: half a cosine; or the peak, and in the last decay_steps a line down; or the peak"),
    ROW(COUNT, "train.warmup_steps", "warmup-steps", train.warmup_steps, "N", NULL, 0, 9007199254740992.0, FIXED,
        "Steps in which the rate rises to its peak; without it, 2 % of all"),
    ROW(COUNT, "train.decay_steps", "decay-steps", train.decay_steps, "N", NULL, 1, 9007199254740992.0, FIXED,
        "Last steps, of wsd; without it, 20 % of all"),
    ROW(NUMBER, "train.weight_decay", "weight-decay", train.weight_decay, "X", "0.1", 0, 1e3, FIXED,
        "AdamW's; A_log, D, biases and norms never decay"),
    ROW(NUMBER, "train.beta1", "beta1", train.beta1, "X", "0.9", 0, 0.999999, FIXED, "AdamW's memory of the gradient"),
    ROW(NUMBER, "train.beta2", "beta2", train.beta2, "X", "0.95", 0, 0.9999999, FIXED, "AdamW's memory of its square"),
    ROW(NUMBER, "train.epsilon", "epsilon", train.epsilon, "X", "1e-08", 0, 1, FIXED, "AdamW's"),
    ROW(NUMBER, "train.clip_norm", "clip-norm", train.clip_norm, "X", "1", 0, 1e30, FIXED,
        "Norm that a larger gradient is scaled down to; 0: never"),
    ROW(CHOICE, "train.compute", "compute", train.compute, "f32|bf16", "f32", 0, 0, FIXED,
        "Matrix products in float32, or in bfloat16 with float32 master weights"),
    ROW(CHOICE, "train.recompute", "recompute", train.recompute, "true|false", "false", 0, 0, MAY_CHANGE,
        "Run each layer forward twice instead of keeping its activations: less memory, more time"),
    ROW(COUNT, "train.threads", "threads", train.threads, "N", NULL, 1, 1024, MAY_CHANGE,
        "Threads; without it, as many as the process may use"),
    ROW(CHOICE, "train.isa", "isa", train.isa, "auto|plain|avx2|avx2-vnni|avx512|avx512-bf16|avx512-amx|neon|neon-dot|neon-bf16", "auto",
        0, 0, MAY_CHANGE, "Instruction set to compute with"),

    ROW(COUNT, "evaluate.every", "evaluate-every", evaluate.every, "N", NULL, 1, 9007199254740992.0, MAY_CHANGE,
        "Steps from one evaluation of the held-out text to the next; without it, as checkpoints"),
    ROW(COUNT, "evaluate.window", "evaluate-window", evaluate.window, "N", "0", 0, 1 << 30, FIXED,
        "Score windows of N tokens, each from an empty state; 0: each document as one stream"),
    ROW(COUNT, "evaluate.tokens", "evaluate-tokens", evaluate.tokens, "N", "0", 0, 9007199254740992.0, FIXED,
        "Score the first N tokens of it; 0: all"),
    ROW(COUNT, "evaluate.patience", "patience", evaluate.patience, "N", "0", 0, 1 << 20, FIXED,
        "Stop after so many evaluations without a new best; 0: never"),

    ROW(TEXT, "sample.prompt", "sample-prompt", sample.prompt, "TEXT", NULL, 0, 0, MAY_CHANGE,
        "What samples at each checkpoint begin with; without it, the token that begins a document"),
    ROW(COUNT, "sample.tokens", "sample-tokens", sample.tokens, "N", "60", 0, 1 << 20, MAY_CHANGE,
        "Tokens of such a sample; 0: no samples"),
    ROW(NUMBER, "sample.temperature", "sample-temperature", sample.temperature, "X", "0.8", 0, 100, MAY_CHANGE,
        "0: always the most probable token"),

    ROW(COUNT, "checkpoint.every", "checkpoint-every", checkpoint.every, "N", "500", 1, 9007199254740992.0, MAY_CHANGE,
        "Steps from one checkpoint to the next"),
    ROW(NUMBER, "checkpoint.minutes", "checkpoint-minutes", checkpoint.minutes, "X", "30", 0, 1e6, MAY_CHANGE,
        "And one whenever so many minutes have passed without; 0: no such"),
    ROW(COUNT, "checkpoint.keep", "keep", checkpoint.keep, "N", "2", 1, 1 << 20, MAY_CHANGE,
        "The newest so many are kept, and the best model beside"),

    ROW(CHOICE, "divergence.nonfinite", "on-nonfinite", divergence.nonfinite, "skip|stop|back", "skip", 0, 0, FIXED,
        "When loss or gradient are NaN or infinite: pass over the batch, stop, or go back to the last checkpoint, behind that batch"),
    ROW(CHOICE, "divergence.spike", "on-spike", divergence.spike, "note|stop|back|off", "note", 0, 0, FIXED,
        "When the loss leaps above its running mean: say so, stop, go back, or do not look"),
    ROW(NUMBER, "divergence.rise", "spike-rise", divergence.rise, "X", "1", 0.001, 1000, FIXED, "A leap is so many nats per token"),
    ROW(COUNT, "divergence.limit", "divergence-limit", divergence.limit, "N", "10", 1, 1 << 20, FIXED,
        "Stop when it was passed over, or gone back, so often without a new checkpoint"),

    ROW(COUNT, "log.every", "log-every", log.every, "N", "10", 1, 1 << 20, FIXED, "Steps that a line of metrics.jsonl is the mean of"),
};
/* clang-format on */

const size_t kr_n_setting_rows = sizeof kr_setting_rows / sizeof *kr_setting_rows;

size_t krait_training_n_settings(void) { return kr_n_setting_rows; }

const krait_setting *krait_training_setting(size_t index)
{
    return index < kr_n_setting_rows ? &kr_setting_rows[index].setting : NULL;
}

size_t kr_setting_at(size_t offset)
{
    size_t i = 0;
    while (kr_setting_rows[i].offset != offset) i++;
    return i;
}

const char *kr_setting_section_help(const char *section)
{
    static const char *const helps[][2] = {
        { "model", "The model: a new one of a shape, or of dimensions; or one to go on from." },
        { "data", "What it learns." },
        { "train", "How it learns: AdamW, a schedule, and how long." },
        { "evaluate", "How well it does on text that it does not learn." },
        { "sample", "What it writes, at each checkpoint." },
        { "checkpoint", "What an interruption cannot take." },
        { "divergence", "What happens when a step goes wrong." },
        { "log", "metrics.jsonl." },
    };
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++)
        if (strcmp(helps[i][0], section) == 0) return helps[i][1];
    return "";
}
