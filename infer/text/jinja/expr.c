/* expr.c - the expressions of templates (jinja2.parser has the same grammar), from the
 * weakest operator to the strongest:
 *
 *   a if b else c | or | and | not | comparisons | + - | ~ | * / // % | - + | . [] () |
 * is
 */
#include "parse.h"

#include "builtin.h"

#include <string.h>

static struct node *fail_node(struct parser *p)
{
    parse_fail(p, "unexpected '%.*s'", SHOWN(p->at));
    return NULL;
}

static struct node *binary(struct parser *p, enum node_kind kind, struct node *a,
                           struct node *b)
{
    struct node *n = a && b ? node_new(p, kind) : NULL;
    if (!n) return NULL;
    n->line = a->line;
    n->a = a;
    n->b = b;
    return n;
}

/* ==== Arguments =========================================================== */

static bool is_end(const struct parser *p)
{
    return p->at->kind == T_TAG_END || p->at->kind == T_PRINT_END || p->at->kind == T_END;
}

/* "(a, b, name=c)" behind its opening bracket: a list with N_KEYWORD in it. */
static bool parse_arguments(struct parser *p, struct node **list)
{
    struct node **end = list;
    bool keywords = false;
    *end = NULL;
    while (!parse_take(p, T_SIGN, ")")) {
        if (*list && !parse_expect(p, T_SIGN, ",")) return false;
        if (parse_take(p, T_SIGN, ")")) return true;
        if (parse_is(p, T_SIGN, "*") || parse_is(p, T_SIGN, "**"))
            return parse_fail(p, "arguments given with * are not supported");
        struct node *arg;
        if (p->at->kind == T_NAME && p->at[1].kind == T_SIGN && p->at[1].len == 1 &&
            *p->at[1].bytes == '=') {
            keywords = true;
            arg = node_new(p, N_KEYWORD);
            if (!arg || !(arg->name = parse_name(p))) return false;
            p->at++;
            arg->a = parse_expression(p);
            if (!arg->a) return false;
        } else {
            arg = parse_expression(p);
            if (arg && keywords)
                return parse_fail(p, "an argument without a name follows one with");
        }
        if (!arg) return false;
        *end = arg;
        end = &arg->next;
    }
    return true;
}

/* Put the arguments where the built-in thing expects them. */
static bool bind_arguments(struct parser *p, struct node *n, struct node *list)
{
    const struct builtin *b = n->builtin;
    const int params = builtin_params(b);
    int i = 0;
    n->args = arena_zero(&p->ast->arena, MAX_ARGS * sizeof *n->args);
    if (!n->args) return parse_fail(p, "out of memory");
    for (struct node *next; list; list = next) {
        next = list->next;
        const int at = list->kind == N_KEYWORD ? builtin_param(b, list->name) : i++;
        if (at < 0) return parse_fail(p, "%s has no argument '%s'", b->name, list->name);
        if (at >= params) return parse_fail(p, "too many arguments for %s", b->name);
        if (n->args[at]) return parse_fail(p, "an argument of %s given twice", b->name);
        n->args[at] = list->kind == N_KEYWORD ? list->a : list;
    }
    for (i = 0; i < params; i++)
        if (builtin_requires(b, i) && !n->args[i])
            return parse_fail(p, "too few arguments for %s", b->name);
    return true;
}

/* map and select take the name of a filter or test, which must be there. */
static bool check_inner(struct parser *p, const struct node *n)
{
    const char *name = n->builtin->name;
    const bool map = !strcmp(name, "map"), by_attribute = strlen(name) == 10;
    if (!map && !by_attribute && strcmp(name, "select") && strcmp(name, "reject"))
        return true;
    const struct node *inner = n->args[by_attribute];
    if (!inner || inner->kind != N_CONST || inner->value.kind != V_STRING) return true;
    const char *wanted = inner->value.text.bytes;
    if (map ? find_filter(wanted) != NULL : find_test(wanted) != NULL) return true;
    return parse_fail(p, "the %s '%s' is not supported", map ? "filter" : "test", wanted);
}

/* ==== Operands ============================================================ */

static struct node *constant(struct parser *p, struct value v)
{
    struct node *n = node_new(p, N_CONST);
    if (n) n->value = v;
    return n;
}

