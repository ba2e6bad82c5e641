/* The smallest useful program with krait: load a model, tokenise a prompt, go on with it.
 *
 *   cc embed.c -o embed $(pkg-config --cflags --libs krait)
 *   ./embed models/text-small "It was a dark and stormy night, and the"
 */
#include <krait/krait.h>
#include <stdio.h>
#include <string.h>

static bool print(void *user, const krait_piece *piece)
{
    FILE *out = user;
    fwrite(piece->text, 1, piece->text_length, out);
    return fflush(out) == 0; /* false ends the generation */
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL TEXT\n", argv[0]);
        return 2;
    }
    krait_model *model = NULL;
    krait_tokenizer *tokenizer = NULL;
    krait_session *session = NULL;
    krait_state *state = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    krait_error error;
    krait_generate_options options = {
        .sampling = { .temperature = 0.8f, .top_p = 0.95f, .seed = 1 },
        .max_tokens = 60,
        .on_piece = print,
        .user = stdout,
    };
    krait_status status = krait_model_load(&model, argv[1], NULL, &error);
    if (!status) status = krait_tokenizer_load(&tokenizer, argv[1], &error);
    if (!status) status = krait_session_create(&session, model, NULL, &error);
    if (!status) status = krait_state_create(&state, model, &error);
    if (!status) status = krait_tokenizer_encode(tokenizer, argv[2], strlen(argv[2]), NULL, &ids, &n_ids, &error);
    if (!status) status = krait_generate(session, state, tokenizer, ids, n_ids, &options, NULL, &error);
    if (status)
        fprintf(stderr, "%s\n", error.message);
    else
        putchar('\n');
    krait_free(ids);
    krait_state_free(state);
    krait_session_free(session);
    krait_tokenizer_free(tokenizer);
    krait_model_free(model);
    return status ? 1 : 0;
}
