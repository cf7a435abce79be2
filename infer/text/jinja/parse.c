/* parse.c - see parse.h.  The statements of templates; expressions are in expr.c. */
#include "parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 100

/* ==== Tokens ============================================================== */

bool parse_fail(struct parser *p, const char *format, ...)
{
    char what[200];
    if (p->failed) return false;
    p->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    ggf_fail(p->err, GGF_E_FORMAT, GGF_NO_OFFSET, "chat template, line %u: %s",
             p->at->line, what);
    return false;
}

bool parse_is(const struct parser *p, enum token_kind kind, const char *text)
{
    return p->at->kind == kind && (!text || (p->at->len == strlen(text) &&
                                             !memcmp(p->at->bytes, text, p->at->len)));
}

bool parse_take(struct parser *p, enum token_kind kind, const char *text)
{
    if (!parse_is(p, kind, text)) return false;
    p->at++;
    return true;
}

bool parse_expect(struct parser *p, enum token_kind kind, const char *text)
{
    if (parse_take(p, kind, text)) return true;
    if (text) return parse_fail(p, "'%s' expected, not '%.*s'", text, SHOWN(p->at));
    return parse_fail(p, "the end of the tag expected, not '%.*s'", SHOWN(p->at));
}

bool parse_enter(struct parser *p)
{
    return ++p->depth <= MAX_DEPTH ||
           parse_fail(p, "nested more than %d deep", MAX_DEPTH);
}

void parse_leave(struct parser *p) { p->depth--; }

struct node *node_new(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_zero(&p->ast->arena, sizeof *n);
    if (n) {
        n->kind = kind;
        n->line = p->at->line;
    } else {
        parse_fail(p, "the template is too big, or memory is short");
    }
    return n;
}

/* ==== Names =============================================================== */

const char *ast_name(const struct ast *ast, const char *name, size_t len)
{
    for (size_t i = 0; i < ast->n_names; i++)
        if (strlen(ast->names[i]) == len && !memcmp(ast->names[i], name, len))
            return ast->names[i];
    return NULL;
}

/* Append to a list of names that grows in the arena. */
static bool push_name(struct parser *p, const char ***names, size_t *n, size_t *capacity,
                      const char *name)
{
    if (*n == *capacity) {
        const size_t more = *capacity ? 2 * *capacity : 32;
        const char **grown = arena_take(&p->ast->arena, more * sizeof *grown);
        if (!grown) return parse_fail(p, "the template is too big, or memory is short");
        if (*n) memcpy(grown, *names, *n * sizeof *grown);
        *names = grown;
        *capacity = more;
    }
    (*names)[(*n)++] = name;
    return true;
}

const char *parse_name(struct parser *p)
{
    const struct token *t = p->at;
    if (t->kind != T_NAME) {
        parse_fail(p, "a name expected, not '%.*s'", SHOWN(t));
        return NULL;
    }
    struct ast *a = p->ast;
    const char *name = ast_name(a, t->bytes, t->len);
    if (!name) {
        if (a->n_names == 2000) {
            parse_fail(p, "more than 2000 names");
            return NULL;
        }
        name = arena_copy(&a->arena, t->bytes, t->len);
        if (!name || !push_name(p, &a->names, &a->n_names, &a->names_capacity, name)) {
            parse_fail(p, "the template is too big, or memory is short");
            return NULL;
        }
    }
    p->at++;
    return name;
}

static bool note_set(struct parser *p, const char *name)
{
    for (size_t i = 0; i < p->n_set; i++)
        if (p->set[i] == name) return true;
    return push_name(p, &p->set, &p->n_set, &p->set_capacity, name);
}

/* Calls are of these functions, or of what the template itself defines. */
static bool check_calls(struct parser *p)
{
    static const char *const known[] = { "namespace", "range", "raise_exception",
                                         "strftime_now" };
    for (const struct node *c = p->calls; c; c = c->other) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known && !found; i++)
            found = !strcmp(c->name, known[i]);
        for (size_t i = 0; i < p->n_set && !found; i++) found = p->set[i] == c->name;
        if (found) continue;
        p->failed = true;
        ggf_fail(p->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                 "chat template, line %u: the function '%s' is not supported", c->line,
                 c->name);
        return false;
    }
    return true;
}

/* ==== Statements ========================================================== */

