/* request_json.c - the bytes of a body become JSON that the rest can rely on; see
 * request.h. */
#include "request.h"

#include <string.h>

/* The parser recurses: what is nested too deep is refused before it runs. */
static bool too_deep(const char *text, size_t len)
{
    int depth = 0;
    bool string = false;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if (string) {
            if (c == '\\') i++;
            else string = c != '"';
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > REQUEST_MOST_DEPTH) return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

/* \u0000 belongs to texts, which have a length; what else is a string ends there. */
/* NOLINTNEXTLINE(misc-no-recursion): as deep as REQUEST_MOST_DEPTH */
static bool has_nul(json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(v)) return strlen(json_string_value(v)) != json_string_length(v);
    json_array_foreach(v, i, item) if (has_nul(item)) return true;
    json_object_foreach(v, key, item) if (has_nul(item)) return true;
    return false;
}

static int check_nul(json_t *body, ggf_error *err)
{
    static const char *const texts[] = { "messages", "prompt", "content" };
    const char *key;
    json_t *v;
    json_object_foreach(body, key, v)
    {
        bool text = false;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            text |= !strcmp(key, texts[i]);
        if (!text && has_nul(v))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "%.100s must not have \\u0000 in a string", key);
    }
    return 0;
}

int request_json(json_t **out, const char *text, size_t len, ggf_error *err)
{
    json_error_t e;
    *out = NULL;
    if (too_deep(text, len))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the body is nested deeper than %d levels", REQUEST_MOST_DEPTH);
    json_t *body = json_loadb(text, len, JSON_ALLOW_NUL, &e);
    if (!body)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "the body is not JSON: %.150s, line %d, column %d", e.text,
                        e.line, e.column);
    if (!json_is_object(body)) {
        json_decref(body);
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "the body must be a JSON object");
    }
    const int r = check_nul(body, err);
    if (r) json_decref(body);
    else *out = body;
    return r;
}
