/* device.cu - a device: opening it, its memory, the order of what it does, graphs, and
 * how failures are kept.  What it computes is in the other files.
 *
 * Everything goes through one stream, but for copies that are made beside it, which have
 * a second one; events order the two.  The first failure is kept with the call that
 * reported it; a kernel's own failure shows in a later call, as CUDA has it. */
#include "device.cuh"
#include "tables.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Failures ------------------------------------------------------------------- */

static int code_of(cudaError_t e)
{
    return e == cudaErrorMemoryAllocation ? GGF_E_NOMEM : GGF_E_IO;
}

static int fail(ggf_error *err, cudaError_t e, const char *what)
{
    return ggf_fail(err, code_of(e), GGF_NO_OFFSET, "CUDA: %s: %s", what,
                    cudaGetErrorString(e));
}

void gpu_note(struct gpu *g, cudaError_t e, const char *what)
{
    if (e != cudaSuccess && !g->failed) g->failed = fail(&g->error, e, what);
}

bool gpu_enter(struct gpu *g)
{
    if (!g->failed) gpu_note(g, cudaSetDevice(g->info.index), "cudaSetDevice");
    return !g->failed;
}

/* The same before what is no kernel. */
static bool enter_other(struct gpu *g)
{
    g->behind_kernel = false;
    return gpu_enter(g);
}

static int failure(const struct gpu *g, ggf_error *err)
{
    if (g->failed && err) *err = g->error;
    return g->failed;
}

/* Asked for once: it is among what a launch costs. */
void gpu_allow(struct gpu *g, const void *kernel, size_t bytes, const char *what)
{
    uint32_t i = 0;
    while (i + 1 < GPU_SHARED && g->shared[i].kernel && g->shared[i].kernel != kernel)
        i++;
    if (g->shared[i].kernel == kernel && g->shared[i].bytes >= bytes) return;
    gpu_note(g,
             cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes),
             what);
    g->shared[i] = { kernel, bytes };
}

/* ---- Opening --------------------------------------------------------------------- */

/* The runtime says the same of a driver that is too old and of none. */
static void no_device(cudaError_t e, ggf_error *err)
{
    int driver = 0, own = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&own);
    if (e == cudaErrorInsufficientDriver && driver)
        ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                 "no CUDA device: the driver is for CUDA %d.%d, this program for %d.%d",
                 driver / 1000, driver % 1000 / 10, own / 1000, own % 1000 / 10);
    else
        ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "no CUDA device: %s",
                 driver ? cudaGetErrorString(e) : "there is no driver");
    cudaGetLastError(); /* said; nothing else has failed */
}

int gpu_count(ggf_error *err)
{
    int n = 0, driver = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e == cudaSuccess) e = n > 0 ? cudaDriverGetVersion(&driver) : cudaErrorNoDevice;
    /* A runtime of 11.8 begins with drivers that have no cudaLaunchKernelEx() yet. */
    if (e == cudaSuccess && driver < 11080) e = cudaErrorInsufficientDriver;
    if (e == cudaSuccess) return n;
    no_device(e, err);
    return 0;
}

/* For what it is asked of the device. */
static __global__ void nothing() { after_previous(); }

/* Is there code for it, and what kind?  PTX for an older one has nothing in place of
 * after_previous() or of tf32. */
static int describe_code(struct gpu *g, ggf_error *err)
{
    const struct gpu_info *info = &g->info;
    cudaFuncAttributes code = {};
    cudaError_t e = cudaErrorNoKernelImageForDevice;
    int driver = 0, own = 0;
    if (info->major * 10 + info->minor >= 75)
        e = cudaFuncGetAttributes(&code, (const void *)nothing);
    if (e == cudaSuccess) e = cudaDriverGetVersion(&driver);
    if (e == cudaSuccess) e = cudaRuntimeGetVersion(&own);
    if (e != cudaSuccess) {
        cudaGetLastError(); /* said */
        return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                        "device %d, %s, has compute capability %d.%d: %s", info->index,
                        info->name, info->major, info->minor, cudaGetErrorString(e));
    }
    g->has_tf32 = info->major >= 8 && code.ptxVersion >= 80;
    /* Before 12.3 graphs had no such edges, and so runtimes do not ask for them. */
    g->overlaps =
        info->major >= 9 && code.ptxVersion >= 90 && driver >= 12030 && own >= 12030;
    return 0;
}

