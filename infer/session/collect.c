/* collect.c - from places in the forward pass to entries, and the adding up. */
#include "collect.h"
#include "../model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The entries that have their input from one place. */
struct targets {
    uint32_t n;
    struct imatrix_sum *entries[OBSERVED_WEIGHTS];
};

struct q3n_collector {
    struct observer observer;
    struct targets *places; /* [n_layer][OBSERVED_PLACES] */
};

static bool routed(enum observed_place place)
{
    return place == OBSERVED_EXPERTS || place == OBSERVED_DOWN;
}

/* ---- Adding up -------------------------------------------------------------- */

/* What a batch adds to some columns, in double. */
struct piece {
    double squares[OBSERVED_COLUMNS];
    double other[OBSERVED_COLUMNS]; /* of x, or of (g x)^2 */
    double gates;                   /* of g^2 */
};

static void sum_up(struct piece *p, const struct observed *o)
{
    *p = (struct piece){ 0 };
    for (uint32_t r = 0; r < o->rows; r++) {
        const float *x = o->x + (size_t)(o->at ? o->at[r] : r) * o->n + o->column;
        const double g = o->weights ? (double)o->weights[r] : 0, gg = g * g;
        for (uint32_t c = 0; c < o->columns; c++) {
            const double v = (double)x[c];
            p->squares[c] += v * v;
            p->other[c] += o->weights ? gg * (v * v) : v;
        }
        p->gates += gg;
    }
}

static void add(float *to, const double *from, uint32_t n)
{
    for (uint32_t i = 0; to && i < n; i++) to[i] += (float)from[i];
}

static void add_piece(struct imatrix_sum *e, const struct observed *o,
                      const struct piece *p)
{
    /* A tensor that the forward pass does not use may have any shape. */
    if (e->width != o->n || o->expert >= e->n_slices) return;
    const size_t at = o->expert * e->width + o->column;
    add(e->squares + at, p->squares, o->columns);
    if (e->means) add(e->means + at, p->other, o->columns);
    if (e->gated) add(e->gated + at, p->other, o->columns);
    if (o->column) return;
    e->counts[o->expert] += o->rows;
    if (e->gate_count) e->gate_count[o->expert] += (float)p->gates;
}

static void see(void *user, const struct observed *o)
{
    const q3n_collector *c = user;
    const struct targets *t = &c->places[o->layer * OBSERVED_PLACES + o->place];
    struct piece p;
    if (!t->n) return;
    sum_up(&p, o);
    for (uint32_t i = 0; i < t->n; i++) add_piece(t->entries[i], o, &p);
}

/* ---- Entries ---------------------------------------------------------------- */

static int add_entry(struct imatrix_sums *sums, struct targets *t, const char *name,
                     uint64_t width, uint64_t n_slices, bool gated, ggf_error *err)
{
    struct imatrix_sum *e;
    const int s = imatrix_sums_add(&e, sums, name, width, n_slices,
                                   gated ? IMATRIX_GATED : IMATRIX_MEAN, err);
    if (!s) t->entries[t->n++] = e;
    return s;
}

/* The entries of a place for the tensors that the file has. */
static int add_place(struct imatrix_sums *sums, struct targets *t, const q3n_model *m,
                     uint32_t layer, enum observed_place place, ggf_error *err)
{
    int s = 0;
    for (int i = 0; i < OBSERVED_WEIGHTS && observed_weights[place][i] && !s; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", layer,
                 observed_weights[place][i]);
        const struct ggf_tensor *tensor = ggf_find_tensor(m->file, name);
        if (!tensor) continue;
        const uint64_t slices = routed(place) ? tensor->ne[2] : 1;
        s = add_entry(sums, t, name, tensor->ne[0], slices, routed(place), err);
    }
    return s;
}

/* The names that the experts' tensors had before they were packed. */
static int add_packed(struct imatrix_sums *sums, struct targets *places,
                      const q3n_model *m, uint32_t layer, ggf_error *err)
{
    const int64_t at = ggf_pack_layer_of(m->pack, layer);
    const struct ggf_pack_layer *l = ggf_pack_layer(m->pack, (uint32_t)at);
    const char *const fused[] = { "ffn_gate_up_exps", "ffn_down_exps", NULL };
    const char *const plain[] = { "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", NULL };
    const char *const *names = l->fused ? fused : plain;
    int s = 0;
    for (; *names && !s; names++) {
        const bool down = !names[1];
        char name[64];
        snprintf(name, sizeof name, "blk.%" PRIu32 ".%s.weight", layer, *names);
        s = add_entry(sums, &places[down ? OBSERVED_DOWN : OBSERVED_EXPERTS], name,
                      down ? l->n_ff : l->n_embd, l->n_expert, true, err);
    }
    return s;
}

static int add_layer(q3n_collector *c, struct imatrix_sums *sums, const q3n_model *m,
                     uint32_t layer, ggf_error *err)
{
    struct targets *places = &c->places[(size_t)layer * OBSERVED_PLACES];
    int s = 0;
    for (int p = 0; p < OBSERVED_PLACES && !s; p++)
        if (!m->pack || !routed((enum observed_place)p))
            s = add_place(sums, &places[p], m, layer, (enum observed_place)p, err);
    return s || !m->pack ? s : add_packed(sums, places, m, layer, err);
}

static int add_output(q3n_collector *c, struct imatrix_sums *sums, const q3n_model *m,
                      ggf_error *err)
{
    const struct ggf_tensor *t = ggf_find_tensor(m->file, "output.weight");
    if (t)
        return add_entry(sums, &c->places[OBSERVED_HEAD], t->name, t->ne[0], 1, false,
                         err);
    return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                    "the model has no output.weight: its embedding is the output");
}

int q3n_collector_new(q3n_collector **out, const q3n_model *model,
                      struct imatrix_sums *sums, bool output, ggf_error *err)
{
    const uint32_t n = model->hp.n_layer;
    q3n_collector *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c) c->places = calloc((size_t)n * OBSERVED_PLACES, sizeof *c->places);
    int s = c && c->places ? 0 : ggf_no_memory(err);
    for (uint32_t i = 0; i < n && !s; i++) s = add_layer(c, sums, model, i, err);
    if (!s && output) s = add_output(c, sums, model, err);
    if (s) {
        q3n_collector_free(c);
        return s;
    }
    c->observer = (struct observer){ see, c };
    *out = c;
    return 0;
}

void q3n_collector_free(q3n_collector *c)
{
    if (!c) return;
    free(c->places);
    free(c);
}

const struct observer *q3n_collector_observer(const q3n_collector *c)
{
    return &c->observer;
}
