/* mix_rules.c - the mixtures of llama-quantize, rule by rule.
 *
 * They grew over two years of perplexity measurements on dense models: the value and
 * down projections and the first and last layers are worth more bits.  The special
 * cases for experts know models of exactly 8 (Mixtral); others get none. */
#include "mix_rules.h"

#include <inttypes.h>
#include <string.h>

enum mix_role mix_role_of(const char *name)
{
    static const struct {
        const char *part;
        enum mix_role role;
    } parts[] = {
        { "attn_qkv.weight", ROLE_VALUE },
        { "attn_kv_b.weight", ROLE_VALUE },
        { "attn_v.weight", ROLE_VALUE },
        { "attn_k.weight", ROLE_KEY },
        { "attn_q.weight", ROLE_QUERY },
        { "attn_output.weight", ROLE_ATTN_OUTPUT },
        { "ffn_up", ROLE_UP },
        { "ffn_gate", ROLE_GATE },
        { "ffn_down", ROLE_DOWN },
    };
    if (!strcmp(name, "output.weight")) return ROLE_OUTPUT;
    if (!strcmp(name, "token_embd.weight") ||
        !strcmp(name, "per_layer_token_embd.weight"))
        return ROLE_EMBEDDING;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i].part)) return parts[i].role;
    return ROLE_OTHER;
}

