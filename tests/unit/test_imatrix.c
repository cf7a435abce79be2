/* test_imatrix.c - importance matrices: both forms, the weights they give, bad files. */
#include "../../quant/imatrix.h"
#include "image.h"
#include "suite.h"

#include <math.h>

static imatrix *open_image(const struct image *f)
{
    ggf_error err = { 0 };
    imatrix *m = NULL;
    const int s = imatrix_open_buffer(&m, f->bytes, f->len, &err);
    ck_assert_msg(s == 0, "%s", err.message);
    return m;
}

/* The file is refused, and the message has `words` in it. */
static void refuse(const struct image *f, const char *words)
{
    ggf_error err = { 0 };
    imatrix *m = NULL;
    const int s = imatrix_open_buffer(&m, f->bytes, f->len, &err);
    ck_assert_msg(s < 0, "accepted, expected '%s'", words);
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(err.message, words) != NULL, "'%s' is not in '%s'", words,
                  err.message);
}

static void put_f32(struct image *f, float v) { put(f, &v, sizeof v); }

/* ---- GGUF ---- */

static void put_head_keys(struct image *f, uint64_t tensors)
{
    put_head(f, 3, tensors, 4);
    put_key_str(f, "general.type", "imatrix");
    put_key_array(f, "imatrix.datasets", GGF_KV_STRING, 2);
    put_string(f, "a.txt"), put_string(f, "b.txt");
    put_key_u32(f, "imatrix.chunk_count", 7);
    put_key_u32(f, "imatrix.chunk_size", 512);
}

static void put_matrix(struct image *f, const char *name, uint64_t ne0, uint64_t ne1,
                       uint32_t type, uint64_t offset)
{
    put_string(f, name);
    put_u32(f, 2);
    put_u64(f, ne0);
    put_u64(f, ne1);
    put_u32(f, type);
    put_u64(f, offset);
}

/* Weights "b" of 2 columns for 3 experts and "a" of 2 columns. */
static void put_two_entries(struct image *f)
{
    put_head_keys(f, 4);
    put_matrix(f, "b.in_sum2", 2, 3, GGF_F32, 0);
    put_matrix(f, "b.counts", 1, 3, GGF_F32, 32);
    put_matrix(f, "a.in_sum2", 2, 1, GGF_F32, 64);
    put_matrix(f, "a.counts", 1, 1, GGF_F32, 96);
    put_padding(f, 32);
    put_f32(f, 10), put_f32(f, 20), put_f32(f, 5), put_f32(f, 6), put_f32(f, 3),
        put_f32(f, 1);
    put_padding(f, 32);
    put_f32(f, 4), put_f32(f, 0), put_f32(f, 1);
    put_padding(f, 32);
    put_f32(f, 1), put_f32(f, 2);
    put_padding(f, 32);
    put_f32(f, 8);
    put_padding(f, 32);
}

START_TEST(gguf_form)
{
    struct image *f = image_new();
    put_two_entries(f);
    imatrix *m = open_image(f);
    ck_assert_uint_eq(imatrix_count(m), 2);
    ck_assert_str_eq(imatrix_at(m, 0)->name, "a");
    ck_assert_ptr_null(imatrix_at(m, 2));
    ck_assert_ptr_null(imatrix_find(m, "c"));
    ck_assert_uint_eq(imatrix_chunks(m), 7);
    ck_assert_uint_eq(imatrix_dataset(m)->len, 5);
    ck_assert_mem_eq(imatrix_dataset(m)->data, "a.txt", 5);
    ck_assert_int_eq(imatrix_check(m, NULL), 0);
    const struct imatrix_entry *e = imatrix_find(m, "b");
    ck_assert_ptr_nonnull(e);
    ck_assert_uint_eq(e->n_values, 6);
    ck_assert_uint_eq(e->n_slices, 3);
    /* Sums over counts; 1 for the expert that saw nothing. */
    static const float expected[] = { 2.5f, 5, 1, 1, 3, 1 };
    float w[6];
    for (uint64_t first = 0; first < 6; first++)
        for (uint64_t n = 1; n <= 6 - first; n++) {
            imatrix_weights(e, first, n, w);
            ck_assert_mem_eq(w, expected + first, n * sizeof *w);
        }
    imatrix_close(m);
    free(f);
}
END_TEST

