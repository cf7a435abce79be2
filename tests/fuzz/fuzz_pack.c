/* fuzz_pack.c - any bytes as an expert pack: opening must not crash, and what it accepts
 * must be readable.  The root hash is made right first, or nothing behind it would ever
 * be reached. */
#include "../../libgguf/libgguf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 4096, ROOT = 96 };

static uint64_t load(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, (size_t)bytes);
    return v;
}

static bool add(ggf_sha256 *h, const uint8_t *p, size_t size, uint64_t from, uint64_t n)
{
    if (from > size || n > size - from) return false;
    ggf_sha256_update(h, p + from, n);
    return true;
}

/* Put the root where it belongs, as far as the tables lie inside the file. */
static void mend_root(uint8_t *p, size_t size)
{
    if (size < HEADER) return;
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return;
    const uint64_t layers = load(p + 20, 4), records = load(p + 24, 8);
    uint8_t root[GGF_SHA256_BYTES];
    memset(p + ROOT, 0, sizeof root);
    if (add(h, p, size, 0, HEADER) && add(h, p, size, HEADER, layers * 64) &&
        records < size && add(h, p, size, load(p + 48, 8), records * 112) &&
        add(h, p, size, load(p + 64, 8), load(p + 72, 8))) {
        ggf_sha256_final(h, root);
        memcpy(p + ROOT, root, sizeof root);
    }
    ggf_sha256_free(h);
}

static void read_all(const ggf_pack *pack)
{
    const struct ggf_pack_info *in = ggf_pack_info(pack);
    struct ggf_pack_source source;
    ggf_error err;
    for (uint32_t l = 0; l < in->n_layers; l++) {
        const struct ggf_pack_layer *layer = ggf_pack_layer(pack, l);
        if (ggf_pack_layer_of(pack, layer->block) != l) abort();
        for (uint32_t e = 0; e < layer->n_expert; e++) {
            const struct ggf_pack_record *r = ggf_pack_record(pack, l, e);
            ggf_pack_verify_record(pack, r, NULL, &err);
            if (r->raw_bytes > 1 << 20) continue;
            void *raw = malloc(r->raw_bytes);
            if (raw) ggf_pack_read(pack, r, NULL, raw, r->raw_bytes, &err);
            free(raw);
        }
    }
    ggf_pack_source(pack, 0, &source, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    ggf_pack *pack;
    ggf_error err;
    if (!copy) return 0;
    memcpy(copy, data, size);
    mend_root(copy, size);
    if (!ggf_pack_open_buffer(&pack, copy, size, &err)) {
        read_all(pack);
        ggf_pack_close(pack);
    }
    free(copy);
    return 0;
}
