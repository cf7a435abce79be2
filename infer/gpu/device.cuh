/* device.cuh - what all .cu files share: the device's state, how a kernel is launched,
 * and, with mma.cuh, the only place where intrinsics and instructions by name are used.
 *
 * The same files are compiled a second time by the host's compiler for the tests, with
 * tests/gpu/emulate.h in front of them, which has CUDA's names for the CPU; what cannot
 * be a name (launching, inline assembly) is said twice here.
 *
 * Results must not depend on which kernel a product is in: nvcc may contract a * b + c
 * wherever it likes, so sums that have to agree bit for bit are written with mul(), add()
 * and fma(). */
#ifndef INFER_GPU_DEVICE_CUH
#define INFER_GPU_DEVICE_CUH

#include "gpu.h"

#ifndef EMULATED_GPU
#include <cuda_runtime.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

enum { WARP = 32, GPU_COUNTERS = 1024, GPU_SHARED = 8 };

struct grid_tables;

struct gpu {
    struct gpu_info info;
    cudaStream_t stream, copies;
    cudaEvent_t here, copied;     /* the last point in each that the other waited for */
    bool has_tf32;                /* see mma.cuh */
    bool overlaps;                /* kernels may start early: after_previous(); if the */
    bool behind_kernel;           /* last thing in the stream is a kernel */
    bool recording, no_graphs;    /* a graph; the system has refused one */
    struct grid_tables *tables_d; /* codebooks; see unpack.cuh */
    uint32_t *counters_d;         /* [GPU_COUNTERS], for last_block(); zeros */
    struct {
        const void *kernel;
        size_t bytes;
    } shared[GPU_SHARED]; /* what was allowed; see gpu_allow() */
    int failed;           /* 0, or the code of the first failure: */
    ggf_error error;
};

struct gpu_mark {
    struct gpu *g;
    cudaEvent_t event;
};

struct gpu_graph {
    struct gpu *g;
    cudaGraphExec_t exec;
};

/* What an entry point does first; false: a failure sticks, nothing is to be done. */
bool gpu_enter(struct gpu *g);
/* Keeps e, if it is the first failure; what: the call that gave it. */
void gpu_note(struct gpu *g, cudaError_t e, const char *what);
/* A kernel may ask for `bytes` of shared memory at a launch.  Without this a block has
 * 48 KiB, of which what the kernel declares takes a part. */
void gpu_allow(struct gpu *g, const void *kernel, size_t bytes, const char *what);

/* ---- Launching ---------------------------------------------------------------- */

/* Shared memory.  SHARED(float, sum, [32]) is float sum[32], SHARED(int, n, ) one int;
 * SHARED_BYTES(p) what the launch asked for, 16-aligned. */
#ifdef EMULATED_GPU
#define SHARED(type, name, dims)                                                         \
    type(&name) dims = *(type(*) dims)emu_shared(__FILE__, __LINE__, sizeof(type dims))
#define SHARED_BYTES(name) unsigned char *const name = emu_shared_bytes()
#else
#define SHARED(type, name, dims) __shared__ type name dims
#define SHARED_BYTES(name)       extern __shared__ __align__(16) unsigned char name[]
#endif

/* kernel<<<grid, block, shared>>>(args...); template arguments with a comma need
 * parentheses around the kernel.  Every kernel has to call after_previous(). */
#define LAUNCH(g, kernel, ...) launch(g, #kernel, kernel, __VA_ARGS__)

template <class... P, class... A>
static inline void launch(struct gpu *g, const char *what, void (*kernel)(P...),
                          dim3 grid, dim3 block, size_t shared, A... args)
{
    if (!gpu_enter(g) || !grid.x || !grid.y || !grid.z) return;
    if (shared) gpu_allow(g, (const void *)kernel, shared, what);
    const bool early = g->behind_kernel;
    g->behind_kernel = true;
#ifdef EMULATED_GPU
    emu_launch(g->stream, what, (const void *)kernel, grid, block, shared, early,
               [=] { kernel((P)args...); });
#else
    cudaLaunchAttribute overlap = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = g->stream;
    config.attrs = &overlap;
    config.numAttrs = g->overlaps && early;
    cudaLaunchKernelEx(&config, kernel, (P)args...);
#endif
    gpu_note(g, cudaGetLastError(), what);
}

