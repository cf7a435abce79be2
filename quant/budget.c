/* budget.c - see budget.h. */
#include "budget.h"

#include "encode.h"

#include <stdlib.h>
#include <string.h>

/* ---- What an error costs ---------------------------------------------------- */

struct class
{
    const char *part;    /* of the name */
    double density;      /* share of the divergence / share of the weights */
    float floor, floor3; /* fewest bits for a weight; the same where the mean is >= 3 */
};

#define FLOOR_SMALL 6.5F, 8.5F
#define FLOOR_DENSE 5.5F, 5.5F

/* Densities: per-class drops of KL divergence published by Thireus (GGUF-Tool-Suite,
 * models/Qwen3.5-35B-A3B), divided by the classes' share of the weights.  Feed-forward
 * tensors of dense layers are not in there and count as the average.  The first part
 * found in the name decides. */
static const struct class classes[] = {
    { "ffn_gate_exps", 0.32, 0, 0 },    { "ffn_up_exps", 0.34, 0, 0 },
    { "ffn_gate_up_exps", 0.33, 0, 0 }, { "ffn_down_exps", 0.38, 0, 0 },
    { "_shexp", 21, FLOOR_DENSE },      { "ssm_alpha", 430, FLOOR_SMALL },
    { "ssm_beta", 495, FLOOR_SMALL },   { "ssm_ba", 460, FLOOR_SMALL },
    { "ssm_out", 14, FLOOR_DENSE },     { "attn_v.", 80, FLOOR_SMALL },
    { "attn_k.", 52, FLOOR_SMALL },     { "attn_output", 17, FLOOR_DENSE },
    { "attn_gate", 10.5, FLOOR_DENSE }, { "attn_qkv", 6.9, FLOOR_DENSE },
    { "attn_q.", 6.4, FLOOR_DENSE },    { "ffn_", 1, 0, 0 },
    { "token_embd", 2, 4.25F, 4.25F },  { "output.weight", 8.75, 5.5F, 5.5F },
};
static const struct class other = { "", 6.9, FLOOR_DENSE }; /* as attention */

static const struct class *class_of(const char *name, bool tied)
{
    if (tied && !strcmp(name, "token_embd.weight")) name = "output.weight";
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strstr(name, classes[i].part)) return &classes[i];
    return &other;
}

double budget_density(const char *name, uint32_t n_layers, bool tied)
{
    const double density = class_of(name, tied)->density;
    const int layer = mix_layer(name);
    if (layer < 0 || n_layers < 2) return density;
    /* The same source: peaks in the first sixth (but not the very first layer) and in the
     * last layer, 0.6 to 1.9 times the mean. */
    if ((uint32_t)layer + 1 == n_layers) return density * 1.5;
    if (layer >= 1 && 6 * (uint32_t)layer <= n_layers) return density * 1.4;
    return density * 0.9;
}

double budget_floor(const char *name, double mean, bool tied)
{
    const struct class *c = class_of(name, tied);
    const double bits = mean >= 3 ? c->floor3 : c->floor;
    const bool head = c->floor == 5.5F && strstr(c->part, "output.weight");
    return mean < 2.2 && c->floor == 5.5F && !head ? 4.5 : bits;
}

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

static void list_types(struct sensitivity *s, const char *name, double floor,
                       enum budget_kind kind)
{
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        const uint32_t type = candidates[i].type;
        if ((kind == BUDGET_K && !candidates[i].k) ||
            (kind == BUDGET_IQ && !candidates[i].iq))
            continue;
        if (!encode_for(type) || !fits(type, s->tensor->ne[0])) continue;
        if (!s->weights &&
            (encode_needs_weights(type) || mix_wants_matrix(name, type, NULL)))
            continue;
        if (type_bits(type) >= floor || type == GGF_Q8_0) s->types[s->n_types++] = type;
    }
}

/* ---- From tensors to a choice ----------------------------------------------- */

/* An item of the knapsack: one tensor, or gate and up of a layer's experts, which
 * engines like to multiply together. */
struct group {
    size_t member[2]; /* numbers of items */
    int n;
    struct knapsack_option options[SENSITIVITY_TYPES];
};

struct work {
    struct budget *b;
    struct plan *plan;
    const struct plan_options *po;
    const struct budget_options *o;
    bool tied;
    uint64_t n_weights; /* of the open items */
    struct sensitivity *list;
    size_t *place; /* item -> its place in list */
    size_t n_open, n_groups;
    struct group *groups;
    struct knapsack_item *knapsack;
    uint32_t *types;
};

static uint64_t padded(const struct work *w, uint64_t bytes)
{
    const uint64_t a = w->o->alignment;
    return (bytes + a - 1) / a * a;
}

