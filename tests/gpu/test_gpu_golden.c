/* Logits of small models on a device against the reference engine's: those cases that
 * test_golden.c is about, and held to the same. */
#include "../unit/golden.h"
#include "gpu_suite.h"

enum { EMULATED_TOKENS = 20 }; /* it would take minutes for all of them */

/* Unquantized models agree with the reference engine; quantized ones lose at most twice
 * what the reference engine loses.  A layer of heads that a device cannot compute is the
 * host's. */
START_TEST(agrees)
{
    const struct q3n_model_options all = { .device = { .n_gpu_layers = Q3N_GPU_AUTO } };
    struct golden g;
    load(&g, _i);
    if (emulated() && g.n > EMULATED_TOKENS) g.n = EMULATED_TOKENS;
    float *logits = run(&g, &all, 0, NULL, 0);
    const double e = nmse(&g, logits, g.exact ? g.exact : g.logits);
    const double bar = g.exact ? 2 * nmse(&g, g.logits, g.exact) : bar_of(&g);
    printf("%-16s NMSE to %s %.2e, at most %.2e\n", g.name,
           g.exact ? "exact arithmetic" : "the reference", e, bar);
    ck_assert_msg(e <= bar, "%s: NMSE is %g, at most %g", g.name, e, bar);
    free(logits);
    unload(&g);
}
END_TEST

int main(void)
{
    if (!find_cases()) return 1;
    TCase *tc = tcase_create("logits");
    tcase_add_loop_test(tc, agrees, 0, n_cases);
    const int failed = GPU_SUITE_RUN("gpu_golden", tc);
    free_cases();
    return failed;
}
