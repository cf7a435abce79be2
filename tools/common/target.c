/* target.c - see target.h. */
#include "target.h"

#include <inttypes.h>

static uint64_t padded_items(const struct plan *p, uint64_t alignment)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->n_items; i++)
        sum += (p->items[i].bytes + alignment - 1) / alignment * alignment;
    return sum;
}

static void on_progress(void *user, size_t done, size_t n)
{
    struct progress *bar = user;
    bar->total = n;
    progress_update(bar, done, "");
}

static double bits(const struct plan *p, uint64_t bytes)
{
    return p->n_elements ? 8 * (double)bytes / (double)p->n_elements : 0;
}

/* The target is too small: `least` bytes of tensors are the smallest. */
static int too_small(const struct target *t, const struct plan *p, uint64_t header,
                     uint64_t least, ggf_error *err)
{
    char buf[24];
    if (t->size)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the smallest file that the candidate types and the floors allow "
                        "has %" PRIu64 " bytes (%s), more than the target of %" PRIu64,
                        header + least, out_size(buf, header + least), t->size);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the fewest bits for a weight that the candidate types and the "
                    "floors allow are %.4f, more than the target of %.4f",
                    bits(p, least), (double)t->bpw);
}

int target_choose(struct target_result *r, const struct target *t, const sens *given,
                  const ggf_file *f, struct plan *p, const struct plan_options *po,
                  const struct quantize_options *q, ggf_error *err)
{
    uint32_t alignment = 32;
    uint64_t size;
    metadata_get_u32(f, po->overrides, po->n_overrides, "general.alignment", &alignment);
    int s = quantize_size(&size, f, p, po, q, err);
    if (s) return s;
    const uint64_t header = size - padded_items(p, alignment);
    struct progress bar = { .what = "measuring", .off = t->quiet };
    struct budget_options o = { .alignment = alignment, .kind = t->kind };
    o.measure.threads = q->threads;
    o.measure.progress = on_progress;
    o.measure.user = &bar;
    o.measure.mapped = true;
    if (t->size) o.bytes = t->size > header ? t->size - header : 0;
    else o.bytes = (uint64_t)((double)t->bpw / 8 * (double)p->n_elements);
    const double start = out_now();
    s = error_table_init(&r->table, p, po, err);
    if (!s) s = sens_apply(given, f, p, &r->table, err);
    if (!s && t->compare)
        s = comparison_pick(&r->comparison, p, po, o.bytes, &r->table, err);
    if (!s) s = budget_choose(&r->budget, p, po, &r->table, &o, err);
    if (!s) s = comparison_price(&r->comparison, p, po, &r->table, &o, err);
    progress_end(&bar);
    r->seconds = out_now() - start;
    const struct budget *b = &r->budget;
    const uint64_t bytes = b->fixed_bytes + b->solution.bytes;
    if (s == GGF_E_ARG && bytes > o.bytes) return too_small(t, p, header, bytes, err);
    return s ? s : quantize_size(&r->file_bytes, f, p, po, q, err);
}

void target_free(struct target_result *r)
{
    budget_free(&r->budget);
    error_table_free(&r->table);
    comparison_free(&r->comparison);
    *r = (struct target_result){ 0 };
}

void target_print_items(FILE *f, const struct target_result *r, const struct plan *p)
{
    fprintf(f, "%-36s %-8s %7s %15s %11s %8s %11s\n", "tensor", "type", "bits", "bytes",
            "error", "+-", "cost");
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        const struct budget_item *b = &r->budget.items[i];
        if (!b->open) continue;
        fprintf(f, "%-36s %-8s %7.4f %15" PRIu64 " %11.4e %7.2f%% %11.4e\n", item->name,
                ggf_type_name(item->type),
                8 * (double)item->bytes / (double)item->source->count, item->bytes,
                b->error, 100 * b->spread, b->error * b->weight);
    }
}

double target_gap(const struct target_result *r)
{
    const struct knapsack_result *k = &r->budget.solution;
    return k->cost > k->bound ? k->cost - k->bound : 0;
}

void target_print_totals(FILE *f, const struct target_result *r, const struct target *t)
{
    const struct knapsack_result *k = &r->budget.solution;
    fprintf(f, "file size   = %" PRIu64 " bytes", r->file_bytes);
    if (t->size)
        fprintf(f, ", %.3f %% of the target",
                100 * (double)r->file_bytes / (double)t->size);
    fprintf(f, "\ncost        = %.6e, no choice of this size below %.6e (gap %.3f %%)\n",
            k->cost, k->bound, k->cost > 0 ? 100 * target_gap(r) / k->cost : 0);
    fprintf(f,
            "measured    = %" PRIu64 " weights in %.1f s, standard error of the cost "
            "%.2f %%\n",
            error_table_sampled(&r->table), r->seconds,
            k->cost > 0 ? 100 * r->budget.cost_spread / k->cost : 0);
}

/* How much less the choice costs, as a share. */
static double gain(const struct comparison_row *row)
{
    return row->cost > 0 ? 1 - row->chosen / row->cost : 0;
}

void target_print_comparison(FILE *f, const struct target_result *r, const struct plan *p)
{
    fprintf(f, "\n%-14s %15s %7s %11s %24s\n", "", "bytes", "bits", "cost",
            "chosen for these bytes");
    fprintf(f, "%-14s %15" PRIu64 " %7.4f %11.4e\n", "this plan", p->bytes,
            bits(p, p->bytes), r->comparison.cost);
    for (int i = 0; i < r->comparison.n; i++) {
        const struct comparison_row *row = &r->comparison.rows[i];
        fprintf(f, "%-14s %15" PRIu64 " %7.4f %11.4e %14.4e (%+.1f %%)\n", row->name,
                row->plan.bytes, bits(&row->plan, row->plan.bytes), row->cost,
                row->chosen, -100 * gain(row));
    }
}

static void json_comparison(struct json *j, const struct target_result *r)
{
    json_open(j, "comparison", '[');
    for (int i = 0; i < r->comparison.n; i++) {
        const struct comparison_row *row = &r->comparison.rows[i];
        json_open(j, NULL, '{');
        json_str(j, "name", row->name);
        json_u64(j, "bytes", row->plan.bytes);
        json_f64(j, "bits_per_weight", bits(&row->plan, row->plan.bytes));
        json_f64(j, "cost", row->cost);
        json_f64(j, "cost_chosen_for_these_bytes", row->chosen);
        json_f64(j, "gain", gain(row));
        json_close(j, '}');
    }
    json_close(j, ']');
}

void target_json_item(struct json *j, const struct budget_item *item)
{
    json_bool(j, "chosen", item->open);
    if (!item->open) return;
    json_f64(j, "error", item->error);
    json_f64(j, "error_spread", item->spread);
    json_f64(j, "cost", item->error * item->weight);
}

void target_json_totals(struct json *j, const struct target_result *r,
                        const struct target *t)
{
    const struct knapsack_result *k = &r->budget.solution;
    if (t->size) json_u64(j, "target_bytes", t->size);
    else json_f64(j, "target_bits_per_weight", (double)t->bpw);
    json_u64(j, "file_bytes", r->file_bytes);
    json_f64(j, "cost", k->cost);
    json_f64(j, "cost_spread", r->budget.cost_spread);
    json_f64(j, "cost_bound", k->bound);
    json_f64(j, "dual_gap", target_gap(r));
    json_f64(j, "seconds", r->seconds);
    if (r->comparison.n) json_comparison(j, r);
}
