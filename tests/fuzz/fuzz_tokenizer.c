/* fuzz_tokenizer.c - bytes that start with "GGUF" as a vocabulary, others as a text for
 * the good vocabulary of the corpus.  A text in normalization form C must come back from
 * its tokens byte for byte, any other from the second time on; streams of it must be
 * whole characters. */
#include "../../infer/text/nfc.h"
#include "../../infer/text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define CHECK(x)                                                                         \
    do {                                                                                 \
        if (!(x)) __builtin_trap();                                                      \
    } while (0)

static q3n_tokenizer *load(const void *bytes, size_t len)
{
    q3n_tokenizer *t = NULL;
    ggf_error err = { 0 };
    ggf_file *file;
    if (ggf_open_buffer(&file, bytes, len, NULL, &err)) return NULL;
    const int r = q3n_tokenizer_load(&t, file, &err);
    ggf_close(file);
    CHECK(!r || err.message[0]);
    return r ? NULL : t;
}

struct text {
    char *bytes;
    size_t len;
};

static struct text there_and_back(const q3n_tokenizer *t, struct text in, bool special)
{
    struct q3n_ids ids = { 0 };
    struct text out = { 0 };
    CHECK(!q3n_encode(t, in.bytes, in.len, special, &ids, NULL));
    for (size_t i = 0; i < ids.n; i++) {
        CHECK(ids.ids[i] >= 0 && (uint32_t)ids.ids[i] < q3n_tokenizer_count(t));
        CHECK(special || !q3n_token_is_control(t, ids.ids[i]));
        out.len += q3n_token_text(t, ids.ids[i]).len;
    }
    char *p = out.bytes = malloc(out.len + 1);
    CHECK(p);
    for (size_t i = 0; i < ids.n; i++) {
        const struct ggf_str s = q3n_token_text(t, ids.ids[i]);
        memcpy(p, s.data, s.len);
        p += s.len;
    }
    q3n_ids_free(&ids);
    return out;
}

static bool equal(struct text a, struct text b)
{
    return a.len == b.len && (!a.len || !memcmp(a.bytes, b.bytes, a.len));
}

static void check_text(const q3n_tokenizer *t, struct text in, bool special)
{
    struct nfc_text normal = { 0 };
    const int changed = nfc_normalize((const uint8_t *)in.bytes, in.len, &normal);
    CHECK(changed >= 0);
    struct text once = there_and_back(t, in, special);
    struct text twice = there_and_back(t, once, special);
    CHECK(equal(once, twice));
    if (!changed) CHECK(equal(in, once));
    free(normal.bytes);
    free(once.bytes);
    free(twice.bytes);
}

/* Whatever the pieces, the stream gives the same characters, none of them cut. */
static void check_stream(struct text in)
{
    char *whole = malloc(3 * (in.len + 4) + 12), *pieces = malloc(3 * (in.len + 4) + 12);
    CHECK(whole && pieces);
    struct q3n_stream a = { 0 }, b = { 0 };
    size_t n = q3n_stream_push(&a, in.bytes, in.len, whole), m = 0;
    n += q3n_stream_end(&a, whole + n);
    for (size_t i = 0; i < in.len; i++) {
        m += q3n_stream_push(&b, in.bytes + i, 1, pieces + m);
        CHECK(m == n || ((uint8_t)whole[m] & 0xc0) != 0x80);
    }
    m += q3n_stream_end(&b, pieces + m);
    CHECK(n == m && !memcmp(whole, pieces, n));
    free(whole);
    free(pieces);
}

static const q3n_tokenizer *good(void)
{
    static q3n_tokenizer *t;
    static char bytes[1 << 16];
    if (t) return t;
    FILE *f = fopen("tests/fuzz/corpus/tokenizer/good.gguf", "rb");
    CHECK(f);
    const size_t len = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    t = load(bytes, len);
    CHECK(t);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static char sample[] = "abcabc <think><|im_end|> \xff'll 12\n\n x\u0301";
    const struct text fixed = { sample, sizeof sample - 1 };
    struct text in = { (char *)bytes, len };
    if (len >= 4 && !memcmp(bytes, "GGUF", 4)) {
        q3n_tokenizer *t = load(bytes, len);
        if (t) {
            free(there_and_back(t, fixed, true).bytes);
            free(there_and_back(t, fixed, false).bytes);
        }
        q3n_tokenizer_free(t);
        return 0;
    }
    check_text(good(), in, true);
    check_text(good(), in, false);
    check_stream(in);
    return 0;
}
