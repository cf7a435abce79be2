/* test_kld.c - base files and divergence: a file written by llama-perplexity
 * (tests/data/eval/lm.kld.zst: 7 windows of 64 tokens, a vocabulary of 259), records made
 * here, statistics against their definitions, damaged files. */
#include "../../tools/common/divergence.h"
#include "../../tools/common/kldbase.h"
#include "../../tools/common/logprob.h"
#include "../../tools/common/windows.h"
#include "image.h"
#include "suite.h"

#include <math.h>
#include <zstd.h>

enum { CTX = 64, VOCAB = 259, WINDOWS = 7, FILE_BYTES = 116388 };

static uint8_t lm[FILE_BYTES];

static void load_lm(void)
{
    FILE *f = fopen("tests/data/eval/lm.kld.zst", "rb");
    ck_assert_ptr_nonnull(f);
    static uint8_t packed[FILE_BYTES];
    const size_t n = fread(packed, 1, sizeof packed, f);
    fclose(f);
    ck_assert_uint_eq(ZSTD_decompress(lm, sizeof lm, packed, n), FILE_BYTES);
}

static const char *save_bytes(const void *bytes, size_t len)
{
    const char *path = scratch("base.kld");
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
    return path;
}

START_TEST(file_of_llama_perplexity)
{
    struct kld_base b;
    ggf_error err;
    ck_assert_msg(!kld_base_open(&b, save_bytes(lm, sizeof lm), &err), "%s", err.message);
    ck_assert_uint_eq(b.n_ctx, CTX);
    ck_assert_uint_eq(b.n_vocab, VOCAB);
    ck_assert_uint_eq(b.n_windows, WINDOWS);
    ck_assert_uint_eq(window_predictions(CTX), 31);
    ck_assert_uint_eq(kld_record_offset(&b, WINDOWS, 0), FILE_BYTES);
    for (size_t i = 0; i < WINDOWS * 31; i++) {
        const uint16_t *record = kld_codes(&b, i);
        double sum = 0;
        for (int32_t t = 0; t < VOCAB; t++) sum += exp(-(double)record_nll(record, t));
        ck_assert_msg(fabs(sum - 1) < 1e-3, "record %zu: probabilities sum to %g", i,
                      sum);
        ck_assert_uint_eq(record[4 + VOCAB], 0);
    }
    kld_base_close(&b);
}
END_TEST

/* Logits read out of a record encode to the same codes, and are at no distance. */
START_TEST(records_encode_back)
{
    const uint16_t *records = (const uint16_t *)(lm + 20 + WINDOWS * CTX * 4);
    for (size_t i = 0; i < WINDOWS * 31; i++) {
        const uint16_t *record = records + i * record_codes(VOCAB);
        uint16_t again[VOCAB + 5];
        float logits[VOCAB];
        ck_assert_uint_eq(record_codes(VOCAB), VOCAB + 5);
        for (int32_t t = 0; t < VOCAB; t++) logits[t] = -record_nll(record, t);
        const struct row_norm norm = row_norm(logits, VOCAB);
        record_encode(again, logits, VOCAB, norm);
        for (int t = 0; t <= VOCAB; t++)
            ck_assert_msg(abs(again[4 + t] - record[4 + t]) <= 1, "record %zu code %d", i,
                          t);
        const struct row_distance d = row_distance(logits, VOCAB, norm, record);
        ck_assert_msg(fabs(d.kld) < 1e-4, "record %zu: %g", i, d.kld);
        ck_assert_int_eq(d.same_top, 1);
    }
}
END_TEST

/* A record's step is at most 16 / 65535 and the rounding half of it. */
START_TEST(record_of_known_logits)
{
    const float logits[5] = { 1, 3, -40, 2.5f, 0 };
    uint16_t record[10];
    double sum = 0;
    const struct row_norm norm = row_norm(logits, 5);
    record_encode(record, logits, 5, norm);
    for (int i = 0; i < 5; i++) sum += exp((double)logits[i]);
    for (int i = 0; i < 5; i++) {
        const double want = log(sum) - (double)logits[i];
        ck_assert_double_eq_tol((double)row_nll(logits, norm, i), want, 1e-5);
        const double kept = want > 16 + log(sum) - 3 ? 16 + log(sum) - 3 : want;
        ck_assert_double_eq_tol((double)record_nll(record, i), kept, 16.0 / 65535);
    }
    ck_assert_uint_eq(record[4 + 1], 65535);
    ck_assert_uint_eq(record[4 + 2], 0);
    ck_assert_uint_eq(record[9], 0);

    const float flat[3] = { 2, 2, 2 };
    uint16_t flat_record[8];
    record_encode(flat_record, flat, 3, row_norm(flat, 3));
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol((double)record_nll(flat_record, i), log(3), 1e-6);
}
END_TEST

