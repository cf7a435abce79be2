/* plan.c - see plan.h. */
#include "plan.h"

#include "encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The model -------------------------------------------------------------- */

static void get_arch_u32(const struct plan *p, const ggf_file *f,
                         const struct plan_options *o, const char *name, uint32_t *out)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", p->model.arch, name);
    metadata_get_u32(f, o->overrides, o->n_overrides, key, out);
}

/* The rules cannot work without the number of layers; the rest has defaults. */
static int read_model(struct plan *p, const ggf_file *f, const struct plan_options *o,
                      ggf_error *err)
{
    struct mix_model *m = &p->model;
    struct ggf_str arch = { 0 };
    int s = ggf_get_str(f, "general.architecture", &arch, err);
    if (s == GGF_E_NOT_FOUND && !o->mix.to && !o->n_prune) return 0;
    if (s) return s;
    if (!arch.len || arch.len >= sizeof m->arch || memchr(arch.data, 0, arch.len))
        return ggf_fail(err, GGF_E_FORMAT, GGF_NO_OFFSET,
                        "general.architecture is not a name of 1 to %zu bytes",
                        sizeof m->arch - 1);
    memcpy(m->arch, arch.data, arch.len);
    get_arch_u32(p, f, o, "block_count", &m->n_layers);
    get_arch_u32(p, f, o, "attention.head_count", &m->n_heads);
    m->n_heads_kv = m->n_heads;
    get_arch_u32(p, f, o, "attention.head_count_kv", &m->n_heads_kv);
    get_arch_u32(p, f, o, "expert_count", &m->n_experts);
    const bool needed = o->n_prune || (o->mix.to && !o->mix.pure);
    if (!m->n_layers && needed)
        return ggf_fail(err, GGF_E_NOT_FOUND, GGF_NO_OFFSET,
                        "key '%s.block_count' is missing", m->arch);
    p->n_layers = m->n_layers;
    return 0;
}

/* ---- Tensors and their order ------------------------------------------------ */

/* How many of the pruned layers lie below `layer`; -1 if it is one of them. */
static int pruned_below(const struct plan_options *o, uint32_t layer)
{
    int n = 0;
    for (int i = 0; i < o->n_prune; i++) {
        if (o->prune[i] == layer) return -1;
        n += o->prune[i] < layer;
    }
    return n;
}

static int check_pruning(struct plan *p, const struct plan_options *o, ggf_error *err)
{
    for (int i = 0; i < o->n_prune; i++)
        if (o->prune[i] >= p->model.n_layers)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "there is no layer %" PRIu32
                            " to prune, the model has %" PRIu32,
                            o->prune[i], p->model.n_layers);
    if (o->n_prune && (uint32_t)o->n_prune >= p->model.n_layers)
        return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET, "pruning would leave no layer");
    p->n_layers -= (uint32_t)o->n_prune;
    return 0;
}

/* The name after pruning; false if the tensor goes. */
static bool rename_layer(char out[64], const char *name, const struct plan_options *o)
{
    const int layer = mix_layer(name);
    const int below = layer < 0 ? 0 : pruned_below(o, (uint32_t)layer);
    if (below < 0) return false;
    if (below == 0) snprintf(out, 64, "%s", name);
    else snprintf(out, 64, "blk.%d%s", layer - below, strchr(name + 4, '.'));
    return true;
}

static int compare_items(const void *a, const void *b)
{
    return mix_compare_names(((const struct plan_item *)a)->source->name,
                             ((const struct plan_item *)b)->source->name);
}

