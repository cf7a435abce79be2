/* tail.cuh - what follows a product of few tokens, by the block that finishes it: the
 * last one of its launch (see last_block()). */
#ifndef INFER_GPU_TAIL_CUH
#define INFER_GPU_TAIL_CUH

#include "norm.cuh"
#include "product.cuh"
#include "route.cuh"

/* A call, so that products have their registers for themselves.  p: in the kernel's
 * parameters. */
static __noinline__ __device__ void product_tail(const struct product *p)
{
    const struct product_tail &tail = p->tail;
    if (tail.what == product_tail::TAIL_NORM)
        for (uint32_t t = 0; t < p->columns; t++)
            norm_row<2, FEW_THREADS / WARP>(tail.norm, t, tail.n,
                                            tail.x + (size_t)t * tail.n,
                                            p->y + t * p->y_stride);
    if (tail.what == product_tail::TAIL_ROUTE)
        for (uint32_t t = warp_of(); t < p->columns; t += blockDim.x / WARP)
            route_any<TAIL_EXPERTS>(p->y + t * p->y_stride, tail.n, tail.n_used,
                                    tail.ids + (size_t)t * tail.n_used,
                                    tail.weights + (size_t)t * tail.n_used);
}

#endif