START_TEST(distance_of_known_rows)
{
    const float p[4] = { 0, 1, 2, -30 }, q[4] = { 0.5f, 2, 1.5f, 0 };
    uint16_t record[8];
    double sum_p = 0, sum_q = 0, want = 0;
    for (int i = 0; i < 4; i++) sum_p += exp((double)p[i]), sum_q += exp((double)q[i]);
    for (int i = 0; i < 3; i++) {
        const double lp = (double)p[i] - log(sum_p), lq = (double)q[i] - log(sum_q);
        want += exp(lp) * (lp - lq);
    }
    record_encode(record, p, 4, row_norm(p, 4));
    const struct row_distance d = row_distance(q, 4, row_norm(q, 4), record);
    ck_assert_double_eq_tol(d.kld, want, 1e-4);
    ck_assert_int_eq(d.same_top, 0);
}
END_TEST

START_TEST(estimates)
{
    double sum = 0, squares = 0;
    for (int i = 1; i <= 20; i++) sum += i, squares += i * i;
    const struct estimate e = estimate(sum, squares, 20);
    ck_assert_double_eq_tol(e.mean, 10.5, 1e-12);
    ck_assert_double_eq_tol(e.error, sqrt((20.0 * 20 - 1) / 12 / 19), 1e-12);
    ck_assert_double_eq(estimate(55, 385, 10).error, 0);
    const struct estimate x = estimate_exp((struct estimate){ 1, 0.5 });
    ck_assert_double_eq_tol(x.mean, exp(1), 1e-12);
    ck_assert_double_eq_tol(x.error, 0.5 * exp(1), 1e-12);
}
END_TEST

