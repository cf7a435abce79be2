/* roles.c - what a tensor is for, judged by the names converters give. */
#include "libgguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *ggf_role_name(enum ggf_role role)
{
    static const char *const names[GGF_ROLE_COUNT] = {
        [GGF_ROLE_EXPERTS] = "experts",     [GGF_ROLE_SHARED] = "shared expert",
        [GGF_ROLE_ROUTER] = "router",       [GGF_ROLE_ATTENTION] = "attention",
        [GGF_ROLE_DELTA] = "delta",         [GGF_ROLE_FFN] = "feed-forward",
        [GGF_ROLE_EMBEDDING] = "embedding", [GGF_ROLE_OUTPUT] = "output",
        [GGF_ROLE_NORM] = "norm",           [GGF_ROLE_MTP] = "mtp",
        [GGF_ROLE_OTHER] = "other",
    };
    return (unsigned)role < GGF_ROLE_COUNT ? names[role] : "?";
}

/* Split "blk.N.REST"; rest is the whole name if it has another form. */
static int64_t split_name(const char *name, const char **rest)
{
    *rest = name;
    if (strncmp(name, "blk.", 4) != 0) return -1;
    const char *p = name + 4;
    int64_t n = 0;
    while (*p >= '0' && *p <= '9' && p < name + 4 + 5) n = 10 * n + (*p++ - '0');
    if (p == name + 4 || *p != '.') return -1;
    *rest = p + 1;
    return n;
}

int64_t ggf_tensor_layer(const struct ggf_tensor *tensor)
{
    const char *rest;
    return split_name(tensor->name, &rest);
}

uint32_t ggf_mtp_layers(const ggf_file *f)
{
    uint32_t n = 0;
    ggf_get_arch_u32(f, "nextn_predict_layers", &n, NULL);
    return n;
}

static bool has_tensor(const ggf_file *f, int64_t layer, const char *rest)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%" PRId64 ".%s", layer, rest);
    return ggf_find_tensor(f, name) != NULL;
}

/* attn_qkv and attn_gate are the input of the delta rule in a layer that has the rest of
 * it and no softmax attention. */
static bool in_delta_layer(const ggf_file *f, int64_t layer)
{
    return has_tensor(f, layer, "ssm_out.weight") &&
           !has_tensor(f, layer, "attn_output.weight");
}

static bool starts(const char *s, const char *with)
{
    return strncmp(s, with, strlen(with)) == 0;
}

static enum ggf_role layer_role(const ggf_file *f, int64_t layer, const char *rest)
{
    /* The order matters: ffn_gate_inp_shexp is the shared expert's gate. */
    if (strstr(rest, "_shexp")) return GGF_ROLE_SHARED;
    if (strstr(rest, "_exps")) return GGF_ROLE_EXPERTS;
    if (starts(rest, "ffn_gate_inp") || starts(rest, "exp_probs_b"))
        return GGF_ROLE_ROUTER;
    if (strstr(rest, "norm")) return GGF_ROLE_NORM;
    if (starts(rest, "ssm_")) return GGF_ROLE_DELTA;
    if (starts(rest, "attn_qkv") || starts(rest, "attn_gate"))
        return in_delta_layer(f, layer) ? GGF_ROLE_DELTA : GGF_ROLE_ATTENTION;
    if (starts(rest, "attn")) return GGF_ROLE_ATTENTION;
    if (starts(rest, "ffn_")) return GGF_ROLE_FFN;
    return GGF_ROLE_OTHER;
}

enum ggf_role ggf_tensor_role(const ggf_file *f, const struct ggf_tensor *t)
{
    const char *rest;
    const int64_t layer = split_name(t->name, &rest);
    if (starts(rest, "nextn.") || starts(rest, "mtp.")) return GGF_ROLE_MTP;
    if (layer >= 0) {
        const uint32_t mtp = ggf_mtp_layers(f);
        uint32_t blocks = 0;
        ggf_get_arch_u32(f, "block_count", &blocks, NULL);
        if (mtp && mtp <= blocks && layer >= blocks - mtp) return GGF_ROLE_MTP;
        return layer_role(f, layer, rest);
    }
    if (strstr(rest, "norm")) return GGF_ROLE_NORM;
    if (starts(rest, "output.")) return GGF_ROLE_OUTPUT;
    if (strstr(rest, "_embd") || starts(rest, "token_types")) return GGF_ROLE_EMBEDDING;
    return GGF_ROLE_OTHER;
}
