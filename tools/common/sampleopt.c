/* sampleopt.c - see sampleopt.h. */
#include "sampleopt.h"

#include "../../infer/now.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first of those that were given; `drawing`: of those that a draw needs. */
static const char *first_given(const struct sample_options *o, bool drawing)
{
    const struct {
        const char *name;
        bool given, drawing;
    } rows[] = {
        { "--top-k", o->top_k != OPT_NOT_GIVEN, true },
        { "--top-p", !isnan(o->top_p), true },
        { "--min-p", !isnan(o->min_p), true },
        { "--seed", o->seed != NULL, true },
        { "--temp", !isnan(o->temp), false },
        { "--repeat-penalty", !isnan(o->repeat_penalty), false },
        { "--presence-penalty", !isnan(o->presence_penalty), false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].given && (rows[i].drawing || !drawing)) return rows[i].name;
    return NULL;
}

const char *sample_option_given(const struct sample_options *o)
{
    return first_given(o, false);
}

static void set(float *to, float value)
{
    if (!isnan(value)) *to = value;
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

int sample_options(const struct opt_program *program, const struct sample_options *o,
                   struct q3n_sample_params *out)
{
    const char *useless = o->temp <= 0 ? first_given(o, true) : NULL;
    ggf_error err;
    if (useless) return opt_error(program, "%s has no effect with --temp 0", useless);
    *out = q3n_sample_defaults();
    set(&out->temp, o->temp);
    set(&out->top_p, o->top_p);
    set(&out->min_p, o->min_p);
    set(&out->repeat_penalty, o->repeat_penalty);
    set(&out->presence_penalty, o->presence_penalty);
    if (o->top_k != OPT_NOT_GIVEN) out->top_k = o->top_k;
    if (!read_seed(o->seed, &out->seed))
        return opt_error(program,
                         "the seed is '%s', but must be a number of 0 or more, or -1",
                         o->seed);
    return q3n_sample_check(out, &err) ? opt_error(program, "%s", err.message) : OPT_GO;
}
