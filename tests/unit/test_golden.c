/* test_golden.c - logits of small models against the reference engine's.
 *
 * Runs tests/data/golden, or the folder that the environment variable GOLDEN names (see
 * the README there for the files), and prints the figures. */
#include "../../infer/engine.h"
#include "files.h"
#include "suite.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { MAX_CASES = 64, MAX_TOKENS = 4096 };

static char *stems[MAX_CASES]; /* paths without ".gguf" or ".gguf.zst" */
static int n_cases;

/* ---- Files --------------------------------------------------------------- */

/* The bytes of STEM plus suffix; NULL if there is no such file. */
static void *slurp(const char *stem, const char *suffix, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", stem, suffix);
    return access(path, F_OK) ? NULL : read_file(path, size);
}

/* A path of the plain GGUF: the file itself, or a temporary one that *temporary says to
 * remove. */
static void model_path(const char *stem, char path[512], bool *temporary)
{
    size_t size;
    snprintf(path, 512, "%s.gguf", stem);
    *temporary = access(path, R_OK) != 0;
    if (!*temporary) return;
    void *packed = slurp(stem, ".gguf.zst", &size);
    ck_assert_ptr_nonnull(packed);
    const unsigned long long plain = ZSTD_getFrameContentSize(packed, size);
    ck_assert_uint_lt(plain, 1u << 30);
    void *bytes = malloc(plain);
    ck_assert_uint_eq(ZSTD_decompress(bytes, plain, packed, size), plain);
    const char *folder = getenv("TMPDIR");
    snprintf(path, 512, "%s/golden-XXXXXX", folder ? folder : "/tmp");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, plain), (ssize_t)plain);
    close(fd);
    free(bytes);
    free(packed);
}

/* ---- A case -------------------------------------------------------------- */

struct golden {
    const char *stem, *name;
    char path[512];
    bool temporary;
    int32_t tokens[MAX_TOKENS];
    uint32_t n, n_vocab;
    float *logits; /* the reference engine's */
    float *exact;  /* exact arithmetic's; NULL if the file is not quantized */
};

static void load(struct golden *g, int i)
{
    size_t size, exact_size;
    *g = (struct golden){ .stem = stems[i] };
    g->name = strrchr(g->stem, '/') + 1;
    char *text = slurp(g->stem, ".tokens", &size);
    ck_assert_ptr_nonnull(text);
    char *end;
    for (char *at = text; g->n < MAX_TOKENS; at = end) {
        const long id = strtol(at, &end, 10);
        if (end == at) break;
        g->tokens[g->n++] = (int32_t)id;
    }
    free(text);
    ck_assert_uint_gt(g->n, 0);
    g->logits = slurp(g->stem, ".logits.f32", &size);
    ck_assert_ptr_nonnull(g->logits);
    g->exact = slurp(g->stem, ".exact.f32", &exact_size);
    if (g->exact) ck_assert_uint_eq(size, exact_size);
    g->n_vocab = (uint32_t)(size / sizeof(float) / g->n);
    ck_assert_uint_eq((size_t)g->n_vocab * g->n * sizeof(float), size);
    model_path(g->stem, g->path, &g->temporary);
}

static void unload(struct golden *g)
{
    if (g->temporary) unlink(g->path);
    free(g->logits);
    free(g->exact);
}

/* Logits of all tokens, given to the session in batches of the listed sizes and then the
 * rest.  To be freed. */
static float *run(const struct golden *g, const struct q3n_model_options *options,
                  uint32_t n_ubatch, const uint32_t *batches, int n_batches)
{
    const struct q3n_session_options so = { .n_ctx = g->n, .n_ubatch = n_ubatch };
    ggf_error err;
    q3n_model *model;
    q3n_session *session;
    ck_assert_msg(!q3n_model_open(&model, g->path, options, &err), "%s", err.message);
    ck_assert_uint_eq(q3n_model_info(model)->n_vocab, g->n_vocab);
    ck_assert_msg(!q3n_session_new(&session, model, &so, &err), "%s", err.message);
    float *logits = malloc((size_t)g->n * g->n_vocab * sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    uint32_t at = 0;
    for (int i = 0; at < g->n; i++) {
        const uint32_t rest = g->n - at;
        const uint32_t n = i < n_batches && batches[i] < rest ? batches[i] : rest;
        ck_assert_msg(!q3n_session_eval(session, g->tokens + at, n, 0,
                                        logits + (size_t)at * g->n_vocab, &err),
                      "%s", err.message);
        at += n;
        ck_assert_uint_eq(q3n_session_pos(session), at);
    }
    q3n_session_free(session);
    q3n_model_close(model);
    return logits;
}

/* Mean square of the difference over mean square of the expected. */
static double nmse(const struct golden *g, const float *got, const float *expected)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < (size_t)g->n * g->n_vocab; i++) {
        const double d = (double)got[i] - (double)expected[i];
        error += d * d;
        power += (double)expected[i] * (double)expected[i];
    }
    return error / power;
}