/* 0, 1, ... 100 in a jumbled order: every percentile is known. */
START_TEST(printed_statistics)
{
    struct divergence d;
    ck_assert(divergence_alloc(&d, 101));
    for (int i = 0; i < 101; i++) {
        const int v = i * 37 % 101;
        d.kld[i] = (float)v;
        d.dp[i] = (float)(v - 50) / 100;
        d.nll[i] = d.base_nll[i] = (float)(v % 5);
        d.same[i] = true;
    }
    divergence_rank(&d);
    char *text;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    divergence_print(&d, f);
    fclose(f);
    const char *const lines[] = {
        "Mean    KLD:  50.000000 ±   2.915476\n",
        "99.9%   KLD:  99.900000\n",
        "Median  KLD:  50.000000\n",
        "10.0%   KLD:  10.000000\n",
        " 5.0%   KLD:   5.000000\n",
        "Minimum KLD:   0.000000\n",
        "75.0%   Δp: 25.000%\n",
        "Mean PPL(Q)-PPL(base)         :   0.000000 ±   0.000000\n",
        "Cor(ln(PPL(Q)), ln(PPL(base))): 100.00%\n",
        "Same top p: 100.000 ± 0.000 %\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "no '%s' in:\n%s", lines[i], text);
    free(text);
    divergence_free(&d);
}
END_TEST

/* ==== The exact form ====================================================== */

static const float exact_logits[2][5] = { { 0.5f, -3, 2.25f, 1, 0 },
                                          { 4, 4.5f, -9, 0, 1 } };
static const int32_t exact_tokens[8] = { 1, 2, 3, 4, 0, 4, 3, 2 };

/* Two windows of four tokens, written by the writer. */
static const char *save_exact(void)
{
    const char *path = scratch("exact.kld");
    const struct kld_base b = {
        .form = KLD_F32, .n_ctx = 4, .n_vocab = 5, .n_windows = 2, .tokens = exact_tokens
    };
    ggf_output *out;
    ck_assert_int_eq(ggf_output_create(&out, path, true, NULL), 0);
    ck_assert_int_eq(kld_base_write_head(&b, out, NULL), 0);
    for (uint32_t w = 0; w < 2; w++)
        ck_assert_int_eq(ggf_output_write(out, kld_record_offset(&b, w, 0),
                                          exact_logits[w], sizeof exact_logits[w], NULL),
                         0);
    ck_assert_int_eq(ggf_output_commit(out, NULL), 0);
    return path;
}

START_TEST(exact_file)
{
    struct kld_base b;
    ggf_error err;
    ck_assert_msg(!kld_base_open(&b, save_exact(), &err), "%s", err.message);
    ck_assert_int_eq(b.form, KLD_F32);
    ck_assert_uint_eq(b.map_bytes, 64 + 8 * 4 + 2 * 5 * 4);
    ck_assert_mem_eq(b.tokens, exact_tokens, sizeof exact_tokens);
    for (size_t i = 0; i < 2; i++)
        ck_assert_mem_eq(kld_logits(&b, i), exact_logits[i], sizeof exact_logits[i]);
    kld_base_close(&b);
}
END_TEST

static const struct {
    const char *says;
    size_t at;
    uint8_t value;
    int code;
} exact_damages[] = {
    { "is of version 2", 8, 2, GGF_E_FORMAT },
    { "a context of 3", 12, 3, GGF_E_FORMAT },
    { "take", 12, 5, GGF_E_FORMAT },
    { "a vocabulary of 0", 16, 0, GGF_E_FORMAT },
    { "0 windows", 20, 0, GGF_E_FORMAT },
    { "must be 0", 31, 1, GGF_E_FORMAT },
    { "not those that were written", 32, 0, GGF_E_HASH },
    { "not those that were written", 64, 2, GGF_E_HASH },
    { "too short", 0, 0, GGF_E_FORMAT }, /* that one: cut off */
};

START_TEST(damaged_exact_file)
{
    uint8_t bytes[256];
    FILE *f = fopen(save_exact(), "rb");
    ck_assert_ptr_nonnull(f);
    size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    if (exact_damages[_i].at) bytes[exact_damages[_i].at] = exact_damages[_i].value;
    else len = 63;
    struct kld_base b;
    ggf_error err = { 0 };
    ck_assert_int_eq(kld_base_open(&b, save_bytes(bytes, len), &err),
                     exact_damages[_i].code);
    ck_assert_msg(strstr(err.message, exact_damages[_i].says) != NULL, "'%s'",
                  err.message);
}
END_TEST

/* The exact distance of known rows; of a row from itself it is 0, not nearly 0. */
START_TEST(exact_distance)
{
    const float p[4] = { 0, 1, 2, -30 }, q[4] = { 0.5f, 2, 1.5f, 0 };
    double sum_p = 0, sum_q = 0, want = 0;
    for (int i = 0; i < 4; i++) sum_p += exp((double)p[i]), sum_q += exp((double)q[i]);
    for (int i = 0; i < 4; i++) {
        const double lp = (double)p[i] - log(sum_p), lq = (double)q[i] - log(sum_q);
        want += exp(lp) * (lp - lq);
    }
    const struct row_distance d = row_distance_exact(q, p, 4);
    ck_assert_double_eq_tol(d.kld, want, 1e-14);
    ck_assert_int_eq(d.same_top, 0);
    ck_assert_double_eq(row_distance_exact(p, p, 4).kld, 0);
    ck_assert_int_eq(row_distance_exact(p, p, 4).same_top, 1);
}
END_TEST

/* ==== Damaged files ======================================================= */

static const struct {
    const char *name, *says;
    size_t len; /* 0: all */
    size_t at;  /* four bytes replaced */
    int32_t value;
} damages[] = {
    { "empty", "too short", 1, 0, 0 },
    { "magic", "starts neither", 0, 0, 0x41414141 },
    { "context 0", "a context of 0", 0, 8, 0 },
    { "context -1", "a context of 4294967295", 0, 8, -1 },
    { "context huge", "a context of 2147483647", 0, 8, INT32_MAX },
    { "vocabulary 0", "a vocabulary of 0", 0, 12, 0 },
    { "vocabulary huge", "a vocabulary of 2147483647", 0, 12, INT32_MAX },
    { "windows 0", "0 windows", 0, 16, 0 },
    { "windows huge", "2147483647 windows", 0, 16, INT32_MAX },
    { "one window more", "take", 0, 16, WINDOWS + 1 },
    { "token -1", "token -1", 0, 20, -1 },
    { "token too large", "token 259", 0, 20 + 4 * (CTX * WINDOWS - 1), VOCAB },
    { "short", "take 116388", FILE_BYTES - 1, 8, CTX },
};

START_TEST(damaged_file)
{
    static uint8_t bytes[FILE_BYTES];
    memcpy(bytes, lm, sizeof lm);
    memcpy(bytes + damages[_i].at, &damages[_i].value, 4);
    struct kld_base b;
    ggf_error err = { 0 };
    const size_t len = damages[_i].len ? damages[_i].len : FILE_BYTES;
    ck_assert_int_eq(kld_base_open(&b, save_bytes(bytes, len), &err), GGF_E_FORMAT);
    ck_assert_msg(strstr(err.message, damages[_i].says) != NULL, "%s: '%s'",
                  damages[_i].name, err.message);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, load_lm, NULL);
    tcase_add_test(tc, file_of_llama_perplexity);
    tcase_add_test(tc, records_encode_back);
    tcase_add_test(tc, record_of_known_logits);
    tcase_add_test(tc, distance_of_known_rows);
    tcase_add_test(tc, estimates);
    tcase_add_test(tc, printed_statistics);
    tcase_add_test(tc, exact_file);
    tcase_add_test(tc, exact_distance);
    tcase_add_loop_test(tc, damaged_exact_file, 0,
                        (int)(sizeof exact_damages / sizeof *exact_damages));
    tcase_add_loop_test(tc, damaged_file, 0, (int)(sizeof damages / sizeof *damages));
    return SUITE_RUN("kld", tc);
}
