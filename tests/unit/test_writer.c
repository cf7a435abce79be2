/* test_writer.c - files written by ggf_writer: their layout byte by byte, all value
 * types, and what it refuses. */
#include "files.h"
#include "image.h"
#include "suite.h"

static ggf_writer *create(const char *path, const struct ggf_writer_options *o)
{
    ggf_writer *w;
    ggf_error err;
    ck_assert_msg(ggf_writer_create(&w, path, o, &err) == 0, "%s", err.message);
    return w;
}

static void finish(ggf_writer *w)
{
    ggf_error err;
    ck_assert_msg(ggf_writer_finish(w, &err) == 0, "%s", err.message);
}

/* The bytes of a file just written; freed by the caller, the file removed. */
static uint8_t *take(const char *path, size_t *len)
{
    uint8_t *bytes = read_file(path, len);
    remove(path);
    return bytes;
}

static const uint64_t shape_a[4] = { 4, 1, 1, 1 }, shape_b[4] = { 64, 1, 1, 1 };

/* The writer gives exactly the file that image.h puts together by hand. */
START_TEST(bytes_by_hand)
{
    struct image *f = image_new();
    put_small_model(f);
    const char *path = scratch("w.gguf");
    ggf_writer *w = create(path, NULL);
    ggf_writer_set_str(w, "general.architecture", "qwen3next", NULL);
    ggf_writer_set_u32(w, "qwen3next.block_count", 48, NULL);
    ggf_writer_set_array(w, "list", GGF_KV_I32, (int32_t[]){ 1, 2, -3 }, 3, NULL);
    ggf_writer_set_str_array(w, "words", (struct ggf_str[]){ { "one", 3 }, { "", 0 } }, 2,
                             NULL);
    ck_assert_int_eq(ggf_writer_add_tensor(w, "a", GGF_F32, shape_a, NULL), 0);
    ck_assert_int_eq(ggf_writer_add_tensor(w, "b", GGF_Q8_0, shape_b, NULL), 0);
    ck_assert_uint_eq(ggf_writer_file_size(w), f->len);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);

    struct image *data = image_new();
    put_data(data, 68);
    ck_assert_int_eq(ggf_writer_write(w, 1, 40, data->bytes + 40, 28, NULL), 0);
    ck_assert_int_eq(ggf_writer_write(w, 0, 0, data->bytes, 16, NULL), 0);
    ck_assert_int_eq(ggf_writer_write(w, 1, 0, data->bytes, 40, NULL), 0);
    ck_assert_int_ne(access(path, F_OK), 0); /* not there before it is whole */
    finish(w);
    size_t len;
    uint8_t *bytes = take(path, &len);
    ck_assert_uint_eq(len, f->len);
    ck_assert_mem_eq(bytes, f->bytes, len);
    free(bytes);
    free(data);
    free(f);
}
END_TEST

/* Tensors of 5 and 3 bytes at every alignment, set before or after the tensors. */
START_TEST(alignments)
{
    const uint32_t alignment = 1u << (_i / 2);
    const char *path = scratch("w.gguf");
    const uint64_t five[4] = { 5, 1, 1, 1 }, three[4] = { 1, 1, 3, 1 };
    ggf_writer *w = create(path, NULL);
    if (_i % 2) ggf_writer_set_u32(w, "general.alignment", alignment, NULL);
    ggf_writer_add_tensor(w, "a", GGF_I8, five, NULL);
    ggf_writer_add_tensor(w, "b", GGF_I8, three, NULL);
    if (!(_i % 2)) ggf_writer_set_u32(w, "general.alignment", alignment, NULL);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    ck_assert_int_eq(ggf_writer_write(w, 0, 0, "AAAAA", 5, NULL), 0);
    ck_assert_int_eq(ggf_writer_write(w, 1, 0, "BBB", 3, NULL), 0);
    const uint64_t size = ggf_writer_file_size(w);
    finish(w);
    size_t len;
    uint8_t *bytes = take(path, &len);
    ck_assert_uint_eq(len, size);
    ck_assert_uint_eq(len % alignment, 0);
    ggf_file *file;
    ck_assert_int_eq(ggf_open_buffer(&file, bytes, len, NULL, NULL), 0);
    ck_assert_uint_eq(ggf_shard(file, 0)->alignment, alignment);
    ck_assert_uint_eq(ggf_shard(file, 0)->data_offset % alignment, 0);
    ck_assert_mem_eq(ggf_tensor(file, 0)->data, "AAAAA", 5);
    ck_assert_mem_eq(ggf_tensor(file, 1)->data, "BBB", 3);
    ck_assert_uint_eq(ggf_tensor(file, 1)->n_dims, 3); /* up to the last above 1 */
    for (uint64_t i = ggf_tensor(file, 1)->offset + 3; i < len; i++)
        ck_assert_uint_eq(bytes[i], 0);
    ggf_close(file);
    free(bytes);
}
END_TEST

