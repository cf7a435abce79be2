/* stop.c - see stop.h.  For each string is kept how much of its beginning the text ends
 * with (Knuth, Morris and Pratt 1977); the longest of these beginnings is what is held
 * back, so there is no need to store it. */
#include "stop.h"

#include "../text/utf8.h"

#include <stdlib.h>
#include <string.h>

struct stop {
    char *text;
    size_t len;
    uint32_t *shorter; /* [i]: the next shorter beginning that text[0 .. i] ends with */
};

struct q3n_stops {
    struct stop *list;
    size_t n, longest;
};

struct q3n_stop_filter {
    const q3n_stops *stops;
    int which;        /* -1: not ended */
    uint32_t *seen;   /* for each string, the length of its beginning */
    size_t n_held;    /* the longest of them: */
    const char *held; /* the beginning of a stop string */
};

/* ==== The strings ========================================================= */

static bool is_utf8(const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n)
        if (utf8_decode((const uint8_t *)text + i, len - i, &n) == UTF8_BAD) return false;
    return true;
}

/* The length of the beginning that the text ends with after one more byte. */
static uint32_t follow(const struct stop *s, uint32_t seen, char byte)
{
    while (seen && (seen == s->len || s->text[seen] != byte)) seen = s->shorter[seen - 1];
    return seen + (s->text[seen] == byte);
}

static int add(struct stop *s, const char *text, ggf_error *err)
{
    s->len = strlen(text);
    if (!s->len || s->len > UINT32_MAX)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "a stop string of %zu bytes makes no sense", s->len);
    if (!is_utf8(text, s->len))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "a stop string is not UTF-8");
    s->text = strdup(text);
    s->shorter = calloc(s->len, sizeof *s->shorter);
    if (!s->text || !s->shorter) return ggf_no_memory(err);
    for (size_t i = 1; i < s->len; i++)
        s->shorter[i] = follow(s, s->shorter[i - 1], text[i]);
    return 0;
}

int q3n_stops_new(q3n_stops **out, const char *const *strings, size_t n, ggf_error *err)
{
    *out = NULL;
    q3n_stops *s = calloc(1, sizeof *s);
    if (s) s->list = calloc(n + 1, sizeof *s->list);
    int r = s && s->list ? 0 : ggf_no_memory(err);
    for (size_t i = 0; i < n && !r; i++) {
        s->n = i + 1;
        r = add(&s->list[i], strings[i], err);
        if (s->list[i].len > s->longest) s->longest = s->list[i].len;
    }
    if (r) q3n_stops_free(s);
    else *out = s;
    return r;
}

void q3n_stops_free(q3n_stops *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) {
        free(s->list[i].text);
        free(s->list[i].shorter);
    }
    free(s->list);
    free(s);
}

/* ==== The filter ========================================================== */

int q3n_stop_filter_new(q3n_stop_filter **out, const q3n_stops *stops, ggf_error *err)
{
    *out = NULL;
    q3n_stop_filter *f = calloc(1, sizeof *f);
    if (f) f->seen = calloc(stops->n + 1, sizeof *f->seen);
    if (!f || !f->seen) {
        q3n_stop_filter_free(f);
        return ggf_no_memory(err);
    }
    f->stops = stops;
    f->which = -1;
    *out = f;
    return 0;
}

void q3n_stop_filter_free(q3n_stop_filter *f)
{
    if (!f) return;
    free(f->seen);
    free(f);
}

void q3n_stop_filter_reset(q3n_stop_filter *f)
{
    f->which = -1;
    f->n_held = 0;
    for (size_t i = 0; i < f->stops->n; i++) f->seen[i] = 0;
}

size_t q3n_stop_most_held(const q3n_stop_filter *f) { return f->stops->longest; }

/* Bring all strings up to date; returns the length of the longest beginning and which
 * string it is of.  f->which is set if one is complete. */
static size_t advance(q3n_stop_filter *f, char byte, size_t *of)
{
    size_t most = 0;
    for (size_t i = 0; i < f->stops->n; i++) {
        const struct stop *s = &f->stops->list[i];
        const size_t seen = f->seen[i] = follow(s, f->seen[i], byte);
        if (seen > most) most = seen, *of = i;
        if (seen == s->len && (f->which < 0 || s->len > f->stops->list[f->which].len))
            f->which = (int)i;
    }
    return most;
}

size_t q3n_stop_push(q3n_stop_filter *f, const char *text, size_t len, char *out,
                     int *which)
{
    size_t written = 0;
    for (size_t i = 0; i < len && f->which < 0; i++) {
        size_t of = 0;
        size_t hold = advance(f, text[i], &of);
        if (f->which >= 0) hold = f->stops->list[f->which].len;
        /* Of what was held and the byte, all but the last `hold` bytes are free. */
        const size_t all = f->n_held + 1, release = all - hold;
        const size_t from_held = release < f->n_held ? release : f->n_held;
        if (from_held) memcpy(out + written, f->held, from_held);
        written += from_held;
        if (release == all) out[written++] = text[i];
        f->held = f->stops->list ? f->stops->list[of].text : NULL;
        f->n_held = hold;
    }
    if (f->which >= 0) f->n_held = 0;
    *which = f->which;
    return written;
}

size_t q3n_stop_end(q3n_stop_filter *f, char *out)
{
    const size_t n = f->n_held;
    if (n) memcpy(out, f->held, n);
    f->n_held = 0;
    return n;
}
