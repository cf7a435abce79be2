/* test_preset.c - presets: the published map of a model with 48 layers, other depths,
 * what the user demands, rows that do not fit. */
#include "../../quant/preset.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

static const struct mix_model flash = { "qwen3next", 48, 16, 2, 512 };

static uint32_t type_in(const char *preset, const struct mix_model *m, int layer,
                        const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, part);
    const struct preset *p = preset_find(preset);
    ck_assert_ptr_nonnull(p);
    return preset_type(p, m, name, false);
}

/* With the fallback for rows: 640 is the width of the published model's down. */
static uint32_t stored(const char *preset, const char *name, uint64_t row, int forced)
{
    const struct preset *p = preset_find(preset);
    const struct mix_options o = { .to = file_type_by_id(p->file_type),
                                   .preset = p,
                                   .output_type = MIX_NO_TYPE,
                                   .embedding_type = MIX_NO_TYPE };
    struct mix_tensor t = {
        .name = name, .type = GGF_BF16, .ne = { row, 2560, 512, 1 }, .forced = forced
    };
    ggf_error err = { 0 };
    ck_assert_msg(!mix_choose(&flash, &o, &t, 1, &err), "%s", err.message);
    return t.choice;
}

START_TEST(published_map)
{
    static const struct {
        const char *name;
        uint32_t gate_up, high_gate_up, down, output;
    } maps[] = {
        { "UD-IQ4_XS", GGF_IQ3_S, GGF_IQ4_XS, GGF_IQ4_NL, GGF_Q6_K },
        { "UD-Q4_K_XL", GGF_Q4_K, GGF_Q5_K, GGF_Q5_1, GGF_Q8_0 },
        { "UD-Q5_K_XL", GGF_Q5_K, GGF_Q6_K, GGF_Q8_0, GGF_Q8_0 },
        { "UD-Q6_K_XL", GGF_Q6_K, GGF_Q8_0, GGF_Q8_0, GGF_Q8_0 },
    };
    char name[64];
    for (size_t k = 0; k < sizeof maps / sizeof *maps; k++)
        for (int i = 0; i < 48; i++) {
            const uint32_t gate = i == 2 ? maps[k].high_gate_up : maps[k].gate_up;
            const bool high = i == 2 || i == 4 || i == 30 || i == 46 || i == 47;
            ck_assert_uint_eq(type_in(maps[k].name, &flash, i, "ffn_gate_exps"), gate);
            ck_assert_uint_eq(type_in(maps[k].name, &flash, i, "ffn_up_exps"), gate);
            snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", i);
            ck_assert_uint_eq(stored(maps[k].name, name, 640, MIX_NO_TYPE),
                              high ? GGF_Q8_0 : maps[k].down);
            ck_assert_uint_eq(type_in(maps[k].name, &flash, i, "attn_qkv"), GGF_Q8_0);
            ck_assert_uint_eq(type_in(maps[k].name, &flash, i, "ffn_up_shexp"), GGF_Q8_0);
        }
    for (size_t k = 0; k < sizeof maps / sizeof *maps; k++) {
        const struct preset *p = preset_find(maps[k].name);
        ck_assert_uint_eq(preset_type(p, &flash, "output.weight", false), maps[k].output);
        ck_assert_uint_eq(preset_type(p, &flash, "token_embd.weight", false), GGF_Q8_0);
        ck_assert_uint_eq(preset_type(p, &flash, "token_embd.weight", true),
                          maps[k].output);
        ck_assert_uint_eq(preset_type(p, &flash, "per_layer_token_embd.weight", false),
                          GGF_IQ4_NL);
    }
}
END_TEST

