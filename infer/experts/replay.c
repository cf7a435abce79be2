/* replay.c - simulated caches; see replay.h. */
#include "replay.h"

#include "heap.h"
#include "policy.h"
#include "sweep.h"

#include <stdlib.h>

/* ==== The log ============================================================= */

struct builder {
    struct replay_log *log;
    uint64_t groups_room, items_room;
    uint32_t *uses; /* [n_expert]: of the block in hand; 0 otherwise */
    uint64_t *seen; /* [items of the model] */
};

static bool grow(void **p, uint64_t *room, uint64_t need, size_t each)
{
    if (need <= *room) return true;
    const uint64_t more = need > 2 * *room ? need : 2 * *room;
    void *q = more > SIZE_MAX / each ? NULL : realloc(*p, more * each);
    if (!q) return false;
    *p = q;
    *room = more;
    return true;
}

static bool make_room(struct builder *b, uint64_t more)
{
    struct replay_log *log = b->log;
    uint64_t room = b->items_room;
    if (!grow((void **)&log->groups, &b->groups_room, log->n_groups + 1,
              sizeof *log->groups) ||
        !grow((void **)&log->items, &room, log->n_items + more, sizeof *log->items))
        return false;
    return grow((void **)&log->uses, &b->items_room, log->n_items + more,
                sizeof *log->uses);
}

/* Insertion: a token's experts are few. */
static void sort(uint32_t *v, uint32_t n)
{
    for (uint32_t i = 1, k; i < n; i++) {
        const uint32_t x = v[i];
        for (k = i; k && v[k - 1] > x; k--) v[k] = v[k - 1];
        v[k] = x;
    }
}

/* The different experts of a block, ascending, which is the order in which the store is
 * asked for them. */
static uint32_t list_experts(struct builder *b, const struct trace_block *block,
                             uint32_t *ids)
{
    const struct trace_model *m = b->log->model;
    uint32_t n = 0;
    for (uint64_t i = 0; i < (uint64_t)block->tokens * m->n_used; i++) {
        const uint32_t id = block->choices[i].expert;
        if (!b->uses[id]++) ids[n++] = id;
    }
    if (n <= 2 * m->n_used) {
        sort(ids, n);
        return n;
    }
    n = 0;
    for (uint32_t id = 0; id < m->n_expert; id++)
        if (b->uses[id]) ids[n++] = id;
    return n;
}

static bool add_block(struct builder *b, const struct trace_block *block)
{
    struct replay_log *log = b->log;
    const struct trace_model *m = log->model;
    const uint64_t choices = (uint64_t)block->tokens * m->n_used;
    if (!make_room(b, choices < m->n_expert ? choices : m->n_expert)) return false;
    uint32_t *ids = log->items + log->n_items;
    const uint32_t n = list_experts(b, block, ids);
    log->groups[log->n_groups++] = (struct replay_group){ log->n_items, block->layer, n,
                                                          block->first, block->prompt };
    for (uint32_t i = 0; i < n; i++) {
        log->uses[log->n_items++] = b->uses[ids[i]];
        b->uses[ids[i]] = 0;
        ids[i] += block->layer * m->n_expert;
    }
    if (block->first && !block->prompt) log->n_decoded++;
    return true;
}

/* From the last item to the first: who comes next. */
static bool find_next(struct builder *b)
{
    struct replay_log *log = b->log;
    log->next = malloc(log->n_items * sizeof *log->next);
    if (!log->next) return false;
    for (uint64_t g = log->n_groups; g--;) {
        const struct replay_group *group = &log->groups[g];
        for (uint64_t i = group->first + group->n; i-- > group->first;) {
            uint64_t *seen = &b->seen[log->items[i]];
            log->next[i] = *seen ? (uint32_t)(*seen - 1) : UINT32_MAX;
            *seen = g + 1;
        }
    }
    return true;
}

static int build(struct builder *b, struct trace *const *traces, uint32_t n,
                 ggf_error *err)
{
    struct replay_log *log = b->log;
    const uint64_t items = (uint64_t)log->model->n_layer * log->model->n_expert;
    struct trace_block block;
    b->seen = calloc(items, sizeof *b->seen);
    b->uses = calloc(log->model->n_expert, sizeof *b->uses);
    if (!b->seen || !b->uses) return ggf_no_memory(err);
    for (uint32_t l = 0; l < log->model->n_layer; l++)
        log->sum_bytes += log->model->expert_bytes[l] * log->model->n_expert;
    for (uint32_t i = 0; i < n; i++) {
        int e = trace_check_model(traces[i], log->model, err);
        if (e) return e;
        if (trace_is_history(traces[i]))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "a history says nothing of the order of choices");
        for (uint64_t at = 0; trace_next(traces[i], &at, &block);)
            if (!add_block(b, &block)) return ggf_no_memory(err);
    }
    if (!log->n_items || log->n_groups >= UINT32_MAX)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the trace is %s",
                        log->n_items ? "too long" : "empty");
    return find_next(b) ? 0 : ggf_no_memory(err);
}

