/* expert_budget.c - see expert_budget.h. */
#include "expert_budget.h"

#include "density.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KNOWN_TOKENS = 16 };

/* An item of the choice: a dense tensor, or matrices of one expert. */
struct choice {
    size_t item;
    uint64_t record; /* UINT64_MAX: a dense tensor */
    unsigned parts;  /* bit set of enum ggf_part */
    const struct candidates *from;
    struct knapsack_option *options;
};

/* The candidates of an item. */
struct candidates {
    uint32_t types[KNAPSACK_OPTIONS];
    int n;
};

struct work {
    struct expert_budget *b;
    struct plan *plan;
    const struct plan_options *po;
    struct error_table *table;
    const struct budget_options *o;
    uint32_t page;
    bool tied;
    struct candidates *candidates; /* of each item of the plan, */
    struct candidates *unknown;    /* and for experts of it that few tokens reached */
    struct choice *choices;
    struct knapsack_item *knapsack;
    struct knapsack_option *options; /* of all choices */
    uint32_t *types;                 /* of each item of the plan */
};

uint64_t expert_matrix_bytes(const struct expert_layer_items *l, int part, uint32_t type,
                             uint32_t page)
{
    const struct ggf_pack_layer *s = &l->layer.shape;
    const uint64_t row = part == GGF_DOWN ? s->n_ff : s->n_embd;
    const uint64_t bytes =
        ggf_row_bytes(type, row) * (part == GGF_DOWN ? s->n_embd : s->n_ff);
    return (bytes + page - 1) / page * page;
}

bool expert_budget_packs(const struct expert_budget *b, size_t item)
{
    for (uint32_t l = 0; l < b->n_layers; l++)
        for (int p = 0; p < GGF_PARTS; p++)
            if (b->layers[l].item[p] == item) return true;
    return false;
}

/* ---- The plan's experts --------------------------------------------------------- */

static size_t item_of(const struct plan *p, const struct ggf_tensor *t)
{
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].source == t) return i;
    return SIZE_MAX;
}

static uint64_t count_records(const struct expert_budget *b)
{
    uint64_t n = 0;
    for (uint32_t l = 0; l < b->n_layers; l++) n += b->layers[l].layer.shape.n_expert;
    return n;
}

/* Each expert's types are those of the plan. */
static bool start_types(struct expert_budget *b, const struct plan *plan)
{
    uint64_t n = 0;
    b->types = calloc(count_records(b) + 1, sizeof *b->types);
    for (uint32_t l = 0; b->types && l < b->n_layers; l++)
        for (uint32_t e = 0; e < b->layers[l].layer.shape.n_expert; e++, n++)
            for (int p = 0; p < GGF_PARTS; p++)
                b->types[n][p] = plan->items[b->layers[l].item[p]].type;
    return b->types;
}

int expert_budget_init(struct expert_budget *b, const struct plan *plan,
                       const ggf_file *file, ggf_error *err)
{
    struct ggf_expert_layer *layers;
    *b = (struct expert_budget){ 0 };
    int s = ggf_expert_layers(&layers, &b->n_layers, file, err);
    if (s) return s;
    b->layers = calloc(b->n_layers, sizeof *b->layers);
    if (!b->layers) s = ggf_no_memory(err);
    for (uint32_t l = 0; l < b->n_layers && !s; l++) {
        b->layers[l].layer = layers[l];
        for (int p = 0; p < GGF_PARTS && !s; p++) {
            b->layers[l].item[p] = item_of(plan, layers[l].tensor[p]);
            if (b->layers[l].item[p] == SIZE_MAX)
                s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                             "tensor '%s' is not in the plan", layers[l].tensor[p]->name);
        }
    }
    free(layers);
    if (!s) s = start_types(b, plan) ? 0 : ggf_no_memory(err);
    if (s) expert_budget_free(b);
    return s;
}

void expert_budget_free(struct expert_budget *b)
{
    free(b->items);
    free(b->layers);
    free(b->types);
    expert_shares_free(&b->shares);
    *b = (struct expert_budget){ 0 };
}

