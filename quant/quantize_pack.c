/* quantize_pack.c - see quantize_pack.h. */
#include "quantize_pack.h"

#include <stdlib.h>
#include <string.h>

struct packer {
    const ggf_file *file;
    const struct plan *plan;
    const struct plan_options *po;
    const struct quantize_options *q;
    const struct expert_budget *experts;
    struct ggf_pack_layer *layers;
    struct ggf_pack_content content;
    ggf_writer *dense;
    ggf_pack_writer *pack;
    struct convert_job *jobs; /* of the dense tensors */
    size_t n_jobs;
    quantize_progress_fn progress;
    void *user;
    uint64_t dense_bytes, expert_bytes; /* of source */
};

/* ---- Experts -------------------------------------------------------------------- */

/* Of a fused tensor gate is the first half of an expert's rows, up the second. */
static int fill_record(void *user, const struct ggf_pack_record *r, uint8_t *raw,
                       ggf_error *err)
{
    const struct packer *p = user;
    const struct expert_layer_items *x = &p->experts->layers[r->layer];
    const struct ggf_pack_layer *s = &x->layer.shape;
    int e = 0;
    for (int i = 0; i < GGF_PARTS && !e; i++) {
        const struct plan_item *item = &p->plan->items[x->item[i]];
        const uint64_t rows = i == GGF_DOWN ? s->n_embd : s->n_ff;
        uint64_t first = r->expert * item->source->ne[1];
        if (s->fused && i == GGF_UP) first += rows;
        const struct convert_job job = { .item = item,
                                         .mapped = quantize_mapping(p->file,
                                                                    item->source->shard),
                                         .compat = p->po->mix.compat,
                                         .refine = p->po->refine };
        e = convert_rows(&job, r->type[i], first, rows, raw + r->part_offset[i], err);
    }
    return e;
}

static int list_content(struct packer *p, ggf_error *err)
{
    const struct expert_budget *b = p->experts;
    p->layers = calloc(b->n_layers, sizeof *p->layers);
    if (!p->layers) return ggf_no_memory(err);
    for (uint32_t l = 0; l < b->n_layers; l++) p->layers[l] = b->layers[l].layer.shape;
    p->content = (struct ggf_pack_content){
        .layers = p->layers,
        .n_layers = b->n_layers,
        .types = (const uint32_t(*)[GGF_PARTS])b->types,
        .fill = fill_record,
        .user = p,
    };
    return 0;
}

static void on_records(void *user, uint64_t done, uint64_t total)
{
    const struct packer *p = user;
    const double part = total ? (double)done / (double)total : 1;
    p->progress(p->user, p->dense_bytes + (uint64_t)(part * (double)p->expert_bytes),
                p->dense_bytes + p->expert_bytes);
}

/* ---- Dense tensors ----------------------------------------------------------------- */

static int add_dense(struct packer *p, ggf_error *err)
{
    int s = 0;
    for (size_t i = 0; i < p->plan->n_items && !s; i++) {
        const struct plan_item *item = &p->plan->items[i];
        const struct ggf_tensor *t = item->source;
        if (expert_budget_packs(p->experts, i)) {
            p->expert_bytes += t->bytes;
            continue;
        }
        p->dense_bytes += t->bytes;
        p->jobs[p->n_jobs] =
            (struct convert_job){ .item = item,
                                  .to = p->dense,
                                  .index = p->n_jobs,
                                  .mapped = quantize_mapping(p->file, t->shard),
                                  .compat = p->po->mix.compat,
                                  .refine = p->po->refine };
        p->n_jobs++;
        s = ggf_writer_add_tensor(p->dense, item->name, item->type, t->ne, err);
    }
    return s;
}

static void on_tiles(void *user, uint64_t bytes, size_t job)
{
    const struct packer *p = user;
    (void)job;
    if (p->progress) p->progress(p->user, bytes, p->dense_bytes + p->expert_bytes);
}

/* ---- All of it --------------------------------------------------------------------- */

static int create(struct packer *p, const char *pack_path, ggf_error *err)
{
    const struct ggf_writer_options wo = { .force = p->q->force };
    const struct ggf_pack_options o = { .force = p->q->force,
                                        .threads = p->q->threads,
                                        .progress = p->progress ? on_records : NULL,
                                        .user = p };
    p->jobs = calloc(p->plan->n_items + 1, sizeof *p->jobs);
    int s = p->jobs ? list_content(p, err) : ggf_no_memory(err);
    if (!s) s = ggf_writer_create(&p->dense, p->q->path, &wo, err);
    if (!s) s = quantize_keys(&p->dense, 1, p->file, p->plan, p->po, p->q, err);
    if (!s)
        s = ggf_pack_writer_create(&p->pack, pack_path, p->dense, &p->content, &o, err);
    if (!s) s = add_dense(p, err);
    return s ? s : ggf_writer_begin(p->dense, err);
}

int quantize_to_pack(const ggf_file *f, const struct plan *plan,
                     const struct plan_options *po, const struct quantize_options *q,
                     const char *pack_path, const struct expert_budget *experts,
                     quantize_progress_fn progress, void *user, ggf_error *err)
{
    struct packer p = { .file = f,
                        .plan = plan,
                        .po = po,
                        .q = q,
                        .experts = experts,
                        .progress = progress,
                        .user = user };
    const struct convert_watch watch = { .progress = on_tiles, .user = &p };
    int s = create(&p, pack_path, err);
    if (!s) s = convert_run(p.jobs, p.n_jobs, q->threads, &watch, err);
    if (!s) s = ggf_pack_writer_write(p.pack, err);
    if (!s) {
        s = ggf_pack_writer_finish(p.pack, err);
    } else {
        ggf_pack_writer_discard(p.pack);
        ggf_writer_discard(p.dense);
    }
    free(p.jobs);
    free(p.layers);
    return s;
}

int quantize_pack_size(uint64_t *dense, uint64_t *pack, const ggf_file *f,
                       const struct plan *plan, const struct plan_options *po,
                       const struct quantize_options *q, const char *pack_path,
                       const struct expert_budget *experts, ggf_error *err)
{
    struct packer p = { .file = f, .plan = plan, .po = po, .q = q, .experts = experts };
    const char *slash = strrchr(pack_path, '/');
    p.jobs = calloc(plan->n_items + 1, sizeof *p.jobs);
    int s = p.jobs ? list_content(&p, err) : ggf_no_memory(err);
    if (!s) s = ggf_writer_create(&p.dense, NULL, NULL, err);
    if (!s) s = quantize_keys(&p.dense, 1, f, plan, po, q, err);
    if (!s) s = ggf_pack_announce(p.dense, slash ? slash + 1 : pack_path, err);
    if (!s) s = add_dense(&p, err);
    if (!s) *dense = ggf_writer_file_size(p.dense);
    if (!s) s = ggf_pack_size(pack, &p.content, p.n_jobs, err);
    ggf_writer_discard(p.dense);
    free(p.jobs);
    free(p.layers);
    return s;
}
