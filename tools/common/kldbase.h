/* kldbase.h - base files: a text's tokens and what a reference model says of each, to
 * compare other models with.  Two forms (docs/q3n-eval.md):
 *
 * that of llama-perplexity, log-probabilities in 16 bits,
 *
 *   8 bytes   "_logits_"
 *   i32 x 3   n_ctx, n_vocab, number of windows
 *   i32       the tokens, n_ctx for each window
 *   u16       records of logprob.h, window_predictions(n_ctx) for each window
 *
 * and an exact one with the logits themselves,
 *
 *   8 bytes   "q3nlogit"
 *   u32 x 4   version 1, n_ctx, n_vocab, number of windows
 *   8 bytes   zeros
 *   32 bytes  SHA-256 of the tokens
 *   i32       the tokens
 *   f32       logits, n_vocab for each prediction
 *
 * all little-endian. */
#ifndef TOOLS_KLDBASE_H
#define TOOLS_KLDBASE_H

#include "../../libgguf/libgguf.h"

#include <stdbool.h>

enum kld_form { KLD_LLAMA, KLD_F32 };

struct kld_base {
    enum kld_form form;
    uint32_t n_ctx, n_vocab, n_windows;
    const int32_t *tokens; /* n_windows * n_ctx, all below n_vocab */
    const void *records;   /* NULL when nothing was read */
    void *map;             /* of the whole file; NULL when `tokens` is the caller's */
    size_t map_bytes;
};

/* Map a file and check it all but the records, which may hold any value. */
int kld_base_open(struct kld_base *base, const char *path, ggf_error *err);
void kld_base_close(struct kld_base *base);
/* The same of bytes in memory, 4-byte aligned, which stay the caller's; `name` is for
 * messages. */
int kld_base_parse(struct kld_base *base, const void *bytes, size_t len, const char *name,
                   ggf_error *err);

/* The record of a prediction, counted over all windows: logprob.h's, or logits. */
const uint16_t *kld_codes(const struct kld_base *base, size_t prediction);
const float *kld_logits(const struct kld_base *base, size_t prediction);

/* Bytes of a record, and where one starts in the file. */
size_t kld_record_bytes(const struct kld_base *base);
uint64_t kld_record_offset(const struct kld_base *base, uint32_t window, uint32_t row);

/* SHA-256 of the tokens: equal where a text and its windows are equal. */
void kld_base_hash(const struct kld_base *base, uint8_t hash[GGF_SHA256_BYTES]);

/* Write everything before the records of a new file. */
int kld_base_write_head(const struct kld_base *base, ggf_output *out, ggf_error *err);

#endif
