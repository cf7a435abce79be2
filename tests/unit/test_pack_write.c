/* test_pack_write.c - packs from records that the caller makes: types that differ between
 * experts, the size foretold, nothing left behind by what fails. */
#include "files.h"
#include "suite.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

/* In the place of zstd's: that it has no memory, if a test says so. */
static bool no_memory;

size_t ZSTD_compressCCtx(ZSTD_CCtx *c, void *to, size_t room, const void *from, size_t n,
                         int level)
{
    size_t (*own)(ZSTD_CCtx *, void *, size_t, const void *, size_t, int);
    void *found = dlsym(RTLD_NEXT, "ZSTD_compressCCtx");
    ck_assert_ptr_nonnull(found);
    memcpy(&own, &found, sizeof own);
    return no_memory ? (size_t)-ZSTD_error_memory_allocation
                     : own(c, to, room, from, n, level);
}

enum { EMBD = 64, FF = 32, EXPERTS = 5, LAYERS = 2, RECORDS = EXPERTS + 3 };

static char folder[64], dense_path[96], pack_path[96], back_path[96];

static const struct ggf_pack_layer layers[LAYERS] = {
    { .block = 1, .n_expert = EXPERTS, .n_embd = EMBD, .n_ff = FF },
    { .block = 2, .n_expert = 3, .n_embd = EMBD, .n_ff = FF, .fused = true },
};

static const uint32_t mixed[RECORDS][GGF_PARTS] = {
    { GGF_Q8_0, GGF_Q8_0, GGF_F16 },  { GGF_Q4_0, GGF_Q4_0, GGF_Q5_1 },
    { GGF_F32, GGF_F32, GGF_F32 },    { GGF_Q5_0, GGF_Q4_1, GGF_IQ4_NL },
    { GGF_BF16, GGF_Q8_0, GGF_Q4_0 }, { GGF_Q4_0, GGF_Q4_0, GGF_Q8_0 },
    { GGF_Q4_0, GGF_Q4_0, GGF_Q4_0 }, { GGF_F16, GGF_F16, GGF_F16 },
};

/* The same for all experts of a layer. */
static uint32_t uniform[RECORDS][GGF_PARTS];

static uint8_t byte_of(uint32_t layer, uint32_t expert, int part, uint64_t i)
{
    return (uint8_t)(1 + i * 7 + i / 11 + 31 * part + 57 * expert + 101 * layer);
}

/* `user`, if given, is the number of the record that fails. */
static int fill(void *user, const struct ggf_pack_record *r, uint8_t *raw, ggf_error *err)
{
    const uint32_t number = r->layer * EXPERTS + r->expert;
    if (user && *(const uint32_t *)user == number)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "record %u fails", number);
    memset(raw, 0xff, r->raw_bytes); /* also where padding belongs */
    for (int p = 0; p < GGF_PARTS; p++)
        for (uint64_t i = 0; i < r->part_bytes[p]; i++)
            raw[r->part_offset[p] + i] = byte_of(r->layer, r->expert, p, i);
    return 0;
}

static struct ggf_pack_content content_of(const uint32_t types[RECORDS][GGF_PARTS])
{
    return (struct ggf_pack_content){
        .layers = layers, .n_layers = LAYERS, .types = types, .fill = fill
    };
}

