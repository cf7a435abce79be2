/* test_store.c - experts from a pack: the same numbers, damage found when it is read,
 * packs of other models refused. */
#include "tiny_model.h"

static char folder[64], source[96], dense[96], pack[96];

static void setup(void)
{
    snprintf(folder, sizeof folder, "/tmp/q3n-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/source.gguf", folder);
    snprintf(dense, sizeof dense, "%s/dense.gguf", folder);
    snprintf(pack, sizeof pack, "%s/dense.xpack", folder);
}

static void teardown(void)
{
    unlink(source);
    unlink(dense);
    unlink(pack);
    rmdir(folder);
}

static void make(const struct tiny *t, int zstd_level)
{
    const struct ggf_pack_options options = { .force = true, .zstd_level = zstd_level };
    ggf_error err;
    ggf_file *f;
    tiny_write(source, t);
    ck_assert_int_eq(ggf_open(&f, source, NULL, &err), 0);
    ck_assert_msg(!ggf_pack_make(f, dense, pack, &options, &err), "%s", err.message);
    ggf_close(f);
}

/* Flip a bit in the middle of a record. */
static void damage(uint32_t layer, uint32_t expert)
{
    ggf_error err;
    ggf_pack *p;
    ck_assert_int_eq(ggf_pack_open(&p, pack, &err), 0);
    const struct ggf_pack_record *r = ggf_pack_record(p, layer, expert);
    const long at = (long)(r->offset + r->stored_bytes / 2);
    ggf_pack_close(p);
    FILE *f = fopen(pack, "r+b");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    const int byte = fgetc(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    fputc(byte ^ 16, f);
    fclose(f);
}

static const struct tiny sources[] = {
    { 0 },
    { .fused_gate_up = true },
    { .scales = true },
    { .type_of = "blk.0.ffn_down_exps.weight", .type = GGF_Q8_0 },
};
enum { N_SOURCES = sizeof sources / sizeof *sources };

/* Plain and compressed, mapped and read. */
START_TEST(same_numbers)
{
    const struct q3n_model_options options = { .no_mmap = _i & 1 };
    float plain[TINY_TOKENS * VOCAB], packed[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&sources[_i >> 2], _i & 2 ? 3 : 0);
    ck_assert_int_eq(tiny_run(source, NULL, plain, &err), 0);
    ck_assert_msg(!tiny_run(dense, &options, packed, &err), "%s", err.message);
    ck_assert_mem_eq(plain, packed, sizeof plain);
    q3n_model *model;
    ck_assert_int_eq(q3n_model_open(&model, dense, NULL, &err), 0);
    ck_assert(q3n_model_info(model)->packed);
    ck_assert_uint_eq(q3n_model_info(model)->n_expert, EXPERTS);
    q3n_model_close(model);
}
END_TEST

/* A damaged record is named when it is first used, and the session must be reset; without
 * mmap it is found at opening. */
START_TEST(damaged_record)
{
    const uint32_t expert = (uint32_t)_i % EXPERTS, layer = (uint32_t)_i / EXPERTS % 2;
    float logits[TINY_TOKENS * VOCAB];
    char says[64];
    ggf_error err = { 0 };
    make(&sources[0], _i / EXPERTS / 2 ? 3 : 0);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), 0);
    damage(layer, expert);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), GGF_E_HASH);
    snprintf(says, sizeof says, "expert %u of block %u", expert, layer);
    ck_assert_msg(strstr(err.message, says) != NULL, "%s", err.message);
    const struct q3n_model_options own = { .no_mmap = true };
    q3n_model *model;
    ck_assert_int_eq(q3n_model_open(&model, dense, &own, &err), GGF_E_HASH);
}
END_TEST

START_TEST(broken_session)
{
    const int32_t token = 1;
    float logits[VOCAB];
    ggf_error err;
    q3n_model *model;
    q3n_session *s;
    make(&sources[0], 0);
    for (uint32_t e = 0; e < EXPERTS; e++) damage(0, e);
    ck_assert_int_eq(q3n_model_open(&model, dense, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_new(&s, model, NULL, &err), 0);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_HASH);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "reset"));
    q3n_session_reset(s);
    ck_assert_int_eq(q3n_session_eval(s, &token, 1, 0, logits, &err), GGF_E_HASH);
    q3n_session_free(s);
    q3n_model_close(model);
}
END_TEST

/* The dense file names its pack by the root hash. */
START_TEST(other_model)
{
    char other[96], kept[96];
    float logits[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&(struct tiny){ .type_of = "blk.0.ffn_up_exps.weight", .type = GGF_Q8_0 }, 0);
    snprintf(other, sizeof other, "%s/other.xpack", folder);
    ck_assert_int_eq(rename(pack, other), 0);
    make(&sources[0], 0);
    const struct q3n_model_options wrong = { .experts = other };
    ck_assert_int_eq(tiny_run(dense, &wrong, logits, &err), GGF_E_HASH);

    /* The right pack may have another name. */
    snprintf(kept, sizeof kept, "%s/kept.xpack", folder);
    ck_assert_int_eq(rename(pack, kept), 0);
    const struct q3n_model_options right = { .experts = kept };
    ck_assert_int_eq(tiny_run(dense, &right, logits, &err), 0);
    ck_assert_int_eq(tiny_run(dense, NULL, logits, &err), GGF_E_IO);
    unlink(other);
    unlink(kept);
}
END_TEST

/* A whole model belongs to no pack. */
START_TEST(pack_for_whole_model)
{
    float logits[TINY_TOKENS * VOCAB];
    ggf_error err;
    make(&sources[0], 0);
    const struct q3n_model_options options = { .experts = pack };
    ck_assert_int_lt(tiny_run(source, &options, logits, &err), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("pack");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, same_numbers, 0, 4 * N_SOURCES);
    tcase_add_loop_test(tc, damaged_record, 0, 4 * EXPERTS);
    tcase_add_test(tc, broken_session);
    tcase_add_test(tc, other_model);
    tcase_add_test(tc, pack_for_whole_model);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed != 0;
}
