/* encode.cu - activations to integers, as the products want them. */
#include "acts.cuh"

enum { ENCODE_THREADS = 128 };

static __global__ void encode(const float *x, uint32_t n, struct act_chunk *q)
{
    after_previous();
    const uint32_t token = blockIdx.y;
    const uint32_t i = 4 * (blockIdx.x * ENCODE_THREADS + threadIdx.x);
    float4 v = make_float4(0, 0, 0, 0);
    if (i < n) v = *(const float4 *)(x + (size_t)token * n + i);
    acts_put(q + (size_t)token * act_chunks(n), n, i, v);
}

uint64_t gpu_acts_bytes(uint32_t n, uint32_t tokens)
{
    return (uint64_t)tokens * act_chunks(n) * sizeof(struct act_chunk);
}

void gpu_encode(gpu *g, const struct gpu_acts *a)
{
    const dim3 grid(div_up(acts_end(a->n), 4 * ENCODE_THREADS), a->tokens);
    LAUNCH(g, encode, grid, ENCODE_THREADS, 0, a->x_d, a->n, (struct act_chunk *)a->q_d);
}