/* ---- What there is to choose ------------------------------------------------------ */

static bool allocate(struct work *w)
{
    const size_t n_items = w->plan->n_items + 1;
    const uint64_t n = n_items + count_records(w->b) * GGF_PARTS;
    w->b->items = calloc(n_items, sizeof *w->b->items);
    w->candidates = calloc(n_items, sizeof *w->candidates);
    w->unknown = calloc(n_items, sizeof *w->unknown);
    w->types = calloc(n_items, sizeof *w->types);
    w->choices = calloc(n, sizeof *w->choices);
    w->knapsack = calloc(n, sizeof *w->knapsack);
    w->options = calloc(n, KNAPSACK_OPTIONS * sizeof *w->options);
    return w->b->items && w->candidates && w->unknown && w->types && w->choices &&
           w->knapsack && w->options;
}

static void release(struct work *w)
{
    free(w->candidates);
    free(w->unknown);
    free(w->types);
    free(w->choices);
    free(w->knapsack);
    free(w->options);
}

/* Types of less bits than `unknown` are not for an expert of which the matrix says
 * little: neither how often other texts use it nor what matters in it. */
static void list_candidates(struct work *w, double mean, double unknown)
{
    const struct plan *p = w->plan;
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        w->types[i] = item->type;
        w->b->items[i].open = budget_is_open(p, w->po, i);
        if (!w->b->items[i].open) continue;
        const double floor = density_floor(item->name, mean, w->tied);
        w->candidates[i].n = budget_types(w->candidates[i].types, w->table, i, item->name,
                                          floor, w->o->kind);
        w->unknown[i].n = budget_types(w->unknown[i].types, w->table, i, item->name,
                                       fmax(floor, unknown), w->o->kind);
    }
}

static uint64_t tensor_bytes(const struct work *w, size_t item, uint32_t type)
{
    const struct ggf_tensor *t = w->plan->items[item].source;
    const uint64_t bytes = ggf_row_bytes(type, t->ne[0]) * (t->count / t->ne[0]);
    return (bytes + w->o->alignment - 1) / w->o->alignment * w->o->alignment;
}

static void add_choice(struct work *w, size_t item, uint64_t record, unsigned parts)
{
    const uint64_t n = w->b->n_choices++;
    const struct expert_shares *s = &w->b->shares;
    const bool known = !parts || !s->counted || s->tokens[record] >= KNOWN_TOKENS;
    struct choice *c = &w->choices[n];
    *c = (struct choice){ .item = item, .record = record, .parts = parts };
    c->from = known ? &w->candidates[item] : &w->unknown[item];
    c->options = w->options + n * KNAPSACK_OPTIONS;
    w->knapsack[n].options = c->options;
    w->knapsack[n].n_options = c->from->n;
}

/* The matrices of one expert: gate and up together if they have the same candidates. */
static void add_expert(struct work *w, const struct expert_layer_items *x,
                       uint64_t record)
{
    const bool joint = w->b->items[x->item[GGF_GATE]].open &&
                       w->b->items[x->item[GGF_UP]].open &&
                       !memcmp(&w->candidates[x->item[GGF_GATE]],
                               &w->candidates[x->item[GGF_UP]], sizeof *w->candidates);
    for (int p = 0; p < GGF_PARTS; p++) {
        const size_t item = x->item[p];
        if (joint && p == GGF_UP) continue;
        if (w->b->items[item].open)
            add_choice(w, item, record,
                       1u << p | (joint && p == GGF_GATE ? 1u << GGF_UP : 0));
        else
            w->b->fixed_bytes +=
                expert_matrix_bytes(x, p, w->plan->items[item].type, w->page);
    }
}

