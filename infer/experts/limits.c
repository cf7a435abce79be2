/* limits.c - see limits.h.  The files are described in the kernel's
 * Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. */
#include "limits.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { PATH_BYTES = 4096 };

static FILE *open_file(const char *root, const char *dir, const char *name)
{
    char path[3 * PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s%s%s", root, dir, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
}

/* The number after `key` at the start of a line, or NO_LIMIT.  Without a key the first
 * word of the file; "max" is no limit. */
static uint64_t read_number(const char *root, const char *dir, const char *name,
                            const char *key)
{
    FILE *f = open_file(root, dir, name);
    char line[256];
    uint64_t v = NO_LIMIT;
    const size_t len = strlen(key);
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, len) != 0) continue;
        const char *text = line + len + strspn(line + len, " \t");
        if (isdigit((unsigned char)*text)) v = strtoull(text, NULL, 10);
        break;
    }
    if (f) fclose(f);
    return v;
}

/* ---- cgroups ------------------------------------------------------------- */

/* The names of a version's files.  Usage counts pages of files, of which those that are
 * not in use can be had back. */
struct version {
    const char *limits[2];
    const char *usage;
    const char *reclaimable[2];
};

static const struct version versions[] = {
    { { "/memory.limit_in_bytes", NULL },
      "/memory.usage_in_bytes",
      { "total_inactive_file ", "total_active_file " } },
    { { "/memory.max", "/memory.high" },
      "/memory.current",
      { "inactive_file ", "active_file " } },
};

/* Without a limit version 1 says so with a number close to 2^63. */
static bool is_limit(uint64_t v) { return v < UINT64_C(1) << 62; }

static void look_at(struct memory_limits *out, const char *root, const char *dir,
                    const struct version *v)
{
    uint64_t limit = NO_LIMIT, back = 0;
    for (int i = 0; i < 2 && v->limits[i]; i++) {
        const uint64_t n = read_number(root, dir, v->limits[i], "");
        if (n < limit) limit = n;
    }
    if (!is_limit(limit)) return;
    uint64_t used = read_number(root, dir, v->usage, "");
    if (used == NO_LIMIT) used = 0;
    for (int i = 0; i < 2; i++) {
        const uint64_t n = read_number(root, dir, "/memory.stat", v->reclaimable[i]);
        if (n != NO_LIMIT) back += n;
    }
    used -= back < used ? back : used;
    const uint64_t left = limit > used ? limit - used : 0;
    const uint64_t over = used > limit ? used - limit : 0;
    if (limit < out->cgroup) out->cgroup = limit;
    if (left >= out->cgroup_free && over <= out->cgroup_over) return;
    out->cgroup_free = left;
    out->cgroup_over = over;
    snprintf(out->cgroup_path, sizeof out->cgroup_path, "%.*s",
             (int)sizeof out->cgroup_path - 1, dir); /* what is shown of it will do */
}

/* The group and all above it, up to where they are mounted.  In a container the path may
 * be that outside, which is not there; what limits us is then at the mount itself. */
static void walk(struct memory_limits *out, const char *root, const char *mount,
                 const char *path, const struct version *v)
{
    char dir[2 * PATH_BYTES];
    const size_t base = strlen(mount);
    const int n = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (;;) {
        for (size_t len = strlen(dir); len > base && dir[len - 1] == '/';) dir[--len] = 0;
        look_at(out, root, dir, v);
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= base || !slash) return;
        *slash = 0;
    }
}

/* Does a list with commas hold the word? */
static bool lists(const char *list, const char *word)
{
    const size_t len = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, word, len) && (!p[len] || p[len] == ',')) return true;
    }
    return false;
}

/* Where a version's hierarchy is mounted, from a line of /proc/self/mountinfo: the fifth
 * word is the place; behind " - " follow type, source and options. */
static bool is_mount(char *line, bool second, char *place, size_t size)
{
    char *behind = strstr(line, " - "), *rest = line, *word = NULL;
    char type[64], options[512];
    line[strcspn(line, "\n")] = 0;
    if (!behind || sscanf(behind, " - %63s %*s %511s", type, options) != 2) return false;
    if (strcmp(type, second ? "cgroup2" : "cgroup") != 0) return false;
    if (!second && !lists(options, "memory")) return false;
    for (int i = 0; i < 5; i++) word = strsep(&rest, " ");
    return word && (size_t)snprintf(place, size, "%s", word) < size;
}

static bool find_mount(const char *root, bool second, char *place, size_t size)
{
    FILE *f = open_file(root, "/proc/self", "/mountinfo");
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (f && !found && getline(&line, &room, f) > 0)
        found = is_mount(line, second, place, size);
    free(line);
    if (f) fclose(f);
    return found;
}

/* Lines of /proc/self/cgroup: "0::/path" of version 2, "4:memory:/path" of version 1. */
static void read_cgroups(struct memory_limits *out, const char *root)
{
    FILE *f = open_file(root, "/proc/self", "/cgroup");
    char *line = NULL, mount[PATH_BYTES];
    size_t room = 0;
    while (f && getline(&line, &room, f) > 0) {
        line[strcspn(line, "\n")] = 0;
        char *rest = line, *number = strsep(&rest, ":"), *names = strsep(&rest, ":");
        if (!names || !rest || *rest != '/') continue;
        const bool second = !strcmp(number, "0") && !*names;
        if ((second || lists(names, "memory")) &&
            find_mount(root, second, mount, sizeof mount))
            walk(out, root, mount, rest, &versions[second]);
    }
    free(line);
    if (f) fclose(f);
}

/* ---- All together -------------------------------------------------------- */

static uint64_t kib(const char *root, const char *key)
{
    const uint64_t n = read_number(root, "/proc", "/meminfo", key);
    return n < NO_LIMIT >> 10 ? n << 10 : NO_LIMIT;
}

/* CAP_IPC_LOCK: the limit of locked memory does not count. */
static bool may_lock_all(const char *root)
{
    FILE *f = open_file(root, "/proc/self", "/status");
    char line[256];
    uint64_t caps = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "CapEff: %" SCNx64, &caps) == 1) break;
    if (f) fclose(f);
    return caps >> 14 & 1;
}

void memory_limits_read(struct memory_limits *out, const char *root)
{
    struct rlimit lock;
    *out = (struct memory_limits){ .cgroup = NO_LIMIT,
                                   .cgroup_free = NO_LIMIT,
                                   .locked = NO_LIMIT };
    out->total = kib(root, "MemTotal:");
    if (out->total == NO_LIMIT) out->total = 0;
    out->available = kib(root, "MemAvailable:");
    if (!may_lock_all(root) && !getrlimit(RLIMIT_MEMLOCK, &lock) &&
        lock.rlim_cur != RLIM_INFINITY)
        out->locked = lock.rlim_cur;
    read_cgroups(out, root);
}

uint64_t memory_limits_free(const struct memory_limits *l)
{
    return l->available < l->cgroup_free ? l->available : l->cgroup_free;
}
