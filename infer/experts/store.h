/* store.h - the routed experts of a model, wherever their bytes are.
 *
 * The code that computes names the experts that a layer needs and gets matrices; that
 * they lie in a mapped file, or in memory of the store which is filled from disk, is
 * known here only.
 *
 *     begin                       which experts?  Reads of what is missing start
 *     while (there is a chunk)
 *         wait for each, use it   those that are there come first
 *         next                    the chunk may be overwritten from now on
 *
 * A layer that needs more than there is room for gets it in chunks; the next ones are
 * read while one is used.  A record of a pack is hashed when it is first used or read;
 * with one that is damaged nothing is computed. */
#ifndef INFER_EXPERTS_STORE_H
#define INFER_EXPERTS_STORE_H

#include "../engine.h"
#include "../ops/team.h"
#include "source.h"

struct expert_store;
struct record;

struct expert_store_options {
    struct expert_dims dims;
    uint32_t n_used; /* experts of one token in a layer */
    bool direct;     /* read into memory of the store; else mapped, but for records that
                        are compressed */
    enum q3n_verify_reads verify;
    enum q3n_cache_policy policy;
    int io_threads;       /* 0: EXPERT_IO_THREADS */
    bool look_ahead;      /* sweeps begin to read the next layer */
    const uint8_t *tiers; /* enum q3n_expert_tier of layers 0, 1, ...; the caller's */
    uint32_t n_tiers;
    const char *limits_root; /* q3n_model_options */
};

enum { EXPERT_IO_THREADS = 6, EXPERT_IO_MAX = 64 };

/* ---- Setting up ---------------------------------------------------------- */

int expert_store_new(struct expert_store **out,
                     const struct expert_store_options *options, ggf_error *err);
void expert_store_free(struct expert_store *store); /* NULL is allowed */

/* Where a layer's experts are: slabs for gate, up, down (enum ggf_part) ... */
int expert_store_set_slabs(struct expert_store *store, uint32_t layer,
                           const struct expert_slab slabs[GGF_PARTS], ggf_error *err);
/* ... or a layer of a pack, which must outlive the store. */
int expert_store_set_pack(struct expert_store *store, uint32_t layer,
                          const ggf_pack *pack, uint32_t pack_layer, ggf_error *err);
/* Factors of the results of gate, up, down: one for each expert, owned by the caller;
 * NULL where there are none. */
void expert_store_set_scales(struct expert_store *store, uint32_t layer,
                             const float *const scales[GGF_PARTS]);

/* Forms of activations that the layer's gates and ups, and its downs, multiply with. */
unsigned expert_store_in_kinds(const struct expert_store *store, uint32_t layer);
unsigned expert_store_mid_kinds(const struct expert_store *store, uint32_t layer);
/* Bytes of all experts of a layer, not compressed. */
uint64_t expert_store_bytes(const struct expert_store *store, uint32_t layer);
/* The same as they would lie in memory of the store: with padding. */
uint64_t expert_store_slot_bytes(const struct expert_store *store, uint32_t layer);

/* Are all of the layer's used where they are mapped? */
bool expert_store_mapped(const struct expert_store *store, uint32_t layer);

/* Memory for experts that makes sense: what one token needs, in all layers; and what all
 * take, if they are read (direct) or mapped.  0: none is needed. */
uint64_t expert_store_least(const struct expert_store *store, bool direct);
uint64_t expert_store_most(const struct expert_store *store, bool direct);

/* Get `bytes` of memory, or what all experts take if that is less, and start the threads
 * that fill it.  GGF_E_ARG if it is less than the least.  Does nothing if all experts are
 * mapped.  After this the sources stay as they are.  While the store is used it looks at
 * the limits of cgroups: what they leave no room for any more is given back, down to the
 * least, and had again when there is room. */
int expert_store_start(struct expert_store *store, uint64_t bytes, ggf_error *err);

/* Read the experts that are to be in memory for good. */
int expert_store_keep(struct expert_store *store, ggf_error *err);
/* Read n experts of a layer ahead of their use. */
int expert_store_load(struct expert_store *store, uint32_t layer, const uint32_t *ids,
                      uint32_t n, ggf_error *err);
/* Earlier uses of all experts, counts[n_expert, n_layer], for the policy. */
void expert_store_seed(struct expert_store *store, const uint64_t *counts);
/* An expert that is going to be copied to a device: mapped, or unpacked into a buffer of
 * expert_store_unpacked() bytes if that is not 0.  Hashed unless records never are. */
