/* validate.c - row_bad_block(): stored numbers that are no numbers. */
#include "blocks.h"
#include "encode.h"

#include "../libgguf/libgguf.h"

#include <stddef.h>
#include <string.h>

static bool finite16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return (h & 0x7c00) != 0x7c00;
}

static bool finite_bf16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return (h & 0x7f80) != 0x7f80;
}

static bool finite32(const uint8_t *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return (u & 0x7f800000) != 0x7f800000;
}

static bool finite64(const uint8_t *p)
{
    uint64_t u;
    memcpy(&u, p, sizeof u);
    return (u & 0x7ff0000000000000) != 0x7ff0000000000000;
}

/* The scale is spread over the top of four words; its exponent is in the upper two. */
static bool finite_iq1_m(const uint8_t *p)
{
    const struct block_iq1_m *b = (const void *)p;
    const uint16_t d = (uint16_t)((b->scales[2] >> 12) << 8 | (b->scales[3] >> 12) << 12);
    return (d & 0x7c00) != 0x7c00;
}

#define AT(name, field) (p + offsetof(struct block_##name, field))

static bool block_good(uint32_t type, const uint8_t *p)
{
    switch (type) {
    case GGF_F32: return finite32(p);
    case GGF_F64: return finite64(p);
    case GGF_F16: return finite16(p);
    case GGF_BF16: return finite_bf16(p);
    /* d and m, s or dmin first */
    case GGF_Q4_1:
    case GGF_Q5_1:
    case GGF_Q8_1:
    case GGF_Q4_K:
    case GGF_Q5_K: return finite16(p) && finite16(p + 2);
    case GGF_Q2_K: return finite16(AT(q2_k, d)) && finite16(AT(q2_k, dmin));
    case GGF_Q3_K: return finite16(AT(q3_k, d));
    case GGF_Q6_K: return finite16(AT(q6_k, d));
    case GGF_Q8_K: return finite32(AT(q8_k, d));
    case GGF_TQ1_0: return finite16(AT(tq1_0, d));
    case GGF_TQ2_0: return finite16(AT(tq2_0, d));
    case GGF_IQ1_M: return finite_iq1_m(p);
    case GGF_MXFP4: return *p != 255;
    /* d first */
    case GGF_Q4_0:
    case GGF_Q5_0:
    case GGF_Q8_0:
    case GGF_IQ4_NL:
    case GGF_IQ4_XS:
    case GGF_IQ2_XXS:
    case GGF_IQ2_XS:
    case GGF_IQ2_S:
    case GGF_IQ3_XXS:
    case GGF_IQ3_S:
    case GGF_IQ1_S:
    case GGF_Q1_0:
    case GGF_Q2_0: return finite16(p);
    default: return true; /* integers, and NVFP4, whose scales are always finite */
    }
}

/* How many floats at the start are fine, in steps of 64, without a branch for each.
 * One added to the lowest bit of an exponent that is all ones carries into the place of
 * the sign. */
static size_t good_16_bits(const uint8_t *p, size_t n, unsigned exponent)
{
    const uint16_t mask = (uint16_t)exponent, one = (uint16_t)(exponent & -exponent);
    size_t i = 0;
    for (; i + 64 <= n; i += 64, p += 128) {
        uint16_t h[64], carry = 0;
        memcpy(h, p, sizeof h);
        for (int k = 0; k < 64; k++) carry |= (uint16_t)((h[k] & mask) + one);
        if (carry >> 15) break;
    }
    return i;
}

static size_t good_32_bits(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64, p += 256) {
        uint32_t u[64], carry = 0;
        memcpy(u, p, sizeof u);
        for (int k = 0; k < 64; k++) carry |= (u[k] & 0x7f800000) + 0x800000;
        if (carry >> 31) break;
    }
    return i;
}

static size_t good_from_start(uint32_t type, const uint8_t *row, size_t n)
{
    switch (type) {
    case GGF_F32: return good_32_bits(row, n);
    case GGF_F16: return good_16_bits(row, n, 0x7c00);
    case GGF_BF16: return good_16_bits(row, n, 0x7f80);
    default: return 0;
    }
}

size_t row_bad_block(uint32_t type, const void *row, size_t n)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    if (!t) return 0;
    size_t b = good_from_start(type, row, n);
    const uint8_t *p = (const uint8_t *)row + b * t->block_bytes;
    for (; b < n / t->block; b++, p += t->block_bytes)
        if (!block_good(type, p)) return b;
    return SIZE_MAX;
}
