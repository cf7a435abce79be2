/* parse.h - tokens to a tree.  Whatever is outside of the subset is refused here, with
 * the name of the construct and its line. */
#ifndef INFER_TEXT_JINJA_PARSE_H
#define INFER_TEXT_JINJA_PARSE_H

#include "../../../libgguf/libgguf.h"
#include "ast.h"
#include "lex.h"

/* `ast` is zero but for arena.limit; release its arena, also after a failure. */
int jinja_parse(struct ast *ast, const char *source, size_t len, ggf_error *err);

/* ---- Between parse.c and expr.c ---- */

struct parser {
    struct ast *ast;
    const struct token *at;
    int depth;        /* of nested expressions and statements */
    int loops;        /* around this place */
    const char **set; /* names that the template gives a value to */
    size_t n_set, set_capacity;
    struct node *calls; /* of names, by `other`; checked at the end */
    bool failed;
    ggf_error *err;
};

/* All of these return NULL or false after a failure, which is told once. */
bool parse_fail(struct parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool parse_is(const struct parser *p, enum token_kind kind, const char *text);
bool parse_take(struct parser *p, enum token_kind kind, const char *text);
bool parse_expect(struct parser *p, enum token_kind kind, const char *text);
/* Tokens can be shown in messages: "%.*s". */
#define SHOWN(t) (int)((t)->len < 60 ? (t)->len : 60), (t)->bytes

struct node *node_new(struct parser *p, enum node_kind kind);
const char *parse_name(struct parser *p);

bool parse_enter(struct parser *p); /* one level deeper; undone by parse_leave() */
void parse_leave(struct parser *p);

struct node *parse_expression(struct parser *p);
/* Without "a if b else c" at the top, as behind "for x in". */
struct node *parse_or(struct parser *p);
/* One expression, or several with commas between them: a tuple. */
struct node *parse_tuple(struct parser *p);
struct node *parse_filters(struct parser *p, struct node *operand);

#endif
