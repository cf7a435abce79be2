/* Less room for experts than a few tokens need of a layer, or one token of all layers. */
#define TINY_HEAD_DIM 32
#define TINY_WIDTH    256 /* so that experts are large enough to count */
#define TINY_EXPERTS  12
#include "../unit/tiny_pack.h"

static const struct q3n_session_options settings = { .n_ctx = 32, .n_ubatch = 8 };

#include "room.h"

enum { TOKENS = 10 };

/* Ten slots for experts of 204 KiB, two of them for prompts: eight tokens may need up to
 * twelve experts of a layer. */
START_TEST(the_same_bits)
{
    static const uint32_t steps[] = { 1, 8, 1 };
    static float wanted[TOKENS * VOCAB], logits[TOKENS * VOCAB];
    static const struct q3n_model_options how[] = { { MISSES(UPLOAD) },
                                                    { MISSES(AUTO), .threads = 1 } };
    q3n_model *m;
    make(&(struct tiny){ .matrices = GGF_Q8_0 }, 0);
    ok(open_with(&m, source, 0, (struct q3n_model_options){ 0 }));
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, LAYERS);
    ok(run_steps(m, steps, 3, wanted));
    q3n_model_close(m);
    for (int i = 0; i < 2; i++) {
        ok(open_with(&m, source, 2, how[i]));
        const struct q3n_device_info *d = &q3n_model_info(m)->device;
        ck_assert_uint_eq(d->n_layers, LAYERS);
        ck_assert_uint_eq(d->n_expert_layers, 0);
        ck_assert_uint_eq(d->pool_slots, 10);
        ck_assert_uint_le(d->pool_bytes, 2 * MIB);
        ok(run_steps(m, steps, 3, logits));
        ck_assert_mem_eq(logits, wanted, sizeof wanted);
        const struct q3n_expert_stats s = stats_of(m);
        if (!i) ck_assert_uint_eq(s.device_bytes, s.device_misses * (RECORD / 128 * 34));
        q3n_model_close(m);
    }
    ck_assert_uint_eq(emulator_count().live, 0);
}
END_TEST

/* Room that is too little for slots is used for whole layers, if it is enough for one. */
START_TEST(too_few_slots)
{
    q3n_model *m;
    make(&(struct tiny){ 0 }, 0);
    ok(open_with(&m, source, 4, (struct q3n_model_options){ .plan = true }));
    ck_assert_uint_eq(q3n_model_info(m)->device.pool_slots, 0);
    ck_assert_uint_eq(q3n_model_info(m)->device.n_expert_layers, 0);
    q3n_model_close(m);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("pool");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_same_bits);
    tcase_add_test(tc, too_few_slots);
    return GPU_SUITE_RUN("gpu_pool", tc);
}
