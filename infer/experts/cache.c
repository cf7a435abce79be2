/* cache.c - experts in memory: making room, reading, forgetting. */
#include "cache.h"

#include "../now.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum q3n_expert_tier cache_tier(const struct expert_store *s, uint32_t layer)
{
    return layer < s->o.n_tiers ? s->o.tiers[layer] : Q3N_EXPERTS_ANYWHERE;
}

bool cache_reads(const struct expert_store *s, uint32_t layer, bool direct)
{
    const enum q3n_expert_tier tier = cache_tier(s, layer);
    if (tier == Q3N_EXPERTS_ANYWHERE) return direct;
    return tier != Q3N_EXPERTS_MAPPED && tier != Q3N_EXPERTS_DEVICE;
}

bool cache_holds(const struct expert_store *s, uint32_t layer, uint32_t expert)
{
    if (cache_reads(s, layer, s->o.direct)) return true;
    if (cache_tier(s, layer) == Q3N_EXPERTS_DEVICE) return false;
    const struct ggf_pack_record *r = source_record(&s->sources[layer], expert);
    return r && r->compressed;
}

static const struct source *source_of(const struct expert_store *s,
                                      const struct record *r)
{
    return &s->sources[record_number(s, r) / s->o.dims.n_expert];
}

const ggf_pack *cache_pack(const struct expert_store *s, const struct record *r)
{
    return source_of(s, r)->pack;
}

static uint32_t expert_of(const struct expert_store *s, const struct record *r)
{
    return record_number(s, r) % s->o.dims.n_expert;
}

/* ---- Coming and going ---------------------------------------------------- */

static uint32_t pages_of(const struct expert_store *s, const struct record *r)
{
    return s->slots.runs[r->run].pages;
}

/* Forget a record that nobody uses. */
static void drop(struct expert_store *s, struct record *r)
{
    const uint32_t number = record_number(s, r);
    if (policy_is_cold(&s->policy, number)) s->cold_pages -= pages_of(s, r);
    policy_remove(&s->policy, number);
    slots_give(&s->slots, r->run);
    r->run = NO_RUN;
    r->guessed = false;
    free(r->error);
    r->error = NULL;
    atomic_store_explicit(&r->stage, EXPERT_NOWHERE, memory_order_relaxed);
}

void cache_use(struct expert_store *s, struct record *r)
{
    const uint32_t number = record_number(s, r);
    if (r->kept) return;
    if (policy_is_cold(&s->policy, number)) s->cold_pages -= pages_of(s, r);
    policy_use(&s->policy, number);
}

void cache_keep(struct expert_store *s, struct record *r)
{
    cache_use(s, r); /* no longer cold */
    policy_remove(&s->policy, record_number(s, r));
    s->kept_pages += pages_of(s, r);
    r->pins++;
    r->kept = true;
}

void cache_unpin(struct expert_store *s, struct record *r)
{
    if (--r->pins) return;
    if (atomic_load_explicit(&r->stage, memory_order_relaxed) == EXPERT_FAILED)
        drop(s, r);
    pthread_cond_broadcast(&s->moved);
}

bool cache_may_move(void *user, uint32_t number)
{
    const struct expert_store *s = user;
    return !s->records[number].pins;
}

void cache_moved(void *user, uint32_t number, uint32_t run)
{
    struct expert_store *s = user;
    s->records[number].run = run;
}

void cache_leaving(void *user, uint8_t *from, uint64_t bytes)
{
    const struct expert_store *s = user;
    if (s->leaving) s->leaving(s->leaving_user, from, bytes);
}

bool cache_evict(struct expert_store *s)
{
    const uint32_t victim = policy_victim(&s->policy, cache_may_move, s);
    if (victim == POLICY_NONE) return false;
    if (s->records[victim].guessed) s->stats.guesses_wasted++;
    drop(s, &s->records[victim]);
    s->stats.evictions++;
    return true;
}

static uint32_t make_room(struct expert_store *s, uint64_t bytes, uint32_t number)
{
    uint32_t run;
    while ((run = slots_take(&s->slots, bytes, number)) == NO_RUN)
        if (!cache_evict(s)) return NO_RUN;
    return run;
}

static bool must_verify(const struct expert_store *s, const struct record *r)
{
    if (!source_of(s, r)->pack || s->o.verify == Q3N_VERIFY_NEVER) return false;
    return s->o.verify == Q3N_VERIFY_ALWAYS || !atomic_load(&r->verified);
}

bool cache_fetch(struct expert_store *s, struct record *r, bool needed, bool cold)
{
    const uint32_t number = record_number(s, r);
    struct layout l;
    source_layout(source_of(s, r), &s->o.dims, expert_of(s, r), &l);
    const uint32_t run = make_room(s, l.bytes, number);
    if (run == NO_RUN) return false;
    /* What has to be hashed as a whole is read as a whole. */
    r->reads = r->pending = l.n > l.n_in && !must_verify(s, r) ? 2 : 1;
    r->pins = 1u + r->reads;
    r->run = run;
    r->rest = r->reads == 2;
    r->guessed = !needed;
    atomic_store_explicit(&r->stage, EXPERT_COMING, memory_order_relaxed);
    policy_add(&s->policy, number, cold);
    if (cold) s->cold_pages += pages_of(s, r);
    reader_push(&s->readers, &r->jobs[0], needed);
    return true;
}

void cache_read_rest(struct expert_store *s, struct record *r, bool needed)
{
    if (r->rest) reader_push(&s->readers, &r->jobs[1], needed);
    r->rest = false;
}

