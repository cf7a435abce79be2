/* golden.h - models of tests/data/golden, or of the folder that the environment variable
 * GOLDEN names, with the reference engine's logits (see the README there). */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include "../../infer/engine.h"
#include "files.h"

#include <glob.h>
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
static inline void *slurp(const char *stem, const char *suffix, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", stem, suffix);
    return access(path, F_OK) ? NULL : read_file(path, size);
}

/* A path of the plain GGUF: the file itself, or a temporary one that *temporary says to
 * remove. */
static inline void model_path(const char *stem, char path[512], bool *temporary)
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

static inline void load(struct golden *g, int i)
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

static inline void unload(struct golden *g)
{
    if (g->temporary) unlink(g->path);
    free(g->logits);
    free(g->exact);
}

/* Logits of all tokens, given to the session in batches of the listed sizes and then the
 * rest.  To be freed. */
static inline float *run(const struct golden *g, const struct q3n_model_options *options,
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
static inline double nmse(const struct golden *g, const float *got, const float *expected)
{
    double error = 0, power = 0;
    for (size_t i = 0; i < (size_t)g->n * g->n_vocab; i++) {
        const double d = (double)got[i] - (double)expected[i];
        error += d * d;
        power += (double)expected[i] * (double)expected[i];
    }
    return error / power;
}

/* How far unquantized models may be from the reference engine, which rounds an activation
 * to BF16 in one of them. */
static inline double bar_of(const struct golden *g)
{
    return strcmp(g->name, "shexp-bf16") ? 1e-8 : 1e-3;
}

/* ---- Which cases --------------------------------------------------------- */

/* The cases of the folder; false if there are none, which is said. */
static inline bool find_cases(void)
{
    const char *folder = getenv("GOLDEN");
    char pattern[512];
    glob_t found;
    if (!folder) folder = "tests/data/golden";
    snprintf(pattern, sizeof pattern, "%s/*.tokens", folder);
    if (!glob(pattern, 0, NULL, &found)) {
        for (size_t i = 0; i < found.gl_pathc && n_cases < MAX_CASES; i++) {
            char *stem = strdup(found.gl_pathv[i]);
            stem[strlen(stem) - strlen(".tokens")] = 0;
            stems[n_cases++] = stem;
        }
        globfree(&found);
    }
    if (!n_cases) fprintf(stderr, "no cases in %s\n", folder);
    return n_cases;
}

static inline void free_cases(void)
{
    for (int i = 0; i < n_cases; i++) free(stems[i]);
}

#endif
