/* lint.c - see lint.h. */
#include "lint.h"

#include "density.h"
#include "imatrix_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct work {
    struct lint *out;
    const struct plan *plan;
    const struct plan_options *options;
    double mean; /* bits for a weight, of all */
    bool tied;
};

const char *lint_name(enum lint_kind kind)
{
    static const char *const names[] = { "dominated_type", "gate_up", "pinned",
                                         "small_tensor",   "floor",   "coverage",
                                         "row_width" };
    return names[kind];
}

static void add(struct work *w, enum lint_kind kind, size_t count, const char *first,
                const char *format, ...) __attribute__((format(printf, 5, 6)));
static void add(struct work *w, enum lint_kind kind, size_t count, const char *first,
                const char *format, ...)
{
    struct lint *l = w->out;
    if (l->n == sizeof l->findings / sizeof *l->findings) return;
    struct lint_finding *f = &l->findings[l->n++];
    *f = (struct lint_finding){ .kind = kind, .count = count, .first = first };
    va_list ap;
    va_start(ap, format);
    vsnprintf(f->message, sizeof f->message, format, ap);
    va_end(ap);
}

static double bits_of(uint32_t type)
{
    const struct ggf_type_info *info = ggf_type_info(type);
    return 8 * (double)info->block_bytes / info->block;
}

static bool is_routed(const struct plan_item *item)
{
    return strstr(item->name, "_exps.");
}

static bool is_changed(const struct plan_item *item)
{
    return item->type != item->source->type;
}

static bool is_open(const struct work *w, const struct plan_item *item)
{
    struct mix_tensor t = { .name = item->name, .type = item->source->type };
    memcpy(t.ne, item->source->ne, sizeof t.ne);
    return mix_allows(&t, &w->options->mix);
}

/* ---- Types ------------------------------------------------------------------ */

/* Relative errors on expert-like weights with importances, by weighted squares: q2_K
 * 5.7e-2, iq2_s 5.2e-2; q3_K 1.8e-2, iq3_s 1.5e-2; mxfp4 1.3e-2, iq4_xs 5.2e-3. */
static void find_dominated(struct work *w)
{
    static const struct {
        uint32_t type, better;
        const char *condition;
    } pairs[] = {
        { GGF_Q2_K, GGF_IQ2_S, " with an importance matrix" },
        { GGF_Q3_K, GGF_IQ3_S, "" },
        { GGF_MXFP4, GGF_IQ4_XS, "" },
    };
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        const struct plan_item *first = NULL;
        size_t n = 0;
        for (size_t i = 0; i < w->plan->n_items; i++) {
            const struct plan_item *item = &w->plan->items[i];
            if (!is_routed(item) || item->type != pairs[k].type || !is_changed(item) ||
                item->source->ne[0] % ggf_type_info(pairs[k].better)->block)
                continue;
            if (!n++) first = item;
        }
        if (n)
            add(w, LINT_DOMINATED, n, first->name,
                "%zu expert tensors are %s: %s takes no more bytes and loses less%s", n,
                ggf_type_name(pairs[k].type), ggf_type_name(pairs[k].better),
                pairs[k].condition);
    }
}

/* The up projection to a gate, which lies in the same layer, or NULL. */
static const struct plan_item *find_up(const struct plan *p, size_t gate)
{
    const char *part = strstr(p->items[gate].name, "ffn_gate_exps");
    const int layer = mix_layer(p->items[gate].name);
    char name[64];
    if (!part) return NULL;
    snprintf(name, sizeof name, "%.*sffn_up%s", (int)(part - p->items[gate].name),
             p->items[gate].name, part + 8);
    for (size_t i = gate + 1; i < p->n_items && mix_layer(p->items[i].name) == layer; i++)
        if (!strcmp(p->items[i].name, name)) return &p->items[i];
    return NULL;
}

static void find_gate_up(struct work *w)
{
    const struct plan *p = w->plan;
    const struct plan_item *first = NULL, *first_up = NULL;
    size_t n = 0;
    for (size_t i = 0; i < p->n_items; i++) {
        const struct plan_item *up = find_up(p, i);
        if (!up || up->type == p->items[i].type || n++) continue;
        first = &p->items[i];
        first_up = up;
    }
    if (n)
        add(w, LINT_GATE_UP, n, first->name,
            "gate and up differ in %zu layers (%s %s, up %s): engines multiply them "
            "faster with one type",
            n, first->name, ggf_type_name(first->type), ggf_type_name(first_up->type));
}

static double routed_bits(const struct plan *p)
{
    uint64_t bytes = 0, count = 0;
    for (size_t i = 0; i < p->n_items; i++)
        if (is_routed(&p->items[i])) {
            bytes += p->items[i].bytes;
            count += p->items[i].source->count;
        }
    return count ? 8 * (double)bytes / (double)count : 0;
}

/* The best number of bits rises with half the logarithm of what an error costs
 * (density.h): 1.3 above the experts' for the embedding, 2.4 for the head.  Two more pay
 * nowhere. */
