/* pattern.c - see pattern.h.  A pattern is read into a tree (expr.h), which is then put
 * into the grammar; sets of characters become bytes in charset.c. */
#include "pattern.h"

#include "../text/utf8.h"
#include "expr.h"

#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as groups in groups, EXPR_DEPTH */

struct pattern {
    struct expr e;
    enum pattern_kind kind;
    const char *text, *at;
    int depth;
    ggf_error *err;
    int failed;
};

static uint32_t fail(struct pattern *p, const char *what)
{
    if (!p->failed)
        p->failed = ggf_fail(p->err, GGF_E_ARG, GGF_NO_OFFSET,
                             "pattern '%.80s': %s at '%.20s'", p->text, what, p->at);
    return 0;
}

/* A node that was added; or there is no room for it. */
static uint32_t added(struct pattern *p, uint32_t node)
{
    if (p->e.trouble == EXPR_TOO_LONG) fail(p, "too long");
    if (p->e.trouble == EXPR_NO_MEMORY && !p->failed) p->failed = ggf_no_memory(p->err);
    return node;
}

static uint32_t pair(struct pattern *p, enum expr_kind kind, uint32_t a, uint32_t b)
{
    return added(p, expr_pair(&p->e, kind, a, b));
}

/* ==== Characters ========================================================== */

static uint32_t take_char(struct pattern *p)
{
    unsigned len;
    const uint32_t c = utf8_decode((const uint8_t *)p->at, strlen(p->at), &len);
    if (c == UTF8_BAD) fail(p, "no UTF-8");
    p->at += len;
    return c;
}

static uint32_t take_hex(struct pattern *p, int digits)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        const char *hex = "0123456789abcdef",
                   *d = *p->at ? strchr(hex, *p->at | 32) : NULL;
        if (!d) return fail(p, "hexadecimal digits expected");
        c = c << 4 | (uint32_t)(d - hex);
        p->at++;
    }
    return c;
}

/* A class such as \d: whether there is one of that letter. */
static bool add_shorthand(struct charset *set, char letter)
{
    struct charset s = { 0 };
    switch (letter | 32) {
    case 'd': charset_add(&s, '0', '9'); break;
    case 's':
        charset_add(&s, '\t', '\r');
        charset_add(&s, ' ', ' ');
        break;
    case 'w':
        charset_add(&s, '0', '9');
        charset_add(&s, 'A', 'Z');
        charset_add(&s, '_', '_');
        charset_add(&s, 'a', 'z');
        break;
    default: return false;
    }
    if (!(letter & 32)) charset_invert(&s);
    for (int i = 0; i < s.n; i++) charset_add(set, s.range[i].lo, s.range[i].hi);
    return true;
}

/* The character behind a backslash. */
static uint32_t take_escape(struct pattern *p)
{
    static const char letters[] = "tnrfv", values[] = "\t\n\r\f\v";
    const char c = *p->at;
    const char *known = c ? strchr(letters, c) : NULL;
    if (!c) return fail(p, "nothing to escape");
    if ((c >= '0' && c <= '9') ||
        (!known && c != 'x' && c != 'u' && ((c | 32) >= 'a' && (c | 32) <= 'z')))
        return fail(p, "an escape that is not supported");
    if (c != 'x' && c != 'u' && !known) return take_char(p);
    p->at++;
    return known ? (uint32_t)(uint8_t)values[known - letters]
                 : take_hex(p, c == 'x' ? 2 : 4);
}

/* One end of a range in [...], or a class by itself (then *single is false). */
static uint32_t class_item(struct pattern *p, struct charset *set, bool *single)
{
    *single = true;
    if (*p->at != '\\') return take_char(p);
    p->at++;
    if (*p->at && add_shorthand(set, *p->at)) {
        *single = false;
        p->at++;
        return 0;
    }
    if (*p->at == 'b') return p->at++, '\b';
    return take_escape(p);
}

static void class_range(struct pattern *p, struct charset *set)
{
    bool single, end_single = true;
    const uint32_t lo = class_item(p, set, &single);
    uint32_t hi = lo;
    if (single && p->at[0] == '-' && p->at[1] && p->at[1] != ']') {
        p->at++;
        hi = class_item(p, set, &end_single);
    }
    if (!end_single || hi < lo) fail(p, "a range that makes no sense");
    else if (single) charset_add(set, lo, hi);
}

static uint32_t class_node(struct pattern *p)
{
    struct charset set = { 0 };
    const bool negated = *p->at == '^';
    p->at += negated;
    if (*p->at == ']') return fail(p, "an empty class");
    while (*p->at && *p->at != ']' && !p->failed) class_range(p, &set);
    if (!*p->at) return fail(p, "']' is missing");
    p->at++;
    if (set.full) return fail(p, "a class of too many ranges");
    if (negated) charset_invert(&set);
    return added(p, expr_set(&p->e, &set));
}

