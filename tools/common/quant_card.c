/* quant_card.c - see quant_card.h. */
#include "quant_card.h"

#include "quant_record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Texts of the model ------------------------------------------------------ */

/* A string of the output's metadata: an override goes before the source; length 0 if
 * there is none. */
static struct ggf_str text_of(const struct quant_job *job, const char *key)
{
    struct ggf_str s = { 0 };
    ggf_get_str(job->file, key, &s, NULL);
    for (int i = 0; i < job->options.n_overrides; i++) {
        const struct kv_override *o = &job->options.overrides[i];
        if (o->kind == OVERRIDE_STR && !strcmp(o->key, key))
            s = (struct ggf_str){ o->string, strlen(o->string) };
    }
    return s;
}

/* YAML takes strings as JSON writes them. */
static void put_yaml(FILE *f, const char *key, struct ggf_str s)
{
    struct json j = { .f = f, .one_line = true };
    if (!s.len) return;
    fprintf(f, "%s: ", key);
    json_strn(&j, NULL, s.data, s.len);
    putc('\n', f);
}

/* Letters, digits and some marks; the rest could mean something in Markdown. */
static void put_plain(FILE *f, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];
        const bool fine = (c >= '0' && c <= '9') ||
                          ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 0x80 ||
                          strchr(" -.,:/()+", c);
        putc(c && fine ? c : '_', f);
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "https://huggingface.co/Qwen/X" as "Qwen/X". */
static struct ggf_str repository(struct ggf_str url)
{
    static const char host[] = "https://huggingface.co/";
    const size_t n = sizeof host - 1;
    if (url.len <= n || memcmp(url.data, host, n) != 0) return (struct ggf_str){ 0 };
    return (struct ggf_str){ url.data + n, url.len - n };
}

/* ---- Parts of the page -------------------------------------------------------- */

static double bits(uint64_t bytes, uint64_t elements)
{
    return elements ? 8 * (double)bytes / (double)elements : 0;
}

static void put_head(FILE *f, const struct quant_job *job)
{
    struct ggf_str by = text_of(job, "general.quantized_by");
    struct ggf_str base = repository(text_of(job, "general.base_model.0.repo_url"));
    if (!by.len) by = (struct ggf_str){ "gguf-quant", 10 };
    if (!base.len) base = repository(text_of(job, "general.repo_url"));
    fputs("---\n", f);
    put_yaml(f, "base_model", base);
    if (base.len) fputs("base_model_relation: quantized\n", f);
    put_yaml(f, "quantized_by", by);
    put_yaml(f, "license", text_of(job, "general.license"));
    put_yaml(f, "license_link", text_of(job, "general.license.link"));
    fputs("tags:\n- gguf\n", f);
    if (job->args->matrix) fputs("- imatrix\n", f);
    if (job->plan.model.n_experts > 1) fputs("- moe\n", f);
    fputs("---\n\n# ", f);
    const struct ggf_str name = text_of(job, "general.name");
    if (name.len) put_plain(f, name.data, name.len);
    else put_plain(f, base_name(job->args->input), strlen(base_name(job->args->input)));
    if (quant_by_target(job->args) || job->args->plan_only)
        fprintf(f, ", %.2f bits\n\n", bits(job->plan.bytes, job->plan.n_elements));
    else fprintf(f, ", %s\n\n", quant_args_type(job->args));
}

static void put_matrix(FILE *f, const struct quant_job *job)
{
    const struct ggf_str *set = job->matrix ? imatrix_dataset(job->matrix) : NULL;
    if (!job->matrix) {
        fputs("| importance matrix | none |\n", f);
        return;
    }
    fputs("| importance matrix | ", f);
    put_plain(f, base_name(job->args->matrix), strlen(base_name(job->args->matrix)));
    if (set) fputs(", of ", f);
    if (set) put_plain(f, set->data, set->len);
    if (imatrix_chunks(job->matrix))
        fprintf(f, ", %" PRIu32 " chunks", imatrix_chunks(job->matrix));
    if (imatrix_chunks(job->matrix) && imatrix_chunk_size(job->matrix))
        fprintf(f, " of %" PRIu32 " tokens", imatrix_chunk_size(job->matrix));
    fprintf(f, " |\n| SHA-256 of the matrix | %s |\n", job->matrix_sha256);
    for (int i = 0; i < job->lint.n; i++)
        if (job->lint.findings[i].kind == LINT_COVERAGE)
            fprintf(f, "| experts seen in fewer than 16 tokens | %zu |\n",
                    job->lint.findings[i].count);
}

