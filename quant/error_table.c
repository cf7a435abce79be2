/* error_table.c - see error_table.h. */
#include "error_table.h"

#include "decode.h"
#include "density.h"
#include "encode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_tied(const struct plan *p)
{
    for (size_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->items[i].name, "output.weight")) return false;
    return true;
}

static void init_entry(struct error_entry *e, const struct plan *p, size_t i)
{
    const struct plan_item *item = &p->items[i];
    e->tensor = item->source;
    for (int k = 0; k < GGF_TYPE_COUNT; k++) e->error[k] = e->spread[k] = NAN;
    e->error[e->tensor->type] = e->spread[e->tensor->type] = 0;
    e->weight = p->n_elements ? (double)e->tensor->count / (double)p->n_elements : 0;
}

int error_table_init(struct error_table *t, const struct plan *p,
                     const struct plan_options *o, ggf_error *err)
{
    *t = (struct error_table){ .entries = calloc(p->n_items + 1, sizeof *t->entries),
                               .n = p->n_items };
    if (!t->entries) return ggf_no_memory(err);
    const bool tied = is_tied(p);
    int s = 0;
    for (size_t i = 0; i < t->n && !s; i++) {
        struct error_entry *e = &t->entries[i];
        init_entry(e, p, i);
        e->weight *= density_of(p->items[i].name, p->model.n_layers, tied);
        s = plan_importances(&e->importances, e->tensor, o, err);
    }
    return s;
}

void error_table_free(struct error_table *t)
{
    free(t->entries);
    *t = (struct error_table){ 0 };
}

bool error_table_can(const struct error_table *t, size_t item, uint32_t type)
{
    const struct error_entry *e = &t->entries[item];
    const struct ggf_type_info *info = ggf_type_info(type);
    return info && encode_for(type) && decode_for(type) && decode_for(e->tensor->type) &&
           e->tensor->ne[0] % info->block == 0 &&
           (e->importances || !encode_needs_weights(type));
}

void error_table_want(struct error_table *t, size_t item, uint32_t type)
{
    if (error_table_can(t, item, type) && isnan(t->entries[item].error[type]))
        t->entries[item].wanted |= 1ull << type;
}

void error_table_want_all(struct error_table *t, const uint32_t *types)
{
    for (size_t i = 0; i < t->n; i++) error_table_want(t, i, types[i]);
}

static struct sensitivity make_task(const struct error_entry *e)
{
    struct sensitivity s = { .tensor = e->tensor, .weights = e->importances };
    for (uint32_t k = 0; k < GGF_TYPE_COUNT; k++)
        if (e->wanted >> k & 1) s.types[s.n_types++] = k;
    return s;
}

static void take_result(struct error_entry *e, const struct sensitivity *s)
{
    for (int k = 0; k < s->n_types; k++) {
        e->error[s->types[k]] = s->error[k];
        e->spread[s->types[k]] = s->spread[k];
    }
    e->sampled += s->sampled;
    e->wanted = 0;
}

int error_table_measure(struct error_table *t, const struct sensitivity_options *o,
                        ggf_error *err)
{
    size_t n = 0;
    struct sensitivity *list = calloc(t->n + 1, sizeof *list);
    if (!list) return ggf_no_memory(err);
    for (size_t i = 0; i < t->n; i++)
        if (t->entries[i].wanted) list[n++] = make_task(&t->entries[i]);
    const int s = sensitivity_measure(list, n, o, err);
    for (size_t i = 0, k = 0; i < t->n && !s; i++)
        if (t->entries[i].wanted) take_result(&t->entries[i], &list[k++]);
    free(list);
    return s;
}

double error_table_cost(const struct error_table *t, const uint32_t *types,
                        double *standard_error)
{
    double cost = 0, variance = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct error_entry *e = &t->entries[i];
        const double c = e->weight * e->error[types[i]];
        cost += c;
        variance += c * c * e->spread[types[i]] * e->spread[types[i]];
    }
    if (standard_error) *standard_error = sqrt(variance);
    return cost;
}

uint64_t error_table_sampled(const struct error_table *t)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->n; i++) sum += t->entries[i].sampled;
    return sum;
}
