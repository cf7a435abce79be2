/* locality.h - how a model's choices of experts are spread, and how soon they come
 * again. */
#ifndef TOOLS_LOCALITY_H
#define TOOLS_LOCALITY_H

#include "../../infer/experts/replay.h"

/* Of one layer, prompts and decoding together. */
struct layer_locality {
    uint32_t used;    /* different experts */
    double top;       /* share of the choices that fall on the hottest tenth */
    double effective; /* as many experts, chosen alike, would be as uncertain: exp of the
                         entropy */
    double repeated;  /* share of a token's experts that the token before had too; NAN if
                         no token follows another */
};

struct locality {
    uint64_t prompt_tokens, decoded_tokens;
    uint64_t used;                 /* different records of all layers */
    struct layer_locality *layers; /* [n_layer] */
    /* Of the uses by decoded tokens: those that are the first of a record, and below
     * which distance a half and nine tenths of the others come.  The distance is the
     * number of different records used in between: an LRU cache must hold more to have a
     * hit.  NAN if no record is used again. */
    double first_uses, distance_half, distance_most;
};

/* log: of the same traces. */
int locality_measure(struct locality *out, struct trace *const *traces, uint32_t n,
                     const struct replay_log *log, ggf_error *err);
void locality_free(struct locality *l);

#endif
