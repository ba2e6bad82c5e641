#include "cli/interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t raised; /* the signal's number */

static void raise_flag(int number)
{
    if (raised) {
        signal(number, SIG_DFL);
        raise(number);
    }
    raised = number;
}

void kr_interrupt_catch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action); /* no SA_RESTART: a read that waits for the user must end */
    action.sa_handler = raise_flag;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool kr_interrupted(void) { return raised; }

bool kr_interrupt_clear(void)
{
    if (raised == SIGTERM) return false;
    raised = 0;
    return true;
}
