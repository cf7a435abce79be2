/* eval.c - what an evaluation needs: models, sessions, the text; see eval.h. */
#include "eval.h"

#include <omp.h>
#include <stdlib.h>

/* ==== Opening ============================================================= */

static int open_model(struct eval *e, struct eval_model *m, const char *path,
                      const char *experts, ggf_error *err)
{
    struct q3n_model_options o = *e->o->model;
    o.experts = experts;
    o.session.n_ctx = e->o->n_ctx;
    o.session.n_ubatch = e->o->n_ubatch;
    m->path = path;
    return q3n_model_open(&m->model, path, &o, err);
}

static int open_models(struct eval *e, const char *const *paths, uint32_t n_paths,
                       ggf_error *err)
{
    const char *base = e->o->base_model;
    e->models = calloc(n_paths + 1, sizeof *e->models);
    if (!e->models) return ggf_no_memory(err);
    e->n_models = n_paths;
    e->n_running = n_paths + !!base;
    if (base) e->base = &e->models[n_paths];
    int r = 0;
    for (uint32_t i = 0; i < n_paths && !r; i++)
        r = open_model(e, &e->models[i], paths[i], i ? NULL : e->o->model->experts, err);
    return r || !base ? r : open_model(e, e->base, base, NULL, err);
}

/* The windows of a text, by the tokenizer of the base model or else of the first. */
static int read_text(struct eval *e, ggf_error *err)
{
    const q3n_model *model = (e->base ? e->base : e->models)->model;
    const int r = windows_read(&e->ids, &e->bos, model, e->o->file, err);
    if (r) return r;
    const uint32_t n_ctx = e->o->n_ctx;
    e->windows = (struct kld_base){ .form = e->o->form,
                                    .n_ctx = n_ctx,
                                    .n_vocab = q3n_model_info(model)->n_vocab,
                                    .n_windows = (uint32_t)(e->ids.n / n_ctx),
                                    .tokens = e->ids.ids };
    if (e->windows.n_windows) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "%s has %zu tokens, less than a window of %u", e->o->file, e->ids.n,
                    n_ctx);
}

/* The windows of a base file. */
static int read_base(struct eval *e, ggf_error *err)
{
    q3n_tokenizer *t;
    const int r = kld_base_open(&e->windows, e->o->base, err);
    if (r || q3n_tokenizer_load(&t, q3n_model_file(e->models->model), NULL)) return r;
    e->bos = q3n_tokenizer_bos(t);
    q3n_tokenizer_free(t);
    return 0;
}

static int open_session(struct eval *e, struct eval_model *m, ggf_error *err)
{
    const struct kld_base *w = &e->windows;
    const bool base = m == e->base;
    const struct q3n_session_options o = { .n_ctx = w->n_ctx,
                                           .n_ubatch = e->o->n_ubatch,
                                           .type_k = base ? GGF_F32 : e->o->type_k,
                                           .type_v = base ? GGF_F32 : e->o->type_v };
    const uint32_t n_vocab = q3n_model_info(m->model)->n_vocab;
    if (n_vocab != w->n_vocab)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "%s is of a vocabulary of %u, %s has %u",
                        e->base      ? e->base->path
                        : e->o->file ? e->models->path
                                     : e->o->base,
                        w->n_vocab, m->path, n_vocab);
    if (!divergence_alloc(&m->d, (size_t)w->n_windows * window_predictions(w->n_ctx)))
        return ggf_no_memory(err);
    return q3n_session_new(&m->session, m->model, &o, err);
}

int eval_open(struct eval *e, const struct eval_options *o, const char *const *paths,
              uint32_t n_paths, ggf_error *err)
{
    const int threads = o->model->threads;
    *e = (struct eval){ .o = o,
                        .bos = -1,
                        .threads = threads ? threads : omp_get_num_procs(),
                        .compares = o->base_model || (o->base && !o->save) };
    int r = open_models(e, paths, n_paths, err);
    if (!r) r = o->file ? read_text(e, err) : read_base(e, err);
    if (r) return r;
    if (o->max_windows < e->windows.n_windows) e->windows.n_windows = o->max_windows;
    for (uint32_t i = 0; i < e->n_running && !r; i++)
        r = open_session(e, &e->models[i], err);
    if (r || !o->save || o->dry_run) return r;
    r = ggf_output_create(&e->out, o->base, o->force, err);
    return r ? r : kld_base_write_head(&e->windows, e->out, err);
}

void eval_close(struct eval *e)
{
    ggf_output_discard(e->out);
    for (uint32_t i = 0; i < e->n_running; i++) {
        divergence_free(&e->models[i].d);
        follow_free(e->models[i].follow);
        q3n_session_free(e->models[i].session);
        q3n_model_close(e->models[i].model);
    }
    free(e->models);
    trail_free(e->trail);
    kld_base_close(&e->windows);
    q3n_ids_free(&e->ids);
}
