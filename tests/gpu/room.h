/* room.h - models on a device that has room for some of their experts.  Behind
 * unit/tiny_pack.h, with settings of its sessions. */
#ifndef TESTS_GPU_ROOM_H
#define TESTS_GPU_ROOM_H

#include "gpu_suite.h"

enum { MIB = 1 << 20, LAYERS = 2 };

static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

/* Pieces of memory are counted by 2 MiB. */
static inline uint64_t whole(uint64_t bytes)
{
    return (bytes + 2 * MIB - 1) / (2 * MIB) * 2 * MIB;
}

/* A model on the device with so much room for experts; 0: for all of them. */
static inline int open_with(q3n_model **m, const char *path, uint64_t mib,
                            struct q3n_model_options o)
{
    const struct q3n_model_options plan = { .device = { .n_gpu_layers = Q3N_GPU_ALL },
                                            .session = settings,
                                            .plan = true };
    ok(q3n_model_open(m, path, &plan, &err));
    const struct q3n_device_info *d = &q3n_model_info(*m)->device;
    const uint64_t rest = whole(d->dense_bytes) + whole(d->kv_bytes + d->state_bytes) +
                          whole(d->work_bytes);
    q3n_model_close(*m);
    if (!o.threads) o.threads = 2;
    o.session = settings;
    o.device.n_gpu_layers = Q3N_GPU_ALL;
    o.device.vram_bytes = mib ? rest + mib * MIB : 0;
    return q3n_model_open(m, path, &o, &err);
}

static inline struct q3n_expert_stats stats_of(q3n_model *m)
{
    struct q3n_expert_stats s;
    q3n_model_expert_stats(m, &s);
    return s;
}

/* The next n tokens of a text. */
static inline int eval_next(q3n_session *s, uint32_t n, float *logits)
{
    int32_t ids[64];
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = q3n_session_pos(s) + i;
        ids[i] = (int32_t)((at * 7 + at * at / 5) % VOCAB);
    }
    return q3n_session_eval(s, ids, n, 0, logits, &err);
}

/* Some tokens at a time. */
static inline int run_steps(q3n_model *m, const uint32_t *steps, int n, float *logits)
{
    q3n_session *s = NULL;
    int e = q3n_session_new(&s, m, &settings, &err);
    for (int i = 0; i < n && !e; i++) {
        e = eval_next(s, steps[i], logits);
        logits += (size_t)steps[i] * VOCAB;
    }
    q3n_session_free(s);
    return e;
}

#define MISSES(how) .device = { .misses = Q3N_MISSES_##how }

#endif
