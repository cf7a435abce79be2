/* schema_number.c - numbers between bounds, digit by digit; see schema.h.
 *
 * A bound is a row of decimal digits.  While the digits written so far are those of the
 * lower bound the next must not be less than its next, and likewise with the upper bound;
 * after that anything goes. */
#include "schema_build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as a number has digits */

enum { WHOLE = 16, BEHIND = 16, DIGITS = WHOLE + BEHIND };

/* The amount of a bound: digit[0 .. WHOLE) before the point, with zeros in front. */
struct bound {
    bool given, out; /* out: the number itself is not meant */
    bool negative;
    uint8_t digit[DIGITS];
};

/* ==== Reading bounds ====================================================== */

static bool is_zero(const struct bound *b)
{
    for (int i = 0; i < DIGITS; i++)
        if (b->digit[i]) return false;
    return true;
}

/* The shortest decimal text that is the number. */
static bool decimal(const json_t *v, char text[64])
{
    if (json_is_integer(v)) {
        snprintf(text, 64, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        return true;
    }
    const double x = json_real_value(v);
    for (int places = 0; places <= BEHIND && fabs(x) < 1e16; places++) {
        snprintf(text, 64, "%.*f", places, x);
        if (strtod(text, NULL) == x) return true;
    }
    return false;
}

static void read_bound(struct schema *s, const json_t *schema, const char *key, bool out,
                       struct bound *b)
{
    const json_t *v = json_object_get(schema, key);
    char text[64];
    if (!v) return;
    if (!json_is_number(v)) {
        schema_fail(s, "%s must be a number", key);
        return;
    }
    if (!decimal(v, text) || strcspn(text + (*text == '-'), ".") > WHOLE) {
        schema_fail(s, "%s has more than %d digits before or behind the point", key,
                    WHOLE);
        return;
    }
    *b = (struct bound){ .given = true, .out = out, .negative = *text == '-' };
    const char *digits = text + b->negative;
    const size_t whole = strcspn(digits, ".");
    for (size_t i = 0; i < whole; i++)
        b->digit[WHOLE - whole + i] = (uint8_t)(digits[i] - '0');
    for (size_t i = 0; digits[whole] && digits[whole + 1 + i]; i++)
        b->digit[WHOLE + i] = (uint8_t)(digits[whole + 1 + i] - '0');
    if (is_zero(b)) b->negative = false;
}

/* a < b? */
static bool is_less(const struct bound *a, const struct bound *b)
{
    if (a->negative != b->negative) return a->negative;
    const int order = memcmp(a->digit, b->digit, DIGITS);
    return a->negative ? order > 0 : order < 0;
}

/* Of two bounds on the same side the stricter one. */
static void take_stricter(struct bound *b, const struct bound *other, bool lower)
{
    if (!other->given) return;
    const bool same = b->given && !is_less(b, other) && !is_less(other, b);
    if (same) b->out |= other->out;
    else if (!b->given || is_less(b, other) == lower) *b = *other;
}

/* ==== Digits ============================================================== */

struct range {
    struct schema *s;
    const struct bound *lo, *hi; /* amounts; not given: 0, no limit */
    bool fraction;               /* may there be digits behind the point? */
    int first;                   /* the first digit that is written */
    uint32_t next;
    uint32_t memo[DIGITS + 1][2][2]; /* state + 1; 0: not made yet */
};

static bool rest_is_zero(const struct bound *b, int from)
{
    for (int i = from; i < DIGITS; i++)
        if (b->digit[i]) return false;
    return true;
}

/* May the number end after `at` digits, at_lo and at_hi saying that they are those of the
 * bound? */
static bool may_end(const struct range *r, int at, bool at_lo, bool at_hi)
{
    if (at < WHOLE) return false;
    if (at_lo && (!rest_is_zero(r->lo, at) || r->lo->out)) return false;
    return !(at_hi && rest_is_zero(r->hi, at) && r->hi->out);
}

/* The digits from `at` on. */
static uint32_t digits(struct range *r, int at, bool at_lo, bool at_hi)
{
    q3n_grammar *g = r->s->g;
    uint32_t *memo = &r->memo[at][at_lo][at_hi];
    if (*memo) return *memo - 1;
    uint32_t start = may_end(r, at, at_lo, at_hi) ? r->next : GRAMMAR_NONE;
    uint32_t more = GRAMMAR_NONE;
    const bool last = at == DIGITS || (at == WHOLE && !r->fraction);
    const bool no_zero = at == r->first && at < WHOLE - 1;
    const int least = at_lo && !last ? r->lo->digit[at] : 0;
    const int most = at_hi && !last ? r->hi->digit[at] : 9;
    for (int d = least > no_zero ? least : no_zero, end; !last && d <= most;
         d = end + 1) {
        const bool lo = at_lo && d == least, hi = at_hi && d == most;
        end = lo ? d : at_hi ? most - 1 : most;
        if (end < d) end = d;
        const uint32_t then = digits(r, at + 1, lo, hi);
        more = grammar_either(
            g, more, grammar_byte(g, (uint8_t)('0' + d), (uint8_t)('0' + end), then));
    }
    if (at == WHOLE) more = grammar_text(g, ".", 1, more);
    start = grammar_either(g, more, start);
    *memo = start + 1;
    return start;
}

/* Numbers without sign from lo to hi. */
static uint32_t amounts(struct schema *s, const struct bound *lo, const struct bound *hi,
                        bool fraction, uint32_t next)
{
    static const struct bound none = { 0 };
    uint32_t start = GRAMMAR_NONE;
    for (int n = 1; n <= WHOLE; n++) { /* digits before the point */
        struct range r = {
            .s = s,
            .lo = lo->given ? lo : &none,
            .hi = hi,
            .fraction = fraction,
            .first = WHOLE - n,
            .next = next,
        };
        bool at_lo = lo->given, at_hi = hi->given;
        /* The zeros in front that are not written. */
        bool fits = true;
        for (int i = 0; i < r.first; i++) {
            if (at_lo && lo->digit[i]) fits = false; /* fewer digits than lo has */
            if (at_hi && hi->digit[i]) at_hi = false;
        }
        if (fits) start = grammar_either(s->g, digits(&r, r.first, at_lo, at_hi), start);
    }
    return start;
}

/* Bounds on both sides of zero are two ranges. */
static uint32_t between(struct schema *s, struct bound lo, struct bound hi, bool fraction,
                        uint32_t next)
{
    const struct bound zero = { .given = true, .out = true },
                       from_zero = { .given = true };
    uint32_t start = GRAMMAR_NONE;
    if (!hi.given || !hi.negative) {
        const struct bound *from = lo.given && !lo.negative ? &lo : &from_zero;
        start = amounts(s, from, &hi, fraction, next);
    }
    if (!lo.given || lo.negative) {
        const struct bound *from = hi.given && hi.negative ? &hi : &zero;
        const uint32_t amount = amounts(s, from, &lo, fraction, next);
        start = grammar_either(s->g, grammar_text(s->g, "-", 1, amount), start);
    }
    return start;
}

uint32_t schema_number(struct schema *s, const json_t *schema, bool integer,
                       uint32_t next)
{
    struct bound lo = { 0 }, hi = { 0 }, lo_out = { 0 }, hi_out = { 0 };
    read_bound(s, schema, "minimum", false, &lo);
    read_bound(s, schema, "maximum", false, &hi);
    read_bound(s, schema, "exclusiveMinimum", true, &lo_out);
    read_bound(s, schema, "exclusiveMaximum", true, &hi_out);
    if (s->failed) return GRAMMAR_NONE;
    take_stricter(&lo, &lo_out, true);
    take_stricter(&hi, &hi_out, false);
    if (!lo.given && !hi.given)
        return schema_call(s, integer ? RULE_INTEGER : RULE_NUMBER, next);
    const uint32_t start = between(s, lo, hi, !integer, next);
    if (start == GRAMMAR_NONE) return schema_fail(s, "no number is within the bounds");
    return start;
}
/* NOLINTEND(misc-no-recursion) */
