/* cache.h - inside the store: experts in memory, and reads under way.
 *
 * Everything here is called with the store's mutex held. */
#ifndef INFER_EXPERTS_CACHE_H
#define INFER_EXPERTS_CACHE_H

#include "disk.h"
#include "policy.h"
#include "reader.h"
#include "slots.h"
#include "store.h"

/* An expert of the model; those of a layer stand side by side. */
struct record {
    _Atomic uint8_t stage; /* enum expert_stage */
    _Atomic bool verified; /* its bytes on disk were once found to be right */
    uint8_t reads,
        pending;   /* reads it comes in: 1, or 2 if down is apart; not done yet */
    bool guessed;  /* read ahead, and not asked for since */
    bool rest;     /* the second read is not in a queue yet */
    bool kept;     /* in memory for good: pinned, and unknown to the policy */
    uint32_t run;  /* where it is; NO_RUN while nowhere */
    uint32_t pins; /* users and pending reads: it stays */
    struct read_job jobs[2];
    struct halves *halves; /* the second job helps the first; else NULL */
    ggf_error *error;      /* of EXPERT_FAILED; NULL: out of memory */
};

enum {
    MAX_GUESSES = 64,
    EXPERT_CHUNK = 16, /* most misses in a chunk */
};

struct expert_store {
    struct expert_store_options o;
    struct source *sources; /* [n_layer] */
    struct record *records; /* [n_expert, n_layer] */

    pthread_mutex_t mutex;
    pthread_cond_t moved;  /* a read has ended, or room has become free */
    pthread_cond_t landed; /* a piece of a record that is hashed while it is read */
    struct slots slots;    /* base NULL: all experts are mapped */
    struct policy policy;
    struct reader_pool readers;
    void (*leaving)(void *user, const uint8_t *from, uint64_t bytes); /* or NULL */
    void *leaving_user;
    struct disk_file *files;
    uint32_t n_files;
    uint32_t *scratch;                /* [n_expert] */
    uint32_t chunk;                   /* misses that are waited for at once */
    uint32_t most_pages, least_pages; /* the arena's length at the start; of one token */
    double next_look;                 /* at the limits of cgroups */

    uint32_t guesses[MAX_GUESSES], n_guesses; /* numbers of records, pinned */
    uint32_t cold_pages, kept_pages;
    uint32_t reading, waiting; /* threads, for the clocks */
    double reading_since, waiting_since;
    struct q3n_expert_stats stats;
};

static inline uint32_t record_number(const struct expert_store *s, const struct record *r)
{
    return (uint32_t)(r - s->records);
}

static inline struct record *record_at(const struct expert_store *s, uint32_t layer,
                                       uint32_t expert)
{
    return &s->records[(size_t)layer * s->o.dims.n_expert + expert];
}

enum q3n_expert_tier cache_tier(const struct expert_store *s, uint32_t layer);
/* Are the layer's experts read?  direct: so it is for those that may be anywhere. */
bool cache_reads(const struct expert_store *s, uint32_t layer, bool direct);
/* Is the expert used in memory of the store? */
bool cache_holds(const struct expert_store *s, uint32_t layer, uint32_t expert);

/* Make room and plan the reads of a record that is nowhere; it is pinned once for the
 * caller.  False if everything in memory is pinned.  The first read is in a queue then;
 * the second, if there is one, with cache_read_rest(). */
bool cache_fetch(struct expert_store *s, struct record *r, bool needed, bool cold);
void cache_read_rest(struct expert_store *s, struct record *r, bool needed);
void cache_unpin(struct expert_store *s, struct record *r);
/* It was asked for again. */
void cache_use(struct expert_store *s, struct record *r);
/* It stays for good; it is in memory. */
void cache_keep(struct expert_store *s, struct record *r);
/* Forget the one that should make room; false if all are in use. */
bool cache_evict(struct expert_store *s);
/* Find out how many misses may be waited for at once. */
void cache_set_chunk(struct expert_store *s);
/* squeeze.c: if it is time, make the arena as long as cgroups allow.  Called without the
 * mutex, before a layer begins. */
void cache_follow_limits(struct expert_store *s, uint32_t layer);

/* Guesses are no longer of interest: those that wait to be read are cancelled unless
 * somebody else holds them by now. */
void cache_settle_guesses(struct expert_store *s);

/* halves.c: read a record of a pack, not compressed, and find its SHA-256 right.  The
 * mutex is let go of meanwhile, as in cache_read(). */
int halves_read(struct expert_store *s, struct record *r, const struct layout *l,
                const struct ggf_pack_record *packed, uint8_t *to, ggf_error *err);
/* Does it pay, and is there somebody who helps? */
bool halves_pay(const struct expert_store *s, const struct layout *l);
void halves_help(struct expert_store *s, struct record *r);
const ggf_pack *cache_pack(const struct expert_store *s, const struct record *r);

/* The open file of that name. */
struct disk_file *cache_file(const struct expert_store *s, const char *path);

/* For reader_open() and slots_open(). */
void cache_read(void *user, struct read_job *job, void *memory);
bool cache_may_move(void *user, uint32_t number);
void cache_moved(void *user, uint32_t number, uint32_t run);
void cache_leaving(void *user, uint8_t *from, uint64_t bytes);

#endif
