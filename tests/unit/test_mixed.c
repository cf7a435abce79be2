/* test_mixed.c - experts of one layer in different types: the numbers are those of a
 * plain model that holds the same values, whatever the threads and batches. */
#define TINY_WIDTH 256
#include "files.h"
#include "suite.h"
#include "tiny_model.h"

#include "../../quant/decode.h"

#include <math.h>

enum { LAYERS = 2, RECORDS = LAYERS * EXPERTS };

static char folder[64], source[96], plain[96], dense[96], pack[96];

/* All three forms of activations in one layer, for gate and up and for down. */
static const uint32_t types[RECORDS][GGF_PARTS] = {
    { GGF_Q4_K, GGF_Q4_K, GGF_Q6_K },  { GGF_IQ2_XS, GGF_IQ2_XS, GGF_Q8_0 },
    { GGF_Q5_0, GGF_IQ3_S, GGF_F16 },  { GGF_BF16, GGF_Q8_0, GGF_IQ4_NL },
    { GGF_Q2_K, GGF_Q3_K, GGF_IQ1_M }, { GGF_IQ4_XS, GGF_IQ4_XS, GGF_MXFP4 },
    { GGF_F32, GGF_F32, GGF_Q5_K },    { GGF_Q4_0, GGF_Q5_1, GGF_IQ3_XXS },
};

static const char *const part_names[GGF_PARTS] = { "gate", "up", "down" };

/* One matrix of an expert, encoded; and what it decodes to. */
static void encode_matrix(const ggf_file *f, const struct ggf_pack_record *r, int part,
                          uint8_t *stored, float *values)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.ffn_%s_exps.weight", r->layer, part_names[part]);
    const struct ggf_tensor *t = ggf_find_tensor(f, name);
    const uint32_t type = r->type[part];
    const size_t row = ggf_row_bytes(type, EMBD);
    float ones[EMBD], x[EMBD];
    for (int i = 0; i < EMBD; i++) ones[i] = 1;
    for (uint32_t k = 0; k < FF; k++) {
        memcpy(x, t->data + ((uint64_t)r->expert * FF + k) * sizeof x, sizeof x);
        if (type == GGF_F32) memcpy(stored + k * row, x, sizeof x);
        else encode_for(type)(x, EMBD, ones, stored + k * row);
        decode_for(type)(stored + k * row, values + (uint64_t)k * EMBD, EMBD);
    }
}

static int fill(void *user, const struct ggf_pack_record *r, uint8_t *raw, ggf_error *err)
{
    float *values = malloc(sizeof(float) * EMBD * FF);
    (void)err;
    for (int p = 0; p < GGF_PARTS; p++)
        encode_matrix(user, r, p, raw + r->part_offset[p], values);
    free(values);
    return 0;
}

static bool is_experts(const struct ggf_tensor *t) { return strstr(t->name, "_exps."); }

static void copy_keys(ggf_writer *w, const ggf_file *f)
{
    for (uint64_t i = 0; i < ggf_kv_count(f); i++)
        must(ggf_writer_set_kv(w, ggf_kv(f, i), NULL), NULL);
}

/* All tensors of the source, or those that are no experts'. */
static void add_tensors(ggf_writer *w, const ggf_file *f, bool experts)
{
    ggf_error err;
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        if (is_experts(t) && !experts) continue;
        must(ggf_writer_add_tensor(w, t->name, t->type, t->ne, &err), &err);
    }
    must(ggf_writer_begin(w, &err), &err);
    uint64_t n = 0;
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        if (is_experts(t) && !experts) continue;
        if (!is_experts(t))
            must(ggf_writer_write(w, n, 0, t->data, t->bytes, &err), &err);
        n++;
    }
}

static void write_pack(ggf_file *f)
{
    struct ggf_pack_layer layers[LAYERS];
    ggf_error err;
    ggf_writer *w;
    ggf_pack_writer *p;
    for (uint32_t l = 0; l < LAYERS; l++)
        layers[l] = (struct ggf_pack_layer){
            .block = l, .n_expert = EXPERTS, .n_embd = EMBD, .n_ff = FF
        };
    const struct ggf_pack_content content = {
        .layers = layers, .n_layers = LAYERS, .types = types, .fill = fill, .user = f
    };
    must(ggf_writer_create(&w, dense, NULL, &err), &err);
    copy_keys(w, f);
    must(ggf_pack_writer_create(&p, pack, w, &content, NULL, &err), &err);
    add_tensors(w, f, false);
    must(ggf_pack_writer_write(p, &err), &err);
    must(ggf_pack_writer_finish(p, &err), &err);
}

/* The same values in F32. */
static void write_plain(ggf_file *f)
{
    const size_t bytes = sizeof(float) * EMBD * FF;
    uint8_t *stored = malloc(bytes);
    float *values = malloc(bytes);
    ggf_error err;
    ggf_writer *w;
    must(ggf_writer_create(&w, plain, NULL, &err), &err);
    copy_keys(w, f);
    add_tensors(w, f, true);
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        int part = 0;
        if (!is_experts(t)) continue;
        while (part + 1 < GGF_PARTS && !strstr(t->name, part_names[part])) part++;
        for (uint32_t e = 0; e < EXPERTS; e++) {
            struct ggf_pack_record r = { .layer = (uint32_t)ggf_tensor_layer(t),
                                         .expert = e };
            r.type[part] = types[r.layer * EXPERTS + e][part];
            encode_matrix(f, &r, part, stored, values);
            must(ggf_writer_write(w, i, e * bytes, values, bytes, &err), &err);
        }
    }
    must(ggf_writer_finish(w, &err), &err);
    free(stored);
    free(values);
}

