/* product_tile.cuh - what both product kernels share: which tile a block has, and rows of
 * floats. */
#ifndef INFER_GPU_PRODUCT_TILE_CUH
#define INFER_GPU_PRODUCT_TILE_CUH

#include "product.cuh"
#include "unpack.cuh"

/* What a block works on. */
struct tile {
    const uint8_t *w;
    size_t row_bytes;
    uint32_t type, n, rows;
    uint32_t item;            /* bytes of 256 weights */
    uint32_t shape;           /* which of product.few */
    uint32_t row;             /* the block's first */
    uint32_t first, count;    /* columns */
    const uint32_t *act_rows; /* of the columns' activations, or NULL: */
    uint32_t act_first;       /* theirs are from here on */
    uint32_t out;
    float scale;
};

/* The matrix that the block has rows of. */
static inline __device__ const struct product_matrix &matrix_of(const struct product &p)
{
    uint32_t i = p.n_matrices - 1;
    while (p.matrices[i].first_block > blockIdx.y) i--;
    return p.matrices[i];
}

static inline __device__ bool matrix_tile(const struct product &p, bool few,
                                          struct tile *t)
{
    const struct product_matrix &m = matrix_of(p);
    t->w = m.data;
    t->row_bytes = m.row_bytes;
    t->type = m.type;
    t->item = m.item;
    t->n = m.n;
    t->rows = m.rows;
    t->shape = 0;
    const uint32_t float_rows =
                       few ? (uint32_t)FEW_FLOAT_ROWS : (uint32_t)MANY_FLOAT_ROWS,
                   coded_rows = few ? p.few[0].rows : (uint32_t)MANY_ROWS;
    t->row = (blockIdx.y - m.first_block) * (is_floats(m.type) ? float_rows : coded_rows);
    t->first = t->act_first = blockIdx.x * p.tile_columns;
    t->count = min(p.tile_columns, p.columns - t->first);
    t->act_rows = NULL;
    t->out = m.out;
    t->scale = m.scale;
    return t->row < m.rows;
}

/* Which expert and columns. */
static inline __device__ struct expert_tile columns_of(const struct product &p)
{
    if (p.tiles) return p.tiles[blockIdx.x];
    if (blockIdx.x < p.pairs) return { p.ids[blockIdx.x], blockIdx.x, 1 };
    return { p.n_expert, p.pairs, p.columns - p.pairs };
}

static inline __device__ bool expert_tile_of(const struct product &p, bool few,
                                             struct tile *t)
{
    const struct expert_tile e = columns_of(p);
    if (!e.count ||
        !expert_wanted(p.experts, p.n_expert, p.expert_first, p.expert_end, e.expert))
        return false;
    const bool shared = e.expert == p.n_expert;
    const uint32_t n_ff = shared ? p.n_ff_shared : p.n_ff;
    t->n = p.part == GGF_DOWN ? n_ff : p.n_embd;
    t->rows = p.part == GGF_DOWN ? p.n_embd : n_ff;
    t->shape = shared;
    const uint32_t blocks = few ? p.few[shared].blocks : div_up(t->rows, MANY_ROWS);
    uint32_t k = 0, block = blockIdx.y; /* a division takes longer */
    for (; block >= blocks && k < p.n_parts; block -= blocks) k++;
    if (k >= p.n_parts) return false;
    const uint32_t part = p.part + k;
    t->row = block * (few ? p.few[shared].rows : (uint32_t)MANY_ROWS);
    t->w = (const uint8_t *)(shared ? p.shared[part].data_d
                                    : p.experts[e.expert].data_d[part]);
    t->type = shared ? p.shared[part].type : p.experts[e.expert].type[part];
    t->scale = shared ? p.shared[part].scale : p.experts[e.expert].scale[part];
    t->row_bytes = row_bytes_of(t->type, t->n);
    t->item = (uint32_t)row_bytes_of(t->type, ACT_BLOCK);
    t->first = e.first;
    t->count = e.count;
    t->out = k * p.part_width;
    t->act_rows = NULL;
    t->act_first = e.first;
    if (p.part != GGF_DOWN) { /* the activations of tokens and not of pairs */
        if (shared) t->act_first = e.first - p.pairs;
        else if (p.act_rows) t->act_rows = p.act_rows + e.first;
        else t->act_first = p.several ? e.first / p.n_used : 0;
    }
    return true;
}

