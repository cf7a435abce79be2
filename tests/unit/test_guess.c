/* test_guess.c - experts that are read ahead: behind what is needed, given up for what is
 * needed, and used if they come to be needed themselves.
 *
 * Reads are ours here: they wait until they are let through, and are written down. */
#include "../../infer/experts/store.h"
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LAYERS = 2,
    EXPERTS = 8,
    USED = 2,
    WIDTH = 32,
    MATRIX = WIDTH * WIDTH * 4, /* bytes: a page */
    RECORD = GGF_PARTS * MATRIX,
    ROOM = 6, /* experts in memory */
    N_MATRICES = LAYERS * GGF_PARTS * EXPERTS,
    MOST_READS = 64,
};

/* ==== Reads =============================================================== */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int file, n_reads, n_let; /* begun, and how many may go on */
static int reads[MOST_READS];    /* matrices, as numbered by number() */

static int number(int layer, int part, int expert)
{
    return (layer * GGF_PARTS + part) * EXPERTS + expert;
}

ssize_t pread(int fd, void *into, size_t n, off_t offset)
{
    struct stat st, own;
    if (fstat(fd, &st) || fstat(file, &own) || st.st_ino != own.st_ino)
        return syscall(SYS_pread64, fd, into, n, offset);
    pthread_mutex_lock(&mutex);
    ck_assert_int_lt(n_reads, MOST_READS);
    const int mine = n_reads++;
    reads[mine] = (int)(offset / MATRIX);
    pthread_cond_broadcast(&changed);
    while (mine >= n_let) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
    return syscall(SYS_pread64, fd, into, n, offset);
}

