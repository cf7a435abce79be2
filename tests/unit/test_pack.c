/* test_pack.c - the expert pack: what is written can be read, and no damage or lie in
 * header and tables goes unnoticed. */
#include "../../libgguf/libgguf.h"
#include "suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EMBD = 64,
    FF = 32,
    EXPERTS = 3,
    HEADER = 4096,
    ROOT = 96,
    LAYER = 64,
    ENTRY = 112
};

/* Files of a test, in a folder of its own. */
static char folder[64], model_path[96], dense_path[96], pack_path[96], back_path[96];

/* The pack's bytes in memory. */
static uint8_t *image;
static size_t image_size;

static void must(int status, const ggf_error *err)
{
    ck_assert_msg(status == 0, "%s", err->message);
}

static void read_file(const char *path, uint8_t **bytes, size_t *size)
{
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    *bytes = malloc(*size + 1);
    ck_assert_uint_eq(fread(*bytes, 1, *size, f), *size);
    fclose(f);
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, size, f), size);
    ck_assert_int_eq(fclose(f), 0);
}

/* Block 1 has split tensors of three types, block 4 fused ones; odd bytes everywhere. */
static void write_model(void)
{
    static const struct {
        const char *name;
        uint32_t type;
        uint64_t ne[4];
    } tensors[] = {
        { "token_embd.weight", GGF_F32, { EMBD, 7, 1, 1 } },
        { "blk.1.ffn_gate_exps.weight", GGF_Q8_0, { EMBD, FF, EXPERTS, 1 } },
        { "blk.1.ffn_up_exps.weight", GGF_Q4_0, { EMBD, FF, EXPERTS, 1 } },
        { "blk.1.ffn_down_exps.weight", GGF_F16, { FF, EMBD, EXPERTS, 1 } },
        { "blk.1.ffn_down_exps.scale", GGF_F32, { EXPERTS, 1, 1, 1 } },
        { "blk.4.ffn_gate_up_exps.weight", GGF_F32, { EMBD, 2 * FF, 2, 1 } },
        { "blk.4.ffn_down_exps.weight", GGF_Q5_1, { FF, EMBD, 2, 1 } },
    };
    ggf_error err;
    ggf_writer *w;
    must(ggf_writer_create(&w, model_path, NULL, &err), &err);
    must(ggf_writer_set_str(w, "general.architecture", "test", &err), &err);
    must(ggf_writer_set_u32(w, "general.alignment", 64, &err), &err);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        must(ggf_writer_add_tensor(w, tensors[i].name, tensors[i].type, tensors[i].ne,
                                   &err),
             &err);
    must(ggf_writer_begin(w, &err), &err);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        const uint64_t *ne = tensors[i].ne;
        const size_t n = ggf_row_bytes(tensors[i].type, ne[0]) * ne[1] * ne[2];
        uint8_t *bytes = malloc(n);
        for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)(k / 3 * (7 + i) + i);
        must(ggf_writer_write(w, i, 0, bytes, n, &err), &err);
        free(bytes);
    }
    must(ggf_writer_finish(w, &err), &err);
}

static void make_pack(int zstd_level)
{
    const struct ggf_pack_options options = { .force = true,
                                              .zstd_level = zstd_level,
                                              .threads = 2 };
    ggf_file *model;
    ggf_error err;
    must(ggf_open(&model, model_path, NULL, &err), &err);
    must(ggf_pack_make(model, dense_path, pack_path, &options, &err), &err);
    ggf_close(model);
    free(image);
    read_file(pack_path, &image, &image_size);
}

