/* bytes.h - unaligned little-endian loads and stores, and sums that may overflow. */
#ifndef GGF_BYTES_H
#define GGF_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "libgguf maps little-endian files and so needs a little-endian machine"
#endif
#if __SIZEOF_SIZE_T__ < 8
#error "libgguf maps whole models and so needs a 64-bit machine"
#endif

static inline uint16_t load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store_u32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }
static inline void store_u64(void *p, uint64_t v) { memcpy(p, &v, sizeof v); }

/* False if the result does not fit. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

/* v rounded up to a multiple of align, a power of two; false if that overflows. */
static inline bool align_u64(uint64_t v, uint64_t align, uint64_t *out)
{
    if (!add_u64(v, align - 1, out)) return false;
    *out &= ~(align - 1);
    return true;
}

#endif
