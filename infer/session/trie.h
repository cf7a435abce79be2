/* trie.h - the texts of a vocabulary as a tree of bytes: tokens that begin alike share
 * the way.  Made once for a tokenizer, never changed; many matchers may use it.
 *
 * Nodes stand in the order of a walk from the root: the children of a node follow it, and
 * `skip` is where the walk goes on without them.  Left out are control tokens, tokens
 * without text, and tokens of more than 255 bytes. */
#ifndef INFER_SESSION_TRIE_H
#define INFER_SESSION_TRIE_H

#include "../text/tokenizer.h"

struct trie_node {
    uint32_t skip;
    uint32_t first; /* its tokens are ids[first .. the next node's first) */
    uint8_t byte;
    uint8_t depth; /* 1: the first byte */
};

typedef struct q3n_trie q3n_trie;
struct q3n_trie {
    struct trie_node *nodes; /* and one behind the last, with `first` alone */
    uint32_t n_nodes;
    int32_t *ids;
    uint32_t n_tokens;  /* of the vocabulary */
    const int32_t *eog; /* tokens that end a reply; the tokenizer's */
    int n_eog;
    const q3n_tokenizer *tokenizer;
};

/* The tokenizer stays the caller's. */
int q3n_trie_new(q3n_trie **out, const q3n_tokenizer *tokenizer, ggf_error *err);
void q3n_trie_free(q3n_trie *t); /* NULL is allowed */

#endif
