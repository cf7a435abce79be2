/* test_gguf.c - what good files give: versions, alignments, value types, conversions,
 * and the three ways to open. */
#include "image.h"
#include "suite.h"

#include <sys/stat.h>

static ggf_file *open_image(const struct image *f, const struct ggf_open_options *o)
{
    ggf_file *file;
    ggf_error err;
    ck_assert_msg(ggf_open_buffer(&file, f->bytes, f->len, o, &err) == 0, "%s",
                  err.message);
    return file;
}

START_TEST(small_model)
{
    struct image *f = image_new();
    put_small_model(f);
    ggf_file *file = open_image(f, NULL);
    ck_assert_uint_eq(ggf_shard_count(file), 1);
    ck_assert_ptr_null(ggf_shard(file, 1));
    const struct ggf_shard *shard = ggf_shard(file, 0);
    ck_assert_uint_eq(shard->version, 3);
    ck_assert_uint_eq(shard->alignment, 32);
    ck_assert_uint_eq(shard->size, f->len);
    ck_assert_uint_eq(shard->n_tensors, 2);
    ck_assert_str_eq(shard->path, "");
    ck_assert_ptr_eq(shard->bytes, f->bytes);

    ck_assert_uint_eq(ggf_tensor_count(file), 2);
    ck_assert_ptr_null(ggf_tensor(file, 2));
    const struct ggf_tensor *b = ggf_find_tensor(file, "b");
    ck_assert_ptr_eq(b, ggf_tensor(file, 1));
    ck_assert_uint_eq(b->type, GGF_Q8_0);
    ck_assert_uint_eq(b->n_dims, 1);
    ck_assert_uint_eq(b->ne[0], 64);
    ck_assert_uint_eq(b->ne[3], 1);
    ck_assert_uint_eq(b->count, 64);
    ck_assert_uint_eq(b->bytes, 68);
    ck_assert_uint_eq(b->offset, shard->data_offset + 32);
    ck_assert_ptr_eq(b->data, f->bytes + b->offset);
    ck_assert_ptr_null(ggf_find_tensor(file, "c"));

    ck_assert_uint_eq(ggf_kv_count(file), 4);
    ck_assert_ptr_null(ggf_kv(file, 4));
    ck_assert_str_eq(ggf_kv(file, 1)->key, "qwen3next.block_count");
    ck_assert_ptr_eq(ggf_kv(file, 2), ggf_find_kv(file, "list"));
    ck_assert_ptr_null(ggf_find_kv(file, "lis"));
    ck_assert_uint_eq(ggf_kv(file, 0)->offset, 24);
    ggf_close(file);
    ggf_close(NULL);
    free(f);
}
END_TEST

