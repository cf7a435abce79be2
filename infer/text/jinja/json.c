/* json.c - values to JSON as Python's json.dumps() writes it, and the caller's JSON to
 * values. */
#include "render.h"

#include "../utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 200

/* ==== Writing ============================================================= */

struct writer {
    struct text_out *out;
    const struct json_style *style;
};

static const char *escape(char buf[16], uint32_t c)
{
    static const char names[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    const char *known = c && c < 0x80 ? strchr(names, (int)c) : NULL;
    if (known) snprintf(buf, 16, "\\%c", letters[known - names]);
    else if (c < 0x10000) snprintf(buf, 16, "\\u%04x", c);
    else
        snprintf(buf, 16, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                 0xdc00 + ((c - 0x10000) & 0x3ff));
    return buf;
}

static bool write_string(struct writer *w, const struct value *v)
{
    const struct text *t = &v->text;
    size_t plain = 0;
    bool ok = text_puts(w->out, "\"", v->input);
    for (size_t i = 0; ok && i < t->len;) {
        unsigned n;
        const uint32_t c = utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
        if (c < 0x20 || c == '"' || c == '\\' ||
            (c >= 0x80 && c != UTF8_BAD && w->style->ascii)) {
            char buf[16];
            const struct value piece = value_slice(v, plain, i);
            ok = text_add(w->out, &piece) &&
                 text_puts(w->out, escape(buf, c), t->marks ? t->marks[i] : v->input);
            plain = i + n;
        }
        i += n;
    }
    const struct value rest = value_slice(v, plain, t->len);
    return ok && text_add(w->out, &rest) && text_puts(w->out, "\"", v->input);
}

static bool new_line(struct writer *w, int depth, bool input)
{
    if (!w->style->indent) return true;
    bool ok = text_puts(w->out, "\n", input);
    while (ok && depth--) ok = text_puts(w->out, w->style->indent, input);
    return ok;
}

static bool write_value(struct writer *w, const struct value *v, int depth);

/* Between items, and before the first. */
static bool next_item(struct writer *w, size_t i, int depth, bool input)
{
    return (!i || text_puts(w->out, w->style->item, input)) &&
           new_line(w, depth + 1, input);
}

static bool write_list(struct writer *w, const struct value *v, int depth)
{
    const struct list *l = v->list;
    bool ok = text_puts(w->out, "[", v->input);
    for (size_t i = 0; ok && i < l->n; i++)
        ok = next_item(w, i, depth, v->input) && write_value(w, &l->items[i], depth + 1);
    if (ok && l->n) ok = new_line(w, depth, v->input);
    return ok && text_puts(w->out, "]", v->input);
}

static bool write_number(struct writer *w, const struct value *v)
{
    char buf[32];
    if (v->kind == V_INT) snprintf(buf, sizeof buf, "%" PRId64, v->i);
    else if (isnan(v->f)) strcpy(buf, "NaN");
    else if (isinf(v->f)) strcpy(buf, v->f < 0 ? "-Infinity" : "Infinity");
    else format_float(buf, v->f);
    return text_puts(w->out, buf, v->input);
}

/* Keys that are not strings become strings. */
static bool write_key(struct writer *w, const struct value *key)
{
    if (key->kind == V_STRING) return write_string(w, key);
    if (key->kind != V_NONE && !value_is_number(key))
        return render_fail(w->out->r, "a %s cannot be a key in JSON",
                           value_kind_name(key));
    return text_puts(w->out, "\"", key->input) && write_value(w, key, 0) &&
           text_puts(w->out, "\"", key->input);
}

static int by_key(const void *x, const void *y)
{
    const struct value *a = *(const struct value *const *)x;
    const struct value *b = *(const struct value *const *)y;
    int order = 0;
    return value_order(a, b, &order) ? order : 0;
}

/* The keys in the order of the style. */
static const struct value **map_order(struct writer *w, const struct map *m)
{
    const struct value **keys = arena_take(&w->out->r->arena, (m->n + 1) * sizeof *keys);
    if (!keys) {
        render_no_room(w->out->r);
        return NULL;
    }
    for (size_t i = 0; i < m->n; i++) keys[i] = &m->keys[i];
    if (w->style->sort) qsort(keys, m->n, sizeof *keys, by_key);
    return keys;
}

static bool write_map(struct writer *w, const struct value *v, int depth)
{
    const struct map *m = v->map;
    const struct value **keys = map_order(w, m);
    bool ok = keys && text_puts(w->out, "{", v->input);
    for (size_t i = 0; ok && i < m->n; i++)
        ok = next_item(w, i, depth, v->input) && write_key(w, keys[i]) &&
             text_puts(w->out, w->style->key, v->input) &&
             write_value(w, &m->values[keys[i] - m->keys], depth + 1);
    if (ok && m->n) ok = new_line(w, depth, v->input);
    return ok && text_puts(w->out, "}", v->input);
}

static bool write_value(struct writer *w, const struct value *v, int depth)
{
    if (depth > MAX_DEPTH) return render_fail(w->out->r, "a value is nested too deeply");
    if (!render_work(w->out->r, 1)) return false;
    switch ((enum value_kind)v->kind) {
    case V_NONE: return text_puts(w->out, "null", v->input);
    case V_BOOL: return text_puts(w->out, v->truth ? "true" : "false", v->input);
    case V_INT:
    case V_FLOAT: return write_number(w, v);
    case V_STRING: return write_string(w, v);
    case V_LIST: return write_list(w, v, depth);
    case V_MAP: return write_map(w, v, depth);
    default:
        return render_fail(w->out->r, "tojson: %s%s%s cannot be written as JSON",
                           v->kind == V_UNDEFINED ? v->name : "a ",
                           v->kind == V_UNDEFINED ? " is undefined and" : "",
                           v->kind == V_UNDEFINED ? "" : value_kind_name(v));
    }
}

bool print_json(struct text_out *out, const struct value *v,
                const struct json_style *style)
{
    struct writer w = { out, style };
    return write_value(&w, v, 0);
}

/* ==== Reading ============================================================= */

static bool convert(struct render *r, const json_t *json, struct value *out, int depth);

static bool convert_array(struct render *r, const json_t *json, struct value *out,
                          int depth)
{
    struct list *l = list_new(r, json_array_size(json));
    bool ok = l != NULL;
    for (size_t i = 0; ok && i < l->n; i++)
        ok = convert(r, json_array_get(json, i), &l->items[i], depth + 1);
    *out = value_list(l);
    return ok;
}

/* Keys of an object differ, so none is looked for. */
static bool convert_object(struct render *r, const json_t *json, struct value *out,
                           int depth)
{
    const size_t n = json_object_size(json);
    struct map *m = arena_zero(&r->arena, sizeof *m);
    struct value *keys = arena_take(&r->arena, (2 * n + 1) * sizeof *keys);
    if (!m || !keys) return render_no_room(r);
    *m = (struct map){ .capacity = n, .keys = keys, .values = keys + n };
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)json, name, item)
    {
        m->keys[m->n] = value_text(name, strlen(name));
        m->keys[m->n].input = true;
        if (!convert(r, item, &m->values[m->n], depth + 1)) return false;
        m->n++;
    }
    *out = (struct value){ .kind = V_MAP, .map = m };
    return true;
}

static bool convert(struct render *r, const json_t *json, struct value *out, int depth)
{
    bool ok = true;
    if (depth > MAX_DEPTH / 2) return render_fail(r, "the input is nested too deeply");
    switch (json_typeof(json)) {
    case JSON_NULL: *out = value_none(); break;
    case JSON_TRUE:
    case JSON_FALSE: *out = value_bool(json_is_true(json)); break;
    case JSON_INTEGER: *out = value_int(json_integer_value(json)); break;
    case JSON_REAL: *out = value_float(json_real_value(json)); break;
    case JSON_STRING:
        *out = value_text(json_string_value(json), json_string_length(json));
        break;
    case JSON_ARRAY: ok = convert_array(r, json, out, depth); break;
    case JSON_OBJECT: ok = convert_object(r, json, out, depth); break;
    }
    out->input = true;
    return ok;
}

bool value_from_json(struct render *r, const json_t *json, struct value *out)
{
    return convert(r, json, out, 0);
}
