/* q3n-trace - what a trace of experts says about caches for them. */
#include "common/curves.h"
#include "common/opt.h"
#include "common/page.h"

#include <limits.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define NAME "q3n-trace"

static struct {
    const char *sizes, *policies, *ranking, *html;
    float disk, memory;
    int threads;
    bool cold, layers, json, force, dry_run;
} opt = { .disk = NAN, .memory = NAN };

static const struct opt options[] = {
    { "--sizes", "LIST", OPT_STR, &opt.sizes,
      "sizes of caches: 1G,2G,4G (from what a token needs\nto all experts)" },
    { "--policy", "LIST", OPT_STR, &opt.policies,
      "of lru, clock, lfu, static, belady (all).\nstatic: the experts used most, for "
      "ever; belady: the\nbest there can be, knowing what will come" },
    { "--ranking", "FILE", OPT_STR, &opt.ranking,
      "a trace or history that says which experts static\nholds (the first half of the "
      "trace)" },
    { "--cold", NULL, OPT_FLAG, &opt.cold,
      "count from empty caches on; else the first half of\nthe trace only fills them" },
    { "--disk", "GB/S", OPT_FLOAT, &opt.disk, "predict tokens per second for this disk" },
    { "--memory", "GB/S", OPT_FLOAT, &opt.memory, "and memory of this speed" },
    { "--layers", NULL, OPT_FLAG, &opt.layers, "a table of the layers as well" },
    { "-t, --threads", "N", OPT_INT, &opt.threads, "threads (all the process may use)" },
    { .kind = OPT_HEADING, .help = "Output" },
    { "--json", NULL, OPT_FLAG, &opt.json, "print JSON" },
    { "--html", "FILE", OPT_STR, &opt.html, "write a page with curves" },
    { "--force", NULL, OPT_FLAG, &opt.force, "replace the page" },
    { "--dry-run", NULL, OPT_FLAG, &opt.dry_run, "write no page" },
    { 0 },
};

static const struct opt_program program = {
    .name = NAME,
    .usage = "[options] TRACE...",
    .about =
        "Says how a model's choices of experts are spread, and what caches of other "
        "sizes and\npolicies would have done with them. q3n-run --trace writes traces; "
        "several of one model\nare taken one after the other.",
    .options = options,
    .min_args = 1,
    .max_args = -1,
};

/* ==== Options ============================================================= */

/* Calls add() for each name of a list with commas; false if it says no. */
static bool each_name(const char *list, bool (*add)(struct curves *c, const char *name),
                      struct curves *c)
{
    char *copy = strdup(list), *rest = copy;
    bool good = copy && *list;
    for (char *name; good && (name = strsep(&rest, ","));) good = add(c, name);
    free(copy);
    return good;
}

static bool add_policy(struct curves *c, const char *name)
{
    for (int p = 0; p < REPLAY_POLICIES; p++)
        if (!strcmp(name, replay_policy_name(p))) return c->wanted[p] = true;
    return false;
}

static bool add_size(struct curves *c, const char *name)
{
    uint64_t bytes;
    if (c->n_sizes == CURVE_MAX_SIZES || !opt_size(name, &bytes) || !bytes) return false;
    if (c->n_sizes && bytes <= c->sizes[c->n_sizes - 1]) return false;
    c->sizes[c->n_sizes++] = bytes;
    return true;
}

static int check_speeds(struct curves *c)
{
    const bool disk = !isnan(opt.disk), memory = !isnan(opt.memory);
    if (disk != memory) return opt_error(&program, "--disk and --memory need each other");
    if (disk && !(opt.disk > 0 && opt.memory > 0))
        return opt_error(&program, "--disk and --memory must be above 0");
    if (disk) c->speeds = (struct speeds){ (double)opt.disk, (double)opt.memory };
    return OPT_GO;
}

