/* test_bus.c - a mapped file that is cut short while a program reads it. */
#include "../../tools/common/out.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/q3n-test-XXXXXX", input[64], output[64];

/* What a program does: handlers, an output, and reading behind the end of its input.  The
 * exit status says how far it came. */
static void read_behind_end(int talk)
{
    ggf_output *o;
    dup2(talk, STDERR_FILENO);
    out_handle_signals();
    FILE *f = fopen(input, "w+");
    if (!f || ftruncate(fileno(f), 1 << 16)) exit(3);
    const volatile char *map = mmap(NULL, 1 << 16, PROT_READ, MAP_SHARED, fileno(f), 0);
    if (map == MAP_FAILED || ggf_output_create(&o, output, false, NULL)) exit(4);
    if (map[5000] != 0 || ftruncate(fileno(f), 0)) exit(5);
    exit(map[5000] ? 6 : 7);
}

START_TEST(cut_short)
{
    int talk[2], status;
    char says[256] = "";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(input, sizeof input, "%s/in", folder);
    snprintf(output, sizeof output, "%s/out", folder);
    ck_assert_int_eq(pipe(talk), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) read_behind_end(talk[1]);
    close(talk[1]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_gt(read(talk[0], says, sizeof says - 1), 0);
    close(talk[0]);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    ck_assert_msg(strstr(says, "test_bus: ") && strstr(says, "cut short"), "%s", says);
    ck_assert_int_eq(unlink(input), 0);
    ck_assert_int_eq(rmdir(folder), 0); /* so nothing is left of the output */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("mapped");
    tcase_add_test(tc, cut_short);
    return SUITE_RUN("bus", tc);
}
