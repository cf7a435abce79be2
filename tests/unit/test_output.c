/* test_output.c - outputs appear whole or not at all: names, force, full disk, signals.
 */
#include "image.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* In the place of libc's: files that were synced, and how many of them when the first
 * got its name; and a signal that comes just then. */
static int synced, synced_at_name = -1, signal_at_name;

int fsync(int fd)
{
    struct stat st;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode)) synced++;
    return (int)syscall(SYS_fsync, fd);
}

int renameat2(int old_dir, const char *old, int new_dir, const char *new, unsigned flags)
{
    const int r = (int)syscall(SYS_renameat2, old_dir, old, new_dir, new, flags);
    if (synced_at_name < 0) synced_at_name = synced;
    if (signal_at_name && !r) {
        kill(getpid(), signal_at_name);
        signal_at_name = 0;
        usleep(20000); /* enough for another thread to take it */
    }
    return r;
}

static ggf_output *create(const char *path, bool force)
{
    ggf_output *o;
    ggf_error err;
    ck_assert_msg(ggf_output_create(&o, path, force, &err) == 0, "%s", err.message);
    return o;
}

static void check_content(const char *path, const char *text)
{
    char buf[64] = "";
    FILE *in = fopen(path, "rb");
    ck_assert_ptr_nonnull(in);
    ck_assert_uint_eq(fread(buf, 1, sizeof buf, in), strlen(text));
    ck_assert_str_eq(buf, text);
    fclose(in);
}

static void put_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

START_TEST(committed)
{
    const char *path = scratch("out");
    const mode_t mask = umask(027);
    ggf_output *o = create(path, false);
    umask(mask);
    ck_assert_int_eq(ggf_output_write(o, 2, "cd", 2, NULL), 0);
    ck_assert_int_eq(ggf_output_write(o, 0, "ab", 2, NULL), 0);
    ck_assert_int_eq(scratch_files(), 1);
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(ggf_output_commit(o, NULL), 0);
    ck_assert_int_eq(scratch_files(), 1);
    check_content(path, "abcd");
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0640);
    remove(path);
}
END_TEST