static bool same(const struct golden *g, const float *a, const float *b)
{
    return !memcmp(a, b, (size_t)g->n * g->n_vocab * sizeof *a);
}

/* ---- Tests --------------------------------------------------------------- */

/* Unquantized models agree with the reference engine; of quantized ones, float
 * activations agree with exact arithmetic and the fast kernels lose at most twice what
 * the reference engine's lose. */
START_TEST(agrees)
{
    struct golden g;
    load(&g, _i);
    float *fast = run(&g, &(struct q3n_model_options){ 0 }, 0, NULL, 0);
    if (!g.exact) {
        /* There the reference engine rounds an activation to BF16. */
        const double bar = strcmp(g.name, "shexp-bf16") ? 1e-8 : 1e-3;
        const double e = nmse(&g, fast, g.logits);
        printf("%-16s NMSE to the reference %.1e\n", g.name, e);
        ck_assert_msg(e <= bar, "%s: NMSE to the reference is %g", g.name, e);
    } else {
        float *slow = run(&g, &(struct q3n_model_options){ .exact = true }, 0, NULL, 0);
        const double reference = nmse(&g, g.logits, g.exact);
        const double mine = nmse(&g, fast, g.exact), exact = nmse(&g, slow, g.exact);
        printf("%-16s NMSE to exact: float %.1e, fast %.2e, reference engine %.2e\n",
               g.name, exact, mine, reference);
        ck_assert_msg(exact <= 1e-6, "%s: NMSE of exact mode is %g", g.name, exact);
        ck_assert_msg(mine <= 2 * reference, "%s: NMSE is %g, the reference's %g", g.name,
                      mine, reference);
        free(slow);
    }
    free(fast);
    unload(&g);
}
END_TEST

/* How a sequence is cut, by the caller or into ubatches, changes no bit. */
START_TEST(batches)
{
    const uint32_t sizes[] = { 1, 2, 3, 5, 63 };
    struct golden g;
    load(&g, _i);
    for (int exact = 0; exact < 2; exact++) {
        const struct q3n_model_options o = { .exact = exact };
        float *whole = run(&g, &o, 0, NULL, 0);
        float *cut = run(&g, &o, 0, sizes, 5);
        float *ubatches = run(&g, &o, 7, NULL, 0);
        ck_assert_msg(same(&g, whole, cut), "%s: batches differ", g.name);
        ck_assert_msg(same(&g, whole, ubatches), "%s: ubatches differ", g.name);
        free(whole);
        free(cut);
        free(ubatches);
    }
    unload(&g);
}
END_TEST

/* Nor do threads, nor where the weights are. */
START_TEST(threads)
{
    struct golden g;
    load(&g, _i);
    float *one = run(&g, &(struct q3n_model_options){ .threads = 1 }, 0, NULL, 0);
    float *two = run(&g, &(struct q3n_model_options){ .threads = 2 }, 0, NULL, 0);
    float *own =
        run(&g, &(struct q3n_model_options){ .threads = 3, .no_mmap = true }, 0, NULL, 0);
    ck_assert_msg(same(&g, one, two), "%s: 2 threads differ from 1", g.name);
    ck_assert_msg(same(&g, one, own), "%s: --no-mmap differs", g.name);
    free(one);
    free(two);
    free(own);
    unload(&g);
}
END_TEST

