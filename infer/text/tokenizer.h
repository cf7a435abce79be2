/* tokenizer.h - text to token ids and back.
 *
 * Byte-level BPE as Hugging Face's tokenizers does it for Qwen models (GGUF: model
 * "gpt2", pre "qwen2"), id for id:
 *
 *   1. special tokens are cut out of the text, the longest at the leftmost place;
 *   2. what lies between is brought into normalization form C,
 *   3. split into pieces by Qwen's pattern,
 *   4. and the bytes of each piece are merged, lowest rank first.
 *
 * Text that is not UTF-8 is no error: a byte that belongs to no well-formed character
 * counts as a punctuation mark and keeps its value, so that decoding gives back every
 * byte sequence that is in normalization form C.
 *
 * A tokenizer never changes after loading; many threads may use one. */
#ifndef INFER_TEXT_TOKENIZER_H
#define INFER_TEXT_TOKENIZER_H

#include "../../libgguf/libgguf.h"

typedef struct q3n_tokenizer q3n_tokenizer;

/* Load from tokenizer.ggml.*; the file may be closed afterwards.  GGF_E_NOT_FOUND if the
 * file has no vocabulary, GGF_E_FORMAT if it is malformed or of another kind. */
int q3n_tokenizer_load(q3n_tokenizer **out, const ggf_file *file, ggf_error *err);
void q3n_tokenizer_free(q3n_tokenizer *t); /* NULL is allowed */

uint32_t q3n_tokenizer_count(const q3n_tokenizer *t);

/* ---- A list of ids; zero-initialise, release with q3n_ids_free(). ---- */
struct q3n_ids {
    int32_t *ids;
    size_t n, capacity;
};
bool q3n_ids_push_slow(struct q3n_ids *list, int32_t id);
void q3n_ids_free(struct q3n_ids *list);

/* Append one; false if out of memory. */
static inline bool q3n_ids_push(struct q3n_ids *list, int32_t id)
{
    if (list->n == list->capacity) return q3n_ids_push_slow(list, id);
    list->ids[list->n++] = id;
    return true;
}

/* ---- Encoding ---- */

/* Append the ids of a text of at most 1 GiB.  USER_DEFINED special tokens
 * ("<think>") are always recognised; CONTROL tokens ("<|im_end|>") only with
 * `parse_special`, otherwise their names are text like any other: pass false for what a
 * user or a tool wrote.  No BOS is added.  On failure `out` keeps what it had. */
int q3n_encode(const q3n_tokenizer *t, const char *text, size_t len, bool parse_special,
               struct q3n_ids *out, ggf_error *err);

/* The same of a text of which some bytes are not to be trusted: marks[i] is 0 where byte
 * i may be part of a CONTROL token.  Everything else is as with `parse_special`: pieces
 * and merges do not stop where marks change. */
int q3n_encode_marked(const q3n_tokenizer *t, const char *text, size_t len,
                      const char *marks, struct q3n_ids *out, ggf_error *err);

/* ---- Decoding ---- */

/* The bytes of a token: perhaps only a part of a character, nothing for an id that is
 * unused or not in the vocabulary, the name of a special token.  Valid as long as t. */
struct ggf_str q3n_token_text(const q3n_tokenizer *t, int32_t id);

/* ---- Special tokens ---- */

bool q3n_token_is_control(const q3n_tokenizer *t, int32_t id);
/* Does this token end a reply?  True for the file's eos and eot ids and for the control
 * tokens that llama.cpp counts among them, such as <|im_end|> and <|endoftext|>. */
bool q3n_token_is_eog(const q3n_tokenizer *t, int32_t id);
/* All of these; valid as long as t. */
const int32_t *q3n_tokenizer_eog(const q3n_tokenizer *t, int *n);
/* The special token of this name, or -1. */
int32_t q3n_token_find(const q3n_tokenizer *t, const char *name);
/* The id to put before a text, or -1 if the model wants none (as all Qwen models). */
int32_t q3n_tokenizer_bos(const q3n_tokenizer *t);

/* ---- Streams of bytes that must come out as whole characters ---- */

struct q3n_stream {
    uint8_t held[4]; /* the start of a character whose end has not come yet */
    unsigned n_held;
};

/* Take len bytes in and write the characters that are now complete to out, which must
 * have room for 3 * (len + 4) bytes; returns how many bytes were written.  The output is
 * always well-formed UTF-8: bytes that cannot be a character become U+FFFD. */
size_t q3n_stream_push(struct q3n_stream *s, const char *bytes, size_t len, char *out);
/* The end of the text: what is still held becomes U+FFFD.  Room for 12 bytes. */
size_t q3n_stream_end(struct q3n_stream *s, char *out);

#endif