uint64_t expert_store_unpacked(const struct expert_store *store, uint32_t layer);
int expert_store_look(const struct expert_store *store, uint32_t layer, uint32_t id,
                      void *buffer, struct expert *out, ggf_error *err);
/* Its matrices but for their data. */
void expert_store_shape(const struct expert_store *store, uint32_t layer, uint32_t id,
                        struct expert *out);
/* Can a device multiply with all matrices of a layer?  can: with that type. */
bool expert_store_types(const struct expert_store *store, uint32_t layer,
                        bool (*can)(uint32_t type));
/* Bring the mapped experts into memory. */
void expert_store_populate(const struct expert_store *store);
/* Lock mapped records of packs; false if the system refuses, or did so with memory of the
 * store. */
bool expert_store_lock(const struct expert_store *store);

/* Read experts for about so many seconds, with as many threads as the store has and
 * nothing else to do, into memory that is given back: stats.disk_gb_s from then on.  Does
 * nothing if no experts are read. */
int expert_store_measure(struct expert_store *store, double seconds, ggf_error *err);

/* The store's memory, *bytes of it from the border of a page on; NULL: it has none. */
uint8_t *expert_store_memory(const struct expert_store *store, uint64_t *bytes);
/* Who is told of pages that are about to be given back to the system, by the thread that
 * calls begin() or the function below; NULL: nobody. */
void expert_store_on_leaving(struct expert_store *store,
                             void (*leaving)(void *user, const uint8_t *from,
                                             uint64_t bytes),
                             void *user);

/* Look at the limits of cgroups, as begin() does.  Not while a layer's experts are in
 * use. */
void expert_store_follow_limits(struct expert_store *store);

void expert_store_stats(struct expert_store *store, struct q3n_expert_stats *out);

/* ---- Use ----------------------------------------------------------------- */

/* How far an expert's bytes are. */
enum expert_stage {
    EXPERT_NOWHERE,
    EXPERT_COMING,
    EXPERT_IN,    /* gate and up may be used */
    EXPERT_READY, /* down too */
    EXPERT_FAILED,
};

enum { DEMAND_HIT = 1, DEMAND_HELD = 2 };

/* What a layer needs for a batch.  Arrays with room for n_expert each, the caller's. */
struct expert_demand {
    uint32_t *ids;           /* experts, in the order in which they should be used */
    uint8_t *flags;          /* DEMAND_HIT: it was there, or on its way */
    struct expert *experts;  /* of those in the chunk */
    struct record **records; /* NULL: mapped */

    uint32_t layer, n;
    uint32_t first, count;       /* the chunk: ids[first .. first + count - 1] */
    uint32_t asked;              /* ids before this one are held */
    uint32_t hits, chunks, done; /* chunks planned, and done with */
    uint32_t unchecked;          /* mapped records that have yet to be hashed */
    uint32_t hot_from;           /* a sweep's experts with so many uses stay */
    const uint32_t *uses;        /* [n_expert] or NULL */
    bool sweep, hits_held;
};

/* Begin with d->ids[0 .. n-1], all different, which are put in a new order; there is a
 * first chunk afterwards.  uses: for each expert of the layer, how often the batch uses
 * it; read until expert_store_begin() of the next layer. */
void expert_store_begin(struct expert_store *store, struct expert_demand *d,
                        uint32_t layer, uint32_t n, const uint32_t *uses);
/* The chunk is done with.  False if it was the last. */
bool expert_store_next(struct expert_store *store, struct expert_demand *d);
/* Give up the rest. */
void expert_store_end(struct expert_store *store, struct expert_demand *d);

/* Hash what is mapped and was not hashed before (needed if d->unchecked).  All threads
 * get the same result. */
int expert_store_check_team(const struct member *me, struct expert_store *store,
                            const struct expert_demand *d, ggf_error *err);

/* Sleep until d->experts[i] of the chunk is at that stage.  Any thread. */
int expert_store_wait(struct expert_store *store, const struct expert_demand *d,
                      uint32_t i, enum expert_stage stage, ggf_error *err);

/* The bytes of an expert of the chunk stay where they are, until it is released; NULL if
 * they do so anyway, which need not be released. */
struct record *expert_store_hold(struct expert_store *store,
                                 const struct expert_demand *d, uint32_t i);
void expert_store_release(struct expert_store *store, struct record *held);

/* The next layer may need these: read as many as there is room for, while nothing is
 * needed more.  What is not used goes first. */
void expert_store_guess(struct expert_store *store, uint32_t layer, const uint32_t *ids,
                        uint32_t n);

#endif
