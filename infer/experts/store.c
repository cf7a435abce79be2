/* store.c - the store as a whole: its layers, its memory, its figures.  What happens
 * while tokens are computed is in demand.c, what becomes of a record in cache.c. */
#include "cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

/* ---- Layers -------------------------------------------------------------- */

int expert_store_new(struct expert_store **out, const struct expert_store_options *o,
                     ggf_error *err)
{
    const size_t n = (size_t)o->dims.n_layer * o->dims.n_expert;
    struct expert_store *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return ggf_no_memory(err);
    s->o = *o;
    if (!s->o.io_threads) s->o.io_threads = EXPERT_IO_THREADS;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->moved, NULL);
    pthread_cond_init(&s->landed, NULL);
    s->sources = calloc(o->dims.n_layer, sizeof *s->sources);
    s->records = calloc(n, sizeof *s->records);
    s->scratch = malloc(2 * (size_t)o->dims.n_expert * sizeof *s->scratch);
    if (!s->sources || !s->records || !s->scratch) {
        expert_store_free(s);
        return ggf_no_memory(err);
    }
    for (size_t i = 0; i < n; i++) s->records[i].run = NO_RUN;
    *out = s;
    return 0;
}

void expert_store_free(struct expert_store *s)
{
    if (!s) return;
    reader_close(&s->readers);
    const size_t n = (size_t)s->o.dims.n_layer * s->o.dims.n_expert;
    for (size_t i = 0; s->records && i < n; i++) free(s->records[i].error);
    for (uint32_t i = 0; i < s->n_files; i++) disk_close(&s->files[i]);
    free(s->files);
    slots_close(&s->slots);
    policy_free(&s->policy);
    free(s->sources);
    free(s->records);
    free(s->scratch);
    pthread_cond_destroy(&s->moved);
    pthread_cond_destroy(&s->landed);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

int expert_store_set_slabs(struct expert_store *s, uint32_t layer,
                           const struct expert_slab slabs[GGF_PARTS], ggf_error *err)
{
    return source_set_slabs(&s->sources[layer], &s->o.dims, slabs, err);
}

int expert_store_set_pack(struct expert_store *s, uint32_t layer, const ggf_pack *pack,
                          uint32_t pack_layer, ggf_error *err)
{
    return source_set_pack(&s->sources[layer], &s->o.dims, pack, pack_layer, err);
}

void expert_store_set_scales(struct expert_store *s, uint32_t layer,
                             const float *const scales[GGF_PARTS])
{
    for (int p = 0; p < GGF_PARTS; p++) s->sources[layer].scale[p] = scales[p];
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

bool expert_store_mapped(const struct expert_store *s, uint32_t layer)
{
    bool all = true;
    for (uint32_t e = 0; e < s->o.dims.n_expert && all; e++)
        all = !cache_holds(s, layer, e);
    return all;
}

/* ---- Sizes --------------------------------------------------------------- */

static uint64_t slot_of(const struct source *src, uint32_t expert)
{
    const struct ggf_pack_record *r = source_record(src, expert);
    return r ? r->raw_bytes : src->slot_bytes;
}

/* Of a layer's experts in memory of the store: all together, and the largest. */
static uint64_t layer_slots(const struct expert_store *s, uint32_t layer, bool direct,
                            uint64_t *largest)
{
    const struct source *src = &s->sources[layer];
    uint64_t sum = 0;
    *largest = 0;
    for (uint32_t e = 0; e < s->o.dims.n_expert; e++) {
        if (!cache_reads(s, layer, direct) && !cache_holds(s, layer, e)) continue;
        const uint64_t bytes = slot_of(src, e);
        if (*largest < bytes) *largest = bytes;
        sum += bytes;
    }
    return sum;
}

uint64_t expert_store_slot_bytes(const struct expert_store *s, uint32_t layer)
{
    const struct source *src = &s->sources[layer];
    uint64_t sum = 0;
    for (uint32_t e = 0; e < s->o.dims.n_expert; e++) sum += slot_of(src, e);
    return sum;
}

uint64_t expert_store_most(const struct expert_store *s, bool direct)
{
    uint64_t sum = 0, largest;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++)
        sum += layer_slots(s, l, direct, &largest);
    return sum;
}

uint64_t expert_store_least(const struct expert_store *s, bool direct)
{
    uint64_t sum = 0, largest;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++) {
        const uint64_t all = layer_slots(s, l, direct, &largest);
        uint64_t used = largest * s->o.n_used;
        if (cache_tier(s, l) == Q3N_EXPERTS_MEMORY) used = all;
        sum += used < all ? used : all;
    }
    return sum;
}

/* ---- Starting ------------------------------------------------------------ */

