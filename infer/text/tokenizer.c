/* tokenizer.c - see tokenizer.h.  Owns the order of the steps and what the metadata says
 * about special ids; the steps are in split.c, nfc.c and bpe.c, the tables in vocab.c. */
#include "tokenizer.h"

#include "bpe.h"
#include "nfc.h"
#include "split.h"

#include <stdlib.h>
#include <string.h>

/* Normalizing may make a text three times as long, and bpe.c counts in 32 bits. */
#define MAX_TEXT ((size_t)1 << 30)

struct q3n_tokenizer {
    struct vocab vocab;
    int32_t bos;    /* -1: none wanted */
    int32_t eog[8]; /* tokens that end a reply: 3 keys and 5 names may add one each */
    int n_eog;
};

/* ==== Loading ============================================================= */

static void add_eog(q3n_tokenizer *t, int64_t id)
{
    if (id < 0 || id >= t->vocab.n_tokens || q3n_token_is_eog(t, (int32_t)id)) return;
    t->eog[t->n_eog++] = (int32_t)id;
}

/* The id stored under a key, -1 if the key is missing. */
static int get_id(const q3n_tokenizer *t, const ggf_file *file, const char *key,
                  int64_t *id, ggf_error *err)
{
    *id = -1;
    const int r = ggf_get_i64(file, key, id, err);
    if (r == GGF_E_NOT_FOUND || (!r && *id == -1)) return 0;
    if (!r && (*id < 0 || *id >= t->vocab.n_tokens))
        return ggf_fail(err, GGF_E_FORMAT, ggf_find_kv(file, key)->offset,
                        "%s is %lld, but the vocabulary has %u tokens", key,
                        (long long)*id, t->vocab.n_tokens);
    return r;
}

static int load_special_ids(q3n_tokenizer *t, const ggf_file *file, ggf_error *err)
{
    /* The names llama.cpp takes for ends of generation among Qwen's tokens. */
    static const char *const names[] = { "<|endoftext|>", "<|im_end|>", "<|fim_pad|>",
                                         "<|repo_name|>", "<|file_sep|>" };
    static const char *const keys[] = { "tokenizer.ggml.eos_token_id",
                                        "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id" };
    int64_t id;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const int r = get_id(t, file, keys[i], &id, err);
        if (r) return r;
        add_eog(t, id);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_eog(t, q3n_token_find(t, names[i]));

    bool add_bos = false;
    int r = ggf_get_bool(file, "tokenizer.ggml.add_bos_token", &add_bos, err);
    if (r && r != GGF_E_NOT_FOUND) return r;
    r = get_id(t, file, "tokenizer.ggml.bos_token_id", &id, err);
    t->bos = add_bos ? (int32_t)id : -1;
    return r;
}

/* Only vocabularies whose rules are implemented here may pass. */
static int check_kind(const ggf_file *file, const char *key, const char *known,
                      ggf_error *err)
{
    struct ggf_str s;
    const int r = ggf_get_str(file, key, &s, err);
    if (r) return r;
    if (s.len == strlen(known) && !memcmp(s.data, known, s.len)) return 0;
    return ggf_fail(err, GGF_E_FORMAT, ggf_find_kv(file, key)->offset,
                    "%s is '%.*s'; only '%s' is supported", key,
                    (int)(s.len < 60 ? s.len : 60), s.data, known);
}

int q3n_tokenizer_load(q3n_tokenizer **out, const ggf_file *file, ggf_error *err)
{
    *out = NULL;
    int r = check_kind(file, "tokenizer.ggml.model", "gpt2", err);
    if (!r) r = check_kind(file, "tokenizer.ggml.pre", "qwen2", err);
    if (r) return r;
    q3n_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return ggf_no_memory(err);
    r = vocab_load(&t->vocab, file, err);
    if (!r) r = load_special_ids(t, file, err);
    if (r) {
        q3n_tokenizer_free(t);
        return r;
    }
    *out = t;
    return 0;
}

void q3n_tokenizer_free(q3n_tokenizer *t)
{
    if (!t) return;
    vocab_free(&t->vocab);
    free(t);
}

/* ==== Encoding ============================================================ */

struct encoder {
    const q3n_tokenizer *t;
    struct bpe_space space;
    struct nfc_text normal;
    struct q3n_ids *out;
};

