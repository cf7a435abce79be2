/* vocab.c - see vocab.h. */
#include "vocab.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ==== The alphabet ========================================================
 *
 * GPT-2's files spell the 256 bytes as 256 printable characters: a byte that is printable
 * in Latin-1 is itself, the other 68 are U+0100, U+0101, ... in order. */
struct alphabet {
    int16_t byte_of[0x144]; /* -1: not a letter of it */
};

static void make_alphabet(struct alphabet *a)
{
    memset(a, 0xff, sizeof *a);
    int next = 0x100;
    for (int b = 0; b < 256; b++) {
        const bool itself = (b > ' ' && b < 0x7f) || (b > 0xa0 && b != 0xad);
        a->byte_of[itself ? b : next++] = (int16_t)b;
    }
}

/* Spelled text to bytes, never more of them.  False if a character is not a letter. */
static bool to_bytes(const struct alphabet *a, struct ggf_str s, uint8_t *out,
                     size_t *len)
{
    const uint8_t *p = (const uint8_t *)s.data, *end = p + s.len;
    for (*len = 0; p < end; (*len)++) {
        unsigned n;
        const uint32_t c = utf8_decode(p, (size_t)(end - p), &n);
        if (c >= 0x144 || a->byte_of[c] < 0) return false;
        out[*len] = (uint8_t)a->byte_of[c];
        p += n;
    }
    return true;
}

/* ==== Tokens by their bytes, while loading ================================ */

struct index {
    uint32_t *slots; /* token + 1; 0: free */
    uint32_t mask;
};

/* A power of two that n fills at most by half. */
static uint32_t table_size(uint64_t n)
{
    uint32_t size = 64;
    while (size < 2 * n) size *= 2;
    return size;
}

static uint32_t *index_slot(const struct index *x, const struct vocab *v,
                            const uint8_t *bytes, size_t len)
{
    uint32_t i = (uint32_t)XXH3_64bits(bytes, len) & x->mask;
    for (; x->slots[i]; i = (i + 1) & x->mask) {
        const struct ggf_str t = vocab_text(v, x->slots[i] - 1);
        if (t.len == len && !memcmp(t.data, bytes, len)) break;
    }
    return &x->slots[i];
}

/* ==== Loading ============================================================= */

struct loader {
    struct vocab *v;
    struct alphabet alphabet;
    struct index index;
    struct ggf_str *strings; /* the array at hand */
    uint8_t *buffer;         /* for one merged token, */
    size_t buffer_size;      /* as large as all tokens together */
    ggf_error *err;
};

static int no_memory(ggf_error *err)
{
    return ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for the vocabulary");
}

/* The strings of an array key; at most 2^30 of them, 4 GiB together. */
static int get_strings(struct loader *l, const char *key, const struct ggf_kv **out)
{
    const struct ggf_kv *kv = *out;
    if (!kv) return ggf_fail(l->err, GGF_E_NOT_FOUND, GGF_NO_OFFSET, "no key %s", key);
    if (kv->type != GGF_KV_ARRAY || kv->elem_type != GGF_KV_STRING)
        return ggf_fail(l->err, GGF_E_TYPE, kv->offset, "%s is not an array of strings",
                        key);
    if (kv->count >= 1u << 30 || kv->bytes > UINT32_MAX)
        return ggf_fail(l->err, GGF_E_FORMAT, kv->offset, "%s is too large", key);
    free(l->strings);
    l->strings = malloc((kv->count + 1) * sizeof *l->strings);
    if (!l->strings) return no_memory(l->err);
    return ggf_kv_strings(kv, l->strings, l->err);
}

static int load_types(struct loader *l, const ggf_file *file)
{
    static const char key[] = "tokenizer.ggml.token_type";
    struct vocab *v = l->v;
    const struct ggf_kv *kv = ggf_find_kv(file, key);
    memset(v->type, TOKEN_NORMAL, v->n_tokens);
    if (!kv) return 0;
    if (kv->type != GGF_KV_ARRAY || kv->count != v->n_tokens)
        return ggf_fail(l->err, GGF_E_FORMAT, kv->offset,
                        "%s is not an array of %u numbers, one for each token", key,
                        v->n_tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        int64_t type;
        const int r = ggf_kv_i64(kv, i, &type, l->err);
        if (r) return r;
        if (type < TOKEN_NORMAL || type > TOKEN_BYTE)
            return ggf_fail(l->err, GGF_E_FORMAT, kv->offset,
                            "token %u has type %lld, expected 1 to 6", i,
                            (long long)type);
        v->type[i] = (uint8_t)type;
    }
    return 0;
}

