/* output.c - files that appear under their name whole or not at all. */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ggf_output {
    int fd;
    bool force;
    bool replaced;   /* the file that had the name has the temporary one now */
    char *path;      /* final name */
    char *temporary; /* beside it */
    ggf_output *next;
};

/* Unfinished outputs, and the names of files that are being committed together: both are
 * touched under the lock only.  A signal handler takes it too, ggf_discard_outputs() in
 * whatever thread.  So it is no mutex, and whoever holds it has all signals blocked: a
 * handler never interrupts its own thread there, and the others let go soon. */
static ggf_output *unfinished;
static atomic_flag locked = ATOMIC_FLAG_INIT;

static void lock(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, before);
    while (atomic_flag_test_and_set(&locked)) sched_yield();
}

static void unlock(const sigset_t *before)
{
    atomic_flag_clear(&locked);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

static void delist(const ggf_output *o)
{
    sigset_t before;
    lock(&before);
    ggf_output **link = &unfinished;
    while (*link != o) link = &(*link)->next;
    *link = o->next;
    unlock(&before);
}

void ggf_discard_outputs(void)
{
    sigset_t before;
    lock(&before);
    for (const ggf_output *o = unfinished; o; o = o->next) unlink(o->temporary);
    unlock(&before);
}

static void free_output(ggf_output *o)
{
    if (o->fd >= 0) close(o->fd);
    free(o->path);
    free(o->temporary);
    free(o);
}

static int system_error(ggf_error *err, const char *what, const char *path)
{
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot %s %s: %s", what, path,
                    strerror(errno));
}

/* An existing target must be a plain file that we were told to replace. */
static int check_target(const char *path, bool force, ggf_error *err)
{
    struct stat st;
    if (!strcmp(path, "-"))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "- cannot be written to: the output must be a file (./- is one)");
    if (lstat(path, &st) != 0) return 0;
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "%s is not a regular file", path);
    if (!force)
        return ggf_fail(err, GGF_E_EXISTS, GGF_NO_OFFSET,
                        "%s exists already (--force replaces it)", path);
    return 0;
}

/* PATH.partial.PID, or with a number behind it where a dead process left one. */
static int create_temporary(ggf_output *o, ggf_error *err)
{
    const size_t size = strlen(o->path) + 64;
    o->temporary = malloc(size);
    if (!o->temporary) return ggf_no_memory(err);
    for (int i = 0; i < 1000; i++) {
        snprintf(o->temporary, size, i ? "%s.partial.%ld.%d" : "%s.partial.%ld", o->path,
                 (long)getpid(), i);
        o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0) return 0;
        if (errno != EEXIST) break;
    }
    return system_error(err, "create", o->path);
}

/* In one step: a signal finds no file that is not listed. */
static int create_and_enlist(ggf_output *o, ggf_error *err)
{
    sigset_t before;
    lock(&before);
    const int s = create_temporary(o, err);
    if (!s) {
        o->next = unfinished;
        unfinished = o;
    }
    unlock(&before);
    return s;
}

int ggf_output_create(ggf_output **out, const char *path, bool force, ggf_error *err)
{
    *out = NULL;
    int s = check_target(path, force, err);
    if (s) return s;
    ggf_output *o = calloc(1, sizeof *o);
    if (!o) return ggf_no_memory(err);
    o->fd = -1;
    o->force = force;
    o->path = strdup(path);
    s = o->path ? create_and_enlist(o, err) : ggf_no_memory(err);
    if (s) free_output(o);
    else *out = o;
    return s;
}

const char *output_path(const ggf_output *o) { return o->path; }

/* The disk begins at once, beside the work that makes what comes next, and not when
 * memory is full or the file is closed.  A hint: a failure shows when syncing. */
static void start_writing_out(const ggf_output *o, uint64_t offset, ssize_t n)
{
    enum { WORTH = 64 << 10 };
    if (n >= WORTH) sync_file_range(o->fd, (off_t)offset, n, SYNC_FILE_RANGE_WRITE);
}

