/* emulate_place.h - where a thread is, and what the emulated device says of its memory,
 * to both forms of it: emulate_block.cpp, which runs .cu files as C++, and ptx/.  Who
 * includes this has named uint3 and dim3. */
#ifndef TESTS_GPU_EMULATE_PLACE_H
#define TESTS_GPU_EMULATE_PLACE_H

#include <cstddef>
#include <cstdint>
#include <functional>

struct emu_place {
    uint3 thread, block;
    dim3 threads, blocks;
    bool waited; /* for what comes before the kernel */
};

/* A launch whose blocks are run by `block`, one after the other; early: it may start
 * before what is before it in the stream is done, which has to be a kernel. */
void emu_enqueue(cudaStream_t s, const char *what, dim3 grid, dim3 threads, bool early,
                 std::function<void(const emu_place &)> block);

/* Ends the program unless the host has put these bytes there and no kernel has changed
 * them: what is read before a kernel has waited for what comes before, or by loads that
 * are for what no kernel writes. */
void emu_read_put(const char *kernel, const void *p, size_t bytes);

#endif
