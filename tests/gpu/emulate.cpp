/* emulate.cpp - a device on the CPU, to test infer/gpu where there is none: results,
 * barriers, bounds, the order of calls, and what happens when the device fails.  It says
 * nothing about speed.
 *
 * A stream is a list of things to do, done when somebody waits for it; a graph is such a
 * list that is kept.  What is in another stream is done as late as can be, or before, at
 * random, if no event orders the two.  A kernel's blocks run one after the other, in a
 * random order; emulate_block.cpp runs a block.
 *
 * Memory nobody has written reads as NaN and -1.  With AddressSanitizer, whoever leaves
 * an allocation is caught. */
#include "emulate_parts.h"
#include "emulator.h"

#include <cstdarg>
#include <cstdio>
#include <deque>
#include <memory>

[[noreturn]] void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "emulated device: ");
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    abort();
}

/* ---- State ------------------------------------------------------------------------- */

/* So many things of a stream are done.  It outlives the stream. */
struct emu_point {
    emu_stream *stream = NULL;
    std::shared_ptr<uint64_t> done;
    uint64_t n = 0;
};
struct emu_event {
    emu_point point;
    bool timed;
};
struct todo {
    std::function<void()> f;
    bool kernel = false;
    emu_point first = {}; /* what has to be done before */
};
struct emu_graph {
    std::vector<todo> list;
};
struct emu_exec {
    emu_graph graph;
};
struct emu_stream {
    std::deque<todo> list;
    std::shared_ptr<uint64_t> done = std::make_shared<uint64_t>(0);
    std::map<emu_stream *, uint64_t> after; /* how much of others it waits for, */
    uint64_t waited = 0;                    /* and the host has, for this one */
    uint64_t last_kernel = 0;               /* its number */
    bool behind_kernel = false;             /* the last thing is one */
    std::unique_ptr<emu_graph> recording;
    bool spoiled = false; /* the recording: something impossible was called */
};

static struct {
    uint64_t memory = 1ull << 30;
    uint64_t seed = 1;
    uint64_t fail_allocation = 0, lose_device = 0, lose_in_copy = 0;
    bool hidden = false, refuse_graphs = false;
    int multiprocessors = 4;
    int capability = emu_first_capability(), driver = 13000, runtime = 13000;
    float time = 0;
    cudaError_t lost = cudaSuccess; /* stays */
    cudaError_t last = cudaSuccess;
    emulator_counts counts = {};
    uint64_t freed = 0; /* allocations */
    std::map<char *, size_t> device, host, registered;
    std::vector<emu_stream *> streams;
} emu;

/* ---- What the host has put into memory of the device ---------------------------------
 */

static std::map<char *, std::vector<char>> emu_put;

/* Of these bytes nothing is known any more. */
static void forget(char *p, size_t bytes)
{
    auto at = emu_put.lower_bound(p);
    if (at != emu_put.begin()) {
        --at;
        std::vector<char> &v = at->second;
        const size_t before = (size_t)(p - at->first);
        if (before < v.size()) {
            if (before + bytes < v.size())
                emu_put[p + bytes].assign(v.begin() + (long)(before + bytes), v.end());
            v.resize(before);
        }
        ++at;
    }
    while (at != emu_put.end() && at->first < p + bytes) {
        const std::vector<char> v = std::move(at->second);
        char *const first = at->first;
        at = emu_put.erase(at);
        if (first + v.size() > p + bytes)
            emu_put[p + bytes].assign(v.end() - (first + (long)v.size() - (p + bytes)),
                                      v.end());
    }
}

static void remember(char *to, const char *from, size_t bytes)
{
    const auto at = emu_put.find(to);
    if (at == emu_put.end() || at->second.size() != bytes) forget(to, bytes);
    emu_put[to].assign(from, from + bytes);
}

