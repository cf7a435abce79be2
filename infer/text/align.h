/* align.h - a prompt, told in the tokens that a session holds already.
 *
 * A model does not always write its text in the tokens that a tokenizer would make of
 * it.  When a reply comes back as a part of the next prompt, its text is the same but
 * its ids may not be; what matters to the session is that it has not to read it again. */
#ifndef INFER_TEXT_ALIGN_H
#define INFER_TEXT_ALIGN_H

#include "tokenizer.h"

/* Where `ids` and held[n] begin with the same text, put the held tokens in the place of
 * the others, up to the last place where tokens of both end.  The text stays the same,
 * and control tokens count as the same only where both have them.  False: out of memory;
 * ids are as they were. */
bool q3n_align(const q3n_tokenizer *t, const int32_t *held, size_t n,
               struct q3n_ids *ids);

#endif
