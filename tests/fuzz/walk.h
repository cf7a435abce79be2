/* walk.h - a walk through a grammar, byte by byte, as numbers choose: it never comes to a
 * dead end, and what the mask forbids is refused. */
#ifndef TESTS_FUZZ_WALK_H
#define TESTS_FUZZ_WALK_H

#include "../../infer/session/matcher.h"
#include "../mask.h"

#define CHECK(x)                                                                         \
    do {                                                                                 \
        if (!(x)) __builtin_trap();                                                      \
    } while (0)

enum { MOST_WALK = 400 };

/* A vocabulary of the 256 bytes. */
static inline q3n_trie *byte_trie(void)
{
    static struct trie_node nodes[257];
    static int32_t ids[256];
    static q3n_trie trie = {
        .nodes = nodes, .n_nodes = 256, .ids = ids, .n_tokens = 256
    };
    for (uint32_t c = 0; c < 257; c++) {
        nodes[c] = (struct trie_node){ c + 1, c, (uint8_t)c, 1 };
        if (c < 256) ids[c] = (int32_t)c;
    }
    return &trie;
}

/* The byte that a number chooses among those of the mask; -1 if there is none. */
static inline int choose(const uint32_t *mask, uint32_t number)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < 256; c++) n += has_bit(mask, c);
    if (!n) return -1;
    uint32_t left = number % n + 1, c = 0;
    for (; left; c++) left -= has_bit(mask, c);
    return (int)c - 1;
}

/* `whole` is shown each text on the way that is complete; NULL: nobody looks. */
static inline void walk(const q3n_grammar *g, const uint8_t *numbers, size_t n,
                        void (*whole)(const char *text, size_t len))
{
    char text[MOST_WALK];
    q3n_matcher *m;
    CHECK(!q3n_matcher_new(&m, g, byte_trie(), NULL));
    for (size_t len = 0; len < n && len < MOST_WALK; len++) {
        const uint32_t *mask = q3n_matcher_mask(m);
        CHECK(mask);
        const int byte = choose(mask, numbers[len]);
        CHECK(byte >= 0 || q3n_matcher_done(m));
        if (byte < 0) break;
        /* One that is not in the mask is refused, and nothing changes. */
        const char other = (char)(numbers[len] ^ 0x55), chosen = (char)byte;
        if (!has_bit(mask, (uint8_t)other)) CHECK(!q3n_matcher_push(m, &other, 1));
        text[len] = chosen;
        CHECK(q3n_matcher_push(m, &chosen, 1));
        if (whole && q3n_matcher_done(m)) whole(text, len + 1);
    }
    q3n_matcher_free(m);
}

#endif
