/* order.h - numbers by value, for qsort(). */
#ifndef TOOLS_ORDER_H
#define TOOLS_ORDER_H

#include <stdint.h>

/* The least first. */
#define RISING(name, type)                                                               \
    static inline int name(const void *a, const void *b)                                 \
    {                                                                                    \
        const type x = *(const type *)a, y = *(const type *)b;                           \
        return (x > y) - (x < y);                                                        \
    }
RISING(rising_u64, uint64_t)
RISING(rising_float, float)
RISING(rising_double, double)
#undef RISING

/* The greatest first. */
static inline int falling_u64(const void *a, const void *b) { return rising_u64(b, a); }

#endif
