/* escape.h - backslashes in arguments. */
#ifndef TOOLS_ESCAPE_H
#define TOOLS_ESCAPE_H

#include <stddef.h>

/* Replace \n, \r, \t, \', \" and \\ in place; others stay.  Returns the new length. */
size_t unescape(char *text);

#endif