/* The first and last eighth, and every third between. */
static bool more_bits(uint32_t i, uint32_t n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static bool is_falcon(const struct mix_state *s)
{
    return !strcmp(s->model->arch, "falcon");
}

static bool eight_experts(const struct mix_state *s) { return s->model->n_experts == 8; }

/* Four or more query heads share a key-value head. */
static bool grouped(const struct mix_state *s)
{
    const struct mix_model *m = s->model;
    return m->n_heads_kv > 0 && m->n_heads / m->n_heads_kv >= 4;
}

/* The shapes that the reference calls "70B": there the value projection is so small
 * beside the rest that better bits cost nothing. */
static bool is_70b(const struct mix_state *s)
{
    const struct mix_model *m = s->model;
    if (!strcmp(m->arch, "llama"))
        return m->n_layers == 80 && m->n_heads != m->n_heads_kv;
    if (!strcmp(m->arch, "jais2")) return m->n_layers == 68;
    return m->n_layers == 80 && (!strcmp(m->arch, "qwen2") || !strcmp(m->arch, "deci") ||
                                 !strcmp(m->arch, "olmo"));
}

/* The layer a rule goes by: the count so far, but with experts (whose tensors need not
 * come in order) the number in the name. */
static int layer_of(const struct mix_state *s, const struct mix_tensor *t, uint32_t seen,
                    uint32_t *layer, ggf_error *err)
{
    *layer = seen;
    if (s->model->n_experts <= 1) return 0;
    const int n = mix_layer(t->name);
    if (n < 0 || (uint32_t)n >= s->model->n_layers)
        return ggf_fail(
            err, GGF_E_FORMAT, GGF_NO_OFFSET,
            "tensor '%s': expected a name starting with blk.N., N below %" PRIu32,
            t->name, s->model->n_layers);
    *layer = (uint32_t)n;
    return 0;
}

static uint32_t head_type(const struct mix_state *s, const struct mix_tensor *t,
                          uint32_t b)
{
    const struct mix_options *o = s->options;
    if (s->tied && o->output_type != MIX_NO_TYPE) return (uint32_t)o->output_type;
    if (o->to->id == FT_MXFP4_MOE || is_falcon(s)) return GGF_Q8_0;
    if (t->ne[0] % ggf_type_info(b)->block) return GGF_Q8_0;
    switch (o->to->id) {
    case FT_IQ1_S:
    case FT_IQ1_M:
    case FT_IQ2_XXS:
    case FT_IQ2_XS:
    case FT_IQ2_S:
    case FT_IQ2_M:
    case FT_IQ3_XXS: return GGF_Q5_K;
    default: return b == GGF_Q8_0 ? b : GGF_Q6_K;
    }
}

static uint32_t embedding_type(uint32_t file, uint32_t b)
{
    switch (file) {
    case FT_IQ1_S:
    case FT_IQ1_M:
    case FT_IQ2_XXS:
    case FT_IQ2_XS: return GGF_Q2_K;
    case FT_IQ2_S:
    case FT_IQ2_M:
    case FT_IQ3_XXS: return GGF_IQ3_S;
    case FT_TQ1_0:
    case FT_TQ2_0:
    case FT_Q2_0: return GGF_Q4_K;
    default: return b;
    }
}

static bool is_tiny(uint32_t file)
{
    return (file >= FT_IQ2_XXS && file <= FT_IQ2_XS) || file == FT_IQ2_S ||
           file == FT_IQ2_M || file == FT_IQ1_S || file == FT_IQ1_M;
}

/* The files of 1.5 to 2.7 bits have rules of their own. */
static uint32_t tiny_type(struct mix_state *s, enum mix_role role, uint32_t b)
{
    const uint32_t file = s->options->to->id;
    const bool big = file == FT_IQ2_S || file == FT_IQ2_M;
    switch (role) {
    case ROLE_VALUE:
        if (grouped(s) || s->model->n_experts >= 4) return GGF_Q4_K;
        return big ? GGF_IQ3_S : GGF_Q2_K;
    case ROLE_KEY: return eight_experts(s) ? GGF_Q4_K : b;
    case ROLE_DOWN:
        if (s->downs++ >= s->model->n_layers / 8) return b;
        return big ? GGF_IQ3_S : GGF_Q2_K;
    case ROLE_ATTN_OUTPUT:
        if (eight_experts(s)) return GGF_Q5_K;
        if (file == FT_IQ1_S || file == FT_IQ1_M) return GGF_IQ2_XXS;
        return big ? GGF_IQ3_S : b;
    default: return b;
    }
}

static uint32_t value_type_by_file(const struct mix_state *s, uint32_t b)
{
    const uint32_t i = s->values;
    switch (s->options->to->id) {
    case FT_Q2_K: return grouped(s) ? GGF_Q4_K : GGF_Q3_K;
    case FT_Q2_K_S:
    case FT_IQ3_XS:
    case FT_IQ3_S: return grouped(s) ? GGF_Q4_K : b;
    case FT_IQ3_XXS:
        if (grouped(s)) return GGF_Q4_K;
        return s->options->has_matrix ? GGF_IQ3_XXS : GGF_IQ3_S;
    case FT_IQ3_M: return GGF_Q4_K;
    case FT_Q3_K_M: return i < 2 ? GGF_Q5_K : GGF_Q4_K;
    case FT_Q3_K_L: return GGF_Q5_K;
    case FT_IQ4_NL:
    case FT_IQ4_XS: return grouped(s) ? GGF_Q5_K : b;
    case FT_Q4_K_M:
    case FT_Q5_K_M: return more_bits(i, s->n_values) ? GGF_Q6_K : b;
    case FT_Q4_K_S: return i < 4 ? GGF_Q5_K : b;
    default: return b;
    }
}

static uint32_t value_type(struct mix_state *s, uint32_t b)
{
    uint32_t type = value_type_by_file(s, b);
    if (is_70b(s) && (type == GGF_Q3_K || type == GGF_Q4_K)) type = GGF_Q5_K;
    s->values++;
    return eight_experts(s) ? GGF_Q8_0 : type;
}

static uint32_t down_type(const struct mix_state *s, uint32_t i, uint32_t b)
{
    const uint32_t n = s->model->n_layers;
    const bool early = i < n / 8, matrix = s->options->has_matrix, falcon = is_falcon(s);
    switch (s->options->to->id) {
    case FT_Q2_K: return GGF_Q3_K;
    case FT_Q2_K_S: return early ? GGF_Q4_K : b;
    case FT_IQ3_XXS:
        if (matrix) return b;
        return early ? GGF_Q4_K : GGF_Q3_K;
    case FT_Q3_K_M:
        if (i < n / 16) return GGF_Q5_K;
        return !falcon || more_bits(i, n) ? GGF_Q4_K : GGF_Q3_K;
    case FT_IQ3_M: return early || (eight_experts(s) && more_bits(i, n)) ? GGF_Q4_K : b;
    case FT_Q3_K_L: return falcon ? GGF_Q4_K : GGF_Q5_K;
    case FT_Q4_K_M:
        if (!falcon) return more_bits(i, n) ? GGF_Q6_K : b;
        if (i < n / 16) return GGF_Q6_K;
        return more_bits(i, n) ? GGF_Q5_K : GGF_Q4_K;
    case FT_IQ4_NL:
    case FT_IQ4_XS: return early && !matrix ? GGF_Q5_K : b;
    case FT_Q5_K_M: return more_bits(i, n) ? GGF_Q6_K : b;
    case FT_Q4_K_S: return early && !falcon ? GGF_Q5_K : b;
    case FT_Q4_0: return early && matrix ? GGF_Q4_1 : b;
    case FT_Q5_0: return early && matrix ? GGF_Q5_1 : b;
    default: return b;
    }
}

static uint32_t attn_output_type(const struct mix_state *s, uint32_t b)
{
    const uint32_t file = s->options->to->id;
    if (is_falcon(s)) return file == FT_Q3_K_L ? GGF_Q4_K : b;
    if (eight_experts(s)) switch (file) {
        case FT_Q2_K:
        case FT_IQ3_XS:
        case FT_IQ3_XXS:
        case FT_Q3_K_S:
        case FT_Q3_K_M:
        case FT_IQ4_NL:
        case FT_Q4_K_S:
        case FT_Q4_K_M:
        case FT_IQ3_S:
        case FT_IQ3_M:
        case FT_IQ4_XS: return GGF_Q5_K;
        default: return b;
        }
    switch (file) {
    case FT_Q2_K: return GGF_Q3_K;
    case FT_IQ3_XXS: return GGF_IQ3_S;
    case FT_Q3_K_M: return GGF_Q4_K;
    case FT_Q3_K_L: return GGF_Q5_K;
    case FT_IQ3_M: return GGF_Q4_K;
    default: return b;
    }
}

static uint32_t key_or_query_type(uint32_t file, uint32_t b)
{
    return file == FT_IQ3_XS ? GGF_IQ3_XXS : file == FT_IQ3_XXS ? GGF_IQ2_S : b;
}

/* Gate and up: only IQ3_XS treats its middle layers worse. */
static uint32_t gate_or_up_type(const struct mix_state *s, uint32_t i, uint32_t b)
{
    const uint32_t n = s->model->n_layers;
    const bool middle = i >= n / 8 && i < 7 * n / 8;
    return s->options->to->id == FT_IQ3_XS && middle ? GGF_IQ3_XXS : b;
}

int mix_apply_rules(struct mix_state *s, struct mix_tensor *t, ggf_error *err)
{
    const enum mix_role role = mix_role_of(t->name);
    const uint32_t file = s->options->to->id, b = t->choice;
    uint32_t layer = 0;
    int status = 0;
    if (role == ROLE_OUTPUT || (s->tied && role == ROLE_EMBEDDING)) {
        t->choice = head_type(s, t, b);
        return 0;
    }
    if (file == FT_MXFP4_MOE) {
        t->choice = t->ne[2] > 1 ? GGF_MXFP4 : GGF_Q8_0;
        return 0;
    }
    if (role == ROLE_EMBEDDING) {
        t->choice = embedding_type(file, b);
        return 0;
    }
    if (is_tiny(file)) {
        t->choice = tiny_type(s, role, b);
        return 0;
    }
    switch (role) {
    case ROLE_VALUE: t->choice = value_type(s, b); break;
    case ROLE_KEY:
        t->choice = eight_experts(s) ? GGF_Q8_0 : key_or_query_type(file, b);
        break;
    case ROLE_QUERY: t->choice = key_or_query_type(file, b); break;
    case ROLE_ATTN_OUTPUT: t->choice = attn_output_type(s, b); break;
    case ROLE_DOWN:
        status = layer_of(s, t, s->downs++, &layer, err);
        if (!status) t->choice = down_type(s, layer, b);
        break;
    case ROLE_GATE:
        status = layer_of(s, t, s->gates++, &layer, err);
        if (!status) t->choice = gate_or_up_type(s, layer, b);
        break;
    case ROLE_UP:
        status = layer_of(s, t, s->ups++, &layer, err);
        if (!status) t->choice = gate_or_up_type(s, layer, b);
        break;
    default: break;
    }
    return status;
}
