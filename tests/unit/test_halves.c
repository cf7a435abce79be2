/* test_halves.c - records that are hashed while another thread reads on: the same
 * numbers, and whatever fails in either half, nothing wrong is computed with.
 *
 * Reads are ours here, as in test_faults. */
#define TINY_WIDTH 256
#include "suite.h"
#include "tiny_pack.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

enum { PIECE = 256 << 10 };

static struct fault {
    uint64_t at;    /* what is read here, in its record */
    int error;      /* fails with that, or ... */
    bool flip;      /* ... has a bit turned, or ... */
    size_t at_most; /* ... comes in bits of so many bytes, */
    int times;      /* so often; 0: always */
    bool slow;      /* pieces alone; others take long, and this ends in one's middle */
} fault;
static ino_t pack_file;
static uint64_t first_record;
static _Atomic int hit, begun; /* begun: records that are read in pieces */

/* Reads by a helper, which begin behind the first piece: of which record plus 1, or 0. */
static _Atomic uint64_t helped;
static _Atomic bool overlap; /* one was read from its start meanwhile */

/* Somebody helps with the record by now; a second at most. */
static void wait_for_help(uint64_t record)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    for (int i = 0; i < 1000 && atomic_load(&helped) != record + 1; i++)
        nanosleep(&moment, NULL);
}

static void help_slowly(uint64_t record)
{
    const struct timespec some_time = { .tv_nsec = 30000000 };
    atomic_store(&helped, record + 1);
    nanosleep(&some_time, NULL);
    atomic_store(&helped, 0);
}

ssize_t pread(int fd, void *into, size_t n, off_t offset)
{
    struct stat st;
    const bool is_pack = !fstat(fd, &st) && st.st_ino == pack_file;
    const uint64_t at = ((uint64_t)offset - first_record) % RECORD;
    if (is_pack && !at && n == PIECE) atomic_fetch_add(&begun, 1);
    bool now = is_pack && fault.at >= at && fault.at < at + n;
    if (fault.slow && n != PIECE) now = false;
    if (now && fault.times) now = atomic_fetch_add(&hit, 1) < fault.times;
    const uint64_t record = ((uint64_t)offset - first_record) / RECORD;
    if (is_pack && !at && n != PIECE && atomic_load(&helped) == record + 1)
        atomic_store(&overlap, true);
    if (is_pack && at && fault.slow) help_slowly(record);
    if (now && fault.slow) wait_for_help(record);
    if (now && fault.error) {
        errno = fault.error;
        return -1;
    }
    ssize_t got = syscall(SYS_pread64, fd, into, n, offset);
    if (is_pack && fault.at_most && got > (ssize_t)fault.at_most)
        got = (ssize_t)fault.at_most;
    if (now && fault.flip && got > 0) ((uint8_t *)into)[fault.at - at] ^= 4;
    return got;
}

static float expected[TINY_TOKENS * VOCAB], logits[TINY_TOKENS * VOCAB];
static struct q3n_expert_stats stats;
static ggf_error err;

static void prepare(void)
{
    struct stat st;
    ggf_pack *p;
    setup();
    make(&(struct tiny){ 0 }, 0);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    ck_assert_int_eq(stat(pack, &st), 0);
    ck_assert_int_eq(ggf_pack_open(&p, pack, &err), 0);
    ck_assert_uint_eq(ggf_pack_record(p, 0, 0)->stored_bytes, RECORD);
    first_record = ggf_pack_record(p, 0, 0)->offset;
    ggf_pack_close(p);
    pack_file = st.st_ino;
}

static int run(const struct fault *f, int io_threads, enum q3n_verify_reads verify)
{
    const struct q3n_model_options options = { .threads = 1,
                                               .io_threads = io_threads,
                                               .verify_reads = verify,
                                               .experts_cache_bytes = LEAST };
    memset(logits, 0, sizeof logits);
    atomic_store(&hit, 0);
    atomic_store(&begun, 0);
    fault = *f;
    const int e = run_in_steps(dense, &options, 1, 1, logits, &stats, &err);
    fault = (struct fault){ 0 };
    return e;
}

