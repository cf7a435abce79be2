/* test_faults.c - a model whose experts are read while reads fail, come short or bring
 * damaged bytes, and while the system refuses memory, locks, threads and O_DIRECT.
 * Either the numbers are the same, or one sentence says which expert of which layer
 * cannot be had; nothing is ever computed with wrong bytes.
 *
 * The functions that fail are ours here: they do what `fault` says. */
#include "suite.h"
#include "tiny_pack.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static struct fault {
    /* Of reads of the file whose bytes are asked for past `from` ... */
    uint64_t from, end; /* end 0: the whole file */
    int times;          /* so many are hit; 0: all that are left */
    int every;          /* and only each so many-th; 0: each one */
    /* ... this becomes. */
    int error;      /* errno */
    size_t at_most; /* bytes that come; 0: all */
    bool flip;      /* a bit of what came */
    bool at_open; /* reads of the main thread, which loads all but experts; else others */
    /* Refused. */
    bool open_direct, arena, lock, advice;
    int threads; /* all but so many - 1; 0: none */
} fault;
static ino_t file_hit;
static _Atomic int seen, hit, threads_made;

static void set_fault(const struct fault *f, const char *file)
{
    struct stat st;
    ck_assert_int_eq(stat(file, &st), 0);
    file_hit = st.st_ino;
    atomic_store(&seen, 0);
    atomic_store(&hit, 0);
    atomic_store(&threads_made, 0);
    fault = *f;
}

static bool is_hit(int fd, size_t n, off_t offset)
{
    struct stat st;
    if (!fault.error && !fault.at_most && !fault.flip) return false;
    if (fstat(fd, &st) || st.st_ino != file_hit) return false;
    if (fault.at_open != (gettid() == getpid())) return false;
    if (fault.end &&
        ((uint64_t)offset >= fault.end || (uint64_t)offset + n <= fault.from))
        return false;
    if (fault.every && atomic_fetch_add(&seen, 1) % fault.every) return false;
    return atomic_fetch_add(&hit, 1) < fault.times || !fault.times;
}

ssize_t pread(int fd, void *into, size_t n, off_t offset)
{
    const bool now = is_hit(fd, n, offset);
    if (now && fault.error) {
        errno = fault.error;
        return -1;
    }
    ssize_t got = syscall(SYS_pread64, fd, into, n, offset);
    if (now && fault.at_most && got > (ssize_t)fault.at_most)
        got = (ssize_t)fault.at_most;
    if (now && fault.flip && got > 0) ((uint8_t *)into)[got / 2] ^= 4;
    return got;
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    const int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    if (fault.open_direct && flags & O_DIRECT) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* Memory for experts is the only one that is mapped without a reserve. */
void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (fault.arena && flags & MAP_NORESERVE) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    /* NOLINTNEXTLINE(performance-no-int-to-ptr) */
    return (void *)syscall(SYS_mmap, at, n, protection, flags, fd, offset);
}

int mlock2(const void *at, size_t n, unsigned flags)
{
    if (!fault.lock) return (int)syscall(SYS_mlock2, at, n, flags);
    errno = ENOMEM;
    return -1;
}

int madvise(void *at, size_t n, int advice)
{
    if (!fault.advice) return (int)syscall(SYS_madvise, at, n, advice);
    errno = EINVAL;
    return -1;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*start)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    if (fault.threads && atomic_fetch_add(&threads_made, 1) >= fault.threads - 1)
        return EAGAIN;
    return real(thread, attributes, start, arg);
}

/* ---- What is run ----------------------------------------------------------- */

enum source_kind { PLAIN_PACK, ZSTD_PACK, GGUF, N_KINDS };

static struct q3n_model_options options;
static const char *path, *file; /* the model, and the file that its experts are in */
static float expected[TINY_TOKENS * VOCAB], logits[TINY_TOKENS * VOCAB];
static struct q3n_expert_stats stats;
static ggf_error err;

/* Room for one token's experts, and one thread that computes. */
static void prepare(int kind)
{
    make(&(struct tiny){ 0 }, kind == ZSTD_PACK ? 3 : 0);
    ck_assert_int_eq(tiny_run(source, NULL, expected, &err), 0);
    path = kind == GGUF ? source : dense;
    file = kind == GGUF ? source : pack;
    options = (struct q3n_model_options){ .threads = 1,
                                          .load_mode = Q3N_LOAD_DIRECT,
                                          .experts_cache_bytes = LEAST };
    if (kind == GGUF) options.experts_cache_bytes *= 2; /* slices start anywhere */
}