static int open_file(struct expert_store *s, const char *path, uint64_t size,
                     ggf_error *err)
{
    for (uint32_t i = 0; i < s->n_files; i++)
        if (!strcmp(s->files[i].path, path)) return 0;
    struct disk_file *files = realloc(s->files, (s->n_files + 1) * sizeof *files);
    if (!files) return ggf_no_memory(err);
    s->files = files;
    int e = disk_open(&files[s->n_files], path, size, err);
    if (!e) s->n_files++;
    return e;
}

static int open_files(struct expert_store *s, ggf_error *err)
{
    int e = 0;
    for (uint32_t i = 0; i < s->o.dims.n_layer && !e; i++) {
        struct layout l;
        source_layout(&s->sources[i], &s->o.dims, 0, &l);
        for (int p = 0; p < l.n && !e; p++)
            e = open_file(s, l.pieces[p].path, l.pieces[p].file_size, err);
    }
    return e;
}

/* Most bytes that a reader needs to unpack a compressed record. */
static size_t bounce_bytes(const struct expert_store *s)
{
    size_t most = 0;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++) {
        const ggf_pack *pack = s->sources[l].pack;
        if (!pack || !ggf_pack_info(pack)->n_compressed) continue;
        const size_t n = ggf_pack_info(pack)->max_stored_bytes;
        if (most < n) most = n;
    }
    return most;
}

int expert_store_start(struct expert_store *s, uint64_t bytes, ggf_error *err)
{
    const uint64_t most = expert_store_most(s, s->o.direct);
    const uint64_t least = expert_store_least(s, s->o.direct);
    const uint32_t n = s->o.dims.n_layer * s->o.dims.n_expert;
    const struct slot_owners owners = { cache_may_move, cache_moved, s, cache_leaving };
    if (!most) return 0;
    if (bytes > most) bytes = most;
    if (bytes < least)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%" PRIu64 " bytes of memory for experts are too few: one token "
                        "needs %" PRIu64,
                        bytes, least);
    if (!policy_init(&s->policy, s->o.policy, n)) return ggf_no_memory(err);
    int e = open_files(s, err);
    if (e || (e = slots_open(&s->slots, bytes, n, &owners, err))) return e;
    s->most_pages = s->slots.pages;
    s->least_pages = (uint32_t)((least + SLOT_PAGE - 1) / SLOT_PAGE);
    s->stats.slot_bytes_least = (uint64_t)s->slots.pages * SLOT_PAGE;
    cache_set_chunk(s);
    return reader_open(&s->readers, &s->mutex, s->o.io_threads, bounce_bytes(s),
                       cache_read, s, err);
}

