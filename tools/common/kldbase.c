/* kldbase.c - see kldbase.h. */
#include "kldbase.h"

#include "logprob.h"
#include "windows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC_BYTES = 8, LLAMA_HEAD = 20, F32_HEAD = 64, F32_VERSION = 1 };

static const char *const magics[] = { [KLD_LLAMA] = "_logits_", [KLD_F32] = "q3nlogit" };
static const uint64_t head_bytes[] = { [KLD_LLAMA] = LLAMA_HEAD, [KLD_F32] = F32_HEAD };

/* The head of the exact form. */
struct f32_head {
    char magic[MAGIC_BYTES];
    uint32_t version, n_ctx, n_vocab, n_windows, zeros[2];
    uint8_t hash[GGF_SHA256_BYTES];
};
_Static_assert(sizeof(struct f32_head) == F32_HEAD, "the head has no gaps");

size_t kld_record_bytes(const struct kld_base *b)
{
    return b->form == KLD_F32 ? (size_t)b->n_vocab * sizeof(float)
                              : record_codes(b->n_vocab) * sizeof(uint16_t);
}

static size_t token_bytes(const struct kld_base *b)
{
    return (size_t)b->n_windows * b->n_ctx * sizeof(int32_t);
}

uint64_t kld_record_offset(const struct kld_base *b, uint32_t window, uint32_t row)
{
    const uint64_t before = (uint64_t)window * window_predictions(b->n_ctx) + row;
    return head_bytes[b->form] + token_bytes(b) + before * kld_record_bytes(b);
}

const uint16_t *kld_codes(const struct kld_base *b, size_t prediction)
{
    return (const uint16_t *)b->records + prediction * record_codes(b->n_vocab);
}

const float *kld_logits(const struct kld_base *b, size_t prediction)
{
    return (const float *)b->records + prediction * b->n_vocab;
}

void kld_base_hash(const struct kld_base *b, uint8_t hash[GGF_SHA256_BYTES])
{
    ggf_sha256_of(b->tokens, token_bytes(b), hash);
}

/* ==== Reading ============================================================= */

/* Counts within bounds under which no product leaves 64 bits: 2^20 * 2^19 * 2^24. */
static int check_counts(const struct kld_base *b, size_t at, const char *name,
                        ggf_error *err)
{
    if (b->n_ctx < 4 || b->n_ctx > 1 << 20)
        return ggf_fail(err, GGF_E_FORMAT, at, "%s: a context of %u tokens", name,
                        b->n_ctx);
    if (b->n_vocab < 1 || b->n_vocab > 1 << 22)
        return ggf_fail(err, GGF_E_FORMAT, at + 4, "%s: a vocabulary of %u", name,
                        b->n_vocab);
    if (b->n_windows < 1 || b->n_windows > 1 << 20)
        return ggf_fail(err, GGF_E_FORMAT, at + 8, "%s: %u windows", name, b->n_windows);
    return 0;
}

static int check_size(const struct kld_base *b, size_t len, const char *name,
                      ggf_error *err)
{
    const uint64_t want = kld_record_offset(b, b->n_windows, 0);
    if (len == want) return 0;
    return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                    "%s has %zu bytes; %u windows of %u tokens take %llu", name, len,
                    b->n_windows, b->n_ctx, (unsigned long long)want);
}

static int check_tokens(const struct kld_base *b, const char *name, ggf_error *err)
{
    for (uint64_t i = 0; i < (uint64_t)b->n_windows * b->n_ctx; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= b->n_vocab)
            return ggf_fail(err, GGF_E_FORMAT, head_bytes[b->form] + 4 * i,
                            "%s: token %d in a vocabulary of %u", name, b->tokens[i],
                            b->n_vocab);
    return 0;
}

/* What the head of the exact form has more than counts. */
static int check_f32_head(const struct f32_head *head, const char *name, ggf_error *err)
{
    if (head->version != F32_VERSION)
        return ggf_fail(err, GGF_E_FORMAT, 8, "%s is of version %u, known is %d", name,
                        head->version, F32_VERSION);
    if (head->zeros[0] || head->zeros[1])
        return ggf_fail(err, GGF_E_FORMAT, 24, "%s: bytes that must be 0 are not", name);
    return 0;
}

