/* quant_pack.c - see quant_pack.h. */
#include "quant_pack.h"

#include "../../infer/now.h"
#include "out.h"
#include "quant_print.h"
#include "quant_record.h"

#include <inttypes.h>

static struct quantize_options options_of(const struct quant_job *job,
                                          const struct quant_pack *pack)
{
    const struct quant_args *a = job->args;
    return (struct quantize_options){ .path = a->output,
                                      .force = a->force,
                                      .threads = a->threads,
                                      .matrix_path = a->matrix,
                                      .provenance = &pack->provenance };
}

/* ---- Choosing ------------------------------------------------------------------ */

static void record(const struct quant_job *job, struct quant_pack *pack)
{
    static const char *const kinds[] = { "all", "k", "iq" }; /* enum budget_kind */
    const struct quant_args *a = job->args;
    const struct knapsack_result *r = &pack->budget.solution;
    pack->provenance = (struct provenance){
        .type = quant_args_type(a),
        .target_bytes = a->target.size,
        .target_bpw = a->target.bpw,
        .types = kinds[a->target.kind],
        .imatrix_sha256 = job->matrix_sha256,
        .imatrix_shrink = a->shrink,
        .refine = a->refine,
        .predicted_error = r->cost,
        .dual_gap = r->cost > r->bound ? r->cost - r->bound : 0,
    };
}

static int find_sizes(const struct quant_job *job, struct quant_pack *pack,
                      ggf_error *err)
{
    const struct quantize_options q = options_of(job, pack);
    return quantize_pack_size(&pack->dense_bytes, &pack->pack_bytes, job->file,
                              &job->plan, &job->options, &q, job->args->pack_path,
                              &pack->budget, err);
}

/* Of both files all but the bytes that are chosen: headers, tables, hashes. */
static uint64_t other_bytes(const struct quant_job *job, const struct quant_pack *pack,
                            uint32_t alignment)
{
    const struct expert_budget *b = &pack->budget;
    uint64_t sum = 0, n = 0;
    for (size_t i = 0; i < job->plan.n_items; i++)
        if (!expert_budget_packs(b, i))
            sum += (job->plan.items[i].bytes + alignment - 1) / alignment * alignment;
    for (uint32_t l = 0; l < b->n_layers; l++)
        for (uint32_t e = 0; e < b->layers[l].layer.shape.n_expert; e++, n++)
            for (int p = 0; p < GGF_PARTS; p++)
                sum += expert_matrix_bytes(&b->layers[l], p, b->types[n][p], EXPERT_PAGE);
    return pack->dense_bytes + pack->pack_bytes - sum;
}

static void on_measured(void *user, size_t done, size_t n)
{
    struct progress *bar = user;
    bar->total = n;
    progress_update(bar, done, "");
}

static int too_small(const struct quant_job *job, uint64_t other, uint64_t least,
                     ggf_error *err)
{
    const struct target *t = &job->args->target;
    char buf[24];
    if (t->size)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the smallest pair of files that the candidate types and the "
                        "floors allow has %" PRIu64
                        " bytes (%s), more than the target of %" PRIu64,
                        other + least, out_size(buf, other + least), t->size);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the fewest bits for a weight that the candidate types and the "
                    "floors allow are %.4f, more than the target of %.4f",
                    8 * (double)least / (double)job->plan.n_elements, (double)t->bpw);
}

static int measure_and_choose(struct quant_job *job, struct quant_pack *pack,
                              const struct budget_options *o, ggf_error *err)
{
    struct target t = job->args->target;
    struct target_result *r = &pack->target;
    struct predict predict = { 0 };
    double spread;
    t.compare = false; /* with files of one type for each tensor */
    int s = target_measure(r, &predict, &t, job->sens, job->file, &job->plan,
                           &job->options, o, err);
    if (!s)
        s = expert_budget_choose(&pack->budget, &job->plan, &job->options, &r->table, o,
                                 t.size ? EXPERT_PAGE : 1, err);
    if (s) return s;
    const double cost = expert_budget_cost(&pack->budget, job->plan.n_items, &spread);
    target_predict(r, &predict, cost, spread);
    return 0;
}

