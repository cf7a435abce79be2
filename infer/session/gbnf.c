/* gbnf.c - see gbnf.h.  Rules are read into one tree (expr.h), then put into the grammar;
 * sets of characters become bytes in charset.c. */
#include "gbnf.h"

#include "../text/utf8.h"
#include "expr.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): as deep as groups in groups, EXPR_DEPTH */

enum { MOST_RULES = 5000 };

struct rule {
    const char *name;
    size_t len;
    uint32_t number; /* in the grammar */
    uint32_t node;
    bool defined;
};

struct gbnf {
    struct expr e;
    const char *text, *at, *end;
    struct rule *rules; /* [MOST_RULES] */
    size_t n_rules;
    int depth;
    ggf_error *err;
    int failed;
};

static uint32_t fail_at(struct gbnf *b, const char *what, const char *at, size_t len)
{
    size_t line = 1;
    if (b->failed) return 0;
    for (const char *c = b->text; c < at; c++) line += *c == '\n';
    b->failed = ggf_fail(b->err, GGF_E_ARG, GGF_NO_OFFSET, "grammar, line %zu: %s '%.*s'",
                         line, what, (int)(len < 60 ? len : 60), at);
    return 0;
}

/* What is wrong, and what stands there. */
static uint32_t fail(struct gbnf *b, const char *what)
{
    const size_t left = (size_t)(b->end - b->at);
    const char *newline = left ? memchr(b->at, '\n', left) : NULL;
    size_t len = newline ? (size_t)(newline - b->at) : left;
    if (len > 20) len = 20;
    return fail_at(b, what, b->at, len);
}

/* A node that was added; or there is no room for it. */
static uint32_t added(struct gbnf *b, uint32_t node)
{
    if (b->e.trouble == EXPR_TOO_LONG) fail(b, "the grammar is too long at");
    if (b->e.trouble == EXPR_NO_MEMORY && !b->failed) b->failed = ggf_no_memory(b->err);
    return node;
}

static uint32_t pair(struct gbnf *b, enum expr_kind kind, uint32_t x, uint32_t y)
{
    return added(b, expr_pair(&b->e, kind, x, y));
}

/* ==== Words =============================================================== */

/* The next byte; 0 at the end, where nothing can go on. */
static char peek(const struct gbnf *b) { return b->at < b->end ? *b->at : '\0'; }

static bool next_is(const struct gbnf *b, const char *word)
{
    const size_t n = strlen(word);
    return (size_t)(b->end - b->at) >= n && !memcmp(b->at, word, n);
}

/* Blanks and comments, and also line breaks. */
static void skip(struct gbnf *b, bool lines)
{
    for (;; b->at++) {
        if (peek(b) == '#')
            while (b->at < b->end && *b->at != '\n' && *b->at != '\r') b->at++;
        const char c = peek(b);
        if (c != ' ' && c != '\t' && !(lines && (c == '\n' || c == '\r'))) return;
    }
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }

static bool is_word(char c) { return is_letter(c) || is_digit(c) || c == '-'; }

/* The rule of the name that stands here, which may come later. */
static struct rule *take_name(struct gbnf *b)
{
    const char *name = b->at;
    while (is_word(peek(b))) b->at++;
    const size_t len = (size_t)(b->at - name);
    for (size_t i = 0; i < b->n_rules; i++)
        if (b->rules[i].len == len && !memcmp(b->rules[i].name, name, len))
            return &b->rules[i];
    if (b->n_rules == MOST_RULES) {
        fail(b, "more rules than there may be, at");
        return b->rules;
    }
    b->rules[b->n_rules] =
        (struct rule){ .name = name, .len = len, .number = grammar_rule(b->e.g) };
    return &b->rules[b->n_rules++];
}

/* ==== Characters ========================================================== */

static uint32_t take_hex(struct gbnf *b, int digits)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, b->at++) {
        const char d = peek(b);
        if (!is_digit(d) && !((d | 32) >= 'a' && (d | 32) <= 'f'))
            return fail(b, "hexadecimal digits expected at");
        c = c << 4 | (uint32_t)(is_digit(d) ? d - '0' : (d | 32) - 'a' + 10);
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return fail(b, "an escape that is no character, before");
    return c;
}

