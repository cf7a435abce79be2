/* types.c - the table of tensor types: name, elements and bytes of a block.
 *
 * Ids, sizes and names are those of ggml; ids missing here were removed from the
 * format (4, 5, 31-33, 36-38). */
#include "libgguf.h"

#include <strings.h>

static const struct ggf_type_info types[GGF_TYPE_COUNT] = {
    [GGF_F32] = { "f32", 1, 4, false },
    [GGF_F16] = { "f16", 1, 2, false },
    [GGF_Q4_0] = { "q4_0", 32, 18, true },
    [GGF_Q4_1] = { "q4_1", 32, 20, true },
    [GGF_Q5_0] = { "q5_0", 32, 22, true },
    [GGF_Q5_1] = { "q5_1", 32, 24, true },
    [GGF_Q8_0] = { "q8_0", 32, 34, true },
    [GGF_Q8_1] = { "q8_1", 32, 36, true },
    [GGF_Q2_K] = { "q2_K", 256, 84, true },
    [GGF_Q3_K] = { "q3_K", 256, 110, true },
    [GGF_Q4_K] = { "q4_K", 256, 144, true },
    [GGF_Q5_K] = { "q5_K", 256, 176, true },
    [GGF_Q6_K] = { "q6_K", 256, 210, true },
    [GGF_Q8_K] = { "q8_K", 256, 292, true },
    [GGF_IQ2_XXS] = { "iq2_xxs", 256, 66, true },
    [GGF_IQ2_XS] = { "iq2_xs", 256, 74, true },
    [GGF_IQ3_XXS] = { "iq3_xxs", 256, 98, true },
    [GGF_IQ1_S] = { "iq1_s", 256, 50, true },
    [GGF_IQ4_NL] = { "iq4_nl", 32, 18, true },
    [GGF_IQ3_S] = { "iq3_s", 256, 110, true },
    [GGF_IQ2_S] = { "iq2_s", 256, 82, true },
    [GGF_IQ4_XS] = { "iq4_xs", 256, 136, true },
    [GGF_I8] = { "i8", 1, 1, false },
    [GGF_I16] = { "i16", 1, 2, false },
    [GGF_I32] = { "i32", 1, 4, false },
    [GGF_I64] = { "i64", 1, 8, false },
    [GGF_F64] = { "f64", 1, 8, false },
    [GGF_IQ1_M] = { "iq1_m", 256, 56, true },
    [GGF_BF16] = { "bf16", 1, 2, false },
    [GGF_TQ1_0] = { "tq1_0", 256, 54, true },
    [GGF_TQ2_0] = { "tq2_0", 256, 66, true },
    [GGF_MXFP4] = { "mxfp4", 32, 17, true },
    [GGF_NVFP4] = { "nvfp4", 64, 36, true },
    [GGF_Q1_0] = { "q1_0", 128, 18, true },
    [GGF_Q2_0] = { "q2_0", 64, 18, true },
};

const struct ggf_type_info *ggf_type_info(uint32_t type)
{
    return type < GGF_TYPE_COUNT && types[type].name ? &types[type] : NULL;
}

const char *ggf_type_name(uint32_t type)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    return t ? t->name : "?";
}

int ggf_type_from_name(const char *name)
{
    for (int i = 0; i < GGF_TYPE_COUNT; i++)
        if (types[i].name && !strcasecmp(types[i].name, name)) return i;
    return -1;
}

uint64_t ggf_row_bytes(uint32_t type, uint64_t n)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    return t ? n / t->block * t->block_bytes : 0;
}