/* A stretch without special tokens. */
static bool encode_plain(struct encoder *e, const uint8_t *text, size_t len)
{
    if (!len) return true;
    const int r = nfc_normalize(text, len, &e->normal);
    if (r < 0) return false;
    const uint8_t *p = r ? e->normal.bytes : text;
    for (size_t left = r ? e->normal.len : len; left;) {
        const size_t n = split_qwen2(p, left);
        if (!bpe_encode(&e->t->vocab, p, n, &e->space, e->out)) return false;
        p += n;
        left -= n;
    }
    return true;
}

/* The special token at text[i]: the longest that is allowed there.  `trusted` bytes from
 * here on may be a CONTROL token. */
static int32_t special_at(const struct vocab *v, const uint8_t *text, size_t len,
                          size_t trusted)
{
    const int32_t control = trusted ? vocab_special_at(v, text, trusted, true) : -1;
    if (trusted == len) return control;
    const int32_t other = vocab_special_at(v, text, len, false);
    if (control < 0 || other < 0) return control < 0 ? other : control;
    return vocab_text(v, (uint32_t)other).len > vocab_text(v, (uint32_t)control).len
               ? other
               : control;
}

/* Marks as in q3n_encode_marked(); NULL: all bytes are as `control` says. */
static bool encode_text(struct encoder *e, const uint8_t *text, size_t len, bool control,
                        const char *marks)
{
    const struct vocab *v = &e->t->vocab;
    size_t plain = 0; /* where the stretch before i starts */
    /* Where the bytes that may be control tokens end. */
    size_t trusted = control && !marks ? len : 0;
    for (size_t i = 0; i < len;) {
        if (marks && trusted <= i)
            for (trusted = i; trusted < len && !marks[trusted];) trusted++;
        const int32_t id =
            special_at(v, text + i, len - i, trusted > i ? trusted - i : 0);
        if (id < 0) {
            i++;
            continue;
        }
        if (!encode_plain(e, text + plain, i - plain) || !q3n_ids_push(e->out, id))
            return false;
        plain = i += vocab_text(v, (uint32_t)id).len;
    }
    return encode_plain(e, text + plain, len - plain);
}

static int encode(const q3n_tokenizer *t, const char *text, size_t len, bool control,
                  const char *marks, struct q3n_ids *out, ggf_error *err)
{
    if (len > MAX_TEXT)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "a text of %zu bytes is too long",
                        len);
    struct encoder e = { .t = t, .out = out };
    const size_t before = out->n;
    const bool ok = encode_text(&e, (const uint8_t *)text, len, control, marks);
    bpe_space_free(&e.space);
    free(e.normal.bytes);
    if (ok) return 0;
    out->n = before;
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for the tokens");
}

int q3n_encode(const q3n_tokenizer *t, const char *text, size_t len, bool parse_special,
               struct q3n_ids *out, ggf_error *err)
{
    return encode(t, text, len, parse_special, NULL, out, err);
}

int q3n_encode_marked(const q3n_tokenizer *t, const char *text, size_t len,
                      const char *marks, struct q3n_ids *out, ggf_error *err)
{
    return encode(t, text, len, true, marks, out, err);
}

bool q3n_ids_push_slow(struct q3n_ids *list, int32_t id)
{
    const size_t capacity = list->capacity ? 2 * list->capacity : 256;
    int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
    if (!ids) return false;
    list->ids = ids;
    list->capacity = capacity;
    list->ids[list->n++] = id;
    return true;
}

void q3n_ids_free(struct q3n_ids *list)
{
    free(list->ids);
    *list = (struct q3n_ids){ 0 };
}

/* ==== Tokens ============================================================== */

static bool is_known(const q3n_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.n_tokens;
}

uint32_t q3n_tokenizer_count(const q3n_tokenizer *t) { return t->vocab.n_tokens; }

int32_t q3n_tokenizer_bos(const q3n_tokenizer *t) { return t->bos; }

struct ggf_str q3n_token_text(const q3n_tokenizer *t, int32_t id)
{
    if (!is_known(t, id)) return (struct ggf_str){ "", 0 };
    return vocab_text(&t->vocab, (uint32_t)id);
}

bool q3n_token_is_control(const q3n_tokenizer *t, int32_t id)
{
    return is_known(t, id) && t->vocab.type[id] == TOKEN_CONTROL;
}

bool q3n_token_is_eog(const q3n_tokenizer *t, int32_t id)
{
    for (int i = 0; i < t->n_eog; i++)
        if (t->eog[i] == id) return true;
    return false;
}

const int32_t *q3n_tokenizer_eog(const q3n_tokenizer *t, int *n)
{
    *n = t->n_eog;
    return t->eog;
}

int32_t q3n_token_find(const q3n_tokenizer *t, const char *name)
{
    return vocab_find_special(&t->vocab, name, strlen(name));
}
