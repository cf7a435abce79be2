/* vocab_image.h - small vocabularies as GGUF bytes: a good one, and each with one fault.
 */
#ifndef TEST_VOCAB_IMAGE_H
#define TEST_VOCAB_IMAGE_H

#include "image.h"

#include "../../infer/text/tokenizer.h"

/* What differs from the good vocabulary: its 256 byte tokens, then "ab" (256), "abc"
 * (257), "<|im_end|>" control (258), "<think>" user defined (259), "[PAD]" unused (260);
 * merges "a b" and "ab c". */
struct vocab_fault {
    const char *name;
    const char *says;  /* part of the message; NULL: loads */
    const char *model; /* NULL: gpt2; "": no such key */
    const char *pre;   /* likewise qwen2 */
    const char *token_257, *token_259;
    const char *merges[2]; /* NULL: the good ones */
    int n_types;           /* 0: as many as tokens; -1: no such key */
    int type_257;
    int eos, bos; /* 0: 258 and none; -1 stores 2^32 - 1 */
    bool no_tokens, empty_tokens, tokens_u32, no_merges, merges_u32, no_byte_0, add_bos;
};

/* A byte as GPT-2's files spell it, in UTF-8. */
static inline void put_byte_token(struct image *f, int byte)
{
    int c = byte;
    const bool itself = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    if (!itself) {
        c = 0x100;
        for (int b = 0; b < byte; b++)
            c += !((b > ' ' && b < 0x7f) || (b > 0xa0 && b != 0xad));
    }
    const char utf8[2] = { (char)(0xc0 | c >> 6), (char)(0x80 | (c & 63)) };
    if (c < 0x80) put_bytes_string(f, &(char){ (char)c }, 1);
    else put_bytes_string(f, utf8, 2);
}

static inline void put_vocab_tokens(struct image *f, const struct vocab_fault *x)
{
    if (x->no_tokens) return;
    put_key_array(f, "tokenizer.ggml.tokens", x->tokens_u32 ? GGF_KV_U32 : GGF_KV_STRING,
                  x->empty_tokens ? 0 : 261);
    if (x->empty_tokens) return;
    if (x->tokens_u32) {
        for (uint32_t i = 0; i < 261; i++) put_u32(f, i);
        return;
    }
    for (int b = 0; b < 256; b++) {
        if (b == 0 && x->no_byte_0) put_string(f, "xyz");
        else put_byte_token(f, b);
    }
    put_string(f, "ab");
    put_string(f, x->token_257 ? x->token_257 : "abc");
    put_string(f, "<|im_end|>");
    put_string(f, x->token_259 ? x->token_259 : "<think>");
    put_string(f, "[PAD]");
}

static inline void put_vocab_types(struct image *f, const struct vocab_fault *x)
{
    if (x->n_types < 0) return;
    const uint32_t n = x->n_types ? (uint32_t)x->n_types : x->empty_tokens ? 0 : 261;
    put_key_array(f, "tokenizer.ggml.token_type", GGF_KV_I32, n);
    for (uint32_t i = 0; i < n; i++)
        put_u32(f, i == 257 && x->type_257 ? (uint32_t)x->type_257
                   : i == 258              ? 3
                   : i == 259              ? 4
                   : i == 260              ? 5
                                           : 1);
}

static inline void put_vocab_merges(struct image *f, const struct vocab_fault *x)
{
    if (x->no_merges) return;
    put_key_array(f, "tokenizer.ggml.merges", x->merges_u32 ? GGF_KV_U32 : GGF_KV_STRING,
                  2);
    for (int i = 0; i < 2; i++) {
        if (x->merges_u32) put_u32(f, 1);
        else put_string(f, x->merges[i] ? x->merges[i] : i ? "ab c" : "a b");
    }
}

static inline struct image *vocab_image(const struct vocab_fault *x)
{
    struct image *f = image_new();
    const bool has_model = !x->model || *x->model, has_pre = !x->pre || *x->pre;
    const uint64_t keys = has_model + has_pre + !x->no_tokens + (x->n_types >= 0) +
                          !x->no_merges + 1 + (x->bos != 0) + x->add_bos;
    put_head(f, 3, 0, keys);
    if (has_model) put_key_str(f, "tokenizer.ggml.model", x->model ? x->model : "gpt2");
    if (has_pre) put_key_str(f, "tokenizer.ggml.pre", x->pre ? x->pre : "qwen2");
    put_vocab_tokens(f, x);
    put_vocab_types(f, x);
    put_vocab_merges(f, x);
    put_key_u32(f, "tokenizer.ggml.eos_token_id", x->eos ? (uint32_t)x->eos : 258);
    if (x->bos) put_key_u32(f, "tokenizer.ggml.bos_token_id", (uint32_t)x->bos);
    if (x->add_bos) {
        put_key(f, "tokenizer.ggml.add_bos_token", GGF_KV_BOOL);
        put(f, "\1", 1);
    }
    put_padding(f, 32);
    return f;
}

/* Load it; the result of q3n_tokenizer_load(). */
static inline int load_vocab_image(q3n_tokenizer **t, const struct vocab_fault *x,
                                   ggf_error *err)
{
    struct image *f = vocab_image(x);
    ggf_file *file;
    const int opened = ggf_open_buffer(&file, f->bytes, f->len, NULL, err);
    ck_assert_msg(!opened, "%s: %s", x->name, err->message);
    const int r = q3n_tokenizer_load(t, file, err);
    ggf_close(file);
    free(f);
    return r;
}

#endif
