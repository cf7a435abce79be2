/* json_out.c - see json_out.h. */
#include "json_out.h"

#include "utf8.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *short_escape(uint32_t c)
{
    switch (c) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '"': return "\\\"";
    case '\\': return "\\\\";
    default: return NULL;
    }
}

static void put_string(FILE *f, const char *text, size_t len)
{
    const uint8_t *s = (const uint8_t *)text;
    unsigned n = 0;
    putc('"', f);
    for (size_t i = 0; i < len; i += n) {
        const uint32_t c = utf8_decode(s + i, len - i, &n);
        if (c == UTF8_BAD) fputs("\\ufffd", f);
        else if (short_escape(c)) fputs(short_escape(c), f);
        else if (c < 0x20 || c == 0x7f) fprintf(f, "\\u%04x", c);
        else fwrite(s + i, 1, n, f);
    }
    putc('"', f);
}

static void break_line(struct json *j)
{
    if (j->one_line) {
        if (j->need_comma) putc(' ', j->f);
        return;
    }
    if (j->depth) fprintf(j->f, "\n%*s", 2 * j->depth, "");
}

static void start_value(struct json *j, const char *key)
{
    if (j->need_comma) putc(',', j->f);
    break_line(j);
    j->need_comma = true;
    if (!key) return;
    put_string(j->f, key, strlen(key));
    fputs(": ", j->f);
}

void json_open(struct json *j, const char *key, char bracket)
{
    start_value(j, key);
    putc(bracket, j->f);
    j->depth++;
    j->need_comma = false;
}

void json_close(struct json *j, char bracket)
{
    const bool empty = !j->need_comma;
    j->depth--;
    if (!empty && !j->one_line) fprintf(j->f, "\n%*s", 2 * j->depth, "");
    putc(bracket, j->f);
    j->need_comma = true;
}

void json_strn(struct json *j, const char *key, const char *value, size_t len)
{
    start_value(j, key);
    put_string(j->f, value, len);
}

void json_str(struct json *j, const char *key, const char *value)
{
    json_strn(j, key, value, strlen(value));
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
    start_value(j, key);
    fprintf(j->f, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
    start_value(j, key);
    fprintf(j->f, "%" PRId64, value);
}

void json_f64(struct json *j, const char *key, double value)
{
    start_value(j, key);
    if (isfinite(value)) fprintf(j->f, "%.9g", value);
    else fputs("null", j->f);
}

void json_bool(struct json *j, const char *key, bool value)
{
    start_value(j, key);
    fputs(value ? "true" : "false", j->f);
}

void json_none(struct json *j, const char *key)
{
    start_value(j, key);
    fputs("null", j->f);
}

void json_end(struct json *j)
{
    putc('\n', j->f);
    j->need_comma = false;
}
