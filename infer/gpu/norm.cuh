/* norm.cuh - the norm of a token's row and its encoding, by a block of any size, for
 * kernels that come to it at the end of something else.  The same bits in all of them:
 * what 256 numbers give is added up by a warp, and the sums of the warps in order. */
#ifndef INFER_GPU_NORM_CUH
#define INFER_GPU_NORM_CUH

#include "acts.cuh"

enum { NORM_PARTS = 32 }; /* sums of squares; of more blocks than that, every 32nd */

static inline __device__ float squares(float4 v)
{
    return add(fma1(v.x, v.x, mul(v.y, v.y)), fma1(v.z, v.z, mul(v.w, v.w)));
}

/* Numbers i to i + 3 of the row, which is normed and encoded 256 at a time. */
static inline __device__ uint32_t norm_at(uint32_t block, uint32_t half)
{
    return ACT_BLOCK * block + 128 * half + 4 * lane_of();
}

static inline __device__ void norm_weights(const struct gpu_norm_to &to, uint32_t n,
                                           uint32_t block, float4 w[2])
{
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        const uint32_t i = norm_at(block, h);
        w[h] = i < n ? *(const float4 *)(to.weight_d + i) : make_float4(0, 0, 0, 0);
    }
}

/* v becomes what goes to y: a warp's 256 numbers, with their weights. */
static inline __device__ void norm_put(const struct gpu_norm_to &to, uint32_t token,
                                       uint32_t n, uint32_t block, float scale,
                                       float4 v[2], const float4 w[2])
{
    float *const y = to.y_d + (size_t)token * n;
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        const uint32_t i = norm_at(block, h);
        v[h] =
            make_float4(mul(mul(v[h].x, scale), w[h].x), mul(mul(v[h].y, scale), w[h].y),
                        mul(mul(v[h].z, scale), w[h].z), mul(mul(v[h].w, scale), w[h].w));
        if (i < n) *(float4 *)(y + i) = v[h];
    }
}

/* And encoded. */
static inline __device__ void norm_encode(const struct gpu_norm_to &to, uint32_t token,
                                          uint32_t n, uint32_t block, const float4 v[2])
{
    if (to.q_d)
        acts_put((struct act_block *)to.q_d + (size_t)token * act_stride(n), n, block, v);
}

/* What the numbers are multiplied with, from the sums of squares. */
static inline __device__ float norm_scale(const struct gpu_norm_to &to, uint32_t n,
                                          const float *part, uint32_t parts)
{
    float sum = 0;
    for (uint32_t p = 0; p < parts; p++) sum = add(sum, part[p]);
    return quotient(1.0f, sqrtf(add(quotient(sum, (float)n), to.eps)));
}

static inline __device__ float4 plus(float4 a, float4 b)
{
    return make_float4(add(a.x, b.x), add(a.y, b.y), add(a.z, b.z), add(a.w, b.w));
}

/* norm_row() where warps have up to `each` blocks of 256: loads are on their way
 * together, and nothing is read again. */
template <uint32_t each, uint32_t fixed>
static inline __device__ void norm_short_row(const struct gpu_norm_to &to, uint32_t token,
                                             uint32_t n, float *x, const float *more,
                                             float *part)
{
    const float4 zero = make_float4(0, 0, 0, 0);
    const uint32_t blocks = act_blocks(n), warps = fixed ? fixed : blockDim.x / WARP;
    float4 v[each][2], w[each][2];
#pragma unroll
    for (uint32_t k = 0; k < each; k++)
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t i = norm_at(warp_of() + k * warps, h);
            v[k][h] = i < n ? *(const float4 *)(x + i) : zero;
            w[k][h] = more && i < n ? *(const float4 *)(more + i) : zero;
        }
#pragma unroll
    for (uint32_t k = 0; k < each; k++) {
        const uint32_t block = warp_of() + k * warps;
        float sum = 0;
        if (block >= blocks) break;
#pragma unroll
        for (uint32_t h = 0; h < 2; h++) {
            const uint32_t i = norm_at(block, h);
            if (i >= n) continue;
            if (more) *(float4 *)(x + i) = v[k][h] = plus(v[k][h], w[k][h]);
            sum = add(sum, squares(v[k][h]));
        }
        sum = warp_sum(sum);
        if (lane_of() == 0) part[block] = sum;
    }
#pragma unroll
    for (uint32_t k = 0; k < each; k++) norm_weights(to, n, warp_of() + k * warps, w[k]);
    block_sync();
    const float scale = norm_scale(to, n, part, blocks);
#pragma unroll
    for (uint32_t k = 0; k < each; k++)
        if (warp_of() + k * warps < blocks)
            norm_put(to, token, n, warp_of() + k * warps, scale, v[k], w[k]);
#pragma unroll
    for (uint32_t k = 0; k < each; k++)
        if (warp_of() + k * warps < blocks)
            norm_encode(to, token, n, warp_of() + k * warps, v[k]);
}

/* x += more, unless that is NULL, and its norm; x may be in shared memory.  All threads
 * of the block call together, `fixed` warps, or any number if that is 0.  Rows of up to
 * `each` blocks of 256 for a warp do not take long. */
template <uint32_t each, uint32_t fixed = 0>
static inline __device__ void norm_row(const struct gpu_norm_to &to, uint32_t token,
                                       uint32_t n, float *x, const float *more)
{
    SHARED(float, part, [NORM_PARTS]);
    const uint32_t blocks = act_blocks(n), parts = min(blocks, (uint32_t)NORM_PARTS);
    const uint32_t warps = fixed ? fixed : blockDim.x / WARP;
    block_sync(); /* nobody reads the parts of another row any more */
    if (blocks <= min(each * warps, (uint32_t)NORM_PARTS)) {
        norm_short_row<each, fixed>(to, token, n, x, more, part);
        return;
    }
    for (uint32_t p = warp_of(); p < parts; p += warps) {
        float sum = 0;
        for (uint32_t b = p; b < blocks; b += NORM_PARTS)
#pragma unroll
            for (uint32_t h = 0; h < 2; h++) {
                const uint32_t i = norm_at(b, h);
                if (i >= n) continue;
                float4 v = *(const float4 *)(x + i);
                if (more) *(float4 *)(x + i) = v = plus(v, *(const float4 *)(more + i));
                sum = add(sum, squares(v));
            }
        sum = warp_sum(sum);
        if (lane_of() == 0) part[p] = sum;
    }
    block_sync();
    const float scale = norm_scale(to, n, part, parts);
    for (uint32_t p = warp_of(); p < parts; p += warps)
        for (uint32_t b = p; b < blocks; b += NORM_PARTS) {
            float4 v[2], w[2];
#pragma unroll
            for (uint32_t h = 0; h < 2; h++) {
                const uint32_t i = norm_at(b, h);
                v[h] = i < n ? *(const float4 *)(x + i) : make_float4(0, 0, 0, 0);
            }
            norm_weights(to, n, b, w);
            norm_put(to, token, n, b, scale, v, w);
            norm_encode(to, token, n, b, v);
        }
}

#endif