/* Sums and counts of one entry, and what is to be said of it. */
static const struct {
    float sum, count;
    const char *words; /* NULL: fine */
} values[] = {
    { 1, 1, NULL },
    { 0, 0, NULL },
    { INFINITY, 1, "value 1" },
    { NAN, 1, "value 1" },
    { -1, 1, "value 1" },
    { 1, NAN, "count 0" },
    { 1, -1, "count 0" },
    { 1, INFINITY, "count 0" },
    { 3e38f, 1e-3f, "value 1" },
};

START_TEST(values_are_checked)
{
    struct image *f = image_new();
    put_head_keys(f, 2);
    put_matrix(f, "a.in_sum2", 2, 1, GGF_F32, 0);
    put_matrix(f, "a.counts", 1, 1, GGF_F32, 32);
    put_padding(f, 32);
    put_f32(f, 1), put_f32(f, values[_i].sum);
    put_padding(f, 32);
    put_f32(f, values[_i].count);
    put_padding(f, 32);
    imatrix *m = open_image(f);
    ggf_error err = { 0 };
    const int s = imatrix_check(m, &err);
    ck_assert_int_eq(s, values[_i].words ? GGF_E_FORMAT : 0);
    if (values[_i].words) ck_assert_ptr_nonnull(strstr(err.message, values[_i].words));
    imatrix_close(m);
    free(f);
}
END_TEST

static void no_keys(struct image *f)
{
    put_head(f, 3, 0, 1);
    put_key_str(f, "general.architecture", "llama");
}

static void keys_of_other_types(struct image *f)
{
    put_head(f, 3, 0, 3);
    put_key_str(f, "imatrix.datasets", "a.txt");
    put_key_u32(f, "imatrix.chunk_count", 7);
    put_key_u32(f, "imatrix.chunk_size", 512);
}

static void no_entries(struct image *f) { put_head_keys(f, 0); }

static void pair_of(struct image *f, uint64_t ne1, uint64_t counts, uint32_t type,
                    const char *counts_name)
{
    put_head_keys(f, 2);
    put_matrix(f, "a.in_sum2", 8, ne1, type, 0);
    put_matrix(f, counts_name, 1, counts, GGF_F32, 32 * ((8 * ne1 * 4 + 31) / 32));
    put_padding(f, 32);
    put_data(f, 8 * ne1 * 4 + 64);
}

static void sums_without_counts(struct image *f)
{
    pair_of(f, 1, 1, GGF_F32, "b.weights");
}
static void counts_of_another(struct image *f) { pair_of(f, 1, 1, GGF_F32, "b.counts"); }
static void too_few_counts(struct image *f) { pair_of(f, 3, 2, GGF_F32, "a.counts"); }
static void sums_as_integers(struct image *f) { pair_of(f, 1, 1, GGF_I32, "a.counts"); }

static void counts_without_sums(struct image *f)
{
    put_head_keys(f, 3);
    put_matrix(f, "a.in_sum2", 8, 1, GGF_F32, 0);
    put_matrix(f, "a.counts", 1, 1, GGF_F32, 32);
    put_matrix(f, "b.counts", 1, 1, GGF_F32, 64);
    put_padding(f, 32);
    put_data(f, 96);
}

static void gguf_cut_short(struct image *f)
{
    put_two_entries(f);
    f->len -= 40;
}

/* ---- .dat ---- */

static void put_entry(struct image *f, const char *name, int32_t calls, int32_t n)
{
    put_u32(f, (uint32_t)strlen(name));
    put(f, name, strlen(name));
    put_u32(f, (uint32_t)calls);
    put_u32(f, (uint32_t)n);
    for (int32_t i = 0; i < n && i < 100; i++) put_f32(f, (float)(3 * i + 3));
}

