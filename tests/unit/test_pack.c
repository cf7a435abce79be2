/* test_pack.c - the expert pack: what is written can be read, and gives the model back.
 */
#include "pack_files.h"
#include "suite.h"

#include <sys/stat.h>

/* ---- Good packs ------------------------------------------------------------ */

START_TEST(tables)
{
    ggf_pack *pack = open_image();
    const struct ggf_pack_info *in = ggf_pack_info(pack);
    ck_assert_uint_eq(in->n_layers, 2);
    ck_assert_uint_eq(in->n_records, EXPERTS + 2);
    ck_assert_uint_eq(in->file_size, image_size);
    ck_assert_uint_eq(in->n_compressed, 0);
    ck_assert_int_eq(ggf_pack_layer_of(pack, 1), 0);
    ck_assert_int_eq(ggf_pack_layer_of(pack, 4), 1);
    ck_assert_int_eq(ggf_pack_layer_of(pack, 0), -1);
    ck_assert_int_eq(ggf_pack_layer_of(pack, 2), -1);
    ck_assert_int_eq(ggf_pack_layer_of(pack, 5), -1);
    ck_assert_ptr_null(ggf_pack_layer(pack, 2));
    ck_assert_ptr_null(ggf_pack_record(pack, 0, EXPERTS));
    ck_assert_ptr_null(ggf_pack_record(pack, 2, 0));
    const struct ggf_pack_layer *l = ggf_pack_layer(pack, 1);
    ck_assert(l->fused && l->n_expert == 2 && l->n_embd == EMBD && l->n_ff == FF);
    const struct ggf_pack_record *r = ggf_pack_record(pack, 0, 2);
    ck_assert_uint_eq(r->type[GGF_GATE], GGF_Q8_0);
    ck_assert_uint_eq(r->type[GGF_UP], GGF_Q4_0);
    ck_assert_uint_eq(r->type[GGF_DOWN], GGF_F16);
    ck_assert_uint_eq(r->part_bytes[GGF_GATE], FF * EMBD / 32 * 34);
    ck_assert_uint_eq(r->part_offset[GGF_UP], 4096);
    ck_assert_uint_eq(r->part_offset[GGF_DOWN], 8192);
    ck_assert_uint_eq(r->raw_bytes, 12288);
    ck_assert_uint_eq(r->offset % 4096, 0);
    ggf_pack_close(pack);
}
END_TEST

/* Each matrix of each record is its slice of the model's tensor. */
START_TEST(contents)
{
    make_pack(_i);
    ggf_pack *pack = open_image();
    ggf_file *model;
    ggf_error err;
    must(ggf_open(&model, model_path, NULL, &err), &err);
    static const char *const names[2][GGF_PARTS] = {
        { "blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight",
          "blk.1.ffn_down_exps.weight" },
        { "blk.4.ffn_gate_up_exps.weight", "blk.4.ffn_gate_up_exps.weight",
          "blk.4.ffn_down_exps.weight" },
    };
    ck_assert_uint_eq(ggf_pack_info(pack)->n_compressed, _i ? EXPERTS + 2 : 0);
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t e = 0; e < ggf_pack_layer(pack, l)->n_expert; e++) {
            const struct ggf_pack_record *r = ggf_pack_record(pack, l, e);
            uint8_t *raw = malloc(r->raw_bytes);
            must(ggf_pack_verify_record(pack, r, NULL, &err), &err);
            must(ggf_pack_read(pack, r, NULL, raw, r->raw_bytes, &err), &err);
            ck_assert_int_eq(ggf_pack_read(pack, r, NULL, raw, r->raw_bytes - 1, &err),
                             GGF_E_ARG);
            for (int part = 0; part < GGF_PARTS; part++) {
                const struct ggf_tensor *t = ggf_find_tensor(model, names[l][part]);
                const uint8_t *slab = t->data + e * (t->bytes / t->ne[2]);
                if (l == 1 && part == GGF_UP) slab += r->part_bytes[part];
                ck_assert_mem_eq(raw + r->part_offset[part], slab, r->part_bytes[part]);
            }
            free(raw);
        }
    ggf_close(model);
    ggf_pack_close(pack);
}
END_TEST

