/* Routed experts and the shared one on the device, for any number of tokens. */
#include "../../infer/ops/silu.h"
#include "problem.h"

enum {
    N_EXPERT = 7,
    N_USED = 3,
    PARTS = 3,
    ABSENT = 5 /* an expert that is not there */
};

struct experts {
    struct gpu_moe m;
    struct problem_matrix routed[N_EXPERT][PARTS], shared[PARTS];
    float *shared_gate;
    struct problem_acts acts;
    uint32_t tokens, *ids;
    float *weights, *x;
    uint32_t *ids_d;
    float *weights_d;
};

static const uint32_t mixed[] = { GGF_Q4_K, GGF_Q6_K, GGF_IQ3_XXS, GGF_Q8_0,
                                  GGF_Q2_K, GGF_BF16, GGF_F32 };

/* type: of all matrices, or UINT32_MAX: each its own. */
static void experts_matrices(gpu *g, struct experts *e, uint32_t type)
{
    struct gpu_expert there[N_EXPERT] = { 0 };
    const uint32_t n_embd = e->m.n_embd;
    uint32_t k = 0;
    for (uint32_t i = 0; i <= N_EXPERT; i++)
        for (uint32_t p = 0; p < PARTS; p++, k++) {
            const uint32_t n_ff = i < N_EXPERT ? e->m.n_ff : e->m.n_ff_shared;
            const uint32_t t = type == UINT32_MAX ? mixed[k % 7] : type;
            if (i == ABSENT || !n_ff) continue;
            struct problem_matrix *m = i < N_EXPERT ? &e->routed[i][p] : &e->shared[p];
            *m = p == GGF_DOWN ? problem_matrix_new(g, t, n_ff, n_embd, 0)
                               : problem_matrix_new(g, t, n_embd, n_ff, 0);
            if (i == N_EXPERT) {
                e->m.shared[p] = m->m;
            } else {
                e->m.types[p] |= 1ull << t;
                there[i].data_d[p] = m->m.data_d;
                there[i].type[p] = t;
                there[i].scale[p] = m->m.scale;
            }
        }
    e->m.experts_d = gpu_memory(g, there, sizeof there);
}

/* Different experts for a token, the second one for all of them. */
static void experts_routing(gpu *g, struct experts *e)
{
    const uint32_t pairs = e->tokens * N_USED;
    e->ids = malloc(pairs * sizeof *e->ids);
    e->weights = malloc(pairs * sizeof *e->weights);
    ck_assert(e->ids && e->weights);
    for (uint32_t i = 0; i < pairs; i++) {
        static const uint32_t of[] = { 0, 1, 2, 3, 4, 6 };
        const uint32_t t = i / N_USED, k = i % N_USED;
        e->ids[i] = k == 1 ? 2 : of[(t + (k ? 1 : 0)) % 6];
        if (k != 1 && e->ids[i] == 2) e->ids[i] = k ? 6 : 1;
        e->weights[i] = 0.1f + 0.3f * (float)(check_rnd() % 100) / 100;
    }
    e->ids_d = gpu_memory(g, e->ids, pairs * sizeof *e->ids);
    e->weights_d = gpu_memory(g, e->weights, pairs * sizeof *e->weights);
}

static struct experts experts_new(gpu *g, uint32_t type, uint32_t n_embd, uint32_t n_ff,
                                  uint32_t n_ff_shared, uint32_t tokens)
{
    struct experts e = { .tokens = tokens };
    e.m = (struct gpu_moe){ .n_embd = n_embd, .n_expert = N_EXPERT, .n_used = N_USED };
    e.m.n_ff = n_ff;
    e.m.n_ff_shared = n_ff_shared;
    experts_matrices(g, &e, type);
    experts_routing(g, &e);
    e.acts = problem_acts_new(g, NULL, n_embd, tokens);
    e.shared_gate = malloc(n_embd * sizeof(float));
    e.x = malloc((size_t)n_embd * tokens * sizeof(float));
    ck_assert(e.shared_gate && e.x);
    for (uint32_t i = 0; i < n_embd; i++) e.shared_gate[i] = check_rnd_normal() / 16;
    for (uint32_t i = 0; i < n_embd * tokens; i++) e.x[i] = check_rnd_normal();
    e.m.shared_gate_d = gpu_memory(g, e.shared_gate, n_embd * sizeof(float));
    return e;
}