START_TEST(dat_form)
{
    struct image *f = image_new();
    put_u32(f, 2);
    put_entry(f, "b", 3, 4);
    put_entry(f, "a", 0, 2);
    imatrix *m = open_image(f);
    ck_assert_uint_eq(imatrix_count(m), 2);
    ck_assert_ptr_null(imatrix_dataset(m));
    ck_assert_uint_eq(imatrix_chunks(m), 0);
    float w[4];
    static const float thirds[] = { 1, 2, 3, 4 }, as_they_are[] = { 3, 6 };
    imatrix_weights(imatrix_find(m, "b"), 0, 4, w);
    ck_assert_mem_eq(w, thirds, sizeof thirds);
    imatrix_weights(imatrix_find(m, "a"), 0, 2, w);
    ck_assert_mem_eq(w, as_they_are, sizeof as_they_are);
    imatrix_close(m);
    put_u32(f, 238);
    put_u32(f, 5);
    put(f, "x.txt", 5);
    m = open_image(f);
    ck_assert_uint_eq(imatrix_chunks(m), 238);
    ck_assert_uint_eq(imatrix_dataset(m)->len, 5);
    imatrix_close(m);
    free(f);
}
END_TEST

/* The two forms of one run of llama-imatrix; the older one was rounded once more. */
START_TEST(both_forms_of_one_run)
{
    imatrix *gguf = NULL, *dat = NULL;
    ggf_error err = { 0 };
    ck_assert_msg(!imatrix_open(&gguf, "tests/data/quant/lm.imatrix.gguf", &err), "%s",
                  err.message);
    ck_assert_msg(!imatrix_open(&dat, "tests/data/quant/lm.imatrix.dat", &err), "%s",
                  err.message);
    ck_assert_int_eq(imatrix_check(gguf, NULL), 0);
    ck_assert_int_eq(imatrix_check(dat, NULL), 0);
    ck_assert_uint_eq(imatrix_count(gguf), 7);
    ck_assert_uint_eq(imatrix_count(dat), 7);
    ck_assert_uint_eq(imatrix_chunks(gguf), 7);
    ck_assert_uint_eq(imatrix_chunks(dat), 7);
    ck_assert_mem_eq(imatrix_dataset(gguf)->data, "g/t.txt", 7);
    ck_assert_mem_eq(imatrix_dataset(dat)->data, "g/t.txt", 7);
    for (uint64_t i = 0; i < 7; i++) {
        const struct imatrix_entry *x = imatrix_at(gguf, i), *y = imatrix_at(dat, i);
        float wx[128], wy[128];
        ck_assert_str_eq(x->name, y->name);
        ck_assert_uint_eq(x->n_values, y->n_values);
        ck_assert_uint_le(x->n_values, 128);
        imatrix_weights(x, 0, x->n_values, wx);
        imatrix_weights(y, 0, y->n_values, wy);
        for (uint64_t k = 0; k < x->n_values; k++) {
            ck_assert_float_gt(wx[k], 0);
            ck_assert_float_le(fabsf(wx[k] - wy[k]), 1e-6f * wx[k]);
        }
    }
    imatrix_close(gguf);
    imatrix_close(dat);
}
END_TEST

static void empty(struct image *f) { f->len = 0; }
static void a_text(struct image *f) { put(f, "This is no matrix at all.", 25); }
static void zero_entries(struct image *f) { put_u32(f, 0), put_u32(f, 0); }

static void more_entries_than_bytes(struct image *f)
{
    put_u32(f, 1000000);
    put_entry(f, "a", 1, 1);
}

static void long_name(struct image *f)
{
    put_u32(f, 1);
    put_u32(f, 0x7fffffff);
    put_data(f, 64);
}

static void negative_name(struct image *f)
{
    put_u32(f, 1);
    put_u32(f, 0x80000001);
    put_data(f, 64);
}

static void nameless(struct image *f)
{
    put_u32(f, 1);
    put_entry(f, "", 1, 4);
}

static void zero_in_name(struct image *f)
{
    put_u32(f, 1);
    put_u32(f, 3);
    put(f, "a\0b", 3);
    put_data(f, 64);
}

static void too_many_values(struct image *f)
{
    put_u32(f, 1);
    put_entry(f, "a", 1, 0x40000000);
}

static void no_values(struct image *f)
{
    put_u32(f, 1);
    put_entry(f, "abcdefgh", 1, 0);
}

