/* test_observe.c - what an observer sees, what is collected from it, and that the forward
 * pass does not notice. */
#include "../../infer/session/collect.h"
#include "suite.h"
#include "tiny_model.h"

#include <math.h>

static char path[64];

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/q3n-test-XXXXXX");
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void teardown(void) { unlink(path); }

static int32_t token(int i) { return (i * 7 + i / 5) % VOCAB; }

/* The sums of the fixed sequence in one batch, and its logits from `first` on. */
static void collect(const struct tiny *t, int threads, struct imatrix_sums *sums,
                    uint32_t first, float *logits)
{
    const struct q3n_model_options options = { .threads = threads };
    int32_t tokens[TINY_TOKENS];
    q3n_collector *c;
    q3n_session *session;
    q3n_model *model;
    ggf_error err;
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = token(i);
    tiny_write(path, t);
    ck_assert_msg(!q3n_model_open(&model, path, &options, &err), "%s", err.message);
    ck_assert_msg(!q3n_collector_new(&c, model, sums, !t->tied, &err), "%s", err.message);
    ck_assert_int_eq(q3n_session_new(&session, model, NULL, &err), 0);
    q3n_session_observe(session, q3n_collector_observer(c));
    ck_assert_int_eq(q3n_session_eval(session, tokens, TINY_TOKENS, first, logits, &err),
                     0);
    q3n_session_free(session);
    q3n_collector_free(c);
    q3n_model_close(model);
}

static const struct imatrix_sum *entry(const struct imatrix_sums *s, const char *name)
{
    const struct imatrix_sum *e = imatrix_sums_find(s, name);
    ck_assert_msg(e != NULL, "no entry %s", name);
    return e;
}

static void near(double a, double b, const char *what)
{
    ck_assert_msg(fabs(a - b) <= 1e-5 * fabs(b) + 1e-6, "%s: %g, expected %g", what, a,
                  b);
}

/* ---- The forward pass does not notice -------------------------------------- */

START_TEST(same_logits)
{
    float plain[TINY_TOKENS * VOCAB], seen[TINY_TOKENS * VOCAB];
    struct imatrix_sums sums = { 0 };
    ggf_error err;
    tiny_write(path, &(struct tiny){ 0 });
    ck_assert_int_eq(tiny_run(path, NULL, plain, &err), 0);
    collect(&(struct tiny){ 0 }, 2, &sums, 0, seen);
    ck_assert_mem_eq(plain, seen, sizeof plain);
    imatrix_sums_free(&sums);
    /* Nobody but the observer wants the first tokens behind the last mixer. */
    collect(&(struct tiny){ 0 }, 2, &sums, 15, seen);
    ck_assert_mem_eq(plain + (size_t)15 * VOCAB, seen, 5 * VOCAB * sizeof *seen);
    imatrix_sums_free(&sums);
}
END_TEST

/* ---- What is collected ------------------------------------------------------ */

/* The first layer's input is the normed embedding: added up here without the engine. */
START_TEST(first_input)
{
    struct imatrix_sums sums = { 0 };
    double squares[EMBD] = { 0 }, means[EMBD] = { 0 };
    collect(&(struct tiny){ 0 }, 1, &sums, TINY_TOKENS, NULL);
    for (int i = 0; i < TINY_TOKENS; i++) {
        double x[EMBD], power = 0;
        for (int c = 0; c < EMBD; c++) {
            const uint64_t at = (uint64_t)token(i) * EMBD + (uint64_t)c;
            x[c] = (double)tiny_value("token_embd.weight", at);
            power += x[c] * x[c];
        }
        for (int c = 0; c < EMBD; c++) {
            const double w = (double)tiny_value("blk.0.attn_norm.weight", (uint64_t)c);
            const double v = x[c] * w / sqrt(power / EMBD + 1e-6);
            squares[c] += v * v;
            means[c] += v;
        }
    }
    const char *const names[] = { "blk.0.attn_qkv.weight", "blk.0.attn_gate.weight",
                                  "blk.0.ssm_ba.weight" };
    for (int k = 0; k < 3; k++) {
        const struct imatrix_sum *e = entry(&sums, names[k]);
        ck_assert_uint_eq(e->counts[0], TINY_TOKENS);
        ck_assert_uint_eq(e->width, EMBD);
        ck_assert(e->means && !e->gated);
        for (int c = 0; c < EMBD; c++) near((double)e->squares[c], squares[c], names[k]);
        for (int c = 0; c < EMBD; c++) near((double)e->means[c], means[c], names[k]);
    }
    imatrix_sums_free(&sums);
}
END_TEST

