/* refine_blocks.c - see refine_blocks.h; the layouts are those of decode_k.c. */
#include "refine_blocks.h"

#include "blocks.h"
#include "codes.h"
#include "scales.h"

#include "../libgguf/libgguf.h"

#include <string.h>

static void unpack_q2_k(const void *p, struct super *s)
{
    const struct block_q2_k *b = p;
    s->d = b->d;
    s->dmin = b->dmin;
    for (int j = 0; j < 16; j++) {
        s->scale[j] = b->scales[j] & 15;
        s->min[j] = b->scales[j] >> 4;
    }
}

static void pack_q2_k(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_q2_k *b = p;
    b->d = s->d;
    b->dmin = s->dmin;
    for (int j = 0; j < 16; j++) b->scales[j] = (uint8_t)(s->scale[j] | s->min[j] << 4);
    pack2(codes, b->qs);
}

static void unpack_q3_k(const void *p, struct super *s)
{
    const struct block_q3_k *b = p;
    s->d = b->d;
    unpack_scales_q3(b->scales, s->scale);
}

static void pack_q3_k(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_q3_k *b = p;
    b->d = s->d;
    pack_scales_q3(s->scale, b->scales);
    pack2(codes, b->qs);
    pack_bit(codes, 2, b->hmask);
}

static void unpack_q4_k(const void *p, struct super *s)
{
    const struct block_q4_k *b = p;
    s->d = b->d;
    s->dmin = b->dmin;
    unpack_scale_min(b->scales, s->scale, s->min);
}

static void pack_q4_k(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_q4_k *b = p;
    b->d = s->d;
    b->dmin = s->dmin;
    pack_scale_min(s->scale, s->min, b->scales);
    pack4(codes, b->qs);
}

static void unpack_q5_k(const void *p, struct super *s)
{
    const struct block_q5_k *b = p;
    s->d = b->d;
    s->dmin = b->dmin;
    unpack_scale_min(b->scales, s->scale, s->min);
}

static void pack_q5_k(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_q5_k *b = p;
    b->d = s->d;
    b->dmin = s->dmin;
    pack_scale_min(s->scale, s->min, b->scales);
    pack4(codes, b->qs);
    pack_bit(codes, 4, b->qh);
}

static void unpack_q6_k(const void *p, struct super *s)
{
    const struct block_q6_k *b = p;
    s->d = b->d;
    for (int j = 0; j < 16; j++) s->scale[j] = (uint8_t)(b->scales[j] + 128);
}

static void pack_q6_k(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_q6_k *b = p;
    b->d = s->d;
    for (int j = 0; j < 16; j++) b->scales[j] = (int8_t)(s->scale[j] - 128);
    pack6(codes, b->ql, b->qh);
    pack6(codes + 128, b->ql + 64, b->qh + 32);
}

static void unpack_iq4_xs(const void *p, struct super *s)
{
    const struct block_iq4_xs *b = p;
    s->d = b->d;
    for (int k = 0; k < 8; k++)
        s->scale[k] = (uint8_t)((b->scales_l[k / 2] >> 4 * (k & 1) & 15) |
                                (b->scales_h >> 2 * k & 3) << 4);
}

static void pack_iq4_xs(const struct super *s, const uint8_t *codes, void *p)
{
    struct block_iq4_xs *b = p;
    unsigned high = 0;
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int k = 0; k < 8; k++) {
        b->scales_l[k / 2] |= (uint8_t)((s->scale[k] & 15) << 4 * (k & 1));
        high |= (unsigned)s->scale[k] >> 4 << 2 * k;
        for (int i = 0; i < 16; i++)
            b->qs[16 * k + i] =
                (uint8_t)(codes[32 * k + i] | codes[32 * k + 16 + i] << 4);
    }
    b->d = s->d;
    b->scales_h = (uint16_t)high;
}

static const struct refine_kind kinds[] = {
    /* clang-format off */
    { GGF_Q2_K, 84, 0, { 16, 0, 3, 0, 15, 15, false }, unpack_q2_k, pack_q2_k },
    { GGF_Q3_K, 110, 32, { 16, -4, 3, -32, 31, 0, false }, unpack_q3_k, pack_q3_k },
    { GGF_Q4_K, 144, 0, { 32, 0, 15, 0, 63, 63, false }, unpack_q4_k, pack_q4_k },
    { GGF_Q5_K, 176, 0, { 32, 0, 31, 0, 63, 63, false }, unpack_q5_k, pack_q5_k },
    { GGF_Q6_K, 210, 128, { 16, -32, 31, -128, 127, 0, false }, unpack_q6_k, pack_q6_k },
    { GGF_IQ4_XS, 136, 32, { 32, 0, 15, -32, 31, 0, true }, unpack_iq4_xs, pack_iq4_xs },
    /* clang-format on */
};

const struct refine_kind *refine_kind(uint32_t type)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].type == type) return &kinds[i];
    return NULL;
}