/* A character, perhaps escaped. */
static uint32_t take_char(struct gbnf *b)
{
    static const char letters[] = "tnr\\\"[]", values[] = "\t\n\r\\\"[]";
    unsigned len;
    if (peek(b) != '\\') {
        const size_t left = (size_t)(b->end - b->at);
        const uint32_t c = utf8_decode((const uint8_t *)b->at, left, &len);
        if (c == UTF8_BAD) return fail(b, "no UTF-8 at");
        b->at += len;
        return c;
    }
    b->at++;
    const char c = peek(b), *known = c ? strchr(letters, c) : NULL;
    if (!known && c != 'x' && c != 'u' && c != 'U')
        return fail(b, "an escape that there is not, at");
    b->at++;
    if (known) return (uint8_t)values[known - letters];
    return take_hex(b, c == 'x' ? 2 : c == 'u' ? 4 : 8);
}

static uint32_t text_node(struct gbnf *b)
{
    uint32_t all = 0;
    b->at++;
    while (b->at < b->end && *b->at != '"' && !b->failed) {
        const uint32_t c = pair(b, EXPR_CHAR, take_char(b), 0);
        all = all ? pair(b, EXPR_SEQUENCE, all, c) : c;
    }
    if (b->at == b->end) return fail(b, "'\"' is missing at the end");
    b->at++;
    return all;
}

static uint32_t class_node(struct gbnf *b)
{
    struct charset set = { 0 };
    b->at++;
    const bool others = peek(b) == '^';
    b->at += others;
    if (peek(b) == ']' && !others) return fail(b, "an empty class before");
    while (b->at < b->end && *b->at != ']' && !b->failed) {
        const uint32_t lo = take_char(b);
        uint32_t hi = lo;
        if (next_is(b, "-") && !next_is(b, "-]")) {
            b->at++;
            if (b->at < b->end) hi = take_char(b);
        }
        if (hi < lo) fail(b, "a range from high to low, before");
        charset_add(&set, lo, hi);
    }
    if (b->at == b->end) return fail(b, "']' is missing at the end");
    b->at++;
    if (set.full) return fail(b, "a class of too many ranges, before");
    if (others) charset_invert(&set);
    return added(b, expr_set(&b->e, &set));
}

static uint32_t any_char(struct gbnf *b)
{
    struct charset all = { 0 };
    charset_invert(&all);
    b->at++;
    return added(b, expr_set(&b->e, &all));
}

/* ==== Structure =========================================================== */

static uint32_t either_node(struct gbnf *b);

static uint32_t group_node(struct gbnf *b)
{
    b->at++;
    if (++b->depth > EXPR_DEPTH) return fail(b, "too many groups in groups at");
    skip(b, true);
    const uint32_t n = either_node(b);
    b->depth--;
    if (peek(b) != ')') return fail(b, "')' expected at");
    b->at++;
    return n;
}

static int take_number(struct gbnf *b)
{
    int n = 0;
    if (!is_digit(peek(b))) fail(b, "a number expected at");
    while (is_digit(peek(b)) && n <= EXPR_REPEATS) n = 10 * n + (*b->at++ - '0');
    if (n > EXPR_REPEATS) fail(b, "too many repetitions before");
    return n;
}

/* {m}, {m,} or {m,n} */
static void take_counts(struct gbnf *b, int *least, int *most)
{
    b->at++;
    skip(b, b->depth > 0);
    *least = *most = take_number(b);
    skip(b, b->depth > 0);
    if (peek(b) == ',') {
        b->at++;
        skip(b, b->depth > 0);
        *most = peek(b) == '}' ? EXPR_NO_LIMIT : take_number(b);
        skip(b, b->depth > 0);
    }
    if (peek(b) != '}') fail(b, "'}' expected at");
    else if (*most != EXPR_NO_LIMIT && *most < *least)
        fail(b, "less repetitions at most than at least, before");
    else b->at++;
}

static uint32_t repeat_node(struct gbnf *b, uint32_t what)
{
    int least = 0, most = EXPR_NO_LIMIT;
    switch (peek(b)) {
    case '*': b->at++; break;
    case '+': least = 1, b->at++; break;
    case '?': most = 1, b->at++; break;
    case '{': take_counts(b, &least, &most); break;
    default: return what;
    }
    const char c = peek(b);
    if (c && strchr("*+?{", c)) return fail(b, "a repetition of a repetition at");
    const struct expr_node n = {
        .kind = EXPR_REPEAT, .a = what, .least = least, .most = most
    };
    return added(b, expr_add(&b->e, n));
}

/* Does something begin here that can stand in a sequence? */
static bool is_atom(const struct gbnf *b)
{
    const char c = peek(b);
    return is_word(c) || (c && strchr("\"[(.", c));
}

