/* probe.c - see probe.h. */
#include "probe.h"

#include "out.h"
#include "probe_model.h"
#include "../../infer/now.h"
#include "../../infer/session/output_error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BANDS = 8, KEY = 64, MAX_PLANS = 8 };

struct work {
    struct probe_result *result;
    struct error_table *table;
    const ggf_file *file;
    const struct budget_options *budget;
    struct plan_options options; /* for all that can be quantized, in any type */
    struct plan plan;
    struct probe_model model;
    int *kind;       /* of each item; -1: it stays as it is */
    int head;        /* the output matrix's, or -1 */
    uint32_t *types; /* to be tried */
    double *alone;   /* divergence of each kind in its coarse type */
    struct tried {
        double *cost; /* of each kind, `alone` being the cost of the coarse type */
        struct estimate kld;
    } plans[MAX_PLANS];
    struct progress bar;
};

/* ---- Kinds of tensors ----------------------------------------------------------- */

static bool is_expert(const char *name) { return strstr(name, "_exps.") != NULL; }

/* What the tensors of a kind have in common: the name without the layer; of experts the
 * band of layers too, gate and up together, for that is where the bytes are. */
static void key_of(char key[KEY], const char *name, uint32_t n_layers)
{
    const int layer = mix_layer(name);
    const char *part = layer >= 0 ? strchr(name + 4, '.') + 1 : name;
    const uint32_t bands = n_layers < BANDS ? n_layers : BANDS;
    if (!is_expert(name) || layer < 0) {
        snprintf(key, KEY, "%s", part);
        return;
    }
    const uint64_t band = (uint64_t)layer * bands / n_layers;
    if (!strncmp(part, "ffn_gate_", 9) || !strncmp(part, "ffn_up_", 7))
        part = "ffn_gate_up_exps.weight";
    snprintf(key, KEY, "%s %u", part, (unsigned)band);
}

static void number_kinds(struct work *w)
{
    const struct plan *p = &w->plan;
    char key[KEY], other[KEY];
    for (size_t i = 0; i < p->n_items; i++) {
        w->kind[i] = -1;
        if (p->items[i].type == p->items[i].source->type) continue;
        key_of(key, p->items[i].name, p->model.n_layers);
        for (size_t k = 0; k < i && w->kind[i] < 0; k++) {
            if (w->kind[k] < 0) continue;
            key_of(other, p->items[k].name, p->model.n_layers);
            if (!strcmp(key, other)) w->kind[i] = w->kind[k];
        }
        if (w->kind[i] < 0) w->kind[i] = w->result->n_kinds++;
        if (!strcmp(p->items[i].name, "output.weight")) w->head = w->kind[i];
    }
}

/* ---- Errors ----------------------------------------------------------------------- */

static int measure_errors(struct work *w, ggf_error *err)
{
    for (size_t i = 0; i < w->table->n; i++)
        for (uint32_t k = 0; w->kind[i] >= 0 && k < GGF_TYPE_COUNT; k++)
            error_table_want(w->table, i, k);
    const int s = error_table_measure(w->table, &w->budget->measure, err);
    return s ? s
             : q3n_output_errors(&w->result->n_outputs, w->model.inputs, w->table,
                                 w->options.refine, w->budget->measure.threads, err);
}

/* ---- One kind after another ---------------------------------------------------------
 */

/* Coarse enough to be told from chance, not so coarse that the model breaks. */
static uint32_t coarse_type(const struct work *w, size_t i)
{
    static const uint32_t types[] = { GGF_Q2_K, GGF_Q3_K, GGF_Q4_0 };
    const int first = !is_expert(w->plan.items[i].name);
    for (int k = first; k < 3; k++)
        if (error_table_can(w->table, i, types[k])) return types[k];
    return GGF_Q8_0;
}

