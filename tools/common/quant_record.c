/* quant_record.c - see quant_record.h. */
#include "quant_record.h"

#include "digest.h"
#include "input.h"
#include "out.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_model(recipe **out, const char *path, ggf_error *err)
{
    const struct ggf_open_options header = { .header_only = true, .allow_gaps = true };
    ggf_file *f = NULL;
    int s = ggf_open(&f, path, &header, err);
    if (!s) s = recipe_of_model(out, f, path, err);
    ggf_close(f);
    return s;
}

int quant_read_plan(recipe **out, const char *path, ggf_error *err)
{
    struct input in;
    if (input_begins(path, "GGUF")) return read_model(out, path, err);
    int s = input_read(&in, path, err);
    if (s) return s;
    s = recipe_read(out, in.bytes, in.len, path, err);
    free(in.bytes);
    return s;
}

/* ---- The matrix's digest ---------------------------------------------------- */

static int hash_file(char text[DIGEST_TEXT], const char *path, ggf_error *err)
{
    enum { PIECE = 1 << 20 };
    FILE *f = fopen(path, "rb");
    struct digest *d = digest_new(DIGEST_SHA256);
    char *piece = malloc(PIECE);
    int s = d && piece ? 0 : ggf_no_memory(err);
    size_t n = 0;
    while (!s && f && (n = fread(piece, 1, PIECE, f))) digest_update(d, piece, n);
    if (!s && (!f || ferror(f)))
        s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read %s", path);
    if (!s) digest_final(d, text);
    if (f) fclose(f);
    free(piece);
    digest_free(d);
    return s;
}

int quant_hash_matrix(struct quant_job *job, ggf_error *err)
{
    if (!job->args->matrix || *job->matrix_sha256) return 0;
    return hash_file(job->matrix_sha256, job->args->matrix, err);
}

/* ---- Keys ------------------------------------------------------------------- */

/* Blanks for as many bytes as the recipe may get. */
static char *placeholder(const struct plan *p)
{
    const size_t n = recipe_compact_bound(p);
    char *text = malloc(n);
    if (!text) return NULL;
    memset(text, ' ', n - 1);
    text[n - 1] = 0;
    return text;
}

int quant_record(struct quant_job *job, ggf_error *err)
{
    static const char *const kinds[] = { "all", "k", "iq" }; /* enum budget_kind */
    const struct quant_args *a = job->args;
    const bool by_target = quant_by_target(a);
    if (a->compat || !(by_target || a->type.preset || a->plan_in)) return 0;
    const int s = quant_hash_matrix(job, err);
    if (s) return s;
    quant_record_free(job);
    const struct target_result *r = &job->target;
    const bool chosen = !by_target || job->plan.mixed;
    char *types =
        chosen ? recipe_compact(&job->plan, &job->options) : placeholder(&job->plan);
    if (!types) return ggf_no_memory(err);
    job->provenance = (struct provenance){
        .type = quant_args_type(a),
        .target_bytes = a->target.size,
        .target_bpw = a->target.bpw,
        .types = kinds[a->target.kind],
        .imatrix_sha256 = *job->matrix_sha256 ? job->matrix_sha256 : NULL,
        .imatrix_shrink = a->shrink,
        .refine = a->refine,
        .predicted_error = r->budget.solution.cost,
        .dual_gap = target_gap(r),
        .recipe = types,
    };
    return 0;
}

void quant_record_free(struct quant_job *job)
{
    free((void *)job->provenance.recipe);
    job->provenance = (struct provenance){ 0 };
}

/* ---- Plan files ------------------------------------------------------------- */

int quant_spare_inputs(const struct quant_job *job, const char *path, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const char *const inputs[] = { a->matrix, a->rules_file,        a->plan_in,
                                   a->sens,   a->target.probe.text, a->target.probe.in };
    int s = out_spare(path, inputs, sizeof inputs / sizeof *inputs, err);
    for (uint32_t i = 0; i < ggf_shard_count(job->file) && !s; i++)
        s = out_spare(path, &ggf_shard(job->file, i)->path, 1, err);
    return s;
}

int quant_check_texts(const struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const char *const paths[] = { a->plan_out, a->card, a->target.probe.out };
    int s = 0;
    for (int i = 0; i < 3 && !s; i++) {
        s = quant_spare_inputs(job, paths[i], err);
        if (!s && paths[i] && !a->force && !access(paths[i], F_OK))
            s = ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                         "%s exists already (--force replaces it)", paths[i]);
    }
    return s;
}

int quant_write_text(const struct quant_args *a, const char *path, const char *text,
                     ggf_error *err)
{
    ggf_output *out = NULL;
    int s = ggf_output_create(&out, path, a->force, err);
    if (!s) s = ggf_output_write(out, 0, text, strlen(text), err);
    if (s) {
        ggf_output_discard(out);
        return s;
    }
    return ggf_output_commit(out, err);
}

static uint64_t source_bytes(const ggf_file *f)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < ggf_shard_count(f); i++) bytes += ggf_shard(f, i)->size;
    return bytes;
}

int quant_write_plan(struct quant_job *job, ggf_error *err)
{
    const struct quant_args *a = job->args;
    const char *slash = strrchr(a->input, '/');
    char source[300], source_size[40], type[64], size[40], matrix[100] = "imatrix:none";
    snprintf(source, sizeof source, "source:%s", slash ? slash + 1 : a->input);
    snprintf(source_size, sizeof source_size, "source-bytes:%" PRIu64,
             source_bytes(job->file));
    snprintf(type, sizeof type, "type:%s", quant_args_type(a));
    snprintf(size, sizeof size, "tensor-bytes:%" PRIu64, job->plan.bytes);
    const int bad = quant_hash_matrix(job, err);
    if (bad) return bad;
    if (*job->matrix_sha256)
        snprintf(matrix, sizeof matrix, "imatrix-sha256:%s", job->matrix_sha256);
    const char *const head[] = { source, source_size, type, size, matrix, NULL };
    char *text = recipe_write(&job->plan, &job->options, head);
    if (!text) return ggf_no_memory(err);
    const int s = quant_write_text(a, a->plan_out, text, err);
    free(text);
    return s;
}
