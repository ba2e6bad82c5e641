/* `krait tokenizer`: making a tokenizer, and what is in one. */
#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/interrupt.h"
#include "cli/model_source.h"
#include "cli/report.h"
#include "krait/data.h"

typedef struct tokenizer_values {
    kr_texts words; /* the action and what follows it */
    kr_texts include, exclude, special;
    const char *out, *kind, *alphabet, *unknown, *field, *invalid;
    uint64_t vocab, min_count, threads;
    bool without_special, nfc, digits, crlf, json;
} tokenizer_values;

#define AT(field) offsetof(tokenizer_values, field)

static const kr_option options[] = {
    { KR_OPTION_FILE, 'o', "out", "FILE", AT(out), .help = "The tokenizer.json to write" },
    { KR_OPTION_CHOICE, 0, "kind", "bpe|bytes|characters", AT(kind), .initial = "bpe",
      .help = "Byte-level BPE, learned from the texts; a token for each byte; or one for each character of --alphabet" },
    { KR_OPTION_COUNT, 0, "vocab", "N", AT(vocab), 257, 4000000, "8192", "BPE: how many tokens, special ones included" },
    { KR_OPTION_COUNT, 0, "min-count", "N", AT(min_count), 1, 0, "2", "BPE: merge no pair that is met less often" },
    { KR_OPTION_FLAG, 0, "nfc", NULL, AT(nfc), .help = "BPE: bring texts into Unicode's normal form C first" },
    { KR_OPTION_FLAG, 0, "digits", NULL, AT(digits), .help = "BPE: each digit stays alone" },
    { KR_OPTION_TEXT, 0, "alphabet", "TEXT", AT(alphabet), .help = "The characters of --kind characters: ACGTN" },
    { KR_OPTION_TEXT, 0, "unknown", "TOKEN", AT(unknown),
      .help = "What every other character becomes with --kind characters; without it <unk>" },
    { KR_OPTION_TEXTS, 0, "special", "TOKEN", AT(special), .help = "A special token; without it, <|endoftext|> is one" },
    { KR_OPTION_FLAG, 0, "without-special", NULL, AT(without_special), .help = "Not even that one" },
    { KR_OPTION_HEADING, .help = "What is read, as for krait data" },
    { KR_OPTION_TEXT, 0, "field", "NAME", AT(field),
      .help = "Files are lines of JSON objects (JSONL), and this string is the text" },
    { KR_OPTION_TEXTS, 0, "include", "PATTERN", AT(include), .help = "Of files in folders only those of such a name" },
    { KR_OPTION_TEXTS, 0, "exclude", "PATTERN", AT(exclude), .help = "No files of such a name" },
    { KR_OPTION_FLAG, 0, "crlf", NULL, AT(crlf), .help = "Read line ends CR LF as LF" },
    { KR_OPTION_CHOICE, 0, "invalid", "error|replace|skip", AT(invalid), .initial = "error",
      .help = "Bytes that are no UTF-8: stop and say where, make each run of them U+FFFD, or leave them out" },
    { KR_OPTION_HEADING, .help = "Everything else" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
    { KR_OPTION_COUNT, 't', "threads", "N", AT(threads), 1, 1024, NULL, "Threads; without it, as many as the process may use" },
};

/* ---- train ------------------------------------------------------------------------------------------------------- */

static bool put_trained(const tokenizer_values *values, const krait_tokenizer_trained *r, double seconds)
{
    if (!values->json) {
        printf("%s: %s tokens\n", values->out, kr_text_count(r->vocab_size).text);
        if (!r->n_words) return true;
        printf("%s merges from %s of text with %s words, %s different ones; %s\n", kr_text_count(r->n_merges).text,
               kr_text_bytes(r->n_bytes).text, kr_text_count(r->n_words).text, kr_text_count(r->n_distinct).text,
               kr_text_seconds(seconds).text);
        if (r->vocab_size < values->vocab) printf("note: no pair is left that is met %" PRIu64 " times\n", values->min_count);
        return true;
    }
    kr_json_writer json = { .file = stdout, .indent = 2 };
    kr_json_open(&json, '{');
    kr_json_key(&json, "file");
    kr_json_put_text(&json, values->out);
    kr_json_key(&json, "vocab_size");
    kr_json_put_integer(&json, (int64_t)r->vocab_size);
    kr_json_key(&json, "merges");
    kr_json_put_integer(&json, (int64_t)r->n_merges);
    kr_json_key(&json, "bytes_read");
    kr_json_put_integer(&json, (int64_t)r->n_bytes);
    kr_json_key(&json, "words");
    kr_json_put_integer(&json, (int64_t)r->n_words);
    kr_json_key(&json, "distinct_words");
    kr_json_put_integer(&json, (int64_t)r->n_distinct);
    kr_json_key(&json, "seconds");
    kr_json_put_number(&json, seconds);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_tokenizer, &json);
}