static int describe(struct gpu *g, ggf_error *err)
{
    struct gpu_info *info = &g->info;
    cudaDeviceProp p;
    size_t bytes_free, total;
    cudaError_t e = cudaGetDeviceProperties(&p, info->index);
    if (e != cudaSuccess) return fail(err, e, "cudaGetDeviceProperties");
    snprintf(info->name, sizeof info->name, "%.*s", (int)sizeof info->name - 1, p.name);
    info->major = p.major;
    info->minor = p.minor;
    info->n_sm = p.multiProcessorCount;
    info->bytes_cache = p.l2CacheSize > 0 ? (uint64_t)p.l2CacheSize : 0;
    e = cudaMemGetInfo(&bytes_free, &total);
    if (e != cudaSuccess) return fail(err, e, "cudaMemGetInfo");
    info->bytes_free = bytes_free;
    info->bytes_total = total;
    return describe_code(g, err);
}

static int open_stream(struct gpu *g, ggf_error *err)
{
    cudaError_t e = cudaSetDevice(g->info.index);
    if (e != cudaSuccess) return fail(err, e, "cudaSetDevice");
    e = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    if (e == cudaSuccess)
        e = cudaStreamCreateWithFlags(&g->copies, cudaStreamNonBlocking);
    if (e != cudaSuccess) return fail(err, e, "cudaStreamCreate");
    e = cudaEventCreateWithFlags(&g->here, cudaEventDisableTiming);
    if (e == cudaSuccess)
        e = cudaEventCreateWithFlags(&g->copied, cudaEventDisableTiming);
    return e == cudaSuccess ? 0 : fail(err, e, "cudaEventCreate");
}

static int upload_tables(struct gpu *g, ggf_error *err)
{
    struct grid_tables tables;
    void *p;
    grid_tables_make(&tables);
    const int e = gpu_alloc(g, &p, sizeof tables, err);
    if (e) return e;
    g->tables_d = (struct grid_tables *)p;
    gpu_upload(g, p, &tables, sizeof tables);
    return gpu_sync(g, err);
}

static int zero_counters(struct gpu *g, ggf_error *err)
{
    const uint64_t bytes = GPU_COUNTERS * sizeof *g->counters_d;
    void *p;
    const int e = gpu_alloc(g, &p, bytes, err);
    if (e) return e;
    g->counters_d = (uint32_t *)p;
    gpu_zero(g, p, bytes);
    return gpu_sync(g, err);
}

int gpu_open(gpu **out, int index, ggf_error *err)
{
    *out = NULL;
    const int n = gpu_count(err);
    if (!n) return GGF_E_NOT_FOUND;
    cudaGetLastError(); /* what failed before this device was opened is not its failure */
    if (index < 0 || index >= n)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "there is no device %d: they are numbered 0 to %d", index, n - 1);
    struct gpu *g = (struct gpu *)calloc(1, sizeof *g);
    if (!g) return ggf_no_memory(err);
    g->info.index = index;
    int e = open_stream(g, err);
    if (!e) e = describe(g, err);
    if (!e) e = upload_tables(g, err);
    if (!e) e = zero_counters(g, err);
    if (e) gpu_close(g);
    else *out = g;
    return e;
}

void gpu_close(gpu *g)
{
    if (!g) return;
    cudaSetDevice(g->info.index);
    if (g->tables_d) cudaFree(g->tables_d);
    if (g->counters_d) cudaFree(g->counters_d);
    if (g->here) cudaEventDestroy(g->here);
    if (g->copied) cudaEventDestroy(g->copied);
    if (g->copies) cudaStreamDestroy(g->copies);
    if (g->stream) cudaStreamDestroy(g->stream);
    free(g);
}

const struct gpu_info *gpu_describe(const gpu *g) { return &g->info; }

uint64_t gpu_bytes_free(gpu *g)
{
    size_t bytes_free = 0, total = 0;
    if (gpu_enter(g)) gpu_note(g, cudaMemGetInfo(&bytes_free, &total), "cudaMemGetInfo");
    return bytes_free;
}

/* ---- Memory ---------------------------------------------------------------------- */

/* A failure to allocate is the caller's to deal with; any other sticks. */
static int refused(struct gpu *g, cudaError_t e, const char *what, uint64_t bytes,
                   ggf_error *err)
{
    if (e != cudaErrorMemoryAllocation) {
        gpu_note(g, e, what);
        return failure(g, err);
    }
    cudaGetLastError(); /* forget it */
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "CUDA: %s of %llu bytes: %s", what,
                    (unsigned long long)bytes, cudaGetErrorString(e));
}

int gpu_alloc(gpu *g, void **out_d, uint64_t bytes, ggf_error *err)
{
    *out_d = NULL;
    if (!gpu_enter(g)) return failure(g, err);
    const uint64_t whole = bytes ? (bytes + 15) / 16 * 16 : 16;
    const cudaError_t e = cudaMalloc(out_d, whole);
    return e == cudaSuccess ? 0 : refused(g, e, "cudaMalloc", bytes, err);
}

void gpu_free(gpu *g, void *p_d)
{
    if (!p_d) return;
    cudaSetDevice(g->info.index);
    gpu_note(g, cudaFree(p_d), "cudaFree");
}

