/* test_expert_budget.c - types for each expert: within the budget, by use, as demanded.
 */
#include "../../quant/expert_budget.h"
#include "files.h"
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 256, EXPERTS = 8, BLOCKS = 2, RECORDS = BLOCKS * EXPERTS };

static char model_path[64], matrix_path[64];

/* Expert 0 sees most, the last none. */
static const float counts[EXPERTS] = { 4000, 1500, 700, 300, 100, 30, 4, 0 };

struct setting {
    bool fused, even;                        /* even: experts are used alike */
    bool gated;                              /* the matrix has the router's weights */
    int (*forced)(void *user, const char *); /* or NULL */
};

struct fixture {
    ggf_file *file;
    imatrix *matrix;
    struct plan plan;
    struct plan_options options;
    struct error_table table;
    struct expert_budget budget;
};

static float noise(uint64_t *r)
{
    float v = 0;
    for (int k = 0; k < 4; k++) {
        *r = *r * 6364136223846793005u + 1442695040888963407u;
        v += (float)(int32_t)(*r >> 32) * 0x1p-31F;
    }
    return v;
}

static const char *const names[] = { "gate", "up", "down" };

static void add_tensors(ggf_writer *w, bool fused, char list[][64], size_t *sizes, int *n)
{
    const uint64_t head[4] = { WIDTH, 8, 1, 1 };
    ggf_error err;
    *n = 0;
    sprintf(list[*n], "token_embd.weight");
    sizes[(*n)++] = WIDTH * 8;
    sprintf(list[*n], "output.weight");
    sizes[(*n)++] = WIDTH * 8;
    for (int b = 0; b < BLOCKS; b++) {
        sprintf(list[*n], "blk.%d.attn_q.weight", b);
        sizes[(*n)++] = WIDTH * 8;
        for (int p = fused ? 1 : 0; p < 3; p++) {
            const bool both = fused && p == 1;
            sprintf(list[*n], "blk.%d.ffn_%s_exps.weight", b,
                    both ? "gate_up" : names[p]);
            sizes[(*n)++] = (size_t)WIDTH * WIDTH * EXPERTS << both;
        }
    }
    for (int i = 0; i < *n; i++) {
        const bool experts = strstr(list[i], "_exps");
        const uint64_t ne[4] = { WIDTH, sizes[i] / WIDTH / EXPERTS, EXPERTS, 1 };
        must(ggf_writer_add_tensor(w, list[i], GGF_F16, experts ? ne : head, &err), &err);
    }
}

static void write_model(bool fused)
{
    char list[16][64];
    size_t sizes[16];
    int n;
    ggf_error err;
    ggf_writer *w;
    uint64_t r = 5;
    const struct ggf_writer_options force = { .force = true };
    must(ggf_writer_create(&w, model_path, &force, &err), &err);
    must(ggf_writer_set_str(w, "general.architecture", "test", &err), &err);
    must(ggf_writer_set_u32(w, "test.block_count", BLOCKS, &err), &err);
    add_tensors(w, fused, list, sizes, &n);
    must(ggf_writer_begin(w, &err), &err);
    for (int i = 0; i < n; i++) {
        uint16_t *v = malloc(sizes[i] * sizeof *v);
        for (size_t k = 0; k < sizes[i]; k++) { /* F16 in -1/16 to 1/16 */
            const float x = noise(&r);
            v[k] = (uint16_t)(x < 0 ? 0x8000 : 0) | (uint16_t)(fabsf(x) * 2800);
        }
        must(ggf_writer_write(w, (uint64_t)i, 0, v, sizes[i] * sizeof *v, &err), &err);
        free(v);
    }
    must(ggf_writer_finish(w, &err), &err);
}

/* The router's squared weights: here the fewer tokens, the larger. */
static float gate_of(uint64_t expert) { return 1 + (float)expert; }

