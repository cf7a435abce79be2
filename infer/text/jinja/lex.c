/* lex.c - see lex.h.  The rules are those of jinja2.lexer (3.1) with trim_blocks and
 * lstrip_blocks on and keep_trailing_newline off:
 *
 *   - line breaks become \n, and one at the end of the source goes;
 *   - {%- and the like strip all white space before the tag, -%} all after it;
 *   - {% and {# at the start of a line lose the blanks before them, unless {%+;
 *   - %} and #} lose one line break after them, unless +%}. */
#include "lex.h"

#include "../utf8.h"
#include "escape.h"
#include "value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BRACKETS 100

struct lexer {
    const char *s;
    size_t n, at;
    uint32_t line;
    bool line_start; /* the last tag took a line break with it */
    struct arena *arena;
    struct token *tokens;
    size_t count, capacity;
    ggf_error *err;
};

static int fail(const struct lexer *x, const char *what)
{
    return ggf_fail(x->err, GGF_E_FORMAT, GGF_NO_OFFSET, "chat template, line %u: %s",
                    x->line, what);
}

static int too_big(const struct lexer *x)
{
    return ggf_fail(x->err, GGF_E_NOMEM, GGF_NO_OFFSET,
                    "the chat template is too big, or memory is short");
}

static int add(struct lexer *x, struct token t)
{
    if (x->count == x->capacity) {
        const size_t n = x->capacity ? 2 * x->capacity : 256;
        struct token *more = arena_take(x->arena, n * sizeof *more);
        if (!more) return too_big(x);
        if (x->count) memcpy(more, x->tokens, x->count * sizeof *more);
        x->tokens = more;
        x->capacity = n;
    }
    x->tokens[x->count++] = t;
    return 0;
}

static int add_span(struct lexer *x, enum token_kind kind, size_t from, size_t to)
{
    return add(
        x, (struct token){
               .kind = kind, .line = x->line, .bytes = x->s + from, .len = to - from });
}

static char peek(const struct lexer *x, size_t ahead)
{
    return x->at + ahead < x->n ? x->s[x->at + ahead] : 0;
}

static void advance(struct lexer *x, size_t to)
{
    for (; x->at < to; x->at++) x->line += x->s[x->at] == '\n';
}

/* ==== White space ========================================================= */

static size_t skip_space(const struct lexer *x, size_t at)
{
    unsigned n;
    while (at < x->n && is_space(utf8_decode((const uint8_t *)x->s + at, x->n - at, &n)))
        at += n;
    return at;
}

/* Where the white space that ends at `to` starts. */
static size_t space_before(const struct lexer *x, size_t from, size_t to)
{
    size_t end = from;
    for (size_t i = from; i < to;) {
        unsigned n;
        const uint32_t c = utf8_decode((const uint8_t *)x->s + i, to - i, &n);
        i += n;
        if (!is_space(c)) end = i;
    }
    return end;
}

/* The text before a tag, as far as the tag leaves it. */
static int add_text(struct lexer *x, size_t from, size_t to, char sign, bool prints)
{
    if (sign == '-') {
        to = space_before(x, from, to);
    } else if (sign != '+' && !prints) {
        size_t line = to;
        while (line > from && x->s[line - 1] != '\n') line--;
        if ((line > from || x->line_start) && space_before(x, line, to) == line)
            to = line;
    }
    return to > from ? add_span(x, T_TEXT, from, to) : 0;
}

/* After the end of a tag, at `to`, whose sign was this. */
static void end_tag(struct lexer *x, size_t to, char sign, bool trims)
{
    if (sign == '-') to = skip_space(x, to);
    else if (sign != '+' && trims && to < x->n && x->s[to] == '\n') to++;
    advance(x, to);
    x->line_start = x->s[to - 1] == '\n';
}

/* ==== Inside of tags ====================================================== */

static int lex_string(struct lexer *x)
{
    const char quote = peek(x, 0);
    size_t end = x->at + 1;
    while (end < x->n && x->s[end] != quote) end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n) return fail(x, "a string without an end");
    const size_t len = end - x->at - 1;
    char *bytes = arena_take(x->arena, len + 1);
    if (!bytes) return too_big(x);
    size_t n;
    const char *why = jinja_unescape(bytes, &n, x->s + x->at + 1, len);
    if (why) return fail(x, why);
    const struct token t = {
        .kind = T_STRING, .line = x->line, .bytes = bytes, .len = n
    };
    advance(x, end + 1);
    return add(x, t);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* 12, 1_000, 1.5, 2e3, 1.5e-3; others (0x, 0b, 0o) are refused. */
