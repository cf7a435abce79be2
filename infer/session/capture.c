/* capture.c - see capture.h.
 *
 * A routed expert's rows are numbered when its gate and up are shown, which is before its
 * down; these numbers are the rows of `down`. */
#include "capture.h"

#include "../model/model.h"

#include <stdlib.h>
#include <string.h>

/* The pairs of one expert that were kept. */
struct pairs {
    uint32_t n, room;
    uint32_t n_before; /* of them from earlier batches */
    uint32_t *row;     /* in its batch, among the expert's rows */
    uint32_t *token;   /* number of the token kept */
    uint32_t *place;   /* row of `down` */
    float *weight;
};

struct layer_inputs {
    float *x[OBSERVED_PLACES]; /* [width, tokens], [width, pairs] for OBSERVED_DOWN */
    uint32_t width[OBSERVED_PLACES];
    struct pairs *experts;
    _Atomic uint32_t n_pairs;
};

struct q3n_capture {
    struct observer observer;
    const q3n_model *model;
    struct layer_inputs *layers;
    uint32_t n_layer, n_expert;
    uint32_t tokens, stride, max_pairs;
    uint32_t base;       /* tokens kept of earlier batches */
    _Atomic bool failed; /* out of memory: some pairs are missing */
};

/* The number of the token kept of row r, or `tokens` if it is not. */
static uint32_t number_of(const q3n_capture *c, uint32_t row)
{
    const uint32_t n = c->base + row / c->stride;
    return row % c->stride == 0 && n < c->tokens ? n : c->tokens;
}

static void copy_columns(const struct observed *o, uint32_t from, float *x, uint32_t to)
{
    memcpy(x + (size_t)to * o->n + o->column, o->x + (size_t)from * o->n + o->column,
           o->columns * sizeof *x);
}

static bool grow(struct pairs *p)
{
    const uint32_t room = p->room ? 2 * p->room : 16;
    uint32_t *row = realloc(p->row, room * sizeof *row);
    if (row) p->row = row;
    uint32_t *token = realloc(p->token, room * sizeof *token);
    if (token) p->token = token;
    uint32_t *place = realloc(p->place, room * sizeof *place);
    if (place) p->place = place;
    float *weight = realloc(p->weight, room * sizeof *weight);
    if (weight) p->weight = weight;
    if (!row || !token || !place || !weight) return false;
    p->room = room;
    return true;
}

/* What gate and up of an expert see is kept already, for all experts together. */
static void see_pairs(q3n_capture *c, const struct observed *o)
{
    struct layer_inputs *l = &c->layers[o->layer];
    struct pairs *p = &l->experts[o->expert];
    if (o->column) return;
    p->n_before = p->n;
    for (uint32_t r = 0; r < o->rows; r++) {
        const uint32_t token = number_of(c, o->at[r]);
        if (token == c->tokens) continue;
        if (p->n == p->room && !grow(p)) {
            c->failed = true;
            return;
        }
        p->row[p->n] = r;
        p->token[p->n] = token;
        p->place[p->n] = l->n_pairs++;
        p->weight[p->n++] = o->weights[r];
    }
}

static void see_down(const q3n_capture *c, const struct observed *o)
{
    const struct layer_inputs *l = &c->layers[o->layer];
    const struct pairs *p = &l->experts[o->expert];
    for (uint32_t i = p->n_before; i < p->n; i++)
        if (p->place[i] < c->max_pairs)
            copy_columns(o, p->row[i], l->x[OBSERVED_DOWN], p->place[i]);
}

static void see(void *user, const struct observed *o)
{
    q3n_capture *c = user;
    const struct layer_inputs *l = &c->layers[o->layer];
    if (o->place == OBSERVED_EXPERTS) {
        see_pairs(c, o);
        return;
    }
    if (o->n != l->width[o->place]) return;
    if (o->place == OBSERVED_DOWN) {
        see_down(c, o);
        return;
    }
    for (uint32_t r = 0; r < o->rows; r++) {
        const uint32_t to = number_of(c, r);
        if (to < c->tokens) copy_columns(o, o->at ? o->at[r] : r, l->x[o->place], to);
    }
}

