/* windows.c - see windows.h. */
#include "windows.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LOGITS_BYTES (256u << 20)

/* One window from an empty session.  `ids` has room for its tokens. */
static int run_window(const struct windows *w, uint32_t window, uint32_t piece,
                      int32_t *ids, float *logits, ggf_error *err)
{
    const uint32_t first = w->n_ctx / 2, n = window_predictions(w->n_ctx);
    memcpy(ids, w->tokens + (size_t)window * w->n_ctx, w->n_ctx * sizeof *ids);
    if (w->bos >= 0) ids[0] = w->bos;
    q3n_session_reset(w->session);
    int r = q3n_session_eval(w->session, ids, first, first, NULL, err);
    for (uint32_t row = 0; row < n && !r; row += piece) {
        const uint32_t k = n - row < piece ? n - row : piece;
        r = q3n_session_eval(w->session, ids + first + row, k, 0, logits, err);
        if (r) break;
        const struct window_rows rows = { window,     row,    k,
                                          w->n_vocab, logits, ids + first + row + 1 };
        r = w->rows(w->user, &rows, err);
    }
    return r;
}

int windows_run(const struct windows *w, ggf_error *err)
{
    const uint64_t fit = MAX_LOGITS_BYTES / sizeof(float) / w->n_vocab;
    const uint32_t n = window_predictions(w->n_ctx);
    uint32_t piece = fit < w->n_ubatch ? (uint32_t)(fit ? fit : 1) : w->n_ubatch;
    if (piece > n) piece = n;
    float *logits = malloc((size_t)piece * w->n_vocab * sizeof *logits);
    int32_t *ids = malloc(w->n_ctx * sizeof *ids);
    int r = 0;
    if (!logits || !ids)
        r = ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for logits");
    for (uint32_t i = 0; i < w->n_windows && !r; i++)
        r = run_window(w, i, piece, ids, logits, err);
    free(logits);
    free(ids);
    return r;
}