/* Strings side by side are one. */
static struct node *parse_strings(struct parser *p)
{
    size_t len = 0, n = 0;
    while (p->at[n].kind == T_STRING) len += p->at[n++].len;
    char *bytes = arena_zero(&p->ast->arena, len + 1);
    if (!bytes) {
        parse_fail(p, "out of memory");
        return NULL;
    }
    struct node *node = constant(p, value_text(bytes, len));
    for (; p->at->kind == T_STRING; p->at++) {
        memcpy(bytes, p->at->bytes, p->at->len);
        bytes += p->at->len;
    }
    return node;
}

static struct node *parse_word(struct parser *p)
{
    static const struct {
        const char *name;
        uint8_t kind;
        bool truth;
    } words[] = { { "true", V_BOOL, true },   { "True", V_BOOL, true },
                  { "false", V_BOOL, false }, { "False", V_BOOL, false },
                  { "none", V_NONE, false },  { "None", V_NONE, false } };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (parse_take(p, T_NAME, words[i].name))
            return constant(p, words[i].kind == V_BOOL ? value_bool(words[i].truth)
                                                       : value_none());
    struct node *n = node_new(p, N_NAME);
    return n && (n->name = parse_name(p)) ? n : NULL;
}

/* Items up to the closing bracket; dictionaries have pairs. */
static struct node *parse_items(struct parser *p, enum node_kind kind, const char *close)
{
    struct node *n = node_new(p, kind);
    struct node **end = n ? &n->list : NULL;
    while (n && !parse_take(p, T_SIGN, close)) {
        if (n->list && !parse_expect(p, T_SIGN, ",")) return NULL;
        if (parse_take(p, T_SIGN, close)) break;
        for (int i = 0; i < (kind == N_DICT ? 2 : 1); i++) {
            if (i && !parse_expect(p, T_SIGN, ":")) return NULL;
            if (!(*end = parse_expression(p))) return NULL;
            end = &(*end)->next;
        }
    }
    return n;
}

/* "()" and "(a)" and "(a, b)" behind the opening bracket. */
static struct node *parse_brackets(struct parser *p)
{
    if (parse_take(p, T_SIGN, ")")) return node_new(p, N_TUPLE);
    struct node *n = parse_tuple(p);
    return n && parse_expect(p, T_SIGN, ")") ? n : NULL;
}

static struct node *parse_operand(struct parser *p)
{
    const struct token *t = p->at;
    switch (t->kind) {
    case T_NAME: return parse_word(p);
    case T_STRING: return parse_strings(p);
    case T_INT: p->at++; return constant(p, value_int(t->i));
    case T_FLOAT: p->at++; return constant(p, value_float(t->f));
    default: break;
    }
    if (parse_take(p, T_SIGN, "(")) return parse_brackets(p);
    if (parse_take(p, T_SIGN, "[")) return parse_items(p, N_LIST, "]");
    if (parse_take(p, T_SIGN, "{")) return parse_items(p, N_DICT, "}");
    return fail_node(p);
}

/* ==== Behind an operand: attributes, items, calls ========================= */

static struct node *parse_method(struct parser *p, struct node *a, const char *name)
{
    struct node *n = node_new(p, N_BUILTIN), *list;
    if (!n) return NULL;
    n->a = a;
    n->builtin = find_method(name);
    if (!n->builtin) {
        parse_fail(p, "the method '%s' is not supported", name);
        return NULL;
    }
    return parse_arguments(p, &list) && bind_arguments(p, n, list) ? n : NULL;
}

static struct node *parse_attribute(struct parser *p, struct node *a)
{
    if (p->at->kind == T_INT) { /* a.0 */
        struct node *i = constant(p, value_int(p->at->i));
        p->at++;
        return binary(p, N_ITEM, a, i);
    }
    const char *name = parse_name(p);
    if (!name) return NULL;
    if (*name == '_') {
        parse_fail(p, "the attribute '%s' is not supported", name);
        return NULL;
    }
    if (parse_take(p, T_SIGN, "(")) return parse_method(p, a, name);
    struct node *n = node_new(p, N_ATTR);
    if (!n) return NULL;
    n->a = a;
    n->name = name;
    return n;
}

/* "[i]" and "[from:to:step]" behind the opening bracket. */
static struct node *parse_subscript(struct parser *p, struct node *a)
{
    struct node *part[3] = { NULL };
    int n = 0;
    bool slice = false;
    while (!parse_is(p, T_SIGN, "]")) {
        if (parse_take(p, T_SIGN, ":")) {
            slice = true;
            if (++n > 2) return fail_node(p);
        } else if (part[n] || !(part[n] = parse_expression(p))) {
            return fail_node(p);
        }
    }
    p->at++;
    if (!slice) return part[0] ? binary(p, N_ITEM, a, part[0]) : fail_node(p);
    struct node *node = node_new(p, N_SLICE);
    if (!node) return NULL;
    node->a = a;
    node->args = arena_zero(&p->ast->arena, MAX_ARGS * sizeof *node->args);
    if (!node->args) {
        parse_fail(p, "out of memory");
        return NULL;
    }
    memcpy(node->args, part, sizeof part);
    return node;
}

