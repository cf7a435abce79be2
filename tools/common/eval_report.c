/* eval_report.c - the results of an evaluation as text and as JSON. */
#include "eval.h"

static void print_model(const struct eval *e, const struct eval_model *m, FILE *f)
{
    const struct estimate ppl = eval_ppl(e, m);
    if (e->n_models > 1) fprintf(f, "====== %s ======\n\n", m->path);
    if (e->compares) {
        divergence_print(&m->d, f);
        putc('\n', f);
    }
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
    struct json j = { .f = f };
    json_open(&j, NULL, '{');
    json_model(e, e->models, &j);
    json_u64(&j, "windows", e->windows.n_windows);
    json_u64(&j, "n_ctx", e->windows.n_ctx);
    json_u64(&j, "predictions", e->done);
    json_f64(&j, "seconds", e->seconds);
    json_f64(&j, "tokens_per_second", tokens / e->seconds);
    if (e->n_models > 1) json_others(e, &j);
    json_close(&j, '}');
    json_end(&j);
}
