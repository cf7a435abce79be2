/* bench_run.c - one test: a session, random tokens, a clock. */
#include "../../infer/now.h"
#include "bench.h"
#include "memopt.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void bench_name(const struct bench_test *t, char name[64])
{
    char depth[24] = "", parallel[16] = "";
    if (t->depth) snprintf(depth, sizeof depth, " @ d%d", t->depth);
    if (t->parallel > 1) snprintf(parallel, sizeof parallel, " x %d", t->parallel);
    if (t->prompt && t->gen)
        snprintf(name, 64, "pp%d+tg%d%s%s", t->prompt, t->gen, depth, parallel);
    else if (t->prompt) snprintf(name, 64, "pp%d%s%s", t->prompt, depth, parallel);
    else snprintf(name, 64, "tg%d%s%s", t->gen, depth, parallel);
}

static void draw(int32_t *tokens, uint32_t n, uint32_t n_vocab)
{
    static uint64_t state = 1;
    for (uint32_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
        tokens[i] = (int32_t)((state >> 33) % n_vocab);
    }
}

struct bench {
    struct bench_test *t;
    q3n_model *model;
    uint32_t n; /* sequences */
    q3n_lane *lane;
    q3n_session **sessions; /* [n] */
    q3n_snapshot **starts;  /* [n]: behind the tokens of the depth */
    struct q3n_run *runs;   /* [n] */
    int32_t *tokens;        /* room for the longest of depth, prompt and generation */
    float *logits;          /* of n tokens */
    uint32_t n_vocab;
};

/* So many tokens in each sequence, with the logits of the last; each has its own. */
static int compute(struct bench *b, const int32_t *tokens, uint32_t n, uint32_t stride,
                   ggf_error *err)
{
    for (uint32_t i = 0; i < b->n; i++)
        b->runs[i] =
            (struct q3n_run){ b->sessions[i], tokens + (size_t)i * stride, n, n - 1 };
    return q3n_sessions_eval(b->runs, b->n, b->logits, err);
}

/* The whole prompt at once, then one token after the other. */
static int once(struct bench *b, double *seconds, ggf_error *err)
{
    const struct bench_test *t = b->t;
    const uint32_t prompt = (uint32_t)t->prompt, gen = (uint32_t)t->gen;
    for (uint32_t i = 0; i < b->n; i++) q3n_session_restore(b->sessions[i], b->starts[i]);
    draw(b->tokens, (prompt + gen) * b->n, b->n_vocab);
    const double start = seconds_now();
    int e = prompt ? compute(b, b->tokens, prompt, prompt + gen, err) : 0;
    for (uint32_t i = 0; i < gen && !e; i++)
        e = compute(b, b->tokens + prompt + i, 1, prompt + gen, err);
    *seconds = seconds_now() - start;
    return e;
}

static int go_deep(struct bench *b, ggf_error *err)
{
    const uint32_t depth = (uint32_t)b->t->depth;
    int e = 0;
    for (uint32_t i = 0; i < b->n && !e; i++) {
        draw(b->tokens, depth, b->n_vocab);
        e = q3n_session_eval(b->sessions[i], b->tokens, depth, 0, NULL, err);
        if (!e) e = q3n_session_save(&b->starts[i], b->sessions[i], err);
    }
    return e;
}

static int all_runs(struct bench *b, bool warmup, ggf_error *err)
{
    struct bench_test *t = b->t;
    double unused;
    int e = go_deep(b, err);
    if (!e && warmup) e = once(b, &unused, err);
    struct q3n_expert_stats before;
    q3n_model_expert_stats(b->model, &before);
    q3n_session_time(b->sessions[0], &t->clock);
    for (int i = 0; i < t->runs && !e; i++) e = once(b, &t->seconds[i], err);
    q3n_model_expert_stats(b->model, &t->experts);
    memory_since(&t->experts, &before);
    return e;
}

static int allocate(struct bench *b, ggf_error *err)
{
    struct bench_test *t = b->t;
    const uint32_t n = (uint32_t)(t->prompt + t->gen), depth = (uint32_t)t->depth;
    const uint64_t all = (uint64_t)n * b->n;
    const struct q3n_session_options o = { .n_ctx = depth + n,
                                           .n_ubatch = (uint32_t)t->ubatch,
                                           .type_k = t->type_k,
                                           .type_v = t->type_v };
    b->n_vocab = q3n_model_info(b->model)->n_vocab;
    t->seconds = calloc((size_t)t->runs, sizeof *t->seconds);
    b->tokens = malloc((depth > all ? depth : all) * sizeof *b->tokens);
    b->logits = malloc((size_t)b->n * b->n_vocab * sizeof *b->logits);
    b->sessions = calloc(b->n, sizeof(q3n_session *));
    b->starts = calloc(b->n, sizeof(q3n_snapshot *));
    b->runs = calloc(b->n, sizeof *b->runs);
    if (!t->seconds || !b->tokens || !b->logits || !b->sessions || !b->starts || !b->runs)
        return ggf_no_memory(err);
    int e = q3n_lane_new(&b->lane, b->model, &o, err);
    for (uint32_t i = 0; i < b->n && !e; i++)
        e = q3n_session_new_in(&b->sessions[i], b->lane, &o, err);
    return e;
}

static void release(struct bench *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->starts) q3n_snapshot_free(b->starts[i]);
        if (b->sessions) q3n_session_free(b->sessions[i]);
    }
    q3n_lane_free(b->lane);
    free(b->sessions);
    free(b->starts);
    free(b->runs);
    free(b->tokens);
    free(b->logits);
}

/* The median leaves the runs in their order. */
static int find_median(struct bench_test *t, ggf_error *err)
{
    const size_t n = (size_t)t->runs;
    double *sorted = malloc(n * sizeof *sorted);
    if (!sorted) return ggf_no_memory(err);
    memcpy(sorted, t->seconds, n * sizeof *sorted);
    t->median = out_median(sorted, n);
    free(sorted);
    return 0;
}

int bench_run(struct bench_test *t, q3n_model *model, bool warmup, ggf_error *err)
{
    struct bench b = { .t = t, .model = model, .n = (uint32_t)t->parallel };
    const time_t now = time(NULL);
    struct tm utc;
    strftime(t->time, sizeof t->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int e = allocate(&b, err);
    if (!e) e = all_runs(&b, warmup, err);
    if (!e) e = find_median(t, err);
    release(&b);
    return e;
}