static void setup(void)
{
    strcpy(folder, "/tmp/test_pack_write.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(dense_path, sizeof dense_path, "%s/dense.gguf", folder);
    snprintf(pack_path, sizeof pack_path, "%s/dense.xpack", folder);
    snprintf(back_path, sizeof back_path, "%s/back", folder);
    for (int i = 0; i < RECORDS; i++)
        memcpy(uniform[i], mixed[i < EXPERTS ? 3 : 5], sizeof uniform[i]);
}

static void teardown(void)
{
    unlink(dense_path);
    unlink(pack_path);
    unlink(back_path);
    /* Fails, and so does the test, if anything else was left behind. */
    ck_assert_int_eq(rmdir(folder), 0);
}

static ggf_writer *new_dense(void)
{
    ggf_error err;
    ggf_writer *w;
    must(ggf_writer_create(&w, dense_path, NULL, &err), &err);
    must(ggf_writer_set_str(w, "general.architecture", "test", &err), &err);
    must(ggf_writer_add_tensor(w, "token_embd.weight", GGF_F32,
                               (const uint64_t[4]){ EMBD, 7, 1, 1 }, &err),
         &err);
    must(ggf_writer_add_tensor(w, "blk.1.attn_norm.weight", GGF_F32,
                               (const uint64_t[4]){ EMBD, 1, 1, 1 }, &err),
         &err);
    must(ggf_writer_add_tensor(w, "blk.2.attn_norm.weight", GGF_F32,
                               (const uint64_t[4]){ EMBD, 1, 1, 1 }, &err),
         &err);
    return w;
}

static void fill_dense(ggf_writer *w)
{
    float v[7 * EMBD];
    ggf_error err;
    for (int i = 0; i < 7 * EMBD; i++) v[i] = (float)i / 3;
    must(ggf_writer_begin(w, &err), &err);
    must(ggf_writer_write(w, 0, 0, v, sizeof v, &err), &err);
    must(ggf_writer_write(w, 1, 0, v + 3, EMBD * sizeof *v, &err), &err);
    must(ggf_writer_write(w, 2, 0, v + 5, EMBD * sizeof *v, &err), &err);
}

static void make(const uint32_t types[RECORDS][GGF_PARTS],
                 const struct ggf_pack_options *options)
{
    const struct ggf_pack_content content = content_of(types);
    ggf_error err;
    ggf_writer *dense = new_dense();
    ggf_pack_writer *w;
    must(ggf_pack_writer_create(&w, pack_path, dense, &content, options, &err), &err);
    must(ggf_pack_writer_write(w, &err), &err);
    fill_dense(dense);
    must(ggf_pack_writer_finish(w, &err), &err);
}

static void open_both(ggf_file **dense, ggf_pack **pack)
{
    ggf_error err;
    must(ggf_open(dense, dense_path, NULL, &err), &err);
    must(ggf_pack_open(pack, pack_path, &err), &err);
    must(ggf_pack_matches(*dense, *pack, &err), &err);
}

/* ---- Good packs -------------------------------------------------------------- */

/* Plain and compressed, with one thread and three. */
START_TEST(contents)
{
    const struct ggf_pack_options options = { .threads = _i & 1 ? 3 : 1,
                                              .zstd_level = _i & 2 ? 3 : 0 };
    ggf_file *dense;
    ggf_pack *pack;
    ggf_error err;
    uint64_t bad, size;
    make(mixed, &options);
    open_both(&dense, &pack);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t e = 0; e < layers[l].n_expert; e++) {
            const struct ggf_pack_record *r = ggf_pack_record(pack, l, e);
            uint8_t *raw = malloc(r->raw_bytes);
            must(ggf_pack_read(pack, r, NULL, raw, r->raw_bytes, &err), &err);
            uint64_t i = 0;
            for (int p = 0; p < GGF_PARTS; p++) {
                ck_assert_uint_eq(r->type[p], mixed[l * EXPERTS + e][p]);
                for (; i < r->part_offset[p]; i++) ck_assert_uint_eq(raw[i], 0);
                for (uint64_t k = 0; k < r->part_bytes[p]; k++, i++)
                    ck_assert_uint_eq(raw[i], byte_of(l, e, p, k));
            }
            for (; i < r->raw_bytes; i++) ck_assert_uint_eq(raw[i], 0);
            free(raw);
        }
    must(ggf_pack_verify(pack, dense, NULL, &bad, &err), &err);
    ck_assert_uint_eq(bad, 0);
    const struct ggf_pack_content content = content_of(mixed);
    must(ggf_pack_size(&size, &content, 3, &err), &err);
    if (_i & 2) ck_assert_uint_lt(ggf_pack_info(pack)->file_size, size);
    else ck_assert_uint_eq(ggf_pack_info(pack)->file_size, size);
    struct ggf_pack_source source;
    ck_assert_int_eq(ggf_pack_source(pack, 0, &source, &err), GGF_E_NOT_FOUND);
    ggf_pack_close(pack);
    ggf_close(dense);
}
END_TEST

START_TEST(same_bytes_for_any_threads)
{
    size_t n[2], n_dense[2];
    void *bytes[2], *dense[2];
    for (int i = 0; i < 2; i++) {
        const struct ggf_pack_options options = { .threads = i ? 4 : 1, .zstd_level = 1 };
        make(mixed, &options);
        bytes[i] = read_file(pack_path, &n[i]);
        dense[i] = read_file(dense_path, &n_dense[i]);
        unlink(pack_path);
        unlink(dense_path);
    }
    ck_assert_uint_eq(n[0], n[1]);
    ck_assert_mem_eq(bytes[0], bytes[1], n[0]);
    ck_assert_uint_eq(n_dense[0], n_dense[1]);
    ck_assert_mem_eq(dense[0], dense[1], n_dense[0]);
    for (int i = 0; i < 2; i++) {
        free(bytes[i]);
        free(dense[i]);
    }
}
END_TEST

/* ---- Plain GGUF ----------------------------------------------------------------- */

