/* offload.h - the part of a model that a device computes: which layers, where their
 * weights are, what a sequence keeps there, and the steps of a batch.
 *
 * Layers go to the device whole, but for their routed experts.  Those are all there; or
 * come when they are needed (pool.h), of which the host learns the router's choice; or
 * are the host's: then the norm, the choice and the sum of the experts cross.  fit.c
 * decides what goes there, upload.c brings it, walk.c computes. */
#ifndef INFER_GPU_OFFLOAD_H
#define INFER_GPU_OFFLOAD_H

#include "../model/forward.h"
#include "few.h"
#include "gpu.h"
#include "pool.h"
#include "stream.h"

#include <pthread.h>

struct offload_layer {
    bool here;    /* mixer, norms, router and shared expert */
    bool experts; /* and the routed ones, */
    bool pooled;  /* or those that are needed */
    /* From here on: after offload_load(). */
    const float *mixer_norm_d, *ffn_norm_d;
    struct gpu_linear in, out, router; /* parts are owned */
    union {
        struct gpu_attention attention;
        struct gpu_delta delta;
    };
    struct gpu_moe moe; /* routed experts only if they are here */
    void *experts_d;    /* owned */
};

struct offload {
    gpu *gpu;
    pthread_mutex_t mutex;        /* one call at a time uses the device */
    bool kv_host;                 /* keys and values of all layers stay with the host */
    bool head, embedding;         /* the output matrix, and that of the input */
    bool all;                     /* the host computes nothing, */
    bool steady;                  /* nor does it learn what the routers choose */
    struct offload_layer *layers; /* [n_layer] */

    struct pool_shape pool_shape; /* no slots: there is no pool */
    struct expert_pool *pool;
    struct expert_few *few;       /* for a few tokens, */
    struct expert_stream *stream; /* and for many */
    enum q3n_cache_policy cache_policy;
    enum q3n_device_misses misses;
    uint32_t most_uploads;

    struct gpu_linear output; /* its parts are owned */
    const float *output_norm_d;
    struct gpu_matrix input;
    void *dense_d; /* owned: all weights but routed experts */
};

/* ---- fit.c: what goes there --------------------------------------------------- */

/* Decide for a model that is bound with everything mapped, before any memory is taken;
 * model->info.device says what came out.  Leaves model->offload NULL if that is nothing;
 * else the device is open.  Layers whose experts go there get that tier. */
int offload_choose(struct q3n_model *model, const struct q3n_model_options *options,
                   ggf_error *err);
void offload_close(struct q3n_model *model);

/* Bytes of a layer's weights there, its experts not; of the output matrix, if the index
 * is n_layer. */
uint64_t offload_dense_bytes(const struct q3n_model *model, uint32_t layer);
uint64_t offload_expert_bytes(const struct q3n_model *model, uint32_t layer);
/* Is the tensor's only place the device? */
bool offload_holds(const struct q3n_model *model, const struct ggf_tensor *t);

static inline bool offload_layer_here(const struct q3n_model *m, uint32_t layer)
{
    return m->offload && m->offload->layers[layer].here;
}

/* Are a layer's keys and values, or its state, there? */
static inline bool offload_keeps(const struct q3n_model *m, uint32_t layer)
{
    return offload_layer_here(m, layer) &&
           (m->layers[layer].recurrent || !m->offload->kv_host);
}

/* ---- upload.c ----------------------------------------------------------------- */

int offload_load(struct q3n_model *model, ggf_error *err);
void offload_unload(struct q3n_model *model);

/* ---- memory.c: of sequences and batches ------------------------------------------ */

/* What a sequence remembers there. */
struct device_sequence {
    struct gpu_kv *kv;             /* [n_layer]; where attention is there */
    struct gpu_delta_state *delta; /* [n_layer]; where recurrent layers are */
    /* Once they were recorded, for one token: */
    gpu_graph *step[2]; /* all of it, without and with logits; or, if there is a pool, */
    gpu_graph **choice; /* [2, n_layer] to a layer's choice, by device_pass.normed */
    void *memory_d;
};

/* NULL in *out if nothing of the model is there.  Nothing is cleared. */
int device_sequence_new(struct device_sequence **out, const q3n_model *model,
                        const struct q3n_session_options *options, ggf_error *err);
void device_sequence_free(struct device_sequence *s, const q3n_model *model);
/* The states are zero again. */
void device_sequence_reset(struct device_sequence *s, const q3n_model *model);
/* Of a layer: keys and values in an attention layer, the state of a recurrent one. */
uint64_t device_kv_bytes(const q3n_model *model,
                         const struct q3n_session_options *options);
uint64_t device_state_bytes(const q3n_model *model, uint32_t layer);