static int read_head(struct kld_base *b, const void *bytes, size_t len, const char *name,
                     ggf_error *err)
{
    uint32_t counts[3];
    int r = 0;
    if (len < LLAMA_HEAD)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s is too short", name);
    if (!memcmp(bytes, magics[KLD_F32], MAGIC_BYTES)) b->form = KLD_F32;
    else if (memcmp(bytes, magics[KLD_LLAMA], MAGIC_BYTES) != 0)
        return ggf_fail(err, GGF_E_FORMAT, 0, "%s starts neither with '%s' nor with '%s'",
                        name, magics[KLD_LLAMA], magics[KLD_F32]);
    if (len < head_bytes[b->form])
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s is too short", name);
    if (b->form == KLD_F32) r = check_f32_head(bytes, name, err);
    const size_t at = b->form == KLD_F32 ? 12 : 8;
    memcpy(counts, (const uint8_t *)bytes + at, sizeof counts);
    b->n_ctx = counts[0];
    b->n_vocab = counts[1];
    b->n_windows = counts[2];
    return r ? r : check_counts(b, at, name, err);
}

int kld_base_parse(struct kld_base *b, const void *bytes, size_t len, const char *name,
                   ggf_error *err)
{
    uint8_t hash[GGF_SHA256_BYTES];
    *b = (struct kld_base){ 0 };
    int r = read_head(b, bytes, len, name, err);
    if (!r) r = check_size(b, len, name, err);
    if (r) return r;
    b->tokens = (const int32_t *)((const uint8_t *)bytes + head_bytes[b->form]);
    b->records = (const uint8_t *)bytes + kld_record_offset(b, 0, 0);
    if (b->form == KLD_F32) {
        kld_base_hash(b, hash);
        if (memcmp(hash, ((const struct f32_head *)bytes)->hash, sizeof hash) != 0)
            return ggf_fail(err, GGF_E_HASH, 32,
                            "%s: the tokens are not those that were written", name);
    }
    return check_tokens(b, name, err);
}

static int map_file(struct kld_base *b, int fd, const char *path, ggf_error *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot stat %s: %s", path,
                        strerror(errno));
    if (st.st_size < LLAMA_HEAD)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s is too short", path);
    const size_t len = (size_t)st.st_size;
    void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot map %s: %s", path,
                        strerror(errno));
    const int r = kld_base_parse(b, map, len, path, err);
    b->map = map;
    b->map_bytes = len;
    return r;
}

int kld_base_open(struct kld_base *b, const char *path, ggf_error *err)
{
    *b = (struct kld_base){ 0 };
    /* O_NONBLOCK: a FIFO is not waited for, and has no bytes. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot open %s: %s", path,
                        strerror(errno));
    const int r = map_file(b, fd, path, err);
    close(fd);
    if (r) kld_base_close(b);
    return r;
}

void kld_base_close(struct kld_base *b)
{
    if (b->map) munmap(b->map, b->map_bytes);
    *b = (struct kld_base){ 0 };
}

/* ==== Writing ============================================================= */

static int write_f32_head(const struct kld_base *b, ggf_output *out, ggf_error *err)
{
    struct f32_head head = { .version = F32_VERSION,
                             .n_ctx = b->n_ctx,
                             .n_vocab = b->n_vocab,
                             .n_windows = b->n_windows };
    memcpy(head.magic, magics[KLD_F32], MAGIC_BYTES);
    kld_base_hash(b, head.hash);
    return ggf_output_write(out, 0, &head, sizeof head, err);
}

static int write_llama_head(const struct kld_base *b, ggf_output *out, ggf_error *err)
{
    const uint32_t counts[3] = { b->n_ctx, b->n_vocab, b->n_windows };
    const int r = ggf_output_write(out, 0, magics[KLD_LLAMA], MAGIC_BYTES, err);
    return r ? r : ggf_output_write(out, MAGIC_BYTES, counts, sizeof counts, err);
}

int kld_base_write_head(const struct kld_base *b, ggf_output *out, ggf_error *err)
{
    const int r =
        b->form == KLD_F32 ? write_f32_head(b, out, err) : write_llama_head(b, out, err);
    return r ? r
             : ggf_output_write(out, head_bytes[b->form], b->tokens, token_bytes(b), err);
}
