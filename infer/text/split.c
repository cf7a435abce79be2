/* split.c - the pattern of Qwen's tokenizer.json, by hand:
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)      1  contraction
 *   [^\r\n\p{L}\p{N}]?\p{L}+          2  word, with one other character before it
 *   \p{N}                             3  a digit on its own
 *    ?[^\s\p{L}\p{N}]+[\r\n]*         4  punctuation, with a space before, newlines after
 *   \s*[\r\n]+                        5  white space up to the last newline of the run
 *   \s+(?!\S)                         6  white space, but its last character before a
 * word \s+                               7  white space
 *
 * The alternatives are tried in this order at each position and every character starts
 * one of them, so pieces tile the text. */
#include "split.h"
#include "utf8.h"

#include <stdbool.h>

static enum char_class class_at(const uint8_t *p, const uint8_t *end, unsigned *n)
{
    return char_class(utf8_decode(p, (size_t)(end - p), n));
}

/* The end of the run of one class that starts at p. */
static const uint8_t *skip(const uint8_t *p, const uint8_t *end, enum char_class class)
{
    unsigned n;
    while (p < end && class_at(p, end, &n) == class) p += n;
    return p;
}

/* Alternative 1; 0 if it does not match.  Case folding makes U+017F, the long s, an s. */
static size_t contraction(const uint8_t *p, size_t len)
{
    if (len < 2 || p[0] != '\'') return 0;
    const int a = p[1] | 0x20, b = len > 2 ? p[2] | 0x20 : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if ((b == 'e' && (a == 'r' || a == 'v')) || (b == 'l' && a == 'l')) return 3;
    return len > 2 && p[1] == 0xc5 && p[2] == 0xbf ? 3 : 0;
}

/* Alternatives 5 to 7: p is white space. */
static const uint8_t *white_space(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *last = p, *newline = NULL, *q = p;
    while (q < end) {
        unsigned n;
        const enum char_class class = class_at(q, end, &n);
        if (class != CHAR_SPACE && class != CHAR_NEWLINE) break;
        last = q;
        q += n;
        if (class == CHAR_NEWLINE) newline = q;
    }
    if (newline) return newline;
    return q < end && last > p ? last : q;
}

size_t split_qwen2(const uint8_t *text, size_t len)
{
    const uint8_t *const end = text + len;
    unsigned n, next_n;
    const size_t short_form = contraction(text, len);
    if (short_form) return short_form;

    const enum char_class class = class_at(text, end, &n);
    if (class == CHAR_NUMBER) return n;
    if (class == CHAR_LETTER) return (size_t)(skip(text, end, CHAR_LETTER) - text);

    const uint8_t *const second = text + n;
    const bool more = second < end;
    const enum char_class next = more ? class_at(second, end, &next_n) : CHAR_NEWLINE;
    if (next == CHAR_LETTER && class != CHAR_NEWLINE)
        return (size_t)(skip(second, end, CHAR_LETTER) - text);
    if (class == CHAR_OTHER || (*text == ' ' && next == CHAR_OTHER)) {
        const uint8_t *after = skip(second, end, CHAR_OTHER);
        return (size_t)(skip(after, end, CHAR_NEWLINE) - text);
    }
    return (size_t)(white_space(text, end) - text);
}
