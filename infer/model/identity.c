/* identity.c - a number that tells models apart whose results differ.
 *
 * Routing.c's identity is the same for all quantizations of a model; this one is not. */
#include "model.h"

#include <string.h>

enum { ID_BYTES = 4096 }; /* of each tensor, from its start */

static void hash_tensors(ggf_sha256 *h, const ggf_file *file)
{
    for (uint64_t i = 0; i < ggf_tensor_count(file); i++) {
        const struct ggf_tensor *t = ggf_tensor(file, i);
        ggf_sha256_update(h, t->name, strlen(t->name) + 1);
        ggf_sha256_update(h, &t->type, sizeof t->type);
        ggf_sha256_update(h, t->ne, sizeof t->ne);
        ggf_sha256_update(h, t->data, t->bytes < ID_BYTES ? t->bytes : ID_BYTES);
    }
}

/* The architecture's own keys: what its layers compute. */
static void hash_keys(ggf_sha256 *h, const ggf_file *file, const char *arch)
{
    const size_t len = strlen(arch);
    for (uint64_t i = 0; i < ggf_kv_count(file); i++) {
        const struct ggf_kv *kv = ggf_kv(file, i);
        if (strncmp(kv->key, arch, len) != 0 || kv->key[len] != '.') continue;
        ggf_sha256_update(h, kv->key, strlen(kv->key) + 1);
        ggf_sha256_update(h, &kv->type, sizeof kv->type);
        ggf_sha256_update(h, kv->data, kv->bytes);
    }
}

int model_identity(const q3n_model *m, uint8_t out[GGF_SHA256_BYTES], ggf_error *err)
{
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    ggf_sha256_update(h, m->hp.arch, strlen(m->hp.arch) + 1);
    hash_keys(h, m->file, m->hp.arch);
    hash_tensors(h, m->file);
    if (m->overlay) hash_tensors(h, m->overlay);
    if (m->pack) ggf_sha256_update(h, ggf_pack_info(m->pack)->root, GGF_SHA256_BYTES);
    ggf_sha256_final(h, out);
    ggf_sha256_free(h);
    return 0;
}