static struct node *parse_call(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, N_CALL);
    if (!n) return NULL;
    if (a->kind != N_NAME) {
        parse_fail(p, "a call of something that is not a name is not supported");
        return NULL;
    }
    n->a = a;
    n->name = a->name;
    n->other = p->calls;
    p->calls = n;
    return parse_arguments(p, &n->list) ? n : NULL;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n) {
        if (parse_take(p, T_SIGN, ".")) n = parse_attribute(p, n);
        else if (parse_take(p, T_SIGN, "[")) n = parse_subscript(p, n);
        else if (parse_take(p, T_SIGN, "(")) n = parse_call(p, n);
        else break;
    }
    return n;
}

/* ==== Filters and tests =================================================== */

static struct node *parse_filter(struct parser *p, struct node *a)
{
    struct node *n = node_new(p, N_BUILTIN), *list = NULL;
    const char *name = n ? parse_name(p) : NULL;
    if (!name) return NULL;
    n->a = a;
    n->builtin = find_filter(name);
    if (!n->builtin) {
        parse_fail(p, "the filter '%s' is not supported", name);
        return NULL;
    }
    if (parse_take(p, T_SIGN, "(") && !parse_arguments(p, &list)) return NULL;
    return bind_arguments(p, n, list) && check_inner(p, n) ? n : NULL;
}

/* An argument may follow a test without brackets: "is divisibleby 3". */
static bool starts_argument(const struct parser *p)
{
    const struct token *t = p->at;
    if (t->kind == T_NAME)
        return !parse_is(p, T_NAME, "else") && !parse_is(p, T_NAME, "or") &&
               !parse_is(p, T_NAME, "and") && !parse_is(p, T_NAME, "is");
    return t->kind == T_STRING || t->kind == T_INT || t->kind == T_FLOAT ||
           (t->kind == T_SIGN && strchr("[{", *t->bytes));
}

static struct node *parse_test(struct parser *p, struct node *a)
{
    const bool negated = parse_take(p, T_NAME, "not");
    struct node *n = node_new(p, N_BUILTIN), *list = NULL;
    const char *name = n ? parse_name(p) : NULL;
    if (!name) return NULL;
    n->a = a;
    n->builtin = find_test(name);
    if (!n->builtin) {
        parse_fail(p, "the test '%s' is not supported", name);
        return NULL;
    }
    if (parse_take(p, T_SIGN, "(")) {
        if (!parse_arguments(p, &list)) return NULL;
    } else if (starts_argument(p)) {
        list = parse_postfix(p, parse_operand(p));
        if (!list) return NULL;
    }
    if (!bind_arguments(p, n, list)) return NULL;
    struct node *outer = negated ? node_new(p, N_NOT) : n;
    if (negated && outer) outer->a = n;
    return outer;
}

struct node *parse_filters(struct parser *p, struct node *n)
{
    while (n) {
        if (parse_take(p, T_SIGN, "|")) n = parse_filter(p, n);
        else if (parse_take(p, T_NAME, "is")) n = parse_test(p, n);
        else break;
    }
    return n;
}

/* ==== Operators =========================================================== */

/* Filters come after a sign: -1|abs is 1. */
static struct node *parse_unary(struct parser *p, bool filters)
{
    if (!parse_enter(p)) return NULL;
    struct node *n;
    const bool minus = parse_take(p, T_SIGN, "-");
    if (minus || parse_take(p, T_SIGN, "+")) {
        n = node_new(p, minus ? N_MINUS : N_PLUS);
        if (n && !(n->a = parse_unary(p, false))) n = NULL;
    } else {
        n = parse_operand(p);
    }
    n = parse_postfix(p, n);
    if (n && parse_is(p, T_SIGN, "**")) {
        parse_fail(p, "the operator ** is not supported");
        n = NULL;
    }
    if (filters) n = parse_filters(p, n);
    parse_leave(p);
    return n;
}

static struct node *math(struct parser *p, struct node *a, enum sign sign, struct node *b)
{
    struct node *n = binary(p, N_MATH, a, b);
    if (n) n->sign = sign;
    return n;
}

