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

/* four(i): numbers i to i + 3 of x, which holds them by then; each is asked for once, and
 * read again by the thread that has asked.  All threads of the block call together. */
template <class F>
static inline __device__ void norm_row(const struct gpu_norm_to &to, uint32_t token,
                                       uint32_t n, const float *x, F four)
{
    SHARED(float, part, [NORM_PARTS]);
    const uint32_t blocks = act_blocks(n), parts = min(blocks, (uint32_t)NORM_PARTS);
    const uint32_t warps = blockDim.x / WARP;
    block_sync(); /* nobody reads the parts of another row any more */
    for (uint32_t p = warp_of(); p < parts; p += warps) {
        float sum = 0;
        for (uint32_t b = p; b < blocks; b += NORM_PARTS)
#pragma unroll
            for (uint32_t h = 0; h < 2; h++) {
                const uint32_t i = ACT_BLOCK * b + 128 * h + 4 * lane_of();
                if (i < n) sum = add(sum, squares(four(i)));
            }
        sum = warp_sum(sum);
        if (lane_of() == 0) part[p] = sum;
    }
    block_sync();
    float sum = 0;
    for (uint32_t p = 0; p < parts; p++) sum = add(sum, part[p]);
    const float scale = quotient(1.0f, sqrtf(add(quotient(sum, (float)n), to.eps)));
    float *const y = to.y_d + (size_t)token * n;
    for (uint32_t p = warp_of(); p < parts; p += warps)
        for (uint32_t b = p; b < blocks; b += NORM_PARTS) {
            float4 v[2];
#pragma unroll
            for (uint32_t h = 0; h < 2; h++) {
                const uint32_t i = ACT_BLOCK * b + 128 * h + 4 * lane_of();
                v[h] = make_float4(0, 0, 0, 0);
                if (i >= n) continue;
                const float4 w = *(const float4 *)(to.weight_d + i);
                const float4 a = *(const float4 *)(x + i);
                v[h] = make_float4(mul(mul(a.x, scale), w.x), mul(mul(a.y, scale), w.y),
                                   mul(mul(a.z, scale), w.z), mul(mul(a.w, scale), w.w));
                *(float4 *)(y + i) = v[h];
            }
            if (to.q_d)
                acts_put((struct act_block *)to.q_d + (size_t)token * act_stride(n), n, b,
                         v);
        }
}

/* x += more, unless that is NULL, first. */
static inline __device__ void norm_sum(const struct gpu_norm_to &to, uint32_t token,
                                       uint32_t n, float *x, const float *more)
{
    norm_row(to, token, n, x, [=](uint32_t i) {
        float4 v = *(const float4 *)(x + i);
        if (!more) return v;
        const float4 a = *(const float4 *)(more + i);
        v = make_float4(add(v.x, a.x), add(v.y, a.y), add(v.z, a.z), add(v.w, a.w));
        *(float4 *)(x + i) = v;
        return v;
    });
}

#endif