/* Every thread of every kernel calls this once, before it reads what another kernel or a
 * copy wrote, and before it writes anything but shared memory: all that was enqueued
 * before the kernel is done when it returns.
 *
 * From compute capability 9.0 on a kernel's blocks start when all blocks of the one
 * before it have got this far and there is room for them ("programmatic dependent
 * launch", CUDA programming guide), so that what a kernel does before this call, and its
 * launch, cost no time of their own.  That may be reading weights, whose upload was
 * waited for long ago, and nothing else; not through a table, or by ids, of the
 * device. */
#ifdef EMULATED_GPU
static inline void after_previous() { emu_after_previous(); }
#else
static inline __device__ void after_previous()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

static inline __host__ __device__ uint32_t div_up(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

/* ---- Lanes of a warp: all 32 must call together ------------------------------------ */

static inline __device__ uint32_t lane_of() { return threadIdx.x % WARP; }
static inline __device__ uint32_t warp_of() { return threadIdx.x / WARP; }

/* The value that lane `from` (or this lane's number ^ mask) has. */
template <class T> static inline __device__ T lane_get(T v, uint32_t from)
{
    return __shfl_sync(0xffffffffu, v, (int)from);
}
template <class T> static inline __device__ T lane_xor(T v, uint32_t mask)
{
    return __shfl_xor_sync(0xffffffffu, v, (int)mask);
}
/* Bit l: what lane l says. */
static inline __device__ uint32_t lanes_vote(bool v)
{
    return __ballot_sync(0xffffffffu, v);
}
static inline __device__ void warp_sync() { __syncwarp(0xffffffffu); }
static inline __device__ void block_sync() { __syncthreads(); }

/* Of the neighbours in aligned groups of `lanes`; the same tree, and so the same bits, in
 * each of them. */
template <uint32_t lanes = WARP> static inline __device__ float warp_sum(float v)
{
#pragma unroll
    for (uint32_t m = lanes / 2; m; m /= 2) v = __fadd_rn(v, lane_xor(v, m));
    return v;
}
template <uint32_t lanes = WARP> static inline __device__ int warp_sum_int(int v)
{
#pragma unroll
    for (uint32_t m = lanes / 2; m; m /= 2) v += lane_xor(v, m);
    return v;
}
template <uint32_t lanes = WARP> static inline __device__ float warp_max(float v)
{
#pragma unroll
    for (uint32_t m = lanes / 2; m; m /= 2) v = fmaxf(v, lane_xor(v, m));
    return v;
}
template <uint32_t lanes> static inline __device__ uint32_t lanes_max_uint(uint32_t v)
{
#pragma unroll
    for (uint32_t m = lanes / 2; m; m /= 2) {
        const uint32_t other = lane_xor(v, m);
        if (other > v) v = other;
    }
    return v;
}
template <uint32_t lanes = WARP>
static inline __device__ uint32_t warp_max_uint(uint32_t v)
{
#if __CUDA_ARCH__ >= 800
    if constexpr (lanes == WARP) return __reduce_max_sync(0xffffffffu, v);
    else
#endif
        return lanes_max_uint<lanes>(v);
}

/* The sum over a block of whole warps, for all of its threads, who call together;
 * scratch: a float for each warp.  The barrier before it lets scratch be used again. */
static inline __device__ float block_sum(float v, float *scratch)
{
    v = warp_sum(v);
    block_sync();
    if (lane_of() == 0) scratch[warp_of()] = v;
    block_sync();
    float sum = 0;
    for (uint32_t w = 0; w < blockDim.x / WARP; w++) sum = __fadd_rn(sum, scratch[w]);
    return sum;
}
static inline __device__ float block_max(float v, float *scratch)
{
    v = warp_max(v);
    block_sync();
    if (lane_of() == 0) scratch[warp_of()] = v;
    block_sync();
    float max = scratch[0];
    for (uint32_t w = 1; w < blockDim.x / WARP; w++) max = fmaxf(max, scratch[w]);
    return max;
}

/* ---- Numbers --------------------------------------------------------------------- */

static inline __device__ float mul(float a, float b) { return __fmul_rn(a, b); }
static inline __device__ float add(float a, float b) { return __fadd_rn(a, b); }
static inline __device__ float sub(float a, float b) { return __fsub_rn(a, b); }
/* a * b + c, rounded once */
static inline __device__ float fma1(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}
static inline __device__ float quotient(float a, float b) { return __fdiv_rn(a, b); }
/* The nearest integer, ties to even. */
static inline __device__ int nearest(float v) { return __float2int_rn(v); }

static inline __device__ uint32_t float_bits(float v) { return __float_as_uint(v); }
static inline __device__ float bits_float(uint32_t v) { return __uint_as_float(v); }
static inline __device__ float half_to_float(uint16_t h)
{
    return __half2float(__ushort_as_half(h));
}
static inline __device__ uint16_t float_to_half(float v) /* nearest, ties to even */
{
    return __half_as_ushort(__float2half_rn(v));
}
static inline __device__ float bfloat_to_float(uint16_t h)
{
    return bits_float((uint32_t)h << 16);
}
static inline __device__ uint16_t float_to_bfloat(float v) /* nearest, ties to even */
{
    const __nv_bfloat16_raw h = __float2bfloat16_rn(v);
    return h.x;
}
/* Two binary16 in a word, the first low. */
static inline __device__ uint32_t half_pair(float low, float high)
{
    return float_to_half(low) | (uint32_t)float_to_half(high) << 16;
}

/* c + the sum of four products of signed bytes */
static inline __device__ int dot4(uint32_t a, uint32_t b, int c)
{
    return __dp4a((int)a, (int)b, c);
}
/* The same with bytes of a that have no sign. */
static inline __device__ int dot4_unsigned(uint32_t a, uint32_t b, int c)
{
#ifdef EMULATED_GPU
    for (int i = 0; i < 4; i++) c += (uint8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
#else
    asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(c) : "r"(a), "r"(b));
#endif
    return c;
}
/* c + the products of two signed numbers of 16 bits with the lower or the upper two
 * signed bytes of b */
static inline __device__ int dot2_low(uint32_t a, uint32_t b, int c)
{
    return __dp2a_lo((int)a, (int)b, c);
}
static inline __device__ int dot2_high(uint32_t a, uint32_t b, int c)
{
    return __dp2a_hi((int)a, (int)b, c);
}
/* A sum of integers that starts at BIASED is the bits of a float, as long as it stays
 * within 2^22: without a conversion, which is a slow instruction on many devices. */
enum { BIASED = 0x4b400000 };
static inline __device__ float biased_float(int v)
{
    return __fsub_rn(__uint_as_float((uint32_t)v), 12582912.0f);
}
/* Byte i of the result is byte (s >> 4 i & 7) of the eight in b:a. */
static inline __device__ uint32_t pick_bytes(uint32_t a, uint32_t b, uint32_t s)
{
    return __byte_perm(a, b, s);
}
static inline __device__ uint32_t count_bits(uint32_t v) { return (uint32_t)__popc(v); }

/* *p, in memory that no kernel writes: weights, tables.  These loads need not see what
 * was written while the kernel ran, and the compiler may move them, even to before
 * after_previous(): they are not for what the kernel before computes.  (The __ldg() of
 * CUDA is volatile: what is read twice would be loaded twice.) */
#ifdef EMULATED_GPU
template <class T> static inline T read(const T *p)
{
    emu_read(p, sizeof *p);
    return *p;
}
#else
static inline __device__ uint32_t read(const uint8_t *p)
{
    uint32_t v;
    asm("ld.global.nc.u8 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}
static inline __device__ uint32_t read(const uint16_t *p)
{
    uint16_t v;
    asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}
static inline __device__ uint32_t read(const uint32_t *p)
{
    uint32_t v;
    asm("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}
static inline __device__ float read(const float *p)
{
    float v;
    asm("ld.global.nc.f32 %0, [%1];" : "=f"(v) : "l"(p));
    return v;
}
static inline __device__ uint2 read(const uint2 *p)
{
    uint2 v;
    asm("ld.global.nc.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}
static inline __device__ uint4 read(const uint4 *p)
{
    uint4 v;
    asm("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(p));
    return v;
}
static inline __device__ float4 read(const float4 *p)
{
    float4 v;
    asm("ld.global.nc.v4.f32 {%0,%1,%2,%3}, [%4];"
        : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
        : "l"(p));
    return v;
}
#endif

/* The line of memory at p is wanted soon: it comes to the L2 cache. */
#ifdef EMULATED_GPU
static inline void ask_for(const void *p) { (void)p; }
#else
static inline __device__ void ask_for(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}
#endif

/* A vector that was read from shared memory, in one load, whatever of it is used here:
 * the compiler takes such loads apart. */
static inline __device__ uint4 in_one(uint4 v)
{
#ifndef EMULATED_GPU
    asm("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
#endif
    return v;
}
static inline __device__ uint2 in_one(uint2 v)
{
#ifndef EMULATED_GPU
    asm("" : "+r"(v.x), "+r"(v.y));
#endif
    return v;
}

static inline __device__ uint32_t atomic_add(uint32_t *at, uint32_t v)
{
    return atomicAdd(at, v);
}

/* Of n blocks that call this, all threads of each together, the last one gets true, and
 * sees what the others wrote before; what is left to do with results of them all is its
 * to do.  *counter is 0 before the first call and after the last.  (As in the programming
 * guide's "Memory Fence Functions": each write is fenced before its block is counted.) */
static inline __device__ bool last_block(uint32_t *counter, uint32_t n)
{
    SHARED(bool, last, );
    __threadfence();
    block_sync();
    if (threadIdx.x == 0) last = atomicInc(counter, n - 1) == n - 1;
    block_sync();
    if (last) __threadfence();
    return last;
}

/* ---- Copies from global to shared memory that a thread need not wait for -------------
 */

/* bytes: 4, 8 or 16, both sides aligned to it.  copy_end() closes a group of copies;
 * copy_wait<n>() waits until only the n latest groups of this thread may be under way;
 * others see the data after a barrier. */
#ifdef EMULATED_GPU
template <int bytes> static inline void copy_begin(void *shared, const void *global)
{
    emu_copy_begin(shared, global, bytes);
}
static inline void copy_end() { emu_copy_end(); }
template <int n> static inline void copy_wait() { emu_copy_wait(n); }
#elif __CUDA_ARCH__ >= 800
template <int bytes>
static inline __device__ void copy_begin(void *shared, const void *global)
{
    const unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    if (bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(to), "l"(global),
                     "n"(bytes)
                     : "memory");
}
static inline __device__ void copy_end()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int n> static inline __device__ void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
#else
template <int bytes>
static inline __device__ void copy_begin(void *shared, const void *global)
{
    if (bytes == 16) *(uint4 *)shared = *(const uint4 *)global;
    else if (bytes == 8) *(uint2 *)shared = *(const uint2 *)global;
    else *(uint32_t *)shared = *(const uint32_t *)global;
}
static inline __device__ void copy_end() {}
template <int n> static inline __device__ void copy_wait() {}
#endif

/* `bytes` of 16-aligned memory that nobody writes while the kernel runs, by `threads`
 * threads of which this is number `me`: each has every so many pieces of 16.  Where
 * copies are not waited for by the device, two loads are on their way together. */
static inline __device__ void copy_run(uint8_t *shared, const uint8_t *global,
                                       uint32_t bytes, uint32_t me, uint32_t threads)
{
#if defined EMULATED_GPU || __CUDA_ARCH__ >= 800
    for (uint32_t i = 16 * me; i < bytes; i += 16 * threads)
        copy_begin<16>(shared + i, global + i);
#else
    enum { together = 2 };
    for (uint32_t i = 16 * me; i < bytes; i += 16 * threads * together) {
        uint4 v[together];
#pragma unroll
        for (uint32_t k = 0; k < together; k++)
            if (i + 16 * threads * k < bytes)
                v[k] = read((const uint4 *)(global + i + 16 * threads * k));
#pragma unroll
        for (uint32_t k = 0; k < together; k++)
            if (i + 16 * threads * k < bytes)
                *(uint4 *)(shared + i + 16 * threads * k) = v[k];
    }
#endif
}

#endif
