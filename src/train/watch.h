/* Noticing that the loss leaps: above its running mean by more than a given rise. */
#ifndef KR_TRAIN_WATCH_H
#define KR_TRAIN_WATCH_H

#include "train/position.h"

enum { KR_WATCH_STEPS = 50 }; /* that the mean runs over; before so many, nothing is a leap */

/* Takes in the loss of a step, and says whether a leap begins with it. mean += (min(loss, mean + rise) - mean) / min(n, KR_WATCH_STEPS): a leap
 * moves the mean, too, but slowly, so that a lasting one is told once. */
bool kr_watch(kr_position *position, double loss, double rise);

#endif
