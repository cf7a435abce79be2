/* checkkernels - every SIMD kernel against plain C, and its speed.
 *
 * The method is that of dav1d's checkasm: instruction sets are switched on one after the
 * other, and a kernel is checked at a level only if the level brought a new function, so
 * each variant is checked once.  The families are in files of their own (see check.h). */
#include "check.h"

#include "../../infer/now.h"
#include "../../infer/splitmix.h"
#include "../../quant/cpu.h"

#include <fnmatch.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
    const char *name;
    void (*run)(void);
} families[] = {
    { "act", check_act }, { "decode", check_decode }, { "encode", check_encode },
    { "mul", check_mul }, { "refine", check_refine },
};

static const char usage[] =
    "Usage: checkkernels [options] [SEED]\n"
    "\n"
    "Checks every SIMD kernel against plain C.\n"
    "\n"
    "  --bench             time the kernels too\n"
    "  --function PATTERN  only kernels whose name matches, such as 'decode_q?_K'\n"
    "  --test FAMILY       only this family\n"
    "  --list              print the families\n"
    "  --help              print this\n";

enum { NAME_MAX_LENGTH = 64, POISON = 0xa5 };

/* What is remembered of a kernel from level to level. */
struct kernel {
    char name[NAME_MAX_LENGTH];
    check_fn reference, last;
    double reference_cycles;
};

static struct {
    const char *pattern;
    bool bench;
    uint64_t seed;
    const char *level;
    struct kernel *kernels;
    size_t n_kernels;
    int passed, failed;
} all;

/* The kernel in hand. */
static struct {
    struct kernel *kernel;
    bool failed;
    uint64_t random;
    size_t bytes;
    int rounds;
    const char *unit;
    double units;
    double begun, begun_ticks, ghz; /* seconds; of the cycle counter */
    double lap, best;               /* cycles; best is 0 if not timed */
} now;

/* ---- Random numbers ------------------------------------------------------ */

uint32_t check_rnd(void) { return (uint32_t)(splitmix64(&now.random) >> 16); }

void check_rnd_bytes(void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)check_rnd();
}

float check_rnd_normal(void)
{
    float sum = 0; /* of four uniforms in (-1, 1): variance 4/3 */
    for (int i = 0; i < 4; i++) sum += (float)((int)(check_rnd() >> 8 | 1) - (1 << 23));
    return sum * 0x1p-23f * 0.8660254f;
}

/* Seed and name, so that --function repeats what the full run did. */
static uint64_t seed_for(const char *name)
{
    uint64_t h = all.seed ^ 0xcbf29ce484222325; /* FNV-1a */
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 0x100000001b3;
    return h;
}

/* ---- Memory -------------------------------------------------------------- */

struct area area_new(size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size = (size + page - 1) / page * page;
    uint8_t *p =
        mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, size, PROT_READ | PROT_WRITE)) {
        perror("checkkernels: mmap");
        exit(1);
    }
    return (struct area){ p + page, size };
}

void area_free(struct area *a)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    munmap(a->bytes - page, a->size + 2 * page);
}

void *area_place(const struct area *a, size_t n, int high)
{
    memset(a->bytes, POISON, a->size);
    return high ? a->bytes + a->size - n : a->bytes;
}

bool area_intact(const struct area *a, const void *p, size_t n)
{
    const uint8_t *const from = p, *const to = from + n;
    for (const uint8_t *q = a->bytes; q < a->bytes + a->size; q++)
        if ((q < from || q >= to) && *q != POISON) return false;
    return true;
}

/* ---- Kernels ------------------------------------------------------------- */

static struct kernel *find_kernel(const char *name)
{
    for (size_t i = 0; i < all.n_kernels; i++)
        if (!strcmp(all.kernels[i].name, name)) return &all.kernels[i];
    struct kernel *grown = realloc(all.kernels, (all.n_kernels + 1) * sizeof *grown);
    if (!grown) {
        perror("checkkernels");
        exit(1);
    }
    all.kernels = grown;
    struct kernel *k = &grown[all.n_kernels++];
    *k = (struct kernel){ .reference = NULL };
    snprintf(k->name, sizeof k->name, "%s", name);
    return k;
}

check_fn check_begin(check_fn fn, const char *format, ...)
{
    char name[NAME_MAX_LENGTH];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    if (!fn || (all.pattern && fnmatch(all.pattern, name, 0))) return NULL;
    struct kernel *k = find_kernel(name);
    if (fn == k->last) return NULL;
    k->last = fn;
    /* A kernel without a plain C version is held against its first. */
    if (!k->reference) k->reference = fn;
    memset(&now, 0, sizeof now);
    now.kernel = k;
    now.random = seed_for(name);
    return k->reference;
}