/* Copies of whole pieces may begin before and end behind what was put there. */
void emu_read_put(const char *kernel, const void *p, size_t bytes)
{
    char *const from = (char *)p;
    bool any = false;
    auto at = emu_put.lower_bound(from + bytes);
    while (at != emu_put.begin()) {
        --at;
        char *const first = std::max(from, at->first);
        char *const end = std::min(from + bytes, at->first + at->second.size());
        if (at->first < from && end <= from) break;
        if (first >= end) continue;
        any = true;
        if (memcmp(first, &at->second[(size_t)(first - at->first)],
                   (size_t)(end - first)))
            die("%s: reads what a kernel wrote as if none had", kernel);
        if (at->first <= from) break;
    }
    if (!any) die("%s: reads what the host did not put there as if it had", kernel);
}

uint64_t next_random()
{
    uint64_t z = emu.seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

cudaError_t emu_result(cudaError_t e)
{
    if (emu.lost != cudaSuccess) e = emu.lost;
    if (e != cudaSuccess) emu.last = e;
    return e;
}

/* ---- Streams, launches, graphs
 * ----------------------------------------------------------- */

static void push(cudaStream_t s, std::function<void()> f, bool kernel = false)
{
    s->behind_kernel = kernel;
    if (s->recording) {
        s->recording->list.push_back({ std::move(f), kernel });
    } else {
        s->list.push_back({ std::move(f), kernel });
        emu.counts.calls++;
        if (kernel) s->last_kernel = *s->done + s->list.size();
    }
}

static bool is_done(const emu_point &p) { return !p.done || *p.done >= p.n; }

/* The next thing in a stream, or in one that it has to wait for. */
static void do_next(emu_stream *s)
{
    if (!is_done(s->list.front().first)) {
        do_next(s->list.front().first.stream);
        return;
    }
    const todo next = std::move(s->list.front());
    s->list.pop_front();
    if (emu.lost == cudaSuccess && next.f) next.f();
    ++*s->done;
}

/* Nothing, something or all that need not wait for anybody else. */
static void do_some(emu_stream *s)
{
    const uint64_t how = next_random() % 4;
    while (how < 2 && !s->list.empty() && is_done(s->list.front().first)) {
        do_next(s);
        if (how) return;
    }
}

static void do_until(const emu_point &p)
{
    while (!is_done(p)) {
        for (emu_stream *s : emu.streams)
            if (s != p.stream) do_some(s);
        if (!is_done(p)) do_next(p.stream);
    }
}

static emu_point end_of(emu_stream *s)
{
    return { s, s->done, *s->done + s->list.size() };
}

static void do_all(emu_stream *s) { do_until(end_of(s)); }

/* No allocation may happen and nobody may wait while a stream is recorded. */
static bool recorded()
{
    bool any = false;
    for (emu_stream *s : emu.streams)
        if (s->recording) s->spoiled = any = true;
    return any;
}

static void run_kernel(dim3 grid, dim3 threads,
                       const std::function<void(const emu_place &)> &block)
{
    emu.counts.launches++;
    if (emu.lose_device && !--emu.lose_device) {
        emu.lost = cudaErrorLaunchFailure;
        return;
    }
    std::vector<uint3> blocks;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) blocks.push_back({ x, y, z });
    shuffle(blocks);
    for (const uint3 &b : blocks) block({ { 0, 0, 0 }, b, threads, grid, false });
}

