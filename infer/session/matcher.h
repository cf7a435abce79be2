/* matcher.h - where a text is in its grammar, and which tokens may come next.
 *
 * A place is a set of threads, each a state of the grammar with a stack of calls; equal
 * sets are one place, so what was found out for a place once, the way each byte leads and
 * the tokens that fit, holds whenever the text comes back to it.  What is kept is bounded
 * (a few MB); when it is full it is dropped, and found out again.
 *
 * One matcher belongs to one sequence; grammar and trie are shared and must live longer.
 */
#ifndef INFER_SESSION_MATCHER_H
#define INFER_SESSION_MATCHER_H

#include "grammar.h"
#include "trie.h"

typedef struct q3n_matcher q3n_matcher;

int q3n_matcher_new(q3n_matcher **out, const q3n_grammar *grammar, const q3n_trie *trie,
                    ggf_error *err);
void q3n_matcher_free(q3n_matcher *m);  /* NULL is allowed */
void q3n_matcher_reset(q3n_matcher *m); /* to the beginning */

/* Go on by a text.  False, and the place stays, if it does not fit or memory runs out. */
bool q3n_matcher_push(q3n_matcher *m, const char *text, size_t len);

/* May the text end here? */
bool q3n_matcher_done(const q3n_matcher *m);

/* A bit for each token of the vocabulary, in words of 32: those that may come next, among
 * them the ends of a reply exactly when the text may end.  Of a text that began well at
 * least one is set.  With a schema that would cost more than a tenth of a second or so
 * some longer tokens are left out.  Valid until the matcher is used again; NULL if memory
 * ran out. */
const uint32_t *q3n_matcher_mask(q3n_matcher *m);

#endif