static uint32_t char_node(struct pattern *p)
{
    struct charset set = { 0 };
    if (*p->at == '.') {
        p->at++;
        charset_add(&set, '\n', '\n');
        charset_add(&set, '\r', '\r');
        charset_invert(&set);
        return added(p, expr_set(&p->e, &set));
    }
    if (*p->at != '\\') return pair(p, EXPR_CHAR, take_char(p), 0);
    p->at++;
    if (!*p->at || !add_shorthand(&set, *p->at))
        return pair(p, EXPR_CHAR, take_escape(p), 0);
    p->at++;
    return added(p, expr_set(&p->e, &set));
}

/* ==== Structure =========================================================== */

static uint32_t either_node(struct pattern *p, bool top);

static uint32_t group_node(struct pattern *p)
{
    if (p->at[0] == '?' && p->at[1] != ':')
        return fail(p, "a kind of group that is not supported");
    if (*p->at == '?') p->at += 2;
    if (++p->depth > EXPR_DEPTH) return fail(p, "too many groups in groups");
    const uint32_t n = either_node(p, false);
    p->depth--;
    if (*p->at != ')') return fail(p, "')' is missing");
    p->at++;
    return n;
}

static int take_number(struct pattern *p)
{
    int n = 0;
    if (*p->at < '0' || *p->at > '9') fail(p, "a number expected");
    while (*p->at >= '0' && *p->at <= '9' && n <= EXPR_REPEATS)
        n = 10 * n + (*p->at++ - '0');
    if (n > EXPR_REPEATS) fail(p, "too many repetitions");
    return n;
}

/* {m}, {m,} or {m,n} */
static void take_counts(struct pattern *p, int *least, int *most)
{
    p->at++;
    *least = *most = take_number(p);
    if (*p->at == ',') {
        p->at++;
        *most = *p->at == '}' ? EXPR_NO_LIMIT : take_number(p);
    }
    if (*p->at != '}' || (*most != EXPR_NO_LIMIT && *most < *least))
        fail(p, "'{m,n}' expected");
    else p->at++;
}

static uint32_t repeat_node(struct pattern *p, uint32_t what)
{
    int least = 0, most = EXPR_NO_LIMIT;
    switch (*p->at) {
    case '*': p->at++; break;
    case '+': least = 1, p->at++; break;
    case '?': most = 1, p->at++; break;
    case '{': take_counts(p, &least, &most); break;
    default: return what;
    }
    if (*p->at == '?') p->at++; /* lazy: the same texts */
    if (*p->at && strchr("*+?{", *p->at)) return fail(p, "a repetition of a repetition");
    const struct expr_node n = {
        .kind = EXPR_REPEAT, .a = what, .least = least, .most = most
    };
    return added(p, expr_add(&p->e, n));
}

static uint32_t atom(struct pattern *p)
{
    switch (*p->at) {
    case '(': return p->at++, group_node(p);
    case '[': return p->at++, class_node(p);
    case '*':
    case '+':
    case '?':
    case '{': return fail(p, "nothing to repeat");
    case '^':
    case '$': return fail(p, "an anchor that is not at the end of the pattern");
    default: return char_node(p);
    }
}

/* Any number of any characters. */
static uint32_t anything(struct pattern *p)
{
    struct charset all = { 0 };
    charset_invert(&all);
    const struct expr_node n = { .kind = EXPR_REPEAT,
                                 .a = added(p, expr_set(&p->e, &all)),
                                 .most = EXPR_NO_LIMIT };
    return added(p, expr_add(&p->e, n));
}

static uint32_t sequence_node(struct pattern *p, bool top)
{
    const bool search = top && p->kind == PATTERN_JSON;
    const bool from_start = top && *p->at == '^';
    p->at += from_start;
    uint32_t all = search && !from_start ? anything(p) : 0;
    while (*p->at && *p->at != '|' && *p->at != ')' && !p->failed) {
        if (top && p->at[0] == '$' && (!p->at[1] || p->at[1] == '|')) break;
        const uint32_t one = atom(p);
        all = pair(p, EXPR_SEQUENCE, all, repeat_node(p, one));
    }
    const bool to_end = top && *p->at == '$';
    p->at += to_end;
    return search && !to_end ? pair(p, EXPR_SEQUENCE, all, anything(p)) : all;
}

static uint32_t either_node(struct pattern *p, bool top)
{
    uint32_t all = sequence_node(p, top);
    while (*p->at == '|' && !p->failed) {
        p->at++;
        all = pair(p, EXPR_EITHER, all, sequence_node(p, top));
    }
    return all;
}

int pattern_compile(q3n_grammar *g, const char *pattern, enum pattern_kind kind,
                    uint32_t next, uint32_t *start, ggf_error *err)
{
    struct pattern p = { .kind = kind, .text = pattern, .at = pattern, .err = err };
    *start = GRAMMAR_NONE;
    expr_init(&p.e, g, kind == PATTERN_JSON);
    const uint32_t all = added(&p, either_node(&p, true));
    if (!p.failed && *p.at) fail(&p, "')' without '('");
    if (!p.failed) *start = expr_emit(&p.e, all, next);
    expr_free(&p.e);
    return p.failed;
}
/* NOLINTEND(misc-no-recursion) */
