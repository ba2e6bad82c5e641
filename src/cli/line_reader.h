/* Lines from the person at the terminal, with editing and a history where libedit is built in; from a pipe, as they come. */
#ifndef KR_CLI_LINE_READER_H
#define KR_CLI_LINE_READER_H

#include <stddef.h>

typedef struct kr_line_reader kr_line_reader;

/* `prompt` is shown on a terminal only. NULL when out of memory. */
kr_line_reader *kr_line_reader_create(const char *prompt);
void kr_line_reader_free(kr_line_reader *reader);
/* The next line without its newline, with a NUL behind, valid until the next call. NULL at the end of the input, and when a signal
 * came (kr_interrupted() tells). */
const char *kr_line_reader_next(kr_line_reader *reader, size_t *length);

#endif
