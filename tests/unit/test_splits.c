/* test_splits.c - split file names, and sets of files read as one model. */
#include "image.h"
#include "suite.h"

/* ---- Names ---- */

START_TEST(names)
{
    char name[64];
    uint32_t no = 9, count = 9;
    ck_assert_int_eq(ggf_split_name(name, sizeof name, "m", 1, 5), 21);
    ck_assert_str_eq(name, "m-00002-of-00005.gguf");
    ck_assert_int_eq(ggf_split_name(name, 22, "m", 1, 5), 21);
    ck_assert_int_eq(ggf_split_name(name, 21, "m", 1, 5), -1);
    ck_assert_int_eq(ggf_split_name(name, 0, "m", 1, 5), -1);

    ck_assert_uint_eq(ggf_split_parse("a/b-00002-of-00005.gguf", &no, &count), 3);
    ck_assert_uint_eq(no, 1);
    ck_assert_uint_eq(count, 5);
    ck_assert_uint_eq(ggf_split_parse("m-99999-of-99999.gguf", &no, &count), 1);
    ck_assert_uint_eq(no, 99998);
}
END_TEST

START_TEST(not_names)
{
    static const char *const bad[] = {
        "",
        "m.gguf",
        "-00001-of-00005.gguf",
        "m-00000-of-00005.gguf",
        "m-00006-of-00005.gguf",
        "m-0001-of-00005.gguf",
        "m-00001-of-0005.gguf",
        "m-00001-of-00005.GGUF",
        "m-00001-OF-00005.gguf",
        "m_00001-of-00005.gguf",
        "m-0000a-of-00005.gguf",
        "m-00001-of-0000 .gguf",
        "m-00001-of-00005.gguf ",
        "m-00001-of-00000.gguf",
        "m-+0001-of-00005.gguf",
    };
    uint32_t no = 7, count = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(ggf_split_parse(bad[i], &no, &count) == 0, "%s", bad[i]);
    ck_assert_uint_eq(no, 7);
    ck_assert_uint_eq(count, 7);
}
END_TEST

/* ---- Sets ---- */

/* What a part says of itself, and its tensor's name. */
struct part {
    uint16_t no, count;
    uint32_t total;
    const char *tensor;
};

static const char *part_path(uint32_t index)
{
    char name[64];
    ggf_split_name(name, sizeof name, "set", index, 3);
    return scratch(name);
}

static void put_part(struct image *f, const struct part *p, bool first)
{
    f->len = 0;
    put_head(f, 3, 1, first ? 4 : 3);
    if (first) put_key_str(f, "general.architecture", "qwen3next");
    put_key_u16(f, "split.no", p->no);
    put_key_u16(f, "split.count", p->count);
    put_key(f, "split.tensors.count", GGF_KV_I32);
    put_u32(f, p->total);
    put_tensor(f, p->tensor, 8, GGF_F32, 0);
    put_padding(f, 32);
    put_data(f, 32);
    f->bytes[f->len - 1] = (uint8_t)p->no; /* the parts differ */
}

static const struct part good[3] = { { 0, 3, 3, "a" },
                                     { 1, 3, 3, "b" },
                                     { 2, 3, 3, "c" } };

static void save_set(const struct part parts[3])
{
    struct image *f = image_new();
    for (uint32_t i = 0; i < 3; i++) {
        put_part(f, &parts[i], i == 0);
        save(f, part_path(i));
    }
    free(f);
}

static void remove_set(void)
{
    for (uint32_t i = 0; i < 3; i++) remove(part_path(i));
}

START_TEST(whole_set)
{
    ggf_file *file;
    ggf_error err;
    save_set(good);
    ck_assert_msg(ggf_open(&file, part_path(0), NULL, &err) == 0, "%s", err.message);
    ck_assert_uint_eq(ggf_shard_count(file), 3);
    ck_assert_uint_eq(ggf_tensor_count(file), 3);
    ck_assert_uint_eq(ggf_kv_count(file), 4);
    for (uint32_t i = 0; i < 3; i++) {
        const struct ggf_tensor *t = ggf_find_tensor(file, good[i].tensor);
        ck_assert_ptr_eq(t, ggf_tensor(file, i));
        ck_assert_uint_eq(t->shard, i);
        ck_assert_uint_eq(t->data[31], i);
        ck_assert_uint_eq(ggf_shard(file, i)->first_tensor, i);
        ck_assert_uint_eq(ggf_shard(file, i)->n_tensors, 1);
        ck_assert_str_eq(ggf_shard(file, i)->path, part_path(i));
    }
    ggf_close(file);
    remove_set();
}
END_TEST

START_TEST(one_part)
{
    ggf_file *file;
    save_set(good);
    const struct ggf_open_options one = { .one_shard = true };
    ck_assert_int_eq(ggf_open(&file, part_path(1), &one, NULL), 0);
    ck_assert_uint_eq(ggf_shard_count(file), 1);
    ck_assert_ptr_nonnull(ggf_find_tensor(file, "b"));
    ck_assert_ptr_null(ggf_find_tensor(file, "a"));
    ggf_close(file);
    remove_set();
}
END_TEST