/* Token after token; those that were not computed keep NaN. */
static int run_with(const struct fault *f)
{
    for (int i = 0; i < TINY_TOKENS * VOCAB; i++) logits[i] = NAN;
    set_fault(f, file);
    const int e = run_in_steps(path, &options, 1, 1, logits, &stats, &err);
    fault = (struct fault){ 0 };
    return e;
}

/* How many tokens were computed; their numbers are right. */
static int computed(void)
{
    int n = 0;
    while (n < TINY_TOKENS && !isnan(logits[n * VOCAB])) n++;
    ck_assert_mem_eq(logits, expected, (size_t)n * VOCAB * sizeof *logits);
    return n;
}

/* ---- What passes ----------------------------------------------------------- */

static const struct passing {
    const char *name;
    struct fault fault;
    int retries;
    bool hashed; /* makes no sense where nothing is hashed */
} passing[] = {
    { "nothing", { 0 }, 0, false },
    { "interrupted", { .error = EINTR, .every = 2 }, 0, false },
    { "busy", { .error = EAGAIN, .every = 3 }, 0, false },
    { "short", { .at_most = 5000 }, 0, false },
    { "a page at a time", { .at_most = 4096 }, 0, false },
    { "fails once", { .error = EIO, .times = 1 }, 1, false },
    { "cut short once", { .at_most = 100, .times = 1 }, 1, false },
    { "damaged once", { .flip = true, .times = 1 }, 1, true },
    { "O_DIRECT refused by the first read", { .error = EINVAL, .times = 1 }, 0, false },
    { "O_DIRECT refused", { .open_direct = true }, 0, false },
    { "no locks, no advice", { .lock = true, .advice = true }, 0, false },
    { "a single thread", { .threads = 2 }, 0, false },
};
enum { N_PASSING = sizeof passing / sizeof *passing };

START_TEST(same_numbers)
{
    prepare(_i);
    for (int i = 0; i < N_PASSING; i++) {
        const struct passing *p = &passing[i];
        if (p->hashed && _i == GGUF) continue;
        const int e = run_with(&p->fault);
        ck_assert_msg(!e, "%s: %s", p->name, err.message);
        ck_assert_msg(computed() == TINY_TOKENS, "%s", p->name);
        ck_assert_msg(stats.retries == (uint64_t)p->retries, "%s: %d retries", p->name,
                      (int)stats.retries);
        ck_assert(stats.evictions > 0);
    }
}
END_TEST

/* ---- What does not --------------------------------------------------------- */

static const struct lasting {
    struct fault fault;
    int code;
    const char *says;
} lasting[] = {
    { { .error = EIO }, GGF_E_IO, "Input/output error" },
    { { .error = EINVAL }, GGF_E_IO, "Invalid argument" },
    { { .at_most = 100 }, GGF_E_IO, "cut short" },
    { { .flip = true }, GGF_E_HASH, "SHA-256" },
};
enum { N_LASTING = sizeof lasting / sizeof *lasting };

/* One record is gone for good: it is named, after one more try, and the tokens before it
 * are right. */
START_TEST(record_lost)
{
    const struct lasting *l = &lasting[_i % N_LASTING];
    prepare(_i / N_LASTING);
    for (uint32_t expert = 0; expert < EXPERTS; expert++) {
        char says[64];
        ggf_pack *p;
        struct fault f = l->fault;
        ck_assert_int_eq(ggf_pack_open(&p, pack, &err), 0);
        f.from = ggf_pack_record(p, 1, expert)->offset;
        f.end = f.from + ggf_pack_record(p, 1, expert)->stored_bytes;
        ggf_pack_close(p);
        ck_assert_int_eq(run_with(&f), l->code);
        ck_assert_msg(strstr(err.message, l->says) != NULL, "%s", err.message);
        snprintf(says, sizeof says, "layer 1, expert %u: ", expert);
        ck_assert_msg(!strncmp(err.message, says, strlen(says)), "%s", err.message);
        ck_assert_int_lt(computed(), TINY_TOKENS);
        ck_assert_uint_eq(stats.retries, 1);
    }
}
END_TEST

/* Whichever read it is. */
START_TEST(disk_lost)
{
    prepare(_i);
    for (int reads = 1; reads < 40; reads += 3) {
        const struct fault f = { .error = EIO, .every = reads };
        const int e = run_with(&f);
        if (e) ck_assert_msg(strstr(err.message, "layer ") != NULL, "%s", err.message);
        ck_assert(e == GGF_E_IO || (!e && reads > 1)); /* the second try was lucky */
        ck_assert(computed() == TINY_TOKENS || e);
    }
}
END_TEST

/* When the disk is back, so is the model: the session starts over.  Reads that were under
 * way may still fail. */
