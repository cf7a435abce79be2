/* What of a model goes to a device: as much as was asked for and fits, said before; and
 * what happens when a device fails. */
#define TINY_HEAD_DIM 32
#include "../unit/tiny_model.h"

#include "gpu_suite.h"

enum { CTX = 64, LAYERS = 2, N = 9, MIB = 1 << 20 };

static char path[64];
static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static const struct q3n_session_options settings = { .n_ctx = CTX, .n_ubatch = 8 };

static void setup(void) { tiny_temp(path, &(struct tiny){ .matrices = GGF_Q8_0 }); }

static void teardown(void)
{
    emulator_reset();
    unlink(path);
}

static int open_with(q3n_model **m, struct q3n_model_options o)
{
    o.threads = 1;
    o.session = settings;
    return q3n_model_open(m, path, &o, &err);
}

/* Fails with that status and words. */
static void refused(struct q3n_model_options o, int status, const char *words)
{
    q3n_model *m;
    ck_assert_int_eq(open_with(&m, o), status);
    ck_assert_ptr_null(m);
    ck_assert_msg(strstr(err.message, words) != NULL, "%s", err.message);
    ck_assert_uint_eq(emulator_count().live, 0);
}

#define DEVICE(...)                                                                      \
    (struct q3n_model_options)                                                           \
    {                                                                                    \
        .device = { __VA_ARGS__ }                                                        \
    }
#define AUTO .n_gpu_layers = Q3N_GPU_AUTO

static int tokens_of(q3n_session *s, uint32_t first, uint32_t n, float *logits)
{
    int32_t ids[CTX];
    for (uint32_t i = 0; i < n; i++) ids[i] = (int32_t)((first + i) * 5 % VOCAB);
    return q3n_session_eval(s, ids, n, n - 1, logits, &err);
}

/* ---- Room ------------------------------------------------------------------------ */

/* Weights, a session, buffers, and the experts of each layer take 2 MiB each, which is
 * the least that is counted; slots for all experts together no more than that. */
static const struct {
    uint64_t mib;
    uint32_t layers, expert_layers, slots;
    bool head;
} room[] = {
    { 2, 0, 0, 0, false }, { 3, 0, 0, 0, false }, { 4, 0, 0, 0, true },
    { 6, 2, 0, 0, true },  { 7, 2, 0, 0, true },  { 8, 2, 0, LAYERS *EXPERTS, true },
    { 10, 2, 2, 0, true }, { 64, 2, 2, 0, true },
};

START_TEST(as_much_as_fits)
{
    const uint64_t vram = room[_i].mib * MIB;
    float logits[VOCAB];
    q3n_model *m;
    q3n_session *s;
    ok(open_with(&m, DEVICE(AUTO, .vram_bytes = room[_i].head ? vram : 0)));
    const struct q3n_device_info *d = &q3n_model_info(m)->device;
    if (!room[_i].head) {
        q3n_model_close(m);
        refused(DEVICE(AUTO, .vram_bytes = vram), GGF_E_ARG, "are too few");
        return;
    }
    ck_assert_uint_eq(d->n_layers, room[_i].layers);
    ck_assert_uint_eq(d->n_expert_layers, room[_i].expert_layers);
    ck_assert_uint_eq(d->pool_slots, room[_i].slots);
    ck_assert(!d->pinned_bytes == !d->pool_slots);
    ck_assert_int_eq(d->head, room[_i].head);
    ck_assert_uint_eq(d->limit_bytes, vram);
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(tokens_of(s, 0, N, logits));
    /* No more was taken than that, but for what opening a device takes. */
    if (emulated()) {
        ck_assert_uint_le(emulator_count().bytes, vram + MIB);
        ck_assert_uint_le(emulator_count().bytes,
                          d->dense_bytes + d->expert_bytes + d->pool_bytes + d->kv_bytes +
                              d->state_bytes + d->work_bytes + MIB);
    }
    q3n_session_free(s);
    q3n_model_close(m);
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

/* Of a small device, with nothing said, a reserve stays free. */
START_TEST(what_is_free)
{
    q3n_model *m;
    if (!emulated()) return;
    emulator_memory(300 * MIB);
    ok(open_with(&m, DEVICE(AUTO)));
    const struct q3n_device_info *d = &q3n_model_info(m)->device;
    ck_assert_uint_eq(d->n_layers, LAYERS);
    ck_assert_uint_lt(d->limit_bytes, 300 * MIB - (256 * MIB));
    q3n_model_close(m);
    emulator_memory(257 * MIB);
    ok(open_with(&m, DEVICE(AUTO)));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_layers, 0);
    ck_assert_ptr_nonnull(strstr(q3n_model_info(m)->device.none, "too few"));
    ck_assert_uint_eq(emulator_count().live, 0);
    q3n_model_close(m);
}
END_TEST

