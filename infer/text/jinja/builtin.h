/* builtin.h - filters, tests and methods: what they are called, what they take. */
#ifndef INFER_TEXT_JINJA_BUILTIN_H
#define INFER_TEXT_JINJA_BUILTIN_H

#include "ast.h"

struct render;

/* The operand and the arguments by position in `params`; NULL where not given. */
struct call {
    struct render *r;
    struct value self;
    const struct value *args[MAX_ARGS];
    const struct builtin *builtin;
};

/* Computes *out, or says why not (render_fail) and returns false. */
typedef bool builtin_fn(const struct call *c, struct value *out);

struct builtin {
    const char *name;
    const char *params; /* "old,new,count=": a name that ends in '=' may be left out;
                           "*": any number without names */
    builtin_fn *fn;
    enum value_kind self; /* methods: what they are of; V_UNDEFINED: anything */
};

/* NULL if there is none of this name. */
const struct builtin *find_filter(const char *name);
const struct builtin *find_test(const char *name);
const struct builtin *find_method(const char *name);

/* How many parameters there are, and where one is, or -1.  A parameter at i is required.
 */
int builtin_params(const struct builtin *b);
int builtin_param(const struct builtin *b, const char *name);
bool builtin_requires(const struct builtin *b, int i);

/* An argument that must be a string; *out is NULL if it was not given, or none. */
bool call_string(const struct call *c, int i, const struct text **out);

/* ---- Methods of strings (string.c, case.c) ---- */
builtin_fn string_capitalize, string_count, string_endswith, string_find, string_join,
    string_lower, string_lstrip, string_removeprefix, string_removesuffix, string_replace,
    string_rstrip, string_split, string_splitlines, string_startswith, string_strip,
    string_title, string_upper;

#endif