static int compare_places(const void *a, const void *b)
{
    const struct ggf_tensor *x = ((const struct plan_item *)a)->source;
    const struct ggf_tensor *y = ((const struct plan_item *)b)->source;
    if (x->shard != y->shard) return x->shard < y->shard ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int list_items(struct plan *p, const ggf_file *f, const struct plan_options *o,
                      ggf_error *err)
{
    const uint64_t n = ggf_tensor_count(f);
    p->items = calloc(n + 1, sizeof *p->items);
    if (!p->items) return ggf_no_memory(err);
    for (uint64_t i = 0; i < n; i++) {
        struct plan_item *item = &p->items[p->n_items];
        item->source = ggf_tensor(f, i);
        if (rename_layer(item->name, item->source->name, o)) p->n_items++;
    }
    qsort(p->items, p->n_items, sizeof *p->items,
          o->keep_split ? compare_places : compare_items);
    return 0;
}

/* ---- Types, sizes, importances ---------------------------------------------- */

struct mix_tensor plan_mix_tensor(const struct plan *p, const struct plan_options *o,
                                  size_t i)
{
    const struct ggf_tensor *source = p->items[i].source;
    struct mix_tensor t = { .name = p->items[i].name, .type = source->type };
    memcpy(t.ne, source->ne, sizeof t.ne);
    t.forced = o->forced ? o->forced(o->user, t.name) : MIX_NO_TYPE;
    return t;
}

static int choose_types(struct plan *p, const struct plan_options *o, ggf_error *err)
{
    struct mix_tensor *tensors = calloc(p->n_items + 1, sizeof *tensors);
    if (!tensors) return ggf_no_memory(err);
    for (size_t i = 0; i < p->n_items; i++) tensors[i] = plan_mix_tensor(p, o, i);
    struct mix_options mix = o->mix;
    mix.has_matrix = o->matrix && imatrix_count(o->matrix);
    const int s = mix_choose(&p->model, &mix, tensors, p->n_items, err);
    for (size_t i = 0; i < p->n_items; i++) {
        p->items[i].type = tensors[i].choice;
        p->items[i].refused = tensors[i].refused;
    }
    free(tensors);
    return s;
}

/* The embedding is looked up, not multiplied: what a matrix may hold for it under
 * another shape is passed over, as in llama-quantize. */
static const struct imatrix_entry *usable(const struct imatrix_entry *e,
                                          const struct ggf_tensor *t)
{
    if (!e || e->n_values == t->ne[0] * t->ne[2]) return e;
    return strcmp(t->name, "token_embd.weight") ? e : NULL;
}

static void add_up(struct plan *p, const struct plan_options *o)
{
    p->n_elements = p->source_bytes = p->bytes = 0;
    p->n_changed = p->n_fallback = p->n_unmatched = p->n_matched = 0;
    for (size_t i = 0; i < p->n_items; i++) {
        struct plan_item *item = &p->items[i];
        const struct ggf_tensor *t = item->source;
        const struct ggf_type_info *type = ggf_type_info(item->type);
        const bool changed = item->type != t->type;
        item->bytes = t->count / type->block * type->block_bytes;
        const struct imatrix_entry *entry =
            o->matrix ? imatrix_find(o->matrix, t->name) : NULL;
        item->weights = changed ? usable(entry, t) : NULL;
        p->n_matched += entry != NULL;
        p->n_elements += t->count;
        p->source_bytes += t->bytes;
        p->bytes += item->bytes;
        p->n_changed += changed;
        p->n_fallback += changed && item->refused != item->type;
        p->n_unmatched += changed && o->matrix && !item->weights;
    }
}

int plan_make(struct plan *p, const ggf_file *f, const struct plan_options *o,
              ggf_error *err)
{
    *p = (struct plan){ 0 };
    int s = read_model(p, f, o, err);
    if (!s) s = check_pruning(p, o, err);
    if (!s) s = list_items(p, f, o, err);
    if (!s) s = choose_types(p, o, err);
    if (s) plan_free(p);
    else add_up(p, o);
    return s;
}

int plan_again(struct plan *out, const struct plan *p, const struct plan_options *o,
               ggf_error *err)
{
    *out = *p;
    out->mixed = false;
    out->items = malloc((p->n_items + 1) * sizeof *out->items);
    if (!out->items) return ggf_no_memory(err);
    memcpy(out->items, p->items, p->n_items * sizeof *out->items);
    const int s = choose_types(out, o, err);
    if (s) plan_free(out);
    else add_up(out, o);
    return s;
}

void plan_free(struct plan *p)
{
    free(p->items);
    *p = (struct plan){ 0 };
}

void plan_set_types(struct plan *p, const struct plan_options *o, const uint32_t *types)
{
    for (size_t i = 0; i < p->n_items; i++)
        p->items[i].type = p->items[i].refused = types[i];
    p->mixed = true;
    add_up(p, o);
}

static uint32_t type_of_most_bytes(const struct plan *p)
{
    uint64_t bytes[GGF_TYPE_COUNT] = { 0 };
    uint32_t most = GGF_F32;
    for (size_t i = 0; i < p->n_items; i++) {
        const uint32_t type = p->items[i].type;
        bytes[type] += p->items[i].bytes;
        if (bytes[type] > bytes[most]) most = type;
    }
    return most;
}

uint32_t plan_file_type(const struct plan *p, const ggf_file *f,
                        const struct plan_options *o)
{
    uint32_t counts[GGF_TYPE_COUNT] = { 0 }, most = GGF_F32, id = 0;
    if (p->mixed) return file_type_of_tensors(type_of_most_bytes(p));
    if (o->mix.to) return o->mix.to->id;
    if (!ggf_get_u32(f, "general.file_type", &id, NULL)) return id;
    for (size_t i = 0; i < p->n_items; i++) {
        const uint32_t type = p->items[i].source->type;
        if (++counts[type] > counts[most]) most = type;
    }
    return FT_GUESSED | file_type_of_tensors(most);
}

/* ---- Can it be done? --------------------------------------------------------- */

static int check_encoders(const struct plan *p, ggf_error *err)
{
    bool named[GGF_TYPE_COUNT] = { 0 };
    char list[256] = "";
    for (size_t i = 0; i < p->n_items; i++) {
        const uint32_t type = p->items[i].type;
        if (type == p->items[i].source->type || encode_for(type) || named[type]) continue;
        named[type] = true;
        const size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", ggf_type_name(type));
    }
    if (!*list) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "there is no way to write tensors of type %s, which this needs",
                    list);
}

