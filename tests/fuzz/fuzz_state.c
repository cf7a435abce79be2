/* fuzz_state.c - any bytes as a file of kept states: each record is read, or refused in
 * words.  Keys and sums are made right first, else nothing would get past them. */
#include "../../infer/session/record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Read as a whole, and once more with the key and the sum that it should have. */
static void look_at(uint8_t *bytes, size_t len)
{
    enum { AT_KEY = 96, AT_SHA256 = 128 };
    struct kept_record head, r;
    ggf_error err = { 0 };
    record_read(&r, bytes, len, "file", &err);
    const int e = record_read_head(&head, bytes, len, "file", &err);
    if (e && !*err.message) abort();
    if (e == GGF_E_HASH) {
        record_set_key(&head);
        memcpy(bytes + AT_KEY, head.key, KEY_BYTES);
        if (record_read_head(&head, bytes, len, "file", &err) == GGF_E_HASH) abort();
    }
    ggf_sha256 *h = ggf_sha256_new();
    if (!h || len < RECORD_HEADER) {
        ggf_sha256_free(h);
        return;
    }
    ggf_sha256_update(h, bytes, AT_SHA256);
    ggf_sha256_update(h, bytes + RECORD_HEADER, len - RECORD_HEADER);
    ggf_sha256_final(h, bytes + AT_SHA256);
    ggf_sha256_free(h);
    if (record_read(&r, bytes, len, "file", &err)) return;
    if (record_bytes(&r) != len || r.data + r.data_bytes != bytes + len) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy) return 0;
    if (len) memcpy(copy, bytes, len);
    look_at(copy, len);
    free(copy);
    return 0;
}