static bool is_special(const struct vocab *v, uint32_t id)
{
    return v->type[id] == TOKEN_CONTROL || v->type[id] == TOKEN_USER_DEFINED;
}

/* Copy the text of one token and enter it in the index.  Special tokens, and added ones
 * that use characters outside the alphabet, are spelled as they are; merges never make
 * them. */
static int load_token(struct loader *l, uint32_t id, const struct ggf_kv *kv)
{
    struct vocab *v = l->v;
    const struct ggf_str s = l->strings[id];
    uint8_t *text = v->text + v->start[id];
    size_t len = s.len;
    const bool mergeable = v->type[id] != TOKEN_UNUSED && !is_special(v, id) &&
                           to_bytes(&l->alphabet, s, text, &len);
    if (!mergeable) {
        len = v->type[id] == TOKEN_UNUSED ? 0 : s.len;
        if (len) memcpy(text, s.data, len);
    }
    v->start[id + 1] = v->start[id] + (uint32_t)len;
    if (!mergeable) return 0;
    uint32_t *slot = index_slot(&l->index, v, text, len);
    if (*slot)
        return ggf_fail(l->err, GGF_E_FORMAT, kv->offset, "tokens %u and %u are the same",
                        *slot - 1, id);
    *slot = id + 1;
    return 0;
}

/* Every byte must have a token, so that any text can be encoded. */
static int load_byte_ids(struct loader *l, const struct ggf_kv *kv)
{
    for (int b = 0; b < 256; b++) {
        const uint8_t byte = (uint8_t)b;
        const uint32_t id = *index_slot(&l->index, l->v, &byte, 1);
        if (!id)
            return ggf_fail(l->err, GGF_E_FORMAT, kv->offset,
                            "the vocabulary has no token for byte 0x%02x", b);
        l->v->byte_id[b] = id - 1;
    }
    return 0;
}

static int load_tokens(struct loader *l, const ggf_file *file)
{
    static const char key[] = "tokenizer.ggml.tokens";
    struct vocab *v = l->v;
    const struct ggf_kv *kv = ggf_find_kv(file, key);
    int r = get_strings(l, key, &kv);
    if (r) return r;
    v->n_tokens = (uint32_t)kv->count;
    l->index.mask = table_size(kv->count) - 1;
    l->index.slots = calloc((size_t)l->index.mask + 1, sizeof *l->index.slots);
    v->start = calloc((size_t)kv->count + 1, sizeof *v->start);
    v->type = malloc((size_t)kv->count + 1);
    v->text = malloc((size_t)kv->bytes + 1);
    l->buffer_size = (size_t)kv->bytes + 1;
    l->buffer = malloc(l->buffer_size);
    if (!l->index.slots || !v->start || !v->type || !v->text || !l->buffer)
        return no_memory(l->err);
    r = load_types(l, file);
    for (uint32_t id = 0; id < v->n_tokens && !r; id++) r = load_token(l, id, kv);
    return r ? r : load_byte_ids(l, kv);
}

/* The token that part of a merge names, or UINT32_MAX. */
static uint32_t find_part(struct loader *l, struct ggf_str part, uint8_t *bytes,
                          size_t *len)
{
    if (!to_bytes(&l->alphabet, part, bytes, len)) return UINT32_MAX;
    return *index_slot(&l->index, l->v, bytes, *len) - 1;
}

/* Merge number `rank` reads "left right"; a space cannot be the first character since
 * the alphabet has none, so the first one after that is the border. */
static int load_merge(struct loader *l, uint32_t rank, const struct ggf_kv *kv)
{
    struct vocab *v = l->v;
    const struct ggf_str s = l->strings[rank];
    const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
    if (!space || s.len > l->buffer_size) goto bad;
    const struct ggf_str left_text = { s.data, (uint64_t)(space - s.data) };
    const struct ggf_str right_text = { space + 1, s.len - left_text.len - 1 };
    size_t n_left, n_right;
    const uint32_t left = find_part(l, left_text, l->buffer, &n_left);
    if (left == UINT32_MAX || !right_text.len) goto bad;
    const uint32_t right = find_part(l, right_text, l->buffer + n_left, &n_right);
    if (right == UINT32_MAX) goto bad;
    const uint32_t id = *index_slot(&l->index, v, l->buffer, n_left + n_right) - 1;
    if (id == UINT32_MAX) goto bad;

    struct merge *m = (struct merge *)merge_find(v, left, right);
    if (m->rank == MERGE_NONE) *m = (struct merge){ left, right, rank, id };
    return 0;
bad:
    return ggf_fail(l->err, GGF_E_FORMAT, kv->offset,
                    "merge %u, '%.*s', does not join two tokens into a third", rank,
                    (int)(s.len < 100 ? s.len : 100), s.data);
}

