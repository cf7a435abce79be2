/* bytes.h - whole numbers in files of traces and states, at any place.  Files are
 * little-endian, and so are all machines that libgguf builds on; its own bytes.h stays
 * inside of it. */
#ifndef INFER_BYTES_H
#define INFER_BYTES_H

#include <stdint.h>
#include <string.h>

static inline void put_u32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void put_u64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
