/* `krait data`: text into token files, and what is in one. */
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

typedef struct data_values {
    kr_model_choice choice;
    kr_texts paths, include, exclude, held_out;
    const char *out, *held_out_file, *field, *prompt_field, *separator, *invalid, *end, *inspect;
    double held_out_share;
    uint64_t seed, documents;
    bool crlf, no_special, no_end, json;
} data_values;

#define AT(field) offsetof(data_values, field)

static const kr_option options[] = {
    { KR_OPTION_FILE, 'o', "out", "FILE", AT(out), .help = "The token file to write" },
    KR_OPTION_MODEL(data_values),
    KR_OPTION_TOKENIZER(data_values),
    { KR_OPTION_HEADING, .help = "What is read" },
    { KR_OPTION_TEXT, 0, "field", "NAME", AT(field),
      .help = "Files are lines of JSON objects (JSONL), and this string in them is the text: each line is a document" },
    { KR_OPTION_TEXT, 0, "prompt-field", "NAME", AT(prompt_field),
      .help = "With --field: a string in front of it that is read, but not learned, as for fine-tuning" },
    { KR_OPTION_TEXT, 0, "split", "TEXT", AT(separator),
      .help = "Cut files into documents at every line that is, or place that has, this text; without it a file is a document" },
    { KR_OPTION_TEXTS, 0, "include", "PATTERN", AT(include),
      .help = "Of files in folders only those of such a name (* and ? stand for any text and character)" },
    { KR_OPTION_TEXTS, 0, "exclude", "PATTERN", AT(exclude), .help = "No files of such a name" },
    { KR_OPTION_FLAG, 0, "crlf", NULL, AT(crlf), .help = "Read line ends CR LF as LF" },
    { KR_OPTION_CHOICE, 0, "invalid", "error|replace|skip", AT(invalid), .initial = "error",
      .help = "Bytes that are no UTF-8: stop and say where, make each run of them U+FFFD, or leave them out" },
    { KR_OPTION_FLAG, 0, "no-special", NULL, AT(no_special),
      .help = "Text that spells a special token, like <|endoftext|>, is ordinary text" },
    { KR_OPTION_HEADING, .help = "What is written" },
    { KR_OPTION_TEXT, 0, "end", "TOKEN", AT(end),
      .help = "The token between documents, by its id or text; without it the model's eos, or <|endoftext|>, </s>, <eos> of the "
              "tokenizer" },
    { KR_OPTION_FLAG, 0, "no-end", NULL, AT(no_end), .help = "Nothing between documents" },
    { KR_OPTION_TEXTS, 0, "held-out", "PATTERN", AT(held_out),
      .help = "Files of such a name go into a second token file, to measure with" },
    { KR_OPTION_NUMBER, 0, "held-out-share", "SHARE", AT(held_out_share), 0, 0.999,
      .help = "Or this share of the documents, chosen by --seed: 0.01" },
    { KR_OPTION_FILE, 0, "held-out-file", "FILE", AT(held_out_file),
      .help = "Where that goes; without it, next to the other: novels.held-out.tokens for novels.tokens" },
    { KR_OPTION_COUNT, 0, "seed", "N", AT(seed), .initial = "0", .help = "Of the choice of --held-out-share" },
    { KR_OPTION_HEADING, .help = "Looking at a token file" },
    { KR_OPTION_FILE, 0, "inspect", "FILE", AT(inspect),
      .help = "Show its header and first documents, and verify its checksums" },
    { KR_OPTION_COUNT, 0, "documents", "N", AT(documents), 0, 1000000, "3", "How many documents to show" },
    { KR_OPTION_HEADING, .help = "Everything else" },
    { KR_OPTION_FLAG, 0, "json", NULL, AT(json), .help = "One JSON object" },
    KR_OPTION_THREADS(data_values),
};

