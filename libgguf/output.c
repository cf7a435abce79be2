/* output.c - files that appear under their name whole or not at all. */
#include "libgguf.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
    ggf_output *next;
};

/* Unfinished outputs.  Changed under the lock; ggf_discard_outputs(), in a signal
 * handler, walks it without: each link is a single atomic store. */
static _Atomic(ggf_output *) unfinished;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void enlist(ggf_output *o)
{
    pthread_mutex_lock(&lock);
    o->next = atomic_load(&unfinished);
    atomic_store(&unfinished, o);
    pthread_mutex_unlock(&lock);
}

static void delist(ggf_output *o)
{
    pthread_mutex_lock(&lock);
    ggf_output *head = atomic_load(&unfinished);
    if (head == o) {
        atomic_store(&unfinished, o->next);
    } else {
        while (head->next != o) head = head->next;
        head->next = o->next;
    }
    pthread_mutex_unlock(&lock);
}

void ggf_discard_outputs(void)
{
    for (ggf_output *o = atomic_load(&unfinished); o; o = o->next) unlink(o->temporary);
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

static int create_temporary(ggf_output *o, ggf_error *err)
{
    static const char suffix[] = ".partial.XXXXXX";
    const size_t n = strlen(o->path);
    o->temporary = malloc(n + sizeof suffix);
    if (!o->temporary) return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    memcpy(o->temporary, o->path, n);
    memcpy(o->temporary + n, suffix, sizeof suffix);
    o->fd = mkostemp(o->temporary, O_CLOEXEC);
    if (o->fd < 0) return system_error(err, "create", o->path);
    const mode_t mask = umask(0);
    umask(mask);
    fchmod(o->fd, 0666 & ~mask); /* mkostemp() leaves it to the owner alone */
    return 0;
}

int ggf_output_create(ggf_output **out, const char *path, bool force, ggf_error *err)
{
    *out = NULL;
    int s = check_target(path, force, err);
    if (s) return s;
    ggf_output *o = calloc(1, sizeof *o);
    if (!o) return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    o->fd = -1;
    o->force = force;
    o->path = strdup(path);
    s = o->path ? create_temporary(o, err)
                : ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory");
    if (s) {
        free_output(o);
        return s;
    }
    enlist(o);
    *out = o;
    return 0;
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
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

int ggf_output_resize(ggf_output *o, uint64_t size, ggf_error *err)
{
    return ftruncate(o->fd, (off_t)size) ? system_error(err, "write", o->path) : 0;
}

static int publish(ggf_output *o, ggf_error *err)
{
    if (fsync(o->fd) != 0) return system_error(err, "write", o->path);
    const int fd = o->fd;
    o->fd = -1;
    if (close(fd) != 0) return system_error(err, "write", o->path);
    int s = check_target(o->path, o->force, err); /* it may have appeared meanwhile */
    if (s) return s;
    return rename(o->temporary, o->path) ? system_error(err, "create", o->path) : 0;
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
