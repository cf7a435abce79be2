/* text.c - text that is put together and keeps in mind where each byte comes from. */
#include "render.h"

#include <string.h>

static bool reserve(struct text_out *out, size_t more)
{
    if (more <= out->capacity - out->len) return true;
    if (more > SIZE_MAX / 8 || out->capacity > SIZE_MAX / 8)
        return render_no_room(out->r);
    size_t n = 2 * out->capacity;
    if (n < out->len + more) n = out->len + more;
    char *bytes = arena_take(&out->r->arena, 2 * n);
    if (!bytes) return render_no_room(out->r);
    if (out->len) {
        memcpy(bytes, out->bytes, out->len);
        memcpy(bytes + n, out->marks, out->len);
    }
    out->bytes = bytes;
    out->marks = bytes + n;
    out->capacity = n;
    return true;
}

bool text_put(struct text_out *out, const char *bytes, size_t len, bool input)
{
    if (!len) return true;
    if (!reserve(out, len)) return false;
    memcpy(out->bytes + out->len, bytes, len);
    memset(out->marks + out->len, input, len);
    out->len += len;
    if (input) out->n_input += len;
    return render_work(out->r, len / 64);
}

bool text_puts(struct text_out *out, const char *s, bool input)
{
    return text_put(out, s, strlen(s), input);
}

bool text_add(struct text_out *out, const struct value *string)
{
    const struct text *t = &string->text;
    const size_t at = out->len;
    if (!text_put(out, t->bytes, t->len, string->input && !t->marks)) return false;
    if (!t->marks || !t->len) return true;
    memcpy(out->marks + at, t->marks, t->len);
    for (size_t i = 0; i < t->len; i++) out->n_input += (size_t)t->marks[i];
    return true;
}

struct value text_value(const struct text_out *out)
{
    struct value v = value_text(out->bytes ? out->bytes : "", out->len);
    v.input = out->n_input > 0;
    if (v.input && out->n_input < out->len) v.text.marks = out->marks;
    return v;
}