static struct node *parse_body(struct parser *p, const char *const *ends);

static bool end_of_tag(struct parser *p) { return parse_expect(p, T_TAG_END, NULL); }

/* "{%" NAME "%}" has been read up to the name. */
static bool take_end(struct parser *p, const char *name)
{
    return parse_expect(p, T_NAME, name) && end_of_tag(p);
}

/* A body between the end of this tag and one of the tags that end it, whose name comes
 * next. */
static bool parse_inner(struct parser *p, struct node **body, const char *const *ends)
{
    if (!end_of_tag(p)) return false;
    *body = parse_body(p, ends);
    return !p->failed;
}

static struct node *parse_target_item(struct parser *p, bool attributes)
{
    struct node *n = node_new(p, N_NAME);
    if (!n) return NULL;
    if (parse_take(p, T_SIGN, "(")) {
        parse_fail(p, "brackets around names to set are not supported");
        return NULL;
    }
    if (!(n->name = parse_name(p))) return NULL;
    if (!attributes || !parse_take(p, T_SIGN, "."))
        return note_set(p, n->name) ? n : NULL;
    struct node *attr = node_new(p, N_ATTR);
    if (!attr || !(attr->name = parse_name(p))) return NULL;
    attr->a = n;
    return attr;
}

/* A name, names with commas between them, or with `attributes` also space.name. */
static struct node *parse_target(struct parser *p, bool attributes)
{
    struct node *first = parse_target_item(p, attributes);
    if (!first || !parse_is(p, T_SIGN, ",")) return first;
    struct node *n = node_new(p, N_TUPLE), **end = &first->next;
    if (n) n->list = first;
    while (n && parse_take(p, T_SIGN, ",")) {
        if (!(*end = parse_target_item(p, attributes))) return NULL;
        end = &(*end)->next;
    }
    return n;
}

/* Behind "if" or "elif". */
static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = { "elif", "else", "endif", NULL };
    struct node *n = node_new(p, N_IF);
    if (!n || !(n->a = parse_tuple(p)) || !parse_inner(p, &n->list, ends)) return NULL;
    if (parse_take(p, T_NAME, "elif")) {
        if (!parse_enter(p)) return NULL;
        n->other = parse_if(p);
        parse_leave(p);
        return n->other ? n : NULL;
    }
    if (parse_take(p, T_NAME, "else") && !parse_inner(p, &n->other, ends + 2))
        return NULL;
    return take_end(p, "endif") ? n : NULL;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = { "else", "endfor", NULL };
    struct node *n = node_new(p, N_FOR);
    if (!n || !(n->b = parse_target(p, false)) || !parse_expect(p, T_NAME, "in") ||
        !(n->a = parse_or(p)))
        return NULL;
    if (parse_take(p, T_NAME, "if") && !(n->c = parse_expression(p))) return NULL;
    if (parse_is(p, T_NAME, "recursive")) {
        parse_fail(p, "recursive loops are not supported");
        return NULL;
    }
    p->loops++;
    const bool ok = parse_inner(p, &n->list, ends);
    p->loops--;
    if (!ok) return NULL;
    if (parse_take(p, T_NAME, "else") && !parse_inner(p, &n->other, ends + 1))
        return NULL;
    return take_end(p, "endfor") ? n : NULL;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = { "endset", NULL };
    struct node *n = node_new(p, N_SET);
    if (!n || !(n->b = parse_target(p, true))) return NULL;
    if (parse_take(p, T_SIGN, "="))
        return (n->a = parse_tuple(p)) && end_of_tag(p) ? n : NULL;
    n->kind = N_SET_BLOCK;
    n->a = parse_filters(p, node_new(p, N_BLOCK));
    const int loops = p->loops;
    p->loops = 0;
    const bool ok = n->a && parse_inner(p, &n->list, ends) && take_end(p, "endset");
    p->loops = loops;
    return ok ? n : NULL;
}

/* "(a, b=1)" */
static bool parse_params(struct parser *p, struct node **list)
{
    struct node **end = list;
    if (!parse_expect(p, T_SIGN, "(")) return false;
    while (!parse_take(p, T_SIGN, ")")) {
        if (*list && !parse_expect(p, T_SIGN, ",")) return false;
        struct node *n = node_new(p, N_KEYWORD);
        if (!n || !(n->name = parse_name(p)) || !note_set(p, n->name)) return false;
        if (parse_take(p, T_SIGN, "=") && !(n->a = parse_expression(p))) return false;
        *end = n;
        end = &n->next;
    }
    return true;
}

