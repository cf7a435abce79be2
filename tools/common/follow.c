/* follow.c - see follow.h. */
#include "follow.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct trail {
    struct observer observer;
    uint32_t n_layer, n_expert, n_used, n_embd, max_rows;
    uint8_t *chosen; /* [max_rows, n_expert, n_layer]: 1 for an expert that was chosen */
    float *state;    /* [n_embd, max_rows, n_layer + 1]: inputs of the layers */
};

/* Sums over the tokens counted. */
struct layer_sums {
    double overlap, overlap_squares;
    uint64_t same;
};

struct follow {
    struct observer observer;
    struct trail *trail;
    uint64_t n; /* tokens counted */
    uint32_t pieces;
    atomic_ushort *common;     /* [max_rows, n_layer]: experts that both chose */
    double *apart, *magnitude; /* [pieces, n_layer + 1]: sums of squares */
    struct layer_sums *layers;
};

/* ==== The first model ===================================================== */

static uint8_t *chosen_at(const struct trail *t, uint32_t layer, uint32_t expert)
{
    return t->chosen + ((size_t)layer * t->n_expert + expert) * t->max_rows;
}

static float *state_at(const struct trail *t, uint32_t layer, uint32_t row)
{
    return t->state + ((size_t)layer * t->max_rows + row) * t->n_embd;
}

/* The layer whose input is shown, or -1 for other places. */
static int64_t state_layer(const struct trail *t, const struct observed *o)
{
    if (o->place == OBSERVED_HEAD) return t->n_layer;
    return o->place == OBSERVED_MIXER ? (int64_t)o->layer : -1;
}

static void see_first(void *user, const struct observed *o)
{
    const struct trail *t = user;
    const int64_t layer = state_layer(t, o);
    if (layer >= 0) {
        for (uint32_t r = 0; r < o->rows; r++)
            memcpy(state_at(t, (uint32_t)layer, r) + o->column,
                   o->x + (size_t)r * o->n + o->column, o->columns * sizeof(float));
    } else if (o->place == OBSERVED_EXPERTS && o->column == 0) {
        uint8_t *chosen = chosen_at(t, o->layer, o->expert);
        for (uint32_t r = 0; r < o->rows; r++) chosen[o->at[r]] = 1;
    }
}

struct trail *trail_new(const struct q3n_model_info *info, uint32_t max_rows)
{
    struct trail *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    *t = (struct trail){ .observer = { see_first, t },
                         .n_layer = info->n_layer,
                         .n_expert = info->n_expert,
                         .n_used = info->n_expert_used,
                         .n_embd = info->n_embd,
                         .max_rows = max_rows };
    t->chosen = calloc((size_t)t->n_layer * t->n_expert, max_rows);
    t->state = calloc((size_t)(t->n_layer + 1) * max_rows, t->n_embd * sizeof(float));
    if (t->chosen && t->state) return t;
    trail_free(t);
    return NULL;
}

void trail_free(struct trail *t)
{
    if (!t) return;
    free(t->chosen);
    free(t->state);
    free(t);
}

const struct observer *trail_observer(const struct trail *t) { return &t->observer; }

void trail_clear(struct trail *t)
{
    memset(t->chosen, 0, (size_t)t->n_layer * t->n_expert * t->max_rows);
}

/* ==== The second ========================================================== */

static void see_state(struct follow *f, uint32_t layer, const struct observed *o)
{
    const size_t at = (size_t)layer * f->pieces + o->column / OBSERVED_COLUMNS;
    double apart = f->apart[at], magnitude = f->magnitude[at];
    for (uint32_t r = 0; r < o->rows; r++) {
        const float *x = o->x + (size_t)r * o->n + o->column;
        const float *first = state_at(f->trail, layer, r) + o->column;
        for (uint32_t c = 0; c < o->columns; c++) {
            const double d = (double)x[c] - (double)first[c];
            apart += d * d;
            magnitude += (double)first[c] * (double)first[c];
        }
    }
    f->apart[at] = apart;
    f->magnitude[at] = magnitude;
}

static void see_second(void *user, const struct observed *o)
{
    struct follow *f = user;
    const struct trail *t = f->trail;
    const int64_t layer = state_layer(t, o);
    if (layer >= 0) {
        see_state(f, (uint32_t)layer, o);
    } else if (o->place == OBSERVED_EXPERTS && o->column == 0) {
        /* Another thread may have another expert of the same token. */
        const uint8_t *chosen = chosen_at(t, o->layer, o->expert);
        atomic_ushort *common = f->common + (size_t)o->layer * t->max_rows;
        for (uint32_t r = 0; r < o->rows; r++)
            if (chosen[o->at[r]])
                atomic_fetch_add_explicit(&common[o->at[r]], 1, memory_order_relaxed);
    }
}

bool follow_possible(const struct q3n_model_info *a, const struct q3n_model_info *b)
{
    return a->n_layer == b->n_layer && a->n_expert == b->n_expert &&
           a->n_expert_used == b->n_expert_used && a->n_embd == b->n_embd;
}

struct follow *follow_new(struct trail *t)
{
    struct follow *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    *f = (struct follow){ .observer = { see_second, f },
                          .trail = t,
                          .pieces = observe_pieces(t->n_embd) };
    const size_t states = (size_t)(t->n_layer + 1) * f->pieces;
    f->common = calloc((size_t)t->n_layer * t->max_rows, sizeof *f->common);
    f->apart = calloc(states, sizeof *f->apart);
    f->magnitude = calloc(states, sizeof *f->magnitude);
    f->layers = calloc(t->n_layer, sizeof *f->layers);
    if (f->common && f->apart && f->magnitude && f->layers) return f;
    follow_free(f);
    return NULL;
}

void follow_free(struct follow *f)
{
    if (!f) return;
    free(f->common);
    free(f->apart);
    free(f->magnitude);
    free(f->layers);
    free(f);
}

const struct observer *follow_observer(const struct follow *f) { return &f->observer; }

void follow_count(struct follow *f, uint32_t n)
{
    const struct trail *t = f->trail;
    for (uint32_t l = 0; l < t->n_layer; l++) {
        struct layer_sums *s = &f->layers[l];
        atomic_ushort *common = f->common + (size_t)l * t->max_rows;
        for (uint32_t r = 0; r < n; r++) {
            const uint32_t both = common[r];
            const double overlap = (double)both / (2.0 * t->n_used - both);
            s->overlap += overlap;
            s->overlap_squares += overlap * overlap;
            s->same += both == t->n_used;
            common[r] = 0;
        }
    }
    f->n += n;
}

/* ==== What was found ====================================================== */

uint32_t follow_layers(const struct follow *f) { return f->trail->n_layer; }

struct layer_distance follow_layer(const struct follow *f, uint32_t layer)
{
    struct layer_distance d = { { 0, 0 }, 0, 0 };
    double apart = 0, magnitude = 0;
    for (uint32_t i = layer * f->pieces; i < (layer + 1) * f->pieces; i++) {
        apart += f->apart[i];
        magnitude += f->magnitude[i];
    }
    if (magnitude > 0) d.state_error = sqrt(apart / magnitude);
    if (layer == f->trail->n_layer || !f->n) return d;
    const struct layer_sums *s = &f->layers[layer];
    d.overlap = estimate(s->overlap, s->overlap_squares, f->n);
    d.same = (double)s->same / (double)f->n;
    return d;
}
