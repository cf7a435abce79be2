/* sha256.c - SHA-256 by libcrypto, which uses the CPU's SHA instructions. */
#include "libgguf.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct ggf_sha256 {
    EVP_MD_CTX *ctx;
};

ggf_sha256 *ggf_sha256_new(void)
{
    ggf_sha256 *h = malloc(sizeof *h);
    if (!h) return NULL;
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || !EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL)) {
        ggf_sha256_free(h);
        return NULL;
    }
    return h;
}

void ggf_sha256_update(ggf_sha256 *h, const void *bytes, size_t len)
{
    EVP_DigestUpdate(h->ctx, bytes, len);
}

void ggf_sha256_final(ggf_sha256 *h, uint8_t out[GGF_SHA256_BYTES])
{
    EVP_DigestFinal_ex(h->ctx, out, NULL);
    EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL);
}

void ggf_sha256_free(ggf_sha256 *h)
{
    if (!h) return;
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void ggf_sha256_of(const void *bytes, size_t len, uint8_t out[GGF_SHA256_BYTES])
{
    EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL);
}
