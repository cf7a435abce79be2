/* test_disk.c - reading experts from files that interrupt, refuse, fail and end too
 * early. pread() is ours here: it does what a script says. */
#include "../../infer/experts/disk.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What the next calls do: -errno, or most bytes that come; 0 ends the script, after which
 * everything works. */
static const int *script;
static int calls;

ssize_t pread(int fd, void *into, size_t n, off_t offset)
{
    const int step = script && *script ? *script++ : 0;
    calls++;
    if (step < 0) {
        errno = -step;
        return -1;
    }
    const ssize_t got = syscall(SYS_pread64, fd, into, n, offset);
    return step && got > step ? step : got;
}

enum { SIZE = 3 * 4096 + 100 };

static char path[] = "/tmp/q3n-test-XXXXXX";
static uint8_t expected[SIZE], *buffer;
static struct disk_file file;
static ggf_error err;

static void setup(void)
{
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    for (int i = 0; i < SIZE; i++) expected[i] = (uint8_t)(i * 7 + i / 256);
    ck_assert_int_eq(write(fd, expected, SIZE), SIZE);
    close(fd);
    buffer = aligned_alloc(DISK_ALIGN, 4 * DISK_ALIGN);
    ck_assert_ptr_nonnull(buffer);
    ck_assert_msg(!disk_open(&file, path, SIZE, &err), "%s", err.message);
    script = NULL;
}

static void teardown(void)
{
    disk_close(&file);
    unlink(path);
    free(buffer);
}

static int read_all(const int *steps)
{
    script = steps;
    calls = 0;
    memset(buffer, 0, 4 * DISK_ALIGN);
    return disk_read(&file, 0, buffer, 4 * DISK_ALIGN, SIZE, &err);
}

START_TEST(works)
{
    ck_assert_int_eq(read_all(NULL), 0);
    ck_assert_mem_eq(buffer, expected, SIZE);
    ck_assert_int_eq(calls, 1);
    ck_assert_int_eq(disk_read(&file, 4096, buffer, 4096, 4096, &err), 0);
    ck_assert_mem_eq(buffer, expected + 4096, 4096);
}
END_TEST

static const int passing[][8] = {
    { -EINTR },
    { -EAGAIN, -EINTR, -EAGAIN },
    { 4096 },
    { 4096, 4096, 4096, 100 },
    { 5000, -EINTR, 4097 }, /* ends anywhere: on from a whole block */
    { -EINVAL },            /* O_DIRECT is refused by the read */
    { 4096, -EINVAL, 4096 },
};

START_TEST(goes_on)
{
    const bool refused = _i >= 5;
    atomic_store(&file.direct, true);
    ck_assert_msg(!read_all(passing[_i]), "%s", err.message);
    ck_assert_mem_eq(buffer, expected, SIZE);
    ck_assert_int_eq(*script, 0);
    ck_assert_int_eq(atomic_load(&file.direct), !refused);
    if (refused) ck_assert_int_eq(fcntl(file.fd, F_GETFL) & O_DIRECT, 0);
    ck_assert_int_eq(read_all(NULL), 0);
    ck_assert_mem_eq(buffer, expected, SIZE);
}
END_TEST

static const struct {
    int steps[4];
    const char *says;
} failing[] = {
    { { -EIO }, "Input/output error" },
    { { 4096, -EIO }, "Input/output error" },
    { { -EINVAL, -EINVAL }, "Invalid argument" },
    { { 100, 100 }, "cut short" },
    { { 8192, 1 }, "cut short" },
};

START_TEST(fails)
{
    ck_assert_int_eq(read_all(failing[_i].steps), GGF_E_IO);
    ck_assert_msg(strstr(err.message, failing[_i].says) != NULL, "%s", err.message);
    ck_assert_ptr_nonnull(strstr(err.message, path));
}
END_TEST

START_TEST(cut_short)
{
    ck_assert_int_eq(truncate(path, 4096 + 50), 0);
    ck_assert_int_eq(read_all(NULL), GGF_E_IO);
    ck_assert_int_eq(truncate(path, 0), 0);
    ck_assert_int_eq(read_all(NULL), GGF_E_IO);
}
END_TEST

START_TEST(not_the_file)
{
    struct disk_file other;
    ck_assert_int_eq(disk_open(&other, path, SIZE + 1, &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "changed"));
    ck_assert_int_eq(disk_open(&other, "/nowhere/x", SIZE, &err), GGF_E_IO);
    ck_assert_int_eq(disk_open(&other, "/tmp", SIZE, &err), GGF_E_IO);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("read");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, works);
    tcase_add_loop_test(tc, goes_on, 0, sizeof passing / sizeof *passing);
    tcase_add_loop_test(tc, fails, 0, sizeof failing / sizeof *failing);
    tcase_add_test(tc, cut_short);
    tcase_add_test(tc, not_the_file);
    return SUITE_RUN("disk", tc);
}
