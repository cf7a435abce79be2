/* test_stop.c - the stop filter: against a search in the whole text, however the text is
 * cut, and never a character in halves. */
#include "../../infer/session/stop.h"
#include "../../infer/splitmix.h"
#include "../../infer/text/tokenizer.h"
#include "../../infer/text/utf8.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static q3n_stops *stops_of(const char *const *strings, size_t n)
{
    q3n_stops *s;
    ggf_error err;
    ck_assert_msg(!q3n_stops_new(&s, strings, n, &err), "%s", err.message);
    return s;
}

/* The definition: the first byte at which a string is complete, the longest of those. */
static size_t expect(const char *text, size_t len, const char *const *strings, size_t n,
                     int *which)
{
    *which = -1;
    for (size_t end = 1; end <= len; end++) {
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            const size_t k = strlen(strings[i]);
            if (k > end || k <= best || memcmp(text + end - k, strings[i], k) != 0)
                continue;
            best = k;
            *which = (int)i;
        }
        if (best) return end - best;
    }
    return len;
}

static bool is_whole(const char *text, size_t len)
{
    unsigned n;
    for (size_t i = 0; i < len; i += n)
        if (utf8_decode((const uint8_t *)text + i, len - i, &n) == UTF8_BAD) return false;
    return true;
}

/* Push in pieces of at most `piece` bytes, through the stream that makes characters of
 * bytes. */
static void check_cut(const q3n_stops *stops, const char *text, size_t len, size_t piece,
                      uint64_t *seed, size_t want, int want_which)
{
    q3n_stop_filter *f;
    struct q3n_stream stream = { 0 };
    char got[MOST], whole[3 * (MOST + 4)], out[4 * MOST];
    size_t n = 0;
    int which = -1;
    ck_assert(!q3n_stop_filter_new(&f, stops, NULL));
    for (size_t i = 0; i < len && which < 0;) {
        size_t k = 1 + (piece > 1 ? splitmix_below(seed, (uint32_t)piece) : 0);
        k = k < len - i ? k : len - i;
        const size_t chars = q3n_stream_push(&stream, text + i, k, whole);
        const size_t free = q3n_stop_push(f, whole, chars, out, &which);
        ck_assert(is_whole(out, free));
        memcpy(got + n, out, free);
        n += free;
        i += k;
    }
    int again;
    if (which >= 0)
        ck_assert(!q3n_stop_push(f, "more", 4, out, &again) && again == which);
    const size_t rest = q3n_stop_end(f, out);
    ck_assert(is_whole(out, rest));
    memcpy(got + n, out, rest);
    n += rest;
    ck_assert_int_eq(which, want_which);
    ck_assert_msg(n == want && !memcmp(got, text, n), "'%.*s' instead of '%.*s'", (int)n,
                  got, (int)want, text);
    q3n_stop_filter_free(f);
}

START_TEST(random_texts)
{
    static const char *const pieces[] = {
        "a", "b", "ab", "\xc3\xa4", "\xe2\x82\xac", "\xe2\x82\xad", "\xf0\x9f\x98\x80"
    };
    uint64_t seed = 3;
    for (int round = 0; round < 3000; round++) {
        char text[256], strings[4][64];
        const char *list[4];
        const size_t n = splitmix_below(&seed, 5);
        text[0] = 0;
        for (uint32_t i = splitmix_below(&seed, 40); i > 0; i--)
            strcat(text, pieces[splitmix_below(&seed, 7)]);
        for (size_t i = 0; i < n; i++) {
            strings[i][0] = 0;
            for (uint32_t k = 1 + splitmix_below(&seed, 5); k > 0; k--)
                strcat(strings[i], pieces[splitmix_below(&seed, 7)]);
            list[i] = strings[i];
        }
        int which;
        const size_t want = expect(text, strlen(text), list, n, &which);
        q3n_stops *stops = stops_of(list, n);
        for (size_t piece = 1; piece < 40; piece = piece * 3 + 1)
            check_cut(stops, text, strlen(text), piece, &seed, want, which);
        q3n_stops_free(stops);
    }
}
END_TEST

/* Nothing is held that cannot become a stop string. */
START_TEST(holds_no_more_than_needed)
{
    const char *const list[] = { "aab", "xyz" };
    q3n_stops *stops = stops_of(list, 2);
    q3n_stop_filter *f;
    char out[64];
    int which;
    ck_assert(!q3n_stop_filter_new(&f, stops, NULL));
    ck_assert_uint_eq(q3n_stop_push(f, "hello", 5, out, &which), 5);
    ck_assert_uint_eq(q3n_stop_push(f, "aa", 2, out, &which), 0);
    ck_assert_uint_eq(q3n_stop_push(f, "a", 1, out, &which), 1); /* still "aa" */
    ck_assert_uint_eq(q3n_stop_push(f, "xy", 2, out, &which), 2);
    ck_assert_mem_eq(out, "aa", 2);
    ck_assert_int_eq(which, -1);
    q3n_stop_filter_reset(f);
    ck_assert_uint_eq(q3n_stop_push(f, "z", 1, out, &which), 1);
    ck_assert_uint_eq(q3n_stop_push(f, "-xyz-", 5, out, &which), 1);
    ck_assert_int_eq(which, 1);
    q3n_stop_filter_free(f);
    q3n_stops_free(stops);
}
END_TEST

START_TEST(bad_strings)
{
    const char *const empty[] = { "a", "" }, *const bytes[] = { "\xe2\x82" };
    ggf_error err;
    q3n_stops *s;
    ck_assert_int_eq(q3n_stops_new(&s, empty, 2, &err), GGF_E_ARG);
    ck_assert(strstr(err.message, "0 bytes"));
    ck_assert_int_eq(q3n_stops_new(&s, bytes, 1, &err), GGF_E_ARG);
    ck_assert(strstr(err.message, "UTF-8"));
    ck_assert_ptr_null(s);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, random_texts);
    tcase_add_test(tc, holds_no_more_than_needed);
    tcase_add_test(tc, bad_strings);
    return SUITE_RUN("stop", tc);
}
