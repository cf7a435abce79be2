/* test_slots.c - memory for experts of mixed lengths, and who goes when there is no room.
 */
#include "../../infer/experts/policy.h"
#include "../../infer/experts/slots.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static ggf_error err;

static uint32_t draw(uint32_t below)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

/* ---- A cache of items with lengths --------------------------------------- */

enum { ITEMS = 1200, PAGES = 20000 };

struct cache {
    struct slots slots;
    struct policy policy;
    uint32_t run[ITEMS], pages[ITEMS];
    bool pinned[ITEMS];
    uint64_t evictions;
};

static bool may_move(void *user, uint32_t item)
{
    const struct cache *c = user;
    return !c->pinned[item];
}

static void moved(void *user, uint32_t item, uint32_t run)
{
    struct cache *c = user;
    ck_assert(!c->pinned[item]);
    c->run[item] = run;
}

/* First and last bytes of an item say which it is. */
static uint32_t *first_of(const struct cache *c, uint32_t item)
{
    return (uint32_t *)(void *)slots_at(&c->slots, c->run[item]);
}

static uint32_t *last_of(const struct cache *c, uint32_t item)
{
    return first_of(c, item) + (size_t)c->pages[item] * SLOT_PAGE / sizeof(uint32_t) - 1;
}

static void open_cache(struct cache *c, enum q3n_cache_policy kind)
{
    const struct slot_owners owners = { may_move, moved, c, NULL };
    memset(c, 0, sizeof *c);
    for (int i = 0; i < ITEMS; i++) c->run[i] = NO_RUN;
    ck_assert(policy_init(&c->policy, kind, ITEMS));
    ck_assert_int_eq(
        slots_open(&c->slots, (uint64_t)PAGES * SLOT_PAGE, ITEMS, &owners, &err), 0);
}

static void close_cache(struct cache *c)
{
    slots_close(&c->slots);
    policy_free(&c->policy);
}

static void drop(struct cache *c, uint32_t item)
{
    ck_assert_uint_eq(*first_of(c, item), item);
    ck_assert_uint_eq(*last_of(c, item), item);
    policy_remove(&c->policy, item);
    slots_give(&c->slots, c->run[item]);
    c->run[item] = NO_RUN;
}

static void use(struct cache *c, uint32_t item)
{
    if (c->run[item] != NO_RUN) {
        ck_assert_uint_eq(*first_of(c, item), item);
        policy_use(&c->policy, item);
        return;
    }
    const uint64_t bytes = (uint64_t)c->pages[item] * SLOT_PAGE;
    while ((c->run[item] = slots_take(&c->slots, bytes, item)) == NO_RUN) {
        const uint32_t victim = policy_victim(&c->policy, may_move, c);
        ck_assert_uint_ne(victim, POLICY_NONE);
        drop(c, victim);
        c->evictions++;
    }
    policy_add(&c->policy, item, false);
    *first_of(c, item) = *last_of(c, item) = item;
}

/* Every page is in one run, in order; no two free runs touch. */
static void check_runs(const struct slots *s)
{
    uint32_t run = NO_RUN, page = 0, left = NO_RUN, free_pages = 0;
    for (uint32_t i = 0; i < s->n_runs && run == NO_RUN; i++)
        if (s->runs[i].pages && s->runs[i].page == 0 && s->runs[i].left == NO_RUN) {
            bool spare = false;
            for (uint32_t j = s->spare; j != NO_RUN; j = s->runs[j].next) spare |= j == i;
            if (!spare) run = i;
        }
    for (; run != NO_RUN; left = run, run = s->runs[run].right) {
        ck_assert_uint_eq(s->runs[run].page, page);
        ck_assert_uint_eq(s->runs[run].left, left);
        const bool is_free = s->runs[run].owner == NO_RUN;
        if (left != NO_RUN) ck_assert(!is_free || s->runs[left].owner != NO_RUN);
        if (is_free) free_pages += s->runs[run].pages;
        page += s->runs[run].pages;
    }
    ck_assert_uint_eq(page, s->pages);
    ck_assert_uint_eq(free_pages, s->free_pages);
}

