/* fuzz_gbnf.c - a grammar in GBNF, a zero byte, and numbers that choose a text of it,
 * byte by byte: a grammar is compiled, or refused in words; what is compiled never comes
 * to a dead end. */
#include "../../infer/session/gbnf.h"
#include "walk.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MOST_GRAMMAR = 5000 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const uint8_t *zero = len ? memchr(bytes, 0, len) : NULL;
    const size_t n = zero ? (size_t)(zero - bytes) : len;
    q3n_grammar *g = NULL;
    ggf_error err = { 0 };
    if (n > MOST_GRAMMAR) return 0;
    if (q3n_gbnf_parse(&g, (const char *)bytes, n, &err)) {
        CHECK(!g && *err.message);
        return 0;
    }
    if (zero) walk(g, zero + 1, len - n - 1, NULL);
    q3n_grammar_free(g);
    return 0;
}
