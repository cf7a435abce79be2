/* test_follow.c - two models followed layer by layer: what they would show is made up
 * here, two layers of eight experts and 70 columns, so that every figure is known. */
#include "../../tools/common/follow.h"
#include "suite.h"

#include <math.h>
#include <stdlib.h>

enum { LAYERS = 2, EXPERTS = 8, USED = 2, EMBD = 70, ROWS = 3 };

static const struct q3n_model_info info = {
    .n_layer = LAYERS, .n_expert = EXPERTS, .n_expert_used = USED, .n_embd = EMBD
};

/* As the forward pass has it: pieces of columns, and an expert's tokens in a list. */
static void show_state(const struct observer *to, enum observed_place place,
                       uint32_t layer, const float *x)
{
    const struct observed o = {
        .place = place, .layer = layer, .n = EMBD, .rows = ROWS, .x = x
    };
    for (uint32_t i = 0; i < observe_pieces(EMBD); i++) observe_piece(to, o, i);
}

static void show_experts(const struct observer *to, uint32_t layer,
                         const uint32_t ids[ROWS][USED])
{
    static const float x[ROWS * EMBD];
    for (uint32_t expert = 0; expert < EXPERTS; expert++) {
        uint32_t at[ROWS * USED], n = 0;
        for (uint32_t r = 0; r < ROWS; r++)
            for (int k = 0; k < USED; k++)
                if (ids[r][k] == expert) at[n++] = r;
        const struct observed o = { .place = OBSERVED_EXPERTS,
                                    .layer = layer,
                                    .expert = expert,
                                    .n = EMBD,
                                    .rows = n,
                                    .x = x,
                                    .at = at };
        for (uint32_t i = 0; n && i < observe_pieces(EMBD); i++) observe_piece(to, o, i);
    }
}

static const uint32_t first[LAYERS][ROWS][USED] = { { { 0, 1 }, { 2, 3 }, { 6, 7 } },
                                                    { { 1, 2 }, { 1, 2 }, { 4, 7 } } };
/* In layer 0 one token has the same experts, one has one of them, one none. */
static const uint32_t second[LAYERS][ROWS][USED] = { { { 1, 0 }, { 3, 4 }, { 0, 1 } },
                                                     { { 1, 2 }, { 2, 1 }, { 7, 4 } } };

static void show_batch(const struct observer *to, float value,
                       const uint32_t ids[LAYERS][ROWS][USED])
{
    float x[ROWS * EMBD];
    for (uint32_t l = 0; l < LAYERS; l++) {
        for (int i = 0; i < ROWS * EMBD; i++) x[i] = l == 0 ? 2 : value;
        show_state(to, OBSERVED_MIXER, l, x);
        show_experts(to, l, ids[l]);
    }
    show_state(to, OBSERVED_HEAD, 0, x);
}

START_TEST(known_overlap)
{
    struct trail *t = trail_new(&info, ROWS);
    struct follow *f = follow_new(t);
    ck_assert(t && f);
    for (int batch = 0; batch < 5; batch++) {
        show_batch(trail_observer(t), 4, first);
        show_batch(follow_observer(f), 5, second);
        follow_count(f, ROWS);
        trail_clear(t);
    }
    ck_assert_uint_eq(follow_layers(f), LAYERS);
    const struct layer_distance a = follow_layer(f, 0), b = follow_layer(f, 1);
    ck_assert_double_eq_tol(a.overlap.mean, (1 + 1.0 / 3 + 0) / 3, 1e-12);
    ck_assert_double_gt(a.overlap.error, 0);
    ck_assert_double_eq_tol(a.same, 1.0 / 3, 1e-12);
    ck_assert_double_eq(a.state_error, 0);
    ck_assert_double_eq(b.overlap.mean, 1);
    ck_assert_double_eq(b.same, 1);
    ck_assert_double_eq_tol(b.state_error, 0.25, 1e-12);
    ck_assert_double_eq_tol(follow_layer(f, LAYERS).state_error, 0.25, 1e-12);
    follow_free(f);
    trail_free(t);
}
END_TEST

START_TEST(other_shapes)
{
    struct q3n_model_info other = info;
    ck_assert(follow_possible(&info, &other));
    other.n_expert_used++;
    ck_assert(!follow_possible(&info, &other));
    other = info;
    other.n_layer++;
    ck_assert(!follow_possible(&info, &other));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, known_overlap);
    tcase_add_test(tc, other_shapes);
    return SUITE_RUN("follow", tc);
}