static void write_entry(ggf_writer *w, uint64_t *n, bool data, const char *tensor,
                        const struct setting *s)
{
    static const char *const parts[] = { "in_sum2", "counts", "gated_sum2",
                                         "gated_counts" };
    const bool experts = strstr(tensor, "_exps");
    const uint64_t slices = experts ? EXPERTS : 1;
    const uint64_t ne[4] = { WIDTH, slices, 1, 1 }, ones[4] = { 1, slices, 1, 1 };
    float sums[WIDTH * EXPERTS], tokens[EXPERTS];
    char name[80];
    ggf_error err;
    for (uint64_t e = 0; e < slices; e++) {
        tokens[e] = experts && !s->even ? counts[e] : 1000;
        for (uint64_t i = 0; i < WIDTH; i++)
            sums[e * WIDTH + i] = tokens[e] * (1 + (float)(i % 7));
    }
    const bool gated = s->gated && strstr(tensor, "down_exps");
    for (int k = 0; k < (gated ? 4 : 2); k++, ++*n) {
        const bool one = k & 1;
        snprintf(name, sizeof name, "%s.%s", tensor, parts[k]);
        for (uint64_t e = 0; k == 3 && e < slices; e++) tokens[e] *= gate_of(e);
        if (data)
            must(ggf_writer_write(w, *n, 0, one ? tokens : sums,
                                  (one ? 1 : WIDTH) * slices * sizeof(float), &err),
                 &err);
        else must(ggf_writer_add_tensor(w, name, GGF_F32, one ? ones : ne, &err), &err);
    }
}

static void write_matrix(const struct setting *s)
{
    const struct ggf_writer_options force = { .force = true };
    ggf_error err;
    ggf_writer *w;
    must(ggf_writer_create(&w, matrix_path, &force, &err), &err);
    must(ggf_writer_set_str(w, "general.type", "imatrix", &err), &err);
    must(ggf_writer_set_u32(w, "imatrix.chunk_count", 1, &err), &err);
    must(ggf_writer_set_u32(w, "imatrix.chunk_size", 512, &err), &err);
    const struct ggf_str text = { "text", 4 };
    must(ggf_writer_set_str_array(w, "imatrix.datasets", &text, 1, &err), &err);
    for (int data = 0; data < 2; data++) {
        uint64_t n = 0;
        if (data) must(ggf_writer_begin(w, &err), &err);
        for (int b = 0; b < BLOCKS; b++) {
            char name[64];
            sprintf(name, "blk.%d.attn_q.weight", b);
            write_entry(w, &n, data, name, s);
            for (int p = s->fused ? 1 : 0; p < 3; p++) {
                sprintf(name, "blk.%d.ffn_%s_exps.weight", b,
                        s->fused && p == 1 ? "gate_up" : names[p]);
                write_entry(w, &n, data, name, s);
            }
        }
    }
    must(ggf_writer_finish(w, &err), &err);
}

static void open_all(struct fixture *f, const struct setting *s)
{
    ggf_error err;
    *f = (struct fixture){ 0 };
    write_model(s->fused);
    write_matrix(s);
    must(ggf_open(&f->file, model_path, NULL, &err), &err);
    must(imatrix_open(&f->matrix, matrix_path, &err), &err);
    f->options = (struct plan_options){
        .mix = { .to = file_type_by_id(FT_Q8_0),
                 .pure = true,
                 .output_type = MIX_NO_TYPE,
                 .embedding_type = MIX_NO_TYPE },
        .matrix = f->matrix,
        .forced = s->forced,
    };
    must(plan_make(&f->plan, f->file, &f->options, &err), &err);
    must(error_table_init(&f->table, &f->plan, &f->options, &err), &err);
    must(expert_budget_init(&f->budget, &f->plan, f->file, &err), &err);
}

static void close_all(struct fixture *f)
{
    expert_budget_free(&f->budget);
    error_table_free(&f->table);
    plan_free(&f->plan);
    imatrix_close(f->matrix);
    ggf_close(f->file);
}

static int choose(struct fixture *f, uint64_t bytes, enum budget_kind kind, int threads,
                  ggf_error *err)
{
    const struct budget_options o = { .bytes = bytes,
                                      .alignment = 32,
                                      .kind = kind,
                                      .measure = { .threads = threads, .blocks = 16 } };
    return expert_budget_choose(&f->budget, &f->plan, &f->options, &f->table, &o, 1, err);
}

