/* compare.c - see compare.h. */
#include "compare.h"

#include "preset.h"

#include <stdlib.h>

/* ---- Finding ---------------------------------------------------------------- */

/* The file types in use; the others are of older kinds, or for models trained to them. */
static const uint32_t usual[] = {
    FT_Q8_0,   FT_Q6_K,   FT_Q5_K_M,  FT_Q5_K_S, FT_Q4_K_M,  FT_Q4_K_S, FT_IQ4_XS,
    FT_Q3_K_L, FT_Q3_K_M, FT_Q3_K_S,  FT_IQ3_M,  FT_IQ3_XXS, FT_Q2_K,   FT_IQ2_M,
    FT_IQ2_S,  FT_IQ2_XS, FT_IQ2_XXS, FT_IQ1_M,  FT_IQ1_S,
};

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* Take the plan of these options into the row if it is nearer to `bytes`. */
static int consider(struct comparison_row *row, const char *name, const struct plan *p,
                    const struct plan_options *o, uint64_t bytes, ggf_error *err)
{
    struct plan other;
    const int s = plan_again(&other, p, o, err);
    if (s) return s;
    if (plan_check(&other, o, NULL) ||
        (row->name && distance(other.bytes, bytes) >= distance(row->plan.bytes, bytes))) {
        plan_free(&other);
        return 0;
    }
    plan_free(&row->plan);
    *row = (struct comparison_row){ .name = name, .plan = other };
    return 0;
}

static int nearest_preset(struct comparison_row *row, const struct plan *p,
                          struct plan_options o, uint64_t bytes, ggf_error *err)
{
    int s = 0;
    for (const struct preset *preset = presets; preset->name && !s; preset++) {
        o.mix.preset = preset;
        o.mix.to = file_type_by_id(preset->file_type);
        s = consider(row, preset->name, p, &o, bytes, err);
    }
    return s;
}

static int nearest_file_type(struct comparison_row *row, const struct plan *p,
                             struct plan_options o, uint64_t bytes, ggf_error *err)
{
    int s = 0;
    for (size_t i = 0; i < sizeof usual / sizeof *usual && !s; i++) {
        o.mix.to = file_type_by_id(usual[i]);
        s = consider(row, o.mix.to->name, p, &o, bytes, err);
    }
    return s;
}

static void want(struct error_table *t, const struct plan *p)
{
    for (size_t i = 0; i < p->n_items; i++) error_table_want(t, i, p->items[i].type);
}

int comparison_pick(struct comparison *c, const struct plan *p,
                    const struct plan_options *po, uint64_t bytes, struct error_table *t,
                    ggf_error *err)
{
    struct plan_options o = *po;
    struct comparison_row rows[2] = { 0 };
    *c = (struct comparison){ 0 };
    o.mix.pure = false;
    int s = nearest_preset(&rows[0], p, o, bytes, err);
    if (!s) s = nearest_file_type(&rows[1], p, o, bytes, err);
    for (int i = 0; i < 2; i++)
        if (rows[i].name) c->rows[c->n++] = rows[i];
    if (s) {
        comparison_free(c);
        return s;
    }
    want(t, p); /* what was demanded is in all of them */
    for (int i = 0; i < c->n; i++) want(t, &c->rows[i].plan);
    return 0;
}

/* ---- Pricing ---------------------------------------------------------------- */

static int cost_of(double *cost, const struct error_table *t, const struct plan *p,
                   ggf_error *err)
{
    uint32_t *types = calloc(p->n_items + 1, sizeof *types);
    if (!types) return ggf_no_memory(err);
    for (size_t i = 0; i < p->n_items; i++) types[i] = p->items[i].type;
    *cost = error_table_cost(t, types, NULL);
    free(types);
    return 0;
}

static uint64_t padded_bytes(const struct plan *p, uint64_t alignment)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_items; i++)
        sum += (p->items[i].bytes + alignment - 1) / alignment * alignment;
    return sum;
}

/* A choice with the bytes of the row's plan.  Where the floors leave none, it costs what
 * the row does. */
static int choose(struct comparison_row *row, const struct plan_options *po,
                  struct error_table *t, const struct budget_options *options,
                  ggf_error *err)
{
    struct budget_options o = *options;
    struct budget b = { 0 };
    struct plan p;
    o.bytes = padded_bytes(&row->plan, o.alignment);
    int s = plan_again(&p, &row->plan, po, err);
    if (s) return s;
    s = budget_choose(&b, &p, po, t, &o, err);
    row->chosen = row->cost;
    if (s == GGF_E_ARG) s = 0;
    else if (!s) s = cost_of(&row->chosen, t, &p, err);
    budget_free(&b);
    plan_free(&p);
    return s;
}

int comparison_price(struct comparison *c, const struct plan *p,
                     const struct plan_options *po, struct error_table *t,
                     const struct budget_options *o, ggf_error *err)
{
    int s = c->n ? cost_of(&c->cost, t, p, err) : 0;
    for (int i = 0; i < c->n && !s; i++) {
        s = cost_of(&c->rows[i].cost, t, &c->rows[i].plan, err);
        if (!s) s = choose(&c->rows[i], po, t, o, err);
    }
    return s;
}

void comparison_free(struct comparison *c)
{
    for (int i = 0; i < c->n; i++) plan_free(&c->rows[i].plan);
    *c = (struct comparison){ 0 };
}
