/* check.h - what a family of kernels needs to be checked and timed.
 *
 * main.c walks the instruction sets from plain C upwards and calls every family at each.
 * A family asks for the kernel in force, compares it with the plain C one on random and
 * on nasty inputs, and times it:
 *
 *     const decode_fn fn = decode_for(type);
 *     const decode_fn ref = (decode_fn)check_begin((check_fn)fn, "decode_%s", name);
 *     if (!ref) return;                     // not asked for, or the same as before
 *     ...
 *     if (memcmp(a, b, bytes)) check_fail("n=%zu", n);
 *     for (bench_begin(bytes); bench_more();) fn(src, dst, n);
 *     check_end();
 *
 * A new family is a file here, a declaration below and a line in main.c. */
#ifndef TESTS_KERNELS_CHECK_H
#define TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Families ---- */
void check_act(void);
void check_decode(void);
void check_encode(void);
void check_mul(void);
void check_refine(void);

/* ---- One kernel at one level ---- */
typedef void (*check_fn)(void);

/* The reference to hold `fn` against (fn itself at level "c"), or NULL if there is
 * nothing to do: fn is NULL, the level brought no new function, or --function excludes
 * the name.  Restarts the random numbers from seed and name. */
check_fn check_begin(check_fn fn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Count the kernel as failed; the first message of a kernel is printed. */
void check_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* True once check_fail() was called: further loops can stop. */
bool check_failed(void);
void check_end(void);

/* Time the body of the loop: only with --bench, the best of many rounds.  `bytes` that
 * one round works on, for the GB/s printed. */
void bench_begin(size_t bytes);
bool bench_more(void);
/* After bench_begin(): print the speed in this unit too, of which one round does n. */
void bench_unit(const char *unit, double n);
/* True with --bench, for what is too costly to prepare otherwise. */
bool bench_wanted(void);

/* ---- Random numbers ---- */
uint32_t check_rnd(void);
void check_rnd_bytes(void *p, size_t n);
/* About normal, mean 0, variance 1, never 0 or extreme. */
float check_rnd_normal(void);

/* ---- Memory between unmapped pages ---- */
struct area {
    uint8_t *bytes;
    size_t size;
};
struct area area_new(size_t size);
void area_free(struct area *a);
/* A place for n bytes that touches the unmapped page before it (high = 0) or after it
 * (high = 1).  The whole area is filled with a poison byte. */
void *area_place(const struct area *a, size_t n, int high);
/* True if all but the n bytes at p is still poison. */
bool area_intact(const struct area *a, const void *p, size_t n);

/* ---- Stored rows to feed kernels with (blocks.c) ---- */
enum row_pattern {
    ROW_RANDOM, /* any codes, scales of usual size and either sign */
    ROW_ONES,   /* all code bits set, scales as above: the largest integer sums */
    ROW_ZEROS,  /* all code bits clear */
    ROW_WILD,   /* any bits at all: infinite, NaN and subnormal scales */
    ROW_PATTERNS,
};
/* n elements of the type, a multiple of its block. */
void fill_row(uint32_t type, void *row, size_t n, enum row_pattern pattern);

#endif
