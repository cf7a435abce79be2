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
