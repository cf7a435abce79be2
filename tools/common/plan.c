/* plan.c - see plan.h. */
#include "plan.h"

#include "../../infer/experts/replay.h"
#include "gpuopt.h"
#include "memread.h"
#include "order.h"
#include "out.h"
#include "plan_device.h"
#include "table.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Measured so often, the middle one counts: others may use disk and memory for a moment.
 */
enum { PROBES = 3, PROBE_BYTES = 256 << 20 };
#define PROBE_SECONDS 0.4

static bool reads(const struct placement_plan *p)
{
    return p->info->load_mode == Q3N_LOAD_DIRECT;
}

/* Are experts of some layers mapped, and others not? */
static bool some_mapped(const struct placement_plan *p)
{
    for (uint32_t l = 0; l < p->options->n_expert_tiers; l++)
        if (p->options->expert_tiers[l] == Q3N_EXPERTS_MAPPED) return true;
    return false;
}

/* ==== Hits ================================================================ */

/* The uses that fall on the hottest experts, as many as a share of all. */
static int history_hits(const struct trace *t, double share, double *rate, ggf_error *err)
{
    const struct trace_model *m = trace_model(t);
    const size_t n = (size_t)m->n_layer * m->n_expert;
    uint64_t *counts = calloc(n, sizeof *counts), sum = 0, hot = 0;
    if (!counts) return ggf_no_memory(err);
    trace_count(t, counts);
    qsort(counts, n, sizeof *counts, falling_u64);
    for (size_t i = 0; i < n; i++) {
        sum += counts[i];
        if ((double)i < share * (double)n) hot += counts[i];
    }
    *rate = sum ? (double)hot / (double)sum : share;
    free(counts);
    return 0;
}

/* The same share of the trace's experts, if it is of another quantization. */
static int trace_hits(struct trace *t, double share, enum q3n_cache_policy policy,
                      double *rate, ggf_error *err)
{
    struct replay_log log;
    struct replay_result r;
    int e = replay_log_new(&log, &t, 1, err);
    if (e) return e;
    static const enum replay_policy replayed[] = { [Q3N_CACHE_LFU] = REPLAY_LFU,
                                                   [Q3N_CACHE_LRU] = REPLAY_LRU,
                                                   [Q3N_CACHE_CLOCK] = REPLAY_CLOCK };
    const struct replay_options o = {
        .policy = replayed[policy],
        .bytes = (uint64_t)(share * (double)log.sum_bytes),
        .from = replay_middle(&log),
    };
    e = replay_run(&log, &o, &r, err);
    const uint64_t uses = r.hits[0] + r.misses[0];
    *rate = uses ? (double)r.hits[0] / (double)uses : NAN;
    replay_log_free(&log);
    if (!e && !uses)
        e = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                     "the trace has no tokens that were decoded one by one");
    return e;
}

/* What a history says of so large a share of the experts. */
static int said_hits(const struct placement_plan *p, const struct trace_model *own,
                     const char *history, double share, double *rate, ggf_error *err)
{
    struct trace *t;
    int e = trace_open(&t, history, err);
    if (!e) e = trace_check_model(t, own, err);
    if (!e && trace_is_history(t)) e = history_hits(t, share, rate, err);
    else if (!e) e = trace_hits(t, share, p->options->cache_policy, rate, err);
    trace_close(t);
    return e;
}

static int find_hits(struct placement_plan *p, const struct trace_model *own,
                     const char *history, ggf_error *err)
{
    uint64_t all = 0;
    for (uint32_t l = 0; l < own->n_layer; l++)
        all += own->expert_bytes[l] * own->n_expert;
    const double share = fmin(1, (double)p->info->bytes_slots / (double)all);
    const double slots = device_plan_share(p);
    const bool some_read = reads(p) && !some_mapped(p);
    int e = 0;
    /* What is mapped and fits is soon in the page cache. */
    p->hit_rate = some_read ? share : 1;
    p->device.hit_rate = slots;
    p->source = history;
    if (!history) return 0;
    if (some_read) e = said_hits(p, own, history, share, &p->hit_rate, err);
    if (!e && slots > 0) e = said_hits(p, own, history, slots, &p->device.hit_rate, err);
    return e;
}

/* ==== Speed =============================================================== */

/* Misses come as many at once as a layer has of them. */
static int measure(struct placement_plan *p, q3n_model *model, ggf_error *err)
{
    const double misses = p->info->n_expert_used * (1 - p->hit_rate);
    const uint32_t at_once = misses > 1 ? (uint32_t)lrint(misses) : 1;
    double disk[PROBES] = { 0 }, memory[PROBES];
    void *const piece = memread_new(PROBE_BYTES);
    int e = 0;
    for (int i = 0; i < PROBES && !e; i++) {
        if (misses > 0.01)
            e = q3n_model_disk_speed(model, at_once, PROBE_SECONDS, &disk[i], err);
        memory[i] = memread(piece, PROBE_BYTES, p->threads);
    }
    memread_free(piece, PROBE_BYTES);
    if (e) return e;
    p->speeds = (struct speeds){ out_median(disk, PROBES), out_median(memory, PROBES) };
    return 0;
}