START_TEST(mixed_stays_a_pack)
{
    ggf_file *dense;
    ggf_pack *pack;
    ggf_error err;
    make(mixed, NULL);
    open_both(&dense, &pack);
    ck_assert_int_eq(ggf_pack_restore(dense, pack, back_path, NULL, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "block 1 has gate of expert 0 in q8_0"));
    ggf_pack_close(pack);
    ggf_close(dense);
}
END_TEST

static void check_experts(const ggf_file *f, const char *name, uint32_t layer, int part,
                          bool both)
{
    const struct ggf_tensor *t = ggf_find_tensor(f, name);
    ck_assert_ptr_nonnull(t);
    const uint32_t n = layers[layer].n_expert;
    ck_assert_uint_eq(t->ne[2], n);
    ck_assert_uint_eq(t->ne[1], part == GGF_DOWN ? EMBD : both ? 2 * FF : FF);
    const uint64_t slab = t->bytes / n, matrix = slab >> both;
    for (uint32_t e = 0; e < n; e++)
        for (uint64_t i = 0; i < slab; i++) {
            const bool up = both && i >= matrix;
            ck_assert_uint_eq(t->data[e * slab + i],
                              byte_of(layer, e, up ? GGF_UP : part, up ? i - matrix : i));
        }
}

START_TEST(uniform_becomes_plain)
{
    const struct ggf_pack_options options = { .zstd_level = _i };
    ggf_file *dense, *back;
    ggf_pack *pack;
    ggf_error err;
    make((const uint32_t(*)[GGF_PARTS])uniform, &options);
    open_both(&dense, &pack);
    must(ggf_pack_restore(dense, pack, back_path, NULL, &err), &err);
    must(ggf_open(&back, back_path, NULL, &err), &err);
    ck_assert_uint_eq(ggf_tensor_count(back), 3 + 3 + 2);
    ck_assert_ptr_null(ggf_find_kv(back, "expert_pack.root"));
    ck_assert_ptr_nonnull(ggf_find_kv(back, "general.architecture"));
    check_experts(back, "blk.1.ffn_gate_exps.weight", 0, GGF_GATE, false);
    check_experts(back, "blk.1.ffn_up_exps.weight", 0, GGF_UP, false);
    check_experts(back, "blk.1.ffn_down_exps.weight", 0, GGF_DOWN, false);
    check_experts(back, "blk.2.ffn_gate_up_exps.weight", 1, GGF_GATE, true);
    check_experts(back, "blk.2.ffn_down_exps.weight", 1, GGF_DOWN, false);
    for (uint64_t i = 0; i < 3; i++) {
        const struct ggf_tensor *t = ggf_tensor(dense, i);
        const struct ggf_tensor *b = ggf_find_tensor(back, t->name);
        ck_assert_ptr_nonnull(b);
        ck_assert_mem_eq(t->data, b->data, t->bytes);
    }
    ggf_close(back);
    ggf_pack_close(pack);
    ggf_close(dense);
}
END_TEST

/* ---- Repair ------------------------------------------------------------------------ */

static void damage(uint32_t layer, uint32_t expert)
{
    ggf_error err;
    ggf_pack *p;
    must(ggf_pack_open(&p, pack_path, &err), &err);
    const long at = (long)ggf_pack_record(p, layer, expert)->offset + 5;
    ggf_pack_close(p);
    FILE *f = fopen(pack_path, "r+b");
    ck_assert_ptr_nonnull(f);
    fseek(f, at, SEEK_SET);
    const int byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

START_TEST(repaired_from_a_copy)
{
    size_t n, n_after;
    uint64_t repaired;
    ggf_error err;
    ggf_pack *copy;
    ggf_file *dense;
    make(mixed, NULL);
    void *before = read_file(pack_path, &n);
    damage(0, 3);
    damage(1, 0);
    must(ggf_pack_open_buffer(&copy, before, n, &err), &err);
    must(ggf_pack_repair_from(pack_path, copy, NULL, &repaired, &err), &err);
    ck_assert_uint_eq(repaired, 2);
    void *after = read_file(pack_path, &n_after);
    ck_assert_uint_eq(n, n_after);
    ck_assert_mem_eq(before, after, n);
    damage(1, 2);
    must(ggf_open(&dense, dense_path, NULL, &err), &err);
    ck_assert_int_eq(ggf_pack_repair(pack_path, dense, NULL, &repaired, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "copy of the pack"));
    ggf_close(dense);
    ggf_pack_close(copy);

    /* A pack with other records is no copy. */
    unlink(dense_path);
    ck_assert_int_eq(rename(pack_path, back_path), 0);
    make((const uint32_t(*)[GGF_PARTS])uniform, NULL);
    must(ggf_pack_open(&copy, pack_path, &err), &err);
    ck_assert_int_eq(ggf_pack_repair_from(back_path, copy, NULL, &repaired, &err),
                     GGF_E_HASH);
    ck_assert_uint_eq(repaired, 0);
    ggf_pack_close(copy);
    free(before);
    free(after);
}
END_TEST

/* ---- What fails -------------------------------------------------------------------- */

START_TEST(failing_record)
{
    uint32_t number = (uint32_t)_i;
    struct ggf_pack_content content = content_of(mixed);
    const struct ggf_pack_options options = { .threads = 1 + _i % 3 };
    ggf_error err;
    ggf_writer *dense = new_dense();
    ggf_pack_writer *w;
    content.user = &number;
    must(ggf_pack_writer_create(&w, pack_path, dense, &content, &options, &err), &err);
    ck_assert_int_eq(ggf_pack_writer_write(w, &err), GGF_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.message, "fails"));
    ggf_pack_writer_discard(w);
    ggf_writer_discard(dense);
}
END_TEST

