/* decode_grid.c - reference decoders of the grid types: IQ1, IQ2 and IQ3.
 *
 * A super-block of 256 weights is coded by points of a grid (see grids.h) that give the
 * magnitudes of 8 or 4 neighbours at once, signs, and a small scale for 16 or 32 weights;
 * what differs is where the bits of these lie. */
#include "blocks.h"
#include "decode_ref.h"
#include "fp.h"
#include "grids.h"

/* n weights: scale * magnitude, negated where the sign bit is set. */
static void put_signed(float *dst, int n, float scale, uint64_t bytes, unsigned signs)
{
    for (int j = 0; j < n; j++) {
        const float v = scale * (float)(bytes >> 8 * j & 255);
        dst[j] = signs >> j & 1 ? -v : v;
    }
}

static float scale_iq2(float d, unsigned scale)
{
    return d * (0.5f + (float)scale) * 0.25f;
}

/* For 32 weights two words: four indices; four times 7 signs and a scale of 4 bits. */
decl_decode_fn(decode_iq2_xxs_c)
{
    const struct block_iq2_xxs *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int g = 0; g < 32; g++) { /* groups of 8 */
            const uint32_t index = b->qs[2 * (g / 4)] >> 8 * (g % 4) & 255;
            const uint32_t word = b->qs[2 * (g / 4) + 1];
            put_signed(dst + 8 * g, 8, scale_iq2(d, word >> 28),
                       grid_bytes_iq2(grid_iq2_xxs[index]),
                       grid_signs(word >> 7 * (g % 4) & 127));
        }
    }
}

/* For 8 weights 9 bits of index, 7 of signs; for 16 a scale of 4 bits. */
decl_decode_fn(decode_iq2_xs_c)
{
    const struct block_iq2_xs *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int g = 0; g < 32; g++) {
            const unsigned scale = b->scales[g / 4] >> 4 * (g / 2 & 1) & 15;
            put_signed(dst + 8 * g, 8, scale_iq2(d, scale),
                       grid_bytes_iq2(grid_iq2_xs[b->qs[g] & 511]),
                       grid_signs(b->qs[g] >> 9));
        }
    }
}

/* For 8 weights 10 bits of index, the upper two in qh, and 8 signs. */
decl_decode_fn(decode_iq2_s_c)
{
    const struct block_iq2_s *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int g = 0; g < 32; g++) {
            const unsigned index = b->qs[g] | (b->qh[g / 4] >> 2 * (g % 4) & 3u) << 8;
            const unsigned scale = b->scales[g / 4] >> 4 * (g / 2 & 1) & 15;
            put_signed(dst + 8 * g, 8, scale_iq2(d, scale),
                       grid_bytes_iq2(grid_iq2_s[index]), b->signs[g]);
        }
    }
}

/* For 4 weights 8 bits of index; for 32 four times 7 signs and a scale of 4 bits. */
decl_decode_fn(decode_iq3_xxs_c)
{
    const struct block_iq3_xxs *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int c = 0; c < 64; c++) { /* groups of 4 */
            const uint32_t word = b->signs[c / 8];
            const float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
            const unsigned signs = grid_signs(word >> 7 * (c / 2 % 4) & 127);
            put_signed(dst + 4 * c, 4, scale, grid_bytes_iq3_xxs(grid_iq3_xxs[b->qs[c]]),
                       signs >> 4 * (c & 1));
        }
    }
}

/* For 4 weights 9 bits of index, the upper one in qh, and 4 signs; odd scales. */
decl_decode_fn(decode_iq3_s_c)
{
    const struct block_iq3_s *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int c = 0; c < 64; c++) {
            const unsigned index = b->qs[c] | (b->qh[c / 8] >> c % 8 & 1u) << 8;
            const int scale = b->scales[c / 16] >> 4 * (c / 8 & 1) & 15;
            put_signed(dst + 4 * c, 4, d * (float)(1 + 2 * scale),
                       grid_bytes_iq3_s(grid_iq3_s[index]),
                       b->signs[c / 2] >> 4 * (c & 1));
        }
    }
}

/* 8 weights of -1, 0 or 1, moved by delta, times the scale. */
static void put_ternary(float *dst, float scale, unsigned index, float delta)
{
    const uint64_t levels = grid_spread2(grid_iq1[index]);
    for (int j = 0; j < 8; j++)
        dst[j] = scale * ((float)((int)(levels >> 8 * j & 3) - 1) + delta);
}

/* For 8 weights 11 bits of index, the upper three in qh, which also has for 32 weights an
 * odd scale and the sign of delta. */
decl_decode_fn(decode_iq1_s_c)
{
    const struct block_iq1_s *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d = f16_to_f32(b->d);
        for (int g = 0; g < 32; g++) {
            const unsigned qh = b->qh[g / 4];
            const unsigned index = b->qs[g] | (qh >> 3 * (g % 4) & 7) << 8;
            put_ternary(dst + 8 * g, d * (float)(2 * (qh >> 12 & 7) + 1), index,
                        qh >> 15 ? -0.125f : 0.125f);
        }
    }
}

/* As IQ1_S with a delta for 8 and a scale for 16 weights.  The binary16 lies in the top
 * four bits of the four words of scales, lowest first. */
decl_decode_fn(decode_iq1_m_c)
{
    const struct block_iq1_m *b = src;
    for (; n; n -= QK_K, b++, dst += QK_K) {
        const float d =
            f16_to_f32((uint16_t)(b->scales[0] >> 12 | b->scales[1] >> 12 << 4 |
                                  b->scales[2] >> 12 << 8 | b->scales[3] >> 12 << 12));
        for (int g = 0; g < 32; g++) {
            const unsigned high = b->qh[g / 2] >> 4 * (g & 1) & 15;
            const int scale = b->scales[g / 8] >> 3 * (g / 2 % 4) & 7;
            put_ternary(dst + 8 * g, d * (float)(2 * scale + 1),
                        b->qs[g] | (high & 7) << 8, high & 8 ? -0.125f : 0.125f);
        }
    }
}