int plan_importances(const struct imatrix_entry **out, const struct ggf_tensor *t,
                     const struct plan_options *o, ggf_error *err)
{
    const uint64_t expected = t->ne[0] * t->ne[2];
    *out = o->matrix ? usable(imatrix_find(o->matrix, t->name), t) : NULL;
    if (!*out || (*out)->n_values == expected) return 0;
    return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                    "the importance matrix has %" PRIu64
                    " values for tensor '%s', expected "
                    "%" PRIu64 ": it was made from another model",
                    (*out)->n_values, t->name, expected);
}

static int check_matrix(const struct plan_item *item, const struct plan_options *o,
                        ggf_error *err)
{
    const struct ggf_tensor *t = item->source;
    const struct imatrix_entry *weights;
    const int s = plan_importances(&weights, t, o, err);
    if (s) return s;
    if (!item->weights && (mix_wants_matrix(item->name, item->type, o->mix.to) ||
                           encode_needs_weights(item->type)))
        return ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "tensor '%s' needs an importance matrix to become %s, and there is no "
            "entry for it",
            t->name, ggf_type_name(item->type));
    return 0;
}

int plan_check(const struct plan *p, const struct plan_options *o, ggf_error *err)
{
    int s = check_encoders(p, err);
    for (size_t i = 0; i < p->n_items && !s; i++) {
        const struct plan_item *item = &p->items[i];
        const struct ggf_tensor *t = item->source;
        if (item->type == t->type) continue;
        if (t->ne[0] > PLAN_ROW_MAX)
            return ggf_fail(err, GGF_E_ARG, GGF_NO_OFFSET,
                            "tensor '%s' has rows of %" PRIu64
                            " elements, more than the %d that "
                            "can be quantized",
                            t->name, t->ne[0], PLAN_ROW_MAX);
        if (ggf_type_info(t->type)->quantized && !o->allow_requantize)
            return ggf_fail(
                err, GGF_E_ARG, GGF_NO_OFFSET,
                "tensor '%s' is %s already, and quantizing it again costs quality; "
                "--allow-requantize does it all the same",
                t->name, ggf_type_name(t->type));
        s = check_matrix(item, o, err);
    }
    if (!s && o->matrix && p->n_changed && p->n_unmatched == p->n_changed)
        s = ggf_fail(
            err, GGF_E_ARG, GGF_NO_OFFSET,
            "the importance matrix has no entry for any tensor to be quantized: it "
            "was made from another model");
    return s;
}
