/* charset.h - sets of characters, and the bytes that they are. */
#ifndef INFER_SESSION_CHARSET_H
#define INFER_SESSION_CHARSET_H

#include "grammar.h"

enum { CHARSET_RANGES = 256 };

struct charset {
    struct {
        uint32_t lo, hi;
    } range[CHARSET_RANGES]; /* may overlap */
    int n;
    bool full; /* one did not fit */
};

void charset_add(struct charset *s, uint32_t lo, uint32_t hi);
/* All others, U+0000 to U+10FFFF. */
void charset_invert(struct charset *s);

/* One character of the set as UTF-8, then `next`.  `json`: as it stands in a JSON string,
 * escaped if it must be, and then in one way.  Surrogates are no characters. */
uint32_t charset_emit(q3n_grammar *g, const struct charset *s, bool json, uint32_t next);

#endif