static void put_facts(FILE *f, const struct quant_job *job, uint64_t file_bytes)
{
    const struct plan *p = &job->plan;
    const struct target_result *r = &job->target;
    char count[24], size[24];
    fputs("| | |\n|---|---|\n| source | ", f);
    put_plain(f, base_name(job->args->input), strlen(base_name(job->args->input)));
    fprintf(f, ", %.2f bits for each weight |\n", bits(p->source_bytes, p->n_elements));
    fprintf(f, "| weights | %s |\n", out_short(count, p->n_elements));
    fprintf(f, "| size | %s, %" PRIu64 " bytes |\n", out_size(size, file_bytes),
            file_bytes);
    fprintf(f, "| bits for each weight | %.4f |\n", bits(p->bytes, p->n_elements));
    put_matrix(f, job);
    if (!quant_by_target(job->args)) return;
    const double cost = r->budget.solution.cost;
    fprintf(
        f,
        "| predicted error | %.4e, by weights of classes and depth; no choice of this "
        "size goes below %.4e |\n",
        cost, cost - target_gap(r));
}

/* The name without its layer. */
static const char *class_of(const char *name)
{
    return mix_layer(name) < 0 ? name : strchr(name + 4, '.') + 1;
}

struct sum {
    size_t n;
    uint64_t bytes, elements;
};

static void add(struct sum *s, const struct plan_item *item)
{
    s->n++;
    s->bytes += item->bytes;
    s->elements += item->source->count;
}

static void put_sum(FILE *f, const char *name, const char *type, const struct sum *s)
{
    fputs("| ", f);
    for (const char *c = name; *c; c++) putc(*c == '`' || *c == '|' ? '_' : *c, f);
    fprintf(f, " | %s | %zu | %" PRIu64 " | %.4f |\n", type, s->n, s->bytes,
            bits(s->bytes, s->elements));
}

/* The types of one class, from its first item on. */
static void put_class(FILE *f, const struct plan *p, size_t first, bool *done)
{
    const char *name = class_of(p->items[first].name);
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++) {
        struct sum sum = { 0 };
        for (size_t i = first; i < p->n_items; i++) {
            const struct plan_item *item = &p->items[i];
            if (done[i] || item->type != type || strcmp(class_of(item->name), name) != 0)
                continue;
            add(&sum, item);
            done[i] = true;
        }
        if (sum.n) put_sum(f, name, ggf_type_name(type), &sum);
    }
}

/* What is F32 comes last, all together. */
static bool put_types(FILE *f, const struct plan *p)
{
    struct sum rest = { 0 };
    bool *done = calloc(p->n_items + 1, sizeof *done);
    if (!done) return false;
    fputs("\n## Types\n\n| tensors | type | number | bytes | bits |\n"
          "|---|---|---:|---:|---:|\n",
          f);
    for (size_t i = 0; i < p->n_items; i++) {
        done[i] = p->items[i].type == GGF_F32;
        if (done[i]) add(&rest, &p->items[i]);
    }
    for (size_t i = 0; i < p->n_items; i++)
        if (!done[i]) put_class(f, p, i, done);
    if (rest.n) put_sum(f, "the others", "f32", &rest);
    free(done);
    return true;
}

int quant_write_card(struct quant_job *job, uint64_t file_bytes, ggf_error *err)
{
    char *text = NULL;
    size_t len = 0;
    int s = quant_hash_matrix(job, err);
    if (s) return s;
    FILE *f = open_memstream(&text, &len);
    if (!f) return ggf_no_memory(err);
    put_head(f, job);
    put_facts(f, job, file_bytes);
    bool ok = put_types(f, &job->plan);
    fprintf(f, "\n## Made with\n\n```sh\n%s\n```\n", job->args->command);
    ok = !ferror(f) && ok;
    ok = !fclose(f) && ok;
    s = ok ? quant_write_text(job->args, job->args->card, text, err) : ggf_no_memory(err);
    free(text);
    return s;
}
