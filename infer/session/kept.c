/* kept.c - see kept.h. */
#include "kept.h"

#include <stdlib.h>
#include <string.h>

void kept_init(struct kept *k, const uint8_t root[KEY_BYTES])
{
    *k = (struct kept){ 0 };
    memcpy(k->root.key, root, KEY_BYTES);
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as a context has pages */
static void free_pages(struct page *p)
{
    while (p) {
        struct page *next = p->next;
        free_pages(p->children);
        free(p->data);
        free(p);
        p = next;
    }
}

void kept_free(struct kept *k)
{
    for (size_t i = 0; i < k->n_states; i++) {
        free(k->states[i]->data);
        free(k->states[i]);
    }
    free(k->states);
    free_pages(k->root.children);
    k->states = NULL;
    k->n_states = k->room = 0;
    k->root.children = NULL;
}

uint32_t state_pos(const struct state *s) { return s->page->end + s->n_tail; }

uint64_t page_bytes(const struct kept *k) { return k->token_bytes * PAGE_TOKENS; }

uint64_t state_bytes(const struct kept *k, const struct state *s)
{
    return k->token_bytes * s->n_tail + k->fixed_bytes;
}

struct kept_record page_record(const struct kept *k, const struct page *p)
{
    struct kept_record r = { .kind = RECORD_PAGE,
                             .start = p->parent->end,
                             .n_tokens = PAGE_TOKENS,
                             .tokens = p->tokens,
                             .data = p->data,
                             .data_bytes = page_bytes(k) };
    memcpy(r.root, k->root.key, KEY_BYTES);
    memcpy(r.parent, p->parent->key, KEY_BYTES);
    memcpy(r.key, p->key, KEY_BYTES);
    return r;
}

struct kept_record state_record(const struct kept *k, const struct state *s)
{
    struct kept_record r = { .kind = RECORD_STATE,
                             .start = s->page->end,
                             .n_tokens = s->n_tail,
                             .tokens = s->tail,
                             .data = s->data,
                             .data_bytes = state_bytes(k, s) };
    memcpy(r.root, k->root.key, KEY_BYTES);
    memcpy(r.parent, s->page->key, KEY_BYTES);
    memcpy(r.key, s->key, KEY_BYTES);
    return r;
}

/* ---- Pages ------------------------------------------------------------------- */

struct page *page_find(const struct page *parent, const int32_t *tokens)
{
    struct page *p = parent->children;
    while (p && memcmp(p->tokens, tokens, sizeof p->tokens) != 0) p = p->next;
    return p;
}

struct page *page_add(struct kept *k, struct page *parent, const int32_t *tokens)
{
    struct page *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->parent = parent;
    p->next = parent->children;
    p->end = parent->end + PAGE_TOKENS;
    memcpy(p->tokens, tokens, sizeof p->tokens);
    parent->children = p;
    struct kept_record r = page_record(k, p);
    record_set_key(&r);
    memcpy(p->key, r.key, KEY_BYTES);
    return p;
}

static void unlink_page(struct page *p)
{
    struct page **at = &p->parent->children;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
}

static void forget_data(struct kept *k, struct page *p)
{
    if (!p->data) return;
    free(p->data);
    p->data = NULL;
    k->bytes[TIER_RAM] -= page_bytes(k);
}

void page_tidy(struct kept *k, struct page *p)
{
    while (p->parent) {
        struct page *parent = p->parent;
        if (!p->users[TIER_RAM]) forget_data(k, p);
        if (!p->users[TIER_RAM] && !p->users[TIER_DISK] && !p->children) {
            unlink_page(p);
            free(p);
        }
        p = parent;
    }
}

void page_hold(struct kept *k, struct page *p, enum tier tier)
{
    for (; p->parent; p = p->parent) {
        if (p->users[tier]++) return;
        if (tier == TIER_DISK) {
            const struct kept_record r = page_record(k, p);
            k->bytes[TIER_DISK] += record_bytes(&r);
        }
    }
}

void page_drop(struct kept *k, struct page *p, enum tier tier)
{
    for (; p->parent; p = p->parent) {
        if (--p->users[tier]) return;
        if (tier == TIER_RAM) {
            forget_data(k, p);
            continue;
        }
        const struct kept_record r = page_record(k, p);
        k->bytes[TIER_DISK] -= record_bytes(&r);
        k->remove(k->user, RECORD_PAGE, p->key);
    }
}

/* ---- States ------------------------------------------------------------------ */

struct state *state_find(const struct kept *k, const struct page *p, const int32_t *tail,
                         uint32_t n)
{
    for (size_t i = 0; i < k->n_states; i++) {
        struct state *s = k->states[i];
        if (s->page == p && s->n_tail == n && !memcmp(s->tail, tail, n * sizeof *tail))
            return s;
    }
    return NULL;
}

static bool make_room(struct kept *k)
{
    if (k->n_states < k->room) return true;
    const size_t room = k->room ? 2 * k->room : 32;
    struct state **states = realloc(k->states, room * sizeof *states);
    if (!states) return false;
    k->states = states;
    k->room = room;
    return true;
}

struct state *state_add(struct kept *k, struct page *p, const int32_t *tail, uint32_t n)
{
    struct state *s = make_room(k) ? calloc(1, sizeof *s) : NULL;
    if (!s) return NULL;
    s->page = p;
    s->n_tail = n;
    if (n) memcpy(s->tail, tail, n * sizeof *tail);
    struct kept_record r = state_record(k, s);
    record_set_key(&r);
    memcpy(s->key, r.key, KEY_BYTES);
    return k->states[k->n_states++] = s;
}

void state_hold(struct kept *k, struct state *s, enum tier tier)
{
    const struct kept_record r = state_record(k, s);
    if (s->in[tier]) return;
    s->in[tier] = true;
    k->bytes[tier] += tier == TIER_RAM ? r.data_bytes : record_bytes(&r);
    page_hold(k, s->page, tier);
}

static void forget_state(struct kept *k, struct state *s)
{
    size_t i = 0;
    while (k->states[i] != s) i++;
    k->states[i] = k->states[--k->n_states];
    page_tidy(k, s->page);
    free(s->data);
    free(s);
}

bool state_drop(struct kept *k, struct state *s, enum tier tier)
{
    const struct kept_record r = state_record(k, s);
    if (s->in[tier]) {
        k->bytes[tier] -= tier == TIER_RAM ? r.data_bytes : record_bytes(&r);
        s->in[tier] = false;
        if (tier == TIER_DISK) k->remove(k->user, RECORD_STATE, s->key);
        page_drop(k, s->page, tier);
    }
    if (tier == TIER_RAM) {
        free(s->data);
        s->data = NULL;
    }
    if (s->in[TIER_RAM] || s->in[TIER_DISK]) return false;
    forget_state(k, s);
    return true;
}

bool state_has_page(const struct state *s, const struct page *p)
{
    const struct page *own = s->page;
    while (own->end > p->end) own = own->parent;
    return own == p;
}

/* ---- Searching --------------------------------------------------------------- */

struct state *kept_match(const struct kept *k, const int32_t *tokens, uint32_t n)
{
    const struct page *p = &k->root;
    struct state *best = NULL;
    while (p) {
        const int32_t *rest = tokens + p->end;
        for (size_t i = 0; i < k->n_states; i++) {
            struct state *s = k->states[i];
            if (s->page == p && s->n_tail <= n - p->end &&
                !memcmp(s->tail, rest, s->n_tail * sizeof *rest) &&
                (!best || state_pos(s) > state_pos(best)))
                best = s;
        }
        p = n - p->end < PAGE_TOKENS ? NULL : page_find(p, rest);
    }
    return best;
}

/* Does b go on where a ends? */
static bool goes_on(const struct state *a, const struct state *b)
{
    if (state_pos(a) >= state_pos(b) || !state_has_page(b, a->page)) return false;
    const int32_t *tokens = b->tail;
    for (const struct page *p = b->page; p != a->page; p = p->parent) tokens = p->tokens;
    return !memcmp(a->tail, tokens, a->n_tail * sizeof *tokens);
}

/* Tokens to read again without it. */
static uint32_t gap(const struct kept *k, const struct state *s)
{
    uint32_t nearest = 0;
    for (size_t i = 0; i < k->n_states; i++)
        if (state_pos(k->states[i]) > nearest && goes_on(k->states[i], s))
            nearest = state_pos(k->states[i]);
    return state_pos(s) - nearest;
}

struct state *kept_victim(const struct kept *k, enum tier tier, const struct state *spare)
{
    struct state *victim = NULL;
    double least = 0;
    for (size_t i = 0; i < k->n_states; i++) {
        struct state *s = k->states[i];
        if (!s->in[tier] || s == spare) continue;
        const double loss = gap(k, s) / (1.0 + (double)(k->clock - s->used));
        if (victim && loss >= least) continue;
        victim = s;
        least = loss;
    }
    return victim;
}