static void experts_free(gpu *g, struct experts *e)
{
    for (uint32_t p = 0; p < PARTS; p++) {
        for (uint32_t i = 0; i < N_EXPERT; i++)
            if (i != ABSENT) problem_matrix_free(g, &e->routed[i][p]);
        if (e->m.n_ff_shared) problem_matrix_free(g, &e->shared[p]);
    }
    gpu_free(g, (void *)(uintptr_t)e->m.experts_d);
    gpu_free(g, (void *)(uintptr_t)e->m.shared_gate_d);
    gpu_free(g, e->ids_d);
    gpu_free(g, e->weights_d);
    problem_acts_free(g, &e->acts);
    free(e->shared_gate);
    free(e->ids);
    free(e->weights);
    free(e->x);
}

/* Norms of what is summed up are those of gpu_norm(). */
static void check_norm(gpu *g, float *x_d, uint32_t n_embd, uint32_t n,
                       const struct gpu_norm_to *got)
{
    const uint64_t bytes = (uint64_t)n * n_embd * sizeof(float);
    const uint64_t q_bytes = gpu_acts_bytes(n_embd, n);
    const struct gpu_norm_to to = { got->weight_d, got->eps, gpu_memory(g, NULL, bytes),
                                    gpu_memory(g, NULL, q_bytes) };
    gpu_norm(g, x_d, NULL, n_embd, n, &to);
    void *want = gpu_bytes(g, to.y_d, bytes), *y = gpu_bytes(g, got->y_d, bytes);
    ck_assert_mem_eq(y, want, bytes);
    free(want);
    free(y);
    void *want_q = gpu_bytes(g, to.q_d, q_bytes), *q = gpu_bytes(g, got->q_d, q_bytes);
    ck_assert_mem_eq(q, want_q, q_bytes);
    free(want_q);
    free(q);
    gpu_free(g, to.y_d);
    gpu_free(g, to.q_d);
}

/* x after tokens [first, first + n). */
static float *experts_run(gpu *g, const struct experts *e, uint32_t first, uint32_t n)
{
    const uint32_t n_embd = e->m.n_embd;
    const uint64_t bytes = (uint64_t)n * n_embd * sizeof(float);
    float *x_d = gpu_memory(g, e->x + (size_t)first * n_embd, bytes);
    void *scratch_d = gpu_memory(g, NULL, gpu_moe_scratch(&e->m, n));
    const struct gpu_acts acts = { e->acts.a.x_d + (size_t)first * n_embd,
                                   (char *)e->acts.a.q_d + gpu_acts_bytes(n_embd, first),
                                   n_embd, n };
    const struct gpu_norm_to next = { e->m.shared_gate_d, 1e-6f,
                                      gpu_memory(g, NULL, bytes),
                                      gpu_memory(g, NULL, gpu_acts_bytes(n_embd, n)) };
    gpu_experts(g, &e->m, &acts, e->ids_d + first * N_USED, e->weights_d + first * N_USED,
                scratch_d, x_d, &next);
    check_norm(g, x_d, n_embd, n, &next);
    float *x = gpu_bytes(g, x_d, bytes);
    gpu_free(g, next.y_d);
    gpu_free(g, next.q_d);
    gpu_free(g, x_d);
    gpu_free(g, scratch_d);
    return x;
}

enum { MAX_FF = 512, MAX_EMBD = 512 };

/* What an expert makes of a token, [n_embd], and how far the device may be from it: not
 * at all where the weights are of types that have the host's bits there. */
struct outcome {
    float y[MAX_EMBD];
    double off[MAX_EMBD];
    bool exact;
};

static bool middle_of(const struct experts *e, const struct problem_matrix *m,
                      uint32_t n_ff, uint32_t token, float *mid, double *off)
{
    const uint32_t n = e->m.n_embd;
    const float *x = e->acts.x + (size_t)token * n;
    const bool exact = mul_is_portable(m[0].m.type) && mul_is_portable(m[1].m.type);
    for (uint32_t i = 0; i < n_ff; i++) {
        double a, b;
        if (exact) {
            mid[i] = silu_times(problem_exact(&m[0], i, x), problem_exact(&m[1], i, x));
            off[i] = 0;
            continue;
        }
        const double gate = problem_dot(
            m[0].w + (size_t)i * n, problem_token(&e->acts, m[0].m.type, token), n, &a);
        const double up = problem_dot(m[1].w + (size_t)i * n,
                                      problem_token(&e->acts, m[1].m.type, token), n, &b);
        mid[i] = (float)(gate / (1 + exp(-gate)) * up);
        off[i] = 1.2 * (a * fabs(up) + b * fabs(gate)) + 1e-6 * fabs((double)mid[i]);
    }
    return exact;
}

