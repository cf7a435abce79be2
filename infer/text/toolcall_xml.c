/* toolcall_xml.c - calls in the form
 *
 *   <function=NAME>
 *   <parameter=NAME>
 *   value, perhaps of many lines
 *   </parameter>
 *   </function>
 *
 * with the arguments made into a JSON object. */
#include "toolcall_parts.h"

#include <stdlib.h>
#include <string.h>

#define FUNCTION      "<function="
#define FUNCTION_END  "</function>"
#define PARAMETER     "<parameter="
#define PARAMETER_END "</parameter>"
#define CALL_END      "</tool_call>"

#define MAX_NAME 1000

/* The name between `mark`, which is at held[at], and '>': a copy.  *end is behind it. */
static enum fit read_name(const struct q3n_reply_parser *p, size_t at, const char *mark,
                          char **name, size_t *end)
{
    const size_t from = at + strlen(mark);
    size_t to = from;
    while (to < p->n && to - from < MAX_NAME && p->held[to] &&
           !strchr("<>\n", p->held[to]))
        to++;
    if (to == p->n) return p->over ? FIT_NO : FIT_MAYBE;
    if (p->held[to] != '>' || to == from) return FIT_NO;
    *end = to + 1;
    *name = strndup(p->held + from, to - from);
    return FIT_YES;
}

/* ==== Functions =========================================================== */

static const json_t *find_properties(const json_t *tools, const char *name)
{
    size_t i;
    json_t *tool;
    json_array_foreach((json_t *)tools, i, tool)
    {
        const json_t *f = json_object_get(tool, "function");
        if (!f) f = tool;
        const char *its = json_string_value(json_object_get(f, "name"));
        if (its && !strcmp(its, name))
            return json_object_get(json_object_get(f, "parameters"), "properties");
    }
    return NULL;
}

enum fit reply_xml_head(struct q3n_reply_parser *p, size_t at)
{
    char *name;
    size_t end;
    enum fit f = reply_fits(p, at, FUNCTION);
    if (f == FIT_YES) f = read_name(p, at, FUNCTION, &name, &end);
    if (f != FIT_YES) return f;
    if (!name) return FIT_FAILED;
    p->properties = p->o.tools ? find_properties(p->o.tools, name) : NULL;
    p->n_parameters = 0;
    p->state = R_PARAMETERS;
    reply_call(p, name);
    reply_arguments(p, "{", 1);
    p->take = end;
    free(name);
    return FIT_YES;
}

/* ==== Between parameters ================================================== */

/* A parameter, or the end; anything else is dropped. */
enum step reply_xml_parameters(struct q3n_reply_parser *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->held[i] != '<') continue;
        enum fit parameter = reply_fits(p, i, PARAMETER);
        const enum fit end = reply_fits(p, i, FUNCTION_END);
        const enum fit call_end = reply_fits(p, i, CALL_END);
        size_t behind = 0;
        if (parameter == FIT_YES)
            parameter = read_name(p, i, PARAMETER, &p->parameter, &behind);
        if (parameter == FIT_YES) {
            if (!p->parameter) return STEP_FAILED;
            reply_drop(p, behind);
            p->seen = 0;
            p->state = R_VALUE;
            return STEP_ON;
        }
        if (end == FIT_YES || call_end == FIT_YES) {
            reply_arguments(p, "}", 1);
            reply_drop(p, i); /* the end of the call is what the tail looks for */
            p->state = R_TAIL;
            return STEP_ON;
        }
        if (parameter == FIT_MAYBE || end == FIT_MAYBE || call_end == FIT_MAYBE) {
            reply_drop(p, i);
            return STEP_WAIT;
        }
    }
    reply_drop(p, p->n);
    return STEP_WAIT;
}

/* ==== Values ============================================================== */

/* Does the schema's type, a name or a list of names, have this one? */
static bool has_type(const json_t *schema, const char *name)
{
    const json_t *type = json_object_get(schema, "type");
    if (json_is_string(type)) return !strcmp(json_string_value(type), name);
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)type, i,
                       one) if (json_is_string(one) &&
                                !strcmp(json_string_value(one), name)) return true;
    return false;
}

static bool is_of_type(const json_t *v, const json_t *schema)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return has_type(schema, "object");
    case JSON_ARRAY: return has_type(schema, "array");
    case JSON_INTEGER: return has_type(schema, "integer") || has_type(schema, "number");
    case JSON_REAL: return has_type(schema, "number");
    case JSON_TRUE:
    case JSON_FALSE: return has_type(schema, "boolean");
    case JSON_NULL: return has_type(schema, "null");
    default: return false;
    }
}

/* The value's text can stand in the arguments as it is. */
static bool is_typed(const struct q3n_reply_parser *p, const char *text, size_t len)
{
    const json_t *schema = json_object_get(p->properties, p->parameter);
    json_t *v = schema ? json_loadb(text, len, JSON_DECODE_ANY, NULL) : NULL;
    const bool fits = v && is_of_type(v, schema);
    json_decref(v);
    return fits;
}

/* A string, with its quotes. */
static bool give_string(struct q3n_reply_parser *p, const char *text, size_t len)
{
    json_t *string = json_stringn(text, len);
    char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (quoted) reply_arguments(p, quoted, strlen(quoted));
    json_decref(string);
    free(quoted);
    return quoted != NULL;
}

/* The parameter and its value, the first n bytes held but for a line break at each end.
 */
static bool give_parameter(struct q3n_reply_parser *p, size_t n)
{
    const size_t from = n && p->held[0] == '\n';
    const size_t to = n > from && p->held[n - 1] == '\n' ? n - 1 : n;
    const char *text = p->held + from;
    if (p->n_parameters++) reply_arguments(p, ", ", 2);
    if (!give_string(p, p->parameter, strlen(p->parameter))) return false;
    reply_arguments(p, ": ", 2);
    if (is_typed(p, text, to - from)) reply_arguments(p, text, to - from);
    else if (!give_string(p, text, to - from)) return false;
    free(p->parameter);
    p->parameter = NULL;
    return true;
}

enum step reply_xml_value(struct q3n_reply_parser *p)
{
    const ptrdiff_t end = reply_find(p, p->seen, PARAMETER_END);
    if (end < 0) {
        const size_t keep = strlen(PARAMETER_END) - 1;
        p->seen = p->n > keep ? p->n - keep : 0;
        return STEP_WAIT;
    }
    if (!give_parameter(p, (size_t)end)) return STEP_FAILED;
    reply_drop(p, (size_t)end + strlen(PARAMETER_END));
    p->state = R_PARAMETERS;
    return STEP_ON;
}
