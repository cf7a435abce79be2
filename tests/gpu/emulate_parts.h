/* emulate_parts.h - what the two parts of the emulated device share: the device as the
 * host sees it (emulate.cpp) and a block of threads (emulate_block.cpp). */
#ifndef TESTS_GPU_EMULATE_PARTS_H
#define TESTS_GPU_EMULATE_PARTS_H

#ifdef PTX_DEVICE
#include "ptx/runtime.h"
#else
#include "emulate.h"
#endif

#include <map>
#include <vector>

/* ---- emulate.cpp --------------------------------------------------------------- */

/* End the program: what is emulated would be undefined. */
[[noreturn]] void die(const char *format, ...);
uint64_t next_random();
template <class T> static inline void shuffle(std::vector<T> &v)
{
    for (size_t i = v.size(); i > 1; i--) std::swap(v[i - 1], v[next_random() % i]);
}
enum { POISON = 0xff };
/* Memory that reads as NaN and -1, 256-aligned; NULL if there is none. */
char *poisoned(size_t bytes);
/* The allocation, of the device or pinned, that p is in.  What is known of it holds as
 * long as emu_allocations() stays the same. */
bool emu_allocation(const void *p, char **first, char **end);
uint64_t emu_allocations();
/* An error of a call. */
cudaError_t emu_result(cudaError_t e);
/* Ten times the device's compute capability, as tests have set it. */
int emu_capability();

/* ---- emulate_block.cpp, or ptx/ ------------------------------------------------- */

/* At first. */
int emu_first_capability();

#endif
