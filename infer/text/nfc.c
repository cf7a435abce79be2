/* nfc.c - see nfc.h.  Text is nearly always normalized already, so only the stretches
 * that might not be are taken apart.  utf8proc has the tables; putting marks in order is
 * done here because its insertion sort is quadratic in the marks on one letter. */
#include "nfc.h"
#include "utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Canonical decompositions have at most four characters. */
enum { MAX_DECOMPOSED = 4 };

/* Nothing combines with these here.  Hugging Face's tokenizers normalizes by the tables
 * of Unicode 9 and so leaves alone what came later: marks (with one vowel sign and its
 * composite, U+11930 and U+11938) that are reordered or composed today.  U+11A7 stands
 * just before the Hangul final consonants, and utf8proc 2.8 takes it for one. */
static const uint32_t inert[][2] = {
    { 0x007fd, 0x007fd }, { 0x00898, 0x0089f }, { 0x008ca, 0x008d3 },
    { 0x009fe, 0x009fe }, { 0x00c3c, 0x00c3c }, { 0x00d3b, 0x00d3c },
    { 0x00eba, 0x00eba }, { 0x011a7, 0x011a7 }, { 0x01715, 0x01715 },
    { 0x01abf, 0x01ace }, { 0x01df6, 0x01dfa }, { 0x0a82c, 0x0a82c },
    { 0x10d24, 0x10d27 }, { 0x10eab, 0x10eac }, { 0x10efd, 0x10eff },
    { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 }, { 0x11070, 0x11070 },
    { 0x1133b, 0x1133b }, { 0x1145e, 0x1145e }, { 0x11839, 0x1183a },
    { 0x11930, 0x11930 }, { 0x11938, 0x11938 }, { 0x1193d, 0x1193e },
    { 0x11943, 0x11943 }, { 0x119e0, 0x119e0 }, { 0x11a34, 0x11a34 },
    { 0x11a47, 0x11a47 }, { 0x11a99, 0x11a99 }, { 0x11d42, 0x11d42 },
    { 0x11d44, 0x11d45 }, { 0x11d97, 0x11d97 }, { 0x11f41, 0x11f42 },
    { 0x16ff0, 0x16ff1 }, { 0x1e08f, 0x1e08f }, { 0x1e130, 0x1e136 },
    { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef }, { 0x1e4ec, 0x1e4ef },
};

static bool is_inert(uint32_t c)
{
    if (c < inert[0][0]) return false;
    size_t low = 0, high = sizeof inert / sizeof *inert;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (inert[mid][1] < c) low = mid + 1;
        else high = mid;
    }
    return low < sizeof inert / sizeof *inert && inert[low][0] <= c;
}

/* May the character change, or combine with what stands before it?  Asks a little too
 * broadly (any mark, anything that decomposes), which costs time only. */
static bool is_unstable(uint32_t c)
{
    if (c < 0x300) return false; /* all of these are starters that stay as they are */
    if (c >= 0x1100 && c <= 0x11ff) return true; /* Hangul jamo */
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    return p->combining_class != 0 ||
           (p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME) ||
           (p->decomp_seqindex != UINT16_MAX && !p->decomp_type);
}

static bool reserve(struct nfc_text *t, size_t more)
{
    if (t->capacity - t->len >= more) return true;
    if (more > SIZE_MAX / 4 - t->len) return false;
    const size_t capacity = 2 * (t->len + more);
    uint8_t *bytes = realloc(t->bytes, capacity);
    if (!bytes) return false;
    t->bytes = bytes;
    t->capacity = capacity;
    return true;
}

static bool append(struct nfc_text *t, const uint8_t *bytes, size_t len)
{
    if (!len) return true;
    if (!reserve(t, len)) return false;
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return true;
}

/* The combining class, 0 for a starter. */
static unsigned ccc(utf8proc_int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

/* Order the n marks at c by class, equals staying in place; `spare` has room for n. */
static void order_marks(utf8proc_int32_t *c, size_t n, utf8proc_int32_t *spare)
{
    size_t start[257] = { 0 };
    for (size_t i = 0; i < n; i++) start[ccc(c[i]) + 1]++;
    for (int k = 1; k < 257; k++) start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++) spare[start[ccc(c[i])]++] = c[i];
    memcpy(c, spare, n * sizeof *c);
}

/* Bring every run of marks into canonical order. */
static void order(utf8proc_int32_t *c, size_t n, utf8proc_int32_t *spare)
{
    for (size_t i = 0; i < n;) {
        size_t j = i;
        bool sorted = true;
        for (unsigned last = 0, k; j < n && (k = ccc(c[j])) != 0; j++) {
            sorted = sorted && k >= last;
            last = k;
        }
        if (!sorted) order_marks(c + i, j - i, spare);
        i = j > i ? j : i + 1;
    }
}

/* Append the normal form of a well-formed stretch. */
static bool append_normalized(struct nfc_text *out, const uint8_t *p, size_t len)
{
    utf8proc_int32_t few[256], *c = few;
    const size_t room = len * MAX_DECOMPOSED; /* characters <= bytes */
    if (2 * room > sizeof few / sizeof *few) {
        if (len > SIZE_MAX / (2 * MAX_DECOMPOSED * sizeof *c)) return false;
        c = malloc(2 * room * sizeof *c);
        if (!c) return false;
    }
    size_t count = 0;
    for (size_t i = 0; i < len;) {
        unsigned n;
        const uint32_t ch = utf8_decode(p + i, len - i, &n);
        count += (size_t)utf8proc_decompose_char(
            (utf8proc_int32_t)ch, c + count, MAX_DECOMPOSED, UTF8PROC_DECOMPOSE, NULL);
        i += n;
    }
    order(c, count, c + room);
    const utf8proc_ssize_t composed = utf8proc_normalize_utf32(
        c, (utf8proc_ssize_t)count, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const bool ok = composed >= 0 && reserve(out, 4 * (size_t)composed);
    for (utf8proc_ssize_t i = 0; ok && i < composed; i++)
        out->len += (size_t)utf8proc_encode_char(c[i], out->bytes + out->len);
    if (c != few) free(c);
    return ok;
}

/* The next stretch [*from, *to) from *to on that may need work: it starts with the last
 * stable character before an unstable one, or behind one that nothing combines with, and
 * ends before the next stable one.  False at the end. */
static bool next_stretch(const uint8_t *text, size_t len, size_t *from, size_t *to)
{
    size_t i = *to, start = i;
    bool inside = false;
    while (i < len) {
        unsigned n;
        const uint32_t c = utf8_decode(text + i, len - i, &n);
        const bool apart = c == UTF8_BAD || is_inert(c);
        const bool unstable = !apart && is_unstable(c);
        if (inside && !unstable) break;
        if (!inside && !unstable) start = apart ? i + n : i;
        inside = inside || unstable;
        i += n;
    }
    *from = start;
    *to = i;
    return inside;
}

int nfc_normalize(const uint8_t *text, size_t len, struct nfc_text *out)
{
    size_t from, to = 0, done = 0;
    if (!next_stretch(text, len, &from, &to)) return 0;
    out->len = 0;
    do {
        if (!append(out, text + done, from - done) ||
            !append_normalized(out, text + from, to - from))
            return -1;
        done = to;
    } while (next_stretch(text, len, &from, &to));
    return append(out, text + done, len - done) ? 1 : -1;
}
