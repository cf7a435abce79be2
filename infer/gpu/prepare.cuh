/* prepare.cuh - norm and rotation of queries and keys, and what goes to the cache: by a
 * kernel of its own, or for one token by the blocks that need it (attend_few.cu).  The
 * same bits in both, so sums are written out. */
#ifndef INFER_GPU_PREPARE_CUH
#define INFER_GPU_PREPARE_CUH

#include "attention.cuh"

/* Cosines and sines of a position. */
struct angles {
    float cosine[MOST_DIM / 2], sine[MOST_DIM / 2];
};

/* By a block.  Angles are pos * base^(-2 i / n_rot), in double: at position 100000 a
 * float would be off by some thousandths.  Only the rest of a turn is left to float. */
static __device__ void angles_at(struct angles *a, uint32_t half, uint32_t pos,
                                 const struct frequencies *f)
{
    for (uint32_t i = threadIdx.x; i < half; i += blockDim.x) {
        const double turn = 6.283185307179586, angle = pos * f->f[i];
        const float rest = (float)fma(-turn, rint(angle * (1 / turn)), angle);
        a->cosine[i] = cosf(rest);
        a->sine[i] = sinf(rest);
    }
}

/* A head of x, normed and rotated, times scale, in shared memory; a warp's work. */
static __device__ void rotated_row(const struct attend *a, const struct angles *angles,
                                   const float *x, const float *weight, float scale,
                                   float *row)
{
    const uint32_t dim = a->head_dim, half = a->n_rot / 2;
    float sum = 0;
    for (uint32_t i = lane_of(); i < dim; i += WARP) sum = fma1(x[i], x[i], sum);
    const float norm = 1.0f / sqrtf(add(warp_sum(sum) / (float)dim, a->eps));
    for (uint32_t i = lane_of(); i < dim; i += WARP)
        row[i] = mul(x[i], mul(norm, weight[i]));
    warp_sync();
    for (uint32_t i = lane_of(); i < half; i += WARP) {
        const float c = angles->cosine[i], s = angles->sine[i];
        const float u = row[i], v = row[half + i];
        row[i] = fma1(u, c, -mul(v, s));
        row[half + i] = fma1(u, s, mul(v, c));
    }
    warp_sync();
    if (scale == 1) return;
    for (uint32_t i = lane_of(); i < dim; i += WARP) row[i] = mul(row[i], scale);
}

static __device__ void query_row(const struct attend *a, const struct angles *angles,
                                 const float *x, float *row)
{
    rotated_row(a, angles, x, a->q_norm, 1.0f / sqrtf((float)a->head_dim), row);
}

/* A key or value of a token goes to the cache; row: shared memory of the warp.  A call,
 * for the registers of who calls. */
static __noinline__ __device__ void store_row(const struct attend *a,
                                              const struct angles *angles, uint32_t token,
                                              uint32_t pos, uint32_t kv_head, bool value,
                                              float *row)
{
    const uint32_t dim = a->head_dim;
    const struct kv_rows *const kv = value ? &a->v : &a->k;
    const float *const x =
        a->projected + token * a->width +
        (size_t)(2 * a->n_head + (value ? a->n_head_kv : 0) + kv_head) * dim;
    if (value)
        for (uint32_t i = lane_of(); i < dim; i += WARP) row[i] = x[i];
    else rotated_row(a, angles, x, a->k_norm, 1, row);
    uint8_t *const to = kv->data + ((size_t)kv_head * a->n_ctx + pos) * kv->row_bytes;
    for (uint32_t i = 0; i < dim / WARP; i++)
        kv_put(kv, to, i, row[lane_of() + WARP * i]);
}

#endif
