/* align.c - see align.h. */
#include "align.h"

#include <stdlib.h>
#include <string.h>

/* A place in a list of tokens: before byte `at` of the token number i. */
struct place {
    const int32_t *ids;
    size_t n, i, at;
};

static void step(struct place *p, size_t len, size_t n)
{
    p->at += n;
    if (p->at < len) return;
    p->i++;
    p->at = 0;
}

/* Go on by what both say next, at most to the end of a token; false if they differ, or
 * one of them is at its end. */
static bool go_on(const q3n_tokenizer *t, struct place *a, struct place *b)
{
    if (a->i == a->n || b->i == b->n) return false;
    const int32_t x = a->ids[a->i], y = b->ids[b->i];
    const struct ggf_str s = q3n_token_text(t, x), u = q3n_token_text(t, y);
    if (!s.len || !u.len || q3n_token_is_control(t, x) || q3n_token_is_control(t, y)) {
        if (x != y) return false;
        step(a, s.len, s.len);
        step(b, u.len, u.len);
        return true;
    }
    const size_t left = s.len - a->at, right = u.len - b->at;
    const size_t n = left < right ? left : right;
    if (memcmp(s.data + a->at, u.data + b->at, n)) return false;
    step(a, s.len, n);
    step(b, u.len, n);
    return true;
}

bool q3n_align(const q3n_tokenizer *t, const int32_t *held, size_t n, struct q3n_ids *ids)
{
    struct place a = { held, n, 0, 0 }, b = { ids->ids, ids->n, 0, 0 };
    size_t from = 0, to = 0; /* the last place where tokens of both end */
    while (go_on(t, &a, &b))
        if (!a.at && !b.at) {
            from = a.i;
            to = b.i;
        }
    const size_t rest = ids->n - to;
    int32_t *whole = malloc((from + rest + 1) * sizeof *whole);
    if (!whole) return false;
    if (from) memcpy(whole, held, from * sizeof *whole);
    if (rest) memcpy(whole + from, ids->ids + to, rest * sizeof *whole);
    free(ids->ids);
    *ids = (struct q3n_ids){ whole, from + rest, from + rest + 1 };
    return true;
}