START_TEST(dense_part)
{
    ggf_file *dense;
    ggf_error err;
    char *path;
    must(ggf_open(&dense, dense_path, NULL, &err), &err);
    ck_assert_uint_eq(ggf_tensor_count(dense), 2);
    ck_assert_ptr_nonnull(ggf_find_tensor(dense, "token_embd.weight"));
    ck_assert_ptr_nonnull(ggf_find_tensor(dense, "blk.1.ffn_down_exps.scale"));
    ck_assert_str_eq(ggf_kv(dense, 0)->key, "general.architecture");
    ck_assert_uint_eq(ggf_shard(dense, 0)->alignment, 64);
    must(ggf_pack_path(&path, dense, &err), &err);
    ck_assert_str_eq(path, pack_path);
    free(path);
    ggf_pack *pack = open_image();
    must(ggf_pack_matches(dense, pack, &err), &err);
    ggf_pack_close(pack);
    make_pack(3); /* other records, another root */
    pack = open_image();
    ck_assert_int_eq(ggf_pack_matches(dense, pack, &err), GGF_E_HASH);
    ggf_pack_close(pack);
    ggf_close(dense);
}
END_TEST

/* A model file must not lead us out of its folder. */
START_TEST(pack_names)
{
    static const char *const bad[] = { "", "/etc/passwd", "../model.xpack", "a/b" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ggf_writer *w;
        ggf_file *file;
        ggf_error err;
        char *path;
        must(ggf_writer_create(&w, back_path, NULL, &err), &err);
        must(ggf_writer_set_str(w, "expert_pack.file", bad[i], &err), &err);
        must(ggf_writer_begin(w, &err), &err);
        must(ggf_writer_finish(w, &err), &err);
        must(ggf_open(&file, back_path, NULL, &err), &err);
        ck_assert_int_eq(ggf_pack_path(&path, file, &err), GGF_E_FORMAT);
        ck_assert_ptr_null(path);
        ggf_close(file);
        unlink(back_path);
    }
}
END_TEST

/* The model comes back, also with bytes where GGUF has padding. */
START_TEST(restores)
{
    uint8_t *before, *after;
    size_t n, n_after;
    ggf_error err;
    before = read_file(model_path, &n);
    if (_i & 1) { /* padding behind the last tensor's bytes, and more behind that */
        before = realloc(before, n + 5);
        memcpy(before + n, "extra", 5);
        before[n - 1] = 9;
        n += 5;
    }
    if (_i & 2) before[4] = 2; /* the version */
    write_file(model_path, before, n);
    make_pack(_i & 4 ? 1 : 0);
    ggf_file *dense;
    ggf_pack *pack;
    must(ggf_open(&dense, dense_path, NULL, &err), &err);
    must(ggf_pack_open(&pack, pack_path, &err), &err);
    must(ggf_pack_restore(dense, pack, back_path, NULL, &err), &err);
    after = read_file(back_path, &n_after);
    ck_assert_uint_eq(n_after, n);
    ck_assert_mem_eq(after, before, n);
    struct ggf_pack_source source;
    must(ggf_pack_source(pack, 0, &source, &err), &err);
    ck_assert_str_eq(source.name, "model.gguf");
    ck_assert_uint_eq(source.size, n);
    ck_assert_int_eq(ggf_pack_source(pack, 1, &source, &err), GGF_E_NOT_FOUND);
    ggf_pack_close(pack);
    ggf_close(dense);
    free(before);
    free(after);
}
END_TEST

