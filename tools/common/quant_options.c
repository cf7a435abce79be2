/* quant_options.c - from gguf-quant's command line to the options of a plan. */
#include "quant_job.h"

#include "out.h"

#include <stdlib.h>
#include <string.h>

static int parse_tensor_type(const char *option, const char *name, int *type)
{
    ggf_error err;
    *type = MIX_NO_TYPE;
    if (!name || !tensor_type_parse(type, name, &err)) return OPT_GO;
    return opt_error(&quant_program, "%s: %s", option, err.message);
}

/* "1,2,5" into numbers; the caller frees them. */
static int parse_prune(struct plan_options *po, const struct quant_args *a)
{
    uint32_t *layers = calloc(strlen(a->prune) + 1, sizeof *layers);
    if (!layers) return opt_error(&quant_program, "out of memory");
    po->prune = layers;
    for (const char *p = a->prune; *p;) {
        char *end;
        const unsigned long v = strtoul(p, &end, 10);
        if (end == p || *p == '-' || *p == '+' || v > UINT32_MAX ||
            (*end && *end != ',') || (*end && !end[1]))
            return opt_error(&quant_program,
                             "--prune-layers: '%s' is not a list of layers", a->prune);
        bool again = false;
        for (int i = 0; i < po->n_prune; i++) again |= layers[i] == v;
        if (!again) layers[po->n_prune++] = (uint32_t)v;
        p = *end ? end + 1 : end;
    }
    if (!po->n_prune) return opt_error(&quant_program, "--prune-layers names no layer");
    return OPT_GO;
}

static int usage_error(const ggf_error *err)
{
    return opt_error(&quant_program, "%s", err->message);
}

static int parse_rules(struct tensor_rules *rules, const struct quant_args *a)
{
    ggf_error err;
    rules->lower_case = a->compat;
    for (int i = 0; i < a->rules.count; i++)
        if (tensor_rules_add(rules, a->rules.items[i], &err)) return usage_error(&err);
    if (a->rules_file && tensor_rules_add_file(rules, a->rules_file, &err))
        return err.code == GGF_E_IO ? out_error(quant_program.name, &err)
                                    : usage_error(&err);
    return OPT_GO;
}

/* What --tensor-type says goes before --plan-in. */
static int demanded(void *user, const char *name)
{
    struct quant_job *job = user;
    const int type = tensor_rules_find(&job->rules, name);
    return type >= 0 ? type : recipe_type(job->plan_in, name);
}

int quant_options_make(struct quant_job *job)
{
    const struct quant_args *a = job->args;
    struct plan_options *po = &job->options;
    ggf_error err;
    po->mix = (struct mix_options){ .to = a->type.to,
                                    .preset = a->type.preset,
                                    .pure = a->pure,
                                    .keep_output = a->keep_output,
                                    .compat = a->compat };
    po->allow_requantize = a->allow_requantize;
    po->keep_split = a->keep_split;
    po->refine = a->refine;
    if (a->rules.count || a->rules_file || a->plan_in) {
        po->forced = demanded;
        po->user = job;
    }
    int r =
        parse_tensor_type("--output-tensor-type", a->output_type, &po->mix.output_type);
    if (r == OPT_GO)
        r = parse_tensor_type("--token-embedding-type", a->embedding_type,
                              &po->mix.embedding_type);
    if (r == OPT_GO && a->prune) r = parse_prune(po, a);
    if (r == OPT_GO) r = parse_rules(&job->rules, a);
    if (r != OPT_GO || !a->overrides.count) return r;
    struct kv_override *list = calloc((size_t)a->overrides.count, sizeof *list);
    if (!list) return opt_error(&quant_program, "out of memory");
    po->overrides = list;
    for (int i = 0; i < a->overrides.count; i++, po->n_overrides++)
        if (kv_override_parse(&list[i], a->overrides.items[i], &err))
            return usage_error(&err);
    return OPT_GO;
}

void quant_options_free(struct quant_job *job)
{
    free((void *)job->options.prune);
    free((void *)job->options.overrides);
    tensor_rules_free(&job->rules);
}