/* Two phases, each with a line of its own. */
typedef struct phases {
    kr_progress progress;
    const char *what; /* of the one that is shown */
} phases;

static bool report(void *user, const char *what, uint64_t done, uint64_t total)
{
    phases *p = user;
    if (!p->what || strcmp(p->what, what) != 0) {
        kr_progress_end(&p->progress);
        kr_progress_begin(&p->progress, &kr_command_tokenizer, strcmp(what, "merging") == 0 ? "tokens" : KR_PROGRESS_BYTES);
        p->what = what;
    }
    return kr_progress_report(&p->progress, what, done, total);
}

static int train(const tokenizer_values *values)
{
    bool bpe = strcmp(values->kind, "bpe") == 0, characters = strcmp(values->kind, "characters") == 0;
    krait_corpus corpus = { .paths = values->words.items + 1,
                            .n_paths = values->words.n - 1,
                            .include = values->include.items,
                            .n_include = values->include.n,
                            .exclude = values->exclude.items,
                            .n_exclude = values->exclude.n,
                            .json_field = values->field,
                            .crlf = values->crlf,
                            .invalid = strcmp(values->invalid, "replace") == 0 ? KRAIT_INVALID_REPLACE
                                       : strcmp(values->invalid, "skip") == 0  ? KRAIT_INVALID_SKIP
                                                                               : KRAIT_INVALID_ERROR };
    phases p = { .what = NULL };
    kr_progress_begin(&p.progress, &kr_command_tokenizer, KR_PROGRESS_BYTES);
    krait_tokenizer_training how = { .kind = bpe          ? KRAIT_TOKENIZER_BPE
                                             : characters ? KRAIT_TOKENIZER_CHARACTERS
                                                          : KRAIT_TOKENIZER_BYTES,
                                     .vocab_size = values->vocab,
                                     .special = values->special.n ? values->special.items : NULL,
                                     .n_special = values->special.n,
                                     .no_special = values->without_special,
                                     .nfc = values->nfc,
                                     .digits = values->digits,
                                     .min_count = values->min_count,
                                     .alphabet = values->alphabet,
                                     .unknown = values->unknown,
                                     .threads = (int)values->threads,
                                     .progress = { report, &p } };
    krait_tokenizer_trained result;
    krait_error error;
    double began = kr_now();
    krait_status status = kr_output_check(values->out, &error);
    if (!status) status = krait_tokenizer_train(values->out, bpe ? &corpus : NULL, &how, &result, &error);
    kr_progress_end(&p.progress);
    if (status) return kr_report_failure(&kr_command_tokenizer, &error);
    return put_trained(values, &result, kr_now() - began) ? KR_EXIT_OK : KR_EXIT_FAILURE;
}

static int check_train(const tokenizer_values *values)
{
    const kr_command *me = &kr_command_tokenizer;
    bool bpe = strcmp(values->kind, "bpe") == 0, characters = strcmp(values->kind, "characters") == 0;
    if (!values->out) return kr_options_wrong(me, "expected -o FILE");
    if (bpe && values->words.n == 1) return kr_options_wrong(me, "train: expected files or folders of text, or - for stdin");
    if (!bpe && values->words.n > 1)
        return kr_options_wrong(me, "--kind %s: expected no texts, as there is nothing to learn from them", values->kind);
    if (!bpe && (values->nfc || values->digits)) return kr_options_wrong(me, "--nfc and --digits: expected --kind bpe");
    if (characters && !values->alphabet) return kr_options_wrong(me, "--kind characters: expected --alphabet");
    if (!characters && (values->alphabet || values->unknown))
        return kr_options_wrong(me, "--alphabet and --unknown: expected --kind characters");
    if (values->special.n && values->without_special)
        return kr_options_wrong(me, "--special and --without-special: expected one of them");
    return KR_EXIT_OK;
}

/* ---- inspect ----------------------------------------------------------------------------------------------------- */

static void put_token(kr_json_writer *json, const krait_tokenizer *tokenizer, int32_t id)
{
    size_t length;
    const char *bytes = krait_tokenizer_token(tokenizer, id, &length);
    kr_json_put_string(json, bytes, length);
}