static int choose(struct quant_job *job, struct quant_pack *pack, ggf_error *err)
{
    const struct target *t = &job->args->target;
    struct budget_options o = { .alignment = 32, .kind = t->kind };
    struct progress bar = { .what = "measuring", .off = job->args->quiet };
    metadata_get_u32(job->file, job->options.overrides, job->options.n_overrides,
                     "general.alignment", &o.alignment);
    record(job, pack);
    int s = find_sizes(job, pack, err);
    if (s) return s;
    const uint64_t other = other_bytes(job, pack, o.alignment);
    if (t->size) o.bytes = t->size > other ? t->size - other : 0;
    else o.bytes = (uint64_t)((double)t->bpw / 8 * (double)job->plan.n_elements);
    o.measure.threads = job->args->threads;
    o.measure.mapped = true;
    o.measure.progress = on_measured;
    o.measure.user = &bar;
    o.measure.refine = job->options.refine;
    const double start = seconds_now();
    s = measure_and_choose(job, pack, &o, err);
    progress_end(&bar);
    pack->target.seconds = seconds_now() - start;
    const uint64_t bytes = pack->budget.fixed_bytes + pack->budget.solution.bytes;
    if (s == GGF_E_ARG && bytes > o.bytes) return too_small(job, other, bytes, err);
    record(job, pack);
    return s ? s : find_sizes(job, pack, err);
}

/* ---- Writing -------------------------------------------------------------------- */

static void on_progress(void *user, uint64_t done, uint64_t total)
{
    struct progress *bar = user;
    bar->total = total;
    progress_update(bar, done, "");
}

static int carry_out(const struct quant_job *job, const struct quant_pack *pack,
                     ggf_error *err)
{
    const struct quant_args *a = job->args;
    const struct quantize_options q = options_of(job, pack);
    struct progress bar = { .what = "quantizing", .off = a->quiet };
    const double start = seconds_now();
    int s = quant_spare_inputs(job, a->output, err);
    if (!s) s = quant_spare_inputs(job, a->pack_path, err);
    if (!s)
        s = quantize_to_pack(job->file, &job->plan, &job->options, &q, a->pack_path,
                             &pack->budget, on_progress, &bar, err);
    progress_end(&bar);
    if (s || a->quiet) return s;
    const double seconds = seconds_now() - start;
    fprintf(stderr, "%s, %s: %.2f s, %.1f MiB/s of source\n", a->output, a->pack_path,
            seconds,
            seconds > 0 ? (double)job->plan.source_bytes / 1048576 / seconds : 0);
    quant_pack_totals(stderr, job, pack);
    return 0;
}

static int follow(struct quant_job *job, struct quant_pack *pack, ggf_error *err)
{
    const struct quant_args *a = job->args;
    int s = choose(job, pack, err);
    if (s) return s;
    if (!a->quiet) quant_print_notes(job);
    if (!a->quiet && !pack->budget.shares.counted)
        fprintf(stderr,
                "%s: warning: the matrix does not count tokens for each expert; all "
                "count alike\n",
                quant_program.name);
    if (!a->dry_run) s = carry_out(job, pack, err);
    if (s || !(a->dry_run || a->json)) return s;
    if (a->json) quant_pack_json(job, pack);
    else quant_pack_print(job, pack);
    return 0;
}

int quant_pack_follow(struct quant_job *job, ggf_error *err)
{
    struct quant_pack pack = { 0 };
    int s = plan_check(&job->plan, &job->options, err);
    if (!s) s = quant_hash_matrix(job, err);
    if (!s) s = expert_budget_init(&pack.budget, &job->plan, job->file, err);
    if (!s) s = follow(job, &pack, err);
    expert_budget_free(&pack.budget);
    target_free(&pack.target);
    return s;
}
