/* bench_print.c - results: a table to read, or llama-bench's fields and some of our own.
 */
#include "bench.h"

#include "../../quant/cpu.h"
#include "gpuopt.h"
#include "memopt.h"
#include "out.h"
#include "runstats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const load_modes[] = { "auto", "mmap", "populate", "direct" };

/* ---- Figures ------------------------------------------------------------------ */

struct mean {
    double mean, deviation; /* of a sample: over n - 1 */
};

/* Of seconds, or of tokens a second if `tokens` is not 0. */
static struct mean mean_of(const struct bench_test *t, double tokens)
{
    struct mean m = { 0 };
    double squares = 0;
    for (int i = 0; i < t->runs; i++)
        m.mean += tokens > 0 ? tokens / t->seconds[i] : t->seconds[i];
    m.mean /= t->runs;
    for (int i = 0; i < t->runs; i++) {
        const double v = tokens > 0 ? tokens / t->seconds[i] : t->seconds[i];
        squares += (v - m.mean) * (v - m.mean);
    }
    if (t->runs > 1) m.deviation = sqrt(squares / (t->runs - 1));
    return m;
}

/* Does a device compute some of the model? */
static bool has_device(const struct bench_report *r)
{
    return r->info.device.n_layers || r->info.device.head;
}

/* What a test is held against: a device's memory and 16-bit products, if it computes all
 * of the model; nothing, if it computes a part. */
static struct bench_bounds bounds_of(const struct bench_report *r, int i)
{
    const struct q3n_device_info *d = &r->info.device;
    if (!has_device(r)) return r->bounds[i];
    if (d->head && d->n_layers == r->info.n_layer && d->n_expert_layers == d->n_layers)
        return (struct bench_bounds){ r->device.memory, r->device.products16 };
    return (struct bench_bounds){ 0 };
}

/* What a test reached: of the memory's speed when decoding, of the arithmetic's when
 * reading a prompt; 0 for the other. */
struct figures {
    double tokens;          /* in a run */
    double per_second;      /* of the median run */
    double gb_s, of_memory; /* weights, keys and values */
    double gmac_s, of_products;
    double upload_gb_s, of_upload; /* experts, to the device */
};

static struct figures figures_of(const struct bench_report *r, int i)
{
    const struct bench_test *t = &r->tests[i];
    const struct q3n_session_options o = { .type_k = t->type_k, .type_v = t->type_v };
    const struct bench_bounds b = bounds_of(r, i);
    struct figures f = { .tokens = (double)(t->prompt + t->gen) * t->parallel };
    double seconds = 0;
    f.per_second = f.tokens / t->median;
    for (int k = 0; k < t->runs; k++) seconds += t->seconds[k];
    f.upload_gb_s = 1e-9 * (double)t->experts.device_bytes / seconds;
    f.of_upload = r->device.upload > 0 ? f.upload_gb_s / r->device.upload : 0;
    if (t->parallel > 1) return f; /* which experts they share is not known */
    if (!t->prompt) {
        const double seen = t->depth + (t->gen + 1) / 2.0; /* positions, on average */
        const double bytes =
            (double)r->info.bytes_token + seen * (double)q3n_kv_bytes(&r->info, &o);
        f.gb_s = 1e-9 * bytes * f.per_second;
        f.of_memory = b.memory > 0 ? f.gb_s / b.memory : 0;
    } else if (!t->gen) {
        const double macs =
            f.tokens * (double)r->info.macs_token + (double)r->info.macs_logits;
        f.gmac_s = 1e-9 * macs / t->median;
        f.of_products = b.products > 0 ? f.gmac_s / b.products : 0;
    }
    return f;
}

/* Nanoseconds that a step takes for each token. */
static double op_ns(const struct bench_test *t, enum op op)
{
    return 1e9 * t->clock.seconds[op] /
           ((double)t->runs * (t->prompt + t->gen) * t->parallel);
}

/* ---- Table -------------------------------------------------------------------- */

