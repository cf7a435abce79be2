/* recipe.c - see recipe.h: reading.  recipe_write.c writes. */
#include "recipe.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct line {
    char name[64];
    uint32_t type;
    uint32_t number; /* in the text, from 1; 0: of a model */
};

struct recipe {
    char *path;
    struct line *lines; /* in the order of names */
    size_t n, room;
};

static int compare_lines(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    const int d = strcmp(x->name, y->name);
    return d ? d : (x->number > y->number) - (x->number < y->number);
}

static int compare_name(const void *key, const void *line)
{
    return strcmp(key, ((const struct line *)line)->name);
}

static const struct line *find(const recipe *r, const char *name)
{
    if (!r || !r->n) return NULL;
    return bsearch(name, r->lines, r->n, sizeof *r->lines, compare_name);
}

int recipe_type(const recipe *r, const char *name)
{
    const struct line *line = find(r, name);
    return line ? (int)line->type : MIX_NO_TYPE;
}

void recipe_free(recipe *r)
{
    if (!r) return;
    free(r->path);
    free(r->lines);
    free(r);
}

static recipe *new_recipe(const char *path)
{
    recipe *r = calloc(1, sizeof *r);
    if (r) r->path = strdup(path);
    if (r && r->path) return r;
    recipe_free(r);
    return NULL;
}

/* ---- Lines ------------------------------------------------------------------ */

static int bad_line(const recipe *r, uint32_t number, const char *what, const char *text,
                    size_t len, ggf_error *err)
{
    char shown[81];
    size_t n = 0;
    for (; n < len && n + 1 < sizeof shown; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '.';
    shown[n] = 0;
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s, line %" PRIu32 ": '%s' %s",
                    r->path, number, shown, what);
}

/* From "^blk\.0\.x$" or "blk.0.x" to the name; false if it is another pattern. */
static bool take_name(char out[64], const char *text, size_t len)
{
    size_t n = 0;
    const bool anchored = len > 2 && text[0] == '^' && text[len - 1] == '$';
    if (anchored) text++, len -= 2;
    for (size_t i = 0; i < len; i++) {
        const bool escaped = text[i] == '\\';
        if (escaped && (++i == len || isalnum((unsigned char)text[i]))) return false;
        if (!escaped && strchr("^$*+?()[]{}|", text[i])) return false;
        if (text[i] <= ' ' || text[i] > '~' || n + 1 >= 64) return false;
        out[n++] = text[i];
    }
    out[n] = 0;
    return n > 0;
}

static int add(recipe *r, const struct line *line, ggf_error *err)
{
    if (r->n == r->room) {
        const size_t room = r->room ? 2 * r->room : 256;
        struct line *lines = realloc(r->lines, room * sizeof *lines);
        if (!lines) return ggf_no_memory(err);
        r->lines = lines;
        r->room = room;
    }
    r->lines[r->n++] = *line;
    return 0;
}

static int take_line(recipe *r, uint32_t number, const char *text, size_t len,
                     ggf_error *err)
{
    struct line line = { .number = number };
    char type[32] = "";
    while (len && strchr(" \t\r", text[len - 1]) && text[len - 1]) len--;
    while (len && (*text == ' ' || *text == '\t')) text++, len--;
    if (!len || *text == '#') return 0;
    const char *equals = memrchr(text, '=', len);
    if (!equals) return bad_line(r, number, "is not NAME=TYPE", text, len, err);
    const size_t n = (size_t)(equals - text), rest = len - n - 1;
    if (!take_name(line.name, text, n))
        return bad_line(r, number, "is not the name of a tensor", text, n, err);
    if (rest < sizeof type) memcpy(type, equals + 1, rest);
    const int id = ggf_type_from_name(type);
    if (id < 0) return bad_line(r, number, "is not a tensor type", equals + 1, rest, err);
    line.type = (uint32_t)id;
    return add(r, &line, err);
}

