/* string.c - methods of strings: cutting, replacing, splitting, joining, looking. */
#include "builtin.h"
#include "render.h"

#include "../utf8.h"

#include <string.h>

/* ==== Ends ================================================================ */

/* Is the character one of these; white space, if there are none? */
static bool is_among(uint32_t c, const struct text *chars)
{
    if (!chars) return is_space(c);
    for (size_t i = 0; i < chars->len;) {
        unsigned n;
        if (utf8_decode((const uint8_t *)chars->bytes + i, chars->len - i, &n) == c)
            return true;
        i += n;
    }
    return false;
}

static bool strip(const struct call *c, struct value *out, bool left, bool right)
{
    const struct text *t = &c->self.text, *chars;
    if (!call_string(c, 0, &chars)) return false;
    size_t from = 0, to = 0;
    bool inside = !left;
    for (size_t i = 0; i < t->len;) {
        unsigned n;
        const uint32_t ch = utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
        const bool goes = is_among(ch, chars);
        if (!goes || inside) {
            if (!inside) from = i;
            inside = true;
        }
        i += n;
        if (!goes) to = i;
        else if (!inside) from = i;
    }
    if (!right) to = t->len;
    *out = value_slice(&c->self, from, to > from ? to : from);
    return render_work(c->r, t->len / 16 * (chars ? chars->len : 1));
}

bool string_strip(const struct call *c, struct value *out)
{
    return strip(c, out, true, true);
}
bool string_lstrip(const struct call *c, struct value *out)
{
    return strip(c, out, true, false);
}
bool string_rstrip(const struct call *c, struct value *out)
{
    return strip(c, out, false, true);
}

static bool starts(const struct text *t, const struct text *with)
{
    return t->len >= with->len && !memcmp(t->bytes, with->bytes, with->len);
}

static bool ends(const struct text *t, const struct text *with)
{
    return t->len >= with->len &&
           !memcmp(t->bytes + t->len - with->len, with->bytes, with->len);
}

/* One string, or a tuple of them of which one has to fit. */
static bool test_end(const struct call *c, struct value *out,
                     bool (*fits)(const struct text *, const struct text *))
{
    const struct value *v = c->args[0];
    const bool many = v->kind == V_LIST && v->tuple;
    bool truth = false;
    for (size_t i = 0; i < (many ? v->list->n : 1) && !truth; i++) {
        const struct value *with = many ? &v->list->items[i] : v;
        if (with->kind != V_STRING)
            return render_fail(c->r, "%s: the argument is %s, not a string",
                               c->builtin->name, value_kind_name(with));
        truth = fits(&c->self.text, &with->text);
    }
    *out = value_bool(truth);
    return true;
}

bool string_startswith(const struct call *c, struct value *out)
{
    return test_end(c, out, starts);
}
bool string_endswith(const struct call *c, struct value *out)
{
    return test_end(c, out, ends);
}

bool string_removeprefix(const struct call *c, struct value *out)
{
    const struct text *with, *t = &c->self.text;
    if (!call_string(c, 0, &with)) return false;
    *out = with && starts(t, with) ? value_slice(&c->self, with->len, t->len) : c->self;
    return true;
}

bool string_removesuffix(const struct call *c, struct value *out)
{
    const struct text *with, *t = &c->self.text;
    if (!call_string(c, 0, &with)) return false;
    *out = with && ends(t, with) ? value_slice(&c->self, 0, t->len - with->len) : c->self;
    return true;
}

/* ==== Replacing =========================================================== */

/* Where `what` is next, at or after i; the end if nowhere.  Nothing is everywhere: before
 * each character and at the end. */
static size_t find_next(const struct text *t, size_t i, const struct text *what)
{
    if (i > t->len) return i;
    const char *p = memmem(t->bytes + i, t->len - i, what->bytes, what->len);
    return p ? (size_t)(p - t->bytes) : t->len + 1;
}

bool string_replace(const struct call *c, struct value *out)
{
    const struct text *t = &c->self.text, *old, *new;
    struct text_out text = { .r = c->r };
    int64_t left = -1;
    if (!call_string(c, 0, &old) || !call_string(c, 1, &new)) return false;
    if (!old || !new) return render_fail(c->r, "replace needs two strings");
    if (c->args[2] && c->args[2]->kind != V_NONE && !value_as_int(c->args[2], &left))
        return render_fail(c->r, "replace: the count is no integer");
    size_t from = 0, at = 0;
    while (left-- && (at = find_next(t, at, old)) <= t->len) {
        const struct value piece = value_slice(&c->self, from, at);
        if (!text_add(&text, &piece) || !text_add(&text, c->args[1]) ||
            !render_work(c->r, 1))
            return false;
        from = at += old->len;
        if (old->len) continue;
        unsigned n = 1;
        if (at < t->len) utf8_decode((const uint8_t *)t->bytes + at, t->len - at, &n);
        at += n;
    }
    const struct value rest = value_slice(&c->self, from, t->len);
    if (!text_add(&text, &rest)) return false;
    *out = text_value(&text);
    return render_work(c->r, t->len / 64);
}

