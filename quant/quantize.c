/* quantize.c - see quantize.h. */
#include "quantize.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct outputs {
    ggf_writer **writers;
    uint32_t n;
};

int quantize_output_name(char *out, size_t size, const char *path, bool keep_split,
                         uint32_t shard, uint32_t n_shards)
{
    if (!keep_split) {
        const int n = snprintf(out, size, "%s", path);
        return n < 0 || (size_t)n >= size ? -1 : n;
    }
    char prefix[PATH_MAX];
    const size_t n = strlen(path);
    if (n >= sizeof prefix) return -1;
    memcpy(prefix, path, n + 1);
    if (n > 5 && !strcmp(path + n - 5, ".gguf")) prefix[n - 5] = 0;
    return ggf_split_name(out, size, prefix, shard, n_shards);
}

static int create_writers(struct outputs *o, const struct quantize_options *q,
                          bool keep_split, ggf_error *err)
{
    const struct ggf_writer_options wo = { .force = q->force };
    char name[PATH_MAX];
    o->writers = calloc(o->n, sizeof *o->writers);
    if (!o->writers) return ggf_no_memory(err);
    int s = 0;
    for (uint32_t i = 0; i < o->n && !s; i++) {
        if (quantize_output_name(name, sizeof name, q->path, keep_split, i, o->n) < 0)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "the output's name is too long");
        s = ggf_writer_create(&o->writers[i], name, &wo, err);
    }
    return s;
}

/* One flag for each layer of the source; NULL if nothing is pruned. */
static bool *pruned_layers(const struct plan *p, const struct plan_options *po)
{
    bool *pruned = po->n_prune ? calloc(p->model.n_layers, sizeof *pruned) : NULL;
    for (int i = 0; pruned && i < po->n_prune; i++) pruned[po->prune[i]] = true;
    return pruned;
}

int quantize_keys(ggf_writer *const *writers, uint32_t n, const ggf_file *f,
                  const struct plan *p, const struct plan_options *po,
                  const struct quantize_options *q, ggf_error *err)
{
    bool *pruned = pruned_layers(p, po);
    if (po->n_prune && !pruned) return ggf_no_memory(err);
    struct metadata m = { .source = f,
                          .file_type = plan_file_type(p, f, po),
                          .overrides = po->overrides,
                          .n_overrides = po->n_overrides,
                          .matrix =
                              po->matrix && imatrix_count(po->matrix) ? po->matrix : NULL,
                          .matrix_path = q->matrix_path,
                          .arch = p->model.arch,
                          .pruned = pruned,
                          .n_layers = p->model.n_layers,
                          .n_shards = n,
                          .n_tensors = p->n_items,
                          .provenance = q->provenance,
                          .copy = !po->mix.to,
                          .compat = po->mix.compat };
    int s = 0;
    for (uint32_t i = 0; i < n && !s; i++) {
        m.shard = i;
        s = metadata_write(writers[i], &m, err);
    }
    free(pruned);
    return s;
}

const struct ggf_shard *quantize_mapping(const ggf_file *f, uint32_t shard)
{
    const struct ggf_shard *s = ggf_shard(f, shard);
    return *s->path ? s : NULL;
}

/* Add each item to its writer and note where it is to go. */
static int add_tensors(const struct outputs *o, const ggf_file *f, const struct plan *p,
                       const struct plan_options *po, struct convert_job *jobs,
                       ggf_error *err)
{
    uint64_t *counts = calloc(o->n, sizeof *counts);
    if (!counts) return ggf_no_memory(err);
    int s = 0;
    for (size_t i = 0; i < p->n_items && !s; i++) {
        const struct plan_item *item = &p->items[i];
        const uint32_t shard = item->source->shard, to = o->n > 1 ? shard : 0;
        jobs[i] = (struct convert_job){ .item = item,
                                        .to = o->writers[to],
                                        .index = counts[to]++,
                                        .mapped = quantize_mapping(f, shard),
                                        .compat = po->mix.compat,
                                        .refine = po->refine };
        s = ggf_writer_add_tensor(jobs[i].to, item->name, item->type, item->source->ne,
                                  err);
    }
    for (uint32_t i = 0; i < o->n && !s; i++) s = ggf_writer_begin(o->writers[i], err);
    free(counts);
    return s;
}

static int finish(struct outputs *o, ggf_error *err)
{
    const int s = ggf_writers_finish(o->writers, o->n, err);
    memset(o->writers, 0, o->n * sizeof *o->writers);
    return s;
}

int quantize_file(const ggf_file *f, const struct plan *p, const struct plan_options *po,
                  const struct quantize_options *q, const struct convert_watch *watch,
                  ggf_error *err)
{
    struct outputs o = { .n = po->keep_split ? ggf_shard_count(f) : 1 };
    struct convert_job *jobs = calloc(p->n_items + 1, sizeof *jobs);
    if (!jobs) return ggf_no_memory(err);
    int s = create_writers(&o, q, po->keep_split, err);
    if (!s) s = quantize_keys(o.writers, o.n, f, p, po, q, err);
    if (!s) s = add_tensors(&o, f, p, po, jobs, err);
    if (!s) s = convert_run(jobs, p->n_items, q->threads, watch, err);
    if (!s) s = finish(&o, err);
    for (uint32_t i = 0; o.writers && i < o.n; i++) ggf_writer_discard(o.writers[i]);
    free(o.writers);
    free(jobs);
    return s;
}

int quantize_size(uint64_t *bytes, const ggf_file *f, const struct plan *p,
                  const struct plan_options *po, const struct quantize_options *q,
                  ggf_error *err)
{
    ggf_writer *w = NULL;
    int s = ggf_writer_create(&w, NULL, NULL, err);
    if (!s) s = quantize_keys(&w, 1, f, p, po, q, err);
    for (size_t i = 0; i < p->n_items && !s; i++)
        s = ggf_writer_add_tensor(w, p->items[i].name, p->items[i].type,
                                  p->items[i].source->ne, err);
    *bytes = s ? 0 : ggf_writer_file_size(w);
    ggf_writer_discard(w);
    return s;
}