void check_fail(const char *format, ...)
{
    if (now.failed) return;
    now.failed = true;
    va_list ap;
    va_start(ap, format);
    printf("%-24s %-8s FAILED: ", now.kernel->name, all.level);
    vprintf(format, ap);
    printf(" (seed %llu)\n", (unsigned long long)all.seed);
    va_end(ap);
    fflush(stdout);
}

bool check_failed(void) { return now.failed; }

/* "812 cycles  12.3 GB/s  4.31x": cycles of the time stamp counter, for one round, and
 * how many times as fast as plain C. */
static void print_speed(void)
{
    struct kernel *k = now.kernel;
    if (k->reference == k->last) k->reference_cycles = now.best;
    printf(" %9.0f cycles %7.2f GB/s %7.2fx", now.best,
           (double)now.bytes / now.best * now.ghz, k->reference_cycles / now.best);
    if (now.unit) printf(" %8.3f G%s/s", now.units / now.best * now.ghz, now.unit);
}

void check_end(void)
{
    now.failed ? all.failed++ : all.passed++;
    if (!now.failed) {
        printf("%-24s %-8s ok", now.kernel->name, all.level);
        if (now.best > 0) print_speed();
        putchar('\n');
        fflush(stdout);
    }
    now.kernel = NULL;
}

/* ---- Timing -------------------------------------------------------------- */

static double ticks(void)
{
#if defined(__x86_64__)
    return (double)__builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t));
    return (double)t;
#else
    return 1e9 * seconds_now();
#endif
}

void bench_begin(size_t bytes)
{
    now.bytes = bytes;
    now.rounds = 0;
    now.best = INFINITY;
    now.begun = seconds_now();
    now.begun_ticks = ticks();
}

void bench_unit(const char *unit, double n)
{
    now.unit = unit;
    now.units = n;
}

bool bench_wanted(void) { return all.bench; }

bool bench_more(void)
{
    const double t = ticks();
    if (!all.bench || now.failed) {
        now.best = 0;
        return false;
    }
    if (now.rounds && t - now.lap < now.best) now.best = t - now.lap;
    const double elapsed = seconds_now() - now.begun;
    if ((now.rounds++ > 20 && elapsed > 0.02) || (now.rounds > 1 && elapsed > 0.5)) {
        now.ghz = (t - now.begun_ticks) / elapsed * 1e-9;
        return false;
    }
    now.lap = ticks();
    return true;
}

/* ---- Main ---------------------------------------------------------------- */

/* A kernel that touched an unmapped page, or an instruction this CPU lacks. */
static void on_crash(int sig)
{
    char line[256];
    const int n = snprintf(line, sizeof line,
                           "%-24s %-8s CRASHED: %s (seed %llu)\n%d passed, %d failed\n",
                           now.kernel ? now.kernel->name : "?", all.level, strsignal(sig),
                           (unsigned long long)all.seed, all.passed, all.failed + 1);
    if (write(STDOUT_FILENO, line, (size_t)n) < 0) _exit(2);
    _exit(1);
}

static void parse(int argc, char **argv, const char **family)
{
    all.seed = (uint64_t)time(NULL);
    for (int i = 1; i < argc; i++) {
        char *end;
        const uint64_t number = strtoull(argv[i], &end, 0);
        if (!strcmp(argv[i], "--bench")) all.bench = true;
        else if (!strcmp(argv[i], "--function") && i + 1 < argc) all.pattern = argv[++i];
        else if (!strcmp(argv[i], "--test") && i + 1 < argc) *family = argv[++i];
        else if (!strcmp(argv[i], "--list")) {
            for (size_t f = 0; f < sizeof families / sizeof *families; f++)
                puts(families[f].name);
            exit(0);
        } else if (!strcmp(argv[i], "--help")) {
            fputs(usage, stdout);
            exit(0);
        } else if (*argv[i] && !*end) all.seed = number;
        else {
            fprintf(stderr, "checkkernels: cannot use '%s'\n%s", argv[i], usage);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    const char *family = NULL;
    parse(argc, argv, &family);
    printf("seed %llu\n", (unsigned long long)all.seed);
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGILL, on_crash);

    const unsigned have = cpu_flags();
    for (const struct cpu_level *l = cpu_levels; l->name; l++) {
        if ((l->flags & have) != l->flags) {
            printf("SKIP %s: not on this CPU\n", l->name);
            continue;
        }
        all.level = l->name;
        cpu_set_mask(l->flags);
        for (size_t f = 0; f < sizeof families / sizeof *families; f++)
            if (!family || !strcmp(family, families[f].name)) families[f].run();
    }
    if (!all.passed && !all.failed) {
        puts("no kernel has such a name");
        all.failed = 1;
    }
    free(all.kernels);
    printf("%d passed, %d failed\n", all.passed, all.failed);
    return all.failed != 0;
}
