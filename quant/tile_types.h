/* tile_types.h - the kernels of all types, made from the parts in tile.h. */
#include "tile.h"
#if TILE_GRIDS
#include "tile_grid.h"
#endif

PRODUCT(product_k32_4bit, SUPER_BLOCK, K32_4BIT)
PRODUCT(product_k32_5bit, SUPER_BLOCK, K32_5BIT)
PRODUCT(product_k32_8bit, SUPER_BLOCK, ANY32_8BIT)
PRODUCT(product_k16_2bit, SUPER_BLOCK, K16_2BIT)
PRODUCT(product_k16_3bit, SUPER_BLOCK, K16_3BIT)
PRODUCT(product_k16_6bit, SUPER_BLOCK, K16_6BIT)
PRODUCT(product_32_5bit, BLOCKS_OF_32, ANY32_5BIT)
PRODUCT(product_32_min, BLOCKS_OF_32, ANY32_MIN)
PRODUCT(product_32_8bit, BLOCKS_OF_32, ANY32_8BIT)

SUPER_FNS(q2_k, product_k16_2bit, K16_2BIT)
SUPER_FNS(q3_k, product_k16_3bit, K16_3BIT)
SUPER_FNS(q4_k, product_k32_4bit, K32_4BIT)
SUPER_FNS(q5_k, product_k32_5bit, K32_5BIT)
SUPER_FNS(q6_k, product_k16_6bit, K16_6BIT)
SUPER_FNS(iq4_xs, product_k32_8bit, ANY32_8BIT)
BLOCK_32_FNS(q4_0, product_32_5bit, ANY32_5BIT)
BLOCK_32_FNS(q4_1, product_32_min, ANY32_MIN)
BLOCK_32_FNS(q5_0, product_32_5bit, ANY32_5BIT)
BLOCK_32_FNS(q5_1, product_32_min, ANY32_MIN)
BLOCK_32_FNS(q8_0, product_32_8bit, ANY32_8BIT)
BLOCK_32_FNS(iq4_nl, product_32_8bit, ANY32_8BIT)
BLOCK_32_FNS(mxfp4, product_32_5bit, ANY32_5BIT)

#if TILE_GRIDS
PRODUCT(product_k32_grid, SUPER_BLOCK, K32_GRID)
PRODUCT(product_k32_fine, SUPER_BLOCK, K32_FINE)
PRODUCT(product_k16_grid, SUPER_BLOCK, K16_GRID)

SUPER_FNS(iq2_xxs, product_k32_grid, K32_GRID)
SUPER_FNS(iq2_xs, product_k16_grid, K16_GRID)
SUPER_FNS(iq2_s, product_k16_grid, K16_GRID)
SUPER_FNS(iq3_xxs, product_k32_grid, K32_GRID)
SUPER_FNS(iq3_s, product_k32_fine, K32_FINE)

#define GRID_KERNELS                                                                     \
    [GGF_IQ2_XXS] = mul_iq2_xxs, [GGF_IQ2_XS] = mul_iq2_xs, [GGF_IQ2_S] = mul_iq2_s,     \
    [GGF_IQ3_XXS] = mul_iq3_xxs, [GGF_IQ3_S] = mul_iq3_s,
#else
#define GRID_KERNELS
#endif

/* Kept from clang-format, which does not see the commas of the first line. */
/* clang-format off */
static const mul_fn tile_kernels[GGF_TYPE_COUNT] = {
    GRID_KERNELS
    [GGF_Q4_0] = mul_q4_0,   [GGF_Q4_1] = mul_q4_1, [GGF_Q5_0] = mul_q5_0,
    [GGF_Q5_1] = mul_q5_1,   [GGF_Q8_0] = mul_q8_0, [GGF_IQ4_NL] = mul_iq4_nl,
    [GGF_MXFP4] = mul_mxfp4, [GGF_Q2_K] = mul_q2_k, [GGF_Q3_K] = mul_q3_k,
    [GGF_Q4_K] = mul_q4_k,   [GGF_Q5_K] = mul_q5_k, [GGF_Q6_K] = mul_q6_k,
    [GGF_IQ4_XS] = mul_iq4_xs,
};
/* clang-format on */
