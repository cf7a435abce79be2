/* acts.cuh - encoded activations on the device: what encode.cu, norm.cu and their like
 * write and the products read.
 *
 * A row of n numbers is there in both forms of quant/act.h, bit for bit: blocks of 256
 * with a scale for each 32, for types of weights with blocks of 32, and behind them
 * blocks with one scale for all 256, for types with blocks of 256.  The last block of
 * each form is filled up with zeros. */
#ifndef INFER_GPU_ACTS_CUH
#define INFER_GPU_ACTS_CUH

#include "device.cuh"

constexpr uint32_t ACT_BLOCK = 256;

/* struct act_block of quant/act.h */
struct act_block {
    uint32_t q[ACT_BLOCK / 4];    /* signed bytes */
    uint32_t sum[ACT_BLOCK / 32]; /* of 16 codes each: two 16-bit numbers in a word */
    float d[ACT_BLOCK / 32];      /* element i is q[i] * d[i / 32] */
};
static_assert(sizeof(struct act_block) == 320, "copied in pieces of 16 bytes");

/* Blocks of a row in one form, and in both. */
static inline __host__ __device__ uint32_t act_blocks(uint32_t n)
{
    return div_up(n, ACT_BLOCK);
}
static inline __host__ __device__ uint32_t act_stride(uint32_t n)
{
    return 2 * act_blocks(n);
}

/* A scale and what elements are multiplied with, from the largest of |x| as bits. */
static inline __device__ float act_scale(uint32_t max, float *inverse)
{
    const float amax = bits_float(max);
    *inverse = 0;
    if (max >= 0x7f800000) return bits_float(0x7fc00000);
    if (amax < 0x1p-100f) return 0;
    *inverse = quotient(127.0f, amax);
    return quotient(amax, 127.0f);
}

static inline __device__ uint32_t largest_abs(uint32_t max, float v)
{
    const uint32_t abs = float_bits(v) & 0x7fffffff;
    return abs > max ? abs : max;
}

/* Four codes; *sum: their sum. */
static inline __device__ uint32_t act_codes(float4 v, float inverse, int *sum)
{
    const float x[4] = { v.x, v.y, v.z, v.w };
    uint32_t word = 0;
    *sum = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int q = inverse > 0 ? nearest(mul(x[j], inverse)) : 0;
        word |= ((uint32_t)q & 255) << 8 * j;
        *sum += q;
    }
    return word;
}

/* Half h of a block, elements 128 h + 4 lane and the next three: codes and sums, and the
 * scale of each 32. */
static inline __device__ void acts_put_half(struct act_block *b, uint32_t h, float4 v,
                                            float d, float inverse)
{
    const uint32_t i = 128 * h + 4 * lane_of();
    int sum;
    b->q[i / 4] = act_codes(v, inverse, &sum);
    sum = warp_sum_int<4>(sum);
    const int next = lane_xor(sum, 4);
    if (i % 32) return;
    b->sum[i / 32] = ((uint32_t)sum & 0xffff) | (uint32_t)next << 16;
    b->d[i / 32] = d;
}

/* Store block `block` of a row of n, by a warp: lane l has elements 4 l to 4 l + 3 of
 * both halves in v[0] and v[1], zeros from n on. */
static inline __device__ void acts_put(struct act_block *row, uint32_t n, uint32_t block,
                                       const float4 v[2])
{
    uint32_t max = 0;
    float inverse;
    for (uint32_t h = 0; h < 2; h++) {
        uint32_t max32 = largest_abs(0, v[h].x);
        max32 = largest_abs(max32, v[h].y);
        max32 = largest_abs(max32, v[h].z);
        max32 = largest_abs(max32, v[h].w);
        max32 = warp_max_uint<8>(max32);
        const float d = act_scale(max32, &inverse);
        acts_put_half(row + block, h, v[h], d, inverse);
        if (max32 > max) max = max32;
    }
    const float d = act_scale(warp_max_uint(max), &inverse);
    for (uint32_t h = 0; h < 2; h++)
        acts_put_half(row + act_blocks(n) + block, h, v[h], d, inverse);
}

/* The same from memory: x has the row, or as much of it as there is up to the block. */
static inline __device__ void acts_put_from(struct act_block *row, uint32_t n,
                                            uint32_t block, const float *x)
{
    float4 v[2];
#pragma unroll
    for (uint32_t h = 0; h < 2; h++) {
        const uint32_t i = ACT_BLOCK * block + 128 * h + 4 * lane_of();
        v[h] = i < n ? *(const float4 *)(x + i) : make_float4(0, 0, 0, 0);
    }
    acts_put(row, n, block, v);
}

#endif
