/* matcher.c - see matcher.h.  Owns the places and what is kept about them; how threads go
 * on is in threads.c. */
#include "matcher.h"

#include "threads.h"

#include <stdlib.h>
#include <string.h>

enum {
    MOST_PLACES = 2048,   /* a KiB each */
    MOST_KEPT = 1 << 19,  /* threads of all places, 8 bytes each */
    MOST_CALLS = 1 << 20, /* in all stacks, likewise */
    MOST_MASKS = 48,
    MOST_WORK = 3000000, /* threads passed through for a mask: a tenth of a second */
    MOST_PATH = 256,     /* a token's bytes, and the place before them */
};

#define DEAD    0u /* the place where nothing fits */
#define UNKNOWN UINT32_MAX

struct place {
    uint32_t first, n; /* threads kept[first .. first + n) */
    uint32_t hash;
    uint32_t mask; /* its number, UNKNOWN: none */
    bool done;
};

struct q3n_matcher {
    const q3n_trie *trie;
    struct threads threads;
    struct thread *kept;
    uint32_t n_kept, kept_room;
    struct place *places;
    uint32_t (*way)[256]; /* [place][byte]: the place that the byte leads to */
    uint32_t n_places, place_room;
    uint32_t slots[2 * MOST_PLACES]; /* places by hash, UNKNOWN: free */
    uint32_t here;
    uint64_t work;   /* threads passed through since it was set to 0 */
    uint32_t *masks; /* MOST_MASKS of mask_words; NULL before the first is wanted */
    uint32_t mask_of[MOST_MASKS]; /* places */
    uint32_t n_masks, mask_words;
};

/* ==== Places ============================================================== */

static bool room_for_place(q3n_matcher *m, uint32_t n)
{
    if (m->n_places == m->place_room) {
        const uint32_t more = m->place_room ? 2 * m->place_room : 16;
        struct place *places = realloc(m->places, more * sizeof *places);
        if (places) m->places = places;
        uint32_t(*way)[256] = realloc(m->way, more * sizeof *way);
        if (way) m->way = way;
        if (!places || !way) return false;
        m->place_room = more;
    }
    if (m->kept_room - m->n_kept < n) {
        const uint32_t more = 2 * (m->kept_room + n);
        struct thread *kept = realloc(m->kept, more * sizeof *kept);
        if (!kept) return false;
        m->kept = kept;
        m->kept_room = more;
    }
    return true;
}

static bool is_place(const q3n_matcher *m, const struct place *p, uint32_t hash,
                     const struct thread_set *set)
{
    return p->hash == hash && p->n == set->n && p->done == set->done &&
           (!p->n || !memcmp(m->kept + p->first, set->list, set->n * sizeof *set->list));
}

/* The place of these threads, UNKNOWN if out of memory. */
static uint32_t intern(q3n_matcher *m, const struct thread_set *set)
{
    uint32_t hash = set->done;
    for (uint32_t i = 0; i < set->n; i++) hash = thread_hash(hash, set->list[i]);
    const uint32_t n_slots = sizeof m->slots / sizeof *m->slots;
    uint32_t slot = hash % n_slots;
    for (; m->slots[slot] != UNKNOWN; slot = (slot + 1) % n_slots)
        if (is_place(m, &m->places[m->slots[slot]], hash, set)) return m->slots[slot];
    if (!room_for_place(m, set->n)) return UNKNOWN;
    m->places[m->n_places] =
        (struct place){ m->n_kept, set->n, hash, UNKNOWN, set->done };
    if (set->n) memcpy(m->kept + m->n_kept, set->list, set->n * sizeof *set->list);
    m->n_kept += set->n;
    memset(m->way[m->n_places], 0xff, sizeof *m->way);
    return m->slots[slot] = m->n_places++;
}

static void drop_places(q3n_matcher *m)
{
    m->n_places = m->n_kept = m->n_masks = 0;
    memset(m->slots, 0xff, sizeof m->slots);
}

