/* product_floats.cu - products of float matrices, routers above all, with more columns
 * than product_few() takes.
 *
 * The sums are those of row_of_floats(), to the bit: a lane has elements 4 l to 4 l + 3
 * of each 128 of a row, so that it needs its part of all the sums of a warp.  A warp has
 * 8 rows and 8 columns: 16 loads for 256 multiplications, where a row at a time takes 9
 * for 32; and the 16 warps of a block share rows and columns by way of the L1 cache. */
#include "product_tile.cuh"

enum {
    SIDE = FLOATS_SIDE,
    WARPS_SIDE = FLOATS_ROWS / SIDE, /* warps of a block along either */
    THREADS = WARPS_SIDE * WARPS_SIDE * WARP
};

/* This lane's parts of SIDE rows from w on times SIDE columns from x on, [column, row].
 */
template <uint32_t type>
static __device__ void multiply(const uint8_t *w, size_t row_bytes, const float *x,
                                size_t x_stride, uint32_t n, float sum[SIDE * SIDE])
{
#pragma unroll
    for (uint32_t i = 0; i < SIDE * SIDE; i++) sum[i] = 0;
#pragma unroll 1
    for (uint32_t at = 4 * lane_of(); at < n; at += 4 * WARP) {
        float4 row[SIDE];
#pragma unroll
        for (uint32_t r = 0; r < SIDE; r++)
            row[r] = floats<type>::four(w + r * row_bytes, at);
#pragma unroll
        for (uint32_t c = 0; c < SIDE; c++) {
            const float4 a = *(const float4 *)(x + c * x_stride + at);
#pragma unroll
            for (uint32_t r = 0; r < SIDE; r++) {
                float *const s = sum + SIDE * r + c;
                *s = fma1(row[r].x, a.x, *s);
                *s = fma1(row[r].y, a.y, *s);
                *s = fma1(row[r].z, a.z, *s);
                *s = fma1(row[r].w, a.w, *s);
            }
        }
    }
}

/* The sums of all lanes, added as warp_sum() does it; of each pair of lanes one goes on
 * with one half of them, the other with the other.  Lane l ends with numbers 2 l and 2 l
 * + 1, in the first two places. */
template <uint32_t half> static __device__ void add_lanes(float sum[SIDE * SIDE])
{
    const bool upper = lane_of() & half / 2;
#pragma unroll
    for (uint32_t i = 0; i < half; i++) {
        const float own = upper ? sum[half + i] : sum[i];
        const float other = upper ? sum[i] : sum[half + i];
        sum[i] = add(own, lane_xor(other, half / 2));
    }
    if constexpr (half > 2) add_lanes<half / 2>(sum);
}

/* Where fewer than SIDE are left, the warp has some of those before them once more. */
template <uint32_t type>
static __device__ void warp_product(const struct product &p,
                                    const struct product_matrix &m, uint32_t row,
                                    uint32_t column)
{
    float sum[SIDE * SIDE];
    if (row >= m.rows || column >= p.columns) return;
    const uint32_t r0 = min(row, m.rows - SIDE), c0 = min(column, p.columns - SIDE);
    multiply<type>(m.data + r0 * m.row_bytes, m.row_bytes, p.x + c0 * (size_t)p.x_stride,
                   p.x_stride, m.n, sum);
    add_lanes<SIDE * SIDE / 2>(sum);
    const uint32_t r = r0 + lane_of() / (SIDE / 2), c = c0 + lane_of() % (SIDE / 2) * 2;
#pragma unroll
    for (uint32_t i = 0; i < 2; i++)
        if (r >= row && c + i >= column)
            p.y[(c + i) * p.y_stride + m.out + r] = mul(sum[i], m.scale);
}

static __global__ void __launch_bounds__(THREADS)
    many_floats(const __grid_constant__ struct product p)
{
    const struct product_matrix &m = matrix_of(p);
    const uint32_t block = blockIdx.y - m.first_block, warp = warp_of();
    const uint32_t row = SIDE * (block * WARPS_SIDE + warp / WARPS_SIDE);
    const uint32_t column = SIDE * (blockIdx.x * WARPS_SIDE + warp % WARPS_SIDE);
    after_previous();
    switch (m.type) {
#define CASE(T)                                                                          \
    case T: warp_product<T>(p, m, row, column); break;
        FLOAT_TYPES(CASE)
#undef CASE
    }
}

void product_floats(struct gpu *g, const struct product *p, uint32_t row_blocks)
{
    LAUNCH(g, many_floats, dim3(div_up(p->columns, SIDE * WARPS_SIDE), row_blocks),
           THREADS, 0, *p);
}