/* Experts of random bytes: compression is of no use, so they are stored plain. */
START_TEST(incompressible)
{
    static const char *const names[] = { "blk.0.ffn_gate_exps.weight",
                                         "blk.0.ffn_up_exps.weight",
                                         "blk.0.ffn_down_exps.weight" };
    static uint8_t noise[2 * 64 * 64];
    uint32_t v = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        v = v * 1664525 + 1013904223;
        noise[i] = (uint8_t)(v >> 24);
    }
    memset(noise + 64 * 64, 0, 64 * 64); /* the second expert is zeros */
    ggf_writer *w;
    ggf_error err;
    unlink(model_path);
    must(ggf_writer_create(&w, model_path, NULL, &err), &err);
    for (size_t i = 0; i < 3; i++)
        must(ggf_writer_add_tensor(w, names[i], GGF_I8,
                                   (const uint64_t[4]){ 64, 64, 2, 1 }, &err),
             &err);
    must(ggf_writer_begin(w, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        noise[0] = (uint8_t)i;
        must(ggf_writer_write(w, i, 0, noise, sizeof noise, &err), &err);
        for (size_t k = 0; k < 64 * 64; k++) noise[k] = (uint8_t)(noise[k] * 5 + 113);
    }
    must(ggf_writer_finish(w, &err), &err);
    make_pack(3);
    ggf_pack *pack = open_image();
    ck_assert(!ggf_pack_record(pack, 0, 0)->compressed);
    ck_assert(ggf_pack_record(pack, 0, 1)->compressed);
    ck_assert_uint_eq(ggf_pack_info(pack)->n_compressed, 1);
    ggf_pack_close(pack);
}
END_TEST

/* ---- Models that cannot be packed ------------------------------------------ */

START_TEST(unfit_models)
{
    static const struct {
        const char *name[3];
        uint64_t ne[3][4];
        int status;
    } cases[] = {
        { { "a" }, { { 32, 1, 1, 1 } }, GGF_E_NOT_FOUND },
        { { "blk.0.ffn_up_exps.weight" }, { { 32, 32, 2, 1 } }, GGF_E_FORMAT },
        { { "blk.00.ffn_up_exps.weight" }, { { 32, 32, 2, 1 } }, GGF_E_NOT_FOUND },
        { { "blk.70000.ffn_up_exps.weight" }, { { 32, 32, 2, 1 } }, GGF_E_NOT_FOUND },
        { { "blk.0.ffn_gate_up_exps.weight", "blk.0.ffn_down_exps.weight" },
          { { 32, 63, 2, 1 }, { 32, 32, 2, 1 } },
          GGF_E_FORMAT },
        { { "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight",
            "blk.0.ffn_down_exps.weight" },
          { { 32, 64, 2, 1 }, { 32, 64, 3, 1 }, { 64, 32, 2, 1 } },
          GGF_E_FORMAT },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        ggf_writer *w;
        ggf_file *file;
        ggf_error err;
        struct ggf_pack_plan plan;
        must(ggf_writer_create(&w, back_path, NULL, &err), &err);
        for (int t = 0; t < 3 && cases[c].name[t]; t++)
            must(ggf_writer_add_tensor(w, cases[c].name[t], GGF_I8, cases[c].ne[t], &err),
                 &err);
        must(ggf_writer_begin(w, &err), &err);
        static const uint8_t zeros[64 * 64 * 3];
        for (uint64_t t = 0; t < 3 && cases[c].name[t]; t++)
            must(ggf_writer_write(
                     w, t, 0, zeros,
                     cases[c].ne[t][0] * cases[c].ne[t][1] * cases[c].ne[t][2], &err),
                 &err);
        must(ggf_writer_finish(w, &err), &err);
        must(ggf_open(&file, back_path, NULL, &err), &err);
        ck_assert_int_eq(ggf_pack_plan(&plan, file, &err), cases[c].status);
        ck_assert_int_eq(ggf_pack_make(file, dense_path, pack_path, NULL, &err),
                         cases[c].status);
        ggf_close(file);
        unlink(back_path);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("pack");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, tables);
    tcase_add_loop_test(c, contents, 0, 2);
    tcase_add_test(c, dense_part);
    tcase_add_test(c, pack_names);
    tcase_add_loop_test(c, restores, 0, 8);
    tcase_add_test(c, incompressible);
    tcase_add_test(c, unfit_models);
    return SUITE_RUN("pack", c);
}