int replay_log_new(struct replay_log *log, struct trace *const *traces, uint32_t n,
                   ggf_error *err)
{
    struct builder b = { .log = log };
    *log = (struct replay_log){ .model = trace_model(traces[0]) };
    int e = build(&b, traces, n, err);
    free(b.seen);
    free(b.uses);
    if (e) replay_log_free(log);
    return e;
}

void replay_log_free(struct replay_log *log)
{
    free(log->groups);
    free(log->items);
    free(log->uses);
    free(log->next);
    *log = (struct replay_log){ 0 };
}

uint64_t replay_least(const struct trace_model *m)
{
    uint64_t sum = 0;
    for (uint32_t l = 0; l < m->n_layer; l++) sum += m->expert_bytes[l] * m->n_used;
    return sum;
}

/* ==== A cache ============================================================= */

/* As in the store: misses of a sweep whose room is not given away yet. */
enum { SWEEP_WINDOW = 48 };

struct cache {
    const struct replay_log *log;
    enum replay_policy kind;
    uint64_t bytes, free, cold;
    struct policy policy; /* LRU, CLOCK, LFU */
    struct heap heap;     /* BELADY */
    bool *in;             /* [items] */
    uint64_t *used_at;    /* [items]: when it was last used, ... */
    uint64_t now, pinned; /* ... and it must stay if that was not before `pinned` */
};

static bool open_cache(struct cache *c)
{
    const uint32_t n = c->log->model->n_layer * c->log->model->n_expert;
    c->in = calloc(n, sizeof *c->in);
    c->used_at = calloc(n, sizeof *c->used_at);
    if (!c->in || !c->used_at) return false;
    switch (c->kind) {
    case REPLAY_LRU: return policy_init(&c->policy, Q3N_CACHE_LRU, n);
    case REPLAY_CLOCK: return policy_init(&c->policy, Q3N_CACHE_CLOCK, n);
    case REPLAY_LFU: return policy_init(&c->policy, Q3N_CACHE_LFU, n);
    case REPLAY_BELADY: return heap_init(&c->heap, n);
    default: return true;
    }
}

static void close_cache(struct cache *c)
{
    policy_free(&c->policy);
    heap_free(&c->heap);
    free(c->in);
    free(c->used_at);
}

static bool has_policy(const struct cache *c)
{
    return c->kind != REPLAY_STATIC && c->kind != REPLAY_BELADY;
}

static uint64_t size_of(const struct cache *c, uint32_t item)
{
    return c->log->model->expert_bytes[item / c->log->model->n_expert];
}

static bool may_go(void *user, uint32_t item)
{
    const struct cache *c = user;
    return c->used_at[item] < c->pinned;
}

static void drop(struct cache *c, uint32_t item)
{
    c->in[item] = false;
    c->free += size_of(c, item);
    if (!has_policy(c)) {
        heap_remove(&c->heap, item);
        return;
    }
    if (policy_is_cold(&c->policy, item)) c->cold -= size_of(c, item);
    policy_remove(&c->policy, item);
}

static bool make_space(struct cache *c, uint64_t bytes)
{
    while (c->free < bytes) {
        uint32_t victim = has_policy(c) ? policy_victim(&c->policy, may_go, c)
                                        : heap_least(&c->heap, may_go, c);
        if (victim == POLICY_NONE) {
            if (c->pinned > c->now) return false; /* not even with all of them free */
            c->pinned = c->now + 1;
            continue;
        }
        drop(c, victim);
    }
    return true;
}

/* An expert that is in the cache is used. */
static void use(struct cache *c, uint64_t i, bool sweep)
{
    const uint32_t item = c->log->items[i];
    /* Who is needed again last goes first. */
    if (c->kind == REPLAY_BELADY) heap_set(&c->heap, item, UINT32_MAX - c->log->next[i]);
    if (!has_policy(c) || sweep) return;
    if (policy_is_cold(&c->policy, item)) c->cold -= size_of(c, item);
    policy_use(&c->policy, item);
}

/* An expert comes into the cache. */
static void enter(struct cache *c, uint64_t i, bool cold)
{
    const uint32_t item = c->log->items[i];
    const uint64_t bytes = size_of(c, item);
    if (!make_space(c, bytes)) return;
    c->in[item] = true;
    c->free -= bytes;
    if (!has_policy(c)) {
        use(c, i, false);
        return;
    }
    policy_add(&c->policy, item, cold);
    if (cold) c->cold += bytes;
}

