/* override.c - see override.h.  Of several patterns that match a tensor the first counts;
 * --cpu-moe and --n-cpu-moe come last.  All as in llama.cpp. */
#include "override.h"

#include "regex.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    char *text; /* the pattern */
    struct regex *regex;
    enum q3n_expert_tier tier;
    bool used;
};

struct rules {
    struct rule *rules;
    size_t n;
    int device; /* the N of CUDAN */
};

/* ---- Reading them -------------------------------------------------------- */

static int add_rule(struct rules *r, const char *pattern, size_t len,
                    enum q3n_expert_tier tier, ggf_error *err)
{
    struct rule *rules = realloc(r->rules, (r->n + 1) * sizeof *rules);
    if (!rules) return ggf_no_memory(err);
    r->rules = rules;
    struct rule *rule = &rules[r->n];
    *rule = (struct rule){ .text = strndup(pattern, len), .tier = tier };
    if (!rule->text) return ggf_no_memory(err);
    r->n++;
    return regex_new(&rule->regex, rule->text, err);
}

static int parse_one(struct rules *r, const char *text, ggf_error *err)
{
    char device[24];
    const char *const places[] = { "CPU", "MMAP", "DISK", device };
    static const enum q3n_expert_tier tiers[] = { Q3N_EXPERTS_MEMORY, Q3N_EXPERTS_MAPPED,
                                                  Q3N_EXPERTS_DISK, Q3N_EXPERTS_DEVICE };
    const char *equals = strrchr(text, '=');
    snprintf(device, sizeof device, "CUDA%d", r->device);
    for (int i = 0; i < 4 && equals && equals > text; i++)
        if (!strcmp(equals + 1, places[i]))
            return add_rule(r, text, (size_t)(equals - text), tiers[i], err);
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "'%.120s': expected REGEX=PLACE with a place of CPU, MMAP, DISK or "
                    "%s",
                    text, device);
}

static int parse_list(struct rules *r, const char *list, ggf_error *err)
{
    char *copy = strdup(list), *rest = copy;
    int e = copy ? 0 : ggf_no_memory(err);
    for (char *one; !e && (one = strsep(&rest, ","));) e = parse_one(r, one, err);
    free(copy);
    return e;
}

static const char all_experts[] = "\\.ffn_(up|down|gate|gate_up)_exps";

static int parse(struct rules *r, const struct override_options *o, ggf_error *err)
{
    int e = 0;
    for (int i = 0; i < o->tensors.count && !e; i++)
        e = parse_list(r, o->tensors.items[i], err);
    if (e || !o->cpu_moe) return e;
    return add_rule(r, all_experts, strlen(all_experts), Q3N_EXPERTS_MEMORY, err);
}

/* Those of --n-cpu-moe; more than there are, as in "99", are all of them. */
static int add_layers(struct rules *r, const struct override_options *o, uint32_t n,
                      ggf_error *err)
{
    char layer[64];
    int e = 0;
    for (int i = 0; i < o->n_cpu_moe && (uint32_t)i < n && !e; i++) {
        const int len = snprintf(layer, sizeof layer, "^blk\\.%d%s", i, all_experts);
        e = add_rule(r, layer, (size_t)len, Q3N_EXPERTS_MEMORY, err);
    }
    return e;
}

static void free_rules(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->rules[i].text);
        regex_free(r->rules[i].regex);
    }
    free(r->rules);
}

/* ---- Following them ------------------------------------------------------ */

/* What the first rule that matches says; all that match are used. */
static int find_tier(struct rules *r, const char *name, enum q3n_expert_tier *tier,
                     ggf_error *err)
{
    *tier = Q3N_EXPERTS_ANYWHERE;
    for (size_t i = 0; i < r->n; i++) {
        const int match = regex_match(r->rules[i].regex, name, err);
        if (match < 0) return match;
        if (!match) continue;
        r->rules[i].used = true;
        if (!*tier) *tier = r->rules[i].tier;
    }
    return 0;
}

/* The names that a layer's experts have in the GGUF, or had before they were packed. */
static int layer_tier(struct rules *r, const ggf_file *file, uint32_t layer,
                      uint8_t *tier, ggf_error *err)
{
    static const char *const parts[] = { "gate", "up", "down", "gate_up" };
    bool fused = false;
    for (int i = 3, first = 1; i >= 0; i--) {
        char name[64];
        enum q3n_expert_tier t;
        snprintf(name, sizeof name, "blk.%" PRIu32 ".ffn_%s_exps.weight", layer,
                 parts[i]);
        if (i == 3) fused = ggf_find_tensor(file, name) != NULL;
        if (i == 3 ? !fused : fused && i < 2) continue;
        const int e = find_tier(r, name, &t, err);
        if (e) return e;
        if (!first && *tier != t)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "layer %" PRIu32 ": gates, ups and downs of experts must be "
                            "in one place; match them all (ffn_.*_exps)",
                            layer);
        *tier = (uint8_t)t;
        first = 0;
    }
    return 0;
}

/* ---- Layers ---------------------------------------------------------------- */

/* The layer that a tensor decides about: with a matrix of its attention or delta net, or,
 * as number n, with the output's; else -1.  All else of a layer goes with these. */
