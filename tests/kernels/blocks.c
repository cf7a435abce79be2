/* blocks.c - stored rows of every type, with random or nasty contents. */
#include "check.h"

#include "../../libgguf/libgguf.h"
#include "../../quant/blocks.h"
#include "../../quant/fp.h"

#include <stddef.h>
#include <string.h>

/* Where the binary16 scales of a block are; -1: none. */
static void scale_offsets(uint32_t type, int at[2])
{
#define AT(name, a) (int)offsetof(struct block_##name, a)
    at[0] = 0;
    at[1] = -1;
    switch (type) {
    case GGF_Q4_1:
    case GGF_Q5_1:
    case GGF_Q8_1:
    case GGF_Q4_K:
    case GGF_Q5_K: at[1] = 2; break;
    case GGF_Q2_K: at[0] = AT(q2_k, d), at[1] = AT(q2_k, dmin); break;
    case GGF_Q3_K: at[0] = AT(q3_k, d); break;
    case GGF_Q6_K: at[0] = AT(q6_k, d); break;
    case GGF_TQ1_0: at[0] = AT(tq1_0, d); break;
    case GGF_TQ2_0: at[0] = AT(tq2_0, d); break;
    case GGF_IQ1_M:
    case GGF_MXFP4:
    case GGF_NVFP4:
    case GGF_Q8_K: at[0] = -1; break;
    default: break;
    }
#undef AT
}

/* 2^-7 .. 2^-5, either sign. */
static uint16_t usual_scale(void)
{
    const uint32_t r = check_rnd();
    return (uint16_t)((r & 0x8000) | (0x2000 + (r & 0x7ff)));
}

static void put_scales(uint32_t type, uint8_t *block)
{
    int at[2];
    scale_offsets(type, at);
    for (int i = 0; i < 2; i++) {
        const uint16_t d = usual_scale();
        if (at[i] >= 0) memcpy(block + at[i], &d, sizeof d);
    }
    const uint16_t d = usual_scale();
    if (type == GGF_MXFP4) *block = (uint8_t)(118 + check_rnd() % 8);
    if (type == GGF_Q8_K) memcpy(block, &(float){ f16_to_f32(d) }, 4);
    if (type == GGF_IQ1_M) /* a quarter of the scale in the top of each 16 bits */
        for (int i = 0; i < 4; i++) {
            uint8_t *top = block + offsetof(struct block_iq1_m, scales) + 2 * i + 1;
            *top = (uint8_t)((*top & 15) | (d >> 4 * i & 15) << 4);
        }
}

static void fill_floats(uint32_t type, uint8_t *row, size_t n, enum row_pattern pattern)
{
    for (size_t i = 0; i < n; i++) {
        const float f = pattern == ROW_RANDOM ? check_rnd_normal() / 32
                        : pattern == ROW_ONES ? -1.0f
                                              : 0.0f;
        const uint16_t half = type == GGF_F16 ? f32_to_f16(f) : f32_to_bf16(f);
        const double d = f;
        if (type == GGF_F32) memcpy(row + 4 * i, &f, 4);
        else if (type == GGF_F64) memcpy(row + 8 * i, &d, 8);
        else memcpy(row + 2 * i, &half, 2);
    }
}

void fill_row(uint32_t type, void *row, size_t n, enum row_pattern pattern)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    const size_t bytes = (size_t)ggf_row_bytes(type, n);
    const bool floats =
        type == GGF_F32 || type == GGF_F16 || type == GGF_BF16 || type == GGF_F64;
    if (floats && pattern != ROW_WILD) {
        fill_floats(type, row, n, pattern);
        return;
    }
    if (pattern == ROW_ONES || pattern == ROW_ZEROS)
        memset(row, pattern == ROW_ONES ? 255 : 0, bytes);
    else check_rnd_bytes(row, bytes);
    if (t->quantized && pattern != ROW_WILD)
        for (size_t b = 0; b < bytes; b += t->block_bytes)
            put_scales(type, (uint8_t *)row + b);
}