static int lex_number(struct lexer *x)
{
    char digits[64];
    size_t n = 0, i = x->at;
    bool is_float = false;
    for (; i < x->n && n + 2 < sizeof digits; i++) { /* one turn may add two */
        const char c = x->s[i], next = i + 1 < x->n ? x->s[i + 1] : 0;
        const bool exponent = c == 'e' || c == 'E';
        if (c == '_' && is_digit(next)) continue;
        if (c == '.' && (is_float || !is_digit(next))) break;
        if (exponent && !is_digit(next) && next != '-' && next != '+') break;
        if (!is_digit(c) && c != '.' && !exponent) break;
        is_float |= !is_digit(c);
        digits[n++] = c;
        if (exponent && !is_digit(next)) digits[n++] = x->s[++i];
    }
    digits[n] = 0;
    if (i < x->n && is_name(x->s[i])) return fail(x, "a number that is not decimal");
    struct token t = { .kind = is_float ? T_FLOAT : T_INT,
                       .line = x->line,
                       .bytes = x->s + x->at,
                       .len = i - x->at };
    char *end;
    errno = 0;
    if (is_float) t.f = strtod(digits, &end);
    else t.i = strtoll(digits, &end, 10);
    if (*end || errno) return fail(x, "a number that is malformed or out of range");
    x->at = i;
    return add(x, t);
}

