/* windows.h - a long text through one or more models in windows, their predictions handed
 * over row by row, side by side: what perplexity and divergence are computed from. */
#ifndef TOOLS_WINDOWS_H
#define TOOLS_WINDOWS_H

#include "../../infer/engine.h"
#include "../../infer/text/tokenizer.h"

/* n predictions of window number `window`, from its prediction number `row` on: of each
 * session logits[session][n * n_vocab], and the tokens that really came. */
struct window_rows {
    uint32_t window, row, n, n_vocab;
    const float *const *logits;
    const int32_t *targets;
};
typedef int (*window_fn)(void *user, const struct window_rows *rows, ggf_error *err);

struct windows {
    q3n_session *const *sessions; /* they compute in this order, piece by piece */
    uint32_t n_sessions;
    /* NULL, or for each session who watches it while it predicts; NULL: nobody. */
    const struct observer *const *observers;
    const int32_t *tokens; /* n_windows * n_ctx of them */
    uint32_t n_ctx, n_windows;
    uint32_t n_ubatch; /* as given to the sessions */
    uint32_t n_vocab;
    int32_t bos; /* takes the place of each window's first token; -1: it stays */
    window_fn rows;
    void *user;
};

/* Predictions of a window: those of its second half, made at positions n_ctx / 2 to
 * n_ctx - 2, which is what llama-perplexity scores. */
static inline uint32_t window_predictions(uint32_t n_ctx)
{
    return n_ctx - 1 - n_ctx / 2;
}

/* The tokens of a text file, by the tokenizer of a model: BOS first, if it has one. */
int windows_read(struct q3n_ids *ids, int32_t *bos, const q3n_model *model,
                 const char *path, ggf_error *err);

/* Most predictions that come at once: no more than a ubatch, and their logits bounded. */
uint32_t windows_piece(const struct windows *w);

int windows_run(const struct windows *w, ggf_error *err);

#endif
