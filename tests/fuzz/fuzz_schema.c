/* fuzz_schema.c - a schema, a zero byte, and numbers that choose a text of it, byte by
 * byte: a schema is compiled, or refused in words; what is compiled never comes to a dead
 * end, and a complete text is JSON. */
#include "../../infer/session/matcher.h"
#include "../../infer/session/schema.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(x)                                                                         \
    do {                                                                                 \
        if (!(x)) __builtin_trap();                                                      \
    } while (0)

enum { MOST_TEXT = 400, MOST_SCHEMA = 5000 };

/* A vocabulary of the 256 bytes. */
static q3n_trie *byte_trie(void)
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

static bool has_bit(const uint32_t *mask, uint32_t c)
{
    return mask[c / 32] >> c % 32 & 1;
}

/* The byte that a number chooses among those of the mask; -1 if there is none. */
static int choose(const uint32_t *mask, uint32_t number)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < 256; c++) n += has_bit(mask, c);
    if (!n) return -1;
    uint32_t left = number % n + 1, c = 0;
    for (; left; c++) left -= has_bit(mask, c);
    return (int)c - 1;
}

static void walk(q3n_matcher *m, const uint8_t *numbers, size_t n)
{
    char text[MOST_TEXT];
    size_t len = 0;
    for (; len < n && len < MOST_TEXT; len++) {
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
        if (!q3n_matcher_done(m)) continue;
        json_t *value = json_loadb(text, len + 1, JSON_DECODE_ANY, NULL);
        CHECK(value);
        json_decref(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const uint8_t *zero = len ? memchr(bytes, 0, len) : NULL;
    const size_t n = zero ? (size_t)(zero - bytes) : len;
    q3n_grammar *g = NULL;
    q3n_matcher *m;
    ggf_error err = { 0 };
    if (n > MOST_SCHEMA) return 0;
    if (q3n_schema_parse(&g, (const char *)bytes, n, &err)) {
        CHECK(!g && *err.message);
        return 0;
    }
    CHECK(!q3n_matcher_new(&m, g, byte_trie(), &err));
    if (zero) walk(m, zero + 1, len - n - 1);
    q3n_matcher_free(m);
    q3n_grammar_free(g);
    return 0;
}
