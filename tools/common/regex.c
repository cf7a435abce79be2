/* regex.c - see regex.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 1000000

struct regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

void regex_free(struct regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    pcre2_match_data_free(r->data);
    pcre2_match_context_free(r->limits);
    free(r);
}

static int pattern_error(ggf_error *err, int code, size_t at, const char *pattern)
{
    PCRE2_UCHAR why[120] = "";
    pcre2_get_error_message(code, why, sizeof why);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "pattern '%.100s', character %zu: %s",
                    pattern, at + 1, (const char *)why);
}

int regex_new(struct regex **out, const char *pattern, ggf_error *err)
{
    int code = 0;
    size_t at = 0;
    *out = NULL;
    struct regex *r = calloc(1, sizeof *r);
    if (!r) return ggf_no_memory(err);
    r->code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
    if (!r->code) {
        regex_free(r);
        return pattern_error(err, code, at, pattern);
    }
    r->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    r->limits = pcre2_match_context_create(NULL);
    if (!r->data || !r->limits) {
        regex_free(r);
        return ggf_no_memory(err);
    }
    pcre2_set_match_limit(r->limits, MAX_STEPS);
    *out = r;
    return 0;
}

int regex_match(const struct regex *r, const char *text, ggf_error *err)
{
    const int n =
        pcre2_match(r->code, (PCRE2_SPTR)text, strlen(text), 0, 0, r->data, r->limits);
    if (n >= 0) return 1;
    if (n == PCRE2_ERROR_NOMATCH) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the pattern needs too many steps on '%.80s'", text);
}