/* ==== Running ============================================================= */

static void take_hits(struct cache *c, const struct replay_group *g, bool sweep,
                      struct replay_result *out)
{
    for (uint64_t i = g->first; i < g->first + g->n; i++) {
        if (!c->in[c->log->items[i]]) continue;
        c->used_at[c->log->items[i]] = ++c->now;
        out->hits[g->prompt]++;
        if (c->kind != REPLAY_STATIC) use(c, i, sweep);
    }
}

static void take_misses(struct cache *c, const struct replay_group *g, bool sweep,
                        uint32_t hot_from, struct replay_result *out)
{
    const uint64_t begin = c->pinned;
    for (uint64_t i = g->first; i < g->first + g->n; i++) {
        const uint32_t item = c->log->items[i];
        /* What has just come may have the number of a hit; what has left is a miss only
         * if it was one before. */
        if (c->used_at[item] >= begin) continue;
        c->used_at[item] = ++c->now;
        out->misses[g->prompt]++;
        out->miss_bytes[g->prompt] += size_of(c, item);
        if (c->kind == REPLAY_STATIC) continue;
        if (sweep && c->now > SWEEP_WINDOW && c->pinned < c->now - SWEEP_WINDOW)
            c->pinned = c->now - SWEEP_WINDOW;
        enter(c, i, sweep && c->log->uses[i] < hot_from);
    }
}

static void count_uses(struct cache *c, const struct replay_group *g)
{
    uint64_t uses = 0;
    for (uint64_t i = g->first; i < g->first + g->n; i++) uses += c->log->uses[i];
    policy_begin(&c->policy, uses);
    for (uint64_t i = g->first; i < g->first + g->n; i++)
        policy_count(&c->policy, c->log->items[i], c->log->uses[i]);
}

static void take_group(struct cache *c, const struct replay_group *g,
                       struct replay_result *out)
{
    const struct sweep s = { .n_layer = c->log->model->n_layer,
                             .n = g->n,
                             .each = c->log->model->expert_bytes[g->layer],
                             .room = c->bytes,
                             .free = c->free,
                             .cold = c->cold,
                             .uses = c->log->uses + g->first };
    const bool sweep = has_policy(c) && sweep_is_one(&s);
    c->pinned = c->now + 1;
    if (has_policy(c)) count_uses(c, g);
    take_hits(c, g, sweep, out);
    take_misses(c, g, sweep, sweep ? sweep_hot_from(&s) : 0, out);
}

struct ranked {
    uint64_t count;
    uint32_t item;
};

static int by_count(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->item < y->item ? -1 : 1;
}

/* The first of the ranking, as many as fit. */
static bool fill(struct cache *c, const uint64_t *ranking)
{
    const uint32_t n = c->log->model->n_layer * c->log->model->n_expert;
    struct ranked *r = malloc((size_t)n * sizeof *r);
    if (!r) return false;
    for (uint32_t i = 0; i < n; i++) r[i] = (struct ranked){ ranking[i], i };
    qsort(r, n, sizeof *r, by_count);
    for (uint32_t i = 0; i < n && r[i].count; i++) {
        const uint64_t bytes = size_of(c, r[i].item);
        if (bytes > c->free) break;
        c->free -= bytes;
        c->in[r[i].item] = true;
    }
    free(r);
    return true;
}

int replay_run(const struct replay_log *log, const struct replay_options *o,
               struct replay_result *out, ggf_error *err)
{
    struct cache c = {
        .log = log, .kind = o->policy, .bytes = o->bytes, .free = o->bytes
    };
    struct replay_result ignored = { 0 };
    *out = ignored;
    bool good = open_cache(&c);
    if (good && o->policy == REPLAY_STATIC) good = fill(&c, o->ranking);
    for (uint64_t g = 0; good && g < log->n_groups; g++)
        take_group(&c, &log->groups[g], g < o->from ? &ignored : out);
    close_cache(&c);
    return good ? 0 : ggf_no_memory(err);
}

void replay_count(const struct replay_log *log, uint64_t before, uint64_t *counts)
{
    if (!before) return;
    const struct replay_group *last = &log->groups[before - 1];
    for (uint64_t i = 0; i < last->first + last->n; i++)
        counts[log->items[i]] += log->uses[i];
}

uint64_t replay_middle(const struct replay_log *log)
{
    uint64_t tokens = 0, g = 0;
    for (; g < log->n_groups; g++) {
        const struct replay_group *group = &log->groups[g];
        if (!group->begins) continue;
        if (log->n_decoded ? tokens >= (log->n_decoded + 1) / 2 : g >= log->n_groups / 2)
            break;
        tokens += !group->prompt;
    }
    return g;
}