static void setup(void)
{
    strcpy(folder, "/tmp/test_pack.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(dense_path, sizeof dense_path, "%s/dense.gguf", folder);
    snprintf(pack_path, sizeof pack_path, "%s/model.xpack", folder);
    snprintf(back_path, sizeof back_path, "%s/back.gguf", folder);
    write_model();
    make_pack(0);
}

static void teardown(void)
{
    unlink(model_path);
    unlink(dense_path);
    unlink(pack_path);
    unlink(back_path);
    /* Fails, and so does the test, if anything else was left behind. */
    ck_assert_int_eq(rmdir(folder), 0);
    free(image);
    image = NULL;
}

static ggf_pack *open_image(void)
{
    ggf_pack *pack;
    ggf_error err;
    must(ggf_pack_open_buffer(&pack, image, image_size, &err), &err);
    return pack;
}

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
    read_file(model_path, &before, &n);
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
    read_file(back_path, &after, &n_after);
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

/* ---- Damage ---------------------------------------------------------------- */

static int try_open(size_t size, ggf_error *err)
{
    ggf_pack *pack;
    /* A copy of just this size, so that a sanitizer sees any read behind it. */
    uint8_t *bytes = malloc(size ? size : 1);
    memcpy(bytes, image, size);
    const int s = ggf_pack_open_buffer(&pack, bytes, size, err);
    ggf_pack_close(pack);
    free(bytes);
    return s;
}

static uint64_t field(size_t at, size_t bytes)
{
    uint64_t v = 0;
    memcpy(&v, image + at, bytes);
    return v;
}

static void flip_all(uint64_t from, uint64_t n)
{
    ggf_error err;
    for (uint64_t i = from; i < from + n; i++) {
        image[i] ^= (uint8_t)(1 << i % 8);
        ck_assert_msg(try_open(image_size, &err) != 0, "byte %" PRIu64 " flipped", i);
        image[i] ^= (uint8_t)(1 << i % 8);
    }
}

START_TEST(every_flipped_byte_of_the_tables)
{
    ggf_error err;
    flip_all(0, HEADER);
    flip_all(HEADER, 2 * LAYER);
    flip_all(field(48, 8), (EXPERTS + 2) * ENTRY);
    flip_all(field(64, 8), field(72, 8));
    ck_assert_int_eq(try_open(image_size, &err), 0);
}
END_TEST

START_TEST(truncated)
{
    const uint64_t cuts[] = { 0,
                              4,
                              8,
                              HEADER - 1,
                              HEADER,
                              HEADER + LAYER,
                              field(48, 8),
                              field(48, 8) + ENTRY,
                              field(56, 8),
                              field(56, 8) + 1,
                              field(64, 8),
                              field(64, 8) + field(72, 8),
                              image_size - 1,
                              image_size - 4096 };
    ggf_error err;
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        ck_assert_msg(try_open(cuts[i], &err) != 0, "cut at %" PRIu64, cuts[i]);
        ck_assert(*err.message);
    }
    image = realloc(image, image_size + 4096); /* too long is as bad */
    memset(image + image_size, 0, 4096);
    ck_assert_int_eq(try_open(image_size + 4096, &err), GGF_E_FORMAT);
}
END_TEST

/* Hash the tables anew, so that only the checks behind the hash can object. */
static void mend_root(uint64_t index, uint64_t source, uint64_t source_bytes)
{
    ggf_sha256 *h = ggf_sha256_new();
    memset(image + ROOT, 0, GGF_SHA256_BYTES);
    ggf_sha256_update(h, image, HEADER);
    ggf_sha256_update(h, image + HEADER, 2 * LAYER);
    ggf_sha256_update(h, image + index, (EXPERTS + 2) * ENTRY);
    ggf_sha256_update(h, image + source, source_bytes);
    ggf_sha256_final(h, image + ROOT);
    ggf_sha256_free(h);
}

/* Set a field to values that lie; none may be believed. */
static void lie(uint64_t at, size_t bytes, const char *what)
{
    const uint64_t index = field(48, 8), source = field(64, 8),
                   source_bytes = field(72, 8);
    const uint64_t truth = field(at, bytes);
    const uint64_t lies[] = { 0,          1,
                              2,          5,
                              7,          truth + 1,
                              truth - 1,  truth + 4096,
                              truth * 2,  truth ^ 1ull << 31,
                              UINT32_MAX, INT64_MAX,
                              UINT64_MAX, UINT64_MAX - 4095,
                              1ull << 63, 1ull << 40 };
    const uint64_t mask = bytes == 8 ? UINT64_MAX : (1ull << 8 * bytes) - 1;
    ggf_error err;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        if ((lies[i] & mask) == truth) continue;
        memcpy(image + at, &lies[i], bytes);
        mend_root(index, source, source_bytes);
        ck_assert_msg(try_open(image_size, &err) != 0,
                      "%s at %" PRIu64 " set to %" PRIx64, what, at, lies[i]);
    }
    memcpy(image + at, &truth, bytes);
    mend_root(index, source, source_bytes);
    ck_assert_msg(try_open(image_size, &err) == 0, "%s", err.message);
}

