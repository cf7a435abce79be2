/* checkpoint.c - see checkpoint.h: which states are where, and how sessions get them. */
#include "checkpoint_parts.h"

#include "../../quant/cpu.h"
#include "session.h"

#include <stdlib.h>
#include <string.h>

/* To be raised when the same model gives other bits than before. */
enum { NUMERICS = 1 };

/* ---- Opening ------------------------------------------------------------------- */

/* What all keys begin with: whatever makes other bits. */
static int root_key(const struct q3n_checkpoints *c, uint8_t key[KEY_BYTES],
                    ggf_error *err)
{
    const uint32_t settings[] = { NUMERICS, c->model->exact, c->type_k, c->type_v };
    const char *names[] = { "q3n state", ggf_version(), cpu_level_name() };
    uint8_t model[GGF_SHA256_BYTES];
    int e = model_identity(c->model, model, err);
    if (e) return e;
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    for (int i = 0; i < 3; i++) ggf_sha256_update(h, names[i], strlen(names[i]) + 1);
    ggf_sha256_update(h, settings, sizeof settings);
    ggf_sha256_update(h, model, sizeof model);
    ggf_sha256_final(h, key);
    ggf_sha256_free(h);
    return 0;
}

static void remove_file(void *user, enum record_kind kind, const uint8_t key[KEY_BYTES])
{
    const struct q3n_checkpoints *c = user;
    state_dir_remove(&c->dir, kind, key);
}

static int by_key(const void *a, const void *b)
{
    return memcmp((*(struct page *const *)a)->key, (*(struct page *const *)b)->key,
                  KEY_BYTES);
}

/* A page that was found, or the root. */
static struct page *page_of(struct kept *k, struct page **pages, size_t n,
                            const uint8_t key[KEY_BYTES])
{
    struct page wanted, *w = &wanted;
    if (!memcmp(k->root.key, key, KEY_BYTES)) return &k->root;
    memcpy(wanted.key, key, KEY_BYTES);
    struct page **found = n ? bsearch(&w, pages, n, sizeof *pages, by_key) : NULL;
    return found ? *found : NULL;
}

/* Add the pages, those of a position together: their parents are there by then. */
static int add_pages(struct kept *k, const struct state_dir_entry *list, size_t n,
                     struct page **pages, size_t *n_pages)
{
    size_t known = 0; /* sorted */
    for (size_t i = 0; i < n && list[i].r.kind == RECORD_PAGE; i++) {
        const struct kept_record *r = &list[i].r;
        if (i && r->start != list[i - 1].r.start) {
            known = *n_pages;
            qsort(pages, known, sizeof *pages, by_key);
        }
        struct page *parent = page_of(k, pages, known, r->parent);
        if (!parent || parent->end != r->start || r->data_bytes != page_bytes(k))
            continue;
        struct page *p = page_add(k, parent, r->tokens);
        if (!p) return GGF_E_NOMEM;
        pages[(*n_pages)++] = p;
    }
    qsort(pages, *n_pages, sizeof *pages, by_key);
    return 0;
}

static int add_states(struct kept *k, const struct state_dir_entry *list, size_t n,
                      struct page **pages, size_t n_pages)
{
    for (size_t i = 0; i < n; i++) {
        const struct kept_record *r = &list[i].r;
        struct page *p = page_of(k, pages, n_pages, r->parent);
        if (r->kind != RECORD_STATE || !p || p->end != r->start) continue;
        struct state *s = state_add(k, p, r->tokens, r->n_tokens);
        if (!s) return GGF_E_NOMEM;
        s->used = ++k->clock;
        state_hold(k, s, TIER_DISK);
        if (r->data_bytes != state_bytes(k, s)) state_drop(k, s, TIER_DISK);
    }
    return 0;
}

