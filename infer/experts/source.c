/* source.c - see source.h. */
#include "source.h"

#include "disk.h"

#include <inttypes.h>

/* ---- Shapes -------------------------------------------------------------- */

static bool shape(const struct expert_dims *d, int part, uint32_t type, const void *data,
                  struct matrix *m)
{
    const bool down = part == GGF_DOWN;
    return matrix_init(m, type, data, down ? d->n_ff : d->n_embd,
                       down ? d->n_embd : d->n_ff, d->exact);
}

/* Can matrices of the type be multiplied?  Then add their activations to the source's and
 * set *bytes. */
static int check_type(struct source *src, const struct expert_dims *d, int part,
                      uint32_t type, uint64_t *bytes, ggf_error *err)
{
    const uint32_t n = part == GGF_DOWN ? d->n_ff : d->n_embd;
    const struct ggf_type_info *info = ggf_type_info(type);
    struct matrix m;
    if (!info || n % info->block || !shape(d, part, type, NULL, &m))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "an expert matrix of type %s with rows of %" PRIu32
                        " cannot be multiplied",
                        ggf_type_name(type), n);
    *(part == GGF_DOWN ? &src->mid_kinds : &src->in_kinds) |= 1u << m.act;
    *bytes = (uint64_t)m.rows * m.row_bytes;
    return 0;
}

static uint64_t pages(uint64_t bytes)
{
    return (bytes + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
}

int source_set_slabs(struct source *src, const struct expert_dims *d,
                     const struct expert_slab slabs[GGF_PARTS], ggf_error *err)
{
    for (int p = 0; p < GGF_PARTS; p++) {
        uint64_t bytes;
        int e = check_type(src, d, p, slabs[p].type, &bytes, err);
        if (e) return e;
        src->slab[p] = slabs[p];
        src->bytes += bytes * d->n_expert;
    }
    struct layout l;
    source_layout(src, d, 0, &l);
    src->slot_bytes = l.bytes;
    return 0;
}

static int check_record(struct source *src, const struct expert_dims *d,
                        const struct ggf_pack_record *r, ggf_error *err)
{
    for (int p = 0; p < GGF_PARTS; p++) {
        uint64_t bytes;
        int e = check_type(src, d, p, r->type[p], &bytes, err);
        if (e) return e;
        if (r->part_bytes[p] != bytes)
            return ggf_fail(err, GGF_E_FORMAT, r->offset,
                            "layer %" PRIu32 ", expert %" PRIu32 " of the pack: a matrix "
                            "has %" PRIu64 " bytes, expected %" PRIu64,
                            r->layer, r->expert, r->part_bytes[p], bytes);
        src->bytes += bytes;
    }
    if (src->slot_bytes < r->raw_bytes) src->slot_bytes = r->raw_bytes;
    return 0;
}

int source_set_pack(struct source *src, const struct expert_dims *d, const ggf_pack *pack,
                    uint32_t pack_layer, ggf_error *err)
{
    const struct ggf_pack_layer *l = ggf_pack_layer(pack, pack_layer);
    if (l->n_expert != d->n_expert || l->n_embd != d->n_embd || l->n_ff != d->n_ff)
        return ggf_fail(
            err, GGF_E_FORMAT, GGF_NO_OFFSET,
            "layer %" PRIu32 " of the pack has %" PRIu32 " experts of %" PRIu64
            " x %" PRIu64 ", the model needs %" PRIu32 " of %" PRIu32 " x %" PRIu32,
            pack_layer, l->n_expert, l->n_embd, l->n_ff, d->n_expert, d->n_embd, d->n_ff);
    src->pack = pack;
    src->pack_layer = pack_layer;
    for (uint32_t e = 0; e < d->n_expert; e++) {
        int status = check_record(src, d, source_record(src, e), err);
        if (status) return status;
    }
    return 0;
}

const struct ggf_pack_record *source_record(const struct source *src, uint32_t expert)
{
    return src->pack ? ggf_pack_record(src->pack, src->pack_layer, expert) : NULL;
}

/* ---- Layout -------------------------------------------------------------- */

/* Whoever opens a pack has seen that parts lie in the order of their numbers, each on an
 * alignment boundary: gate and up can be read before down. */
static void layout_record(const struct source *src, const struct ggf_pack_record *r,
                          struct layout *l)
{
    const struct ggf_pack_info *pack = ggf_pack_info(src->pack);
    const uint64_t cut = r->part_offset[GGF_DOWN];
    const struct disk_piece all = { .path = pack->path,
                                    .file_size = pack->file_size,
                                    .offset = r->offset,
                                    .bytes = pages(r->stored_bytes),
                                    .need = r->stored_bytes };
    *l = (struct layout){ .pieces = { all, all }, .n = 1, .n_in = 1 };
    l->bytes = r->raw_bytes;
    for (int p = 0; p < GGF_PARTS; p++) l->part[p] = r->part_offset[p];
    if (r->compressed) return;
    l->n = 2;
    l->pieces[0].bytes = l->pieces[0].need = cut;
    l->pieces[1].offset += cut;
    l->pieces[1].bytes -= cut;
    l->pieces[1].need -= cut;
    l->pieces[1].at = cut;
}

/* Slices start anywhere in a file and so do matrices in their pages: no byte is moved
 * after it was read.  Memory is the same for all experts of a layer. */
static void layout_slices(const struct source *src, const struct expert_dims *d,
                          uint32_t expert, struct layout *l)
{
    *l = (struct layout){ 0 };
    for (int p = 0; p < GGF_PARTS; p++) {
        const struct expert_slab *s = &src->slab[p];
        struct matrix m;
        shape(d, p, s->type, NULL, &m);
        const uint64_t need = (uint64_t)m.rows * m.row_bytes;
        const uint64_t offset = s->offset + expert * s->stride;
        const uint64_t before = offset % DISK_ALIGN;
        l->pieces[l->n++] = (struct disk_piece){ .path = s->path,
                                                 .file_size = s->file_size,
                                                 .offset = offset - before,
                                                 .bytes = pages(before + need),
                                                 .need = before + need,
                                                 .at = l->bytes };
        l->part[p] = l->bytes + before;
        if (p == GGF_UP) l->n_in = l->n;
        /* All experts have room for the most unfavourable start. */
        l->bytes += pages(need) + (s->stride % DISK_ALIGN || before ? DISK_ALIGN : 0);
    }
}

void source_layout(const struct source *src, const struct expert_dims *d, uint32_t expert,
                   struct layout *out)
{
    const struct ggf_pack_record *r = source_record(src, expert);
    if (r) layout_record(src, r, out);
    else layout_slices(src, d, expert, out);
}

/* ---- Matrices ------------------------------------------------------------ */

void source_expert(const struct source *src, const struct expert_dims *d, uint32_t expert,
                   const uint8_t *memory, struct expert *out)
{
    const struct ggf_pack_record *r = source_record(src, expert);
    struct matrix *m[GGF_PARTS] = { &out->gate, &out->up, &out->down };
    struct layout l;
    if (memory) source_layout(src, d, expert, &l);
    for (int p = 0; p < GGF_PARTS; p++) {
        const struct expert_slab *s = &src->slab[p];
        const uint8_t *data = memory ? memory + l.part[p]
                              : r    ? r->stored + r->part_offset[p]
                                     : s->data + expert * s->stride;
        shape(d, p, r ? r->type[p] : s->type, data, m[p]); /* it was checked before */
        if (src->scale[p]) m[p]->scale = src->scale[p][expert];
    }
}