/* As Python's gguf writes a number. */
START_TEST(no_dimensions)
{
    struct image *f = image_new();
    put_head(f, 3, 1, 0);
    put_string(f, "t");
    put_u32(f, 0);
    put_u32(f, GGF_F32);
    put_u64(f, 0);
    put_padding(f, 32);
    put_data(f, 32);
    ggf_file *file = open_image(f, NULL);
    const struct ggf_tensor *t = ggf_find_tensor(file, "t");
    ck_assert_uint_eq(t->n_dims, 0);
    ck_assert_uint_eq(t->count, 1);
    ck_assert_uint_eq(t->bytes, 4);
    for (int i = 0; i < 4; i++) ck_assert_uint_eq(t->ne[i], 1);
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(version_2)
{
    struct image *f = image_new();
    put_small_model(f);
    f->bytes[4] = 2;
    ggf_file *file = open_image(f, NULL);
    ck_assert_uint_eq(ggf_shard(file, 0)->version, 2);
    ck_assert_uint_eq(ggf_tensor_count(file), 2);
    ggf_close(file);
    free(f);
}
END_TEST

/* 1, 2, 4, ... 4096 */
START_TEST(alignments)
{
    const uint32_t alignment = 1u << _i;
    struct image *f = image_new();
    put_head(f, 3, 2, 1);
    put_key_u32(f, "general.alignment", alignment);
    put_tensor(f, "a", 5, GGF_I8, 0);
    put_tensor(f, "b", 5, GGF_I8, (5 + alignment - 1) / alignment * alignment);
    put_padding(f, alignment);
    const size_t start = f->len;
    put_data(f, 5);
    put_padding(f, alignment);
    const size_t second = f->len;
    put_data(f, 5);
    ggf_file *file = open_image(f, NULL);
    ck_assert_uint_eq(ggf_shard(file, 0)->alignment, alignment);
    ck_assert_uint_eq(ggf_shard(file, 0)->data_offset, start);
    ck_assert_uint_eq(ggf_tensor(file, 1)->offset, second);
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(no_tensors)
{
    struct image *f = image_new();
    put_head(f, 3, 0, 1);
    put_key_u32(f, "k", 7);
    ggf_file *file = open_image(f, NULL); /* the padding is not there */
    ck_assert_uint_eq(ggf_tensor_count(file), 0);
    ck_assert_ptr_null(ggf_tensor(file, 0));
    ck_assert_ptr_null(ggf_find_tensor(file, "k"));
    ck_assert_uint_eq(ggf_shard(file, 0)->data_offset, f->len);
    ggf_close(file);

    f->len = 0;
    put_head(f, 3, 0, 0);
    file = open_image(f, NULL);
    ck_assert_uint_eq(ggf_kv_count(file), 0);
    ck_assert_ptr_null(ggf_find_kv(file, "k"));
    ggf_close(file);
    free(f);
}
END_TEST

/* A gap before the first tensor, the two in reverse order. */
START_TEST(gaps_allowed)
{
    struct image *f = image_new();
    put_head(f, 3, 2, 0);
    put_tensor(f, "a", 8, GGF_F32, 96);
    put_tensor(f, "b", 8, GGF_F32, 32);
    put_padding(f, 32);
    const size_t start = f->len;
    put_data(f, 128);
    ggf_file *file;
    ck_assert_int_eq(ggf_open_buffer(&file, f->bytes, f->len, NULL, NULL), GGF_E_FORMAT);
    file = open_image(f, &(struct ggf_open_options){ .allow_gaps = true });
    ck_assert_uint_eq(ggf_tensor(file, 0)->offset, start + 96);
    ck_assert_uint_eq(ggf_tensor(file, 1)->offset, start + 32);
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(longest_names)
{
    struct image *f = image_new();
    char name[64], *key = malloc(65536);
    memset(name, 'n', 63);
    name[63] = 0;
    memset(key, 'k', 65535);
    key[65535] = 0;
    put_head(f, 3, 1, 1);
    put_key_u32(f, key, 9);
    put_tensor(f, name, 4, GGF_F32, 0);
    put_padding(f, 32);
    put_data(f, 16);
    ggf_file *file = open_image(f, NULL);
    uint32_t v = 0;
    ck_assert_int_eq(ggf_get_u32(file, key, &v, NULL), 0);
    ck_assert_uint_eq(v, 9);
    ck_assert_ptr_nonnull(ggf_find_tensor(file, name));
    ggf_close(file);
    free(key);
    free(f);
}
END_TEST

/* Wherever the tables are about to grow, a name that is not there is looked for, too. */
START_TEST(absent_names)
{
    for (uint32_t n = 1; n <= 260; n++) {
        struct image *f = image_new();
        char name[32];
        put_head(f, 3, 0, n);
        for (uint32_t i = 0; i < n; i++) {
            snprintf(name, sizeof name, "key.%u", i);
            put_key_u32(f, name, i);
        }
        put_padding(f, 32);
        ggf_file *file = open_image(f, NULL);
        ck_assert_ptr_null(ggf_find_kv(file, "key"));
        ck_assert_ptr_nonnull(ggf_find_kv(file, "key.0"));
        ggf_close(file);
        free(f);
    }
}
END_TEST

/* Enough names to grow the tables several times. */
START_TEST(many_names)
{
    struct image *f = image_new();
    char name[32];
    put_head(f, 3, 1000, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "key.%u", i);
        put_key_u32(f, name, i);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "blk.%u", i);
        put_tensor(f, name, 1, GGF_I8, 32ull * i);
    }
    put_padding(f, 32);
    put_data(f, 32 * 1000);
    ggf_file *file = open_image(f, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t v;
        snprintf(name, sizeof name, "key.%u", i);
        ck_assert_int_eq(ggf_get_u32(file, name, &v, NULL), 0);
        ck_assert_uint_eq(v, i);
        snprintf(name, sizeof name, "blk.%u", i);
        ck_assert_ptr_eq(ggf_find_tensor(file, name), ggf_tensor(file, i));
    }
    ggf_close(file);
    free(f);
}
END_TEST

/* ---- Typed access ---- */

/* One key of each kind; numbers at the edges of their range. */
static ggf_file *open_values(struct image *f)
{
    put_head(f, 3, 0, 17);
    put_key(f, "u8", GGF_KV_U8), put(f, "\xff", 1);
    put_key(f, "i8", GGF_KV_I8), put(f, "\x80", 1);
    put_key_u16(f, "u16", 65535);
    put_key(f, "i16", GGF_KV_I16), put(f, "\0\x80", 2);
    put_key_u32(f, "u32", UINT32_MAX);
    put_key(f, "i32", GGF_KV_I32), put_u32(f, 0x80000000);
    put_key(f, "u64", GGF_KV_U64), put_u64(f, UINT64_MAX);
    put_key(f, "u64.small", GGF_KV_U64), put_u64(f, 5);
    put_key(f, "i64", GGF_KV_I64), put_u64(f, 1ull << 63);
    put_key(f, "f32", GGF_KV_F32), put(f, &(float){ 1.5f }, 4);
    put_key(f, "f64", GGF_KV_F64), put(f, &(double){ 1e300 }, 8);
    put_key(f, "bool", GGF_KV_BOOL), put(f, "\x02", 1); /* anything but 0 is true */
    put_key(f, "false", GGF_KV_BOOL), put(f, "", 1);
    put_key(f, "text", GGF_KV_STRING), put_bytes_string(f, "a\0b", 3);
    put_key_array(f, "i16s", GGF_KV_I16, 3), put(f, "\1\0\xfe\xff\3\0", 6);
    put_key_array(f, "words", GGF_KV_STRING, 3);
    put_string(f, "x"), put_string(f, ""), put_string(f, "yz");
    put_key_array(f, "nothing", GGF_KV_F32, 0);
    return open_image(f, NULL);
}

START_TEST(integers)
{
    struct image *f = image_new();
    ggf_file *file = open_values(f);
    static const struct {
        const char *key;
        int64_t value;
        int u32, u64, i64; /* status of each getter */
    } rows[] = {
        { "u8", 255, 0, 0, 0 },
        { "i8", -128, GGF_E_TYPE, GGF_E_TYPE, 0 },
        { "u16", 65535, 0, 0, 0 },
        { "i16", -32768, GGF_E_TYPE, GGF_E_TYPE, 0 },
        { "u32", UINT32_MAX, 0, 0, 0 },
        { "i32", INT32_MIN, GGF_E_TYPE, GGF_E_TYPE, 0 },
        { "u64", -1, GGF_E_TYPE, 0, GGF_E_TYPE },
        { "u64.small", 5, 0, 0, 0 },
        { "i64", INT64_MIN, GGF_E_TYPE, GGF_E_TYPE, 0 },
        { "bool", 1, 0, 0, 0 },
        { "f32", 0, GGF_E_TYPE, GGF_E_TYPE, GGF_E_TYPE },
        { "text", 0, GGF_E_TYPE, GGF_E_TYPE, GGF_E_TYPE },
        { "i16s", 0, GGF_E_TYPE, GGF_E_TYPE, GGF_E_TYPE },
        { "none", 0, GGF_E_NOT_FOUND, GGF_E_NOT_FOUND, GGF_E_NOT_FOUND },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *key = rows[i].key;
        uint32_t u32 = 77;
        uint64_t u64 = 77;
        int64_t i64 = 77;
        ggf_error err;
        ck_assert_msg(ggf_get_u32(file, key, &u32, &err) == rows[i].u32, "%s", key);
        ck_assert_uint_eq(u32, rows[i].u32 ? 77 : (uint32_t)rows[i].value);
        ck_assert_msg(ggf_get_u64(file, key, &u64, &err) == rows[i].u64, "%s", key);
        ck_assert_uint_eq(u64, rows[i].u64 ? 77 : (uint64_t)rows[i].value);
        ck_assert_msg(ggf_get_i64(file, key, &i64, &err) == rows[i].i64, "%s", key);
        ck_assert_int_eq(i64, rows[i].i64 ? 77 : rows[i].value);
        if (rows[i].i64 == GGF_E_TYPE)
            ck_assert_uint_eq(err.offset, ggf_find_kv(file, key)->offset);
    }
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(other_scalars)
{
    struct image *f = image_new();
    ggf_file *file = open_values(f);
    ggf_error err;
    double d = 0;
    bool yes = false;
    struct ggf_str s = { 0 };
    ck_assert_int_eq(ggf_get_f64(file, "f32", &d, &err), 0);
    ck_assert_double_eq(d, 1.5);
    ck_assert_int_eq(ggf_get_f64(file, "f64", &d, &err), 0);
    ck_assert_double_eq(d, 1e300);
    ck_assert_int_eq(ggf_get_f64(file, "u8", &d, &err), GGF_E_TYPE);
    ck_assert_str_eq(err.message, "key 'u8' is u8, expected a floating-point number "
                                  "(at byte 24, 0x18)");
    ck_assert_int_eq(ggf_get_bool(file, "bool", &yes, &err), 0);
    ck_assert(yes);
    ck_assert_int_eq(ggf_get_bool(file, "false", &yes, &err), 0);
    ck_assert(!yes);
    ck_assert_int_eq(ggf_get_bool(file, "u8", &yes, &err), GGF_E_TYPE);
    ck_assert_int_eq(ggf_get_str(file, "text", &s, &err), 0);
    ck_assert_uint_eq(s.len, 3);
    ck_assert_mem_eq(s.data, "a\0b", 3);
    ck_assert_int_eq(ggf_get_str(file, "u8", &s, &err), GGF_E_TYPE);
    ck_assert_int_eq(ggf_get_str(file, "words", &s, &err), GGF_E_TYPE);
    ck_assert_int_eq(ggf_get_str(file, "none", &s, &err), GGF_E_NOT_FOUND);
    ck_assert_str_eq(err.message, "key 'none' is missing");
    ck_assert_uint_eq(err.offset, GGF_NO_OFFSET);
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(arrays)
{
    struct image *f = image_new();
    ggf_file *file = open_values(f);
    const struct ggf_kv *kv = ggf_find_kv(file, "i16s");
    ck_assert_uint_eq(kv->type, GGF_KV_ARRAY);
    ck_assert_uint_eq(kv->elem_type, GGF_KV_I16);
    ck_assert_uint_eq(kv->count, 3);
    ck_assert_uint_eq(kv->bytes, 6);
    int64_t v = 0;
    ck_assert_int_eq(ggf_kv_i64(kv, 1, &v, NULL), 0);
    ck_assert_int_eq(v, -2);
    ck_assert_int_eq(ggf_kv_i64(kv, 3, &v, NULL), GGF_E_ARG);
    double d;
    ck_assert_int_eq(ggf_kv_f64(kv, 0, &d, NULL), GGF_E_TYPE);
    ck_assert_int_eq(ggf_kv_f64(kv, 3, &d, NULL), GGF_E_ARG);
    ck_assert_int_eq(ggf_kv_strings(kv, NULL, NULL), GGF_E_TYPE);

    struct ggf_str words[3];
    kv = ggf_find_kv(file, "words");
    ck_assert_int_eq(ggf_kv_strings(kv, words, NULL), 0);
    ck_assert_uint_eq(words[1].len, 0);
    ck_assert_uint_eq(words[2].len, 2);
    ck_assert_mem_eq(words[2].data, "yz", 2);
    ck_assert_int_eq(ggf_kv_i64(kv, 0, &v, NULL), GGF_E_TYPE);

    kv = ggf_find_kv(file, "nothing");
    ck_assert_uint_eq(kv->count, 0);
    ck_assert_uint_eq(kv->bytes, 0);
    ck_assert_int_eq(ggf_kv_f64(kv, 0, &d, NULL), GGF_E_ARG);
    ggf_close(file);
    free(f);
}
END_TEST

START_TEST(type_table)
{
    int known = 0;
    for (uint32_t id = 0; id < 64; id++) {
        const struct ggf_type_info *t = ggf_type_info(id);
        if (!t) {
            ck_assert_str_eq(ggf_type_name(id), "?");
            ck_assert_uint_eq(ggf_row_bytes(id, 256), 0);
            continue;
        }
        known++;
        ck_assert_int_eq(ggf_type_from_name(t->name), (int)id);
        ck_assert_uint_eq(256 % t->block, 0);
        ck_assert_uint_eq(ggf_row_bytes(id, 256), 256 / t->block * t->block_bytes);
        ck_assert_int_eq(t->quantized, t->block > 1);
    }
    ck_assert_int_eq(known, 35); /* 43 ids less 8 removed */
    ck_assert_int_eq(ggf_type_from_name("Q4_k"), GGF_Q4_K);
    ck_assert_int_eq(ggf_type_from_name("q4"), -1);
    ck_assert_uint_eq(ggf_row_bytes(GGF_Q4_K, 512), 288);
    ck_assert_str_eq(ggf_kv_type_name(GGF_KV_U64), "u64");
    ck_assert_str_eq(ggf_kv_type_name(13), "?");
}
END_TEST

START_TEST(status_names)
{
    for (int code = 0; code >= GGF_E_HASH; code--)
        ck_assert_str_ne(ggf_status_name(code), "unknown error");
    ck_assert_str_eq(ggf_status_name(-100), "unknown error");
    ck_assert_int_eq(ggf_fail(NULL, GGF_E_ARG, 0, "x"), GGF_E_ARG);
    int major, minor, patch;
    ck_assert_int_eq(sscanf(ggf_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}
END_TEST

/* ---- Openers ---- */

struct pieces {
    const struct image *f;
    uint64_t size;      /* of the file that is pretended; zeros behind f->len */
    int calls, fail_at; /* the call that fails, or 0 */
    uint64_t most;      /* read so far */
};

static int read_piece(void *user, uint64_t offset, void *into, size_t len)
{
    struct pieces *p = user;
    if (++p->calls == p->fail_at) return -1;
    ck_assert_uint_le(offset + len, p->size);
    memset(into, 0, len);
    if (offset < p->f->len) {
        const size_t have = p->f->len - offset;
        memcpy(into, p->f->bytes + offset, have < len ? have : len);
    }
    if (offset + len > p->most) p->most = offset + len;
    return 0;
}

START_TEST(by_callback)
{
    struct image *f = image_new();
    put_small_model(f);
    struct pieces p = { .f = f, .size = f->len };
    ggf_file *file;
    ggf_error err;
    ck_assert_int_eq(ggf_open_callback(&file, read_piece, &p, p.size, NULL, &err), 0);
    ck_assert_uint_eq(ggf_tensor_count(file), 2);
    ck_assert_ptr_null(ggf_tensor(file, 0)->data);
    ck_assert_ptr_null(ggf_shard(file, 0)->bytes);
    struct ggf_str s;
    ck_assert_int_eq(ggf_get_str(file, "general.architecture", &s, NULL), 0);
    ck_assert_mem_eq(s.data, "qwen3next", 9);
    ggf_close(file);
    p = (struct pieces){ .f = f, .size = f->len, .fail_at = 1 };
    ck_assert_int_eq(ggf_open_callback(&file, read_piece, &p, p.size, NULL, &err),
                     GGF_E_IO);
    ck_assert_ptr_null(file);
    free(f);
}
END_TEST

/* A header longer than the first piece is read in growing ones. */
START_TEST(by_callback_in_pieces)
{
    struct image *f = image_new();
    put_head(f, 3, 1, 2);
    put_key_array(f, "long", GGF_KV_U8, 3 << 20);
    put_data(f, 3 << 20);
    put_key_u32(f, "after", 42);
    put_tensor(f, "t", 4, GGF_F32, 0);
    put_padding(f, 32);
    put_data(f, 32);
    for (int fail_at = 0; fail_at <= 2; fail_at++) {
        ggf_file *file;
        struct pieces p = { .f = f, .size = f->len, .fail_at = fail_at };
        const int s = ggf_open_callback(&file, read_piece, &p, p.size, NULL, NULL);
        ck_assert_int_eq(s, fail_at ? GGF_E_IO : 0);
        uint32_t v = 0;
        if (!s) {
            ck_assert_int_gt(p.calls, 1);
            ck_assert_int_eq(ggf_get_u32(file, "after", &v, NULL), 0);
            ck_assert_uint_eq(v, 42);
        }
        ggf_close(file);
    }
    free(f);
}
END_TEST

/* Headers that promise much in a file said to be of 2^60 bytes: what is read stays
 * bounded, whatever they claim. */
START_TEST(by_callback_lying)
{
    struct image *f = image_new();
    if (_i == 0) {
        put_head(f, 3, 1ull << 54, 0); /* tensors, then zeros: an empty name */
    } else if (_i == 1) {
        put_head(f, 3, 0, 1ull << 55);
        put_key_u32(f, "k", 1);
    } else {
        put_head(f, 3, 0, 1);
        put_key(f, "k", GGF_KV_STRING);
        put_u64(f, 1 << 30);
    }
    struct pieces p = { .f = f, .size = 1ull << 60 };
    ggf_file *file;
    ggf_error err;
    ck_assert_int_eq(ggf_open_callback(&file, read_piece, &p, p.size, NULL, &err),
                     GGF_E_FORMAT);
    ck_assert_uint_le(p.most, _i < 2 ? 1 << 20 : 64 << 20);
    free(f);
}
END_TEST

START_TEST(by_path)
{
    struct image *f = image_new();
    put_small_model(f);
    const char *path = scratch("model.gguf");
    save(f, path);
    ggf_file *file;
    ggf_error err;
    ck_assert_int_eq(ggf_open(&file, path, NULL, &err), 0);
    ck_assert_str_eq(ggf_shard(file, 0)->path, path);
    const struct ggf_tensor *t = ggf_tensor(file, 1);
    ck_assert_mem_eq(t->data, f->bytes + t->offset, t->bytes);
    ggf_close(file);

    f->len -= 120; /* the data is cut off: only good for its header */
    save(f, path);
    ck_assert_int_eq(ggf_open(&file, path, NULL, &err), GGF_E_FORMAT);
    ck_assert_int_eq(
        ggf_open(&file, path, &(struct ggf_open_options){ .header_only = true }, &err),
        0);
    ck_assert_ptr_null(ggf_tensor(file, 1)->data);
    ck_assert_uint_eq(ggf_tensor(file, 1)->bytes, 68);
    ggf_close(file);
    remove(path);
    free(f);
}
END_TEST

START_TEST(not_a_file)
{
    ggf_file *file = (ggf_file *)&file;
    ggf_error err;
    const char *path = scratch("none.gguf");
    ck_assert_int_eq(ggf_open(&file, path, NULL, &err), GGF_E_IO);
    ck_assert_ptr_null(file);
    ck_assert_ptr_nonnull(strstr(err.message, "none.gguf: No such file"));
    ck_assert_int_eq(ggf_open(&file, "/", NULL, &err), GGF_E_IO);
    ck_assert_str_eq(err.message, "/ is not a regular file");
    ck_assert_int_eq(mkfifo(path, 0600), 0); /* does not wait for a writer */
    ck_assert_int_eq(ggf_open(&file, path, NULL, &err), GGF_E_IO);
    remove(path);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("files");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, small_model);
    tcase_add_test(tc, no_dimensions);
    tcase_add_test(tc, version_2);
    tcase_add_loop_test(tc, alignments, 0, 13);
    tcase_add_test(tc, no_tensors);
    tcase_add_test(tc, gaps_allowed);
    tcase_add_test(tc, longest_names);
    tcase_add_test(tc, many_names);
    tcase_add_test(tc, absent_names);
    tcase_add_test(tc, integers);
    tcase_add_test(tc, other_scalars);
    tcase_add_test(tc, arrays);
    tcase_add_test(tc, type_table);
    tcase_add_test(tc, status_names);
    tcase_add_test(tc, by_callback);
    tcase_add_test(tc, by_callback_in_pieces);
    tcase_add_loop_test(tc, by_callback_lying, 0, 3);
    tcase_add_test(tc, by_path);
    tcase_add_test(tc, not_a_file);
    return SUITE_RUN("gguf", tc);
}