static int load_merges(struct loader *l, const ggf_file *file)
{
    static const char key[] = "tokenizer.ggml.merges";
    struct vocab *v = l->v;
    const struct ggf_kv *kv = ggf_find_kv(file, key);
    int r = get_strings(l, key, &kv);
    if (r) return r;
    v->merge_mask = table_size(kv->count) - 1;
    v->merges = malloc(((size_t)v->merge_mask + 1) * sizeof *v->merges);
    if (!v->merges) return no_memory(l->err);
    memset(v->merges, 0xff, ((size_t)v->merge_mask + 1) * sizeof *v->merges);
    for (uint32_t i = 0; i < kv->count && !r; i++) r = load_merge(l, i, kv);
    return r;
}

/* ==== Special tokens ====================================================== */

static int compare_text(struct ggf_str a, struct ggf_str b)
{
    const size_t n = a.len < b.len ? a.len : b.len;
    const int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_text(const void *a, const void *b, void *vocab)
{
    return compare_text(vocab_text(vocab, *(const uint32_t *)a),
                        vocab_text(vocab, *(const uint32_t *)b));
}

static int load_specials(struct loader *l)
{
    struct vocab *v = l->v;
    v->specials = malloc(((size_t)v->n_tokens + 1) * sizeof *v->specials);
    if (!v->specials) return no_memory(l->err);
    for (uint32_t id = 0; id < v->n_tokens; id++)
        if (is_special(v, id) && vocab_text(v, id).len) {
            v->specials[v->n_specials++] = id;
            v->starts_special[v->text[v->start[id]]] = true;
        }
    qsort_r(v->specials, v->n_specials, sizeof *v->specials, by_text, v);
    for (uint32_t i = 1; i < v->n_specials; i++)
        if (!by_text(&v->specials[i - 1], &v->specials[i], v))
            return ggf_fail(l->err, GGF_E_FORMAT, GGF_NO_OFFSET,
                            "special tokens %u and %u are the same", v->specials[i - 1],
                            v->specials[i]);
    return 0;
}

/* The first special token from `low` on whose byte number `depth` is at least c; those
 * below `high` agree in all bytes before that. */
static uint32_t first_with(const struct vocab *v, uint32_t low, uint32_t high,
                           size_t depth, unsigned c)
{
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        const struct ggf_str t = vocab_text(v, v->specials[mid]);
        if (t.len > depth && (uint8_t)t.data[depth] >= c) high = mid;
        else low = mid + 1;
    }
    return low;
}

int32_t vocab_special_at(const struct vocab *v, const uint8_t *text, size_t len,
                         bool control)
{
    int32_t found = -1;
    if (!len || !v->starts_special[text[0]]) return -1;
    uint32_t low = 0, high = v->n_specials;
    for (size_t depth = 0; depth < len; depth++) {
        low = first_with(v, low, high, depth, text[depth]);
        high = first_with(v, low, high, depth, text[depth] + 1u);
        if (low == high) break;
        const uint32_t id = v->specials[low]; /* the shortest stands first */
        const bool ends_here = vocab_text(v, id).len == depth + 1;
        if (ends_here && (control || v->type[id] == TOKEN_USER_DEFINED))
            found = (int32_t)id;
    }
    return found;
}

int32_t vocab_find_special(const struct vocab *v, const char *text, size_t len)
{
    const int32_t id = vocab_special_at(v, (const uint8_t *)text, len, true);
    return id >= 0 && vocab_text(v, (uint32_t)id).len == len ? id : -1;
}

int vocab_load(struct vocab *v, const ggf_file *file, ggf_error *err)
{
    *v = (struct vocab){ 0 };
    struct loader l = { .v = v, .err = err };
    make_alphabet(&l.alphabet);
    int r = load_tokens(&l, file);
    if (!r) r = load_merges(&l, file);
    if (!r) r = load_specials(&l);
    free(l.index.slots);
    free(l.strings);
    free(l.buffer);
    return r;
}

void vocab_free(struct vocab *v)
{
    free(v->start);
    free(v->text);
    free(v->type);
    free(v->merges);
    free(v->specials);
    *v = (struct vocab){ 0 };
}