static bool is_needed(struct kept *k, const struct kept_record *r, struct page **pages,
                      size_t n_pages)
{
    const bool page = r->kind == RECORD_PAGE;
    const struct page *p = page_of(k, pages, n_pages, page ? r->key : r->parent);
    if (page) return p && p->users[TIER_DISK];
    return p && state_find(k, p, r->tokens, r->n_tokens);
}

/* Pages that no state needs, and what has lost a page before it.  Not at once: another
 * process may be about to write a state behind it. */
static void remove_useless(struct q3n_checkpoints *c, const struct state_dir_entry *list,
                           size_t n, struct page **pages, size_t n_pages)
{
    for (size_t i = 0; i < n; i++)
        if (state_dir_is_old(&list[i]) &&
            !is_needed(&c->kept, &list[i].r, pages, n_pages))
            state_dir_remove(&c->dir, list[i].r.kind, list[i].r.key);
}

/* Put what the folder holds into the tree. */
static int find_files(struct q3n_checkpoints *c, ggf_error *err)
{
    struct state_dir_entry *list;
    size_t n, n_pages = 0;
    int e = state_dir_list(&c->dir, c->kept.root.key, &list, &n, err);
    if (e || !n) return e;
    struct page **pages = malloc(n * sizeof *pages);
    e = pages ? add_pages(&c->kept, list, n, pages, &n_pages) : GGF_E_NOMEM;
    if (!e) e = add_states(&c->kept, list, n, pages, n_pages);
    if (!e) remove_useless(c, list, n, pages, n_pages);
    free(pages);
    free(list);
    return e ? ggf_no_memory(err) : 0;
}

static int start(struct q3n_checkpoints *c, ggf_error *err)
{
    const struct q3n_model_info *info = &c->model->info;
    const struct q3n_session_options types = { .type_k = c->type_k, .type_v = c->type_v };
    uint8_t root[KEY_BYTES];
    int e = root_key(c, root, err);
    if (e) return e;
    kept_init(&c->kept, root);
    c->kept.token_bytes = q3n_kv_bytes(info, &types);
    c->kept.fixed_bytes = info->bytes_session;
    c->kept.remove = remove_file;
    c->kept.user = c;
    if (!c->options.dir) return 0;
    e = state_dir_open(&c->dir, c->options.dir, err);
    return e ? e : find_files(c, err);
}

int q3n_checkpoints_open(q3n_checkpoints **out, q3n_model *model,
                         const struct q3n_session_options *session,
                         const struct q3n_checkpoint_options *options, ggf_error *err)
{
    struct q3n_checkpoints *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return ggf_no_memory(err);
    c->model = model;
    c->type_k = session ? session->type_k : GGF_F32;
    c->type_v = session ? session->type_v : GGF_F32;
    c->options = *options;
    const int e = start(c, err);
    if (e) q3n_checkpoints_close(c);
    else *out = c;
    return e;
}

void q3n_checkpoints_close(q3n_checkpoints *c)
{
    if (!c) return;
    kept_free(&c->kept);
    state_dir_close(&c->dir);
    free(c);
}

static int check_session(const struct q3n_checkpoints *c, const q3n_session *s,
                         ggf_error *err)
{
    if (s->model == c->model && s->options.type_k == c->type_k &&
        s->options.type_v == c->type_v)
        return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the session is of another model or has other types of keys and "
                    "values than the checkpoints");
}

/* ---- Room ---------------------------------------------------------------------- */

/* Pages from the first on that are not on disk yet. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as a context has pages */
static int write_pages(struct q3n_checkpoints *c, const struct page *p, ggf_error *err)
{
    if (!p->parent || p->users[TIER_DISK]) return 0;
    const int e = write_pages(c, p->parent, err);
    if (e) return e;
    const struct kept_record r = page_record(&c->kept, p);
    return state_dir_write(&c->dir, &r, err);
}

