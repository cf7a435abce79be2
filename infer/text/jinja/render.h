/* render.h - one run of a template: variables, limits, and the functions that the parts
 * of it call of each other.
 *
 * All functions that return bool return false after a failure, which has been told to
 * render_fail() once; the run is over then. */
#ifndef INFER_TEXT_JINJA_RENDER_H
#define INFER_TEXT_JINJA_RENDER_H

#include "../../../libgguf/libgguf.h"
#include "ast.h"

#include <jansson.h>
#include <time.h>

/* Names of an iteration, a macro's call, or the whole template. */
struct scope {
    struct scope *parent;
    struct variable *first;
};

struct loop {
    const struct list *items;
    size_t at;
};

struct render {
    const struct ast *ast;
    struct arena arena;
    struct scope root;
    struct text_out *out; /* what is printed goes here */
    struct value block;   /* what a set block printed, for its filters */
    time_t now;           /* of strftime_now() */
    uint64_t steps;       /* at most MAX_WORK */
    int depth;            /* of nested nodes and calls */
    uint32_t line;
    bool failed;
    ggf_error *err;
};

bool render_fail(struct render *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The arena is full. */
bool render_no_room(struct render *r);
/* Count so much work; false if it is too much in all. */
bool render_work(struct render *r, uint64_t steps);

/* ---- Text that grows (text.c) ---- */

struct text_out {
    struct render *r;
    char *bytes, *marks; /* 1: the input's */
    size_t len, capacity, n_input;
};

bool text_put(struct text_out *out, const char *bytes, size_t len, bool input);
bool text_puts(struct text_out *out, const char *s, bool input);
/* A string, with its marks. */
bool text_add(struct text_out *out, const struct value *string);
/* What has been put so far, as a string. */
struct value text_value(const struct text_out *out);

/* ---- Values to text (print.c, json.c) ---- */

bool print_str(struct text_out *out, const struct value *v); /* Python's str() */
bool value_str(struct render *r, const struct value *v, struct value *string);
/* Python's repr() of a float; returns buf. */
char *format_float(char buf[32], double f);

struct json_style {
    const char *item, *key; /* separators */
    const char *indent;     /* for each level; NULL: all on one line */
    bool ascii, sort;
};
/* Python's json.dumps(). */
bool print_json(struct text_out *out, const struct value *v,
                const struct json_style *style);
/* The caller's JSON as a value of the input, which refers to its strings. */
bool value_from_json(struct render *r, const json_t *json, struct value *out);

/* ---- Lists ---- */

/* Room for n items, which count as there. */
struct list *list_new(struct render *r, size_t n);
/* What a for loop, join and list go through: a list's items, a mapping's keys, a
 * string's characters, nothing if undefined. */
bool value_items(struct render *r, const struct value *v, const struct list **out);
/* [[key, value], ...] of a mapping. */
bool map_pairs(struct render *r, const struct map *map, struct value *out);

/* ---- Expressions (eval.c, math.c) and statements (run.c) ---- */

bool eval(struct render *r, struct scope *s, const struct node *n, struct value *out);
bool eval_call(struct render *r, struct scope *s, const struct node *n,
               struct value *out);
bool eval_math(struct render *r, enum sign sign, const struct value *a,
               const struct value *b, struct value *out);
bool eval_compare(struct render *r, enum sign sign, const struct value *a,
                  const struct value *b, bool *out);
/* a.name, a[key], a[from:to:step] */
bool value_attribute(struct render *r, const struct value *a, const char *name,
                     struct value *out);
bool value_item(struct render *r, const struct value *a, const struct value *key,
                struct value *out);
bool value_range(struct render *r, const struct value *a, const struct value part[3],
                 struct value *out);

struct value scope_get(const struct scope *s, const char *name);
bool scope_set(struct render *r, struct scope *s, const char *name, struct value v);

/* Run statements into r->out. */
enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAILED };
enum flow run(struct render *r, struct scope *s, const struct node *body);
/* What they print, as a string. */
bool run_to_text(struct render *r, struct scope *s, const struct node *body,
                 struct value *out);

#endif
