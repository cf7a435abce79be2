/* vocab.h - a byte-level BPE vocabulary as checked and indexed at load: the bytes of each
 * token, the table of merges, the special tokens in order. */
#ifndef INFER_TEXT_VOCAB_H
#define INFER_TEXT_VOCAB_H

#include "../../libgguf/libgguf.h"

/* tokenizer.ggml.token_type */
enum token_type {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,      /* recognised in text only where that is asked for */
    TOKEN_USER_DEFINED = 4, /* recognised in any text */
    TOKEN_UNUSED = 5,       /* fills up the table; stands for nothing */
    TOKEN_BYTE = 6,
};

/* Two neighbours that become one token; the lowest rank goes first. */
struct merge {
    uint32_t left, right;
    uint32_t rank; /* MERGE_NONE: a free slot */
    uint32_t id;
};
#define MERGE_NONE UINT32_MAX

struct vocab {
    uint32_t n_tokens;
    uint32_t *start; /* n_tokens + 1: token i is text[start[i] .. start[i + 1]) */
    uint8_t *text;
    uint8_t *type;         /* enum token_type */
    uint32_t byte_id[256]; /* the tokens of single bytes */
    struct merge *merges;  /* hash table over (left, right) */
    uint32_t merge_mask;   /* its slots - 1 */
    uint32_t *specials;    /* CONTROL and USER_DEFINED tokens, ordered by text */
    uint32_t n_specials;
    bool starts_special[256]; /* is there one that starts with this byte? */
};

/* From tokenizer.ggml.tokens, .token_type (optional) and .merges.  The file may be closed
 * afterwards.  Release with vocab_free(), also after a failure. */
int vocab_load(struct vocab *v, const ggf_file *file, ggf_error *err);
void vocab_free(struct vocab *v);

static inline struct ggf_str vocab_text(const struct vocab *v, uint32_t id)
{
    return (struct ggf_str){ (const char *)v->text + v->start[id],
                             v->start[id + 1] - v->start[id] };
}

static inline uint32_t merge_slot(const struct vocab *v, uint32_t left, uint32_t right)
{
    const uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15; /* 2^64/phi */
    return (uint32_t)(h >> 32) & v->merge_mask;
}

/* The entry for a pair; one with rank MERGE_NONE if the two do not merge. */
static inline const struct merge *merge_find(const struct vocab *v, uint32_t left,
                                             uint32_t right)
{
    uint32_t i = merge_slot(v, left, right);
    while (v->merges[i].rank != MERGE_NONE &&
           (v->merges[i].left != left || v->merges[i].right != right))
        i = (i + 1) & v->merge_mask;
    return &v->merges[i];
}

/* The longest special token that the text starts with, or -1.  CONTROL tokens count only
 * with `control`. */
int32_t vocab_special_at(const struct vocab *v, const uint8_t *text, size_t len,
                         bool control);

/* The special token of exactly this text, or -1. */
int32_t vocab_find_special(const struct vocab *v, const char *text, size_t len);

#endif