static int write_state(struct q3n_checkpoints *c, struct state *s, ggf_error *err)
{
    if (s->in[TIER_DISK]) return 0;
    int e = write_pages(c, s->page, err);
    const struct kept_record r = state_record(&c->kept, s);
    if (!e) e = state_dir_write(&c->dir, &r, err);
    if (!e) {
        state_hold(&c->kept, s, TIER_DISK);
        return 0;
    }
    for (const struct page *p = s->page; p->parent && !p->users[TIER_DISK]; p = p->parent)
        state_dir_remove(&c->dir, RECORD_PAGE, p->key);
    return e;
}

static void limit_disk(struct q3n_checkpoints *c)
{
    struct state *s;
    while (c->options.disk_bytes && c->kept.bytes[TIER_DISK] > c->options.disk_bytes &&
           (s = kept_victim(&c->kept, TIER_DISK, NULL)))
        state_drop(&c->kept, s, TIER_DISK);
}

static uint32_t count_in(const struct kept *k, enum tier tier)
{
    uint32_t n = 0;
    for (size_t i = 0; i < k->n_states; i++) n += k->states[i]->in[tier];
    return n;
}

void checkpoints_limit(struct q3n_checkpoints *c, uint64_t bytes, uint32_t states,
                       const struct state *spare)
{
    struct state *s;
    while ((c->kept.bytes[TIER_RAM] + bytes > c->options.ram_bytes ||
            count_in(&c->kept, TIER_RAM) + states > c->options.max_states) &&
           (s = kept_victim(&c->kept, TIER_RAM, spare))) {
        if (c->dir.path && write_state(c, s, NULL)) c->stats.failed_writes++;
        state_drop(&c->kept, s, TIER_RAM);
    }
    limit_disk(c);
}

/* ---- Keeping ------------------------------------------------------------------- */

/* Give a page its data, a copy if it is given. */
static int fill_page(struct kept *k, struct page *p, const q3n_session *s,
                     const uint8_t *data, ggf_error *err)
{
    if (p->data) return 0;
    uint8_t *copy = malloc(page_bytes(k) ? page_bytes(k) : 1);
    int e = copy ? 0 : ggf_no_memory(err);
    if (!e && data) memcpy(copy, data, page_bytes(k));
    else if (!e) e = session_get_kv(s, p->end - PAGE_TOKENS, PAGE_TOKENS, copy, err);
    if (e) {
        free(copy);
        return e;
    }
    p->data = copy;
    k->bytes[TIER_RAM] += page_bytes(k);
    return 0;
}

/* What a state behind page p keeps: n tokens' keys and values, and what is recurrent. */
static int get_state(const struct kept *k, const struct page *p, uint32_t n,
                     const q3n_session *s, uint8_t *into, ggf_error *err)
{
    const int e = session_get_kv(s, p->end, n, into, err);
    return e ? e : session_get_recurrent(s, into + k->token_bytes * n, err);
}

int checkpoints_page(struct kept *k, struct page **p, const int32_t *tokens,
                     const q3n_session *s, const uint8_t *data, ggf_error *err)
{
    struct page *child = page_find(*p, tokens);
    if (!child) child = page_add(k, *p, tokens);
    if (!child) return ggf_no_memory(err);
    *p = child;
    return fill_page(k, child, s, data, err);
}

int checkpoints_state(struct kept *k, struct state **out, struct page *p,
                      const int32_t *tail, uint32_t n, const q3n_session *session,
                      const uint8_t *data, ggf_error *err)
{
    const uint64_t bytes = k->fixed_bytes + k->token_bytes * n;
    struct state *s = state_find(k, p, tail, n);
    if (s && s->data) return 0;
    uint8_t *copy = malloc(bytes ? bytes : 1);
    int e = copy ? 0 : ggf_no_memory(err);
    if (!e && data) memcpy(copy, data, bytes);
    else if (!e) e = get_state(k, p, n, session, copy, err);
    if (!e && !s && !(s = state_add(k, p, tail, n))) e = ggf_no_memory(err);
    if (e) {
        free(copy);
        return e;
    }
    s->data = copy;
    s->used = ++k->clock;
    state_hold(k, s, TIER_RAM);
    *out = s;
    return 0;
}