static int sort(recipe *r, ggf_error *err)
{
    if (r->n) qsort(r->lines, r->n, sizeof *r->lines, compare_lines);
    for (size_t i = 1; i < r->n; i++)
        if (!strcmp(r->lines[i].name, r->lines[i - 1].name))
            return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "%s, line %" PRIu32 ": tensor '%s' has a type from line "
                            "%" PRIu32 " already",
                            r->path, r->lines[i].number, r->lines[i].name,
                            r->lines[i - 1].number);
    return 0;
}

/* All lines are there, or not: s. */
static int finish(recipe **out, recipe *r, int s, ggf_error *err)
{
    if (!s) s = sort(r, err);
    if (!s) {
        *out = r;
        return 0;
    }
    recipe_free(r);
    return s;
}

int recipe_read(recipe **out, const char *text, size_t len, const char *path,
                ggf_error *err)
{
    recipe *r = new_recipe(path);
    uint32_t number = 1;
    int s = 0;
    *out = NULL;
    if (!r) return ggf_no_memory(err);
    for (size_t at = 0; !s && at < len; number++) {
        const char *end = memchr(text + at, '\n', len - at);
        const size_t n = end ? (size_t)(end - text) - at : len - at;
        s = take_line(r, number, text + at, n, err);
        at += n + 1;
    }
    return finish(out, r, s, err);
}

int recipe_of_model(recipe **out, const ggf_file *model, const char *path, ggf_error *err)
{
    recipe *r = new_recipe(path);
    int s = 0;
    *out = NULL;
    if (!r) return ggf_no_memory(err);
    for (uint64_t i = 0; !s && i < ggf_tensor_count(model); i++) {
        const struct ggf_tensor *t = ggf_tensor(model, i);
        struct line line = { .type = t->type };
        memcpy(line.name, t->name, strnlen(t->name, sizeof line.name - 1));
        s = add(r, &line, err);
    }
    return finish(out, r, s, err);
}

/* ---- Against a plan --------------------------------------------------------- */

static int check_item(const recipe *r, const struct plan *p, const struct plan_options *o,
                      size_t i, bool complete, ggf_error *err)
{
    const struct mix_tensor t = plan_mix_tensor(p, o, i);
    const struct line *line = find(r, t.name);
    const bool open = mix_allows(&t, &o->mix);
    if (open && !line && complete && t.forced == MIX_NO_TYPE)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s has no type for tensor '%s', and no file type is given",
                        r->path, t.name);
    if (!open && line && line->number && line->type != t.type)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s, line %" PRIu32 ": tensor '%s' stays as it is, %s", r->path,
                        line->number, t.name, ggf_type_name(t.type));
    return 0;
}

/* The first line, by number, that names no tensor of the plan; `seen` has a flag for
 * each. */
static int check_seen(const recipe *r, const bool *seen, ggf_error *err)
{
    const struct line *first = NULL;
    for (size_t i = 0; i < r->n; i++)
        if (!seen[i] && (!first || r->lines[i].number < first->number))
            first = &r->lines[i];
    if (!first) return 0;
    if (!first->number)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s has a tensor '%s' that the model has not", r->path,
                        first->name);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "%s, line %" PRIu32 ": the model has no tensor '%s'", r->path,
                    first->number, first->name);
}

int recipe_check(const recipe *r, const struct plan *p, const struct plan_options *o,
                 bool complete, ggf_error *err)
{
    bool *seen = calloc(r->n + 1, sizeof *seen);
    if (!seen) return ggf_no_memory(err);
    int s = 0;
    for (size_t i = 0; i < p->n_items && !s; i++) {
        const struct line *line = find(r, p->items[i].name);
        if (line) seen[line - r->lines] = true;
        s = check_item(r, p, o, i, complete, err);
    }
    if (!s) s = check_seen(r, seen, err);
    free(seen);
    return s;
}