/* Every token goes to USED experts, whose weights add up to 1, and with the same input as
 * to the router. */
START_TEST(experts_add_up)
{
    struct imatrix_sums sums = { 0 };
    collect(&(struct tiny){ 0 }, 2, &sums, TINY_TOKENS, NULL);
    const struct imatrix_sum *router = entry(&sums, "blk.1.ffn_gate_inp.weight");
    const struct imatrix_sum *gate = entry(&sums, "blk.1.ffn_gate_exps.weight");
    const struct imatrix_sum *up = entry(&sums, "blk.1.ffn_up_exps.weight");
    const struct imatrix_sum *down = entry(&sums, "blk.1.ffn_down_exps.weight");
    uint64_t rows = 0;
    double gates = 0;
    ck_assert_uint_eq(router->counts[0], TINY_TOKENS);
    ck_assert_mem_eq(gate->squares, up->squares, EMBD * EXPERTS * sizeof(float));
    ck_assert_mem_eq(gate->counts, down->counts, EXPERTS * sizeof *gate->counts);
    for (int c = 0; c < EMBD; c++) {
        double sum = 0;
        for (int e = 0; e < EXPERTS; e++) sum += (double)gate->squares[e * EMBD + c];
        near(sum, USED * (double)router->squares[c], "squares of all experts");
    }
    for (int e = 0; e < EXPERTS; e++) {
        rows += gate->counts[e];
        gates += (double)gate->gate_count[e];
        for (int c = 0; c < EMBD; c++) /* weights are at most 1 */
            ck_assert_float_le(gate->gated[e * EMBD + c],
                               gate->squares[e * EMBD + c] * 1.00001f);
    }
    ck_assert_uint_eq(rows, USED * TINY_TOKENS);
    /* g^2 + (1 - g)^2 is between a half and 1 */
    ck_assert_double_ge(gates, 0.5 * TINY_TOKENS * 0.9999);
    ck_assert_double_le(gates, TINY_TOKENS);
    imatrix_sums_free(&sums);
}
END_TEST

static void same_entry(const struct imatrix_sums *a, const char *name,
                       const struct imatrix_sums *b, const char *other)
{
    const struct imatrix_sum *x = entry(a, name), *y = entry(b, other);
    const uint64_t n = x->width * x->n_slices;
    ck_assert_uint_eq(n, y->width * y->n_slices);
    ck_assert_mem_eq(x->squares, y->squares, n * sizeof *x->squares);
    ck_assert_mem_eq(x->counts, y->counts, x->n_slices * sizeof *x->counts);
}

/* Entries have the names of the file's tensors. */
START_TEST(variants)
{
    struct imatrix_sums plain = { 0 }, other = { 0 };
    collect(&(struct tiny){ 0 }, 1, &plain, 0, (float[TINY_TOKENS * VOCAB]){ 0 });
    ck_assert_uint_eq(plain.n_entries, 12 + 12 + 1); /* 12 a layer, and the output */
    ck_assert_uint_eq(entry(&plain, "output.weight")->counts[0], TINY_TOKENS);
    collect(&(struct tiny){ .fused_gate_up = true, .fused_qkv = true, .tied = true }, 1,
            &other, TINY_TOKENS, NULL);
    same_entry(&plain, "blk.0.ffn_up_exps.weight", &other,
               "blk.0.ffn_gate_up_exps.weight");
    same_entry(&plain, "blk.1.attn_k.weight", &other, "blk.1.attn_qkv.weight");
    ck_assert_ptr_null(imatrix_sums_find(&other, "blk.1.attn_k.weight"));
    ck_assert_ptr_null(imatrix_sums_find(&other, "output.weight"));
    imatrix_sums_free(&other);
    collect(&(struct tiny){ .ssm_in = true }, 1, &other, TINY_TOKENS, NULL);
    same_entry(&plain, "blk.0.attn_qkv.weight", &other, "blk.0.ssm_in.weight");
    same_entry(&plain, "blk.0.ssm_out.weight", &other, "blk.0.ssm_out.weight");
    imatrix_sums_free(&other);
    imatrix_sums_free(&plain);
}
END_TEST