/* Lengths of an expert in different types, in pages, some of which stay pinned for a
 * while: on average less than 5 % of the memory lies idle, and nothing is lost. */
START_TEST(mixed_lengths)
{
    static struct cache c;
    static const uint32_t lengths[] = { 25, 29, 33, 43, 53, 63 };
    const int steps = 1500, full = 400;
    uint64_t idle = 0;
    open_cache(&c, (enum q3n_cache_policy)_i);
    for (int i = 0; i < ITEMS; i++) c.pages[i] = lengths[draw(6)];
    for (int i = 0; i < steps; i++) {
        uint32_t held[8];
        const uint32_t n = draw(8);
        for (uint32_t k = 0; k < n; k++) {
            held[k] = draw(ITEMS);
            use(&c, held[k]);
            c.pinned[held[k]] = true;
        }
        for (uint32_t k = 0; k < n; k++) {
            ck_assert_uint_eq(*last_of(&c, held[k]), held[k]);
            c.pinned[held[k]] = false;
        }
        if (i >= full) idle += c.slots.free_pages;
        if (i % 250 == 0) check_runs(&c.slots);
    }
    const double waste = (double)idle / (double)(steps - full) / PAGES;
    printf("mixed lengths: %.1f %% idle, %d moves in %d evictions\n", 100 * waste,
           (int)c.slots.n_moves, (int)c.evictions);
    ck_assert_msg(waste < 0.05, "%.1f %% of the memory is idle", 100 * waste);
    ck_assert_uint_gt(c.slots.n_moves, 0);
    close_cache(&c);
}
END_TEST

/* Pages of the arena that the system has given us. */
static uint32_t resident(const struct slots *s)
{
    static unsigned char in[PAGES];
    uint32_t n = 0;
    ck_assert_int_eq(mincore(s->base, (size_t)PAGES * SLOT_PAGE, in), 0);
    for (int i = 0; i < PAGES; i++) n += in[i] & 1;
    return n;
}

/* As short as is wanted, by evicting what goes first, or else as pinned items allow. */
static void cut(struct cache *c, uint32_t pages)
{
    enum slots_cut how;
    while ((how = slots_cut(&c->slots, pages)) == SLOTS_FULL) {
        const uint32_t victim = policy_victim(&c->policy, may_move, c);
        ck_assert_uint_ne(victim, POLICY_NONE);
        drop(c, victim);
    }
    ck_assert((how == SLOTS_CUT) == (c->slots.pages == pages));
    ck_assert_uint_ge(c->slots.pages, pages);
    ck_assert_uint_le(c->slots.touched, c->slots.pages);
    /* Huge pages come as a whole, and what is left of one goes when it is needed. */
    ck_assert_uint_le(resident(&c->slots), c->slots.pages + c->slots.grain);
    check_runs(&c->slots);
}

/* The arena is cut and extended again and again; what it holds, it holds. */
START_TEST(other_lengths)
{
    static struct cache c;
    static const uint32_t lengths[] = { 40, 25, 63, 1, 130 };
    uint32_t shortest = PAGES;
    open_cache(&c, Q3N_CACHE_LRU);
    for (int i = 0; i < ITEMS; i++) c.pages[i] = lengths[_i ? draw(5) : 0];
    for (int i = 0; i < 200; i++) {
        for (int k = 0; k < 60; k++) use(&c, draw(ITEMS));
        const uint32_t held = draw(ITEMS), wanted = 200 + draw(PAGES - 200);
        use(&c, held);
        c.pinned[held] = true;
        if (wanted < c.slots.pages) cut(&c, wanted);
        else if (wanted > c.slots.pages) slots_extend(&c.slots, wanted);
        if (c.slots.pages < shortest) shortest = c.slots.pages;
        check_runs(&c.slots);
        c.pinned[held] = false;
        if (wanted < c.slots.pages) cut(&c, wanted);
        ck_assert_uint_eq(c.slots.pages, wanted);
    }
    ck_assert_uint_lt(shortest, 2000);
    for (uint32_t i = 0; i < ITEMS; i++)
        if (c.run[i] != NO_RUN) drop(&c, i);
    ck_assert_uint_eq(c.slots.free_pages, c.slots.pages);
    ck_assert_int_eq(slots_cut(&c.slots, 0), SLOTS_CUT); /* to nothing, and back */
    ck_assert_uint_eq(slots_take(&c.slots, 1, 0), NO_RUN);
    ck_assert_uint_eq(resident(&c.slots), 0);
    slots_extend(&c.slots, PAGES);
    ck_assert_uint_ne(slots_take(&c.slots, (uint64_t)PAGES * SLOT_PAGE, 0), NO_RUN);
    close_cache(&c);
}
END_TEST

