/* forecast.h - how fast tokens can be decoded: from the bytes that a token needs and the
 * speeds of what they come from. */
#ifndef TOOLS_FORECAST_H
#define TOOLS_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

/* GB/s (10^9 bytes per second). */
struct speeds {
    double disk, memory;
};

/* Kernels reach this share of what threads that only read get (docs/bench/inference.md).
 */
#define KERNEL_SHARE 0.85
static inline struct speeds kernel_speeds(const struct speeds *s)
{
    return (struct speeds){ s->disk, KERNEL_SHARE * s->memory };
}

/* Bytes of one token, on average. */
struct token_bytes {
    double dense;   /* of everything but routed experts, from memory */
    double experts; /* routed, from memory: all of them, wherever they were before */
    double disk;    /* of those, read from disk first */
};

struct forecast {
    double disk_seconds, memory_seconds; /* that each device is busy */
    double per_second;                   /* tokens */
    bool disk_limits;                    /* the disk is busy longer than the memory */
};

/* A layer's experts are known only when the layer is reached: what is dense is not
 * computed while the disk is read, but experts that are there already are. */
struct forecast forecast(const struct token_bytes *bytes, const struct speeds *speeds);

/* The same where a device computes a part: bytes of a token, ... */
struct device_bytes {
    double dense_there, dense_here; /* of everything but routed experts */
    double there;                   /* routed experts that the device has, */
    double missing;                 /* that it has not, though it computes the layer, */
    double here;                    /* and that are the host's */
    double disk;                    /* of the last two, read from disk first */
};
/* ... and speeds. */
struct device_speeds {
    double device, link; /* GB/s of its memory, and to it */
    struct speeds host;
};
/* No more than this: it counts bytes, and nothing of what starting kernels and waiting
 * for one another takes.  Missing experts are copied and computed by the host at the same
 * time, while the device computes those that are there. */
struct device_forecast {
    double device_seconds; /* that its memory is read, */
    double missing_seconds, host_seconds, disk_seconds;
    double per_second; /* tokens, at most */
};
struct device_forecast forecast_device(const struct device_bytes *bytes,
                                       const struct device_speeds *speeds);

#endif