static int lex_sign(struct lexer *x, char *open, size_t *depth)
{
    static const char two[][3] = { "//", "**", "==", "!=", ">=", "<=" };
    static const char one[] = "+-/*%~[](){}<>=.:|,;";
    const char c = peek(x, 0);
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (c == two[i][0] && peek(x, 1) == two[i][1]) {
            x->at += 2;
            return add_span(x, T_SIGN, x->at - 2, x->at);
        }
    if (!c || !strchr(one, c)) return fail(x, "a character that means nothing here");
    if (strchr("([{", c)) {
        if (*depth == MAX_BRACKETS) return fail(x, "brackets are nested too deeply");
        open[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (strchr(")]}", c) && (!*depth || open[--*depth] != c)) {
        return fail(x, "a closing bracket without its opening one");
    }
    x->at++;
    return add_span(x, T_SIGN, x->at - 1, x->at);
}

static int lex_token(struct lexer *x, char *open, size_t *depth)
{
    const char c = peek(x, 0);
    if (c == '"' || c == '\'') return lex_string(x);
    if (is_digit(c)) return lex_number(x);
    if (!is_name(c)) return lex_sign(x, open, depth);
    const size_t from = x->at;
    while (is_name(peek(x, 0))) x->at++;
    return add_span(x, T_NAME, from, x->at);
}

/* Tokens up to the end of the tag: '%' or '}' before a '}', perhaps with a sign. */
static int lex_tag(struct lexer *x, char kind)
{
    char open[MAX_BRACKETS];
    size_t depth = 0;
    const uint32_t line = x->line;
    for (;;) {
        advance(x, skip_space(x, x->at));
        if (x->at == x->n) {
            x->line = line;
            return fail(x, "a tag without an end");
        }
        const char sign = peek(x, 0);
        const size_t skip = sign == '-' || (sign == '+' && kind == '%');
        if (!depth && peek(x, skip) == kind && peek(x, skip + 1) == '}') {
            const int r =
                add_span(x, kind == '%' ? T_TAG_END : T_PRINT_END, x->at, x->at);
            end_tag(x, x->at + skip + 2, skip ? sign : 0, kind == '%');
            return r;
        }
        const int r = lex_token(x, open, &depth);
        if (r) return r;
    }
}

/* ==== Comments and raw text =============================================== */

static int lex_comment(struct lexer *x)
{
    const size_t from = x->at;
    const char *end = memmem(x->s + from, x->n - from, "#}", 2);
    if (!end) return fail(x, "a comment without an end");
    const size_t to = (size_t)(end - x->s);
    end_tag(x, to + 2, to > from ? x->s[to - 1] : 0, true);
    return 0;
}

/* Is this, behind "{%" and its sign, "raw %}" (or "endraw %}")?  Then *end is behind it
 * and *sign the one before %}. */
static bool is_raw(const struct lexer *x, size_t at, const char *word, size_t *end,
                   char *sign)
{
    const size_t n = strlen(word);
    at = skip_space(x, at);
    if (x->n - at < n || memcmp(x->s + at, word, n)) return false;
    at = skip_space(x, at + n);
    *sign = 0;
    if (at < x->n && (x->s[at] == '-' || x->s[at] == '+')) *sign = x->s[at++];
    if (x->n - at < 2 || memcmp(x->s + at, "%}", 2)) return false;
    *end = at + 2;
    return true;
}

/* Text up to {% endraw %}. */
static int lex_raw(struct lexer *x)
{
    const size_t from = x->at;
    for (size_t at = from; x->n - at >= 2; at++) {
        if (memcmp(x->s + at, "{%", 2)) continue;
        const char sign = at + 2 < x->n ? x->s[at + 2] : 0;
        const bool has_sign = sign == '-' || sign == '+';
        size_t end;
        char end_sign;
        if (!is_raw(x, at + 2 + has_sign, "endraw", &end, &end_sign)) continue;
        const int r = add_text(x, from, at, has_sign ? sign : 0, false);
        end_tag(x, end, end_sign, true);
        return r;
    }
    return fail(x, "{% raw %} without {% endraw %}");
}

/* ==== The whole =========================================================== */

/* Where the next tag starts, or the end. */
static size_t find_tag(const struct lexer *x)
{
    for (size_t i = x->at; i + 1 < x->n; i++)
        if (x->s[i] == '{' &&
            (x->s[i + 1] == '{' || x->s[i + 1] == '%' || x->s[i + 1] == '#'))
            return i;
    return x->n;
}

static int lex_next(struct lexer *x)
{
    const size_t from = x->at, tag = find_tag(x);
    if (tag == x->n) {
        const int r = from < tag ? add_span(x, T_TEXT, from, tag) : 0;
        advance(x, tag);
        return r;
    }
    const char kind = x->s[tag + 1], c = tag + 2 < x->n ? x->s[tag + 2] : 0;
    const bool has_sign = c == '-' || c == '+';
    int r = add_text(x, from, tag, has_sign ? c : 0, kind == '{');
    if (r) return r;
    advance(x, tag + 2 + has_sign);
    if (kind == '#') return lex_comment(x);
    size_t end;
    char sign;
    if (kind == '%' && is_raw(x, x->at, "raw", &end, &sign) && sign != '+') {
        end_tag(x, end, sign, false);
        return lex_raw(x);
    }
    r = add_span(x, kind == '%' ? T_TAG : T_PRINT, tag, x->at);
    return r ? r : lex_tag(x, kind == '{' ? '}' : '%');
}

/* The source with \n for every kind of line break, and none at its end. */
static char *normalize(const char *source, size_t *len, struct arena *arena)
{
    char *s = arena_take(arena, *len + 1);
    size_t n = 0;
    for (size_t i = 0; s && i < *len; i++) {
        s[n++] = source[i] == '\r' ? '\n' : source[i];
        if (source[i] == '\r' && i + 1 < *len && source[i + 1] == '\n') i++;
    }
    if (n && s[n - 1] == '\n') n--;
    *len = n;
    return s;
}

static bool is_utf8(const char *s, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n)
        if (utf8_decode((const uint8_t *)s + i, len - i, &n) == UTF8_BAD) return false;
    return true;
}

int jinja_lex(struct token **out, const char *source, size_t len, struct arena *arena,
              ggf_error *err)
{
    struct lexer x = { .arena = arena, .err = err, .line = 1, .line_start = true };
    *out = NULL;
    if (!is_utf8(source, len))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "the chat template is not UTF-8");
    x.s = normalize(source, &len, arena);
    x.n = len;
    if (!x.s) return too_big(&x);
    int r = 0;
    while (!r && x.at < x.n) r = lex_next(&x);
    if (!r) r = add_span(&x, T_END, x.n, x.n);
    if (!r) *out = x.tokens;
    return r;
}
