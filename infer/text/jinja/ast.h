/* ast.h - a parsed template. */
#ifndef INFER_TEXT_JINJA_AST_H
#define INFER_TEXT_JINJA_AST_H

#include "value.h"

enum node_kind {
    /* Expressions */
    N_CONST,     /* value */
    N_NAME,      /* name */
    N_LIST,      /* list: items */
    N_TUPLE,     /* list: items */
    N_DICT,      /* list: key, value, key, value, ... */
    N_ATTR,      /* a.name */
    N_ITEM,      /* a[b] */
    N_SLICE,     /* a[args[0]:args[1]:args[2]], NULL where left out */
    N_CALL,      /* name(list); a is N_NAME, list may hold N_KEYWORD */
    N_KEYWORD,   /* name=a, among the arguments of a call */
    N_BUILTIN,   /* builtin(args); a: what is filtered, tested, or whose method it is */
    N_NOT,       /* not a */
    N_MINUS,     /* -a */
    N_PLUS,      /* +a */
    N_AND,       /* a and b */
    N_OR,        /* a or b */
    N_COMPARE,   /* a, then list of N_OPERATION: each the sign and the right side */
    N_MATH,      /* a sign b */
    N_CONCAT,    /* list, joined by ~ */
    N_CHOICE,    /* a if b else c; c may be NULL */
    N_OPERATION, /* sign a */
    /* Statements */
    N_TEXT,      /* value */
    N_PRINT,     /* a */
    N_IF,        /* if a: list, else: other */
    N_FOR,       /* for target b in a [if c]: list, else: other */
    N_SET,       /* b = a; b is a target */
    N_SET_BLOCK, /* b = what list prints, through the filters of a (N_BLOCK inside) */
    N_BLOCK,     /* what a set block printed, as an expression */
    N_MACRO,     /* macro */
    N_SCOPE,     /* list, with variables of its own */
    N_BREAK,
    N_CONTINUE,
};

enum sign {
    S_ADD,
    S_SUB,
    S_MUL,
    S_DIV,
    S_FLOOR_DIV,
    S_MOD,
    S_EQ,
    S_NE,
    S_LT,
    S_LE,
    S_GT,
    S_GE,
    S_IN,
    S_NOT_IN,
};

#define MAX_ARGS 5

/* Nodes live in the arena of the template.  `name` is one pointer for each name. */
struct node {
    enum node_kind kind;
    uint32_t line;
    struct node *next; /* of the list it is in */
    struct node *a, *b, *c;
    struct node *list, *other;
    enum sign sign;
    const char *name;
    struct value value;
    const struct builtin *builtin;
    struct node **args; /* MAX_ARGS of them, NULL where not given */
    struct macro *macro;
};

/* Targets of set and for are N_NAME, N_ATTR (of a namespace) or N_TUPLE of these. */

struct macro {
    const char *name;
    struct node *params; /* list of N_KEYWORD; a: the default, or NULL */
    struct node *body;
    struct scope *scope; /* where it was defined; set while rendering */
};

struct ast {
    struct arena arena;
    const char **names;
    size_t n_names, names_capacity;
    struct node *body;
};

/* The one pointer for a name; NULL if the template does not have it. */
const char *ast_name(const struct ast *ast, const char *name, size_t len);

#endif
