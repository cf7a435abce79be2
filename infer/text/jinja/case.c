/* case.c - upper and lower case. */
#include "builtin.h"
#include "render.h"

#include "../utf8.h"

#include <utf8proc.h>

enum letter_case { LOWER, UPPER, CAPITALIZE, TITLE };

static bool is_letter(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL ||
           k == UTF8PROC_CATEGORY_LT;
}

/* One character becomes one, but for the German sharp s. */
static bool put_cased(struct text_out *text, uint32_t c, bool upper, bool title,
                      bool input)
{
    const utf8proc_int32_t ch = (utf8proc_int32_t)c;
    utf8proc_uint8_t buf[4];
    if (c == 0xdf && upper) return text_puts(text, title ? "Ss" : "SS", input);
    const utf8proc_int32_t cased = !upper  ? utf8proc_tolower(ch)
                                   : title ? utf8proc_totitle(ch)
                                           : utf8proc_toupper(ch);
    const utf8proc_ssize_t n = utf8proc_encode_char(cased, buf);
    return text_put(text, (const char *)buf, (size_t)n, input);
}

static bool change_case(const struct call *c, struct value *out, enum letter_case how)
{
    const struct text *t = &c->self.text;
    struct text_out text = { .r = c->r };
    bool in_word = false;
    for (size_t i = 0; i < t->len;) {
        unsigned n;
        const uint32_t ch = utf8_decode((const uint8_t *)t->bytes + i, t->len - i, &n);
        const bool title = (how == TITLE && !in_word) || (how == CAPITALIZE && !i);
        const struct value piece = value_slice(&c->self, i, i + n);
        if (ch == UTF8_BAD ? !text_add(&text, &piece)
                           : !put_cased(&text, ch, how == UPPER || title, title,
                                        t->marks ? t->marks[i] : c->self.input))
            return false;
        in_word = ch != UTF8_BAD && is_letter(ch);
        i += n;
    }
    *out = text_value(&text);
    return render_work(c->r, t->len / 8);
}

bool string_title(const struct call *c, struct value *out)
{
    return change_case(c, out, TITLE);
}
bool string_capitalize(const struct call *c, struct value *out)
{
    return change_case(c, out, CAPITALIZE);
}
bool string_upper(const struct call *c, struct value *out)
{
    return change_case(c, out, UPPER);
}
bool string_lower(const struct call *c, struct value *out)
{
    return change_case(c, out, LOWER);
}
