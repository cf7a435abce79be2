/* store.c - slabs of a GGUF and records of a pack behind one call. */
#include "store.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

struct source {
    const ggf_pack *pack; /* NULL: slabs */
    uint32_t pack_layer;
    struct expert_slab slab[GGF_PARTS];
    /* Of a pack, for each expert: its plain bytes once they are checked. */
    _Atomic(const uint8_t *) *ready;
    uint8_t **owned; /* unpacked records */
    unsigned in_kinds, mid_kinds;
    uint64_t bytes;
};

struct expert_store {
    struct expert_dims dims;
    _Atomic int status; /* of the acquire in progress */
    struct source *sources;
};

int expert_store_new(struct expert_store **out, const struct expert_dims *dims,
                     ggf_error *err)
{
    struct expert_store *s = calloc(1, sizeof *s);
    if (s) s->sources = calloc(dims->n_layer, sizeof *s->sources);
    if (!s || !s->sources) {
        free(s);
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    }
    s->dims = *dims;
    *out = s;
    return 0;
}

void expert_store_free(struct expert_store *s)
{
    if (!s) return;
    for (uint32_t l = 0; l < s->dims.n_layer; l++) {
        struct source *src = &s->sources[l];
        for (uint32_t e = 0; src->owned && e < s->dims.n_expert; e++) free(src->owned[e]);
        free(src->owned);
        free(src->ready);
    }
    free(s->sources);
    free(s);
}

/* Fill the matrix and add its activation form to the source's. */
static int shape(struct expert_store *s, struct source *src, int part, uint32_t type,
                 const void *data, struct matrix *m, ggf_error *err)
{
    const bool down = part == GGF_DOWN;
    const uint32_t n = down ? s->dims.n_ff : s->dims.n_embd;
    const struct ggf_type_info *info = ggf_type_info(type);
    if (!info || n % info->block ||
        !matrix_init(m, type, data, n, down ? s->dims.n_embd : s->dims.n_ff,
                     s->dims.exact))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "an expert matrix of type %s with rows of %" PRIu32
                        " cannot be multiplied",
                        ggf_type_name(type), n);
    if (src) *(down ? &src->mid_kinds : &src->in_kinds) |= 1u << m->act;
    return 0;
}

int expert_store_set_slabs(struct expert_store *s, uint32_t layer,
                           const struct expert_slab slabs[GGF_PARTS], ggf_error *err)
{
    struct source *src = &s->sources[layer];
    for (int p = 0; p < GGF_PARTS; p++) {
        struct matrix m;
        int e = shape(s, src, p, slabs[p].type, slabs[p].data, &m, err);
        if (e) return e;
        src->slab[p] = slabs[p];
        src->bytes += (uint64_t)m.rows * m.row_bytes * s->dims.n_expert;
    }
    return 0;
}

static int check_record(struct expert_store *s, struct source *src,
                        const struct ggf_pack_record *r, ggf_error *err)
{
    for (int p = 0; p < GGF_PARTS; p++) {
        struct matrix m;
        int e = shape(s, src, p, r->type[p], NULL, &m, err);
        if (e) return e;
        const uint64_t bytes = (uint64_t)m.rows * m.row_bytes;
        if (r->part_bytes[p] != bytes || r->part_offset[p] > r->raw_bytes ||
            r->raw_bytes - r->part_offset[p] < bytes)
            return ggf_fail(err, GGF_E_FORMAT, r->offset,
                            "layer %" PRIu32 ", expert %" PRIu32 " of the pack: a matrix "
                            "has %" PRIu64 " bytes, expected %" PRIu64,
                            r->layer, r->expert, r->part_bytes[p], bytes);
        src->bytes += bytes;
    }
    return 0;
}