/* ==== Splitting and joining =============================================== */

struct pieces {
    const struct call *c;
    struct list *list;
    size_t capacity;
};

static bool add_piece(struct pieces *p, size_t from, size_t to)
{
    if (!p->list || p->list->n == p->capacity) {
        const size_t n = p->list ? p->list->n : 0;
        p->capacity = n ? 2 * n : 4;
        struct list *more = list_new(p->c->r, p->capacity);
        if (!more) return false;
        if (n) memcpy(more->items, p->list->items, n * sizeof *more->items);
        more->n = n;
        p->list = more;
    }
    p->list->items[p->list->n++] = value_slice(&p->c->self, from, to);
    return true;
}

/* The first character at or after i that is, or is not, white space. */
static size_t find_space(const struct text *t, size_t i, bool space)
{
    unsigned n;
    while (i < t->len &&
           is_space(utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n)) != space)
        i += n;
    return i;
}

/* At white space, up to `left` times. */
static bool split_words(struct pieces *p, int64_t left)
{
    const struct text *t = &p->c->self.text;
    size_t i = find_space(t, 0, false);
    for (; i < t->len && left; left--) {
        const size_t end = find_space(t, i, true);
        if (!add_piece(p, i, end)) return false;
        i = find_space(t, end, false);
    }
    return i == t->len || add_piece(p, i, t->len);
}

static bool split_at(struct pieces *p, const struct text *separator, int64_t left)
{
    const struct text *t = &p->c->self.text;
    size_t from = 0, at;
    for (; left && (at = find_next(t, from, separator)) <= t->len; left--) {
        if (!add_piece(p, from, at)) return false;
        from = at + separator->len;
    }
    return add_piece(p, from, t->len);
}

bool string_split(const struct call *c, struct value *out)
{
    struct pieces p = { .c = c };
    const struct text *separator;
    int64_t most = -1;
    if (!call_string(c, 0, &separator)) return false;
    if (separator && !separator->len)
        return render_fail(c->r, "split: the separator is empty");
    if (c->args[1] && !value_as_int(c->args[1], &most))
        return render_fail(c->r, "split: the count is no integer");
    const bool ok = separator ? split_at(&p, separator, most) : split_words(&p, most);
    if (ok && !p.list) p.list = list_new(c->r, 0);
    *out = value_list(p.list);
    return ok && p.list && render_work(c->r, c->self.text.len / 64);
}

static bool is_line_end(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

bool string_splitlines(const struct call *c, struct value *out)
{
    const struct text *t = &c->self.text;
    const bool keep = c->args[0] && value_truth(c->args[0]);
    struct pieces p = { .c = c };
    size_t from = 0;
    for (size_t i = 0; i < t->len;) {
        unsigned n;
        const uint32_t ch = utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
        size_t next = i + n;
        if (ch == '\r' && next < t->len && t->bytes[next] == '\n') next++;
        if (is_line_end(ch)) {
            if (!add_piece(&p, from, keep ? next : i)) return false;
            from = next;
        }
        i = next;
    }
    if (from < t->len && !add_piece(&p, from, t->len)) return false;
    if (!p.list) p.list = list_new(c->r, 0);
    *out = value_list(p.list);
    return p.list != NULL && render_work(c->r, t->len / 16);
}

bool string_join(const struct call *c, struct value *out)
{
    struct text_out text = { .r = c->r };
    const struct list *items;
    if (!value_items(c->r, c->args[0], &items)) return false;
    for (size_t i = 0; i < items->n; i++) {
        if (items->items[i].kind != V_STRING)
            return render_fail(c->r, "join: an item is %s, not a string",
                               value_kind_name(&items->items[i]));
        if ((i && !text_add(&text, &c->self)) || !text_add(&text, &items->items[i]))
            return false;
    }
    *out = text_value(&text);
    return true;
}

/* ==== Looking ============================================================= */

/* Places are counted in characters. */
static int64_t characters_before(const struct text *t, size_t end)
{
    int64_t n = 0;
    for (size_t i = 0; i < end; i++) n += ((unsigned char)t->bytes[i] & 0xc0) != 0x80;
    return n;
}

bool string_find(const struct call *c, struct value *out)
{
    const struct text *t = &c->self.text, *what;
    if (!call_string(c, 0, &what)) return false;
    if (!what) return render_fail(c->r, "find needs a string");
    const size_t at = find_next(t, 0, what);
    *out = value_int(at > t->len ? -1 : characters_before(t, at));
    return render_work(c->r, t->len / 64);
}

bool string_count(const struct call *c, struct value *out)
{
    const struct text *t = &c->self.text, *what;
    int64_t n = 0;
    if (!call_string(c, 0, &what)) return false;
    if (!what) return render_fail(c->r, "count needs a string");
    if (!what->len) n = characters_before(t, t->len) + 1;
    else
        for (size_t i = 0; (i = find_next(t, i, what)) <= t->len; i += what->len) n++;
    *out = value_int(n);
    return render_work(c->r, t->len / 64);
}