static void outcome_of(const struct experts *e, const struct problem_matrix *m,
                       uint32_t n_ff, uint32_t token, struct outcome *o)
{
    float mid[MAX_FF] = { 0 };
    double off[MAX_FF] = { 0 };
    const bool codes = !is_float_type(m[2].m.type);
    const uint32_t n_embd = e->m.n_embd,
                   share = problem_form(m[2].m.type) == ACT_Q8_K ? 256 : 32;
    o->exact = middle_of(e, m, n_ff, token, mid, off) && mul_is_portable(m[2].m.type);
    for (uint32_t b = 0; b < n_ff && codes && !o->exact; b += share) {
        double max = 0; /* codes: half a step more */
        for (uint32_t i = b; i < b + share; i++)
            max = fmax(max, fabs((double)mid[i]) + off[i]);
        for (uint32_t i = b; i < b + share; i++) off[i] += max / 254 * 1.001;
    }
    for (uint32_t r = 0; r < n_embd; r++) {
        const float *w = m[2].w + (size_t)r * n_ff;
        double bound;
        o->y[r] = o->exact ? problem_exact(&m[2], r, mid)
                           : (float)problem_dot(w, mid, n_ff, &bound);
        o->off[r] = o->exact ? 0 : 2 * bound;
        for (uint32_t i = 0; i < n_ff; i++) o->off[r] += fabs((double)w[i]) * off[i];
    }
}

/* sum = fma(weight, expert(token), sum); bound likewise.  Is it the same bits? */
static bool add_expert(const struct experts *e, const struct problem_matrix *m,
                       uint32_t n_ff, uint32_t token, float weight, float *sum,
                       double *bound)
{
    struct outcome o;
    outcome_of(e, m, n_ff, token, &o);
    for (uint32_t r = 0; r < e->m.n_embd; r++) {
        sum[r] = fmaf(weight, o.y[r], sum[r]);
        bound[r] += fabs((double)weight) * (o.off[r] + 1e-6 * fabs((double)o.y[r]));
    }
    return o.exact;
}

static void check_token(const struct experts *e, const float *x, uint32_t t)
{
    const uint32_t n_embd = e->m.n_embd;
    const float *from = e->x + (size_t)t * n_embd;
    float sum[MAX_EMBD] = { 0 };
    double bound[MAX_EMBD] = { 0 }, gate = 0, moved = 0, slack = 0;
    bool exact = !e->m.n_ff_shared; /* its share is not */
    for (uint32_t i = 0; i < n_embd; i++)
        gate += (double)e->shared_gate[i] * (double)e->acts.x[(size_t)t * n_embd + i];
    for (uint32_t k = 0; k < N_USED; k++)
        exact &= add_expert(e, e->routed[e->ids[t * N_USED + k]], e->m.n_ff, t,
                            e->weights[t * N_USED + k], sum, bound);
    if (e->m.n_ff_shared)
        add_expert(e, e->shared, e->m.n_ff_shared, t, (float)(1 / (1 + exp(-gate))), sum,
                   bound);
    for (uint32_t i = 0; i < n_embd; i++) {
        const float got = x[(size_t)t * n_embd + i], want = from[i] + sum[i];
        bound[i] += 1e-6 * fabs((double)want);
        if (exact) bound[i] = 0;
        ck_assert_msg(fabs((double)got - (double)want) <= bound[i],
                      "token %u of %u, column %u: %a and not %a +- %g", t, e->tokens, i,
                      (double)got, (double)want, bound[i]);
        moved += pow((double)sum[i], 2);
        slack += bound[i] * bound[i];
    }
    ck_assert_double_lt(slack, moved / 2); /* or nothing would have been said */
}

