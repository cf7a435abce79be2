/* quant_print.c - see quant_print.h. */
#include "quant_print.h"

#include "out.h"

#include <inttypes.h>

static double mib(uint64_t bytes) { return (double)bytes / 1048576; }

static double bits_per_weight(uint64_t bytes, uint64_t elements)
{
    return elements ? 8 * (double)bytes / (double)elements : 0;
}

void quant_print_item(FILE *f, const struct plan *p, size_t i)
{
    const struct plan_item *item = &p->items[i];
    const struct ggf_tensor *t = item->source;
    fprintf(f,
            "[%4zu/%4zu] %-36s - [%5" PRIu64 ", %5" PRIu64 ", %5" PRIu64 ", %5" PRIu64
            "], type = %6s, ",
            i + 1, p->n_items, item->name, t->ne[0], t->ne[1], t->ne[2], t->ne[3],
            ggf_type_name(t->type));
    if (item->type == t->type) {
        fprintf(f, "size = %8.3f MiB\n", mib(t->bytes));
        return;
    }
    fprintf(f, "converting to %s .. size = %8.2f MiB -> %8.2f MiB%s%s%s\n",
            ggf_type_name(item->type), mib(t->bytes), mib(item->bytes),
            item->refused != item->type ? " (the rows do not fit " : "",
            item->refused != item->type ? ggf_type_name(item->refused) : "",
            item->refused != item->type ? ")" : "");
}

void quant_print_totals(FILE *f, const struct plan *p)
{
    fprintf(f, "model size  = %8.2f MiB (%.2f BPW)\n", mib(p->source_bytes),
            bits_per_weight(p->source_bytes, p->n_elements));
    fprintf(f, "quant size  = %8.2f MiB (%.2f BPW)\n", mib(p->bytes),
            bits_per_weight(p->bytes, p->n_elements));
}

/* Of a plain file type nobody chose the single types: the rest is in the JSON. */
static bool is_worth_a_line(const struct quant_job *job, enum lint_kind kind)
{
    const struct quant_args *a = job->args;
    const bool chosen = a->type.preset || a->plan_in || a->rules.count || a->rules_file ||
                        a->output_type || a->embedding_type || quant_by_target(a);
    return chosen || kind == LINT_ROWS || kind == LINT_COVERAGE;
}

void quant_print_notes(const struct quant_job *job)
{
    const struct plan *p = &job->plan;
    int i = 0;
    for (const char *unused; (unused = tensor_rules_unused(&job->rules, &i));)
        fprintf(stderr, "%s: warning: --tensor-type '%s' decided no tensor\n",
                quant_program.name, unused);
    for (i = 0; i < job->lint.n; i++)
        if (is_worth_a_line(job, job->lint.findings[i].kind))
            fprintf(stderr, "%s: warning: %s\n", quant_program.name,
                    job->lint.findings[i].message);
    if (p->n_unmatched)
        fprintf(stderr,
                "%s: %zu of the %zu tensors to convert have no entry in the matrix\n",
                quant_program.name, p->n_unmatched, p->n_changed);
}

static void json_findings(struct json *j, const struct lint *l)
{
    json_open(j, "warnings", '[');
    for (int i = 0; i < l->n; i++) {
        const struct lint_finding *f = &l->findings[i];
        json_open(j, NULL, '{');
        json_str(j, "kind", lint_name(f->kind));
        json_u64(j, "count", f->count);
        json_str(j, "first", f->first);
        json_str(j, "message", f->message);
        json_close(j, '}');
    }
    json_close(j, ']');
}

void quant_print_json(const struct quant_job *job)
{
    const struct quant_args *a = job->args;
    const struct plan *p = &job->plan;
    const struct target_result *r = &job->target;
    struct json j = { .f = stdout };
    json_open(&j, NULL, '{');
    json_str(&j, "input", a->input);
    json_str(&j, "output", a->output);
    json_str(&j, "file_type", quant_args_type(a));
    json_open(&j, "tensors", '[');
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        json_open(&j, NULL, '{');
        json_str(&j, "name", item->name);
        json_open(&j, "shape", '[');
        for (uint32_t d = 0; d < item->source->n_dims; d++)
            json_u64(&j, NULL, item->source->ne[d]);
        json_close(&j, ']');
        json_str(&j, "from", ggf_type_name(item->source->type));
        json_str(&j, "to", ggf_type_name(item->type));
        json_u64(&j, "bytes_from", item->source->bytes);
        json_u64(&j, "bytes", item->bytes);
        json_bool(&j, "importances", item->weights != NULL);
        if (quant_by_target(a)) target_json_item(&j, &r->budget.items[i]);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_findings(&j, &job->lint);
    json_u64(&j, "elements", p->n_elements);
    json_u64(&j, "bytes_from", p->source_bytes);
    json_u64(&j, "bytes", p->bytes);
    json_f64(&j, "bits_per_weight", bits_per_weight(p->bytes, p->n_elements));
    if (quant_by_target(a)) target_json_totals(&j, r, &a->target);
    if (quant_is_priced(a)) target_json_prediction(&j, r);
    json_close(&j, '}');
    json_end(&j);
}

void quant_print_plan(const struct quant_job *job)
{
    const struct quant_args *a = job->args;
    const struct plan *p = &job->plan;
    const struct target_result *r = &job->target;
    if (a->json) {
        quant_print_json(job);
        return;
    }
    if (quant_by_target(a) && !a->quiet) target_print_items(stdout, r, p);
    for (size_t i = 0; i < p->n_items && !a->quiet && !quant_by_target(a); i++)
        quant_print_item(stdout, p, i);
    quant_print_totals(stdout, p);
    if (quant_by_target(a)) target_print_totals(stdout, r, &a->target);
    if (quant_is_priced(a)) target_print_prediction(stdout, r);
    if (quant_by_target(a)) target_print_comparison(stdout, r, p);
}
