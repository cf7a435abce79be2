/* line.h - messages of a user, from a terminal or from a stream.
 *
 * At a terminal lines are edited, with history, by libedit; ~/.editrc counts.  Else they
 * are read as they come and nothing is printed.  A message is a line; one that ends in \
 * goes on with the next, and from """ to """ all lines are one message. */
#ifndef TOOLS_LINE_H
#define TOOLS_LINE_H

#include "../../libgguf/libgguf.h"

struct line_reader;

/* Of standard input.  A prompt, and what is typed, is shown on standard error. */
int line_open(struct line_reader **out, const char *program, ggf_error *err);
void line_close(struct line_reader *r); /* NULL is allowed */

/* Does somebody sit there? */
bool line_is_terminal(const struct line_reader *r);

enum line_result {
    LINE_MESSAGE,
    LINE_END,         /* of the input */
    LINE_INTERRUPTED, /* by a signal; what was typed is dropped */
    LINE_FAILED,      /* no memory, or the input cannot be read */
};

/* The next message, good until the next call; not NUL-terminated if it holds NULs, else
 * it is. */
enum line_result line_read(struct line_reader *r, char **text, size_t *len);

#endif
