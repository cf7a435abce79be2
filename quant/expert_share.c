/* expert_share.c - see expert_share.h. */
#include "expert_share.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What an expert that the calibration text never used counts for: a part of the mean. */
static const double least_use = 0.1;

enum {
    PROBES = 2,
    SAMPLES = 1 << 17, /* blocks to store in all, divided among the matrices: */
    LEAST_BLOCKS = 4,  /* of each, and 8 times as many read; */
    MOST_BLOCKS = 256,
    OWN_TOKENS = 16, /* an expert's output counts half when it saw so many */
};

struct work {
    struct expert_shares *out;
    const struct expert_layer_items *layers;
    uint32_t n_layers;
    const struct error_table *table;
    struct sensitivity *list; /* of each record, gate, up, down */
};

static float load(const uint8_t *values, uint64_t i)
{
    float v;
    memcpy(&v, values + i * sizeof v, sizeof v);
    return v > 0 ? fminf(v, 1e18f) : 0; /* which fits a uint64_t */
}

/* ---- Measuring ---------------------------------------------------------------- */

/* Two types that are quick to encode, of about 3 and 4 bits. */
static int list_probes(uint32_t types[PROBES], const struct error_table *t, size_t item)
{
    static const uint32_t probes[] = { GGF_Q4_K, GGF_Q3_K, GGF_Q5_0, GGF_Q4_0 };
    int n = 0;
    for (size_t i = 0; i < sizeof probes / sizeof *probes && n < PROBES; i++)
        if (error_table_can(t, item, probes[i])) types[n++] = probes[i];
    return n;
}

/* Of a fused tensor gate stands for both. */
static void list_matrices(struct work *w)
{
    uint64_t n = 0;
    for (uint32_t l = 0; l < w->n_layers; l++) {
        const struct expert_layer_items *x = &w->layers[l];
        for (uint32_t e = 0; e < x->layer.shape.n_expert; e++)
            for (int p = 0; p < GGF_PARTS; p++, n++) {
                struct sensitivity *s = &w->list[n];
                const struct error_entry *entry = &w->table->entries[x->item[p]];
                s->tensor = entry->tensor;
                s->weights = entry->importances;
                s->first_slice = e;
                s->n_slices = 1;
                s->n_types = list_probes(s->types, w->table, x->item[p]);
            }
    }
}

/* ---- From measurements to shares ------------------------------------------------ */

/* What the matrix counted for each expert of a layer. */
static void count_use(struct work *w, const struct expert_layer_items *x, uint64_t first)
{
    const struct imatrix_entry *m = w->table->entries[x->item[GGF_DOWN]].importances;
    const uint32_t n = x->layer.shape.n_expert;
    double *use = w->out->use + first, total = 0;
    const bool counted = m && m->counts && m->n_slices == n;
    const uint8_t *from = counted && m->gated_count ? m->gated_count
                          : counted                 ? m->counts
                                                    : NULL;
    w->out->counted &= counted;
    w->out->gated &= counted && m->gated_count;
    for (uint32_t e = 0; e < n; e++) {
        use[e] = from ? (double)load(from, e) : 1;
        total += use[e];
        w->out->tokens[first + e] = counted ? (uint64_t)load(m->counts, e) : 0;
    }
    for (uint32_t e = 0; e < n; e++) use[e] = total > 0 ? use[e] / total : 1.0 / n;
}

/* The mean of w x^2 in an expert's down, drawn to the layer's where few tokens tell. */
static double output_of(const struct work *w, uint64_t record, double mean)
{
    const double n = (double)w->out->tokens[record];
    const double own = w->list[record * GGF_PARTS + GGF_DOWN].energy;
    if (!w->out->counted) return own;
    return (n * own + OWN_TOKENS * mean) / (n + OWN_TOKENS);
}

static double mean_output(const struct work *w, uint64_t first, uint32_t n)
{
    double sum = 0, weight = 0;
    for (uint32_t e = 0; e < n; e++) {
        const double use = (double)w->out->tokens[first + e];
        sum += use * w->list[(first + e) * GGF_PARTS + GGF_DOWN].energy;
        weight += use;
    }
    return weight > 0 ? sum / weight : 0;
}

