/* stream.c - whole characters out of pieces of text; see tokenizer.h. */
#include "tokenizer.h"
#include "utf8.h"

#include <string.h>

/* Could these n bytes, not a character yet, become one?  Tried with each way to go on:
 * any continuation byte that is allowed second is between 0x80 and 0xbf, and 0x80, 0x90,
 * 0xa0 and 0xbf stand for all ranges there are. */
static bool may_grow(const uint8_t *p, unsigned n)
{
    static const uint8_t second[] = { 0x80, 0x90, 0xa0, 0xbf };
    for (size_t i = 0; i < sizeof second; i++) {
        uint8_t whole[4] = { 0, second[i], 0x80, 0x80 };
        unsigned len;
        memcpy(whole, p, n);
        if (utf8_decode(whole, sizeof whole, &len) != UTF8_BAD && len > n) return true;
    }
    return false;
}

static size_t put_replacement(char *out)
{
    memcpy(out, "\xef\xbf\xbd", 3);
    return 3;
}

size_t q3n_stream_push(struct q3n_stream *s, const char *bytes, size_t len, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < len; i++) {
        s->held[s->n_held++] = (uint8_t)bytes[i];
        while (s->n_held) {
            unsigned n;
            const uint32_t c = utf8_decode(s->held, s->n_held, &n);
            if (c == UTF8_BAD && may_grow(s->held, s->n_held)) break;
            if (c == UTF8_BAD) {
                /* The longest start of a character is replaced as one. */
                for (n = s->n_held - 1; n > 1 && !may_grow(s->held, n);) n--;
                n = n ? n : 1;
                written += put_replacement(out + written);
            } else {
                memcpy(out + written, s->held, n);
                written += n;
            }
            s->n_held -= n;
            memmove(s->held, s->held + n, s->n_held);
        }
    }
    return written;
}

size_t q3n_stream_end(struct q3n_stream *s, char *out)
{
    const bool cut_off = s->n_held != 0;
    s->n_held = 0;
    return cut_off ? put_replacement(out) : 0;
}