static int predict(struct placement_plan *p, q3n_model *model,
                   const struct trace_model *own, ggf_error *err)
{
    const double routed = (double)(p->info->bytes_token - own->dense_bytes);
    /* Mapped experts that do not fit come and go as the system likes. */
    if ((!reads(p) || some_mapped(p)) && p->info->bytes > memory_limits_free(&p->limits))
        return 0;
    int e = measure(p, model, err);
    if (e || !(p->speeds.memory > 0)) return e;
    if (device_plan_has(p)) return device_plan_predict(p, own, err);
    p->bytes = (struct token_bytes){ .dense = (double)own->dense_bytes,
                                     .experts = routed,
                                     .disk = (1 - p->hit_rate) * routed };
    const struct speeds reached = kernel_speeds(&p->speeds);
    p->forecast = forecast(&p->bytes, &reached);
    p->known = true;
    return 0;
}

static void take(uint64_t *all, uint64_t part) { *all -= part < *all ? part : *all; }

/* What is on a device is not in memory. */
static void take_device(struct placement_plan *p)
{
    const struct q3n_device_info *d = &p->info->device;
    const uint32_t n_seq = p->session.n_seq ? p->session.n_seq : 1;
    take(&p->dense, d->dense_bytes);
    take(&p->kv, d->kv_bytes / n_seq);
    take(&p->state, d->state_bytes / n_seq);
    p->experts = p->info->bytes_experts;
    take(&p->experts, d->expert_bytes);
}

int placement_plan_make(struct placement_plan *p, q3n_model *model,
                        const struct q3n_model_options *options, const char *history,
                        ggf_error *err)
{
    struct trace_model own;
    *p = (struct placement_plan){ .info = q3n_model_info(model), .options = options };
    memory_limits_read(&p->limits, "");
    p->session = q3n_session_complete(model, &options->session);
    p->kv = q3n_kv_bytes(q3n_model_info(model), &p->session) * p->session.n_ctx;
    p->state = p->info->bytes_session;
    p->dense = p->info->bytes_dense;
    take_device(p);
    p->work = q3n_session_bytes(model, &p->session) - p->state - p->kv;
    p->threads = options->threads ? options->threads : omp_get_num_procs();
    int e = q3n_model_trace(model, &own, err);
    if (e) return e;
    e = find_hits(p, &own, history, err);
    if (!e) e = predict(p, model, &own, err);
    q3n_model_trace_free(&own);
    return e;
}

/* ==== Printing ============================================================ */

static const char *of_mapped(const struct placement_plan *p)
{
    return p->info->load_mode == Q3N_LOAD_POPULATE ? "mapped, read at once" : "mapped";
}

static void print_places(const struct placement_plan *p, FILE *f)
{
    static const char *const heads[] = { "what", ">size", "where", NULL };
    static const char memory[] = "memory";
    const struct q3n_model_info *i = p->info;
    char context[48];
    struct table t;
    snprintf(context, sizeof context, "cache of %" PRIu32 " tokens", p->session.n_ctx);
    table_start(&t, heads);
    device_plan_rows(p, &t, context);
    plan_row(&t,
             device_plan_has(p) ? "other weights but experts" : "all but routed experts",
             p->dense, reads(p) ? memory : of_mapped(p));
    if (p->kv) plan_row(&t, context, p->kv, memory);
    if (p->state) plan_row(&t, "recurrent state", p->state, memory);
    plan_row(&t, "buffers", p->work + i->device.pinned_bytes, memory);
    if (!reads(p)) {
        if (p->experts) plan_row(&t, "experts", p->experts, of_mapped(p));
        if (i->bytes_slots) plan_row(&t, "unpacked experts", i->bytes_slots, memory);
    } else {
        const uint64_t rest =
            p->experts > i->bytes_slots ? p->experts - i->bytes_slots : 0;
        plan_row(&t, "experts", i->bytes_slots, memory);
        plan_row(&t, rest ? "other experts" : "", rest,
                 !rest            ? ""
                 : some_mapped(p) ? "mapped or on disk"
                                  : "disk");
    }
    table_print(&t, f, out_colour(f));
}