/* Bytes of another file; a source that ends too early is an error. */
START_TEST(copied)
{
    const char *path = scratch("out");
    const char *from = scratch("from");
    put_file(from, "0123456789");
    const int fd = open(from, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ggf_output *o = create(path, false);
    ggf_error err;
    ck_assert_int_eq(ggf_output_copy(o, 0, fd, 2, 3, NULL), 0);
    ck_assert_int_eq(ggf_output_copy(o, 3, fd, 9, 1, NULL), 0);
    ck_assert_int_eq(ggf_output_copy(o, 4, fd, 10, 0, NULL), 0);
    ck_assert_int_eq(ggf_output_copy(o, 4, fd, 8, 3, &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "the file was cut"));
    ck_assert_int_eq(ggf_output_resize(o, 4, NULL), 0);
    ck_assert_int_eq(ggf_output_commit(o, NULL), 0);
    check_content(path, "2349");
    close(fd);
    remove(from);
    /* Not a file that can be read at a position. */
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    o = create(path, true);
    ck_assert_int_eq(ggf_output_copy(o, 0, pipes[0], 0, 1, &err), GGF_E_IO);
    ggf_output_discard(o);
    close(pipes[0]);
    close(pipes[1]);
    remove(path);
}
END_TEST

START_TEST(resized)
{
    const char *path = scratch("out");
    ggf_output *o = create(path, false);
    ck_assert_int_eq(ggf_output_resize(o, 1000, NULL), 0);
    ck_assert_int_eq(ggf_output_write(o, 999, "x", 1, NULL), 0);
    ck_assert_int_eq(ggf_output_resize(o, 3, NULL), 0);
    ck_assert_int_eq(ggf_output_write(o, 0, "a", 1, NULL), 0);
    ck_assert_int_eq(ggf_output_write(o, 1, "bc", 2, NULL), 0);
    ck_assert_int_eq(ggf_output_commit(o, NULL), 0);
    check_content(path, "abc");
    remove(path);
}
END_TEST

START_TEST(discarded)
{
    ggf_output *o = create(scratch("out"), false);
    ck_assert_int_eq(ggf_output_write(o, 0, "ab", 2, NULL), 0);
    ggf_output_discard(o);
    ggf_output_discard(NULL);
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

START_TEST(standard_output)
{
    ggf_output *o;
    ggf_error err;
    ck_assert_int_eq(ggf_output_create(&o, "-", true, &err), GGF_E_ARG);
    ck_assert_int_ne(access("-", F_OK), 0);
}
END_TEST

START_TEST(existing_file)
{
    const char *path = scratch("out");
    ggf_output *o = NULL;
    ggf_error err;
    put_file(path, "old");
    ck_assert_int_eq(ggf_output_create(&o, path, false, &err), GGF_E_EXISTS);
    ck_assert_ptr_null(o);
    ck_assert_ptr_nonnull(strstr(err.message, "out exists already"));
    o = create(path, true);
    check_content(path, "old"); /* until the new one is whole */
    ck_assert_int_eq(ggf_output_write(o, 0, "new", 3, NULL), 0);
    ck_assert_int_eq(ggf_output_commit(o, NULL), 0);
    check_content(path, "new");
    remove(path);
}
END_TEST

/* A file that appears under the name while we write is not replaced. */
START_TEST(appeared_meanwhile)
{
    const char *path = scratch("out");
    ggf_error err;
    ggf_output *o = create(path, false);
    put_file(path, "other");
    ck_assert_int_eq(ggf_output_commit(o, &err), GGF_E_EXISTS);
    check_content(path, "other");
    ck_assert_int_eq(scratch_files(), 1);
    remove(path);
}
END_TEST

START_TEST(bad_targets)
{
    ggf_output *o;
    ggf_error err;
    ck_assert_int_eq(ggf_output_create(&o, "/dev/null", true, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "is not a regular file"));
    scratch("");
    ck_assert_int_eq(ggf_output_create(&o, scratch_dir, true, &err), GGF_E_ARG);
    ck_assert_int_eq(ggf_output_create(&o, scratch("no/such/out"), false, &err),
                     GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "No such file or directory"));
    ck_assert_ptr_null(o);
}
END_TEST

/* What a dead process of the same number left behind is not touched. */
START_TEST(stale_temporary)
{
    const char *path = scratch("out");
    char stale[600];
    snprintf(stale, sizeof stale, "%s.partial.%ld", path, (long)getpid());
    put_file(stale, "stale");
    ggf_output *o = create(path, false);
    ck_assert_int_eq(ggf_output_write(o, 0, "ab", 2, NULL), 0);
    ck_assert_int_eq(ggf_output_commit(o, NULL), 0);
    check_content(path, "ab");
    check_content(stale, "stale");
    remove(path);
    remove(stale);
}
END_TEST

/* As on a full disk: a write fails, the error says so, nothing stays. */
START_TEST(full_disk)
{
    const char *path = scratch("out");
    struct rlimit old, small;
    ggf_error err;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 8192;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);

    char block[6000] = { 0 };
    ggf_output *o = create(path, false);
    ck_assert_int_eq(ggf_output_write(o, 0, block, sizeof block, &err), 0);
    ck_assert_int_eq(ggf_output_write(o, 6000, block, sizeof block, &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "cannot write"));
    ck_assert_ptr_nonnull(strstr(err.message, strerror(EFBIG)));
    ggf_output_discard(o);

    ggf_writer *w;
    ck_assert_int_eq(ggf_writer_create(&w, path, NULL, &err), 0);
    ggf_writer_add_tensor(w, "t", GGF_F32, (uint64_t[]){ 4096, 1, 1, 1 }, NULL);
    ck_assert_int_eq(ggf_writer_begin(w, &err), GGF_E_IO);
    ggf_writer_discard(w);
    setrlimit(RLIMIT_FSIZE, &old);
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

START_TEST(several_discarded_at_once)
{
    ggf_output *a = create(scratch("a"), false), *b = create(scratch("b"), false);
    ggf_output *c = create(scratch("c"), false);
    ggf_output_discard(b); /* out of the middle of the list */
    ck_assert_int_eq(scratch_files(), 2);
    ggf_discard_outputs();
    ck_assert_int_eq(scratch_files(), 0);
    ggf_output_discard(c);
    ggf_output_discard(a);
    ggf_discard_outputs();
}
END_TEST

/* ---- Several files together ---- */

enum { TOGETHER = 16 };

/* Outputs a00, a01, ... with text in them, to be committed together. */
static void create_all(ggf_output **outs, size_t n, bool force)
{
    char name[16];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "a%02zu", i);
        outs[i] = create(scratch(name), force);
        ck_assert_int_eq(ggf_output_write(outs[i], 0, "new", 3, NULL), 0);
    }
}

static void remove_all(void)
{
    char name[16];
    remove(scratch("first"));
    for (int i = 0; i < TOGETHER; i++) {
        snprintf(name, sizeof name, "a%02d", i);
        remove(scratch(name));
    }
}