/* Only the logits that were asked for are computed, and a session can start again. */
START_TEST(last_logits)
{
    struct golden g;
    load(&g, _i);
    float *all = run(&g, NULL, 0, NULL, 0);
    const struct q3n_session_options so = { .n_ctx = g.n, .n_ubatch = 16 };
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    ck_assert_msg(!q3n_model_open(&model, g.path, NULL, &err), "%s", err.message);
    ck_assert_msg(!q3n_session_new(&s, model, &so, &err), "%s", err.message);
    float *last = malloc(g.n_vocab * sizeof *last);
    for (int again = 0; again < 2; again++) {
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, g.n - 1, 0, NULL, &err), 0);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens + g.n - 1, 1, 0, last, &err), 0);
        ck_assert_mem_eq(last, all + (size_t)(g.n - 1) * g.n_vocab,
                         g.n_vocab * sizeof *last);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, 1, 0, NULL, &err), GGF_E_ARG);
        q3n_session_reset(s);
        ck_assert_uint_eq(q3n_session_pos(s), 0);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens, g.n, g.n - 1, last, &err), 0);
        ck_assert_mem_eq(last, all + (size_t)(g.n - 1) * g.n_vocab,
                         g.n_vocab * sizeof *last);
        q3n_session_reset(s);
    }
    const int32_t outside = (int32_t)g.n_vocab;
    ck_assert_int_eq(q3n_session_eval(s, &outside, 1, 0, NULL, &err), GGF_E_ARG);
    ck_assert_int_eq(q3n_session_eval(s, &(int32_t){ -1 }, 1, 0, NULL, &err), GGF_E_ARG);
    free(last);
    free(all);
    q3n_session_free(s);
    q3n_model_close(model);
    unload(&g);
}
END_TEST

/* Back at a saved place, the session computes the same again. */
START_TEST(snapshots)
{
    struct golden g;
    load(&g, _i);
    const struct q3n_session_options so = { .n_ctx = g.n, .type_v = GGF_F16 };
    const uint32_t half = g.n / 2, rest = g.n - half;
    float *want = malloc((size_t)rest * g.n_vocab * sizeof *want),
          *got = malloc((size_t)rest * g.n_vocab * sizeof *got);
    ck_assert(want && got);
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    q3n_snapshot *snap;
    ck_assert_msg(!q3n_model_open(&model, g.path, NULL, &err), "%s", err.message);
    ck_assert_msg(!q3n_session_new(&s, model, &so, &err), "%s", err.message);
    ck_assert_int_eq(q3n_session_eval(s, g.tokens, half, 0, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_save(&snap, s, &err), 0);
    ck_assert_int_eq(q3n_session_eval(s, g.tokens + half, rest, 0, want, &err), 0);
    for (int again = 0; again < 2; again++) {
        q3n_session_restore(s, snap);
        ck_assert_uint_eq(q3n_session_pos(s), half);
        ck_assert_int_eq(q3n_session_eval(s, g.tokens + half, rest, 0, got, &err), 0);
        ck_assert_mem_eq(got, want, (size_t)rest * g.n_vocab * sizeof *got);
    }
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    q3n_model_close(model);
    free(want);
    free(got);
    unload(&g);
}
END_TEST

/* ---- Which cases --------------------------------------------------------- */

static void find_cases(const char *folder)
{
    char pattern[512];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.tokens", folder);
    if (glob(pattern, 0, NULL, &found)) return;
    for (size_t i = 0; i < found.gl_pathc && n_cases < MAX_CASES; i++) {
        char *stem = strdup(found.gl_pathv[i]);
        stem[strlen(stem) - strlen(".tokens")] = 0;
        stems[n_cases++] = stem;
    }
    globfree(&found);
}

int main(void)
{
    const char *folder = getenv("GOLDEN");
    find_cases(folder ? folder : "tests/data/golden");
    if (!n_cases) {
        fprintf(stderr, "no cases in %s\n", folder ? folder : "tests/data/golden");
        return 1;
    }
    TCase *tc = tcase_create("logits");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, agrees, 0, n_cases);
    tcase_add_loop_test(tc, batches, 0, n_cases);
    tcase_add_loop_test(tc, threads, 0, n_cases);
    tcase_add_loop_test(tc, last_logits, 0, n_cases);
    tcase_add_loop_test(tc, snapshots, 0, n_cases);
    const int failed = SUITE_RUN("golden", tc);
    for (int i = 0; i < n_cases; i++) free(stems[i]);
    return failed;
}
