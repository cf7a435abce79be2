/* random.c - the random numbers that tests/kernels/blocks.c asks for. */
#include "../../infer/splitmix.h"
#include "../kernels/check.h"

static uint64_t state = 1;

uint32_t check_rnd(void) { return (uint32_t)(splitmix64(&state) >> 32); }

void check_rnd_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)check_rnd();
}

float check_rnd_normal(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += splitmix_uniform(&state);
    return (float)(sum == 0 ? 0.5 : sum);
}