/* A shape that needs more or fewer pages.  (One row more or less may fit the same pages,
 * and then the pack is a good one of that shape.) */
static void lie_about_shape(uint64_t at)
{
    const uint64_t index = field(48, 8), source = field(64, 8), n = field(72, 8);
    const uint64_t truth = field(at, 8);
    const uint64_t lies[] = { 0,          truth * 1024, (1ull << 30) + 1,
                              1ull << 40, 1ull << 63,   UINT64_MAX };
    ggf_error err;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(image + at, &lies[i], 8);
        mend_root(index, source, n);
        ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
    }
    memcpy(image + at, &truth, 8);
    mend_root(index, source, n);
}

START_TEST(lying_header)
{
    static const struct {
        uint64_t at;
        size_t bytes;
    } fields[] = { { 0, 8 },  { 8, 4 },  { 12, 4 },  { 16, 4 },  { 20, 4 },
                   { 24, 8 }, { 32, 8 }, { 40, 8 },  { 48, 8 },  { 56, 8 },
                   { 64, 8 }, { 92, 4 }, { 128, 8 }, { 4088, 8 } };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        lie(fields[i].at, fields[i].bytes, "header");
}
END_TEST

START_TEST(lying_layer)
{
    for (uint64_t l = 0; l < 2; l++) {
        const uint64_t at = HEADER + l * LAYER;
        lie(at + 4, 4, "experts");
        lie(at + 12, 4, "reserved");
        lie(at + 16, 8, "first record");
        lie_about_shape(at + 24);
        lie_about_shape(at + 32);
        lie(at + 40, 8, "reserved");
    }
    const uint64_t index = field(48, 8), source = field(64, 8), n = field(72, 8);
    ggf_error err;
    image[HEADER + LAYER] = 1; /* both layers are block 1 */
    mend_root(index, source, n);
    ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
    image[HEADER + LAYER] = 4;
    image[HEADER + 8] = 2; /* an unknown flag */
    mend_root(index, source, n);
    ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
}
END_TEST

START_TEST(lying_index)
{
    for (uint64_t e = 0; e < EXPERTS + 2; e += EXPERTS + 1) {
        const uint64_t at = field(48, 8) + e * ENTRY;
        lie(at, 8, "offset");
        lie(at + 8, 8, "stored length");
        lie(at + 16, 8, "raw length");
        for (uint64_t part = 0; part < GGF_PARTS; part++)
            lie(at + 40 + 8 * part, 8, "part offset");
        lie(at + 64, 8, "reserved");
        lie(at + 72, 8, "reserved");
    }
    const uint64_t index = field(48, 8), source = field(64, 8), n = field(72, 8);
    static const uint8_t types[] = { 4, 5, GGF_Q4_K, 31, 36, GGF_TYPE_COUNT, 255 };
    ggf_error err;
    for (size_t i = 0; i < sizeof types; i++) { /* removed, too wide, unknown */
        image[index + 28] = types[i];
        mend_root(index, source, n);
        ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
    }
    image[index + 28] = GGF_Q8_0;
    image[index + 24] = 2; /* interleaved: not in version 1 */
    mend_root(index, source, n);
    ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
    image[index + 24] = 1; /* compressed, but as long as plain */
    mend_root(index, source, n);
    ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
}
END_TEST

/* A source section that does not decompress, or to something else, stops --unpack. */
START_TEST(lying_source)
{
    const uint64_t index = field(48, 8), source = field(64, 8), n = field(72, 8);
    const uint64_t raw = field(80, 8);
    const uint64_t lies[] = { 0, 1, raw - 1, raw + 1, 1 << 30 };
    struct ggf_pack_source out;
    ggf_error err;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(image + 80, &lies[i], 8);
        mend_root(index, source, n);
        ggf_pack *pack = open_image();
        ck_assert_int_eq(ggf_pack_source(pack, 0, &out, &err), GGF_E_FORMAT);
        ggf_pack_close(pack);
    }
    const uint64_t too_much = (1ull << 30) + 1;
    memcpy(image + 80, &too_much, 8);
    mend_root(index, source, n);
    ck_assert_int_eq(try_open(image_size, &err), GGF_E_FORMAT);
}
END_TEST

