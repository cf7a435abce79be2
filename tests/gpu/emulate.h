/* emulate.h - CUDA's names for a device that is emulated on the CPU, for tests: included
 * before a .cu file that the host's compiler is to compile.
 *
 * Only what infer/gpu uses is here.  emulate.cpp says how kernels run: every thread of a
 * block is a fiber, which runs until a point where it waits for others. */
#ifndef TESTS_GPU_EMULATE_H
#define TESTS_GPU_EMULATE_H

#define EMULATED_GPU 1

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <type_traits>

#include "../../quant/fp.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

/* ---- Vectors ------------------------------------------------------------------ */

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
#define EMU_VECTORS(type, name)                                                          \
    struct alignas(2 * sizeof(type)) name##2 { type x, y; };                             \
    struct alignas(4 * sizeof(type)) name##4 { type x, y, z, w; };                       \
    static inline name##2 make_##name##2(type x, type y) { return { x, y }; }            \
    static inline name##4 make_##name##4(type x, type y, type z, type w)                 \
    {                                                                                    \
        return { x, y, z, w };                                                           \
    }
EMU_VECTORS(float, float)
EMU_VECTORS(unsigned, uint)
EMU_VECTORS(int, int)

/* ---- The runtime's calls ------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorNotReady = 600,
    cudaErrorHostMemoryAlreadyRegistered = 712,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
enum { cudaStreamNonBlocking = 1, cudaHostAllocMapped = 2, cudaHostRegisterDefault = 0 };
enum { cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

struct cudaFuncAttributes {
    int ptxVersion;
};
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount, l2CacheSize;
};
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_exec *cudaGraphExec_t;

const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int index);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *kernel);
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute what, int value);
cudaError_t cudaMemGetInfo(size_t *bytes_free, size_t *total);
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned flags);
cudaError_t cudaHostGetDevicePointer(void **out, void *p, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from,
                              size_t from_stride, size_t bytes, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);

/* ---- What kernels see ------------------------------------------------------------- */

#include "emulate_place.h"

extern emu_place *emu_here; /* of the fiber that runs */
#define threadIdx (emu_here->thread)
#define blockIdx  (emu_here->block)
#define blockDim  (emu_here->threads)
#define gridDim   (emu_here->blocks)

/* entry: who the kernel is, for cudaFuncSetAttribute(); early: it may start before what
 * is before it in the stream is done, which has to be a kernel. */
void emu_launch(cudaStream_t s, const char *what, const void *entry, dim3 grid,
                dim3 block, size_t shared, bool early, std::function<void()> kernel);

/* What comes before a kernel is done.  What is read earlier, or by loads that are for
 * what no kernel writes, has to be what the host has put there, which no kernel has
 * changed. */
void emu_after_previous();
void emu_read(const void *p, size_t bytes);

/* A block's memory with this place in the source, the same for all of its threads. */
void *emu_shared(const char *file, int line, size_t bytes);
unsigned char *emu_shared_bytes();

/* Waiting for the block, and for the other lanes of the warp: once all 32 have come with
 * the same `what`, act(args of all lanes) is done, and they go on. */
void emu_block_sync();
void emu_warp(const char *what, void (*act)(void *const args[32]), void *arg);

static inline void __syncthreads() { emu_block_sync(); }
static inline void __syncwarp(unsigned = 0xffffffffu)
{
    emu_warp("syncwarp", NULL, NULL);
}
static inline void __threadfence() {}

template <class T> struct emu_exchange {
    T v, result;
    unsigned from;
};
template <class T> static void emu_exchange_all(void *const args[32])
{
    for (int i = 0; i < 32; i++) {
        emu_exchange<T> *mine = (emu_exchange<T> *)args[i];
        mine->result = ((emu_exchange<T> *)args[mine->from % 32])->v;
    }
}
template <class T> static inline T __shfl_sync(unsigned, T v, int from)
{
    emu_exchange<T> e = { v, v, (unsigned)from };
    emu_warp("shuffle", emu_exchange_all<T>, &e);
    return e.result;
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int with)
{
    return __shfl_sync(mask, v, (int)(threadIdx.x % 32) ^ with);
}
void emu_vote(void *const args[32]);
static inline unsigned __ballot_sync(unsigned, bool v)
{
    emu_exchange<unsigned> e = { v, 0, 0 };
    emu_warp("vote", emu_vote, &e);
    return e.result;
}

template <class T, class U> static inline T atomicAdd(T *at, U v)
{
    const T old = *at;
    *at = (T)(old + v);
    return old;
}
static inline unsigned atomicInc(unsigned *at, unsigned most)
{
    const unsigned old = *at;
    *at = old >= most ? 0 : old + 1;
    return old;
}
template <class T, class U> static inline T atomicMax(T *at, U v)
{
    const T old = *at;
    if ((T)v > old) *at = (T)v;
    return old;
}

/* ---- Numbers ------------------------------------------------------------------------
 */

using std::max;
using std::min;

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline int __float2int_rn(float v) { return (int)nearbyintf(v); }
static inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
static inline float __fsqrt_rn(float v) { return sqrtf(v); }
static inline unsigned __float_as_uint(float v) { return f32_bits(v); }
static inline float __uint_as_float(unsigned v) { return f32_of_bits(v); }
static inline int __float_as_int(float v) { return (int)f32_bits(v); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __ffs(int v) { return __builtin_ffs(v); }

struct __half {
    uint16_t bits;
};
struct __nv_bfloat16_raw {
    uint16_t x;
};
static inline __half __ushort_as_half(unsigned short v) { return { v }; }
static inline unsigned short __half_as_ushort(__half h) { return h.bits; }
static inline float __half2float(__half h) { return f16_to_f32(h.bits); }
static inline __half __float2half_rn(float v) { return { f32_to_f16(v) }; }
static inline __nv_bfloat16_raw __float2bfloat16_rn(float v)
{
    return { f32_to_bf16(v) };
}

static inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return c;
}
static inline int emu_dp2a(int a, int b, int c)
{
    return c + (int16_t)a * (int8_t)b + (a >> 16) * (int8_t)(b >> 8);
}
static inline int __dp2a_lo(int a, int b, int c) { return emu_dp2a(a, b, c); }
static inline int __dp2a_hi(int a, int b, int c) { return emu_dp2a(a, b >> 16, c); }
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s)
{
    const uint64_t bytes = a | (uint64_t)b << 32;
    unsigned v = 0;
    for (int i = 0; i < 4; i++)
        v |= (unsigned)(bytes >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
    return v;
}

/* ---- What device.cuh has for inline assembly ------------------------------------------
 */

void emu_mma_8_k16(int c[4], uint32_t a0, uint32_t a1, uint32_t b0, bool a_unsigned,
                   bool b_unsigned);
void emu_mma_16_k16(float c[4], const uint32_t a[4], const uint32_t b[2], bool bfloat);
uint32_t emu_tf32(float v);
void emu_mma_tf32_k8(float c[4], const uint32_t a[4], const uint32_t b[2]);
void emu_copy_begin(void *shared, const void *global, size_t bytes);
void emu_copy_end();
void emu_copy_wait(int newest);

#endif
