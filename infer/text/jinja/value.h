/* value.h - what a template computes with: Python's values, and where text comes from.
 *
 * Every byte of a string is either the template's or the input's (what users, tools and
 * models wrote).  Slices, joins, filters and so on keep that mark with each byte, numbers
 * and containers have one for what they look like as text.  Only the template's bytes may
 * become control tokens.
 *
 * Values are small and passed by copy; what they point to lives in the arena of a render,
 * in the template, or in the caller's JSON, and never changes but for the attributes of
 * namespaces. */
#ifndef INFER_TEXT_JINJA_VALUE_H
#define INFER_TEXT_JINJA_VALUE_H

#include "arena.h"

#include <stdbool.h>
#include <stdint.h>

enum value_kind {
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_STRING,
    V_LIST, /* or tuple */
    V_MAP,
    V_NAMESPACE,
    V_LOOP,
    V_MACRO,
    V_METHOD, /* x.get without a call; good for nothing */
};

/* UTF-8.  marks[i] is 1 where byte i is the input's; NULL: all are as value.input says.
 */
struct text {
    const char *bytes, *marks;
    size_t len;
};

struct value {
    uint8_t kind; /* enum value_kind */
    bool input;   /* comes from the input */
    bool tuple;   /* a list that is a tuple */
    union {
        const char *name; /* V_UNDEFINED: what is not there; V_METHOD */
        bool truth;
        int64_t i;
        double f;
        struct text text;
        const struct list *list;
        struct map *map; /* V_MAP, V_NAMESPACE */
        const struct loop *loop;
        const struct macro *macro;
    };
};

struct list {
    size_t n;
    struct value items[];
};

/* Keys are in order of insertion. */
struct map {
    size_t n, capacity;
    struct value *keys, *values;
};

static inline struct value value_undefined(const char *name)
{
    return (struct value){ .kind = V_UNDEFINED, .name = name };
}
static inline struct value value_none(void) { return (struct value){ .kind = V_NONE }; }
static inline struct value value_bool(bool truth)
{
    return (struct value){ .kind = V_BOOL, .truth = truth };
}
static inline struct value value_int(int64_t i)
{
    return (struct value){ .kind = V_INT, .i = i };
}
static inline struct value value_float(double f)
{
    return (struct value){ .kind = V_FLOAT, .f = f };
}
/* The template's text. */
static inline struct value value_text(const char *bytes, size_t len)
{
    return (struct value){ .kind = V_STRING, .text = { .bytes = bytes, .len = len } };
}
static inline struct value value_list(const struct list *list)
{
    return (struct value){ .kind = V_LIST, .list = list };
}

/* "string", "list", ...: for messages. */
const char *value_kind_name(const struct value *v);

/* Python's bool(). */
bool value_truth(const struct value *v);
/* A number: bool, int or float. */
bool value_is_number(const struct value *v);
double value_as_float(const struct value *v);
/* An int or bool into *i. */
bool value_as_int(const struct value *v, int64_t *i);
bool value_is(const struct value *v, const char *string);

/* The bytes [from, to) of a string. */
struct value value_slice(const struct value *string, size_t from, size_t to);

/* Comparing takes work, which is added to *work; beyond this, all is unequal.  Whoever
 * counts the steps of a render sees that they are too many and gives up. */
#define MAX_WORK ((uint64_t)50 << 20)

/* Where a key is, or map->n.  Keys are equal as Python has it. */
size_t map_find(const struct map *map, const struct value *key, uint64_t *work);
/* Put in or replace; false: no room in the arena. */
bool map_put(struct map *map, struct arena *arena, struct value key, struct value value,
             uint64_t *work);

/* Python's ==.  Containers that are nested more than 200 deep count as different. */
bool value_equal(const struct value *a, const struct value *b, uint64_t *work);
/* Less than, equal, greater: -1, 0, 1 in *order; false if the two have no order. */
bool value_order(const struct value *a, const struct value *b, int *order);

/* Python's str.isspace() and \s, for a character. */
bool is_space(uint32_t c);

#endif