/* The tile of a block of product_many(), in shared memory: registers are for numbers. */
static inline __device__ bool block_tile(const struct product &p, struct tile *t)
{
    if (threadIdx.x == 0 &&
        !(p.n_matrices ? matrix_tile(p, false, t) : expert_tile_of(p, false, t)))
        t->count = 0;
    block_sync();
    return t->count != 0;
}

static inline __device__ uint32_t act_row(const struct tile &t, uint32_t column)
{
    return t.act_rows ? t.act_rows[column] : t.act_first + column;
}

static inline __device__ const uint8_t *weight_row(const struct tile &t, uint32_t row)
{
    return t.w + (size_t)min(row, t.rows - 1) * t.row_bytes;
}

/* The encoded activations of a column in the form that types with such blocks want. */
static inline __device__ const struct act_block *acts_of(const struct product &p,
                                                         const struct tile &t,
                                                         uint32_t column, uint32_t block)
{
    return p.q + (size_t)act_row(t, column) * p.act_stride +
           (block == ACT_BLOCK ? act_blocks(t.n) : 0);
}

static inline __device__ const float *acts_floats(const struct product &p,
                                                  const struct tile &t, uint32_t column)
{
    return p.x + (size_t)act_row(t, column) * p.x_stride;
}

/* y = a row of floats times columns from `column` on, by a warp: `columns` of them, or
 * what is left.  All lanes have the sums. */
template <uint32_t type, uint32_t columns>
static inline __device__ void row_of_floats(const struct product &p, const struct tile &t,
                                            uint32_t row, uint32_t column, float *sum)
{
    /* times 128 numbers that are loaded together */
    enum { step = columns == 1 ? 6 : 4 };
    const uint8_t *w = weight_row(t, row);
    const uint32_t first = 4 * lane_of();
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) sum[c] = 0;
    for (uint32_t i0 = first; i0 < t.n; i0 += 128 * step) {
        float4 v[step];
#pragma unroll
        for (uint32_t k = 0; k < step; k++)
            v[k] = i0 + 128 * k < t.n ? floats<type>::four(w, i0 + 128 * k)
                                      : make_float4(0, 0, 0, 0);
#pragma unroll
        for (uint32_t c = 0; c < columns; c++) {
            if (columns > 1 && column + c >= t.count) break;
            const float *x = acts_floats(p, t, column + c);
#pragma unroll
            for (uint32_t k = 0; k < step; k++) {
                if (i0 + 128 * k >= t.n) break;
                const float4 a = *(const float4 *)(x + i0 + 128 * k);
                sum[c] = fma1(v[k].x, a.x, sum[c]);
                sum[c] = fma1(v[k].y, a.y, sum[c]);
                sum[c] = fma1(v[k].z, a.z, sum[c]);
                sum[c] = fma1(v[k].w, a.w, sum[c]);
            }
        }
    }
#pragma unroll
    for (uint32_t c = 0; c < columns; c++) sum[c] = warp_sum(sum[c]);
}

/* Rows first, first + step, ... before `end` of it, by a warp. */
template <uint32_t type, uint32_t columns>
static inline __device__ void rows_of_floats(const struct product &p,
                                             const struct tile &t, uint32_t first,
                                             uint32_t step, uint32_t end)
{
    for (uint32_t column = 0; column < t.count; column += columns)
        for (uint32_t row = first; row < end; row += step) {
            float sum[columns];
            row_of_floats<type, columns>(p, t, row, column, sum);
#pragma unroll
            for (uint32_t c = 0; c < columns; c++)
                if (lane_of() == c && column + c < t.count)
                    p.y[(t.first + column + c) * p.y_stride + t.out + row] =
                        mul(sum[c], t.scale);
        }
}

#endif
