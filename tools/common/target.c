/* target.c - see target.h. */
#include "target.h"

#include "../../infer/now.h"
#include "probe_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

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

static struct budget_options measure_options(const struct target *t,
                                             const struct plan_options *po, int threads,
                                             struct progress *bar)
{
    struct budget_options o = { .alignment = 32, .kind = t->kind };
    o.measure.threads = threads;
    o.measure.progress = on_progress;
    o.measure.user = bar;
    o.measure.mapped = true;
    o.measure.refine = po->refine;
    return o;
}

int target_measure(struct target_result *r, struct predict *predict,
                   const struct target *t, const sens *given, const ggf_file *f,
                   const struct plan *p, const struct plan_options *po,
                   const struct budget_options *o, ggf_error *err)
{
    int s = error_table_init(&r->table, p, po, err);
    if (!s) s = sens_apply(given, f, p, &r->table, err);
    for (size_t i = 0; i < p->n_items && !s; i++)
        error_table_want(&r->table, i, p->items[i].type);
    if (!s && t->compare)
        s = comparison_pick(&r->comparison, p, po, o->bytes, &r->table, err);
    if (!s && t->probe.in)
        s = probe_file_read(t->probe.in, predict, &r->probe, &r->table, p, err);
    if (!s && t->probe.text)
        s = probe_run(predict, &r->probe, &r->table, &t->probe, f, po, o, err);
    if (!s && t->probe.out)
        s = probe_file_write(t->probe.out, t->probe.force, predict, &r->probe, &r->table,
                             p, err);
    return s;
}

void target_predict(struct target_result *r, const struct predict *predict, double cost,
                    double spread)
{
    const struct predict known =
        predict->measured ? *predict : predict_published(predict_weights(&r->table));
    r->predicted = predict_kld(&known, cost, spread);
    r->probed = known.measured;
}

static int predict_plan(struct target_result *r, const struct predict *predict,
                        const struct plan *p, ggf_error *err)
{
    uint32_t *types = calloc(p->n_items + 1, sizeof *types);
    double spread;
    if (!types) return ggf_no_memory(err);
    for (size_t i = 0; i < p->n_items; i++) types[i] = p->items[i].type;
    const double cost = error_table_cost(&r->table, types, &spread);
    target_predict(r, predict, cost, spread);
    free(types);
    return 0;
}

int target_choose(struct target_result *r, const struct target *t, const sens *given,
                  const ggf_file *f, struct plan *p, const struct plan_options *po,
                  const struct quantize_options *q, ggf_error *err)
{
    struct progress bar = { .what = "measuring", .off = t->quiet };
    struct budget_options o = measure_options(t, po, q->threads, &bar);
    struct predict predict = { 0 };
    uint64_t size;
    metadata_get_u32(f, po->overrides, po->n_overrides, "general.alignment",
                     &o.alignment);
    int s = quantize_size(&size, f, p, po, q, err);
    if (s) return s;
    const uint64_t header = size - padded_items(p, o.alignment);
    if (t->size) o.bytes = t->size > header ? t->size - header : 0;
    else o.bytes = (uint64_t)((double)t->bpw / 8 * (double)p->n_elements);
    const double start = seconds_now();
    s = target_measure(r, &predict, t, given, f, p, po, &o, err);
    if (!s) s = budget_choose(&r->budget, p, po, &r->table, &o, err);
    if (!s) s = comparison_price(&r->comparison, p, po, &r->table, &o, err);
    progress_end(&bar);
    r->seconds = seconds_now() - start;
    const struct budget *b = &r->budget;
    const uint64_t bytes = b->fixed_bytes + b->solution.bytes;
    if (s == GGF_E_ARG && bytes > o.bytes) return too_small(t, p, header, bytes, err);
    if (!s) s = predict_plan(r, &predict, p, err);
    return s ? s : quantize_size(&r->file_bytes, f, p, po, q, err);
}

int target_price(struct target_result *r, const struct target *t, const ggf_file *f,
                 const struct plan *p, const struct plan_options *po, int threads,
                 ggf_error *err)
{
    struct progress bar = { .what = "measuring", .off = t->quiet };
    const struct budget_options o = measure_options(t, po, threads, &bar);
    struct predict predict = { 0 };
    int s = target_measure(r, &predict, t, NULL, f, p, po, &o, err);
    if (!s) s = error_table_measure(&r->table, &o.measure, err);
    progress_end(&bar);
    return s ? s : predict_plan(r, &predict, p, err);
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

void target_print_prediction(FILE *f, const struct target_result *r)
{
    const struct prediction *k = &r->predicted;
    if (!isfinite(k->kld)) return;
    fprintf(f, "predicted KLD = %.3g (%.2g to %.2g)", k->kld, k->low, k->high);
    if (!r->probed) {
        fputs(", going by what is published of other models; --probe runs this one\n", f);
        return;
    }
    fprintf(f,
            ", on text like the probe's\nprobe       = %" PRIu64
            " tokens, %d kinds of tensors and %d plans tried in %.1f s\n",
            r->probe.tokens, r->probe.n_kinds, r->probe.n_plans, r->probe.seconds);
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

void target_json_prediction(struct json *j, const struct target_result *r)
{
    json_open(j, "predicted_kld", '{');
    json_f64(j, "mean", r->predicted.kld);
    json_f64(j, "low", r->predicted.low);
    json_f64(j, "high", r->predicted.high);
    json_bool(j, "probed", r->probed);
    if (r->probed) {
        json_u64(j, "tokens", r->probe.tokens);
        json_u64(j, "kinds", (uint64_t)r->probe.n_kinds);
        json_u64(j, "plans", (uint64_t)r->probe.n_plans);
        json_f64(j, "noise", r->probe.noise);
        json_f64(j, "seconds", r->probe.seconds);
    }
    json_close(j, '}');
}
