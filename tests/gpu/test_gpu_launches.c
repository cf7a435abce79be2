/* What a token costs in launches, calls of the host and waits, in the shapes that models
 * have: each of them takes some microseconds, however small the matrices are. */
#define TINY_HEAD_DIM 256
#define TINY_STATE    128
#define TINY_WIDTH    256
#include "../unit/tiny_model.h"

#include "gpu_suite.h"

enum { CTX = 64 };

static char path[64];
static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static const struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = 16 };

static void setup(void) { tiny_temp(path, &(struct tiny){ .matrices = GGF_Q8_0 }); }

static void teardown(void) { unlink(path); }

static void eval(q3n_session *s, uint32_t n, float *logits)
{
    int32_t ids[CTX];
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)((q3n_session_pos(s) + i) * 7 % VOCAB);
    ok(q3n_session_eval(s, ids, n, n - 1, logits, &err));
}

/* Memory for what the plan says, and seven of eight experts of 768 KiB. */
static uint64_t slots_only(const struct q3n_device_info *d)
{
    const uint64_t unit = 2 << 20, experts = 6 << 20;
    return (d->dense_bytes + unit - 1) / unit * unit +
           (d->kv_bytes + d->state_bytes + unit - 1) / unit * unit +
           (d->work_bytes + unit - 1) / unit * unit + experts;
}

/* Of one token with logits, for the second time. */
static struct emulator_counts of_a_token(q3n_model *m, float logits[VOCAB])
{
    q3n_session *s;
    q3n_snapshot *snap;
    ok(q3n_session_new(&s, m, &settings, &err));
    for (int i = 0; i < 3; i++) eval(s, 1, logits);
    ok(q3n_session_save(&snap, s, &err));
    eval(s, 1, logits);
    q3n_session_restore(s, snap);
    const struct emulator_counts before = emulator_count();
    eval(s, 1, logits);
    const struct emulator_counts after = emulator_count();
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    return (struct emulator_counts){ .launches = after.launches - before.launches,
                                     .calls = after.calls - before.calls,
                                     .waits = after.waits - before.waits };
}

/* What it costs where the system makes no graphs: as many launches, and the same bits. */
static void without_graphs(const struct q3n_model_options *o, uint64_t launches,
                           const float logits[VOCAB])
{
    float other[VOCAB];
    q3n_model *m;
    emulator_refuse_graphs(true);
    ok(q3n_model_open(&m, path, o, &err));
    const struct emulator_counts n = of_a_token(m, other);
    q3n_model_close(m);
    emulator_refuse_graphs(false);
    ck_assert_uint_eq(n.launches, launches);
    ck_assert_uint_gt(n.calls, launches);
    ck_assert_mem_eq(other, logits, sizeof other);
}

enum {
    /* in, rule, out with norm, router with choice, three of experts: gate and up with the
     * middle, down, sum with the next norm */
    DELTA = 7,
    ATTENTION = 8, /* in, parts, merge, out and the rest as above */
    ENDS = 3       /* embedding and norm; matrix of the output */
};

/* All on the device: a graph. */
START_TEST(all_there)
{
    const struct q3n_model_options o = { .threads = 1,
                                         .session = settings,
                                         .device.n_gpu_layers = Q3N_GPU_ALL };
    float logits[VOCAB];
    q3n_model *m;
    ok(q3n_model_open(&m, path, &o, &err));
    const struct emulator_counts n = of_a_token(m, logits);
    q3n_model_close(m);
    if (!emulated()) return;
    ck_assert_uint_eq(n.launches, DELTA + ATTENTION + ENDS);
    ck_assert_uint_eq(n.calls, 1);
    ck_assert_uint_eq(n.waits, 1);
    without_graphs(&o, n.launches, logits);
}
END_TEST

/* Experts in slots, all of which are there: for each layer a graph, in which the host is
 * told of the choice, two launches of
 * products and one for the sum; positions, x, which the host looks up, logits and their
 * copy. */
START_TEST(in_slots)
{
    enum { LAYERS = 2, OF_LAYER = 4, OTHERS = 4 };
    struct q3n_model_options o = { .threads = 1,
                                   .session = settings,
                                   .device.n_gpu_layers = Q3N_GPU_ALL };
    float logits[VOCAB];
    q3n_model *m;
    tiny_write(path, &(struct tiny){ 0 });
    o.plan = true;
    ok(q3n_model_open(&m, path, &o, &err));
    const struct q3n_device_info d = q3n_model_info(m)->device;
    q3n_model_close(m);
    o.plan = false;
    o.device.vram_bytes = slots_only(&d);
    ok(q3n_model_open(&m, path, &o, &err));
    ck_assert_uint_gt(q3n_model_info(m)->device.pool_slots, 0);
    const struct emulator_counts n = of_a_token(m, logits);
    q3n_model_close(m);
    if (!emulated()) return;
    ck_assert_uint_eq(n.launches, DELTA + ATTENTION + ENDS - 1 + LAYERS);
    ck_assert_uint_eq(n.calls, LAYERS * OF_LAYER + OTHERS);
    ck_assert_uint_le(n.waits, LAYERS + 1); /* others were short */
    without_graphs(&o, n.launches, logits);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("launches");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, all_there);
    tcase_add_test(tc, in_slots);
    return GPU_SUITE_RUN("gpu_launches", tc);
}
