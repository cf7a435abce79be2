/* sampleopt.h - the options that say how the next token is chosen; the same in all
 * programs that write text. */
#ifndef TOOLS_SAMPLEOPT_H
#define TOOLS_SAMPLEOPT_H

#include "../../infer/session/sample.h"
#include "opt.h"

#include <math.h>

/* NULL, OPT_NOT_GIVEN and NAN: not given. */
struct sample_options {
    const char *steps, *letters, *seed;
    int top_k, repeat_last_n, dry_allowed_length, dry_last_n;
    float temp, dynatemp_range, dynatemp_exponent, top_p, min_p, typical_p, top_n_sigma,
        xtc_probability, xtc_threshold, repeat_penalty, presence_penalty,
        frequency_penalty, dry_multiplier, dry_base;
    struct opt_list dry_breakers, logit_bias;

    struct q3n_logit_bias *bias; /* filled in by sample_options() */
};

/* What a struct sample_options is at the start. */
#define SAMPLE_DEFAULTS                                                                  \
    {                                                                                    \
        .top_k = OPT_NOT_GIVEN, .repeat_last_n = OPT_NOT_GIVEN,                          \
        .dry_allowed_length = OPT_NOT_GIVEN, .dry_last_n = OPT_NOT_GIVEN, .temp = NAN,   \
        .dynatemp_range = NAN, .dynatemp_exponent = NAN, .top_p = NAN, .min_p = NAN,     \
        .typical_p = NAN, .top_n_sigma = NAN, .xtc_probability = NAN,                    \
        .xtc_threshold = NAN, .repeat_penalty = NAN, .presence_penalty = NAN,            \
        .frequency_penalty = NAN, .dry_multiplier = NAN, .dry_base = NAN                 \
    }

/* Rows for a table of options; o is a struct sample_options. */
#define SAMPLE_OPTIONS(o)                                                                \
    { "--samplers", "NAMES", OPT_STR, &(o).steps,                                        \
      "the steps in their order (penalties;dry;top_n_sigma;\n"                           \
      "top_k;typ_p;top_p;min_p;xtc;temperature)" },                                      \
        { "--sampling-seq, --sampler-seq", "LETTERS", OPT_STR, &(o).letters,             \
          "the same by letters (edskypmxt)" },                                           \
        { "-s, --seed", "N", OPT_STR, &(o).seed,                                         \
          "of the random numbers (-1: a new one each time)" },                           \
        { "--temp, --temperature", "N", OPT_FLOAT, &(o).temp,                            \
          "temperature, 0: always the likeliest token (0.8)" },                          \
        { "--top-k", "N", OPT_INT, &(o).top_k,                                           \
          "choose among the k likeliest, 0: all (40)" },                                 \
        { "--top-p", "N", OPT_FLOAT, &(o).top_p,                                         \
          "among the likeliest of this probability (0.95)" },                            \
        { "--min-p", "N", OPT_FLOAT, &(o).min_p,                                         \
          "among those this likely, the best being 1 (0.05)" },                          \
        { "--typical, --typical-p", "N", OPT_FLOAT, &(o).typical_p,                      \
          "among the most typical of this probability (1: off)" },                       \
        { "--top-nsigma, --top-n-sigma", "N", OPT_FLOAT, &(o).top_n_sigma,               \
          "among those within n standard deviations of the\nbest logit (-1: off)" },     \
        { "--xtc-probability", "N", OPT_FLOAT, &(o).xtc_probability,                     \
          "chance to drop all but the last of those tokens\nthat are (0: off)" },        \
        { "--xtc-threshold", "N", OPT_FLOAT, &(o).xtc_threshold, "this likely (0.1)" },  \
        { "--dynatemp-range", "N", OPT_FLOAT, &(o).dynatemp_range,                       \
          "let the temperature be so much less and more,\nby the entropy (0: off)" },    \
        { "--dynatemp-exp", "N", OPT_FLOAT, &(o).dynatemp_exponent,                      \
          "to this power (1)" },                                                         \
        { "--repeat-last-n", "N", OPT_INT, &(o).repeat_last_n,                           \
          "penalties look so far back, -1: all of the context\n(64)" },                  \
        { "--repeat-penalty", "N", OPT_FLOAT, &(o).repeat_penalty,                       \
          "divide the logits of those tokens by it (1)" },                               \
        { "--presence-penalty", "N", OPT_FLOAT, &(o).presence_penalty,                   \
          "subtract it from their logits (0)" },                                         \
        { "--frequency-penalty", "N", OPT_FLOAT, &(o).frequency_penalty,                 \
          "subtract it for each time they came (0)" },                                   \
        { "--dry-multiplier", "N", OPT_FLOAT, &(o).dry_multiplier,                       \
          "DRY: subtract this from the logit of a token that\n"                          \
          "goes on with a repetition (0: off), times" },                                 \
        { "--dry-base", "N", OPT_FLOAT, &(o).dry_base,                                   \
          "this to the power of its length (1.75) less" },                               \
        { "--dry-allowed-length", "N", OPT_INT, &(o).dry_allowed_length,                 \
          "the length that is allowed (2)" },                                            \
        { "--dry-penalty-last-n", "N", OPT_INT, &(o).dry_last_n,                         \
          "look so far back (-1: all of the context)" },                                 \
        { "--dry-sequence-breaker", "TEXT", OPT_LIST, &(o).dry_breakers,                 \
          "no repetition goes beyond it; may be given many\n"                            \
          "times; the first takes the place of newline, ':',\n"                          \
          "'\"' and '*'; none: no breakers" },                                           \
    {                                                                                    \
        "-l, --logit-bias", "ID(+|-)N", OPT_LIST, &(o).logit_bias,                       \
            "add to the logit of a token: 15043+1, 15043-inf;\nmay be given many times"  \
    }

/* Put them into parameters of a sampler, which point into o: end with
 * sample_options_free() when there are samplers.  A seed of -1, which is the default, is
 * drawn from the clock.  OPT_GO, or OPT_USAGE after saying what is wrong: a bad value, or
 * one that has no effect; or 1 after saying that memory is out. */
int sample_options(const struct opt_program *program, struct sample_options *o,
                   struct q3n_sample_params *out);
void sample_options_free(struct sample_options *o);

/* The name of one that was given; NULL if none was. */
const char *sample_option_given(const struct sample_options *o);

#endif
