/* vocab_trie.h - the good vocabulary of vocab_image.h, and the tree of its texts. */
#ifndef TESTS_UNIT_VOCAB_TRIE_H
#define TESTS_UNIT_VOCAB_TRIE_H

#include "../../infer/session/trie.h"
#include "vocab_image.h"

static q3n_tokenizer *tokenizer;
static q3n_trie *trie;

static inline void make_trie(void)
{
    const struct vocab_fault small = { .name = "small" };
    ggf_error err;
    ck_assert(!load_vocab_image(&tokenizer, &small, &err));
    ck_assert(!q3n_trie_new(&trie, tokenizer, NULL));
}

static inline void free_trie(void)
{
    q3n_trie_free(trie);
    q3n_tokenizer_free(tokenizer);
}

#endif