/* A merged file keeps split.no and split.tensors.count, with split.count 0. */
START_TEST(merged)
{
    ggf_file *file;
    struct image *f = image_new();
    put_part(f, &(struct part){ 0, 0, 1, "a" }, true);
    save(f, scratch("merged.gguf"));
    ck_assert_int_eq(ggf_open(&file, scratch("merged.gguf"), NULL, NULL), 0);
    ck_assert_uint_eq(ggf_shard_count(file), 1);
    ggf_close(file);
    remove(scratch("merged.gguf"));
    free(f);
}
END_TEST

static void check_refused(const char *path, int code, const char *words)
{
    ggf_file *file;
    ggf_error err;
    ck_assert_msg(ggf_open(&file, path, NULL, &err) == code, "expected %s", words);
    ck_assert_ptr_null(file);
    ck_assert_msg(strstr(err.message, words) != NULL, "'%s' not in: %s", words,
                  err.message);
}

START_TEST(bad_sets)
{
    static const struct {
        struct part parts[3];
        const char *words;
    } bad[] = {
        { { { 0, 3, 3, "a" }, { 2, 3, 3, "b" }, { 2, 3, 3, "c" } },
          "set-00002-of-00003.gguf: split.no is 2, expected 1" },
        { { { 0, 3, 3, "a" }, { 1, 3, 3, "b" }, { 2, 3, 3, "a" } },
          "set-00003-of-00003.gguf: tensor 'a' is in two parts" },
        { { { 0, 3, 4, "a" }, { 1, 3, 3, "b" }, { 2, 3, 3, "c" } },
          "the parts hold 3 tensors, split.tensors.count says 4" },
        { { { 0, 4, 3, "a" }, { 1, 3, 3, "b" }, { 2, 3, 3, "c" } },
          "the first of 4 parts, expected a name ending in -00001-of-00004.gguf" },
        { { { 1, 3, 3, "a" }, { 1, 3, 3, "b" }, { 2, 3, 3, "c" } },
          "is part 2 of 3; open the first part" },
    };
    save_set(bad[_i].parts);
    check_refused(part_path(0), GGF_E_FORMAT, bad[_i].words);
    remove_set();
}
END_TEST

START_TEST(missing_part)
{
    save_set(good);
    remove(part_path(2));
    check_refused(part_path(0), GGF_E_IO, "set-00003-of-00003.gguf: No such file");
    remove_set();
}
END_TEST

START_TEST(broken_part)
{
    struct image *f = image_new();
    save_set(good);
    put_part(f, &good[1], false);
    f->len -= 1;
    save(f, part_path(1));
    check_refused(part_path(0), GGF_E_FORMAT, "but the file has only");
    check_refused(part_path(0), GGF_E_FORMAT, "set-00002-of-00003.gguf: tensor 'b'");
    remove_set();
    free(f);
}
END_TEST

START_TEST(opened_by_second_part)
{
    save_set(good);
    check_refused(part_path(1), GGF_E_FORMAT, "is part 2 of 3; open the first part");
    remove_set();
}
END_TEST

START_TEST(renamed_first_part)
{
    save_set(good);
    ck_assert_int_eq(rename(part_path(0), scratch("other.gguf")), 0);
    check_refused(scratch("other.gguf"), GGF_E_FORMAT, "expected a name ending in");
    remove(scratch("other.gguf"));
    remove_set();
}
END_TEST

/* The split keys with values that are no numbers, and a part without them. */
START_TEST(split_keys_of_wrong_type)
{
    struct image *f = image_new();
    put_head(f, 3, 0, 1);
    put_key_str(f, "split.count", "3");
    save(f, part_path(0));
    check_refused(part_path(0), GGF_E_TYPE, "key 'split.count' is string");

    save_set(good);
    f->len = 0;
    put_head(f, 3, 0, 1);
    put_key_str(f, "split.no", "1");
    save(f, part_path(1));
    check_refused(part_path(0), GGF_E_TYPE, "key 'split.no' is string");

    f->len = 0;
    put_head(f, 3, 0, 0);
    save(f, part_path(1));
    check_refused(part_path(0), GGF_E_FORMAT, "split.no is missing, expected 1");
    remove_set();
    free(f);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sets");
    tcase_add_test(tc, names);
    tcase_add_test(tc, not_names);
    tcase_add_test(tc, whole_set);
    tcase_add_test(tc, one_part);
    tcase_add_test(tc, merged);
    tcase_add_loop_test(tc, bad_sets, 0, 5);
    tcase_add_test(tc, missing_part);
    tcase_add_test(tc, broken_part);
    tcase_add_test(tc, opened_by_second_part);
    tcase_add_test(tc, renamed_first_part);
    tcase_add_test(tc, split_keys_of_wrong_type);
    return SUITE_RUN("splits", tc);
}
