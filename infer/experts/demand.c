/* demand.c - what a layer needs, chunk by chunk: what is there comes first, what is
 * missing is asked for some chunks ahead. */
#include "../now.h"
#include "cache.h"
#include "sweep.h"

enum { AHEAD = 2 }; /* chunks that are read while one is used */

/* ---- Planning ------------------------------------------------------------ */

static bool is_there(const struct record *r)
{
    return atomic_load_explicit(&r->stage, memory_order_relaxed) != EXPERT_NOWHERE;
}

/* Chunks share hits and misses evenly, so that there is something to compute while there
 * is something to read.  This is where chunk c begins. */
static uint32_t border(const struct expert_demand *d, uint32_t c)
{
    if (c >= d->chunks) return d->n;
    return (uint32_t)((uint64_t)d->hits * c / d->chunks +
                      (uint64_t)(d->n - d->hits) * c / d->chunks);
}

/* Pin what is there and put the ids in order. */
static void sort_out(struct expert_store *s, struct expert_demand *d)
{
    uint32_t *hit = s->scratch, *miss = s->scratch + s->o.dims.n_expert;
    uint32_t n_hits = 0, n_misses = 0;
    for (uint32_t i = 0; i < d->n; i++) {
        const uint32_t id = d->ids[i];
        struct record *r = record_at(s, d->layer, id);
        const bool held = cache_holds(s, d->layer, id);
        if (held && !is_there(r)) {
            miss[n_misses++] = id;
            continue;
        }
        hit[n_hits++] = id;
        if (held) r->pins++;
    }
    d->hits = n_hits;
    d->hits_held = true;
    d->chunks = n_misses ? (n_misses + s->chunk - 1) / s->chunk : 1;
    uint32_t h = 0, m = 0, at = 0;
    for (uint32_t c = 0; c < d->chunks; c++) {
        const uint32_t h_end = (uint32_t)((uint64_t)n_hits * (c + 1) / d->chunks);
        const uint32_t m_end = (uint32_t)((uint64_t)n_misses * (c + 1) / d->chunks);
        while (h < h_end) {
            d->flags[at] = DEMAND_HIT | DEMAND_HELD;
            d->ids[at++] = hit[h++];
        }
        while (m < m_end) {
            d->flags[at] = 0;
            d->ids[at++] = miss[m++];
        }
    }
    for (uint32_t i = 0; i < d->n; i++)
        d->records[i] = cache_holds(s, d->layer, d->ids[i])
                            ? record_at(s, d->layer, d->ids[i])
                            : NULL;
}

/* Decides what of the demand stays when it is a sweep.  s->scratch is free again. */
static void plan_sweep(const struct expert_store *s, struct expert_demand *d)
{
    struct sweep sweep = { .n_layer = s->o.dims.n_layer,
                           .n = d->n,
                           .each = s->sources[d->layer].slot_bytes / SLOT_PAGE,
                           .room = s->slots.pages - s->kept_pages,
                           .free = s->slots.free_pages,
                           .cold = s->cold_pages,
                           .uses = s->scratch };
    d->sweep = d->uses && sweep_is_one(&sweep);
    if (!d->sweep) return;
    for (uint32_t i = 0; i < d->n; i++) s->scratch[i] = d->uses[d->ids[i]];
    d->hot_from = sweep_hot_from(&sweep);
}

/* A sweep leaves its hits where they are; but what was read ahead for it has only now got
 * a place. */
static void mark_used(struct expert_store *s, const struct expert_demand *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        struct record *r = d->records[i];
        if (!r || !(d->flags[i] & DEMAND_HIT)) continue;
        if (!d->sweep || (r->guessed && d->uses[d->ids[i]] >= d->hot_from))
            cache_use(s, r);
    }
}

/* Whether they are in memory or not. */
static void count_uses(struct expert_store *s, const struct expert_demand *d)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < d->n; i++) sum += d->uses[d->ids[i]];
    policy_begin(&s->policy, sum);
    for (uint32_t i = 0; i < d->n; i++)
        if (d->records[i])
            policy_count(&s->policy, record_number(s, d->records[i]), d->uses[d->ids[i]]);
}

/* The first use of what was read ahead is a miss that did not take so long. */
static void count(struct expert_store *s, const struct expert_demand *d)
{
    for (uint32_t i = 0; i < d->n; i++) {
        struct record *r = d->records[i];
        if (!r) {
            s->stats.mapped++;
        } else if (r->guessed) {
            s->stats.guesses_used++;
            s->stats.misses++;
            r->guessed = false;
        } else if (d->flags[i] & DEMAND_HIT) {
            s->stats.hits++;
        } else {
            s->stats.misses++;
        }
    }
}

