/* kldbase.h - base files of llama-perplexity: a text's tokens and the log-probabilities
 * that a reference model gives, to compare another model with.
 *
 *   8 bytes   "_logits_"
 *   i32 x 3   n_ctx, n_vocab, number of windows
 *   i32       the tokens, n_ctx for each window
 *   u16       records of logprob.h, window_predictions(n_ctx) for each window */
#ifndef TOOLS_KLDBASE_H
#define TOOLS_KLDBASE_H

#include "../../libgguf/libgguf.h"

struct kld_base {
    uint32_t n_ctx, n_vocab, n_windows;
    const int32_t *tokens; /* n_windows * n_ctx, all below n_vocab */
    const uint16_t *records;
    void *map; /* of the whole file; NULL when `tokens` is the caller's */
    size_t map_bytes;
};

/* Map a file and check it all but the records, which may hold any value. */
int kld_base_open(struct kld_base *base, const char *path, ggf_error *err);
void kld_base_close(struct kld_base *base);

/* Where a record starts in the file. */
uint64_t kld_record_offset(const struct kld_base *base, uint32_t window, uint32_t row);

/* Write everything before the records of a new file. */
int kld_base_write_head(const struct kld_base *base, ggf_output *out, ggf_error *err);

#endif
