/* probe_file.c - see probe_file.h. */
#include "probe_file.h"

#include "input.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Writing ------------------------------------------------------------------ */

static void write_entry(FILE *f, const char *name, const struct error_entry *e)
{
    fprintf(f, "weight %s %.9g\n", name, e->weight);
    for (uint32_t k = 0; k < GGF_TYPE_COUNT; k++)
        if (k != e->tensor->type && !isnan(e->error[k]))
            fprintf(f, "error %s %s %.9g %.3g\n", name, ggf_type_name(k), e->error[k],
                    e->spread[k]);
}

int probe_file_write(const char *path, bool force, const struct predict *p,
                     const struct probe_result *r, const struct error_table *t,
                     const struct plan *plan, ggf_error *err)
{
    char *text = NULL;
    size_t len = 0;
    ggf_output *out = NULL;
    FILE *f = open_memstream(&text, &len);
    if (!f) return ggf_no_memory(err);
    fprintf(f, "q3n-probe 1\nelements %" PRIu64 "\ncurve %.9g %.9g %.9g\n",
            plan->n_elements, p->root, p->slope, p->factor);
    fprintf(f, "probe %" PRIu64 " %zu %d %d %.3g %.1f\n", r->tokens, r->n_outputs,
            r->n_kinds, r->n_plans, r->noise, r->seconds);
    for (size_t i = 0; i < t->n; i++)
        if (t->entries[i].sampled) write_entry(f, plan->items[i].name, &t->entries[i]);
    int s = fclose(f) ? ggf_no_memory(err) : 0;
    if (!s) s = ggf_output_create(&out, path, force, err);
    if (!s) s = ggf_output_write(out, 0, text, len, err);
    if (s) ggf_output_discard(out);
    else s = ggf_output_commit(out, err);
    free(text);
    return s;
}

/* ---- Reading ------------------------------------------------------------------ */

struct reader {
    struct predict *predict;
    struct probe_result *result;
    struct error_table *table;
    const struct plan *plan;
    bool named, sized, curved; /* the first three lines were there */
    size_t last;               /* item found last */
};

/* The entry of a tensor, or NULL.  Lines of one come together. */
static struct error_entry *find(struct reader *r, const char *name)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const size_t k = (r->last + i) % r->table->n;
        if (strcmp(r->plan->items[k].name, name) != 0) continue;
        r->last = k;
        return &r->table->entries[k];
    }
    return NULL;
}

static bool is_positive(double v) { return isfinite(v) && v > 0; }

static const char *take_curve(struct reader *r, const char *line)
{
    struct predict p = { .measured = true };
    if (sscanf(line, "curve %lf %lf %lf", &p.root, &p.slope, &p.factor) != 3 ||
        !isfinite(p.root) || p.root < 0 || !is_positive(p.slope) || !isfinite(p.factor) ||
        p.factor < 1)
        return "expected 'curve ROOT SLOPE FACTOR'";
    *r->predict = p;
    r->curved = true;
    return NULL;
}

static const char *take_probe(struct reader *r, const char *line)
{
    struct probe_result p = { 0 };
    if (sscanf(line, "probe %" SCNu64 " %zu %d %d %lf %lf", &p.tokens, &p.n_outputs,
               &p.n_kinds, &p.n_plans, &p.noise, &p.seconds) != 6)
        return "expected 'probe TOKENS OUTPUTS KINDS PLANS NOISE SECONDS'";
    *r->result = p;
    return NULL;
}

static const char *take_weight(struct reader *r, const char *line)
{
    char name[64];
    double v;
    if (sscanf(line, "weight %63s %lf", name, &v) != 2 || !isfinite(v) || v < 0)
        return "expected 'weight TENSOR WEIGHT'";
    struct error_entry *e = find(r, name);
    if (!e) return "the model has no such tensor";
    e->weight = v;
    if (!e->sampled) e->sampled = 1;
    return NULL;
}

static const char *take_error(struct reader *r, const char *line)
{
    char name[64], type[16];
    double error, spread;
    if (sscanf(line, "error %63s %15s %lf %lf", name, type, &error, &spread) != 4 ||
        !isfinite(error) || error < 0 || !isfinite(spread) || spread < 0)
        return "expected 'error TENSOR TYPE ERROR SPREAD'";
    struct error_entry *e = find(r, name);
    const int k = ggf_type_from_name(type);
    if (!e) return "the model has no such tensor";
    if (k < 0) return "there is no such type";
    e->error[k] = error;
    e->spread[k] = spread;
    e->wanted &= ~(1ull << k);
    return NULL;
}

static const char *take_elements(struct reader *r, const char *line)
{
    uint64_t n;
    if (sscanf(line, "elements %" SCNu64, &n) != 1) return "expected 'elements N'";
    if (n != r->plan->n_elements) return "it is of another model, or of other layers";
    r->sized = true;
    return NULL;
}

/* What is wrong with a line, or NULL. */
static const char *take_line(struct reader *r, const char *line)
{
    if (!*line || *line == '#') return NULL;
    if (!r->named) {
        r->named = !strcmp(line, "q3n-probe 1");
        return r->named ? NULL : "expected 'q3n-probe 1'";
    }
    if (!strncmp(line, "elements ", 9)) return take_elements(r, line);
    if (!r->sized) return "expected 'elements N'";
    if (!strncmp(line, "curve ", 6)) return take_curve(r, line);
    if (!strncmp(line, "probe ", 6)) return take_probe(r, line);
    if (!strncmp(line, "weight ", 7)) return take_weight(r, line);
    if (!strncmp(line, "error ", 6)) return take_error(r, line);
    return "expected curve, probe, weight or error";
}

int probe_file_parse(char *text, size_t len, const char *path, struct predict *predict,
                     struct probe_result *result, struct error_table *table,
                     const struct plan *plan, ggf_error *err)
{
    struct reader r = {
        .predict = predict, .result = result, .table = table, .plan = plan
    };
    size_t number = 0;
    for (char *line = text, *end; line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (!end) break; /* without its end a line may have lost digits */
        *end = 0;
        number++;
        const char *wrong = take_line(&r, line);
        if (wrong)
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %zu: %s", path,
                            number, wrong);
    }
    if (r.curved) return 0;
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s has no curve: it is no probe",
                    path);
}

int probe_file_read(const char *path, struct predict *predict,
                    struct probe_result *result, struct error_table *table,
                    const struct plan *plan, ggf_error *err)
{
    struct input in = { 0 };
    int s = input_read(&in, path, err);
    if (!s)
        s = probe_file_parse(in.bytes, in.len, path, predict, result, table, plan, err);
    free(in.bytes);
    return s;
}
