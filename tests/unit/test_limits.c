/* test_limits.c - memory limits read from made-up /proc and /sys trees. */
#include "../../infer/experts/limits.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static char root[32];
static struct memory_limits limits;

static void setup(void)
{
    snprintf(root, sizeof root, "/tmp/q3n-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): our own words */
}

/* A file in the tree, with its folders. */
static void put(const char *path, const char *text)
{
    char full[512];
    const int n = snprintf(full, sizeof full, "%s%s", root, path);
    ck_assert(n > 0 && (size_t)n < sizeof full);
    for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(full, 0777);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void look(void) { memory_limits_read(&limits, root); }

static void put_meminfo(void)
{
    put("/proc/meminfo", "MemTotal:       24000000 kB\nMemFree:         1000000 kB\n"
                         "MemAvailable:   20000000 kB\n");
}

static void put_v2(const char *group)
{
    put("/proc/self/cgroup", group);
    put("/proc/self/mountinfo",
        "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
}

START_TEST(nothing_there)
{
    struct rlimit lock;
    look();
    ck_assert_uint_eq(limits.total, 0);
    ck_assert_uint_eq(memory_limits_free(&limits), NO_LIMIT);
    ck_assert_uint_eq(limits.cgroup, NO_LIMIT);
    ck_assert_str_eq(limits.cgroup_path, "");
    ck_assert_int_eq(getrlimit(RLIMIT_MEMLOCK, &lock), 0);
    ck_assert_uint_eq(limits.locked,
                      lock.rlim_cur == RLIM_INFINITY ? NO_LIMIT : lock.rlim_cur);
    put("/proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\n");
    look();
    ck_assert_uint_eq(limits.locked, NO_LIMIT);
}
END_TEST

START_TEST(machine_alone)
{
    put_meminfo();
    put_v2("0::/\n");
    look();
    ck_assert_uint_eq(limits.total, UINT64_C(24000000) << 10);
    ck_assert_uint_eq(limits.available, UINT64_C(20000000) << 10);
    ck_assert_uint_eq(limits.cgroup, NO_LIMIT);
    ck_assert_uint_eq(memory_limits_free(&limits), UINT64_C(20000000) << 10);
}
END_TEST

/* The group above limits more than the one we are in; "max" limits nothing. */
START_TEST(version_2)
{
    put_meminfo();
    put_v2("0::/a.slice/b c/d\n");
    put("/sys/fs/cgroup/a.slice/b c/d/memory.max", "max\n");
    put("/sys/fs/cgroup/a.slice/b c/d/memory.current", "5000\n");
    put("/sys/fs/cgroup/a.slice/b c/memory.max", "9000000\n");
    put("/sys/fs/cgroup/a.slice/b c/memory.current", "1000\n");
    put("/sys/fs/cgroup/a.slice/memory.max", "4000000\n");
    put("/sys/fs/cgroup/a.slice/memory.high", "3000000\n");
    put("/sys/fs/cgroup/a.slice/memory.current", "2500000\n");
    put("/sys/fs/cgroup/a.slice/memory.stat",
        "anon 1000000\nfile 1500000\ninactive_file 1000000\nactive_file 400000\n");
    look();
    ck_assert_uint_eq(limits.cgroup, 3000000);
    ck_assert_uint_eq(limits.cgroup_free, 3000000 - 1100000);
    ck_assert_str_eq(limits.cgroup_path, "/sys/fs/cgroup/a.slice");
    ck_assert_uint_eq(memory_limits_free(&limits), 1900000);
}
END_TEST

/* The tightest is not the one with the lowest limit. */
START_TEST(full_group)
{
    put_v2("0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "1000000\n");
    put("/sys/fs/cgroup/a/b/memory.current", "100000\n");
    put("/sys/fs/cgroup/a/memory.max", "8000000\n");
    put("/sys/fs/cgroup/a/memory.current", "8500000\n");
    look();
    ck_assert_uint_eq(limits.cgroup, 1000000);
    ck_assert_uint_eq(limits.cgroup_free, 0);
    ck_assert_uint_eq(limits.cgroup_over, 500000);
    ck_assert_str_eq(limits.cgroup_path, "/sys/fs/cgroup/a");
    put("/sys/fs/cgroup/a/b/memory.current", "1200000\n"); /* too full, but less so */
    look();
    ck_assert_uint_eq(limits.cgroup_over, 500000);
    ck_assert_str_eq(limits.cgroup_path, "/sys/fs/cgroup/a");
    put("/sys/fs/cgroup/a/b/memory.current", "1600000\n");
    look();
    ck_assert_uint_eq(limits.cgroup_over, 600000);
    ck_assert_uint_eq(limits.cgroup_free, 0);
    ck_assert_str_eq(limits.cgroup_path, "/sys/fs/cgroup/a/b");
}
END_TEST

static void put_v1(const char *group)
{
    put("/proc/self/cgroup", group);
    put("/proc/self/mountinfo",
        "31 29 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        "32 29 0:28 / /sys/fs/cgroup/memory rw shared:4 - cgroup cgroup rw,memory\n");
}

START_TEST(version_1)
{
    put_meminfo();
    put_v1("5:cpu,cpuacct:/x\n4:memory:/x/y\n1:name=systemd:/x\n");
    put("/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "4294967296\n");
    put("/sys/fs/cgroup/memory/x/y/memory.usage_in_bytes", "1294967296\n");
    put("/sys/fs/cgroup/memory/x/y/memory.stat",
        "inactive_file 7\ntotal_inactive_file 100000000\ntotal_active_file 0\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/cpu/x/memory.limit_in_bytes", "1\n");
    look();
    ck_assert_uint_eq(limits.cgroup, 4294967296);
    ck_assert_uint_eq(memory_limits_free(&limits), 3100000000);
}
END_TEST

/* The path of a container seen from outside: only the mount is there. */
START_TEST(container)
{
    put_v1("4:memory:/docker/0123\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000000\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "500000000\n");
    look();
    ck_assert_uint_eq(limits.cgroup_free, 1500000000);
    ck_assert_str_eq(limits.cgroup_path, "/sys/fs/cgroup/memory");
}
END_TEST

static const char *const odd_groups[] = {
    "", "\n", "0\n", "0:\n", "0::\n", "0::relative\n", "::/\n", "4:memory\n", ":::::\n",
};

START_TEST(odd_lines)
{
    put_v2(odd_groups[_i]);
    put("/sys/fs/cgroup/memory.max", "12x\n");
    look();
    ck_assert_uint_eq(limits.cgroup, NO_LIMIT);
    put("/proc/self/cgroup", "0::/\n");
    put("/proc/self/mountinfo", "- -\n - \n1 2 - cgroup2\n1 2 - cgroup2 a b\n");
    look();
    ck_assert_uint_eq(limits.cgroup, NO_LIMIT);
    put("/sys/fs/cgroup/memory.max", "\n");
    put_v2("0::/\n");
    look();
    ck_assert_uint_eq(limits.cgroup, NO_LIMIT);
}
END_TEST

START_TEST(this_machine)
{
    memory_limits_read(&limits, "");
    ck_assert_uint_gt(limits.total, 1 << 26);
    ck_assert_uint_gt(limits.available, 0);
    ck_assert_uint_le(limits.available, limits.total);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("limits");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nothing_there);
    tcase_add_test(tc, machine_alone);
    tcase_add_test(tc, version_2);
    tcase_add_test(tc, full_group);
    tcase_add_test(tc, version_1);
    tcase_add_test(tc, container);
    tcase_add_loop_test(tc, odd_lines, 0, sizeof odd_groups / sizeof *odd_groups);
    tcase_add_test(tc, this_machine);
    return SUITE_RUN("limits", tc);
}
