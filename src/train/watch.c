#include "train/watch.h"

bool kr_watch(kr_position *position, double loss, double rise)
{
    double highest = position->mean_loss + rise;
    bool above = position->n_watched >= KR_WATCH_STEPS && loss > highest, begins = above && !position->in_spike;
    if (position->n_watched >= KR_WATCH_STEPS && loss > highest) loss = highest;
    position->n_watched++;
    double n = position->n_watched < KR_WATCH_STEPS ? (double)position->n_watched : KR_WATCH_STEPS;
    position->mean_loss += (loss - position->mean_loss) / n;
    position->in_spike = above;
    return begins;
}
