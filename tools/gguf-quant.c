/* gguf-quant - quantize a GGUF model, with the command line of llama-quantize. */
#include "common/out.h"
#include "common/quant_card.h"
#include "common/quant_check.h"
#include "common/quant_matrix.h"
#include "common/quant_pack.h"
#include "common/quant_print.h"
#include "common/quant_record.h"

#include "../infer/now.h"
#include "../quant/refine.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct talk {
    const struct plan *plan;
    struct progress bar;
    bool lines; /* a line for each tensor */
};

static void on_progress(void *user, uint64_t bytes, size_t job)
{
    struct talk *t = user;
    progress_update(&t->bar, bytes, t->plan->items[job].name);
}

static void on_finished(void *user, size_t job)
{
    const struct talk *t = user;
    if (t->lines) quant_print_item(stderr, t->plan, job);
}

static int check_output(const struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const uint32_t n = ggf_shard_count(job->file);
    char name[PATH_MAX];
    int s = 0;
    for (uint32_t i = 0; i < n && !s; i++) {
        if (quantize_output_name(name, sizeof name, a->output, a->keep_split, i, n) < 0)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "the output's name is too long");
        s = quant_spare_inputs(job, name, err);
    }
    return s;
}

static struct quantize_options quantize_options(const struct quant_job *job)
{
    const struct quant_args *a = job->args;
    return (struct quantize_options){ .path = a->output,
                                      .force = a->force,
                                      .threads = a->threads,
                                      .matrix_path = a->matrix,
                                      .provenance = job->provenance.recipe
                                                        ? &job->provenance
                                                        : NULL };
}

static int quantize(const struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const struct plan *p = &job->plan;
    const struct quantize_options q = quantize_options(job);
    struct talk talk = {
        .plan = p,
        .bar = { .what = "quantizing", .total = p->source_bytes, .off = a->quiet },
        .lines = !a->quiet && !isatty(STDERR_FILENO)
    };
    const struct convert_watch watch = { on_progress, on_finished, &talk };
    const double start = seconds_now();
    const int s = quantize_file(job->file, p, &job->options, &q, &watch, err);
    progress_end(&talk.bar);
    if (s || a->quiet) return s;
    quant_print_totals(stderr, p);
    const double seconds = seconds_now() - start;
    fprintf(stderr, "%s: %.2f s, %.1f MiB/s of source\n", a->output, seconds,
            seconds > 0 ? (double)p->source_bytes / 1048576 / seconds : 0);
    return 0;
}

static int choose_types(struct quant_job *job, ggf_error *err)
{
    const struct quantize_options q = quantize_options(job);
    int s = target_choose(&job->target, &job->args->target, job->sens, job->file,
                          &job->plan, &job->options, &q, err);
    if (!s) s = quant_record(job, err);
    if (s) return s;
    return quantize_size(&job->target.file_bytes, job->file, &job->plan, &job->options,
                         &q, err);
}

/* --plan-out and --model-card. */
static int write_texts(struct quant_job *job, ggf_error *err)
{
    const struct quantize_options q = quantize_options(job);
    uint64_t bytes;
    int s = job->args->plan_out ? quant_write_plan(job, err) : 0;
    if (s || !job->args->card) return s;
    s = quantize_size(&bytes, job->file, &job->plan, &job->options, &q, err);
    return s ? s : quant_write_card(job, bytes, err);
}

/* With a target the types to choose from depend on the model. */
static int check_refine(const struct quant_job *job, ggf_error *err)
{
    const struct plan *p = &job->plan;
    if (!job->args->refine || quant_by_target(job->args)) return 0;
    for (size_t i = 0; i < p->n_items; i++)
        if (p->items[i].type != p->items[i].source->type &&
            refine_takes(p->items[i].type))
            return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "--refine has no effect: no tensor becomes Q2_K to Q6_K or IQ4_XS");
}

/* With the plan made: show it or carry it out. */
static int follow(struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const bool by_target = quant_by_target(a);
    int s = check_refine(job, err);
    if (s) return s;
    s = plan_check(&job->plan, &job->options, err);
    if (!s) s = quant_record(job, err);
    if (!s && by_target) s = choose_types(job, err);
    if (s && by_target) return s;
    if (!s && quant_is_priced(a) && !by_target) {
        s = target_price(&job->target, &a->target, job->file, &job->plan, &job->options,
                         a->threads, err);
        if (s) return s;
    }
    if (a->type.to)
        lint_plan(&job->lint, &job->plan, &job->options, a->target.kind == BUDGET_K,
                  a->shrink);
    if (!a->quiet && (!s || a->dry_run)) quant_print_notes(job);
    if (a->dry_run) {
        if (s && !a->quiet)
            fprintf(stderr, "%s: warning: %s\n", quant_program.name, err->message);
        s = write_texts(job, err);
        if (!s) quant_print_plan(job);
        return s;
    }
    if (!s) s = check_output(job, err);
    if (!s) s = quantize(job, err);
    if (!s) s = write_texts(job, err);
    if (!s && by_target && !a->quiet)
        target_print_totals(stderr, &job->target, &a->target);
    if (!s && quant_is_priced(a) && !a->quiet)
        target_print_prediction(stderr, &job->target);
    if (!s && a->json) quant_print_json(job);
    return s;
}

static int run(struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const struct ggf_open_options oo = { .header_only = a->dry_run && !quant_is_priced(a),
                                         .allow_gaps = true };
    int s = ggf_open(&job->file, a->input, &oo, err);
    if (!s) s = quant_open_matrix(&job->matrix, a, job->file, err);
    job->options.matrix = job->matrix;
    if (!s) s = quant_check_texts(job, err);
    if (!s && a->plan_in) s = quant_read_plan(&job->plan_in, a->plan_in, err);
    if (!s && a->sens) s = sens_read(&job->sens, a->sens, err);
    if (!s) s = plan_make(&job->plan, job->file, &job->options, err);
    if (!s && *job->rules.error)
        s = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s", job->rules.error);
    if (!s && a->plan_in)
        s = recipe_check(job->plan_in, &job->plan, &job->options, a->plan_only, err);
    job->plan.mixed = a->plan_only;
    if (!s) s = a->pack ? quant_pack_follow(job, err) : follow(job, err);
    quant_record_free(job);
    recipe_free(job->plan_in);
    sens_free(job->sens);
    target_free(&job->target);
    plan_free(&job->plan);
    imatrix_close(job->matrix);
    ggf_close(job->file);
    return s;
}

int main(int argc, char **argv)
{
    struct quant_job job = { 0 };
    ggf_error err = { 0 };
    out_handle_signals();
    out_allow_many_files(); /* --keep-split: one for each of the source */
    int r = quant_args_parse(&job.args, argc, argv);
    if (r == OPT_GO) r = quant_options_make(&job);
    if (r == OPT_GO && job.args->compare)
        r = quant_check_tensor(job.args, &err) ? out_error(quant_program.name, &err) : 0;
    if (r == OPT_GO) r = run(&job, &err) ? out_error(quant_program.name, &err) : 0;
    quant_options_free(&job);
    quant_args_free();
    return out_close_stdout(quant_program.name, r);
}