START_TEST(too_much)
{
    static const uint8_t there[LAYERS] = { Q3N_EXPERTS_DEVICE, Q3N_EXPERTS_DEVICE };
    static const uint8_t host[LAYERS + 1] = { Q3N_LAYER_HOST };
    struct q3n_model_options o = DEVICE(AUTO, .vram_bytes = 8 * MIB);
    refused(DEVICE(.n_gpu_layers = Q3N_GPU_ALL, .vram_bytes = 4 * MIB), GGF_E_NOMEM,
            "6 MiB, and 4 of ");
    refused(DEVICE(.n_gpu_layers = 1, .vram_bytes = 2 * MIB), GGF_E_NOMEM,
            "0 layers and the output matrix do not fit");
    o.expert_tiers = there;
    o.n_expert_tiers = LAYERS;
    refused(o, GGF_E_NOMEM, "10 MiB, and 8 of ");
    o.device.vram_bytes = 0;
    o.device.places = host;
    o.device.n_places = LAYERS + 1;
    refused(o, GGF_E_ARG, "layer 0: experts cannot be on a device");
    if (!emulated()) return;
    refused(DEVICE(AUTO, .vram_bytes = UINT64_C(1) << 50), GGF_E_NOMEM, "are free");
}
END_TEST

/* A session that is larger than was planned for fails alone. */
START_TEST(a_session_too_large)
{
    const struct q3n_session_options large = { .n_ctx = 1 << 22, .n_ubatch = 8 };
    float logits[VOCAB];
    q3n_session *s, *none;
    q3n_model *m;
    if (!emulated()) return;
    emulator_memory(512 * MIB);
    ok(open_with(&m, DEVICE(.n_gpu_layers = Q3N_GPU_ALL)));
    ok(q3n_session_new(&s, m, &settings, &err));
    ck_assert_int_eq(q3n_session_new(&none, m, &large, &err), GGF_E_NOMEM);
    ck_assert_ptr_null(none);
    ck_assert_ptr_nonnull(strstr(err.message, "a sequence on the device"));
    ok(tokens_of(s, 0, N, logits));
    q3n_session_free(s);
    q3n_model_close(m);
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

/* A plan takes nothing. */
START_TEST(plans)
{
    struct q3n_model_options o = DEVICE(AUTO);
    q3n_model *m;
    o.plan = true;
    ok(open_with(&m, o));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, LAYERS);
    if (emulated()) ck_assert_uint_lt(emulator_count().bytes, MIB);
    q3n_model_close(m);
}
END_TEST

/* ---- Options that cannot be followed ----------------------------------------------- */

