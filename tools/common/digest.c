/* digest.c - SHA-1 and SHA-256 by libcrypto, XXH64 by libxxhash, UUIDs from SHA-1. */
#include "digest.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

struct digest {
    enum digest_kind kind;
    EVP_MD_CTX *evp;
    XXH64_state_t *xxh;
};

/* The name space of llama.cpp's model UUIDs, ef001206-dadc-5f6d-a15f-3359e577d4e5:
 * itself version 5 of "en.wikipedia.org/wiki/Llama.cpp" in the URL name space. */
static const unsigned char uuid_namespace[16] = {
    0xef, 0x00, 0x12, 0x06, 0xda, 0xdc, 0x5f, 0x6d,
    0xa1, 0x5f, 0x33, 0x59, 0xe5, 0x77, 0xd4, 0xe5,
};

const char *digest_name(enum digest_kind kind)
{
    static const char *const names[DIGEST_KINDS] = { "xxh64", "sha1", "sha256", "uuid" };
    return names[kind];
}

static void restart(struct digest *d)
{
    switch (d->kind) {
    case DIGEST_XXH64: XXH64_reset(d->xxh, 0); break;
    case DIGEST_SHA256: EVP_DigestInit_ex(d->evp, EVP_sha256(), NULL); break;
    default: EVP_DigestInit_ex(d->evp, EVP_sha1(), NULL); break;
    }
    if (d->kind == DIGEST_UUID)
        EVP_DigestUpdate(d->evp, uuid_namespace, sizeof uuid_namespace);
}

struct digest *digest_new(enum digest_kind kind)
{
    struct digest *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->kind = kind;
    if (kind == DIGEST_XXH64) d->xxh = XXH64_createState();
    else d->evp = EVP_MD_CTX_new();
    if (!d->xxh && !d->evp) {
        free(d);
        return NULL;
    }
    restart(d);
    return d;
}

void digest_free(struct digest *d)
{
    if (!d) return;
    if (d->xxh) XXH64_freeState(d->xxh);
    EVP_MD_CTX_free(d->evp);
    free(d);
}

void digest_update(struct digest *d, const void *bytes, size_t len)
{
    if (d->kind == DIGEST_XXH64) XXH64_update(d->xxh, bytes, len);
    else EVP_DigestUpdate(d->evp, bytes, len);
}

/* Version 5 (RFC 4122 §4.3): the first 16 bytes, six bits of them fixed. */
static unsigned to_uuid(unsigned char h[EVP_MAX_MD_SIZE])
{
    h[6] = (unsigned char)((h[6] & 0x0f) | 0x50);
    h[8] = (unsigned char)((h[8] & 0x3f) | 0x80);
    return 16;
}

void digest_final(struct digest *d, char text[DIGEST_TEXT])
{
    unsigned char h[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (d->kind == DIGEST_XXH64) {
        snprintf(text, DIGEST_TEXT, "%016" PRIx64, (uint64_t)XXH64_digest(d->xxh));
    } else {
        EVP_DigestFinal_ex(d->evp, h, &n);
        if (d->kind == DIGEST_UUID) n = to_uuid(h);
        for (unsigned i = 0; i < n; i++) {
            const int dash =
                d->kind == DIGEST_UUID && (i == 4 || i == 6 || i == 8 || i == 10);
            text += sprintf(text, "%s%02x", dash ? "-" : "", h[i]);
        }
    }
    restart(d);
}
