/* unroll.h - LOOP: unroll the loop that follows, of which the number of rounds is known
 * when compiling.  Kernels depend on it: vectors indexed by an unrolled loop's counter
 * live in registers. */
#ifndef QUANT_UNROLL_H
#define QUANT_UNROLL_H

#if defined(__clang__)
#define LOOP _Pragma("clang loop unroll(full)")
#elif defined(__SANITIZE_ADDRESS__)
#define LOOP  /* the checks in a loop's body keep gcc from unrolling it, and it says so  \
               */
#else
#define LOOP _Pragma("GCC unroll 64")
#endif

#endif
