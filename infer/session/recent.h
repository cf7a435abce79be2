/* recent.h - the tokens of late, and what it costs a token to be among them.
 *
 * Penalties and DRY mean what they mean in llama.cpp. */
#ifndef INFER_SESSION_RECENT_H
#define INFER_SESSION_RECENT_H

#include "sample.h"

enum { RECENT_TAIL = 64 }; /* most bytes of a sequence breaker */

struct recent {
    uint32_t n_vocab;
    uint32_t size;          /* tokens that are remembered */
    int32_t *ids;           /* a ring */
    uint64_t n;             /* tokens that were added */
    uint64_t n_broken;      /* of them, up to the last that ended a sequence breaker */
    char tail[RECENT_TAIL]; /* the last bytes of their text */
    size_t n_tail;
    uint32_t *mark;  /* [n_vocab]: zero between two calls */
    uint32_t *match; /* [size]: see dry_matches() */
};

/* Room for what the parameters look back at; zero-initialised before.  Release with
 * recent_free(), also after a failure. */
int recent_init(struct recent *r, uint32_t n_vocab, const struct q3n_sample_params *p,
                ggf_error *err);
void recent_free(struct recent *r);
void recent_clear(struct recent *r);

/* `text` is the token's. */
void recent_add(struct recent *r, const struct q3n_sample_params *p, int32_t id,
                struct ggf_str text);

/* Lower the logits of tokens that came of late: */
void recent_penalties(const struct recent *r, const struct q3n_sample_params *p,
                      float *row);
/* and of those that would go on with a repetition. */
void recent_dry(const struct recent *r, const struct q3n_sample_params *p, float *row);

#endif