static void list_choices(struct work *w)
{
    uint64_t record = 0;
    w->b->n_choices = w->b->fixed_bytes = 0;
    for (size_t i = 0; i < w->plan->n_items; i++) {
        if (expert_budget_packs(w->b, i)) continue;
        if (w->b->items[i].open) add_choice(w, i, UINT64_MAX, 0);
        else w->b->fixed_bytes += tensor_bytes(w, i, w->plan->items[i].type);
    }
    for (uint32_t l = 0; l < w->b->n_layers; l++)
        for (uint32_t e = 0; e < w->b->layers[l].layer.shape.n_expert; e++)
            add_expert(w, &w->b->layers[l], record++);
}

/* ---- Sizes and costs --------------------------------------------------------------- */

static const struct expert_layer_items *layer_of(const struct expert_budget *b,
                                                 uint64_t record)
{
    uint32_t l = 0;
    for (; record >= b->layers[l].layer.shape.n_expert; l++)
        record -= b->layers[l].layer.shape.n_expert;
    return &b->layers[l];
}

/* What a type costs in a matrix of an expert, or in a dense tensor.  A fused tensor's
 * cost is that of gate and up together. */
static double cost_of(const struct work *w, const struct choice *c, size_t item, int part,
                      uint32_t type)
{
    const struct error_entry *e = &w->table->entries[item];
    const double share = c->record == UINT64_MAX ? 1 : w->b->shares.part[c->record][part];
    const double cost = e->weight * e->error[type] * share;
    return isnan(cost) ? 0 : cost;
}

static void fill_expert(struct work *w, struct choice *c)
{
    const struct expert_layer_items *x = layer_of(w->b, c->record);
    for (int p = 0; p < GGF_PARTS; p++) {
        const bool fused_up = p == GGF_UP && x->layer.shape.fused;
        for (int k = 0; c->parts >> p & 1 && k < c->from->n; k++) {
            const uint32_t type = c->from->types[k];
            c->options[k].bytes += expert_matrix_bytes(x, p, type, w->page);
            if (!fused_up) c->options[k].cost += cost_of(w, c, x->item[p], p, type);
        }
    }
}

static void fill_options(struct work *w)
{
    memset(w->options, 0, w->b->n_choices * KNAPSACK_OPTIONS * sizeof *w->options);
    for (uint64_t n = 0; n < w->b->n_choices; n++) {
        struct choice *c = &w->choices[n];
        if (c->record != UINT64_MAX) {
            fill_expert(w, c);
            continue;
        }
        for (int k = 0; k < c->from->n; k++) {
            const uint32_t type = c->from->types[k];
            c->options[k].bytes = tensor_bytes(w, c->item, type);
            c->options[k].cost = cost_of(w, c, c->item, 0, type);
        }
    }
}

/* ---- Choosing ------------------------------------------------------------------------
 */

static int solve(struct work *w, ggf_error *err)
{
    const uint64_t fixed = w->b->fixed_bytes;
    const uint64_t room = w->o->bytes > fixed ? w->o->bytes - fixed : 0;
    fill_options(w);
    return knapsack_lagrange(w->knapsack, w->b->n_choices, room, &w->b->solution, err);
}

/* Floors that leave no room for the budget step down. */
static int find_floors(struct work *w, ggf_error *err)
{
    const double mean = 8 * (double)w->o->bytes / (double)(w->plan->n_elements + 1);
    const double unknown = 2; /* IQ2_XXS, Q2_K */
    const struct {
        double mean, unknown;
    } steps[] = { { mean, unknown }, { fmin(mean, 2.5), unknown }, { 0, 0 } };
    int s = GGF_E_ARG;
    for (int i = 0; i < 3 && s == GGF_E_ARG; i++) {
        list_candidates(w, steps[i].mean, steps[i].unknown);
        list_choices(w);
        s = solve(w, err);
    }
    return s;
}

static int measure(struct work *w, ggf_error *err)
{
    for (size_t i = 0; i < w->plan->n_items; i++)
        for (int k = 0; w->b->items[i].open && k < w->candidates[i].n; k++)
            error_table_want(w->table, i, w->candidates[i].types[k]);
    int s = error_table_measure(w->table, &w->o->measure, err);
    if (!s)
        s = expert_shares_measure(&w->b->shares, w->b->layers, w->b->n_layers, w->table,
                                  &w->o->measure, err);
    return s;
}

