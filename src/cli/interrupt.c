#include "cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t raised; /* the signal's number */
/* The handler may run on any thread, and between a look at the flag and a read(): whoever waits for input waits for this, too. */
static int wake[2] = { -1, -1 };

static void raise_flag(int number)
{
    int before = errno;
    if (raised) {
        signal(number, SIG_DFL);
        raise(number);
    }
    raised = number;
    ssize_t written = write(wake[1], "", 1); /* when it is full, it wakes already */
    (void)written;
    errno = before;
}

void kr_interrupt_catch(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action); /* no SA_RESTART: a read that waits for the user must end */
    action.sa_handler = raise_flag;
    sigemptyset(&action.sa_mask);
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) wake[0] = wake[1] = -1; /* poll() and write() pass over -1 */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool kr_interrupted(void) { return raised; }

bool kr_interrupt_clear(void)
{
    char byte;
    if (raised == SIGTERM) return false;
    while (read(wake[0], &byte, 1) == 1) {}
    raised = 0;
    return true;
}

bool kr_interrupt_wait(int fd)
{
    struct pollfd both[] = { { .fd = fd, .events = POLLIN }, { .fd = wake[0], .events = POLLIN } };
    while (!raised && poll(both, 2, -1) < 0 && errno == EINTR) {}
    return !raised;
}