/* A record is plain because that is smaller, and for no other reason. */
START_TEST(compressor_without_memory)
{
    const struct ggf_pack_content content = content_of(mixed);
    const struct ggf_pack_options options = { .threads = 2, .zstd_level = 1 };
    ggf_error err;
    ggf_writer *dense = new_dense();
    ggf_pack_writer *w;
    must(ggf_pack_writer_create(&w, pack_path, dense, &content, &options, &err), &err);
    no_memory = true;
    ck_assert_int_eq(ggf_pack_writer_write(w, &err), GGF_E_NOMEM);
    no_memory = false;
    ggf_pack_writer_discard(w);
    ggf_writer_discard(dense);
}
END_TEST

START_TEST(finished_too_early)
{
    const struct ggf_pack_content content = content_of(mixed);
    ggf_error err;
    ggf_writer *dense = new_dense();
    ggf_pack_writer *w;
    must(ggf_pack_writer_create(&w, pack_path, dense, &content, NULL, &err), &err);
    if (_i) must(ggf_pack_writer_write(w, &err), &err);
    else fill_dense(dense);
    ck_assert_int_lt(ggf_pack_writer_finish(w, &err), 0);
    ck_assert_int_ne(access(pack_path, F_OK), 0);
    ck_assert_int_ne(access(dense_path, F_OK), 0);
}
END_TEST

START_TEST(bad_content)
{
    struct ggf_pack_layer bad[LAYERS];
    uint32_t types[RECORDS][GGF_PARTS];
    struct ggf_pack_content content = content_of((const uint32_t(*)[GGF_PARTS])types);
    ggf_error err;
    ggf_pack_writer *w = (void *)&err;
    ggf_writer *dense = new_dense();
    memcpy(bad, layers, sizeof bad);
    memcpy(types, mixed, sizeof types);
    content.layers = bad;
    if (_i == 0) bad[1].block = 1;
    if (_i == 1) bad[0].n_expert = 0;
    if (_i == 2) bad[0].n_ff = 0;
    if (_i == 3) types[2][1] = 9999;
    if (_i == 4) types[2][1] = GGF_Q4_K; /* rows of 64 */
    if (_i == 5) content.n_layers = 0;
    const char *path = _i == 6 ? "elsewhere.xpack" : pack_path;
    ck_assert_int_lt(ggf_pack_writer_create(&w, path, dense, &content, NULL, &err), 0);
    ck_assert_ptr_null(w);
    ggf_writer_discard(dense);
}
END_TEST

START_TEST(does_not_overwrite)
{
    const struct ggf_pack_content content = content_of(mixed);
    ggf_error err;
    ggf_pack_writer *w;
    make(mixed, NULL);
    unlink(dense_path);
    ggf_writer *dense = new_dense();
    ck_assert_int_eq(ggf_pack_writer_create(&w, pack_path, dense, &content, NULL, &err),
                     GGF_E_EXISTS);
    ggf_writer_discard(dense);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pack_write");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, contents, 0, 4);
    tcase_add_test(tc, same_bytes_for_any_threads);
    tcase_add_test(tc, mixed_stays_a_pack);
    tcase_add_loop_test(tc, uniform_becomes_plain, 0, 2);
    tcase_add_test(tc, repaired_from_a_copy);
    tcase_add_loop_test(tc, failing_record, 0, RECORDS);
    tcase_add_test(tc, compressor_without_memory);
    tcase_add_loop_test(tc, finished_too_early, 0, 2);
    tcase_add_loop_test(tc, bad_content, 0, 7);
    tcase_add_test(tc, does_not_overwrite);
    return SUITE_RUN("pack_write", tc);
}