static int64_t decides(const ggf_file *file, const struct ggf_tensor *t, uint32_t n)
{
    const enum ggf_role role = ggf_tensor_role(file, t);
    const int64_t layer = ggf_tensor_layer(t);
    if (role == GGF_ROLE_OUTPUT) return n;
    if (role != GGF_ROLE_ATTENTION && role != GGF_ROLE_DELTA) return -1;
    return layer < n && t->ne[1] > 1 ? layer : -1;
}

/* What the first rule says that matches a tensor that is no expert's; those that match
 * one that decides are used. */
static int find_place(struct rules *r, const char *name, bool decides,
                      enum q3n_layer_place *place, ggf_error *err)
{
    *place = Q3N_LAYER_ANYWHERE;
    for (size_t i = 0; i < r->n; i++) {
        struct rule *rule = &r->rules[i];
        const int match = regex_match(rule->regex, name, err);
        if (match < 0) return match;
        if (!match) continue;
        if (rule->tier != Q3N_EXPERTS_MEMORY && rule->tier != Q3N_EXPERTS_DEVICE)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "'%.100s' matches %.64s, but only routed experts can be "
                            "mapped or read by themselves",
                            rule->text, name);
        rule->used |= decides;
        if (*place) continue;
        *place = rule->tier == Q3N_EXPERTS_DEVICE ? Q3N_LAYER_DEVICE : Q3N_LAYER_HOST;
    }
    return 0;
}

/* seen: is there a tensor that has decided already? */
static int settle(uint8_t *place, bool *seen, enum q3n_layer_place p, int64_t layer,
                  ggf_error *err)
{
    if (*seen && *place != p)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                        "layer %" PRId64 ": its attention or delta net must be in one "
                        "place; match all of it (\\.(attn|ssm)_)",
                        layer);
    *place = (uint8_t)p;
    *seen = true;
    return 0;
}

static int find_places(struct rules *r, const ggf_file *file, bool device,
                       uint8_t *places, uint32_t n, ggf_error *err)
{
    bool *seen = calloc(n + 1, sizeof *seen);
    int e = seen ? 0 : ggf_no_memory(err);
    for (uint64_t i = 0; i < ggf_tensor_count(file) && !e; i++) {
        const struct ggf_tensor *t = ggf_tensor(file, i);
        const int64_t layer = device ? decides(file, t, n) : -1;
        enum q3n_layer_place p;
        if (ggf_tensor_role(file, t) == GGF_ROLE_EXPERTS) continue;
        e = find_place(r, t->name, layer >= 0, &p, err);
        if (!e && layer >= 0) e = settle(&places[layer], &seen[layer], p, layer, err);
    }
    free(seen);
    return e;
}

/* ---- The whole --------------------------------------------------------------- */

/* device: is there to be one that computes? */
static int find_all(struct rules *r, const ggf_file *file, bool device,
                    const struct override_options *o, uint32_t n, ggf_error *err)
{
    int e = 0;
    for (uint32_t l = 0; l < n && !e; l++) e = layer_tier(r, file, l, &o->tiers[l], err);
    if (!e) e = find_places(r, file, device, o->places, n, err);
    for (size_t i = 0; i < r->n && !e; i++)
        if (!r->rules[i].used)
            e = ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                         "'%.120s' matches no experts of the model%s", r->rules[i].text,
                         device ? ", and nothing else that could be elsewhere" : "");
    return e;
}

static int apply(struct override_options *o, struct rules *r, const ggf_file *file,
                 struct q3n_model_options *out, ggf_error *err)
{
    uint32_t n;
    int e = ggf_get_arch_u32(file, "block_count", &n, err);
    if (e) return e;
    if (n > UINT16_MAX)
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "%" PRIu32 " layers are too many", n);
    n -= ggf_mtp_layers(file) < n ? ggf_mtp_layers(file) : n;
    o->tiers = calloc(n ? n : 1, 1);
    o->places = calloc(n + 1, 1);
    if (!o->tiers || !o->places) return ggf_no_memory(err);
    out->expert_tiers = o->tiers;
    out->n_expert_tiers = n;
    out->device.places = o->places;
    out->device.n_places = n + 1;
    if ((e = add_layers(r, o, n, err))) return e;
    return find_all(r, file, out->device.n_gpu_layers != 0, o, n, err);
}

int override_apply(struct override_options *o, const char *path,
                   struct q3n_model_options *out, ggf_error *err)
{
    const struct ggf_open_options header = { .header_only = true };
    struct rules r = { .device = out->device.main_gpu };
    ggf_file *file = NULL;
    if (!o->tensors.count && !o->cpu_moe && !o->n_cpu_moe) return 0;
    if (o->n_cpu_moe < 0)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "--n-cpu-moe must be 1 or more");
    int e = parse(&r, o, err);
    if (!e) e = ggf_open(&file, path, &header, err);
    if (!e) e = apply(o, &r, file, out, err);
    ggf_close(file);
    free_rules(&r);
    return e;
}

void override_free(struct override_options *o)
{
    free(o->tiers);
    free(o->places);
    free(o->tensors.items);
    *o = (struct override_options){ 0 };
}
