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
    char depth[24] = "";
    if (t->depth) snprintf(depth, sizeof depth, " @ d%d", t->depth);
    if (t->prompt && t->gen) snprintf(name, 64, "pp%d+tg%d%s", t->prompt, t->gen, depth);
    else if (t->prompt) snprintf(name, 64, "pp%d%s", t->prompt, depth);
    else snprintf(name, 64, "tg%d%s", t->gen, depth);
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
    q3n_session *session;
    q3n_snapshot *start; /* behind the tokens of the depth */
    int32_t *tokens;     /* room for the longest of depth, prompt and generation */
    float *logits;
    uint32_t n_vocab;
};

/* The whole prompt at once, then one token after the other. */
static int once(struct bench *b, double *seconds, ggf_error *err)
{
    const struct bench_test *t = b->t;
    const uint32_t prompt = (uint32_t)t->prompt, gen = (uint32_t)t->gen;
    q3n_session_restore(b->session, b->start);
    draw(b->tokens, prompt + gen, b->n_vocab);
    const double start = seconds_now();
    int e = 0;
    if (prompt)
        e = q3n_session_eval(b->session, b->tokens, prompt, prompt - 1, b->logits, err);
    for (uint32_t i = 0; i < gen && !e; i++)
        e = q3n_session_eval(b->session, b->tokens + prompt + i, 1, 0, b->logits, err);
    *seconds = seconds_now() - start;
    return e;
}

static int all_runs(struct bench *b, bool warmup, ggf_error *err)
{
    struct bench_test *t = b->t;
    const uint32_t depth = (uint32_t)t->depth;
    double unused;
    draw(b->tokens, depth, b->n_vocab);
    int e = depth ? q3n_session_eval(b->session, b->tokens, depth, 0, NULL, err) : 0;
    if (!e) e = q3n_session_save(&b->start, b->session, err);
    if (!e && warmup) e = once(b, &unused, err);
    struct q3n_expert_stats before;
    q3n_model_expert_stats(b->model, &before);
    q3n_session_time(b->session, &t->clock);
    for (int i = 0; i < t->runs && !e; i++) e = once(b, &t->seconds[i], err);
    q3n_model_expert_stats(b->model, &t->experts);
    memory_since(&t->experts, &before);
    return e;
}

static int allocate(struct bench *b, ggf_error *err)
{
    struct bench_test *t = b->t;
    const uint32_t n = (uint32_t)(t->prompt + t->gen), depth = (uint32_t)t->depth;
    const struct q3n_session_options o = { .n_ctx = depth + n,
                                           .n_ubatch = (uint32_t)t->ubatch,
                                           .type_k = t->type_k,
                                           .type_v = t->type_v };
    b->n_vocab = q3n_model_info(b->model)->n_vocab;
    t->seconds = calloc((size_t)t->runs, sizeof *t->seconds);
    b->tokens = malloc((depth > n ? depth : n) * sizeof *b->tokens);
    b->logits = malloc(b->n_vocab * sizeof *b->logits);
    if (!t->seconds || !b->tokens || !b->logits) return ggf_no_memory(err);
    return q3n_session_new(&b->session, b->model, &o, err);
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
    struct bench b = { .t = t, .model = model };
    const time_t now = time(NULL);
    struct tm utc;
    strftime(t->time, sizeof t->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    int e = allocate(&b, err);
    if (!e) e = all_runs(&b, warmup, err);
    if (!e) e = find_median(t, err);
    q3n_snapshot_free(b.start);
    q3n_session_free(b.session);
    free(b.tokens);
    free(b.logits);
    return e;
}
