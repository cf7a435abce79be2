/* tensor_type.c - see tensor_type.h. */
#include "tensor_type.h"

#include "near.h"
#include "regex.h"
#include "text.h"
#include "../../quant/encode.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tensor_rule {
    char *pattern;
    struct regex *regex;
    int type;
    bool used;
};

/* The names of types that can be written; NULL behind the last. */
static const char *name_at(size_t i)
{
    for (uint32_t type = 0; type < GGF_TYPE_COUNT; type++)
        if (encode_for(type) && i-- == 0) return ggf_type_name(type);
    return NULL;
}

int tensor_type_parse(int *type, const char *name, ggf_error *err)
{
    char near[320];
    *type = ggf_type_from_name(name);
    if (*type >= 0) return 0;
    near_suggest(near, sizeof near, name, name_at);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "there is no tensor type '%.40s'; %s",
                    name, near);
}

static void free_rule(struct tensor_rule *rule)
{
    regex_free(rule->regex);
    free(rule->pattern);
}

int tensor_rules_add(struct tensor_rules *r, const char *text, ggf_error *err)
{
    const char *equals = strchr(text, '=');
    ggf_error why;
    if (!equals || equals == text)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "'%.120s': expected REGEX=TYPE",
                        text);
    int type;
    if (tensor_type_parse(&type, equals + 1, &why))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "'%.100s': %s", text, why.message);
    struct tensor_rule *rules = realloc(r->rules, (size_t)(r->count + 1) * sizeof *rules);
    if (!rules) return ggf_no_memory(err);
    r->rules = rules;
    struct tensor_rule *rule = &rules[r->count];
    *rule = (struct tensor_rule){ .type = type };
    rule->pattern = strndup(text, (size_t)(equals - text));
    if (!rule->pattern) return ggf_no_memory(err);
    for (char *p = rule->pattern; r->lower_case && *p; p++)
        *p = (char)tolower((unsigned char)*p);
    const int s = regex_new(&rule->regex, rule->pattern, err);
    if (s) free_rule(rule);
    else r->count++;
    return s;
}

int tensor_rules_add_file(struct tensor_rules *r, const char *path, ggf_error *err)
{
    size_t n;
    char *text = text_read(path, 1 << 20, &n, err), *rest = NULL;
    if (!text) return GGF_E_IO;
    int s = 0;
    for (char *word = strtok_r(text, " \t\r\n", &rest); word && !s;
         word = strtok_r(NULL, " \t\r\n", &rest))
        if (*word != '#') s = tensor_rules_add(r, word, err);
    free(text);
    return s;
}

int tensor_rules_find(void *rules, const char *name)
{
    struct tensor_rules *r = rules;
    for (int i = 0; i < r->count; i++) {
        ggf_error err;
        const int m = regex_match(r->rules[i].regex, name, &err);
        if (m < 0) snprintf(r->error, sizeof r->error, "%s", err.message);
        if (m <= 0) continue;
        r->rules[i].used = true;
        return r->rules[i].type;
    }
    return -1;
}

const char *tensor_rules_unused(const struct tensor_rules *r, int *index)
{
    while (*index < r->count) {
        const struct tensor_rule *rule = &r->rules[(*index)++];
        if (!rule->used) return rule->pattern;
    }
    return NULL;
}

void tensor_rules_free(struct tensor_rules *r)
{
    for (int i = 0; i < r->count; i++) free_rule(&r->rules[i]);
    free(r->rules);
    *r = (struct tensor_rules){ 0 };
}
