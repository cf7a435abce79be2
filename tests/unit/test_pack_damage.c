/* test_pack_damage.c - the expert pack: no damage or lie in header, tables and records
 * goes unnoticed. */
#include "pack_files.h"
#include "suite.h"

#include <inttypes.h>
#include <zstd.h>

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

/* The source section, decompressed, with room for a little more. */
static uint8_t *source_bytes(uint64_t *n)
{
    *n = field(80, 8);
    uint8_t *raw = malloc(*n + 64);
    ck_assert_uint_eq(ZSTD_decompress(raw, *n, image + field(64, 8), field(72, 8)), *n);
    return raw;
}

/* Put another in its place: the pack then is sound as far as opening it can tell. */
static void put_source(const uint8_t *raw, uint64_t n)
{
    const uint64_t at = field(64, 8), bound = ZSTD_compressBound(n);
    image = realloc(image, at + bound + 4096);
    const uint64_t stored = ZSTD_compress(image + at, bound, raw, n, 1);
    image_size = (at + stored + 4095) / 4096 * 4096;
    memset(image + at + stored, 0, image_size - at - stored);
    memcpy(image + 32, &image_size, 8);
    memcpy(image + 72, &stored, 8);
    memcpy(image + 80, &n, 8);
    mend_root(field(48, 8), at, stored);
}

static void root_text(char out[2 * GGF_SHA256_BYTES + 1])
{
    for (int i = 0; i < GGF_SHA256_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", image[ROOT + i]);
}

/* Let the dense GGUF name the forged pack. */
static void name_root(const char *before)
{
    char after[2 * GGF_SHA256_BYTES + 1];
    size_t n;
    uint8_t *dense = read_file(dense_path, &n);
    uint8_t *at = memmem(dense, n, before, 2 * GGF_SHA256_BYTES);
    ck_assert_ptr_nonnull(at);
    root_text(after);
    memcpy(at, after, 2 * GGF_SHA256_BYTES);
    write_file(dense_path, dense, n);
    free(dense);
}

static void store(uint8_t *to, uint64_t v, size_t bytes) { memcpy(to, &v, bytes); }

/* Source sections that lie about what is to be restored: a tensor without a hash, one
 * with two, a file that ends before its tensors, and a stretch of bytes that goes over
 * the end of the file, or is of a file that is not there. */
START_TEST(forged_source)
{
    static const char *const words[] = { "does not fit its dense tensors",
                                         "does not fit its dense tensors",
                                         "does not fit its file sizes", "do not add up",
                                         "do not add up" };
    char before[2 * GGF_SHA256_BYTES + 1];
    ggf_file *dense;
    ggf_pack *pack;
    ggf_error err;
    uint64_t n, size, hashes;
    uint8_t *raw = source_bytes(&n), *file = raw + 16;
    root_text(before);
    memcpy(&hashes, raw + 8, 8);
    memcpy(&size, file, 8);
    switch (_i) {
    case 0: store(raw + 8, hashes - 1, 8), n -= 32; break;
    case 1: store(raw + 8, hashes + 1, 8), n += 32; break;
    case 2: store(file, size - 80, 8); break;
    default: /* the pack was made of one file without extras */
        store(raw + 4, 1, 4);
        store(raw + n, _i == 3 ? size - 4 : 0, 8);
        store(raw + n + 8, 8, 8);
        store(raw + n + 16, _i == 3 ? 0 : 1 << 20, 8);
        store(raw + n + 24, ~0ull, 8);
        n += 32;
    }
    put_source(raw, n);
    name_root(before);
    write_file(pack_path, image, image_size);
    must(ggf_open(&dense, dense_path, NULL, &err), &err);
    must(ggf_pack_open(&pack, pack_path, &err), &err);
    ck_assert_int_eq(ggf_pack_restore(dense, pack, back_path, NULL, &err), GGF_E_FORMAT);
    ck_assert_msg(strstr(err.message, words[_i]) != NULL, "%s", err.message);
    ck_assert_int_eq(access(back_path, F_OK), -1);
    ggf_pack_close(pack);
    ggf_close(dense);
    free(raw);
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
        bytes = read_file(pack_path, &n);
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
    bytes = read_file(model_path, &n);
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
    after = read_file(pack_path, &n_after);
    ck_assert_uint_eq(n_after, image_size);
    ck_assert_mem_eq(after, image, image_size);
    free(after);
    ggf_close(other);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("damage");
    tcase_set_timeout(c, 120);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, every_flipped_byte_of_the_tables);
    tcase_add_test(c, truncated);
    tcase_add_test(c, lying_header);
    tcase_add_test(c, lying_layer);
    tcase_add_test(c, lying_index);
    tcase_add_test(c, lying_source);
    tcase_add_loop_test(c, forged_source, 0, 5);
    tcase_add_loop_test(c, damaged_records, 0, 2);
    tcase_add_test(c, damage_stops_restoring);
    tcase_add_test(c, repair_from_another_model);
    return SUITE_RUN("pack damage", c);
}