/* The places in path[0 .. n) stay, under new numbers; all else goes.  `m->here` is
 * among them, or is not looked at.  False if out of memory. */
static bool drop_all_but(q3n_matcher *m, uint32_t *path, uint32_t n)
{
    struct thread_set sets[MOST_PATH + 1];
    uint32_t total = 0, at = 0;
    for (uint32_t i = 0; i < n; i++) total += m->places[path[i]].n;
    struct thread *copy = malloc((total + !total) * sizeof *copy);
    if (!copy) return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct place *p = &m->places[path[i]];
        sets[i] = (struct thread_set){ copy + at, p->n, p->done };
        if (p->n) memcpy(copy + at, m->kept + p->first, p->n * sizeof *copy);
        at += p->n;
    }
    threads_compact(&m->threads, copy, total);
    drop_places(m);
    bool ok = intern(m, &(struct thread_set){ 0 }) == DEAD;
    for (uint32_t i = 0; i < n && ok; i++)
        ok = (path[i] = intern(m, &sets[i])) != UNKNOWN;
    free(copy);
    return ok;
}

/* NULL if there are none: then nothing may ever have been kept. */
static const struct thread *threads_of(const struct q3n_matcher *m, const struct place *p)
{
    return p->n ? m->kept + p->first : NULL;
}

/* The byte leads from one place to another, and so do those around it that the same
 * threads wait for. */
static void set_way(struct q3n_matcher *m, uint32_t from, uint8_t byte, uint32_t to)
{
    const struct place *p = &m->places[from];
    const struct thread *list = threads_of(m, p);
    int first = 0, last = 255;
    for (uint32_t i = 0; i < p->n; i++) {
        const struct grammar_state *s = &m->threads.grammar->states[list[i].state];
        const int before = byte < s->lo ? 0 : byte > s->hi ? s->hi + 1 : s->lo;
        const int behind = byte < s->lo ? s->lo - 1 : byte > s->hi ? 255 : s->hi;
        if (before > first) first = before;
        if (behind < last) last = behind;
    }
    for (int b = first; b <= last; b++) m->way[from][b] = to;
}

/* Where a byte leads from the last of the places path[0 .. n); they may get other
 * numbers.  UNKNOWN if out of memory. */
static uint32_t follow(q3n_matcher *m, uint32_t *path, uint32_t n, uint8_t byte)
{
    uint32_t from = path[n - 1];
    const uint32_t known = m->way[from][byte];
    if (known != UNKNOWN) return known;
    if (m->n_places >= MOST_PLACES || m->n_kept >= MOST_KEPT ||
        m->threads.n_calls >= MOST_CALLS) {
        if (!drop_all_but(m, path, n)) return UNKNOWN;
        from = path[n - 1];
    }
    struct thread_set set;
    const struct place *p = &m->places[from];
    if (!threads_follow(&m->threads, threads_of(m, p), p->n, byte, &set)) return UNKNOWN;
    m->work += m->threads.n_seen;
    const uint32_t to = intern(m, &set);
    if (to != UNKNOWN) set_way(m, from, byte, to);
    return to;
}

/* ==== A text ============================================================== */

bool q3n_matcher_push(q3n_matcher *m, const char *text, size_t len)
{
    /* Both ends of the way, the first to go back to. */
    uint32_t path[2] = { m->here, m->here };
    for (size_t i = 0; i < len && path[1] != DEAD && path[1] != UNKNOWN; i++)
        path[1] = follow(m, path, 2, (uint8_t)text[i]);
    const bool fits = path[1] != DEAD && path[1] != UNKNOWN;
    m->here = fits ? path[1] : path[0];
    return fits;
}

bool q3n_matcher_done(const q3n_matcher *m) { return m->places[m->here].done; }

void q3n_matcher_reset(q3n_matcher *m)
{
    struct thread_set set;
    drop_places(m);
    threads_clear(&m->threads);
    /* There was room for both when the matcher was made. */
    intern(m, &(struct thread_set){ 0 });
    threads_start(&m->threads, &set);
    m->here = intern(m, &set);
}

