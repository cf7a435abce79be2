/* test.c - tests: value is name(arguments). */
#include "builtin.h"
#include "render.h"

#include <string.h>

/* ==== Of the kind ========================================================= */

#define TEST(name, truth)                                                                \
    static bool test_##name(const struct call *c, struct value *out)                     \
    {                                                                                    \
        const struct value *v = &c->self;                                                \
        *out = value_bool(truth);                                                        \
        return true;                                                                     \
    }

/* An undefined value counts as an empty list. */
TEST(defined, v->kind != V_UNDEFINED)
TEST(undefined, v->kind == V_UNDEFINED)
TEST(none, v->kind == V_NONE)
TEST(boolean, v->kind == V_BOOL)
TEST(true, v->kind == V_BOOL && v->truth)
TEST(false, v->kind == V_BOOL && !v->truth)
TEST(integer, v->kind == V_INT)
TEST(float, v->kind == V_FLOAT)
TEST(number, value_is_number(v))
TEST(string, v->kind == V_STRING)
TEST(mapping, v->kind == V_MAP)
TEST(sequence, v->kind == V_LIST || v->kind == V_MAP || v->kind == V_STRING ||
                   v->kind == V_UNDEFINED)
TEST(iterable, v->kind == V_LIST || v->kind == V_MAP || v->kind == V_STRING ||
                   v->kind == V_UNDEFINED || v->kind == V_LOOP)
TEST(callable, v->kind == V_MACRO || v->kind == V_METHOD)

/* ==== Of the value ======================================================== */

static bool compare(const struct call *c, enum sign sign, struct value *out)
{
    bool truth;
    if (!eval_compare(c->r, sign, &c->self, c->args[0], &truth)) return false;
    *out = value_bool(truth);
    return true;
}

static bool test_eq(const struct call *c, struct value *out)
{
    return compare(c, S_EQ, out);
}
static bool test_ne(const struct call *c, struct value *out)
{
    return compare(c, S_NE, out);
}
static bool test_lt(const struct call *c, struct value *out)
{
    return compare(c, S_LT, out);
}
static bool test_le(const struct call *c, struct value *out)
{
    return compare(c, S_LE, out);
}
static bool test_gt(const struct call *c, struct value *out)
{
    return compare(c, S_GT, out);
}
static bool test_ge(const struct call *c, struct value *out)
{
    return compare(c, S_GE, out);
}
static bool test_in(const struct call *c, struct value *out)
{
    return compare(c, S_IN, out);
}

/* The same remainder for a whole number. */
static bool has_remainder(const struct call *c, const struct value *divisor, int64_t want,
                          struct value *out)
{
    const struct value wanted = value_int(want);
    struct value rest;
    if (!eval_math(c->r, S_MOD, &c->self, divisor, &rest)) return false;
    *out = value_bool(value_equal(&rest, &wanted, &c->r->steps));
    return true;
}

static bool test_divisibleby(const struct call *c, struct value *out)
{
    return has_remainder(c, c->args[0], 0, out);
}

static bool test_even(const struct call *c, struct value *out)
{
    const struct value two = value_int(2);
    return has_remainder(c, &two, 0, out);
}

static bool test_odd(const struct call *c, struct value *out)
{
    const struct value two = value_int(2);
    return has_remainder(c, &two, 1, out);
}

/* ==== All ================================================================= */

static const struct builtin tests[] = {
    { "boolean", "", test_boolean, V_UNDEFINED },
    { "callable", "", test_callable, V_UNDEFINED },
    { "defined", "", test_defined, V_UNDEFINED },
    { "divisibleby", "num", test_divisibleby, V_UNDEFINED },
    { "eq", "b", test_eq, V_UNDEFINED },
    { "equalto", "b", test_eq, V_UNDEFINED },
    { "even", "", test_even, V_UNDEFINED },
    { "false", "", test_false, V_UNDEFINED },
    { "float", "", test_float, V_UNDEFINED },
    { "ge", "b", test_ge, V_UNDEFINED },
    { "greaterthan", "b", test_gt, V_UNDEFINED },
    { "gt", "b", test_gt, V_UNDEFINED },
    { "in", "seq", test_in, V_UNDEFINED },
    { "integer", "", test_integer, V_UNDEFINED },
    { "iterable", "", test_iterable, V_UNDEFINED },
    { "le", "b", test_le, V_UNDEFINED },
    { "lessthan", "b", test_lt, V_UNDEFINED },
    { "lt", "b", test_lt, V_UNDEFINED },
    { "mapping", "", test_mapping, V_UNDEFINED },
    { "ne", "b", test_ne, V_UNDEFINED },
    { "none", "", test_none, V_UNDEFINED },
    { "number", "", test_number, V_UNDEFINED },
    { "odd", "", test_odd, V_UNDEFINED },
    { "sequence", "", test_sequence, V_UNDEFINED },
    { "string", "", test_string, V_UNDEFINED },
    { "true", "", test_true, V_UNDEFINED },
    { "undefined", "", test_undefined, V_UNDEFINED },
};

const struct builtin *find_test(const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(tests[i].name, name)) return &tests[i];
    return NULL;
}