int expert_store_set_pack(struct expert_store *s, uint32_t layer, const ggf_pack *pack,
                          uint32_t pack_layer, ggf_error *err)
{
    struct source *src = &s->sources[layer];
    const struct ggf_pack_layer *l = ggf_pack_layer(pack, pack_layer);
    if (l->n_expert != s->dims.n_expert || l->n_embd != s->dims.n_embd ||
        l->n_ff != s->dims.n_ff)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "layer %" PRIu32 " of the pack has %" PRIu32
                        " experts of %" PRIu64 " x %" PRIu64 ", the model needs %" PRIu32
                        " of %" PRIu32 " x %" PRIu32,
                        pack_layer, l->n_expert, l->n_embd, l->n_ff, s->dims.n_expert,
                        s->dims.n_embd, s->dims.n_ff);
    src->pack = pack;
    src->pack_layer = pack_layer;
    src->ready = calloc(s->dims.n_expert, sizeof *src->ready);
    src->owned = calloc(s->dims.n_expert, sizeof *src->owned);
    if (!src->ready || !src->owned)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    for (uint32_t e = 0; e < s->dims.n_expert; e++) {
        int status = check_record(s, src, ggf_pack_record(pack, pack_layer, e), err);
        if (status) return status;
    }
    return 0;
}

unsigned expert_store_in_kinds(const struct expert_store *s, uint32_t layer)
{
    return s->sources[layer].in_kinds;
}

unsigned expert_store_mid_kinds(const struct expert_store *s, uint32_t layer)
{
    return s->sources[layer].mid_kinds;
}

uint64_t expert_store_bytes(const struct expert_store *s, uint32_t layer)
{
    return s->sources[layer].bytes;
}

/* The checked, plain bytes of a record. */
static int make_ready(struct source *src, const struct ggf_pack_record *r,
                      const uint8_t **out, ggf_error *err)
{
    const uint8_t *bytes =
        atomic_load_explicit(&src->ready[r->expert], memory_order_acquire);
    if (!bytes) {
        int e = ggf_pack_verify_record(src->pack, r, NULL, err);
        if (e) return e;
        bytes = r->stored;
        if (r->compressed) {
            uint8_t *plain = aligned_alloc(64, (r->raw_bytes + 63) / 64 * 64);
            if (!plain)
                return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                                "out of memory for an expert of %" PRIu64 " bytes",
                                r->raw_bytes);
            e = ggf_pack_read(src->pack, r, NULL, plain, r->raw_bytes, err);
            if (e) {
                free(plain);
                return e;
            }
            bytes = src->owned[r->expert] = plain;
        }
        atomic_store_explicit(&src->ready[r->expert], bytes, memory_order_release);
    }
    *out = bytes;
    return 0;
}

static int acquire(struct expert_store *s, uint32_t layer, uint32_t id,
                   struct expert *out, ggf_error *err)
{
    struct source *src = &s->sources[layer];
    struct matrix *m[GGF_PARTS] = { &out->gate, &out->up, &out->down };
    const struct ggf_pack_record *r = NULL;
    const uint8_t *bytes = NULL;
    int e = 0;
    if (src->pack) {
        r = ggf_pack_record(src->pack, src->pack_layer, id);
        if ((e = make_ready(src, r, &bytes, err))) return e;
    }
    for (int p = 0; p < GGF_PARTS && !e; p++) {
        const struct expert_slab *slab = &src->slab[p];
        if (r) {
            e = shape(s, NULL, p, r->type[p], bytes + r->part_offset[p], m[p], err);
        } else {
            e = shape(s, NULL, p, slab->type, slab->data + id * slab->stride, m[p], err);
            if (slab->scale) m[p]->scale = slab->scale[id];
        }
    }
    return e;
}

int expert_store_acquire_team(const struct member *me, struct expert_store *s,
                              uint32_t layer, const uint32_t *ids, uint32_t n,
                              struct expert *out, ggf_error *err)
{
    for (uint64_t i; team_next(me, n, &i);) {
        ggf_error mine;
        const int e = acquire(s, layer, ids[i], &out[i], &mine);
        int none = 0;
        if (e && atomic_compare_exchange_strong(&s->status, &none, e) && err) *err = mine;
    }
    const int status = atomic_load(&s->status);
    if (!status) return 0;
    team_barrier(me); /* all have seen it */
    atomic_store(&s->status, 0);
    team_barrier(me);
    return status;
}
