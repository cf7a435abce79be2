/* escape.h - the escapes of a string literal in a template. */
#ifndef INFER_TEXT_JINJA_ESCAPE_H
#define INFER_TEXT_JINJA_ESCAPE_H

#include <stddef.h>

/* Write what the literal's inside stands for to `out`, which has room for its bytes, and
 * the length to *n.  As in Python: \n \t \r \a \b \f \v \\ \' \" \ooo \xhh \uhhhh
 * \Uhhhhhhhh, a backslash before a line break goes with it, before anything else it
 * stays.  NULL, or what is wrong. */
const char *jinja_unescape(char *out, size_t *n, const char *literal, size_t len);

#endif
