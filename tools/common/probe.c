/* probe.c - see probe.h. */
#include "probe.h"

#include "out.h"
#include "probe_model.h"

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
    uint32_t *types; /* to be tried */
    struct predict_point points[MAX_PLANS];
    double noise[MAX_PLANS];
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
    }
}

/* ---- Errors ----------------------------------------------------------------------- */

static int measure_errors(struct work *w, ggf_error *err)
{
    static const uint32_t all[] = { GGF_Q8_0,    GGF_Q6_K,    GGF_Q5_K,   GGF_Q4_K,
                                    GGF_Q3_K,    GGF_Q2_K,    GGF_IQ4_XS, GGF_IQ4_NL,
                                    GGF_IQ3_S,   GGF_IQ3_XXS, GGF_IQ2_S,  GGF_IQ2_XS,
                                    GGF_IQ2_XXS, GGF_IQ1_M,   GGF_IQ1_S,  GGF_Q5_1,
                                    GGF_Q5_0,    GGF_Q4_1,    GGF_Q4_0 };
    for (size_t i = 0; i < w->table->n; i++)
        for (size_t k = 0; w->kind[i] >= 0 && k < sizeof all / sizeof *all; k++)
            error_table_want(w->table, i, all[k]);
    return error_table_measure(w->table, &w->budget->measure, err);
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
    /* Rounding alone can make the mean of what is next to nothing negative. */
    const double scale = fmax(kld.mean, 1e-9) / cost;
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

/* ---- Whole plans ----------------------------------------------------------------------
 */

static int try_plan(struct work *w, ggf_error *err)
{
    struct estimate kld;
    const double cost = error_table_cost(w->table, w->types, NULL);
    const int s = probe_model_kld(&w->model, w->table, w->types, &kld, err);
    const int n = w->result->n_plans;
    if (s) return s;
    progress_update(&w->bar, (uint64_t)(w->result->n_kinds + n + 1), "");
    if (!(cost > 0) || !(kld.mean > 0)) return 0;
    w->points[n] = (struct predict_point){ cost, kld.mean };
    w->noise[n] = kld.error / kld.mean;
    w->result->n_plans++;
    return 0;
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
static int try_chosen(struct work *w, double bits, ggf_error *err)
{
    struct budget b;
    struct budget_options o = *w->budget;
    o.bytes = (uint64_t)(bits / 8 * (double)w->plan.n_elements);
    int s = budget_choose(&b, &w->plan, &w->options, w->table, &o, err);
    for (size_t i = 0; i < w->table->n && !s; i++) w->types[i] = w->plan.items[i].type;
    budget_free(&b);
    if (s == GGF_E_ARG) return 0;
    return s ? s : try_plan(w, err);
}

static int try_plans(struct work *w, ggf_error *err)
{
    static const uint32_t uniform[] = { GGF_Q8_0, GGF_Q6_K, GGF_Q4_K, GGF_Q2_K };
    static const double chosen[] = { 2.6, 3.6, 4.8, 6.2 };
    int s = 0;
    for (int i = 0; i < 4 && !s; i++) s = try_uniform(w, uniform[i], err);
    for (int i = 0; i < 4 && !s; i++) s = try_chosen(w, chosen[i], err);
    return s;
}

static int fit(struct work *w, struct predict *p, ggf_error *err)
{
    const int n = w->result->n_plans;
    double sum = 0;
    for (int i = 0; i < n; i++) sum += w->noise[i];
    w->result->noise = n ? sum / n : 0;
    if (predict_fit(p, w->points, n, w->result->noise)) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the probe found too little to predict from: %d plans that changed "
                    "anything",
                    n);
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
    return probe_model_open(&w->model, w->file, probe->model, probe->text, PROBE_CTX,
                            (uint32_t)probe->n_windows, w->budget->measure.threads, err);
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
                      .bar = { .what = "probing", .off = probe->quiet } };
    const double start = out_now();
    int s = prepare(&w, probe, err);
    if (!s) s = measure_errors(&w, err);
    result->tokens = (uint64_t)w.model.n_windows * w.model.n_ctx;
    w.bar.total = (uint64_t)result->n_kinds + MAX_PLANS;
    if (!s) s = try_kinds(&w, err);
    if (!s) s = try_plans(&w, err);
    progress_end(&w.bar);
    if (!s) s = fit(&w, predict, err);
    probe_model_close(&w.model);
    plan_free(&w.plan);
    free(w.kind);
    free(w.types);
    result->seconds = out_now() - start;
    return s;
}