int gpu_host_alloc(gpu *g, void **out, void **out_d, uint64_t bytes, ggf_error *err)
{
    *out = NULL;
    if (out_d) *out_d = NULL;
    if (!gpu_enter(g)) return failure(g, err);
    cudaError_t e = cudaHostAlloc(out, bytes ? bytes : 1, cudaHostAllocMapped);
    if (e != cudaSuccess) return refused(g, e, "cudaHostAlloc", bytes, err);
    if (!out_d) return 0;
    e = cudaHostGetDevicePointer(out_d, *out, 0);
    if (e == cudaSuccess) return 0;
    cudaFreeHost(*out);
    *out = NULL;
    return refused(g, e, "cudaHostGetDevicePointer", bytes, err);
}

void gpu_host_free(gpu *g, void *p)
{
    if (!p) return;
    cudaSetDevice(g->info.index);
    gpu_note(g, cudaFreeHost(p), "cudaFreeHost");
}

/* Systems refuse for many reasons.  A device that is lost shows in the next call. */
int gpu_host_pin(gpu *g, void *p, uint64_t bytes, ggf_error *err)
{
    if (!gpu_enter(g)) return failure(g, err);
    const cudaError_t e = cudaHostRegister(p, bytes, cudaHostRegisterDefault);
    if (e == cudaSuccess) return 0;
    cudaGetLastError(); /* forget it */
    return fail(err, e, "cudaHostRegister");
}

void gpu_host_unpin(gpu *g, void *p)
{
    cudaSetDevice(g->info.index);
    gpu_note(g, cudaHostUnregister(p), "cudaHostUnregister");
}

void gpu_upload(gpu *g, void *to_d, const void *from, uint64_t bytes)
{
    if (bytes && enter_other(g))
        gpu_note(g, cudaMemcpyAsync(to_d, from, bytes, cudaMemcpyHostToDevice, g->stream),
                 "copy to the device");
}

void gpu_download(gpu *g, void *to, const void *from_d, uint64_t bytes)
{
    if (bytes && enter_other(g))
        gpu_note(g, cudaMemcpyAsync(to, from_d, bytes, cudaMemcpyDeviceToHost, g->stream),
                 "copy from the device");
}

void gpu_upload_rows(gpu *g, void *to_d, size_t to_stride, const void *from,
                     size_t from_stride, size_t bytes, size_t rows)
{
    if (bytes && rows && enter_other(g))
        gpu_note(g,
                 cudaMemcpy2DAsync(to_d, to_stride, from, from_stride, bytes, rows,
                                   cudaMemcpyHostToDevice, g->stream),
                 "copy of rows to the device");
}

void gpu_download_rows(gpu *g, void *to, size_t to_stride, const void *from_d,
                       size_t from_stride, size_t bytes, size_t rows)
{
    if (bytes && rows && enter_other(g))
        gpu_note(g,
                 cudaMemcpy2DAsync(to, to_stride, from_d, from_stride, bytes, rows,
                                   cudaMemcpyDeviceToHost, g->stream),
                 "copy of rows from the device");
}

void gpu_zero(gpu *g, void *to_d, uint64_t bytes)
{
    if (bytes && enter_other(g))
        gpu_note(g, cudaMemsetAsync(to_d, 0, bytes, g->stream), "clearing memory");
}

int gpu_sync(gpu *g, ggf_error *err)
{
    if (gpu_enter(g))
        gpu_note(g, cudaStreamSynchronize(g->stream), "waiting for the device");
    return failure(g, err);
}

/* ---- Copies beside all else -------------------------------------------------------- */

void gpu_copy(gpu *g, void *to_d, const void *from, uint64_t bytes)
{
    if (bytes && gpu_enter(g))
        gpu_note(g, cudaMemcpyAsync(to_d, from, bytes, cudaMemcpyHostToDevice, g->copies),
                 "copy to the device");
}

static void set(gpu *g, cudaEvent_t event, cudaStream_t stream)
{
    if (gpu_enter(g)) gpu_note(g, cudaEventRecord(event, stream), "cudaEventRecord");
}

