/* output.c - files that appear under their name whole or not at all. */
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ggf_output {
    int fd;
    bool force;
    char *path;      /* final name */
    char *temporary; /* beside it */
    _Atomic(ggf_output *) next;
};

/* Unfinished outputs.  Changed under the lock; ggf_discard_outputs(), in a signal
 * handler, walks them without.  An output leaves the list first and is freed only when
 * nobody walks: a walker that could still see it is over by then, or has ended the
 * process. */
static _Atomic(ggf_output *) unfinished;
static atomic_int walkers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void enlist(ggf_output *o)
{
    pthread_mutex_lock(&lock);
    atomic_store(&o->next, atomic_load(&unfinished));
    atomic_store(&unfinished, o);
    pthread_mutex_unlock(&lock);
}

static void delist(ggf_output *o)
{
    pthread_mutex_lock(&lock);
    _Atomic(ggf_output *) *link = &unfinished;
    while (atomic_load(link) != o) link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&o->next));
    pthread_mutex_unlock(&lock);
    while (atomic_load(&walkers)) sched_yield();
}

void ggf_discard_outputs(void)
{
    atomic_fetch_add(&walkers, 1);
    for (ggf_output *o = atomic_load(&unfinished); o; o = atomic_load(&o->next))
        unlink(o->temporary);
    atomic_fetch_sub(&walkers, 1);
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
    s = o->path ? create_temporary(o, err) : ggf_no_memory(err);
    if (s) {
        free_output(o);
        return s;
    }
    enlist(o);
    *out = o;
    return 0;
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
 * still free. */
static int rename_output(const ggf_output *o, ggf_error *err)
{
    if (!o->force) {
        if (!renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, RENAME_NOREPLACE))
            return 0;
        /* Not every file system can do that in one step; EEXIST is found here too. */
        const int s = check_target(o->path, false, err);
        if (s) return s;
    }
    return rename(o->temporary, o->path) ? system_error(err, "create", o->path) : 0;
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

static int publish(ggf_output *o, ggf_error *err)
{
    int s = ggf_output_sync(o, err);
    if (s) return s;
    const int fd = o->fd;
    o->fd = -1;
    if (close(fd) != 0) return system_error(err, "write", o->path);
    s = rename_output(o, err);
    if (!s) sync_directory(o);
    return s;
}

int ggf_output_commit(ggf_output *o, ggf_error *err)
{
    const int s = publish(o, err);
    if (s) unlink(o->temporary);
    delist(o);
    free_output(o);
    return s;
}

void ggf_output_discard(ggf_output *o)
{
    if (!o) return;
    unlink(o->temporary);
    delist(o);
    free_output(o);
}
