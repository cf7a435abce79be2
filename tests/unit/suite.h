/* suite.h - how the Check programs end: one suite of cases, run as CK_RUN_SUITE, CK_FORK
 * and the like in the environment say. */
#ifndef TESTS_UNIT_SUITE_H
#define TESTS_UNIT_SUITE_H

#include <check.h>

/* Run the cases of a list that ends with NULL; what main() returns. */
static inline int suite_run(const char *name, TCase *const *list)
{
    Suite *suite = suite_create(name);
    while (*list) suite_add_tcase(suite, *list++);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#define SUITE_RUN(name, ...) suite_run(name, (TCase *[]){ __VA_ARGS__, NULL })

#endif
