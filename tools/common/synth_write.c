/* synth_write.c - see synth_write.h. */
#include "synth_write.h"

#include "out.h"
#include "synth_fill.h"

#include <stdlib.h>

/* ---- The tensors of a GGUF ------------------------------------------------- */

static int write_small(const struct synth *s, const struct tensor *t, uint64_t index,
                       ggf_writer *w, ggf_error *err)
{
    const uint64_t n = t->ne[0] * t->ne[1];
    float *v = malloc(n * sizeof *v);
    int e = v ? synth_fill_small(s, t, v, err) : ggf_no_memory(err);
    if (!e) e = ggf_writer_write(w, index, 0, v, n * sizeof *v, err);
    free(v);
    return e;
}

static int write_matrix(const struct synth *s, const struct tensor *t, uint64_t index,
                        ggf_writer *w, ggf_error *err)
{
    const int64_t pieces = (int64_t)synth_pieces(t);
    int status = 0;
#pragma omp parallel
    {
        uint8_t *buffer = malloc(SYNTH_PIECE);
        ggf_error why;
        int e = buffer ? 0 : ggf_no_memory(&why);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < pieces; i++) {
            uint64_t offset;
            if (e) continue;
            const size_t n = synth_fill_piece(s, t, (uint64_t)i, buffer, &offset);
            e = ggf_writer_write(w, index, offset, buffer, n, &why);
        }
        free(buffer);
        if (e) {
#pragma omp critical
            {
                status = e;
                *err = why;
            }
        }
    }
    return status;
}

static bool is_packed(const struct synth *s, const struct tensor *t)
{
    return s->pack && t->expert;
}

/* Keys and tensors, before anything is written. */
static int declare(const struct synth *s, const ggf_file *vocab, ggf_writer *w,
                   ggf_error *err)
{
    int e = synth_set_metadata(s, vocab, w, err);
    for (size_t i = 0; i < s->n && !e; i++) {
        const struct tensor *t = &s->tensors[i];
        if (!is_packed(s, t)) e = ggf_writer_add_tensor(w, t->name, t->type, t->ne, err);
    }
    return e;
}

static int write_tensors(const struct synth *s, ggf_writer *w, ggf_error *err)
{
    struct progress progress = { .what = "writing", .total = ggf_writer_file_size(w) };
    uint64_t done = 0, index = 0;
    int e = 0;
    for (size_t i = 0; i < s->n && !e; i++) {
        const struct tensor *t = &s->tensors[i];
        if (is_packed(s, t)) continue;
        e = synth_is_small(t) ? write_small(s, t, index, w, err)
                              : write_matrix(s, t, index, w, err);
        index++;
        progress_update(&progress, done += synth_bytes(t), t->name);
    }
    progress_end(&progress);
    return e;
}

/* ---- The pack -------------------------------------------------------------- */

/* What the pack holds: of each block the experts' tensors, in the order of the blocks. */
struct packing {
    const struct synth *s;
    const struct tensor *(*parts)[GGF_PARTS]; /* [n_layers] */
    struct ggf_pack_layer *layers;
    uint32_t (*types)[GGF_PARTS];
    struct ggf_pack_content content;
};

static int fill_record(void *user, const struct ggf_pack_record *r, uint8_t *raw,
                       ggf_error *err)
{
    const struct packing *p = user;
    (void)err;
    for (uint32_t i = 0; i < GGF_PARTS; i++) {
        const struct tensor *t = p->parts[r->layer][i];
        const bool half = t == p->parts[r->layer][i == GGF_UP ? GGF_GATE : GGF_UP];
        synth_fill_matrix(p->s, t, half ? 2ull * r->expert + i : r->expert,
                          raw + r->part_offset[i]);
    }
    return 0;
}

/* Experts' tensors follow each other as gate, up, down, or gate and up in one, down. */
static void find_parts(struct packing *p)
{
    uint32_t layer = 0;
    int part = GGF_GATE;
    for (size_t i = 0; i < p->s->n; i++) {
        const struct tensor *t = &p->s->tensors[i];
        if (!t->expert) continue;
        p->parts[layer][part++] = t;
        if (p->s->fused && part == GGF_UP) p->parts[layer][part++] = t;
        if (part < GGF_PARTS) continue;
        part = GGF_GATE;
        layer++;
    }
}

