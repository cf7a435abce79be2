/* eval_report.c - the results of an evaluation as text and as JSON. */
#include "eval.h"
#include "table.h"

static void print_layers(const struct follow *follow, FILE *f)
{
    static const char *const heads[] = { ">layer",        ">same experts", ">±",
                                         ">all the same", ">state error",  NULL };
    const uint32_t n = follow_layers(follow);
    struct table t;
    table_start(&t, heads);
    for (uint32_t i = 0; i <= n; i++) {
        const struct layer_distance d = follow_layer(follow, i);
        if (i < n) {
            table_cell(&t, "%u", i);
            table_cell(&t, "%.2f %%", 100 * d.overlap.mean);
            table_cell(&t, "%.2f", 100 * d.overlap.error);
            table_cell(&t, "%.2f %%", 100 * d.same);
        } else {
            table_cell(&t, "output");
            for (int k = 0; k < 3; k++) table_cell(&t, "%s", "");
        }
        table_cell(&t, "%.5f", d.state_error);
    }
    fprintf(f, "====== Layer by layer ======\n");
    table_print(&t, f, out_colour(f));
    putc('\n', f);
}

static void print_model(const struct eval *e, const struct eval_model *m, FILE *f)
{
    const struct estimate ppl = eval_ppl(e, m);
    if (e->n_models > 1) fprintf(f, "====== %s ======\n\n", m->path);
    if (e->compares) {
        divergence_print(&m->d, f);
        putc('\n', f);
    }
    if (m->follow) print_layers(m->follow, f);
    fprintf(f, "Final estimate: PPL = %.4f +/- %.5f\n", ppl.mean, ppl.error);
}

void eval_print(const struct eval *e, FILE *f)
{
    print_model(e, e->models, f);
    for (uint32_t i = 1; i < e->n_models; i++) {
        const struct eval_model *m = &e->models[i];
        putc('\n', f);
        print_model(e, m, f);
        fprintf(f, "\n====== %s against %s ======\n", m->path, e->models->path);
        paired_print(&m->paired, f);
    }
}

static void json_layers(const struct follow *follow, struct json *j)
{
    const uint32_t n = follow_layers(follow);
    json_open(j, "layers", '[');
    for (uint32_t i = 0; i < n; i++) {
        const struct layer_distance d = follow_layer(follow, i);
        json_open(j, NULL, '{');
        json_u64(j, "layer", i);
        json_f64(j, "expert_overlap", d.overlap.mean);
        json_f64(j, "expert_overlap_error", d.overlap.error);
        json_f64(j, "same_experts", d.same);
        json_f64(j, "state_error", d.state_error);
        json_close(j, '}');
    }
    json_close(j, ']');
    json_f64(j, "output_state_error", follow_layer(follow, n).state_error);
}

/* Keys into the open object. */
static void json_model(const struct eval *e, const struct eval_model *m, struct json *j)
{
    const struct estimate ppl = eval_ppl(e, m);
    json_str(j, "model", m->path);
    json_u64(j, "bytes", q3n_model_info(m->model)->bytes_files);
    json_f64(j, "perplexity", ppl.mean);
    json_f64(j, "uncertainty", ppl.error);
    if (!e->compares) return;
    json_open(j, "divergence", '{');
    divergence_json(&m->d, j);
    json_close(j, '}');
    if (m->follow) json_layers(m->follow, j);
}

static void json_others(const struct eval *e, struct json *j)
{
    json_open(j, "compare", '[');
    for (uint32_t i = 1; i < e->n_models; i++) {
        json_open(j, NULL, '{');
        json_model(e, &e->models[i], j);
        json_open(j, "paired", '{');
        paired_json(&e->models[i].paired, j);
        json_close(j, '}');
        json_close(j, '}');
    }
    json_close(j, ']');
}

void eval_json(const struct eval *e, FILE *f)
{
    const double tokens = (double)e->windows.n_windows * e->windows.n_ctx;
    uint8_t hash[GGF_SHA256_BYTES];
    char hex[2 * GGF_SHA256_BYTES + 1];
    struct json j = { .f = f };
    kld_base_hash(&e->windows, hash);
    for (size_t i = 0; i < sizeof hash; i++) snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    json_open(&j, NULL, '{');
    json_model(e, e->models, &j);
    json_u64(&j, "windows", e->windows.n_windows);
    json_u64(&j, "n_ctx", e->windows.n_ctx);
    json_u64(&j, "predictions", e->done);
    json_str(&j, "tokens_sha256", hex);
    json_f64(&j, "seconds", e->seconds);
    json_f64(&j, "tokens_per_second", tokens / e->seconds);
    if (e->n_models > 1) json_others(e, &j);
    json_close(&j, '}');
    json_end(&j);
}
