/* curves.h - hit rates of caches of several sizes and policies on one trace, and the
 * speeds that follow from them; as a table, JSON, a page. */
#ifndef TOOLS_CURVES_H
#define TOOLS_CURVES_H

#include "forecast.h"
#include "locality.h"
#include "out.h"

enum { CURVE_MAX_SIZES = 64 };

struct curves {
    const struct replay_log *log;
    const struct locality *locality;
    const char *name; /* of the trace, for titles */
    uint64_t from;    /* the first group that counts */
    bool wanted[REPLAY_POLICIES];
    uint64_t sizes[CURVE_MAX_SIZES]; /* ascending */
    uint32_t n_sizes;
    const uint64_t *ranking; /* for REPLAY_STATIC */
    struct speeds speeds;    /* 0: not known, and no forecast */

    struct replay_result results[REPLAY_POLICIES][CURVE_MAX_SIZES];
    double seconds; /* all of it took */
};

/* "lru", ... */
const char *replay_policy_name(enum replay_policy policy);
/* Sizes from what a token needs to all experts, if none are set. */
void curves_default_sizes(struct curves *c);
int curves_run(struct curves *c, int threads, ggf_error *err);

/* prompt: of prompts, else of decoding.  NAN if there was none. */
double curves_hit_rate(const struct curves *c, enum replay_policy policy, uint32_t size,
                       bool prompt);
/* Tokens per second of decoding; NAN without speeds or decoded tokens. */
double curves_per_second(const struct curves *c, enum replay_policy policy,
                         uint32_t size);

void curves_print(const struct curves *c, bool layers, FILE *f);
void curves_json(const struct curves *c, FILE *f);
void curves_html(const struct curves *c, FILE *f);

#endif