/* ==== Masks =============================================================== */

static void set_bit(uint32_t *mask, int32_t id)
{
    mask[(uint32_t)id / 32] |= 1u << (uint32_t)id % 32;
}

/* Walk the vocabulary's tree along the grammar.  Where that is too much work, with a
 * schema made for it, only the tokens of one byte are sure to be found: enough to go on.
 * False if out of memory. */
static bool fill_mask(q3n_matcher *m, uint32_t *mask)
{
    const q3n_trie *t = m->trie;
    uint32_t path[MOST_PATH] = { m->here };
    m->work = 0;
    for (uint32_t i = 0; i < t->n_nodes;) {
        const struct trie_node *node = &t->nodes[i];
        const uint32_t depth = node->depth;
        uint32_t to = m->way[path[depth - 1]][node->byte];
        if (to == UNKNOWN && depth > 1 && m->work > MOST_WORK) to = DEAD;
        if (to == UNKNOWN) {
            to = follow(m, path, depth, node->byte);
            m->here = path[0]; /* it may have got another number */
        }
        if (to == UNKNOWN) return false;
        if (to == DEAD) {
            i = node->skip;
            continue;
        }
        path[depth] = to;
        for (uint32_t k = node->first; k < node[1].first; k++) set_bit(mask, t->ids[k]);
        i++;
    }
    for (int i = 0; i < t->n_eog && q3n_matcher_done(m); i++) set_bit(mask, t->eog[i]);
    return true;
}

/* Room for another; in turn, the oldest goes. */
static uint32_t new_mask(q3n_matcher *m)
{
    const uint32_t number = m->n_masks++ % MOST_MASKS;
    if (m->n_masks > MOST_MASKS && m->places[m->mask_of[number]].mask == number)
        m->places[m->mask_of[number]].mask = UNKNOWN;
    memset(m->masks + (size_t)number * m->mask_words, 0,
           m->mask_words * sizeof *m->masks);
    return number;
}

const uint32_t *q3n_matcher_mask(q3n_matcher *m)
{
    if (!m->masks)
        m->masks = calloc((size_t)MOST_MASKS * m->mask_words, sizeof *m->masks);
    if (!m->masks) return NULL;
    uint32_t number = m->places[m->here].mask;
    if (number == UNKNOWN) {
        number = new_mask(m);
        uint32_t *mask = m->masks + (size_t)number * m->mask_words;
        m->mask_of[number] = DEAD;
        if (!fill_mask(m, mask)) return NULL;
        /* Had places been dropped meanwhile, masks would be counted anew. */
        if (!m->n_masks) {
            memmove(m->masks, mask, m->mask_words * sizeof *mask);
            m->n_masks = 1;
            number = 0;
        }
        m->mask_of[number] = m->here;
        m->places[m->here].mask = number;
    }
    return m->masks + (size_t)number * m->mask_words;
}

/* ==== Making one ========================================================== */

int q3n_matcher_new(q3n_matcher **out, const q3n_grammar *grammar, const q3n_trie *trie,
                    ggf_error *err)
{
    *out = NULL;
    q3n_matcher *m = calloc(1, sizeof *m);
    if (!m) return ggf_no_memory(err);
    m->trie = trie;
    m->mask_words = (trie->n_tokens + 31) / 32;
    struct thread_set set = { 0 };
    bool ok = threads_init(&m->threads, grammar);
    drop_places(m);
    ok = ok && intern(m, &set) == DEAD && threads_start(&m->threads, &set);
    if (ok) m->here = intern(m, &set);
    if (!ok || m->here == UNKNOWN) {
        q3n_matcher_free(m);
        return ggf_no_memory(err);
    }
    *out = m;
    return 0;
}

void q3n_matcher_free(q3n_matcher *m)
{
    if (!m) return;
    threads_free(&m->threads);
    free(m->kept);
    free(m->places);
    free(m->way);
    free(m->masks);
    free(m);
}