static void share(double v)
{
    if (v > 0) printf(" %.0f %% |", 100 * v);
    else printf(" |");
}

static void rate(double v)
{
    if (v > 0) printf(" %.1f |", v);
    else printf(" |");
}

static void table_row(const struct bench_report *r, int i)
{
    const struct bench_test *t = &r->tests[i];
    const struct figures f = figures_of(r, i);
    const struct mean m = mean_of(t, f.tokens);
    char size[24], params[24], name[64];
    bench_name(t, name);
    printf("| %s%s | %s | %s | %s | %d |", r->info.architecture,
           r->info.packed ? " packed" : "", out_size(size, r->info.bytes),
           out_short(params, r->info.n_params), cpu_level_name(), t->threads);
    if (r->other_ubatch) printf(" %d |", t->ubatch);
    if (r->other_k) printf(" %s |", ggf_type_name(t->type_k));
    if (r->other_v) printf(" %s |", ggf_type_name(t->type_v));
    printf(" %s | %.2f ± %.2f | %.2f |", name, m.mean, m.deviation, f.per_second);
    rate(f.gb_s);
    share(f.of_memory);
    rate(f.gmac_s);
    share(f.of_products);
    printf("\n");
}

static void ops_table(const struct bench_report *r)
{
    printf("\n| µs per token |");
    for (int op = 0; op < OPS; op++) printf(" %s |", op_names[op]);
    printf("\n|---|");
    for (int op = 0; op < OPS; op++) printf("--:|");
    printf("\n");
    for (int i = 0; i < r->n; i++) {
        char name[64];
        double sum = 0;
        for (int op = 0; op < OPS; op++) sum += op_ns(&r->tests[i], (enum op)op);
        bench_name(&r->tests[i], name);
        printf("| %s |", name);
        for (int op = 0; op < OPS; op++) {
            const double ns = op_ns(&r->tests[i], (enum op)op);
            printf(" %.1f, %.0f %% |", 1e-3 * ns, sum > 0 ? 100 * ns / sum : 0);
        }
        printf("\n");
    }
}

static void device_lines(const struct bench_report *r)
{
    const struct q3n_device_speeds *d = &r->device;
    if (!has_device(r)) return;
    printf("\n%s: %s, experts of %" PRIu32 " of %" PRIu32 " layers, %" PRIu32
           " slots; memory read at %.0f GB/s, copied to at %.1f GB/s, 16-bit products at "
           "%.0f GMAC/s, 8-bit ones at %.0f GMAC/s\n",
           r->info.device.name, gpu_layers(&r->info.device).text,
           r->info.device.n_expert_layers, r->info.n_layer, r->info.device.pool_slots,
           d->memory, d->upload, d->products16, d->products8);
    for (int i = 0; i < r->n; i++) {
        const struct q3n_expert_stats *s = &r->tests[i].experts;
        const struct figures f = figures_of(r, i);
        const uint64_t asked = s->device_hits + s->device_misses;
        char name[64];
        bench_name(&r->tests[i], name);
        if (asked)
            printf(
                "\n%s: %.1f %% of experts were in slots; copied at %.2f GB/s, %.0f %% of "
                "what is possible\n",
                name, 100 * (double)s->device_hits / (double)asked, f.upload_gb_s,
                100 * f.of_upload);
    }
}

static void bounds_lines(const struct bench_report *r)
{
    for (int i = 0; i < r->n; i++) {
        const struct bench_bounds *b = &r->bounds[i];
        if (i && r->tests[i].threads == r->tests[i - 1].threads) continue;
        printf("\n%d thread%s:", r->tests[i].threads, r->tests[i].threads > 1 ? "s" : "");
        if (b->memory > 0) printf(" memory read at %.2f GB/s", b->memory);
        if (b->products > 0) printf(", 8-bit products at %.0f GMAC/s", b->products);
        printf("\n");
    }
    device_lines(r);
}