struct damages {
    int n;
    uint64_t offset;
};

static void on_damage(void *user, const struct ggf_pack_record *r, const ggf_error *what)
{
    struct damages *d = user;
    d->n++;
    d->offset = r ? r->offset : what->offset;
}

/* A flipped bit anywhere behind the tables: found, told, and mended from the model. */
START_TEST(damaged_records)
{
    make_pack(_i);
    uint8_t *good = malloc(image_size), *bytes;
    size_t n;
    memcpy(good, image, image_size);
    ggf_file *model;
    ggf_error err;
    must(ggf_open(&model, model_path, NULL, &err), &err);
    for (uint64_t at = field(56, 8); at < field(64, 8); at += 977) {
        struct damages d = { 0 };
        const struct ggf_pack_options options = { .bad = on_damage, .user = &d };
        uint64_t bad = 0;
        ggf_pack *pack;
        image[at] ^= 0x10;
        write_file(pack_path, image, image_size);
        must(ggf_pack_open(&pack, pack_path, &err), &err);
        must(ggf_pack_verify(pack, NULL, &options, &bad, &err), &err);
        ck_assert_uint_eq(bad, 1);
        ck_assert_int_eq(d.n, 1);
        ck_assert(d.offset <= at && at < d.offset + 65536);
        ggf_pack_close(pack);
        must(ggf_pack_repair(pack_path, model, &options, &bad, &err), &err);
        ck_assert_uint_eq(bad, 1);
        read_file(pack_path, &bytes, &n);
        ck_assert_uint_eq(n, image_size);
        ck_assert_mem_eq(bytes, good, n);
        free(bytes);
        image[at] ^= 0x10;
    }
    ggf_close(model);
    free(good);
}
END_TEST

/* A damaged record stops the restoring, and nothing is left. */
START_TEST(damage_stops_restoring)
{
    ggf_file *dense;
    ggf_pack *pack;
    ggf_error err;
    must(ggf_open(&dense, dense_path, NULL, &err), &err);
    image[field(56, 8) + 5000] ^= 1;
    write_file(pack_path, image, image_size);
    must(ggf_pack_open(&pack, pack_path, &err), &err);
    ck_assert_int_eq(ggf_pack_restore(dense, pack, back_path, NULL, &err), GGF_E_HASH);
    ck_assert_int_eq(access(back_path, F_OK), -1);
    ggf_pack_close(pack);
    ggf_close(dense);
}
END_TEST

/* Another model of the same shapes must not be written into the pack. */
START_TEST(repair_from_another_model)
{
    uint8_t *bytes, *after;
    size_t n, n_after;
    ggf_error err;
    read_file(model_path, &bytes, &n);
    for (size_t i = n - 30000; i < n; i++) bytes[i] ^= 0x55;
    write_file(back_path, bytes, n);
    free(bytes);
    image[field(64, 8) - 9000] ^= 1; /* in the last record */
    write_file(pack_path, image, image_size);
    ggf_file *other;
    uint64_t repaired;
    must(ggf_open(&other, back_path, NULL, &err), &err);
    ck_assert_int_eq(ggf_pack_repair(pack_path, other, NULL, &repaired, &err),
                     GGF_E_HASH);
    ck_assert_uint_eq(repaired, 0);
    read_file(pack_path, &after, &n_after);
    ck_assert_uint_eq(n_after, image_size);
    ck_assert_mem_eq(after, image, image_size);
    free(after);
    ggf_close(other);
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
    tcase_add_test(c, every_flipped_byte_of_the_tables);
    tcase_add_test(c, truncated);
    tcase_add_test(c, lying_header);
    tcase_add_test(c, lying_layer);
    tcase_add_test(c, lying_index);
    tcase_add_test(c, lying_source);
    tcase_add_loop_test(c, damaged_records, 0, 2);
    tcase_add_test(c, damage_stops_restoring);
    tcase_add_test(c, repair_from_another_model);
    tcase_add_test(c, unfit_models);
    return SUITE_RUN("pack", c);
}