/* ---- Asking -------------------------------------------------------------- */

/* Hold on to ids[i]; false if there is no room for it now. */
static bool hold(struct expert_store *s, struct expert_demand *d, uint32_t i)
{
    struct record *r = d->records[i];
    if (d->flags[i] & DEMAND_HELD) return true;
    if (r && is_there(r)) {
        r->pins++;
    } else if (r) {
        const bool cold = d->sweep && d->uses[d->ids[i]] < d->hot_from;
        if (!cache_fetch(s, r, true, cold)) return false;
        d->flags[i] &= (uint8_t)~DEMAND_HIT;
    }
    d->flags[i] |= DEMAND_HELD;
    return true;
}

/* All gates and ups go to the readers before the first down: when the last of them is
 * there, so are the downs of those that came first. */
static void ask(struct expert_store *s, struct expert_demand *d, uint32_t end)
{
    const uint32_t from = d->asked;
    for (; d->asked < end && hold(s, d, d->asked); d->asked++) {
        const struct record *r = d->records[d->asked];
        source_expert(&s->sources[d->layer], &s->o.dims, d->ids[d->asked],
                      r ? slots_at(&s->slots, r->run) : NULL, &d->experts[d->asked]);
    }
    for (uint32_t i = from; i < d->asked; i++)
        if (d->records[i]) cache_read_rest(s, d->records[i], true);
}

static void let_go(struct expert_store *s, struct expert_demand *d, uint32_t from,
                   uint32_t end)
{
    for (uint32_t i = from; i < end; i++) {
        if (d->flags[i] & DEMAND_HELD && d->records[i]) cache_unpin(s, d->records[i]);
        d->flags[i] &= (uint8_t)~DEMAND_HELD;
    }
}

/* Fill the next chunk as far as there is room; if there is none for a single expert, give
 * up what is held for later, and then wait for others to do the same. */
static void advance(struct expert_store *s, struct expert_demand *d)
{
    for (;;) {
        ask(s, d, border(d, d->done + 1 + AHEAD));
        const uint32_t end = border(d, d->done + 1);
        d->count = (d->asked < end ? d->asked : end) - d->first;
        if (d->count || d->first == d->n) return;
        if (d->hits_held || s->n_guesses) {
            let_go(s, d, d->asked, d->n);
            cache_settle_guesses(s);
        } else {
            pthread_cond_wait(&s->moved, &s->mutex);
        }
        d->hits_held = false;
    }
}

/* ---- Guesses ------------------------------------------------------------- */

static void guess(struct expert_store *s, uint32_t layer, const uint32_t *ids, uint32_t n)
{
    const uint32_t from = s->n_guesses;
    for (uint32_t i = 0; i < n && s->n_guesses < MAX_GUESSES; i++) {
        struct record *r = record_at(s, layer, ids[i]);
        if (!cache_holds(s, layer, ids[i]) || is_there(r)) continue;
        if (!cache_fetch(s, r, false, true)) break;
        s->guesses[s->n_guesses++] = record_number(s, r);
        s->stats.guesses++;
    }
    for (uint32_t i = from; i < s->n_guesses; i++)
        cache_read_rest(s, &s->records[s->guesses[i]], false);
}

void expert_store_guess(struct expert_store *s, uint32_t layer, const uint32_t *ids,
                        uint32_t n)
{
    if (!s->slots.base) return;
    pthread_mutex_lock(&s->mutex);
    guess(s, layer, ids, n);
    pthread_mutex_unlock(&s->mutex);
}

/* A sweep that needs nearly all experts of a layer will do so in the next: once the last
 * read of this one is planned, the first of that one are, so that the disk does not wait
 * for what is computed in between. */
static void look_beyond(struct expert_store *s, struct expert_demand *d)
{
    const uint32_t n_expert = s->o.dims.n_expert, layer = d->layer + 1;
    if (!s->o.look_ahead || !d->sweep || d->asked < d->n || s->n_guesses ||
        layer == s->o.dims.n_layer || d->n < n_expert - n_expert / 8)
        return;
    const uint32_t most = (AHEAD + 1) * s->chunk;
    uint32_t n = 0;
    for (uint32_t e = 0; e < n_expert && n < most; e++)
        if (!is_there(record_at(s, layer, e))) s->scratch[n++] = e;
    guess(s, layer, s->scratch, n);
}

/* ---- The demand's life --------------------------------------------------- */

/* Without memory of our own nothing has to be planned. */
static void begin_mapped(struct expert_store *s, struct expert_demand *d)
{
    struct source *src = &s->sources[d->layer];
    for (uint32_t i = 0; i < d->n; i++) {
        d->records[i] = NULL;
        d->flags[i] = DEMAND_HIT;
        source_expert(src, &s->o.dims, d->ids[i], NULL, &d->experts[i]);
    }
    d->hits = d->asked = d->count = d->n;
}

