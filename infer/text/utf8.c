/* utf8.c - see utf8.h. */
#include "utf8.h"

#include <utf8proc.h>

/* Well-formed sequences as the Unicode Standard's table 3-7 has them. */
uint32_t utf8_decode_slow(const uint8_t *p, size_t left, unsigned *n)
{
    const uint8_t b = p[0];
    *n = 1;
    if (b < 0xc2 || b > 0xf4) return UTF8_BAD;
    const unsigned len = b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    const uint8_t low = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
    if (left < len || p[1] < low || p[1] > high) return UTF8_BAD;
    uint32_t c = b & (0x7fu >> len);
    for (unsigned i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return UTF8_BAD;
        c = c << 6 | (p[i] & 0x3f);
    }
    *n = len;
    return c;
}

#define O CHAR_OTHER
#define L CHAR_LETTER
#define D CHAR_NUMBER
#define S CHAR_SPACE
#define N CHAR_NEWLINE
const uint8_t char_class_ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, N, S, S, N, O, O, /* \t \n \v \f \r */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* */
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* space */
    D, D, D, D, D, D, D, D, D, D, O, O, O, O, O, O, /* 0-9 */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* A-O */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* P-Z */
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, /* a-o */
    L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O, /* p-z */
};
#undef O
#undef L
#undef D
#undef S
#undef N

/* Letters and numbers of Unicode 15.1 and 16.0, which the utf8proc of 2022 does not
 * know and the splitter of Hugging Face's tokenizers does. */
static const struct {
    uint32_t first, last;
    enum char_class class;
} newer[] = {
    { 0x01c89, 0x01c8a, CHAR_LETTER }, { 0x0a7cb, 0x0a7cd, CHAR_LETTER },
    { 0x0a7da, 0x0a7dc, CHAR_LETTER }, { 0x105c0, 0x105f3, CHAR_LETTER },
    { 0x10d40, 0x10d49, CHAR_NUMBER }, { 0x10d4a, 0x10d65, CHAR_LETTER },
    { 0x10d6f, 0x10d85, CHAR_LETTER }, { 0x10ec2, 0x10ec4, CHAR_LETTER },
    { 0x11380, 0x11389, CHAR_LETTER }, { 0x1138b, 0x1138b, CHAR_LETTER },
    { 0x1138e, 0x1138e, CHAR_LETTER }, { 0x11390, 0x113b5, CHAR_LETTER },
    { 0x113b7, 0x113b7, CHAR_LETTER }, { 0x113d1, 0x113d1, CHAR_LETTER },
    { 0x113d3, 0x113d3, CHAR_LETTER }, { 0x116d0, 0x116e3, CHAR_NUMBER },
    { 0x11bc0, 0x11be0, CHAR_LETTER }, { 0x11bf0, 0x11bf9, CHAR_NUMBER },
    { 0x13460, 0x143fa, CHAR_LETTER }, { 0x16100, 0x1611d, CHAR_LETTER },
    { 0x16130, 0x16139, CHAR_NUMBER }, { 0x16d40, 0x16d6c, CHAR_LETTER },
    { 0x16d70, 0x16d79, CHAR_NUMBER }, { 0x18cff, 0x18cff, CHAR_LETTER },
    { 0x1ccf0, 0x1ccf9, CHAR_NUMBER }, { 0x1e5d0, 0x1e5ed, CHAR_LETTER },
    { 0x1e5f0, 0x1e5f0, CHAR_LETTER }, { 0x1e5f1, 0x1e5fa, CHAR_NUMBER },
    { 0x2ebf0, 0x2ee5d, CHAR_LETTER },
};

static enum char_class newer_class(uint32_t c)
{
    size_t low = 0, high = sizeof newer / sizeof *newer;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (newer[mid].last < c) low = mid + 1;
        else high = mid;
    }
    const size_t count = sizeof newer / sizeof *newer;
    return low < count && newer[low].first <= c ? newer[low].class : CHAR_OTHER;
}

enum char_class char_class_slow(uint32_t c)
{
    if (c == UTF8_BAD) return CHAR_OTHER;
    if (c == 0x85) return CHAR_SPACE; /* next line: a control with White_Space */
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CHAR_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CHAR_NUMBER;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return CHAR_SPACE;
    case UTF8PROC_CATEGORY_CN: return newer_class(c);
    default: return CHAR_OTHER;
    }
}
