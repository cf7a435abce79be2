/* replay.h - what a cache of a given size and policy would have done with the choices of
 * a trace.
 *
 * The caches are simulated record by record, in bytes, as the store runs them: an expert
 * that several tokens of a batch use counts once; a batch that needs more than there is
 * room for is a sweep (sweep.h); LRU, CLOCK
 * and LFU are the store's own (policy.h).  Beside
 * them there are policies to compare with. */
#ifndef INFER_EXPERTS_REPLAY_H
#define INFER_EXPERTS_REPLAY_H

#include "trace.h"

enum replay_policy {
    REPLAY_LRU,
    REPLAY_CLOCK,
    REPLAY_LFU,
    REPLAY_STATIC, /* the experts of a ranking that fit, from the start and for ever */
    REPLAY_BELADY, /* the one that is needed again last: nothing can do better if all
                      records have one size */
    REPLAY_POLICIES,
};

/* Experts of a layer in a batch. */
struct replay_group {
    uint64_t first; /* in items */
    uint32_t layer, n;
    bool begins, prompt; /* a batch; of more than one token */
};

/* The choices of a trace, or several one after the other, each expert once in a batch.
 * An item is layer * n_expert + expert. */
struct replay_log {
    const struct trace_model *model;       /* of the first trace, which must stay open */
    uint64_t n_groups, n_items, n_decoded; /* n_decoded: tokens */
    struct replay_group *groups;
    uint32_t *items;
    uint32_t *uses;     /* of each item: tokens of the batch that use it */
    uint32_t *next;     /* of each item: the group that uses it next, or UINT32_MAX */
    uint64_t sum_bytes; /* of all experts of the model */
};

/* All traces must be of one model.  GGF_E_ARG if one is a history or nothing is in them.
 */
int replay_log_new(struct replay_log *log, struct trace *const *traces, uint32_t n,
                   ggf_error *err);
void replay_log_free(struct replay_log *log);

struct replay_result {
    uint64_t hits[2], misses[2]; /* decoding; prompts */
    uint64_t miss_bytes[2];
};

struct replay_options {
    enum replay_policy policy;
    uint64_t bytes;          /* of the cache, which is empty at first */
    uint64_t from;           /* groups before this one are not counted */
    const uint64_t *ranking; /* REPLAY_STATIC: counts[n_expert, n_layer]; or NULL */
};
/* May run on many threads with the same log.  GGF_E_NOMEM. */
int replay_run(const struct replay_log *log, const struct replay_options *options,
               struct replay_result *out, ggf_error *err);
/* How often each expert is used before that group: counts[n_expert, n_layer]. */
void replay_count(const struct replay_log *log, uint64_t before, uint64_t *counts);
/* The group in the middle of the decoded tokens, or of all groups if there are none; it
 * begins a batch. */
uint64_t replay_middle(const struct replay_log *log);

/* What one token needs, in bytes: below that the store refuses to run. */
uint64_t replay_least(const struct trace_model *model);

#endif
