/* limits.h - how much memory this process may use: what the machine has free, what its
 * cgroups leave (version 1 and 2, every level up to the root), and how much of it may be
 * locked. */
#ifndef INFER_EXPERTS_LIMITS_H
#define INFER_EXPERTS_LIMITS_H

#include <stdint.h>

#define NO_LIMIT UINT64_MAX

struct memory_limits {
    uint64_t total;        /* of the machine; 0: unknown */
    uint64_t available;    /* without pushing out anybody: MemAvailable, or NO_LIMIT */
    uint64_t cgroup;       /* the lowest limit of a cgroup that we are in, or NO_LIMIT */
    uint64_t cgroup_free;  /* the least that one of them leaves, or NO_LIMIT; */
    uint64_t cgroup_over;  /* if that is 0: the most that one has beyond its limit */
    char cgroup_path[256]; /* of the one that leaves least; "" */
    uint64_t locked;       /* RLIMIT_MEMLOCK; NO_LIMIT also for who may lock all */
};

/* root: put before /proc and /sys, "" for the real ones.  What cannot be read does not
 * limit. */
void memory_limits_read(struct memory_limits *out, const char *root);
/* The least of what is available and what cgroups leave. */
uint64_t memory_limits_free(const struct memory_limits *l);

#endif