/* Memory that the state of a session takes, in all, and beside what is there. */
static uint64_t bytes_needed(const struct kept *k, const q3n_session *s, uint64_t *more)
{
    const struct page *p = &k->root;
    const uint64_t all = k->fixed_bytes + k->token_bytes * s->pos;
    *more = all;
    for (uint32_t at = 0; p && s->pos - at >= PAGE_TOKENS; at += PAGE_TOKENS) {
        p = page_find(p, s->tokens + at);
        if (p && p->data) *more -= page_bytes(k);
    }
    return all;
}

int q3n_checkpoints_keep(q3n_checkpoints *c, const q3n_session *s, ggf_error *err)
{
    struct kept *k = &c->kept;
    struct page *p = &k->root;
    struct state *state = NULL;
    uint64_t more;
    int e = check_session(c, s, err);
    if (e || s->broken || !s->pos) return e;
    if (bytes_needed(k, s, &more) > c->options.ram_bytes || !c->options.max_states)
        return 0;
    state = kept_match(k, s->tokens, s->pos);
    if (state && state_pos(state) == s->pos && state->data) {
        state->used = ++k->clock;
        return 0;
    }
    checkpoints_limit(c, more, 1, NULL);
    state = NULL;
    while (!e && s->pos - p->end >= PAGE_TOKENS)
        e = checkpoints_page(k, &p, s->tokens + p->end, s, NULL, err);
    if (!e)
        e = checkpoints_state(k, &state, p, s->tokens + p->end, s->pos - p->end, s, NULL,
                              err);
    if (e) page_tidy(k, p);
    else checkpoints_limit(c, 0, 0, state);
    return e;
}

int q3n_checkpoints_flush(q3n_checkpoints *c, ggf_error *err)
{
    int e = 0;
    for (size_t i = 0; c->dir.path && i < c->kept.n_states && !e; i++)
        e = write_state(c, c->kept.states[i], err);
    limit_disk(c);
    return e;
}

/* ---- Restoring ----------------------------------------------------------------- */

/* The file of a page cannot be used: nor can what needs it. */
static void lose_page(struct q3n_checkpoints *c, struct page *p)
{
    struct kept *k = &c->kept;
    c->stats.refused++;
    page_hold(k, p, TIER_RAM); /* it must outlive its states */
    for (size_t i = k->n_states; i--;)
        if (state_has_page(k->states[i], p)) state_drop(k, k->states[i], TIER_DISK);
    page_drop(k, p, TIER_RAM);
    page_tidy(k, p);
}

int checkpoints_read(const struct q3n_checkpoints *c, const struct kept_record *wanted,
                     uint8_t **bytes, const uint8_t **data, ggf_error *err)
{
    struct kept_record r;
    int e = state_dir_read(&c->dir, wanted->kind, wanted->key, &r, bytes, err);
    if (!e && r.data_bytes != wanted->data_bytes)
        e = ggf_fail(
            err, GGF_E_FORMAT, GGF_NO_OFFSET, "a kept state of %llu bytes, expected %llu",
            (unsigned long long)r.data_bytes, (unsigned long long)wanted->data_bytes);
    *data = r.data;
    return e;
}

static int restore_page(struct q3n_checkpoints *c, const struct page *p, q3n_session *s,
                        ggf_error *err)
{
    const uint32_t first = p->end - PAGE_TOKENS;
    const struct kept_record wanted = page_record(&c->kept, p);
    const uint8_t *data = p->data;
    uint8_t *bytes = NULL;
    const int e = data ? 0 : checkpoints_read(c, &wanted, &bytes, &data, err);
    if (!e) session_put_kv(s, first, PAGE_TOKENS, data);
    if (!e) memcpy(s->tokens + first, p->tokens, sizeof p->tokens);
    free(bytes);
    return e;
}