void emu_enqueue(cudaStream_t s, const char *what, dim3 grid, dim3 threads, bool early,
                 std::function<void(const emu_place &)> block)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return;
    if (early && !s->behind_kernel) die("%s: starts early, but behind no kernel", what);
    if (grid.y > 65535 || grid.z > 65535 || threads.x * threads.y * threads.z > 1024) {
        emu_result(cudaErrorInvalidValue);
        return;
    }
    push(
        s, [=] { run_kernel(grid, threads, block); }, true);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    emu.streams.push_back(*s = new emu_stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    do_all(s);
    emu.streams.erase(std::find(emu.streams.begin(), emu.streams.end(), s));
    delete s;
    return emu_result(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    emu.counts.waits++;
    s->waited = end_of(s).n;
    do_all(s);
    return emu_result(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    *e = new emu_event{ {}, !(flags & cudaEventDisableTiming) };
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete e;
    return emu_result(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    e->point = end_of(s);
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    do_until(e->point);
    return emu_result(cudaSuccess);
}

/* Who asks gives the device time. */
cudaError_t cudaEventQuery(cudaEvent_t e)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    for (emu_stream *s : emu.streams) do_some(s);
    return emu_result(is_done(e->point) ? cudaSuccess : cudaErrorNotReady);
}

/* Any time is possible: from a microsecond to ten seconds. */
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    if (!from->timed || !to->timed || !from->point.stream || !to->point.stream)
        return emu_result(cudaErrorInvalidValue);
    if (!is_done(from->point) || !is_done(to->point))
        return emu_result(cudaErrorNotReady);
    *ms = emu.time > 0 ? emu.time : 1e-3f * powf(10, (float)(next_random() % 8));
    return emu_result(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    s->behind_kernel = false;
    if (is_done(e->point)) return cudaSuccess;
    s->list.push_back({ {}, false, e->point });
    s->after[e->point.stream] = e->point.n;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    s->recording.reset(new emu_graph);
    s->spoiled = s->behind_kernel = false;
    return emu_result(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph)
{
    *graph = s->recording.release();
    s->behind_kernel = false;
    if (!s->spoiled && *graph) return emu_result(cudaSuccess);
    delete *graph;
    *graph = NULL;
    return emu_result(cudaErrorStreamCaptureInvalidated);
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    if (emu.refuse_graphs) return emu_result(cudaErrorMemoryAllocation);
    *exec = new emu_exec{ *graph };
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return emu_result(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return emu_result(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    for (const todo &t : exec->graph.list) s->list.push_back({ t.f, t.kernel });
    s->behind_kernel = false;
    emu.counts.calls++;
    return cudaSuccess;
}

/* ---- Memory
 * -------------------------------------------------------------------------------- */

char *poisoned(size_t bytes)
{
    void *p;
    if (posix_memalign(&p, 256, bytes ? bytes : 1)) return NULL;
    memset(p, POISON, bytes);
    return (char *)p;
}

/* Is all of it in one allocation? */
static bool inside(const std::map<char *, size_t> &all, const void *p, size_t bytes)
{
    auto at = all.upper_bound((char *)p);
    if (at == all.begin()) return false;
    --at;
    return (const char *)p + bytes <= at->first + at->second;
}

bool emu_allocation(const void *p, char **first, char **end)
{
    for (const auto *all : { &emu.device, &emu.host, &emu.registered }) {
        auto at = all->upper_bound((char *)p);
        if (at == all->begin()) continue;
        --at;
        *first = at->first;
        *end = at->first + at->second;
        if ((const char *)p < *end) return true;
    }
    return false;
}

uint64_t emu_allocations() { return emu.counts.allocations + emu.freed; }

static cudaError_t allocate(void **out, size_t bytes, std::map<char *, size_t> &list,
                            bool enough)
{
    emu.counts.allocations++;
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    const bool fails = emu.fail_allocation && !--emu.fail_allocation;
    char *p = fails || !enough ? NULL : poisoned(bytes);
    if (!p) return emu_result(cudaErrorMemoryAllocation);
    list[p] = bytes;
    *out = p;
    return cudaSuccess;
}

/* Frees wait for what is under way. */
static cudaError_t release(void *p, std::map<char *, size_t> &list)
{
    const auto at = list.find((char *)p);
    if (at == list.end()) die("freed, but not allocated: %p", p);
    for (emu_stream *s : emu.streams) do_all(s);
    emu.freed++;
    list.erase(at);
    free(p);
    return emu_result(cudaSuccess);
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    const cudaError_t e =
        allocate(out, bytes, emu.device, emu.counts.bytes + bytes <= emu.memory);
    if (e == cudaSuccess) emu.counts.live++, emu.counts.bytes += bytes;
    return e;
}

cudaError_t cudaFree(void *p)
{
    const auto at = emu.device.find((char *)p);
    const size_t bytes = at == emu.device.end() ? 0 : at->second;
    if (bytes) emu.counts.live--, emu.counts.bytes -= bytes;
    const cudaError_t e = release(p, emu.device);
    forget((char *)p, bytes);
    return e;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    const cudaError_t e = allocate(out, bytes, emu.host, true);
    if (e == cudaSuccess) emu.counts.pinned++;
    return e;
}

cudaError_t cudaHostGetDevicePointer(void **out, void *p, unsigned)
{
    *out = p;
    return emu_result(inside(emu.host, p, 1) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaFreeHost(void *p)
{
    emu.counts.pinned--;
    return release(p, emu.host);
}

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned)
{
    emu.counts.allocations++;
    if (recorded()) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    if (!bytes || (uintptr_t)p % 4096) die("pinned, but not whole pages: %p", p);
    if (emu.fail_allocation && !--emu.fail_allocation)
        return emu_result(cudaErrorMemoryAllocation);
    if (inside(emu.registered, p, 1) || inside(emu.host, p, 1))
        return emu_result(cudaErrorHostMemoryAlreadyRegistered);
    emu.registered[(char *)p] = bytes;
    emu.counts.pinned++;
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    if (!emu.registered.erase((char *)p)) die("unpinned, but not pinned: %p", p);
    emu.freed++;
    emu.counts.pinned--;
    return emu_result(cudaSuccess);
}

static void copy_rows(char *to, size_t to_stride, const char *from, size_t from_stride,
                      size_t bytes, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * to_stride, from + r * from_stride, bytes);
}

static void put_rows(char *to, size_t to_stride, const char *from, size_t from_stride,
                     size_t bytes, size_t rows)
{
    copy_rows(to, to_stride, from, from_stride, bytes, rows);
    for (size_t r = 0; r < rows; r++)
        remember(to + r * to_stride, from + r * from_stride, bytes);
}

/* Has another stream a kernel that neither this one nor, for the whole stream, the host
 * has waited for? */
static bool beside(const emu_stream *s)
{
    for (emu_stream *other : emu.streams) {
        const auto after = s->after.find(other);
        uint64_t known = other->waited;
        if (after != s->after.end() && after->second > known) known = after->second;
        if (other != s && other->last_kernel > known) return true;
    }
    return false;
}

static bool pinned(const void *p, size_t bytes)
{
    return inside(emu.host, p, bytes) || inside(emu.registered, p, bytes);
}

/* Neither pinned as a whole nor not at all: CUDA refuses to copy. */
static bool half_pinned(const void *p, size_t bytes)
{
    if (pinned(p, bytes)) return false;
    for (const auto *all : { &emu.host, &emu.registered }) {
        const auto at = all->lower_bound((char *)p + bytes);
        if (at == all->begin()) continue;
        const auto last = std::prev(at);
        if (last->first + last->second > (const char *)p) return true;
    }
    return false;
}

static void copied()
{
    emu.counts.copies++;
    if (emu.lose_in_copy && !--emu.lose_in_copy) emu.lost = cudaErrorLaunchFailure;
}

static void count_copy(const emu_stream *s, size_t bytes)
{
    emu.counts.up += bytes;
    if (beside(s)) emu.counts.beside += bytes;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_stride, const void *from,
                              size_t from_stride, size_t bytes, size_t rows,
                              cudaMemcpyKind kind, cudaStream_t s)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    const bool up = kind == cudaMemcpyHostToDevice;
    const void *device = up ? to : from, *host = up ? from : to;
    const size_t stride = up ? to_stride : from_stride;
    if (bytes > to_stride || bytes > from_stride)
        return emu_result(cudaErrorInvalidValue);
    if (!inside(emu.device, device, (rows - 1) * stride + bytes) ||
        inside(emu.device, host, 1))
        die("a copy of %zu rows of %zu bytes leaves the memory it is for", rows, bytes);
    if (half_pinned(host, (rows - 1) * (up ? from_stride : to_stride) + bytes))
        return emu_result(cudaErrorInvalidValue);
    if (up && !s->recording) count_copy(s, rows * bytes);
    if (up && !s->recording && !pinned(from, 1)) {
        /* what is not pinned is taken now */
        auto taken = std::make_shared<std::vector<char>>(rows * bytes);
        copy_rows(taken->data(), bytes, (const char *)from, from_stride, bytes, rows);
        push(s, [=] {
            copied();
            put_rows((char *)to, to_stride, taken->data(), bytes, bytes, rows);
        });
    } else {
        push(s, [=] {
            if (up) copied();
            if (up && !pinned(from, 1)) die("copied from memory that was unpinned");
            (up ? put_rows : copy_rows)((char *)to, to_stride, (const char *)from,
                                        from_stride, bytes, rows);
        });
    }
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, s);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t s)
{
    if (emu_result(cudaSuccess) != cudaSuccess) return emu.lost;
    if (!inside(emu.device, to, bytes)) die("clearing leaves the memory it is for");
    push(s, [=] {
        memset(to, value, bytes);
        forget((char *)to, bytes);
    });
    return cudaSuccess;
}

/* ---- The device
 * ------------------------------------------------------------------------------ */

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoKernelImageForDevice:
        return "no kernel image is available for execution on the device";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorNotReady: return "device not ready";
    case cudaErrorHostMemoryAlreadyRegistered:
        return "part or all of the requested memory range is already mapped";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
        return "operation failed due to a previous error during capture";
    default: break;
    }
    return "unknown error";
}

cudaError_t cudaGetLastError()
{
    const cudaError_t e = emu.lost != cudaSuccess ? emu.lost : emu.last;
    emu.last = cudaSuccess;
    return e;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = emu.hidden ? 0 : 1;
    if (emu.driver / 1000 < emu.runtime / 1000)
        return emu_result(cudaErrorInsufficientDriver);
    return emu_result(emu.hidden ? cudaErrorNoDevice : cudaSuccess);
}

cudaError_t cudaSetDevice(int index)
{
    return emu_result(index == 0 ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = {};
    strcpy(p->name, "emulated device");
    p->major = emu.capability / 10;
    p->minor = emu.capability % 10;
    p->multiProcessorCount = emu.multiprocessors;
    p->l2CacheSize = 1 << 20;
    return emu_result(cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = emu.driver;
    return emu_result(cudaSuccess);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = emu.runtime;
    return emu_result(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *bytes_free, size_t *total)
{
    *total = emu.memory;
    *bytes_free = emu.memory > emu.counts.bytes ? emu.memory - emu.counts.bytes : 0;
    return emu_result(cudaSuccess);
}

/* ---- What tests ask for
 * -------------------------------------------------------------------------- */

bool emulated(void) { return true; }
void emulator_memory(uint64_t bytes) { emu.memory = bytes; }
void emulator_seed(uint64_t seed) { emu.seed = seed; }
void emulator_fail_allocation(uint64_t n) { emu.fail_allocation = n; }
void emulator_lose_device(uint64_t n) { emu.lose_device = n; }
void emulator_lose_in_copy(uint64_t n) { emu.lose_in_copy = n; }
void emulator_hide_device(bool hidden) { emu.hidden = hidden; }
void emulator_refuse_graphs(bool refuse) { emu.refuse_graphs = refuse; }
int emu_capability() { return emu.capability; }
void emulator_capability(int capability) { emu.capability = capability; }
void emulator_multiprocessors(int n) { emu.multiprocessors = n; }
void emulator_versions(int driver, int runtime)
{
    emu.driver = driver;
    emu.runtime = runtime;
}
void emulator_time(float milliseconds) { emu.time = milliseconds; }
emulator_counts emulator_count(void) { return emu.counts; }

void emulator_reset(void)
{
    emu.memory = 1ull << 30;
    emu.seed = 1;
    emu.fail_allocation = emu.lose_device = emu.lose_in_copy = 0;
    emu.hidden = emu.refuse_graphs = false;
    emu.capability = emu_first_capability();
    emu.multiprocessors = 4;
    emu.driver = emu.runtime = 13000;
    emu.time = 0;
    emu.lost = emu.last = cudaSuccess;
}
