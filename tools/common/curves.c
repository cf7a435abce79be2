/* curves.c - running caches of all sizes and policies; see curves.h. */
#include "curves.h"

#include "../../infer/now.h"

#include <math.h>

static const char *const names[REPLAY_POLICIES] = { "lru", "clock", "lfu", "static",
                                                    "belady" };

const char *replay_policy_name(enum replay_policy policy) { return names[policy]; }

void curves_default_sizes(struct curves *c)
{
    enum { POINTS = 12 };
    const double least = (double)replay_least(c->log->model),
                 most = (double)c->log->sum_bytes;
    c->n_sizes = POINTS;
    for (uint32_t i = 0; i < POINTS; i++)
        c->sizes[i] = (uint64_t)(least * pow(most / least, i / (double)(POINTS - 1)));
    c->sizes[POINTS - 1] = c->log->sum_bytes;
}

static int run_one(struct curves *c, uint32_t job, ggf_error *err)
{
    const enum replay_policy policy = job / c->n_sizes;
    const struct replay_options o = { .policy = policy,
                                      .bytes = c->sizes[job % c->n_sizes],
                                      .from = c->from,
                                      .ranking = c->ranking };
    if (!c->wanted[policy]) return 0;
    return replay_run(c->log, &o, &c->results[policy][job % c->n_sizes], err);
}

int curves_run(struct curves *c, int threads, ggf_error *err)
{
    const double start = seconds_now();
    int status = 0;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (uint32_t job = 0; job < REPLAY_POLICIES * c->n_sizes; job++) {
        ggf_error mine;
        const int e = run_one(c, job, &mine);
        if (!e) continue;
#pragma omp critical
        {
            status = e;
            if (err) *err = mine;
        }
    }
    c->seconds = seconds_now() - start;
    return status;
}

double curves_hit_rate(const struct curves *c, enum replay_policy policy, uint32_t size,
                       bool prompt)
{
    const struct replay_result *r = &c->results[policy][size];
    const uint64_t all = r->hits[prompt] + r->misses[prompt];
    return all ? (double)r->hits[prompt] / (double)all : NAN;
}

double curves_per_second(const struct curves *c, enum replay_policy policy, uint32_t size)
{
    const struct trace_model *m = c->log->model;
    const struct replay_result *r = &c->results[policy][size];
    const double tokens =
        (double)(r->hits[0] + r->misses[0]) / ((double)m->n_layer * m->n_used);
    if (!(c->speeds.memory > 0) || !(tokens > 0)) return NAN;
    const struct token_bytes bytes = { .dense = (double)m->dense_bytes,
                                       .experts = (double)replay_least(m),
                                       .disk = (double)r->miss_bytes[0] / tokens };
    return forecast(&bytes, &c->speeds).per_second;
}