static void print_limits(const struct placement_plan *p, FILE *f)
{
    char a[24], b[24];
    device_plan_print(p, f);
    if (p->options->ram_bytes)
        fprintf(f, "\nlimit    %s, as asked for\n", out_size(a, p->options->ram_bytes));
    else
        fprintf(f, "\nfree     %s of %s\n", out_size(a, memory_limits_free(&p->limits)),
                out_size(b, p->limits.total));
    if (p->limits.cgroup != NO_LIMIT) {
        fprintf(f, "cgroup   %s, ", out_size(a, p->limits.cgroup));
        fprintf(f, "%s left: ", out_size(a, p->limits.cgroup_free));
        out_text(f, p->limits.cgroup_path, strlen(p->limits.cgroup_path), 200);
        fputs("\n", f);
    }
    if (reads(p) && p->limits.locked < p->info->bytes_slots)
        fprintf(f,
                "lock     only %s may be locked (ulimit -l): the rest can be swapped\n",
                out_size(a, p->limits.locked));
}

static void print_token(const struct placement_plan *p, FILE *f)
{
    char a[24], b[24], c[24];
    fprintf(f, "\ntoken    %s dense and %s of experts from memory",
            out_size(a, (uint64_t)p->bytes.dense),
            out_size(b, (uint64_t)p->bytes.experts));
    if (reads(p))
        fprintf(f, ", of which %s come from disk first",
                out_size(c, (uint64_t)p->bytes.disk));
    fputs("\n", f);
    if (reads(p)) {
        fprintf(f, "hits     %.1f %%, ", 100 * p->hit_rate);
        if (p->source) out_text(f, p->source, strlen(p->source), 200);
        fprintf(f, "%s\n", p->source ? " says" : "if all experts are used alike");
    }
    if (p->speeds.disk > 0)
        fprintf(f, "disk     %.2f GB/s, %.1f ms a token\n", p->speeds.disk,
                1e3 * p->forecast.disk_seconds);
    fprintf(f, "memory   %.2f GB/s read by %d threads, %.1f ms a token\n",
            p->speeds.memory, p->threads, 1e3 * p->forecast.memory_seconds);
    fprintf(f, "decode   %.2f tok/s expected, limited by the %s\n",
            p->forecast.per_second, p->forecast.disk_limits ? "disk" : "memory");
}

void placement_plan_print(const struct placement_plan *p, FILE *f)
{
    print_places(p, f);
    print_limits(p, f);
    if (p->known) print_token(p, f);
    else if (p->device.known) device_plan_print_token(p, f);
    else
        fputs("\ndecode   no prediction: mapped weights do not fit into free memory, and "
              "come\n         and go as the system likes (--load-mode direct)\n",
              f);
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_limit(struct json *j, const char *key, uint64_t v)
{
    if (v != NO_LIMIT) json_u64(j, key, v);
}

static void json_speeds(struct json *j, const struct placement_plan *p)
{
    json_f64(j, "token_dense_bytes", p->bytes.dense);
    json_f64(j, "token_expert_bytes", p->bytes.experts);
    json_f64(j, "token_disk_bytes", p->bytes.disk);
    json_f64(j, "hit_rate", p->hit_rate);
    json_f64(j, "disk_gb_s", p->speeds.disk);
    json_f64(j, "memory_gb_s", p->speeds.memory);
    json_f64(j, "disk_seconds", p->forecast.disk_seconds);
    json_f64(j, "memory_seconds", p->forecast.memory_seconds);
    json_f64(j, "decode_tokens_per_second", p->forecast.per_second);
    json_str(j, "limited_by", p->forecast.disk_limits ? "disk" : "memory");
}

void placement_plan_json(const struct placement_plan *p, FILE *f)
{
    static const char *const modes[] = { "auto", "mmap", "populate", "direct" };
    struct json j = { .f = f };
    json_open(&j, NULL, '{');
    json_str(&j, "load_mode", modes[p->info->load_mode]);
    json_u64(&j, "dense_bytes", p->dense);
    json_u64(&j, "kv_bytes", p->kv);
    json_u64(&j, "state_bytes", p->state);
    json_u64(&j, "buffer_bytes", p->work);
    json_u64(&j, "expert_bytes", p->experts);
    json_u64(&j, "experts_memory", p->info->bytes_slots);
    json_u64(&j, "context", p->session.n_ctx);
    if (p->options->ram_bytes) json_u64(&j, "ram_limit", p->options->ram_bytes);
    json_limit(&j, "free_bytes", memory_limits_free(&p->limits));
    json_limit(&j, "cgroup_limit", p->limits.cgroup);
    json_limit(&j, "cgroup_free", p->limits.cgroup_free);
    json_limit(&j, "lock_limit", p->limits.locked);
    if (p->known) json_speeds(&j, p);
    if (p->device.known) device_plan_json(p, &j);
    gpu_json(&j, &p->info->device);
    json_close(&j, '}');
    json_end(&j);
}
