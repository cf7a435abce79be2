/* slots.c - see slots.h.  Runs are nodes of a list in order of address; free ones are
 * also in a list of their own, which is searched for the best fit. */
#include "slots.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

/* ---- The arena ----------------------------------------------------------- */

enum { ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

/* Pages are locked as they come into being. */
static bool prepare(const struct slots *s, uint8_t *start, uint64_t bytes)
{
    if (s->grain > 1) madvise(start, bytes, MADV_HUGEPAGE);
    madvise(start, bytes, MADV_DONTDUMP);
    return !mlock2(start, bytes, MLOCK_ONFAULT);
}

static int map_arena(struct slots *s, uint64_t bytes, ggf_error *err)
{
    const bool huge = bytes >= 16ull * HUGE_PAGE;
    s->mapped = bytes + (huge ? HUGE_PAGE : 0);
    uint8_t *map = mmap(NULL, s->mapped, PROT_READ | PROT_WRITE, ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "no address space for %" PRIu64 " bytes of experts", bytes);
    s->base = map;
    s->grain = huge ? HUGE_PAGE / SLOT_PAGE : 1;
    if (huge) {
        const uintptr_t start = ((uintptr_t)map + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        const uint64_t before = start - (uintptr_t)map;
        if (before) munmap(map, before);
        s->base = map + before;
        s->mapped -= before;
    }
    s->locked = prepare(s, s->base, s->mapped);
    return 0;
}

int slots_open(struct slots *s, uint64_t bytes, uint32_t records,
               const struct slot_owners *owners, ggf_error *err)
{
    *s = (struct slots){ .owners = *owners, .spare = NO_RUN, .free = NO_RUN };
    if (bytes / SLOT_PAGE >= NO_RUN || records > (NO_RUN - 2) / 2)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu64 " bytes are more than experts can take", bytes);
    s->pages = s->free_pages = (uint32_t)(bytes / SLOT_PAGE);
    s->n_runs = 2 * records + 1; /* gaps lie between records */
    s->runs = malloc(s->n_runs * sizeof *s->runs);
    if (!s->runs) return ggf_no_memory(err);
    for (uint32_t i = 0; i < s->n_runs; i++)
        s->runs[i] = (struct slot_run){ .next = i + 1 < s->n_runs ? i + 1 : NO_RUN };
    s->spare = 1;
    s->runs[0] = (struct slot_run){ 0, s->pages, NO_RUN, NO_RUN, NO_RUN, NO_RUN, NO_RUN };
    s->free = s->last = 0;
    const int e = map_arena(s, bytes, err);
    if (e) slots_close(s);
    return e;
}

void slots_close(struct slots *s)
{
    if (s->base) munmap(s->base, s->mapped);
    free(s->runs);
    *s = (struct slots){ 0 };
}

uint8_t *slots_at(const struct slots *s, uint32_t run)
{
    return s->base + (uint64_t)s->runs[run].page * SLOT_PAGE;
}

/* ---- Free runs ----------------------------------------------------------- */

static void list_free(struct slots *s, uint32_t run)
{
    s->runs[run].owner = NO_RUN;
    s->runs[run].prev = NO_RUN;
    s->runs[run].next = s->free;
    if (s->free != NO_RUN) s->runs[s->free].prev = run;
    s->free = run;
}

static void unlist_free(struct slots *s, uint32_t run)
{
    const struct slot_run *r = &s->runs[run];
    if (r->prev == NO_RUN) s->free = r->next;
    else s->runs[r->prev].next = r->next;
    if (r->next != NO_RUN) s->runs[r->next].prev = r->prev;
}

/* The shortest free run that is long enough, leaving out two. */
static uint32_t best_fit(const struct slots *s, uint32_t pages, uint32_t but,
                         uint32_t nor)
{
    uint32_t best = NO_RUN;
    for (uint32_t i = s->free; i != NO_RUN; i = s->runs[i].next) {
        const uint32_t have = s->runs[i].pages;
        if (have < pages || i == but || i == nor) continue;
        if (have == pages) return i;
        if (best == NO_RUN || have < s->runs[best].pages) best = i;
    }
    return best;
}

/* Take the first pages of a free run; the rest stays free. */
static uint32_t take_of(struct slots *s, uint32_t run, uint32_t pages, uint32_t owner)
{
    struct slot_run *r = &s->runs[run];
    unlist_free(s, run);
    r->owner = owner;
    s->free_pages -= pages;
    if (s->touched < r->page + pages) s->touched = r->page + pages;
    if (r->pages == pages) return run;
    const uint32_t rest = s->spare;
    struct slot_run *q = &s->runs[rest];
    s->spare = q->next;
    *q = (struct slot_run){
        .page = r->page + pages, .pages = r->pages - pages, .left = run, .right = r->right
    };
    if (q->right != NO_RUN) s->runs[q->right].left = rest;
    else s->last = rest;
    r->right = rest;
    r->pages = pages;
    list_free(s, rest);
    return run;
}

/* Append a free run's right neighbour, which is not listed as free any more. */
static void join_right(struct slots *s, uint32_t run)
{
    struct slot_run *r = &s->runs[run];
    const uint32_t gone = r->right;
    r->pages += s->runs[gone].pages;
    r->right = s->runs[gone].right;
    if (r->right != NO_RUN) s->runs[r->right].left = run;
    else s->last = run;
    s->runs[gone].next = s->spare;
    s->spare = gone;
}

static bool is_free(const struct slots *s, uint32_t run)
{
    return run != NO_RUN && s->runs[run].owner == NO_RUN;
}

void slots_give(struct slots *s, uint32_t run)
{
    s->free_pages += s->runs[run].pages;
    if (is_free(s, s->runs[run].right)) {
        unlist_free(s, s->runs[run].right);
        join_right(s, run);
    }
    const uint32_t left = s->runs[run].left;
    if (is_free(s, left)) {
        unlist_free(s, left);
        join_right(s, left);
        run = left;
    }
    list_free(s, run);
}

/* ---- Mixed lengths ------------------------------------------------------- */

/* Move what a run holds into a free one that is long enough. */
static void move(struct slots *s, uint32_t from, uint32_t fit)
{
    const uint32_t owner = s->runs[from].owner, pages = s->runs[from].pages;
    const uint32_t to = take_of(s, fit, pages, owner);
    memcpy(slots_at(s, to), slots_at(s, from), (size_t)pages * SLOT_PAGE);
    slots_give(s, from);
    s->owners.moved(s->owners.user, owner, to);
    s->n_moves++;
}

/* Try to let the gap grow over its neighbour on one side, by moving what is there into
 * another gap. */
static bool push_aside(struct slots *s, uint32_t gap, bool right, uint32_t pages)
{
    const uint32_t from = right ? s->runs[gap].right : s->runs[gap].left;
    if (from == NO_RUN) return false;
    const struct slot_run r = s->runs[from];
    const uint32_t beyond = right ? r.right : r.left;
    const uint32_t more = is_free(s, beyond) ? s->runs[beyond].pages : 0;
    if (s->runs[gap].pages + r.pages + more < pages ||
        !s->owners.may_move(s->owners.user, r.owner))
        return false;
    const uint32_t fit = best_fit(s, r.pages, gap, beyond);
    if (fit == NO_RUN) return false;
    move(s, from, fit);
    return true;
}

static bool make_gap(struct slots *s, uint32_t pages)
{
    for (uint32_t i = s->free; i != NO_RUN; i = s->runs[i].next)
        if (push_aside(s, i, true, pages) || push_aside(s, i, false, pages)) return true;
    return false;
}

uint32_t slots_take(struct slots *s, uint64_t bytes, uint32_t owner)
{
    const uint64_t pages = (bytes + SLOT_PAGE - 1) / SLOT_PAGE;
    if (pages > s->free_pages) return NO_RUN;
    const uint32_t n = (uint32_t)pages;
    uint32_t run = best_fit(s, n, NO_RUN, NO_RUN);
    if (run == NO_RUN && make_gap(s, n)) run = best_fit(s, n, NO_RUN, NO_RUN);
    return run == NO_RUN ? NO_RUN : take_of(s, run, n, owner);
}

/* ---- Length -------------------------------------------------------------- */

/* The shortest free run that is long enough and begins and ends before a page. */
static uint32_t best_before(const struct slots *s, uint32_t pages, uint32_t end)
{
    uint32_t best = NO_RUN;
    for (uint32_t i = s->free; i != NO_RUN; i = s->runs[i].next) {
        const struct slot_run *r = &s->runs[i];
        if (r->pages < pages || r->page >= end || end - r->page < pages) continue;
        if (best == NO_RUN || r->pages < s->runs[best].pages) best = i;
    }
    return best;
}

/* Take pages from the last run, which is free, but none before page `end`. */
static void shorten(struct slots *s, uint32_t end)
{
    struct slot_run *r = &s->runs[s->last];
    const uint32_t stay = end > r->page ? end - r->page : 0;
    s->free_pages -= r->pages - stay;
    s->pages -= r->pages - stay;
    r->pages = stay;
    if (stay) return;
    const uint32_t gone = s->last;
    unlist_free(s, gone);
    s->last = r->left;
    if (r->left != NO_RUN) s->runs[r->left].right = NO_RUN;
    r->next = s->spare;
    s->spare = gone;
}

/* Pages that lie behind the end now and were used, or came with one that was. */
static void give_back(struct slots *s)
{
    if (s->touched <= s->pages) return;
    const uint64_t grain = (uint64_t)s->grain * SLOT_PAGE;
    const uint64_t end = (uint64_t)s->pages * SLOT_PAGE;
    const uint64_t whole = ((uint64_t)s->touched * SLOT_PAGE + grain - 1) / grain * grain;
    const uint64_t bytes = (whole < s->mapped ? whole : s->mapped) - end;
    if (s->owners.leaving) s->owners.leaving(s->owners.user, s->base + end, bytes);
    /* New pages in their place, which are not locked. */
    if (mmap(s->base + end, bytes, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_FIXED, -1,
             0) != MAP_FAILED)
        s->touched = s->pages;
}

enum slots_cut slots_cut(struct slots *s, uint32_t pages)
{
    enum slots_cut result = SLOTS_CUT;
    while (s->pages > pages && result == SLOTS_CUT) {
        const uint32_t last = s->last;
        const struct slot_run *r = &s->runs[last];
        const uint32_t fit = is_free(s, last) ? NO_RUN : best_before(s, r->pages, pages);
        if (is_free(s, last)) shorten(s, pages);
        else if (!s->owners.may_move(s->owners.user, r->owner)) result = SLOTS_HELD;
        else if (fit == NO_RUN) result = SLOTS_FULL;
        else move(s, last, fit);
    }
    give_back(s);
    return result;
}

void slots_extend(struct slots *s, uint32_t pages)
{
    const uint32_t more = pages - s->pages;
    uint8_t *end = s->base + (uint64_t)s->pages * SLOT_PAGE;
    const uint32_t run = s->spare, left = s->last;
    s->locked = prepare(s, end, (uint64_t)more * SLOT_PAGE) && s->locked;
    s->spare = s->runs[run].next;
    s->runs[run] = (struct slot_run){
        .page = s->pages, .pages = more, .left = left, .right = NO_RUN
    };
    if (left != NO_RUN) s->runs[left].right = run;
    s->last = run;
    s->pages += more;
    slots_give(s, run);
}
