/* files.c - files that are not to be lost, and how many may be open; see out.h. */
#include "out.h"

#include <sys/resource.h>
#include <sys/stat.h>

static bool same_file(const char *x, const char *y)
{
    struct stat sx, sy;
    return !stat(x, &sx) && !stat(y, &sy) && sx.st_dev == sy.st_dev &&
           sx.st_ino == sy.st_ino;
}

int out_spare(const char *output, const char *const *inputs, size_t n, ggf_error *err)
{
    for (size_t i = 0; output && i < n; i++)
        if (inputs[i] && same_file(output, inputs[i]))
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "%s is read from, it is not replaced", output);
    return 0;
}

void out_allow_many_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