enum { DEVICE_HEAD_ROWS = 32 }; /* logits come from there so many at a time */

/* Buffers for a batch; all but those of the host are there.  Those of the host cannot be
 * swapped, and take the places of their namesakes in struct workspace. */
struct device_work {
    float *x, *norm, *projected, *mixed, *out, *choice, *weights, *logits;
    uint32_t *ids, *late, *pos; /* late: ids of few.c */
    int32_t *tokens;
    void *norm_q, *mixed_q, *scratch;
    void *memory_d;
    struct {
        float *x, *norm, *projected, *mixed, *out, *weights, *logits;
        float *rows;     /* [n_embd, pairs of a few tokens]: their experts', and */
        uint32_t *place; /* [pairs]: whose, for struct gpu_moe_given */
        uint32_t *ids, *pos;
        int32_t *tokens;
        void *memory, *seen; /* where the device sees it */
    } host;
};

/* NULL in *out if nothing of the model is there.  For batches of the workspace, into
 * which the host's buffers are put. */
int device_work_new(struct device_work **out, const q3n_model *model, struct workspace *w,
                    ggf_error *err);
void device_work_free(struct device_work *d, const q3n_model *model);
uint64_t device_work_bytes(const q3n_model *model, uint32_t n_batch);

/* ---- walk.c: steps, enqueued by one thread --------------------------------------- */

struct device_pass {
    const q3n_model *model;
    struct device_work *d;
    struct workspace *w;
    const struct batch *batch;
    uint32_t n_wanted;       /* tokens whose logits are wanted: w->wanted */
    bool normed;             /* what the next step wants of x is in d->norm already */
    bool asked;              /* the choice is on its way to the host already */
    const struct member *me; /* whose team helps with experts; NULL: it need not */
};

/* Positions and tokens into the host's buffers; positions to the device. */
void device_fill(struct device_pass *p);
void device_begin(struct device_pass *p);
/* x from tokens; from w->x; or to it. */
void device_embed(struct device_pass *p);
void device_put_x(struct device_pass *p);
void device_get_x(struct device_pass *p);
/* The three parts of a mixer; between them floats of the second may be the host's. */
void device_mixer_in(struct device_pass *p, uint32_t layer);
void device_mix(struct device_pass *p, uint32_t layer);
void device_mixer_out(struct device_pass *p, uint32_t layer, uint32_t first);
/* All of these and the choice, for a layer of the pool, whose keys and values are there.
 */
void device_to_choice(struct device_pass *p, uint32_t layer, uint32_t first);
/* There: with keys and values of the host. */
int device_get_projected(struct device_pass *p, uint32_t layer, ggf_error *err);
void device_put_mixed(struct device_pass *p, uint32_t layer);
/* The choice of experts for tokens from `first` on, and experts that are all there. */
void device_route(struct device_pass *p, uint32_t layer, uint32_t first);
void device_experts(struct device_pass *p, uint32_t layer, uint32_t first);
/* Where the host has the routed experts: the shared one; the choice, into w->moe, and the
 * norm, into w->norm; and their sum, from w->out, to which the shared one is added. */
void device_shared(struct device_pass *p, uint32_t layer, uint32_t first);
int device_get_choice(struct device_pass *p, uint32_t first, bool with_norm,
                      ggf_error *err);
/* Tell the batch's watcher, if there is one, of a choice among experts that are there. */
int device_tell(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err);
/* Experts of the pool, for all tokens; the others of the team follow (team.h). */
int device_pooled(struct device_pass *p, uint32_t layer, uint32_t first, ggf_error *err);
void device_put_sum(struct device_pass *p, uint32_t layer, uint32_t first);
/* For few.c: the norm; the choice is asked for, with the norm or without; the batch's
 * watcher is told of it; experts are summed up; and where the device sees memory of
 * d->host. */
struct gpu_acts device_acts(const struct device_pass *p, uint32_t first);
void device_ask_choice(struct device_pass *p, uint32_t first, bool with_norm);
void device_tell_choice(const struct device_pass *p, uint32_t layer, uint32_t tokens);
void device_sum(struct device_pass *p, uint32_t layer, uint32_t first,
                const struct gpu_moe_given *given);
static inline void *device_sees(const struct device_pass *p, const void *host)
{
    return (char *)p->d->host.seen +
           ((const char *)host - (const char *)p->d->host.memory);
}

/* Logits of the first n of w->wanted, into the batch's.  Waits for all that was asked
 * for. */
int device_head(struct device_pass *p, uint32_t n, ggf_error *err);

/* A batch from one end to the other, of a model that is there as a whole. */
int device_forward(struct device_pass *p, uint32_t n_wanted, ggf_error *err);

#endif