/* The tokenizer, and the checkpoint that it is of, if any. */
static krait_status open_tokenizer(kr_model_source *source, const data_values *values, krait_error *error)
{
    krait_status status = KRAIT_OK;
    if (!values->choice.tokenizer) status = kr_model_source_open_checkpoint(source, &values->choice, error);
    if (!status) status = kr_model_source_open_tokenizer(source, &values->choice, error);
    return status ? status : kr_model_source_need_tokenizer(source, error);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* The id of the token between documents; -1: there is none. */
static krait_status find_end(const kr_model_source *source, const data_values *values, int32_t *id, krait_error *error)
{
    static const char *const names[] = { "<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>" };
    uint64_t number;
    krait_config config;
    *id = -1;
    if (values->no_end) return KRAIT_OK;
    if (values->end) {
        if (!kr_options_count(values->end, &number))
            *id = krait_tokenizer_id(source->tokenizer, values->end, strlen(values->end));
        else if (number < krait_tokenizer_vocab_size(source->tokenizer))
            *id = (int32_t)number;
        if (*id < 0)
            return kr_fail(error, KRAIT_ERROR_ARGUMENT, "--end %.200s: expected a token of the tokenizer, or an id below %zu",
                           values->end, krait_tokenizer_vocab_size(source->tokenizer));
        return KRAIT_OK;
    }
    if (source->checkpoint && krait_checkpoint_config(source->checkpoint, &config, NULL) == KRAIT_OK
        && krait_tokenizer_token(source->tokenizer, config.eos_id, NULL))
        *id = config.eos_id;
    for (size_t i = 0; *id < 0 && i < KR_COUNT_OF(names); i++)
        *id = krait_tokenizer_id(source->tokenizer, names[i], strlen(names[i]));
    if (*id < 0)
        return kr_fail(error, KRAIT_ERROR_ARGUMENT,
                       "the tokenizer has no <|endoftext|>, </s>, <eos> or <|end_of_text|> to stand between documents: give "
                       "another with --end TOKEN, or --no-end");
    return KRAIT_OK;
}

/* "novels.tokens" gives "novels.held-out.tokens", "novels" "novels.held-out". */
static char *held_out_name(const char *out)
{
    const char *slash = strrchr(out, '/'), *dot = strrchr(slash ? slash : out, '.');
    size_t stem = dot && dot != (slash ? slash + 1 : out) ? (size_t)(dot - out) : strlen(out), room = strlen(out) + 10;
    char *name = kr_alloc(room, 1);
    if (name) snprintf(name, room, "%.*s.held-out%s", (int)stem, out, out + stem);
    return name;
}

static void put_split(const char *path, const krait_token_file_info *info)
{
    printf("%s: %s tokens of %s, ", path, kr_text_count(info->n_tokens).text, kr_text_bytes(info->n_bytes).text);
    printf("%.3f bytes a token; %s document%s\n", (double)info->n_bytes / (double)info->n_tokens,
           kr_text_count(info->n_documents).text, info->n_documents == 1 ? "" : "s");
}

static void put_info(kr_json_writer *json, const char *path, const krait_token_file_info *info)
{
    char number[20];
    kr_json_open(json, '{');
    kr_json_key(json, "file");
    kr_json_put_text(json, path);
    kr_json_key(json, "tokens");
    kr_json_put_integer(json, (int64_t)info->n_tokens);
    kr_json_key(json, "documents");
    kr_json_put_integer(json, (int64_t)info->n_documents);
    kr_json_key(json, "bytes_of_text");
    kr_json_put_integer(json, (int64_t)info->n_bytes);
    kr_json_key(json, "vocab_size");
    kr_json_put_integer(json, info->vocab_size);
    kr_json_key(json, "end");
    if (info->separator >= 0)
        kr_json_put_integer(json, info->separator);
    else
        kr_json_put_null(json);
    kr_json_key(json, "bytes_per_token");
    kr_json_put_integer(json, info->width);
    kr_json_key(json, "masked");
    kr_json_put_bool(json, info->masked);
    snprintf(number, sizeof number, "%016" PRIx64, info->tokenizer_fingerprint);
    kr_json_key(json, "tokenizer");
    kr_json_put_text(json, number);
    snprintf(number, sizeof number, "%016" PRIx64, info->checksum);
    kr_json_key(json, "checksum");
    kr_json_put_text(json, number);
}

static bool put_result(const data_values *values, const char *held_out, const krait_data_result *result, double seconds)
{
    if (!values->json) {
        put_split(values->out, &result->training);
        if (held_out) put_split(held_out, &result->held_out);
        printf("%s in %s file%s, %s, %s/s\n", kr_text_bytes(result->n_bytes).text, kr_text_count(result->n_files).text,
               result->n_files == 1 ? "" : "s", kr_text_seconds(seconds).text,
               kr_text_bytes((uint64_t)((double)result->n_bytes / seconds)).text);
        if (result->n_empty) printf("note: %s documents without text were left out\n", kr_text_count(result->n_empty).text);
        if (result->n_invalid)
            printf("note: %s runs of bytes that are no UTF-8 were %s\n", kr_text_count(result->n_invalid).text,
                   strcmp(values->invalid, "skip") == 0 ? "left out" : "replaced");
        return true;
    }
    kr_json_writer json = { .file = stdout, .indent = 2 };
    kr_json_open(&json, '{');
    kr_json_key(&json, "training");
    put_info(&json, values->out, &result->training);
    kr_json_close(&json, '}');
    if (held_out) {
        kr_json_key(&json, "held_out");
        put_info(&json, held_out, &result->held_out);
        kr_json_close(&json, '}');
    }
    kr_json_key(&json, "files");
    kr_json_put_integer(&json, (int64_t)result->n_files);
    kr_json_key(&json, "bytes_read");
    kr_json_put_integer(&json, (int64_t)result->n_bytes);
    kr_json_key(&json, "empty_documents");
    kr_json_put_integer(&json, (int64_t)result->n_empty);
    kr_json_key(&json, "invalid_runs");
    kr_json_put_integer(&json, (int64_t)result->n_invalid);
    kr_json_key(&json, "seconds");
    kr_json_put_number(&json, seconds);
    kr_json_close(&json, '}');
    return kr_json_finish(&kr_command_data, &json);
}

static krait_status write_tokens(const data_values *values, const krait_tokenizer *tokenizer, int32_t end, const char *held_out,
                                 krait_data_result *result, krait_error *error)
{
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_data, KR_PROGRESS_BYTES);
    krait_corpus corpus = { .paths = values->paths.items,
                            .n_paths = values->paths.n,
                            .include = values->include.items,
                            .n_include = values->include.n,
                            .exclude = values->exclude.items,
                            .n_exclude = values->exclude.n,
                            .json_field = values->field,
                            .prompt_field = values->prompt_field,
                            .separator = values->separator,
                            .crlf = values->crlf,
                            .invalid = strcmp(values->invalid, "replace") == 0 ? KRAIT_INVALID_REPLACE
                                       : strcmp(values->invalid, "skip") == 0  ? KRAIT_INVALID_SKIP
                                                                               : KRAIT_INVALID_ERROR };
    krait_data_options how = { .held_out_path = held_out,
                               .held_out = values->held_out.items,
                               .n_held_out = values->held_out.n,
                               .held_out_share = values->held_out_share,
                               .seed = values->seed,
                               .no_special = values->no_special,
                               .no_separator = end < 0,
                               .separator = end,
                               .threads = (int)values->choice.threads,
                               .progress = kr_progress_callback(&progress) };
    krait_status status = kr_output_check(values->out, error);
    if (!status && held_out) status = kr_output_check(held_out, error);
    if (!status) status = krait_data_write(&corpus, tokenizer, values->out, &how, result, error);
    kr_progress_end(&progress);
    return status;
}

