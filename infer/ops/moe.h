/* moe.h - the mixture-of-experts feed-forward block: router, experts, shared expert. */
#ifndef INFER_OPS_MOE_H
#define INFER_OPS_MOE_H

#include "../experts/store.h"
#include "clock.h"
#include "observe.h"
#include "vec.h"

struct moe {
    uint32_t layer; /* in the store */
    uint32_t n_embd, n_expert, n_used, n_ff, n_ff_shared;
    struct linear router;
    const struct linear *next_router; /* NULL: nothing is read ahead */
    struct expert shared;
    const float *shared_gate; /* n_embd: the shared expert counts sigmoid(gate . x) */
    unsigned kinds;           /* bit set of the forms of the input that are needed; */
    unsigned in_kinds;        /* of these, by the routed experts; */
    unsigned mid_kinds, shared_mid_kinds; /* forms of their and the shared one's middle */
};

/* An expert and the (token, expert) pairs it works on. */
struct moe_job {
    uint32_t expert; /* index in the demand, or MOE_SHARED */
    uint32_t first, n;
};
#define MOE_SHARED UINT32_MAX

/* Where tokens were sent in a layer. */
struct routed {
    uint32_t layer, tokens, n_used;
    const uint32_t *ids;    /* [n_used, tokens]: the most probable first */
    const float *weights;   /* [n_used, tokens] */
    uint32_t n_active;      /* different experts among them: */
    const uint32_t *active; /* [n_active] */
    const uint8_t *flags;   /* [n_active]: DEMAND_HIT if it was in memory */
};

struct route_watch {
    /* Called by one thread at a time, once for each layer of a batch, in their order. */
    void (*see)(void *user, const struct routed *r);
    void *user;
};

/* Room for a batch; one for all layers.  Pairs are numbered by expert, in the order in
 * which those are computed, then token. */
struct moe_work {
    uint32_t n_jobs;
    bool routed_only; /* ids and weights are known, the shared expert is another's, and
                         the sum of the routed ones is what is wanted */
    float *logits;    /* [n_expert, tokens] */
    uint32_t *ids;    /* [n_used, tokens]: the most probable first */
    float *weights;   /* [n_used, tokens] */
    float *shared_weight;        /* [tokens] */
    uint32_t *guess;             /* [n_used]: of a token in the next layer */
    float *guess_weight;         /* [n_used] */
    uint32_t *pair;              /* [n_used, tokens]: number of the pair */
    uint32_t *pair_token;        /* [pairs] */
    float *pair_weight;          /* [pairs] */
    uint32_t *count;             /* [n_expert]: pairs */
    uint32_t *next;              /* [n_expert]: number of the next pair */
    struct expert_demand demand; /* the experts with pairs, as the store wants them */
    struct moe_job *jobs;        /* [n_expert + 1]: as in the demand, then the shared */
    float *gate, *up;            /* [n_ff, pairs] */
    float *shared_gate, *shared_up; /* [n_ff_shared, tokens] */
    float *down;                    /* [n_embd, pairs] */
    float *shared_down;             /* [n_embd, tokens] */
    void *gathered;                 /* activations of the pairs */
    void *mid, *shared_mid;
    struct op_clock *clock; /* NULL, or where it is noted what steps take */
};

/* x += moe(norm) + sigmoid(shared_gate . norm) shared(norm), for `tokens` rows of n_embd
 * floats; with w->routed_only x = moe(norm), and a sum that goes on from there has the
 * same bits.  acts: norm in the forms of `kinds`, or then of `in_kinds` and those that
 * next_router takes.  All threads get the same result.
 * The sum over the experts of a token goes from the most probable to the least, so it
 * does not depend on the rest of the batch. observer, watch: NULL, or who is shown the
 * inputs and the routing. */
int moe_team(const struct member *me, const struct moe *m, const struct vec_ops *ops,
             struct expert_store *store, struct moe_work *w, uint32_t tokens,
             const float *norm, const struct acts *acts, float *x,
             const struct observer *observer, const struct route_watch *watch,
             ggf_error *err);

/* A layer of which some experts are computed here, others elsewhere; by a few tokens.
 *
 * moe_asked()   one thread, after w->ids are known: the different experts become
 * w->demand's ids, with w->count pairs each; returns how many moe_share()   one thread,
 * for a chunk of a demand of some of them: those that are to be computed here, `which`
 * [n], as indices in the demand, n at least 1.  Pair i of theirs gets the number
 * place[i], from `row` on; other places stay. Returns the number behind the last
 * moe_rows_team() all threads: a row of n_embd floats for each of these pairs, at its
 *               number in `rows`.  acts: the norm in the forms of `in_kinds` */
uint32_t moe_asked(const struct moe *m, struct moe_work *w, uint32_t tokens);
uint32_t moe_share(const struct moe *m, struct moe_work *w, uint32_t tokens,
                   const struct acts *acts, const uint32_t *which, uint32_t n,
                   uint32_t row, uint32_t *place);
int moe_rows_team(const struct member *me, const struct moe *m, const struct vec_ops *ops,
                  struct expert_store *store, struct moe_work *w, uint32_t tokens,
                  float *rows, ggf_error *err);

/* Tell a watcher of a layer whose experts are computed elsewhere, where all of them are:
 * w->ids and w->weights say for which tokens. */
void moe_tell(const struct moe *m, struct moe_work *w, uint32_t tokens,
              const struct route_watch *watch);

/* The n_used largest of n probabilities, the largest first (of equals the lower id), with
 * weights p / max(sum of the chosen, 2^-14).  What is no number is chosen last. */
void moe_top(const float *p, uint32_t n, uint32_t n_used, uint32_t *ids, float *weights);

#endif