static const struct passing {
    struct fault fault;
    int retries;
} passing[] = {
    { { 0 }, 0 },
    { { .at = UINT64_MAX, .at_most = 5000 }, 0 },
    { { .at = 10, .error = EINTR, .times = 3 }, 0 },
    { { .at = RECORD - 1, .error = EAGAIN, .times = 3 }, 0 },
    { { .at = 10, .error = EIO, .times = 1 }, 1 },
    { { .at = PIECE + 10, .error = EIO, .times = 1 }, 1 },
    { { .at = RECORD - 1, .error = EIO, .times = 1 }, 1 },
    { { .at = 10, .flip = true, .times = 1 }, 1 },
    { { .at = 2 * PIECE, .flip = true, .times = 1 }, 1 },
    { { .at = RECORD - 1, .flip = true, .times = 1 }, 1 },
};
enum { N_PASSING = sizeof passing / sizeof *passing };

START_TEST(same_numbers)
{
    const struct passing *p = &passing[_i];
    const enum q3n_verify_reads verify = _i & 1 ? Q3N_VERIFY_FIRST : Q3N_VERIFY_ALWAYS;
    for (int threads = 1; threads <= 4; threads += 3) {
        ck_assert_msg(!run(&p->fault, threads, verify), "%s", err.message);
        ck_assert_mem_eq(logits, expected, sizeof logits);
        ck_assert_uint_eq(stats.retries, (unsigned)p->retries);
        /* Of a single thread nobody can help. */
        ck_assert_int_eq(threads > 1, atomic_load(&begun) > 0);
        if (verify == Q3N_VERIFY_ALWAYS)
            ck_assert_uint_eq(stats.read_bytes, (stats.reads + stats.retries) * RECORD);
        ck_assert_uint_gt(stats.evictions, 0);
    }
}
END_TEST

/* Where the first piece fails, the record is read anew only when nobody is writing into
 * its memory any more.  (A record that was checked before is read by two at once, which
 * would look the same: each is checked each time.) */
START_TEST(helper_ends_first)
{
    const struct fault f = { .at = 10, .error = EIO, .times = 3, .slow = true };
    atomic_store(&overlap, false);
    ck_assert_msg(!run(&f, 2, Q3N_VERIFY_ALWAYS), "%s", err.message);
    ck_assert_mem_eq(logits, expected, sizeof logits);
    ck_assert_uint_gt(stats.retries, 0);
    ck_assert(!atomic_load(&overlap));
}
END_TEST

static const struct lasting {
    struct fault fault;
    int code;
    const char *says;
} lasting[] = {
    { { .at = 0, .error = EIO }, GGF_E_IO, "Input/output error" },
    { { .at = PIECE, .error = EIO }, GGF_E_IO, "Input/output error" },
    { { .at = RECORD - 1, .error = EIO }, GGF_E_IO, "Input/output error" },
    { { .at = 0, .flip = true }, GGF_E_HASH, "SHA-256" },
    { { .at = PIECE, .flip = true }, GGF_E_HASH, "SHA-256" },
    { { .at = RECORD - 1, .flip = true }, GGF_E_HASH, "SHA-256" },
};
enum { N_LASTING = sizeof lasting / sizeof *lasting };

START_TEST(lost)
{
    for (int threads = 1; threads <= 4; threads += 3) {
        ck_assert_int_eq(run(&lasting[_i].fault, threads, Q3N_VERIFY_FIRST),
                         lasting[_i].code);
        ck_assert_msg(strstr(err.message, lasting[_i].says) != NULL, "%s", err.message);
        ck_assert_msg(!strncmp(err.message, "layer 0, expert ", 16), "%s", err.message);
        for (int i = 0; i < TINY_TOKENS * VOCAB; i++) ck_assert(logits[i] == 0);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("halves");
    tcase_add_checked_fixture(tc, prepare, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, same_numbers, 0, N_PASSING);
    tcase_add_test(tc, helper_ends_first);
    tcase_add_loop_test(tc, lost, 0, N_LASTING);
    return SUITE_RUN("halves", tc);
}