static int write_command(const data_values *values)
{
    bool split = values->held_out.n || values->held_out_share > 0;
    kr_model_source source = { 0 };
    krait_data_result result;
    krait_error error;
    int32_t end = -1;
    char *named = split && !values->held_out_file ? held_out_name(values->out) : NULL;
    const char *held_out = !split ? NULL : named ? named : values->held_out_file;
    double began = kr_now();
    krait_status status = split && !held_out ? kr_fail_memory(&error, "a file name", strlen(values->out)) : KRAIT_OK;
    if (!status) status = open_tokenizer(&source, values, &error);
    if (!status) status = find_end(&source, values, &end, &error);
    if (!status) status = write_tokens(values, source.tokenizer, end, held_out, &result, &error);
    int code = status ? kr_report_failure(&kr_command_data, &error) : KR_EXIT_OK;
    if (!status && !put_result(values, held_out, &result, kr_now() - began)) code = KR_EXIT_FAILURE;
    kr_free(named);
    kr_model_source_close(&source);
    return code;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

enum { SHOWN_TOKENS = 24 };

static krait_status read_document(const krait_token_file *file, uint64_t index, int32_t *ids, size_t *n, uint64_t *first,
                                  uint64_t *count, krait_error *error)
{
    krait_status status = krait_token_file_document(file, index, first, count, error);
    *n = *count < SHOWN_TOKENS ? (size_t)*count : SHOWN_TOKENS;
    return status ? status : krait_token_file_read(file, *first, *n, ids, error);
}

/* As JSON has it: in quotes, on one line. */
static void put_document_text(kr_json_writer *json, const krait_tokenizer *tokenizer, const int32_t *ids, size_t n)
{
    char *text;
    size_t length;
    if (krait_tokenizer_decode(tokenizer, ids, n, true, &text, &length, NULL)) return;
    kr_json_put_string(json, text, length);
    krait_free(text);
}

static krait_status put_document(const krait_token_file *file, const krait_tokenizer *tokenizer, uint64_t index,
                                 kr_json_writer *json, krait_error *error)
{
    int32_t ids[SHOWN_TOKENS];
    size_t n;
    uint64_t first, count;
    krait_status status = read_document(file, index, ids, &n, &first, &count, error);
    if (status) return status;
    if (!json) {
        printf("\ndocument %s, %s tokens from %s on:\n ", kr_text_count(index).text, kr_text_count(count).text,
               kr_text_count(first).text);
        for (size_t i = 0; i < n; i++) printf(" %" PRId32, ids[i]);
        puts(n < count ? " ..." : "");
        if (tokenizer) {
            kr_json_writer line = { .file = stdout };
            fputs("  ", stdout);
            put_document_text(&line, tokenizer, ids, n);
            putchar('\n');
        }
        return KRAIT_OK;
    }
    kr_json_open(json, '{');
    kr_json_key(json, "first");
    kr_json_put_integer(json, (int64_t)first);
    kr_json_key(json, "tokens");
    kr_json_put_integer(json, (int64_t)count);
    kr_json_key(json, "ids");
    kr_json_open(json, '[');
    for (size_t i = 0; i < n; i++) kr_json_put_integer(json, ids[i]);
    kr_json_close(json, ']');
    if (tokenizer) {
        kr_json_key(json, "text");
        put_document_text(json, tokenizer, ids, n);
    }
    kr_json_close(json, '}');
    return KRAIT_OK;
}

static void put_header(const data_values *values, const krait_token_file_info *info, const char *whose)
{
    printf("%s\n", values->inspect);
    printf("  tokens      %s, %d bytes each\n", kr_text_count(info->n_tokens).text, info->width);
    printf("  documents   %s\n", kr_text_count(info->n_documents).text);
    printf("  text        %s bytes, %.3f a token\n", kr_text_count(info->n_bytes).text,
           (double)info->n_bytes / (double)info->n_tokens);
    printf("  vocabulary  %s\n", kr_text_count((uint64_t)info->vocab_size).text);
    if (info->separator >= 0)
        printf("  between     token %" PRId32 "\n", info->separator);
    else
        puts("  between     nothing");
    if (info->masked) puts("  learned     not all: there is a mask");
    printf("  tokenizer   %016" PRIx64 "%s\n", info->tokenizer_fingerprint, whose);
    printf("  checksum    %016" PRIx64 ", verified\n", info->checksum);
}

static krait_status inspect(const data_values *values, const krait_token_file *file, kr_model_source *source, krait_error *error)
{
    const krait_token_file_info *info = krait_token_file_get_info(file);
    kr_progress progress;
    kr_progress_begin(&progress, &kr_command_data, KR_PROGRESS_BYTES);
    krait_progress report = kr_progress_callback(&progress);
    krait_status status = krait_token_file_verify(file, &report, error);
    kr_progress_end(&progress);
    if (status) return status;
    /* A tokenizer that was asked for must be the right one; the one inside the program may happen to be. */
    krait_error unused;
    bool given = values->choice.model || values->choice.tokenizer;
    status = open_tokenizer(source, values, given ? error : &unused);
    if (status && given) return status;
    const krait_tokenizer *tokenizer = status ? NULL : source->tokenizer;
    if (tokenizer && krait_token_file_check_tokenizer(file, tokenizer, given ? error : NULL)) {
        if (given) return error->status;
        tokenizer = NULL;
    }
    if (info->tokenizer_fingerprint == 0 && !given) tokenizer = NULL;
    uint64_t n = values->documents < info->n_documents ? values->documents : info->n_documents;
    kr_json_writer json = { .file = stdout, .indent = 2 }, *out = values->json ? &json : NULL;
    if (out) {
        put_info(out, values->inspect, info);
        kr_json_key(out, "verified");
        kr_json_put_bool(out, true);
        kr_json_key(out, "first_documents");
        kr_json_open(out, '[');
    } else {
        put_header(values, info, !tokenizer ? "" : given ? ", the one given" : ", the built-in model's");
    }
    status = KRAIT_OK;
    for (uint64_t i = 0; !status && i < n; i++) status = put_document(file, tokenizer, i, out, error);
    if (status || !out) return status;
    kr_json_close(out, ']');
    kr_json_close(out, '}');
    kr_json_finish(&kr_command_data, out);
    return KRAIT_OK;
}

static int inspect_command(const data_values *values)
{
    krait_token_file *file;
    kr_model_source source = { 0 };
    krait_error error;
    krait_status status = krait_token_file_open(&file, values->inspect, &error);
    if (!status) status = inspect(values, file, &source, &error);
    int code = status ? kr_report_failure(&kr_command_data, &error) : KR_EXIT_OK;
    krait_token_file_free(file);
    kr_model_source_close(&source);
    return code;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int run_data(const void *values_)
{
    const data_values *values = values_;
    kr_interrupt_catch();
    if (values->inspect) {
        if (values->out || values->paths.n)
            return kr_options_wrong(&kr_command_data, "--inspect looks at a token file: not with -o or texts");
        return inspect_command(values);
    }
    if (!values->paths.n) return kr_options_wrong(&kr_command_data, "expected files or folders of text, or - for stdin");
    if (!values->out) return kr_options_wrong(&kr_command_data, "expected -o FILE");
    if (values->prompt_field && !values->field) return kr_options_wrong(&kr_command_data, "--prompt-field: expected --field");
    if (values->separator && (values->field || !*values->separator))
        return kr_options_wrong(&kr_command_data, "--split: expected a text, of files that are no JSONL (--field)");
    if (values->held_out.n && values->held_out_share > 0)
        return kr_options_wrong(&kr_command_data, "--held-out and --held-out-share: expected one of them");
    if (values->held_out_file && !values->held_out.n && !(values->held_out_share > 0))
        return kr_options_wrong(&kr_command_data, "--held-out-file: expected --held-out or --held-out-share");
    if (values->end && values->no_end) return kr_options_wrong(&kr_command_data, "--end and --no-end: expected one of them");
    return write_command(values);
}

const kr_command kr_command_data = {
    .name = "data",
    .summary = "turn texts into token files, which models are trained on",
    .synopsis = "TEXT... -o FILE [options] | --inspect FILE",
    .description = "Tokenises files, folders (recursively, in the order of names) and stdin (-) on all threads into a file that "
                   "`krait train` "
                   "maps. Each document begins with the end-of-document token, and one more ends the file. The same texts give "
                   "the same bytes, "
                   "whatever the threads. Files appear complete or not at all. Without -m and --tokenizer it is the built-in "
                   "model's tokenizer.",
    .examples = "  krait data novels/ -o novels.tokens --crlf --held-out 'Doyle_*'\n"
                "  krait data --tokenizer tokenizer.json tales.txt --split '<|endoftext|>' \\\n"
                "      --held-out-share 0.01 -o tales.tokens\n"
                "  zcat pile.jsonl.gz | krait data - --field text -o pile.tokens\n"
                "  krait data chat.jsonl --prompt-field question --field answer -o chat.tokens\n"
                "  krait data --inspect novels.tokens\n",
    .options = options,
    .n_options = KR_COUNT_OF(options),
    .operand = "TEXT",
    .operand_offset = AT(paths),
    .operands = true,
    .values_size = sizeof(data_values),
    .run = run_data,
};
