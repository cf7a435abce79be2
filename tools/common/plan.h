/* plan.h - what --plan says: where everything of a model would be, what a token costs,
 * and how fast it would run on this machine. */
#ifndef TOOLS_PLAN_H
#define TOOLS_PLAN_H

#include "../../infer/engine.h"
#include "../../infer/experts/limits.h"
#include "forecast.h"

#include <stdio.h>

/* What a device has a part in. */
struct device_plan {
    double hit_rate; /* of experts in slots, where they have those */
    bool known;      /* what follows is filled in */
    struct q3n_device_speeds measured;
    struct device_bytes bytes;
    struct device_forecast forecast;
};

struct placement_plan {
    const struct q3n_model_info *info;
    const struct q3n_model_options *options;
    struct memory_limits limits;
    struct q3n_session_options session;
    /* In memory, so without what is on a device: weights but for routed experts, and
     * those; keys and values, state, and buffers of the session. */
    uint64_t dense, experts, kv, state, work;
    int threads; /* that compute */

    double hit_rate;      /* of experts in memory */
    const char *source;   /* what it is taken from; NULL: all experts alike */
    bool known;           /* speeds, bytes and forecast are filled in */
    struct speeds speeds; /* disk: 0 if nothing is read */
    struct token_bytes bytes;
    struct forecast forecast;
    struct device_plan device; /* instead, if one computes a part */
};

/* model: opened with options->plan.  history: a trace or history, or NULL. */
int placement_plan_make(struct placement_plan *p, q3n_model *model,
                        const struct q3n_model_options *options, const char *history,
                        ggf_error *err);
void placement_plan_print(const struct placement_plan *p, FILE *f);
void placement_plan_json(const struct placement_plan *p, FILE *f);

#endif
