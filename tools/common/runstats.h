/* runstats.h - what a run cost: time, bytes, memory. */
#ifndef TOOLS_RUNSTATS_H
#define TOOLS_RUNSTATS_H

#include "../../infer/engine.h"

struct run_stats {
    const struct q3n_model_info *info;
    double load_seconds;
    uint64_t n_prompt, n_decoded; /* tokens computed in batches, and one by one */
    double prompt_seconds, decode_seconds;
    struct q3n_expert_stats experts;
};

/* On standard error, a line for each figure or one JSON object. */
void run_stats_print(const struct run_stats *stats, bool json);

/* Most memory the process has held so far, in bytes (VmHWM); 0: unknown. */
uint64_t peak_memory(void);

#endif