int ggf_output_write(ggf_output *o, uint64_t offset, const void *bytes, size_t len,
                     ggf_error *err)
{
    const char *p = bytes;
    while (len) {
        const ssize_t n = pwrite(o->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = ENOSPC;
            return system_error(err, "write", o->path);
        }
        start_writing_out(o, offset, n);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int output_read(const ggf_output *o, uint64_t offset, void *into, size_t len,
                ggf_error *err)
{
    char *p = into;
    while (len) {
        const ssize_t n = pread(o->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = EIO;
            return system_error(err, "read back", o->path);
        }
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

/* Copy through a buffer: between file systems, or where the kernel has no better way. */
static int copy_by_hand(ggf_output *o, uint64_t offset, int fd, uint64_t from,
                        uint64_t len, ggf_error *err)
{
    enum { TILE = 1 << 20 };
    int s = 0;
    void *tile = malloc(TILE);
    if (!tile) return ggf_no_memory(err);
    while (len && !s) {
        const ssize_t n = pread(fd, tile, len < TILE ? (size_t)len : TILE, (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            s = ggf_fail(err, GGF_E_IO, from, "cannot read the data to copy: %s",
                         n ? strerror(errno) : "the file was cut");
            break;
        }
        s = ggf_output_write(o, offset, tile, (size_t)n, err);
        from += (uint64_t)n;
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    free(tile);
    return s;
}

int ggf_output_copy(ggf_output *o, uint64_t offset, int fd, uint64_t from, uint64_t len,
                    ggf_error *err)
{
    off64_t in = (off64_t)from, out = (off64_t)offset;
    const off64_t end = in + (off64_t)len;
    while (in < end) {
        const ssize_t n = copy_file_range(fd, &in, o->fd, &out, (size_t)(end - in), 0);
        if (n > 0 || (n < 0 && errno == EINTR)) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
            return system_error(err, "write", o->path);
        return copy_by_hand(o, (uint64_t)out, fd, (uint64_t)in, (uint64_t)(end - in),
                            err);
    }
    return 0;
}

int ggf_output_resize(ggf_output *o, uint64_t size, ggf_error *err)
{
    return ftruncate(o->fd, (off_t)size) ? system_error(err, "write", o->path) : 0;
}

/* Give the temporary file its final name; unless told to replace, only if that is
 * still free.  With `keep` a file that is replaced stays, under the temporary name. */
static int rename_output(ggf_output *o, bool keep, ggf_error *err)
{
    if (!o->force) {
        if (!renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, RENAME_NOREPLACE))
            return 0;
        /* Not every file system can do that in one step; EEXIST is found here too. */
        const int s = check_target(o->path, false, err);
        if (s) return s;
    } else if (keep &&
               !renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, RENAME_EXCHANGE)) {
        o->replaced = true;
        return 0;
    }
    return rename(o->temporary, o->path) ? system_error(err, "create", o->path) : 0;
}

static void take_back(ggf_output *o)
{
    if (o->replaced) rename(o->temporary, o->path);
    else unlink(o->path);
    o->replaced = false;
}

/* The first, by which a set of files is opened, comes last. */
static int rename_all(ggf_output *const *outs, size_t n, ggf_error *err)
{
    sigset_t before;
    size_t i = n;
    int s = 0;
    lock(&before);
    while (i > 0 && !(s = rename_output(outs[i - 1], n > 1, err))) i--;
    for (size_t k = i; s && k < n; k++) take_back(outs[k]);
    unlock(&before);
    return s;
}

/* The new name itself reaches the disk with its directory.  Where a file system cannot
 * sync a directory, nothing is lost but that. */
static void sync_directory(const ggf_output *o)
{
    const char *slash = strrchr(o->path, '/');
    char *dir = slash ? strndup(o->path, (size_t)(slash - o->path) + 1) : strdup(".");
    const int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

int ggf_output_sync(ggf_output *o, ggf_error *err)
{
    return fsync(o->fd) ? system_error(err, "write", o->path) : 0;
}

static int sync_and_close(ggf_output *o, ggf_error *err)
{
    const int s = ggf_output_sync(o, err), fd = o->fd;
    if (s) return s;
    o->fd = -1;
    return close(fd) ? system_error(err, "write", o->path) : 0;
}

int ggf_outputs_commit(ggf_output *const *outs, size_t n, ggf_error *err)
{
    int s = 0;
    for (size_t i = 0; i < n && !s; i++) s = sync_and_close(outs[i], err);
    if (!s) s = rename_all(outs, n, err);
    for (size_t i = 0; i < n; i++) {
        if (!s) sync_directory(outs[i]);
        if (s || outs[i]->replaced) unlink(outs[i]->temporary);
        delist(outs[i]);
        free_output(outs[i]);
    }
    return s;
}

int ggf_output_commit(ggf_output *o, ggf_error *err)
{
    return ggf_outputs_commit(&o, 1, err);
}

void ggf_output_discard(ggf_output *o)
{
    if (!o) return;
    unlink(o->temporary);
    delist(o);
    free_output(o);
}