static int keep_layer(struct expert_store *s, uint32_t layer, uint32_t *ids,
                      ggf_error *err)
{
    const uint32_t n = s->o.dims.n_expert;
    for (uint32_t i = 0; i < n; i++) ids[i] = i;
    int e = expert_store_load(s, layer, ids, n, err);
    if (e) return e;
    pthread_mutex_lock(&s->mutex);
    for (uint32_t i = 0; i < n; i++) cache_keep(s, record_at(s, layer, i));
    cache_set_chunk(s);
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

int expert_store_keep(struct expert_store *s, ggf_error *err)
{
    uint32_t *ids = malloc(s->o.dims.n_expert * sizeof *ids);
    int e = ids ? 0 : ggf_no_memory(err);
    for (uint32_t l = 0; l < s->o.dims.n_layer && !e; l++)
        if (cache_tier(s, l) == Q3N_EXPERTS_MEMORY) e = keep_layer(s, l, ids, err);
    free(ids);
    return e;
}

int expert_store_load(struct expert_store *s, uint32_t layer, const uint32_t *ids,
                      uint32_t n, ggf_error *err)
{
    const uint32_t n_expert = s->o.dims.n_expert;
    struct expert_demand d = { .ids = malloc(n_expert * sizeof *d.ids),
                               .flags = malloc(n_expert),
                               .experts = malloc(n_expert * sizeof *d.experts),
                               .records = malloc(n_expert * sizeof *d.records) };
    int e = d.ids && d.flags && d.experts && d.records ? 0 : ggf_no_memory(err);
    if (!e && n) {
        memcpy(d.ids, ids, n * sizeof *ids);
        expert_store_begin(s, &d, layer, n, NULL);
        do {
            for (uint32_t i = d.first; i < d.first + d.count && !e; i++)
                e = expert_store_wait(s, &d, i, EXPERT_READY, err);
        } while (!e && expert_store_next(s, &d));
        expert_store_end(s, &d);
    }
    free(d.ids);
    free(d.flags);
    free(d.experts);
    free(d.records);
    return e;
}

void expert_store_seed(struct expert_store *s, const uint64_t *counts)
{
    pthread_mutex_lock(&s->mutex);
    if (s->slots.base) policy_seed(&s->policy, counts);
    pthread_mutex_unlock(&s->mutex);
}

/* ---- Experts for a device ------------------------------------------------ */

uint64_t expert_store_unpacked(const struct expert_store *s, uint32_t layer)
{
    const struct source *src = &s->sources[layer];
    uint64_t most = 0;
    for (uint32_t e = 0; src->pack && e < s->o.dims.n_expert; e++) {
        const struct ggf_pack_record *r = source_record(src, e);
        if (r->compressed && most < r->raw_bytes) most = r->raw_bytes;
    }
    return most;
}

int expert_store_look(const struct expert_store *s, uint32_t layer, uint32_t id,
                      void *buffer, struct expert *out, ggf_error *err)
{
    const struct source *src = &s->sources[layer];
    const struct ggf_pack_record *r = source_record(src, id);
    const bool packed = r && r->compressed;
    int e = 0;
    if (r && s->o.verify != Q3N_VERIFY_NEVER)
        e = ggf_pack_verify_record(src->pack, r, NULL, err);
    if (!e && packed) e = ggf_pack_read(src->pack, r, NULL, buffer, r->raw_bytes, err);
    source_expert(src, &s->o.dims, id, packed ? buffer : NULL, out);
    return e;
}

void expert_store_shape(const struct expert_store *s, uint32_t layer, uint32_t id,
                        struct expert *out)
{
    source_expert(&s->sources[layer], &s->o.dims, id, NULL, out);
}

bool expert_store_types(const struct expert_store *s, uint32_t layer,
                        bool (*can)(uint32_t type))
{
    const struct source *src = &s->sources[layer];
    for (uint32_t e = 0; e < (src->pack ? s->o.dims.n_expert : 1); e++)
        for (int p = 0; p < GGF_PARTS; p++)
            if (!can(src->pack ? source_record(src, e)->type[p] : src->slab[p].type))
                return false;
    return true;
}

/* ---- Mapped experts ------------------------------------------------------ */

/* The whole pages that hold the bytes. */
static void populate(const uint8_t *data, uint64_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = (uintptr_t)data / page * page;
    const uintptr_t end = ((uintptr_t)data + bytes + page - 1) / page * page;
    if (madvise((void *)first, end - first, MADV_POPULATE_READ))
        madvise((void *)first, end - first, MADV_WILLNEED);
}

void expert_store_populate(const struct expert_store *s)
{
    const uint32_t n = s->o.dims.n_expert;
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++) {
        const struct source *src = &s->sources[l];
        struct expert last;
        if (cache_tier(s, l) == Q3N_EXPERTS_DEVICE) continue;
        source_expert(src, &s->o.dims, n - 1, NULL, &last);
        const struct matrix *m[GGF_PARTS] = { &last.gate, &last.up, &last.down };
        for (int p = 0; p < GGF_PARTS && !src->pack; p++)
            populate(src->slab[p].data, (uint64_t)(m[p]->data - src->slab[p].data) +
                                            (uint64_t)m[p]->rows * m[p]->row_bytes);
        for (uint32_t e = 0; src->pack && e < n; e++)
            if (!cache_holds(s, l, e))
                populate(source_record(src, e)->stored, source_record(src, e)->raw_bytes);
    }
}

bool expert_store_lock(const struct expert_store *s)
{
    for (uint32_t l = 0; l < s->o.dims.n_layer; l++) {
        const struct source *src = &s->sources[l];
        /* They are mapped so that they need not be in memory. */
        if (cache_tier(s, l) == Q3N_EXPERTS_MAPPED) return false;
        if (cache_tier(s, l) == Q3N_EXPERTS_DEVICE) continue;
        for (uint32_t e = 0; src->pack && e < s->o.dims.n_expert; e++) {
            const struct ggf_pack_record *r = source_record(src, e);
            if (!cache_holds(s, l, e) && mlock(r->stored, r->stored_bytes)) return false;
        }
    }
    return !s->slots.base || s->slots.locked;
}

uint8_t *expert_store_memory(const struct expert_store *s, uint64_t *bytes)
{
    *bytes = (uint64_t)s->slots.pages * SLOT_PAGE;
    return s->slots.base;
}

void expert_store_on_leaving(struct expert_store *s,
                             void (*leaving)(void *user, const uint8_t *from,
                                             uint64_t bytes),
                             void *user)
{
    s->leaving = leaving;
    s->leaving_user = user;
}

void expert_store_follow_limits(struct expert_store *s) { cache_follow_limits(s, 0); }

/* ---- Figures ------------------------------------------------------------- */

void expert_store_stats(struct expert_store *s, struct q3n_expert_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = s->stats;
    out->slot_bytes = (uint64_t)s->slots.pages * SLOT_PAGE;
    out->slot_bytes_free = (uint64_t)s->slots.free_pages * SLOT_PAGE;
    out->moves = s->slots.n_moves;
    pthread_mutex_unlock(&s->mutex);
}
