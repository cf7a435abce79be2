/* test_trace.c - traces and histories of experts: what is written comes back, and what is
 * damaged is refused. */
#include "../../infer/experts/trace.h"
#include "../../infer/experts/trace_file.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 2, EXPERTS = 6, USED = 2, ITEMS = LAYERS * EXPERTS };

static const uint64_t expert_bytes[LAYERS] = { 4096, 8192 };
static struct trace_model model;
static char dir[] = "/tmp/q3n-test-XXXXXX", path[64];
static ggf_error err;

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/t", dir);
    model = (struct trace_model){ .n_layer = LAYERS,
                                  .n_expert = EXPERTS,
                                  .n_used = USED,
                                  .dense_bytes = 1000,
                                  .expert_bytes = expert_bytes };
    for (int i = 0; i < TRACE_ID_BYTES; i++) model.id[i] = (uint8_t)i;
}

static void teardown(void)
{
    unlink(path);
    rmdir(dir);
}

static const uint32_t three[] = { 0, 1, 5, 2, 0, 3 }, one[] = { 4, 5 };
static const float weights[] = { 0.75f, 0.25f, 1.0f, 0.0f, 0.5f, 0.5f };

/* A prompt of three tokens, of which the last layer saw one, and a token. */
static void record(void)
{
    struct trace_writer *w;
    ck_assert_msg(!trace_create(&w, path, false, &model, &err), "%s", err.message);
    trace_add(w, 0, 3, three, weights);
    trace_add(w, 1, 1, one, weights);
    trace_add(w, 0, 1, one, weights);
    trace_add(w, 1, 1, one, weights);
    ck_assert_msg(!trace_finish(w, &err), "%s", err.message);
}

static struct trace *reopen(void)
{
    struct trace *t;
    ck_assert_msg(!trace_open(&t, path, &err), "%s", err.message);
    return t;
}

START_TEST(round_trip)
{
    record();
    struct trace *t = reopen();
    struct trace_block b;
    uint64_t at = 0;
    const struct trace_model *m = trace_model(t);
    ck_assert_int_eq(trace_check_model(t, &model, &err), 0);
    ck_assert_uint_eq(m->dense_bytes, 1000);
    ck_assert_uint_eq(m->expert_bytes[1], 8192);
    ck_assert(!trace_is_history(t));
    ck_assert(trace_next(t, &at, &b));
    ck_assert(b.layer == 0 && b.tokens == 3 && b.first && b.prompt);
    for (int i = 0; i < 6; i++) ck_assert_uint_eq(b.choices[i].expert, three[i]);
    ck_assert_uint_eq(b.choices[0].weight, 49151);
    ck_assert_uint_eq(b.choices[2].weight, 65535);
    ck_assert_uint_eq(b.choices[3].weight, 0);
    ck_assert(trace_next(t, &at, &b));
    ck_assert(b.layer == 1 && b.tokens == 1 && !b.first && b.prompt);
    ck_assert(trace_next(t, &at, &b));
    ck_assert(b.layer == 0 && b.tokens == 1 && b.first && !b.prompt);
    ck_assert(trace_next(t, &at, &b));
    ck_assert(b.layer == 1 && !b.first && !b.prompt);
    ck_assert(!trace_next(t, &at, &b));
    trace_close(t);
}
END_TEST

START_TEST(counts_and_history)
{
    static const uint64_t expected[ITEMS] = { 2, 1, 1, 1, 1, 2, 0, 0, 0, 0, 2, 2 };
    uint64_t counts[ITEMS] = { 0 };
    record();
    struct trace *t = reopen();
    trace_count(t, counts);
    trace_close(t);
    ck_assert_mem_eq(counts, expected, sizeof counts);
    ck_assert_int_eq(history_write(path, false, &model, counts, &err), GGF_E_EXISTS);
    ck_assert_int_eq(history_write(path, true, &model, counts, &err), 0);
    t = reopen();
    ck_assert(trace_is_history(t));
    uint64_t at = 0;
    struct trace_block b;
    ck_assert(!trace_next(t, &at, &b));
    trace_count(t, counts); /* adds */
    for (int i = 0; i < ITEMS; i++) ck_assert_uint_eq(counts[i], 2 * expected[i]);
    trace_close(t);
}
END_TEST

START_TEST(another_model)
{
    record();
    struct trace *t = reopen();
    struct trace_model other = model;
    other.id[7] ^= 1;
    ck_assert_int_eq(trace_check_model(t, &other, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "another model"));
    other = model;
    other.n_expert = 7;
    ck_assert_int_eq(trace_check_model(t, &other, &err), GGF_E_ARG);
    trace_close(t);
}
END_TEST

