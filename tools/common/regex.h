/* regex.h - patterns given on a command line, matched anywhere in a name (PCRE2). */
#ifndef TOOLS_REGEX_H
#define TOOLS_REGEX_H

#include "../../libgguf/libgguf.h"

struct regex;

/* GGF_E_ARG with the position if the pattern is wrong. */
int regex_new(struct regex **out, const char *pattern, ggf_error *err);
/* 1 or 0; GGF_E_ARG if the pattern needs too many steps on this text (the limit keeps a
 * pattern like (a+)+$ from running for ever). */
int regex_match(const struct regex *r, const char *text, ggf_error *err);
/* NULL is allowed. */
void regex_free(struct regex *r);

#endif