START_TEST(bad_alignments)
{
    ggf_writer *w;
    ggf_error err;
    const char *path = scratch("w.gguf");
    ck_assert_int_eq(ggf_writer_create(
                         &w, path, &(struct ggf_writer_options){ .alignment = 48 }, &err),
                     GGF_E_ARG);
    ck_assert_ptr_null(w);
    w = create(path, NULL);
    ck_assert_int_eq(ggf_writer_set_u32(w, "general.alignment", 0, &err), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_u32(w, "general.alignment", 48, &err), GGF_E_ARG);
    ck_assert_str_eq(err.message, "general.alignment is 48, expected a power of two");
    ck_assert_int_eq(ggf_writer_set_u64(w, "general.alignment", 32, &err), GGF_E_ARG);
    /* Gone again, and the layout with it. */
    const uint64_t size = ggf_writer_file_size(w);
    ck_assert_int_eq(ggf_writer_set_u32(w, "general.alignment", 4096, &err), 0);
    ck_assert_uint_eq(ggf_writer_file_size(w), 4096);
    ggf_writer_remove_kv(w, "general.alignment");
    ck_assert_uint_eq(ggf_writer_file_size(w), size);
    ggf_writer_discard(w);
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

/* Every value type through the writer and back, as values and as copied entries. */
START_TEST(all_types)
{
    const char *path = scratch("w.gguf");
    ggf_writer *w = create(path, NULL);
    ggf_writer_set_u16(w, "u16", 65535, NULL);
    ggf_writer_set_u32(w, "u32", UINT32_MAX, NULL);
    ggf_writer_set_i32(w, "i32", INT32_MIN, NULL);
    ggf_writer_set_u64(w, "u64", UINT64_MAX, NULL);
    ggf_writer_set_f32(w, "f32", 0.1f, NULL);
    ggf_writer_set_bool(w, "bool", true, NULL);
    ggf_writer_set_str(w, "str", "caf\xc3\xa9", NULL);
    static const uint32_t fixed[] = { GGF_KV_U8,  GGF_KV_I8,  GGF_KV_U16, GGF_KV_I16,
                                      GGF_KV_U32, GGF_KV_I32, GGF_KV_F32, GGF_KV_BOOL,
                                      GGF_KV_U64, GGF_KV_I64, GGF_KV_F64 };
    const uint64_t numbers[4] = { 1, 2, 3, 4 };
    enum { N = 7 + sizeof fixed / sizeof *fixed + 1 };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        char key[16];
        snprintf(key, sizeof key, "array.%zu", i);
        ck_assert_int_eq(ggf_writer_set_array(w, key, fixed[i], numbers, 4, NULL), 0);
    }
    ggf_writer_set_str_array(w, "empty", NULL, 0, NULL);
    ck_assert_int_eq(ggf_writer_set_array(w, "x", GGF_KV_STRING, numbers, 1, NULL),
                     GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_array(w, "x", 13, numbers, 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    finish(w);
    size_t len, len2;
    uint8_t *bytes = take(path, &len);
    ggf_file *file;
    ck_assert_int_eq(ggf_open_buffer(&file, bytes, len, NULL, NULL), 0);
    ck_assert_uint_eq(ggf_kv_count(file), N);
    double d;
    uint64_t u64;
    struct ggf_str s;
    ck_assert_int_eq(ggf_get_f64(file, "f32", &d, NULL), 0);
    ck_assert_double_eq(d, (double)0.1f);
    ck_assert_int_eq(ggf_get_u64(file, "u64", &u64, NULL), 0);
    ck_assert_uint_eq(u64, UINT64_MAX);
    ck_assert_int_eq(ggf_get_str(file, "str", &s, NULL), 0);
    ck_assert_uint_eq(s.len, 5);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        const struct ggf_kv *kv = ggf_kv(file, 7 + i);
        ck_assert_uint_eq(kv->elem_type, fixed[i]);
        ck_assert_uint_eq(kv->count, 4);
        ck_assert_mem_eq(kv->data, numbers, kv->bytes);
    }

    w = create(path, NULL); /* a copy of all entries is the same file */
    for (uint64_t i = 0; i < N; i++)
        ck_assert_int_eq(ggf_writer_set_kv(w, ggf_kv(file, i), NULL), 0);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    finish(w);
    uint8_t *copy = take(path, &len2);
    ck_assert_uint_eq(len2, len);
    ck_assert_mem_eq(copy, bytes, len);
    ggf_close(file);
    free(bytes);
    free(copy);
}
END_TEST

/* A key set again goes to the end; a removed one is gone. */
START_TEST(key_order)
{
    const char *path = scratch("w.gguf");
    ggf_writer *w = create(path, NULL);
    ggf_writer_set_u32(w, "first", 1, NULL);
    ggf_writer_set_u32(w, "second", 2, NULL);
    ggf_writer_set_u32(w, "third", 3, NULL);
    ggf_writer_set_u64(w, "first", 10, NULL);
    ggf_writer_remove_kv(w, "second");
    ggf_writer_remove_kv(w, "never there");
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    finish(w);
    size_t len;
    uint8_t *bytes = take(path, &len);
    ggf_file *file;
    ck_assert_int_eq(ggf_open_buffer(&file, bytes, len, NULL, NULL), 0);
    ck_assert_uint_eq(ggf_kv_count(file), 2);
    ck_assert_str_eq(ggf_kv(file, 0)->key, "third");
    ck_assert_str_eq(ggf_kv(file, 1)->key, "first");
    ck_assert_uint_eq(ggf_kv(file, 1)->type, GGF_KV_U64);
    ggf_close(file);
    free(bytes);
}
END_TEST

START_TEST(bad_keys)
{
    ggf_writer *w = create(scratch("w.gguf"), NULL);
    char *key = malloc(65537);
    memset(key, 'k', 65536);
    key[65536] = 0;
    ck_assert_int_eq(ggf_writer_set_u32(w, "", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_u32(w, "a\nb", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_u32(w, key, 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_u32(w, key + 1, 1, NULL), 0);
    const struct ggf_kv kv = { .key = "k", .type = 13, .data = (const uint8_t *)"" };
    ck_assert_int_eq(ggf_writer_set_kv(w, &kv, NULL), GGF_E_ARG);
    ggf_writer_discard(w);
    ggf_writer_discard(NULL);
    free(key);
}
END_TEST

START_TEST(bad_tensors)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t ne[4];
    } bad[] = {
        { "", GGF_F32, { 1, 1, 1, 1 } },
        { "a\tb", GGF_F32, { 1, 1, 1, 1 } },
        { "0123456789012345678901234567890123456789012345678901234567890123",
          GGF_F32,
          { 1, 1, 1, 1 } },
        { "t", 4, { 1, 1, 1, 1 } },
        { "t", GGF_TYPE_COUNT, { 1, 1, 1, 1 } },
        { "t", GGF_F32, { 0, 1, 1, 1 } },
        { "t", GGF_F32, { 1, 1, 1, 0 } },
        { "t", GGF_F32, { 1ull << 32, 1ull << 31, 1, 1 } },
        { "t", GGF_F32, { 1ull << 62, 1, 1, 1 } },
        { "t", GGF_F64, { 1ull << 60, 1, 1, 1 } },
        { "t", GGF_Q4_K, { 128, 2, 1, 1 } },
    };
    ggf_writer *w = create(scratch("w.gguf"), NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ggf_error err = { 0 };
        ck_assert_msg(ggf_writer_add_tensor(w, bad[i].name, bad[i].type, bad[i].ne,
                                            &err) == GGF_E_ARG,
                      "case %zu", i);
        ck_assert_uint_gt(strlen(err.message), 10);
    }
    ggf_writer_discard(w);
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

/* Each fits alone, together they do not. */
START_TEST(too_large_together)
{
    const uint64_t huge[4] = { 1ull << 61, 1, 1, 1 };
    char name[2] = "a";
    ggf_error err;
    ggf_writer *w = create(scratch("w.gguf"), NULL);
    for (; *name < 'a' + 9; (*name)++) {
        ck_assert_int_eq(ggf_writer_add_tensor(w, name, GGF_I8, huge, NULL), 0);
        if (*name >= 'd') /* 2^63 bytes and more; 2^64 from h on */
            ck_assert_uint_eq(ggf_writer_file_size(w), UINT64_MAX);
    }
    ck_assert_int_eq(ggf_writer_begin(w, &err), GGF_E_ARG);
    ck_assert_str_eq(err.message, "the tensors are too large together");
    ggf_writer_discard(w);
}
END_TEST

START_TEST(double_names)
{
    ggf_error err;
    ggf_writer *w = create(scratch("w.gguf"), NULL);
    ggf_writer_add_tensor(w, "a", GGF_F32, shape_a, NULL);
    ggf_writer_add_tensor(w, "a", GGF_F32, shape_b, NULL);
    ck_assert_int_eq(ggf_writer_begin(w, &err), GGF_E_ARG);
    ck_assert_str_eq(err.message, "two tensors are named 'a'");
    ggf_writer_discard(w);
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

/* Calls out of order, writes out of bounds, and data that did not all come. */
START_TEST(order_of_calls)
{
    const char *path = scratch("w.gguf");
    ggf_error err;
    ggf_writer *w = create(path, NULL);
    ck_assert_int_eq(ggf_writer_add_tensor(w, "a", GGF_F32, shape_a, NULL), 0);
    ck_assert_int_eq(ggf_writer_write(w, 0, 0, "x", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), 0);
    ck_assert_int_eq(ggf_writer_begin(w, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_set_u32(w, "late", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_add_tensor(w, "late", GGF_F32, shape_a, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_write(w, 1, 0, "x", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_write(w, 0, 16, "x", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_write(w, 0, UINT64_MAX, "x", 1, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_write(w, 0, 8, "12345678x", 9, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_writer_write(w, 0, 0, "123456789012345", 15, NULL), 0);
    ck_assert_int_eq(ggf_writer_finish(w, &err), GGF_E_ARG);
    ck_assert_str_eq(err.message, "15 bytes of tensor data were written, expected 16");
    ck_assert_int_eq(scratch_files(), 0);

    w = create(path, NULL);
    ck_assert_int_eq(ggf_writer_finish(w, &err), GGF_E_ARG); /* begin was left out */
    ck_assert_int_eq(scratch_files(), 0);
}
END_TEST

/* The layout that tools give which ignore the key they copy. */
START_TEST(forced_layout)
{
    const char *path = scratch("w.gguf");
    ggf_writer *w = create(path, &(struct ggf_writer_options){ .alignment = 32 });
    ggf_writer_set_u32(w, "general.alignment", 4096, NULL);
    ggf_writer_add_tensor(w, "a", GGF_F32, shape_a, NULL);
    ck_assert_uint_lt(ggf_writer_file_size(w), 4096);
    ggf_writer_discard(w);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("files");
    tcase_add_test(tc, bytes_by_hand);
    tcase_add_loop_test(tc, alignments, 0, 26);
    tcase_add_test(tc, bad_alignments);
    tcase_add_test(tc, all_types);
    tcase_add_test(tc, key_order);
    tcase_add_test(tc, bad_keys);
    tcase_add_test(tc, bad_tensors);
    tcase_add_test(tc, too_large_together);
    tcase_add_test(tc, double_names);
    tcase_add_test(tc, order_of_calls);
    tcase_add_test(tc, forced_layout);
    return SUITE_RUN("writer", tc);
}
