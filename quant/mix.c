/* mix.c - what may be quantized, and the frame around the rules of mix_rules.c:
 * the user's demands, the fallback for rows that do not fit. */
#include "mix_rules.h"

#include "preset.h"

#include <inttypes.h>
#include <string.h>

int mix_layer(const char *name)
{
    if (strncmp(name, "blk.", 4) != 0) return -1;
    const char *p = name + 4;
    int n = 0;
    while (*p >= '0' && *p <= '9' && n < 100000) n = 10 * n + (*p++ - '0');
    return p > name + 4 && *p == '.' ? n : -1;
}

int mix_compare_names(const char *a, const char *b)
{
    const int la = mix_layer(a), lb = mix_layer(b);
    return la != lb ? (la > lb) - (la < lb) : strcmp(a, b);
}

/* Parts of names that mark tensors too small or too sensitive to quantize. */
static const char *const never[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool is_float_or_quantized(uint32_t type)
{
    return type < GGF_I8 || type > GGF_I64;
}

bool mix_allows(const struct mix_tensor *t, const struct mix_options *o)
{
    if (!o->to || !is_float_or_quantized(t->type)) return false;
    if (t->ne[1] * t->ne[2] * t->ne[3] == 1) return false;
    /* The reference takes any name of 5 bytes for one that ends in "weight". */
    if (!ends_with(t->name, "weight") && !(o->compat && strlen(t->name) == 5))
        return false;
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(t->name, never[i])) return false;
    if (!strcmp(t->name, "position_embd.weight") ||
        !strcmp(t->name, "token_types.weight"))
        return false;
    return !(o->keep_output && !strcmp(t->name, "output.weight"));
}

bool mix_wants_matrix(const char *name, uint32_t type, const struct file_type *to)
{
    if (!strcmp(name, "token_embd.weight") || !strcmp(name, "output.weight"))
        return false;
    switch (type) {
    case GGF_IQ1_S:
    case GGF_IQ1_M:
    case GGF_IQ2_XXS:
    case GGF_IQ2_XS:
    case GGF_IQ2_S:
    case GGF_IQ3_XXS: return true;
    case GGF_Q2_K: return to && to->id == FT_Q2_K_S;
    default: return false;
    }
}

/* The type for rows that are not a multiple of `type`'s block; MIX_NO_TYPE if there
 * is none. */
static int next_type(uint32_t type)
{
    switch (type) {
    case GGF_IQ1_S:
    case GGF_IQ1_M:
    case GGF_IQ2_XXS:
    case GGF_IQ2_XS:
    case GGF_IQ2_S:
    case GGF_IQ3_XXS:
    case GGF_IQ3_S:
    case GGF_IQ4_XS: return GGF_IQ4_NL;
    case GGF_Q2_K:
    case GGF_Q3_K:
    case GGF_TQ1_0:
    case GGF_TQ2_0:
    case GGF_Q2_0: return GGF_Q4_0;
    case GGF_Q4_K: return GGF_Q5_0;
    case GGF_Q5_K: return GGF_Q5_1;
    case GGF_Q6_K: return GGF_Q8_0;
    default: return MIX_NO_TYPE;
    }
}

static int fit_row(struct mix_tensor *t, ggf_error *err)
{
    t->refused = t->choice;
    if (t->ne[0] % ggf_type_info(t->choice)->block == 0) return 0;
    const int next = next_type(t->choice);
    if (next == MIX_NO_TYPE)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "tensor '%s' has rows of %" PRIu64
                        " elements, which %s cannot hold (multiples of %" PRIu32
                        "); choose another type for it with --tensor-type",
                        t->name, t->ne[0], ggf_type_name(t->choice),
                        ggf_type_info(t->choice)->block);
    t->choice =
        t->ne[0] % ggf_type_info((uint32_t)next)->block ? GGF_F16 : (uint32_t)next;
    return 0;
}

/* The type of one tensor before its row length is looked at. */
static int choose(struct mix_state *s, struct mix_tensor *t, ggf_error *err)
{
    const struct mix_options *o = s->options;
    const enum mix_role role = mix_role_of(t->name);
    if (role == ROLE_EMBEDDING && o->embedding_type != MIX_NO_TYPE) {
        t->choice = (uint32_t)o->embedding_type;
        return 0;
    }
    if (role == ROLE_OUTPUT && o->output_type != MIX_NO_TYPE) {
        t->choice = (uint32_t)o->output_type;
        return 0;
    }
    t->choice = o->to->base;
    const bool quantized = ggf_type_info(o->to->base)->quantized;
    if (t->forced != MIX_NO_TYPE && (quantized || !o->compat)) {
        t->choice = (uint32_t)t->forced;
        return 0;
    }
    if (o->preset) {
        t->choice = preset_type(o->preset, s->model, t->name, s->tied);
        return 0;
    }
    return quantized && !o->pure ? mix_apply_rules(s, t, err) : 0;
}

int mix_choose(const struct mix_model *model, const struct mix_options *options,
               struct mix_tensor *tensors, size_t n, ggf_error *err)
{
    struct mix_state s = { .model = model, .options = options, .tied = true };
    for (size_t i = 0; i < n; i++) {
        if (mix_role_of(tensors[i].name) == ROLE_VALUE) s.n_values++;
        if (!strcmp(tensors[i].name, "output.weight")) s.tied = false;
    }
    for (size_t i = 0; i < n; i++) {
        struct mix_tensor *t = &tensors[i];
        t->choice = t->refused = t->type;
        if (!mix_allows(t, options)) continue;
        int status = choose(&s, t, err);
        if (!status) status = fit_row(t, err);
        if (status) return status;
    }
    return 0;
}