/* Those that the session does not hold already; *bad is one whose file is damaged. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as a context has pages */
static int restore_pages(struct q3n_checkpoints *c, struct page *p, q3n_session *s,
                         struct page **bad, ggf_error *err)
{
    if (!p->parent || p->end <= s->pos) return 0;
    int e = restore_pages(c, p->parent, s, bad, err);
    if (e) return e;
    e = restore_page(c, p, s, err);
    if (e) *bad = p;
    return e;
}

static int restore_rest(struct q3n_checkpoints *c, const struct state *state,
                        q3n_session *s, ggf_error *err)
{
    const struct kept_record wanted = state_record(&c->kept, state);
    const uint32_t first = state->page->end, n = state->n_tail;
    const uint8_t *data = state->data;
    uint8_t *bytes = NULL;
    const int e = data ? 0 : checkpoints_read(c, &wanted, &bytes, &data, err);
    if (!e) {
        session_put_kv(s, first, n, data);
        session_put_recurrent(s, data + c->kept.token_bytes * n);
        memcpy(s->tokens + first, state->tail, n * sizeof *state->tail);
        s->pos = first + n;
    }
    free(bytes);
    return e;
}

/* Tokens at the start of a session that are these. */
static uint32_t in_common(const q3n_session *s, const int32_t *tokens, uint32_t n)
{
    uint32_t i = 0;
    while (i < s->pos && i < n && s->tokens[i] == tokens[i]) i++;
    return s->broken ? 0 : i;
}

/* On failure the session is at its start, and what was damaged is gone. */
static int restore_state(struct q3n_checkpoints *c, struct state *state, q3n_session *s,
                         const int32_t *tokens, ggf_error *err)
{
    struct page *bad = NULL;
    const bool from_disk = !state->data;
    s->pos = in_common(s, tokens, state_pos(state));
    s->broken = false;
    int e = restore_pages(c, state->page, s, &bad, err);
    if (!e) e = restore_rest(c, state, s, err);
    if (!e) {
        c->stats.hits++;
        c->stats.disk_hits += from_disk;
        c->stats.tokens += s->pos;
        state->used = ++c->kept.clock;
        if (state->in[TIER_DISK]) state_dir_touch(&c->dir, RECORD_STATE, state->key);
        return 0;
    }
    q3n_session_reset(s);
    if (e == GGF_E_NOMEM) return e;
    if (bad) {
        lose_page(c, bad);
    } else {
        c->stats.refused++;
        state_drop(&c->kept, state, TIER_DISK);
    }
    return e;
}

int q3n_checkpoints_restore(q3n_checkpoints *c, q3n_session *s, const int32_t *tokens,
                            uint32_t n, ggf_error *err)
{
    struct state *state;
    int e = check_session(c, s, err);
    if (e) return e;
    if (n > s->options.n_ctx) n = s->options.n_ctx;
    do {
        const bool whole = s->pos <= n && in_common(s, tokens, n) == s->pos;
        const uint32_t own = whole ? s->pos : 0;
        state = kept_match(&c->kept, tokens, n);
        if (!state || state_pos(state) <= own) {
            if (!own) q3n_session_reset(s);
            c->stats.misses += !own;
            return 0;
        }
        e = restore_state(c, state, s, tokens, err);
    } while (e && e != GGF_E_NOMEM); /* the next best */
    return e;
}

struct q3n_checkpoint_stats q3n_checkpoints_stats(const q3n_checkpoints *c)
{
    struct q3n_checkpoint_stats s = c->stats;
    s.in_ram = count_in(&c->kept, TIER_RAM);
    s.on_disk = count_in(&c->kept, TIER_DISK);
    s.ram_bytes = c->kept.bytes[TIER_RAM];
    s.disk_bytes = c->kept.bytes[TIER_DISK];
    return s;
}