static void let(int n)
{
    pthread_mutex_lock(&mutex);
    n_let = n;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void wait_for_reads(int n)
{
    pthread_mutex_lock(&mutex);
    while (n_reads < n) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

/* ==== A store ============================================================= */

static char path[64];
static float *mapped;
static struct expert_store *store;
static ggf_error err;

static void add_layer(uint32_t layer)
{
    struct expert_slab slabs[GGF_PARTS];
    for (int p = 0; p < GGF_PARTS; p++) {
        const uint64_t at = (uint64_t)number((int)layer, p, 0) * MATRIX;
        slabs[p] = (struct expert_slab){ .data = (const uint8_t *)mapped + at,
                                         .path = path,
                                         .file_size = (uint64_t)N_MATRICES * MATRIX,
                                         .offset = at,
                                         .type = GGF_F32,
                                         .stride = MATRIX };
    }
    ck_assert_int_eq(expert_store_set_slabs(store, layer, slabs, &err), 0);
}

static void setup(void)
{
    const struct expert_store_options o = {
        .dims = { LAYERS, EXPERTS, WIDTH, WIDTH, false },
        .n_used = USED,
        .direct = true,
        .io_threads = 1,
        .look_ahead = true,
        .limits_root = "/nowhere",
    };
    snprintf(path, sizeof path, "%s/q3n-test-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    mapped = malloc((size_t)N_MATRICES * MATRIX);
    for (int i = 0; i < N_MATRICES * WIDTH * WIDTH; i++) mapped[i] = (float)i;
    ck_assert_int_eq(write(file, mapped, (size_t)N_MATRICES * MATRIX),
                     N_MATRICES * MATRIX);
    n_reads = n_let = 0;
    ck_assert_int_eq(expert_store_new(&store, &o, &err), 0);
    for (uint32_t l = 0; l < LAYERS; l++) add_layer(l);
    ck_assert_msg(!expert_store_start(store, ROOM * RECORD, &err), "%s", err.message);
}

static void teardown(void)
{
    expert_store_free(store);
    free(mapped);
    close(file);
    unlink(path);
}

/* ==== Demands ============================================================= */

struct need {
    struct expert_demand d;
    uint32_t ids[EXPERTS], uses[EXPERTS];
    uint8_t flags[EXPERTS];
    struct expert experts[EXPERTS];
    struct record *records[EXPERTS];
};

static void begin(struct need *n, uint32_t layer, uint32_t a, uint32_t b)
{
    *n = (struct need){ .ids = { a, b } };
    n->d = (struct expert_demand){
        .ids = n->ids, .flags = n->flags, .experts = n->experts, .records = n->records
    };
    for (int i = 0; i < EXPERTS; i++) n->uses[i] = 1;
    expert_store_begin(store, &n->d, layer, 2, n->uses);
}

/* All bytes are right, sooner or later. */
static void use(struct need *n)
{
    const int layer = (int)n->d.layer;
    do {
        for (uint32_t i = n->d.first; i < n->d.first + n->d.count; i++) {
            const int id = (int)n->ids[i];
            const struct expert *e = &n->experts[i];
            ck_assert(!expert_store_wait(store, &n->d, i, EXPERT_READY, &err));
            const struct matrix *m[GGF_PARTS];
            m[GGF_GATE] = &e->gate;
            m[GGF_UP] = &e->up;
            m[GGF_DOWN] = &e->down;
            for (int p = 0; p < GGF_PARTS; p++)
                ck_assert_mem_eq(m[p]->data,
                                 mapped + number(layer, p, id) * WIDTH * WIDTH, MATRIX);
        }
    } while (expert_store_next(store, &n->d));
    expert_store_end(store, &n->d);
}

static struct q3n_expert_stats stats(void)
{
    struct q3n_expert_stats s;
    expert_store_stats(store, &s);
    return s;
}

static void check_reads(const int *want, int n)
{
    ck_assert_int_eq(n_reads, n);
    for (int i = 0; i < n; i++) ck_assert_int_eq(reads[i], want[i]);
}

#define GATE(layer, e) number(layer, GGF_GATE, e)
#define UP(layer, e)   number(layer, GGF_UP, e)
#define DOWN(layer, e) number(layer, GGF_DOWN, e)

/* What has begun is read to its end, in between what is needed; the rest of the guesses
 * is not read at all. */
START_TEST(cancelled)
{
    static const uint32_t guesses[] = { 0, 1, 2 };
    const int want[] = { GATE(1, 0), UP(1, 0),   GATE(0, 5), UP(0, 5),  GATE(0, 6),
                         UP(0, 6),   DOWN(0, 5), DOWN(0, 6), DOWN(1, 0) };
    struct need n;
    expert_store_guess(store, 1, guesses, 3);
    wait_for_reads(1);
    begin(&n, 0, 5, 6);
    let(MOST_READS);
    use(&n);
    wait_for_reads(9);
    check_reads(want, 9);
    ck_assert_uint_eq(stats().guesses, 3);
    ck_assert_uint_eq(stats().guesses_cancelled, 2);
    ck_assert_uint_eq(stats().guesses_used, 0);
    /* The one that was read is there, and the two may be read again. */
    begin(&n, 1, 0, 1);
    use(&n);
    ck_assert_int_eq(n_reads, 12);
    ck_assert_uint_eq(stats().guesses_used, 1);
    ck_assert_uint_eq(stats().misses, 4);
    ck_assert_uint_eq(stats().hits, 0);
    ck_assert_uint_eq(stats().guesses_wasted, 0);
}
END_TEST

/* A guess that comes to be needed goes before what is only guessed, and stays. */
START_TEST(wanted)
{
    static const uint32_t guesses[] = { 0, 1, 2, 3 };
    const int want[] = { GATE(1, 0), UP(1, 0), GATE(1, 3), UP(1, 3),  DOWN(1, 3),
                         GATE(1, 7), UP(1, 7), DOWN(1, 7), DOWN(1, 0) };
    struct need n;
    expert_store_guess(store, 1, guesses, 4);
    wait_for_reads(1);
    begin(&n, 1, 7, 3);
    let(MOST_READS);
    use(&n);
    wait_for_reads(9);
    check_reads(want, 9);
    ck_assert_uint_eq(stats().guesses_cancelled, 2);
    ck_assert_uint_eq(stats().guesses_used, 1);
    ck_assert_uint_eq(stats().misses, 2);
}
END_TEST

/* Guesses take what room there is and not more, push nothing out that is needed, and go
 * first when there is need of it. */
START_TEST(room)
{
    static const uint32_t guesses[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    struct need a, b;
    let(MOST_READS);
    begin(&a, 0, 0, 1);
    expert_store_guess(store, 1, guesses, EXPERTS);
    ck_assert_uint_eq(stats().guesses, ROOM - 2);
    wait_for_reads(ROOM * GGF_PARTS);
    use(&a);
    begin(&b, 0, 2, 3);
    use(&b);
    ck_assert_uint_eq(stats().evictions, 2);
    ck_assert_uint_eq(stats().guesses_wasted, 2);
    begin(&a, 0, 0, 1);
    use(&a);
    ck_assert_uint_eq(stats().hits, 2); /* they were used, the guesses were not */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("guesses");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, cancelled);
    tcase_add_test(tc, wanted);
    tcase_add_test(tc, room);
    return SUITE_RUN("guess", tc);
}
