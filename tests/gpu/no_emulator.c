/* no_emulator.c - emulator.h for test programs that run on a real device. */
#include "emulator.h"

bool emulated(void) { return false; }
void emulator_memory(uint64_t bytes) { (void)bytes; }
void emulator_seed(uint64_t seed) { (void)seed; }
void emulator_fail_allocation(uint64_t n) { (void)n; }
void emulator_lose_device(uint64_t n) { (void)n; }
void emulator_lose_in_copy(uint64_t n) { (void)n; }
void emulator_hide_device(bool hidden) { (void)hidden; }
void emulator_refuse_graphs(bool refuse) { (void)refuse; }
void emulator_capability(int capability) { (void)capability; }
void emulator_multiprocessors(int n) { (void)n; }
void emulator_versions(int driver, int runtime) { (void)driver, (void)runtime; }
void emulator_time(float milliseconds) { (void)milliseconds; }
void emulator_reset(void) {}
struct emulator_counts emulator_count(void) { return (struct emulator_counts){ 0 }; }