static int try_kind(struct work *w, int kind, ggf_error *err)
{
    struct estimate kld;
    double cost = 0;
    for (size_t i = 0; i < w->table->n; i++) {
        const struct error_entry *e = &w->table->entries[i];
        w->types[i] = w->kind[i] == kind ? coarse_type(w, i) : e->tensor->type;
        cost += e->weight * e->error[w->types[i]];
    }
    const int s = probe_model_kld(&w->model, w->table, w->types, &kld, err);
    if (s || !(cost > 0)) return s;
    /* Rounding can make the mean of what is next to nothing negative. */
    w->alone[kind] = fmax(kld.mean, 1e-9);
    const double scale = w->alone[kind] / cost;
    for (size_t i = 0; i < w->table->n; i++)
        if (w->kind[i] == kind) w->table->entries[i].weight *= scale;
    return 0;
}

static int try_kinds(struct work *w, ggf_error *err)
{
    int s = 0;
    for (int k = 0; k < w->result->n_kinds && !s; k++) {
        s = try_kind(w, k, err);
        progress_update(&w->bar, (uint64_t)k + 1, "");
    }
    return s;
}

/* ---- The curve ------------------------------------------------------------------------
 */

/* What the cost of a kind is to be multiplied with, the root being known.  Behind the
 * head there are no routers. */
static double scale_of(const struct work *w, int kind, double root)
{
    const double kld = w->alone[kind];
    return kind == w->head ? 1 : predict_cost_alone(kld, root) / kld;
}

/* The curve for one guess of the root of single kinds. */
static bool fit_curve(const struct work *w, struct predict *p, double root)
{
    struct predict_point points[MAX_PLANS];
    const int n = w->result->n_plans;
    double noise = 0;
    for (int i = 0; i < n; i++) {
        points[i] = (struct predict_point){ 0, w->plans[i].kld.mean };
        noise += w->plans[i].kld.error / w->plans[i].kld.mean / n;
        for (int k = 0; k < w->result->n_kinds; k++)
            points[i].cost += w->plans[i].cost[k] * scale_of(w, k, root);
    }
    w->result->noise = noise;
    return predict_fit(p, points, n, 1, noise);
}

/* Try roots of single kinds for the one that leaves least scatter: 20 for a decade. */
static bool fit(const struct work *w, struct predict *best, double *root)
{
    struct predict p;
    *root = 0;
    if (!fit_curve(w, best, 0)) return false;
    for (int step = -80; step <= 0; step++) {
        const double guess = pow(10, step / 20.0);
        if (!fit_curve(w, &p, guess) || p.factor >= best->factor) continue;
        *best = p;
        *root = guess;
    }
    return true;
}

/* The same from few plans: single kinds are taken to have half the root. */
static bool guess(const struct work *w, double *root)
{
    struct predict p;
    *root = 0;
    for (int round = 0; round < 10; round++) {
        if (!fit_curve(w, &p, *root)) return false;
        *root = p.root / 2;
    }
    return true;
}

static void scale_weights(const struct work *w, double root, bool back)
{
    for (size_t i = 0; i < w->table->n; i++) {
        if (w->kind[i] < 0) continue;
        const double scale = scale_of(w, w->kind[i], root);
        w->table->entries[i].weight *= back ? 1 / scale : scale;
    }
}

/* ---- Whole plans ----------------------------------------------------------------------
 */

static int try_plan(struct work *w, ggf_error *err)
{
    struct tried *plan = &w->plans[w->result->n_plans];
    plan->cost = calloc((size_t)w->result->n_kinds + 1, sizeof *plan->cost);
    if (!plan->cost) return ggf_no_memory(err);
    for (size_t i = 0; i < w->table->n; i++) {
        const struct error_entry *e = &w->table->entries[i];
        if (w->kind[i] >= 0) plan->cost[w->kind[i]] += e->weight * e->error[w->types[i]];
    }
    const int s = probe_model_kld(&w->model, w->table, w->types, &plan->kld, err);
    w->result->n_plans++;
    const int done = w->result->n_kinds + w->result->n_plans;
    progress_update(&w->bar, (uint64_t)done, "");
    return s;
}

static int try_uniform(struct work *w, uint32_t type, ggf_error *err)
{
    for (size_t i = 0; i < w->table->n; i++) {
        const uint32_t as_it_is = w->table->entries[i].tensor->type;
        w->types[i] = w->kind[i] < 0                       ? as_it_is
                      : error_table_can(w->table, i, type) ? type
                                                           : coarse_type(w, i);
    }
    return try_plan(w, err);
}

