/* test_malformed.c - what the reader says of broken GGUF files: of all those in
 * malformed.h, of a good one cut off or changed anywhere. */
#include "malformed.h"
#include "suite.h"

#include <ctype.h>

/* One sentence about byte `offset`: no line break, no full stop, not cut off. */
static void check_sentence(const ggf_error *err, uint64_t offset, const char *words)
{
    char where[64];
    ck_assert_int_eq(err->code, GGF_E_FORMAT);
    ck_assert_msg(err->offset == offset, "offset %llu, expected %llu: %s",
                  (unsigned long long)err->offset, (unsigned long long)offset,
                  err->message);
    snprintf(where, sizeof where, " (at byte %llu, 0x%llx)", (unsigned long long)offset,
             (unsigned long long)offset);
    const size_t len = strlen(err->message), tail = strlen(where);
    ck_assert_uint_gt(len, tail);
    ck_assert_str_eq(err->message + len - tail, where);
    ck_assert_msg(strstr(err->message, words) != NULL, "'%s' not in: %s", words,
                  err->message);
    for (size_t i = 0; i < len; i++) ck_assert(isprint((unsigned char)err->message[i]));
}

static int read_image(void *user, uint64_t offset, void *into, size_t len)
{
    const struct image *f = user;
    if (offset > f->len || len > f->len - offset) return -1;
    memcpy(into, f->bytes + offset, len);
    return 0;
}

/* The same answer from a buffer (sized to the byte, for the address sanitizer), through
 * a callback and from a file. */
START_TEST(malformed)
{
    struct image *f = image_new();
    ggf_error err = { 0 };
    ggf_file *file;
    cases[_i].build(f);
    uint8_t *exact = malloc(f->len + !f->len);
    memcpy(exact, f->bytes, f->len);
    ck_assert_int_eq(ggf_open_buffer(&file, exact, f->len, NULL, &err), GGF_E_FORMAT);
    ck_assert_ptr_null(file);
    check_sentence(&err, f->mark, cases[_i].words);
    ck_assert_int_eq(ggf_open_buffer(&file, exact, f->len, NULL, NULL), GGF_E_FORMAT);

    ck_assert_int_eq(ggf_open_callback(&file, read_image, f, f->len, NULL, &err),
                     GGF_E_FORMAT);
    ck_assert_ptr_null(file);
    check_sentence(&err, f->mark, cases[_i].words);

    const char *path = scratch("bad.gguf");
    save(f, path);
    ck_assert_int_eq(ggf_open(&file, path, NULL, &err), GGF_E_FORMAT);
    ck_assert_ptr_null(file);
    check_sentence(&err, f->mark, f->len ? cases[_i].words : "is empty");
    ck_assert_msg(strstr(err.message, path) == err.message, "%s", err.message);
    remove(path);
    free(exact);
    free(f);
}
END_TEST

/* With gaps allowed, what the strict reader refuses as out of place is looked at more
 * closely: these stay wrong. */
START_TEST(malformed_with_gaps)
{
    static const struct {
        uint64_t offset;
        uint64_t fault; /* 0: the offset field */
        const char *words;
    } gaps[] = {
        { 33, 0, "expected a multiple of 32" },
        { 0, 96, "tensors 'a' and 'b' overlap" },
        { 1 << 20, 96 + (1 << 20), "but the file has only 224" },
        { 128, 224, "but the file has only 224" },
        { UINT64_MAX - 31, 0, "offset and size overflow" },
        { 1ull << 63, 0, "offset and size overflow" },
        { INT64_MAX - 63, 96, "offset and size overflow" },
    };
    struct image *f = image_new();
    ggf_error err;
    ggf_file *file;
    second_at(f, gaps[_i].offset);
    const struct ggf_open_options o = { .allow_gaps = true };
    ck_assert_int_eq(ggf_open_buffer(&file, f->bytes, f->len, &o, &err), GGF_E_FORMAT);
    check_sentence(&err, gaps[_i].fault ? gaps[_i].fault : f->mark, gaps[_i].words);
    free(f);
}
END_TEST

/* A valid file cut off anywhere before the last byte of its last tensor. */
START_TEST(truncated_everywhere)
{
    struct image *f = image_new();
    put_small_model(f);
    ggf_file *file;
    ggf_error err;
    ck_assert_int_eq(ggf_open_buffer(&file, f->bytes, f->len, NULL, &err), 0);
    const struct ggf_tensor *last = ggf_tensor(file, 1);
    const size_t end = (size_t)(last->offset + last->bytes);
    ggf_close(file);
    for (size_t n = 0; n < end; n++) {
        uint8_t *cut = malloc(n + !n);
        memcpy(cut, f->bytes, n);
        ck_assert_msg(ggf_open_buffer(&file, cut, n, NULL, &err) == GGF_E_FORMAT,
                      "cut after %zu bytes", n);
        ck_assert_uint_le(err.offset, end);
        ck_assert_ptr_nonnull(strstr(err.message, "at byte"));
        free(cut);
    }
    for (size_t n = end; n <= f->len; n++) { /* the padding behind it may be missing */
        ck_assert_int_eq(ggf_open_buffer(&file, f->bytes, n, NULL, &err), 0);
        ggf_close(file);
    }
    free(f);
}
END_TEST

/* Every byte of the header set to a few values: never a crash, and what opens can be
 * read through. */
START_TEST(every_byte_changed)
{
    static const uint8_t values[] = { 0x00, 0x01, 0x09, 0x7f, 0x80, 0xff };
    struct image *f = image_new();
    put_small_model(f);
    uint64_t sum = 0;
    for (size_t i = 0; i < f->len; i++) {
        const uint8_t good = f->bytes[i];
        for (size_t k = 0; k < sizeof values; k++) {
            ggf_file *file;
            ggf_error err;
            f->bytes[i] = values[k];
            const int s = ggf_open_buffer(&file, f->bytes, f->len, NULL, &err);
            ck_assert_int_eq(s == 0, file != NULL);
            if (s) ck_assert_int_eq(s, GGF_E_FORMAT);
            for (uint64_t t = 0; !s && t < ggf_tensor_count(file); t++)
                sum += ggf_tensor(file, t)->data[ggf_tensor(file, t)->bytes - 1];
            ggf_close(file);
        }
        f->bytes[i] = good;
    }
    ck_assert_uint_gt(sum, 0);
    free(f);
}
END_TEST

/* A message longer than its buffer keeps the offset. */
START_TEST(long_message)
{
    struct image *f = image_new();
    char key[60001];
    memset(key, 'k', 60000);
    key[60000] = 0;
    put_head(f, 3, 0, 1);
    put_string(f, key);
    mark(f);
    put_u32(f, 99);
    ggf_error err;
    ggf_file *file;
    ck_assert_int_eq(ggf_open_buffer(&file, f->bytes, f->len, NULL, &err), GGF_E_FORMAT);
    check_sentence(&err, f->mark, "value type 99");
    ggf_fail(&err, GGF_E_FORMAT, 77, "%s", key);
    check_sentence(&err, 77, "kkkk");
    free(f);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, malformed, 0, (int)(sizeof cases / sizeof *cases));
    tcase_add_loop_test(tc, malformed_with_gaps, 0, 7);
    tcase_add_test(tc, truncated_everywhere);
    tcase_add_test(tc, every_byte_changed);
    tcase_add_test(tc, long_message);
    return SUITE_RUN("malformed", tc);
}
