/* mix_rules.h - the mixtures: internal to mix.c and mix_rules.c. */
#ifndef QUANT_MIX_RULES_H
#define QUANT_MIX_RULES_H

#include "mix.h"

/* What a weight does, as its name tells. */
enum mix_role {
    ROLE_OUTPUT,
    ROLE_EMBEDDING,
    ROLE_VALUE, /* attn_v, and what contains it: attn_qkv, attn_kv_b */
    ROLE_KEY,
    ROLE_QUERY,
    ROLE_ATTN_OUTPUT,
    ROLE_UP,
    ROLE_GATE,
    ROLE_DOWN,
    ROLE_OTHER,
};

enum mix_role mix_role_of(const char *name);

struct mix_state {
    const struct mix_model *model;
    const struct mix_options *options;
    bool tied;         /* no output.weight: the embedding is the head */
    uint32_t n_values; /* tensors of ROLE_VALUE in the model */
    /* How many of a role the rules have seen. */
    uint32_t values, downs, gates, ups;
};

/* Change t->choice, on entry the base type, to what the mixture gives this tensor. */
int mix_apply_rules(struct mix_state *s, struct mix_tensor *t, ggf_error *err);

#endif