static void experts_check(uint32_t type, uint32_t n_embd, uint32_t n_ff,
                          uint32_t n_ff_shared, uint32_t tokens)
{
    gpu *g = gpu_new();
    emulator_seed(tokens + type);
    struct experts e = experts_new(g, type, n_embd, n_ff, n_ff_shared, tokens);
    float *x = experts_run(g, &e, 0, tokens);
    for (uint32_t t = 0; t<tokens; t += tokens> 4 ? tokens / 4 : 1) check_token(&e, x, t);
    /* The same bits alone, and cut in another way. */
    const uint32_t cut = tokens / 3;
    float *head = experts_run(g, &e, 0, cut ? cut : 1);
    ck_assert_mem_eq(head, x, (cut ? cut : 1) * (size_t)n_embd * sizeof *x);
    float *last = experts_run(g, &e, tokens - 1, 1);
    ck_assert_mem_eq(last, x + (size_t)(tokens - 1) * n_embd, n_embd * sizeof *x);
    free(x);
    free(head);
    free(last);
    experts_free(g, &e);
    gpu_done(g);
}

/* Experts in two pieces; with some experts' pairs, for few tokens, from elsewhere: marked
 * by their ids, or left out because they are not there. */
static float *experts_in_steps(gpu *g, const struct experts *e, const float *rows,
                               bool marked)
{
    enum { HALF = 3, GIVEN = 2 };
    const uint32_t n_embd = e->m.n_embd, n = e->tokens, pairs = n * N_USED;
    const uint64_t bytes = (uint64_t)n * n_embd * sizeof(float);
    struct gpu_expert *there =
        gpu_bytes(g, e->m.experts_d, N_EXPERT * sizeof(struct gpu_expert));
    uint32_t *ids = malloc(pairs * sizeof *ids), *place = malloc(pairs * sizeof *place);
    ck_assert(ids && place);
    for (uint32_t i = 0; i < pairs; i++) {
        const bool given = rows && e->ids[i] == GIVEN;
        ids[i] = given && marked ? UINT32_MAX : e->ids[i];
        place[i] = given ? i : UINT32_MAX;
    }
    if (rows && !marked) there[GIVEN].data_d[GGF_GATE] = NULL;
    struct gpu_moe m = e->m;
    m.experts_d = gpu_memory(g, there, N_EXPERT * sizeof *there);
    const struct gpu_moe_given given = { .place_d =
                                             gpu_memory(g, place, pairs * sizeof *place),
                                         .rows_d = rows };
    uint32_t *ids_d = gpu_memory(g, ids, pairs * sizeof *ids);
    float *x_d = gpu_memory(g, e->x, bytes);
    void *scratch_d = gpu_memory(g, NULL, gpu_moe_scratch(&m, n));
    gpu_moe_sort(g, &m, e->ids_d, n, scratch_d);
    gpu_moe_products(g, &m, &e->acts.a, ids_d, HALF, N_EXPERT + 1, scratch_d);
    gpu_moe_products(g, &m, &e->acts.a, ids_d, 0, HALF, scratch_d);
    gpu_moe_sum(g, &m, n, e->weights_d, rows ? &given : NULL, scratch_d, x_d, NULL);
    float *x = gpu_bytes(g, x_d, bytes);
    gpu_free(g, (void *)(uintptr_t)m.experts_d);
    gpu_free(g, (void *)(uintptr_t)given.place_d);
    gpu_free(g, ids_d);
    gpu_free(g, x_d);
    gpu_free(g, scratch_d);
    free(there);
    free(ids);
    free(place);
    return x;
}

/* The rows of all pairs, by summing up one of them alone with weight 1 to nothing. */
static float *experts_rows(gpu *g, const struct experts *e)
{
    const uint32_t n_embd = e->m.n_embd, pairs = e->tokens * N_USED;
    const float one = 1;
    struct gpu_moe m = e->m;
    m.n_used = 1;
    m.n_ff_shared = 0;
    float *one_d = gpu_memory(g, &one, sizeof one);
    float *rows_d = gpu_memory(g, NULL, (uint64_t)pairs * n_embd * sizeof(float));
    void *scratch_d = gpu_memory(g, NULL, gpu_moe_scratch(&m, 1));
    gpu_zero(g, rows_d, (uint64_t)pairs * n_embd * sizeof(float));
    for (uint32_t i = 0; i < pairs; i++) {
        const uint32_t t = i / N_USED;
        const struct gpu_acts acts = { e->acts.a.x_d + (size_t)t * n_embd,
                                       (char *)e->acts.a.q_d + gpu_acts_bytes(n_embd, t),
                                       n_embd, 1 };
        gpu_experts(g, &m, &acts, e->ids_d + i, one_d, scratch_d,
                    rows_d + (size_t)i * n_embd, NULL);
    }
    gpu_wait(g);
    gpu_free(g, one_d);
    gpu_free(g, scratch_d);
    return rows_d;
}

