/* print.c - Python's str() and repr(). */
#include "render.h"

#include "../utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define MAX_DEPTH 200

/* The shortest digits that give the number back; in fixed notation for 1e-4 <= |f| <
 * 1e16. */
char *format_float(char buf[32], double f)
{
    char digits[32], *out = buf;
    if (isnan(f)) return strcpy(buf, "nan");
    if (isinf(f)) return strcpy(buf, f < 0 ? "-inf" : "inf");
    int precision = 0;
    do snprintf(digits, sizeof digits, "%.*e", precision, f);
    while (strtod(digits, NULL) != f && ++precision < 17);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        const int decimals = precision - exponent;
        snprintf(buf, 32, "%.*f", decimals > 1 ? decimals : 1, f);
        return buf;
    }
    const size_t n = strcspn(digits, "e");
    memcpy(out, digits, n);
    snprintf(out + n, 32 - n, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    return buf;
}

/* ==== repr() of strings =================================================== */

static bool is_printable(uint32_t c)
{
    if (c < 0x80) return c >= ' ' && c < 0x7f;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

/* The escape of a character that cannot stand for itself; returns buf. */
static const char *escape(char buf[16], uint32_t c, char quote)
{
    if (c == '\n') return "\\n";
    if (c == '\r') return "\\r";
    if (c == '\t') return "\\t";
    if (c == '\\' || c == (uint32_t)quote) snprintf(buf, 16, "\\%c", (char)c);
    else if (c < 0x100) snprintf(buf, 16, "\\x%02x", c);
    else if (c < 0x10000) snprintf(buf, 16, "\\u%04x", c);
    else snprintf(buf, 16, "\\U%08x", c);
    return buf;
}

static bool put_quote(struct text_out *out, char quote, bool input)
{
    return text_put(out, &quote, 1, input);
}

static bool repr_string(struct text_out *out, const struct value *v)
{
    const struct text *t = &v->text;
    const bool single = t->len && memchr(t->bytes, '\'', t->len);
    const char quote = single && !memchr(t->bytes, '"', t->len) ? '"' : '\'';
    bool ok = put_quote(out, quote, v->input);
    for (size_t i = 0; ok && i < t->len;) {
        unsigned n;
        const uint32_t c = utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
        char buf[16];
        if (c == '\\' || c == (uint32_t)quote || !is_printable(c)) {
            ok = text_puts(out, escape(buf, c, quote), t->marks ? t->marks[i] : v->input);
        } else {
            const struct value piece = value_slice(v, i, i + n);
            ok = text_add(out, &piece);
        }
        i += n;
    }
    return ok && put_quote(out, quote, v->input);
}

/* ==== repr() ============================================================== */

static bool repr(struct text_out *out, const struct value *v, int depth);

static bool repr_list(struct text_out *out, const struct value *v, int depth)
{
    bool ok = text_puts(out, v->tuple ? "(" : "[", v->input);
    for (size_t i = 0; ok && i < v->list->n; i++)
        ok = (!i || text_puts(out, ", ", v->input)) &&
             repr(out, &v->list->items[i], depth + 1);
    if (ok && v->tuple && v->list->n == 1) ok = text_puts(out, ",", v->input);
    return ok && text_puts(out, v->tuple ? ")" : "]", v->input);
}

static bool repr_map(struct text_out *out, const struct value *v, int depth)
{
    bool ok = text_puts(out, "{", v->input);
    for (size_t i = 0; ok && i < v->map->n; i++)
        ok = (!i || text_puts(out, ", ", v->input)) &&
             repr(out, &v->map->keys[i], depth + 1) && text_puts(out, ": ", v->input) &&
             repr(out, &v->map->values[i], depth + 1);
    return ok && text_puts(out, "}", v->input);
}

static bool repr(struct text_out *out, const struct value *v, int depth)
{
    char buf[32];
    if (depth > MAX_DEPTH) return render_fail(out->r, "a value is nested too deeply");
    if (!render_work(out->r, 1)) return false;
    switch ((enum value_kind)v->kind) {
    case V_UNDEFINED: return text_puts(out, "Undefined", false);
    case V_NONE: return text_puts(out, "None", v->input);
    case V_BOOL: return text_puts(out, v->truth ? "True" : "False", v->input);
    case V_INT: snprintf(buf, sizeof buf, "%" PRId64, v->i); break;
    case V_FLOAT: format_float(buf, v->f); break;
    case V_STRING: return repr_string(out, v);
    case V_LIST: return repr_list(out, v, depth);
    case V_MAP: return repr_map(out, v, depth);
    default:
        return render_fail(out->r, "a %s cannot be made into text", value_kind_name(v));
    }
    return text_puts(out, buf, v->input);
}

bool print_str(struct text_out *out, const struct value *v)
{
    if (v->kind == V_STRING) return text_add(out, v);
    return v->kind == V_UNDEFINED || repr(out, v, 0);
}

bool value_str(struct render *r, const struct value *v, struct value *string)
{
    struct text_out out = { .r = r };
    *string = *v;
    if (v->kind == V_STRING) return true;
    if (!print_str(&out, v)) return false;
    *string = text_value(&out);
    return true;
}
