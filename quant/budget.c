/* budget.c - see budget.h. */
#include "budget.h"

#include "density.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Candidates ------------------------------------------------------------- */

/* MXFP4, NVFP4, the ternary and the 1- and 2-bit linear types lose more than others of
 * their size, and are for models trained to them. */
static const struct {
    uint32_t type;
    bool k, iq;
} candidates[] = {
    { GGF_Q8_0, true, true },     { GGF_Q6_K, true, true },
    { GGF_Q5_K, true, true },     { GGF_Q4_K, true, true },
    { GGF_Q3_K, true, false },    { GGF_Q2_K, true, false },
    { GGF_IQ4_XS, false, true },  { GGF_IQ4_NL, false, true },
    { GGF_IQ3_S, false, true },   { GGF_IQ3_XXS, false, true },
    { GGF_IQ2_S, false, true },   { GGF_IQ2_XS, false, true },
    { GGF_IQ2_XXS, false, true }, { GGF_IQ1_M, false, true },
    { GGF_IQ1_S, false, true },   { GGF_Q5_1, true, true },
    { GGF_Q5_0, true, true },     { GGF_Q4_1, true, false },
    { GGF_Q4_0, true, false },
};

static double type_bits(uint32_t type)
{
    const struct ggf_type_info *info = ggf_type_info(type);
    return 8 * (double)info->block_bytes / info->block;
}

/* Rows of whole super-blocks have better types than those of 32; all may be Q8_0. */
static bool fits(uint32_t type, uint64_t row)
{
    const uint32_t block = ggf_type_info(type)->block;
    return row % block == 0 && (block == 256 || row % 256 || type == GGF_Q8_0);
}

int budget_types(uint32_t types[KNAPSACK_OPTIONS], const struct error_table *t, size_t i,
                 const char *name, double floor, enum budget_kind kind)
{
    const struct error_entry *e = &t->entries[i];
    int n = 0;
    for (size_t k = 0; k < sizeof candidates / sizeof *candidates; k++) {
        const uint32_t type = candidates[k].type;
        if ((kind == BUDGET_K && !candidates[k].k) ||
            (kind == BUDGET_IQ && !candidates[k].iq))
            continue;
        if (!error_table_can(t, i, type) || !fits(type, e->tensor->ne[0])) continue;
        if (!e->importances && mix_wants_matrix(name, type, NULL)) continue;
        if (type_bits(type) >= floor || type == GGF_Q8_0) types[n++] = type;
    }
    return n;
}

bool budget_is_open(const struct plan *plan, const struct plan_options *po, size_t i)
{
    const struct mix_options *mix = &po->mix;
    const struct mix_tensor t = plan_mix_tensor(plan, po, i);
    if (t.forced != MIX_NO_TYPE || !mix_allows(&t, mix)) return false;
    if (mix->output_type != MIX_NO_TYPE && !strcmp(t.name, "output.weight")) return false;
    if (mix->embedding_type != MIX_NO_TYPE && !strcmp(t.name, "token_embd.weight"))
        return false;
    return plan->items[i].source->ne[0] % 32 == 0;
}

/* ---- From tensors to a choice ----------------------------------------------- */

/* An item of the knapsack: one tensor, or gate and up of a layer's experts, which
 * engines like to multiply together. */
struct group {
    size_t member[2]; /* numbers of items */
    int n;
    struct knapsack_option options[KNAPSACK_OPTIONS];
};

/* The types that an item may get. */
struct choice {
    uint32_t types[KNAPSACK_OPTIONS];
    int n;
};

struct work {
    struct budget *b;
    struct plan *plan;
    const struct plan_options *po;
    struct error_table *table;
    const struct budget_options *o;
    struct choice *choices; /* of each item */
    size_t n_groups;
    struct group *groups;
    struct knapsack_item *knapsack;
    uint32_t *types;
};

static uint64_t padded(const struct work *w, uint64_t bytes)
{
    const uint64_t a = w->o->alignment;
    return (bytes + a - 1) / a * a;
}

static bool allocate(struct work *w)
{
    const size_t n = w->plan->n_items + 1;
    w->b->items = calloc(n, sizeof *w->b->items);
    w->choices = calloc(n, sizeof *w->choices);
    w->groups = calloc(n, sizeof *w->groups);
    w->knapsack = calloc(n, sizeof *w->knapsack);
    w->types = calloc(n, sizeof *w->types);
    return w->b->items && w->choices && w->groups && w->knapsack && w->types;
}

static void release(struct work *w)
{
    free(w->choices);
    free(w->groups);
    free(w->knapsack);
    free(w->types);
}

static void list_open(struct work *w, double mean)
{
    const struct plan *p = w->plan;
    bool tied = true;
    for (size_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->items[i].name, "output.weight")) tied = false;
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        w->types[i] = item->type;
        w->b->items[i].open = budget_is_open(p, w->po, i);
        if (w->b->items[i].open)
            w->choices[i].n =
                budget_types(w->choices[i].types, w->table, i, item->name,
                             density_floor(item->name, mean, tied), w->o->kind);
        else w->b->fixed_bytes += padded(w, item->bytes);
    }
}

