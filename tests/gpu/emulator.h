/* emulator.h - what tests ask of the emulated device (emulate.cpp).  Linked with a real
 * one (no_emulator.c) emulated() is false and the rest does nothing. */
#ifndef TESTS_GPU_EMULATOR_H
#define TESTS_GPU_EMULATOR_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

bool emulated(void);
/* Memory of the device, in all; 1 GiB at first. */
void emulator_memory(uint64_t bytes);
/* Blocks and threads run in an order that follows from the seed. */
void emulator_seed(uint64_t seed);
/* The n-th allocation from now on (1 is the next) fails; 0: none does. */
void emulator_fail_allocation(uint64_t n);
/* The device is lost in the n-th launch from now on, until emulator_reset(). */
void emulator_lose_device(uint64_t n);
/* The same, in the n-th copy to the device. */
void emulator_lose_in_copy(uint64_t n);
/* No device is found. */
void emulator_hide_device(bool hidden);
/* No graph can be made of what was recorded. */
void emulator_refuse_graphs(bool refuse);
/* Ten times its compute capability; there is code for 7.5 up to 9.0 (of PTX: 9.9). */
void emulator_capability(int capability);
/* How many there are; 4 at first. */
void emulator_multiprocessors(int n);
/* As CUDA has them: 12040 for 12.4; driver 0: there is none. */
void emulator_versions(int driver, int runtime);
/* What is said to lie between two events; 0: anything. */
void emulator_time(float milliseconds);
/* As at the start; what was allocated stays. */
void emulator_reset(void);

struct emulator_counts {
    uint64_t launches;    /* kernels done */
    uint64_t calls;       /* of the host: kernels, copies, graphs */
    uint64_t allocations; /* asked for, of the device and pinned */
    uint64_t live, bytes; /* of the device: not yet freed; their bytes */
    uint64_t pinned;      /* of the host: not yet freed, or unpinned */
    uint64_t waits;       /* of the host for a stream */
    uint64_t copies;      /* to the device, done */
    uint64_t up;          /* bytes that were to be copied there; of them, */
    uint64_t beside;      /* those that need not wait for a kernel asked for before */
};
struct emulator_counts emulator_count(void);

#ifdef __cplusplus
}
#endif

#endif