static uint32_t atom(struct gbnf *b)
{
    switch (peek(b)) {
    case '"': return text_node(b);
    case '[': return class_node(b);
    case '(': return group_node(b);
    case '.': return any_char(b);
    default: return pair(b, EXPR_RULE, take_name(b)->number, 0);
    }
}

static uint32_t sequence_node(struct gbnf *b)
{
    uint32_t all = 0;
    while (is_atom(b) && !b->failed) {
        uint32_t one = atom(b);
        /* Blanks may stand before what repeats, as in llama.cpp. */
        skip(b, b->depth > 0);
        one = repeat_node(b, one);
        all = all ? pair(b, EXPR_SEQUENCE, all, one) : one;
        skip(b, b->depth > 0);
    }
    return all;
}

static uint32_t either_node(struct gbnf *b)
{
    uint32_t all = sequence_node(b);
    while (peek(b) == '|' && !b->failed) {
        b->at++;
        skip(b, true);
        all = pair(b, EXPR_EITHER, all, sequence_node(b));
    }
    return all;
}

static void take_rule(struct gbnf *b)
{
    const char *name = b->at;
    if (!is_word(peek(b))) {
        fail(b, "the name of a rule expected at");
        return;
    }
    struct rule *rule = take_name(b);
    if (rule->defined) fail_at(b, "a second rule of the name", name, rule->len);
    rule->defined = true;
    skip(b, false);
    if (!next_is(b, "::=")) {
        fail(b, "'::=' expected at");
        return;
    }
    b->at += 3;
    skip(b, true);
    rule->node = either_node(b);
    if (b->at < b->end && *b->at != '\n' && *b->at != '\r')
        fail(b, *b->at == '<' || *b->at == '!' ? "tokens are not supported:"
                                               : "not expected:");
    skip(b, true);
}

/* ==== The whole =========================================================== */

static const struct rule *find_root(struct gbnf *b)
{
    for (size_t i = 0; i < b->n_rules; i++)
        if (b->rules[i].len == 4 && !memcmp(b->rules[i].name, "root", 4))
            return &b->rules[i];
    return NULL;
}

static void take_rules(struct gbnf *b)
{
    skip(b, true);
    while (b->at < b->end && !b->failed) take_rule(b);
    for (size_t i = 0; i < b->n_rules && !b->failed; i++)
        if (!b->rules[i].defined)
            fail_at(b, "there is no rule", b->rules[i].name, b->rules[i].len);
    if (!b->failed && !find_root(b))
        b->failed = ggf_fail(b->err, GGF_E_ARG, GGF_NO_OFFSET,
                             "grammar: there is no rule root, with which a text begins");
}

static void check_left_recursion(struct gbnf *b)
{
    uint32_t number;
    if (b->failed) return;
    b->failed = grammar_left_recursion(b->e.g, &number, b->err);
    for (size_t i = 0; i < b->n_rules && !b->failed; i++)
        if (b->rules[i].number == number)
            fail_at(b, "a rule that begins by calling itself is not supported:",
                    b->rules[i].name, b->rules[i].len);
}

static int build(struct gbnf *b)
{
    take_rules(b);
    for (size_t i = 0; i < b->n_rules && !b->failed; i++)
        grammar_set_rule(b->e.g, b->rules[i].number,
                         expr_emit(&b->e, b->rules[i].node, GRAMMAR_END));
    if (b->failed) return b->failed;
    ggf_error why = { 0 };
    const int r = grammar_finish(b->e.g, find_root(b)->number, &why);
    if (r == GGF_E_NOMEM) return ggf_no_memory(b->err);
    if (r) return ggf_fail(b->err, r, GGF_NO_OFFSET, "grammar: %s", why.message);
    check_left_recursion(b);
    return b->failed;
}

int q3n_gbnf_parse(q3n_grammar **out, const char *text, size_t len, ggf_error *err)
{
    struct gbnf b = { .text = text, .at = text, .end = text + len, .err = err };
    q3n_grammar *g = grammar_new();
    *out = NULL;
    b.rules = calloc(MOST_RULES, sizeof *b.rules);
    if (g) expr_init(&b.e, g, false);
    const int r = g && b.rules ? build(&b) : ggf_no_memory(err);
    free(b.rules);
    expr_free(&b.e);
    if (r) q3n_grammar_free(g);
    else *out = g;
    return r;
}
/* NOLINTEND(misc-no-recursion) */
