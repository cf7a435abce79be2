/* windows.c - see windows.h. */
#include "windows.h"

#include "input.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LOGITS_BYTES (256u << 20) /* of all sessions */

int windows_read(struct q3n_ids *ids, int32_t *bos, const q3n_model *model,
                 const char *path, ggf_error *err)
{
    struct input in = { 0 };
    q3n_tokenizer *t = NULL;
    int r = q3n_tokenizer_load(&t, q3n_model_file(model), err);
    if (!r) r = input_read(&in, path, err);
    if (!r) *bos = q3n_tokenizer_bos(t);
    if (!r && *bos >= 0 && !q3n_ids_push(ids, *bos)) r = ggf_no_memory(err);
    if (!r) r = q3n_encode(t, in.bytes, in.len, false, ids, err);
    free(in.bytes);
    q3n_tokenizer_free(t);
    return r;
}

/* What a run holds. */
struct run {
    const struct windows *w;
    uint32_t piece;
    int32_t *ids;         /* of a window */
    float *room;          /* logits of a piece, session by session */
    const float **logits; /* [n_sessions] into it */
};

static const struct observer *observer_of(const struct windows *w, uint32_t session)
{
    return w->observers ? w->observers[session] : NULL;
}

/* The half of a window that is only read. */
static int read_first_half(const struct run *run, ggf_error *err)
{
    const struct windows *w = run->w;
    int r = 0;
    for (uint32_t s = 0; s < w->n_sessions && !r; s++) {
        q3n_session_reset(w->sessions[s]);
        q3n_session_observe(w->sessions[s], NULL);
        r = q3n_session_eval(w->sessions[s], run->ids, w->n_ctx / 2, w->n_ctx / 2, NULL,
                             err);
        q3n_session_observe(w->sessions[s], observer_of(w, s));
    }
    return r;
}

/* One window, from empty sessions. */
static int run_window(const struct run *run, uint32_t window, ggf_error *err)
{
    const struct windows *w = run->w;
    const uint32_t first = w->n_ctx / 2, n = window_predictions(w->n_ctx);
    memcpy(run->ids, w->tokens + (size_t)window * w->n_ctx, w->n_ctx * sizeof *run->ids);
    if (w->bos >= 0) run->ids[0] = w->bos;
    int r = read_first_half(run, err);
    for (uint32_t row = 0; row < n && !r; row += run->piece) {
        const uint32_t k = n - row < run->piece ? n - row : run->piece;
        const int32_t *ids = run->ids + first + row;
        for (uint32_t s = 0; s < w->n_sessions && !r; s++)
            r = q3n_session_eval(w->sessions[s], ids, k, 0,
                                 run->room + (size_t)s * run->piece * w->n_vocab, err);
        if (r) break;
        const struct window_rows rows = {
            window, row, k, w->n_vocab, run->logits, ids + 1
        };
        r = w->rows(w->user, &rows, err);
    }
    return r;
}

uint32_t windows_piece(const struct windows *w)
{
    const uint64_t row = (uint64_t)w->n_sessions * w->n_vocab * sizeof(float);
    const uint64_t fit = MAX_LOGITS_BYTES / row;
    const uint32_t n = window_predictions(w->n_ctx);
    const uint32_t piece = fit < w->n_ubatch ? (uint32_t)(fit ? fit : 1) : w->n_ubatch;
    return piece < n ? piece : n;
}

int windows_run(const struct windows *w, ggf_error *err)
{
    struct run run = { .w = w, .piece = windows_piece(w) };
    const size_t piece_floats = (size_t)run.piece * w->n_vocab;
    run.room = malloc(w->n_sessions * piece_floats * sizeof *run.room);
    run.logits = malloc(w->n_sessions * sizeof *run.logits);
    run.ids = malloc(w->n_ctx * sizeof *run.ids);
    int r = 0;
    if (!run.room || !run.logits || !run.ids)
        r = ggf_fail(err, GGF_E_NOMEM, GGF_NO_OFFSET, "out of memory for logits");
    for (uint32_t s = 0; s < w->n_sessions && !r; s++)
        run.logits[s] = run.room + s * piece_floats;
    for (uint32_t i = 0; i < w->n_windows && !r; i++) r = run_window(&run, i, err);
    free(run.room);
    free((void *)run.logits);
    free(run.ids);
    return r;
}