static void setup(void)
{
    ggf_error err;
    ggf_file *f;
    snprintf(folder, sizeof folder, "/tmp/q3n-mixed-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(source, sizeof source, "%s/source.gguf", folder);
    snprintf(plain, sizeof plain, "%s/plain.gguf", folder);
    snprintf(dense, sizeof dense, "%s/dense.gguf", folder);
    snprintf(pack, sizeof pack, "%s/dense.xpack", folder);
    tiny_write(source, &(struct tiny){ 0 });
    must(ggf_open(&f, source, NULL, &err), &err);
    write_pack(f);
    write_plain(f);
    ggf_close(f);
}

static void teardown(void)
{
    unlink(source);
    unlink(plain);
    unlink(dense);
    unlink(pack);
    rmdir(folder);
}

/* Logits of a fixed sequence, `step` tokens in a call and `batch` at once. */
static void run(const char *path, const struct q3n_model_options *options, uint32_t step,
                uint32_t batch, float *logits)
{
    const struct q3n_session_options so = { .n_ubatch = batch };
    q3n_model *model;
    q3n_session *session;
    int32_t tokens[TINY_TOKENS];
    ggf_error err;
    for (int i = 0; i < TINY_TOKENS; i++) tokens[i] = (i * 7 + i / 5) % VOCAB;
    must(q3n_model_open(&model, path, options, &err), &err);
    must(q3n_session_new(&session, model, &so, &err), &err);
    for (uint32_t i = 0; i < TINY_TOKENS; i += step) {
        const uint32_t n = TINY_TOKENS - i < step ? TINY_TOKENS - i : step;
        must(
            q3n_session_eval(session, tokens + i, n, 0, logits + (size_t)i * VOCAB, &err),
            &err);
    }
    q3n_session_free(session);
    q3n_model_close(model);
}

/* Exact kernels multiply the decoded weights by floats, so that only the order of a
 * product's 256 additions can differ: 256 * 2^-24 of the sum of magnitudes, for some
 * products one after the other. */
static const double tolerance = 8 * 256 / 16777216.0;

START_TEST(as_plain)
{
    static float a[TINY_TOKENS * VOCAB], b[TINY_TOKENS * VOCAB];
    const struct q3n_model_options exact = { .exact = true, .no_mmap = _i & 1 };
    run(plain, &exact, TINY_TOKENS, 512, a);
    run(dense, &exact, _i & 2 ? 1 : TINY_TOKENS, 512, b);
    double worst = 0, largest = 0;
    for (int i = 0; i < TINY_TOKENS * VOCAB; i++) {
        /* no fmax(): gcc 12 for aarch64 dies of it where floats become doubles */
        const double error = fabs((double)a[i] - (double)b[i]), size = fabs((double)a[i]);
        if (!(error <= worst)) worst = error;
        if (size > largest) largest = size;
    }
    ck_assert_double_gt(largest, 1);
    ck_assert_double_le(worst, tolerance * largest);
}
END_TEST

/* Memory for the experts of one token: records of all sizes take each other's place. */
static uint64_t least_cache(void)
{
    uint64_t sum = 0;
    ggf_error err;
    ggf_pack *p;
    must(ggf_pack_open(&p, pack, &err), &err);
    for (uint32_t l = 0; l < LAYERS; l++) {
        uint64_t largest = 0;
        for (uint32_t e = 0; e < EXPERTS; e++) {
            const struct ggf_pack_record *r = ggf_pack_record(p, l, e);
            if (r->raw_bytes > largest) largest = r->raw_bytes;
        }
        sum += USED * largest;
    }
    ggf_pack_close(p);
    return sum;
}

/* Quantized activations: one result for all threads, batches and sizes of the cache. */
START_TEST(one_result)
{
    static const struct {
        int threads;
        uint32_t step, batch;
    } ways[] = { { 3, TINY_TOKENS, 512 }, { 1, 1, 512 },        { 2, 1, 1 }, { 2, 7, 3 },
                 { 5, 3, 512 },           { 1, TINY_TOKENS, 2 } };
    static float a[TINY_TOKENS * VOCAB], b[TINY_TOKENS * VOCAB];
    const struct q3n_model_options one = { .threads = 1 };
    run(dense, &one, TINY_TOKENS, 512, a);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        const struct q3n_model_options o = { .threads = ways[i].threads,
                                             .no_mmap = i & 1 };
        run(dense, &o, ways[i].step, ways[i].batch, b);
        ck_assert_mem_eq(a, b, sizeof a);
    }
    for (uint32_t step = 1; step < 8; step += 3) {
        const struct q3n_model_options o = { .load_mode = Q3N_LOAD_DIRECT,
                                             .experts_cache_bytes = least_cache(),
                                             .threads = 2 };
        run(dense, &o, step, 512, b);
        ck_assert_mem_eq(a, b, sizeof a);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("mixed");
    tcase_add_unchecked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, as_plain, 0, 4);
    tcase_add_test(tc, one_result);
    return SUITE_RUN("mixed", tc);
}
