/* Ctrl-C as a flag: work stops at the next token, and what there is so far is kept. A second Ctrl-C ends the program at once. */
#ifndef KR_CLI_INTERRUPT_H
#define KR_CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGINT and SIGTERM set the flag, and a closed pipe is an error of write() instead of a signal. */
void kr_interrupt_catch(void);
bool kr_interrupted(void);
/* Lowers the flag, for a conversation that goes on after Ctrl-C. false: it was SIGTERM, after which nothing goes on. */
bool kr_interrupt_clear(void);
/* Waits until there is something to read, or the end of it. false: the flag went up before. */
bool kr_interrupt_wait(int fd);

#endif
