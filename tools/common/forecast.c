/* forecast.c - see forecast.h. */
#include "forecast.h"

#include <math.h>

struct forecast forecast(const struct token_bytes *bytes, const struct speeds *speeds)
{
    const double dense = bytes->dense / speeds->memory * 1e-9;
    const double experts = bytes->experts / speeds->memory * 1e-9;
    const double disk = bytes->disk > 0 ? bytes->disk / speeds->disk * 1e-9 : 0;
    struct forecast f = { .disk_seconds = disk, .memory_seconds = dense + experts };
    f.per_second = 1 / (dense + fmax(experts, disk));
    f.disk_limits = disk > f.memory_seconds;
    return f;
}

struct device_forecast forecast_device(const struct device_bytes *b,
                                       const struct device_speeds *s)
{
    const double there = 1e-9 * b->there / s->device;
    const double dense_there = 1e-9 * b->dense_there / s->device;
    struct device_forecast f = {
        .device_seconds = dense_there + there,
        .missing_seconds =
            b->missing > 0 ? 1e-9 * b->missing / (s->link + s->host.memory) : 0,
        .host_seconds = 1e-9 * (b->dense_here + b->here) / s->host.memory,
        .disk_seconds = b->disk > 0 ? 1e-9 * b->disk / s->host.disk : 0,
    };
    const double dense_here = 1e-9 * b->dense_here / s->host.memory;
    const double here = f.host_seconds - dense_here;
    f.per_second = 1 / (dense_there + dense_here +
                        fmax(fmax(there, f.missing_seconds) + here, f.disk_seconds));
    return f;
}
