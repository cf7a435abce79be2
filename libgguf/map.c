/* map.c - see map.h. */
#include "map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_error(ggf_error *err, const char *what, const char *path)
{
    return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot %s %s: %s", what, path,
                    strerror(errno));
}

static int map_open(const uint8_t **bytes, uint64_t *size, int fd, const char *path,
                    ggf_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return system_error(err, "read", path);
    if (!S_ISREG(st.st_mode))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "%s is not a regular file", path);
    if (st.st_size == 0) return ggf_fail(err, GGF_E_FORMAT, 0, "%s is empty", path);
    const void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) return system_error(err, "map", path);
    *bytes = map;
    *size = (uint64_t)st.st_size;
    return 0;
}

int map_file(const uint8_t **bytes, uint64_t *size, const char *path, ggf_error *err)
{
    /* O_NONBLOCK: a FIFO is refused and not waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return system_error(err, "open", path);
    const int s = map_open(bytes, size, fd, path, err);
    close(fd);
    return s;
}
