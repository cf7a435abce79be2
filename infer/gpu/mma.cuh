/* mma.cuh - products of small matrices by a warp: what device.cuh is for the rest, for
 * tensor cores. */
#ifndef INFER_GPU_MMA_CUH
#define INFER_GPU_MMA_CUH

#include "device.cuh"

/* c += a b, where with g = lane / 4 and t = lane % 4 a lane holds
 *
 *   a, 16 rows of k:   a[0] row g, a[1] row g + 8, of both word t of the first half of k;
 *                      a[2], a[3] the same of the second half
 *   b, 8 columns of k: b[0] column g, word t of the first half of k; b[1] of the second
 *   c, 16 x 8:         c[0], c[1] row g, columns 2t and 2t + 1; c[2], c[3] row g + 8
 *
 * A word is four bytes, two binary16 (bfloat16), neighbours in k, lowest first, or one
 * tf32.
 * (PTX ISA, "Matrix fragments for mma.m16n8k32" and its kin.) */

/* Whether the bytes of a and of b have a sign. */
enum mma_bytes { S8_S8, U8_S8, S8_U8 };

#ifdef EMULATED_GPU
template <enum mma_bytes bytes>
static inline void mma_k16(int d[4], const int c[4], uint32_t a0, uint32_t a1,
                           uint32_t b0)
{
    int sum[4] = { c[0], c[1], c[2], c[3] };
    emu_mma_8_k16(sum, a0, a1, b0, bytes == U8_S8, bytes == S8_U8);
    memcpy(d, sum, sizeof sum);
}
template <enum mma_bytes bytes>
static inline void mma_k32(int d[4], const int c[4], const uint32_t a[4],
                           const uint32_t b[2])
{
    mma_k16<bytes>(d, c, a[0], a[1], b[0]);
    mma_k16<bytes>(d, d, a[2], a[3], b[1]);
}
static inline void mma_f16_k16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    emu_mma_16_k16(c, a, b, false);
}
static inline uint32_t tf32(float v) { return emu_tf32(v); }
static inline void mma_tf32_k8(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    emu_mma_tf32_k8(c, a, b);
}
#else
#if __CUDA_ARCH__ >= 800
#define MMA_K16(types)                                                                   \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32." types                          \
                 ".s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"                    \
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                        \
                 : "r"(a0), "r"(a1), "r"(b0), "r"(c[0]), "r"(c[1]), "r"(c[2]),           \
                   "r"(c[3]))
#define MMA_K32(types)                                                                   \
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." types                          \
                 ".s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"        \
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                        \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]),     \
                   "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]))
#else
#define MMA_8_ROWS(types, i, a)                                                          \
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." types                           \
                 ".s32 {%0,%1}, {%2}, {%3}, {%4,%5};"                                    \
                 : "=r"(d[i]), "=r"(d[(i) + 1])                                          \
                 : "r"(a), "r"(b0), "r"(c[i]), "r"(c[(i) + 1]))
#define MMA_K16(types)                                                                   \
    do {                                                                                 \
        MMA_8_ROWS(types, 0, a0);                                                        \
        MMA_8_ROWS(types, 2, a1);                                                        \
    } while (0)
#endif
/* d = c + the first halves alone.  (A c of its own stays in its registers; one that is d
 * is copied there each time, if it is a constant.) */
template <enum mma_bytes bytes>
static inline __device__ void mma_k16(int d[4], const int c[4], uint32_t a0, uint32_t a1,
                                      uint32_t b0)
{
    if constexpr (bytes == S8_S8) MMA_K16("s8.s8");
    if constexpr (bytes == U8_S8) MMA_K16("u8.s8");
    if constexpr (bytes == S8_U8) MMA_K16("s8.u8");
}
template <enum mma_bytes bytes>
static inline __device__ void mma_k32(int d[4], const int c[4], const uint32_t a[4],
                                      const uint32_t b[2])
{
#if __CUDA_ARCH__ >= 800
    if constexpr (bytes == S8_S8) MMA_K32("s8.s8");
    if constexpr (bytes == U8_S8) MMA_K32("u8.s8");
    if constexpr (bytes == S8_U8) MMA_K32("s8.u8");
#else
    mma_k16<bytes>(d, c, a[0], a[1], b[0]);
    mma_k16<bytes>(d, d, a[2], a[3], b[1]);
#endif
}
/* binary16, summed in binary32 */
static inline __device__ void mma_f16_k16(float c[4], const uint32_t a[4],
                                          const uint32_t b[2])
{
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}
/* The bits of a binary32 with a mantissa of 11 bits, the nearest one. */
static inline __device__ uint32_t tf32(float v)
{
    uint32_t r = 0;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
#endif
    return r;
}
/* tf32, summed in binary32: from compute capability 8.0 on; before that not to be
 * called. */
static inline __device__ void mma_tf32_k8(float c[4], const uint32_t a[4],
                                          const uint32_t b[2])
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#endif

/* Four operands b from shared memory: v[i] is word t of row g of matrix i, which has 8
 * rows of 16 bytes; lane 8 i + r says where row r of it is, 16-aligned. */
#ifdef EMULATED_GPU
static inline void load_matrices(uint32_t v[4], const uint32_t *row)
{
    for (uint32_t i = 0; i < 4; i++)
        v[i] = lane_get(row, 8 * i + lane_of() / 4)[lane_of() % 4];
}
#else
static inline __device__ void load_matrices(uint32_t v[4], const uint32_t *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
#endif

#endif
