/* memory.h - what the parts of the machine say to each other of memory. */
#ifndef TESTS_GPU_PTX_MEMORY_H
#define TESTS_GPU_PTX_MEMORY_H

#include "ptx.h"

namespace ptx
{

const op_kind *find_register_operation(const std::string &name);

enum access { READ, WRITE, ATOMIC };

/* Where a lane's access is; of shared memory the lower 32 bits count. */
static inline uint64_t address(const warp &w, const instr &in, uint32_t lane)
{
    if (in.base == NONE) return (uint64_t)in.add;
    return (uint64_t)in.add +
           (in.base_wide ? w.longs(in.base)[lane] : w.words(in.base)[lane]);
}

/* ---- shadow.cpp: races in shared memory ------------------------------------------- */

/* Ends the program if another thread has written, or reads what is written, with nothing
 * between that makes one wait for the other. */
void shadow_touch(warp &w, const instr &in, uint32_t lane, uint32_t at, uint32_t bytes,
                  access how);
struct shadow *shadow_of(uint32_t bytes);

/* ---- order.cpp: races in the device's memory --------------------------------------- */

/* Before each block of a launch; false: none of this launch is looked at. */
bool order_begin(const kernel *k, const emu_place &place);
/* As shadow_touch(), but not for atomic operations; value: that is written. */
void order_touch(const warp &w, const instr &in, uint32_t lane, const uint8_t *p,
                 uint32_t bytes, access how, const uint8_t *value);
void order_fence(const warp &w, uint32_t lanes);
void order_atomic(const warp &w, uint32_t lane, const uint8_t *p);

/* ---- report.cpp: what a device would have to do for an access --------------------- */

/* Of an instruction, which makes this access. */
void count_access(warp &w, const instr &in, const instr &access, uint32_t lanes);

} // namespace ptx

#endif