START_TEST(comes_back)
{
    q3n_model *model;
    q3n_session *s;
    int32_t tokens[TINY_TOKENS];
    prepare(_i);
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    ck_assert_int_eq(q3n_model_open(&model, path, &options, &err), 0);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    for (int round = 0; round < 3; round++) {
        set_fault(&(struct fault){ .error = EIO }, file);
        ck_assert_int_eq(q3n_session_eval(s, tokens, TINY_TOKENS, 0, logits, &err),
                         GGF_E_IO);
        fault = (struct fault){ 0 };
        int e = GGF_E_IO;
        for (int i = 0; i < 1000 && e; i++) {
            usleep(1000);
            q3n_session_reset(s);
            e = q3n_session_eval(s, tokens, TINY_TOKENS, 0, logits, &err);
        }
        ck_assert_msg(!e, "%s", err.message);
        ck_assert_int_eq(computed(), TINY_TOKENS);
    }
    q3n_session_free(s);
    q3n_model_close(model);
}
END_TEST

/* ---- Opening --------------------------------------------------------------- */

START_TEST(dense_lost)
{
    prepare(GGUF);
    const struct fault f = { .error = EIO, .at_open = true, .every = 1 + _i };
    ck_assert_int_eq(run_with(&f), GGF_E_IO);
    ck_assert_msg(strstr(err.message, source) != NULL, "%s", err.message);
    ck_assert_int_eq(computed(), 0);
    const struct fault slow = { .at_most = 1000, .at_open = true };
    ck_assert_int_eq(run_with(&slow), 0);
    ck_assert_int_eq(computed(), TINY_TOKENS);
}
END_TEST

START_TEST(no_memory)
{
    const struct fault faults[] = { { .arena = true }, { .threads = 1 } };
    prepare(_i / 2);
    ck_assert_int_eq(run_with(&faults[_i % 2]), GGF_E_NOMEM);
    ck_assert_msg(strstr(err.message, _i % 2 ? "thread" : "address space") != NULL, "%s",
                  err.message);
    ck_assert_int_eq(computed(), 0);
}
END_TEST

START_TEST(not_locked)
{
    q3n_model *model;
    prepare(PLAIN_PACK);
    options.mlock = true;
    set_fault(&(struct fault){ .lock = true }, file);
    ck_assert_int_eq(q3n_model_open(&model, path, &options, &err), 0);
    ck_assert(!q3n_model_info(model)->locked);
    fault = (struct fault){ 0 };
    q3n_model_close(model);
}
END_TEST

/* ---- Calls that are forbidden ----------------------------------------------- */

/* As containers do it: for this thread and those it starts. */
static int forbid(void)
{
    enum { EACH = 2 };
    static const uint32_t calls[] = { SYS_io_uring_setup, SYS_io_uring_enter, SYS_mlock,
                                      SYS_mlock2, SYS_madvise };
    enum { N = sizeof calls / sizeof *calls };
    struct sock_filter code[2 + EACH * N];
    struct sock_fprog filter = { .len = 2 + EACH * N, .filter = code };
    const uint32_t number = offsetof(struct seccomp_data, nr);
    struct sock_filter *c = code;
    *c++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number);
    for (int i = 0; i < N; i++) {
        *c++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        *c++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
    }
    *c = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void *run_forbidden(void *arg)
{
    if (forbid()) return NULL; /* then *arg stays as it is */
    ck_assert_int_eq(syscall(SYS_io_uring_setup, 1, NULL), -1);
    ck_assert_int_eq(errno, EPERM);
    *(int *)arg = run_with(&(struct fault){ 0 });
    return NULL;
}

START_TEST(seccomp)
{
    pthread_t thread;
    int status = 1;
    prepare(_i);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_forbidden, &status), 0);
    pthread_join(thread, NULL);
    if (status == 1) {
        puts("no filter can be set here: not tested");
        return;
    }
    ck_assert_msg(!status, "%s", err.message);
    ck_assert_int_eq(computed(), TINY_TOKENS);
    ck_assert_uint_gt(stats.evictions, 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("reading");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, same_numbers, 0, N_KINDS);
    tcase_add_loop_test(tc, record_lost, 0, 2 * N_LASTING);
    tcase_add_loop_test(tc, disk_lost, 0, N_KINDS);
    tcase_add_loop_test(tc, comes_back, 0, N_KINDS);
    tcase_add_loop_test(tc, dense_lost, 0, 3);
    tcase_add_loop_test(tc, no_memory, 0, 2 * N_KINDS);
    tcase_add_test(tc, not_locked);
    tcase_add_loop_test(tc, seccomp, 0, N_KINDS);
    return SUITE_RUN("faults", tc);
}
