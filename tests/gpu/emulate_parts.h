/* emulate_parts.h - what the two parts of the emulated device share: the device as the
 * host sees it (emulate.cpp) and a block of threads (emulate_block.cpp). */
#ifndef TESTS_GPU_EMULATE_PARTS_H
#define TESTS_GPU_EMULATE_PARTS_H

#include "emulate.h"

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
/* What the host has put into memory of the device, as it was then. */
extern std::map<char *, std::vector<char>> emu_put;

/* ---- emulate_block.cpp --------------------------------------------------------- */

/* `shared`: bytes of it that the launch asked for.  Returns what the kernel declares. */
size_t run_block(const char *what, std::function<void()> &kernel, size_t shared,
                 const emu_place &place);
/* Memory that reads as NaN and -1, 256-aligned; NULL if there is none. */
char *poisoned(size_t bytes);

#endif
