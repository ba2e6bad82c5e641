/* What a person sees of a training run, on stderr: on a terminal one line that lives, elsewhere a line now and then; and one for every
 * evaluation, sample and note. */
#ifndef KR_CLI_TRAIN_VIEW_H
#define KR_CLI_TRAIN_VIEW_H

#include <stdbool.h>

#include "cli/options.h"
#include "krait/training.h"

typedef struct kr_train_view {
    const kr_command *command;
    bool live, quiet, colour;
    bool shown; /* the living line is there */
    double put; /* when a line was written last */
} kr_train_view;

void kr_train_view_begin(kr_train_view *view, const kr_command *command, bool quiet);
/* For krait_training_options.on_event. false once Ctrl-C was pressed. */
bool kr_train_view_event(void *view, const krait_training_event *event);
/* Wipes the living line. */
void kr_train_view_end(kr_train_view *view);

#endif
