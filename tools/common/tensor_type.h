/* tensor_type.h - "REGEX=TYPE" lists: which tensors the user wants stored how. */
#ifndef TOOLS_TENSOR_TYPE_H
#define TOOLS_TENSOR_TYPE_H

#include "../../libgguf/libgguf.h"

/* The type of a name, in upper or lower case; GGF_E_ARG with those near it. */
int tensor_type_parse(int *type, const char *name, ggf_error *err);

struct tensor_rule; /* a compiled pattern and a type */

struct tensor_rules {
    struct tensor_rule *rules;
    int count;
    bool lower_case; /* fold patterns to lower case first, as llama-quantize does */
    char error[400]; /* of a match that could not be carried out, else "" */
};

/* Add one rule.  The pattern (PCRE2, found anywhere in the name) ends at the first '='.
 */
int tensor_rules_add(struct tensor_rules *r, const char *text, ggf_error *err);

/* Add the rules of a file, separated by blanks and line breaks; no name matches those
 * that start with '#', which are the head of a plan file. */
int tensor_rules_add_file(struct tensor_rules *r, const char *path, ggf_error *err);

/* The type of the first rule that matches, or -1.  `rules` is a struct tensor_rules. */
int tensor_rules_find(void *rules, const char *name);

/* The next pattern from *index on that never was the one to match, or NULL; *index
 * moves behind it. */
const char *tensor_rules_unused(const struct tensor_rules *r, int *index);

void tensor_rules_free(struct tensor_rules *r);

#endif