/* The relative error of a matrix against the mean of its layer's, over the probes. */
static double loss_of(const struct work *w, uint64_t first, uint32_t n, uint32_t e,
                      int part)
{
    const struct sensitivity *own = &w->list[(first + e) * GGF_PARTS + part];
    double sum = 0;
    int probes = 0;
    for (int k = 0; k < own->n_types; k++) {
        double mean = 0;
        for (uint32_t i = 0; i < n; i++)
            mean += w->list[(first + i) * GGF_PARTS + part].error[k] / n;
        if (mean <= 0) continue;
        sum += own->error[k] / mean;
        probes++;
    }
    return probes ? sum / probes : 1;
}

static void divide(struct work *w, const struct expert_layer_items *x, uint64_t first)
{
    const uint32_t n = x->layer.shape.n_expert;
    const double mean = mean_output(w, first, n);
    double total[GGF_PARTS] = { 0 };
    for (uint32_t e = 0; e < n; e++) {
        const double use = w->out->use[first + e] + least_use / n;
        const double output = output_of(w, first + e, mean);
        for (int p = 0; p < GGF_PARTS; p++) {
            double *part = &w->out->part[first + e][p];
            *part = use * output * loss_of(w, first, n, e, p);
            total[p] += *part;
        }
    }
    for (uint32_t e = 0; e < n; e++)
        for (int p = 0; p < GGF_PARTS; p++) {
            double *part = &w->out->part[first + e][p];
            *part = total[p] > 0 ? *part / total[p] : 1.0 / n;
        }
}

/* ---- All of it -------------------------------------------------------------------- */

int expert_shares_init(struct expert_shares *out, const struct expert_layer_items *layers,
                       uint32_t n_layers, const struct error_table *table, ggf_error *err)
{
    struct work w = { .out = out, .table = table };
    uint64_t first = 0;
    *out = (struct expert_shares){ .counted = true, .gated = true };
    for (uint32_t l = 0; l < n_layers; l++)
        out->n_records += layers[l].layer.shape.n_expert;
    out->use = calloc(out->n_records + 1, sizeof *out->use);
    out->part = calloc(out->n_records + 1, sizeof *out->part);
    out->tokens = calloc(out->n_records + 1, sizeof *out->tokens);
    if (!out->use || !out->part || !out->tokens) {
        expert_shares_free(out);
        return ggf_no_memory(err);
    }
    for (uint32_t l = 0; l < n_layers; l++) {
        count_use(&w, &layers[l], first);
        first += layers[l].layer.shape.n_expert;
    }
    return 0;
}

int expert_shares_measure(struct expert_shares *out,
                          const struct expert_layer_items *layers, uint32_t n_layers,
                          const struct error_table *table,
                          const struct sensitivity_options *options, ggf_error *err)
{
    struct work w = {
        .out = out, .layers = layers, .n_layers = n_layers, .table = table
    };
    struct sensitivity_options o = *options;
    const uint64_t n = out->n_records * GGF_PARTS, each = n ? SAMPLES / n : 0;
    uint64_t first = 0;
    o.blocks = each < LEAST_BLOCKS  ? LEAST_BLOCKS
               : each < MOST_BLOCKS ? each
                                    : MOST_BLOCKS;
    w.list = calloc(n + 1, sizeof *w.list);
    if (!w.list) return ggf_no_memory(err);
    list_matrices(&w);
    const int s = sensitivity_measure(w.list, n, &o, err);
    for (uint32_t l = 0; l < n_layers && !s; l++) {
        divide(&w, &layers[l], first);
        first += layers[l].layer.shape.n_expert;
    }
    for (uint64_t i = 0; i < n && !s; i++) out->sampled += w.list[i].sampled;
    free(w.list);
    return s;
}

void expert_shares_free(struct expert_shares *s)
{
    free(s->use);
    free(s->part);
    free(s->tokens);
    *s = (struct expert_shares){ 0 };
}
