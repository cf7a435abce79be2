/* forecast.h - how fast tokens can be decoded when experts come from disk: from the bytes
 * that a token needs and the speeds of the devices that they come from. */
#ifndef TOOLS_FORECAST_H
#define TOOLS_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

/* GB/s (10^9 bytes per second). */
struct speeds {
    double disk, memory;
};

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

#endif