static bool is_open(const struct work *w, size_t i)
{
    const struct plan_item *item = &w->plan->items[i];
    const struct mix_options *mix = &w->po->mix;
    const struct mix_tensor t = plan_mix_tensor(w->plan, w->po, i);
    if (t.forced != MIX_NO_TYPE || !mix_allows(&t, mix)) return false;
    if (mix->output_type != MIX_NO_TYPE && !strcmp(t.name, "output.weight")) return false;
    if (mix->embedding_type != MIX_NO_TYPE && !strcmp(t.name, "token_embd.weight"))
        return false;
    return item->source->ne[0] % 32 == 0;
}

static bool allocate(struct work *w)
{
    const size_t n = w->plan->n_items + 1;
    w->b->items = calloc(n, sizeof *w->b->items);
    w->list = calloc(n, sizeof *w->list);
    w->place = calloc(n, sizeof *w->place);
    w->groups = calloc(n, sizeof *w->groups);
    w->knapsack = calloc(n, sizeof *w->knapsack);
    w->types = calloc(n, sizeof *w->types);
    return w->b->items && w->list && w->place && w->groups && w->knapsack && w->types;
}

static void release(struct work *w)
{
    free(w->list);
    free(w->place);
    free(w->groups);
    free(w->knapsack);
    free(w->types);
}

static void list_open(struct work *w, double mean)
{
    const struct plan *p = w->plan;
    w->tied = true;
    for (size_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->items[i].name, "output.weight")) w->tied = false;
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        w->types[i] = item->type;
        w->b->items[i].open = is_open(w, i);
        if (!w->b->items[i].open) {
            w->b->fixed_bytes += padded(w, item->bytes);
            continue;
        }
        struct sensitivity *s = &w->list[w->n_open];
        w->place[i] = w->n_open++;
        w->n_weights += item->source->count;
        s->tensor = item->source;
        s->weights = item->weights;
        list_types(s, item->name, budget_floor(item->name, mean, w->tied), w->o->kind);
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
            w->list[w->place[k]].n_types == w->list[w->place[i]].n_types)
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

static void fill_groups(struct work *w)
{
    for (size_t g = 0; g < w->n_groups; g++) {
        struct group *group = &w->groups[g];
        for (int m = 0; m < group->n; m++) {
            const size_t i = group->member[m];
            const struct sensitivity *s = &w->list[w->place[i]];
            for (int k = 0; k < s->n_types; k++) {
                const uint64_t rows = s->tensor->count / s->tensor->ne[0];
                group->options[k].bytes +=
                    padded(w, rows * ggf_row_bytes(s->types[k], s->tensor->ne[0]));
                group->options[k].cost += w->b->items[i].weight * s->error[k];
            }
            w->knapsack[g].n_options = s->n_types;
        }
        w->knapsack[g].options = group->options;
    }
}

static void weigh(struct work *w)
{
    for (size_t i = 0; i < w->plan->n_items; i++) {
        const struct plan_item *item = &w->plan->items[i];
        if (!w->b->items[i].open) continue;
        w->b->items[i].weight =
            budget_density(item->name, w->plan->model.n_layers, w->tied) *
            (double)item->source->count / (double)w->n_weights;
    }
}

static void take_over(struct work *w)
{
    for (size_t g = 0; g < w->n_groups; g++)
        for (int m = 0; m < w->groups[g].n; m++) {
            const size_t i = w->groups[g].member[m];
            const struct sensitivity *s = &w->list[w->place[i]];
            const int k = w->knapsack[g].chosen;
            w->types[i] = s->types[k];
            w->b->items[i].error = s->error[k];
            w->b->items[i].spread = s->spread;
            w->b->sampled += s->sampled;
        }
    plan_set_types(w->plan, w->po, w->types);
}

static int solve(struct work *w, ggf_error *err)
{
    const uint64_t fixed = w->b->fixed_bytes;
    const uint64_t room = w->o->bytes > fixed ? w->o->bytes - fixed : 0;
    return knapsack_solve(w->knapsack, w->n_groups, room, 0, &w->b->solution, err);
}

/* List items and candidates, with the floors that belong to `mean`, and see whether the
 * smallest fit the budget: costs are all 0 here. */
static int lay_out(struct work *w, double mean, ggf_error *err)
{
    const size_t n = w->plan->n_items + 1;
    memset(w->list, 0, n * sizeof *w->list);
    memset(w->groups, 0, n * sizeof *w->groups);
    memset(w->knapsack, 0, n * sizeof *w->knapsack);
    w->n_open = w->n_groups = 0;
    w->n_weights = w->b->fixed_bytes = 0;
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
    const int s = sensitivity_measure(w->list, w->n_open, &w->o->measure, err);
    if (s) return s;
    memset(w->groups, 0, w->n_groups * sizeof *w->groups);
    w->n_groups = 0;
    weigh(w);
    make_groups(w);
    fill_groups(w);
    return solve(w, err);
}

int budget_choose(struct budget *b, struct plan *plan, const struct plan_options *po,
                  const struct budget_options *o, ggf_error *err)
{
    *b = (struct budget){ 0 };
    struct work w = { .b = b, .plan = plan, .po = po, .o = o };
    int s = allocate(&w) ? 0 : ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
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
