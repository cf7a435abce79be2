/* recipe_write.c - see recipe.h: a plan's types as text. */
#include "recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    char *s;
    size_t n, room;
    bool failed; /* out of memory */
};

static void put(struct text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *format, ...)
{
    enum { LONGEST = 256 };
    if (t->room - t->n < LONGEST) {
        const size_t room = 2 * t->room + 4096;
        char *s = realloc(t->s, room);
        if (!s) {
            t->failed = true;
            return;
        }
        t->s = s;
        t->room = room;
    }
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(t->s + t->n, LONGEST, format, ap);
    va_end(ap);
    if (n > 0) t->n += n < LONGEST ? (size_t)n : LONGEST - 1;
}

static char *finish(struct text *t)
{
    put(t, "%s", ""); /* at least a NUL */
    if (!t->failed) return t->s;
    free(t->s);
    return NULL;
}

static bool is_open(const struct plan *p, const struct plan_options *o, size_t i)
{
    const struct ggf_tensor *source = p->items[i].source;
    struct mix_tensor t = { .name = p->items[i].name, .type = source->type };
    memcpy(t.ne, source->ne, sizeof t.ne);
    return mix_allows(&t, &o->mix);
}

/* ---- Lines ------------------------------------------------------------------ */

/* Names hold no control characters; what means something in a pattern is escaped. */
static void put_pattern(struct text *t, const char *name)
{
    put(t, "^");
    for (const char *c = name; *c; c++)
        put(t, "%s%c", strchr("\\.^$*+?()[]{}|", *c) ? "\\" : "", *c);
    put(t, "$");
}

static void put_head(struct text *t, const char *line)
{
    put(t, "#");
    for (const char *c = line; *c; c++) {
        const bool fine = (*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') ||
                          (*c >= 'A' && *c <= 'Z') || strchr("-_.:,", *c);
        put(t, "%c", fine ? *c : '_');
    }
    put(t, "=f32\n");
}

char *recipe_write(const struct plan *p, const struct plan_options *o,
                   const char *const *head)
{
    struct text t = { 0 };
    for (; *head; head++) put_head(&t, *head);
    for (size_t i = 0; i < p->n_items; i++) {
        if (!is_open(p, o, i)) continue;
        put_pattern(&t, p->items[i].name);
        put(&t, "=%s\n", ggf_type_name(p->items[i].type));
    }
    return finish(&t);
}

/* ---- On one line ------------------------------------------------------------ */

/* The name behind "blk.N", or NULL. */
static const char *suffix(const char *name)
{
    return mix_layer(name) < 0 ? NULL : strchr(name + 4, '.');
}

static bool alike(const struct plan_item *a, const struct plan_item *b)
{
    const char *x = suffix(a->name), *y = suffix(b->name);
    return x && y && a->type == b->type && !strcmp(x, y);
}

/* "0,2-3" for `first` and the items like it behind it, which are marked done. */
static void put_layers(struct text *t, const struct plan *p, size_t first, bool *done)
{
    int last = mix_layer(p->items[first].name), from = last;
    put(t, "%d", last);
    for (size_t i = first + 1; i < p->n_items; i++) {
        if (done[i] || !alike(&p->items[i], &p->items[first])) continue;
        const int layer = mix_layer(p->items[i].name);
        done[i] = true;
        if (layer == last + 1) {
            last = layer;
            continue;
        }
        if (last > from) put(t, "-%d", last);
        put(t, ",%d", layer);
        from = last = layer;
    }
    if (last > from) put(t, "-%d", last);
}

char *recipe_compact(const struct plan *p, const struct plan_options *o)
{
    struct text t = { 0 };
    bool *done = calloc(p->n_items + 1, sizeof *done);
    if (!done) return NULL;
    for (size_t i = 0; i < p->n_items; i++) done[i] = !is_open(p, o, i);
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *item = &p->items[i];
        if (done[i]) continue;
        if (t.n) put(&t, " ");
        if (suffix(item->name)) {
            put(&t, "blk.{");
            put_layers(&t, p, i, done);
            put(&t, "}%s", suffix(item->name));
        } else {
            put(&t, "%s", item->name);
        }
        put(&t, "=%s", ggf_type_name(item->type));
    }
    free(done);
    return finish(&t);
}

/* Each item on its own takes two braces, '=', the longest type and a blank. */
size_t recipe_compact_bound(const struct plan *p)
{
    size_t n = 1;
    for (size_t i = 0; i < p->n_items; i++) n += strlen(p->items[i].name) + 2 + 1 + 7 + 1;
    return n;
}