static void wait_for(gpu *g, cudaEvent_t event, cudaStream_t stream)
{
    if (stream == g->stream ? enter_other(g) : gpu_enter(g))
        gpu_note(g, cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
}

void gpu_after_copies(gpu *g)
{
    set(g, g->copied, g->copies);
    wait_for(g, g->copied, g->stream);
}

void gpu_copies_after(gpu *g)
{
    set(g, g->here, g->stream);
    wait_for(g, g->here, g->copies);
}

int gpu_mark_new(gpu *g, gpu_mark **out, ggf_error *err)
{
    cudaEvent_t event = NULL;
    *out = NULL;
    if (!gpu_enter(g)) return failure(g, err);
    const cudaError_t e = cudaEventCreateWithFlags(&event, cudaEventBlockingSync);
    if (e != cudaSuccess) return fail(err, e, "cudaEventCreate");
    struct gpu_mark *mark = (struct gpu_mark *)calloc(1, sizeof *mark);
    if (!mark) {
        cudaEventDestroy(event);
        return ggf_no_memory(err);
    }
    *mark = { g, event };
    *out = mark;
    return 0;
}

void gpu_mark_free(gpu_mark *mark)
{
    if (!mark) return;
    cudaSetDevice(mark->g->info.index);
    cudaEventDestroy(mark->event);
    free(mark);
}

void gpu_mark_copies(gpu_mark *m) { set(m->g, m->event, m->g->copies); }
void gpu_mark_else(gpu_mark *m) { set(m->g, m->event, m->g->stream); }
void gpu_after(gpu_mark *m) { wait_for(m->g, m->event, m->g->stream); }
void gpu_copies_after_mark(gpu_mark *m) { wait_for(m->g, m->event, m->g->copies); }

/* A failure shows in the next call. */
bool gpu_mark_done(gpu_mark *mark)
{
    gpu *g = mark->g;
    if (!gpu_enter(g) || cudaEventQuery(mark->event) != cudaErrorNotReady) return true;
    cudaGetLastError(); /* which this is not */
    return false;
}

double gpu_mark_seconds(const gpu_mark *from, const gpu_mark *to)
{
    float ms = 0;
    if (!gpu_enter(from->g)) return 0;
    const cudaError_t e = cudaEventElapsedTime(&ms, from->event, to->event);
    if (e != cudaSuccess) cudaGetLastError(); /* forget it */
    return e == cudaSuccess && ms > 0 ? 1e-3 * (double)ms : 0;
}

/* Who sleeps is late: for some time, that is as long as a layer takes, ask again. */
int gpu_mark_wait(gpu_mark *mark, ggf_error *err)
{
    enum { TIMES = 300 }; /* most of a microsecond each */
    gpu *g = mark->g;
    for (int i = 0; i < TIMES && !gpu_mark_done(mark); i++) continue;
    if (gpu_enter(g))
        gpu_note(g, cudaEventSynchronize(mark->event), "waiting for a mark");
    return failure(g, err);
}

/* ---- Graphs ------------------------------------------------------------------------ */

/* What failed in a recording has changed nothing on the device: if that is lost, the next
 * call says so. */
static int refuse_graphs(gpu *g, ggf_error *err)
{
    const int e = failure(g, err);
    cudaGetLastError(); /* forget it */
    g->failed = 0;
    g->no_graphs = true;
    return e;
}

int gpu_graph_begin(gpu *g, ggf_error *err)
{
    if (!enter_other(g)) return failure(g, err);
    if (g->no_graphs)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "CUDA: graphs were refused");
    /* Relaxed: a kernel that was not used before is loaded at its launch. */
    gpu_note(g, cudaStreamBeginCapture(g->stream, cudaStreamCaptureModeRelaxed),
             "cudaStreamBeginCapture");
    g->recording = !g->failed;
    return g->recording ? 0 : refuse_graphs(g, err);
}

static cudaGraphExec_t finish_recording(gpu *g)
{
    cudaGraph_t recorded = NULL;
    cudaGraphExec_t exec = NULL;
    g->recording = g->behind_kernel = false;
    /* Also after a failure: the stream must leave capture. */
    gpu_note(g, cudaStreamEndCapture(g->stream, &recorded), "cudaStreamEndCapture");
    if (!g->failed)
        gpu_note(g, cudaGraphInstantiateWithFlags(&exec, recorded, 0),
                 "cudaGraphInstantiate");
    if (recorded) cudaGraphDestroy(recorded);
    return exec;
}

int gpu_graph_end(gpu *g, gpu_graph **out, ggf_error *err)
{
    *out = NULL;
    if (!g->recording) return failure(g, err);
    const cudaGraphExec_t exec = finish_recording(g);
    if (g->failed) return refuse_graphs(g, err);
    struct gpu_graph *graph = (struct gpu_graph *)calloc(1, sizeof *graph);
    if (!graph) {
        cudaGraphExecDestroy(exec);
        return ggf_no_memory(err);
    }
    *graph = { g, exec };
    *out = graph;
    return 0;
}

void gpu_graph_run(gpu *g, gpu_graph *graph)
{
    if (enter_other(g))
        gpu_note(g, cudaGraphLaunch(graph->exec, g->stream), "cudaGraphLaunch");
}

void gpu_graph_free(gpu_graph *graph)
{
    if (!graph) return;
    cudaSetDevice(graph->g->info.index);
    cudaGraphExecDestroy(graph->exec);
    free(graph);
}