/* An item of one type. */
static void take_type(struct work *w, size_t item, uint32_t type)
{
    const struct error_entry *e = &w->table->entries[item];
    struct budget_item *out = &w->b->items[item];
    w->types[item] = type;
    out->error = e->error[type];
    out->spread = e->spread[type];
    out->weight = e->weight;
}

/* An expert tensor's item shows the type with most bytes and the mean error. */
static void sum_up_part(struct work *w, const struct expert_layer_items *x,
                        uint64_t first, int part)
{
    const size_t item = x->item[part];
    const struct error_entry *e = &w->table->entries[item];
    struct budget_item *out = &w->b->items[item];
    uint64_t bytes[GGF_TYPE_COUNT] = { 0 }, most = 0;
    if (!out->open) return;
    *out = (struct budget_item){ .open = true, .weight = e->weight };
    for (uint32_t i = 0; i < x->layer.shape.n_expert; i++) {
        const uint32_t type = w->b->types[first + i][part];
        const double share = w->b->shares.part[first + i][part];
        out->error += share * e->error[type];
        out->spread = fmax(out->spread, e->spread[type]);
        bytes[type] += expert_matrix_bytes(x, part, type, w->page);
        if (bytes[type] <= most) continue;
        most = bytes[type];
        w->types[item] = type;
    }
}

static void take_over(struct work *w)
{
    for (size_t i = 0; i < w->plan->n_items; i++)
        if (!w->b->items[i].open) take_type(w, i, w->plan->items[i].type);
    for (uint64_t n = 0; n < w->b->n_choices; n++) {
        const struct choice *c = &w->choices[n];
        const uint32_t type = c->from->types[w->knapsack[n].chosen];
        if (c->record == UINT64_MAX) take_type(w, c->item, type);
        for (int p = 0; p < GGF_PARTS; p++)
            if (c->parts >> p & 1) w->b->types[c->record][p] = type;
    }
    uint64_t first = 0;
    for (uint32_t l = 0; l < w->b->n_layers; l++) {
        const struct expert_layer_items *x = &w->b->layers[l];
        for (int p = 0; p < GGF_PARTS; p++) sum_up_part(w, x, first, p);
        first += x->layer.shape.n_expert;
    }
    plan_set_types(w->plan, w->po, w->types);
}

double expert_budget_cost(const struct expert_budget *b, size_t n_items,
                          double *standard_error)
{
    double sum = 0, variance = 0;
    for (size_t i = 0; i < n_items; i++) {
        const double cost = b->items[i].weight * b->items[i].error;
        if (isnan(cost)) continue; /* not measured: a demand that no table knows */
        sum += cost;
        variance += pow(cost * b->items[i].spread, 2);
    }
    if (standard_error) *standard_error = sqrt(variance);
    return sum;
}

int expert_budget_choose(struct expert_budget *b, struct plan *plan,
                         const struct plan_options *po, struct error_table *table,
                         const struct budget_options *o, uint32_t page, ggf_error *err)
{
    struct work w = {
        .b = b, .plan = plan, .po = po, .table = table, .o = o, .page = page, .tied = true
    };
    free(b->items); /* of a choice before */
    b->items = NULL;
    expert_shares_free(&b->shares);
    for (size_t i = 0; i < plan->n_items; i++)
        if (!strcmp(plan->items[i].name, "output.weight")) w.tied = false;
    int s = allocate(&w) ? 0 : ggf_no_memory(err);
    if (!s) s = expert_shares_init(&b->shares, b->layers, b->n_layers, table, err);
    if (!s) s = find_floors(&w, err);
    if (!s) s = measure(&w, err);
    if (!s) s = solve(&w, err);
    if (!s) take_over(&w);
    release(&w);
    return s;
}