/* Equal lengths leave nothing idle and move nothing. */
START_TEST(equal_lengths)
{
    static struct cache c;
    open_cache(&c, Q3N_CACHE_LRU);
    for (int i = 0; i < ITEMS; i++) c.pages[i] = 40;
    for (int i = 0; i < 20000; i++) {
        use(&c, draw(ITEMS));
        if (i > 2000) ck_assert_uint_eq(c.slots.free_pages, 0);
    }
    check_runs(&c.slots);
    ck_assert_uint_eq(c.slots.n_moves, 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        if (c.run[i] != NO_RUN) drop(&c, i);
    ck_assert_uint_eq(c.slots.free_pages, PAGES);
    ck_assert_uint_ne(slots_take(&c.slots, (uint64_t)PAGES * SLOT_PAGE, 0), NO_RUN);
    ck_assert_uint_eq(slots_take(&c.slots, 1, 1), NO_RUN);
    close_cache(&c);
}
END_TEST

START_TEST(too_much)
{
    const struct slot_owners owners = { may_move, moved, NULL, NULL };
    struct slots s;
    ck_assert_int_eq(slots_open(&s, UINT64_MAX, 10, &owners, &err), GGF_E_ARG);
    ck_assert_int_eq(slots_open(&s, 1ull << 43, 10, &owners, &err), 0);
    slots_close(&s); /* address space costs nothing */
    ck_assert_int_lt(slots_open(&s, 15ull << 40, 10, &owners, &err), 1);
    slots_close(&s);
}
END_TEST

/* ---- Policies ------------------------------------------------------------- */

enum { SEATS = 20, GUESTS = 60 };

static bool taken[GUESTS];
static bool not_taken(void *user, uint32_t item)
{
    (void)user;
    return !taken[item];
}

/* Against the plainest way to say what is meant: a list, the next to go first. */
START_TEST(like_a_list)
{
    const enum q3n_cache_policy kind = _i ? Q3N_CACHE_CLOCK : Q3N_CACHE_LRU;
    struct policy p;
    uint32_t list[SEATS], n = 0;
    bool marked[GUESTS] = { false };
    ck_assert(policy_init(&p, kind, GUESTS));
    for (int i = 0; i < 20000; i++) {
        const uint32_t item = draw(2) ? draw(GUESTS) : draw(SEATS);
        uint32_t at = 0;
        while (at < n && list[at] != item) at++;
        if (at < n) { /* it is there */
            policy_use(&p, item);
            marked[item] = true;
            if (kind == Q3N_CACHE_LRU) {
                memmove(list + at, list + at + 1, (n - at - 1) * sizeof *list);
                list[n - 1] = item;
            }
            continue;
        }
        if (n == SEATS) {
            while (kind == Q3N_CACHE_CLOCK && marked[list[0]]) {
                const uint32_t spared = list[0];
                marked[spared] = false;
                memmove(list, list + 1, (n - 1) * sizeof *list);
                list[n - 1] = spared;
            }
            const uint32_t victim = policy_victim(&p, not_taken, NULL);
            ck_assert_uint_eq(victim, list[0]);
            policy_remove(&p, victim);
            memmove(list, list + 1, --n * sizeof *list);
        }
        policy_add(&p, item, false);
        marked[item] = false;
        list[n++] = item;
    }
    policy_free(&p);
}
END_TEST

/* LFU: every use of an item counts for half after so many uses of any. */
static double count_of(const uint32_t *times, const uint32_t *when, uint32_t n,
                       uint32_t item, uint32_t now, const uint32_t *items)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if (items[i] == item)
            sum +=
                times[i] * exp2(-(double)(now - when[i]) / (POLICY_HALF_LIFE * GUESTS));
    return sum;
}