static struct node *parse_macro(struct parser *p)
{
    static const char *const ends[] = { "endmacro", NULL };
    struct node *n = node_new(p, N_MACRO);
    struct macro *m = n ? arena_zero(&p->ast->arena, sizeof *m) : NULL;
    if (!m) {
        parse_fail(p, "the template is too big, or memory is short");
        return NULL;
    }
    n->macro = m;
    if (!(m->name = parse_name(p)) || !note_set(p, m->name)) return NULL;
    const int loops = p->loops;
    p->loops = 0;
    const bool ok = parse_params(p, &m->params) && parse_inner(p, &m->body, ends);
    p->loops = loops;
    if (ok && parse_is(p, T_NAME, "endmacro")) {
        p->at++;
        if (p->at->kind == T_NAME) p->at++; /* its name again */
        return end_of_tag(p) ? n : NULL;
    }
    return NULL;
}

/* What trainers mark as the model's own words; it prints what is inside. */
static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = { "endgeneration", NULL };
    struct node *n = node_new(p, N_SCOPE);
    const int loops = p->loops;
    p->loops = 0;
    const bool ok = n && parse_inner(p, &n->list, ends) && take_end(p, "endgeneration");
    p->loops = loops;
    return ok ? n : NULL;
}

static struct node *parse_jump(struct parser *p, enum node_kind kind)
{
    struct node *n = node_new(p, kind);
    if (n && !p->loops) {
        parse_fail(p, "break and continue belong inside of a loop");
        return NULL;
    }
    return n && end_of_tag(p) ? n : NULL;
}

static struct node *parse_statement(struct parser *p)
{
    if (parse_take(p, T_NAME, "if")) return parse_if(p);
    if (parse_take(p, T_NAME, "for")) return parse_for(p);
    if (parse_take(p, T_NAME, "set")) return parse_set(p);
    if (parse_take(p, T_NAME, "macro")) return parse_macro(p);
    if (parse_take(p, T_NAME, "generation")) return parse_generation(p);
    if (parse_take(p, T_NAME, "break")) return parse_jump(p, N_BREAK);
    if (parse_take(p, T_NAME, "continue")) return parse_jump(p, N_CONTINUE);
    parse_fail(p, "the tag '%.*s' is not supported", SHOWN(p->at));
    return NULL;
}

static struct node *parse_text(struct parser *p)
{
    struct node *n = node_new(p, N_TEXT);
    if (n) n->value = value_text(p->at->bytes, p->at->len);
    p->at++;
    return n;
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = node_new(p, N_PRINT);
    if (!n || !(n->a = parse_tuple(p))) return NULL;
    return parse_expect(p, T_PRINT_END, NULL) ? n : NULL;
}

static bool is_end_tag(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (parse_is(p, T_NAME, *ends)) return true;
    return false;
}

/* Statements up to {% and one of the names, or without names up to the end. */
static struct node *parse_body(struct parser *p, const char *const *ends)
{
    struct node *first = NULL, **end = &first;
    if (!parse_enter(p)) return NULL;
    while (!p->failed) {
        if (p->at->kind == T_END) {
            if (ends) parse_fail(p, "the template ends without '%s'", ends[0]);
            break;
        }
        if (p->at->kind == T_TEXT) {
            *end = parse_text(p);
        } else if (parse_take(p, T_PRINT, NULL)) {
            *end = parse_print(p);
        } else {
            p->at++; /* T_TAG */
            if (is_end_tag(p, ends)) break;
            *end = parse_statement(p);
        }
        if (!*end) break;
        end = &(*end)->next;
    }
    parse_leave(p);
    return first;
}

int jinja_parse(struct ast *ast, const char *source, size_t len, ggf_error *err)
{
    struct parser p = { .ast = ast, .err = err };
    struct token *tokens;
    const int r = jinja_lex(&tokens, source, len, &ast->arena, err);
    if (r) return r;
    p.at = tokens;
    ast->body = parse_body(&p, NULL);
    if (!p.failed) check_calls(&p);
    return p.failed ? GGF_E_FORMAT : 0;
}