START_TEST(without_a_device)
{
    static const uint8_t there[] = { Q3N_LAYER_DEVICE };
    q3n_model *m;
    if (!emulated()) return;
    emulator_hide_device(true);
    ok(open_with(&m, DEVICE(AUTO)));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_layers, 0);
    ck_assert_ptr_nonnull(strstr(q3n_model_info(m)->device.none, "no CUDA device"));
    q3n_model_close(m);
    refused(DEVICE(.n_gpu_layers = 1), GGF_E_NOT_FOUND, "no CUDA device");
    refused(DEVICE(.n_gpu_layers = Q3N_GPU_ALL), GGF_E_NOT_FOUND, "no CUDA device");
    refused(DEVICE(AUTO, .vram_bytes = 1), GGF_E_ARG, "no CUDA device");
    refused(DEVICE(AUTO, .kv_on_host = true), GGF_E_ARG, "no effect");
    refused(DEVICE(AUTO, .places = there, .n_places = 1), GGF_E_ARG, "a place");
    emulator_reset();
    emulator_capability(61); /* one that is of no use */
    ok(open_with(&m, DEVICE(AUTO)));
    ck_assert_ptr_nonnull(strstr(q3n_model_info(m)->device.none, "capability 6.1"));
    q3n_model_close(m);
    refused(DEVICE(.n_gpu_layers = 1), GGF_E_NOT_FOUND, "capability 6.1");
    emulator_reset();
}
END_TEST

START_TEST(contradictions)
{
    static const uint8_t there[] = { Q3N_EXPERTS_DEVICE };
    struct q3n_model_options o = { .exact = true };
    q3n_model *m;
    refused(DEVICE(.vram_bytes = 1), GGF_E_ARG, "no effect if nothing is computed");
    refused(DEVICE(.main_gpu = 1), GGF_E_ARG, "a choice of the device");
    refused(DEVICE(.n_gpu_layers = -3), GGF_E_ARG, "-3 layers");
    refused(DEVICE(AUTO, .main_gpu = 99), GGF_E_ARG, "no device 99");
    refused((struct q3n_model_options){ .expert_tiers = there, .n_expert_tiers = 1 },
            GGF_E_ARG, "a place for experts");
    o.device.n_gpu_layers = Q3N_GPU_AUTO;
    ok(open_with(&m, o));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_layers, 0);
    q3n_model_close(m);
    o.device.n_gpu_layers = 1;
    refused(o, GGF_E_ARG, "float32 activations");
}
END_TEST

/* ---- Failures ---------------------------------------------------------------------- */

static const uint8_t last_in_memory[LAYERS] = { 0, Q3N_EXPERTS_MEMORY };

/* Everything there; experts of a layer in memory; experts that come. */
enum { VARIANTS = 3 };
static struct q3n_model_options variant(int i)
{
    struct q3n_model_options o = DEVICE(.n_gpu_layers = Q3N_GPU_ALL);
    if (i == 1) o.expert_tiers = last_in_memory;
    if (i == 1) o.n_expert_tiers = LAYERS;
    if (i == 2) o.device.vram_bytes = 8 * MIB;
    return o;
}

/* A prompt, two tokens one by one, a snapshot; 0, or how it failed. */
static int run(int i, float *logits)
{
    q3n_model *m;
    q3n_session *s = NULL;
    q3n_snapshot *snap = NULL;
    int e = open_with(&m, variant(i));
    if (!e) e = q3n_session_new(&s, m, &settings, &err);
    if (!e) e = tokens_of(s, 0, N, logits);
    if (!e) e = q3n_session_save(&snap, s, &err);
    for (uint32_t k = 0; k < 2 && !e; k++) e = tokens_of(s, N + k, 1, logits);
    if (!e) q3n_session_restore(s, snap);
    for (uint32_t k = 0; k < 2 && !e; k++) e = tokens_of(s, N + k, 1, logits);
    q3n_snapshot_free(snap);
    q3n_session_free(s);
    q3n_model_close(m);
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
    return e;
}

