/* sampleopt.h - the options that say how the next token is chosen; the same in all
 * programs that write text. */
#ifndef TOOLS_SAMPLEOPT_H
#define TOOLS_SAMPLEOPT_H

#include "../../infer/session/sample.h"
#include "opt.h"

#include <math.h>

/* NULL, OPT_NOT_GIVEN and NAN: not given. */
struct sample_options {
    const char *seed;
    int top_k;
    float temp, top_p, min_p, repeat_penalty, presence_penalty;
};

/* What a struct sample_options is at the start. */
#define SAMPLE_DEFAULTS                                                                  \
    {                                                                                    \
        .top_k = OPT_NOT_GIVEN, .temp = NAN, .top_p = NAN, .min_p = NAN,                 \
        .repeat_penalty = NAN, .presence_penalty = NAN                                   \
    }

/* Rows for a table of options; o is a struct sample_options. */
#define SAMPLE_OPTIONS(o)                                                                \
    { "-s, --seed", "N", OPT_STR, &(o).seed,                                             \
      "of the random numbers (-1: a new one each time)" },                               \
        { "--temp", "N", OPT_FLOAT, &(o).temp,                                           \
          "temperature, 0: always the likeliest token (0.8)" },                          \
        { "--top-k", "N", OPT_INT, &(o).top_k,                                           \
          "choose among the k likeliest, 0: all (40)" },                                 \
        { "--top-p", "N", OPT_FLOAT, &(o).top_p,                                         \
          "among the likeliest of this probability (0.95)" },                            \
        { "--min-p", "N", OPT_FLOAT, &(o).min_p,                                         \
          "among those this likely, the best being 1 (0.05)" },                          \
        { "--repeat-penalty", "N", OPT_FLOAT, &(o).repeat_penalty,                       \
          "divide the logits of the last 64 tokens by it (1)" },                         \
    {                                                                                    \
        "--presence-penalty", "N", OPT_FLOAT, &(o).presence_penalty,                     \
            "subtract it from the logits of the last 64 tokens (0)"                      \
    }

/* Put them into parameters of a sampler.  A seed of -1, which is the default, is drawn
 * from the clock.  OPT_GO, or OPT_USAGE after saying what is wrong: a bad value, or one
 * that has no effect with --temp 0. */
int sample_options(const struct opt_program *program, const struct sample_options *o,
                   struct q3n_sample_params *out);

/* The name of one that was given; NULL if none was. */
const char *sample_option_given(const struct sample_options *o);

#endif
