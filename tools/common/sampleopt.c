/* sampleopt.c - see sampleopt.h. */
#include "sampleopt.h"

#include "../../infer/now.h"
#include "escape.h"
#include "out.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ==== What was given ====================================================== */

/* An option, the step it is for, and the one without which it does nothing. */
struct given {
    const char *name;
    bool given;
    enum q3n_step step;
    bool drawing; /* does nothing if the likeliest token is taken */
    bool useless;
    const char *without;
};

enum { N_GIVEN = 23 };

static void look(const struct sample_options *o, struct given rows[N_GIVEN])
{
    const bool dry = o->dry_multiplier > 0, xtc = o->xtc_probability > 0;
    const bool penalties = !isnan(o->repeat_penalty) || !isnan(o->presence_penalty) ||
                           !isnan(o->frequency_penalty);
    static const char no_dry[] = "without --dry-multiplier";
    const struct given all[N_GIVEN] = {
        { "--samplers", o->steps != NULL, 0, false, false, NULL },
        { "--sampling-seq", o->letters != NULL, 0, false, o->steps, "with --samplers" },
        { "--top-k", o->top_k != OPT_NOT_GIVEN, Q3N_STEP_TOP_K, true, false, NULL },
        { "--top-p", !isnan(o->top_p), Q3N_STEP_TOP_P, true, false, NULL },
        { "--min-p", !isnan(o->min_p), Q3N_STEP_MIN_P, true, false, NULL },
        { "--typical", !isnan(o->typical_p), Q3N_STEP_TYPICAL, false, false, NULL },
        { "--top-nsigma", !isnan(o->top_n_sigma), Q3N_STEP_TOP_N_SIGMA, true, false,
          NULL },
        { "--xtc-probability", !isnan(o->xtc_probability), Q3N_STEP_XTC, false, false,
          NULL },
        { "--xtc-threshold", !isnan(o->xtc_threshold), Q3N_STEP_XTC, false, !xtc,
          "without --xtc-probability" },
        { "--seed", o->seed != NULL, 0, true, false, NULL },
        { "--temp", !isnan(o->temp), Q3N_STEP_TEMPERATURE, false, false, NULL },
        { "--dynatemp-range", !isnan(o->dynatemp_range), Q3N_STEP_TEMPERATURE, false,
          false, NULL },
        { "--dynatemp-exp", !isnan(o->dynatemp_exponent), Q3N_STEP_TEMPERATURE, false,
          !(o->dynatemp_range > 0), "without --dynatemp-range" },
        { "--repeat-last-n", o->repeat_last_n != OPT_NOT_GIVEN, Q3N_STEP_PENALTIES, false,
          !penalties, "without a penalty" },
        { "--repeat-penalty", !isnan(o->repeat_penalty), Q3N_STEP_PENALTIES, false, false,
          NULL },
        { "--presence-penalty", !isnan(o->presence_penalty), Q3N_STEP_PENALTIES, false,
          false, NULL },
        { "--frequency-penalty", !isnan(o->frequency_penalty), Q3N_STEP_PENALTIES, false,
          false, NULL },
        { "--dry-multiplier", !isnan(o->dry_multiplier), Q3N_STEP_DRY, false, false,
          NULL },
        { "--dry-base", !isnan(o->dry_base), Q3N_STEP_DRY, false, !dry, no_dry },
        { "--dry-allowed-length", o->dry_allowed_length != OPT_NOT_GIVEN, Q3N_STEP_DRY,
          false, !dry, no_dry },
        { "--dry-penalty-last-n", o->dry_last_n != OPT_NOT_GIVEN, Q3N_STEP_DRY, false,
          !dry, no_dry },
        { "--dry-sequence-breaker", o->dry_breakers.count > 0, Q3N_STEP_DRY, false, !dry,
          no_dry },
        { "--logit-bias", o->logit_bias.count > 0, 0, false, false, NULL },
    };
    memcpy(rows, all, sizeof all);
}

const char *sample_option_given(const struct sample_options *o)
{
    struct given rows[N_GIVEN];
    look(o, rows);
    for (size_t i = 0; i < N_GIVEN; i++)
        if (rows[i].given) return rows[i].name;
    return NULL;
}

static bool is_there(const struct q3n_sample_params *p, enum q3n_step step)
{
    for (int i = 0; p->steps[i]; i++)
        if (p->steps[i] == step) return true;
    return !step;
}

/* What was given must have an effect. */
static int check_useless(const struct opt_program *program,
                         const struct sample_options *o,
                         const struct q3n_sample_params *p)
{
    struct given rows[N_GIVEN];
    const bool greedy = p->temp <= 0 && !(p->dynatemp_range > 0) && p->typical_p >= 1 &&
                        !(p->xtc_probability > 0) && is_there(p, Q3N_STEP_TEMPERATURE);
    look(o, rows);
    for (size_t i = 0; i < N_GIVEN; i++) {
        const struct given *g = &rows[i];
        if (!g->given) continue;
        if (g->useless)
            return opt_error(program, "%s has no effect %s", g->name, g->without);
        if (greedy && g->drawing)
            return opt_error(program, "%s has no effect with --temp 0", g->name);
        if (!is_there(p, g->step))
            return opt_error(program, "%s has no effect: %s is not among the samplers",
                             g->name, q3n_sample_step_name(g->step));
    }
    return OPT_GO;
}

