/* cpu.h - which SIMD instruction sets the kernels may use.
 *
 * A level is a bundle that exists in silicon, and each one includes those before it.
 * Kernel tables are filled level by level with early returns (see x86/decode.h). */
#ifndef QUANT_CPU_H
#define QUANT_CPU_H

enum cpu_flag {
    CPU_AVX2 = 1 << 0,   /* AVX2, FMA, F16C, BMI2: Haswell, Zen and later */
    CPU_AVX512 = 1 << 1, /* AVX-512 F/BW/DQ/VL and VNNI: Cascade Lake, Zen 4 and later */
    CPU_VBMI = 1 << 2,   /* and VBMI: Ice Lake, Zen 4 and later */
    CPU_BF16 = 1 << 3,   /* and AVX512-BF16: Sapphire Rapids, Zen 4 and later */
    CPU_NEON = 1 << 4,   /* aarch64: always there */
    CPU_DOTPROD = 1 << 5 /* aarch64: SDOT and UDOT */
};

/* The usable set: what CPU and operating system support, less what cpu_set_mask() or
 * the environment variable Q3N_CPU took away.  Q3N_CPU names the highest level allowed:
 * c, avx2, avx512, vbmi, bf16, neon, dotprod. */
unsigned cpu_flags(void);

/* Allow only the given flags from now on (tests).  ~0u allows all again. */
void cpu_set_mask(unsigned mask);

/* The levels in order, each with the flags it switches on, for tests that walk them;
 * the list ends with a NULL name.  The first is "c", with no flags. */
struct cpu_level {
    const char *name;
    unsigned flags;
};
extern const struct cpu_level cpu_levels[];

/* The name of the highest usable level. */
const char *cpu_level_name(void);

#endif
