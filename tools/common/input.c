/* input.c - see input.h. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(struct input *in, int fd, const char *path, ggf_error *err)
{
    size_t capacity = 0;
    for (;;) {
        if (capacity - in->len < 2) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            char *bytes = realloc(in->bytes, capacity);
            if (!bytes) return ggf_no_memory(err);
            in->bytes = bytes;
        }
        const ssize_t n = read(fd, in->bytes + in->len, capacity - in->len - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot read %s: %s", path,
                            strerror(errno));
        if (n == 0) break;
        in->len += (size_t)n;
    }
    in->bytes[in->len] = 0;
    return 0;
}

int input_read(struct input *in, const char *path, ggf_error *err)
{
    *in = (struct input){ 0 };
    const bool is_stdin = !strcmp(path, "-");
    const int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s", path,
                        strerror(errno));
    const int r = read_all(in, fd, is_stdin ? "stdin" : path, err);
    if (!is_stdin) close(fd);
    if (!r) return 0;
    free(in->bytes);
    *in = (struct input){ 0 };
    return r;
}

bool input_begins(const char *path, const char *bytes)
{
    char start[16];
    struct stat st;
    const size_t n = strlen(bytes);
    /* O_NONBLOCK: a FIFO is not waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool same = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) &&
                      n <= sizeof start && pread(fd, start, n, 0) == (ssize_t)n &&
                      !memcmp(start, bytes, n);
    if (fd >= 0) close(fd);
    return same;
}

int input_ids(int32_t **ids, size_t *n, const char *text, const char *what,
              ggf_error *err)
{
    static const char blanks[] = " \t\r\n,[]";
    size_t count = 0, capacity = 0;
    int32_t *list = NULL;
    for (const char *p = text + strspn(text, blanks); *p; p += strspn(p, blanks)) {
        char *end;
        errno = 0;
        const long id = strtol(p, &end, 10);
        if (end == p || (*end && !strchr(blanks, *end)) || errno || id < 0 ||
            id > INT32_MAX) {
            free(list);
            return ggf_fail(err, GGF_E_FORMAT, (uint64_t)(p - text),
                            "%s: '%.*s' is not a token id", what, (int)strcspn(p, blanks),
                            p);
        }
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 256;
            int32_t *more = realloc(list, capacity * sizeof *more);
            if (!more) {
                free(list);
                return ggf_no_memory(err);
            }
            list = more;
        }
        list[count++] = (int32_t)id;
        p = end;
    }
    *ids = list;
    *n = count;
    return 0;
}