/* Memory that cannot be swapped for experts that come is not needed: tables, pieces. */
START_TEST(every_allocation_fails)
{
    float logits[VOCAB], wanted[VOCAB];
    int needless = _i == 2 ? 2 : 0;
    if (!emulated()) return;
    ok(run(_i, wanted));
    const uint64_t n = emulator_count().allocations;
    ck_assert_uint_ge(n, 5);
    for (uint64_t k = 1; k <= n; k++) {
        emulator_fail_allocation(k);
        const int e = run(_i, logits);
        if (!e) ck_assert_mem_eq(logits, wanted, sizeof wanted);
        if (!e && needless-- > 0) continue;
        ck_assert_int_eq(e, GGF_E_NOMEM);
        ck_assert_int_gt((int)strlen(err.message), 20);
    }
    ck_assert_int_eq(needless, 0);
    emulator_fail_allocation(0);
    ok(run(_i, logits));
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
}
END_TEST

/* Launches of a run are counted off in steps that grow, so that first and last ones and
 * some of all kinds are hit. */
static void lose(int i, uint64_t n, void (*lose_at)(uint64_t k))
{
    float logits[VOCAB], wanted[VOCAB];
    ok(run(i, wanted));
    for (uint64_t k = 1; k <= n; k += 1 + k / 6) {
        lose_at(k);
        memset(logits, 0, sizeof logits);
        ck_assert_int_eq(run(i, logits), GGF_E_IO);
        ck_assert_ptr_nonnull(strstr(err.message, "CUDA"));
        emulator_reset();
    }
    ok(run(i, logits));
    ck_assert_mem_eq(logits, wanted, sizeof wanted);
}

START_TEST(the_device_is_lost)
{
    float logits[VOCAB];
    if (!emulated()) return;
    const struct emulator_counts before = emulator_count();
    ok(run(_i, logits));
    const struct emulator_counts now = emulator_count();
    ck_assert_uint_ge(now.launches - before.launches, 20);
    ck_assert_uint_ge(now.copies - before.copies, 20);
    lose(_i, now.launches - before.launches, emulator_lose_device);
    lose(_i, now.copies - before.copies, emulator_lose_in_copy);
}
END_TEST

/* Nothing helps a session whose device is gone, and no other of the model either. */
START_TEST(what_is_lost_stays_lost)
{
    float logits[VOCAB];
    q3n_session *s, *other;
    q3n_snapshot *snap;
    q3n_model *m;
    if (!emulated()) return;
    ok(open_with(&m, variant(_i)));
    ok(q3n_session_new(&s, m, &settings, &err));
    ok(q3n_session_new(&other, m, &settings, &err));
    ok(tokens_of(s, 0, N, logits));
    emulator_lose_device(3);
    ck_assert_int_eq(tokens_of(s, N, 1, logits), GGF_E_IO);
    ck_assert_int_eq(tokens_of(s, N, 1, logits), GGF_E_ARG); /* it must be reset */
    q3n_session_reset(s);
    ck_assert_int_eq(tokens_of(s, 0, 1, logits), GGF_E_IO);
    ck_assert_int_eq(tokens_of(other, 0, 2, logits), GGF_E_IO);
    ck_assert_int_eq(q3n_session_save(&snap, other, &err), GGF_E_IO);
    ck_assert_ptr_null(snap);
    q3n_session_free(s);
    q3n_session_free(other);
    q3n_model_close(m);
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

int main(void)
{
    TCase *fit = tcase_create("fit");
    tcase_add_checked_fixture(fit, setup, teardown);
    tcase_add_loop_test(fit, as_much_as_fits, 0, sizeof room / sizeof *room);
    tcase_add_test(fit, what_is_free);
    tcase_add_test(fit, too_much);
    tcase_add_test(fit, a_session_too_large);
    tcase_add_test(fit, plans);
    tcase_add_test(fit, without_a_device);
    tcase_add_test(fit, contradictions);
    TCase *faults = tcase_create("faults");
    tcase_add_checked_fixture(faults, setup, teardown);
    tcase_add_loop_test(faults, every_allocation_fails, 0, VARIANTS);
    tcase_add_loop_test(faults, the_device_is_lost, 0, VARIANTS);
    tcase_add_loop_test(faults, what_is_lost_stays_lost, 0, VARIANTS);
    return GPU_SUITE_RUN("gpu_fit", fit, faults);
}
