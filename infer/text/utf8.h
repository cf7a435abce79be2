/* utf8.h - one character at a time: decoding, classes, and holding back what is not
 * complete.  Ill-formed bytes are a case like any other here, never an error. */
#ifndef INFER_TEXT_UTF8_H
#define INFER_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BAD UINT32_MAX

/* The character at p, of which `left` > 0 bytes are there, and its length in *n.  A byte
 * that starts no well-formed character (stray, overlong, surrogate, above U+10FFFF, cut
 * off) is UTF8_BAD of length 1. */
uint32_t utf8_decode_slow(const uint8_t *p, size_t left, unsigned *n);

static inline uint32_t utf8_decode(const uint8_t *p, size_t left, unsigned *n)
{
    *n = 1;
    return *p < 0x80 ? *p : utf8_decode_slow(p, left, n);
}

/* What the pre-tokenizer's pattern tells apart. */
enum char_class {
    CHAR_OTHER,   /* none of the below; also UTF8_BAD */
    CHAR_LETTER,  /* \p{L} */
    CHAR_NUMBER,  /* \p{N} */
    CHAR_SPACE,   /* \s, but not: */
    CHAR_NEWLINE, /* \r \n */
};

extern const uint8_t char_class_ascii[128]; /* enum char_class */
enum char_class char_class_slow(uint32_t c);

static inline enum char_class char_class(uint32_t c)
{
    return c < 128 ? (enum char_class)char_class_ascii[c] : char_class_slow(c);
}

#endif
