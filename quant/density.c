/* density.c - see density.h. */
#include "density.h"

#include "mix.h"

#include <string.h>

struct class
{
    const char *part;    /* of the name */
    double density;      /* share of the divergence / share of the weights */
    float floor, floor3; /* fewest bits for a weight; the same where the mean is >= 3 */
};

#define FLOOR_SMALL 6.5F, 8.5F
#define FLOOR_DENSE 5.5F, 5.5F

/* Densities: per-class drops of KL divergence published by Thireus (GGUF-Tool-Suite,
 * models/Qwen3.5-35B-A3B), divided by the classes' share of the weights.  Feed-forward
 * tensors of dense layers are not in there and count as the average.  The first part
 * found in the name decides. */
static const struct class classes[] = {
    { "ffn_gate_exps", 0.32, 0, 0 },    { "ffn_up_exps", 0.34, 0, 0 },
    { "ffn_gate_up_exps", 0.33, 0, 0 }, { "ffn_down_exps", 0.38, 0, 0 },
    { "_shexp", 21, FLOOR_DENSE },      { "ssm_alpha", 430, FLOOR_SMALL },
    { "ssm_beta", 495, FLOOR_SMALL },   { "ssm_ba", 460, FLOOR_SMALL },
    { "ssm_out", 14, FLOOR_DENSE },     { "attn_v.", 80, FLOOR_SMALL },
    { "attn_k.", 52, FLOOR_SMALL },     { "attn_output", 17, FLOOR_DENSE },
    { "attn_gate", 10.5, FLOOR_DENSE }, { "attn_qkv", 6.9, FLOOR_DENSE },
    { "attn_q.", 6.4, FLOOR_DENSE },    { "ffn_", 1, 0, 0 },
    { "token_embd", 2, 4.25F, 4.25F },  { "output.weight", 8.75, 5.5F, 5.5F },
};
static const struct class other = { "", 6.9, FLOOR_DENSE }; /* as attention */

static const struct class *class_of(const char *name, bool tied)
{
    if (tied && !strcmp(name, "token_embd.weight")) name = "output.weight";
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strstr(name, classes[i].part)) return &classes[i];
    return &other;
}

double density_of(const char *name, uint32_t n_layers, bool tied)
{
    const double density = class_of(name, tied)->density;
    const int layer = mix_layer(name);
    if (layer < 0 || n_layers < 2) return density;
    /* The same source: peaks in the first sixth (but not the very first layer) and in the
     * last layer, 0.6 to 1.9 times the mean. */
    if ((uint32_t)layer + 1 == n_layers) return density * 1.5;
    if (layer >= 1 && 6 * (uint32_t)layer <= n_layers) return density * 1.4;
    return density * 0.9;
}

double density_floor(const char *name, double mean, bool tied)
{
    const struct class *c = class_of(name, tied);
    const double bits = mean >= 3 ? c->floor3 : c->floor;
    const bool head = c->floor == 5.5F && strstr(c->part, "output.weight");
    return mean < 2.2 && c->floor == 5.5F && !head ? 4.5 : bits;
}