START_TEST(tied_output)
{
    struct imatrix_sums sums = { 0 };
    q3n_collector *c = (void *)&sums; /* must become NULL */
    q3n_model *model;
    ggf_error err;
    tiny_write(path, &(struct tiny){ .tied = true });
    ck_assert_int_eq(q3n_model_open(&model, path, NULL, &err), 0);
    ck_assert_int_eq(q3n_collector_new(&c, model, &sums, true, &err), GGF_E_NOT_FOUND);
    ck_assert_ptr_null(c);
    q3n_collector_free(NULL);
    q3n_model_close(model);
    imatrix_sums_free(&sums);
}
END_TEST

/* ---- Files ------------------------------------------------------------------ */

static void merge(struct imatrix_sums *s, const char *file, bool closed, int expect)
{
    ggf_error err;
    imatrix *m;
    ck_assert_msg(!imatrix_open(&m, file, &err), "%s", err.message);
    ck_assert_msg(!imatrix_check(m, &err), "%s", err.message);
    ck_assert_int_eq(imatrix_sums_merge(s, m, closed, &err), expect);
    imatrix_close(m);
}

static struct imatrix_sum *add(struct imatrix_sums *s, const char *name, uint64_t width,
                               uint64_t slices, unsigned extras)
{
    struct imatrix_sum *e;
    ggf_error err;
    ck_assert_msg(!imatrix_sums_add(&e, s, name, width, slices, extras, &err), "%s",
                  err.message);
    return e;
}

/* Two experts, one of which saw nothing, and a plain weight. */
static void fill(struct imatrix_sums *s)
{
    struct imatrix_sum *e = add(s, "b", 2, 2, IMATRIX_GATED);
    struct imatrix_sum *p = add(s, "a", 3, 1, IMATRIX_MEAN);
    for (int i = 0; i < 2; i++) e->squares[i] = 10.0f * (float)(i + 1);
    e->counts[0] = 5;
    e->gated[1] = 3;
    e->gate_count[0] = 2;
    for (int i = 0; i < 3; i++) p->squares[i] = (float)i;
    p->means[2] = -4;
    p->counts[0] = 8;
    s->chunks = 2;
    s->chunk_size = 4;
    ck_assert_int_eq(imatrix_sums_dataset(s, "text", 4, NULL), 0);
    ck_assert_int_eq(imatrix_sums_dataset(s, "text", 4, NULL), 0);
    ck_assert_uint_eq(s->n_datasets, 1);
}

START_TEST(merged_twice)
{
    struct imatrix_sums s = { 0 }, sum = { 0 };
    ggf_error err;
    fill(&s);
    ck_assert_str_eq(s.entries[0]->name, "a");
    ck_assert_msg(!imatrix_sums_write(&s, path, true, &err), "%s", err.message);
    merge(&sum, path, false, 0);
    merge(&sum, path, true, 0);
    ck_assert_uint_eq(sum.n_entries, 2);
    ck_assert_uint_eq(sum.chunks, 4);
    ck_assert_uint_eq(sum.chunk_size, 4);
    ck_assert_uint_eq(sum.n_datasets, 1);
    const struct imatrix_sum *e = entry(&sum, "b"), *p = entry(&sum, "a");
    ck_assert_uint_eq(e->n_slices, 2);
    ck_assert_uint_eq(e->counts[0], 10);
    ck_assert_uint_eq(e->counts[1], 0);
    ck_assert_float_eq(e->squares[1], 40);
    ck_assert_float_eq(e->gated[1], 6);
    ck_assert_float_eq(e->gate_count[0], 4);
    ck_assert_float_eq(p->means[2], -8);
    ck_assert_uint_eq(p->counts[0], 16);
    imatrix_sums_free(&s);
    imatrix_sums_free(&sum);
}
END_TEST

