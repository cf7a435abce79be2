/* filetype.h - the named mixtures a file can be quantized to ("Q4_K_M"), as
 * general.file_type numbers them.  Which tensor gets what is mix.h's business. */
#ifndef QUANT_FILETYPE_H
#define QUANT_FILETYPE_H

#include <stdbool.h>
#include <stdint.h>

/* Numbers of general.file_type.  4 to 6 and 33 to 35 are retired. */
enum file_type_id {
    FT_F32 = 0,
    FT_F16 = 1,
    FT_Q4_0 = 2,
    FT_Q4_1 = 3,
    FT_Q8_0 = 7,
    FT_Q5_0 = 8,
    FT_Q5_1 = 9,
    FT_Q2_K = 10,
    FT_Q3_K_S = 11,
    FT_Q3_K_M = 12,
    FT_Q3_K_L = 13,
    FT_Q4_K_S = 14,
    FT_Q4_K_M = 15,
    FT_Q5_K_S = 16,
    FT_Q5_K_M = 17,
    FT_Q6_K = 18,
    FT_IQ2_XXS = 19,
    FT_IQ2_XS = 20,
    FT_Q2_K_S = 21,
    FT_IQ3_XS = 22,
    FT_IQ3_XXS = 23,
    FT_IQ1_S = 24,
    FT_IQ4_NL = 25,
    FT_IQ3_S = 26,
    FT_IQ3_M = 27,
    FT_IQ2_S = 28,
    FT_IQ2_M = 29,
    FT_IQ4_XS = 30,
    FT_IQ1_M = 31,
    FT_BF16 = 32,
    FT_TQ1_0 = 36,
    FT_TQ2_0 = 37,
    FT_MXFP4_MOE = 38,
    FT_NVFP4 = 39,
    FT_Q1_0 = 40,
    FT_Q2_0 = 41,
    FT_GUESSED = 1024, /* added to a number that was not in the file */
};

struct file_type {
    const char *name;
    uint32_t id;   /* enum file_type_id */
    uint32_t base; /* enum ggf_type that most tensors get */
    const char *about;
};

/* All of them, best first; the list ends with a NULL name. */
extern const struct file_type file_types[];

/* By name in any case, alias (Q3_K, Q4_K, Q5_K) or number; NULL if there is none. */
const struct file_type *file_type_find(const char *name);

/* By number, without FT_GUESSED; NULL if there is none. */
const struct file_type *file_type_by_id(uint32_t id);

/* The file type whose name a tensor type suggests (q4_K: Q4_K_M), for files that do
 * not say what they are. */
uint32_t file_type_of_tensors(uint32_t type);

#endif
