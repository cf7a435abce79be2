/* demand.c - see demand.h. */
#include "demand.h"

#include "../session/schema.h"

#include <string.h>

/* {"name": NAME, "arguments": {...}} */
static json_t *call_schema(const json_t *function)
{
    const json_t *parameters = json_object_get(function, "parameters");
    json_t *any = NULL;
    if (!parameters) parameters = any = json_pack("{s:s}", "type", "object");
    json_t *v =
        json_pack("{s:s, s:{s:{s:O}, s:O}, s:[s, s]}", "type", "object", "properties",
                  "name", "const", json_object_get(function, "name"), "arguments",
                  parameters, "required", "name", "arguments");
    json_decref(any);
    return v;
}

/* Any of the calls that are wanted. */
static int any_call(json_t **out, const struct request *r, ggf_error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < json_array_size(r->tools); i++) {
        const json_t *f = json_object_get(json_array_get(r->tools, i), "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        if (r->tool && strcmp(name, r->tool) != 0) continue;
        ok = !json_array_append_new(list, call_schema(f));
    }
    *out = ok && json_array_size(list) ? json_pack("{s:O}", "anyOf", list) : NULL;
    const bool none = ok && !json_array_size(list);
    json_decref(list);
    if (none)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tool_choice names '%.100s', which is none of the tools",
                        r->tool);
    return *out ? 0 : ggf_no_memory(err);
}

int demand_grammar(q3n_grammar **out, const struct request *r, enum q3n_call_form form,
                   ggf_error *err)
{
    static const char before[] = "<tool_call>\n", behind[] = "\n</tool_call>";
    json_t *schema;
    *out = NULL;
    if (form == Q3N_CALLS_XML)
        return ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "tool_choice cannot demand a call of a model that writes calls as "
            "XML: it must be none or auto");
    int e = any_call(&schema, r, err);
    if (e) return e;
    e = q3n_schema_grammar(out, schema, err);
    json_decref(schema);
    if (e) return e;
    q3n_grammar *g = *out;
    uint32_t s = grammar_text(g, behind, sizeof behind - 1, GRAMMAR_END);
    s = grammar_text(g, before, sizeof before - 1, grammar_call(g, g->root, s));
    const uint32_t rule = grammar_rule(g);
    grammar_set_rule(g, rule, s);
    e = grammar_finish(g, rule, err);
    if (e) {
        q3n_grammar_free(g);
        *out = NULL;
    }
    return e;
}