START_TEST(all_appear)
{
    ggf_output *outs[3];
    put_file(scratch("a01"), "old");
    create_all(outs, 3, true);
    ck_assert_int_eq(ggf_outputs_commit(outs, 3, NULL), 0);
    ck_assert_int_eq(synced_at_name, 3);
    ck_assert_int_eq(scratch_files(), 3);
    check_content(scratch("a00"), "new");
    check_content(scratch("a01"), "new");
    check_content(scratch("a02"), "new");
    ck_assert_int_eq(ggf_outputs_commit(outs, 0, NULL), 0);
    remove_all();
}
END_TEST

/* The first, which gets its name last, cannot: the others go, what was there is back. */
START_TEST(none_appears)
{
    ggf_output *outs[3];
    ggf_error err;
    put_file(scratch("a02"), "old");
    outs[0] = create(scratch("first"), false);
    outs[1] = create(scratch("a01"), true);
    outs[2] = create(scratch("a02"), true);
    put_file(scratch("first"), "other");
    ck_assert_int_eq(ggf_outputs_commit(outs, 3, &err), GGF_E_EXISTS);
    ck_assert_ptr_nonnull(strstr(err.message, "first exists already"));
    check_content(scratch("first"), "other");
    check_content(scratch("a02"), "old");
    ck_assert_int_eq(scratch_files(), 2);
    remove_all();
}
END_TEST

/* Of the writers of a set one is not complete. */
START_TEST(no_writer_finishes)
{
    ggf_writer *w[2];
    ggf_error err;
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ggf_writer_create(&w[i], scratch(i ? "b" : "a"), NULL, &err), 0);
        ggf_writer_add_tensor(w[i], "t", GGF_F32, (uint64_t[]){ 1, 1, 1, 1 }, NULL);
        ck_assert_int_eq(ggf_writer_begin(w[i], &err), 0);
    }
    ck_assert_int_eq(ggf_writer_write(w[1], 0, 0, "abcd", 4, &err), 0);
    ck_assert_int_eq(ggf_writers_finish(w, 2, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "0 bytes of tensor data were written"));
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

static void on_signal(int sig)
{
    ggf_discard_outputs();
    _exit(128 + sig);
}

/* A process ended by a signal in the middle of writing leaves nothing behind. */
START_TEST(interrupted)
{
    int fds[2];
    char ready;
    const char *path = scratch("out");
    ck_assert_int_eq(pipe(fds), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        ggf_output *o;
        signal(SIGTERM, on_signal);
        if (ggf_output_create(&o, path, false, NULL)) _exit(99);
        if (ggf_output_write(o, 0, "half", 4, NULL) || write(fds[1], "", 1) != 1)
            _exit(98);
        for (;;) pause();
    }
    ck_assert_int_eq(read(fds[0], &ready, 1), 1);
    ck_assert_int_eq(scratch_files(), 1);
    int status;
    ck_assert_int_eq(kill(child, SIGTERM), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 128 + SIGTERM);
    ck_assert_int_eq(scratch_files(), 0);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void *wait_for_ever(void *arg)
{
    for (;;) pause();
    return arg;
}

/* A signal that comes while the files get their names, and is taken by another thread
 * than the one that gives them: all of them are there, or none. */
START_TEST(interrupted_while_appearing)
{
    scratch(""); /* makes the folder */
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        ggf_output *outs[TOGETHER];
        pthread_t thread;
        signal(SIGTERM, on_signal);
        create_all(outs, TOGETHER, false);
        if (pthread_create(&thread, NULL, wait_for_ever, NULL)) _exit(99);
        signal_at_name = SIGTERM;
        ggf_outputs_commit(outs, TOGETHER, NULL);
        for (;;) pause();
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 128 + SIGTERM);
    ck_assert_int_eq(scratch_files(), TOGETHER);
    check_content(scratch("a00"), "new");
    remove_all();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("files");
    tcase_add_test(tc, committed);
    tcase_add_test(tc, copied);
    tcase_add_test(tc, resized);
    tcase_add_test(tc, discarded);
    tcase_add_test(tc, standard_output);
    tcase_add_test(tc, existing_file);
    tcase_add_test(tc, appeared_meanwhile);
    tcase_add_test(tc, bad_targets);
    tcase_add_test(tc, stale_temporary);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, several_discarded_at_once);
    tcase_add_test(tc, all_appear);
    tcase_add_test(tc, none_appears);
    tcase_add_test(tc, no_writer_finishes);
    tcase_add_test(tc, interrupted);
    tcase_add_test(tc, interrupted_while_appearing);
    return SUITE_RUN("output", tc);
}
