/* bpe.h - byte pair encoding of one piece of text. */
#ifndef INFER_TEXT_BPE_H
#define INFER_TEXT_BPE_H

#include "vocab.h"

struct q3n_ids;

/* Working memory that grows with the longest piece; zero-initialise. */
struct bpe_space {
    struct bpe_node *nodes;
    uint64_t *heap;
    size_t capacity; /* pieces of so many bytes fit */
};

void bpe_space_free(struct bpe_space *space);

/* Append the tokens of the piece: start from its bytes and join, again and again, the
 * leftmost pair of lowest rank.  O(n log n).  False: out of memory. */
bool bpe_encode(const struct vocab *v, const uint8_t *piece, size_t len,
                struct bpe_space *space, struct q3n_ids *out);

#endif
