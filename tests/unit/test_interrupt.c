/* test_interrupt.c - Ctrl-C, whoever takes the signal and whenever it comes. */
#include "../../tools/common/interrupt.h"
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t *stop;
static int input[2];

static void set_up(void)
{
    ggf_error err;
    ck_assert_int_eq(interrupt_handle(&stop, &err), 0);
    ck_assert_int_eq(pipe(input), 0);
}

static void *interrupt_here(void *unused)
{
    usleep(50000); /* so that the other thread waits */
    pthread_kill(pthread_self(), SIGINT);
    return unused;
}

/* Without an end these tests would reach Check's limit. */
START_TEST(before_the_wait)
{
    raise(SIGINT);
    ck_assert(!interrupt_or_input(input[0]));
    ck_assert_int_eq(*stop, 1);
}
END_TEST

START_TEST(in_another_thread)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_here, NULL), 0);
    ck_assert(!interrupt_or_input(input[0]));
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(what_was_seen_is_over)
{
    for (int i = 0; i < 3; i++) {
        raise(SIGINT);
        *stop = 0;
    }
    ck_assert_int_eq(write(input[1], "x", 1), 1);
    ck_assert(interrupt_or_input(input[0]));
    close(input[1]);
    char c;
    ck_assert_int_eq(read(input[0], &c, 1), 1);
    ck_assert(interrupt_or_input(input[0])); /* the end can be read too */
}
END_TEST

START_TEST(twice)
{
    raise(SIGINT);
    raise(SIGINT);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, before_the_wait);
    tcase_add_test(tc, in_another_thread);
    tcase_add_test(tc, what_was_seen_is_over);
    tcase_add_test_raise_signal(tc, twice, SIGINT);
    return SUITE_RUN("interrupt", tc);
}