/* What the planner would choose; nothing if the floors leave no room. */
static int try_chosen(struct work *w, double bits, double root, ggf_error *err)
{
    struct budget b;
    struct budget_options o = *w->budget;
    o.bytes = (uint64_t)(bits / 8 * (double)w->plan.n_elements);
    scale_weights(w, root, false);
    int s = budget_choose(&b, &w->plan, &w->options, w->table, &o, err);
    scale_weights(w, root, true);
    for (size_t i = 0; i < w->table->n && !s; i++) w->types[i] = w->plan.items[i].type;
    budget_free(&b);
    if (s == GGF_E_ARG) return 0;
    return s ? s : try_plan(w, err);
}

static int too_little(const struct work *w, ggf_error *err)
{
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the probe found too little to predict from: of %d plans some "
                    "changed nothing",
                    w->result->n_plans);
}

/* Uniform plans tell about the root, which tells about the weights, by which plans are
 * chosen; all together give the curve. */
static int try_plans(struct work *w, struct predict *p, ggf_error *err)
{
    static const uint32_t uniform[] = { GGF_Q8_0, GGF_Q6_K, GGF_Q4_K, GGF_Q2_K };
    static const double chosen[] = { 2.6, 3.6, 4.8, 6.2 };
    double root;
    int s = 0;
    for (int i = 0; i < 4 && !s; i++) s = try_uniform(w, uniform[i], err);
    if (!s && !guess(w, &root)) s = too_little(w, err);
    for (int i = 0; i < 4 && !s; i++) s = try_chosen(w, chosen[i], root, err);
    if (!s && !fit(w, p, &root)) s = too_little(w, err);
    if (!s) scale_weights(w, root, false);
    return s;
}

/* ---- All of it
 * -------------------------------------------------------------------------- */

static int prepare(struct work *w, const struct probe *probe, ggf_error *err)
{
    const size_t n = w->table->n + 1;
    w->kind = calloc(n, sizeof *w->kind);
    w->types = calloc(n, sizeof *w->types);
    if (!w->kind || !w->types) return ggf_no_memory(err);
    w->options.mix.to = file_type_by_id(FT_Q8_0);
    w->options.mix.preset = NULL;
    w->options.mix.pure = true;
    const int s = plan_make(&w->plan, w->file, &w->options, err);
    if (s) return s;
    number_kinds(w);
    w->alone = calloc((size_t)w->result->n_kinds + 1, sizeof *w->alone);
    if (!w->alone) return ggf_no_memory(err);
    const int opened =
        probe_model_open(&w->model, w->file, probe->model, probe->text, PROBE_CTX,
                         (uint32_t)probe->n_windows, w->budget->measure.threads, err);
    w->model.refine = w->options.refine;
    return opened;
}

int probe_run(struct predict *predict, struct probe_result *result,
              struct error_table *table, const struct probe *probe, const ggf_file *file,
              const struct plan_options *options, const struct budget_options *budget,
              ggf_error *err)
{
    *result = (struct probe_result){ 0 };
    struct work w = { .result = result,
                      .table = table,
                      .file = file,
                      .budget = budget,
                      .options = *options,
                      .head = -1,
                      .bar = { .what = "probing", .off = probe->quiet } };
    const double start = seconds_now();
    int s = prepare(&w, probe, err);
    if (!s) s = measure_errors(&w, err);
    result->tokens = (uint64_t)w.model.n_windows * w.model.n_ctx;
    w.bar.total = (uint64_t)result->n_kinds + MAX_PLANS;
    if (!s) s = try_kinds(&w, err);
    if (!s) s = try_plans(&w, predict, err);
    progress_end(&w.bar);
    probe_model_close(&w.model);
    plan_free(&w.plan);
    for (int i = 0; i < MAX_PLANS; i++) free(w.plans[i].cost);
    free(w.alone);
    free(w.kind);
    free(w.types);
    result->seconds = seconds_now() - start;
    return s;
}