void cache_settle_guesses(struct expert_store *s)
{
    for (uint32_t i = 0; i < s->n_guesses; i++) {
        struct record *r = &s->records[s->guesses[i]];
        const bool wanted = r->pins > 1u + r->pending;
        if (wanted)
            for (int j = 0; j < r->reads; j++) reader_hurry(&s->readers, &r->jobs[j]);
        /* Not begun: forget it.  The first read of a record begins before the second. */
        if (!wanted && r->pending == r->reads &&
            reader_cancel(&s->readers, &r->jobs[0])) {
            if (r->reads == 2) reader_cancel(&s->readers, &r->jobs[1]);
            s->stats.guesses_cancelled++;
            r->pins = 0;
            drop(s, r);
            continue;
        }
        cache_unpin(s, r);
    }
    s->n_guesses = 0;
}

/* ---- Reading ------------------------------------------------------------- */

struct disk_file *cache_file(const struct expert_store *s, const char *path)
{
    for (uint32_t i = 0; i < s->n_files; i++)
        if (!strcmp(s->files[i].path, path)) return &s->files[i];
    return NULL; /* all were opened at the start */
}

/* A record that is stored compressed: through the thread's own memory. */
static int read_compressed(const struct expert_store *s, const struct record *r,
                           const struct layout *l, uint8_t *to, void *memory,
                           ggf_error *err)
{
    const struct source *src = source_of(s, r);
    const struct ggf_pack_record *packed = source_record(src, expert_of(s, r));
    const struct disk_piece *p = &l->pieces[0];
    if (!memory) return ggf_no_memory(err);
    int e = disk_read(cache_file(s, p->path), p->offset, memory, p->bytes, p->need, err);
    if (!e && must_verify(s, r))
        e = ggf_pack_verify_record(src->pack, packed, memory, err);
    return e ? e : ggf_pack_read(src->pack, packed, memory, to, packed->raw_bytes, err);
}

static int read_pieces(const struct expert_store *s, const struct record *r,
                       const struct layout *l, int first, int end, uint8_t *to,
                       ggf_error *err)
{
    int e = 0;
    for (int i = first; i < end && !e; i++) {
        const struct disk_piece *p = &l->pieces[i];
        e = disk_read(cache_file(s, p->path), p->offset, to + p->at, p->bytes, p->need,
                      err);
    }
    if (e || !must_verify(s, r)) return e;
    const struct source *src = source_of(s, r);
    return ggf_pack_verify_record(src->pack, source_record(src, expert_of(s, r)), to,
                                  err);
}

static uint64_t bytes_of(const struct layout *l, int first, int end)
{
    uint64_t sum = 0;
    for (int i = first; i < end; i++) sum += l->pieces[i].bytes;
    return sum;
}

static void start_clock(uint32_t *threads, double *since)
{
    if (!(*threads)++) *since = seconds_now();
}

static void stop_clock(uint32_t *threads, const double *since, double *sum)
{
    if (!--*threads) *sum += seconds_now() - *since;
}

/* The error that a record failed with, naming layer and expert. */
static void note_failure(struct expert_store *s, struct record *r, const ggf_error *what)
{
    if (!r->error) r->error = malloc(sizeof *r->error);
    if (r->error) {
        ggf_fail(r->error, what->code, GGF_NO_OFFSET,
                 "layer %" PRIu32 ", expert %" PRIu32 ": %.300s",
                 record_number(s, r) / s->o.dims.n_expert, expert_of(s, r),
                 what->message);
        r->error->offset = what->offset;
    }
    atomic_store_explicit(&r->stage, EXPERT_FAILED, memory_order_release);
}

static void land(struct expert_store *s, struct record *r, int part, int status,
                 const ggf_error *err)
{
    r->pending--;
    if (status) note_failure(s, r, err);
    if (atomic_load_explicit(&r->stage, memory_order_relaxed) != EXPERT_FAILED) {
        if (!r->pending) {
            if (must_verify(s, r)) atomic_store(&r->verified, true);
            atomic_store_explicit(&r->stage, EXPERT_READY, memory_order_release);
        } else if (part == 0) {
            atomic_store_explicit(&r->stage, EXPERT_IN, memory_order_release);
        }
    }
    pthread_cond_broadcast(&s->moved);
    cache_unpin(s, r);
}

/* A read that fails is tried once more: damage may have happened on the way. */
void cache_read(void *user, struct read_job *job, void *memory)
{
    struct expert_store *s = user;
    const size_t at = (size_t)((const char *)job - (const char *)s->records);
    struct record *r = &s->records[at / sizeof *r];
    if (r->halves) {
        halves_help(s, r);
        return;
    }
    const int part = (int)(job - r->jobs);
    uint8_t *to = slots_at(&s->slots, r->run);
    struct layout l;
    ggf_error err;
    source_layout(source_of(s, r), &s->o.dims, expert_of(s, r), &l);
    const struct ggf_pack_record *packed =
        source_record(source_of(s, r), expert_of(s, r));
    const int first = part ? l.n_in : 0, end = part || r->reads == 1 ? l.n : l.n_in;
    int status = 1, tries = 0;
    const bool whole = packed && !packed->compressed && must_verify(s, r);
    start_clock(&s->reading, &s->reading_since);
    if (whole && halves_pay(s, &l)) {
        status = halves_read(s, r, &l, packed, to, &err);
        tries++;
    }
    pthread_mutex_unlock(&s->mutex);
    for (; status && tries < 2; tries++)
        status = packed && packed->compressed
                     ? read_compressed(s, r, &l, to, memory, &err)
                     : read_pieces(s, r, &l, first, end, to, &err);
    pthread_mutex_lock(&s->mutex);
    stop_clock(&s->reading, &s->reading_since, &s->stats.read_seconds);
    s->stats.reads++;
    s->stats.retries += (uint64_t)tries - 1;
    s->stats.read_bytes += (uint64_t)tries * bytes_of(&l, first, end);
    land(s, r, part, status, &err);
}