START_TEST(whole_rows_keep_their_types)
{
    ck_assert_uint_eq(
        stored("UD-Q4_K_XL", "blk.1.ffn_down_exps.weight", 512, MIX_NO_TYPE), GGF_Q5_K);
    ck_assert_uint_eq(stored("UD-IQ4_XS", "blk.1.ffn_down_exps.weight", 512, MIX_NO_TYPE),
                      GGF_IQ4_XS);
    ck_assert_uint_eq(stored("ud-iq1_s", "blk.4.ffn_down_exps.weight", 512, MIX_NO_TYPE),
                      GGF_IQ2_XXS);
    ck_assert_uint_eq(stored("UD-Q4_K_XL", "blk.1.attn_v.weight", 512, GGF_Q6_K),
                      GGF_Q6_K);
    ck_assert_uint_eq(stored("UD-Q4_K_XL", "blk.1.ffn_gate_inp.weight", 512, MIX_NO_TYPE),
                      GGF_BF16);
}
END_TEST

/* Layers with more bits in models of other depths: down, and in brackets gate and up. */
START_TEST(outlier_layers_scale)
{
    static const struct {
        uint32_t n;
        const char *layers;
    } cases[] = {
        { 1, "(0)" },
        { 2, "(1)" },
        { 4, "(1) 2 3" },
        { 8, "(1) 4 7" },
        { 24, "(1) 2 15 23" },
        { 36, "(1) 3 22 34 35" },
        { 94, "(4) 8 59 91 93" },
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char found[64] = "", one[16];
        const struct mix_model m = { "qwen3moe", cases[k].n, 16, 2, 128 };
        for (uint32_t i = 0; i < m.n_layers; i++) {
            const bool down =
                type_in("UD-Q4_K_XL", &m, (int)i, "ffn_down_exps") == GGF_Q8_0;
            const bool gate =
                type_in("UD-Q4_K_XL", &m, (int)i, "ffn_gate_exps") == GGF_Q5_K;
            snprintf(one, sizeof one, gate ? " (%u)" : " %u", (unsigned)i);
            if (down || gate) strcat(found, one);
        }
        ck_assert_str_eq(*found ? found + 1 : found, cases[k].layers);
    }
}
END_TEST

START_TEST(dense_models_use_their_feed_forward)
{
    const struct mix_model dense = { "qwen3", 48, 16, 2, 0 };
    ck_assert_uint_eq(type_in("UD-Q4_K_XL", &dense, 1, "ffn_down"), GGF_Q5_K);
    ck_assert_uint_eq(type_in("UD-Q4_K_XL", &dense, 1, "ffn_up"), GGF_Q4_K);
    ck_assert_uint_eq(type_in("UD-Q4_K_XL", &dense, 1, "attn_q"), GGF_Q8_0);
    /* Dense layers of a model with experts are dense. */
    ck_assert_uint_eq(type_in("UD-Q4_K_XL", &flash, 1, "ffn_down"), GGF_Q8_0);
    ck_assert_uint_eq(type_in("UD-Q4_K_XL", &flash, 1, "ffn_gate_up_exps"), GGF_Q4_K);
}
END_TEST

START_TEST(every_preset_is_sound)
{
    size_t n = 0;
    for (const struct preset *p = presets; p->name; p++, n++) {
        ck_assert_ptr_nonnull(file_type_by_id(p->file_type));
        ck_assert_ptr_eq(preset_find(p->name), p);
        const uint32_t pairs[][2] = { { p->gate_up, p->high_gate_up },
                                      { p->down, p->high_down },
                                      { p->gate_up, p->down },
                                      { p->gate_up, p->dense } };
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            const struct ggf_type_info *a = ggf_type_info(pairs[i][0]),
                                       *b = ggf_type_info(pairs[i][1]);
            ck_assert_uint_le(a->block_bytes * b->block, b->block_bytes * a->block);
        }
    }
    ck_assert_uint_eq(n, 12);
    ck_assert_ptr_null(preset_find("UD-Q4"));
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("types");
    tcase_add_test(t, published_map);
    tcase_add_test(t, whole_rows_keep_their_types);
    tcase_add_test(t, outlier_layers_scale);
    tcase_add_test(t, dense_models_use_their_feed_forward);
    tcase_add_test(t, every_preset_is_sound);
    return SUITE_RUN("preset", t);
}