static bool put_tokenizer(const tokenizer_values *values, const char *name, const krait_tokenizer *tokenizer)
{
    int32_t n = (int32_t)krait_tokenizer_vocab_size(tokenizer), longest = 0;
    size_t most = 0;
    uint64_t missing = 0;
    for (int32_t id = 0; id < n; id++) {
        size_t length;
        if (!krait_tokenizer_token(tokenizer, id, &length)) {
            missing++;
        } else if (length > most && !krait_tokenizer_is_special(tokenizer, id)) {
            most = length;
            longest = id;
        }
    }
    kr_json_writer json = { .file = stdout, .indent = values->json ? 2 : 0 };
    char number[20];
    snprintf(number, sizeof number, "%016" PRIx64, krait_tokenizer_fingerprint(tokenizer));
    if (!values->json) {
        printf("%s\n  tokens       %s\n", name, kr_text_count((uint64_t)n).text);
        if (missing) printf("  without one  %s ids\n", kr_text_count(missing).text);
        printf("  fingerprint  %s\n", number);
        if (most) {
            printf("  longest      %" PRId32 " ", longest);
            put_token(&json, tokenizer, longest);
            printf(", %zu bytes\n", most);
        }
        for (int32_t id = 0; id < n; id++) {
            if (!krait_tokenizer_is_special(tokenizer, id)) continue;
            printf("  special      %" PRId32 " ", id);
            put_token(&json, tokenizer, id);
            putchar('\n');
        }
        return true;
    }
    kr_json_open(&json, '{');
    kr_json_key(&json, "tokenizer");
    kr_json_put_text(&json, name);
    kr_json_key(&json, "vocab_size");
    kr_json_put_integer(&json, n);
    kr_json_key(&json, "ids_without_token");
    kr_json_put_integer(&json, (int64_t)missing);
    kr_json_key(&json, "fingerprint");
    kr_json_put_text(&json, number);
    kr_json_key(&json, "special");
    kr_json_open(&json, '[');
    for (int32_t id = 0; id < n; id++) {
        if (!krait_tokenizer_is_special(tokenizer, id)) continue;
        kr_json_open(&json, '{');
        kr_json_key(&json, "id");
        kr_json_put_integer(&json, id);
        kr_json_key(&json, "text");
        put_token(&json, tokenizer, id);
        kr_json_close(&json, '}');
    }
    kr_json_close(&json, ']');
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_tokenizer, &json);
}

static int inspect(const tokenizer_values *values)
{
    if (values->words.n > 2) return kr_options_wrong(&kr_command_tokenizer, "inspect: expected one file or folder");
    kr_model_source source = { 0 };
    kr_model_choice choice = { .tokenizer = values->words.n == 2 ? values->words.items[1] : NULL };
    krait_error error;
    krait_status status = KRAIT_OK;
    if (!choice.tokenizer) status = kr_model_source_open_checkpoint(&source, &choice, &error);
    if (!status) status = kr_model_source_open_tokenizer(&source, &choice, &error);
    if (!status) status = kr_model_source_need_tokenizer(&source, &error);
    int code = KR_EXIT_OK;
    if (status)
        code = kr_report_failure(&kr_command_tokenizer, &error);
    else if (!put_tokenizer(values, choice.tokenizer ? choice.tokenizer : source.name, source.tokenizer))
        code = KR_EXIT_FAILURE;
    kr_model_source_close(&source);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int run_tokenizer(const void *values_)
{
    const tokenizer_values *values = values_;
    const char *action = values->words.n ? values->words.items[0] : NULL;
    kr_interrupt_catch();
    if (action && strcmp(action, "inspect") == 0) return inspect(values);
    if (!action || strcmp(action, "train") != 0)
        return kr_options_wrong(&kr_command_tokenizer, "expected train or inspect, found %s", action ? action : "nothing");
    int code = check_train(values);
    return code ? code : train(values);
}

const kr_command kr_command_tokenizer = {
    .name = "tokenizer",
    .summary = "learn a tokenizer from texts, or show what is in one",
    .synopsis = "train [TEXT...] -o FILE [options] | inspect [FILE]",
    .description =
        "Writes a tokenizer.json that krait and Hugging Face's tokenizers read and encode with identically: byte-level BPE, cut "
        "into "
        "words as GPT-2 does, learned from files, folders and stdin (-); or the tokenizers that need no learning, of bytes and "
        "of "
        "an alphabet. The same texts give the same file, whatever the threads. Without FILE, inspect shows the built-in model's.",
    .examples = "  krait tokenizer train novels/ --vocab 8192 --nfc --crlf -o tokenizer.json\n"
                "  krait tokenizer train --kind bytes -o bytes.json\n"
                "  krait tokenizer train --kind characters --alphabet ACGTN -o dna.json\n"
                "  krait tokenizer inspect tokenizer.json\n"
                "  krait tokenize --tokenizer tokenizer.json -p 'Hello, world'\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "ACTION",
    .operand_offset = AT(words),
    .operands = true,
    .values_size = sizeof(tokenizer_values),
    .run = run_tokenizer,
};