/* The item with the up projection that belongs to a gate's, or n_items. */
static size_t partner(const struct work *w, size_t i)
{
    const struct plan *p = w->plan;
    const char *part = strstr(p->items[i].name, "ffn_gate_exps");
    char name[64];
    if (!part) return p->n_items;
    const size_t head = (size_t)(part - p->items[i].name);
    memcpy(name, p->items[i].name, sizeof name);
    memcpy(name + head, "ffn_up", 6);
    strcpy(name + head + 6, part + 8);
    for (size_t k = 0; k < p->n_items; k++)
        if (!strcmp(p->items[k].name, name) && w->b->items[k].open &&
            w->choices[k].n == w->choices[i].n)
            return k;
    return p->n_items;
}

static void make_groups(struct work *w)
{
    for (size_t i = 0; i < w->plan->n_items; i++) {
        bool taken = false;
        if (!w->b->items[i].open) continue;
        for (size_t g = 0; g < w->n_groups && !taken; g++)
            taken = w->groups[g].n == 2 && w->groups[g].member[1] == i;
        if (taken) continue;
        struct group *g = &w->groups[w->n_groups++];
        g->member[g->n++] = i;
        const size_t up = partner(w, i);
        if (up < w->plan->n_items) g->member[g->n++] = up;
    }
}

/* Sizes of the options, and costs where they are measured. */
static void fill_groups(struct work *w)
{
    for (size_t g = 0; g < w->n_groups; g++) {
        struct group *group = &w->groups[g];
        memset(group->options, 0, sizeof group->options);
        for (int m = 0; m < group->n; m++) {
            const size_t i = group->member[m];
            const struct error_entry *e = &w->table->entries[i];
            const uint64_t row = e->tensor->ne[0], rows = e->tensor->count / row;
            for (int k = 0; k < w->choices[i].n; k++) {
                const uint32_t type = w->choices[i].types[k];
                const double cost = e->weight * e->error[type];
                group->options[k].bytes += padded(w, rows * ggf_row_bytes(type, row));
                group->options[k].cost += isnan(cost) ? 0 : cost;
            }
            w->knapsack[g].n_options = w->choices[i].n;
        }
        w->knapsack[g].options = group->options;
    }
}

static void take_over(struct work *w)
{
    double variance = 0;
    for (size_t g = 0; g < w->n_groups; g++)
        for (int m = 0; m < w->groups[g].n; m++) {
            const size_t i = w->groups[g].member[m];
            const struct error_entry *e = &w->table->entries[i];
            const uint32_t type = w->choices[i].types[w->knapsack[g].chosen];
            struct budget_item *item = &w->b->items[i];
            w->types[i] = type;
            item->error = e->error[type];
            item->spread = e->spread[type];
            item->weight = e->weight;
            variance += pow(item->weight * item->error * item->spread, 2);
        }
    w->b->cost_spread = sqrt(variance);
    plan_set_types(w->plan, w->po, w->types);
}

static int solve(struct work *w, ggf_error *err)
{
    const uint64_t fixed = w->b->fixed_bytes;
    const uint64_t room = w->o->bytes > fixed ? w->o->bytes - fixed : 0;
    return knapsack_solve(w->knapsack, w->n_groups, room, 0, &w->b->solution, err);
}

/* List items and candidates, with the floors that belong to `mean`, and see whether the
 * smallest fit the budget. */
static int lay_out(struct work *w, double mean, ggf_error *err)
{
    memset(w->groups, 0, (w->plan->n_items + 1) * sizeof *w->groups);
    memset(w->knapsack, 0, (w->plan->n_items + 1) * sizeof *w->knapsack);
    w->n_groups = 0;
    w->b->fixed_bytes = 0;
    list_open(w, mean);
    make_groups(w);
    fill_groups(w);
    return solve(w, err);
}

/* Floors that leave no room for the budget step down to those of smaller models. */
static int find_floors(struct work *w, ggf_error *err)
{
    const struct plan *p = w->plan;
    const double bits = 8 * (double)w->o->bytes;
    const double steps[] = { bits / (double)(p->n_elements + 1), 2.5, 0 };
    int s = GGF_E_ARG;
    for (int i = 0; i < 3 && s == GGF_E_ARG; i++)
        if (!i || steps[i] < steps[0]) s = lay_out(w, steps[i], err);
    return s;
}

static int measure_and_solve(struct work *w, ggf_error *err)
{
    for (size_t i = 0; i < w->plan->n_items; i++)
        for (int k = 0; w->b->items[i].open && k < w->choices[i].n; k++)
            error_table_want(w->table, i, w->choices[i].types[k]);
    const int s = error_table_measure(w->table, &w->o->measure, err);
    if (s) return s;
    fill_groups(w);
    return solve(w, err);
}

int budget_choose(struct budget *b, struct plan *plan, const struct plan_options *po,
                  struct error_table *table, const struct budget_options *o,
                  ggf_error *err)
{
    *b = (struct budget){ 0 };
    struct work w = { .b = b, .plan = plan, .po = po, .table = table, .o = o };
    int s = allocate(&w) ? 0 : ggf_no_memory(err);
    if (!s) s = find_floors(&w, err);
    if (!s) s = measure_and_solve(&w, err);
    if (!s) take_over(&w);
    release(&w);
    return s;
}

void budget_free(struct budget *b)
{
    free(b->items);
    *b = (struct budget){ 0 };
}
