/* measure.c - how fast a device reads its memory, takes bytes from the host, and
 * multiplies: what its part in a model is held against. */
#include "../engine.h"
#include "../now.h"
#include "../splitmix.h"
#include "gpu.h"

#include <string.h>

enum { PASSES = 5, PINNED = 16 << 20 };
/* What takes less is done again, twice as often: starting it takes some microseconds. */
#define SECONDS_LEAST 4e-3

struct trial {
    gpu *g;
    uint8_t *memory_d;
    uint32_t *sink_d;
    uint64_t bytes; /* of memory_d: several times the cache, whole PINNED */
    uint8_t *pinned;
    /* Do it so many times; how much that was. */
    double (*go)(const struct trial *t, uint32_t times);
};

static double go_read(const struct trial *t, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        gpu_read_all(t->g, t->memory_d, t->bytes, t->sink_d);
    return (double)t->bytes * times;
}

static double go_upload(const struct trial *t, uint32_t times)
{
    const uint64_t n = t->bytes / PINNED;
    for (uint32_t i = 0; i < times; i++)
        gpu_upload(t->g, t->memory_d + i % n * PINNED, t->pinned, PINNED);
    return (double)PINNED * times;
}

static double go_16(const struct trial *t, uint32_t times)
{
    return gpu_multiply(t->g, 16, times, t->sink_d);
}

static double go_8(const struct trial *t, uint32_t times)
{
    return gpu_multiply(t->g, 8, times, t->sink_d);
}

static int timed(const struct trial *t, uint32_t times, double *done, double *seconds,
                 ggf_error *err)
{
    const double start = seconds_now();
    *done = t->go(t, times);
    const int e = gpu_sync(t->g, err);
    *seconds = seconds_now() - start;
    return e;
}

/* The fastest pass counts, in 10^9 a second: others may use the machine for a moment. */
static int measure(const struct trial *t, double *rate, ggf_error *err)
{
    double done, seconds = 0;
    uint32_t times = 1;
    int e = timed(t, times, &done, &seconds, err); /* the first is slow */
    while (!e && !(e = timed(t, times, &done, &seconds, err)) &&
           seconds < SECONDS_LEAST && times < 1u << 24)
        times *= 2;
    *rate = 0;
    for (int i = 0; i < PASSES && !e; i++) {
        e = timed(t, times, &done, &seconds, err);
        if (!e && 1e-9 * done / seconds > *rate) *rate = 1e-9 * done / seconds;
    }
    return e;
}

static int allocate(struct trial *t, ggf_error *err)
{
    const struct gpu_info *info = gpu_describe(t->g);
    const uint64_t most = info->bytes_free / 4 / PINNED * PINNED;
    uint64_t state = 1;
    void *p, *unused;
    t->bytes = (8 * info->bytes_cache + PINNED - 1) / PINNED * PINNED;
    if (t->bytes > most) t->bytes = most;
    if (t->bytes < PINNED) t->bytes = PINNED;
    int e = gpu_alloc(t->g, &p, t->bytes, err);
    if (e) return e;
    t->memory_d = p;
    if ((e = gpu_alloc(t->g, &p, sizeof *t->sink_d, err))) return e;
    t->sink_d = p;
    if ((e = gpu_host_alloc(t->g, &p, &unused, PINNED, err))) return e;
    t->pinned = p;
    for (size_t i = 0; i < PINNED; i += sizeof state) {
        const uint64_t v = splitmix64(&state);
        memcpy(t->pinned + i, &v, sizeof v);
    }
    for (uint64_t at = 0; at < t->bytes; at += PINNED)
        gpu_upload(t->g, t->memory_d + at, t->pinned, PINNED);
    return gpu_sync(t->g, err);
}

static void release(struct trial *t)
{
    if (t->pinned) gpu_host_free(t->g, t->pinned);
    if (t->sink_d) gpu_free(t->g, t->sink_d);
    if (t->memory_d) gpu_free(t->g, t->memory_d);
    gpu_close(t->g);
}

int q3n_device_measure(struct q3n_device_speeds *out, int index, ggf_error *err)
{
    struct trial t = { 0 };
    memset(out, 0, sizeof *out);
    int e = gpu_open(&t.g, index, err);
    if (e) return e;
    const struct {
        double (*go)(const struct trial *t, uint32_t times);
        double *rate;
    } trials[] = {
        { go_upload, &out->upload },
        { go_read, &out->memory },
        { go_16, &out->products16 },
        { go_8, &out->products8 },
    };
    e = allocate(&t, err);
    for (size_t i = 0; i < sizeof trials / sizeof *trials && !e; i++) {
        t.go = trials[i].go;
        e = measure(&t, trials[i].rate, err);
    }
    release(&t);
    return e;
}
