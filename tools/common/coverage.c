/* coverage.c - see coverage.h. */
#include "coverage.h"
#include "order.h"
#include "out.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 16 }; /* tokens: below, an expert's sums are mostly chance */

/* The counts of a layer's experts, sorted, and what follows from them. */
struct coverage {
    uint64_t *counts; /* [n], ascending */
    uint64_t n, sum;
    uint64_t none, few; /* experts with 0 and with 1 to FEW - 1 */
    double hot, cold;   /* share of the busiest tenth, and of the idler half */
};

static bool coverage_of(struct coverage *c, const struct imatrix_sum *e)
{
    *c = (struct coverage){ .n = e->n_slices };
    c->counts = malloc(c->n * sizeof *c->counts);
    if (!c->counts) return false;
    memcpy(c->counts, e->counts, c->n * sizeof *c->counts);
    qsort(c->counts, c->n, sizeof *c->counts, rising_u64);
    const uint64_t tenth = (c->n + 9) / 10;
    double hot = 0, cold = 0;
    for (uint64_t i = 0; i < c->n; i++) {
        c->sum += c->counts[i];
        c->none += c->counts[i] == 0;
        c->few += c->counts[i] > 0 && c->counts[i] < FEW;
        if (i < c->n / 2) cold += (double)c->counts[i];
        if (i >= c->n - tenth) hot += (double)c->counts[i];
    }
    c->hot = c->sum ? hot / (double)c->sum : 0;
    c->cold = c->sum ? cold / (double)c->sum : 0;
    return true;
}

/* The layer of an entry that counts experts; of the tensors of a layer only the one that
 * all variants have. */
static bool layer_of(const struct imatrix_sum *e, uint32_t *layer)
{
    int end = 0;
    return e->n_slices > 1 &&
           sscanf(e->name, "blk.%" SCNu32 ".ffn_down_exps.weight%n", layer, &end) == 1 &&
           end && !e->name[end];
}

/* The entries to show, by layer; n of them. */
static const struct imatrix_sum **layers(const struct imatrix_sums *s, size_t *n)
{
    const struct imatrix_sum **list = calloc(s->n_entries + 1, sizeof *list);
    *n = 0;
    for (uint64_t i = 0; list && i < s->n_entries; i++) {
        uint32_t layer, before;
        if (!layer_of(s->entries[i], &layer)) continue;
        size_t at = (*n)++;
        for (; at && layer_of(list[at - 1], &before) && before > layer; at--)
            list[at] = list[at - 1];
        list[at] = s->entries[i];
    }
    return list;
}

static void add_row(struct table *t, uint32_t layer, const struct coverage *c)
{
    table_cell(t, "%" PRIu32, layer);
    table_cell(t, "%" PRIu64, c->n);
    table_cell(t, "%" PRIu64, c->none);
    table_cell(t, "%" PRIu64, c->few);
    table_cell(t, "%" PRIu64, c->counts[0]);
    table_cell(t, "%" PRIu64, c->counts[c->n / 2]);
    table_cell(t, "%" PRIu64, c->counts[c->n - 1]);
    table_cell(t, "%.1f %%", 100 * c->hot);
    table_cell(t, "%.1f %%", 100 * c->cold);
}

bool coverage_print(const struct imatrix_sums *s, FILE *f)
{
    static const char *const heads[] = { ">layer",   ">experts",   ">unseen",
                                         ">1 to 15", ">least",     ">median",
                                         ">most",    ">top tenth", ">lower half",
                                         NULL };
    size_t n;
    struct table t;
    const struct imatrix_sum **list = layers(s, &n);
    bool ok = list && n;
    table_start(&t, heads);
    for (size_t i = 0; i < n && ok; i++) {
        struct coverage c;
        uint32_t layer = 0;
        layer_of(list[i], &layer);
        ok = coverage_of(&c, list[i]);
        if (ok) add_row(&t, layer, &c);
        free(c.counts);
    }
    free(list);
    return table_print(&t, f, out_colour(f)) && ok;
}

static void layer_json(const struct imatrix_sum *e, struct json *j)
{
    struct coverage c;
    uint32_t layer = 0;
    layer_of(e, &layer);
    if (!coverage_of(&c, e)) return;
    json_open(j, NULL, '{');
    json_u64(j, "layer", layer);
    json_u64(j, "experts", c.n);
    json_u64(j, "unseen", c.none);
    json_u64(j, "below_16", c.few);
    json_u64(j, "least", c.counts[0]);
    json_u64(j, "median", c.counts[c.n / 2]);
    json_u64(j, "most", c.counts[c.n - 1]);
    json_f64(j, "top_tenth", c.hot);
    json_f64(j, "lower_half", c.cold);
    json_open(j, "counts", '[');
    for (uint64_t i = 0; i < e->n_slices; i++) json_u64(j, NULL, e->counts[i]);
    json_close(j, ']');
    json_close(j, '}');
    free(c.counts);
}

void coverage_json(const struct imatrix_sums *s, struct json *j)
{
    size_t n;
    const struct imatrix_sum **list = layers(s, &n);
    json_u64(j, "entries", s->n_entries);
    json_u64(j, "chunks", s->chunks);
    json_u64(j, "chunk_size", s->chunk_size);
    json_open(j, "datasets", '[');
    for (uint64_t i = 0; i < s->n_datasets; i++) json_str(j, NULL, s->datasets[i]);
    json_close(j, ']');
    json_open(j, "layers", '[');
    for (size_t i = 0; i < n; i++) layer_json(list[i], j);
    json_close(j, ']');
    free(list);
}
