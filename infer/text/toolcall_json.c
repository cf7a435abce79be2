/* toolcall_json.c - calls in the form {"name": "f", "arguments": {...}}.
 *
 * The head is read from its start each time more of it has come, up to the point where
 * the name and the start of the arguments are known; arguments then go through as they
 * come, with a count of their brackets. */
#include "toolcall_parts.h"

#include <stdlib.h>
#include <string.h>

/* ==== Values ============================================================== */

/* Walk on through a JSON value; true at the byte that ends it, which is a bracket, a
 * quote, or for a bare word what comes behind.  `depth`, `in_string` and `escaped` of the
 * parser say where the walk is. */
static bool walk(struct q3n_reply_parser *p, char c)
{
    if (p->escaped) {
        p->escaped = false;
    } else if (p->in_string) {
        p->escaped = c == '\\';
        p->in_string = c != '"';
        return !p->in_string && !p->depth;
    } else if (c == '"') {
        p->in_string = true;
    } else if (c == '{' || c == '[') {
        p->depth++;
    } else if (c == '}' || c == ']') {
        p->depth--;
        return p->depth <= 0;
    }
    return false;
}

/* Behind the value that starts at held[at]; 0: it is not complete. */
static size_t value_end(struct q3n_reply_parser *p, size_t at)
{
    const size_t from = at;
    const bool word = !strchr("\"{[", p->held[at]);
    size_t end = 0;
    p->depth = 0;
    p->in_string = p->escaped = false;
    for (; at < p->n && !end; at++) {
        if (word && strchr(",} \t\r\n", p->held[at])) end = at > from ? at : at + 1;
        else if (!word && walk(p, p->held[at])) end = at + 1;
    }
    p->depth = 0;
    p->in_string = p->escaped = false;
    return end;
}

static json_t *decode(const struct q3n_reply_parser *p, size_t from, size_t to)
{
    return json_loadb(p->held + from, to - from, JSON_DECODE_ANY, NULL);
}

/* ==== The head ============================================================ */

struct head {
    json_t *name;
    size_t arguments, arguments_end; /* place of its value; end 0: not there yet */
    size_t at;
    bool closed; /* its last bracket has been read */
};

static enum fit need(const struct q3n_reply_parser *p)
{
    return p->over ? FIT_NO : FIT_MAYBE;
}

/* One "key": value.  Stops in front of the arguments if they can be streamed. */
static enum fit read_pair(struct q3n_reply_parser *p, struct head *h)
{
    size_t at = reply_skip_space(p, h->at);
    if (at == p->n) return need(p);
    if (p->held[at] != '"') return FIT_NO;
    const size_t key = at, key_end = value_end(p, at);
    at = key_end ? reply_skip_space(p, key_end) : p->n;
    if (at == p->n) return need(p);
    if (p->held[at] != ':') return FIT_NO;
    at = reply_skip_space(p, at + 1);
    if (at == p->n) return need(p);
    const bool is_arguments =
        key_end - key == 11 && !memcmp(p->held + key, "\"arguments\"", 11);
    if (is_arguments) h->arguments = at;
    if (is_arguments && h->name && p->held[at] == '{') return FIT_YES;
    const size_t end = value_end(p, at);
    if (!end) return need(p);
    if (is_arguments) h->arguments_end = end;
    if (key_end - key == 6 && !memcmp(p->held + key, "\"name\"", 6) && !h->name) {
        h->name = decode(p, at, end);
        if (!json_is_string(h->name)) return FIT_NO;
    }
    h->at = reply_skip_space(p, end);
    if (h->at == p->n) return need(p);
    h->closed = p->held[h->at] == '}';
    return h->closed || p->held[h->at++] == ',' ? FIT_YES : FIT_NO;
}

/* Arguments that have come whole: an object, or an object in a string, or none. */
static void give_arguments(struct q3n_reply_parser *p, const struct head *h)
{
    json_t *v = h->arguments ? decode(p, h->arguments, h->arguments_end) : NULL;
    if (json_is_string(v))
        reply_arguments(p, json_string_value(v), json_string_length(v));
    else if (h->arguments && !json_is_null(v))
        reply_arguments(p, p->held + h->arguments, h->arguments_end - h->arguments);
    else reply_arguments(p, "{}", 2);
    json_decref(v);
}

static void take_head(struct q3n_reply_parser *p, const struct head *h)
{
    reply_call(p, json_string_value(h->name));
    if (h->arguments && !h->arguments_end) {
        p->take = h->arguments;
        p->state = R_ARGUMENTS;
        return;
    }
    give_arguments(p, h);
    p->take = h->at;
    p->state = R_TAIL;
}

enum fit reply_json_head(struct q3n_reply_parser *p, size_t at)
{
    struct head h = { .at = at + 1 };
    enum fit f = p->held[at] == '{' ? FIT_YES : FIT_NO;
    while (f == FIT_YES && !h.closed && !(h.name && h.arguments)) f = read_pair(p, &h);
    if (f == FIT_YES && !h.name) f = FIT_NO;
    if (f == FIT_YES) take_head(p, &h);
    json_decref(h.name);
    return f;
}

/* ==== Arguments =========================================================== */

/* A '<' outside of strings is no JSON: the object was not closed. */
enum step reply_json_arguments(struct q3n_reply_parser *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const bool broken = !p->in_string && p->held[i] == '<';
        if (!broken && !walk(p, p->held[i])) continue;
        i += !broken;
        reply_arguments(p, p->held, i);
        reply_drop(p, i);
        p->depth = 0;
        p->state = R_TAIL;
        return STEP_ON;
    }
    reply_arguments(p, p->held, p->n);
    reply_drop(p, p->n);
    return STEP_WAIT;
}
