/* builtin.c - parameters and arguments of built-in things. */
#include "builtin.h"
#include "render.h"

#include <string.h>

/* The i-th parameter and its length with the '='. */
static const char *param(const struct builtin *b, int i, size_t *len)
{
    const char *p = b->params;
    for (; i && p; i--) {
        p = strchr(p, ',');
        if (p) p++;
    }
    if (!p || !*p) return NULL;
    *len = strcspn(p, ",");
    return p;
}

int builtin_params(const struct builtin *b)
{
    int n = 0;
    size_t len;
    if (*b->params == '*') return MAX_ARGS;
    while (param(b, n, &len)) n++;
    return n;
}

int builtin_param(const struct builtin *b, const char *name)
{
    size_t len;
    const char *p;
    for (int i = 0; (p = param(b, i, &len)); i++) {
        if (p[len - 1] == '=') len--;
        if (len == strlen(name) && !memcmp(p, name, len)) return i;
    }
    return -1;
}

bool builtin_requires(const struct builtin *b, int i)
{
    size_t len;
    const char *p = *b->params == '*' ? NULL : param(b, i, &len);
    return p && p[len - 1] != '=';
}

bool call_string(const struct call *c, int i, const struct text **out)
{
    *out = NULL;
    if (!c->args[i] || c->args[i]->kind == V_NONE) return true;
    if (c->args[i]->kind != V_STRING)
        return render_fail(c->r, "%s: an argument is %s, not a string", c->builtin->name,
                           value_kind_name(c->args[i]));
    *out = &c->args[i]->text;
    return true;
}