START_TEST(in_steps)
{
    const uint32_t tokens = _i ? 2 : 12;
    gpu *g = gpu_new();
    emulator_seed(tokens);
    struct experts e = experts_new(g, UINT32_MAX, 256, 256, 256, tokens);
    float *all = experts_run(g, &e, 0, tokens), *rows_d = _i ? experts_rows(g, &e) : NULL;
    for (int marked = 0; marked < (_i ? 2 : 1); marked++) {
        float *x = experts_in_steps(g, &e, rows_d, marked);
        ck_assert_mem_eq(x, all, (size_t)tokens * e.m.n_embd * sizeof *x);
        free(x);
    }
    free(all);
    if (rows_d) gpu_free(g, rows_d);
    experts_free(g, &e);
    gpu_done(g);
}
END_TEST

/* The sum goes on where that of others ended. */
START_TEST(sums_that_go_on)
{
    gpu *g = gpu_new();
    struct experts e = experts_new(g, GGF_Q4_K, 256, 256, 256, 2);
    const uint64_t bytes = 2 * 256 * sizeof(float);
    float *all = experts_run(g, &e, 0, 2), *rows_d = experts_rows(g, &e), sum[2 * 256];
    float *rows = gpu_bytes(g, rows_d, N_USED * bytes);
    for (uint32_t t = 0; t < 2; t++)
        for (uint32_t i = 0; i < 256; i++) {
            float s = 0;
            for (uint32_t k = 0; k < N_USED; k++)
                s = fmaf(e.weights[t * N_USED + k], rows[(t * N_USED + k) * 256 + i], s);
            sum[t * 256 + i] = s;
        }
    struct gpu_moe m = e.m;
    m.n_used = m.n_expert = 0;
    float *sum_d = gpu_memory(g, sum, bytes), *x_d = gpu_memory(g, e.x, bytes);
    void *scratch_d = gpu_memory(g, NULL, gpu_moe_scratch(&m, 2));
    gpu_moe_products(g, &m, &e.acts.a, NULL, 0, 1, scratch_d);
    gpu_moe_sum(g, &m, 2, NULL, &(struct gpu_moe_given){ .sum_d = sum_d }, scratch_d, x_d,
                NULL);
    float *x = gpu_bytes(g, x_d, bytes);
    ck_assert_mem_eq(x, all, bytes);
    gpu_free(g, sum_d);
    gpu_free(g, x_d);
    gpu_free(g, rows_d);
    gpu_free(g, scratch_d);
    free(rows);
    free(all);
    free(x);
    experts_free(g, &e);
    gpu_done(g);
}
END_TEST

static const uint32_t batches[] = { 1, 2, 8, 9, 40, 150 };

START_TEST(each_expert_its_own_types)
{
    experts_check(UINT32_MAX, 256, 256, 512, batches[_i]);
}
END_TEST

START_TEST(one_type_for_all)
{
    experts_check(_i % 2 ? GGF_Q8_0 : GGF_MXFP4, 320, 96, _i < 4 ? 64 : 0, batches[_i]);
}
END_TEST

START_TEST(no_shared_expert) { experts_check(GGF_Q4_K, 256, 256, 0, batches[_i]); }
END_TEST

START_TEST(scratch_grows_with_tokens)
{
    const struct gpu_moe m = {
        .n_embd = 2048, .n_expert = 512, .n_used = 10, .n_ff = 512, .n_ff_shared = 512
    };
    uint64_t before = 0;
    for (uint32_t tokens = 1; tokens < 600; tokens++) {
        const uint64_t now = gpu_moe_scratch(&m, tokens);
        ck_assert_uint_gt(now, before);
        before = now;
    }
    ck_assert_uint_lt(before, 600 * 11 * 16384ull);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("experts");
    tcase_add_loop_test(tc, each_expert_its_own_types, 0, 6);
    tcase_add_loop_test(tc, one_type_for_all, 0, 6);
    tcase_add_loop_test(tc, no_shared_expert, 0, 6);
    tcase_add_loop_test(tc, in_steps, 0, 2);
    tcase_add_test(tc, sums_that_go_on);
    tcase_add_test(tc, scratch_grows_with_tokens);
    return GPU_SUITE_RUN("gpu_experts", tc);
}
