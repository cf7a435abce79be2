/* A model of which a device computes a part: the logits, whatever the part is. */
#define TINY_HEAD_DIM 32
#include "../unit/tiny_model.h"

#include "../../infer/ops/moe.h"
#include "../../infer/session/checkpoint.h"
#include "../unit/files.h"
#include "gpu_suite.h"

#include <math.h>

enum { N = 16, CTX = 64, LAYERS = 2 };

static char path[64];
static int32_t text[CTX];
static ggf_error err;

#define ok(call) ck_assert_msg(!(call), "%s", err.message)

static struct q3n_session_options settings = {
    .n_ctx = CTX, .n_ubatch = 12, .type_k = GGF_F16, .type_v = GGF_Q8_0
};

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    for (int i = 0; i < CTX; i++) text[i] = (i * 5 + i * i / 3) % VOCAB;
}

static void teardown(void) { unlink(path); }

/* ---- Placements ------------------------------------------------------------------ */

static const uint8_t in_memory[LAYERS] = { Q3N_EXPERTS_MEMORY, Q3N_EXPERTS_MEMORY },
                     last_in_memory[LAYERS] = { 0, Q3N_EXPERTS_MEMORY },
                     demanded[LAYERS] = { 0, Q3N_EXPERTS_DEVICE };
static const uint8_t first_host[LAYERS + 1] = { Q3N_LAYER_HOST },
                                         last_host[LAYERS + 1] = { 0, Q3N_LAYER_HOST },
                                         head_host[LAYERS + 1] = { 0, 0, Q3N_LAYER_HOST };

struct placed {
    const char *name;
    uint32_t layers, expert_layers; /* that the device computes */
    bool head;
    bool alike; /* all that it does is what it does for a whole model */
    struct q3n_model_options o;
};

#define DEVICE(...) .device = { __VA_ARGS__ }
#define EXPERTS(t)  .expert_tiers = (t), .n_expert_tiers = LAYERS
#define PLACES(p)   .places = (p), .n_places = LAYERS + 1
#define AUTO        .n_gpu_layers = Q3N_GPU_AUTO

static const struct placed placements[] = {
    { "all", 2, 2, true, true, { DEVICE(.n_gpu_layers = Q3N_GPU_ALL) } },
    { "auto", 2, 2, true, true, { DEVICE(AUTO) } },
    { "read", 2, 2, true, true, { DEVICE(AUTO), .load_mode = Q3N_LOAD_DIRECT } },
    { "demanded", 2, 2, true, true, { DEVICE(AUTO), EXPERTS(demanded) } },
    { "experts of the host", 2, 0, true, false, { DEVICE(AUTO), EXPERTS(in_memory) } },
    { "some of the host", 2, 1, true, false, { DEVICE(AUTO), EXPERTS(last_in_memory) } },
    { "keys of the host", 2, 2, true, false, { DEVICE(AUTO, .kv_on_host = true) } },
    { "output", 0, 0, true, false, { DEVICE(.n_gpu_layers = 1) } },
    { "last layer", 1, 1, true, false, { DEVICE(.n_gpu_layers = 2) } },
    { "first layer", 1, 1, true, false, { DEVICE(AUTO, PLACES(last_host)) } },
    { "not the first", 1, 1, true, false, { DEVICE(AUTO, PLACES(first_host)) } },
    { "not the output", 2, 2, false, false, { DEVICE(AUTO, PLACES(head_host)) } },
    { "no output, no experts",
      2,
      0,
      false,
      false,
      { DEVICE(AUTO, PLACES(head_host)), EXPERTS(in_memory) } },
};
enum { PLACEMENTS = sizeof placements / sizeof *placements };
/* Of these one of each kind. */
static const int some[] = { 0, 4, 6, 8, 12 };
enum { SOME = sizeof some / sizeof *some };

static q3n_model *open_placed(const struct placed *p)
{
    struct q3n_model_options o = p->o;
    q3n_model *m;
    o.threads = 2;
    o.session = settings;
    ok(q3n_model_open(&m, path, &o, &err));
    const struct q3n_device_info *d = &q3n_model_info(m)->device;
    ck_assert_uint_eq(d->n_layers, p->layers);
    ck_assert_uint_eq(d->n_expert_layers, p->expert_layers);
    ck_assert_int_eq(d->head, p->head);
    return m;
}

static q3n_model *open_host(bool exact)
{
    q3n_model *m;
    ok(q3n_model_open(&m, path,
                      &(struct q3n_model_options){ .threads = 2, .exact = exact }, &err));
    return m;
}