START_TEST(like_counts)
{
    enum { STEPS = 3000 };
    static uint32_t items[STEPS], times[STEPS], when[STEPS];
    struct policy p;
    bool in[GUESTS] = { false };
    uint32_t n = 0, now = 0, victims = 0;
    ck_assert(policy_init(&p, Q3N_CACHE_LFU, GUESTS));
    for (uint32_t i = 0; i < STEPS; i++) {
        const uint32_t item = draw(draw(GUESTS) + 1), uses = 1 + draw(400);
        policy_begin(&p, uses);
        policy_count(&p, item, uses);
        now += uses;
        items[i] = item, times[i] = uses, when[i] = now;
        if (in[item]) {
            policy_use(&p, item);
            continue;
        }
        taken[item] = true; /* it does not make room for itself */
        if (n == SEATS) {
            double least = INFINITY;
            const uint32_t victim = policy_victim(&p, not_taken, NULL);
            for (uint32_t k = 0; k < GUESTS; k++)
                if (in[k])
                    least = fmin(least, count_of(times, when, i + 1, k, now, items));
            ck_assert(in[victim] && victim != item);
            ck_assert_double_le(count_of(times, when, i + 1, victim, now, items),
                                least * (1 + 1e-9));
            policy_remove(&p, victim);
            in[victim] = false;
            n--;
            victims++;
        }
        taken[item] = false;
        policy_add(&p, item, false);
        in[item] = true;
        n++;
    }
    ck_assert_uint_gt(victims, STEPS / 10);
    ck_assert_double_lt(p.each, ldexp(1, 257)); /* rescaled many times */
    policy_free(&p);
}
END_TEST

/* What was counted before comes first, but not for ever. */
START_TEST(seeded)
{
    struct policy p;
    uint64_t counts[GUESTS];
    for (uint32_t i = 0; i < GUESTS; i++) counts[i] = 1000000 * (uint64_t)(GUESTS - i);
    ck_assert(policy_init(&p, Q3N_CACHE_LFU, GUESTS));
    policy_add(&p, 3, false);
    policy_seed(&p, counts);
    policy_add(&p, 2, false);
    policy_add(&p, 7, false);
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 7);
    for (int i = 0; i < 4 * POLICY_HALF_LIFE; i++) {
        policy_begin(&p, GUESTS);
        policy_count(&p, 7, GUESTS / 4);
    }
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 3);
    policy_free(&p);
}
END_TEST

/* What a sweep brought goes first, the latest of it first of all, unless it is taken. */
START_TEST(sweeps)
{
    struct policy p;
    ck_assert(policy_init(&p, (enum q3n_cache_policy)_i, GUESTS));
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), POLICY_NONE);
    for (uint32_t i = 0; i < 10; i++) policy_add(&p, i, i >= 5);
    for (uint32_t i = 0; i < 10; i++) ck_assert(policy_is_cold(&p, i) == (i >= 5));
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 9);
    taken[9] = true;
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 8);
    policy_use(&p, 8);
    ck_assert(!policy_is_cold(&p, 8));
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 7);
    for (uint32_t i = 5; i < 8; i++) policy_remove(&p, i);
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), 0);
    memset(taken, 1, sizeof taken);
    ck_assert_uint_eq(policy_victim(&p, not_taken, NULL), POLICY_NONE);
    memset(taken, 0, sizeof taken);
    policy_free(&p);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("slots");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, mixed_lengths, 0, 3);
    tcase_add_test(tc, equal_lengths);
    tcase_add_loop_test(tc, other_lengths, 0, 2);
    tcase_add_test(tc, too_much);
    tcase_add_loop_test(tc, like_a_list, 0, 2);
    tcase_add_test(tc, like_counts);
    tcase_add_test(tc, seeded);
    tcase_add_loop_test(tc, sweeps, 0, 3);
    return SUITE_RUN("slots", tc);
}