static int packing_begin(struct packing *p, const struct synth *s, ggf_error *err)
{
    const uint32_t n_layers = (uint32_t)(s->shape.layers + s->mtp);
    const uint32_t n_expert = (uint32_t)s->shape.experts;
    *p = (struct packing){ .s = s,
                           .parts = calloc(n_layers, sizeof *p->parts),
                           .layers = calloc(n_layers, sizeof *p->layers),
                           .types =
                               calloc((size_t)n_layers * n_expert, sizeof *p->types) };
    if (!p->parts || !p->layers || !p->types) return ggf_no_memory(err);
    find_parts(p);
    for (uint32_t l = 0; l < n_layers; l++) {
        p->layers[l] = (struct ggf_pack_layer){ .block = l,
                                                .n_expert = n_expert,
                                                .n_embd = s->shape.embd,
                                                .n_ff = s->shape.ff,
                                                .fused = s->fused };
        for (uint32_t e = 0; e < n_expert; e++)
            for (int i = 0; i < GGF_PARTS; i++)
                /* NOLINTNEXTLINE(clang-analyzer-core*): each block has all parts */
                p->types[(size_t)l * n_expert + e][i] = p->parts[l][i]->type;
    }
    p->content = (struct ggf_pack_content){
        .layers = p->layers,
        .n_layers = n_layers,
        .types = (const uint32_t(*)[GGF_PARTS])p->types,
        .fill = fill_record,
        .user = p,
    };
    return 0;
}

static void packing_end(struct packing *p)
{
    free(p->parts);
    free(p->layers);
    free(p->types);
}

/* ---- All of it ------------------------------------------------------------- */

int synth_sizes(const struct synth *s, uint64_t *gguf, uint64_t *pack, ggf_error *err)
{
    struct packing p = { 0 };
    uint64_t n = 0;
    *gguf = *pack = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (is_packed(s, &s->tensors[i])) continue;
        *gguf += synth_bytes(&s->tensors[i]);
        n++;
    }
    if (!s->pack) return 0;
    int e = packing_begin(&p, s, err);
    if (!e) e = ggf_pack_size(pack, &p.content, n, err);
    packing_end(&p);
    return e;
}

static void on_records(void *user, uint64_t done, uint64_t total)
{
    struct progress *bar = user;
    bar->total = total;
    progress_update(bar, done, "experts");
}

static int write_packed(const struct synth *s, const ggf_file *vocab, ggf_writer *w,
                        ggf_error *err)
{
    struct progress bar = { .what = "writing" };
    const struct ggf_pack_options options = {
        .force = s->force, .threads = s->threads, .progress = on_records, .user = &bar
    };
    struct packing p;
    ggf_pack_writer *pack = NULL;
    int e = packing_begin(&p, s, err);
    if (!e) e = declare(s, vocab, w, err);
    if (!e) e = ggf_pack_writer_create(&pack, s->pack, w, &p.content, &options, err);
    if (!e) e = ggf_writer_begin(w, err);
    if (!e) e = ggf_pack_writer_write(pack, err);
    progress_end(&bar);
    if (!e) e = write_tensors(s, w, err);
    if (e) {
        ggf_pack_writer_discard(pack);
        ggf_writer_discard(w);
    } else {
        e = ggf_pack_writer_finish(pack, err);
    }
    packing_end(&p);
    return e;
}

int synth_write(const struct synth *s, const ggf_file *vocab, const char *path,
                ggf_error *err)
{
    ggf_writer *w;
    const struct ggf_writer_options options = { .force = s->force };
    int e = ggf_writer_create(&w, path, &options, err);
    if (e) return e;
    if (s->pack) return write_packed(s, vocab, w, err);
    e = declare(s, vocab, w, err);
    if (!e) e = ggf_writer_begin(w, err);
    if (!e) e = write_tensors(s, w, err);
    if (!e) return ggf_writer_finish(w, err);
    ggf_writer_discard(w);
    return e;
}
