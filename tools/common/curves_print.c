/* curves_print.c - hit rates as tables and as JSON; see curves.h. */
#include "curves.h"
#include "table.h"

#include <inttypes.h>
#include <math.h>

static void percent(struct table *t, double share)
{
    if (isfinite(share)) table_cell(t, "%.1f", 100 * share);
    else table_cell(t, "%s", "");
}

static void number(struct table *t, double v, const char *format)
{
    char text[32];
    snprintf(text, sizeof text, format, v);
    table_cell(t, "%s", isfinite(v) ? text : "");
}

/* ==== Text ================================================================ */

static uint64_t mean_expert(const struct trace_model *m)
{
    return replay_least(m) / ((uint64_t)m->n_layer * m->n_used);
}

static double mean_of(const struct locality *l, uint32_t n, size_t member)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += *(const double *)(const void *)((const char *)&l->layers[i] + member);
    return sum / n;
}

static void print_distance(FILE *f, const char *share, double records, uint64_t each)
{
    char size[24];
    fprintf(f, "%s within %.0f other experts (%s)", share, records,
            out_size(size, (uint64_t)(records * (double)each)));
}

static void print_head(const struct curves *c, FILE *f)
{
    const struct trace_model *m = c->log->model;
    const struct locality *l = c->locality;
    char one[24], all[24];
    fprintf(f, "tokens   %" PRIu64 " of prompts, %" PRIu64 " decoded\n", l->prompt_tokens,
            l->decoded_tokens);
    fprintf(f,
            "model    %" PRIu32 " layers of %" PRIu32 " experts, %" PRIu32
            " used; one is %s, all are %s\n",
            m->n_layer, m->n_expert, m->n_used, out_size(one, mean_expert(m)),
            out_size(all, c->log->sum_bytes));
    fprintf(f,
            "spread   %" PRIu64 " of %" PRIu64
            " experts were used; the hottest tenth of a layer has %.1f %% of its uses\n",
            l->used, (uint64_t)m->n_layer * m->n_expert,
            100 * mean_of(l, m->n_layer, offsetof(struct layer_locality, top)));
    fprintf(f, "repeats  %.1f %% of a token's experts were those of the token before\n",
            100 * mean_of(l, m->n_layer, offsetof(struct layer_locality, repeated)));
    if (isfinite(l->distance_half)) {
        fputs("reuse    ", f);
        print_distance(f, "half", l->distance_half, mean_expert(m));
        print_distance(f, ", nine tenths", l->distance_most, mean_expert(m));
        fprintf(f, "; %.1f %% are first uses\n", 100 * l->first_uses);
    }
}

static void print_layers(const struct curves *c, FILE *f)
{
    static const char *const heads[] = { ">layer",           ">used",
                                         ">hottest tenth %", ">as many alike",
                                         ">repeats %",       NULL };
    struct table t;
    table_start(&t, heads);
    for (uint32_t i = 0; i < c->log->model->n_layer; i++) {
        const struct layer_locality *l = &c->locality->layers[i];
        table_cell(&t, "%" PRIu32, i);
        table_cell(&t, "%" PRIu32, l->used);
        percent(&t, l->top);
        number(&t, l->effective, "%.1f");
        percent(&t, l->repeated);
    }
    fputs("\n", f);
    table_print(&t, f, out_colour(f));
}

static bool has(const struct curves *c, bool prompt)
{
    for (int p = 0; p < REPLAY_POLICIES; p++)
        if (c->wanted[p]) return isfinite(curves_hit_rate(c, p, 0, prompt));
    return false;
}

/* Hits of the wanted policies in per cent, and what each means in tokens per second. */
static void print_rates(const struct curves *c, bool prompt, FILE *f)
{
    static const char *const heads[] = { ">cache",     ">of all %",     ">lru %",
                                         ">clock %",   ">lfu %",        ">static %",
                                         ">belady %",  ">lru tok/s",    ">clock tok/s",
                                         ">lfu tok/s", ">static tok/s", ">belady tok/s",
                                         NULL };
    struct table t;
    char size[24];
    table_start(&t, heads);
    for (uint32_t i = 0; i < c->n_sizes; i++) {
        table_cell(&t, "%s", out_size(size, c->sizes[i]));
        percent(&t, (double)c->sizes[i] / (double)c->log->sum_bytes);
        for (int p = 0; p < REPLAY_POLICIES; p++)
            percent(&t, c->wanted[p] ? curves_hit_rate(c, p, i, prompt) : NAN);
        for (int p = 0; p < REPLAY_POLICIES; p++)
            number(&t, c->wanted[p] && !prompt ? curves_per_second(c, p, i) : NAN,
                   "%.2f");
    }
    fprintf(f, "\nHits %s:\n", prompt ? "of prompts" : "while decoding");
    table_print(&t, f, out_colour(f));
}

