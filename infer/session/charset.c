/* charset.c - see charset.h. */
#include "charset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): four bytes deep */

#define LAST_CHAR 0x10ffffu

void charset_add(struct charset *s, uint32_t lo, uint32_t hi)
{
    if (s->n == CHARSET_RANGES) {
        s->full = true;
        return;
    }
    s->range[s->n].lo = lo;
    s->range[s->n].hi = hi < LAST_CHAR ? hi : LAST_CHAR;
    s->n++;
}

/* The least character from `from` on that is in no range, or above LAST_CHAR; *end is
 * where the next range begins. */
static uint32_t first_gap(const struct charset *s, uint32_t from, uint32_t *end)
{
    for (bool moved = true; moved;) {
        moved = false;
        *end = LAST_CHAR + 1;
        for (int i = 0; i < s->n; i++) {
            if (s->range[i].lo > from) {
                if (s->range[i].lo < *end) *end = s->range[i].lo;
            } else if (s->range[i].hi >= from) {
                from = s->range[i].hi + 1;
                moved = true;
            }
        }
    }
    return from;
}

void charset_invert(struct charset *s)
{
    struct charset gaps = { .full = s->full };
    uint32_t end;
    for (uint32_t at = first_gap(s, 0, &end); at <= LAST_CHAR;
         at = first_gap(s, end, &end))
        charset_add(&gaps, at, end - 1);
    *s = gaps;
}

/* ==== Bytes =============================================================== */

static int put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    const int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3f));
    out[0] = (uint8_t)(lead[n] | c);
    return n;
}

/* n bytes between lo and hi in their order, those behind the first being 80..bf. */
static uint32_t emit_between(q3n_grammar *g, const uint8_t *lo, const uint8_t *hi, int n,
                             uint32_t next)
{
    static const uint8_t least[4] = { 0x80, 0x80, 0x80, 0x80 },
                         most[4] = { 0xbf, 0xbf, 0xbf, 0xbf };
    if (n == 1) return grammar_byte(g, *lo, *hi, next);
    if (*lo == *hi)
        return grammar_byte(g, *lo, *lo, emit_between(g, lo + 1, hi + 1, n - 1, next));
    const bool from = memcmp(lo + 1, least, (size_t)n - 1) != 0,
               to = memcmp(hi + 1, most, (size_t)n - 1) != 0;
    uint32_t s = GRAMMAR_NONE;
    if (from) s = grammar_byte(g, *lo, *lo, emit_between(g, lo + 1, most, n - 1, next));
    if (to) {
        const uint32_t tail = emit_between(g, least, hi + 1, n - 1, next);
        s = grammar_either(g, s, grammar_byte(g, *hi, *hi, tail));
    }
    const uint8_t a = (uint8_t)(*lo + from), b = (uint8_t)(*hi - to);
    if (a > b) return s;
    const uint32_t any = emit_between(g, least, most, n - 1, next);
    return grammar_either(g, grammar_byte(g, a, b, any), s);
}

static uint32_t emit_range(q3n_grammar *g, uint32_t lo, uint32_t hi, uint32_t next)
{
    /* Where the number of bytes changes, and around the surrogates. */
    static const uint32_t part[][2] = {
        { 0, 0x7f },        { 0x80, 0x7ff },        { 0x800, 0xd7ff },
        { 0xe000, 0xffff }, { 0x10000, LAST_CHAR },
    };
    uint32_t s = GRAMMAR_NONE;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        const uint32_t a = lo > part[i][0] ? lo : part[i][0];
        const uint32_t b = hi < part[i][1] ? hi : part[i][1];
        uint8_t from[4], to[4];
        if (a > b) continue;
        const int n = put_utf8(from, a);
        put_utf8(to, b);
        s = grammar_either(g, s, emit_between(g, from, to, n, next));
    }
    return s;
}

/* A quote, a backslash or a control character in a JSON string; NUL is in none, since
 * many readers take no string with it. */
static uint32_t emit_escaped(q3n_grammar *g, uint32_t c, uint32_t next)
{
    static const char codes[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *known = strchr(codes, (int)c);
    char text[8];
    if (!c) return GRAMMAR_NONE;
    if (known) snprintf(text, sizeof text, "\\%c", letters[known - codes]);
    else snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    return grammar_text(g, text, strlen(text), next);
}

static bool must_escape(uint32_t c) { return c < 0x20 || c == '"' || c == '\\'; }

static uint32_t emit_json_range(q3n_grammar *g, uint32_t lo, uint32_t hi, uint32_t next)
{
    uint32_t s = GRAMMAR_NONE;
    for (; lo <= hi && lo <= '\\'; lo++) {
        uint32_t end = lo; /* the run of characters that stand for themselves */
        while (end <= hi && end <= '\\' && !must_escape(end)) end++;
        if (end == lo) s = grammar_either(g, s, emit_escaped(g, lo, next));
        else s = grammar_either(g, s, emit_range(g, lo, end - 1, next)), lo = end - 1;
    }
    return lo <= hi ? grammar_either(g, s, emit_range(g, lo, hi, next)) : s;
}

uint32_t charset_emit(q3n_grammar *g, const struct charset *s, bool json, uint32_t next)
{
    uint32_t all = GRAMMAR_NONE;
    for (int i = 0; i < s->n; i++) {
        const uint32_t lo = s->range[i].lo, hi = s->range[i].hi;
        all = grammar_either(g, all,
                             json ? emit_json_range(g, lo, hi, next)
                                  : emit_range(g, lo, hi, next));
    }
    return all;
}
/* NOLINTEND(misc-no-recursion) */
