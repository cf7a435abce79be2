/* routing.c - what ties a trace or a history of experts (experts/trace.h) to a model:
 * its identity, and loading what a history says is used most. */
#include "model.h"
#include "../experts/trace.h"

#include <stdlib.h>
#include <string.h>

enum { ID_BYTES = 4096 }; /* of each router, from its start */

/* The choices are the routers' work, so these stand for the model: quantized in another
 * way or packed it is the same one, fine-tuned it hardly is. */
static int identity(const q3n_model *m, uint8_t out[TRACE_ID_BYTES], ggf_error *err)
{
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    ggf_sha256_update(h, m->hp.arch, strlen(m->hp.arch));
    for (uint64_t i = 0; i < ggf_tensor_count(m->file); i++) {
        const struct ggf_tensor *t = ggf_tensor(m->file, i);
        const uint64_t n = t->bytes < ID_BYTES ? t->bytes : ID_BYTES;
        if (ggf_tensor_role(m->file, t) != GGF_ROLE_ROUTER) continue;
        ggf_sha256_update(h, t->name, strlen(t->name) + 1);
        ggf_sha256_update(h, t->data, n);
    }
    ggf_sha256_final(h, out);
    ggf_sha256_free(h);
    return 0;
}

int q3n_model_trace(const q3n_model *m, struct trace_model *out, ggf_error *err)
{
    const struct hparams *hp = &m->hp;
    uint64_t routed = 0, *bytes = malloc(hp->n_layer * sizeof *bytes);
    *out = (struct trace_model){ .n_layer = hp->n_layer,
                                 .n_expert = hp->n_expert,
                                 .n_used = hp->n_expert_used,
                                 .expert_bytes = bytes };
    if (!bytes) return ggf_no_memory(err);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        const uint64_t all = expert_store_slot_bytes(m->experts, l);
        bytes[l] = (all + hp->n_expert - 1) / hp->n_expert;
        routed += expert_store_bytes(m->experts, l) / hp->n_expert * hp->n_expert_used;
    }
    out->dense_bytes = m->info.bytes_token - routed;
    int e = identity(m, out->id, err);
    if (e) q3n_model_trace_free(out);
    return e;
}

void q3n_model_trace_free(struct trace_model *m)
{
    free((void *)m->expert_bytes);
    m->expert_bytes = NULL;
}

/* ---- Warm start ---------------------------------------------------------- */

struct ranked {
    uint64_t count;
    uint32_t item; /* layer * n_expert + expert */
};

/* Experts that a device has are there already, and those that are mapped take no memory
 * of the store. */
static bool is_read(const q3n_model *m, uint32_t layer)
{
    return !expert_store_mapped(m->experts, layer);
}

static int hottest_first(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->item < y->item ? -1 : 1;
}

static int in_file_order(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->item < y->item ? -1 : 1;
}

/* All experts of the model; those that are not read count as not used. */
static void rank(const q3n_model *m, const uint64_t *counts, struct ranked *r)
{
    uint32_t i = 0;
    for (uint32_t l = 0; l < m->hp.n_layer; l++) {
        const bool read = is_read(m, l);
        for (const uint32_t end = i + m->hp.n_expert; i < end; i++)
            r[i] = (struct ranked){ read ? counts[i] : 0, i };
    }
}

/* In runs of experts of one layer. */
static int load(q3n_model *m, const struct ranked *r, uint32_t n, uint32_t *ids,
                ggf_error *err)
{
    const uint32_t n_expert = m->hp.n_expert;
    int e = 0;
    for (uint32_t i = 0, k; i < n && !e; i += k) {
        const uint32_t layer = r[i].item / n_expert;
        for (k = 0; i + k < n && k < n_expert && r[i + k].item / n_expert == layer; k++)
            ids[k] = r[i + k].item % n_expert;
        e = expert_store_load(m->experts, layer, ids, k, err);
    }
    return e;
}

/* As many of the first as there is room for. */
static uint32_t fitting(const q3n_model *m, const struct ranked *r, uint32_t n)
{
    uint64_t free = m->info.bytes_slots;
    uint32_t i = 0;
    for (; i < n && r[i].count; i++) {
        const uint64_t all =
            expert_store_slot_bytes(m->experts, r[i].item / m->hp.n_expert);
        const uint64_t each = (all + m->hp.n_expert - 1) / m->hp.n_expert;
        if (each > free) break;
        free -= each;
    }
    return i;
}

int q3n_model_warm(q3n_model *m, const uint64_t *counts, uint32_t *loaded, ggf_error *err)
{
    const uint32_t n = m->hp.n_layer * m->hp.n_expert;
    *loaded = 0;
    if (!m->info.bytes_slots)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "a history has no effect on experts that are mapped");
    struct ranked *r = malloc((size_t)n * sizeof *r);
    uint32_t *ids = malloc(m->hp.n_expert * sizeof *ids);
    int e = r && ids ? 0 : ggf_no_memory(err);
    if (!e) {
        expert_store_seed(m->experts, counts);
        rank(m, counts, r);
        qsort(r, n, sizeof *r, hottest_first);
        *loaded = fitting(m, r, n);
        qsort(r, *loaded, sizeof *r, in_file_order);
        e = load(m, r, *loaded, ids, err);
    }
    /* Once more from the coldest to the hottest: no reading now, but in this order they
     * will make room. */
    if (!e) {
        qsort(r, *loaded, sizeof *r, hottest_first);
        for (uint32_t i = *loaded; i-- && !e;) e = load(m, &r[i], 1, ids, err);
    }
    free(ids);
    free(r);
    return e;
}