/* .dat: means times chunks of the busiest expert; ones for an expert without rows. */
START_TEST(old_format)
{
    struct imatrix_sums s = { 0 }, sum = { 0 };
    ggf_error err;
    imatrix *m;
    fill(&s);
    ck_assert_msg(!imatrix_sums_write_dat(&s, path, true, &err), "%s", err.message);
    ck_assert_int_eq(imatrix_open(&m, path, &err), 0);
    const struct imatrix_entry *b = imatrix_find(m, "b");
    float w[4], raw[4];
    ck_assert_int_eq(b->calls, 2); /* 5 rows in chunks of 4 */
    memcpy(raw, b->sums, sizeof raw);
    imatrix_weights(b, 0, 4, w);
    const float want[4] = { 2, 4, 1, 1 };
    for (int i = 0; i < 4; i++) {
        ck_assert_float_eq(w[i], want[i]);
        ck_assert_float_eq(raw[i], 2 * want[i]);
    }
    ck_assert_uint_eq(imatrix_chunks(m), 2);
    imatrix_close(m);
    /* Merged into sums of experts each counts as having seen all; what the file does not
     * have goes. */
    fill(&sum);
    merge(&sum, path, true, 0);
    const struct imatrix_sum *e = entry(&sum, "b");
    ck_assert_uint_eq(e->counts[0], 5 + 8);
    ck_assert_uint_eq(e->counts[1], 8);
    ck_assert_float_eq(e->squares[1], 20 + 4 * 8);
    ck_assert(!e->gated && !e->gate_count && !entry(&sum, "a")->means);
    imatrix_sums_free(&sum);
    /* A .dat first, then counts of experts. */
    ck_assert_int_eq(imatrix_sums_write(&s, path, true, &err), 0);
    struct imatrix_sum *flat = add(&sum, "b", 4, 1, 0);
    flat->counts[0] = 8;
    merge(&sum, path, false, 0);
    ck_assert_uint_eq(flat->n_slices, 2);
    ck_assert_uint_eq(flat->width, 2);
    ck_assert_uint_eq(flat->counts[0], 13);
    ck_assert_uint_eq(flat->counts[1], 8);
    imatrix_sums_free(&sum);
    imatrix_sums_free(&s);
}
END_TEST

START_TEST(refused)
{
    struct imatrix_sums s = { 0 }, other = { 0 };
    struct imatrix_sum *e;
    ggf_error err;
    fill(&s);
    ck_assert_int_eq(imatrix_sums_write(&s, path, true, &err), 0);
    ck_assert_int_eq(imatrix_sums_write(&s, path, false, &err), GGF_E_EXISTS);
    merge(&other, path, true, GGF_E_ARG); /* not of these weights */
    add(&other, "a", 5, 1, 0);
    merge(&other, path, false, GGF_E_ARG); /* of another width */
    ck_assert_int_eq(imatrix_sums_add(&e, &other, "a", 5, 1, 0, &err), GGF_E_ARG);
    char name[64] = { 0 };
    memset(name, 'n', 60);
    ck_assert_int_eq(imatrix_sums_add(&e, &other, name, 5, 1, 0, &err), GGF_E_ARG);
    ck_assert_int_eq(imatrix_sums_check(&s, &err), 0);
    imatrix_sums_find(&s, "b")->squares[3] = INFINITY;
    ck_assert_int_eq(imatrix_sums_check(&s, &err), GGF_E_FORMAT);
    imatrix_sums_free(&s);
    imatrix_sums_free(&other);
    add(&s, "a", 1, 1, 0);
    ck_assert_int_eq(imatrix_sums_write_dat(&s, path, true, &err), GGF_E_ARG);
    imatrix_sums_free(&s);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("observe");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, same_logits);
    tcase_add_test(t, first_input);
    tcase_add_test(t, experts_add_up);
    tcase_add_test(t, variants);
    tcase_add_test(t, tied_output);
    tcase_add_test(t, merged_twice);
    tcase_add_test(t, old_format);
    tcase_add_test(t, refused);
    return SUITE_RUN("observe", t);
}
