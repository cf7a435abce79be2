/* inspect_facts.c - counts a model's tensors by role, type and layer. */
#include "inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

double share_bpw(const struct share *s)
{
    return s->params ? 8.0 * (double)s->bytes / (double)s->params : 0;
}

uint64_t bytes_per_expert(const struct ggf_tensor *t)
{
    if (!strstr(t->name, "_exps") || t->n_dims < 3) return 0;
    return t->bytes / t->ne[2];
}

char *type_set_text(char buf[64], uint64_t set)
{
    size_t n = 0;
    buf[0] = 0;
    for (uint32_t type = 0; type < GGF_TYPE_COUNT && n + 12 < 64; type++)
        if (set >> type & 1)
            n += (size_t)snprintf(buf + n, 64 - n, "%s%s", n ? "+" : "",
                                  ggf_type_name(type));
    return buf;
}

static void add(struct share *s, const struct ggf_tensor *t)
{
    s->tensors++;
    s->params += t->count;
    s->bytes += t->bytes;
}

/* The type sets are of matrices worth quantizing: no vectors, no convolution. */
static void add_types(struct layer_facts *l, const struct ggf_tensor *t,
                      enum ggf_role role)
{
    const uint64_t bit = 1ull << t->type;
    const bool ffn = strstr(t->name, ".ffn_") != NULL;
    if (t->ne[1] == 1 || strstr(t->name, "conv")) return;
    if (strstr(t->name, "_shexp")) {
        l->shared |= bit;
    } else if (ffn && !strstr(t->name, "ffn_gate_inp")) {
        if (strstr(t->name, "ffn_gate")) l->gate |= bit;
        if (strstr(t->name, "ffn_up") || strstr(t->name, "gate_up")) l->up |= bit;
        if (strstr(t->name, "ffn_down")) l->down |= bit;
    } else if (role == GGF_ROLE_ATTENTION || role == GGF_ROLE_DELTA ||
               strstr(t->name, ".attn_")) {
        l->mixer |= bit;
    }
}

static void add_to_layer(struct layer_facts *l, const struct ggf_tensor *t,
                         enum ggf_role role)
{
    add(&l->all, t);
    l->delta |= role == GGF_ROLE_DELTA;
    l->attention |= role == GGF_ROLE_ATTENTION;
    l->experts |= role == GGF_ROLE_EXPERTS;
    l->mtp |= role == GGF_ROLE_MTP;
    l->expert_bytes += bytes_per_expert(t);
    add_types(l, t, role);
}

static uint64_t count_layers(const ggf_file *f)
{
    int64_t last = -1;
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const int64_t layer = ggf_tensor_layer(ggf_tensor(f, i));
        if (layer > last) last = layer;
    }
    return (uint64_t)(last + 1);
}

static void sum_active(struct facts *x, const ggf_file *f)
{
    const bool tied = x->role[GGF_ROLE_OUTPUT].tensors == 0;
    const struct share *experts = &x->role[GGF_ROLE_EXPERTS];
    ggf_get_arch_u32(f, "expert_count", &x->n_expert, NULL);
    ggf_get_arch_u32(f, "expert_used_count", &x->n_used, NULL);
    for (int r = 0; r < GGF_ROLE_COUNT; r++) {
        if (r == GGF_ROLE_EXPERTS || r == GGF_ROLE_MTP) continue;
        if (r == GGF_ROLE_EMBEDDING && !tied) continue;
        x->active_params += x->role[r].params;
        x->dense_bytes += x->role[r].bytes;
    }
    if (!x->n_expert || x->n_used > x->n_expert) return;
    const double used = (double)x->n_used / x->n_expert;
    x->active_params += (uint64_t)((double)experts->params * used);
    x->expert_bytes = (uint64_t)((double)experts->bytes * used);
}

int facts_of(struct facts *x, const ggf_file *f, ggf_error *err)
{
    *x = (struct facts){ .n_layers = count_layers(f), .mtp_layers = ggf_mtp_layers(f) };
    x->layers = calloc(x->n_layers + 1, sizeof *x->layers);
    if (!x->layers) return ggf_no_memory(err);
    for (uint64_t i = 0; i < ggf_tensor_count(f); i++) {
        const struct ggf_tensor *t = ggf_tensor(f, i);
        const enum ggf_role role = ggf_tensor_role(f, t);
        const int64_t layer = ggf_tensor_layer(t);
        add(&x->all, t);
        add(&x->role[role], t);
        add(&x->type[t->type], t);
        if (layer >= 0) add_to_layer(&x->layers[layer], t, role);
    }
    sum_active(x, f);
    return 0;
}

void facts_free(struct facts *x) { free(x->layers); }
