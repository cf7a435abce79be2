/* image.h - GGUF files put together field by field in memory, good ones and bad ones.
 *
 * The tests write the format by hand here, not with libgguf's writer, so that reader
 * and writer are checked against the layout and not against each other. */
#ifndef TEST_IMAGE_H
#define TEST_IMAGE_H

#include "../../libgguf/libgguf.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct image {
    uint8_t bytes[5 << 20];
    size_t len;
    size_t mark; /* where the fault lies: what the error must name */
};

static inline struct image *image_new(void)
{
    struct image *f = calloc(1, sizeof *f);
    ck_assert_ptr_nonnull(f);
    return f;
}

static inline void put(struct image *f, const void *bytes, size_t len)
{
    ck_assert_uint_le(f->len + len, sizeof f->bytes);
    if (len) memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static inline void put_u32(struct image *f, uint32_t v) { put(f, &v, sizeof v); }
static inline void put_u64(struct image *f, uint64_t v) { put(f, &v, sizeof v); }
static inline void mark(struct image *f) { f->mark = f->len; }

static inline void put_bytes_string(struct image *f, const void *bytes, size_t len)
{
    put_u64(f, len);
    put(f, bytes, len);
}

static inline void put_string(struct image *f, const char *s)
{
    put_bytes_string(f, s, strlen(s));
}

static inline void put_head(struct image *f, uint32_t version, uint64_t tensors,
                            uint64_t keys)
{
    put(f, "GGUF", 4);
    put_u32(f, version);
    put_u64(f, tensors);
    put_u64(f, keys);
}

/* A key with its type; the value follows. */
static inline void put_key(struct image *f, const char *key, uint32_t type)
{
    put_string(f, key);
    put_u32(f, type);
}

static inline void put_key_u32(struct image *f, const char *key, uint32_t v)
{
    put_key(f, key, GGF_KV_U32);
    put_u32(f, v);
}

static inline void put_key_u16(struct image *f, const char *key, uint16_t v)
{
    put_key(f, key, GGF_KV_U16);
    put(f, &v, sizeof v);
}

static inline void put_key_str(struct image *f, const char *key, const char *v)
{
    put_key(f, key, GGF_KV_STRING);
    put_string(f, v);
}

static inline void put_key_array(struct image *f, const char *key, uint32_t elem_type,
                                 uint64_t count)
{
    put_key(f, key, GGF_KV_ARRAY);
    put_u32(f, elem_type);
    put_u64(f, count);
}

/* A tensor info of one dimension. */
static inline void put_tensor(struct image *f, const char *name, uint64_t ne0,
                              uint32_t type, uint64_t offset)
{
    put_string(f, name);
    put_u32(f, 1);
    put_u64(f, ne0);
    put_u32(f, type);
    put_u64(f, offset);
}

/* Zeros up to a multiple of align. */
static inline void put_padding(struct image *f, size_t align)
{
    while (f->len % align) put(f, "", 1);
}

/* n bytes of tensor data, not all alike. */
static inline void put_data(struct image *f, size_t n)
{
    for (size_t i = 0; i < n; i++) put(f, &(uint8_t){ (uint8_t)(i * 7 + 1) }, 1);
}

/* A small valid file with a key of many kinds and two tensors, "a" and "b". */
static inline void put_small_model(struct image *f)
{
    put_head(f, 3, 2, 4);
    put_key_str(f, "general.architecture", "qwen3next");
    put_key_u32(f, "qwen3next.block_count", 48);
    put_key_array(f, "list", GGF_KV_I32, 3);
    put_u32(f, 1), put_u32(f, 2), put_u32(f, (uint32_t)-3);
    put_key_array(f, "words", GGF_KV_STRING, 2);
    put_string(f, "one"), put_string(f, "");
    put_tensor(f, "a", 4, GGF_F32, 0);
    put_tensor(f, "b", 64, GGF_Q8_0, 32);
    put_padding(f, 32);
    put_data(f, 16);
    put_padding(f, 32);
    put_data(f, 68);
    put_padding(f, 32);
}

static char scratch_dir[256];

static inline void remove_scratch(void) { rmdir(scratch_dir); }

/* A path for a test's file, in a folder that goes when the test ends if the test has
 * removed its files.  The text is overwritten by the next call but three. */
static inline const char *scratch(const char *name)
{
    static char paths[4][512];
    static int turn;
    if (!scratch_dir[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(scratch_dir, sizeof scratch_dir, "%s/libgguf-XXXXXX",
                 base && strlen(base) < 200 ? base : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(scratch_dir));
        atexit(remove_scratch);
    }
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", scratch_dir, name);
    return path;
}

/* Files in the scratch folder. */
static inline int scratch_files(void)
{
    int n = 0;
    scratch("");
    DIR *d = opendir(scratch_dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static inline void save(const struct image *f, const char *path)
{
    FILE *out = fopen(path, "wb");
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(f->bytes, 1, f->len, out), f->len);
    ck_assert_int_eq(fclose(out), 0);
}

#endif
