/* sample_params.c - what may be asked of a sampler: names, defaults, limits; see
 * sample.h. */
#include "sample.h"

#include "recent.h"

#include <math.h>
#include <string.h>

/* ==== Steps =============================================================== */

static const struct {
    const char *name, *other, *third; /* the two others are accepted, too */
    char letter;
} steps_by_id[Q3N_N_STEPS] = {
    [Q3N_STEP_NONE] = { "", "", "", 0 },
    [Q3N_STEP_PENALTIES] = { "penalties", "penalties", "penalties", 'e' },
    [Q3N_STEP_DRY] = { "dry", "dry", "dry", 'd' },
    [Q3N_STEP_TOP_N_SIGMA] = { "top_n_sigma", "top-n-sigma", "top-nsigma", 's' },
    [Q3N_STEP_TOP_K] = { "top_k", "top-k", "top-k", 'k' },
    [Q3N_STEP_TYPICAL] = { "typ_p", "typical", "typ-p", 'y' },
    [Q3N_STEP_TOP_P] = { "top_p", "top-p", "nucleus", 'p' },
    [Q3N_STEP_MIN_P] = { "min_p", "min-p", "min-p", 'm' },
    [Q3N_STEP_XTC] = { "xtc", "xtc", "xtc", 'x' },
    [Q3N_STEP_TEMPERATURE] = { "temperature", "temp", "temp", 't' },
};

const char *q3n_sample_step_name(enum q3n_step step) { return steps_by_id[step].name; }

static bool is_word(const char *name, const char *word, size_t len)
{
    return strlen(name) == len && !memcmp(name, word, len);
}

static enum q3n_step by_name(const char *word, size_t len)
{
    for (int i = Q3N_STEP_NONE + 1; i < Q3N_N_STEPS; i++)
        if (is_word(steps_by_id[i].name, word, len) ||
            is_word(steps_by_id[i].other, word, len) ||
            is_word(steps_by_id[i].third, word, len))
            return (enum q3n_step)i;
    return Q3N_STEP_NONE;
}

static enum q3n_step by_letter(char letter)
{
    for (int i = Q3N_STEP_NONE + 1; i < Q3N_N_STEPS; i++)
        if (steps_by_id[i].letter == letter) return (enum q3n_step)i;
    return Q3N_STEP_NONE;
}

/* Put one behind the n that are there. */
static int add_step(enum q3n_step *steps, int n, enum q3n_step step, const char *word,
                    size_t len, ggf_error *err)
{
    const int shown = len < 40 ? (int)len : 40;
    if (!step)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "there is no sampler '%.*s'; there are penalties, dry, "
                        "top_n_sigma, top_k, typ_p, top_p, min_p, xtc and temperature "
                        "(edskypmxt)",
                        shown, word);
    for (int i = 0; i < n; i++)
        if (steps[i] == step)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "the sampler %s is named twice", steps_by_id[step].name);
    steps[n] = step;
    return 0;
}

int q3n_sample_steps(enum q3n_step steps[Q3N_N_STEPS], const char *names, ggf_error *err)
{
    enum q3n_step found[Q3N_N_STEPS] = { 0 };
    int n = 0;
    for (const char *word = names; *word;) {
        const size_t len = strcspn(word, ";");
        const int r = add_step(found, n++, by_name(word, len), word, len, err);
        if (r) return r;
        word += len;
        word += *word == ';';
    }
    memcpy(steps, found, sizeof found);
    return 0;
}

int q3n_sample_letters(enum q3n_step steps[Q3N_N_STEPS], const char *letters,
                       ggf_error *err)
{
    enum q3n_step found[Q3N_N_STEPS] = { 0 };
    for (int n = 0; letters[n]; n++) {
        const int r = add_step(found, n, by_letter(letters[n]), letters + n, 1, err);
        if (r) return r;
    }
    memcpy(steps, found, sizeof found);
    return 0;
}

/* ==== Numbers ============================================================= */