static uint32_t count_unchecked(const struct expert_store *s,
                                const struct expert_demand *d)
{
    uint32_t n = 0;
    if (!s->sources[d->layer].pack || s->o.verify == Q3N_VERIFY_NEVER) return 0;
    for (uint32_t i = 0; i < d->n; i++)
        n += !d->records[i] &&
             (s->o.verify == Q3N_VERIFY_ALWAYS ||
              !atomic_load(&record_at(s, d->layer, d->ids[i])->verified));
    return n;
}

void expert_store_begin(struct expert_store *s, struct expert_demand *d, uint32_t layer,
                        uint32_t n, const uint32_t *uses)
{
    d->layer = layer;
    d->n = n;
    d->uses = uses;
    d->first = d->count = d->asked = d->hits = d->done = 0;
    d->chunks = 1;
    d->sweep = d->hits_held = false;
    cache_follow_limits(s, layer);
    pthread_mutex_lock(&s->mutex);
    if (s->slots.base) {
        sort_out(s, d);
        cache_settle_guesses(s);
        plan_sweep(s, d);
        if (uses) count_uses(s, d); /* else they are loaded, not used */
        mark_used(s, d);
        if (uses) count(s, d);
        advance(s, d);
        look_beyond(s, d);
    } else {
        begin_mapped(s, d);
        s->stats.mapped += n;
    }
    pthread_mutex_unlock(&s->mutex);
    d->unchecked = count_unchecked(s, d);
}

bool expert_store_next(struct expert_store *s, struct expert_demand *d)
{
    if (!s->slots.base) return false;
    pthread_mutex_lock(&s->mutex);
    let_go(s, d, d->first, d->first + d->count);
    d->first += d->count;
    if (d->first == border(d, d->done + 1)) d->done++;
    if (d->first < d->n) advance(s, d);
    look_beyond(s, d);
    pthread_mutex_unlock(&s->mutex);
    return d->first < d->n;
}

void expert_store_end(struct expert_store *s, struct expert_demand *d)
{
    pthread_mutex_lock(&s->mutex);
    if (s->slots.base) let_go(s, d, d->first, d->n);
    pthread_mutex_unlock(&s->mutex);
    d->n = d->first = d->count = 0;
}

struct record *expert_store_hold(struct expert_store *s, const struct expert_demand *d,
                                 uint32_t i)
{
    struct record *r = d->records[i];
    if (!r) return NULL;
    pthread_mutex_lock(&s->mutex);
    r->pins++;
    pthread_mutex_unlock(&s->mutex);
    return r;
}

void expert_store_release(struct expert_store *s, struct record *held)
{
    if (!held) return;
    pthread_mutex_lock(&s->mutex);
    cache_unpin(s, held);
    pthread_mutex_unlock(&s->mutex);
}

int expert_store_check_team(const struct member *me, struct expert_store *s,
                            const struct expert_demand *d, ggf_error *err)
{
    const struct source *src = &s->sources[d->layer];
    for (uint64_t i; team_next(me, d->n, &i);) {
        struct record *r = record_at(s, d->layer, d->ids[i]);
        ggf_error mine;
        if (d->records[i] ||
            (s->o.verify != Q3N_VERIFY_ALWAYS && atomic_load(&r->verified)))
            continue;
        const int e =
            ggf_pack_verify_record(src->pack, source_record(src, d->ids[i]), NULL, &mine);
        if (!e) atomic_store(&r->verified, true);
        else if (team_fail(me, e) && err) *err = mine;
    }
    return atomic_load(&me->team->status);
}

int expert_store_wait(struct expert_store *s, const struct expert_demand *d, uint32_t i,
                      enum expert_stage stage, ggf_error *err)
{
    struct record *r = d->records[i];
    if (!r) return 0;
    uint8_t at = atomic_load_explicit(&r->stage, memory_order_acquire);
    if (at >= stage && at != EXPERT_FAILED) return 0;
    pthread_mutex_lock(&s->mutex);
    if (!s->waiting++) s->waiting_since = seconds_now();
    while ((at = atomic_load_explicit(&r->stage, memory_order_acquire)) < stage)
        pthread_cond_wait(&s->moved, &s->mutex);
    if (!--s->waiting) s->stats.wait_seconds += seconds_now() - s->waiting_since;
    int e = 0;
    if (at == EXPERT_FAILED) {
        e = r->error ? r->error->code : ggf_no_memory(err);
        if (r->error && err) *err = *r->error;
    }
    pthread_mutex_unlock(&s->mutex);
    return e;
}