/* Of dense tensors and matrices as they were chosen. */
static uint64_t bytes_of(const struct fixture *f)
{
    uint64_t sum = 0, n = 0;
    for (size_t i = 0; i < f->plan.n_items; i++)
        if (!expert_budget_packs(&f->budget, i))
            sum += (f->plan.items[i].bytes + 31) / 32 * 32;
    for (uint32_t l = 0; l < f->budget.n_layers; l++)
        for (uint32_t e = 0; e < EXPERTS; e++, n++)
            for (int p = 0; p < GGF_PARTS; p++)
                sum += expert_matrix_bytes(&f->budget.layers[l], p, f->budget.types[n][p],
                                           1);
    return sum;
}

static double bits_of(uint32_t type)
{
    const struct ggf_type_info *t = ggf_type_info(type);
    return 8.0 * t->block_bytes / t->block;
}

static uint64_t budget_of(const struct fixture *f, double bits)
{
    return (uint64_t)(bits / 8 * (double)f->plan.n_elements);
}

static void setup(void)
{
    strcpy(model_path, "/tmp/expert_budget.XXXXXX");
    close(mkstemp(model_path));
    strcpy(matrix_path, "/tmp/expert_budget.XXXXXX");
    close(mkstemp(matrix_path));
}

static void teardown(void)
{
    unlink(model_path);
    unlink(matrix_path);
}

static const double sizes[] = { 2.7, 3.2, 4, 5.5 };

/* Within the budget and near it; the bound below; gate as up; the more used, the better.
 */
START_TEST(budgets)
{
    struct fixture f;
    ggf_error err;
    const bool linear = _i & 4;
    open_all(&f, &(struct setting){ .fused = _i & 1 });
    const uint64_t bytes = budget_of(&f, sizes[_i & 3]);
    must(choose(&f, bytes, linear ? BUDGET_K : BUDGET_ALL, 0, &err), &err);
    ck_assert_uint_le(bytes_of(&f), bytes);
    ck_assert_uint_ge(bytes_of(&f), bytes - bytes / 50);
    const struct knapsack_result *r = &f.budget.solution;
    ck_assert_uint_eq(r->bytes + f.budget.fixed_bytes, bytes_of(&f));
    ck_assert_double_ge(r->cost, r->bound * (1 - 1e-12));
    ck_assert_double_le(r->cost, 1.1 * r->bound);
    for (uint64_t n = 0; n < RECORDS; n++) {
        const uint32_t *types = f.budget.types[n];
        ck_assert_uint_eq(types[GGF_GATE], types[GGF_UP]);
        for (int p = 0; p < GGF_PARTS && linear; p++)
            ck_assert(strchr("qQ", *ggf_type_name(types[p])) != NULL);
        if (n % EXPERTS == 0) continue;
        ck_assert_double_le(bits_of(types[GGF_DOWN]),
                            bits_of(f.budget.types[n - n % EXPERTS][GGF_DOWN]));
    }
    /* Those that fewer than 16 tokens reached, where there is room. */
    for (uint64_t n = 0; n < RECORDS && sizes[_i & 3] >= 3; n++)
        for (int p = 0; p < GGF_PARTS && counts[n % EXPERTS] < 16; p++)
            ck_assert_double_ge(bits_of(f.budget.types[n][p]), 2);
    const uint32_t *most = f.budget.types[0], *least = f.budget.types[EXPERTS - 1];
    ck_assert_double_gt(bits_of(most[GGF_DOWN]), bits_of(least[GGF_DOWN]));
    close_all(&f);
}
END_TEST