struct q3n_sample_params q3n_sample_defaults(void)
{
    static const char *const breakers[] = { "\n", ":", "\"", "*" };
    struct q3n_sample_params p = {
        .temp = 0.8f,
        .dynatemp_exponent = 1,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .typical_p = 1,
        .top_n_sigma = -1,
        .xtc_threshold = 0.1f,
        .penalty_last_n = 64,
        .repeat_penalty = 1,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_last_n = -1,
        .dry_breakers = breakers,
        .n_dry_breakers = sizeof breakers / sizeof *breakers,
        .n_ctx = 4096,
    };
    for (int i = 0; i < Q3N_N_STEPS - 1; i++) p.steps[i] = (enum q3n_step)(i + 1);
    return p;
}

static int check_breakers(const struct q3n_sample_params *p, ggf_error *err)
{
    for (size_t i = 0; i < p->n_dry_breakers; i++) {
        const size_t len = strlen(p->dry_breakers[i]);
        if (!len || len > RECENT_TAIL)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "a sequence breaker of %zu bytes: must be 1 to %d", len,
                            RECENT_TAIL);
    }
    return 0;
}

static int check_bias(const struct q3n_sample_params *p, ggf_error *err)
{
    for (size_t i = 0; i < p->n_bias; i++)
        if (p->bias[i].id < 0 || !(p->bias[i].bias <= 1e6f))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "a logit bias of %g for token %d makes no sense",
                            (double)p->bias[i].bias, p->bias[i].id);
    return 0;
}

int q3n_sample_check(const struct q3n_sample_params *p, ggf_error *err)
{
    static const char positive[] = "0 or more", share[] = "between 0 and 1",
                      count[] = "0 or more, or -1", penalty[] = "between -1e6 and 1e6";
    const struct {
        const char *name;
        float value;
        bool ok;
        const char *want;
    } rules[] = {
        { "temperature", p->temp, p->temp >= 0, positive },
        { "temperature range", p->dynatemp_range, p->dynatemp_range >= 0, positive },
        { "temperature exponent", p->dynatemp_exponent, p->dynatemp_exponent >= 0,
          positive },
        { "top-k", (float)p->top_k, p->top_k >= -1, count },
        { "top-p", p->top_p, p->top_p >= 0 && p->top_p <= 1, share },
        { "min-p", p->min_p, p->min_p >= 0 && p->min_p <= 1, share },
        { "typical-p", p->typical_p, p->typical_p >= 0 && p->typical_p <= 1, share },
        { "top-n-sigma", p->top_n_sigma, true, "a number" },
        { "xtc probability", p->xtc_probability,
          p->xtc_probability >= 0 && p->xtc_probability <= 1, share },
        { "xtc threshold", p->xtc_threshold,
          p->xtc_threshold >= 0 && p->xtc_threshold <= 1, share },
        { "number of last tokens", (float)p->penalty_last_n, p->penalty_last_n >= -1,
          count },
        { "repeat penalty", p->repeat_penalty,
          p->repeat_penalty >= 1e-6f && p->repeat_penalty <= 1e6f,
          "above 0 (1e-6 to 1e6)" },
        { "frequency penalty", p->frequency_penalty, fabsf(p->frequency_penalty) <= 1e6f,
          penalty },
        { "presence penalty", p->presence_penalty, fabsf(p->presence_penalty) <= 1e6f,
          penalty },
        { "dry multiplier", p->dry_multiplier, p->dry_multiplier >= 0, positive },
        { "dry base", p->dry_base, p->dry_base >= 1, "1 or more" },
        { "dry allowed length", (float)p->dry_allowed_length, p->dry_allowed_length >= 1,
          "1 or more" },
        { "number of last tokens for dry", (float)p->dry_last_n, p->dry_last_n >= -1,
          count },
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].ok || !isfinite(rules[i].value))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s is %g, but must be %s",
                            rules[i].name, (double)rules[i].value, rules[i].want);
    const int r = check_breakers(p, err);
    return r ? r : check_bias(p, err);
}
