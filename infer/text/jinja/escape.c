/* escape.c - see escape.h. */
#include "escape.h"

#include <utf8proc.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static int digit_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* Up to `most` digits of a base; how many there were. */
static size_t read_digits(const char *s, size_t len, size_t most, int base, uint32_t *c)
{
    size_t n = 0;
    for (*c = 0; n < len && n < most && digit_value(s[n]) < base; n++)
        *c = *c * (uint32_t)base + (uint32_t)digit_value(s[n]);
    return n;
}

/* The escape behind a backslash, at s, into *c; its length, 0: it is none. */
static size_t read_escape(const char *s, size_t len, uint32_t *c)
{
    static const char names[] = "ntrabfv\\'\"", means[] = "\n\t\r\a\b\f\v\\'\"";
    const char *known = *s ? strchr(names, *s) : NULL;
    if (known) {
        *c = (uint32_t)means[known - names];
        return 1;
    }
    if (*s == 'x' || *s == 'u' || *s == 'U') {
        const size_t digits = *s == 'x' ? 2 : *s == 'u' ? 4 : 8;
        return read_digits(s + 1, len - 1, digits, 16, c) == digits ? digits + 1 : 0;
    }
    return read_digits(s, len, 3, 8, c);
}

const char *jinja_unescape(char *out, size_t *n, const char *s, size_t len)
{
    *n = 0;
    for (size_t i = 0; i < len;) {
        if (s[i] != '\\' || i + 1 == len) {
            out[(*n)++] = s[i++];
            continue;
        }
        if (s[i + 1] == '\n') {
            i += 2;
            continue;
        }
        uint32_t c;
        const size_t used = read_escape(s + i + 1, len - i - 1, &c);
        if (!used && strchr("xuUN", s[i + 1])) return "a string with a malformed escape";
        if (!used) {
            out[(*n)++] = s[i++];
            continue;
        }
        if (!utf8proc_codepoint_valid((utf8proc_int32_t)c))
            return "a string with an escape that is no character";
        *n += (size_t)utf8proc_encode_char((utf8proc_int32_t)c,
                                           (utf8proc_uint8_t *)out + *n);
        i += 1 + used;
    }
    return NULL;
}