/* ==== Reading them ======================================================== */

static void set(float *to, float value)
{
    if (!isnan(value)) *to = value;
}

static void set_int(int *to, int value)
{
    if (value != OPT_NOT_GIVEN) *to = value;
}

static bool read_seed(const char *text, uint64_t *seed)
{
    char *end;
    *seed = (uint64_t)(seconds_now() * 1e9) ^ (uint64_t)getpid() << 32;
    if (!text || !strcmp(text, "-1")) return true;
    errno = 0;
    *seed = strtoull(text, &end, 0);
    return end != text && !*end && !errno && !strchr(text, '-');
}

/* "15043+1.5", "15043-inf" */
static bool read_bias(const char *text, struct q3n_logit_bias *out)
{
    char *end;
    errno = 0;
    const long id = strtol(text, &end, 10);
    if (end == text || errno || id < 0 || id > INT_MAX || (*end != '+' && *end != '-'))
        return false;
    const char *number = end;
    *out = (struct q3n_logit_bias){ (int32_t)id, strtof(number, &end) };
    return end > number + 1 && !*end && !isnan(out->bias);
}

static int read_biases(const struct opt_program *program, struct sample_options *o,
                       struct q3n_sample_params *out)
{
    const int n = o->logit_bias.count;
    o->bias = calloc((size_t)n + 1, sizeof *o->bias);
    ggf_error err;
    if (!o->bias) {
        ggf_no_memory(&err);
        return out_error(program->name, &err);
    }
    for (int i = 0; i < n; i++)
        if (!read_bias(o->logit_bias.items[i], &o->bias[i]))
            return opt_error(program,
                             "--logit-bias %s: expected a token's id, + or -, a number",
                             o->logit_bias.items[i]);
    out->bias = o->bias;
    out->n_bias = (size_t)n;
    return OPT_GO;
}

/* Escapes mean what they mean in -p. */
static void read_breakers(struct sample_options *o, struct q3n_sample_params *out)
{
    if (!o->dry_breakers.count) return;
    out->dry_breakers = o->dry_breakers.items;
    out->n_dry_breakers = (size_t)o->dry_breakers.count;
    for (size_t i = 0; i < out->n_dry_breakers; i++)
        unescape((char *)o->dry_breakers.items[i]); /* a word of argv */
    if (!strcmp(o->dry_breakers.items[0], "none")) out->n_dry_breakers = 0;
}

static int read_steps(const struct opt_program *program, const struct sample_options *o,
                      struct q3n_sample_params *out)
{
    ggf_error err;
    int r = 0;
    if (o->steps) r = q3n_sample_steps(out->steps, o->steps, &err);
    else if (o->letters) r = q3n_sample_letters(out->steps, o->letters, &err);
    return r ? opt_error(program, "%s", err.message) : OPT_GO;
}

static void read_numbers(const struct sample_options *o, struct q3n_sample_params *out)
{
    set(&out->temp, o->temp);
    set(&out->dynatemp_range, o->dynatemp_range);
    set(&out->dynatemp_exponent, o->dynatemp_exponent);
    set(&out->top_p, o->top_p);
    set(&out->min_p, o->min_p);
    set(&out->typical_p, o->typical_p);
    set(&out->top_n_sigma, o->top_n_sigma);
    set(&out->xtc_probability, o->xtc_probability);
    set(&out->xtc_threshold, o->xtc_threshold);
    set(&out->repeat_penalty, o->repeat_penalty);
    set(&out->presence_penalty, o->presence_penalty);
    set(&out->frequency_penalty, o->frequency_penalty);
    set(&out->dry_multiplier, o->dry_multiplier);
    set(&out->dry_base, o->dry_base);
    set_int(&out->top_k, o->top_k);
    set_int(&out->penalty_last_n, o->repeat_last_n);
    set_int(&out->dry_allowed_length, o->dry_allowed_length);
    set_int(&out->dry_last_n, o->dry_last_n);
}

int sample_options(const struct opt_program *program, struct sample_options *o,
                   struct q3n_sample_params *out)
{
    ggf_error err;
    *out = q3n_sample_defaults();
    read_numbers(o, out);
    read_breakers(o, out);
    if (!read_seed(o->seed, &out->seed))
        return opt_error(program,
                         "the seed is '%s', but must be a number of 0 or more, or -1",
                         o->seed);
    int r = read_steps(program, o, out);
    if (r == OPT_GO) r = read_biases(program, o, out);
    if (r == OPT_GO && q3n_sample_check(out, &err))
        r = opt_error(program, "%s", err.message);
    return r == OPT_GO ? check_useless(program, o, out) : r;
}

void sample_options_free(struct sample_options *o) { free(o->bias); }
