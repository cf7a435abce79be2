/* store.h - where the bytes of an expert are.
 *
 * The code that computes asks for experts by layer and number and gets pointers; that
 * they come from slabs of a mapped GGUF or from records of a mapped pack is known here
 * only.  A record of a pack is hashed when it is first asked for; a compressed one is
 * unpacked into memory of the store, which keeps it until it is freed. */
#ifndef INFER_EXPERTS_STORE_H
#define INFER_EXPERTS_STORE_H

#include "../ops/matrix.h"
#include "../ops/team.h"

/* down(silu(gate x) * up x): gate and up are n_embd -> n_ff, down is n_ff -> n_embd.
 * Each has a type of its own. */
struct expert {
    struct matrix gate, up, down;
};

/* One matrix of all experts of a layer in a plain GGUF. */
struct expert_slab {
    const uint8_t *data;
    uint32_t type;
    uint64_t stride; /* bytes from one expert to the next */
};

struct expert_dims {
    uint32_t n_layer, n_expert, n_embd, n_ff;
    bool exact; /* kernels for float activations */
    bool own;   /* records are read into memory at once, not mapped */
};

struct expert_store;

int expert_store_new(struct expert_store **out, const struct expert_dims *dims,
                     ggf_error *err);
void expert_store_free(struct expert_store *store); /* NULL is allowed */

/* Where a layer's experts are: slabs for gate, up, down (enum ggf_part) ... */
int expert_store_set_slabs(struct expert_store *store, uint32_t layer,
                           const struct expert_slab slabs[GGF_PARTS], ggf_error *err);
/* ... or a layer of a pack, which must outlive the store.  Shapes and types of all its
 * records are checked here; with dims.own they are read and hashed too. */
int expert_store_set_pack(struct expert_store *store, uint32_t layer,
                          const ggf_pack *pack, uint32_t pack_layer, ggf_error *err);

/* Factors of the results of gate, up, down: one for each expert, owned by the caller;
 * NULL where there are none. */
void expert_store_set_scales(struct expert_store *store, uint32_t layer,
                             const float *const scales[GGF_PARTS]);

/* Lock the records of packs in memory; false if the system refuses. */
bool expert_store_lock(const struct expert_store *store);

/* Forms of activations that the layer's gates and ups, and its downs, multiply with. */
unsigned expert_store_in_kinds(const struct expert_store *store, uint32_t layer);
unsigned expert_store_mid_kinds(const struct expert_store *store, uint32_t layer);

/* Stored bytes of all experts of a layer. */
uint64_t expert_store_bytes(const struct expert_store *store, uint32_t layer);

/* Make n different experts of a layer ready and fill out[0..n-1].  Every thread of the
 * team gets the same result.  GGF_E_HASH if a record is damaged: nothing may be computed
 * with it.  *err is written by one thread. */
int expert_store_acquire_team(const struct member *me, struct expert_store *store,
                              uint32_t layer, const uint32_t *ids, uint32_t n,
                              struct expert *out, ggf_error *err);

#endif
