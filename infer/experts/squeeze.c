/* squeeze.c - how much memory the store has for experts: what it was given at the start,
 * or less while the limits of cgroups are lower than that.
 *
 * Memory that is locked cannot be taken from a process: the system would end it.  So the
 * store looks at the limits now and then and makes the arena shorter by itself. */
#include "cache.h"

#include "../now.h"
#include "limits.h"

/* Between what all is counted as and the limit: figures are not exact to the page, and
 * the rest of the program needs a little now and then. */
#define SLACK        (UINT64_C(8) << 20)
#define LOOK_SECONDS 0.2
enum { STEPS = 64 }; /* lengths that the arena may have */

void cache_set_chunk(struct expert_store *s)
{
    uint64_t largest = SLOT_PAGE;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++)
        if (largest < s->sources[l].slot_bytes) largest = s->sources[l].slot_bytes;
    const uint64_t chunk =
        (uint64_t)(s->slots.pages - s->kept_pages) * SLOT_PAGE / largest / 4;
    s->chunk = chunk > EXPERT_CHUNK ? EXPERT_CHUNK : chunk ? (uint32_t)chunk : 1;
}

/* Pages that there is room for: those in use, and what the fullest group leaves. */
static uint32_t room(const struct expert_store *s, const struct memory_limits *l)
{
    const uint64_t used = (uint64_t)s->slots.touched * SLOT_PAGE;
    const uint64_t less = l->cgroup_over + SLACK;
    if (l->cgroup_free >= NO_LIMIT / 2) return s->most_pages;
    const uint64_t bytes = used + l->cgroup_free;
    const uint64_t pages = bytes > less ? (bytes - less) / SLOT_PAGE : 0;
    return pages < s->most_pages ? (uint32_t)pages : s->most_pages;
}

/* Rounded down to a step, so that the arena is not cut again and again by a little. */
static uint32_t rounded(const struct expert_store *s, uint32_t pages)
{
    const uint32_t grain = s->slots.grain;
    const uint32_t step = (s->most_pages / STEPS + grain) / grain * grain;
    if (pages < s->most_pages) pages = pages / step * step;
    return pages > s->least_pages ? pages : s->least_pages;
}

static void note_length(struct expert_store *s)
{
    const uint64_t bytes = (uint64_t)s->slots.pages * SLOT_PAGE;
    if (bytes < s->stats.slot_bytes_least) s->stats.slot_bytes_least = bytes;
    cache_set_chunk(s);
}

/* Those that should go first go, until the others fit before the end.  What is in use
 * stays where it is, and all behind it: there will be another look. */
static void shrink(struct expert_store *s, uint32_t pages)
{
    const uint32_t before = s->slots.pages;
    while (s->slots.free_pages < s->slots.pages - pages && cache_evict(s)) continue;
    while (slots_cut(&s->slots, pages) == SLOTS_FULL && cache_evict(s)) continue;
    if (s->slots.pages == before) return;
    s->stats.shrinks++;
    note_length(s);
    pthread_cond_broadcast(&s->moved);
}

/* Back to the whole length, or by a good piece. */
static void grow(struct expert_store *s, uint32_t pages)
{
    if (pages < s->most_pages && pages - s->slots.pages < s->most_pages / (STEPS / 4))
        return;
    slots_extend(&s->slots, pages);
    s->stats.grows++;
    note_length(s);
    pthread_cond_broadcast(&s->moved);
}

static void fit(struct expert_store *s, const struct memory_limits *l)
{
    const uint32_t most = room(s, l), pages = rounded(s, most);
    if (most < s->least_pages) {
        const uint64_t lacking = (uint64_t)(s->least_pages - most) * SLOT_PAGE;
        if (lacking > s->stats.short_bytes) s->stats.short_bytes = lacking;
    }
    if (pages < s->slots.pages) shrink(s, pages);
    else if (pages > s->slots.pages) grow(s, pages);
}

static bool is_due(struct expert_store *s, uint32_t layer)
{
    pthread_mutex_lock(&s->mutex);
    const double now = seconds_now();
    const bool due = s->o.limits_root ? !layer : now >= s->next_look;
    if (due) s->next_look = now + LOOK_SECONDS;
    pthread_mutex_unlock(&s->mutex);
    return due;
}

void cache_follow_limits(struct expert_store *s, uint32_t layer)
{
    struct memory_limits l;
    if (!s->slots.base || !is_due(s, layer)) return;
    memory_limits_read(&l, s->o.limits_root ? s->o.limits_root : "");
    pthread_mutex_lock(&s->mutex);
    fit(s, &l);
    pthread_mutex_unlock(&s->mutex);
}