static void print_table(const struct bench_report *r)
{
    printf("| model | size | params | cpu | threads |%s%s%s test | t/s | median | GB/s | "
           "of memory | GMAC/s | of peak |\n|---|--:|--:|---|--:|%s%s%s--:|--:|--:|--:|"
           "--:|--:|--:|\n",
           r->other_ubatch ? " n_ubatch |" : "", r->other_k ? " type_k |" : "",
           r->other_v ? " type_v |" : "", r->other_ubatch ? "--:|" : "",
           r->other_k ? "--:|" : "", r->other_v ? "--:|" : "");
    for (int i = 0; i < r->n; i++) table_row(r, i);
    if (r->ops) ops_table(r);
    bounds_lines(r);
}

/* ---- Fields ------------------------------------------------------------------- */

enum field_kind { TEXT, WHOLE, REAL };

struct field {
    const char *name;
    enum field_kind kind;
    const char *text;
    uint64_t whole;
    double real;
};

enum { FIELDS_MAX = 40 };

struct fields {
    struct field items[FIELDS_MAX];
    int n;
};

static void text(struct fields *f, const char *name, const char *value)
{
    f->items[f->n++] = (struct field){ .name = name, .kind = TEXT, .text = value };
}

static void whole(struct fields *f, const char *name, uint64_t value)
{
    f->items[f->n++] = (struct field){ .name = name, .kind = WHOLE, .whole = value };
}

static void real(struct fields *f, const char *name, double value)
{
    f->items[f->n++] = (struct field){ .name = name, .kind = REAL, .real = value };
}