static void find_pinned(struct work *w)
{
    const double experts = routed_bits(w->plan);
    for (size_t i = 0; i < w->plan->n_items && experts > 0; i++) {
        const struct plan_item *item = &w->plan->items[i];
        const bool embedding = !strcmp(item->name, "token_embd.weight");
        if (!embedding && strcmp(item->name, "output.weight") != 0) continue;
        const double most = experts + 2 + (embedding && !w->tied ? 1.3 : 2.4);
        const uint32_t lower[] = { GGF_Q6_K, GGF_Q5_K, GGF_Q4_K };
        for (size_t k = 0; k < sizeof lower / sizeof *lower; k++) {
            const double saved = (bits_of(item->type) - bits_of(lower[k])) / 8 *
                                 (double)item->source->count;
            if (bits_of(item->type) <= most || bits_of(lower[k]) > most ||
                item->source->ne[0] % 256 || saved < 1e-3 * (double)w->plan->bytes)
                continue;
            add(w, LINT_PINNED, 1, item->name,
                "%s is %s, more than pays beside experts of %.1f bits: %s frees %.1f MiB",
                item->name, ggf_type_name(item->type), experts, ggf_type_name(lower[k]),
                saved / 1048576);
            break;
        }
    }
}

static bool has_codebook(uint32_t type) { return !strncmp(ggf_type_name(type), "iq", 2); }

/* All of them together would save less than a thousandth of the file in q8_0. */
static void find_small(struct work *w)
{
    const struct plan_item *first = NULL;
    double saved = 0;
    size_t n = 0;
    for (size_t i = 0; i < w->plan->n_items; i++) {
        const struct plan_item *item = &w->plan->items[i];
        if (!has_codebook(item->type) || !is_changed(item)) continue;
        if (!strstr(item->name, "ssm_") &&
            item->source->count * 10000 > w->plan->n_elements)
            continue;
        if (strstr(item->name, "ssm_out")) continue;
        if (!n++) first = item;
        saved += (8.5 - bits_of(item->type)) / 8 * (double)item->source->count;
    }
    if (n)
        add(w, LINT_SMALL, n, first->name,
            "%zu small tensors have codebooks (%s: %s), which are slow: q8_0 would take "
            "%.1f MiB more",
            n, first->name, ggf_type_name(first->type), saved / 1048576);
}

static void find_floors(struct work *w)
{
    const struct plan_item *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < w->plan->n_items; i++) {
        const struct plan_item *item = &w->plan->items[i];
        if (!is_changed(item) || !is_open(w, item)) continue;
        if (bits_of(item->type) >= density_floor(item->name, w->mean, w->tied)) continue;
        if (!n++) first = item;
    }
    if (n)
        add(w, LINT_FLOOR, n, first->name,
            "%zu tensors have fewer bits than their class should (%s: %s, at least %.2f "
            "bits)",
            n, first->name, ggf_type_name(first->type),
            density_floor(first->name, w->mean, w->tied));
}

static void find_rows(struct work *w)
{
    const struct plan_item *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < w->plan->n_items; i++) {
        const struct plan_item *item = &w->plan->items[i];
        if (!is_changed(item) || item->refused == item->type) continue;
        if (!n++) first = item;
    }
    if (n)
        add(w, LINT_ROWS, n, first->name,
            "%zu of %zu tensors have rows that do not fit the type chosen and get a "
            "larger "
            "one (%s: rows of %" PRIu64 ", %s for %s)",
            n, w->plan->n_items, first->name, first->source->ne[0],
            ggf_type_name(first->type), ggf_type_name(first->refused));
}

/* ---- The matrix ------------------------------------------------------------- */

static void find_coverage(struct work *w)
{
    enum { ENOUGH = 16 }; /* tokens; with fewer, the sums are mostly chance */
    const char *first = NULL;
    size_t few = 0, none = 0, all = 0;
    for (size_t i = 0; i < w->plan->n_items; i++) {
        const struct imatrix_entry *e = w->plan->items[i].weights;
        if (!e || !e->counts || !strstr(w->plan->items[i].name, "ffn_down_exps"))
            continue;
        all += e->n_slices;
        for (uint64_t k = 0; k < e->n_slices; k++) {
            const float tokens = load_f32(e->counts + 4 * k);
            if (!(tokens < ENOUGH)) continue;
            if (!few++) first = w->plan->items[i].name;
            none += !(tokens > 0);
        }
    }
    if (few)
        add(w, LINT_COVERAGE, few, first,
            "the importance matrix saw %zu of %zu experts in fewer than %d tokens, %zu "
            "in "
            "none: --imatrix-shrink draws them to the others",
            few, all, ENOUGH, none);
}

void lint_plan(struct lint *out, const struct plan *p, const struct plan_options *o,
               bool linear_only, bool conditioned)
{
    *out = (struct lint){ 0 };
    struct work w = { .out = out, .plan = p, .options = o, .tied = true };
    w.mean = p->n_elements ? 8 * (double)p->bytes / (double)p->n_elements : 0;
    for (size_t i = 0; i < p->n_items; i++)
        if (!strcmp(p->items[i].name, "output.weight")) w.tied = false;
    if (!linear_only) find_dominated(&w);
    find_gate_up(&w);
    find_pinned(&w);
    find_small(&w);
    find_floors(&w);
    if (!conditioned) find_coverage(&w);
    find_rows(&w);
}
