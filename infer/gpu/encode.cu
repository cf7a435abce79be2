/* encode.cu - activations to integers, as the products want them. */
#include "acts.cuh"

enum { ENCODE_WARPS = 4 };

/* A warp for each block of 256. */
static __global__ void encode(const float *x, uint32_t n, struct act_block *q)
{
    after_previous();
    const uint32_t token = blockIdx.y, block = blockIdx.x * ENCODE_WARPS + warp_of();
    if (block < act_blocks(n))
        acts_put_from(q + (size_t)token * act_stride(n), n, block, x + (size_t)token * n);
}

uint64_t gpu_acts_bytes(uint32_t n, uint32_t tokens)
{
    return (uint64_t)tokens * act_stride(n) * sizeof(struct act_block);
}

void gpu_encode(gpu *g, const struct gpu_acts *a)
{
    const dim3 grid(div_up(act_blocks(a->n), ENCODE_WARPS), a->tokens);
    LAUNCH(g, encode, grid, ENCODE_WARPS * WARP, 0, a->x_d, a->n,
           (struct act_block *)a->q_d);
}
