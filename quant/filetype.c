/* filetype.c - the table of file types; numbers and base types are llama.cpp's. */
#include "filetype.h"

#include "../libgguf/libgguf.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct file_type file_types[] = {
    { "F32", FT_F32, GGF_F32, "32 bits, lossless" },
    { "BF16", FT_BF16, GGF_BF16, "16 bits, the range of F32" },
    { "F16", FT_F16, GGF_F16, "16 bits" },
    { "Q8_0", FT_Q8_0, GGF_Q8_0, "8.5 bits, as good as lossless" },
    { "Q6_K", FT_Q6_K, GGF_Q6_K, "6.6 bits" },
    { "Q5_1", FT_Q5_1, GGF_Q5_1, "6 bits, legacy" },
    { "Q5_K_M", FT_Q5_K_M, GGF_Q5_K, "5.5 bits, some tensors q6_K" },
    { "Q5_K_S", FT_Q5_K_S, GGF_Q5_K, "5.5 bits" },
    { "Q5_0", FT_Q5_0, GGF_Q5_0, "5.5 bits, legacy" },
    { "Q4_1", FT_Q4_1, GGF_Q4_1, "5 bits, legacy" },
    { "Q4_K_M", FT_Q4_K_M, GGF_Q4_K, "4.5 bits, some tensors q6_K" },
    { "Q4_K_S", FT_Q4_K_S, GGF_Q4_K, "4.5 bits, some tensors q5_K" },
    { "Q4_0", FT_Q4_0, GGF_Q4_0, "4.5 bits, legacy" },
    { "IQ4_NL", FT_IQ4_NL, GGF_IQ4_NL, "4.5 bits, uneven levels" },
    { "NVFP4", FT_NVFP4, GGF_NVFP4, "4.5 bits, floating point" },
    { "IQ4_XS", FT_IQ4_XS, GGF_IQ4_XS, "4.25 bits, uneven levels" },
    { "MXFP4_MOE", FT_MXFP4_MOE, GGF_MXFP4, "experts mxfp4 (4.25 bits), the rest q8_0" },
    { "Q3_K_L", FT_Q3_K_L, GGF_Q3_K, "3.4 bits, many tensors q5_K" },
    { "Q3_K_M", FT_Q3_K_M, GGF_Q3_K, "3.4 bits, some tensors q4_K and q5_K" },
    { "Q3_K_S", FT_Q3_K_S, GGF_Q3_K, "3.4 bits" },
    { "IQ3_M", FT_IQ3_M, GGF_IQ3_S, "3.4 bits from a codebook, some tensors q4_K" },
    { "IQ3_S", FT_IQ3_S, GGF_IQ3_S, "3.4 bits from a codebook" },
    { "IQ3_XS", FT_IQ3_XS, GGF_IQ3_S, "3.3 bits from a codebook" },
    { "IQ3_XXS", FT_IQ3_XXS, GGF_IQ3_XXS, "3.06 bits from a codebook" },
    { "Q2_K", FT_Q2_K, GGF_Q2_K, "2.6 bits, some tensors q3_K" },
    { "Q2_K_S", FT_Q2_K_S, GGF_Q2_K, "2.6 bits" },
    { "IQ2_M", FT_IQ2_M, GGF_IQ2_S, "2.6 bits from a codebook" },
    { "IQ2_S", FT_IQ2_S, GGF_IQ2_XS, "2.4 bits from a codebook" },
    { "IQ2_XS", FT_IQ2_XS, GGF_IQ2_XS, "2.3 bits from a codebook" },
    { "Q2_0", FT_Q2_0, GGF_Q2_0, "2.25 bits" },
    { "IQ2_XXS", FT_IQ2_XXS, GGF_IQ2_XXS, "2.06 bits from a codebook" },
    { "TQ2_0", FT_TQ2_0, GGF_TQ2_0, "2.06 bits, ternary" },
    { "IQ1_M", FT_IQ1_M, GGF_IQ1_M, "1.75 bits from a codebook" },
    { "TQ1_0", FT_TQ1_0, GGF_TQ1_0, "1.7 bits, ternary" },
    { "IQ1_S", FT_IQ1_S, GGF_IQ1_S, "1.56 bits from a codebook" },
    { "Q1_0", FT_Q1_0, GGF_Q1_0, "1.125 bits" },
    { 0 },
};

const struct file_type *file_type_by_id(uint32_t id)
{
    for (const struct file_type *t = file_types; t->name; t++)
        if (t->id == id) return t;
    return NULL;
}

const struct file_type *file_type_find(const char *name)
{
    static const struct {
        const char *alias;
        uint32_t id;
    } aliases[] = { { "Q3_K", FT_Q3_K_M }, { "Q4_K", FT_Q4_K_M }, { "Q5_K", FT_Q5_K_M } };
    for (const struct file_type *t = file_types; t->name; t++)
        if (!strcasecmp(t->name, name)) return t;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcasecmp(aliases[i].alias, name)) return file_type_by_id(aliases[i].id);
    if (!*name || strspn(name, "0123456789") != strlen(name) || strlen(name) > 4)
        return NULL;
    return file_type_by_id((uint32_t)atoi(name));
}

uint32_t file_type_of_tensors(uint32_t type)
{
    switch (type) {
    case GGF_Q3_K: return FT_Q3_K_M;
    case GGF_Q4_K: return FT_Q4_K_M;
    case GGF_Q5_K: return FT_Q5_K_M;
    case GGF_IQ2_S: return FT_IQ2_S;
    case GGF_IQ2_XS: return FT_IQ2_XS;
    case GGF_IQ3_S: return FT_IQ3_S;
    default: break;
    }
    for (const struct file_type *t = file_types; t->name; t++)
        if (t->base == type) return t->id;
    return FT_F32;
}
