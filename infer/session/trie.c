/* trie.c - see trie.h. */
#include "trie.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_DEPTH = 255 };

/* A token, its first bytes as a number that orders like them. */
struct word {
    uint64_t head;
    struct ggf_str text;
    int32_t id;
};

static int by_text(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    if (x->head != y->head) return x->head < y->head ? -1 : 1;
    const size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    const int order = memcmp(x->text.data, y->text.data, n);
    if (order) return order;
    if (x->text.len != y->text.len) return x->text.len < y->text.len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static uint64_t head_of(struct ggf_str text)
{
    uint64_t head = 0;
    for (size_t i = 0; i < 8; i++)
        head = head << 8 | (i < text.len ? (uint8_t)text.data[i] : 0);
    return head;
}

/* The tokens in the order of their bytes; returns how many. */
static uint32_t list_words(const q3n_tokenizer *tokenizer, struct word *words)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q3n_tokenizer_count(tokenizer); i++) {
        const int32_t id = (int32_t)i;
        const struct ggf_str text = q3n_token_text(tokenizer, id);
        if (!text.len || text.len > MOST_DEPTH || q3n_token_is_control(tokenizer, id))
            continue;
        words[n++] = (struct word){ head_of(text), text, id };
    }
    qsort(words, n, sizeof *words, by_text);
    return n;
}

static size_t common(struct ggf_str a, struct ggf_str b)
{
    const size_t most = a.len < b.len ? a.len : b.len;
    size_t n = 0;
    while (n < most && a.data[n] == b.data[n]) n++;
    return n;
}

/* Each word adds nodes for what it does not share with the one before. */
static uint64_t count_nodes(const struct word *words, uint32_t n)
{
    uint64_t nodes = 0;
    for (uint32_t i = 0; i < n; i++)
        nodes += words[i].text.len - (i ? common(words[i - 1].text, words[i].text) : 0);
    return nodes;
}

static void fill(q3n_trie *t, const struct word *words, uint32_t n)
{
    uint32_t open[MOST_DEPTH + 1]; /* the node at each depth, on the way to here */
    size_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct ggf_str text = words[i].text;
        const size_t shared = i ? common(words[i - 1].text, text) : 0;
        while (depth > shared) t->nodes[open[depth--]].skip = t->n_nodes;
        while (depth < text.len) {
            open[depth + 1] = t->n_nodes;
            t->nodes[t->n_nodes++] =
                (struct trie_node){ .first = i,
                                    .byte = (uint8_t)text.data[depth],
                                    .depth = (uint8_t)(depth + 1) };
            depth++;
        }
        t->ids[i] = words[i].id;
    }
    while (depth) t->nodes[open[depth--]].skip = t->n_nodes;
    t->nodes[t->n_nodes].first = n;
}

int q3n_trie_new(q3n_trie **out, const q3n_tokenizer *tokenizer, ggf_error *err)
{
    *out = NULL;
    const uint32_t count = q3n_tokenizer_count(tokenizer);
    q3n_trie *t = calloc(1, sizeof *t);
    struct word *words = calloc((size_t)count + 1, sizeof *words);
    uint64_t nodes = 0;
    uint32_t n = 0;
    if (t && words) {
        n = list_words(tokenizer, words);
        nodes = count_nodes(words, n);
        t->ids = calloc((size_t)n + 1, sizeof *t->ids);
        t->nodes = calloc((size_t)nodes + 1, sizeof *t->nodes);
        t->n_tokens = count;
        t->tokenizer = tokenizer;
        t->eog = q3n_tokenizer_eog(tokenizer, &t->n_eog);
    }
    const bool ok = t && words && t->ids && t->nodes && nodes < UINT32_MAX;
    if (ok) fill(t, words, n);
    else q3n_trie_free(t);
    free(words);
    if (!ok) return ggf_no_memory(err);
    *out = t;
    return 0;
}

void q3n_trie_free(q3n_trie *t)
{
    if (!t) return;
    free(t->nodes);
    free(t->ids);
    free(t);
}