START_TEST(shares)
{
    struct fixture f;
    ggf_error err;
    const bool gated = _i & 2;
    double total = 0;
    open_all(&f, &(struct setting){ .fused = _i & 1, .gated = gated });
    must(choose(&f, budget_of(&f, 4), BUDGET_K, 0, &err), &err);
    const struct expert_shares *s = &f.budget.shares;
    ck_assert(s->counted && s->gated == gated);
    for (uint64_t e = 0; e < EXPERTS; e++)
        total += (double)counts[e] * (gated ? (double)gate_of(e) : 1);
    ck_assert_uint_eq(s->n_records, RECORDS);
    for (uint64_t first = 0; first < RECORDS; first += EXPERTS) {
        double use = 0, part[GGF_PARTS] = { 0 };
        for (uint64_t n = first; n < first + EXPERTS; n++) {
            ck_assert_uint_eq(s->tokens[n], (uint64_t)counts[n - first]);
            use += s->use[n];
            for (int p = 0; p < GGF_PARTS; p++) {
                ck_assert_double_gt(s->part[n][p], 0); /* also of the unseen */
                part[p] += s->part[n][p];
            }
        }
        ck_assert_double_eq_tol(use, 1, 1e-12);
        for (int p = 0; p < GGF_PARTS; p++) ck_assert_double_eq_tol(part[p], 1, 1e-12);
        ck_assert_double_eq_tol(s->use[first], counts[0] / total, 1e-12);
    }
    close_all(&f);
}
END_TEST

/* Alike in use, weights and importances: types one step apart at most. */
START_TEST(even_use)
{
    struct fixture f;
    ggf_error err;
    open_all(&f, &(struct setting){ .even = true });
    must(choose(&f, budget_of(&f, 4), BUDGET_K, 0, &err), &err);
    for (uint64_t n = 0; n < RECORDS; n++) {
        ck_assert_double_ge(bits_of(f.budget.types[n][GGF_DOWN]), 3.4);
        ck_assert_double_le(bits_of(f.budget.types[n][GGF_DOWN]), 4.5);
    }
    close_all(&f);
}
END_TEST

START_TEST(threads)
{
    uint32_t types[2][RECORDS][GGF_PARTS];
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        ggf_error err;
        open_all(&f, &(struct setting){ 0 });
        must(choose(&f, budget_of(&f, 3), BUDGET_ALL, i ? 3 : 1, &err), &err);
        memcpy(types[i], f.budget.types, sizeof types[i]);
        close_all(&f);
    }
    ck_assert_mem_eq(types[0], types[1], sizeof types[0]);
}
END_TEST

static int down_is_q6_k(void *user, const char *name)
{
    (void)user;
    return strstr(name, "blk.1.ffn_down_exps") ? (int)GGF_Q6_K : MIX_NO_TYPE;
}

static int up_is_q5_k(void *user, const char *name)
{
    (void)user;
    return strstr(name, "ffn_up_exps") ? (int)GGF_Q5_K : MIX_NO_TYPE;
}

START_TEST(demands)
{
    struct fixture f;
    ggf_error err;
    open_all(&f, &(struct setting){ .forced = _i ? up_is_q5_k : down_is_q6_k });
    const uint64_t bytes = budget_of(&f, 5);
    must(choose(&f, bytes, BUDGET_K, 0, &err), &err);
    ck_assert_uint_le(bytes_of(&f), bytes);
    ck_assert_uint_gt(f.budget.fixed_bytes, 0);
    for (uint64_t n = 0; n < RECORDS; n++)
        if (_i) ck_assert_uint_eq(f.budget.types[n][GGF_UP], GGF_Q5_K);
        else if (n >= EXPERTS) ck_assert_uint_eq(f.budget.types[n][GGF_DOWN], GGF_Q6_K);
    close_all(&f);
}
END_TEST

START_TEST(too_small)
{
    struct fixture f;
    ggf_error err;
    open_all(&f, &(struct setting){ 0 });
    ck_assert_int_eq(choose(&f, 1000, BUDGET_K, 0, &err), GGF_E_ARG);
    const uint64_t least = f.budget.fixed_bytes + f.budget.solution.bytes;
    ck_assert_uint_gt(least, 1000);
    ck_assert_int_eq(choose(&f, least - 1, BUDGET_K, 0, &err), GGF_E_ARG);
    must(choose(&f, least, BUDGET_K, 0, &err), &err);
    ck_assert_uint_eq(bytes_of(&f), least);
    close_all(&f);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("expert_budget");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, budgets, 0, 8);
    tcase_add_loop_test(tc, shares, 0, 4);
    tcase_add_test(tc, even_use);
    tcase_add_test(tc, threads);
    tcase_add_loop_test(tc, demands, 0, 2);
    tcase_add_test(tc, too_small);
    return SUITE_RUN("expert_budget", tc);
}
