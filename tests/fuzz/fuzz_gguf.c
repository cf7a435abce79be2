/* fuzz_gguf.c - any bytes as a GGUF file: opened strictly and loosely, from memory and
 * through a callback; whatever opens is read to its last byte. */
#include "../../libgguf/libgguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* so that the reads are not optimised away */

static void touch(const void *bytes, uint64_t len)
{
    const uint8_t *p = bytes;
    for (uint64_t i = 0; i < len; i++) sink += p[i];
}

static void read_kv(const ggf_file *f, const struct ggf_kv *kv)
{
    ggf_error err;
    int64_t i64;
    uint64_t u64;
    double f64;
    touch(kv->key, strlen(kv->key));
    touch(kv->data, kv->bytes);
    if (ggf_find_kv(f, kv->key) != kv) abort();
    for (uint64_t i = 0; i < kv->count && i < 1000; i++) {
        ggf_kv_i64(kv, i, &i64, &err);
        ggf_kv_f64(kv, i, &f64, &err);
    }
    ggf_get_u64(f, kv->key, &u64, &err);
    if (kv->elem_type != GGF_KV_STRING) return;
    struct ggf_str *s = calloc(kv->count + 1, sizeof *s);
    if (!s) return;
    ggf_kv_strings(kv, s, &err);
    for (uint64_t i = 0; i < kv->count; i++) touch(s[i].data, s[i].len);
    free(s);
}

static void read_all(const ggf_file *f)
{
    for (uint64_t i = 0; i < ggf_kv_count(f); i++) read_kv(f, ggf_kv(f, i));
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        if (ggf_find_tensor(f, t->name) != t) abort();
        if (t->bytes != t->count / t->ne[0] * ggf_row_bytes(t->type, t->ne[0])) abort();
        if (t->data) touch(t->data, t->bytes);
    }
}

struct memory {
    const uint8_t *bytes;
    size_t size;
};

static int read_memory(void *user, uint64_t offset, void *into, size_t len)
{
    const struct memory *m = user;
    if (offset > m->size || len > m->size - offset) abort(); /* never asked for more */
    memcpy(into, m->bytes + offset, len);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ggf_open_options options[] = {
        { .one_shard = true },
        { .allow_gaps = true },
        { .header_only = true, .allow_gaps = true },
    };
    struct memory m = { data, size };
    ggf_file *f;
    ggf_error err;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const int s = ggf_open_buffer(&f, data, size, &options[i], &err);
        if (!s) read_all(f);
        ggf_close(f);
        const int again = ggf_open_callback(&f, read_memory, &m, size, &options[i], NULL);
        if (again != s) abort();
        if (!again) read_all(f);
        ggf_close(f);
    }
    return 0;
}
