/* checkpoint_file.c - the checkpoints of one sequence in one file: from the first page on
 * each with the states behind it; see checkpoint.h. */
#include "checkpoint_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- Writing ------------------------------------------------------------------- */

struct saving {
    q3n_checkpoints *c;
    const int32_t *tokens;
    uint32_t n;
    ggf_output *out;
    uint64_t at;
};

/* With its data, wherever that is. */
static int write_record(struct saving *f, struct kept_record r, ggf_error *err)
{
    uint8_t *bytes = NULL;
    int e = r.data ? 0 : checkpoints_read(f->c, &r, &bytes, &r.data, err);
    if (!e) e = record_write(f->out, &f->at, &r, err);
    free(bytes);
    return e;
}

static int write_states(struct saving *f, const struct page *p, ggf_error *err)
{
    const struct kept *k = &f->c->kept;
    int e = 0;
    for (size_t i = 0; i < k->n_states && !e; i++) {
        const struct state *s = k->states[i];
        if (s->page == p && s->n_tail <= f->n - p->end &&
            !memcmp(s->tail, f->tokens + p->end, s->n_tail * sizeof *s->tail))
            e = write_record(f, state_record(k, s), err);
    }
    return e;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as a context has pages */
static int write_up_to(struct saving *f, const struct page *p, ggf_error *err)
{
    int e = p->parent ? write_up_to(f, p->parent, err) : 0;
    if (!e && p->parent) e = write_record(f, page_record(&f->c->kept, p), err);
    return e ? e : write_states(f, p, err);
}

int q3n_checkpoints_save(q3n_checkpoints *c, const char *path, bool force,
                         const int32_t *tokens, uint32_t n, uint32_t *n_saved,
                         ggf_error *err)
{
    struct saving f = { .c = c, .tokens = tokens, .n = n };
    const struct state *longest = kept_match(&c->kept, tokens, n);
    *n_saved = 0;
    if (!longest)
        return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                        "nothing is kept of the sequence");
    int e = ggf_output_create(&f.out, path, force, err);
    if (e) return e;
    if ((e = write_up_to(&f, longest->page, err))) {
        ggf_output_discard(f.out);
        return e;
    }
    *n_saved = state_pos(longest);
    return ggf_output_commit(f.out, err);
}

/* ---- Reading ------------------------------------------------------------------- */

struct loading {
    q3n_checkpoints *c;
    struct page *page; /* the last one */
    struct state *longest;
    struct state **added;
    size_t n_added;
};

static int wrong(const char *path, const char *what, int code, ggf_error *err)
{
    return ggf_fail(err, code, GGF_NO_OFFSET, "%.200s: %s", path, what);
}

static int take_state(struct loading *l, const struct kept_record *r, ggf_error *err)
{
    struct state *s = NULL;
    struct kept *k = &l->c->kept;
    struct state **added = realloc(l->added, (l->n_added + 1) * sizeof *added);
    if (!added) return ggf_no_memory(err);
    l->added = added;
    int e = checkpoints_state(k, &s, l->page, r->tokens, r->n_tokens, NULL, r->data, err);
    if (e) return e;
    if (s) added[l->n_added++] = s;
    s = state_find(k, l->page, r->tokens, r->n_tokens);
    if (!l->longest || state_pos(s) > state_pos(l->longest)) l->longest = s;
    return 0;
}

static int take(struct loading *l, const struct kept_record *r, const char *path,
                ggf_error *err)
{
    struct kept *k = &l->c->kept;
    const uint64_t fixed = r->kind == RECORD_PAGE ? 0 : k->fixed_bytes;
    if (memcmp(r->root, k->root.key, KEY_BYTES) != 0)
        return wrong(path,
                     "kept with another model, other types of keys and values, another "
                     "version or another instruction set",
                     GGF_E_ARG, err);
    if (memcmp(r->parent, l->page->key, KEY_BYTES) != 0 || r->start != l->page->end ||
        r->data_bytes != fixed + k->token_bytes * r->n_tokens)
        return wrong(path, "a record does not go on where the one before it ends",
                     GGF_E_FORMAT, err);
    if (r->kind == RECORD_STATE) return take_state(l, r, err);
    return checkpoints_page(k, &l->page, r->tokens, NULL, r->data, err);
}

static int take_all(struct loading *l, const char *path, ggf_error *err)
{
    struct state_file f;
    struct kept_record r;
    int e = state_file_open(&f, path, err);
    if (e) return e;
    while (!(e = state_file_next(&f, &r, err)) && !(e = take(l, &r, path, err)))
        ;
    if (e == GGF_E_NOT_FOUND)
        e = l->longest && l->longest->page == l->page
                ? 0
                : wrong(path, "no state behind the last page", GGF_E_FORMAT, err);
    state_file_close(&f);
    return e;
}

static int32_t *tokens_of(const struct state *s)
{
    int32_t *tokens = malloc((state_pos(s) + 1) * sizeof *tokens);
    if (!tokens) return NULL;
    memcpy(tokens + s->page->end, s->tail, s->n_tail * sizeof *tokens);
    for (const struct page *p = s->page; p->parent; p = p->parent)
        memcpy(tokens + p->parent->end, p->tokens, sizeof p->tokens);
    return tokens;
}

int q3n_checkpoints_load(q3n_checkpoints *c, const char *path, int32_t **tokens,
                         uint32_t *n, ggf_error *err)
{
    struct loading l = { .c = c, .page = &c->kept.root };
    *tokens = NULL;
    *n = 0;
    int e = take_all(&l, path, err);
    if (!e && !(*tokens = tokens_of(l.longest))) e = ggf_no_memory(err);
    if (!e) *n = state_pos(l.longest);
    if (e) {
        page_hold(&c->kept, l.page, TIER_RAM); /* it must outlive its states */
        while (l.n_added) state_drop(&c->kept, l.added[--l.n_added], TIER_RAM);
        page_drop(&c->kept, l.page, TIER_RAM);
        page_tidy(&c->kept, l.page);
    }
    free(l.added);
    checkpoints_limit(c, 0, 0, NULL);
    return e;
}