void curves_print(const struct curves *c, bool layers, FILE *f)
{
    print_head(c, f);
    if (layers) print_layers(c, f);
    if (has(c, false)) print_rates(c, false, f);
    if (has(c, true)) print_rates(c, true, f);
    if (c->from)
        fputs("\nThe first half of the trace filled the caches and is not counted.\n", f);
}

/* ==== JSON ================================================================ */

static void json_layers(struct json *j, const struct curves *c)
{
    json_open(j, "layers", '[');
    for (uint32_t i = 0; i < c->log->model->n_layer; i++) {
        const struct layer_locality *l = &c->locality->layers[i];
        json_open(j, NULL, '{');
        json_u64(j, "used", l->used);
        json_f64(j, "hottest_tenth", l->top);
        json_f64(j, "effective", l->effective);
        json_f64(j, "repeated", l->repeated);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void json_result(struct json *j, const struct curves *c, enum replay_policy p,
                        uint32_t size)
{
    const struct replay_result *r = &c->results[p][size];
    json_open(j, NULL, '{');
    json_str(j, "policy", replay_policy_name(p));
    json_u64(j, "bytes", c->sizes[size]);
    json_f64(j, "share_of_experts", (double)c->sizes[size] / (double)c->log->sum_bytes);
    json_u64(j, "decode_hits", r->hits[0]);
    json_u64(j, "decode_misses", r->misses[0]);
    json_u64(j, "decode_miss_bytes", r->miss_bytes[0]);
    json_f64(j, "decode_hit_rate", curves_hit_rate(c, p, size, false));
    json_u64(j, "prompt_hits", r->hits[1]);
    json_u64(j, "prompt_misses", r->misses[1]);
    json_u64(j, "prompt_miss_bytes", r->miss_bytes[1]);
    json_f64(j, "prompt_hit_rate", curves_hit_rate(c, p, size, true));
    json_f64(j, "tokens_per_second", curves_per_second(c, p, size));
    json_close(j, '}');
}

static void json_model(struct json *j, const struct curves *c)
{
    const struct trace_model *m = c->log->model;
    char id[2 * TRACE_ID_BYTES + 1];
    for (int i = 0; i < TRACE_ID_BYTES; i++) snprintf(id + 2 * i, 3, "%02x", m->id[i]);
    json_str(j, "model_id", id);
    json_u64(j, "n_layer", m->n_layer);
    json_u64(j, "n_expert", m->n_expert);
    json_u64(j, "n_used", m->n_used);
    json_u64(j, "dense_bytes", m->dense_bytes);
    json_u64(j, "expert_bytes", c->log->sum_bytes);
    json_u64(j, "least_bytes", replay_least(m));
}

void curves_json(const struct curves *c, FILE *f)
{
    const struct locality *l = c->locality;
    struct json j = { .f = f };
    json_open(&j, NULL, '{');
    json_model(&j, c);
    json_u64(&j, "prompt_tokens", l->prompt_tokens);
    json_u64(&j, "decoded_tokens", l->decoded_tokens);
    json_u64(&j, "experts_used", l->used);
    json_f64(&j, "first_uses", l->first_uses);
    json_f64(&j, "reuse_distance_half", l->distance_half);
    json_f64(&j, "reuse_distance_nine_tenths", l->distance_most);
    json_layers(&j, c);
    json_bool(&j, "first_half_counted", !c->from);
    json_f64(&j, "disk_gb_s", c->speeds.memory > 0 ? c->speeds.disk : NAN);
    json_f64(&j, "memory_gb_s", c->speeds.memory > 0 ? c->speeds.memory : NAN);
    json_open(&j, "caches", '[');
    for (int p = 0; p < REPLAY_POLICIES; p++)
        for (uint32_t i = 0; c->wanted[p] && i < c->n_sizes; i++)
            json_result(&j, c, p, i);
    json_close(&j, ']');
    json_close(&j, '}');
    json_end(&j);
}