void q3n_capture_next(q3n_capture *c, uint32_t n)
{
    const uint32_t more = (n + c->stride - 1) / c->stride;
    c->base = c->tokens - c->base > more ? c->base + more : c->tokens;
    /* An expert that the next batch does not use keeps nothing of it. */
    for (uint32_t i = 0; i < c->n_layer; i++)
        for (uint32_t e = 0; e < c->n_expert; e++)
            c->layers[i].experts[e].n_before = c->layers[i].experts[e].n;
}

/* ---- Making ----------------------------------------------------------------------- */

static bool make_layer(q3n_capture *c, uint32_t index)
{
    const struct layer *from = &c->model->layers[index];
    struct layer_inputs *l = &c->layers[index];
    l->width[OBSERVED_MIXER] = l->width[OBSERVED_FFN] = from->moe.n_embd;
    l->width[OBSERVED_MIXER_OUT] =
        from->recurrent ? from->delta.out.n : from->attention.out.n;
    l->width[OBSERVED_SHARED_DOWN] = from->moe.n_ff_shared;
    l->width[OBSERVED_DOWN] = from->moe.n_ff;
    if (!index) l->width[OBSERVED_HEAD] = c->model->head.n;
    l->experts = calloc(c->n_expert, sizeof *l->experts);
    bool ok = l->experts;
    for (int p = 0; p < OBSERVED_PLACES && ok; p++) {
        const size_t rows = p == OBSERVED_DOWN ? c->max_pairs : c->tokens;
        if (!l->width[p]) continue;
        l->x[p] = calloc(rows * l->width[p], sizeof(float));
        ok = l->x[p];
    }
    return ok;
}

int q3n_capture_new(q3n_capture **out, const q3n_model *model, uint32_t tokens,
                    uint32_t stride, ggf_error *err)
{
    q3n_capture *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c) return ggf_no_memory(err);
    c->model = model;
    c->tokens = tokens;
    c->stride = stride;
    c->n_expert = model->hp.n_expert;
    c->max_pairs = tokens * model->hp.n_expert_used;
    c->observer = (struct observer){ see, c };
    c->layers = calloc(model->hp.n_layer, sizeof *c->layers);
    bool ok = c->layers;
    for (uint32_t i = 0; i < model->hp.n_layer && ok; i++) {
        c->n_layer = i + 1;
        ok = make_layer(c, i);
    }
    if (!ok) {
        q3n_capture_free(c);
        return ggf_no_memory(err);
    }
    *out = c;
    return 0;
}

static void free_layer(struct layer_inputs *l, uint32_t n_expert)
{
    for (int p = 0; p < OBSERVED_PLACES; p++) free(l->x[p]);
    for (uint32_t e = 0; l->experts && e < n_expert; e++) {
        free(l->experts[e].row);
        free(l->experts[e].token);
        free(l->experts[e].place);
        free(l->experts[e].weight);
    }
    free(l->experts);
}

void q3n_capture_free(q3n_capture *c)
{
    if (!c) return;
    for (uint32_t i = 0; i < c->n_layer; i++) free_layer(&c->layers[i], c->n_expert);
    free(c->layers);
    free(c);
}

const struct observer *q3n_capture_observer(const q3n_capture *c) { return &c->observer; }

/* ---- Asking ----------------------------------------------------------------------- */

static bool expert_inputs(const q3n_capture *c, const struct layer_inputs *l, bool down,
                          uint32_t expert, struct captured *in)
{
    if (expert >= c->n_expert || c->failed) return false;
    const struct pairs *p = &l->experts[expert];
    const enum observed_place place = down ? OBSERVED_DOWN : OBSERVED_FFN;
    *in = (struct captured){ .x = l->x[place],
                             .n = l->width[place],
                             .rows = p->n,
                             .at = down ? p->place : p->token,
                             .weights = p->weight };
    return p->n > 0;
}

bool q3n_capture_inputs(const q3n_capture *c, const char *tensor, uint32_t expert,
                        struct captured *in)
{
    uint32_t layer;
    enum observed_place place;
    if (!observed_place_of(tensor, &layer, &place) || layer >= c->n_layer) return false;
    const struct layer_inputs *l = &c->layers[layer];
    if (place == OBSERVED_EXPERTS || place == OBSERVED_DOWN)
        return expert_inputs(c, l, place == OBSERVED_DOWN, expert, in);
    *in = (struct captured){ .x = l->x[place], .n = l->width[place], .rows = c->base };
    return in->rows > 0 && in->x;
}