/* "Intel(R) Xeon(R) Processor", as the system says it; empty if it does not. */
static const char *cpu_info(void)
{
    static char name[128];
    FILE *f = *name ? NULL : fopen("/proc/cpuinfo", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", name) == 1) break;
    if (f) fclose(f);
    return name;
}

/* In JSON the mode is among what is said of memory. */
static void model_fields(struct fields *f, const struct bench_report *r)
{
    text(f, "cpu_info", cpu_info());
    text(f, "gpu_info", has_device(r) ? r->info.device.name : "");
    text(f, "backends", has_device(r) ? "CUDA" : "CPU");
    text(f, "cpu_level", cpu_level_name());
    text(f, "model_filename", r->model_path);
    text(f, "model_type", r->info.architecture);
    whole(f, "model_size", r->info.bytes);
    whole(f, "model_n_params", r->info.n_params);
    if (!strcmp(r->format, "csv")) text(f, "load_mode", load_modes[r->info.load_mode]);
}

static void all_fields(struct fields *f, const struct bench_report *r, int i)
{
    const struct bench_test *t = &r->tests[i];
    const struct figures g = figures_of(r, i);
    const struct mean ns = mean_of(t, 0), ts = mean_of(t, g.tokens);
    f->n = 0;
    model_fields(f, r);
    whole(f, "n_ubatch", (uint64_t)t->ubatch);
    whole(f, "n_threads", (uint64_t)t->threads);
    text(f, "type_k", ggf_type_name(t->type_k));
    text(f, "type_v", ggf_type_name(t->type_v));
    whole(f, "n_prompt", (uint64_t)t->prompt);
    whole(f, "n_gen", (uint64_t)t->gen);
    whole(f, "n_depth", (uint64_t)t->depth);
    whole(f, "n_parallel", (uint64_t)t->parallel);
    text(f, "test_time", t->time);
    whole(f, "avg_ns", (uint64_t)llround(1e9 * ns.mean));
    whole(f, "stddev_ns", (uint64_t)llround(1e9 * ns.deviation));
    real(f, "avg_ts", ts.mean);
    real(f, "stddev_ts", ts.deviation);
    whole(f, "median_ns", (uint64_t)llround(1e9 * t->median));
    real(f, "median_ts", g.per_second);
    whole(f, "bytes_per_token", r->info.bytes_token);
    real(f, "gb_s", g.gb_s);
    real(f, "memory_gb_s", bounds_of(r, i).memory);
    real(f, "gmac_s", g.gmac_s);
    real(f, "peak_gmac_s", bounds_of(r, i).products);
    if (!has_device(r)) return;
    whole(f, "n_gpu_layers", r->info.device.n_layers + (uint64_t)r->info.device.head);
    real(f, "upload_gb_s", g.upload_gb_s);
    real(f, "device_upload_gb_s", r->device.upload);
    real(f, "device_memory_gb_s", r->device.memory);
    real(f, "device_products16_gmac_s", r->device.products16);
    real(f, "device_products8_gmac_s", r->device.products8);
}

/* "gate, up" -> "gate_up" */
static const char *op_key(enum op op, char key[32])
{
    size_t n = 0;
    for (const char *c = op_names[op]; *c && n < 31; c++)
        if (*c == ' ') key[n++] = '_';
        else if (*c != ',') key[n++] = *c;
    key[n] = 0;
    return key;
}

static void print_csv(const struct bench_report *r)
{
    struct fields f;
    char key[32];
    for (int i = 0; i < r->n; i++) {
        all_fields(&f, r, i);
        for (int k = 0; k < f.n && !i; k++) printf("%s%s", k ? "," : "", f.items[k].name);
        for (int op = 0; op < OPS && !i && r->ops; op++)
            printf(",%s_ns", op_key((enum op)op, key));
        if (!i) printf("\n");
        for (int k = 0; k < f.n; k++) {
            const struct field *x = &f.items[k];
            printf("%s\"", k ? "," : "");
            if (x->kind == WHOLE) printf("%" PRIu64, x->whole);
            else if (x->kind == REAL) printf("%f", x->real);
            for (const char *c = x->kind == TEXT ? x->text : ""; *c; c++) {
                if (*c == '"') putchar('"');
                putchar(*c);
            }
            printf("\"");
        }
        for (int op = 0; op < OPS && r->ops; op++)
            printf(",\"%.0f\"", op_ns(&r->tests[i], (enum op)op));
        printf("\n");
    }
}

static void json_samples(struct json *j, const struct bench_test *t)
{
    json_open(j, "samples_ns", '[');
    for (int i = 0; i < t->runs; i++)
        json_u64(j, NULL, (uint64_t)llround(1e9 * t->seconds[i]));
    json_close(j, ']');
    json_open(j, "samples_ts", '[');
    for (int i = 0; i < t->runs; i++)
        json_f64(j, NULL, (t->prompt + t->gen) / t->seconds[i]);
    json_close(j, ']');
}

static void json_test(struct json *j, const struct bench_report *r, int i)
{
    struct fields f;
    char key[32];
    all_fields(&f, r, i);
    json_open(j, NULL, '{');
    for (int k = 0; k < f.n; k++) {
        const struct field *x = &f.items[k];
        if (x->kind == WHOLE) json_u64(j, x->name, x->whole);
        else if (x->kind == REAL) json_f64(j, x->name, x->real);
        else json_str(j, x->name, x->text);
    }
    json_samples(j, &r->tests[i]);
    json_u64(j, "peak_memory", peak_memory());
    memory_json(j, &r->info, &r->tests[i].experts);
    if (r->ops) {
        json_open(j, "ops_ns", '{');
        for (int op = 0; op < OPS; op++)
            json_f64(j, op_key((enum op)op, key), op_ns(&r->tests[i], (enum op)op));
        json_close(j, '}');
    }
    json_close(j, '}');
}

static void print_json(const struct bench_report *r, bool lines)
{
    struct json j = { .f = stdout, .one_line = lines };
    if (!lines) json_open(&j, NULL, '[');
    for (int i = 0; i < r->n; i++) {
        json_test(&j, r, i);
        if (lines) json_end(&j);
    }
    if (lines) return;
    json_close(&j, ']');
    json_end(&j);
}

void bench_print(const struct bench_report *r)
{
    if (!strcmp(r->format, "csv")) print_csv(r);
    else if (!strcmp(r->format, "md")) print_table(r);
    else print_json(r, !strcmp(r->format, "jsonl"));
}
