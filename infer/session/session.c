/* session.c - one sequence: its memory and its position. */
#include "session.h"
#include "../gpu/offload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CTX = 4096, DEFAULT_BATCH = 512, MAX_BATCH = 1 << 16 };

static float *floats(uint64_t n, uint64_t each)
{
    uint64_t count, bytes;
    if (__builtin_mul_overflow(n, each, &count) ||
        __builtin_mul_overflow(count, sizeof(float), &bytes) || bytes > SIZE_MAX - 64)
        return NULL;
    return aligned_alloc(64, (bytes + 64) / 64 * 64);
}

static int recurrent_state(struct delta_state *state, const struct delta_net *d,
                           ggf_error *err)
{
    state->conv = floats(d->taps - 1, delta_channels(d));
    state->s = floats((uint64_t)d->dim * d->dim, d->n_v_heads);
    return state->conv && state->s ? 0 : ggf_no_memory(err);
}

static int allocate(struct q3n_session *s, ggf_error *err)
{
    const q3n_model *m = s->model;
    const struct q3n_session_options *o = &s->options;
    const uint32_t n = m->hp.n_layer;
    const struct kv_shape shape = { .type_k = o->type_k,
                                    .type_v = o->type_v,
                                    .head_dim = m->hp.head_dim,
                                    .n_head_kv = m->hp.n_head_kv,
                                    .n_ctx = o->n_ctx,
                                    .exact = m->exact };
    s->seq.kv = calloc(n, sizeof *s->seq.kv);
    s->seq.delta = calloc(n, sizeof *s->seq.delta);
    s->tokens = malloc(o->n_ctx * sizeof *s->tokens);
    if (!s->seq.kv || !s->seq.delta || !s->tokens) return ggf_no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        const struct layer *l = &m->layers[i];
        if (offload_keeps(m, i)) continue;
        const int e = l->recurrent ? recurrent_state(&s->seq.delta[i], &l->delta, err)
                                   : kv_cache_new(&s->seq.kv[i], &shape, err);
        if (e) return e;
    }
    return device_sequence_new(&s->seq.device, m, o, err);
}

struct q3n_session_options q3n_session_complete(const q3n_model *model,
                                                const struct q3n_session_options *options)
{
    const uint32_t train = model->hp.n_ctx_train;
    struct q3n_session_options o = options ? *options : (struct q3n_session_options){ 0 };
    if (!o.n_ctx) o.n_ctx = train < DEFAULT_CTX ? train : DEFAULT_CTX;
    if (o.n_ctx == Q3N_CTX_TRAINED) o.n_ctx = train / (o.n_seq ? o.n_seq : 1);
    if (!o.n_ubatch) o.n_ubatch = DEFAULT_BATCH;
    if (o.n_ubatch > o.n_ctx) o.n_ubatch = o.n_ctx;
    if (o.n_ubatch > MAX_BATCH) o.n_ubatch = MAX_BATCH;
    return o;
}

bool q3n_kv_type(uint32_t type) { return kv_type(type); }

uint64_t q3n_kv_bytes(const struct q3n_model_info *info,
                      const struct q3n_session_options *options)
{
    const uint32_t k = options ? options->type_k : GGF_F32;
    const uint32_t v = options ? options->type_v : GGF_F32;
    return ggf_row_bytes(k, info->n_kv) + ggf_row_bytes(v, info->n_kv);
}

/* What of a sequence is on a device. */
static uint64_t bytes_there(const q3n_model *m, const struct q3n_session_options *o)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->hp.n_layer; i++)
        if (offload_keeps(m, i))
            sum +=
                m->layers[i].recurrent ? device_state_bytes(m, i) : device_kv_bytes(m, o);
    return sum;
}

uint64_t q3n_session_bytes(const q3n_model *model,
                           const struct q3n_session_options *options)
{
    const struct q3n_session_options o = q3n_session_complete(model, options);
    const uint64_t logits = (uint64_t)o.n_logits * model->info.n_vocab * sizeof(float);
    const uint64_t token = q3n_kv_bytes(&model->info, &o) + sizeof(int32_t);
    const uint64_t all = model->info.bytes_session + token * o.n_ctx;
    const uint64_t there = bytes_there(model, &o);
    return (all > there ? all - there : 0) * (o.n_seq ? o.n_seq : 1) + logits +
           workspace_bytes(model, o.n_ubatch, o.n_ctx);
}

/* own: the lane is the session's, too, and freed with it. */
static int create(q3n_session **out, q3n_lane *lane, bool own,
                  const struct q3n_session_options *options, ggf_error *err)
{
    struct q3n_session *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) {
        if (own) q3n_lane_free(lane);
        return ggf_no_memory(err);
    }
    s->model = lane->model;
    s->lane = lane;
    s->own_lane = own;
    s->options = q3n_session_complete(s->model, options);
    int e = allocate(s, err);
    if (e) {
        q3n_session_free(s);
        return e;
    }
    q3n_session_reset(s);
    *out = s;
    return 0;
}

int q3n_session_new(q3n_session **out, q3n_model *model,
                    const struct q3n_session_options *options, ggf_error *err)
{
    q3n_lane *lane;
    *out = NULL;
    const int e = q3n_lane_new(&lane, model, options, err);
    return e ? e : create(out, lane, true, options, err);
}

int q3n_session_new_in(q3n_session **out, q3n_lane *lane,
                       const struct q3n_session_options *options, ggf_error *err)
{
    const struct q3n_session_options o = q3n_session_complete(lane->model, options);
    *out = NULL;
    if (o.n_ctx > lane->n_ctx)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "a context of %" PRIu32 " in a lane for %" PRIu32, o.n_ctx,
                        lane->n_ctx);
    return create(out, lane, false, options, err);
}

void q3n_session_free(q3n_session *s)
{
    if (!s) return;
    if (s->own_lane) q3n_lane_free(s->lane);
    for (uint32_t i = 0; i < s->model->hp.n_layer; i++) {
        if (s->seq.kv) kv_cache_free(&s->seq.kv[i]);
        if (s->seq.delta) {
            free(s->seq.delta[i].conv);
            free(s->seq.delta[i].s);
        }
    }
    device_sequence_free(s->seq.device, s->model);
    free(s->seq.kv);
    free(s->seq.delta);
    free(s->tokens);
    free(s);
}

/* ---- Computing ---------------------------------------------------------------- */

void q3n_session_observe(q3n_session *s, const struct observer *observer)
{
    s->observer = observer;
}

void q3n_session_watch(q3n_session *s, const struct route_watch *watch)
{
    s->watch = watch;
}

void q3n_session_time(q3n_session *s, struct op_clock *clock) { s->clock = clock; }

uint32_t q3n_session_pos(const q3n_session *s) { return s->pos; }

uint32_t q3n_session_ctx(const q3n_session *s) { return s->options.n_ctx; }

struct q3n_session_options q3n_session_settings(const q3n_session *s)
{
    return s->options;
}

const int32_t *q3n_session_tokens(const q3n_session *s) { return s->tokens; }
