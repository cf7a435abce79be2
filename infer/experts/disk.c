/* disk.c - see disk.h. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int open_either(const char *path, bool *direct)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    *direct = fd >= 0;
    if (fd < 0 && errno == EINVAL) fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd;
}

int disk_open(struct disk_file *f, const char *path, uint64_t size, ggf_error *err)
{
    bool direct;
    struct stat st;
    *f = (struct disk_file){ .fd = open_either(path, &direct), .path = path };
    if (f->fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %.200s: %s", path,
                        strerror(errno));
    atomic_store(&f->direct, direct);
    if (!fstat(f->fd, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size)
        return 0;
    disk_close(f);
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET,
                    "%.200s has changed: it should have %" PRIu64 " bytes", path, size);
}

void disk_close(struct disk_file *f)
{
    if (f->fd >= 0) close(f->fd);
    f->fd = -1;
}

/* Is a read that failed worth another try?  O_DIRECT may be refused as late as here; then
 * all further reads go through the cache. */
static bool passing(struct disk_file *f, int error, int *refused)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    if (error == EINTR) return true;
    if (error == EAGAIN) return !nanosleep(&moment, NULL) || errno == EINTR;
    if (error != EINVAL || (*refused)++) return false;
    atomic_store(&f->direct, false);
    const int flags = fcntl(f->fd, F_GETFL);
    return flags >= 0 && !fcntl(f->fd, F_SETFL, flags & ~O_DIRECT);
}

int disk_read(struct disk_file *f, uint64_t offset, void *into, uint64_t bytes,
              uint64_t need, ggf_error *err)
{
    uint64_t done = 0;
    int refused = 0;
    while (done < need) {
        const ssize_t n =
            pread(f->fd, (uint8_t *)into + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && passing(f, errno, &refused)) continue;
        if (n < 0)
            return ggf_fail(err, GGF_E_IO, offset + done, "cannot read %.200s: %s",
                            f->path, strerror(errno));
        if (done + (uint64_t)n >= need) break;
        if (n < DISK_ALIGN)
            return ggf_fail(err, GGF_E_IO, offset + done + (uint64_t)n,
                            "cannot read %.200s: it has been cut short", f->path);
        /* A short read may end anywhere; go on from a whole block. */
        done += (uint64_t)n / DISK_ALIGN * DISK_ALIGN;
    }
    if (!atomic_load_explicit(&f->direct, memory_order_relaxed))
        posix_fadvise(f->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
    return 0;
}
