/* pack_record.c - one record of an open pack: hashing it, reading it; and how a dense
 * GGUF and its pack find each other. */
#include "pack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

void pack_zero_padding(const struct ggf_pack_record *r, uint8_t *raw)
{
    for (int i = 0; i < GGF_PARTS; i++) {
        const uint64_t end = r->part_offset[i] + r->part_bytes[i];
        const uint64_t next = i + 1 < GGF_PARTS ? r->part_offset[i + 1] : r->raw_bytes;
        memset(raw + end, 0, next - end);
    }
}

int ggf_pack_verify_record(const ggf_pack *p, const struct ggf_pack_record *r,
                           const void *stored, ggf_error *err)
{
    uint8_t hash[GGF_SHA256_BYTES];
    ggf_sha256_of(stored ? stored : r->stored, r->stored_bytes, hash);
    if (!memcmp(hash, r->sha256, sizeof hash)) return 0;
    return ggf_fail(err, GGF_E_HASH, r->offset,
                    "%.150s: expert %" PRIu32 " of block %" PRIu32
                    " is damaged: its bytes do not match their SHA-256",
                    p->info.path, r->expert, p->layers[r->layer].block);
}

int ggf_pack_read(const ggf_pack *p, const struct ggf_pack_record *r, const void *stored,
                  void *into, size_t size, ggf_error *err)
{
    if (!stored) stored = r->stored;
    if (size < r->raw_bytes)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "a record of %" PRIu64 " bytes does not fit into %zu",
                        r->raw_bytes, size);
    if (!r->compressed) {
        memcpy(into, stored, r->raw_bytes);
        return 0;
    }
    const size_t n = ZSTD_decompress(into, r->raw_bytes, stored, r->stored_bytes);
    if (n == r->raw_bytes) return 0;
    return ggf_fail(err, GGF_E_FORMAT, r->offset,
                    "%.150s: expert %" PRIu32 " of block %" PRIu32
                    " does not decompress: %s",
                    p->info.path, r->expert, p->layers[r->layer].block,
                    ZSTD_isError(n) ? ZSTD_getErrorName(n) : "its length is wrong");
}

static int named_pack(const ggf_file *dense, const char *key, struct ggf_str *out,
                      ggf_error *err)
{
    const int s = ggf_get_str(dense, key, out, err);
    if (s != GGF_E_NOT_FOUND) return s;
    return ggf_fail(err, s, GGF_NO_OFFSET, "%.200s names no expert pack (no key %s)",
                    ggf_shard(dense, 0)->path, key);
}

int ggf_pack_matches(const ggf_file *dense, const ggf_pack *pack, ggf_error *err)
{
    struct ggf_str named;
    char root[2 * GGF_SHA256_BYTES + 1];
    const int s = named_pack(dense, "expert_pack.root", &named, err);
    if (s) return s;
    for (int i = 0; i < GGF_SHA256_BYTES; i++)
        snprintf(root + 2 * i, 3, "%02x", pack->info.root[i]);
    if (named.len == sizeof root - 1 && !memcmp(named.data, root, named.len)) return 0;
    return ggf_fail(err, GGF_E_HASH, GGF_NO_OFFSET,
                    "%.150s does not belong to %.150s: it was made for another pack",
                    ggf_shard(dense, 0)->path, pack->info.path);
}

/* The file of this name in the folder of `path`; NULL if out of memory. */
static char *beside(const char *path, const struct ggf_str *name)
{
    const char *slash = strrchr(path, '/');
    const size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    char *out = malloc(folder + name->len + 1);
    if (!out) return NULL;
    memcpy(out, path, folder);
    memcpy(out + folder, name->data, name->len);
    out[folder + name->len] = 0;
    return out;
}

int ggf_pack_path(char **out, const ggf_file *dense, ggf_error *err)
{
    struct ggf_str name;
    *out = NULL;
    const int s = named_pack(dense, "expert_pack.file", &name, err);
    if (s) return s;
    /* A model file must not make us open what lies elsewhere. */
    if (name.len == 0 || name.len > 255 || memchr(name.data, '/', name.len) ||
        memchr(name.data, 0, name.len))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "expert_pack.file is not the name of a file in the same folder");
    const char *path = ggf_shard(dense, 0)->path;
    if (!(*out = beside(path, &name))) return ggf_no_memory(err);
    if (!access(*out, F_OK)) return 0;
    char *real = realpath(path, NULL), *other = real ? beside(real, &name) : NULL;
    free(real);
    if (other && !access(other, F_OK)) { /* else the first is what is missing */
        free(*out);
        *out = other;
        return 0;
    }
    free(other);
    return 0;
}
