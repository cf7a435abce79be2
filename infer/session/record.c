/* record.c - see record.h. */
#include "record.h"

#include "../bytes.h"

#include <inttypes.h>
#include <string.h>

enum { VERSION = 1 };

static const char magic[8] = { 'Q', '3', 'N', 'S', 'T', 'A', 'T', 'E' };

/* Where things are in the header; the tokens follow it, then the data. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 8,
    AT_KIND = 12,
    AT_BYTES = 16, /* of the record */
    AT_START = 24,
    AT_TOKENS = 28,
    AT_ROOT = 32,
    AT_PARENT = 64,
    AT_KEY = 96,
    AT_SHA256 = 128, /* of all bytes of the record but these */
};

void record_set_key(struct kept_record *r)
{
    struct {
        uint32_t kind, start;
        uint8_t parent[KEY_BYTES];
        int32_t tokens[PAGE_TOKENS];
    } all = { .kind = r->kind, .start = r->start };
    const size_t rest = (PAGE_TOKENS - r->n_tokens) * sizeof *r->tokens;
    memcpy(all.parent, r->parent, KEY_BYTES);
    if (r->n_tokens) memcpy(all.tokens, r->tokens, r->n_tokens * sizeof *r->tokens);
    ggf_sha256_of(&all, sizeof all - rest, r->key);
}

static uint64_t head_bytes(const struct kept_record *r)
{
    return RECORD_HEADER + r->n_tokens * sizeof *r->tokens;
}

uint64_t record_bytes(const struct kept_record *r)
{
    return head_bytes(r) + r->data_bytes;
}

/* ---- Writing ------------------------------------------------------------------- */

static int hash(uint8_t out[GGF_SHA256_BYTES], const uint8_t *head, size_t head_len,
                const uint8_t *data, size_t data_len, ggf_error *err)
{
    ggf_sha256 *h = ggf_sha256_new();
    if (!h) return ggf_no_memory(err);
    ggf_sha256_update(h, head, AT_SHA256);
    ggf_sha256_update(h, head + RECORD_HEADER, head_len - RECORD_HEADER);
    ggf_sha256_update(h, data, data_len);
    ggf_sha256_final(h, out);
    ggf_sha256_free(h);
    return 0;
}

int record_write(ggf_output *out, uint64_t *at, const struct kept_record *r,
                 ggf_error *err)
{
    uint8_t head[RECORD_HEAD_MOST] = { 0 };
    const size_t len = head_bytes(r);
    memcpy(head + AT_MAGIC, magic, sizeof magic);
    put_u32(head + AT_VERSION, VERSION);
    put_u32(head + AT_KIND, r->kind);
    put_u64(head + AT_BYTES, record_bytes(r));
    put_u32(head + AT_START, r->start);
    put_u32(head + AT_TOKENS, r->n_tokens);
    memcpy(head + AT_ROOT, r->root, KEY_BYTES);
    memcpy(head + AT_PARENT, r->parent, KEY_BYTES);
    memcpy(head + AT_KEY, r->key, KEY_BYTES);
    if (r->n_tokens)
        memcpy(head + RECORD_HEADER, r->tokens, r->n_tokens * sizeof *r->tokens);
    int e = hash(head + AT_SHA256, head, len, r->data, r->data_bytes, err);
    if (!e) e = ggf_output_write(out, *at, head, len, err);
    if (!e) e = ggf_output_write(out, *at + len, r->data, r->data_bytes, err);
    *at += record_bytes(r);
    return e;
}

/* ---- Reading ------------------------------------------------------------------- */

static int wrong(ggf_error *err, const char *name, const char *what)
{
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%.200s: %s", name, what);
}

static bool possible(const struct kept_record *r)
{
    if (r->start % PAGE_TOKENS || r->start > INT32_MAX) return false;
    if (r->kind == RECORD_PAGE) return r->n_tokens == PAGE_TOKENS;
    return r->kind == RECORD_STATE && r->n_tokens < PAGE_TOKENS;
}

static int check_key(const struct kept_record *r, const char *name, ggf_error *err)
{
    struct kept_record other = *r;
    record_set_key(&other);
    if (memcmp(r->key, other.key, KEY_BYTES) != 0)
        return ggf_fail(err, GGF_E_HASH, AT_KEY, "%.200s: tokens and key differ", name);
    if (!r->start && memcmp(r->root, r->parent, KEY_BYTES) != 0)
        return wrong(err, name, "the first record of a sequence has another one before");
    return 0;
}

int record_read_head(struct kept_record *r, const uint8_t *p, size_t len,
                     const char *name, ggf_error *err)
{
    *r = (struct kept_record){ 0 };
    if (len < RECORD_HEADER || memcmp(p, magic, sizeof magic) != 0)
        return wrong(err, name, "not a kept state");
    if (get_u32(p + AT_VERSION) != VERSION)
        return ggf_fail(err, GGF_E_FORMAT, AT_VERSION,
                        "%.200s: version %" PRIu32 ", expected %d", name,
                        get_u32(p + AT_VERSION), VERSION);
    r->kind = get_u32(p + AT_KIND);
    r->start = get_u32(p + AT_START);
    r->n_tokens = get_u32(p + AT_TOKENS);
    if (!possible(r))
        return ggf_fail(err, GGF_E_FORMAT, AT_KIND,
                        "%.200s: kind %u with %" PRIu32 " tokens from %" PRIu32
                        " on is impossible",
                        name, (unsigned)r->kind, r->n_tokens, r->start);
    const uint64_t bytes = get_u64(p + AT_BYTES), head = head_bytes(r);
    if (bytes < head || bytes > INT64_MAX || len < head)
        return wrong(err, name, "cut off in its tokens");
    r->data_bytes = bytes - head;
    memcpy(r->root, p + AT_ROOT, KEY_BYTES);
    memcpy(r->parent, p + AT_PARENT, KEY_BYTES);
    memcpy(r->key, p + AT_KEY, KEY_BYTES);
    r->tokens = (const int32_t *)(const void *)(p + RECORD_HEADER);
    return check_key(r, name, err);
}

int record_read(struct kept_record *r, const uint8_t *p, size_t len, const char *name,
                ggf_error *err)
{
    uint8_t sum[GGF_SHA256_BYTES];
    int e = record_read_head(r, p, len, name, err);
    if (e) return e;
    if (record_bytes(r) != len)
        return ggf_fail(err, GGF_E_FORMAT, AT_BYTES,
                        "%.200s has %zu bytes, expected %" PRIu64, name, len,
                        record_bytes(r));
    r->data = p + head_bytes(r);
    if ((e = hash(sum, p, head_bytes(r), r->data, r->data_bytes, err))) return e;
    if (!memcmp(sum, p + AT_SHA256, sizeof sum)) return 0;
    r->data = NULL;
    return ggf_fail(err, GGF_E_HASH, AT_SHA256,
                    "%.200s is damaged: its SHA-256 is another", name);
}