START_TEST(given_up)
{
    struct trace_writer *w;
    ck_assert_int_eq(trace_create(&w, path, false, &model, &err), 0);
    trace_add(w, 0, 3, three, weights);
    trace_discard(w);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

/* ---- Damage -------------------------------------------------------------- */

static uint8_t *bytes_of(size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = malloc(4096);
    ck_assert(f && bytes);
    *len = fread(bytes, 1, 4096, f);
    fclose(f);
    return bytes;
}

/* Exact copies, so that a read behind the end is seen by sanitizers. */
static int try_bytes(const uint8_t *bytes, size_t len)
{
    struct trace *t;
    memset(&err, 0, sizeof err);
    const int e = trace_open_buffer(&t, bytes, len, "x", &err);
    ck_assert(e ? !t && *err.message : t != NULL);
    trace_close(t);
    return e;
}

START_TEST(cut_off)
{
    size_t len;
    record();
    uint8_t *bytes = bytes_of(&len);
    ck_assert_int_eq(try_bytes(bytes, len), 0);
    for (size_t n = 0; n < len; n++) {
        ck_assert_int_eq(try_bytes(bytes, n), GGF_E_FORMAT);
        if (n < TRACE_HEADER + 8 * LAYERS) continue;
        /* Only the length made to fit. */
        const uint64_t data = n - TRACE_HEADER - 8 * LAYERS;
        uint8_t *cut = malloc(n);
        memcpy(cut, bytes, n);
        memcpy(cut + TRACE_AT_DATA_BYTES, &data, sizeof data);
        const bool whole = data == 0 || data == 32 || data == 48 || data == 64;
        ck_assert_int_eq(try_bytes(cut, n), whole ? 0 : GGF_E_FORMAT);
        free(cut);
    }
    free(bytes);
}
END_TEST

static const struct {
    size_t at;
    uint32_t value;
} damages[] = {
    { 0, 0 },
    { TRACE_AT_VERSION, 2 },
    { TRACE_AT_LAYERS, 0 },
    { TRACE_AT_LAYERS, 3 },
    { TRACE_AT_LAYERS, UINT32_MAX },
    { TRACE_AT_EXPERTS, 0 },
    { TRACE_AT_EXPERTS, 5 },
    { TRACE_AT_EXPERTS, UINT32_MAX },
    { TRACE_AT_USED, 0 },
    { TRACE_AT_USED, 7 },
    { TRACE_AT_DATA_BYTES, 63 },
    { TRACE_AT_DENSE + 4, UINT32_MAX },
    { TRACE_HEADER, 0 },                           /* bytes of an expert */
    { TRACE_HEADER + 4, UINT32_MAX },              /* likewise */
    { TRACE_HEADER + 8 * LAYERS, LAYERS },         /* layer of the first block */
    { TRACE_HEADER + 8 * LAYERS + 4, 0 },          /* its tokens */
    { TRACE_HEADER + 8 * LAYERS + 4, UINT32_MAX }, /* likewise */
    { TRACE_HEADER + 8 * LAYERS + 8, EXPERTS },    /* its first expert */
};

START_TEST(damaged)
{
    size_t len;
    record();
    uint8_t *bytes = bytes_of(&len);
    memcpy(bytes + damages[_i].at, &damages[_i].value, 4);
    ck_assert_int_eq(try_bytes(bytes, len), GGF_E_FORMAT);
    free(bytes);
}
END_TEST

START_TEST(damaged_history)
{
    const uint64_t counts[ITEMS] = { 1, 2, 3 };
    size_t len;
    ck_assert_int_eq(history_write(path, false, &model, counts, &err), 0);
    uint8_t *bytes = bytes_of(&len);
    ck_assert_int_eq(try_bytes(bytes, len), 0);
    ck_assert_int_eq(try_bytes(bytes, len - 8), GGF_E_FORMAT);
    bytes[len - 1] = 0xff; /* the last count's highest byte */
    ck_assert_int_eq(try_bytes(bytes, len), GGF_E_FORMAT);
    free(bytes);
}
END_TEST

START_TEST(no_file)
{
    struct trace *t;
    ck_assert_int_eq(trace_open(&t, path, &err), GGF_E_IO);
    ck_assert_ptr_null(t);
    ck_assert_int_eq(trace_open(&t, dir, &err), GGF_E_FORMAT);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("trace");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, counts_and_history);
    tcase_add_test(tc, another_model);
    tcase_add_test(tc, given_up);
    tcase_add_test(tc, cut_off);
    tcase_add_loop_test(tc, damaged, 0, sizeof damages / sizeof *damages);
    tcase_add_test(tc, damaged_history);
    tcase_add_test(tc, no_file);
    return SUITE_RUN("trace", tc);
}
