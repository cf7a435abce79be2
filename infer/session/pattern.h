/* pattern.h - regular expressions as states of a grammar.
 *
 * Understood are characters, escapes (\d \w \s \D \W \S \t \n \r \f \v \xHH \uHHHH), '.',
 * classes, groups, '|', and * + ? {m} {m,} {m,n}, lazy or not; '^' and '$' at the ends.
 * Anything else is an error that names it. */
#ifndef INFER_SESSION_PATTERN_H
#define INFER_SESSION_PATTERN_H

#include "grammar.h"

enum pattern_kind {
    PATTERN_TEXT, /* the text itself, as UTF-8: all of it must match */
    PATTERN_JSON, /* what stands between the quotes of a JSON string: a character that
                     JSON escapes is matched escaped.  A '^' or '$' that is missing lets
                     any characters come before or behind, as a JSON schema has it */
};

/* The first state of what matches the pattern and then goes on at `next`, in *start.
 * GGF_E_ARG, saying what is wrong. */
int pattern_compile(q3n_grammar *g, const char *pattern, enum pattern_kind kind,
                    uint32_t next, uint32_t *start, ggf_error *err);

#endif
