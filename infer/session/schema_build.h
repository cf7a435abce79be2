/* schema_build.h - what the parts of the schema compiler share; see schema.h. */
#ifndef INFER_SESSION_SCHEMA_BUILD_H
#define INFER_SESSION_SCHEMA_BUILD_H

#include "pattern.h"
#include "schema.h"

enum {
    SCHEMA_DEPTH = 64,      /* schemas in schemas */
    SCHEMA_BRANCHES = 2000, /* of an anyOf; properties of an object */
    SCHEMA_ENUM = 10000,
    SCHEMA_COUNT = 100000, /* the most that minItems, maxLength... may ask for */
};

/* Rules that need no schema, made when first used. */
enum schema_rule {
    RULE_SPACE,
    RULE_CHAR, /* of a string */
    RULE_STRING,
    RULE_NUMBER,
    RULE_INTEGER,
    RULE_VALUE, /* any JSON */
    RULE_OBJECT,
    RULE_ARRAY,
    N_SCHEMA_RULES,
};

struct schema_ref {
    const json_t *schema;
    uint32_t rule;
    char *name;
};

struct schema {
    q3n_grammar *g;
    ggf_error *err;
    int failed;
    const json_t *root;
    json_t *owned; /* an array of what was put together */
    struct schema_ref *refs;
    size_t n_refs;
    uint32_t rules[N_SCHEMA_RULES];
    bool has_rule[N_SCHEMA_RULES];
    char path[200]; /* where we are: "#/properties/name" */
    size_t n_path;
    int depth;
};

/* All build from the end, as grammar.h says, and return GRAMMAR_NONE after a failure. */

/* A value for the schema. */
uint32_t schema_value(struct schema *s, const json_t *schema, uint32_t next);
/* The same, `key` and `name` (or NULL) being added to the path meanwhile. */
uint32_t schema_value_at(struct schema *s, const char *key, const char *name,
                         const json_t *schema, uint32_t next);

/* For one type each. */
uint32_t schema_object(struct schema *s, const json_t *schema, uint32_t next);
uint32_t schema_array(struct schema *s, const json_t *schema, uint32_t next);
uint32_t schema_string(struct schema *s, const json_t *schema, uint32_t next);
uint32_t schema_number(struct schema *s, const json_t *schema, bool integer,
                       uint32_t next);

/* A string other than those; they must be n names in an object's order of bytes. */
uint32_t schema_other_key(struct schema *s, const char *const *names, size_t n,
                          uint32_t next);

/* One of n texts, which are brought into order. */
uint32_t schema_one_of(struct schema *s, const char **texts, size_t n, uint32_t next);

uint32_t schema_call(struct schema *s, enum schema_rule rule, uint32_t next);

/* Say what is wrong, and where; returns GRAMMAR_NONE. */
uint32_t schema_fail(struct schema *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint32_t schema_no_memory(struct schema *s);

/* A count under that key, `otherwise` if there is none. */
int schema_count(struct schema *s, const json_t *schema, const char *key, int otherwise);

/* The value as the JSON text that a model shall write; free() it. */
char *schema_literal(const json_t *value);

#endif
