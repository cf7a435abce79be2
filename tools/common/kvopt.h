/* kvopt.h - the options that say what keys and values are stored as; the same in all
 * programs that run a model. */
#ifndef TOOLS_KVOPT_H
#define TOOLS_KVOPT_H

#include "../../infer/engine.h"
#include "opt.h"

struct kv_options {
    const char *k, *v; /* NULL: not given */
};

/* Rows for a table of options; o is a struct kv_options, `otherwise` the type's name in
 * brackets. */
#define KV_OPTIONS(o, otherwise)                                                         \
    { "-ctk, --cache-type-k", "TYPE", OPT_STR, &(o).k,                                   \
      "what keys are stored as: f32, f16, bf16, q8_0, q5_1,\nq5_0, q4_1, q4_0 or "       \
      "iq4_nl " otherwise },                                                             \
    {                                                                                    \
        "-ctv, --cache-type-v", "TYPE", OPT_STR, &(o).v, "and values " otherwise         \
    }

/* Put them into the options of a session; `otherwise` (GGF_...) is what a type is that
 * was not given.  OPT_GO, or OPT_USAGE after saying what is wrong. */
int kv_options(const struct opt_program *program, const struct kv_options *o,
               uint32_t otherwise, struct q3n_session_options *out);

/* The type of a name.  False if keys and values cannot be that. */
bool kv_type_of(const char *name, uint32_t *type);

#endif
