/* product.cuh - what a launch of the product kernels (product_few.cu, product_many.cu,
 * product_floats.cu) is to do: for linear.cu and experts.cu, which say where weights and
 * activations are.
 *
 * A tile is some rows of one matrix times some columns, tokens or (token, expert) pairs:
 * y[column][out + row] = scale * (row . activations of the column).
 *
 * With coded weights the order of the sums is that of the CPU's kernels, in both kernels
 * here: quant/mul.h has it.  With floats, in binary32, a lane of a warp has elements 4 l
 * to 4 l + 3 of each 128 of a row, one after the other, and the lanes are added up as a
 * tree. */
#ifndef INFER_GPU_PRODUCT_CUH
#define INFER_GPU_PRODUCT_CUH

#include "acts.cuh"

enum {
    FEW_COLUMNS = 8,      /* columns of a tile of product_few(), */
    MANY_COLUMNS = 64,    /* and of product_many(), */
    MANY_ROWS = 128,      /* and rows; */
    MANY_FLOAT_ROWS = 16, /* of matrices of floats that are no experts: few are large */
    FEW_THREADS = 128,
    FLOATS_ROWS = 32, /* of a block of product_floats(), */
    FLOATS_SIDE = 8   /* and of a warp, which has as many columns */
};

struct product_matrix {
    const uint8_t *data;
    size_t row_bytes;
    uint32_t type, n, rows, out;
    float scale;
    uint32_t first_block; /* of rows, counted through all matrices */
    uint32_t item;        /* bytes of 256 weights */
};

/* Rows of a matrix of floats that is not an expert's: one for each warp. */
enum { FEW_FLOAT_ROWS = FEW_THREADS / 32 };

/* How product_few() cuts matrices of one shape.  A block has `rows` rows, a lane for each
 * block of 256 weights of them, and of long rows `span` blocks at a time; the row of a
 * lane is lane * lanes / 2^16.  blocks: of threads, for a matrix. */
struct few_shape {
    uint32_t span, lanes, rows, blocks;
};

/* What becomes of gate and up, [2 ff, rows] at y: silu(gate) * up, in gate's place and
 * encoded; and the weights of the shared expert. */
struct activation {
    struct act_block *mid; /* rows are `stride` apart */
    uint32_t stride;
    const float *shared_gate;
    float *shared_weight; /* [tokens] */
};

/* Columns of one expert; count 0: nothing. */
struct expert_tile {
    uint32_t expert, first, count;
};

enum {
    TAIL_TOKENS = 4,   /* so many a block can have, */
    TAIL_EXPERTS = 512 /* with the registers of a product */
};

/* What the last block of product_few() goes on to, see tail.cuh. */
struct product_tail {
    enum { TAIL_NOTHING, TAIL_NORM, TAIL_ROUTE } what;
    uint32_t *counter;
    uint32_t n; /* of x, or experts */
    /* x += y, and its norm */
    float *x;
    struct gpu_norm_to norm;
    /* y are logits */
    uint32_t n_used, *ids;
    float *weights;
};

/* How the blocks of a launch find their tiles: matrices with the same columns, or parts
 * of experts. */
struct product {
    const struct grid_tables *grids;
    const struct act_block *q; /* encoded activations, rows are act_stride apart */
    const float *x;            /* the same as floats, x_stride apart */
    uint32_t act_stride, x_stride;
    float *y;
    size_t y_stride;
    uint32_t columns;      /* in all */
    uint32_t tile_columns; /* of matrices */
    bool several;          /* few: tiles may have more than one */
    struct few_shape
        few[2];          /* of the matrices, or of routed experts; of the shared one */
    uint32_t n_matrices; /* 0: experts */
    struct product_matrix matrices[GPU_PARTS];

    /* experts: parts part .. part + n_parts - 1, `part_width` columns of y each */
    const struct gpu_expert *experts;
    uint32_t part, n_parts, part_width, n_expert, n_used, n_ff, n_ff_shared, n_embd,
        pairs;
    uint32_t expert_first, expert_end; /* of others there are no products */
    uint64_t types[3];                 /* as in struct gpu_moe */
    struct activation then;            /* of gate and up */
    uint32_t *counters; /* [tiles], for last_block(), if product_few() is to
                           do that; or NULL */
    struct gpu_matrix shared[3];
    const uint32_t *ids;             /* [pairs]: a tile is a pair, or */
    const struct expert_tile *tiles; /* NULL, or the tiles that were found, */
    const uint32_t *act_rows;        /* [pairs] of whose columns the activations are here;
                                        NULL: column i's are in row i */
    struct product_tail tail;        /* of matrices, for few columns */
};

/* Are there products of an expert?  Of the shared one, number n_expert, too. */
static inline __device__ bool expert_wanted(const struct gpu_expert *experts,
                                            uint32_t n_expert, uint32_t first,
                                            uint32_t end, uint32_t expert)
{
    return expert >= first && expert < end &&
           (expert == n_expert || experts[expert].data_d[GGF_GATE]);
}

/* `rows` rows of n; there may be `several` columns. */
static inline struct few_shape few_shape_of(uint32_t n, uint32_t rows, bool several)
{
    const uint32_t most = several ? 8 : 16, blocks = act_blocks(n);
    struct few_shape s;
    s.span = blocks > most ? most : blocks ? blocks : 1;
    s.lanes = 65536 / s.span + 1;
    s.rows = FEW_THREADS / s.span;
    s.blocks = div_up(rows, s.rows);
    return s;
}

/* tiles, row_blocks: how many of each. */
void product_few(struct gpu *g, const struct product *p, uint32_t tiles,
                 uint32_t row_blocks);
void product_many(struct gpu *g, const struct product *p, uint32_t tiles,
                  uint32_t row_blocks);
/* How many columns a tile of product_many() should have: fewer than there can be if there
 * were not tiles for all multiprocessors.  What a tile takes whatever its columns,
 * unpacking weights, takes about as long as 24 columns. */
uint32_t many_columns(const struct gpu *g, uint32_t columns, uint32_t row_blocks);
/* Matrices of floats of at least FLOATS_SIDE rows, times as many columns at least. */
void product_floats(struct gpu *g, const struct product *p, uint32_t row_blocks);

#endif