static int check_options(struct curves *c)
{
    if (opt.policies && !each_name(opt.policies, add_policy, c))
        return opt_error(&program,
                         "--policy %s: expected some of lru, clock, lfu, "
                         "static, belady, with commas",
                         opt.policies);
    for (int p = 0; p < REPLAY_POLICIES && !opt.policies; p++)
        c->wanted[p] = p != REPLAY_STATIC || !opt.cold || opt.ranking;
    if (opt.sizes && !each_name(opt.sizes, add_size, c))
        return opt_error(&program,
                         "--sizes %s: expected up to %d sizes, ascending, with commas",
                         opt.sizes, CURVE_MAX_SIZES);
    if (opt.ranking && !c->wanted[REPLAY_STATIC])
        return opt_error(&program, "--ranking has no effect without --policy static");
    if (opt.cold && !opt.ranking && c->wanted[REPLAY_STATIC])
        return opt_error(&program, "--policy static needs --ranking with --cold");
    if (opt.layers && opt.json)
        return opt_error(&program, "--layers has no effect with --json, which has them");
    if ((opt.force || opt.dry_run) && !opt.html)
        return opt_error(&program, "--%s has no effect without --html",
                         opt.force ? "force" : "dry-run");
    if (opt.threads < 0) return opt_error(&program, "--threads must be 1 or more");
    return check_speeds(c);
}

/* ==== Work ================================================================ */

static void make_page(const void *c, FILE *f) { curves_html(c, f); }

static int write_page(const struct curves *c, ggf_error *err)
{
    ggf_output *out;
    int e = ggf_output_create(&out, opt.html, opt.force, err);
    if (e) return e;
    e = page_write(out, make_page, c, err);
    if (!e) return ggf_output_commit(out, err);
    ggf_output_discard(out);
    return e;
}

/* What static holds: counts[n_expert, n_layer]. */
static int rank(const struct curves *c, uint64_t *counts, ggf_error *err)
{
    struct trace *t;
    if (!opt.ranking) {
        replay_count(c->log, c->from, counts);
        return 0;
    }
    int e = trace_open(&t, opt.ranking, err);
    if (!e) e = trace_check_model(t, c->log->model, err);
    if (!e) trace_count(t, counts);
    trace_close(t);
    return e;
}

static int replay(struct curves *c, ggf_error *err)
{
    const struct trace_model *m = c->log->model;
    uint64_t *counts = calloc((size_t)m->n_layer * m->n_expert, sizeof *counts);
    if (!counts) return ggf_no_memory(err);
    c->ranking = counts;
    if (!opt.cold) c->from = replay_middle(c->log);
    if (!c->n_sizes) curves_default_sizes(c);
    int e = c->wanted[REPLAY_STATIC] ? rank(c, counts, err) : 0;
    if (!e) e = curves_run(c, opt.threads ? opt.threads : omp_get_max_threads(), err);
    if (!e && opt.json) curves_json(c, stdout);
    else if (!e) curves_print(c, opt.layers, stdout);
    if (!e && opt.html && !opt.dry_run) e = write_page(c, err);
    c->ranking = NULL;
    free(counts);
    return e;
}

static int study(struct curves *c, struct trace *const *traces, uint32_t n,
                 ggf_error *err)
{
    static struct replay_log log;
    static struct locality locality;
    c->log = &log;
    c->locality = &locality;
    int e = replay_log_new(&log, traces, n, err);
    if (e) return e;
    e = locality_measure(&locality, traces, n, &log, err);
    if (!e) e = replay(c, err);
    locality_free(&locality);
    replay_log_free(&log);
    return e;
}

int main(int argc, char **argv)
{
    static struct curves c;
    char **args;
    int n_args, r = opt_parse(&program, argc, argv, &args, &n_args);
    if (r == OPT_GO) r = check_options(&c);
    if (r != OPT_GO) return r;
    out_handle_signals();

    ggf_error err;
    struct trace **traces = calloc((size_t)n_args, sizeof *traces);
    int e = traces ? 0 : ggf_no_memory(&err);
    for (int i = 0; i < n_args && !e; i++) e = trace_open(&traces[i], args[i], &err);
    c.name = args[0];
    if (!e) e = out_spare(opt.html, (const char *const *)args, (size_t)n_args, &err);
    if (!e) e = out_spare(opt.html, &opt.ranking, 1, &err);
    if (!e) e = study(&c, traces, (uint32_t)n_args, &err);
    for (int i = 0; traces && i < n_args; i++) trace_close(traces[i]);
    free(traces);
    return out_close_stdout(NAME, e ? out_error(NAME, &err) : 0);
}
