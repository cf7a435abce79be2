/* bench.h - the parts of q3n-bench: lists of numbers, tests, what came out of them. */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include "../../infer/engine.h"
#include "../../infer/ops/clock.h"
#include "opt.h"

/* ---- Lists ------------------------------------------------------------------- */

enum { LIST_MAX = 64 };

struct number_list {
    int n;
    int items[LIST_MAX], seconds[LIST_MAX]; /* the second number of a pair */
};

/* "512,1024", ranges "1-4", "0-8+4", "1-16*2", of every option given.  False if there is
 * something else in it, a number below `least`, or more than LIST_MAX. */
bool list_numbers(struct number_list *l, const struct opt_list *options, int least);
/* Pairs "512,128"; each option is one. */
bool list_pairs(struct number_list *l, const struct opt_list *options);
/* Types of keys and values: "f16,q8_0". */
bool list_types(struct number_list *l, const struct opt_list *options);

/* ---- Tests ------------------------------------------------------------------- */

struct bench_test {
    int prompt, gen, depth; /* tokens, of each sequence */
    int parallel;           /* sequences computed together */
    int threads, ubatch;
    uint32_t type_k, type_v;
    int runs;
    double *seconds; /* [runs], in order; to be freed */
    double median;   /* of them */
    char time[32];   /* when it began: ISO 8601, UTC */
    struct op_clock clock;
    struct q3n_expert_stats experts; /* of the timed runs */
};

/* "pp512 @ d4096", "tg128 x 8", "pp512+tg128". */
void bench_name(const struct bench_test *t, char name[64]);

/* Run it once to warm up, if `warmup`, then t->runs times; the tokens that make up the
 * depth are computed once. */
int bench_run(struct bench_test *t, q3n_model *model, bool warmup, ggf_error *err);

/* ---- Results ------------------------------------------------------------------- */

/* What the machine can do, in 10^9 a second; 0: not known. */
struct bench_bounds {
    double memory;   /* bytes read */
    double products; /* of 8-bit numbers */
};

struct bench_report {
    const char *model_path, *format; /* md, csv, json, jsonl */
    struct q3n_model_info info;
    struct q3n_device_speeds device; /* zeros: there is none, or it is not used */
    struct bench_test *tests;
    int n;
    struct bench_bounds *bounds;         /* [n]: for the threads of each test */
    bool ops;                            /* print what the clock says */
    bool other_ubatch, other_k, other_v; /* those columns are wanted */
};

void bench_print(const struct bench_report *r);

#endif
