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

enum { HEAD_BYTES = 20 };
static const char magic[] = "_logits_";

static uint64_t record_bytes(const struct kld_base *b)
{
    return record_codes(b->n_vocab) * sizeof(uint16_t);
}

uint64_t kld_record_offset(const struct kld_base *b, uint32_t window, uint32_t row)
{
    const uint64_t tokens = (uint64_t)b->n_windows * b->n_ctx * sizeof(int32_t);
    const uint64_t before = (uint64_t)window * window_predictions(b->n_ctx) + row;
    return HEAD_BYTES + tokens + before * record_bytes(b);
}

static int check(struct kld_base *b, const char *path, ggf_error *err)
{
    int32_t head[3];
    const uint8_t *bytes = b->map;
    if (memcmp(bytes, magic, 8) != 0)
        return ggf_fail(err, GGF_E_FORMAT, 0, "%s does not start with '%s'", path, magic);
    memcpy(head, bytes + 8, sizeof head);
    /* With these bounds no product below leaves 64 bits: 2^20 * 2^19 * 2^23. */
    if (head[0] < 4 || head[0] > 1 << 20)
        return ggf_fail(err, GGF_E_FORMAT, 8, "%s: a context of %d tokens", path,
                        head[0]);
    if (head[1] < 1 || head[1] > 1 << 22)
        return ggf_fail(err, GGF_E_FORMAT, 12, "%s: a vocabulary of %d", path, head[1]);
    if (head[2] < 1 || head[2] > 1 << 20)
        return ggf_fail(err, GGF_E_FORMAT, 16, "%s: %d windows", path, head[2]);
    b->n_ctx = (uint32_t)head[0];
    b->n_vocab = (uint32_t)head[1];
    b->n_windows = (uint32_t)head[2];
    const uint64_t want = kld_record_offset(b, b->n_windows, 0);
    if (b->map_bytes != want)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%s has %zu bytes; %u windows of %u tokens take %llu", path,
                        b->map_bytes, b->n_windows, b->n_ctx, (unsigned long long)want);
    b->tokens = (const int32_t *)(bytes + HEAD_BYTES);
    b->records = (const uint16_t *)(bytes + kld_record_offset(b, 0, 0));
    for (uint64_t i = 0; i < (uint64_t)b->n_windows * b->n_ctx; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= b->n_vocab)
            return ggf_fail(err, GGF_E_FORMAT, HEAD_BYTES + 4 * i,
                            "%s: token %d in a vocabulary of %u", path, b->tokens[i],
                            b->n_vocab);
    return 0;
}

static int map_file(struct kld_base *b, int fd, const char *path, ggf_error *err)
{
    struct stat st;
    if (fstat(fd, &st))
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot stat %s: %s", path,
                        strerror(errno));
    if (st.st_size < HEAD_BYTES)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET, "%s is too short", path);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return ggf_fail(err, GGF_E_IO, GGF_NO_OFFSET, "cannot map %s: %s", path,
                        strerror(errno));
    b->map = map;
    b->map_bytes = (size_t)st.st_size;
    return check(b, path, err);
}

int kld_base_open(struct kld_base *b, const char *path, ggf_error *err)
{
    *b = (struct kld_base){ 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
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

int kld_base_write_head(const struct kld_base *b, ggf_output *out, ggf_error *err)
{
    const uint32_t head[3] = { b->n_ctx, b->n_vocab, b->n_windows };
    int r = ggf_output_write(out, 0, magic, 8, err);
    if (!r) r = ggf_output_write(out, 8, head, sizeof head, err);
    if (!r)
        r = ggf_output_write(out, HEAD_BYTES, b->tokens,
                             (size_t)b->n_windows * b->n_ctx * sizeof *b->tokens, err);
    return r;
}
