/* acts.cuh - encoded activations on the device: what encode.cu and norm.cu write and the
 * products read.
 *
 * A row of n numbers is a run of chunks of 64, two blocks of 32 with a scale each; the
 * last chunk is filled up with zeros.  Codes and scales are those of quant/act.h with
 * groups of 32, bit for bit. */
#ifndef INFER_GPU_ACTS_CUH
#define INFER_GPU_ACTS_CUH

#include "device.cuh"

enum { ACT_CHUNK = 64 };

struct act_chunk {
    uint32_t q[16]; /* 64 signed bytes */
    float d[2];     /* element i is q[i] * d[i / 32] */
    float sum32[2]; /* of 32 codes each, */
    float sum16[4]; /* and of 16 */
};
static_assert(sizeof(struct act_chunk) == 96, "copied in pieces of 16 bytes");

static inline __host__ __device__ uint32_t act_chunks(uint32_t n)
{
    return div_up(n, ACT_CHUNK);
}

/* Where loops around acts_put() end. */
static inline __host__ __device__ uint32_t acts_end(uint32_t n)
{
    return div_up(n, 128) * 128;
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

/* Store elements i to i + 3 of a row, i a multiple of 4.  Whole warps call together, and
 * every aligned group of 8 lanes has a block, in order, from the row's start to the end
 * of its last chunk, with zeros from n on:
 *
 *     for (i = 4 * threadIdx.x; i < acts_end(n); i += 4 * blockDim.x)
 *         acts_put(row, n, i, i < n ? the four : zeros);
 *
 * What lies behind the last chunk is not stored. */
static inline __device__ void acts_put(struct act_chunk *row, uint32_t n, uint32_t i,
                                       float4 v)
{
    const float x[4] = { v.x, v.y, v.z, v.w };
    uint32_t max = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const uint32_t abs = float_bits(x[j]) & 0x7fffffff;
        if (abs > max) max = abs;
    }
    max = warp_max_uint<8>(max);
    float inverse;
    const float d = act_scale(max, &inverse);
    uint32_t word = 0;
    int sum = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int q = inverse > 0 ? nearest(mul(x[j], inverse)) : 0;
        word |= ((uint32_t)q & 255) << 8 * j;
        sum += q;
    }
    const int sum16 = warp_sum_int<4>(sum), sum32 = sum16 + lane_xor(sum16, 4);
    if (i / ACT_CHUNK >= act_chunks(n)) return;
    struct act_chunk *c = row + i / ACT_CHUNK;
    c->q[i % ACT_CHUNK / 4] = word;
    if (i % 16 == 0) c->sum16[i % ACT_CHUNK / 16] = (float)sum16;
    if (i % 32 == 0) {
        c->d[i % ACT_CHUNK / 32] = d;
        c->sum32[i % ACT_CHUNK / 32] = (float)sum32;
    }
}

#endif