static void same_name_twice(struct image *f)
{
    put_u32(f, 2);
    put_entry(f, "a", 1, 1);
    put_entry(f, "a", 1, 1);
}

static void bytes_after(struct image *f)
{
    put_u32(f, 1);
    put_entry(f, "a", 1, 1);
    put_u32(f, 1), put_u32(f, 1), put(f, "xy", 2);
}

static void cut_trailer(struct image *f)
{
    put_u32(f, 1);
    put_entry(f, "a", 1, 1);
    put_u32(f, 1), put_u32(f, 9), put(f, "xy", 2);
}

static const struct {
    void (*build)(struct image *f);
    const char *words;
} bad[] = {
    { no_keys, "not an importance matrix" },
    { keys_of_other_types, "not an array of strings" },
    { no_entries, "empty" },
    { sums_without_counts, "'a' has no .counts" },
    { counts_of_another, "'a' has no .counts" },
    { too_few_counts, "2 counts for 3 slices" },
    { sums_as_integers, "not stored as f32" },
    { counts_without_sums, "2 tensors of counts, 1 of sums" },
    { gguf_cut_short, "" },
    { empty, "ends in a number" },
    { a_text, "number of entries" },
    { zero_entries, "number of entries" },
    { more_entries_than_bytes, "number of entries" },
    { long_name, "name does not end" },
    { negative_name, "name does not end" },
    { nameless, "name is empty" },
    { zero_in_name, "name does not end" },
    { too_many_values, "more values than the file" },
    { no_values, "more values than the file" },
    { same_name_twice, "'a' is there twice" },
    { bytes_after, "bytes follow" },
    { cut_trailer, "name does not end" },
};

START_TEST(bad_files)
{
    struct image *f = image_new();
    bad[_i].build(f);
    refuse(f, bad[_i].words);
    free(f);
}
END_TEST

/* No length short of the whole may crash or be taken for a whole GGUF. */
START_TEST(every_cut)
{
    struct image *f = image_new();
    put_two_entries(f);
    for (size_t n = 0; n + 32 < f->len; n++) {
        uint8_t *exact = malloc(n + 1); /* so that a sanitizer sees reads past the end */
        imatrix *m = NULL;
        memcpy(exact, f->bytes, n);
        ck_assert_int_lt(imatrix_open_buffer(&m, exact, n, NULL), 0);
        free(exact);
    }
    free(f);
}
END_TEST

START_TEST(filters)
{
    static const char *const include[] = { "b" }, *const exclude[] = { "b", "x" };
    struct image *f = image_new();
    put_two_entries(f);
    imatrix *m = open_image(f);
    imatrix_filter(m, NULL, 0, NULL, 0);
    ck_assert_uint_eq(imatrix_count(m), 2);
    imatrix_filter(m, include, 1, NULL, 0);
    ck_assert_uint_eq(imatrix_count(m), 1);
    ck_assert_ptr_nonnull(imatrix_find(m, "b"));
    imatrix_filter(m, NULL, 0, exclude, 2);
    ck_assert_uint_eq(imatrix_count(m), 0);
    ck_assert_ptr_null(imatrix_find(m, "b"));
    ck_assert_int_eq(imatrix_check(m, NULL), 0);
    imatrix_close(m);
    free(f);
}
END_TEST

START_TEST(missing_file)
{
    ggf_error err = { 0 };
    imatrix *m = NULL;
    ck_assert_int_eq(imatrix_open(&m, "tests/data/quant/none", &err), GGF_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "tests/data/quant/none"));
    ck_assert_int_eq(imatrix_open(&m, "tests", &err), GGF_E_IO);
    imatrix_close(NULL);
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

int main(void)
{
    TCase *tc = tcase_create("imatrix");
    tcase_add_test(tc, gguf_form);
    tcase_add_loop_test(tc, values_are_checked, 0, COUNT(values));
    tcase_add_test(tc, dat_form);
    tcase_add_test(tc, both_forms_of_one_run);
    tcase_add_loop_test(tc, bad_files, 0, COUNT(bad));
    tcase_add_test(tc, every_cut);
    tcase_add_test(tc, filters);
    tcase_add_test(tc, missing_file);
    return SUITE_RUN("imatrix", tc);
}
