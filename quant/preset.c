/* preset.c - see preset.h: the table of presets, and the layers with more bits.
 *
 * Published are the maps of UD-IQ4_XS, UD-Q4_K_XL, UD-Q5_K_XL and UD-Q6_K_XL for one
 * model of 48 layers and 512 experts, Qwen3.8-Flash-Next (Strata, docs/UNSLOTH_Q4.md and
 * QUANTS.md).  Its down projections have rows of 640, so its Q5_1, IQ4_NL and Q8_0 there
 * stand for q5_K, iq4_xs and q6_K where rows are whole super-blocks: mix.c's fallback
 * makes the one of the other.
 *
 * The rest follows the same plan: gate and up get the type that the file is named for,
 * down about a step more, the outlier layers one step (gate, up) and two (down) above
 * that. UD-IQ1_S has what Unsloth says of DeepSeek-R1 (down 1.56, in some layers 2.06
 * bits). UD-Q3_K_XL is smaller than UD-IQ4_XS where both are published, so it has
 * iq3_xxs, which Unsloth's measurements favour for gate and up.  UD-Q8_K_XL is drawn from
 * its size: 45.3 GiB for Qwen3.5-35B-A3B is what bf16 makes for down and all dense
 * tensors. */
#include "preset.h"

#include <string.h>
#include <strings.h>

/* gate and up, down; the same in outlier layers; embedding, output; dense */
#define TYPES(g, d, hg, hd, e, o, x)                                                     \
    GGF_##g, GGF_##d, GGF_##hg, GGF_##hd, GGF_##e, GGF_##o, GGF_##x

/* Bits are those of Qwen3-Next-80B, all in all. */
/* clang-format off */
const struct preset presets[] = {
    { "UD-Q8_K_XL", FT_Q8_0,    TYPES(Q8_0, BF16, BF16, BF16, BF16, BF16, BF16),
      "11.3 bits, q8_0 and bf16" },
    { "UD-Q6_K_XL", FT_Q6_K,    TYPES(Q6_K, Q8_0, Q8_0, Q8_0, Q8_0, Q8_0, Q8_0),
      "7.3 bits, q6_K and q8_0" },
    { "UD-Q5_K_XL", FT_Q5_K_M,  TYPES(Q5_K, Q6_K, Q6_K, Q8_0, Q8_0, Q8_0, Q8_0),
      "6.0 bits, q5_K and q6_K" },
    { "UD-Q4_K_XL", FT_Q4_K_M,  TYPES(Q4_K, Q5_K, Q5_K, Q8_0, Q8_0, Q8_0, Q8_0),
      "5.1 bits, q4_K and q5_K" },
    { "UD-IQ4_XS",  FT_IQ4_XS,  TYPES(IQ3_S, IQ4_XS, IQ4_XS, Q8_0, Q8_0, Q6_K, Q8_0),
      "4.0 bits, iq3_s and iq4_xs" },
    { "UD-Q3_K_XL", FT_Q3_K_M,  TYPES(IQ3_XXS, IQ4_XS, IQ3_S, Q6_K, Q8_0, Q6_K, Q8_0),
      "3.7 bits, iq3_xxs and iq4_xs" },
    { "UD-IQ3_XXS", FT_IQ3_XXS, TYPES(IQ3_XXS, IQ3_S, IQ3_S, Q4_K, Q6_K, Q6_K, Q8_0),
      "3.4 bits, iq3_xxs and iq3_s" },
    { "UD-Q2_K_XL", FT_Q2_K,    TYPES(Q2_K, Q3_K, Q3_K, Q5_K, Q6_K, Q6_K, Q8_0),
      "3.1 bits, q2_K and q3_K" },
    { "UD-IQ2_M",   FT_IQ2_M,   TYPES(IQ2_S, IQ3_XXS, IQ3_XXS, IQ4_XS, Q6_K, Q6_K, Q8_0),
      "3.0 bits, iq2_s and iq3_xxs" },
    { "UD-IQ2_XXS", FT_IQ2_XXS, TYPES(IQ2_XXS, IQ2_S, IQ2_XS, IQ3_S, Q6_K, Q6_K, Q8_0),
      "2.5 bits, iq2_xxs and iq2_s" },
    { "UD-IQ1_M",   FT_IQ1_M,   TYPES(IQ1_M, IQ2_XXS, IQ2_XXS, IQ2_S, Q6_K, Q6_K, Q6_K),
      "2.0 bits, iq1_m and iq2_xxs" },
    { "UD-IQ1_S",   FT_IQ1_S,   TYPES(IQ1_S, IQ1_S, IQ1_M, IQ2_XXS, Q6_K, Q6_K, Q6_K),
      "1.8 bits, iq1_s" },
    { 0 },
};
#undef TYPES
/* clang-format on */

const struct preset *preset_find(const char *name)
{
    for (const struct preset *p = presets; p->name; p++)
        if (!strcasecmp(p->name, name)) return p;
    return NULL;
}

static bool contains(const char *name, const char *part) { return strstr(name, part); }

/* Layer `at` of 48, in a model of n layers; not the very first one. */
static uint32_t outlier(uint32_t at, uint32_t n)
{
    if (n < 2) return 0;
    const uint32_t layer = (2 * at * (n - 1) + 47) / (2 * 47);
    return layer ? layer : 1;
}

static bool is_outlier(const char *name, const uint32_t *at, size_t n_at, uint32_t n)
{
    const int layer = mix_layer(name);
    for (size_t i = 0; i < n_at; i++)
        if (layer >= 0 && (uint32_t)layer == outlier(at[i], n)) return true;
    return false;
}

uint32_t preset_type(const struct preset *p, const struct mix_model *m, const char *name,
                     bool tied)
{
    static const uint32_t gate_up_layers[] = { 2 }, down_layers[] = { 2, 4, 30, 46, 47 };
    if (!strcmp(name, "output.weight")) return p->output;
    if (contains(name, "per_layer_token_embd")) return GGF_IQ4_NL;
    if (contains(name, "token_embd")) return tied ? p->output : p->embedding;
    const bool routed = contains(name, "_exps.");
    const bool only = m->n_experts <= 1 && !contains(name, "_shexp");
    if (!contains(name, "ffn_") || !(routed || only)) return p->dense;
    if (contains(name, "ffn_down"))
        return is_outlier(name, down_layers, 5, m->n_layers) ? p->high_down : p->down;
    if (contains(name, "ffn_gate") || contains(name, "ffn_up"))
        return is_outlier(name, gate_up_layers, 1, m->n_layers) ? p->high_gate_up
                                                                : p->gate_up;
    return p->dense;
}