static struct node *parse_product(struct parser *p)
{
    struct node *n = parse_unary(p, true);
    while (n) {
        if (parse_take(p, T_SIGN, "*")) n = math(p, n, S_MUL, parse_unary(p, true));
        else if (parse_take(p, T_SIGN, "/")) n = math(p, n, S_DIV, parse_unary(p, true));
        else if (parse_take(p, T_SIGN, "//"))
            n = math(p, n, S_FLOOR_DIV, parse_unary(p, true));
        else if (parse_take(p, T_SIGN, "%")) n = math(p, n, S_MOD, parse_unary(p, true));
        else break;
    }
    return n;
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p);
    if (!first || !parse_is(p, T_SIGN, "~")) return first;
    struct node *n = node_new(p, N_CONCAT), **end = n ? &first->next : NULL;
    if (n) n->list = first;
    while (n && parse_take(p, T_SIGN, "~")) {
        if (!(*end = parse_product(p))) return NULL;
        end = &(*end)->next;
    }
    return n;
}

static struct node *parse_sum(struct parser *p)
{
    struct node *n = parse_concat(p);
    while (n) {
        if (parse_take(p, T_SIGN, "+")) n = math(p, n, S_ADD, parse_concat(p));
        else if (parse_take(p, T_SIGN, "-")) n = math(p, n, S_SUB, parse_concat(p));
        else break;
    }
    return n;
}

static bool take_comparison(struct parser *p, enum sign *sign)
{
    static const struct {
        const char *text;
        enum sign sign;
    } signs[] = { { "==", S_EQ }, { "!=", S_NE }, { "<", S_LT },
                  { "<=", S_LE }, { ">", S_GT },  { ">=", S_GE } };
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (parse_take(p, T_SIGN, signs[i].text)) {
            *sign = signs[i].sign;
            return true;
        }
    *sign = S_IN;
    if (parse_take(p, T_NAME, "in")) return true;
    if (!parse_is(p, T_NAME, "not") || p->at[1].kind != T_NAME || p->at[1].len != 2 ||
        memcmp(p->at[1].bytes, "in", 2))
        return false;
    p->at += 2;
    *sign = S_NOT_IN;
    return true;
}

static struct node *parse_comparison(struct parser *p)
{
    struct node *first = parse_sum(p), *n = NULL, **end = NULL;
    enum sign sign;
    while (first && take_comparison(p, &sign)) {
        if (!n) {
            if (!(n = node_new(p, N_COMPARE))) return NULL;
            n->a = first;
            end = &n->list;
        }
        struct node *step = node_new(p, N_OPERATION);
        if (!step || !(step->a = parse_sum(p))) return NULL;
        step->sign = sign;
        *end = step;
        end = &step->next;
    }
    return n ? n : first;
}

static struct node *parse_not(struct parser *p)
{
    if (!parse_take(p, T_NAME, "not")) return parse_comparison(p);
    if (!parse_enter(p)) return NULL;
    struct node *n = node_new(p, N_NOT);
    if (n && !(n->a = parse_not(p))) n = NULL;
    parse_leave(p);
    return n;
}

static struct node *parse_and(struct parser *p)
{
    struct node *n = parse_not(p);
    while (n && parse_take(p, T_NAME, "and")) n = binary(p, N_AND, n, parse_not(p));
    return n;
}

struct node *parse_or(struct parser *p)
{
    struct node *n = parse_and(p);
    while (n && parse_take(p, T_NAME, "or")) n = binary(p, N_OR, n, parse_and(p));
    return n;
}

struct node *parse_expression(struct parser *p)
{
    if (!parse_enter(p)) return NULL;
    struct node *n = parse_or(p);
    while (n && parse_take(p, T_NAME, "if")) {
        n = binary(p, N_CHOICE, n, parse_or(p));
        if (n && parse_take(p, T_NAME, "else") && !(n->c = parse_expression(p))) n = NULL;
    }
    parse_leave(p);
    return n;
}

struct node *parse_tuple(struct parser *p)
{
    struct node *first = parse_expression(p);
    if (!first || !parse_is(p, T_SIGN, ",")) return first;
    struct node *n = node_new(p, N_TUPLE), **end = &first->next;
    if (n) n->list = first;
    while (n && parse_take(p, T_SIGN, ",")) {
        if (is_end(p) || parse_is(p, T_SIGN, ")")) break;
        if (!(*end = parse_expression(p))) return NULL;
        end = &(*end)->next;
    }
    return n;
}
