/* store.c - slabs of a GGUF and records of a pack behind one call. */
#include "store.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

struct source {
    const ggf_pack *pack; /* NULL: slabs */
    uint32_t pack_layer;
    struct expert_slab slab[GGF_PARTS];
    const float *scale[GGF_PARTS];
    /* Of a pack, for each expert: its plain bytes once they are checked, in the mapping
     * or in memory of the store. */
    _Atomic(uint8_t *) *ready;
    unsigned in_kinds, mid_kinds;
    uint64_t bytes;
};

struct expert_store {
    struct expert_dims dims;
    struct source *sources;
};

int expert_store_new(struct expert_store **out, const struct expert_dims *dims,
                     ggf_error *err)
{
    struct expert_store *s = calloc(1, sizeof *s);
    *out = NULL;
    if (s) s->sources = calloc(dims->n_layer, sizeof *s->sources);
    if (!s || !s->sources) {
        free(s);
        return ggf_no_memory(err);
    }
    s->dims = *dims;
    *out = s;
    return 0;
}

/* Is the record used in memory of the store? */
static bool copied(const struct expert_store *s, const struct ggf_pack_record *r)
{
    return r->compressed || s->dims.own;
}

static void source_free(const struct expert_store *s, struct source *src)
{
    for (uint32_t e = 0; src->ready && e < s->dims.n_expert; e++)
        if (copied(s, ggf_pack_record(src->pack, src->pack_layer, e)))
            free(atomic_load(&src->ready[e]));
    free(src->ready);
}

void expert_store_free(struct expert_store *s)
{
    if (!s) return;
    for (uint32_t l = 0; l < s->dims.n_layer; l++) source_free(s, &s->sources[l]);
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

/* The plain bytes of a record in new memory. */
static int copy_record(const ggf_pack *pack, const struct ggf_pack_record *r,
                       uint8_t **out, ggf_error *err)
{
    uint8_t *plain = aligned_alloc(64, (r->raw_bytes + 63) / 64 * 64);
    if (!plain)
        return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET,
                        "out of memory for an expert of %" PRIu64 " bytes", r->raw_bytes);
    int e = ggf_pack_read(pack, r, NULL, plain, r->raw_bytes, err);
    if (e) {
        free(plain);
        return e;
    }
    *out = plain;
    return 0;
}

/* The checked, plain bytes of a record.  If two threads come at once, both check it and
 * one keeps its copy. */
static int make_ready(const struct expert_store *s, struct source *src,
                      const struct ggf_pack_record *r, uint8_t **out, ggf_error *err)
{
    _Atomic(uint8_t *) *ready = &src->ready[r->expert];
    *out = atomic_load_explicit(ready, memory_order_acquire);
    if (*out) return 0;
    uint8_t *bytes = (uint8_t *)r->stored, *none = NULL;
    int e = ggf_pack_verify_record(src->pack, r, NULL, err);
    if (e || (copied(s, r) && (e = copy_record(src->pack, r, &bytes, err)))) return e;
    *out = bytes;
    if (atomic_compare_exchange_strong(ready, &none, bytes)) return 0;
    if (copied(s, r)) free(bytes);
    *out = none;
    return 0;
}

static int load_all(struct expert_store *s, struct source *src, ggf_error *err)
{
    int status = 0;
#pragma omp parallel for schedule(dynamic)
    for (uint32_t i = 0; i < s->dims.n_expert; i++) {
        ggf_error mine;
        uint8_t *bytes;
        const struct ggf_pack_record *r = ggf_pack_record(src->pack, src->pack_layer, i);
        const int e = make_ready(s, src, r, &bytes, &mine);
#pragma omp critical
        if (e && !status) {
            status = e;
            if (err) *err = mine;
        }
    }
    return status;
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
    if (!src->ready) return ggf_no_memory(err);
    for (uint32_t e = 0; e < s->dims.n_expert; e++) {
        int status = check_record(s, src, ggf_pack_record(pack, pack_layer, e), err);
        if (status) return status;
    }
    return s->dims.own ? load_all(s, src, err) : 0;
}

void expert_store_set_scales(struct expert_store *s, uint32_t layer,
                             const float *const scales[GGF_PARTS])
{
    for (int p = 0; p < GGF_PARTS; p++) s->sources[layer].scale[p] = scales[p];
}

bool expert_store_lock(const struct expert_store *s)
{
    for (uint32_t l = 0; l < s->dims.n_layer; l++) {
        const struct source *src = &s->sources[l];
        for (uint32_t e = 0; src->pack && e < s->dims.n_expert; e++) {
            const struct ggf_pack_record *r =
                ggf_pack_record(src->pack, src->pack_layer, e);
            const uint8_t *copy = atomic_load(&src->ready[e]);
            if (mlock(copy ? copy : r->stored, copy ? r->raw_bytes : r->stored_bytes))
                return false;
        }
    }
    return true;
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

static int acquire(struct expert_store *s, uint32_t layer, uint32_t id,
                   struct expert *out, ggf_error *err)
{
    struct source *src = &s->sources[layer];
    struct matrix *m[GGF_PARTS] = { &out->gate, &out->up, &out->down };
    const struct ggf_pack_record *r = NULL;
    uint8_t *bytes = NULL;
    int e = 0;
    if (src->pack) {
        r = ggf_pack_record(src->pack, src->pack_layer, id);
        e = make_ready(s, src, r, &bytes, err);
    }
    for (int p = 0; p < GGF_PARTS && !e; p++) {
        const struct expert_slab *slab = &src->slab[p];
        const uint8_t *data =
            r ? bytes + r->part_offset[p] : slab->data + id * slab->stride;
        e = shape(s, NULL, p, r ? r->type[p] : slab->type, data, m[p], err);
        if (src->scale[p]) m[p]->scale = src->scale[p][id];
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
        if (e && team_fail(me, e) && err) *err = mine;
    }
    return atomic_load(&me->team->status);
}