static q3n_session *session_of(q3n_model *m)
{
    q3n_session *s;
    ok(q3n_session_new(&s, m, &settings, &err));
    return s;
}

/* Nothing of the device is left. */
static void close_all(q3n_model *m, q3n_session *s)
{
    q3n_session_free(s);
    q3n_model_close(m);
    ck_assert_uint_eq(emulator_count().live, 0);
    ck_assert_uint_eq(emulator_count().pinned, 0);
}

static void eval(q3n_session *s, uint32_t n, float *logits)
{
    ok(q3n_session_eval(s, text + q3n_session_pos(s), n, 0, logits, &err));
}

/* Logits of the first N tokens, at once. */
static void logits_of(q3n_model *m, float *logits)
{
    q3n_session *s = session_of(m);
    eval(s, N, logits);
    q3n_session_free(s);
}

/* ---- Comparing ------------------------------------------------------------------- */

/* Of all rows: the size of the difference, over that of b. */
static double distance(const float *a, const float *b, uint32_t rows)
{
    double sum = 0, all = 0;
    for (uint32_t i = 0; i < rows * VOCAB; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(sum / all);
}

/* Additions in another order: a few hundred float roundings, one after the other. */
#define ROUNDING 2e-5

/* Prompts round queries, keys, values and weights of attention to binary16, unless keys
 * and values are float32 (gpu.h). */
#define BINARY16 0x1p-9

/* What the logits may be off by, and those that they are off from.  Where weights are
 * floats nothing is rounded but sums.  Else host and device round activations to 8 bits
 * in blocks, which are no longer there than here, so the device may be about as far from
 * exact activations as the host is; twice that, since the errors differ. */
struct reference {
    float exact[N * VOCAB];
    double bound;
};

static void reference(struct reference *r)
{
    static float rounded[N * VOCAB];
    q3n_model *exact = open_host(true), *host = open_host(false);
    logits_of(exact, r->exact);
    logits_of(host, rounded);
    r->bound = 2 * distance(rounded, r->exact, N) + ROUNDING +
               (settings.type_k == GGF_F32 ? 0 : BINARY16);
    q3n_model_close(exact);
    q3n_model_close(host);
}

static void check_near(const struct reference *r, const float *logits, const char *what)
{
    const double d = distance(logits, r->exact, N);
    ck_assert_msg(d <= r->bound, "%s: %g off, %g allowed", what, d, r->bound);
}

static const struct tiny models[] = {
    { 0 },
    { .matrices = GGF_Q8_0 },
    { .matrices = GGF_Q4_0, .tied = true },
    { .matrices = GGF_Q5_1, .scales = true, .ssm_in = true },
    { .matrices = GGF_F16, .fused_qkv = true, .fused_gate_up = true },
};
enum { MODELS = sizeof models / sizeof *models };

/* Every placement is as near to exact arithmetic as the host; those in which the device
 * does the same give the same bits. */
START_TEST(placements_agree)
{
    static struct reference r;
    static float first[N * VOCAB], logits[N * VOCAB];
    tiny_write(path, &models[_i]);
    if (!_i) settings.type_k = settings.type_v = GGF_F32;
    reference(&r);
    for (int i = 0; i < (_i ? SOME : PLACEMENTS); i++) {
        const struct placed *p = &placements[_i ? some[i] : i];
        q3n_model *m = open_placed(p);
        logits_of(m, i ? logits : first);
        close_all(m, NULL);
        check_near(&r, i ? logits : first, p->name);
        if (i && p->alike) ck_assert_mem_eq(logits, first, sizeof first);
    }
}
END_TEST

/* ---- Cuts, sequences ------------------------------------------------------------- */

/* One by one, which is a recorded graph where all is on the device; and cut anyhow. */
START_TEST(batches_are_cut)
{
    static struct reference r;
    static float logits[N * VOCAB];
    const struct placed *p = &placements[some[_i]];
    tiny_write(path, &models[1]);
    reference(&r);
    q3n_model *m = open_placed(p);
    q3n_session *s = session_of(m);
    for (uint32_t i = 0; i < N; i++) eval(s, 1, logits + (size_t)i * VOCAB);
    check_near(&r, logits, p->name);
    q3n_session_reset(s);
    static const uint32_t cuts[] = { 3, 1, 9, 1, 2 };
    for (uint32_t i = 0, at = 0; at < N; at += cuts[i++])
        eval(s, cuts[i], logits + (size_t)at * VOCAB);
    check_near(&r, logits, p->name);
    /* Logits that nobody wants: of none, and of the last only. */
    q3n_session_reset(s);
    ok(q3n_session_eval(s, text, 5, 5, NULL, &err));
    ok(q3n_session_eval(s, text + 5, 1, 1, NULL, &err));
    ok(q3n_session_eval(s, text + 6, N - 6, N - 7, logits + (size_t)(N - 1) * VOCAB,
                        &err));
    check_near(&r, logits, p->name);
    close_all(m, s);
}
END_TEST

START_TEST(sequences_share_batches)
{
    enum { SESSIONS = 3 };
    static struct reference r;
    static float logits[SESSIONS * N * VOCAB];
    const struct placed *p = &placements[some[_i]];
    q3n_session *s[SESSIONS];
    q3n_lane *lane;
    tiny_write(path, &models[1]);
    reference(&r);
    q3n_model *m = open_placed(p);
    ok(q3n_lane_new(&lane, m, &settings, &err));
    for (int i = 0; i < SESSIONS; i++)
        ok(q3n_session_new_in(&s[i], lane, &settings, &err));
    /* From different places on, in batches that hold some of each; then one by one. */
    eval(s[1], 7, logits);
    eval(s[2], 12, logits);
    const struct q3n_run runs[] = { { s[0], text, N - 2, 0 },
                                    { s[1], text + 7, N - 9, 0 },
                                    { s[2], text + 12, N - 14, 0 } };
    ok(q3n_sessions_eval(runs, SESSIONS, logits, &err));
    static float rows[SESSIONS][N * VOCAB];
    const float *at = logits;
    for (int i = 0; i < SESSIONS; i++) {
        const size_t n = (size_t)runs[i].n * VOCAB;
        memcpy(rows[i], r.exact, sizeof rows[i]);
        memcpy(rows[i] + (size_t)(runs[i].tokens - text) * VOCAB, at, n * sizeof *at);
        at += n;
    }
    for (uint32_t step = N - 2; step < N; step++) {
        struct q3n_run one[SESSIONS];
        for (int i = 0; i < SESSIONS; i++)
            one[i] = (struct q3n_run){ s[i], text + step, 1, 0 };
        ok(q3n_sessions_eval(one, SESSIONS, logits, &err));
        for (int i = 0; i < SESSIONS; i++)
            memcpy(rows[i] + (size_t)step * VOCAB, logits + (size_t)i * VOCAB,
                   VOCAB * sizeof *logits);
    }
    for (int i = 0; i < SESSIONS; i++) check_near(&r, rows[i], p->name);
    for (int i = 0; i < SESSIONS; i++) q3n_session_free(s[i]);
    q3n_lane_free(lane);
    close_all(m, NULL);
}
END_TEST

/* ---- States ---------------------------------------------------------------------- */

START_TEST(snapshots_are_restored)
{
    static float before[8 * VOCAB], after[8 * VOCAB], other[8 * VOCAB];
    q3n_snapshot *snap;
    tiny_write(path, &models[1]);
    q3n_model *m = open_placed(&placements[some[_i]]);
    q3n_session *s = session_of(m);
    eval(s, 11, NULL);
    ok(q3n_session_save(&snap, s, &err));
    eval(s, 8, before);
    q3n_session_restore(s, snap);
    ck_assert_uint_eq(q3n_session_pos(s), 11);
    eval(s, 8, after);
    ck_assert_mem_eq(before, after, sizeof before);
    q3n_session_restore(s, snap);
    const int32_t elsewhere[8] = { 3, 3, 3, 3, 3, 3, 3, 3 };
    ok(q3n_session_eval(s, elsewhere, 8, 0, other, &err));
    ck_assert_mem_ne(before, other, sizeof before);
    q3n_session_restore(s, snap);
    eval(s, 8, after);
    ck_assert_mem_eq(before, after, sizeof before);
    q3n_snapshot_free(snap);
    close_all(m, s);
}
END_TEST

/* What one model keeps another takes, wherever its layers are: in the same bytes. */
static void move(q3n_model *from, q3n_model *to, float *logits)
{
    enum { HALF = N / 2 };
    const struct q3n_checkpoint_options plenty = { .ram_bytes = UINT64_MAX,
                                                   .max_states = 10 };
    char file[80], again[80];
    q3n_session *a = session_of(from), *b = session_of(to);
    q3n_checkpoints *kept_a, *kept_b;
    int32_t *tokens;
    uint32_t n;
    snprintf(file, sizeof file, "%s.a", path);
    snprintf(again, sizeof again, "%s.b", path);
    ok(q3n_checkpoints_open(&kept_a, from, &settings, &plenty, &err));
    ok(q3n_checkpoints_open(&kept_b, to, &settings, &plenty, &err));
    eval(a, HALF, logits);
    ok(q3n_checkpoints_keep(kept_a, a, &err));
    ok(q3n_checkpoints_save(kept_a, file, true, text, HALF, &n, &err));
    ok(q3n_checkpoints_load(kept_b, file, &tokens, &n, &err));
    ck_assert_uint_eq(n, HALF);
    ok(q3n_checkpoints_restore(kept_b, b, text, N, &err));
    ck_assert_uint_eq(q3n_session_pos(b), HALF);
    q3n_checkpoints_close(kept_b);
    ok(q3n_checkpoints_open(&kept_b, to, &settings, &plenty, &err));
    ok(q3n_checkpoints_keep(kept_b, b, &err));
    ok(q3n_checkpoints_save(kept_b, again, true, text, HALF, &n, &err));
    size_t size[2];
    char *bytes[2] = { read_file(file, &size[0]), read_file(again, &size[1]) };
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_mem_eq(bytes[0], bytes[1], size[0]);
    eval(b, N - HALF, logits + HALF * VOCAB);
    for (int i = 0; i < 2; i++) free(bytes[i]);
    free(tokens);
    unlink(file);
    unlink(again);
    q3n_checkpoints_close(kept_a);
    q3n_checkpoints_close(kept_b);
    q3n_session_free(a);
    q3n_session_free(b);
}

START_TEST(states_move_between_host_and_device)
{
    static struct reference r;
    static float logits[N * VOCAB];
    const struct placed *p = &placements[some[_i]];
    tiny_write(path, &models[1]);
    reference(&r);
    q3n_model *host = open_host(false), *device = open_placed(p);
    move(host, device, logits);
    check_near(&r, logits, p->name);
    move(device, host, logits);
    check_near(&r, logits, p->name);
    q3n_model_close(host);
    close_all(device, NULL);
}
END_TEST

/* ---- Watching -------------------------------------------------------------------- */

struct seen {
    uint32_t ids[LAYERS][N * USED], n[LAYERS], n_active[LAYERS];
};

static void see(void *user, const struct routed *r)
{
    struct seen *s = user;
    memcpy(s->ids[r->layer] + s->n[r->layer], r->ids,
           r->tokens * r->n_used * sizeof *r->ids);
    s->n[r->layer] += r->tokens * r->n_used;
    s->n_active[r->layer] += r->n_active;
}

static void watch(q3n_model *m, struct seen *seen)
{
    static float logits[N * VOCAB];
    const struct route_watch w = { see, seen };
    q3n_session *s = session_of(m);
    *seen = (struct seen){ 0 };
    q3n_session_watch(s, &w);
    eval(s, N - 1, logits);
    eval(s, 1, logits);
    q3n_session_free(s);
}

/* Without rounded activations the routers decide alike; who watches changes nothing. */
START_TEST(routing_is_watched)
{
    static struct seen host, device;
    tiny_write(path, &models[0]);
    q3n_model *m = open_host(false);
    watch(m, &host);
    q3n_model_close(m);
    m = open_placed(&placements[some[_i]]);
    watch(m, &device);
    close_all(m, NULL);
    ck_assert_mem_eq(&host, &device, sizeof host);
}
END_TEST

static void see_nothing(void *user, const struct observed *o)
{
    (void)user;
    (void)o;
}

START_TEST(observers_are_refused)
{
    const struct observer observer = { see_nothing, NULL };
    float logits[VOCAB];
    tiny_write(path, &models[0]);
    q3n_model *m = open_placed(&placements[0]);
    q3n_session *s = session_of(m);
    q3n_session_observe(s, &observer);
    ck_assert_int_eq(q3n_session_eval(s, text, 1, 0, logits, &err), GGF_E_ARG);
    ck_assert_ptr_nonnull(strstr(err.message, "observed"));
    q3n_session_observe(s, NULL);
    eval(s, 1, logits);
    close_all(m, s);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("placements");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, placements_agree, 0, MODELS);
    tcase_add_loop_test(tc, batches_are_cut, 0, SOME);
    tcase_add_loop_test(tc, sequences_share_batches, 0, SOME);
    TCase *states = tcase_create("states");
    tcase_add_checked_fixture(states, setup, teardown);
    tcase_add_loop_test(states, snapshots_are_restored, 0, SOME);
    tcase_add_loop_test(states, states_move_between_host_and_device, 0, SOME);
    tcase_add_loop_test(states, routing_is_watched, 0, SOME);
    tcase_add_test(states, observers_are_refused);
    return GPU_SUITE_RUN("gpu_model", tc, states);
}
